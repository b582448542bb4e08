//! Join links: `http[s]://host[:port]/TOKEN?public_key=HEX`.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::{IdError, RoomToken, ServerKey};

/// Longest link we look at, bytes.
const MAX_LEN_BYTES: usize = 2048;

/// Reason why text is not a valid join link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A scheme other than http and https, or more than 2,048 bytes.
    #[error("a join link looks like https://host/room?public_key=…")]
    NotALink,
    /// No host before the path.
    #[error("the join link has no host")]
    NoHost,
    /// A user or a password before the host.
    #[error(
        "the join link has a user or password before the host (`user:password@`), which communities do not use"
    )]
    Login,
    /// No `public_key=` in the query.
    #[error("the join link has no public_key=: without it the server cannot be recognised")]
    NoPublicKey,
    /// The token or the key is malformed.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// A room on a server, with the key that the server must have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JoinLink {
    base_url: String,
    room: RoomToken,
    public_key: ServerKey,
}

impl JoinLink {
    /// Puts a link together. `base_url` is `http[s]://host[:port]` with an optional path, without a final slash.
    pub fn new(base_url: impl Into<String>, room: RoomToken, public_key: ServerKey) -> Self {
        let base_url = base_url.into();
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            room,
            public_key,
        }
    }

    /// `http[s]://host[:port]`, and the path in front of the token if there is one.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the token of the room.
    pub fn room(&self) -> &RoomToken {
        &self.room
    }

    /// Returns the server's key.
    pub fn public_key(&self) -> ServerKey {
        self.public_key
    }
}

impl FromStr for JoinLink {
    type Err = LinkError;

    /// Without a scheme, http is assumed, as Session's apps do. The browser's form `/r/TOKEN/` is taken too.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        if text.len() > MAX_LEN_BYTES || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(LinkError::NotALink);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
            Some(_) => return Err(LinkError::NotALink),
            None => ("http", text),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (location, query) = rest.split_once('?').ok_or(LinkError::NoPublicKey)?;
        let key = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("public_key="))
            .ok_or(LinkError::NoPublicKey)?;
        let (place, token) = location
            .trim_end_matches('/')
            .rsplit_once('/')
            .ok_or(IdError::NotAToken)?;
        let place = place.strip_suffix("/r").unwrap_or(place);
        let host = place.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return Err(LinkError::Login);
        }
        if host.is_empty() || host.starts_with(':') {
            return Err(LinkError::NoHost);
        }
        Ok(Self {
            base_url: format!("{scheme}://{place}"),
            room: token.parse()?,
            public_key: key.parse()?,
        })
    }
}

impl fmt::Display for JoinLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}?public_key={}",
            self.base_url, self.room, self.public_key
        )
    }
}

impl Serialize for JoinLink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JoinLink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "33202f87ce4ff20cbcd0f2e48c8c7f263d11a3609c673b8c7eae56653769c12f";

    #[test]
    fn links_in_all_their_forms() {
        for (text, base) in [
            (
                format!("https://sogs.example.org/main?public_key={KEY}"),
                "https://sogs.example.org",
            ),
            (
                format!("HTTP://1.2.3.4:8080/main/?public_key={KEY}"),
                "http://1.2.3.4:8080",
            ),
            (
                format!("sogs.example.org/main?public_key={KEY}"),
                "http://sogs.example.org",
            ),
            (
                format!("https://sogs.example.org/r/main/?x=1&public_key={KEY}#top"),
                "https://sogs.example.org",
            ),
            (
                format!("https://example.org/sogs/main?public_key={KEY}"),
                "https://example.org/sogs",
            ),
            (
                format!("http://[::1]:80/main?public_key={KEY}"),
                "http://[::1]:80",
            ),
        ] {
            let link: JoinLink = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((link.base_url(), link.room().as_str()), (base, "main"), "{text}");
            assert_eq!(link.to_string().parse::<JoinLink>(), Ok(link));
        }
    }

    #[test]
    fn wrong_links_say_what_is_wrong() {
        let parse = |text: &str| text.parse::<JoinLink>().unwrap_err();
        assert_eq!(parse("ftp://host/main?public_key=00"), LinkError::NotALink);
        assert_eq!(parse("https://host/main"), LinkError::NoPublicKey);
        assert_eq!(parse("https://host/main?key=1"), LinkError::NoPublicKey);
        assert_eq!(
            parse("https://host/main?public_key=12"),
            LinkError::Id(IdError::NotAServerKey)
        );
        assert_eq!(
            parse(&format!("https:///main?public_key={KEY}")),
            LinkError::NoHost
        );
        assert_eq!(
            parse(&format!("https://user:secret@host/main?public_key={KEY}")),
            LinkError::Login
        );
        assert_eq!(
            parse(&format!("https://host?public_key={KEY}")),
            LinkError::Id(IdError::NotAToken)
        );
        assert_eq!(
            parse(&format!("https://host/a%20b?public_key={KEY}")),
            LinkError::Id(IdError::NotAToken)
        );
    }
}
