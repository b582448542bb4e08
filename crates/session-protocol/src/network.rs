//! Direct messages to a Session ID over Session's storage network.
//!
//! The mailbox of an account is on the service nodes of one swarm. A sender seals a message ([`message`]), finds the
//! swarm ([`nodes`]), and asks one of its nodes to store the bytes ([`storage`]), straight or through hops ([`rpc`]).
//! Each node answers with a signed receipt. [`agreement`], [`paths`] and [`faults`] decide which nodes to believe in and
//! to call, and what a failed call asks for; they send nothing either.
//!
//! ```
//! use session_protocol::Identity;
//! use session_protocol::network::message::{self, TextMessage};
//! use session_protocol::network::storage::{MAX_TTL_MS, Namespace, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
//! # let now_ms = 1_795_966_656_538;
//! let (bot, reader) = (Identity::generate(&mut rng), Identity::generate(&mut rng));
//! let text = TextMessage { body: "disk is full", sender_name: "bot", name_changed_secs: 1_764_460_800, timestamp_ms: now_ms };
//! let data = message::seal(&text.to_content(), &bot, &reader.session_id(), &mut rng)?;
//!
//! let store = Store::new(&reader.session_id(), Namespace::DEFAULT, now_ms, MAX_TTL_MS, &data)?;
//! let _request = store.to_call(); // Seal it to a node with `rpc::Call::seal`.
//! let _hash = store.hash(); // Each node of the swarm signs this.
//!
//! let opened = message::open(&data, &reader)?;
//! assert_eq!(opened.sender, bot.session_id());
//! assert_eq!(opened.content.body(), Some("disk is full"));
//! # Ok(())
//! # }
//! ```
//!
//! The formats are those of protocol version 1, which every released app of 2026 reads and writes. A message of
//! version 2 is recognised and refused as such ([`message::WireVersion`]).
//!
//! Sources: the storage server of the Oxen and Session projects (MIT; versions 2.6 to 2.11), and the behaviour of
//! Session's apps and of libsession. Every format is checked against vectors that libsession and real nodes made.

pub mod agreement;
pub mod content;
mod entries;
pub mod faults;
pub mod files;
pub mod message;
pub mod nodes;
pub mod paths;
pub mod rpc;
mod saved_nodes;
mod sealed_box;
pub mod storage;
mod wire;
