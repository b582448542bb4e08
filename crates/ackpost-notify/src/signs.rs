//! Signs that show how serious a message is.

use std::str::FromStr;

use serde::Deserialize;

use crate::{Format, Kind, Message};

/// One sign for each type of message; an empty one adds nothing.
///
/// The default is ✅ for a success, ⚠️ for a warning, 🔴 for a failure and nothing for information.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signs {
    info: String,
    success: String,
    warning: String,
    failure: String,
}

impl Default for Signs {
    fn default() -> Self {
        Self {
            info: String::new(),
            success: "✅".to_owned(),
            warning: "⚠️".to_owned(),
            failure: "🔴".to_owned(),
        }
    }
}

impl FromStr for Signs {
    type Err = String;

    /// Reads `default`, or changes of it such as `failure=STOP,warning=!`. The error is the cause.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut signs = Self::default();
        if text.trim() == "default" {
            return Ok(signs);
        }
        for part in text.split(',') {
            let (kind, sign) = part
                .split_once('=')
                .ok_or_else(|| format!("`{}` is not TYPE=SIGN", part.escape_debug()))?;
            let place = match kind.trim() {
                "info" => &mut signs.info,
                "success" => &mut signs.success,
                "warning" => &mut signs.warning,
                "failure" => &mut signs.failure,
                other => return Err(format!("unknown message type `{}`", other.escape_debug())),
            };
            sign.trim().clone_into(place);
        }
        signs.problem().map_or(Ok(signs), Err)
    }
}

impl Signs {
    /// Longest sign in bytes.
    const MAX_BYTES: usize = 64;

    /// Returns the reason why these signs cannot be used, if there is one.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let all = [&self.info, &self.success, &self.warning, &self.failure];
        let bad = all
            .into_iter()
            .find(|sign| sign.len() > Self::MAX_BYTES || sign.chars().any(char::is_control))?;
        Some(format!(
            "`{}` is not a valid sign; use at most {} bytes in one line",
            bad.escape_debug(),
            Self::MAX_BYTES
        ))
    }

    /// Puts the sign of the message's type before its title, or before its text if it has no title.
    pub fn add(&self, message: &mut Message) {
        let sign = match message.kind {
            Kind::Success => &self.success,
            Kind::Warning => &self.warning,
            Kind::Failure => &self.failure,
            Kind::Info => &self.info,
        };
        let start = if message.title.is_empty() {
            &message.body
        } else {
            &message.title
        };
        // Without the mark that only chooses the colourful form.
        if sign.is_empty() || start.starts_with(sign.trim_end_matches('\u{fe0f}')) {
            return;
        }
        if !message.title.is_empty() {
            message.title = format!("{sign} {}", message.title);
        } else if message.input_format == Some(Format::Text) || message.body.is_empty() {
            format!("{sign} {}", message.body)
                .trim_end()
                .clone_into(&mut message.body);
        } else {
            // Markup may begin with the first letter.
            message.title.clone_from(sign);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(title: &str, body: &str, kind: Kind, format: Format) -> (String, String) {
        let mut message = Message::new(body).title(title).kind(kind).input_format(format);
        Signs::default().add(&mut message);
        (message.title, message.body)
    }

    #[test]
    fn the_sign_stands_at_the_start_once() {
        let is = |signed: (String, String), title: &str, body: &str| {
            assert_eq!((signed.0.as_str(), signed.1.as_str()), (title, body));
        };
        is(signed("T", "b", Kind::Failure, Format::Text), "🔴 T", "b");
        is(signed("", "b", Kind::Warning, Format::Text), "", "⚠️ b");
        is(signed("", "# b", Kind::Success, Format::Markdown), "✅", "# b");
        is(signed("T", "b", Kind::Info, Format::Text), "T", "b");
        is(signed("⚠ T", "b", Kind::Warning, Format::Text), "⚠ T", "b");
    }

    #[test]
    fn signs_are_changed_one_by_one() {
        let signs: Signs = "failure=STOP, info=i".parse().expect("signs");
        assert_eq!((signs.failure.as_str(), signs.info.as_str()), ("STOP", "i"));
        assert_eq!(signs.success, Signs::default().success);
        assert_eq!("default".parse::<Signs>(), Ok(Signs::default()));
        assert_eq!(
            "warning=".parse::<Signs>().map(|signs| signs.warning),
            Ok(String::new())
        );
        for bad in ["", "yes", "error=x", "info=a\nb"] {
            assert!(bad.parse::<Signs>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn long_signs_are_refused() {
        let signs = |info: &str| Signs {
            info: info.to_owned(),
            ..Signs::default()
        };
        assert!(signs("INFO:").problem().is_none());
        assert!(signs("a\nb").problem().is_some());
        assert!(signs(&"x".repeat(65)).problem().is_some());
    }
}
