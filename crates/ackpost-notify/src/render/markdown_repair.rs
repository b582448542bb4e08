//! Markdown that is cut into pieces, each of which is read alone: emphasis that a cut goes through is closed at the end of
//! the piece where it begins, and what is not markup without the other pieces is escaped.

use std::borrow::Cow;

use super::markdown_emphasis::{Delimiter, pair};
use super::markdown_marks::{
    Backticks, End, angle_end, autolink_end, closing_widths, round_end, run_at, run_length,
};

/// State that the pieces of one text leave to those behind them.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Ends of emphasis that are still to come though the emphasis was closed with its piece: `*`, `**`, `_`, `__`.
    owed: [usize; 4],
    open: Option<Open>,
}

/// Markup that began in an earlier piece and has not ended.
#[derive(Clone, Copy, Debug)]
enum Open {
    /// Code between runs of this number of backticks.
    Code(usize),
    /// An address in `](<…>)`; `half`: the piece ended with the `>`.
    Address { half: bool },
    /// An address in `<…>`.
    Autolink,
    /// A backslash.
    Escape,
}

/// A part of a piece on its way out.
enum Part<'a> {
    Text(Cow<'a, str>),
    /// A run of `*` or `_`, by its number.
    Run(usize),
}

impl Repair {
    /// One piece. `next` is the text behind it as far as it is looked at, `beyond` the character behind that.
    pub(super) fn piece(&mut self, text: &str, next: &str, beyond: Option<char>) -> String {
        let mut scan = Scan {
            text,
            next: next.chars().next(),
            fences: Backticks::of(text),
            repair: self,
            parts: Vec::new(),
            runs: Vec::new(),
            labels: Vec::new(),
        };
        let mut at = scan.resume();
        while at < text.len() {
            at = scan.step(at);
        }
        for label in std::mem::take(&mut scan.labels) {
            scan.parts[label] = Part::Text("\\[".into());
        }
        let (parts, mut runs) = (scan.parts, scan.runs);
        pair(&mut runs);
        let widths = closing_widths(next, text.chars().next_back(), beyond);
        self.join(text, &parts, &mut runs, widths)
    }

    /// Closes what ends behind the piece, and puts everything together.
    fn join(&mut self, text: &str, parts: &[Part<'_>], runs: &mut [Delimiter], widths: [usize; 2]) -> String {
        let ends_in_run = matches!(parts.last(), Some(Part::Run(last)) if last + 1 == runs.len());
        let last = runs.len().wrapping_sub(1);
        let mut begun: Vec<Option<usize>> = vec![None; runs.len()];
        let mut tail = String::new();
        for (n, one) in runs.iter_mut().enumerate() {
            let underline = usize::from(one.run.mark == b'_');
            let width = widths[underline];
            if !one.run.opens || !one.open || one.left == 0 || width == 0 {
                continue;
            }
            // Emphasis that would begin with the last characters holds nothing.
            if ends_in_run && n == last && text.len() != one.run.length {
                one.left %= 2;
                continue;
            }
            let mut count = 0;
            if width >= 2 && one.left >= 2 {
                count = 2;
                self.owed[underline * 2 + 1] += 1;
            }
            if width != 2 && one.left > count {
                count += 1;
                self.owed[underline * 2] += 1;
            }
            tail.insert_str(0, &one.marks(count));
            begun[n] = Some(count);
        }
        let mut out = String::with_capacity(text.len() + 16);
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Run(n) => {
                    let one = &runs[*n];
                    out.push_str(&one.closing());
                    out.push_str(&escaped(&one.marks(one.left - begun[*n].unwrap_or_default())));
                    // A run whose emphasis goes on behind the piece begins nothing else.
                    out.push_str(&begun[*n].map_or_else(|| one.opening(), |count| one.marks(count)));
                }
            }
        }
        out + &tail
    }
}

struct Scan<'a, 'r> {
    text: &'a str,
    /// The first character behind the piece.
    next: Option<char>,
    fences: Backticks,
    repair: &'r mut Repair,
    parts: Vec<Part<'a>>,
    runs: Vec<Delimiter>,
    /// Parts that are `[` and whose link has not ended.
    labels: Vec<usize>,
}

impl<'a> Scan<'a, '_> {
    fn push(&mut self, text: impl Into<Cow<'a, str>>) {
        self.parts.push(Part::Text(text.into()));
    }

    /// Takes the rest of what an earlier piece began as plain text, and returns the position behind it.
    fn resume(&mut self) -> usize {
        let text = self.text;
        let Some(open) = self.repair.open.take() else {
            return 0;
        };
        let (end, close, behind) = match open {
            Open::Escape => {
                let first = text.chars().next().map_or(0, char::len_utf8);
                if first == 0 {
                    self.repair.open = Some(open);
                } else {
                    self.push(&text[..first]);
                }
                return first;
            }
            Open::Code(length) => (self.fences.next(length, 0), "", length),
            Open::Address { half: true } if text.starts_with(')') => (Some(0), "\\)", 1),
            Open::Address { .. } => match angle_end(text, 0) {
                End::At(at) => (Some(at), "\\>\\)", 2),
                End::Later { half } => {
                    self.repair.open = Some(Open::Address { half });
                    (None, "", 0)
                }
                End::Never => (None, "", 0),
            },
            Open::Autolink => (text.find('>'), "\\>", 1),
        };
        let Some(end) = end else {
            self.push(escaped(text));
            self.repair.open.get_or_insert(open);
            return text.len();
        };
        self.push(escaped(&text[..end]).into_owned() + close);
        end + behind
    }

    /// Takes what begins at `at`; returns where it ends.
    fn step(&mut self, at: usize) -> usize {
        let text = self.text;
        let rest = &text[at..];
        match rest.as_bytes()[0] {
            b'\\' => {
                let Some(escaped) = rest[1..].chars().next() else {
                    self.push(rest);
                    return self.leave(Open::Escape);
                };
                self.verbatim(at, at + 1 + escaped.len_utf8())
            }
            b'`' => {
                let length = run_length(text.as_bytes(), at);
                if let Some(close) = self.fences.next(length, at + length) {
                    return self.verbatim(at, close + length);
                }
                self.push(escaped(&rest[length..]));
                self.leave(Open::Code(length))
            }
            b'<' => match autolink_end(text, at) {
                End::At(close) => self.verbatim(at, close + 1),
                End::Later { .. } => {
                    self.push(escaped(rest));
                    self.leave(Open::Autolink)
                }
                End::Never => self.verbatim(at, at + 1),
            },
            b'*' | b'_' => self.run(at),
            b'[' => {
                self.labels.push(self.parts.len());
                self.verbatim(at, at + 1)
            }
            b']' if rest.starts_with("](<") => self.angle_address(at),
            b']' if rest.starts_with("](") => self.round_address(at),
            b']' => self.verbatim(at, at + 1),
            _ => {
                let length = rest
                    .bytes()
                    .position(|byte| b"\\`<*_[]".contains(&byte))
                    .unwrap_or(rest.len());
                self.verbatim(at, at + length)
            }
        }
    }

    fn verbatim(&mut self, from: usize, to: usize) -> usize {
        self.push(&self.text[from..to]);
        to
    }

    /// The rest of the piece belongs to something that ends in another.
    fn leave(&mut self, open: Open) -> usize {
        self.repair.open = Some(open);
        self.text.len()
    }

    fn run(&mut self, at: usize) -> usize {
        let mut run = run_at(self.text, at, None, self.next);
        let end = at + run.length;
        let owed = &mut self.repair.owed[usize::from(run.mark == b'_') * 2..];
        while run.length > 0 {
            let double = usize::from(run.length >= 2);
            if owed[double] == 0 {
                break;
            }
            owed[double] -= 1;
            run.length -= 1 + double;
        }
        if run.length > 0 {
            self.parts.push(Part::Run(self.runs.len()));
            self.runs.push(Delimiter::new(run));
        }
        end
    }

    /// `](<address>)` at `at`.
    fn angle_address(&mut self, at: usize) -> usize {
        let end = angle_end(self.text, at + 3);
        let label = self.labels.pop();
        let address = &self.text[at + 3..];
        match end {
            End::At(close) if label.is_some() => self.verbatim(at, close + 2),
            End::At(close) => {
                let address = escaped(&self.text[at + 3..close]);
                self.push(format!("\\]\\({address}\\>\\)"));
                close + 2
            }
            End::Later { half } => {
                self.push(format!("\\]\\({}", escaped(address)));
                self.leave(Open::Address { half })
            }
            End::Never => self.verbatim(at, self.text.len()),
        }
    }

    /// `](address)` at `at`.
    fn round_address(&mut self, at: usize) -> usize {
        let end = round_end(self.text, at + 2);
        let label = self.labels.pop();
        match end {
            Some(close) if label.is_some() => self.verbatim(at, close + 1),
            Some(close) => {
                let address = escaped(&self.text[at + 2..close]);
                self.push(format!("\\]\\({address}\\)"));
                close + 1
            }
            None => self.verbatim(at, self.text.len()),
        }
    }
}

/// The text with everything escaped that markup could hang on.
fn escaped(text: &str) -> Cow<'_, str> {
    const MARKS: &[char] = &['\\', '`', '*', '_', '[', ']', '(', ')', '<', '>'];
    if !text.contains(MARKS) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if MARKS.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
    out.into()
}
