//! Networks in the notation of CIDR, and the address of a client behind proxies.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One address, or all addresses that share a prefix: `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl Network {
    /// Returns true for an address of the network. An IPv4 address that is written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, length) = bits(self.address);
        let (other, other_length) = bits(address.to_canonical());
        let differing = own ^ other;
        length == other_length && (self.prefix == 0 || differing >> (128 - u32::from(self.prefix)) == 0)
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let prefix = bits(address).1;
        Self { address, prefix }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            format!("`{text}` is not an address or a network: write 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32")
        };
        let text = text.trim();
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| error());
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        if prefix > bits(address).1 {
            return Err(error());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.address).1 {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Returns the address of the client: the peer, or the address that a trusted proxy forwards for, which is the last one
/// in `X-Forwarded-For` that is not a trusted proxy.
pub fn client_address(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let mut found = peer;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        for text in value.to_str().unwrap_or_default().rsplit(',') {
            let Ok(address) = text.trim().parse() else {
                return found;
            };
            found = address;
            if !is_trusted(found) {
                return found;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_forwarded_address_counts_from_trusted_proxies_only() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let trusted = ["10.0.0.0/29".parse().expect("a network")];
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            HeaderValue::from_static("6.6.6.6, 1.2.3.4, 10.0.0.2"),
        );
        for (trusted, peer, client) in [
            (&trusted[..], "9.9.9.9", "9.9.9.9"),
            (&trusted[..], "10.0.0.1", "1.2.3.4"),
            (&[], "10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(client_address(trusted, ip(peer), &headers), ip(client), "{peer}");
        }
        headers.insert("x-forwarded-for", HeaderValue::from_static("nonsense"));
        assert_eq!(client_address(&trusted, ip("10.0.0.1"), &headers), ip("10.0.0.1"));
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.6/31", "192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let parsed: Network = network.parse().expect(network);
            assert_eq!(
                parsed.contains(address.parse().expect(address)),
                inside,
                "{network} {address}"
            );
            assert_eq!(parsed.to_string(), network);
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10/8",
            "2001:db8::/129",
            "host",
            "10.0.0.0/-1",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
