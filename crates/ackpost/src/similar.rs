//! "Did you mean": how alike two words are.

/// The longest common runs, by Ratcliff and Obershelp: 2·matching / total length.
fn ratio(a: &[char], b: &[char]) -> f64 {
    fn matching(a: &[char], b: &[char]) -> usize {
        let (mut best, mut at_a, mut at_b) = (0, 0, 0);
        for i in 0..a.len() {
            for j in 0..b.len() {
                let run = a[i..].iter().zip(&b[j..]).take_while(|(x, y)| x == y).count();
                if run > best {
                    (best, at_a, at_b) = (run, i, j);
                }
            }
        }
        if best == 0 {
            return 0;
        }
        best + matching(&a[..at_a], &b[..at_b]) + matching(&a[at_a + best..], &b[at_b + best..])
    }
    #[expect(clippy::cast_precision_loss, reason = "words of a command line are short")]
    let share = 2.0 * matching(a, b) as f64 / (a.len() + b.len()).max(1) as f64;
    share
}

/// Words that resemble another less than this are not suggested.
const CLOSE: f64 = 0.6;
/// Words that resemble another less than the best one, by more than this, are not suggested.
const BEHIND_THE_BEST: f64 = 0.2;

/// Up to three of `known` that `word` may have been meant as, in alphabetical order.
pub(crate) fn similar<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    ranked(word, known).1
}

/// As [`similar`], with the likeness of the best one; 0 without any.
pub(crate) fn ranked<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> (f64, Vec<&'a str>) {
    // A word of many pages is not a mistyped option, and the comparison is cubic.
    let word: Vec<char> = word.chars().take(64).collect();
    let mut close: Vec<(f64, &str)> = known
        .map(|k| (ratio(&k.chars().collect::<Vec<_>>(), &word), k))
        .filter(|(share, _)| *share >= CLOSE)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(a.1)));
    close.truncate(3);
    let best = close.first().map_or(0.0, |(share, _)| *share);
    let mut names: Vec<&str> = close
        .into_iter()
        .filter(|(share, _)| *share >= best - BEHIND_THE_BEST)
        .map(|(_, k)| k)
        .collect();
    names.sort_unstable();
    (best, names)
}

#[cfg(test)]
mod tests {
    use super::similar;

    #[test]
    fn finds_what_was_meant() {
        let known = ["--body", "--title", "--verbose", "--version", "-tv"];
        assert_eq!(similar("--bod", known.into_iter()), ["--body"]);
        assert_eq!(similar("--bogus", known.into_iter()), ["--body", "--verbose"]);
        assert!(similar("--zzz", known.into_iter()).is_empty());
        // A word that is far behind the best one is noise.
        assert_eq!(similar("roomm", ["omemo", "room"].into_iter()), ["room"]);
    }
}
