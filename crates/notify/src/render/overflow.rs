//! Texts longer than a service carries: cut off, or in several pieces.

use crate::message::Format;
use crate::url::number::is_space;

/// What a text is written in, as far as cutting must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markup {
    /// The format that the service is sent.
    pub format: Format,
    /// The message said what it is written in.
    pub declared: bool,
    /// What it said.
    pub input: Option<Format>,
}

impl Markup {
    /// Plain text.
    pub const TEXT: Self = Self {
        format: Format::Text,
        declared: true,
        input: Some(Format::Text),
    };

    fn repairs(self) -> bool {
        self.format == Format::Markdown && self.declared
    }
}

/// Characters that may not begin a piece.
const LINE_ENDS: [char; 4] = ['\r', '\n', '\u{b}', '\u{c}'];

/// The first `limit` code points.
pub(super) fn truncate(text: &str, limit: usize, markup: Markup) -> String {
    let Some((end, _)) = text.char_indices().nth(limit) else {
        return tidy(text);
    };
    let piece = tidy(&text[..end]);
    if markup.repairs() {
        super::markdown_repair::close(&piece)
    } else {
        piece
    }
}

/// Pieces of at most `limit` code points, cut after a line end, else after a blank, else after punctuation, else
/// anywhere. Line ends at the beginning and blanks at the end of a piece are dropped, nothing else is.
///
/// ```
/// use notify::render::{Markup, split};
///
/// assert_eq!(split("one two\nthree", 9, Markup::TEXT), ["one two", "three"]);
/// ```
pub fn split(text: &str, limit: usize, markup: Markup) -> Vec<String> {
    if limit == 0 {
        return vec![tidy(text)];
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    // The byte offset just behind the window; none when the rest fits.
    while let Some(window_end) = nth_char(rest, limit) {
        let window = &rest[..window_end];
        let cut = soft_cut(window);
        let cut = match markup.format {
            Format::Text => cut,
            Format::Html => html_cut(rest, window, cut),
            Format::Markdown => markdown_cut(rest, window, cut, limit),
        };
        let cut = if cut == 0 { window_end } else { cut };
        pieces.push(tidy(&rest[..cut]));
        rest = &rest[cut..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(tidy(rest));
    }
    if markup.repairs() {
        super::markdown_repair::carry(pieces)
    } else {
        pieces
    }
}

/// Byte offset of the code point number `limit`; quick for texts that are plainly shorter.
fn nth_char(text: &str, limit: usize) -> Option<usize> {
    if text.len() <= limit {
        return None;
    }
    text.char_indices().nth(limit).map(|(at, _)| at)
}

/// Where to cut a window by its characters alone.
fn soft_cut(window: &str) -> usize {
    let lead = window.len() - window.trim_start_matches(is_space).len();
    let body = &window[lead..];
    let after = |wanted: &dyn Fn(char) -> bool| {
        body.char_indices()
            .rev()
            .find(|(_, c)| wanted(*c))
            .map(|(at, c)| lead + at + c.len_utf8())
    };
    after(&|c| c == '\n' || c == '\r')
        .or_else(|| after(&|c| c == ' ' || c == '\t'))
        .or_else(|| after(&|c| matches!(c, '.' | '!' | '?' | ':' | ';' | '\u{b}' | '\u{c}')))
        .unwrap_or(window.len())
}

/// Moves a cut out of a character reference or a tag.
fn html_cut(rest: &str, window: &str, cut: usize) -> usize {
    let cut = entity_cut(rest, cut);
    let Some(open) = rest[..cut].rfind('<') else {
        return cut;
    };
    if rest[open..cut].contains('>') {
        return cut;
    }
    if open > 0 {
        return open;
    }
    // The tag opens the piece: take it whole when it fits.
    window.find('>').map_or(cut, |close| close + 1)
}

/// A cut inside `&…;` moves before the `&`.
fn entity_cut(rest: &str, cut: usize) -> usize {
    let Some(at) = rest[..cut].rfind('&') else {
        return cut;
    };
    let body = &rest[at + 1..];
    let length = body
        .bytes()
        .take(32)
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'#')
        .count();
    let complete = length > 0 && body[length..].starts_with(';');
    if complete && at + 1 + length >= cut && at > 0 {
        at
    } else {
        cut
    }
}

/// Moves a cut out of a character reference, a link, or a backslash and its partner.
fn markdown_cut(rest: &str, window: &str, cut: usize, limit: usize) -> usize {
    let cut = entity_cut(rest, cut);
    let cut = super::markdown_repair::outside_links(rest, window, cut, limit);
    let slashes = rest[..cut]
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'\\')
        .count();
    if slashes % 2 == 1 && cut > 1 { cut - 1 } else { cut }
}

fn tidy(text: &str) -> String {
    text.trim_start_matches(LINE_ENDS)
        .trim_end_matches(is_space)
        .to_owned()
}
