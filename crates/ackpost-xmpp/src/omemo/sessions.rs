//! Sessions with other devices, started with their bundles.

use ::omemo::{Account, Bundle, Session};

use super::device::Device;
use super::error::OmemoError;
use super::pep::{self, Fetched};
use super::server::{Server, connection_error};
use super::store::{Address, Missing, SessionEntry, State};
use super::system::{now, rng};
use crate::error::XmppError;
use crate::jid::Jid;

/// Time for which a device without usable bundle is not asked for again, in seconds.
const MISSING_AGE_MAX: u64 = 24 * 3600;
/// Maximum number of devices of one account that bundles are fetched for.
const DEVICES_OF_ONE_MAX: usize = 100;
/// Maximum number of bundles that are fetched for one batch of messages.
pub(super) const BUNDLES_MAX: usize = 500;

/// The devices of these people that have no session, and whose bundles were not asked for lately.
pub(super) fn without_session(state: &State, people: &[Jid]) -> Result<Vec<Address>, OmemoError> {
    let now = now();
    let own = state.device()?;
    let mut wanted = Vec::new();
    for jid in people.iter().map(ToString::to_string) {
        let Some(lists) = state.lists.get(&jid) else {
            continue;
        };
        for (version, device) in lists.devices().take(DEVICES_OF_ONE_MAX) {
            let address = Address {
                jid: jid.clone(),
                version,
                device,
            };
            let asked_before = state
                .missing
                .get(&address)
                .is_some_and(|missing| missing.at + MISSING_AGE_MAX > now);
            let this = device == own && jid == state.jid();
            if !this && !asked_before && !state.sessions.contains_key(&address) {
                wanted.push(address);
            }
        }
    }
    wanted.truncate(BUNDLES_MAX);
    Ok(wanted)
}

impl Device {
    /// Fetches the bundles of these devices.
    pub(super) async fn fetch_bundles(
        &self,
        server: &mut impl Server,
        wanted: Vec<Address>,
    ) -> Result<Vec<(Address, Fetched<Bundle>)>, XmppError> {
        let own = self.own.to_string();
        let questions = wanted.iter().map(|address| {
            let to = if address.jid == own { "" } else { &address.jid };
            pep::bundle_question(to, address)
        });
        let answers = server.ask_all(questions.collect()).await;
        if let Some(error) = connection_error(&answers) {
            return Err(error);
        }
        Ok(wanted
            .into_iter()
            .zip(answers)
            .map(|(address, answer)| {
                let fetched = pep::read_bundle(&answer, &address);
                (address, fetched)
            })
            .collect())
    }
}

/// Starts a session with a device whose bundle was asked for, if the bundle can be used.
pub(super) fn start(
    this: &Device,
    state: &mut State,
    account: &Account,
    address: &Address,
    fetched: Fetched<Bundle>,
) {
    let now = now();
    let bundle = match fetched {
        Fetched::There(bundle) => bundle,
        Fetched::Later(_) => return,
        Fetched::Nothing | Fetched::Broken => {
            let broken = matches!(fetched, Fetched::Broken);
            state.missing.insert(address.clone(), Missing { at: now, broken });
            return;
        }
    };
    // Another process may have been faster.
    if !state.sessions.contains_key(address) {
        // A signature is no proof that keys can be agreed with. One bad bundle must not stop the others.
        let Ok(session) = Session::initiate(account, &bundle, &mut rng()) else {
            let (at, broken) = (now, true);
            state.missing.insert(address.clone(), Missing { at, broken });
            return;
        };
        state
            .sessions
            .insert(address.clone(), SessionEntry::of(&session, now));
    }
    state.missing.remove(address);
    this.trust_rules().note(state, &address.jid, &bundle.identity_key);
}
