//! Session bytes and cryptography: bytes in, values out.
//!
//! This crate knows the formats of Session communities (SOGS) and nothing of the world around them: no sockets, no
//! clock, no global randomness, no logging. Whatever depends on time or chance takes it as a parameter, so every
//! result can be checked against the reference vectors.
//!
//! | module | what |
//! |---|---|
//! | [`id`], [`link`] | ids, room tokens, server keys, join links: parsed once, printed as on the wire |
//! | [`keys`], [`mnemonic`] | an account from a seed or a recovery phrase; Ed25519, X25519, XEd25519 |
//! | [`blind`] | blinded ids (15 and 25), their keys, signatures and matching |
//! | [`auth`] | request authentication: headers for a client, verification for a server |
//! | [`content`], [`padding`], [`message`] | the protobuf of a message, its padding, its signature |
//! | [`onion`] | onion requests v4 and v3, both ends, and the hops between them |
//! | [`dm`] | direct messages between blinded ids |
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
pub mod onion;
pub mod padding;

pub use auth::Signer;
pub use id::{IdError, Prefix, RoomToken, ServerKey, SessionId};
pub use keys::{Identity, ServerSecret};
pub use link::JoinLink;
