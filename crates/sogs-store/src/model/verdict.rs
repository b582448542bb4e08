//! Decisions of moderators, and the reactions and replies that express them.

/// Decision about a held post or a reported message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// A held post is shown; a reported message stays.
    Approve,
    /// As `Approve`, and the author's posts no longer need approval.
    Trust,
    /// The message is deleted.
    Reject,
    /// The message is deleted, with all posts of the author that are held in the room, and the author is banned from the
    /// room: for so many seconds, or permanently.
    Ban(Option<f64>),
}

impl Verdict {
    /// The word that a case keeps.
    pub fn state(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Trust => "trusted",
            Self::Reject => "rejected",
            Self::Ban(_) => "banned",
        }
    }

    /// Returns the decision that a reaction expresses. Skin tones and variation selectors are ignored.
    pub fn of_reaction(emoji: &str) -> Option<Self> {
        let plain: String = emoji
            .chars()
            .filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}'))
            .collect();
        match plain.as_str() {
            "👍" | "✅" | "✔" => Some(Self::Approve),
            "⭐" => Some(Self::Trust),
            "👎" | "❌" | "🗑" => Some(Self::Reject),
            "🚫" => Some(Self::Ban(None)),
            _ => None,
        }
    }

    /// The decision that a reply stands for. Nothing else may be in the reply: moderators talk there as well.
    pub fn of_reply(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > 64 {
            return None;
        }
        let text = text.trim_start_matches(['/', '!']).to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [word] => Self::of_word(word).or_else(|| Self::of_reaction(word)),
            ["ban", span] => seconds(span).map(|seconds| Self::Ban(Some(seconds))),
            _ => None,
        }
    }

    /// Returns the decision that a word expresses.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "approve" | "ok" | "keep" => Some(Self::Approve),
            "trust" => Some(Self::Trust),
            "reject" | "delete" => Some(Self::Reject),
            "ban" => Some(Self::Ban(None)),
            _ => None,
        }
    }
}

/// `90s`, `30m`, `12h`, `7d` or `2w` in seconds; at most a thousand weeks.
fn seconds(text: &str) -> Option<f64> {
    let unit = text.chars().last()?;
    let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
    let factor = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3_600.0,
        'd' => 86_400.0,
        'w' => 604_800.0,
        _ => return None,
    };
    let seconds = f64::from(number) * factor;
    (1.0..=604_800_000.0).contains(&seconds).then_some(seconds)
}

/// A report as a member writes it: `report 1234 they insult people`. A link to the message stands for its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportCommand {
    /// Number of the message.
    pub message_id: Option<i64>,
    /// The rest, cleaned and cut.
    pub reason: String,
}

/// Most characters of a reason.
pub const REASON_CHARS: usize = 300;

impl ReportCommand {
    /// Reads a command; `None` when the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['/', '!']);
        let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        if !word.eq_ignore_ascii_case("report") {
            return None;
        }
        let rest = rest.trim_start();
        let (first, more) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        let message_id = number(first);
        let reason = if message_id.is_some() { more } else { rest };
        Some(Self {
            message_id,
            reason: reason_of(reason),
        })
    }
}

/// The number of a message: `1234`, `#1234`, or the last number of a link.
fn number(text: &str) -> Option<i64> {
    let digits = if text.contains("://") {
        let start = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        // A port or a part of the host name is not a message.
        let is_behind_path = text
            .splitn(4, '/')
            .nth(3)
            .is_some_and(|path| text.len() - start <= path.len());
        if is_behind_path { &text[start..] } else { "" }
    } else {
        text.trim_start_matches('#')
    };
    digits.parse().ok().filter(|id| *id > 0)
}

/// A reason without control characters, cut.
pub fn reason_of(text: &str) -> String {
    let text: String = text
        .trim()
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                ' '
            } else {
                c
            }
        })
        .take(REASON_CHARS)
        .collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactions_stand_for_decisions() {
        for (emoji, verdict) in [
            ("👍", Some(Verdict::Approve)),
            ("👍🏽", Some(Verdict::Approve)),
            ("✔️", Some(Verdict::Approve)),
            ("🗑️", Some(Verdict::Reject)),
            ("🚫", Some(Verdict::Ban(None))),
            ("⭐", Some(Verdict::Trust)),
            ("😂", None),
            ("", None),
        ] {
            assert_eq!(Verdict::of_reaction(emoji), verdict, "{emoji}");
        }
    }

    #[test]
    fn replies_stand_for_decisions_and_talk_does_not() {
        for (text, verdict) in [
            ("approve", Some(Verdict::Approve)),
            (" /Reject ", Some(Verdict::Reject)),
            ("ban 2d", Some(Verdict::Ban(Some(172_800.0)))),
            ("ban", Some(Verdict::Ban(None))),
            ("trust", Some(Verdict::Trust)),
            ("👎", Some(Verdict::Reject)),
            ("ban 0d", None),
            ("ban 99999999w", None),
            ("ban him", None),
            ("I would approve this", None),
            ("no idea", None),
            ("", None),
        ] {
            assert_eq!(Verdict::of_reply(text), verdict, "{text}");
        }
    }

    #[test]
    fn reports_name_a_message_by_number_or_link() {
        let read =
            |text: &str| ReportCommand::parse(text).map(|command| (command.message_id, command.reason));
        assert_eq!(read("report 17 spam"), Some((Some(17), "spam".into())));
        assert_eq!(read("/report #17"), Some((Some(17), String::new())));
        assert_eq!(
            read("Report https://host:8080/r/lobby/#m17 two\nlines"),
            Some((Some(17), "two lines".into()))
        );
        assert_eq!(read("report https://host:8080 x").map(|(id, _)| id), Some(None));
        assert_eq!(read("report they spam"), Some((None, "they spam".into())));
        assert_eq!(read("report -5"), Some((None, "-5".into())));
        assert_eq!(read("reporting 17"), None);
        assert_eq!(read("hello"), None);
        let long = ReportCommand::parse(&format!("report 1 {}", "x".repeat(10_000))).expect("a command");
        assert_eq!(long.reason.len(), REASON_CHARS);
    }
}
