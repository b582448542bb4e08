//! XMPP addresses (RFC 7622), prepared as Prosody and ejabberd prepare them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The largest part of an address in bytes (RFC 7622 section 3.1).
const PART_MAX_BYTES: usize = 1023;

/// An address: `local@domain/resource`, where local part and resource are optional.
///
/// Parsed once and kept in the form servers compare: the local part by nodeprep (lower case),
/// the domain by nameprep, the resource by resourceprep (case kept). Two addresses that are
/// equal on a server are equal here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    local: Option<Box<str>>,
    domain: Box<str>,
    resource: Option<Box<str>>,
}

/// Reason why a text is not an XMPP address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JidError {
    /// There is no domain.
    #[error("the address has no domain")]
    NoDomain,
    /// There is an `@` with nothing before it.
    #[error("the address has an empty local part")]
    EmptyLocal,
    /// There is a `/` with nothing behind it.
    #[error("the address has an empty resource")]
    EmptyResource,
    /// A part is longer than 1023 bytes.
    #[error("the {part} of the address is longer than 1023 bytes")]
    TooLong {
        /// `local part`, `domain` or `resource`.
        part: &'static str,
    },
    /// A part holds a character that is not allowed there.
    #[error("the {part} of the address is not valid: {reason}")]
    Invalid {
        /// `local part`, `domain` or `resource`.
        part: &'static str,
        /// Message of stringprep or of the domain rules.
        reason: String,
    },
}

impl Jid {
    /// An address from its parts.
    ///
    /// # Errors
    /// [`JidError`] if a part is empty, longer than 1023 bytes, or has characters that stringprep does not allow.
    pub fn new(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Self, JidError> {
        Ok(Self {
            local: local.map(prepare_local).transpose()?,
            domain: prepare_domain(domain)?,
            resource: resource.map(prepare_resource).transpose()?,
        })
    }

    /// The part before the `@`.
    pub fn local(&self) -> Option<&str> {
        self.local.as_deref()
    }

    /// The domain: host name, or an IP address (IPv6 in brackets).
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The part behind the first `/`; in a room, the nick.
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// The same address without its resource.
    #[must_use]
    pub fn to_bare(&self) -> Self {
        Self {
            resource: None,
            ..self.clone()
        }
    }

    /// The same address with this resource.
    ///
    /// # Errors
    /// [`JidError::Invalid`] if the resource is empty, longer than 1023 bytes, or has characters that stringprep does not allow.
    pub fn with_resource(&self, resource: &str) -> Result<Self, JidError> {
        Ok(Self {
            resource: Some(prepare_resource(resource)?),
            ..self.clone()
        })
    }

    /// The domain alone, as an address.
    #[must_use]
    pub fn to_domain(&self) -> Self {
        Self {
            local: None,
            domain: self.domain.clone(),
            resource: None,
        }
    }

    /// Returns true if both name the same account or room, whatever the resource.
    pub fn same_bare(&self, other: &Self) -> bool {
        self.local == other.local && self.domain == other.domain
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        let (rest, resource) = match text.split_once('/') {
            Some((_, "")) => return Err(JidError::EmptyResource),
            Some((rest, resource)) => (rest, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match rest.split_once('@') {
            Some(("", _)) => return Err(JidError::EmptyLocal),
            Some((local, domain)) => (Some(local), domain),
            None => (None, rest),
        };
        Self::new(local, domain, resource)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(local) = &self.local {
            write!(f, "{local}@")?;
        }
        f.write_str(&self.domain)?;
        if let Some(resource) = &self.resource {
            write!(f, "/{resource}")?;
        }
        Ok(())
    }
}

fn prepare_local(text: &str) -> Result<Box<str>, JidError> {
    if text.is_empty() {
        return Err(JidError::EmptyLocal);
    }
    let invalid = |reason: String| JidError::Invalid {
        part: "local part",
        reason,
    };
    let prepared = prepare(text, stringprep::nodeprep).map_err(&invalid)?;
    if prepared.is_empty() {
        return Err(JidError::EmptyLocal);
    }
    // The crate's fast path lets some characters through that nodeprep forbids.
    if let Some(c) = prepared
        .chars()
        .find(|c| matches!(c, '"' | '&' | '\'' | '/' | ':' | '<' | '>' | '@' | ' '))
    {
        return Err(invalid(format!("prohibited character `{c}`")));
    }
    bounded("local part", &prepared)
}

fn prepare_domain(text: &str) -> Result<Box<str>, JidError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(JidError::NoDomain);
    }
    let invalid = |reason: String| JidError::Invalid {
        part: "domain",
        reason,
    };
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = inner
            .parse()
            .map_err(|_| invalid("not an IPv6 address".to_owned()))?;
        return Ok(format!("[{address}]").into_boxed_str());
    }
    // RFC 7622 section 3.2: labels are in their Unicode form (U-labels), also when they were written in
    // the form of DNS (A-labels).
    let (prepared, valid) = idna::domain_to_unicode(text);
    if valid.is_err() {
        return Err(invalid("not a valid internationalised domain".to_owned()));
    }
    if let Some(c) = prepared.chars().find(|c| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | '&' | '\'' | '/' | ':' | '<' | '>' | '@')
    }) {
        return Err(invalid(format!("prohibited character `{c}`")));
    }
    if prepared.split('.').any(str::is_empty) {
        return Err(invalid("an empty label".to_owned()));
    }
    bounded("domain", &prepared)
}

fn prepare_resource(text: &str) -> Result<Box<str>, JidError> {
    if text.is_empty() {
        return Err(JidError::EmptyResource);
    }
    let prepared = prepare(text, stringprep::resourceprep).map_err(|reason| JidError::Invalid {
        part: "resource",
        reason,
    })?;
    if prepared.is_empty() {
        return Err(JidError::EmptyResource);
    }
    bounded("resource", &prepared)
}

/// A profile of stringprep, which ended with Unicode 3.2. Characters that came later (emoji in nicks)
/// are kept as they are, as servers do; everything around them is prepared.
fn prepare(
    text: &str,
    profile: fn(&str) -> Result<Cow<'_, str>, stringprep::Error>,
) -> Result<String, String> {
    let is_later = stringprep::tables::unassigned_code_point;
    if !text.contains(is_later) {
        return profile(text)
            .map(Cow::into_owned)
            .map_err(|error| error.to_string());
    }
    let mut prepared = String::with_capacity(text.len());
    for known in text.split_inclusive(is_later) {
        let later = known.chars().next_back().filter(|&c| is_later(c));
        let known = &known[..known.len() - later.map_or(0, char::len_utf8)];
        prepared.push_str(&profile(known).map_err(|error| error.to_string())?);
        prepared.extend(later);
    }
    Ok(prepared)
}

fn bounded(part: &'static str, prepared: &str) -> Result<Box<str>, JidError> {
    if prepared.len() > PART_MAX_BYTES {
        return Err(JidError::TooLong { part });
    }
    Ok(prepared.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jid(text: &str) -> Jid {
        text.parse().unwrap()
    }

    #[test]
    fn parts_are_prepared_as_servers_compare_them() {
        let address = jid("Jane.Doe@Example.ORG/Café ☕");
        assert_eq!(address.local(), Some("jane.doe"));
        assert_eq!(address.domain(), "example.org");
        assert_eq!(address.resource(), Some("Café ☕"));
        assert_eq!(address.to_string(), "jane.doe@example.org/Café ☕");
        assert_eq!(jid("ALICE@localhost"), jid("alice@LOCALHOST."));
    }

    #[test]
    fn the_resource_starts_at_the_first_slash() {
        let address = jid("conference.example.org/a/b@c");
        assert_eq!((address.local(), address.resource()), (None, Some("a/b@c")));
    }

    #[test]
    fn addresses_that_are_none_say_why() {
        assert_eq!("".parse::<Jid>(), Err(JidError::NoDomain));
        assert_eq!("jane@".parse::<Jid>(), Err(JidError::NoDomain));
        assert_eq!("@host".parse::<Jid>(), Err(JidError::EmptyLocal));
        assert_eq!("a@host/".parse::<Jid>(), Err(JidError::EmptyResource));
        for bad in [
            "a@b@c",
            "a b@host",
            "a'b@host",
            "a&b@host",
            "a@ho st",
            "a@host..org",
            "a@[::1",
            "\u{0}@h",
        ] {
            assert!(
                matches!(bad.parse::<Jid>(), Err(JidError::Invalid { .. })),
                "{bad:?}"
            );
        }
        let long = format!("{}@host", "a".repeat(1024));
        assert_eq!(long.parse::<Jid>(), Err(JidError::TooLong { part: "local part" }));
    }

    #[test]
    fn international_domains_stand_in_unicode_however_they_are_written() {
        for text in [
            "a@im.plä.net",
            "a@im.xn--pl-wia.net",
            "a@IM.PLÄ.NET",
            "a@im。pla\u{308}.net",
        ] {
            assert_eq!(jid(text).domain(), "im.plä.net", "{text}");
        }
        assert_eq!(jid("a@straße.example").domain(), "straße.example");
        assert_eq!(jid("a@xn--strae-oqa.example"), jid("a@straße.example"));
        for bad in ["a@xn--a.example", "a@xn--\u{e4}.example"] {
            assert!(
                matches!(bad.parse::<Jid>(), Err(JidError::Invalid { part: "domain", .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn ipv6_domains_keep_their_brackets() {
        assert_eq!(jid("a@[0:0:0:0:0:0:0:1]").domain(), "[::1]");
    }

    proptest! {
        #[test]
        fn printed_addresses_parse_to_the_same(text in "\\PC{1,30}@[a-zA-Z0-9.]{1,20}(/\\PC{1,20})?") {
            if let Ok(parsed) = text.parse::<Jid>() {
                prop_assert_eq!(parsed.to_string().parse::<Jid>(), Ok(parsed));
            }
        }
    }
}
