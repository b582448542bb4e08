//! Markdown that is cut: links stay whole, open emphasis is closed and reopened.

use std::collections::{BTreeMap, BTreeSet};

/// Rewrites the pieces of a Markdown text so that none has broken markup: emphasis that is cut through is closed in the
/// piece where it begins, markers without a partner are escaped, code marks that are cut through are dropped.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Offsets in the whole text of closing markers whose emphasis was closed in an earlier piece.
    dropped: BTreeSet<usize>,
}

/// What happens to one byte position of a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Escape,
    Drop,
}

impl Repair {
    /// One piece: `seen` begins with it, stands at `base` in the whole text and reaches as far as may be looked; the
    /// piece ends at `cut`. `tidy` trims it before what is open is closed.
    pub(super) fn piece(
        &mut self,
        base: usize,
        seen: &str,
        cut: usize,
        tidy: impl Fn(&str) -> &str,
    ) -> String {
        let marks = scan(seen);
        let mut fates: BTreeMap<usize, Fate> = BTreeMap::new();
        for (start, length, whole) in &marks.code {
            let inside = whole.is_some_and(|end| end <= cut);
            let crossing = *start < cut && !inside;
            if crossing {
                (0..*length).for_each(|n| {
                    fates.insert(start + n, Fate::Drop);
                });
            }
        }
        for bracket in marks.brackets.iter().filter(|at| **at < cut) {
            fates.insert(*bracket, Fate::Escape);
        }
        for run in &marks.runs {
            (run.start..run.start + run.length)
                .filter(|at| *at < cut)
                .for_each(|at| {
                    let fate = if self.dropped.contains(&(base + at)) {
                        Fate::Drop
                    } else {
                        Fate::Escape
                    };
                    fates.insert(at, fate);
                });
        }
        let mut closing: Option<&Pair> = None;
        for pair in &marks.pairs {
            let inside = pair.close + pair.length <= cut;
            let crossing = pair.open < cut && !inside;
            if inside {
                for at in (pair.open..pair.open + pair.length).chain(pair.close..pair.close + pair.length) {
                    fates.insert(at, Fate::Keep);
                }
            } else if crossing && closing.is_none_or(|outer| pair.open < outer.open) {
                closing = Some(pair);
            }
        }
        let mut tail = String::new();
        if let Some(pair) = closing {
            for n in 0..pair.length {
                fates.insert(pair.open + n, Fate::Keep);
                self.dropped.insert(base + pair.close + n);
            }
            tail.push_str(&seen[pair.open..pair.open + pair.length]);
        }
        let mut out = String::with_capacity(cut + 16);
        for (at, c) in seen[..cut].char_indices() {
            match fates.get(&at).copied().unwrap_or(Fate::Keep) {
                Fate::Keep => out.push(c),
                Fate::Escape => {
                    out.push('\\');
                    out.push(c);
                }
                Fate::Drop => {}
            }
        }
        tidy(&out).to_owned() + &tail
    }
}

/// Everything in a text that markup could hang on.
#[derive(Default)]
struct Marks {
    /// Runs of backticks: start, length, and where the span they open ends (none for a run without partner).
    code: Vec<(usize, usize, Option<usize>)>,
    /// `[` that begin no link.
    brackets: Vec<usize>,
    runs: Vec<Run>,
    pairs: Vec<Pair>,
}

/// A run of `*` or `_`.
struct Run {
    start: usize,
    length: usize,
    mark: u8,
    /// Characters not yet used by a pair; an opener is used from its end, a closer from its start.
    left: usize,
    used_front: usize,
    opens: bool,
    closes: bool,
}

/// A matched pair of markers.
struct Pair {
    open: usize,
    close: usize,
    length: usize,
}

fn scan(text: &str) -> Marks {
    let bytes = text.as_bytes();
    let mut marks = Marks::default();
    let fences = backtick_runs(text);
    let mut address_end = Next::new(|byte| matches!(byte, b')' | b'\n' | b' '));
    let mut angle_end = Next::new(|byte| byte == b'>' || byte.is_ascii_whitespace());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'`' => {
                let length = bytes[at..].iter().take_while(|byte| **byte == b'`').count();
                let partner = fences.get(&length).and_then(|starts| {
                    let next = starts.partition_point(|start| *start <= at);
                    starts.get(next).copied()
                });
                marks.code.push((at, length, partner.map(|start| start + length)));
                if let Some(start) = partner {
                    marks.code.push((start, length, Some(start + length)));
                    at = start;
                }
                at += length;
            }
            b'<' => {
                // What stands in `<…>` without blanks is no text.
                let end = angle_end.from(bytes, at + 1);
                at = if bytes.get(end) == Some(&b'>') {
                    end + 1
                } else {
                    at + 1
                };
            }
            b'[' => {
                marks.brackets.push(at);
                at += 1;
            }
            b']' if text[at + 1..].starts_with('(') => {
                // A link begins at the innermost bracket; its address is no text.
                marks.brackets.pop();
                let end = address_end.from(bytes, at + 2);
                at = if bytes.get(end) == Some(&b')') {
                    end
                } else {
                    at + 2
                };
            }
            mark @ (b'*' | b'_') => {
                let length = bytes[at..].iter().take_while(|byte| **byte == mark).count();
                marks.runs.push(run(text, at, length, mark));
                at += length;
            }
            _ => at += 1,
        }
    }
    marks.pairs = pair(&mut marks.runs);
    marks
}

/// Where runs of backticks begin, by their length.
fn backtick_runs(text: &str) -> BTreeMap<usize, Vec<usize>> {
    let bytes = text.as_bytes();
    let mut runs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let length = bytes[start..].iter().take_while(|byte| **byte == b'`').count();
        runs.entry(length).or_default().push(start);
        at = start + length;
    }
    runs
}

/// The next byte of a kind, found once for all that ask in front of it.
struct Next {
    wanted: fn(u8) -> bool,
    at: Option<usize>,
}

impl Next {
    fn new(wanted: fn(u8) -> bool) -> Self {
        Self { wanted, at: None }
    }

    /// Where it stands, at or behind `start`; the length when there is none. `start` never goes back.
    fn from(&mut self, bytes: &[u8], start: usize) -> usize {
        match self.at {
            Some(at) if at >= start => at,
            _ => {
                let rest = bytes.get(start..).unwrap_or_default();
                let at = rest
                    .iter()
                    .position(|byte| (self.wanted)(*byte))
                    .map_or(bytes.len(), |found| start + found);
                self.at = Some(at);
                at
            }
        }
    }
}

fn run(text: &str, start: usize, length: usize, mark: u8) -> Run {
    let before = text[..start].chars().next_back();
    let after = text[start + length..].chars().next();
    let blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let punctuation = |c: Option<char>| c.is_some_and(|c| !c.is_alphanumeric() && !c.is_whitespace());
    let left = !blank(after) && (!punctuation(after) || blank(before) || punctuation(before));
    let right = !blank(before) && (!punctuation(before) || blank(after) || punctuation(after));
    let (opens, closes) = if mark == b'*' {
        (left, right)
    } else {
        (
            left && (!right || punctuation(before)),
            right && (!left || punctuation(after)),
        )
    };
    Run {
        start,
        length,
        mark,
        left: length,
        used_front: 0,
        opens,
        closes,
    }
}

/// CommonMark's rule for which marker belongs to which.
fn pair(runs: &mut [Run]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    // Below these indices no opener is left, by marker, kind of closer and length modulo three.
    let mut bottom = [0_usize; 12];
    let mut closer = 0;
    while closer < runs.len() {
        if !runs[closer].closes || runs[closer].left == 0 {
            closer += 1;
            continue;
        }
        let key = usize::from(runs[closer].mark == b'_') * 6
            + usize::from(runs[closer].opens) * 3
            + runs[closer].length % 3;
        let found = (bottom[key]..closer)
            .rev()
            .find(|opener| fits(&runs[*opener], &runs[closer]));
        let Some(opener) = found else {
            bottom[key] = closer;
            closer += 1;
            continue;
        };
        let length = if runs[opener].left >= 2 && runs[closer].left >= 2 {
            2
        } else {
            1
        };
        runs[opener].left -= length;
        let open = runs[opener].start + runs[opener].used_front + runs[opener].left;
        let close = runs[closer].start + runs[closer].used_front;
        runs[closer].used_front += length;
        runs[closer].left -= length;
        for between in &mut runs[opener + 1..closer] {
            between.left = 0;
        }
        pairs.push(Pair { open, close, length });
    }
    pairs
}

fn fits(opener: &Run, closer: &Run) -> bool {
    let odd = (opener.closes || closer.opens)
        && (opener.length + closer.length).is_multiple_of(3)
        && !(opener.length.is_multiple_of(3) && closer.length.is_multiple_of(3));
    opener.mark == closer.mark && opener.opens && opener.left > 0 && !odd
}
