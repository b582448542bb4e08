//! Ackpost's service for direct messages to a Session ID: `sessiondm://05…?seed_file=PATH`.
//!
//! ```
//! use ackpost_notify::service::{SOGS, Services, XMPP};
//! use ackpost_sessiondm::SESSIONDM;
//!
//! static SERVICES: Services = Services::new(&[&SOGS, &XMPP, &SESSIONDM]);
//! assert_eq!(SERVICES.find("sessiondm").unwrap().name, "sessiondm");
//! ```
//!
//! A message is delivered if more than half of the nodes that keep the recipient's mailbox signed it
//! ([`session_network::Network::send`]). Fewer is deferred; the receipts so far are kept with the message. The sealed bytes
//! are handed to the queue before the first send, so that no retry stores a message twice.
//!
//! Experimental: [`EXPERIMENTAL`] says what was proven and what was not.

#![warn(clippy::missing_errors_doc)]

mod account;
mod check;
mod deliver;
mod network_options;
mod networks;
mod piece;
mod proof;
mod sent;
mod service;
mod session_dm;
mod url;

pub use account::{Account, default_account};
pub use networks::FOLDER;
pub use proof::{EXPERIMENTAL, LiveProof, RECIPIENT_HAS_VERSION_2, UPDATE_SOON};
pub use sent::{Sent, take_sent};
pub use service::SESSIONDM;

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
