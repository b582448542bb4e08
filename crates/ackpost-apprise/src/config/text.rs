//! The TEXT grammar: one item a line.

use ackpost_notify::grammar::{is_space, trim};
use ackpost_notify::{Context, Diagnostic, ServiceUrl};

use crate::entry::Entry;
use crate::split::split_urls;
use crate::tag::has_retry;

use super::groups::{Groups, too_many_groups};
use super::parsed::{Include, Parsed};
use super::slips;

/// Content of one line.
enum Line<'a> {
    Nothing,
    Url {
        words: Vec<String>,
        url: &'a str,
    },
    Include(&'a str),
    Group {
        names: Vec<String>,
        tags: Vec<String>,
    },
    /// A lone word, which the reference takes for an unfinished group.
    Word,
    Bad(Diagnostic),
}

/// Reads a TEXT configuration. A bad line is reported and the rest loads (D25).
pub(super) fn parse(text: &str, name: &str, context: &Context) -> Parsed {
    let mut parsed = Parsed::default();
    let mut groups = Groups::default();
    let mut group_lines = Vec::new();
    let mut all_words = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        let number = u32::try_from(n + 1).unwrap_or(u32::MAX);
        let column = column_of(line);
        let place = |problem: Diagnostic| problem.at(Some(name), Some(number), Some(column));
        match classify(trim(line)) {
            Line::Nothing => {}
            Line::Url { words, url } => match load(url, context) {
                Ok(service) => {
                    parsed
                        .problems
                        .extend(service.warnings().iter().cloned().map(place));
                    all_words.push(words);
                    parsed.entries.push(Entry {
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
                    groups.add(&group, &tags);
                    group_lines.push((group, number));
                }
            }
            Line::Word => parsed.problems.push(place(Diagnostic::error(
                "the line is neither a URL, nor tags=URL, nor include PATH, nor group=tags",
                "complete it, or put a # in front",
            ))),
            Line::Bad(problem) => parsed.problems.push(place(problem)),
        }
    }
    if !groups.apply(&mut parsed.entries, &all_words) {
        parsed.entries.clear();
        parsed.problems.push(too_many_groups().at(Some(name), None, None));
    }
    for idle in groups.idle(&all_words) {
        let line = group_lines
            .iter()
            .find(|(group, _)| *group == idle)
            .map(|(_, line)| *line);
        parsed.problems.push(
            Diagnostic::warning(
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
fn load(url: &str, context: &Context) -> Result<ServiceUrl, Diagnostic> {
    if split_urls(url).len() > 1 {
        return Err(Diagnostic::error(
            "the line holds more than one URL",
            "write each URL on its own line",
        ));
    }
    ServiceUrl::parse(url, context)
}

fn classify(line: &str) -> Line<'_> {
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Line::Nothing;
    }
    let (left, right) = match line.split_once('=') {
        Some((left, right)) if is_words(left, true) => (left, right),
        _ => ("", line),
    };
    let right = trim(right);
    if is_url(right) {
        return tagged(left, right);
    }
    if !right.is_empty() && is_words(right, false) {
        let (names, tags) = (words(left), words(right));
        if names.is_empty() || tags.is_empty() {
            return Line::Word;
        }
        return Line::Group { names, tags };
    }
    let start = line.get(.."include".len()).unwrap_or_default();
    if start.eq_ignore_ascii_case("include") && line[start.len()..].starts_with(is_space) {
        return Line::Include(trim(&line[start.len()..]));
    }
    let unknown = || {
        Diagnostic::error(
            "the line is neither a URL, nor tags=URL, nor include PATH, nor group=tags",
            "correct it; the other lines are used",
        )
    };
    Line::Bad(slips::in_text(line).unwrap_or_else(unknown))
}

fn tagged<'a>(left: &str, url: &'a str) -> Line<'a> {
    let words = words(left);
    if let Some(word) = words.iter().find(|word| has_retry(word)) {
        return Line::Bad(
            Diagnostic::error(
                "a tag of a service cannot carry a retry count",
                "write ?retry=N in the URL instead; tag:N belongs to --tag",
            )
            .key(word.to_lowercase()),
        );
    }
    Line::Url { words, url }
}

fn words(text: &str) -> Vec<String> {
    text.split([' ', '\t', ','])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(schema, _)| {
        (1..=32).contains(&schema.len()) && schema.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// A list of tags; with `priorities` their words may hold a `:`.
fn is_words(text: &str, priorities: bool) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-, \t".contains(&byte) || priorities && byte == b':')
}
