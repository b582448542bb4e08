//! Reactions as a rule sees them: which texts are one emoji.

use serde::{Deserialize, Serialize};

/// Reactions that a room accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReactionRule {
    /// The room accepts no reactions.
    Off,
    /// Each reaction must be one emoji.
    Emoji,
    /// Any text of up to 12 characters, as the protocol allows.
    Any,
}

impl ReactionRule {
    /// Returns why this reaction is refused, in words for the person; `None` if it is accepted.
    pub fn refuses(self, reaction: &str) -> Option<&'static str> {
        match self {
            Self::Off => Some("Reactions are off in this room"),
            Self::Emoji if !is_emoji(reaction) => Some("Only emoji are allowed as reactions in this room"),
            Self::Emoji | Self::Any => None,
        }
    }
}

const JOINER: char = '\u{200d}';
const KEYCAP: char = '\u{20e3}';
const EMOJI_STYLE: char = '\u{fe0f}';

/// Returns true if a text is exactly one emoji: a symbol with its modifiers, several joined ones, a flag or a keycap.
///
/// The ranges are those of Unicode's emoji data, some neighbouring symbols included; letters are not.
pub fn is_emoji(text: &str) -> bool {
    let mut rest = text.chars().peekable();
    let Some(first) = rest.next() else { return false };
    if is_regional(first) {
        return rest.next().is_some_and(is_regional) && rest.next().is_none();
    }
    if matches!(first, '0'..='9' | '#' | '*') {
        rest.next_if_eq(&EMOJI_STYLE);
        return rest.next() == Some(KEYCAP) && rest.next().is_none();
    }
    if !is_symbol(first) {
        return false;
    }
    while let Some(next) = rest.next() {
        let joined = next == JOINER && rest.next().is_some_and(is_symbol);
        if !joined && !is_modifier(next) {
            return false;
        }
    }
    true
}

fn is_regional(ch: char) -> bool {
    matches!(ch, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Returns true for characters that modify the symbol before them: style, skin tone, the tags of a region's flag.
fn is_modifier(ch: char) -> bool {
    matches!(ch, EMOJI_STYLE | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
}

fn is_symbol(ch: char) -> bool {
    matches!(ch,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{24c2}'
        | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}'
        | '\u{2934}' | '\u{2935}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}'
        | '\u{1f004}' | '\u{1f0cf}' | '\u{1f170}' | '\u{1f171}' | '\u{1f17e}' | '\u{1f17f}' | '\u{1f18e}'
        | '\u{1f191}'..='\u{1f19a}' | '\u{1f201}' | '\u{1f202}' | '\u{1f21a}' | '\u{1f22f}'
        | '\u{1f232}'..='\u{1f23a}' | '\u{1f250}' | '\u{1f251}' | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}' | '\u{1f7e0}'..='\u{1f7f0}' | '\u{1f90c}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_is_told_from_text() {
        for emoji in [
            "👍",
            "❤️",
            "❤",
            "👍🏽",
            "👨‍👩‍👧‍👦",
            "🏳️‍🌈",
            "🇩🇪",
            "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
            "1️⃣",
            "#⃣",
            "😂",
            "🫡",
            "©️",
        ] {
            assert!(is_emoji(emoji), "{emoji}");
        }
        for text in [
            "",
            "buycoins",
            "t.me/x",
            "👍👍",
            "👍!",
            "a",
            "1",
            "12",
            "🇩",
            "🇩🇪🇫",
            "🄱",
            "\u{200d}",
            "👍\u{200d}",
            "👍\u{200d}x",
            "\u{fe0f}",
            "é",
            "中",
        ] {
            assert!(!is_emoji(text), "{text:?}");
        }
    }

    #[test]
    fn the_rule_says_why() {
        assert!(ReactionRule::Any.refuses("lol").is_none());
        assert!(ReactionRule::Emoji.refuses("😂").is_none());
        assert!(ReactionRule::Emoji.refuses("lol").is_some());
        assert!(ReactionRule::Off.refuses("😂").is_some());
    }
}
