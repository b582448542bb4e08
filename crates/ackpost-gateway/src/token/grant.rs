//! Permissions of a token.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::rate::Rate;

/// Permission of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Send through a stored key: `/notify/KEY`, `/hook/…`.
    Notify,
    /// Send to URLs that come with the request: `/notify`.
    Urls,
    /// Read a key's URLs, masked.
    Read,
    /// Save, delete and read a key's configuration with its secrets.
    Configure,
    /// List the outbox and retry or drop its messages.
    Outbox,
    /// Read `/metrics`.
    Metrics,
    /// Save and use URLs of services that Apprise delivers.
    Foreign,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 7] = [
        Self::Notify,
        Self::Urls,
        Self::Read,
        Self::Configure,
        Self::Outbox,
        Self::Metrics,
        Self::Foreign,
    ];

    /// Returns the word of configuration files and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Urls => "urls",
            Self::Read => "read",
            Self::Configure => "configure",
            Self::Outbox => "outbox",
            Self::Metrics => "metrics",
            Self::Foreign => "foreign",
        }
    }

    /// Returns one sentence for people: the requests that this permission allows.
    pub fn help(self) -> &'static str {
        match self {
            Self::Notify => "Send through a stored key: `/notify/KEY`, `/hook/…`",
            Self::Urls => "Send to URLs that come with the request: `/notify`",
            Self::Read => "Read a key's URLs, masked",
            Self::Configure => "Save, delete and read a key's configuration with its secrets",
            Self::Outbox => "List the outbox, and retry or drop its messages",
            Self::Metrics => "Read `/metrics`",
            Self::Foreign => {
                "Save and use URLs of services that Apprise delivers, if gateway.toml allows them"
            }
        }
    }
}

/// Permissions of one token; a row of `tokens.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its name, for people; unique.
    pub name: String,
    /// Finds the row; not secret.
    pub id: String,
    /// SHA-256 of the whole token, hex.
    pub(super) sha256: String,
    /// The keys it may use; `*` is every key, `ops-*` those that begin so.
    #[serde(default)]
    pub keys: Vec<String>,
    /// When not empty: only services that carry one of these tags are reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its permissions.
    pub allow: Vec<Scope>,
    /// Its rate limit; the gateway's `token_rate` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Seconds since 1970 after which it is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

impl Grant {
    /// True when the key is one of those the token is bound to.
    pub(crate) fn covers(&self, key: &Key) -> bool {
        self.keys.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => key.as_str().starts_with(start),
            None => pattern == key.as_str(),
        })
    }

    /// Returns true when the token is bound to no keys and no tags.
    pub(crate) fn is_unbound(&self) -> bool {
        self.tags.is_empty() && self.keys.iter().any(|pattern| pattern == "*")
    }

    pub(crate) fn allows(&self, scope: Scope) -> bool {
        self.allow.contains(&scope)
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        self.rate.as_deref().and_then(|text| text.parse().ok())
    }

    /// True when its time is over: it is refused like an unknown one.
    pub fn expired(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.expires.is_some_and(|end| now >= end)
    }
}

/// Permissions of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its name, for people; unique.
    pub name: String,
    /// The keys it may use; `*` is every key, `ops-*` those that begin so.
    pub keys: Vec<String>,
    /// When not empty, only services that carry one of these tags are reached.
    pub tags: Vec<String>,
    /// Its permissions.
    pub allow: Vec<Scope>,
    /// Its rate limit; the gateway's `token_rate` when left out.
    pub rate: Option<Rate>,
    /// Time for which it is valid; unlimited when left out.
    pub lifetime: Option<Duration>,
}
