//! Numbers as Python reads and writes them, because the language was defined by it.

use std::borrow::Cow;

/// Python's `int(text)`: blanks around, a sign, any decimal digits of Unicode, single underscores between digits.
/// Values beyond 64 bits saturate.
pub fn python_int(text: &str) -> Option<i64> {
    let text = trim(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = plain_digits(digits)?;
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut value: i64 = 0;
    for byte in plain.bytes() {
        value = value.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
    }
    Some(if negative { -value } else { value })
}

/// Python's `float(text)`: also `inf`, `infinity`, `nan` in any case, exponents, underscores between digits.
pub(crate) fn python_float(text: &str) -> Option<f64> {
    let text = trim(text);
    let plain = plain_digits(text)?;
    let body = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let lower = body.to_ascii_lowercase();
    let words = ["inf", "infinity", "nan"];
    let numeric = body
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_digit() || first == b'.')
        && body
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if !numeric && !words.contains(&lower.as_str()) {
        return None;
    }
    plain.parse().ok()
}

/// Python's `str(float)` for the values that occur: `0.5`, `2.0`, `1e+16`, `inf`, `nan`.
pub fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent
            .strip_prefix('-')
            .map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    let text = format!("{value}");
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

/// Trims what Python's `str.strip()` trims.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.isspace` of one character.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Underscores between digits removed, other decimal digits of Unicode turned into ASCII ones.
fn plain_digits(text: &str) -> Option<Cow<'_, str>> {
    if text.is_ascii() && !text.contains('_') {
        return Some(text.into());
    }
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    for (n, c) in chars.iter().enumerate() {
        if *c == '_' {
            let between = n > 0
                && decimal(chars[n - 1]).is_some()
                && chars.get(n + 1).is_some_and(|next| decimal(*next).is_some());
            if !between {
                return None;
            }
        } else if let Some(digit) = decimal(*c) {
            out.push(char::from(b'0' + digit));
        } else {
            out.push(*c);
        }
    }
    Some(out.into())
}

/// First code points of the runs of ten decimal digits (Unicode category Nd) in the basic plane.
const DIGIT_RUNS: [u32; 37] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50,
    0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

fn decimal(c: char) -> Option<u8> {
    if c.is_ascii_digit() {
        return Some(c as u8 - b'0');
    }
    let code = u32::from(c);
    let run = DIGIT_RUNS.iter().rev().find(|start| code >= **start)?;
    u8::try_from(code - run).ok().filter(|digit| *digit < 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_read_as_python_reads_them() {
        for (text, value) in [
            ("3", 3),
            (" +3 ", 3),
            ("1_0", 10),
            ("03", 3),
            ("-0", 0),
            ("٣", 3),
            ("-12", -12),
        ] {
            assert_eq!(python_int(text), Some(value), "{text}");
        }
        for text in ["", "_1", "1_", "1__0", "0x3", "1.5", "--1", "abc", "+"] {
            assert_eq!(python_int(text), None, "{text}");
        }
    }

    #[test]
    fn decimals_read_and_write_as_python_does() {
        for (text, value) in [
            ("4", 4.0),
            ("1e2", 100.0),
            ("1_0", 10.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1", -1.0),
        ] {
            assert_eq!(python_float(text), Some(value), "{text}");
        }
        assert!(python_float("nan").is_some_and(f64::is_nan));
        assert_eq!(python_float("-Infinity"), Some(f64::NEG_INFINITY));
        for text in ["", "4,5", "0x10", "infin", "e5", "1e", "--1"] {
            assert_eq!(python_float(text), None, "{text}");
        }
        for (value, text) in [
            (0.5, "0.5"),
            (2.0, "2.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (1e-5, "1e-05"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }
}
