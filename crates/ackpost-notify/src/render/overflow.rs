//! Texts longer than a service carries: cut off, or in several pieces.

use std::borrow::Cow;

use memchr::memrchr2;

use crate::message::Format;
use crate::url::number::is_space;

use super::limits::Limits;
use super::markdown_repair::Repair;

/// Format of a text, as far as cutting must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markup {
    /// The format that the service is sent.
    pub format: Format,
    /// True if the message declared its format.
    pub declared: bool,
    /// Format that the message declared.
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

/// Length of the cut-off text that is examined, as a multiple of the length that is kept.
const SIGHT: usize = 8;

/// Characters that may not begin a piece.
const LINE_ENDS: [char; 4] = ['\r', '\n', '\u{b}', '\u{c}'];

/// Maximum number of times a text is cut shorter because its repaired Markdown does not fit the wire. After that it
/// goes unrepaired.
const SHORTER_MAX: usize = 8;

/// Returns the beginning of a text that fits.
pub(super) fn truncate(text: &str, limits: Limits, markup: Markup) -> Cow<'_, str> {
    let mut tried = limits;
    for _ in 0..SHORTER_MAX {
        let kept = truncate_once(text, tried, markup);
        let excess = limits.wire_bytes(&kept).saturating_sub(limits.bytes);
        if excess == 0 || !markup.repairs() {
            return kept;
        }
        tried.bytes = tried.bytes.saturating_sub(excess).max(1);
    }
    tidy(limits.cut(text)).into()
}

fn truncate_once(text: &str, limits: Limits, markup: Markup) -> Cow<'_, str> {
    if limits.body == 0 {
        return "".into();
    }
    let Some(end) = limits.end(text) else {
        return text.into();
    };
    let kept = tidy(&text[..end]);
    if !markup.repairs() {
        return kept.into();
    }
    // A backslash that lost its partner is left out.
    let kept = if ends_in_escape(kept) {
        kept[..kept.len() - 1].trim_end_matches(is_space)
    } else {
        kept
    };
    // The text that is cut off shows, as far as it is examined, whether emphasis ends there.
    let rest = &text[end..];
    let sight = nth_char(rest, limits.body * SIGHT).unwrap_or(rest.len());
    Repair::default()
        .piece(kept, &rest[..sight], rest[sight..].chars().next())
        .into()
}

/// Pieces of at most `limit` code points, cut after a line end, else after a blank, else after punctuation, else
/// anywhere. Line ends at the beginning and blanks at the end of a piece are dropped, nothing else is.
///
/// ```
/// use ackpost_notify::render::{Markup, split};
///
/// assert_eq!(split("one two\nthree", 9, Markup::TEXT), ["one two", "three"]);
/// ```
pub fn split(text: &str, limit: usize, markup: Markup) -> Vec<String> {
    pieces(text, Limits::code_points(limit), markup)
        .into_iter()
        .map(Cow::into_owned)
        .collect()
}

/// Returns the pieces of a plain text that keep these limits.
pub(crate) fn pieces_within(text: &str, limits: Limits) -> Vec<String> {
    pieces(text, limits, Markup::TEXT)
        .into_iter()
        .map(Cow::into_owned)
        .collect()
}

/// Returns the pieces of a text that keep these limits. A piece that nothing changes is borrowed from the text.
pub(super) fn pieces(text: &str, limits: Limits, markup: Markup) -> Vec<Cow<'_, str>> {
    let mut tried = limits;
    for _ in 0..SHORTER_MAX {
        let pieces = pieces_once(text, tried, markup);
        let excess = pieces
            .iter()
            .map(|piece| limits.wire_bytes(piece).saturating_sub(limits.bytes))
            .max()
            .unwrap_or_default();
        if excess == 0 || !markup.repairs() || limits.body == 0 {
            return pieces;
        }
        tried.bytes = tried.bytes.saturating_sub(excess).max(1);
    }
    let unrepaired = Markup {
        declared: false,
        ..markup
    };
    pieces_once(text, limits, unrepaired)
}

fn pieces_once(text: &str, limits: Limits, markup: Markup) -> Vec<Cow<'_, str>> {
    if limits.body == 0 || limits.end(text).is_none() {
        return vec![text.into()];
    }
    let mut pieces = Vec::with_capacity(text.len() / limits.body + 1);
    let mut rest = text;
    // The byte offset just behind the window; none when the rest fits.
    while let Some(window_end) = limits.end(rest) {
        let window = &rest[..window_end];
        let soft = soft_cut(window);
        let cut = match markup.format {
            Format::Text => soft,
            Format::Html => tag_cut(rest, window_end, entity_cut(rest, soft)),
            Format::Markdown => markdown_cut(rest, soft),
        };
        let cut = if cut == 0 { soft } else { cut };
        pieces.push(tidy(&rest[..cut]));
        rest = &rest[cut..];
    }
    if !rest.is_empty() {
        pieces.push(tidy(rest));
    }
    if !markup.repairs() {
        return pieces.into_iter().map(Cow::Borrowed).collect();
    }
    let mut repair = Repair::default();
    let next = pieces.iter().skip(1).copied().chain(std::iter::once(""));
    pieces
        .iter()
        .zip(next)
        .map(|(piece, next)| repair.piece(piece, next, None).into())
        .collect()
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

/// Returns the position at which to cut a window by its characters alone: behind the last line end, else the last
/// blank, else the last end of a sentence, else at its end.
fn soft_cut(window: &str) -> usize {
    let lead = window.len() - window.trim_start_matches(is_space).len();
    let body = &window[lead..];
    let last = |one: u8, other: u8| memrchr2(one, other, body.as_bytes()).map(|at| at + 1);
    last(b'\n', b'\r')
        .or_else(|| last(b' ', b'\t'))
        .or_else(|| after_sentence(body.as_bytes()))
        .map_or(window.len(), |at| lead + at)
}

/// Behind the blanks of the last sentence that vertical tabs or form feeds end.
fn after_sentence(text: &[u8]) -> Option<usize> {
    let blank = |byte: &u8| matches!(byte, 0x0b | 0x0c);
    let at = text
        .windows(2)
        .rposition(|pair| b".!?:;".contains(&pair[0]) && blank(&pair[1]))?;
    let blanks = text[at + 1..].iter().take_while(|byte| blank(byte)).count();
    Some(at + 1 + blanks)
}

/// Longest name of a character reference, its `&` and `;` included.
const REFERENCE_CHARS: usize = 33;

/// Moves a cut inside of a character reference in front of it.
fn entity_cut(rest: &str, cut: usize) -> usize {
    let from = rest[..cut]
        .char_indices()
        .rev()
        .take(REFERENCE_CHARS)
        .last()
        .map_or(cut, |(at, _)| at);
    let Some(at) = rest[from..cut]
        .rfind('&')
        .map(|at| from + at)
        .filter(|at| *at > 0)
    else {
        return cut;
    };
    let until = nth_char(&rest[cut..], REFERENCE_CHARS).map_or(rest.len(), |more| cut + more);
    match rest[at..until].find(';') {
        Some(end) if at + end >= cut => at,
        _ => cut,
    }
}

/// Moves a cut inside of a tag in front of it, or behind it when the piece begins with it and it fits.
fn tag_cut(rest: &str, window_end: usize, cut: usize) -> usize {
    if cut == 0 {
        return cut;
    }
    let mut from = 0;
    while let Some(open) = rest[from..cut].find('<').map(|at| from + at) {
        match tag_end(&rest[..window_end], open) {
            Some(close) if close < cut => from = close + 1,
            Some(close) if open == 0 => return close + 1,
            None if open == 0 => return cut,
            _ => return open,
        }
        if from >= cut {
            break;
        }
    }
    cut
}

/// Returns the position of the `>` of the tag at `open`; a `>` in quotes does not count.
fn tag_end(text: &str, open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += text[at..].find(['>', '"', '\''])?;
        let stop = text.as_bytes()[at];
        if stop == b'>' {
            return Some(at);
        }
        at += 1;
        at += text[at..].find(char::from(stop))? + 1;
    }
}

/// Moves a cut out of a character reference, a link, or a backslash and its partner.
fn markdown_cut(rest: &str, cut: usize) -> usize {
    let cut = link_cut(rest, entity_cut(rest, cut));
    if ends_in_escape(&rest[..cut]) {
        cut - 1
    } else {
        cut
    }
}

/// Moves a cut inside of `[text](address)`, `![text](address)` or `<address|label>` in front of it, as far as its end
/// is in sight.
fn link_cut(rest: &str, cut: usize) -> usize {
    let piece = &rest[..cut];
    let bracket = piece.rfind('[').or_else(|| {
        piece
            .rfind('!')
            .filter(|at| rest.as_bytes().get(at + 1) == Some(&b'['))
    });
    let angle = piece.rfind('<');
    if bracket.is_none() && angle.is_none() {
        return cut;
    }
    let chars = piece.chars().count();
    let sight = &rest[..nth_char(rest, 2 * chars + 1).unwrap_or(rest.len())];
    let find = |from: usize, wanted: char| sight[from..].find(wanted).map(|at| from + at);
    if let Some(at) = bracket
        && find(at, ')').is_some_and(|end| cut < end)
    {
        return at;
    }
    if let Some(at) = angle
        && let Some(bar) = find(at + 1, '|')
        && find(bar, '>').is_some_and(|end| cut <= end)
    {
        return at;
    }
    cut
}

/// True when the text ends in a backslash that escapes what follows.
fn ends_in_escape(text: &str) -> bool {
    let slashes = text.bytes().rev().take_while(|byte| *byte == b'\\').count();
    slashes % 2 == 1
}

fn tidy(text: &str) -> &str {
    text.trim_start_matches(LINE_ENDS).trim_end_matches(is_space)
}
