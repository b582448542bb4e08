//! State of moderation in this process.

use tokio::sync::Notify;

use super::account::Account;

/// State of moderation in this process.
pub(crate) struct Moderation {
    /// The server's own account.
    pub(crate) account: Account,
    /// Signal that something changed that a notice shows.
    pub(super) wake: Notify,
}

impl Moderation {
    pub(crate) fn new(secret: &session_protocol::ServerSecret) -> Self {
        Self {
            account: Account::new(secret),
            wake: Notify::new(),
        }
    }

    /// Makes the job check its work at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}
