//! Session bytes and cryptography: bytes in, values out.
//!
//! This crate knows the formats of Session communities (SOGS) and of Session's storage network, and nothing of the world around them: no sockets, no
//! clock, no global randomness, no logging. Whatever depends on time or chance takes it as a parameter, so every
//! result can be checked against the reference vectors.
//!
//! ```
//! use session_protocol::auth::Request;
//! use session_protocol::{Identity, ServerKey};
//!
//! # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
//! # let now = 1_764_460_800;
//! # let server_key: ServerKey = "c3b3c6f32f0ab5a57f853cc4f30f5da7fda5624b0c77b3fb0829de562ada081d".parse()?;
//! let identity = Identity::generate(&mut rng);
//! let request = Request { method: "GET", path: "/rooms", body: b"" };
//! let headers = identity.sign_request(&request, &server_key, now, &mut rng);
//! # assert_eq!(headers.pairs().len(), 4);
//! # Ok::<(), session_protocol::IdError>(())
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`id`], [`link`] | ids, room tokens, server keys, join links: parsed once, printed as on the wire |
//! | [`person`] | ways to name a person: id, short id, number of a message, display name |
//! | [`keys`], [`mnemonic`] | an account from a seed or a recovery phrase; Ed25519, X25519, XEd25519 |
//! | [`blind`] | blinded ids (15 and 25), their keys, signatures and matching |
//! | [`auth`] | request authentication: headers for a client, verification for a server |
//! | [`content`], [`padding`], [`message`] | the protobuf of a message, its padding, its signature |
//! | [`onion`] | onion requests v4 and v3, both ends, and the hops between them |
//! | [`dm`] | direct messages between blinded ids |
//! | [`network`] | direct messages to a Session ID over the storage network: messages, nodes, requests, receipts |
//!
//! Secret keys wipe themselves when dropped and have no printing `Debug`. Every parser is total and bounded: any
//! bytes from outside give a value or a typed error.

pub mod auth;
pub mod blind;
pub mod content;
pub mod dm;
pub mod encoding;
pub mod id;
pub mod keys;
pub mod link;
pub mod message;
pub mod mnemonic;
pub mod network;
pub mod onion;
pub mod padding;
pub mod person;

pub use auth::Signer;
pub use id::{IdError, Prefix, RoomToken, ServerKey, SessionId};
pub use keys::{Identity, ServerSecret};
pub use link::JoinLink;

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
