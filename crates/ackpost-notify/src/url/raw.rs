//! One URL taken apart: schema, credentials, host, port, path, query.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::host;
use super::number::{is_space, python_int, trim};
use super::pairs::{Mark, Pair};
use super::percent;
use super::query::{Origin, PARAMETERS, Query};
use super::secret_ref::References;
use crate::env::Environment;
use crate::problem::Diagnostic;

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
    /// Parameters with a mark, in order, no mark and name twice.
    pairs: Vec<Pair>,
    /// The path ends with a slash.
    trailing_slash: bool,
    /// The host is not a valid one, and the service takes it all the same.
    loose_host: bool,
}

impl std::fmt::Debug for RawUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawUrl")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl RawUrl {
    /// Takes a URL apart, as [`take_apart`](crate::grammar::take_apart) does before it applies keys. `accept` refuses a schema, or returns true if URLs with it may have a host that is not valid.
    /// `host` replaces the URL's own (a configuration entry's key).
    ///
    /// # Errors
    /// `accept` refuses the schema, or a part of the URL is missing or not valid.
    pub fn parse(
        text: &str,
        env: &Environment,
        accept: impl Fn(&str) -> Result<bool, Diagnostic>,
        host: Option<&str>,
    ) -> Result<Self, Diagnostic> {
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
        let loose_host = accept(&schema)?;
        let (front, query) = match rest.split_once('?') {
            Some((front, query)) => (front, query),
            None => (rest, ""),
        };
        if query.contains('\n') {
            return Err(Diagnostic::error(
                "the query of the URL contains a line end",
                "write %0A for it, or give the URLs one by one",
            ));
        }
        // The reference's reader drops these three wherever they are in front of the query.
        let dropped = |byte: u8| matches!(byte, b'\t' | b'\r' | b'\n');
        let front: Cow<'_, str> = if front.bytes().any(dropped) {
            front.replace(['\t', '\r', '\n'], "").into()
        } else {
            front.into()
        };
        let front = trim(front.split('#').next().unwrap_or_default());
        let (authority, path) = front.split_once('/').unwrap_or((front, ""));
        let mut url = Self {
            loose_host,
            schema,
            trailing_slash: path.ends_with('/'),
            ..Self::default()
        };
        for piece in path.split('/').filter(|piece| !piece.is_empty()) {
            url.path.push(references.expand(percent::decode(piece)));
        }
        url.read_query(query, &references)?;
        url.read_authority(authority, &references, host)?;
        url.override_credentials();
        url.loose_host = url.loose_host && host::check(&url.host).is_err();
        Ok(url)
    }

    /// Returns the schema in lower case.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns the user in front of the host.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the password in front of the host, or from `password_file=`. It is a secret.
    pub fn expose_password(&self) -> Option<&str> {
        self.password.as_ref().map(|password| password.as_str())
    }

    /// Returns the host as written; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port as written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the segments of the path, without empty ones.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Returns true if the host is not a valid one. Only a service that is defined
    /// [`with_loose_host`](crate::service::ServiceKind::with_loose_host) sees such a URL.
    pub fn has_loose_host(&self) -> bool {
        self.loose_host
    }

    /// Returns true if the path has segments and ends with a slash.
    pub fn has_trailing_slash(&self) -> bool {
        self.trailing_slash
    }

    /// Sets user and password in front of the host.
    pub fn set_credentials(&mut self, user: Option<String>, password: Option<Zeroizing<String>>) {
        self.user = user;
        self.password = password;
    }

    /// Sets host and port to those of another URL. Without a port there, the port is kept.
    pub fn set_host_of(&mut self, other: Self) {
        self.host = other.host;
        self.port = other.port.or(self.port);
    }

    /// Returns the segments of the path, to change them.
    pub fn path_mut(&mut self) -> &mut [String] {
        &mut self.path
    }

    /// Returns the parameters without a mark, in order: name, value, and where it was written. Values may be secrets.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str, Origin)> {
        self.query
            .iter()
            .map(move |(name, value)| (name, value, self.query.origin(name).unwrap_or(Origin::Default)))
    }

    /// Sets a parameter without a mark.
    pub fn set_parameter(&mut self, name: String, value: String, origin: Origin) {
        self.query.set(name, value, origin == Origin::Config);
    }

    /// Returns the parameters that begin with a mark, in order, the last value of each. Values may be secrets.
    pub fn pairs(&self) -> impl Iterator<Item = (Mark, &str, &str)> {
        self.pairs
            .iter()
            .map(|pair| (pair.mark, pair.name.as_str(), pair.value.as_str()))
    }

    /// Adds a parameter with a mark.
    pub(crate) fn add_pair(&mut self, key: &str, value: &str) -> Result<(), Diagnostic> {
        let Some(pair) = Pair::new(key, value).filter(|pair| !pair.name.is_empty()) else {
            return Ok(());
        };
        let same = |known: &&mut Pair| known.mark == pair.mark && known.name == pair.name;
        match self.pairs.iter_mut().find(same) {
            Some(known) => *known = pair,
            None => self.pairs.push(pair),
        }
        self.within_bounds()
    }

    fn within_bounds(&self) -> Result<(), Diagnostic> {
        if self.query.len() + self.pairs.len() <= PARAMETERS {
            return Ok(());
        }
        Err(Diagnostic::error(
            "the URL has more than 1,000 parameters",
            "write only those that are needed",
        ))
    }

    /// Returns the targets in the path and in the value of `to=`, in the order written, none twice.
    ///
    /// # Errors
    /// The URL has more than 10,000 targets.
    pub fn targets(&self, to: Option<&str>) -> Result<Vec<String>, Diagnostic> {
        bounded(targets(self.path.iter().map(String::as_str).chain(to)))
    }

    /// Returns true if one of its parts holds this word.
    pub fn holds(&self, word: &str) -> bool {
        let credentials = self
            .user
            .as_deref()
            .into_iter()
            .chain(self.password.as_ref().map(|text| text.as_str()));
        credentials
            .chain([self.host.as_str()])
            .chain(self.path.iter().map(String::as_str))
            .any(|part| part.contains(word))
            || (self.pairs.iter()).any(|pair| pair.name.contains(word) || pair.value.contains(word))
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
                "square brackets enclose something that is not an IPv6 address",
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
            self.host = self.checked_host(host)?;
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
            self.host = self.checked_host(host)?;
            // Digits of other scripts are read too, but not without one of ours.
            self.port = match port {
                Some(port) if port.contains(|c: char| c.is_ascii_digit()) => Some(port_number(port)?),
                Some(_) => return Err(no_number()),
                None => None,
            };
        }
        // `?port=` overrides; one that is not a number only unsets it.
        if let Some((port, from_config)) = self.query.remove("port") {
            self.port = match python_int(&port) {
                Some(_) => Some(port_number(&port)?),
                None => None,
            };
            self.query.set("port".to_owned(), port, from_config);
        }
        Ok(())
    }

    fn checked_host(&self, written: &str) -> Result<String, Diagnostic> {
        match host::check(trim(written)) {
            Ok(host) => Ok(host),
            Err(_) if self.loose_host => Ok(percent::decode(trim(written))),
            Err(error) => Err(bad_host(error.cause())),
        }
    }

    fn read_query(&mut self, query: &str, references: &References) -> Result<(), Diagnostic> {
        for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut chars = key.chars();
            let first = chars.next();
            let rest = chars.as_str().replace('+', " ");
            let key: String = first.into_iter().collect::<String>() + &rest;
            let key = percent::decode(&key);
            let value = references.expand(trim(&percent::decode(value)).to_owned());
            if Mark::of(&key).is_some() {
                self.add_pair(&key, &value)?;
                continue;
            }
            let key = trim(&key).to_lowercase();
            if key.is_empty() || Mark::of(&key).is_some() {
                continue;
            }
            self.query.read(key, value);
            self.within_bounds()?;
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

/// Splits path segments and `to=` values into JIDs: brackets around an IPv6 address behind an `@` do not separate
/// (D33).
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
        "check the part between `@` and the first `/`; in a password, write `: @ / ? #` as %3A %40 %2F %3F %23",
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
        "write a number from 1 to 65535 after the host, or nothing; in a password, write `: @ / ? # %` as \
         %3A %40 %2F %3F %23 %25, or use ?password_file=PATH",
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
