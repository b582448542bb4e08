//! Filters: what may not be said in a room, decided on plain text.
//!
//! A filter names what it looks for (words, a pattern, an alphabet, links, attachments) and what happens
//! to a post that has it: it is refused with a text, or accepted and shown to nobody. All matching is
//! linear in the size of the message, and every list and pattern is bounded when it is compiled.

mod links;
mod words;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use links::has_link;
use words::Words;

/// The longest single word or phrase of a word list, in bytes.
pub const MAX_WORD: usize = 200;
/// The most words of one list.
pub const MAX_WORDS: usize = 100_000;
/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 4_000;
/// The most memory one compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Kind of thing that a filter searches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterKind {
    /// A list of words or phrases, one a line or separated by commas; `*` stands for any letters.
    Words,
    /// A regular expression that the text must match.
    Regex,
    /// Letters of a script: `cyrillic`, `arabic`, `persian`, `han`, ….
    Alphabet,
    /// Links; the pattern lists the hosts that stay allowed.
    Links,
    /// Attachments; the pattern lists the content types that stay allowed (`image/*`).
    Attachments,
}

impl FilterKind {
    /// The word for it in commands and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Regex => "regex",
            Self::Alphabet => "alphabet",
            Self::Links => "links",
            Self::Attachments => "attachments",
        }
    }

    /// Reads [`FilterKind::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Words,
            Self::Regex,
            Self::Alphabet,
            Self::Links,
            Self::Attachments,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// Action for a post that matches the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterAction {
    /// The server rejects the post (429 and the reply).
    Reject,
    /// The server accepts the post and shows it to nobody.
    Hide,
}

impl FilterAction {
    /// The word for it in commands and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Hide => "hide",
        }
    }

    /// Reads [`FilterAction::as_str`] back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Reject, Self::Hide]
            .into_iter()
            .find(|action| action.as_str() == text)
    }
}

/// One filter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Number by which commands name it.
    pub id: i64,
    /// The room's database id; `None` = every room.
    pub room: Option<i64>,
    /// Kind of thing that it searches for.
    pub kind: FilterKind,
    /// The list or pattern, in the form that its kind requires.
    pub pattern: String,
    /// Action for a post that matches.
    pub action: FilterAction,
    /// Text of a refusal; `None` = a standard one.
    pub reply: Option<String>,
}

/// Reason why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The list has no word in it.
    #[error("a word filter needs at least one word")]
    NoWords,
    /// More words than the bound.
    #[error("a word filter takes at most {MAX_WORDS} words, this one has {0}; split it")]
    TooManyWords(usize),
    /// One word is longer than the bound.
    #[error("the entry starting with `{0}` is longer than {MAX_WORD} bytes; write one word or phrase a line")]
    LongWord(String),
    /// The pattern is longer than the bound or compiles to too much.
    #[error("the pattern is too large (at most {MAX_PATTERN} bytes and 1 MiB compiled)")]
    LargePattern,
    /// The pattern is not a regular expression.
    #[error("not a regular expression: {0}")]
    Pattern(String),
    /// The script is unknown.
    #[error("unknown alphabet `{0}`; known: {names}", names = ALPHABETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))]
    Alphabet(String),
}

/// Names of alphabets and their characters.
const ALPHABETS: &[(&str, &str)] = &[
    ("arabic", r"\p{Arabic}"),
    ("armenian", r"\p{Armenian}"),
    ("bengali", r"\p{Bengali}"),
    ("cyrillic", r"\p{Cyrillic}"),
    ("devanagari", r"\p{Devanagari}"),
    ("georgian", r"\p{Georgian}"),
    ("greek", r"\p{Greek}"),
    ("hangul", r"\p{Hangul}"),
    ("han", r"\p{Han}"),
    ("hebrew", r"\p{Hebrew}"),
    ("hiragana", r"\p{Hiragana}"),
    ("katakana", r"\p{Katakana}"),
    ("latin", r"\p{Latin}"),
    // Persian is written in the Arabic script; these letters tell the two apart.
    (
        "persian",
        "[\u{67e}\u{686}\u{698}\u{6a9}\u{6af}\u{6cc}\u{6c0}\u{200c}\u{6f0}-\u{6f9}]",
    ),
    ("tamil", r"\p{Tamil}"),
    ("thai", r"\p{Thai}"),
];

/// Parts of a message that filters check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// The text of the message.
    pub body: String,
    /// The display name that the poster gave.
    pub name: String,
    /// Titles and addresses of link previews.
    pub previews: Vec<String>,
    /// Text of the quoted message and names of its files, as the poster gave them.
    pub quotes: Vec<String>,
    /// Content types of the attachments; an empty text where none was given.
    pub attachments: Vec<String>,
}

/// A filter ready to run.
#[derive(Debug)]
pub struct CompiledFilter {
    /// Number of the filter.
    pub id: i64,
    /// Action for a post that matches.
    pub action: FilterAction,
    /// The text of a refusal.
    pub reply: String,
    matcher: Matcher,
}

#[derive(Debug)]
enum Matcher {
    Words(Words),
    Regex(Regex),
    Alphabet(Regex),
    Links(Vec<String>),
    Attachments(Vec<String>),
}

impl CompiledFilter {
    /// Checks and compiles a stored filter.
    pub fn compile(filter: &Filter) -> Result<Self, FilterError> {
        let matcher = match filter.kind {
            FilterKind::Words => Matcher::Words(Words::compile(&filter.pattern)?),
            FilterKind::Regex => Matcher::Regex(pattern(&filter.pattern)?),
            FilterKind::Alphabet => Matcher::Alphabet(alphabet(&filter.pattern)?),
            FilterKind::Links => Matcher::Links(list(&filter.pattern)),
            FilterKind::Attachments => Matcher::Attachments(list(&filter.pattern)),
        };
        let reply = filter
            .reply
            .clone()
            .unwrap_or_else(|| standard_reply(filter.kind).to_owned());
        Ok(Self {
            id: filter.id,
            action: filter.action,
            reply,
            matcher,
        })
    }

    /// Returns true if the message matches this filter.
    pub fn matches(&self, message: &Inspected) -> bool {
        match &self.matcher {
            Matcher::Words(words) => texts(message).any(|text| words.found_in(text)),
            Matcher::Regex(regex) => texts(message).any(|text| regex.is_match(text)),
            Matcher::Alphabet(regex) => regex.is_match(&message.body),
            Matcher::Links(allowed) => texts(message).any(|text| has_link(text, allowed)),
            Matcher::Attachments(allowed) => message
                .attachments
                .iter()
                .any(|kind| !allowed.iter().any(|pattern| type_matches(pattern, kind))),
        }
    }
}

/// The first filter that refuses the message, else the first that hides it.
pub fn judge<'a>(
    filters: impl IntoIterator<Item = &'a CompiledFilter>,
    message: &Inspected,
) -> Option<&'a CompiledFilter> {
    let mut hides = None;
    for filter in filters {
        if hides.is_some() && filter.action == FilterAction::Hide {
            continue;
        }
        if filter.matches(message) {
            match filter.action {
                FilterAction::Reject => return Some(filter),
                FilterAction::Hide => hides = Some(filter),
            }
        }
    }
    hides
}

fn standard_reply(kind: FilterKind) -> &'static str {
    match kind {
        FilterKind::Words | FilterKind::Regex => "This message is not allowed here",
        FilterKind::Alphabet => "Messages in this alphabet are not allowed here",
        FilterKind::Links => "Links are not allowed here",
        FilterKind::Attachments => "Attachments of this kind are not allowed here",
    }
}

fn texts(message: &Inspected) -> impl Iterator<Item = &str> {
    [message.body.as_str(), message.name.as_str()]
        .into_iter()
        .chain(message.previews.iter().map(String::as_str))
        .chain(message.quotes.iter().map(String::as_str))
}

fn list(text: &str) -> Vec<String> {
    text.split([',', '\n'])
        .map(|part| part.trim().to_lowercase())
        .filter(|part| !part.is_empty())
        .collect()
}

fn pattern(text: &str) -> Result<Regex, FilterError> {
    if text.len() > MAX_PATTERN {
        return Err(FilterError::LargePattern);
    }
    build(text)
}

fn build(text: &str) -> Result<Regex, FilterError> {
    RegexBuilder::new(text)
        .case_insensitive(true)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => FilterError::LargePattern,
            other => FilterError::Pattern(other.to_string()),
        })
}

fn alphabet(text: &str) -> Result<Regex, FilterError> {
    let mut parts = Vec::new();
    for name in list(text) {
        let found = ALPHABETS.iter().find(|(known, _)| *known == name);
        parts.push(found.ok_or(FilterError::Alphabet(name))?.1);
    }
    if parts.is_empty() {
        return Err(FilterError::Alphabet(String::new()));
    }
    build(&parts.join("|"))
}

fn type_matches(pattern: &str, kind: &str) -> bool {
    let kind = kind.to_lowercase();
    match pattern.strip_suffix("/*") {
        Some(group) => kind.strip_prefix(group).is_some_and(|rest| rest.starts_with('/')),
        None => kind == pattern,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(kind: FilterKind, pattern: &str, action: FilterAction) -> CompiledFilter {
        CompiledFilter::compile(&Filter {
            id: 1,
            room: None,
            kind,
            pattern: pattern.to_owned(),
            action,
            reply: None,
        })
        .expect("compiles")
    }

    fn says(body: &str) -> Inspected {
        Inspected {
            body: body.to_owned(),
            ..Inspected::default()
        }
    }

    #[test]
    fn words_are_whole_words_in_any_case() {
        let words = filter(
            FilterKind::Words,
            "darn, bad phrase\nfrick*, *scam*",
            FilterAction::Hide,
        );
        for hit in [
            "Darn!",
            "oh DARN it",
            "a bad  PHRASE, yes",
            "frickin",
            "cryptoscammer",
            "da\u{200b}rn",
        ] {
            assert!(words.matches(&says(hit)), "{hit}");
        }
        for pass in ["darning socks", "bad", "phrase bad", "refrick", ""] {
            assert!(!words.matches(&says(pass)), "{pass}");
        }
        assert!(words.matches(&Inspected {
            name: "Mr Darn".into(),
            ..Inspected::default()
        }));
    }

    #[test]
    fn a_long_list_of_phrases_does_not_make_a_long_text_slow() {
        let phrases: Vec<String> = (0..100_000).map(|n| format!("x{n} y{n}")).collect();
        let words = filter(FilterKind::Words, &phrases.join("\n"), FilterAction::Hide);
        let text = "x1 y2 ".repeat(100_000);
        let began = std::time::Instant::now();
        assert!(!words.matches(&says(&text)));
        assert!(words.matches(&says(&format!("{text} x99999, Y99999"))));
        // Looking for one phrase after the other takes minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
    }

    #[test]
    fn lists_and_patterns_are_bounded() {
        let compile = |kind, pattern: String| {
            CompiledFilter::compile(&Filter {
                id: 1,
                room: None,
                kind,
                pattern,
                action: FilterAction::Hide,
                reply: None,
            })
            .map(|_| ())
        };
        assert_eq!(
            compile(FilterKind::Words, " , ".into()),
            Err(FilterError::NoWords)
        );
        assert!(matches!(
            compile(FilterKind::Words, "x".repeat(300_000)),
            Err(FilterError::LongWord(_))
        ));
        assert_eq!(
            compile(FilterKind::Words, "a\n".repeat(100_001)),
            Err(FilterError::TooManyWords(100_001))
        );
        assert_eq!(
            compile(FilterKind::Regex, "(a{1000}){1000}".into()),
            Err(FilterError::LargePattern)
        );
        assert_eq!(
            compile(FilterKind::Regex, "a".repeat(5000)),
            Err(FilterError::LargePattern)
        );
        assert!(matches!(
            compile(FilterKind::Regex, "(".into()),
            Err(FilterError::Pattern(_))
        ));
        assert!(matches!(
            compile(FilterKind::Alphabet, "klingon".into()),
            Err(FilterError::Alphabet(_))
        ));
    }

    #[test]
    fn alphabets_by_script() {
        let cyrillic = filter(FilterKind::Alphabet, "cyrillic", FilterAction::Hide);
        assert!(cyrillic.matches(&says("hello мир")));
        assert!(!cyrillic.matches(&says("hello world سلام")));
        assert!(filter(FilterKind::Alphabet, "arabic", FilterAction::Hide).matches(&says("سلام")));
        let persian = filter(FilterKind::Alphabet, "persian", FilterAction::Hide);
        assert!(persian.matches(&says("پیام")));
        assert!(
            !persian.matches(&says("سلام عليكم")),
            "Arabic alone is not Persian"
        );
        assert!(filter(FilterKind::Alphabet, "han, thai", FilterAction::Hide).matches(&says("สวัสดี")));
    }

    #[test]
    fn links_and_the_hosts_that_stay_allowed() {
        let none = filter(FilterKind::Links, "", FilterAction::Reject);
        for hit in [
            "see https://a.example/x",
            "www.spam.tld",
            "join t.me/abc",
            "(http://1.2.3.4:80)",
            "session://x",
            "EVIL.COM!",
            "👉https://evil.com",
            "*https://evil.com*",
            "see:https://evil.com",
            "→evil.com",
            "_evil.com_",
            "see:evil.com/x",
            "//https://evil.com",
            "👉www.evil.tld",
            "evil.com…",
            "http://://evil.com",
        ] {
            assert!(none.matches(&says(hit)), "{hit}");
        }
        for pass in [
            "no link here",
            "e.g. this",
            "3.14",
            "me@mail.com",
            "end.Next",
            "://",
            "1://",
            "👉://x",
            "and/or: yes",
            "12:30",
        ] {
            assert!(!none.matches(&says(pass)), "{pass}");
        }
        let some = filter(FilterKind::Links, "example.org", FilterAction::Reject);
        assert!(!some.matches(&says("https://docs.example.org/page and http://example.org")));
        assert!(some.matches(&says("https://badexample.org")));
        assert!(some.matches(&says("https://example.org@evil.test/")));
        assert!(!some.matches(&says("👉https://example.org/a?from=https://other.test")));
        assert!(!some.matches(&says("*https://example.org*")));
        assert!(some.matches(&says("https://example.org👉https://evil.test")));
        assert!(some.matches(&says("https://example.org/👉https://evil.test")));
        assert!(some.matches(&says("example.org:https://evil.test")));
    }

    #[test]
    fn what_a_reply_quotes_is_part_of_it() {
        let reply = Inspected {
            body: "yes".to_owned(),
            quotes: vec!["buy at https://evil.com".to_owned()],
            ..Inspected::default()
        };
        assert!(filter(FilterKind::Links, "", FilterAction::Reject).matches(&reply));
        assert!(filter(FilterKind::Words, "buy", FilterAction::Hide).matches(&reply));
    }

    #[test]
    fn attachments_by_type() {
        let post = |kind: &str| Inspected {
            attachments: vec![kind.to_owned()],
            ..Inspected::default()
        };
        let none = filter(FilterKind::Attachments, "", FilterAction::Reject);
        assert!(none.matches(&post("image/png")) && !none.matches(&says("text")));
        let images = filter(
            FilterKind::Attachments,
            "image/*, text/plain",
            FilterAction::Reject,
        );
        assert!(!images.matches(&post("image/png")) && !images.matches(&post("Text/Plain")));
        assert!(
            images.matches(&post("application/zip"))
                && images.matches(&post("imagery/x"))
                && images.matches(&post(""))
        );
    }

    #[test]
    fn a_refusal_beats_hiding() {
        let filters = [
            filter(FilterKind::Words, "bad", FilterAction::Hide),
            filter(FilterKind::Regex, "b.d", FilterAction::Reject),
        ];
        assert_eq!(
            judge(&filters, &says("bad")).map(|f| f.action),
            Some(FilterAction::Reject)
        );
        assert_eq!(
            judge(&filters[..1], &says("bad")).map(|f| f.action),
            Some(FilterAction::Hide)
        );
        assert!(judge(&filters, &says("good")).is_none());
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_filter(body in ".{0,400}", word in "[a-z*]{1,12}") {
            let filters = [
                filter(FilterKind::Words, &format!("{word},x"), FilterAction::Hide),
                filter(FilterKind::Links, "a.b", FilterAction::Hide),
            ];
            judge(&filters, &says(&body));
        }
    }
}
