//! Message text for the page: links become links, session ids are never written in full.

use ackpost_platform::text::misleads;
use maud::{Markup, html};

/// The longest text shown of one message, in characters; longer ones end in an ellipsis.
const MAX_SHOWN: usize = 4_000;

/// Replaces every character that misleads, line breaks and tabs apart.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| {
            if misleads(c) && !matches!(c, '\n' | '\r' | '\t') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A session id as it may be shown: enough to tell two people apart, not enough to write to one.
pub fn short_id(id: &str) -> String {
    let tail: String = id
        .chars()
        .rev()
        .take(4)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let head: String = id.chars().take(4).collect();
    format!("{head}…{tail}")
}

/// `text` with every 66-digit session id cut to its short form.
pub fn hide_ids(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for ch in text.chars().chain(std::iter::once('\0')) {
        if ch.is_ascii_hexdigit() {
            run.push(ch);
            continue;
        }
        // Also inside longer runs of digits: an id with digits stuck to it is still an id.
        if run.len() >= 66 {
            out.push_str(&short_id(&run));
        } else {
            out.push_str(&run);
        }
        run.clear();
        if ch != '\0' {
            out.push(ch);
        }
    }
    out
}

/// Most characters of an excerpt.
const EXCERPT: usize = 120;

/// The first words of a text on one line.
pub(crate) fn excerpt(text: &str) -> String {
    let hidden = hide_ids(text);
    let mut words = String::new();
    for word in hidden.split_whitespace() {
        if words.chars().count() + word.chars().count() > EXCERPT {
            if words.is_empty() {
                words.extend(word.chars().take(EXCERPT));
            }
            words.push('…');
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

/// A number of bytes as people read it.
pub(crate) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| (bytes.saturating_mul(10) + unit / 2) / unit;
    let with = |tenths: u64, unit: &str| match (tenths / 10, tenths % 10) {
        (whole @ 10.., _) | (whole, 0) => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    };
    match bytes {
        1 => "1 byte".to_owned(),
        0..1000 => format!("{bytes} bytes"),
        1000..999_950 => with(tenths(1000), "kB"),
        999_950..999_950_000 => with(tenths(1_000_000), "MB"),
        _ => with(tenths(1_000_000_000), "GB"),
    }
}

/// The body of a message: escaped, line breaks kept by the style sheet, http(s) addresses as links.
pub fn body(text: &str) -> Markup {
    let hidden = hide_ids(text);
    let cut = hidden.char_indices().nth(MAX_SHOWN).map(|(at, _)| at);
    let shown = cut.map_or(hidden.as_str(), |at| &hidden[..at]);
    html! {
        @for piece in pieces(shown) {
            @match piece {
                Piece::Text(text) => { (text) }
                Piece::Link(link) => { a href=(link) rel="nofollow noopener noreferrer ugc" { (link) } }
            }
        }
        @if cut.is_some() { "…" }
    }
}

enum Piece<'a> {
    Text(&'a str),
    Link(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = next_link(rest) {
        let end = rest[at..]
            .find(|c: char| c.is_whitespace() || "<>\"'`".contains(c))
            .map_or(rest.len(), |len| at + len);
        let link = rest[at..end].trim_end_matches(['.', ',', '!', '?', ')', ']', ';', ':']);
        let stop = at + link.len();
        if at > 0 {
            out.push(Piece::Text(&rest[..at]));
        }
        out.push(Piece::Link(link));
        rest = &rest[stop..];
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    out
}

/// Returns the position of the next link with something after its scheme.
fn next_link(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = text[from..].find("http") {
        let at = from + found;
        let tail = &text[at..];
        let after = tail
            .strip_prefix("https://")
            .or_else(|| tail.strip_prefix("http://"));
        if after.is_some_and(|after| after.starts_with(|c: char| c.is_alphanumeric() || c == '[')) {
            return Some(at);
        }
        from = at + 4;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "15074b3654ceaafb7bba84d018085a7cb7d501ae61d70299ee56928c327d29d7ea";

    #[test]
    fn ids_are_never_whole() {
        assert_eq!(short_id(ID), "1507…d7ea");
        assert_eq!(hide_ids(&format!("hi @{ID}, look")), "hi @1507…d7ea, look");
        assert!(!hide_ids(&format!("{ID}{ID}")).contains(ID));
        assert_eq!(hide_ids("deadbeef"), "deadbeef");
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt("  one\n\ttwo  three "), "one two three");
        let long = excerpt(&"word ".repeat(100));
        assert!(
            long.ends_with(" word…") && long.chars().count() <= EXCERPT + 1,
            "{long}"
        );
        assert_eq!(excerpt(&"x".repeat(500)).chars().count(), EXCERPT + 1);
        assert_eq!(excerpt(&format!("hi {ID}")), "hi 1507…d7ea");
    }

    #[test]
    fn sizes_are_short() {
        let shown = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1 kB"),
            (1250, "1.3 kB"),
            (12_345, "12 kB"),
            (999_950, "1 MB"),
            (4_200_000, "4.2 MB"),
            (3_000_000_000, "3 GB"),
        ];
        for (bytes, text) in shown {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn links_are_links_and_markup_is_text() {
        let page = body("see https://example.org/a?b=1&c=2. <script>alert(1)</script> http:// https://x")
            .into_string();
        assert!(page.contains("<a href=\"https://example.org/a?b=1&amp;c=2\" rel="));
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
        assert_eq!(page.matches("<a ").count(), 2);
    }

    proptest! {
        #[test]
        fn any_text_is_shown_without_markup(text in ".{0,300}") {
            let page = body(&text).into_string();
            prop_assert!(!page.contains("<script"));
        }
    }
}
