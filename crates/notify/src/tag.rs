//! Tags of services, and the filters that choose among them.

use std::fmt;

/// The word that matches every service.
pub(crate) const ALL_TAG: &str = "all";
/// The tag that joins every non-empty filter.
pub(crate) const ALWAYS_TAG: &str = "always";

/// A tag of a service: a lower-case word, with a priority when it was written `N:tag`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The word.
    pub name: String,
    /// Lower goes first in an escalation; 0 when nothing was written.
    pub priority: u32,
}

impl Tag {
    /// A tag without a priority.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            priority: 0,
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.priority == 0 {
            f.write_str(&self.name)
        } else {
            write!(f, "{}:{}", self.priority, self.name)
        }
    }
}

/// One word of a filter: `x`, `2:x` (only that priority), `x:3` (retry three times), `2:x:3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The lower-case word.
    pub name: String,
    /// Only services that carry the tag with this priority.
    pub priority: Option<u32>,
    /// Overrides `retry=` of the services it chooses, for this run.
    pub retry: Option<u32>,
}

impl Wanted {
    /// Reads one word.
    pub fn parse(word: &str) -> Self {
        let word = word.to_lowercase();
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse::<u32>().ok() } else { None }
        };
        let mut name = word.as_str();
        let mut priority = None;
        let mut retry = None;
        if let Some((first, rest)) = name.split_once(':')
            && let Some(value) = number(first)
            && !rest.is_empty()
        {
            priority = Some(value);
            name = rest;
        }
        if let Some((rest, last)) = name.rsplit_once(':')
            && let Some(value) = number(last)
            && !rest.is_empty()
        {
            retry = Some(value.min(10));
            name = rest;
        }
        Self {
            name: name.to_owned(),
            priority,
            retry,
        }
    }

    /// True when a service with these tags is meant.
    pub fn matches(&self, tags: &[Tag]) -> bool {
        self.name == ALL_TAG
            || tags.iter().any(|tag| {
                tag.name == self.name && self.priority.is_none_or(|priority| priority == tag.priority)
            })
    }
}

/// Which services a message goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// Every service, tagged or not (the library's default).
    All,
    /// Only services without tags (the command line without `-g`).
    Untagged,
    /// Any of these groups; of one group, every word.
    AnyOf(Vec<Vec<Wanted>>),
}

impl TagFilter {
    /// What the command line's `-g` values mean: each is a list of words that must all match (separated by commas,
    /// semicolons or blanks), several are alternatives. None, or only empty ones, chooses the services without tags.
    ///
    /// ```
    /// use notify::{Tag, TagFilter};
    ///
    /// let filter = TagFilter::from_values(["work home", "urgent"]);
    /// assert!(filter.matches(&[Tag::new("urgent")]));
    /// assert!(!filter.matches(&[Tag::new("work")]));
    /// ```
    pub fn from_values<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Self {
        let groups: Vec<Vec<Wanted>> = values
            .into_iter()
            .map(|value| {
                value
                    .as_ref()
                    .split(|c: char| c.is_whitespace() || c == ',' || c == ';')
                    .filter(|word| !word.is_empty())
                    .map(Wanted::parse)
                    .collect::<Vec<_>>()
            })
            .filter(|group| !group.is_empty())
            .collect();
        if groups.is_empty() {
            Self::Untagged
        } else {
            Self::AnyOf(groups)
        }
    }

    /// True when a service with these tags is chosen.
    pub fn matches(&self, tags: &[Tag]) -> bool {
        match self {
            Self::All => true,
            Self::Untagged => tags.is_empty(),
            Self::AnyOf(groups) => {
                tags.iter().any(|tag| tag.name == ALWAYS_TAG)
                    || groups
                        .iter()
                        .any(|group| group.iter().all(|word| word.matches(tags)))
            }
        }
    }

    /// The retry count that the filter asks for a service with these tags.
    pub fn retry_override(&self, tags: &[Tag]) -> Option<u32> {
        let Self::AnyOf(groups) = self else { return None };
        groups
            .iter()
            .flatten()
            .filter(|word| word.matches(tags))
            .find_map(|word| word.retry)
    }
}

/// Splits written tags into words: separated by commas and blanks, lower-cased, sorted, none twice.
pub fn parse_tags(text: &str) -> Vec<Tag> {
    let mut tags: Vec<Tag> = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .map(parse_tag)
        .collect();
    tags.sort();
    tags.dedup();
    tags
}

/// One written tag: `word` or `N:word`.
pub(crate) fn parse_tag(word: &str) -> Tag {
    let word = word.to_lowercase();
    if let Some((first, rest)) = word.split_once(':')
        && !first.is_empty()
        && first.bytes().all(|byte| byte.is_ascii_digit())
        && !rest.is_empty()
        && let Ok(priority) = first.parse()
    {
        return Tag {
            name: rest.to_owned(),
            priority,
        };
    }
    Tag {
        name: word,
        priority: 0,
    }
}
