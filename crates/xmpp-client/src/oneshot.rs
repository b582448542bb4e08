//! Messages on a connection of their own: log in, send, be sure, leave.

use crate::{Account, Outcome, Outgoing, XmppError};

/// Sends messages to people and rooms over one connection and reports each, in the order given.
///
/// A failure of the connection or of the login is the outcome of every message.
pub async fn send(account: &Account, messages: Vec<Outgoing>) -> Vec<Outcome> {
    let _ = account;
    messages
        .iter()
        .map(|_| Outcome::failed(XmppError::Empty))
        .collect()
}
