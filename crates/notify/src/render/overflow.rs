//! Texts longer than a service carries: cut off, or in several pieces.

use crate::message::Format;
use crate::url::number::is_space;

use super::markdown_repair::Repair;

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
        return text.to_owned();
    };
    if markup.repairs() {
        Repair::default().piece(0, text, end, tidy)
    } else {
        tidy(&text[..end])
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
    if limit == 0 || nth_char(text, limit).is_none() {
        return vec![text.to_owned()];
    }
    let mut pieces = Vec::new();
    let mut repair = Repair::default();
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
        pieces.push(if markup.repairs() {
            let sight = nth_char(&rest[window_end..], limit).map_or(rest.len(), |more| window_end + more);
            repair.piece(text.len() - rest.len(), &rest[..sight], cut, tidy)
        } else {
            tidy(&rest[..cut])
        });
        rest = &rest[cut..];
    }
    if !rest.is_empty() {
        pieces.push(if markup.repairs() {
            repair.piece(text.len() - rest.len(), rest, rest.len(), tidy)
        } else {
            tidy(rest)
        });
    }
    pieces
}

/// Byte offset of the code point number `limit`; quick for texts that are plainly shorter.
fn nth_char(text: &str, limit: usize) -> Option<usize> {
    if text.len() <= limit {
        return None;
    }
    if text.as_bytes()[..limit].is_ascii() {
        return Some(limit);
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
        .or_else(|| after_sentence(body).map(|at| lead + at))
        .unwrap_or(window.len())
}

/// Behind the last sentence that a vertical tab or form feed ends.
fn after_sentence(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let at = bytes
        .windows(2)
        .rposition(|pair| b".!?:;".contains(&pair[0]) && matches!(pair[1], 0x0b | 0x0c))?;
    Some(at + 2)
}

/// Moves a cut out of a character reference or a tag.
fn html_cut(rest: &str, window: &str, cut: usize) -> usize {
    let cut = entity_cut(rest, cut);
    match open_tag(&rest[..cut]) {
        None => cut,
        Some(open) if open > 0 => open,
        // The tag opens the piece: take it whole when it fits.
        Some(_) => window.find('>').map_or(cut, |close| close + 1),
    }
}

/// Where the tag begins that is still open at the end of a text.
fn open_tag(text: &str) -> Option<usize> {
    let mut open = None;
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (open, quote, byte) {
            (None, _, b'<') => open = Some(at),
            (Some(_), None, b'>') => open = None,
            (Some(_), None, b'"' | b'\'') => quote = Some(byte),
            (Some(_), Some(mark), byte) if mark == byte => quote = None,
            _ => {}
        }
    }
    open
}

/// A cut between `&` and a `;` that stands at most this far behind the cut moves before the `&`.
const ENTITY_SIGHT: usize = 33;

fn entity_cut(rest: &str, cut: usize) -> usize {
    let Some(at) = rest[..cut].rfind('&').filter(|at| *at > 0) else {
        return cut;
    };
    let ends_later = !rest[at..cut].contains(';') && rest[cut..].chars().take(ENTITY_SIGHT).any(|c| c == ';');
    if ends_later { at } else { cut }
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
