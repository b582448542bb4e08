//! The TEXT grammar: one item a line.

use crate::entry::Entry;
use crate::problem::Problem;
use crate::service::{Context, Service};
use crate::tag::{Tag, parse_tag};
use crate::url::number::trim;
use crate::url::split_urls;

use super::groups::Groups;
use super::load::{Include, Parsed};

/// What one line is.
enum Line<'a> {
    Nothing,
    Url {
        tags: Vec<Tag>,
        url: &'a str,
    },
    Include(&'a str),
    Group {
        names: Vec<String>,
        tags: Vec<String>,
    },
    /// A lone word: the reference takes it for an unfinished group.
    Word,
    Bad(Problem),
}

/// Reads a TEXT configuration. A bad line is reported and the rest loads (D25).
pub(super) fn parse(text: &str, name: &str, context: &Context) -> Parsed {
    let mut parsed = Parsed::default();
    let mut groups = Groups::default();
    let mut group_lines = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        let number = u32::try_from(n + 1).unwrap_or(u32::MAX);
        let column = column_of(line);
        let place = |problem: Problem| problem.at(Some(name), Some(number), Some(column));
        match classify(trim(line)) {
            Line::Nothing => {}
            Line::Url { tags, url } => match load(url, context) {
                Ok(service) => {
                    parsed
                        .problems
                        .extend(service.warnings().iter().cloned().map(place));
                    parsed.entries.push(Entry {
                        tags,
                        file: Some(name.to_owned()),
                        line: Some(number),
                        ..Entry::new(service)
                    });
                }
                Err(problem) => parsed.problems.push(place(problem)),
            },
            Line::Include(location) => parsed.includes.push(Include {
                location: location.to_owned(),
                line: Some(number),
                column: Some(column),
            }),
            Line::Group { names, tags } => {
                for group in names {
                    group_lines.push((group.clone(), number));
                    groups.add(group, tags.iter().cloned());
                }
            }
            Line::Word => parsed.problems.push(place(Problem::warning(
                "the line is neither a URL, nor tags=URL, nor include PATH, nor group=tags",
                "complete it, or put a # in front",
            ))),
            Line::Bad(problem) => parsed.problems.push(place(problem)),
        }
    }
    groups.apply(&mut parsed.entries);
    for idle in groups.idle(&parsed.entries) {
        let line = group_lines
            .iter()
            .find(|(group, _)| *group == idle)
            .map(|(_, line)| *line);
        parsed.problems.push(
            Problem::warning(
                format!("the group `{idle}` reaches no service"),
                "tag a service with one of its tags",
            )
            .key(idle)
            .at(Some(name), line, None),
        );
    }
    parsed
}

/// Column of the first visible character, counted from 1.
fn column_of(line: &str) -> u32 {
    u32::try_from(line.chars().take_while(|c| c.is_whitespace()).count() + 1).unwrap_or(1)
}

/// A line holds exactly one URL.
fn load(url: &str, context: &Context) -> Result<Service, Problem> {
    if split_urls(url).len() > 1 {
        return Err(Problem::error(
            "the line holds more than one URL",
            "write each URL on a line of its own (D25)",
        ));
    }
    Service::parse(url, context)
}

fn classify(line: &str) -> Line<'_> {
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Line::Nothing;
    }
    if is_url(line) {
        return Line::Url {
            tags: Vec::new(),
            url: line,
        };
    }
    if let Some((left, right)) = line.split_once('=')
        && is_url(trim(right))
        && is_tag_list(left)
    {
        return tagged(left, trim(right));
    }
    let lower = line.to_ascii_lowercase();
    if lower.starts_with("include") && line["include".len()..].starts_with(|c: char| c.is_whitespace()) {
        return Line::Include(trim(&line["include".len()..]));
    }
    if let Some((left, right)) = line.split_once('=') {
        let words = |text: &str| -> Vec<String> {
            text.split(|c: char| c.is_whitespace() || c == ',')
                .filter(|word| !word.is_empty())
                .map(str::to_lowercase)
                .collect()
        };
        let (names, tags) = (words(left), words(right));
        let plain = |words: &[String]| !words.is_empty() && words.iter().all(|word| is_group_word(word));
        if plain(&names) && plain(&tags) {
            return Line::Group { names, tags };
        }
    } else if line
        .split(|c: char| c.is_whitespace() || c == ',')
        .all(|word| word.is_empty() || is_group_word(&word.to_lowercase()))
    {
        return Line::Word;
    }
    Line::Bad(Problem::error(
        "the line is neither a URL, nor tags=URL, nor include PATH, nor group=tags",
        "correct it; the other lines are used",
    ))
}

fn tagged<'a>(left: &str, url: &'a str) -> Line<'a> {
    let words: Vec<&str> = left
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .collect();
    if let Some(word) = words.iter().find(|word| has_retry(word)) {
        return Line::Bad(
            Problem::error(
                "a tag of a service cannot carry a retry count",
                "write ?retry=N in the URL instead; tag:N belongs to --tag",
            )
            .key(word.to_lowercase()),
        );
    }
    let mut tags: Vec<Tag> = words.into_iter().map(parse_tag).collect();
    tags.sort();
    tags.dedup();
    Line::Url { tags, url }
}

/// True for `word:N` and `N:word:N`, which only a filter may carry.
pub(super) fn has_retry(word: &str) -> bool {
    word.rsplit_once(':').is_some_and(|(rest, last)| {
        !rest.is_empty() && !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(schema, _)| {
        (1..=32).contains(&schema.len()) && schema.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn is_tag_list(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "_:-,".contains(c) || c.is_whitespace())
}

fn is_group_word(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
