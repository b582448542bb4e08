//! What may stand where a host is expected.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a host is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostError {
    Empty,
    TooLong,
    Invalid,
    Ipv4,
    Ipv6,
}

impl HostError {
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Empty => "the host is missing",
            Self::TooLong => "the host is longer than 253 characters",
            Self::Invalid => "the host is not a valid name",
            Self::Ipv4 => "the host looks like an IPv4 address but is none",
            Self::Ipv6 => "the host is not a valid IPv6 address",
        }
    }
}

/// Checks a host as written; gives it back in the form that is kept (case as written, an IPv6 address in brackets,
/// one trailing dot removed, a name with letters beyond ASCII in its `xn--` form, D29).
pub(crate) fn check(text: &str) -> Result<String, HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.contains(':') || text.starts_with('[') {
        return ipv6(text);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    let name = if text.is_ascii() {
        text.to_owned()
    } else {
        idna::domain_to_ascii(text).map_err(|_| HostError::Invalid)?
    };
    if name.len() > 253 {
        return Err(HostError::TooLong);
    }
    let labels: Vec<&str> = name.split('.').collect();
    if labels.len() == 4
        && labels
            .iter()
            .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()))
    {
        return name
            .parse::<Ipv4Addr>()
            .map(|_| name.clone())
            .map_err(|_| HostError::Ipv4);
    }
    if labels.iter().all(|label| is_label(label)) {
        Ok(name)
    } else {
        Err(HostError::Invalid)
    }
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= 63
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_')
}

fn ipv6(text: &str) -> Result<String, HostError> {
    let inner = text
        .strip_prefix('[')
        .map_or(Some(text), |rest| rest.strip_suffix(']'))
        .ok_or(HostError::Ipv6)?;
    let decoded = super::percent::decode(inner);
    let (address, zone) = match decoded.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (decoded.as_str(), None),
    };
    let parsed: Ipv6Addr = address.parse().map_err(|_| HostError::Ipv6)?;
    if let Some(zone) = zone {
        let link_local = parsed.segments()[0] & 0xffc0 == 0xfe80;
        let plain = !zone.is_empty()
            && zone
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !link_local || !plain {
            return Err(HostError::Ipv6);
        }
    }
    Ok(format!("[{decoded}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked_as_written() {
        for good in [
            "x.org", "a", "a.b", "ab.1c", "12", "OPEN.x", "a_b", "1.2.3.4", "[::1]", "ab.1", "1",
        ] {
            assert_eq!(check(good).as_deref(), Ok(good));
        }
        assert_eq!(check("h.com.").as_deref(), Ok("h.com"));
        assert_eq!(check("::1").as_deref(), Ok("[::1]"));
        assert_eq!(check("[fe80::1%25eth0]").as_deref(), Ok("[fe80::1%eth0]"));
        assert_eq!(check("bücher.de").as_deref(), Ok("xn--bcher-kva.de"));
        for bad in [
            "",
            "h..com",
            "ab-",
            "_ab",
            "1.2.3.400",
            "a b",
            "[::1",
            "[2001:db8::1%eth0]",
            "b%C3%BC.de",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
