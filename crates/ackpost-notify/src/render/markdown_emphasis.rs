//! Pairing of the runs of `*` and `_`.

use super::markdown_marks::Run;

/// A run while it is paired.
#[derive(Debug)]
pub(super) struct Delimiter {
    pub(super) run: Run,
    /// Characters that no pair has used.
    pub(super) left: usize,
    /// Widths of the emphasis that begins here, the inner first.
    opened: Vec<usize>,
    /// Widths of the emphasis that ends here, the inner first.
    closed: Vec<usize>,
    /// A run behind this text could still end what begins here.
    pub(super) open: bool,
}

impl Delimiter {
    pub(super) fn new(run: Run) -> Self {
        Self {
            run,
            left: run.length,
            opened: Vec::new(),
            closed: Vec::new(),
            open: false,
        }
    }

    /// The marks that end emphasis here.
    pub(super) fn closing(&self) -> String {
        self.marks(self.closed.iter().sum())
    }

    /// The marks that begin emphasis here.
    pub(super) fn opening(&self) -> String {
        self.marks(self.opened.iter().sum())
    }

    pub(super) fn marks(&self, count: usize) -> String {
        char::from(self.run.mark).to_string().repeat(count)
    }
}

/// The runs that may still be paired, as a list in which one can be left out.
struct Active {
    before: Vec<Option<usize>>,
    after: Vec<Option<usize>>,
    first: Option<usize>,
}

impl Active {
    fn new(count: usize) -> Self {
        Self {
            before: (0..count).map(|n| n.checked_sub(1)).collect(),
            after: (0..count).map(|n| (n + 1 < count).then_some(n + 1)).collect(),
            first: (count > 0).then_some(0),
        }
    }

    fn remove(&mut self, at: usize) {
        let (before, after) = (self.before[at], self.after[at]);
        match before {
            Some(before) => self.after[before] = after,
            None => self.first = after,
        }
        if let Some(after) = after {
            self.before[after] = before;
        }
    }

    /// Leaves out everything between two.
    fn join(&mut self, left: usize, right: usize) {
        self.after[left] = Some(right);
        self.before[right] = Some(left);
    }
}

/// CommonMark's rule for which run belongs to which.
pub(super) fn pair(runs: &mut [Delimiter]) {
    let mut active = Active::new(runs.len());
    // Up to these places no partner was found, by mark, kind of closer and length modulo three.
    let mut bottom: [Option<usize>; 12] = [None; 12];
    let mut next = active.first;
    while let Some(closer) = next {
        if !runs[closer].run.closes {
            next = active.after[closer];
            continue;
        }
        let run = runs[closer].run;
        let key = usize::from(run.mark == b'_') * 6 + usize::from(run.opens) * 3 + run.length % 3;
        let Some(opener) = partner(runs, &active, closer, bottom[key]) else {
            bottom[key] = closer.checked_sub(1);
            next = active.after[closer];
            if !run.opens {
                active.remove(closer);
            }
            continue;
        };
        let width = if runs[closer].left >= 2 && runs[opener].left >= 2 {
            2
        } else {
            1
        };
        runs[opener].left -= width;
        runs[opener].opened.push(width);
        runs[closer].left -= width;
        runs[closer].closed.push(width);
        active.join(opener, closer);
        if runs[opener].left == 0 {
            active.remove(opener);
        }
        if runs[closer].left == 0 {
            next = active.after[closer];
            active.remove(closer);
        }
    }
    let mut next = active.first;
    while let Some(at) = next {
        runs[at].open = true;
        next = active.after[at];
    }
}

/// The nearest run in front of `closer` that begins what it ends.
fn partner(runs: &[Delimiter], active: &Active, closer: usize, bottom: Option<usize>) -> Option<usize> {
    let mut at = active.before[closer];
    while let Some(opener) = at.filter(|opener| bottom.is_none_or(|bottom| *opener > bottom)) {
        if fits(runs[opener].run, runs[closer].run) {
            return Some(opener);
        }
        at = active.before[opener];
    }
    None
}

fn fits(opener: Run, closer: Run) -> bool {
    let odd = (closer.opens || opener.closes)
        && !closer.length.is_multiple_of(3)
        && (opener.length + closer.length).is_multiple_of(3);
    opener.mark == closer.mark && opener.opens && !odd
}
