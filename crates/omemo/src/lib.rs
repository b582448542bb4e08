#![doc = include_str!("../README.md")]
//!
//! # Structure
//!
//! | type | content |
//! |---|---|
//! | [`Account`] | this device: [`Identity`], device id, private prekeys of both versions |
//! | [`Bundle`], [`DeviceList`] | public data that devices publish over PEP |
//! | [`Session`] | secret state shared with one other device in one [`Version`] |
//! | [`MessageBuilder`], [`Encrypted`] | a message, encrypted for several devices |
//! | [`Attachment`] | the key of an encrypted file, in one piece or in many |
//! | [`xml::Element`], [`xml::Envelope`] | XML (feature `xml`, on by default) |
//!
//! # Sources
//!
//! XEP-0384 0.3.0 and 0.9 (OMEMO), XEP-0420 (envelopes), XEP-0454 (attachments), and Signal's papers on X3DH, the Double
//! Ratchet and XEdDSA. Each item names its source. The vectors in `vectors/` come from other implementations.
//!
//! # Decisions
//!
//! - The Protocol Buffers of ratchet messages are read and written by hand (some 100 lines): the bytes are
//!   authenticated as they are, so every field must be written in a fixed form and read as slices of the input.
//! - Serialized state is a strict binary format with a format number and a checksum, so that damage is found.
//! - All limits are constants: [`MAX_SKIP`], [`MAX_SKIPPED_KEYS`], [`MAX_PREKEYS`], [`MAX_DEVICES`], [`MAX_KEYS`],
//!   [`MAX_PAYLOAD_BYTES`].

#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc)]

mod account;
mod attachment;
mod bundle;
mod encrypted;
mod error;
mod identity_key;
mod kdf;
mod keys;
mod limits;
mod message;
mod payload;
mod protobuf;
mod ratchet;
mod session;
mod state;
mod version;
mod wire;
pub mod xeddsa;
#[cfg(feature = "xml")]
pub mod xml;

pub use account::{Account, PREKEYS};
pub use attachment::{Attachment, AttachmentDecryptor, AttachmentEncryptor};
pub use bundle::{Bundle, Device, DeviceList, Label, MAX_DEVICES, MAX_LABEL_CHARS, MAX_PREKEYS, PreKey};
pub use encrypted::{Encrypted, EncryptedKey, MAX_KEYS, RecipientKey};
pub use error::Error;
pub use identity_key::IdentityKey;
pub use keys::Identity;
pub use limits::{MAX_SKIP, MAX_SKIPPED_KEYS};
pub use message::{Decrypted, MessageBuilder};
pub use payload::MAX_PAYLOAD_BYTES;
pub use session::Session;
pub use version::{DeviceId, InvalidDeviceId, Version};

#[cfg(test)]
mod vectors;
