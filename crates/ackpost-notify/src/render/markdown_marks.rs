//! Positions of the marks of Markdown in a text: backticks, addresses of links, runs of `*` and `_`.

use std::collections::BTreeMap;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// The runs of backticks in a text, by their length; escaped backticks are none.
pub(super) struct Backticks(BTreeMap<usize, Vec<usize>>);

impl Backticks {
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut runs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut at = 0;
        while let Some(found) = text.as_bytes()[at..]
            .iter()
            .position(|byte| matches!(byte, b'`' | b'\\'))
        {
            at += found;
            if bytes[at] == b'\\' {
                at = (at + 2).min(bytes.len());
                continue;
            }
            let length = run_length(bytes, at);
            runs.entry(length).or_default().push(at);
            at += length;
        }
        Self(runs)
    }

    /// The first run of this length that begins at or behind `from`.
    pub(super) fn next(&self, length: usize, from: usize) -> Option<usize> {
        let starts = self.0.get(&length)?;
        starts.get(starts.partition_point(|start| *start < from)).copied()
    }
}

/// Returns the number of equal bytes at `at`.
pub(super) fn run_length(bytes: &[u8], at: usize) -> usize {
    let first = bytes[at];
    bytes[at..].iter().take_while(|byte| **byte == first).count()
}

/// End of markup that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its last mark stands here.
    At(usize),
    /// The text ends first. `half`: with the first character of the last mark.
    Later { half: bool },
    /// It cannot be what it looked like.
    Never,
}

/// The `>)` of an address in angle brackets, looked for from `from`.
pub(super) fn angle_end(text: &str, from: usize) -> End {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if at + 1 < bytes.len() => at += 2,
            b'>' if at + 1 == bytes.len() => return End::Later { half: true },
            b'>' if bytes[at + 1] == b')' => return End::At(at),
            _ => at += 1,
        }
    }
    End::Later { half: false }
}

/// The `)` that belongs to the `(` in front of `from`; none when a blank, a control character or `<` comes first.
pub(super) fn round_end(text: &str, from: usize) -> Option<usize> {
    let mut depth = 1;
    let mut chars = text[from..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(from + at);
                }
            }
            c if no_address(c) => return None,
            _ => {}
        }
    }
    None
}

/// The `>` of an address that stands alone in angle brackets; `at` is where its `<` stands.
pub(super) fn autolink_end(text: &str, at: usize) -> End {
    let rest = &text[at + 1..];
    let scheme = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte))
        .count();
    let named = (2..=32).contains(&scheme) && rest.starts_with(|c: char| c.is_ascii_alphabetic());
    if !named || rest.as_bytes().get(scheme) != Some(&b':') {
        return End::Never;
    }
    let from = at + scheme + 2;
    for (found, c) in text[from..].char_indices() {
        if c == '>' {
            return End::At(from + found);
        }
        if no_address(c) {
            return End::Never;
        }
    }
    End::Later { half: false }
}

fn no_address(c: char) -> bool {
    c == '<' || c < ' ' || c == '\x7f' || blank(Some(c))
}

/// A run of `*` or `_`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) mark: u8,
    pub(super) length: usize,
    /// It may begin emphasis.
    pub(super) opens: bool,
    /// It may end emphasis.
    pub(super) closes: bool,
}

/// The run at `at`; `before` and `behind` are the neighbours of the text.
pub(super) fn run_at(text: &str, at: usize, before: Option<char>, behind: Option<char>) -> Run {
    let mark = text.as_bytes()[at];
    let length = run_length(text.as_bytes(), at);
    let before = text[..at].chars().next_back().or(before);
    let behind = text[at + length..].chars().next().or(behind);
    let left = !blank(behind) && (!punctuation(behind) || blank(before) || punctuation(before));
    let right = !blank(before) && (!punctuation(before) || blank(behind) || punctuation(behind));
    let (opens, closes) = if mark == b'*' {
        (left, right)
    } else {
        (
            left && (!right || punctuation(before)),
            right && (!left || punctuation(behind)),
        )
    };
    Run {
        mark,
        length,
        opens,
        closes,
    }
}

/// Returns the widest run of each mark (`*`, `_`), three at most, that could end emphasis in a text that follows. Code
/// and addresses hold no marks; behind one that does not end nothing counts.
pub(super) fn closing_widths(text: &str, before: Option<char>, behind: Option<char>) -> [usize; 2] {
    let bytes = text.as_bytes();
    let fences = Backticks::of(text);
    let mut widths = [0; 2];
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| b"\\`]<*_".contains(byte)) {
        at += found;
        match bytes[at] {
            b'\\' => at = (at + 2).min(bytes.len()),
            b'`' => {
                let length = run_length(bytes, at);
                match fences.next(length, at + length) {
                    Some(close) => at = close + length,
                    None => break,
                }
            }
            b']' if text[at..].starts_with("](<") => match angle_end(text, at + 3) {
                End::At(close) => at = close + 2,
                _ => break,
            },
            b']' if text[at..].starts_with("](") => match round_end(text, at + 2) {
                Some(close) => at = close + 1,
                None => break,
            },
            b'<' => match autolink_end(text, at) {
                End::At(close) => at = close + 1,
                End::Later { .. } => break,
                End::Never => at += 1,
            },
            b']' => at += 1,
            mark => {
                let run = run_at(text, at, before, behind);
                if run.closes {
                    let width = &mut widths[usize::from(mark == b'_')];
                    *width = run.length.min(3).max(*width);
                }
                at += run.length;
            }
        }
    }
    widths
}

/// White space as CommonMark has it; the edge of a text counts.
fn blank(c: Option<char>) -> bool {
    c.is_none_or(|c| c.is_whitespace() && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}'))
}

fn punctuation(c: Option<char>) -> bool {
    c.is_some_and(|c| {
        if c.is_ascii() {
            c.is_ascii_punctuation()
        } else {
            matches!(
                c.general_category_group(),
                GeneralCategoryGroup::Punctuation | GeneralCategoryGroup::Symbol
            )
        }
    })
}
