//! The device of an account, and transactions on its state.

use std::sync::Arc;

use super::error::OmemoError;
use super::options::Omemo;
use super::store::{State, transact};
use super::trust_rules::TrustRules;
use crate::account::Account;
use crate::jid::Jid;

/// The device together with the account that it belongs to.
#[derive(Clone)]
pub(crate) struct Device {
    pub(super) omemo: Arc<Omemo>,
    /// Bare address of the account.
    pub(super) own: Jid,
}

impl Device {
    /// Returns the device of the account, if it has one.
    pub(crate) fn of(account: &Account) -> Option<Self> {
        account.omemo.as_ref().map(|omemo| Self {
            omemo: omemo.clone(),
            own: account.jid.to_bare(),
        })
    }

    /// The rules by which keys are accepted.
    pub(super) fn trust_rules(&self) -> TrustRules<'_> {
        TrustRules {
            policy: self.omemo.policy,
            pins: &self.omemo.pins,
        }
    }

    /// Runs one transaction on the state, away from the threads that serve connections.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Self, &mut State) -> Result<T, OmemoError> + Send + 'static,
    ) -> Result<T, OmemoError> {
        let this = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let own = this.own.to_string();
            transact(&*this.omemo.store, &own, |state| change(&this, state))
        });
        task.await.unwrap_or_else(|_| {
            Err(OmemoError::StateNotSaved {
                reason: "the transaction was cut off".to_owned(),
            })
        })
    }
}
