//! One URL taken apart: schema, credentials, host, port, path, query.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::host;
use super::number::{is_space, python_int, trim};
use super::percent;
use super::secret_ref::References;
use crate::env::Environment;
use crate::problem::Diagnostic;
use crate::service::{PARAMETERS, Query, row_of, unsupported};

/// Longest URL that is looked at.
const URL_BYTES: usize = 256 * 1024;
/// Most targets of one URL.
const TARGETS: usize = 10_000;

/// The parts of one URL, decoded, references resolved; nothing of it is specific to a service yet.
#[derive(Default)]
pub struct RawUrl {
    pub(crate) schema: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Decoded path segments, in order, empty ones left out.
    pub(crate) path: Vec<String>,
    pub(crate) query: Query,
    /// More than one `@` stood in the authority: what follows the first one was taken for the host.
    pub(crate) many_ats: bool,
}

impl std::fmt::Debug for RawUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawUrl")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl RawUrl {
    /// Takes a URL apart. `host` replaces the URL's own (a configuration entry's key).
    pub(crate) fn parse(text: &str, env: &Environment, host: Option<&str>) -> Result<Self, Diagnostic> {
        let text = trim(text);
        if text.len() > URL_BYTES {
            return Err(Diagnostic::error(
                "the URL is longer than 256 KiB",
                "split it into several",
            ));
        }
        let (mut text, references) = References::extract(text, env)?;
        // A room may be written with its `#`: only elsewhere does that begin a fragment.
        if text.contains("/#") {
            text = text.replace("/#", "/%23").into();
        }
        let whole = Zeroizing::new(if references.is_empty() {
            String::new()
        } else {
            references.expand(text.clone().into_owned())
        });
        // A URL that is nothing but one reference: what it stands for is the URL.
        let (text, references) =
            if !references.is_empty() && schema_of(&text).is_none() && schema_of(&whole).is_some() {
                (Cow::Borrowed(trim(&whole)), References::default())
            } else {
                (text, references)
            };
        let Some((schema, rest)) = schema_of(&text) else {
            return Err(Diagnostic::error(
                "this is not a URL of a service",
                "write it as schema://…, for example xmpps://user:password@host/target",
            ));
        };
        // Another service's URL has other rules: its schema is the cause, whatever else is odd.
        if row_of(&schema).is_none() && !matches!(schema.as_str(), "http" | "https") {
            return Err(unsupported(&schema, ""));
        }
        let (front, query) = match rest.split_once('?') {
            Some((front, query)) => (front, query),
            None => (rest, ""),
        };
        if query.contains('\n') {
            return Err(Diagnostic::error(
                "a line end stands in the query of the URL",
                "write %0A for it, or give the URLs one by one",
            ));
        }
        // The reference's reader drops these three wherever they stand in front of the query.
        let dropped = |byte: u8| matches!(byte, b'\t' | b'\r' | b'\n');
        let front: Cow<'_, str> = if front.bytes().any(dropped) {
            front.replace(['\t', '\r', '\n'], "").into()
        } else {
            front.into()
        };
        let front = trim(front.split('#').next().unwrap_or_default());
        let (authority, path) = front.split_once('/').unwrap_or((front, ""));
        let mut url = Self {
            schema,
            ..Self::default()
        };
        for piece in path.split('/').filter(|piece| !piece.is_empty()) {
            url.path.push(references.expand(percent::decode(piece)));
        }
        url.read_query(query, &references)?;
        url.read_authority(authority, &references, host)?;
        url.override_credentials();
        Ok(url)
    }

    /// True when one of its parts holds this word.
    pub(crate) fn holds(&self, word: &str) -> bool {
        let credentials = self
            .user
            .as_deref()
            .into_iter()
            .chain(self.password.as_ref().map(|text| text.as_str()));
        credentials
            .chain([self.host.as_str()])
            .chain(self.path.iter().map(String::as_str))
            .any(|part| part.contains(word))
            || self
                .query
                .iter()
                .any(|(key, value)| key.contains(word) || value.contains(word))
    }

    fn read_authority(
        &mut self,
        authority: &str,
        references: &References,
        host: Option<&str>,
    ) -> Result<(), Diagnostic> {
        if !brackets_hold_ipv6(authority) {
            return Err(bad_host(
                "square brackets stand around something that is no IPv6 address",
            ));
        }
        let (user_info, place) = match authority.find('@') {
            Some(at) => {
                let rest = authority[at..].trim_start_matches('@');
                self.many_ats = authority[at + 1..].contains('@');
                (Some(&authority[..at]), rest.split('@').next().unwrap_or_default())
            }
            None => (None, authority),
        };
        if let Some(user_info) = user_info {
            let (user, rest) = match user_info.find(':') {
                Some(at) => (&user_info[..at], Some(user_info[at..].trim_start_matches(':'))),
                None => (user_info, None),
            };
            if !user.is_empty() {
                self.user = Some(references.expand(percent::decode(user)));
            }
            if let Some(rest) = rest {
                let password = rest.split(':').next().unwrap_or_default();
                self.password = Some(Zeroizing::new(references.expand(percent::decode(password))));
            }
        }
        let expanded = (!references.is_empty()).then(|| Zeroizing::new(references.expand(place.to_owned())));
        let place = expanded.as_ref().map_or(place, |text| text.as_str());
        if let Some(host) = host {
            self.host = host::check(trim(host)).map_err(|error| bad_host(error.cause()))?;
            // In front of the colon nothing need stand; several are an IPv6 address.
            let port = match split_port(place) {
                (_, Some(port)) => port,
                (rest, None) => rest
                    .strip_prefix(':')
                    .filter(|port| !port.contains(':'))
                    .unwrap_or_default(),
            };
            self.port = if port.is_empty() {
                None
            } else {
                Some(port_number(port)?)
            };
        } else {
            let (host, port) = split_port(place);
            self.host = host::check(trim(host)).map_err(|error| bad_host(error.cause()))?;
            // Digits of other scripts are read too, but not without one of ours.
            self.port = match port {
                Some(port) if port.contains(|c: char| c.is_ascii_digit()) => Some(port_number(port)?),
                Some(_) => return Err(no_number()),
                None => None,
            };
        }
        // `?port=` overrides; one that is no number only unsets it.
        if let Some((port, from_config)) = self.query.remove("port") {
            self.port = match python_int(&port) {
                Some(_) => Some(port_number(&port)?),
                None => None,
            };
            self.query.set("port".to_owned(), port, from_config);
        }
        Ok(())
    }

    fn read_query(&mut self, query: &str, references: &References) -> Result<(), Diagnostic> {
        for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut chars = key.chars();
            let first = chars.next();
            let rest = chars.as_str().replace('+', " ");
            let key: String = first.into_iter().collect::<String>() + &rest;
            let key = trim(&percent::decode(&key)).to_lowercase();
            if key.is_empty() || key.starts_with(['+', '-', ':']) {
                continue;
            }
            let value = references.expand(trim(&percent::decode(value)).to_owned());
            self.query.read(key, value);
            if self.query.len() > PARAMETERS {
                return Err(Diagnostic::error(
                    "the URL has more than 1,000 parameters",
                    "write only those that are needed",
                ));
            }
        }
        Ok(())
    }

    /// `?user=`, `?password=` and `?pass=` stand above the authority; a lone authority field becomes the password when
    /// the user comes from the query.
    fn override_credentials(&mut self) {
        if let Some(user) = self.query.get("user").map(str::to_owned) {
            let lone = self.password.is_none();
            if lone && let Some(field) = self.user.take() {
                self.password = Some(Zeroizing::new(field));
            }
            self.user = Some(user).filter(|user| !user.is_empty());
        }
        let password = self
            .query
            .get("pass")
            .or_else(|| self.query.get("password"))
            .map(str::to_owned);
        if let Some(password) = password {
            self.password = Some(Zeroizing::new(password));
        }
        for name in ["user", "pass", "password"] {
            self.query.remove(name);
        }
    }
}

/// Schema (lower case) and what follows `://`; more slashes are eaten.
fn schema_of(text: &str) -> Option<(String, &str)> {
    let (schema, rest) = text.split_once(':')?;
    let rest = rest.strip_prefix("//")?;
    if schema.is_empty() || schema.len() > 32 || !schema.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some((schema.to_ascii_lowercase(), rest.trim_start_matches(['/', '\\'])))
}

/// Splits path segments and `to=` values into targets.
pub(crate) fn targets<'a>(items: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    distinct(items.into_iter().flat_map(|item| item.split(separates)))
}

/// The same for JIDs: brackets around an IPv6 address behind an `@` do not separate (D33).
pub(crate) fn jid_targets<'a>(items: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    distinct(items.into_iter().flat_map(jid_words))
}

/// Refuses more targets than one URL may have.
pub(crate) fn bounded(targets: Vec<String>) -> Result<Vec<String>, Diagnostic> {
    if targets.len() <= TARGETS {
        return Ok(targets);
    }
    Err(Diagnostic::error(
        "the URL has more than 10,000 targets",
        "split it into several URLs",
    )
    .key("to"))
}

fn separates(c: char) -> bool {
    is_space(c) || matches!(c, '[' | ']' | ';' | ',')
}

fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    // As many are found faster by looking at each than by a table.
    const FEW: usize = 16;
    let mut all: Vec<&str> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for word in words.filter(|word| !word.is_empty()) {
        let known = if all.len() < FEW {
            all.contains(&word)
        } else {
            seen.contains(word)
        };
        if known {
            continue;
        }
        // One more than a URL may have: enough for whoever refuses it.
        if all.len() > TARGETS {
            break;
        }
        all.push(word);
        if all.len() == FEW {
            seen.extend(all.iter().copied());
        } else if all.len() > FEW {
            seen.insert(word);
        }
    }
    all.into_iter().map(str::to_owned).collect()
}

fn jid_words(item: &str) -> impl Iterator<Item = &str> {
    let mut rest = item;
    std::iter::from_fn(move || {
        let mut from = 0;
        while !rest.is_empty() {
            let Some(at) = rest[from..].find(separates).map(|at| from + at) else {
                return Some(std::mem::take(&mut rest));
            };
            if rest[..at].ends_with('@')
                && let Some(length) = bracketed(&rest[at..])
            {
                from = at + length;
                continue;
            }
            let width = rest[at..].chars().next().map_or(1, char::len_utf8);
            let word = &rest[..at];
            rest = &rest[at + width..];
            return Some(word);
        }
        None
    })
}

/// Length of the `[IPv6]` at the beginning of a text.
fn bracketed(text: &str) -> Option<usize> {
    let (inner, _) = text.strip_prefix('[')?.split_once(']')?;
    let address = inner.split('%').next().unwrap_or(inner);
    address
        .parse::<std::net::Ipv6Addr>()
        .is_ok()
        .then_some(inner.len() + 2)
}

/// Brackets in the authority, if any, hold an IPv6 address.
fn brackets_hold_ipv6(authority: &str) -> bool {
    match (authority.find('['), authority.find(']')) {
        (None, None) => true,
        (Some(open), Some(_)) => authority[open + 1..].split_once(']').is_some_and(|(inner, _)| {
            let bare = inner.split('%').next().unwrap_or(inner);
            bare.parse::<std::net::Ipv6Addr>().is_ok() || inner.contains(['\u{10FF00}', '\u{10FF01}'])
        }),
        _ => false,
    }
}

fn bad_host(cause: &str) -> Diagnostic {
    Diagnostic::error(
        cause,
        "check the part between `@` and the first `/`; `: @ / ? #` inside a password are written %3A %40 %2F %3F %23",
    )
    .key("host")
}

/// Host and port. More than one `:` outside of brackets is an IPv6 address without a port.
fn split_port(place: &str) -> (&str, Option<&str>) {
    if let Some(end) = place.strip_prefix('[').and_then(|rest| rest.find(']')) {
        let (host, rest) = place.split_at(end + 2);
        let plain = host[1..=end]
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b':'));
        return match rest.strip_prefix(':') {
            Some(port) if plain => (host, Some(port)),
            _ => (place, None),
        };
    }
    match place.split_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(':') => (host, Some(port)),
        _ => (place, None),
    }
}

fn no_number() -> Diagnostic {
    Diagnostic::error(
        "the port is not a number",
        "write a number from 1 to 65535 after the host, or nothing; if a password stands there, `: @ / ? # %` inside it \
         are written %3A %40 %2F %3F %23 %25, or it is read with ?password_file=PATH",
    )
    .key("port")
}

fn port_number(text: &str) -> Result<u16, Diagnostic> {
    let number = python_int(text).ok_or_else(no_number)?;
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| {
            Diagnostic::error(
                format!("port {number} does not exist"),
                "write a number from 1 to 65535",
            )
            .key("port")
        })
}
