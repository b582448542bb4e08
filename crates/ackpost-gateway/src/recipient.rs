//! A recipient as programs can write it in one word: `KEY`, or `TAGS+KEY`.

use ackpost_apprise::TagFilter;

use super::key::Key;
use super::reply::Reply;
use super::tags;

/// A key, and the tags that choose among its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) key: Key,
    pub(crate) filter: Option<TagFilter>,
}

impl Recipient {
    /// Reads `KEY`, `TAG+KEY`, `ONE+OTHER+KEY` (services with both tags) or `ONE,OTHER+KEY` (with either).
    pub(crate) fn parse(text: &str) -> Result<Self, Reply> {
        let (tags, key) = text.rsplit_once('+').unwrap_or(("", text));
        Ok(Self {
            key: Key::parse(key)?,
            filter: tags::parse_text(tags)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_stand_before_the_key() {
        let plain = Recipient::parse("ops").expect("legal");
        assert_eq!((plain.key.as_str(), plain.filter), ("ops", None));
        let both = Recipient::parse("a+b+ops").expect("legal");
        assert_eq!(both.filter, tags::parse_text("a b").expect("legal"));
        assert_eq!(both.key.as_str(), "ops");
        for bad in ["", "+", "a+", "../x", "a b", "$+ops"] {
            assert!(Recipient::parse(bad).is_err(), "{bad}");
        }
    }
}
