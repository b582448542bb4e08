//! Proven and unproven properties of the service, and the day on which the live network worked.

use ackpost_notify::Diagnostic;
use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest as _};
use serde::{Deserialize, Serialize};
use session_network::{FolderStorage, SelfTest, Storage as _};

use crate::network_options::NetworkOptions;

/// The label of the service: what was proven and what was not.
pub const EXPERIMENTAL: &str = "Experimental. Not proven: the live network, and Session's apps. Proven: the formats, with vectors of \
libsession and real storage nodes. Both directions work with session-python 1.0.5. Failures, and kills of the sender, are tested \
against fake nodes. `ackpost doctor --live URL` tries the live network from this machine.";

/// The note about a recipient who publishes keys for version 2 of the protocol.
pub const RECIPIENT_HAS_VERSION_2: &str =
    "the recipient publishes keys for version 2 of the protocol, which this program does not write";
/// The remedy for [`RECIPIENT_HAS_VERSION_2`].
pub const UPDATE_SOON: &str = "update this program; version 1 stays readable for some months";

/// A day on which a message to oneself was stored and read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LiveProof {
    /// The day, such as `2026-11-30`.
    pub day: String,
    /// Number of nodes that signed.
    pub signed: usize,
    /// Number of nodes in the swarm.
    pub nodes: usize,
    /// The version of this program.
    pub version: String,
}

impl LiveProof {
    pub(crate) fn new(day: &str, test: &SelfTest) -> Self {
        Self {
            day: day.to_owned(),
            signed: test.delivery.signed,
            nodes: test.delivery.swarm,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Keeps the proof for a network.
    pub(crate) fn save(&self, folder: &FolderStorage, network: &NetworkOptions) -> Result<(), Diagnostic> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        folder.save(&item(network), &bytes).map_err(|error| {
            Diagnostic::error(
                format!("the day cannot be kept: {error}"),
                "make the state folder writable for this user",
            )
        })
    }

    /// The last proof of a network.
    pub(crate) fn load(folder: &FolderStorage, network: &NetworkOptions) -> Option<Self> {
        let bytes = folder.load(&item(network)).ok()??;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Each network has its own proof.
fn item(network: &NetworkOptions) -> String {
    let name = network.name();
    if name.is_empty() {
        return "live".to_owned();
    }
    format!("live-{}", hex::encode(Blake2b::<U8>::digest(name)))
}
