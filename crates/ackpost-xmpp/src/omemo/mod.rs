//! End-to-end encryption of messages (OMEMO, XEP-0384) in both versions in use (feature `omemo`).
//!
//! Give an account a device with [`Account::omemo`](crate::Account::omemo): what it sends is then encrypted, and what it
//! receives is decrypted.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use ackpost_xmpp::Account;
//! use ackpost_xmpp::omemo::{EncryptionMode, MemoryStore, Omemo};
//!
//! let device = Omemo::new(Arc::new(MemoryStore::default())).mode(EncryptionMode::Require);
//! let account = Account::new("bot@example.org".parse()?, "secret".to_owned().into()).omemo(device);
//! let delivered = account.send("jane@example.org".parse()?, "hello").await?;
//! for note in &delivered.notes {
//!     println!("{note}"); // encrypted for 2 of 2 devices
//! }
//! # Ok(()) }
//! ```
//!
//! | File | Content |
//! |---|---|
//! | `store.rs` | where state is kept: one transaction for each change |
//! | `options.rs`, `device.rs` | the device that an account is given, and transactions on its state |
//! | `trust.rs`, `trust_rules.rs`, `fingerprint.rs` | decisions about keys, which keys may read, how people compare them |
//! | `pep.rs`, `server.rs` | device lists and bundles of accounts, asked for together |
//! | `own_device.rs`, `sessions.rs`, `prepare.rs` | what has to be known before a message: own device, sessions, lists |
//! | `survey.rs` | the devices that a message is for, and those that are left out |
//! | `sending.rs`, `files.rs` | messages and files to encrypted stanzas |
//! | `receiving.rs`, `archive.rs`, `follow_up.rs` | encrypted stanzas to messages, and what follows from them |
//! | `rooms.rs` | who reads in a room |
//! | `manage.rs` | what people do with devices and keys |
//! | `inspect.rs` | what would be encrypted to whom, without changing anything |

mod archive;
mod device;
mod element;
mod error;
mod files;
mod fingerprint;
mod follow_up;
mod inspect;
mod left_out;
mod manage;
mod options;
mod own_device;
pub(crate) mod pep;
mod prepare;
mod receiving;
mod report;
mod rooms;
mod sending;
pub(crate) mod server;
mod sessions;
mod store;
mod survey;
mod system;
#[cfg(test)]
mod tests;
mod trust;
mod trust_rules;

pub(crate) use device::Device;
pub use error::OmemoError;
pub use fingerprint::{grouped, read_verification_uri, verification_uri};
pub use inspect::{Inspection, NodeFacts, TargetFacts};
pub use left_out::{LeftOut, LeftOutReason};
pub use manage::{DeviceInfo, OwnDevice, Reset};
pub use options::{EncryptionMode, Omemo};
pub(crate) use own_device::ROUNDS_MAX;
pub(crate) use pep::VERSIONS;
pub(crate) use receiving::{EncryptedMessage, Opened, encrypted_of, in_clear};
pub use report::{EncryptedFor, EncryptionReport, NewKey};
pub(crate) use sending::{encrypt, encrypt_at_once};
pub use store::{Change, MemoryStore, OmemoStore, StoreError};
pub use trust::{Trust, TrustPolicy};
