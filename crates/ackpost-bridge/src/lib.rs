//! An XMPP room and a Session community as one conversation: each message crosses once, in the order in which it was
//! written.
//!
//! [`run`] carries between one room and one community until it is told to stop. A [`Store`] keeps the messages that
//! crossed and the position up to which each side was read. A process that was killed continues from there; before it
//! repeats a message, it checks whether the message was already sent.

mod backlog;
mod bridge;
mod clock;
pub mod config;
mod error;
mod fetch;
mod from_session;
mod from_xmpp;
mod job;
mod lane;
mod limits;
mod people;
mod refused;
mod shared;
mod state;
mod store;
mod text;
mod to_session;
mod to_xmpp;
mod xmpp_event;

pub use bridge::{Parts, run};
pub use config::{Bridge, Config, ConfigError, DEFAULT_TEXT, Options};
pub use error::BridgeError;
pub use limits::Limits;
pub use store::{Counts, Held, Mapped, Store, StoreError};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
