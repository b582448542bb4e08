//! Work that follows received messages: a new bundle, sessions that start again, empty answers.

use ::omemo::{Encrypted, MessageBuilder, Session};

use super::device::Device;
use super::element::from_omemo;
use super::error::OmemoError;
use super::own_device::bundle_items;
use super::pep::{self, Fetched};
use super::server::{AT_ONCE_MAX, Server};
use super::store::{Address, SessionEntry, State};
use super::system::{now, rng};
use crate::error::XmppError;
use crate::id;
use crate::jid::Jid;
use crate::ns;
use crate::xml::Element;
use ::omemo::Bundle;

/// Maximum number of empty messages that are sent at once.
const ANSWERS_MAX: usize = 100;
/// Maximum number of sessions that are started again at once: their bundles are asked for in one round trip, so that servers
/// that do not answer cost one wait.
const REPAIRS_MAX: usize = AT_ONCE_MAX;

impl Device {
    /// Does what received messages ask for: at most one answer for each session, however many messages were read. Returns how
    /// often the own device was put into its lists, which is at most `rounds` times.
    ///
    /// With `whose`, only sessions with these accounts are started again. A message must not wait for the servers of
    /// strangers, who can provoke any number of repairs.
    pub(crate) async fn follow_up(
        &self,
        server: &mut impl Server,
        rounds: usize,
        whose: Option<Vec<Jid>>,
    ) -> Result<usize, XmppError> {
        let (repairs, republish, answers, lost) = self
            .change(|_, state| {
                let whose: Option<Vec<String>> =
                    whose.map(|people| people.iter().map(ToString::to_string).collect());
                let is_due =
                    |address: &&Address| whose.as_ref().is_none_or(|people| people.contains(&address.jid));
                let repairs = state.repairs.iter().filter(is_due).take(REPAIRS_MAX);
                let repairs: Vec<Address> = repairs.cloned().collect();
                let lost = state.own.is_none() || state.published == 0;
                Ok((repairs, state.republish, !state.answers.is_empty(), lost))
            })
            .await?;
        let mut written = 0;
        if lost {
            written = self.publish_with(server, false, rounds).await?;
        }
        if !repairs.is_empty() {
            let found = self.fetch_bundles(server, repairs.clone()).await?;
            self.change(move |this, state| {
                for (address, fetched) in found {
                    start_again(this, state, &address, fetched)?;
                }
                Ok(())
            })
            .await?;
        }
        if republish && !lost {
            let items = self
                .change(|this, state| {
                    // A message that comes meanwhile sets it again.
                    state.republish = false;
                    Ok(bundle_items(&state.account()?, &this.own))
                })
                .await?;
            if let Err(error) = pep::publish(server, items).await {
                self.change(|_, state| {
                    state.republish = true;
                    Ok(())
                })
                .await?;
                return Err(error);
            }
        }
        if answers || !repairs.is_empty() || republish {
            let stanzas = self.change(|_, state| answer(state)).await?;
            for stanza in stanzas {
                server.send_unconfirmed(stanza).await;
            }
        }
        Ok(written)
    }
}

/// Starts a broken session again with a fresh bundle; the empty message that follows carries the key exchange.
fn start_again(
    this: &Device,
    state: &mut State,
    address: &Address,
    fetched: Fetched<Bundle>,
) -> Result<(), OmemoError> {
    if !state.repairs.remove(address) {
        // Another process did it.
        return Ok(());
    }
    let Fetched::There(bundle) = fetched else {
        return Ok(());
    };
    let account = state.account()?;
    let old = state
        .sessions
        .get(address)
        .map(SessionEntry::session)
        .transpose()?;
    let session = match old {
        Some(mut session) => match session.restart(&account, &bundle, &mut rng()) {
            Ok(()) => Ok(session),
            // The device was set up anew.
            Err(::omemo::Error::IdentityChanged(_)) => Session::initiate(&account, &bundle, &mut rng()),
            Err(error) => Err(error),
        },
        None => Session::initiate(&account, &bundle, &mut rng()),
    };
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            // The bundle is worthless, and the session stays broken. An error would come back with every message.
            tracing::debug!(jid = address.jid, %error, "cannot start a session again");
            return Ok(());
        }
    };
    let now = now();
    this.trust_rules().note(state, &address.jid, &bundle.identity_key);
    state
        .sessions
        .insert(address.clone(), SessionEntry::of(&session, now));
    state.answers.insert(address.clone());
    Ok(())
}

/// Encrypts the empty messages that are owed.
fn answer(state: &mut State) -> Result<Vec<String>, OmemoError> {
    let mut account = state.account()?;
    // The waiting messages are read: their private prekeys are not needed again.
    account.delete_used_prekeys();
    state.set_account(&account);
    let now = now();
    let mut stanzas = Vec::new();
    while stanzas.len() < ANSWERS_MAX
        && let Some(address) = state.answers.pop_first()
    {
        let Some(entry) = state.sessions.get(&address) else {
            continue;
        };
        let mut session = entry.session()?;
        let mut message = MessageBuilder::empty(address.version, account.device_id(), &mut rng());
        if message.add(&address.jid, address.device, &mut session).is_ok() {
            state
                .sessions
                .insert(address.clone(), SessionEntry::of(&session, now));
            stanzas.push(empty_stanza(&address.jid, &message.finish()));
        }
    }
    Ok(stanzas)
}

/// Without body, encryption element and receipt request: clients would show it as a message.
fn empty_stanza(to: &str, encrypted: &Encrypted) -> String {
    Element::new("message", ns::CLIENT)
        .attr("type", "chat")
        .attr("to", to)
        .attr("id", id::uuid())
        .child(from_omemo(&encrypted.to_element()))
        .child(Element::new("store", ns::HINTS))
        .to_xml()
}
