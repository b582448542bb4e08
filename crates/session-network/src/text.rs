//! Long texts in pieces.

use session_protocol::content::MAX_BODY_CODE_POINTS;

/// Maximum number of messages of one text.
pub const MAX_PIECES: usize = 32;

/// Cuts a text into pieces of at most 2000 code points, the limit of the apps. A cut is made at the last line break or
/// space of the second half of a piece, else between two characters. `None` if there are more than [`MAX_PIECES`].
pub(crate) fn pieces(text: &str) -> Option<Vec<&str>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((limit, _)) = rest.char_indices().nth(MAX_BODY_CODE_POINTS) {
        let cut = cut(rest, limit);
        pieces.push(rest[..cut].trim_end_matches('\n'));
        rest = rest[cut..].trim_start_matches(['\n', ' ']);
        if pieces.len() > MAX_PIECES {
            return None;
        }
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(rest);
    }
    (pieces.len() <= MAX_PIECES).then_some(pieces)
}

/// Returns the place to cut a text whose first piece ends before byte `limit`.
fn cut(text: &str, limit: usize) -> usize {
    let half = limit / 2;
    let window = &text[..limit];
    for separator in ["\n\n", "\n", " "] {
        if let Some(at) = window.rfind(separator).filter(|at| *at >= half) {
            return at + separator.len();
        }
    }
    // Marks and joiners belong to the character before them, and what follows a joiner does, too.
    let mut at = limit;
    for (start, c) in window.char_indices().rev() {
        let next_joins = text[at..].starts_with(joins) || c == '\u{200d}';
        if !next_joins || start < half {
            break;
        }
        at = start;
    }
    at
}

/// Returns true if a character changes the one before it.
fn joins(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_a_reader_would_cut_it() {
        assert_eq!(pieces("short"), Some(vec!["short"]));
        assert_eq!(pieces(""), Some(vec![""]));
        let whole = "é".repeat(2000);
        assert_eq!(pieces(&whole), Some(vec![whole.as_str()]));
        let lines = format!("{}\n{}", "a".repeat(1500), "b".repeat(1500));
        assert_eq!(pieces(&lines), Some(vec![&lines[..1500], &lines[1501..]]));
        // A family of four is one picture and is not torn apart.
        let family = "👨‍👩‍👧‍👦";
        let text = format!("{}{family}{}", "x".repeat(1997), "y".repeat(10));
        let cut = pieces(&text).expect("two pieces");
        assert_eq!(cut[0], "x".repeat(1997));
        assert!(cut[1].starts_with(family));
        assert_eq!(
            pieces(&"z".repeat(2000 * MAX_PIECES)).map(|list| list.len()),
            Some(MAX_PIECES)
        );
        assert_eq!(pieces(&"z".repeat(2000 * MAX_PIECES + 1)), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_spaces_and_line_breaks_is_lost(text in "[a-z \n\u{300}\u{200d}👩]{0,9000}") {
            let pieces = pieces(&text).expect("few pieces");
            let visible = |text: &str| text.chars().filter(|c| !matches!(c, ' ' | '\n')).collect::<String>();
            proptest::prop_assert_eq!(visible(&pieces.concat()), visible(&text));
            for piece in pieces {
                proptest::prop_assert!(piece.chars().count() <= MAX_BODY_CODE_POINTS);
            }
        }
    }
}
