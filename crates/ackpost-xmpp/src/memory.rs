//! What a login may remember for the next one. This crate knows no file system: whoever calls it
//! keeps these values, bound to the account they came from, readable by nobody else.

use std::fmt;
use std::sync::Mutex;

use secrecy::SecretString;

/// A place for what one account remembers between two logins.
///
/// The calls happen during a login, so they should be quick; an error while storing is the
/// keeper's to report, the login does not depend on it.
pub trait TokenStore: Send + Sync {
    /// What was stored last, if anything.
    fn recall(&self) -> Option<Remembered>;
    /// Replaces what is stored. A token in it is a credential.
    fn store(&self, remembered: Remembered);
    /// Drops what is stored: the server refused it.
    fn forget(&self);
}

/// What one account remembers between two logins.
#[derive(Clone)]
pub struct Remembered {
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

/// A FAST token: whoever has it can log in.
#[derive(Clone)]
pub struct FastToken {
    /// The mechanism it is good for, for example `HT-SHA-256-EXPR`.
    pub mechanism: String,
    /// The token itself.
    pub secret: SecretString,
    /// When it ends, as the server wrote it (XEP-0082), if it did.
    pub expiry: Option<String>,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered")
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

/// A memory that lasts as long as the process: for kept sessions.
#[derive(Debug, Default)]
pub struct ProcessTokenStore(Mutex<Option<Remembered>>);

impl TokenStore for ProcessTokenStore {
    fn recall(&self) -> Option<Remembered> {
        self.0.lock().ok()?.clone()
    }

    fn store(&self, remembered: Remembered) {
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
