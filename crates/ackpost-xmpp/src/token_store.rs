//! Data that a login may keep for the next one. This crate does not access the file system: the caller
//! stores these values for the account they came from, readable by nobody else.

use std::fmt;
use std::sync::Mutex;

use secrecy::SecretString;

/// Storage for the data that one account keeps between two logins.
///
/// The calls happen during a login, so they should be quick. The store itself reports an error while
/// storing; the login does not depend on it.
pub trait TokenStore: Send + Sync {
    /// Returns what was stored last, if anything.
    fn recall(&self) -> Option<SavedLogin>;
    /// Replaces what is stored. A token in it is a credential.
    fn store(&self, remembered: SavedLogin);
    /// Deletes what is stored, because the server refused it.
    fn forget(&self);
}

/// Data that one account keeps between two logins.
#[derive(Clone)]
pub struct SavedLogin {
    /// The random UUID (version 4) of this installation, to which tokens are bound (XEP-0388).
    pub user_agent: String,
    /// The SASL mechanism to begin with before the server has said what it offers; `None` when the
    /// server has no SASL2.
    pub mechanism: Option<String>,
    /// The kind of channel binding that goes with the mechanism.
    pub binding: Option<String>,
    /// The token of XEP-0484.
    pub token: Option<FastToken>,
}

/// A FAST token; its holder can log in.
#[derive(Clone)]
pub struct FastToken {
    /// The mechanism it is good for, for example `HT-SHA-256-EXPR`.
    pub mechanism: String,
    /// The token itself.
    pub secret: SecretString,
    /// Time at which it expires, as the server wrote it (XEP-0082), if it did.
    pub expiry: Option<String>,
}

impl fmt::Debug for SavedLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedLogin")
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FastToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastToken")
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

/// A store that lasts as long as the process: for kept sessions.
#[derive(Debug, Default)]
pub struct ProcessTokenStore(Mutex<Option<SavedLogin>>);

impl TokenStore for ProcessTokenStore {
    fn recall(&self) -> Option<SavedLogin> {
        self.0.lock().ok()?.clone()
    }

    fn store(&self, remembered: SavedLogin) {
        if let Ok(mut slot) = self.0.lock() {
            *slot = Some(remembered);
        }
    }

    fn forget(&self) {
        if let Ok(mut slot) = self.0.lock() {
            *slot = None;
        }
    }
}
