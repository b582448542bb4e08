//! Backslash escapes in title and body.

/// Interprets `\n`, `\t`, `\x41`, `\u00e9`, `\N{BULLET}` and their kin; everything else stays as typed, so that
/// `C:\Users` survives. `None` means that the result holds half of a surrogate pair, which no message can carry.
///
/// ```
/// assert_eq!(ackpost_notify::render::escapes(r"a\nb \u2713").as_deref(), Some("a\nb ✓"));
/// ```
pub fn escapes(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let body = &rest[at + 1..];
        let (value, used) = one(body)?;
        if let Some(value) = value {
            out.push_str(&value);
            rest = &body[used..];
        } else {
            out.push('\\');
            rest = body;
        }
    }
    out.push_str(rest);
    Some(out)
}

type Escape = (Option<String>, usize);

/// Returns the value and the length of the text behind a backslash; no value if it is not an escape. `None` for a
/// surrogate.
fn one(body: &str) -> Option<Escape> {
    let Some(first) = body.chars().next() else {
        return Some((None, 0));
    };
    let simple = match first {
        '\\' => "\\",
        '\'' => "'",
        '"' => "\"",
        'a' => "\u{7}",
        'b' => "\u{8}",
        'f' => "\u{c}",
        'n' => "\n",
        'r' => "\r",
        't' => "\t",
        'v' => "\u{b}",
        '\n' => "",
        '0'..='7' => return Some(octal(body)),
        'x' => return hex(&body[1..], 2),
        'u' => return hex(&body[1..], 4),
        'U' => return hex(&body[1..], 8),
        'N' => return Some(named(body)),
        _ => return Some((None, 0)),
    };
    Some((Some(simple.to_owned()), 1))
}

fn octal(body: &str) -> Escape {
    let count = body
        .bytes()
        .take(3)
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .count();
    let value = u32::from_str_radix(&body[..count], 8)
        .ok()
        .and_then(char::from_u32);
    (value.map(String::from), count)
}

fn hex(digits: &str, count: usize) -> Option<Escape> {
    let Some(digits) = digits
        .get(..count)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    else {
        return Some((None, 0));
    };
    let value = u32::from_str_radix(digits, 16).unwrap_or(u32::MAX);
    if (0xD800..=0xDFFF).contains(&value) {
        return None;
    }
    Some((char::from_u32(value).map(String::from), 1 + count))
}

/// `N{NAME}`: a character by its Unicode name.
fn named(body: &str) -> Escape {
    let Some(name) = body
        .strip_prefix("N{")
        .and_then(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
    else {
        return (None, 0);
    };
    let found = unicode_names2::character(name).or_else(|| alias(name));
    (found.map(String::from), name.len() + 3)
}

/// Other names of characters, those of the control characters above all: code point and name a line, from the Unicode
/// Character Database.
const ALIASES: &str = include_str!("name_aliases.txt");

fn alias(name: &str) -> Option<char> {
    let selector = name.get(..2).filter(|start| start.eq_ignore_ascii_case("VS"));
    if selector.is_some() {
        let number: u32 = name[2..].parse().ok()?;
        return match number {
            1..=16 => char::from_u32(0xFE00 + number - 1),
            17..=256 => char::from_u32(0xE0100 + number - 17),
            _ => None,
        };
    }
    let mut lines = ALIASES.lines().filter_map(|line| line.split_once(';'));
    let (code, _) = lines.find(|(_, known)| known.eq_ignore_ascii_case(name))?;
    u32::from_str_radix(code, 16).ok().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::escapes;

    #[test]
    fn characters_have_other_names_too() {
        let text = escapes(r"\N{LINE FEED}\N{nbsp}\N{VS17}\N{ZWJ}\N{BULLET}\N{VS300}");
        assert_eq!(text.as_deref(), Some("\n\u{a0}\u{e0100}\u{200d}•\\N{VS300}"));
    }
}
