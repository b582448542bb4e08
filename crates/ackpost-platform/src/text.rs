//! Text of others that is shown to a person.

use std::fmt::Write as _;

/// True for characters that make a terminal show something else than what is there: control characters (C0, C1),
/// Unicode's line and paragraph separators, and those that turn the direction of what follows (explicit embeddings,
/// overrides and isolates).
pub fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns true for characters that a reader does not see although they belong to the text: joiners, fillers, marks of
/// byte order, tags. Names and addresses that differ in these alone look the same. Texts need some of them, as emoji and
/// Persian words do.
pub fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// The text without characters that mislead or are hidden: for names, which are compared by eye.
pub fn plain_name(name: &str) -> String {
    name.chars().filter(|c| !misleads(*c) && !is_hidden(*c)).collect()
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

/// Returns the text on one line: one blank for every run of characters that break the line, move the cursor or turn the
/// direction.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut in_run = false;
    for c in text.chars() {
        let misleads = misleads(c);
        if !misleads {
            line.push(c);
        } else if !in_run {
            line.push(' ');
        }
        in_run = misleads;
    }
    line
}

/// Longest name of a file, in characters.
const FILE_NAME_CHARS: usize = 120;

/// Returns the last part of a name of a file, without characters that could end a header and without dots in front, or nothing if
/// nothing is left.
pub fn safe_file_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last
        .chars()
        .filter(|c| !c.is_control() && *c != '"')
        .take(FILE_NAME_CHARS)
        .collect();
    let clean = clean.trim().trim_start_matches('.');
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// Returns true for a media type that every header takes: `type/subtype` of plain characters, 100 bytes at most.
pub fn is_media_type(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    text.len() <= 100
        && text
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_word(kind) && is_word(subtype))
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
    fn misleading_characters_are_not_shown() {
        assert_eq!(one_line("a\n\u{1b}[31mb"), "a [31mb");
        assert_eq!(one_line("one\r\n\r\ntwo\n"), "one two ");
        for turn in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(one_line(&format!("txt.{turn}exe")), "txt. exe", "{turn:?}");
        }
        // Scripts that run from right to left, and the marks they are written with, stay.
        let text = "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f} \u{200e}\u{1f468}\u{200d}\u{1f469}";
        assert_eq!(one_line(text), text);
        assert_eq!(one_line("a\u{9b}b\u{2028}c\u{2029}d"), "a b c d");
    }

    #[test]
    fn a_plain_name_has_nothing_that_a_reader_does_not_see() {
        assert_eq!(
            plain_name("j\u{202e}a\u{200d}n\u{ad}e\u{3164}\u{e0041}\n\u{7}"),
            "jane"
        );
        assert_eq!(
            plain_name("J\u{e9}r\u{f4}me \u{1f600}"),
            "J\u{e9}r\u{f4}me \u{1f600}"
        );
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
    fn a_media_type_that_no_header_takes_is_none() {
        for good in ["image/png", "image/svg+xml", "application/vnd.api+json"] {
            assert!(is_media_type(good), "{good}");
        }
        let long = format!("image/{}", "x".repeat(100));
        for bad in [
            "",
            "image",
            "image/",
            "/png",
            "image/png\r\nx: y",
            "a b/c",
            "image/png; x",
            "a/b/c",
            &long,
        ] {
            assert!(!is_media_type(bad), "{bad:?}");
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
