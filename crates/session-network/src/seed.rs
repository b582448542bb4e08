//! Seeds: from where the first list of nodes comes, and why it is believed.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

use session_protocol::encoding::array_from_hex;
use session_protocol::network::nodes::{Node, SwarmId};
use url::Url;

use crate::error::{Cause, NetworkError};

/// Maximum number of seeds of one network.
pub const MAX_SEEDS: usize = 32;

/// A seed: an address, and the key or certificate that proves its answer.
///
/// Written as `ED25519@IP:PORT` or `https://HOST:PORT#SHA256`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seed {
    /// A service node that is known by its Ed25519 key. Its answer is sealed under that key.
    Node {
        /// The key.
        ed25519: [u8; 32],
        /// The address.
        ip: Ipv4Addr,
        /// The port for HTTPS.
        port: u16,
    },
    /// A server that is known by its certificate.
    Tls {
        /// The address, without a path.
        url: Url,
        /// SHA-256 of the certificate in DER.
        certificate_sha256: [u8; 32],
    },
}

/// Seed nodes of 2026, from libsession.
const NODES: [&str; 5] = [
    "1f000f09a7b07828dcb72af7cd16857050c10c02bd58afb0e38111fb6cda1fef@95.216.33.113:22100",
    "1f101f0acee4db6f31aaa8b4df134e85ca8a4878efaef7f971e88ab144c1a7ce@37.27.236.229:22101",
    "1f202f00f4d2d4acc01e20773999a291cf3e3136c325474d159814e06199919f@172.96.140.124:22102",
    "1f303f1d7523c46fa5398826740d13282d26b5de90fbae5749442f66afb6d78b@208.73.207.54:22103",
    "1f604f1c858a121a681d8f9b470ef72e6946ee1b9c5ad15a35e16b50c28db7b0@104.194.8.115:22104",
];

/// The three servers whose certificates all apps pin; the certificates are valid until 2033-04-05.
const SERVERS: [&str; 3] = [
    "https://seed1.getsession.org:4443#36ea0b253537988551ee856e4fd20d55011e9c8b27eaa2f34b8f32a0bdf04f2d",
    "https://seed2.getsession.org:4443#c5908dd4139acd96aedd1e45576597650809c8a5ea02af556d4853d45396e0e7",
    "https://seed3.getsession.org:4443#8a0af2c712342f22ce00e53c1601410ef8d84156aee0a9809c32f6f7efbe556e",
];

impl Seed {
    /// Returns the seeds of the public network: five nodes, then three servers.
    pub fn public() -> Vec<Self> {
        NODES
            .iter()
            .chain(&SERVERS)
            .filter_map(|text| text.parse().ok())
            .collect()
    }

    /// The node to call, for a seed that is one.
    pub(crate) fn as_node(&self) -> Option<Node> {
        let Self::Node { ed25519, ip, port } = self else {
            return None;
        };
        Some(Node {
            ip: *ip,
            port: *port,
            ed25519: *ed25519,
            swarm: SwarmId::NONE,
        })
    }

    /// Host and port, for messages.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Node { ip, port, .. } => format!("{ip}:{port}"),
            Self::Tls { url, .. } => {
                let host = url.host_str().unwrap_or_default();
                url.port()
                    .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
            }
        }
    }
}

impl FromStr for Seed {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || {
            let shown: String = text.chars().take(120).filter(|c| !c.is_control()).collect();
            NetworkError::new(Cause::Seed { text: shown })
        };
        if text.len() > 2048 {
            return Err(wrong());
        }
        if text.starts_with("https://") {
            let mut url = Url::parse(text).map_err(|_| wrong())?;
            let certificate_sha256 = url.fragment().and_then(array_from_hex).ok_or_else(wrong)?;
            url.set_fragment(None);
            let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
            if !plain || url.path() != "/" || url.host_str().is_none_or(str::is_empty) {
                return Err(wrong());
            }
            return Ok(Self::Tls {
                url,
                certificate_sha256,
            });
        }
        let (key, address) = text.split_once('@').ok_or_else(wrong)?;
        let (ip, port) = address.split_once(':').ok_or_else(wrong)?;
        let seed = Self::Node {
            ed25519: array_from_hex(key).ok_or_else(wrong)?,
            ip: ip.parse().map_err(|_| wrong())?,
            port: port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        };
        seed.as_node()
            .and_then(|node| node.x25519().ok())
            .ok_or_else(wrong)?;
        Ok(seed)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { ed25519, ip, port } => write!(f, "{}@{ip}:{port}", hex::encode(ed25519)),
            Self::Tls {
                url,
                certificate_sha256,
            } => write!(
                f,
                "{}#{}",
                url.as_str().trim_end_matches('/'),
                hex::encode(certificate_sha256)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_seeds_are_all_usable_and_print_as_they_are_written() {
        let seeds = Seed::public();
        assert_eq!(seeds.len(), NODES.len() + SERVERS.len());
        for (seed, text) in seeds.iter().zip(NODES.iter().chain(&SERVERS)) {
            assert_eq!(seed.to_string(), *text);
        }
    }

    #[test]
    fn seeds_without_a_proof_are_refused() {
        for bad in [
            "",
            "https://seed1.getsession.org:4443",
            "http://seed1.getsession.org#36ea0b253537988551ee856e4fd20d55011e9c8b27eaa2f34b8f32a0bdf04f2d",
            "https://a/path#36ea0b253537988551ee856e4fd20d55011e9c8b27eaa2f34b8f32a0bdf04f2d",
            "https://user@a#36ea0b253537988551ee856e4fd20d55011e9c8b27eaa2f34b8f32a0bdf04f2d",
            "95.216.33.113:22100",
            "0000000000000000000000000000000000000000000000000000000000000000@95.216.33.113:22100",
            "1f000f09a7b07828dcb72af7cd16857050c10c02bd58afb0e38111fb6cda1fef@95.216.33.113:0",
            "1f000f09a7b07828dcb72af7cd16857050c10c02bd58afb0e38111fb6cda1fef@example.org:1",
        ] {
            assert!(bad.parse::<Seed>().is_err(), "{bad}");
        }
    }
}
