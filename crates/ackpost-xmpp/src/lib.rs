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
//! server allows, and returns the result for each. [`Session`] keeps the connection.
//!
//! "Delivered" means here that the other side confirmed the message. [`ConfirmedBy`] describes the limits
//! of each confirmation.
//!
//! The crate does not access the file system and installs no TLS provider; passwords come in as
//! [`secrecy::SecretString`] and never reach a log.

#![warn(clippy::missing_errors_doc)]

mod account;
mod addressee;
pub mod bot;
mod connect;
mod delivery;
mod dns;
mod error;
mod features;
mod id;
mod jid;
mod login;
mod message;
mod ns;
#[cfg(feature = "omemo")]
pub mod omemo;
mod oneshot;
mod parts;
pub mod probe;
mod sasl;
mod session;
mod stanza;
mod stanza_error;
mod stream;
mod styling;
mod tls;
mod token_store;
mod upload;
mod xhtml;
mod xml;

pub use account::{Account, AddressRule, ChannelBinding, Dns, Mode, Plain};
pub use ackpost_tls::Verify;
pub use error::{Doubt, Step, XmppError};
pub use jid::{Jid, JidError};
pub use message::{
    About, Attachment, Confirm, ConfirmedBy, Content, Delivered, MAX_STANZA_WIRE_BYTES, MessageType, Note,
    Outcome, Outgoing, RoomTarget, Target, WireTexts,
};
pub use oneshot::send;
pub use session::{
    ArchivePlace, Departure, Encryption, Event, Events, Fallback, Moderated, Received, Reply, Retraction,
    Session, SessionOptions,
};
pub use styling::styling_from_markdown;
pub use token_store::{FastToken, ProcessTokenStore, SavedLogin, TokenStore};
pub use xml::{char_wire_len, wire_len};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
