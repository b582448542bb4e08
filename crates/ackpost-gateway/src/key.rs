//! The name a configuration is kept under.

use std::fmt;

use axum::http::HeaderMap;

use super::reply::Reply;

/// Names the key instead of the path.
pub(crate) const HEADER: &str = "x-apprise-config-id";

/// Longest key, the limit Apprise API has.
pub(crate) const MAX_KEY_CHARS: usize = 128;

/// A checked key: 1 to 128 of `A-Z a-z 0-9 _ -`. Nothing in it can leave a folder, hide a file or end a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Returns true if the text is a key.
    pub fn is_key(text: &str) -> bool {
        Self::parse(text).is_ok()
    }

    /// Checks a key from outside.
    pub(crate) fn parse(text: &str) -> Result<Self, Reply> {
        let legal = (1..=MAX_KEY_CHARS).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            Err(Reply::not_found("this is not a valid key")
                .remedy(format!("a key has 1 to {MAX_KEY_CHARS} letters, digits, - and _")))
        }
    }

    /// The key of a request: from its path, else from the header that newer clients use to keep it out of logs.
    pub(crate) fn of_request(path: Option<&str>, headers: &HeaderMap) -> Result<Self, Reply> {
        if let Some(text) = path {
            return Self::parse(text);
        }
        match headers.get(HEADER) {
            Some(value) => Self::parse(value.to_str().unwrap_or_default())
                .map_err(|_| Reply::bad_request("X-Apprise-Config-ID is not a valid key")),
            None => Err(Reply::bad_request("a key is missing")
                .remedy("write it in the path, or in the header X-Apprise-Config-ID")),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_keys() {
        for good in ["a", "abc123", "A-b_C", &"k".repeat(128)] {
            assert!(Key::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a.b",
            "a\0",
            "ä",
            "a b",
            "%2e%2e",
            "a\n",
            "~",
            "C:x",
            &"k".repeat(129),
        ] {
            assert!(Key::parse(bad).is_err(), "{bad:?}");
        }
    }
}
