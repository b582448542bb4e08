//! Lists of words, phrases and wildcards.

use std::collections::{BTreeSet, HashSet};

use regex::Regex;

use super::{FilterError, MAX_WORD, MAX_WORDS, build, list};

/// Whole words and phrases by hash, wildcards by one pattern: the time depends on the text, not on the length of the list.
#[derive(Debug)]
pub(super) struct Words {
    single: HashSet<String>,
    /// Normalised phrases.
    phrases: HashSet<String>,
    /// Numbers of words that phrases have.
    lengths: BTreeSet<usize>,
    /// Bytes of the longest phrase.
    longest: usize,
    wildcards: Option<Regex>,
}

impl Words {
    pub(super) fn compile(text: &str) -> Result<Self, FilterError> {
        let entries = list(text);
        if entries.len() > MAX_WORDS {
            return Err(FilterError::TooManyWords(entries.len()));
        }
        let mut words = HashSet::new();
        let mut phrases = HashSet::new();
        let mut wildcards = Vec::new();
        for entry in entries {
            if entry.len() > MAX_WORD {
                return Err(FilterError::LongWord(entry.chars().take(30).collect()));
            }
            if entry.contains('*') {
                let escaped: Vec<String> = entry.split('*').map(regex::escape).collect();
                wildcards.push(escaped.join(r"\w*"));
            } else {
                let normal = normalise(&entry);
                if normal.contains(' ') {
                    phrases.insert(normal);
                } else if !normal.is_empty() {
                    words.insert(normal);
                }
            }
        }
        if words.is_empty() && phrases.is_empty() && wildcards.is_empty() {
            return Err(FilterError::NoWords);
        }
        let wildcards = if wildcards.is_empty() {
            None
        } else {
            Some(build(&format!(r"(?:^|\W)(?:{})(?:$|\W)", wildcards.join("|")))?)
        };
        Ok(Self {
            single: words,
            lengths: phrases.iter().map(|phrase| phrase.split(' ').count()).collect(),
            longest: phrases.iter().map(String::len).max().unwrap_or(0),
            phrases,
            wildcards,
        })
    }

    pub(super) fn found_in(&self, text: &str) -> bool {
        let normal = normalise(text);
        if normal.split(' ').any(|word| self.single.contains(word)) {
            return true;
        }
        if self.has_phrase(&normal) {
            return true;
        }
        self.wildcards.as_ref().is_some_and(|regex| regex.is_match(text))
    }

    /// Looks up as many words as a phrase has, from each word on.
    fn has_phrase(&self, normal: &str) -> bool {
        let Some(most) = self.lengths.last() else {
            return false;
        };
        let starts = std::iter::once(0).chain(normal.match_indices(' ').map(|(at, _)| at + 1));
        for start in starts {
            let rest = &normal[start..];
            let ends = rest.match_indices(' ').map(|(at, _)| at).chain([rest.len()]);
            for (words, end) in (1..=*most).zip(ends) {
                if end > self.longest {
                    break;
                }
                if self.lengths.contains(&words) && self.phrases.contains(&rest[..end]) {
                    return true;
                }
            }
        }
        false
    }
}

/// Lower case, letters and digits only, everything else one space; zero-width characters vanish,
/// so that a word cannot be hidden by writing it with invisible joints.
pub(super) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {}
            ch if ch.is_alphanumeric() => out.extend(ch.to_lowercase()),
            _ if out.ends_with(' ') || out.is_empty() => {}
            _ => out.push(' '),
        }
    }
    out.truncate(out.trim_end().len());
    out
}
