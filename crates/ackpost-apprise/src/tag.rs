//! Tags of services, and the filters that choose among them.

use std::collections::BTreeMap;
use std::fmt;

use ackpost_notify::dispatch::Chain;

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
    /// Returns the lower-case word.
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
        match parts(&word) {
            Some((priority, name, retry)) => Self {
                name: name.to_owned(),
                priority,
                retry: retry.map(|retry| retry.min(10)),
            },
            None => Self {
                name: word,
                priority: None,
                retry: None,
            },
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

/// Filter for the services that a message goes to.
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
    /// Reads the values of the command line's `-g` option. Each is a list of words that must all match (separated by
    /// commas, semicolons, brackets or blanks); several are alternatives. None, or only empty ones, chooses the
    /// services without tags.
    ///
    /// ```
    /// use ackpost_apprise::{Tag, TagFilter};
    ///
    /// let filter = TagFilter::from_values(["work home", "urgent"]);
    /// assert!(filter.matches(&[Tag::new("urgent")]));
    /// assert!(!filter.matches(&[Tag::new("work")]));
    /// ```
    pub fn from_values<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Self {
        let groups: Vec<Vec<Wanted>> = values
            .into_iter()
            .map(|value: S| {
                let mut words: Vec<&str> = value
                    .as_ref()
                    .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']'))
                    .filter(|word| !word.is_empty())
                    .collect();
                // Of several retry counts in a list the first in this order counts, as in the reference.
                words.sort_unstable();
                words.into_iter().map(Wanted::parse).collect::<Vec<_>>()
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

    /// Returns the retry count that the filter asks for a service with these tags: that of the first word with a count
    /// that names one of them.
    pub fn retry_override(&self, tags: &[Tag]) -> Option<u32> {
        let Self::AnyOf(groups) = self else { return None };
        let names = |word: &Wanted| {
            let fits = |tag: &Tag| {
                tag.name == word.name && word.priority.is_none_or(|priority| priority == tag.priority)
            };
            tags.iter().any(fits)
        };
        let mut counted = groups.iter().flatten().filter(|word| word.retry.is_some());
        counted.find(|word| names(word))?.retry
    }
}

impl TagFilter {
    /// Arranges chosen services, given by their tags, into chains that run at the same time.
    ///
    /// A filter with a priority (`2:x`) makes one group of all services. Otherwise a service joins the chain of the first
    /// alternative of one word that it carries, at the priority of that tag. All other services (lists of words, `all`,
    /// services tagged `always`) share one more chain, each at the lowest priority of its tags that the filter names.
    ///
    /// ```
    /// use ackpost_apprise::{TagFilter, parse_tags};
    ///
    /// let (first, second) = (parse_tags("1:ops"), parse_tags("2:ops"));
    /// let chains = TagFilter::from_values(["ops"]).chains(&[&first, &second]);
    /// assert_eq!(chains, [[[0], [1]]]);
    /// ```
    pub fn chains(&self, services: &[&[Tag]]) -> Vec<Chain> {
        let groups = match self {
            Self::AnyOf(groups) if groups.iter().flatten().all(|word| word.priority.is_none()) => groups,
            _ if services.is_empty() => return Vec::new(),
            _ => return vec![vec![(0..services.len()).collect()]],
        };
        let words: Vec<&str> = groups
            .iter()
            .filter(|group| group.len() == 1)
            .map(|group| group[0].name.as_str())
            .collect();
        let mut chains: Vec<(&str, BTreeMap<u32, Vec<usize>>)> = Vec::new();
        for (index, tags) in services.iter().enumerate() {
            let own = |name: &str| tags.iter().find(|tag| tag.name == name).map(|tag| tag.priority);
            let named = words.iter().find_map(|word| Some((*word, own(word)?)));
            let (word, priority) = named.unwrap_or_else(|| {
                let asked = groups.iter().flatten().filter_map(|word| own(&word.name)).min();
                ("", asked.unwrap_or(0))
            });
            let at = chains
                .iter()
                .position(|(known, _)| *known == word)
                .unwrap_or_else(|| {
                    chains.push((word, BTreeMap::new()));
                    chains.len() - 1
                });
            chains[at].1.entry(priority).or_default().push(index);
        }
        let ordered = chains
            .into_iter()
            .map(|(_, levels)| levels.into_values().collect());
        ordered.collect()
    }
}

/// Splits written tags into words: separated by commas and blanks, lower-cased, sorted, none twice.
pub fn parse_tags(text: &str) -> Vec<Tag> {
    tags_of(
        text.split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty()),
    )
}

/// Tags of written words, sorted; of two with the same name the one whose word sorts first.
pub(crate) fn tags_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<Tag> {
    let mut words: Vec<&str> = words.into_iter().collect();
    words.sort_unstable();
    let mut tags: Vec<Tag> = Vec::with_capacity(words.len());
    for word in words {
        let tag = parse_tag(word);
        if !tags.iter().any(|known| known.name == tag.name) {
            tags.push(tag);
        }
    }
    tags.sort();
    tags
}

/// One written tag: `word` or `N:word`.
pub(crate) fn parse_tag(word: &str) -> Tag {
    let word = word.to_lowercase();
    match parts(&word) {
        Some((priority, name, _)) => Tag {
            name: name.to_owned(),
            priority: priority.unwrap_or(0),
        },
        None => Tag::new(word),
    }
}

/// True for `word:N` and `N:word:N`, which only a filter may carry.
pub(crate) fn has_retry(word: &str) -> bool {
    word.contains(':') && parts(&word.to_lowercase()).is_some_and(|(_, _, retry)| retry.is_some())
}

/// `[priority:]name[:retry]` of a lower-case word; nothing when it has another shape.
fn parts(word: &str) -> Option<(Option<u32>, &str, Option<u32>)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
    };
    let mut pieces = word.split(':');
    let (first, second, third) = (pieces.next()?, pieces.next(), pieces.next());
    if pieces.next().is_some() {
        return None;
    }
    let (priority, name, retry) = match (second, third) {
        (None, _) => (None, first, None),
        (Some(second), None) => match number(first) {
            Some(priority) if is_name(second) => (Some(priority), second, None),
            _ => (None, first, Some(number(second)?)),
        },
        (Some(second), Some(third)) => (Some(number(first)?), second, Some(number(third)?)),
    };
    is_name(name).then_some((priority, name, retry))
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_apart_as_the_reference_does() {
        let tag = |word: &str| {
            let tag = parse_tag(word);
            (tag.priority, tag.name)
        };
        assert_eq!(tag("2:Ops"), (2, "ops".to_owned()));
        assert_eq!(tag("5:3"), (5, "3".to_owned()));
        assert_eq!(tag("2:a:"), (0, "2:a:".to_owned()));
        assert_eq!(tag("-x"), (0, "-x".to_owned()));
        assert!(has_retry("a:3") && has_retry("1:a:3") && !has_retry("5:3") && !has_retry("a:b:3"));
        assert_eq!(Wanted::parse("2:x:3").retry, Some(3));
        let names: Vec<String> = parse_tags("ops 1:ops, B")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["b", "1:ops"]);
    }
}
