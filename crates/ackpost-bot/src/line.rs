//! Command lines that people write to bots: a name, and arguments.

/// Returns the name and the rest of a command line, `None` if there is no name.
///
/// ```
/// use ackpost_bot::line::{arguments, split};
///
/// let (name, rest) = split("remind 10m \"water the plants\"").unwrap();
/// assert_eq!(name, "remind");
/// assert_eq!(arguments(rest), ["10m", "water the plants"]);
/// ```
pub fn split(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    (!name.is_empty()).then(|| (name, rest.trim()))
}

/// Cuts a line into arguments. White space separates them; quotes keep them together.
pub fn arguments(line: &str) -> Vec<String> {
    let mut args = Vec::new();
    let mut current: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == closing(open) => quote = None,
            (None, '"' | '\'' | '\u{201c}') if current.is_none() => {
                quote = Some(c);
                current = Some(String::new());
            }
            (None, c) if c.is_whitespace() => args.extend(current.take()),
            (_, c) => current.get_or_insert_default().push(c),
        }
    }
    args.extend(current);
    args
}

fn closing(open: char) -> char {
    if open == '\u{201c}' { '\u{201d}' } else { open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_into_arguments() {
        assert_eq!(split("  ban  05ab  spam spam "), Some(("ban", "05ab  spam spam")));
        assert_eq!(split("   "), None);
        assert_eq!(
            arguments(r#"a "b c" it's 'd e' "" x"y"#),
            ["a", "b c", "it's", "d e", "", "x\"y"]
        );
        assert_eq!(arguments("“smart quotes” stay"), ["smart quotes", "stay"]);
        assert_eq!(arguments("\"never closed"), ["never closed"]);
        assert!(arguments("").is_empty());
    }
}
