//! Emoji short codes.

use super::emoji_table::{OTHER, UNKNOWN};

/// Longest short code that is looked up, in bytes.
const LONGEST_CODE: usize = 64;

/// Replaces `:smile:` and its kin by the emoji; case does not matter, unknown codes stay. Leftmost first, no overlaps.
///
/// ```
/// assert_eq!(ackpost_notify::render::emojis("done :+1: :bogus:"), "done 👍 :bogus:");
/// ```
pub fn emojis(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(':') {
        out.push_str(&rest[..at]);
        let body = &rest[at + 1..];
        let end = body
            .as_bytes()
            .iter()
            .take(LONGEST_CODE)
            .position(|byte| *byte == b':');
        if let Some((emoji, end)) = end.and_then(|end| Some((lookup(&body[..end])?, end))) {
            out.push_str(emoji);
            rest = &body[end + 1..];
        } else {
            out.push(':');
            rest = body;
        }
    }
    out.push_str(rest);
    out
}

fn lookup(code: &str) -> Option<&'static str> {
    let code = code.to_ascii_lowercase();
    if let Ok(at) = OTHER.binary_search_by_key(&code.as_str(), |(name, _)| name) {
        return Some(OTHER[at].1);
    }
    if UNKNOWN.binary_search(&code.as_str()).is_ok() {
        return None;
    }
    emojis::get_by_shortcode(&code).map(emojis::Emoji::as_str)
}
