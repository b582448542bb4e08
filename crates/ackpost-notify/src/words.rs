//! Words that people write: yes and no, and the printable form of mistyped words.

/// Returns the printable form of a mistyped word. A short and plain word is shown; of any other only the length,
/// because it may be a secret that slipped into the wrong place.
pub(crate) fn shown_word(value: &str) -> String {
    let value = value.trim();
    if value.chars().count() <= 16
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-._:,/ ".contains(c))
    {
        value.to_owned()
    } else {
        format!("({} characters)", value.chars().count())
    }
}

/// A yes-or-no word: case does not matter; of the words marked `…` in the specification only the first two letters count.
pub fn boolean_word(value: &str) -> Option<bool> {
    let word = value.trim().to_lowercase();
    let mut chars = word.chars();
    let start: String = chars.by_ref().take(2).collect();
    match start.as_str() {
        "no" | "ne" | "fa" | "of" | "di" | "de" => Some(false),
        "ye" | "tr" | "on" | "en" | "al" => Some(true),
        _ => match word.as_str() {
            "n" | "f" | "0" => Some(false),
            "y" | "t" | "1" => Some(true),
            _ => None,
        },
    }
}
