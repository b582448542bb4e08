//! Words that were probably meant: typing mistakes of known names.

/// Longest word that is compared.
const WORD_CHARS: usize = 24;

/// The known word that `word` is a slip of the fingers away from: one letter too many, missing, wrong, or two swapped;
/// two such slips in words of six letters and more that begin alike. Words of two letters are like too many others.
pub fn near_miss<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let letters: Vec<char> = word.chars().take(WORD_CHARS + 1).collect();
    if !(3..=WORD_CHARS).contains(&letters.len()) {
        return None;
    }
    known
        .filter(|one| one.len() > 2)
        .map(|one| (distance(&letters, one), one))
        .filter(|(slips, one)| match slips {
            1 => true,
            2 => one.len().min(letters.len()) >= 6 && one.starts_with(letters[0]),
            _ => false,
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, one)| one)
}

/// Edit distance in which swapped neighbours count once (optimal string alignment).
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut least = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::near_miss;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = [
            "tag", "tags", "ca_file", "verify", "to", "retry", "overflow", "format", "urls", "roster",
        ];
        let meant = |word| near_miss(word, known.into_iter());
        assert_eq!(meant("tga"), Some("tag"));
        assert_eq!(meant("ca_flie"), Some("ca_file"));
        assert_eq!(meant("verfy"), Some("verify"));
        assert_eq!(meant("ovreflwo"), Some("overflow"));
        assert_eq!(meant("url"), Some("urls"));
        for other in [
            "do",
            "image",
            "avatar",
            "from",
            "footer",
            "x",
            "",
            "formation",
            "\u{e4}\u{e4}\u{e4}",
        ] {
            assert_eq!(meant(other), None, "{other}");
        }
        assert_eq!(meant(&"a".repeat(10_000)), None);
    }
}
