//! The own device: made at the first message, published until the device lists show it.

use ::omemo::{Account, DeviceId, DeviceList, Identity};

use super::device::Device;
use super::error::OmemoError;
use super::pep::{self, Fetched, VERSIONS};
use super::server::Server;
use super::store::{Address, State, ids};
use super::system::{now, rng};
use crate::error::XmppError;
use crate::jid::Jid;

/// Largest age of a signed prekey, in seconds (XEP-0384 0.9: a week to a month).
const SIGNED_PREKEY_AGE_MAX: u64 = 7 * 24 * 3600;
/// Maximum number of times that the own entry is put back into a list that others overwrote meanwhile.
pub(crate) const ROUNDS_MAX: usize = 3;

impl Device {
    /// Makes the device when there is none, and publishes bundles and lists until the lists show it.
    pub(super) async fn publish(&self, server: &mut impl Server) -> Result<(), XmppError> {
        self.publish_with(server, false, ROUNDS_MAX).await.map(drop)
    }

    /// Publishes like [`publish`](Self::publish), and returns the number of times that lists were written.
    ///
    ///
    ///
    /// With `anew`, lists that show the device are published as well, which repairs the options of their nodes. Lists
    /// are written at most `rounds` times.
    pub(super) async fn publish_with(
        &self,
        server: &mut impl Server,
        anew: bool,
        rounds: usize,
    ) -> Result<usize, XmppError> {
        let mut lists = self.own_lists(server).await?;
        let taken: Vec<DeviceId> = lists.iter().flat_map(ids).collect();
        let bundles = self
            .change(move |this, state| this.own_bundles(state, &taken))
            .await?;
        let device = bundles.0;
        pep::publish(server, bundles.1).await?;
        let mut written = 0;
        for round in 0..rounds.min(ROUNDS_MAX) {
            let mut changed = Vec::new();
            for list in &mut lists {
                if list.insert(device) || (anew && round == 0) {
                    changed.push(pep::Item::list(list));
                }
            }
            if changed.is_empty() {
                break;
            }
            pep::publish(server, changed).await?;
            written += 1;
            // Another device may have written its own list at the same moment.
            lists = self.own_lists(server).await?;
        }
        let own = self.own.to_string();
        self.change(move |_, state| {
            let now = now();
            for list in &lists {
                state.set_list(&own, list.version(), ids(list), now);
            }
            state.published = now;
            state.republish = false;
            Ok(())
        })
        .await?;
        Ok(written)
    }

    async fn own_lists(&self, server: &mut impl Server) -> Result<Vec<DeviceList>, XmppError> {
        let questions = VERSIONS.map(|version| pep::list_question("", version));
        let answers = server.ask_all(questions.into()).await;
        let mut lists = Vec::new();
        for (version, answer) in VERSIONS.into_iter().zip(&answers) {
            lists.push(match pep::read_list(answer, version) {
                Fetched::There(list) => list,
                Fetched::Broken | Fetched::Nothing => DeviceList::new(version),
                // Publishing without having read would remove the other devices.
                Fetched::Later(reason) => {
                    return Err(OmemoError::Unavailable {
                        of: self.own.clone(),
                        reason,
                    }
                    .into());
                }
            });
        }
        Ok(lists)
    }

    /// Returns the own device, made when there is none, and its bundles.
    fn own_bundles(
        &self,
        state: &mut State,
        taken: &[DeviceId],
    ) -> Result<(DeviceId, Vec<pep::Item>), OmemoError> {
        let now = now();
        let account = if state.own.is_none() {
            let mut device = DeviceId::random(&mut rng());
            while taken.contains(&device) {
                device = DeviceId::random(&mut rng());
            }
            let account = Account::new(Identity::generate(&mut rng()), device, now, &mut rng());
            // Nothing in the archive is for this device yet.
            state.archive = None;
            state.archive_read = now;
            state.set_account(&account);
            account
        } else {
            let mut account = state.account()?;
            if account.rotate_signed_prekeys(now, SIGNED_PREKEY_AGE_MAX, &mut rng()) {
                state.set_account(&account);
            }
            account
        };
        Ok((account.device_id(), bundle_items(&account, &self.own)))
    }
}

/// The bundles of this device, to publish.
pub(super) fn bundle_items(account: &Account, own: &Jid) -> Vec<pep::Item> {
    VERSIONS
        .into_iter()
        .filter_map(|version| {
            let address = Address {
                jid: own.to_string(),
                version,
                device: account.device_id(),
            };
            let element = account.bundle(version).to_element().ok()?;
            Some(pep::Item::bundle(&address, &element))
        })
        .collect()
}
