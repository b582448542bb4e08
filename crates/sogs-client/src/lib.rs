//! Talk to a Session community server as a user or a bot.
//!
//! ```no_run
//! use sogs_client::{Identity, JoinLink, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let link: JoinLink = "https://sogs.example.org/main?public_key=0123456789abcdef…".parse()?;
//! let me = Identity::from_mnemonic("thirteen words …")?;
//! let room = Server::connect(&link, me)?.room(link.room());
//! let posted = room.post("Hello from a script").await?;
//! println!("it stands there as message {}", posted.id);
//! # Ok(())
//! # }
//! ```
//!
//! | what | where |
//! |---|---|
//! | a server, an account on it, how to get there | [`Server`], [`ServerBuilder`], [`Encrypt`], [`OnionPath`] |
//! | rooms: read, post, react, files, moderate | [`Room`], [`Post`], [`Message`] |
//! | held posts and reports, on servers of Ackpost | [`moderation`] |
//! | direct messages | [`Inbox`] |
//! | what happens, as a stream | [`poll`] |
//! | bots | [`bot`] |
//! | several calls in one request | [`Batch`], [`calls`] |
//! | failures, each with cause and remedy | [`SogsError`], [`Cause`] |
//!
//! Messages come decoded, unpadded and verified: a message whose signature does not fit shows that
//! ([`Message::problem`]) and never gives its content as its author's word.
//!
//! The crate reads no file and no configuration; secrets are handed in. Only proxies are taken from the environment.

mod batch;
pub mod bot;
mod call;
mod call_types;
pub mod calls;
mod differences;
mod edit;
mod error;
mod history;
mod inbox;
mod listing;
pub mod moderation;
pub mod poll;
mod post;
mod proof;
mod room;
mod server;
mod transport;
pub mod types;

pub use ackpost_tls::Verify;
pub use batch::{Batch, BatchAnswers, MAX_CALLS, Ticket};
pub use call::Call;
pub use call_types::{Download, Edited, ListOptions, MAX_LIMIT, Posted, RoomUpdate, Upload, UploadedFile};
pub use differences::Difference;
pub use error::{Ban, Cause, RATE_LIMIT_WINDOW, SogsError};
pub use inbox::Inbox;
pub use post::{Post, PreparedPost};
pub use room::{OwnPost, Room};
pub use server::{Blinding, Clock, RawAnswer, Server, ServerBuilder};
pub use session_protocol::onion::Cipher;
pub use session_protocol::onion::path::Hop;
pub use session_protocol::{Identity, JoinLink, RoomToken, ServerKey, SessionId, Signer};
pub use transport::http::{AddressRule, Progress};
pub use transport::{Encrypt, OnionPath};
pub use types::{Message, MessageProblem, RoleChange, RoomInfo, Row, Scope, Withheld};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
