//! Pieces of Markdown on their way from HTML, and how they become lines.

/// Mark of an item, a quote or their continuation at the beginning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Item,
    Quote,
    Indent,
}

/// One piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Content, already escaped.
    Text(String),
    /// The beginning of a line.
    Mark(Mark, String),
    /// The end of a line; several in a row are one.
    End,
    /// The end of a paragraph; what the next line must begin with.
    Gap { prefix: String, quoted: bool },
}

impl Piece {
    pub(super) fn is_mark(&self) -> bool {
        matches!(self, Self::Mark(..))
    }

    pub(super) fn is_boundary(&self) -> bool {
        matches!(self, Self::End | Self::Gap { .. })
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Mark(_, text) => text,
            Self::End | Self::Gap { .. } => "",
        }
    }
}

/// The blanks of ASCII: a no-break space is content.
pub(super) const BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

/// The line that is being put together.
#[derive(Default)]
struct Line {
    text: String,
    /// Nothing but marks so far.
    marks_only: bool,
    /// A boundary came behind the marks: other marks take their place.
    passed: bool,
}

/// Puts pieces together: boundaries become line ends or blank lines, marks without content vanish.
pub(super) fn join(pieces: &[Piece]) -> String {
    let mut out = String::new();
    let mut line: Option<Line> = None;
    let mut ended = false;
    let mut ended_twice = false;
    let mut blank = false;
    let mut gap: Option<(&str, bool)> = None;
    for piece in pieces {
        if piece.is_boundary() {
            if let Piece::Gap { prefix, quoted } = piece {
                if prefix.is_empty() {
                    blank = true;
                    gap = None;
                } else {
                    gap = Some((prefix, *quoted));
                }
            }
            match &mut line {
                None => {}
                Some(line) if line.marks_only => line.passed = true,
                Some(_) => {
                    ended_twice |= ended;
                    ended = true;
                }
            }
            continue;
        }
        if std::mem::take(&mut ended) {
            let done = line.take().unwrap_or_default();
            out.push_str(done.text.trim_end_matches(BLANKS));
            match gap {
                Some((prefix, true)) => {
                    out.push('\n');
                    out.push_str(prefix.trim_end_matches(BLANKS));
                    out.push('\n');
                }
                None if !blank => out.push('\n'),
                _ => out.push_str("\n\n"),
            }
            line = gap.take().map(|(prefix, _)| Line {
                text: prefix.to_owned(),
                marks_only: true,
                passed: ended_twice,
            });
            blank = false;
            ended_twice = false;
        }
        if let Some(line) = &mut line {
            if line.passed && line.marks_only && piece.is_mark() {
                line.text.clear();
            } else {
                line.marks_only &= piece.is_mark();
            }
            line.text.push_str(piece.text());
            line.passed = false;
        } else {
            line = Some(Line {
                text: piece.text().to_owned(),
                marks_only: piece.is_mark(),
                passed: false,
            });
            blank = false;
            gap = None;
        }
    }
    if let Some(line) = line.filter(|line| !line.marks_only) {
        out.push_str(line.text.trim_end_matches(BLANKS));
    }
    out
}

/// Length of the longest run of backticks.
pub(super) fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A table cell's text: pipes escaped, except inside of code.
pub(super) fn cell(text: &str) -> String {
    let mut text = text.trim_matches(BLANKS).to_owned();
    if text.contains('\n') {
        let mut one_line = String::with_capacity(text.len());
        for c in text.chars() {
            let c = if BLANKS.contains(&c) { ' ' } else { c };
            if c != ' ' || !one_line.ends_with(' ') {
                one_line.push(c);
            }
        }
        one_line.trim_matches(BLANKS).clone_into(&mut text);
    }
    if text.contains('|') {
        escape_pipes(&text)
    } else {
        text
    }
}

fn escape_pipes(text: &str) -> String {
    let runs = backtick_runs(text);
    let mut out = String::with_capacity(text.len() + 8);
    let mut at = 0;
    while let Some(found) = text[at..].find(['\\', '`', '|']) {
        out.push_str(&text[at..at + found]);
        at += found;
        let rest = &text[at..];
        let end = match rest.as_bytes()[0] {
            b'\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            b'`' => {
                let run = rest.bytes().take_while(|byte| *byte == b'`').count();
                runs.iter()
                    .find(|(start, length)| *start >= at + run && *length == run)
                    .map_or(run, |(start, length)| start + length - at)
            }
            _ => {
                out.push('\\');
                1
            }
        };
        out.push_str(&rest[..end]);
        at += end;
    }
    out.push_str(&text[at..]);
    out
}

/// Returns the position and the length of each run of backticks.
fn backtick_runs(text: &str) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, _) in text.match_indices('`') {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    runs
}
