//! Messages that this process delivered lately, for a program that reads the answers to them.
//!
//! An answer quotes a message by its time; the outbox knows a message by its hash. The process that delivers is the only
//! one that knows both.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use session_network::{PreparedMessage, SessionId};

use crate::account::Account;
use crate::network_options::NetworkOptions;

/// Maximum number of messages that are remembered.
const MAX_SENT: usize = 1_024;

/// The messages, each with the name of its network.
static SENT: Mutex<VecDeque<(String, Sent)>> = Mutex::new(VecDeque::new());

/// A message that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// The account that sent it.
    pub account: SessionId,
    /// Recipient of the message.
    pub recipient: SessionId,
    /// Time by which others quote it, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The id under which the delivery was confirmed.
    pub id: String,
}

/// Remembers a message. The oldest one is forgotten when there are too many.
pub(crate) fn note(account: SessionId, network: &NetworkOptions, message: &PreparedMessage) {
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    if sent.len() >= MAX_SENT {
        sent.pop_front();
    }
    let one = Sent {
        account,
        recipient: *message.recipient(),
        timestamp_ms: message.timestamp_ms(),
        id: message.hash().to_string(),
    };
    sent.push_back((network.name(), one));
}

/// Takes the messages that an account sent over its network in this process since the last call, oldest first.
pub fn take_sent(account: &Account) -> Vec<Sent> {
    let (id, network) = (account.identity.session_id(), account.network_name());
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    let (mine, others): (VecDeque<_>, _) = sent
        .drain(..)
        .partition(|(over, one)| one.account == id && *over == network);
    *sent = others;
    mine.into_iter().map(|(_, one)| one).collect()
}
