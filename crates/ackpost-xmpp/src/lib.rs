//! One XMPP account: connect, log in, join, send, confirm, receive.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ackpost_xmpp::Account;
//!
//! let account = Account::new("bot@example.org".parse()?, "secret".to_owned().into());
//! account.send("jane@example.org".parse()?, "hello").await?;
//! # Ok(()) }
//! ```
//!
//! [`send`] opens a connection, sends messages to people and rooms in as few round trips as the
//! server allows, and says for each what came of it. [`Session`] keeps the connection.
//!
//! What "delivered" means here: the other side said so. What it does not mean is written at
//! [`ConfirmedBy`].
//!
//! The crate knows no file system and installs no TLS provider; passwords come in as
//! [`secrecy::SecretString`] and never reach a log.

mod account;
mod asked;
mod conditions;
mod connect;
mod courier;
mod dns;
mod error;
mod features;
mod id;
mod jid;
mod login;
mod memory;
mod message;
mod ns;
mod oneshot;
mod probe;
mod sasl;
mod session;
mod stanza;
mod stream;
mod styling;
mod tls;
mod upload;
mod xhtml;
mod xml;

pub use account::{Account, AddressRule, ChannelBinding, Dns, Mode, Plain, Verify};
pub use error::{Doubt, Step, XmppError};
pub use jid::{Jid, JidError};
pub use memory::{FastToken, ProcessTokenStore, Remembered, TokenStore};
pub use message::{
    Attachment, Confirm, ConfirmedBy, Content, Delivered, MAX_STANZA_WIRE_BYTES, MessageType, Note, Outcome,
    Outgoing, RoomTarget, Target, WireTexts,
};
pub use oneshot::send;
pub use probe::{Candidate, ChosenMechanism, Joined, Offered, Probe, RoomFacts, addresses, offer, servers};
pub use session::{ArchivePlace, Event, Events, Received, Session, SessionOptions};
pub use styling::styling_from_markdown;
pub use xml::{char_wire_len, wire_len};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
