//! Lists of words, phrases and wildcards.

use std::collections::HashSet;

use regex::Regex;

use super::{FilterError, MAX_WORD, MAX_WORDS, build, list};

/// Whole words by hash, phrases by search on the normalised text, wildcards by one pattern.
#[derive(Debug)]
pub(super) struct Words {
    single: HashSet<String>,
    phrases: Vec<String>,
    wildcards: Option<Regex>,
}

impl Words {
    pub(super) fn compile(text: &str) -> Result<Self, FilterError> {
        let entries = list(text);
        if entries.len() > MAX_WORDS {
            return Err(FilterError::TooManyWords(entries.len()));
        }
        let mut words = HashSet::new();
        let mut phrases = Vec::new();
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
                    phrases.push(format!(" {normal} "));
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
            phrases,
            wildcards,
        })
    }

    pub(super) fn found_in(&self, text: &str) -> bool {
        let normal = normalise(text);
        if normal.split(' ').any(|word| self.single.contains(word)) {
            return true;
        }
        if !self.phrases.is_empty() {
            let padded = format!(" {normal} ");
            if self.phrases.iter().any(|phrase| padded.contains(phrase.as_str())) {
                return true;
            }
        }
        self.wildcards.as_ref().is_some_and(|regex| regex.is_match(text))
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
