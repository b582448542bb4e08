//! Addresses of the public internet. An address that a stranger names must not reach into a private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Remedy for a host that is not on the public internet.
pub(crate) const REMEDY: &str = "use a host on the public internet, or allow others with `private_addresses = true` in \
    gateway.toml";

/// Returns true for addresses of the public internet only.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Shared address space of providers (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544),
        // 6to4 relays (RFC 7526).
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 88 && c == 99);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // An IPv4 address in any of its IPv6 clothes is judged as what it is.
    if let Some(v4) = embedded_v4(address) {
        return is_public_v4(v4);
    }
    let first = address.segments()[0];
    let second = address.segments()[1];
    // Only global unicast is given out (2000::/3), without documentation (RFC 3849, RFC 9637), Teredo, ORCHID and
    // benchmarks (2001::/23).
    (0x2000..0x4000).contains(&first)
        && !(first == 0x2001 && (second == 0x0db8 || second < 0x0200))
        && !(first == 0x3fff && second < 0x1000)
}

/// Returns the IPv4 address in `::ffff:a.b.c.d`, `::a.b.c.d`, `64:ff9b::a.b.c.d` (NAT64) and `2002:abcd::` (6to4).
///
/// In `64:ff9b:1::/48`, which networks use for a NAT64 of their own (RFC 8215), the place of the IPv4 address depends on
/// the network. No address of that prefix is public.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    let compatible = parts[..6].iter().all(|part| *part == 0);
    let mapped = parts[..5].iter().all(|part| *part == 0) && parts[5] == 0xffff;
    let nat64 = parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    if compatible || mapped || nat64 {
        return Some(join(parts[6], parts[7]));
    }
    (parts[0] == 0x2002).then(|| join(parts[1], parts[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for text in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "2002:101:101::",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            // The last 32 bits are public, but the address that is reached is 127.0.0.1 or 10.0.0.1.
            "64:ff9b:1:7f00:0:100:101:101",
            "64:ff9b:1:a00:0:100:101:101",
            "64:ff9b:1::1.1.1.1",
            "64:ff9b::1:1.1.1.1",
            "2002:7f00:1::",
            "2001::1",
            "100::1",
            "fec0::1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
