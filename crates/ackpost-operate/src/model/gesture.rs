//! Gestures: the words and reactions that answer an alert.

use std::time::Duration;

/// Longest text of a gesture that is kept, in characters.
const MAX_TEXT: usize = 200;
/// Longest message that can be a gesture, in bytes.
const MAX_BYTES: usize = 2_000;
/// Shortest silence.
const SHORTEST: Duration = Duration::from_secs(60);

/// The reaction that acknowledges.
pub const ACKNOWLEDGE: &str = "👀";
/// The reaction that silences.
pub const SILENCE: &str = "🔕";

/// An action about an alert that a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gesture {
    /// Tell everybody that somebody is at work on it.
    Acknowledge {
        /// Words of the person.
        text: String,
    },
    /// Make a silence.
    Silence {
        /// Duration; `None` for the configured time.
        span: Option<Duration>,
        /// Words of the person.
        text: String,
        /// Names of the labels that narrow the matchers; empty for all labels.
        labels: Vec<String>,
    },
    /// End the silence.
    Unsilence,
    /// Ask for the state of the alert.
    Status,
}

impl Gesture {
    /// The kind in one word, as the log of acts and the metrics name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Acknowledge { .. } => "ack",
            Self::Silence { .. } => "silence",
            Self::Unsilence => "unsilence",
            Self::Status => "status",
        }
    }
}

/// A gesture, and the alert that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// The gesture.
    pub gesture: Gesture,
    /// The number that was written behind `#`.
    pub number: Option<String>,
}

/// Way in which a message refers to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// It answers the message of an alert: the word alone is enough.
    Reply,
    /// It was written in a conversation of two: the word alone means the latest alert.
    Direct,
    /// It was written in a room: `!` and `#` are needed.
    Room,
}

/// Reason why a message that begins like a gesture is not a valid one. The text goes back to its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GestureError {
    /// The text is not a time.
    #[error("`{0}` is not a time")]
    Time(String),
    /// A silence shorter than a minute.
    #[error("a silence lasts at least 1 minute")]
    TooShort,
    /// A room without `#`.
    #[error("no alert is named")]
    NoNumber,
}

impl GestureError {
    /// The remedy, as an imperative.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Time(_) | Self::TooShort => "write a time such as 30m, 2h or 1h30m behind `silence`",
            Self::NoNumber => {
                "answer the message of the alert, or name it with # and its number; !status shows the numbers"
            }
        }
    }
}

/// Reads a message. Returns `None` if it is not a gesture and needs no answer.
///
/// # Errors
/// [`GestureError`] if the message begins like a gesture and cannot be one.
pub fn parse(body: &str, form: Form) -> Option<Result<Command, GestureError>> {
    if body.len() > MAX_BYTES {
        return None;
    }
    let body = match form {
        Form::Reply => without_quote(body),
        Form::Direct | Form::Room => body,
    };
    let mut words = body.split_whitespace();
    let first = words.next()?;
    let (marked, word) = match first.strip_prefix('!') {
        Some(word) => (true, word),
        None => (false, first),
    };
    if form == Form::Room && !marked {
        return None;
    }
    // No colon: a bridge puts the name of somebody else and a colon in front of a text.
    let word = word.trim_end_matches([',', '.', '!']).to_ascii_lowercase();
    let mut rest: Vec<&str> = words.collect();
    let number = take_number(&mut rest);
    let gesture = match word.as_str() {
        "ack" | "acknowledge" => Gesture::Acknowledge { text: text(&rest) },
        "silence" | "mute" => match silence(&rest) {
            Ok(gesture) => gesture,
            Err(error) => return Some(Err(error)),
        },
        // With further words it is a sentence about a silence.
        "unsilence" | "unmute" if rest.is_empty() => Gesture::Unsilence,
        "status" if rest.is_empty() => Gesture::Status,
        _ => return None,
    };
    if form == Form::Room && number.is_none() && gesture != Gesture::Status {
        return Some(Err(GestureError::NoNumber));
    }
    Some(Ok(Command { gesture, number }))
}

/// Takes the lines off that quote the message which is answered. Programs without a mark for them put them first.
fn without_quote(body: &str) -> &str {
    let mut rest = body.trim_start();
    while rest.starts_with('>') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
    }
    rest
}

/// Takes `#4093` off the end or the beginning.
fn take_number(words: &mut Vec<&str>) -> Option<String> {
    let is_number = |word: &str| {
        word.strip_prefix('#').is_some_and(|number| {
            (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    };
    let place = match words.as_slice() {
        [first, ..] if is_number(first) => 0,
        [.., last] if is_number(last) => words.len() - 1,
        _ => return None,
    };
    Some(words.remove(place)[1..].to_ascii_lowercase())
}

/// `2h`, `2h disk is being replaced`, `2h disk is being replaced by instance,job`, `2h instance job`.
fn silence(words: &[&str]) -> Result<Gesture, GestureError> {
    let Some((first, rest)) = words.split_first() else {
        return Ok(Gesture::Silence {
            span: None,
            text: String::new(),
            labels: Vec::new(),
        });
    };
    // A number without a unit would count seconds, which nobody means.
    let bare = first.bytes().all(|byte| byte.is_ascii_digit());
    let span = ackpost_platform::span::parse(first).ok().filter(|_| !bare);
    let span = span.ok_or_else(|| GestureError::Time(text(&[first])))?;
    if span < SHORTEST {
        return Err(GestureError::TooShort);
    }
    let by = rest.iter().rposition(|word| word.eq_ignore_ascii_case("by"));
    let (said, named) = match by {
        Some(by) => (&rest[..by], &rest[by + 1..]),
        None => (rest, &[][..]),
    };
    let names: Vec<String> = named
        .iter()
        .flat_map(|word| word.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() || !names.iter().all(|name| is_label(name)) {
        return Ok(Gesture::Silence {
            span: Some(span),
            text: text(rest),
            labels: Vec::new(),
        });
    }
    Ok(Gesture::Silence {
        span: Some(span),
        text: text(said),
        labels: names,
    })
}

/// The grammar of a label of Prometheus.
fn is_label(name: &str) -> bool {
    name.len() <= 100
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Words of a person on one line, without what could mislead a reader.
fn text(words: &[&str]) -> String {
    let text = words.join(" ");
    let kept = text
        .chars()
        .filter(|c| !c.is_control() && !ackpost_platform::text::misleads(*c));
    kept.take(MAX_TEXT).collect()
}

/// The acts of a person about an alert by earlier reactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reacted {
    /// The person acknowledged it by a reaction.
    pub acknowledged: bool,
    /// The person silenced it by a reaction, and the silence still lasts.
    pub silenced: bool,
}

impl Reacted {
    /// Sets both.
    pub fn new(acknowledged: bool, silenced: bool) -> Self {
        Self {
            acknowledged,
            silenced,
        }
    }
}

/// The gesture in the reactions that a person has on a message now. `None`: nothing changed.
pub fn of_reactions<S: AsRef<str>>(now: &[S], before: Reacted) -> Option<Gesture> {
    // Some programs send the emoji with a variation selector.
    let has = |emoji: &str| {
        now.iter()
            .any(|one| one.as_ref().trim_end_matches('\u{fe0f}') == emoji)
    };
    match (has(SILENCE), before.silenced) {
        (true, false) => {
            return Some(Gesture::Silence {
                span: None,
                text: String::new(),
                labels: Vec::new(),
            });
        }
        (false, true) => return Some(Gesture::Unsilence),
        _ => {}
    }
    (has(ACKNOWLEDGE) && !before.acknowledged).then(|| Gesture::Acknowledge { text: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, form: Form) -> Option<Result<Command, GestureError>> {
        parse(body, form)
    }

    fn silence(hours: u64, text: &str, labels: &[&str]) -> Gesture {
        Gesture::Silence {
            span: Some(Duration::from_secs(hours * 3_600)),
            text: text.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        }
    }

    #[test]
    fn replies_are_read() {
        let ack = |text: &str| Gesture::Acknowledge {
            text: text.to_owned(),
        };
        for (body, expected) in [
            ("ack", ack("")),
            ("Ack.", ack("")),
            ("!ack", ack("")),
            ("acknowledge I look at it", ack("I look at it")),
            ("silence 2h", silence(2, "", &[])),
            ("mute 2H disk swap", silence(2, "disk swap", &[])),
            (
                "silence 2h disk swap by instance",
                silence(2, "disk swap", &["instance"]),
            ),
            ("silence 2h by instance,job", silence(2, "", &["instance", "job"])),
            (
                "silence 2h replaced by the vendor's man",
                silence(2, "replaced by the vendor's man", &[]),
            ),
            ("unsilence", Gesture::Unsilence),
            ("status", Gesture::Status),
            ("> [FIRING] DiskFull\n> > nested\nsilence 2h", silence(2, "", &[])),
        ] {
            let found = read(body, Form::Reply).expect(body).expect(body);
            assert_eq!((found.gesture, found.number), (expected, None), "{body}");
        }
        let none = Gesture::Silence {
            span: None,
            text: String::new(),
            labels: Vec::new(),
        };
        assert_eq!(
            read("silence", Form::Reply)
                .expect("a gesture")
                .expect("good")
                .gesture,
            none
        );
    }

    #[test]
    fn sentences_are_not_gestures() {
        for body in [
            "",
            "   ",
            "acked already?",
            "jane: ack",
            "silence: 24h",
            "ack: I look at it",
            "!ack: #4093",
            "I will ack it",
            "unsilence it please",
            "status of the disk?",
            "> silence 2h",
            "> a\n> ack",
            "backup",
            "silences are bad",
        ] {
            assert_eq!(read(body, Form::Reply), None, "{body}");
        }
        let long = format!("ack {}", "x".repeat(3_000));
        assert_eq!(read(&long, Form::Reply), None);
        // Without an answer, a quote is a part of the text.
        assert_eq!(read("> x\nack", Form::Direct), None);
        // A room needs the mark and the number.
        assert_eq!(read("ack", Form::Room), None);
        assert_eq!(read("ack #12", Form::Room), None);
        assert_eq!(read("!ack", Form::Room), Some(Err(GestureError::NoNumber)));
    }

    #[test]
    fn a_number_names_an_alert() {
        for body in ["!silence 2h #4093", "!silence #4093 2h"] {
            let found = read(body, Form::Room).expect(body).expect(body);
            assert_eq!(found.gesture, silence(2, "", &[]));
            assert_eq!(found.number.as_deref(), Some("4093"));
        }
        let found = read("!silence 2h ticket #77 is open", Form::Direct)
            .expect("read")
            .expect("good");
        assert_eq!(found.number, None, "only at the beginning or the end");
        assert!(read("!status", Form::Room).expect("read").is_ok());
    }

    #[test]
    fn wrong_times_are_told() {
        for (body, expected) in [
            ("silence soon", GestureError::Time("soon".to_owned())),
            ("silence 90", GestureError::Time("90".to_owned())),
            ("silence 10s", GestureError::TooShort),
            ("silence -2h", GestureError::Time("-2h".to_owned())),
        ] {
            assert_eq!(read(body, Form::Reply), Some(Err(expected)), "{body}");
        }
    }

    #[test]
    fn texts_are_cut_and_cleaned() {
        let body = format!("ack \u{202e}{}\u{7}", "x".repeat(500));
        let Some(Ok(Command {
            gesture: Gesture::Acknowledge { text },
            ..
        })) = read(&body, Form::Reply)
        else {
            panic!("a gesture");
        };
        assert_eq!(text, "x".repeat(200));
    }

    #[test]
    fn reactions_are_compared_with_what_was_done_before() {
        let of = |now: &[&str], acknowledged, silenced| {
            of_reactions(now, Reacted::new(acknowledged, silenced)).map(|gesture| gesture.kind())
        };
        assert_eq!(of(&["👀"], false, false), Some("ack"));
        assert_eq!(of(&["👀"], true, false), None);
        assert_eq!(of(&["🔕"], false, false), Some("silence"));
        assert_eq!(of(&["🔕\u{fe0f}"], false, false), Some("silence"));
        assert_eq!(of(&["🔕", "👀"], true, true), None);
        assert_eq!(of(&[], true, true), Some("unsilence"));
        assert_eq!(of(&["👍", "🎉"], false, false), None);
    }
}
