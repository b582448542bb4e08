//! Settings of a whole run (`asset:` in YAML, the library's defaults).

use std::str::FromStr;

use crate::message::{Format, Message, UnknownWord, word};

/// Settings of a whole run. The fields that YAML's `asset:` may set are exactly the ones
/// Apprise lets it set; the others have no effect on the services here and are accepted.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is its own setting, named as in a configuration"
)]
pub struct Asset {
    /// Name of the sender: `User-Agent` on http, default "Ackpost".
    pub app_id: String,
    /// One line about the sender.
    pub app_desc: String,
    /// URL of a page about the sender.
    pub app_url: String,
    /// Name of the picture set; no effect here.
    pub theme: String,
    /// False sends to one service after another.
    pub async_mode: bool,
    /// Escapes are interpreted for every message.
    pub interpret_escapes: bool,
    /// Emoji short codes; see [`crate::Message::interpret_emojis`].
    pub interpret_emojis: Option<bool>,
    /// Format of a message that names none; `None` converts nothing.
    pub body_format: Option<Format>,
    /// Accepted for compatibility, not settable by a configuration; secrets never reach a log here.
    pub secure_logging: bool,
    /// Default of `redirect=`.
    pub http_redirects: bool,
    /// Encoding of configuration files; only UTF-8 is spoken.
    pub encoding: String,
    /// Time zone (IANA name) where a time is shown; `None` is the system's.
    pub timezone: Option<String>,
    /// Language tag of messages, default `en`.
    pub language: String,
    /// Default of `retry=`.
    pub default_retry: u32,
    /// Default of `wait=`, seconds.
    pub default_wait: f64,
    /// The rule for entries of services that this program does not implement; `None` leaves it to the program.
    pub foreign: Option<Foreign>,
    /// Other keys that a configuration set, as text, in order.
    pub others: Vec<(String, String)>,
}

impl Default for Asset {
    fn default() -> Self {
        Self {
            app_id: "Ackpost".to_owned(),
            app_desc: "Ackpost".to_owned(),
            app_url: String::new(),
            theme: "default".to_owned(),
            async_mode: true,
            interpret_escapes: false,
            interpret_emojis: None,
            body_format: None,
            secure_logging: true,
            http_redirects: true,
            encoding: "utf-8".to_owned(),
            timezone: None,
            language: "en".to_owned(),
            default_retry: 0,
            default_wait: 0.5,
            foreign: None,
            others: Vec::new(),
        }
    }
}

impl Asset {
    /// A message with what it leaves open filled in: its format, escapes, emoji.
    pub fn complete(&self, message: &Message) -> Message {
        let mut message = message.clone();
        message.input_format = message.input_format.or(self.body_format);
        message.interpret_escapes |= self.interpret_escapes;
        message.interpret_emojis = message.interpret_emojis.or(self.interpret_emojis);
        message
    }
}

/// The rule of a run for entries of services that this program does not implement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// Hands them to an installed Apprise.
    #[default]
    Apprise,
    /// Leaves the entries out.
    Skip,
    /// Counts them as failures.
    Fail,
}

impl Foreign {
    /// All rules.
    pub const ALL: [Self; 3] = [Self::Apprise, Self::Skip, Self::Fail];

    /// Returns `apprise`, `skip` or `fail`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apprise => "apprise",
            Self::Skip => "skip",
            Self::Fail => "fail",
        }
    }
}

impl FromStr for Foreign {
    type Err = UnknownWord;

    /// Any case, blanks around it ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word(text, &Self::ALL, Self::as_str)
    }
}
