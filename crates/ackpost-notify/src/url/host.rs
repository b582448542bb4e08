//! Checks of the text in the place of a host.

use std::net::Ipv6Addr;

/// Reason why a host is not valid.
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
    if text.len() > 253 {
        return Err(HostError::TooLong);
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
    let labels = || name.split('.');
    if labels().count() == 4 && name.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return if labels().all(is_octet) {
            Ok(name)
        } else {
            Err(HostError::Ipv4)
        };
    }
    if labels().all(is_label) {
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
    (bytes.len() <= 63 || is_session_id(label))
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_')
}

/// Returns true for a Session ID, which is in the place of a host in `sessiondm://05…`.
pub(crate) fn is_session_id(text: &str) -> bool {
    text.len() == 66 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// One part of an IPv4 address; leading zeros are let pass.
fn is_octet(label: &str) -> bool {
    label.len() <= 3 && label.parse::<u16>().is_ok_and(|value| value <= 255)
}

fn ipv6(text: &str) -> Result<String, HostError> {
    let inner = text
        .strip_prefix('[')
        .map_or(Some(text), |rest| rest.strip_suffix(']'))
        .ok_or(HostError::Ipv6)?;
    let good = match inner.split_once('%') {
        Some((address, zone)) => {
            is_link_local(address) && !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_alphanumeric())
        }
        None => inner.parse::<Ipv6Addr>().is_ok() && (!inner.contains('.') || is_mapped(inner)),
    };
    if good {
        Ok(format!("[{}]", super::percent::decode(inner)))
    } else {
        Err(HostError::Ipv6)
    }
}

/// Returns true if the address may be in front of a zone: `fe80:` and up to four groups.
fn is_link_local(address: &str) -> bool {
    let groups = |rest: &str| {
        let mut groups = rest.split(':');
        groups.next() == Some("")
            && rest.split(':').count() <= 5
            && groups.all(|group| group.len() <= 4 && group.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    address
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("fe80:"))
        && groups(&address[5..])
}

/// An IPv4 address inside an IPv6 one, in the forms that are in use: `::`, `::ffff:`, `::ffff:0:`, or one to four
/// groups and `::` in front of it.
fn is_mapped(address: &str) -> bool {
    let head = address.rsplit_once(':').map_or("", |(head, _)| head);
    let Some(groups) = head.strip_prefix(':') else {
        return head
            .strip_suffix(':')
            .is_some_and(|groups| (1..=4).contains(&groups.split(':').count()) && !groups.contains("::"));
    };
    let words: Vec<&str> = groups.split(':').collect();
    let zeros = |word: &str| !word.is_empty() && word.bytes().all(|b| b == b'0');
    match words.as_slice() {
        [""] => true,
        ["", last] => last.eq_ignore_ascii_case("ffff"),
        ["", first, last] => first.eq_ignore_ascii_case("ffff") && zeros(last),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked_as_written() {
        for good in [
            "x.org",
            "a",
            "a.b",
            "ab.1c",
            "12",
            "OPEN.x",
            "a_b",
            "1.2.3.4",
            "01.2.3.004",
            "[::1]",
            "ab.1",
            "1",
            "[::1.2.3.4]",
            "[::ffff:1.2.3.4]",
            "[::FFFF:0:1.2.3.4]",
            "[64:ff9b::1.2.3.4]",
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
            "[1:2:3:4:5:6:1.2.3.4]",
            "[fe80::1%eth-0]",
            "1.2.3.256",
            "b%C3%BC.de",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
