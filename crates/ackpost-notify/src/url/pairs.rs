//! Parameters that begin with a mark: they are not settings, but go into the request under the name that follows.

use super::percent;

/// First character of a parameter that goes into the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// `+Name=value`: a header.
    Header,
    /// `-name=value`: a parameter of the address.
    Query,
    /// `:name=value`: a field of the body.
    Field,
}

impl Mark {
    /// Returns the character.
    pub fn sign(self) -> char {
        match self {
            Self::Header => '+',
            Self::Query => '-',
            Self::Field => ':',
        }
    }

    /// Returns the mark that a name begins with.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Header, Self::Query, Self::Field]
            .into_iter()
            .find(|mark| name.starts_with(mark.sign()))
    }
}

/// One parameter with a mark. Names keep their case.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) mark: Mark,
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Pair {
    /// Takes a name with its mark and a value apart. Both are decoded once more, as the reference does.
    pub(crate) fn new(key: &str, value: &str) -> Option<Self> {
        let mark = Mark::of(key)?;
        Some(Self {
            mark,
            name: percent::decode(&key[1..]),
            value: percent::decode(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Mark;
    use crate::env::Environment;
    use crate::url::raw::RawUrl;

    fn pairs(url: &str) -> Vec<(Mark, String, String)> {
        let raw = RawUrl::parse(url, &Environment::empty(), |_| Ok(false), None).expect("a URL");
        let owned = |(mark, name, value): (Mark, &str, &str)| (mark, name.to_owned(), value.to_owned());
        raw.pairs().map(owned).collect()
    }

    #[test]
    fn parameters_with_a_mark_keep_their_case_and_their_order() {
        let found =
            pairs("xmpp://h.org/?+X-Token=a%20b&-q=1&:Field=&+X-Token=c&+=x&+X+Y=z&plain=1&%2BX-Late=%2541");
        let expected = [
            (Mark::Header, "X-Token", "c"),
            (Mark::Query, "q", "1"),
            (Mark::Field, "Field", ""),
            (Mark::Header, "X Y", "z"),
            (Mark::Header, "X-Late", "A"),
        ];
        assert_eq!(
            found,
            expected.map(|(mark, name, value)| (mark, name.to_owned(), value.to_owned()))
        );
    }
}
