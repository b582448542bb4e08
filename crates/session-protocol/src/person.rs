//! Texts by which people name a person: an id, a short id as apps show it, the number of a message, or a display name.
//!
//! ```
//! use session_protocol::person::PersonRef;
//!
//! assert_eq!("#12".parse(), Ok(PersonRef::Message(12)));
//! assert_eq!("Bob".parse(), Ok(PersonRef::Name("Bob".to_owned())));
//! ```

use std::str::FromStr;

use crate::id::{IdError, SessionId};

/// Person as written in a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonRef {
    /// A whole id.
    Id(SessionId),
    /// A short id such as `15e5…b6fe`.
    Short(ShortId),
    /// The author of the message with this number.
    Message(u64),
    /// A display name; several people may have it.
    Name(String),
}

/// Beginning and end of an id, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortId {
    /// First digits, at least two.
    pub head: String,
    /// Last digits; may be empty.
    pub tail: String,
}

impl ShortId {
    /// Returns true if the id begins and ends like this.
    pub fn fits(&self, id: &SessionId) -> bool {
        let text = id.to_string();
        text.starts_with(&self.head) && text.ends_with(&self.tail)
    }
}

impl FromStr for ShortId {
    type Err = IdError;

    /// Reads `15e5…b6fe`; `...` and `..` mean the same as `…`, and apps put parentheses around it.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
            .unwrap_or(text);
        let (head, tail) = text
            .split_once('…')
            .or_else(|| text.split_once("..."))
            .or_else(|| text.split_once(".."))
            .ok_or(IdError::NotAnId)?;
        let hex = |part: &str| part.len() <= 66 && part.chars().all(|c| c.is_ascii_hexdigit());
        if head.len() < 2 || head.len() + tail.len() < 4 || !hex(head) || !hex(tail) {
            return Err(IdError::NotAnId);
        }
        Ok(Self {
            head: head.to_ascii_lowercase(),
            tail: tail.to_ascii_lowercase(),
        })
    }
}

impl FromStr for PersonRef {
    type Err = IdError;

    /// Reads any of the forms. `name:TEXT` is a display name whatever it looks like, and an `@` before an id is left out.
    ///
    /// # Errors
    /// The text has as many hexadecimal digits as an id, but is not one.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("name:") {
            return Ok(Self::Name(name.trim().to_owned()));
        }
        let bare = text.strip_prefix('@').unwrap_or(text);
        match bare.parse() {
            Ok(id) => return Ok(Self::Id(id)),
            Err(error) if bare.len() >= 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                return Err(error);
            }
            Err(_) => {}
        }
        if let Ok(short) = bare.parse() {
            return Ok(Self::Short(short));
        }
        Ok(number(text).map_or_else(|| Self::Name(text.to_owned()), Self::Message))
    }
}

/// Reads the number of a message: `123` or `#123`.
fn number(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten()
}

/// Splits a list of people, one a line. Empty lines and comments are left out: a line that begins with `#` and is not the
/// number of a message, and the rest of a line after two spaces and a `#`.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let is_comment = |line: &str| line.starts_with('#') && number(line).is_none();
    text.lines()
        .map(|line| line.split_once("  #").map_or(line, |(person, _)| person).trim())
        .filter(move |line| !line.is_empty() && !is_comment(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_and_numbers_are_told_from_names() {
        let short = |head: &str, tail: &str| {
            Ok(PersonRef::Short(ShortId {
                head: head.to_owned(),
                tail: tail.to_owned(),
            }))
        };
        assert_eq!("15e5…b6fe".parse(), short("15e5", "b6fe"));
        assert_eq!("15E5...B6FE".parse(), short("15e5", "b6fe"));
        assert_eq!("(15e5ab..b6fe)".parse(), short("15e5ab", "b6fe"));
        assert_eq!("15e5ab…".parse(), short("15e5ab", ""));
        for name in [
            "Bob…",
            "…",
            "15…",
            "15%…b6fe",
            "Bob",
            "a..z",
            "12a",
            "#",
            "99999999999999999999999",
        ] {
            assert_eq!(name.parse(), Ok(PersonRef::Name(name.to_owned())));
        }
        for (text, number) in [("12", 12), ("#12", 12)] {
            assert_eq!(text.parse(), Ok(PersonRef::Message(number)));
        }
        assert_eq!("name: 12".parse(), Ok(PersonRef::Name("12".to_owned())));
        let id = format!("15{}", "ab".repeat(32));
        for text in [id.clone(), format!("@{id}"), format!(" {id} ")] {
            assert_eq!(text.parse(), Ok(PersonRef::Id(id.parse().expect("an id"))));
        }
        assert!(id[..64].parse::<PersonRef>().is_err(), "two digits are missing");
    }

    #[test]
    fn short_ids_fit_by_both_ends() {
        let id: SessionId = format!("15{}cd", "ab".repeat(31)).parse().expect("an id");
        for (text, fits) in [
            ("15ab…abcd", true),
            ("15ab…", true),
            ("15ab…abab", false),
            ("25ab…abcd", false),
        ] {
            assert_eq!(text.parse::<ShortId>().expect("short").fits(&id), fits, "{text}");
        }
        assert_eq!(
            id.short().parse::<PersonRef>(),
            Ok(PersonRef::Short("15abab…abcd".parse().expect("short")))
        );
    }

    #[test]
    fn files_of_ids_have_comments() {
        let list: Vec<&str> = lines("15aa…bbbb\n# raiders\n\n  Bob  # seen on Monday\n#12\n").collect();
        assert_eq!(list, ["15aa…bbbb", "Bob", "#12"]);
        assert_eq!(lines("\n# nobody\n").count(), 0);
    }
}
