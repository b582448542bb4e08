//! Words of messages, and of searches for them: prepared alike, so that both databases find the same.

use session_protocol::content::Content;
use unicode_normalization::UnicodeNormalization as _;

/// The longest search, in characters.
pub const MAX_SEARCH: usize = 100;
/// Words of a search that count; further ones are ignored.
const MAX_WORDS: usize = 8;
/// Characters of a message that are indexed.
const MAX_INDEXED: usize = 10_000;
/// Longer words are left out, in characters: keys and encoded bytes.
const MAX_WORD: usize = 64;

/// Returns the words of a text in lower case without accents, separated by single spaces. Characters of scripts that
/// put no spaces between words are separate words.
pub fn words_of(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |word: &mut String, words: &mut String| {
        if !word.is_empty() && word.chars().count() <= MAX_WORD {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
        word.clear();
    };
    let letters = text.chars().take(MAX_INDEXED).flat_map(char::to_lowercase).nfkd();
    for c in letters.filter(|c| !matches!(c, '\u{300}'..='\u{36f}')) {
        if stands_alone(c) {
            flush(&mut word, &mut words);
            word.push(c);
            flush(&mut word, &mut words);
        } else if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        } else {
            flush(&mut word, &mut words);
        }
    }
    flush(&mut word, &mut words);
    words
}

/// Returns true if a character belongs to a script without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
        && c.is_alphanumeric()
}

/// Returns the words by which a stored message is found: those of its text and of the names of its files.
pub fn words_of_message(data: &[u8]) -> String {
    let Ok(content) = Content::decode_bounded(data) else {
        return String::new();
    };
    let Some(message) = content.data_message else {
        return String::new();
    };
    let mut text = message.body.unwrap_or_default();
    for name in message
        .attachments
        .iter()
        .filter_map(|file| file.file_name.as_deref())
    {
        text.push('\n');
        text.push_str(name);
    }
    words_of(&text)
}

/// A search: words or phrases that a message has, and such that it must not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

impl Words {
    /// Reads a search as people write it: words, `"phrases"`, and `-words` that must not occur.
    pub fn parse(text: &str) -> Self {
        let mut all = Self::default();
        let mut left = MAX_WORDS;
        let text: String = text.chars().take(MAX_SEARCH).collect();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let unwanted = first == '-';
            if unwanted {
                rest = &rest[1..];
            }
            let (piece, after) = match rest.strip_prefix(['"', '“', '”']) {
                Some(quoted) => quoted.split_once(['"', '“', '”']).unwrap_or((quoted, "")),
                None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
            };
            rest = after.trim_start();
            let words: Vec<String> = words_of(piece).split(' ').take(left).map(str::to_owned).collect();
            let phrase = words.join(" ");
            if phrase.is_empty() {
                continue;
            }
            left -= words.len();
            if unwanted {
                &mut all.unwanted
            } else {
                &mut all.wanted
            }
            .push(phrase);
            if left == 0 {
                break;
            }
        }
        all
    }

    /// Returns true if the search has no words.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Words and phrases that a message has: letters, digits and single spaces.
    pub fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// Words and phrases that a message must not have.
    pub fn unwanted(&self) -> &[String] {
        &self.unwanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_found_however_they_are_written() {
        assert_eq!(words_of("  Café, CRÈME\tbrûlée! (2×)"), "cafe creme brulee 2");
        assert_eq!(words_of("Grüße aus München"), "gruße aus munchen");
        assert_eq!(words_of("東京タワー ok"), "東 京 タ ワ ー ok");
        assert_eq!(words_of(&"x".repeat(65)), "");
        assert_eq!(words_of("🍅 -- !"), "");
    }

    #[test]
    fn a_search_has_words_phrases_and_exceptions() {
        let words = Words::parse("Tomatoes \"green house\" -slugs well-kept -\"late frost");
        assert_eq!(words.wanted(), ["tomatoes", "green house", "well kept"]);
        assert_eq!(words.unwanted(), ["slugs", "late frost"]);
        assert!(Words::parse(" \"\" - -- !").is_empty());
        assert!(Words::parse("-only -exceptions").is_empty());
        let many = Words::parse("a b c d e f g h i j");
        assert_eq!(many.wanted().len(), MAX_WORDS);
    }

    proptest! {
        #[test]
        fn nothing_of_a_search_is_syntax(text in ".{0,200}") {
            let words = Words::parse(&text);
            for word in words.wanted().iter().chain(words.unwanted()) {
                prop_assert!(word.chars().all(|c| c.is_alphanumeric() || c == ' '), "{word:?}");
                prop_assert!(!word.is_empty() && !word.starts_with(' ') && !word.ends_with(' '));
            }
        }
    }
}
