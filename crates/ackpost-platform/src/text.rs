//! Text of others that is shown to a person.

use std::fmt::Write as _;

/// True for characters that make a terminal show something else than what is there: control characters (C0, C1),
/// Unicode's line and paragraph separators, and those that turn the direction of what follows (explicit embeddings,
/// overrides and isolates).
pub fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with every character that misleads written as `\u{…}`, for log lines: nothing of it is lost.
pub fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) {
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// JSON in which every character that misleads is an escape: it decodes to the same text.
pub fn harmless(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Line ends and tabs outside of strings lay the document out; inside, JSON has escaped them already.
        if misleads(c) && !matches!(c, '\n' | '\t') {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Text from another machine may not break the line, move the cursor or turn the direction.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { ' ' } else { c }).collect()
}

/// `1 attempt`, `2 attempts`.
pub fn count(number: u64, one: &str) -> String {
    let ending = match one {
        _ if number == 1 => "",
        _ if one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_not_shown() {
        assert_eq!(one_line("a\n\u{1b}[31mb"), "a  [31mb");
        for turn in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(one_line(&format!("txt.{turn}exe")), "txt. exe", "{turn:?}");
        }
        // Scripts that run from right to left, and the marks they are written with, stay.
        let text = "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f} \u{200e}\u{1f468}\u{200d}\u{1f469}";
        assert_eq!(one_line(text), text);
        assert_eq!(one_line("a\u{9b}b\u{2028}c\u{2029}d"), "a b c d");
    }

    #[test]
    fn masked_text_and_json_lose_nothing() {
        let text = "a\u{1b}[2J\u{9b}31m\u{202e}txt\u{2066}\u{2028}\u{2029}\u{7f}\u{5e9}\u{1f468}";
        assert_eq!(
            masked(text),
            "a\\u{1b}[2J\\u{9b}31m\\u{202e}txt\\u{2066}\\u{2028}\\u{2029}\\u{7f}\u{5e9}\u{1f468}"
        );
        let value = serde_json::json!({ text: [text, "line\nline\ttab"] });
        for json in [
            serde_json::to_string(&value).expect("JSON"),
            serde_json::to_string_pretty(&value).expect("JSON"),
        ] {
            let shown = harmless(&json);
            assert!(shown.contains("\\u202e") && shown.contains("\\u009b"), "{shown}");
            assert!(!shown.chars().any(|c| misleads(c) && c != '\n'), "{shown}");
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"),
                value
            );
        }
    }

    #[test]
    fn counts_in_words() {
        assert_eq!(count(1, "address"), "1 address");
        assert_eq!(count(2, "address"), "2 addresses");
        assert_eq!(count(0, "attempt"), "0 attempts");
        assert_eq!(count(1, "attempt"), "1 attempt");
    }
}
