//! Direct messages over Session's storage network, with a proof of delivery: signed receipts of the nodes.
//!
//! ```no_run
//! use session_network::{FolderStorage, Identity, Network, Sender};
//!
//! # async fn example(phrase: &str, recipient: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::builder().storage(FolderStorage::new("/var/lib/bot/session")).build()?;
//! let bot = Sender::new(Identity::from_mnemonic(phrase)?, "Backup")?;
//! for delivery in network.send_text(&bot, &recipient.parse()?, "disk is full").await? {
//!     println!("{delivery}"); // stored, signed by 5 of 7 nodes
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | what | where |
//! |---|---|
//! | a network: seeds, hops, limits | [`Network`], [`NetworkBuilder`], [`Seed`], [`Mode`] |
//! | send | [`Sender`], [`Draft`], [`PreparedMessage`], [`Delivery`] |
//! | read | [`Mailbox`], [`Event`], [`IncomingMessage`] |
//! | files | [`Network::upload`], [`Draft::files`], [`IncomingMessage::files`], [`Network::download`] |
//! | answer messages | [`bot::Bot`], [`bot::Command`], [`bot::Context`] |
//! | what is kept between runs | [`Storage`], [`FolderStorage`], [`MemoryStorage`] |
//! | failures, each with cause and remedy | [`NetworkError`], [`Cause`] |
//!
//! # What a delivery proves
//!
//! Every node that stores a message signs its hash. [`Network::send`] succeeds if valid signatures of more than half
//! of the nodes of the recipient's swarm are there; which nodes these are comes from the list of nodes, not from the
//! answer. A hash commits to mailbox and bytes, so a signature proves that its node had this message. It does not
//! prove that the recipient fetched or read it, and not how long the node keeps it. Session shows a first message
//! from an unknown account as a message request.
//!
//! # What keeps messages single
//!
//! A [`PreparedMessage`] never changes. Nodes know a message by its hash, so that storing it again, on any node,
//! gives the same message. Each message has its own time, taken from a counter in the [`Storage`], because apps drop
//! messages whose time they have seen before.
//!
//! # Which answers are believed
//!
//! The first list of nodes comes from a seed that is known by its key or by its certificate. After two hours another
//! list is made of what two of three random nodes say alike, and of at least half as many nodes. Every answer is authenticated by the key of its node,
//! whoever passes it on. One node alone can neither move the clock, unless the clock of this system cannot be right, nor move a
//! mailbox to another swarm, nor make a message fail permanently, nor make this program believe that its list is old or that an
//! account publishes keys of version 2.
//!
//! The crate speaks version 1 of Session's protocol, recognises version 2 and says so. Formats and sources:
//! [`session_protocol::network`].

#![warn(clippy::missing_errors_doc)]

pub mod bot;
mod call;
mod clock;
mod directory;
mod draft;
mod error;
mod exchange;
mod file;
mod files;
mod http;
mod mailbox;
mod network;
mod nodes;
mod prepared;
mod routes;
mod seed;
mod self_test;
mod send;
mod storage;
mod swarm_request;
mod text;
mod timestamps;
mod version;

pub use clock::SystemClock;
pub use directory::LIST_LIFETIME;
pub use draft::{Disappearing, Draft, MAX_NAME_LEN_BYTES, Sender};
pub use error::{Cause, NetworkError};
pub use file::{FileServer, MAX_FILES, UploadedFile};
pub use http::HttpFault;
pub use mailbox::{Event, IncomingMessage, Mailbox, Polled};
pub use network::{Mode, Network, NetworkBuilder};
pub use prepared::PreparedMessage;
pub use seed::{MAX_SEEDS, Seed};
pub use self_test::{SeedAnswer, SelfTest};
pub use send::Delivery;
pub use session_protocol::content::AttachmentPointer;
pub use session_protocol::network::faults::PathFault;
pub use session_protocol::network::files::{FileError, MAX_FILE_LEN_BYTES};
pub use session_protocol::network::message::MessageError;
pub use session_protocol::network::nodes::{Node, NodeList};
pub use session_protocol::network::storage::MessageHash;
pub use session_protocol::network::storage::receipts::{Receipt, ReceiptFault};
pub use session_protocol::onion::Cipher;
pub use session_protocol::{Identity, SessionId};
pub use storage::{FolderStorage, ItemLock, MAX_ITEM_LEN_BYTES, MemoryStorage, Storage};
pub use text::MAX_PIECES;

/// Readers of what is kept between runs, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing {
    /// Reads any bytes as what a file server and the pointer to a file may hold.
    fn read_file(bytes: &[u8]) {
        use session_protocol::network::files;

        let text = String::from_utf8_lossy(bytes).into_owned();
        let pointer = crate::AttachmentPointer {
            key: Some(vec![7; 64]),
            digest: Some(bytes.iter().copied().take(32).collect()),
            url: Some(text.clone()),
            ..crate::AttachmentPointer::default()
        };
        assert!(files::open(&pointer, bytes).is_err());
        let numbers = [files::number_of(&pointer), files::uploaded_number(bytes).ok()];
        for number in numbers.into_iter().flatten() {
            assert!(!number.contains(['/', '.', ' ']));
        }
        if let Ok(server) = text.parse::<crate::FileServer>() {
            assert_eq!(server.to_string().parse(), Ok(server));
        }
    }

    /// Reads any bytes as a kept list of nodes, a kept mailbox, a bot's memory, a guard, a
    /// kept message and a seed.
    pub fn read(bytes: &[u8]) {
        if let Some((list, ..)) = crate::directory::decode(bytes) {
            assert!(!list.nodes().is_empty());
        }
        crate::bot::read_any(bytes);
        read_file(bytes);
        let mut journal = crate::mailbox::State::default();
        journal.add_journal(bytes);
        if let Some(state) = crate::mailbox::State::from_bytes(bytes) {
            let saved = state.to_bytes();
            assert_eq!(
                crate::mailbox::State::from_bytes(&saved).map(|state| state.to_bytes()),
                Some(saved)
            );
        }
        let _ = crate::routes::Guard::from_bytes(bytes);
        if let Ok(message) = crate::PreparedMessage::from_bytes(bytes) {
            assert_eq!(
                crate::PreparedMessage::from_bytes(&message.to_bytes()).as_ref(),
                Ok(&message)
            );
        }
        if let Ok(text) = core::str::from_utf8(bytes)
            && let Some((name, rest)) = ackpost_bot::line::split(text)
        {
            assert!(!name.contains(char::is_whitespace));
            let _ = ackpost_bot::line::arguments(rest);
        }
        if let Ok(text) = core::str::from_utf8(bytes)
            && let Ok(seed) = text.parse::<crate::Seed>()
        {
            assert_eq!(seed.to_string().parse(), Ok(seed));
        }
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
                super::read(&bytes);
            }

            #[test]
            fn any_text_is_a_seed_or_refused(text in "(https://|[0-9a-f]{64}@)?.{0,80}") {
                super::read(text.as_bytes());
            }
        }
    }
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
