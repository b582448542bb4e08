//! The OMEMO device that an account is given.

use std::sync::Arc;

use super::store::OmemoStore;
use super::trust::TrustPolicy;
use crate::jid::Jid;

/// Rule for a message that cannot be encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EncryptionMode {
    /// It is sent in clear text if the recipient has no OMEMO, and the outcome says so
    /// ([`Note::NotEncrypted`](crate::Note::NotEncrypted)). A recipient who had keys before gets no clear text.
    #[default]
    Auto,
    /// It is not sent. In a room, members without OMEMO are left out, and the outcome names them.
    Require,
    /// It is not sent, also if a member of the room would be left out.
    RequireAll,
}

/// The OMEMO device of an account: the storage of its state, and the rules for encryption.
///
/// The device is made and published at the first message. One state serves many processes at once, if its store locks.
#[derive(Clone)]
pub struct Omemo {
    pub(super) store: Arc<dyn OmemoStore>,
    pub(super) mode: EncryptionMode,
    pub(super) policy: TrustPolicy,
    pub(super) pins: Vec<(Jid, String)>,
}

impl Omemo {
    /// A device whose state is kept in this store, with the defaults: [`EncryptionMode::Auto`] and [`TrustPolicy::Tofu`].
    pub fn new(store: Arc<dyn OmemoStore>) -> Self {
        Self {
            store,
            mode: EncryptionMode::default(),
            policy: TrustPolicy::default(),
            pins: Vec::new(),
        }
    }

    /// Sets what happens to a message that cannot be encrypted.
    pub fn mode(mut self, mode: EncryptionMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets which keys may read messages.
    pub fn trust(mut self, policy: TrustPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Trusts the key with this fingerprint (64 hexadecimal digits, in groups or not) of this account.
    pub fn pin(mut self, jid: &Jid, fingerprint: impl Into<String>) -> Self {
        self.pins.push((jid.to_bare(), fingerprint.into()));
        self
    }
}

impl std::fmt::Debug for Omemo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Omemo")
            .field("mode", &self.mode)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
