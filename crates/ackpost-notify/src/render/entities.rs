//! HTML character references, decoded as the HTML standard says.
//!
//! `entities.txt` is the standard's list of named character references (WHATWG HTML, section 13.5), one a line:
//! the name as written after `&` (some are known without `;` too), then its code points in hex.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Longest name in the list, in bytes.
const LONGEST_NAME: usize = 32;

fn names() -> &'static HashMap<&'static str, String> {
    static NAMES: OnceLock<HashMap<&'static str, String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        include_str!("entities.txt")
            .lines()
            .filter_map(|line| {
                let (name, codes) = line.split_once(' ')?;
                let text: Option<String> = codes
                    .split(' ')
                    .map(|code| u32::from_str_radix(code, 16).ok().and_then(char::from_u32))
                    .collect();
                Some((name, text?))
            })
            .collect()
    })
}

/// Replaces every character reference by what it stands for; what is none stays as it is.
pub(super) fn decode(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let body = &rest[at + 1..];
        let (value, used) = if let Some(number) = body.strip_prefix('#') {
            numeric(number)
        } else {
            named(body)
        };
        if let Some(value) = value {
            out.push_str(&value);
            rest = &body[used..];
        } else {
            out.push('&');
            rest = body;
        }
    }
    out.push_str(rest);
    out
}

/// `#…` without the `#`: the text and how much of `&`'s tail was used.
fn numeric(number: &str) -> (Option<String>, usize) {
    let hex = number.starts_with(['x', 'X']);
    let digits = if hex { &number[1..] } else { number };
    let count = digits
        .bytes()
        .take_while(|b| {
            if hex {
                b.is_ascii_hexdigit()
            } else {
                b.is_ascii_digit()
            }
        })
        .count();
    if count == 0 {
        return (None, 0);
    }
    let value = u32::from_str_radix(&digits[..count], if hex { 16 } else { 10 }).unwrap_or(u32::MAX);
    let semicolon = usize::from(digits[count..].starts_with(';'));
    let used = 1 + usize::from(hex) + count + semicolon;
    (Some(character(value)), used)
}

/// Returns the character of a number. The standard maps the C1 range to Windows-1252 and drops invalid characters.
fn character(value: u32) -> String {
    const WINDOWS: [u32; 32] = [
        0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152,
        0x8D, 0x017D, 0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122,
        0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178,
    ];
    let value = match value {
        0 => 0xFFFD,
        0x0D => 0x0D,
        0x80..=0x9F => WINDOWS[(value - 0x80) as usize],
        other => other,
    };
    let invalid = matches!(value, 0x1..=0x8 | 0xB | 0xE..=0x1F | 0x7F | 0xFDD0..=0xFDEF)
        || (value > 0xFFFF && value <= 0x0010_FFFF && value & 0xFFFE == 0xFFFE)
        || matches!(value, 0xFFFE | 0xFFFF);
    if invalid {
        return String::new();
    }
    char::from_u32(value).unwrap_or('\u{FFFD}').to_string()
}

/// A name with its `;`, else the longest known name without one.
fn named(body: &str) -> (Option<String>, usize) {
    let length = body
        .char_indices()
        .take(LONGEST_NAME)
        .find(|(_, c)| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';'))
        .map_or_else(
            || {
                body.char_indices()
                    .nth(LONGEST_NAME)
                    .map_or(body.len(), |(at, _)| at)
            },
            |(at, _)| at,
        );
    let with = if body[length..].starts_with(';') {
        length + 1
    } else {
        length
    };
    if let Some(value) = names().get(&body[..with]) {
        return (Some(value.clone()), with);
    }
    let mut end = with;
    while end > 1 {
        end -= 1;
        if body.is_char_boundary(end)
            && let Some(value) = names().get(&body[..end])
        {
            return (Some(value.clone()), end);
        }
    }
    (None, 0)
}
