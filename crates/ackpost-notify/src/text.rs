//! Texts that share their memory.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::message::Message;

/// A text, or a piece of one, that is not copied when it is cloned: the pieces of a long message are windows into it.
///
/// ```
/// use ackpost_notify::Text;
///
/// let text = Text::from("disk full");
/// assert_eq!(text, "disk full");
/// assert!(text.starts_with("disk"));
/// ```
#[derive(Clone, Default)]
pub struct Text {
    whole: Whole,
    range: Range<usize>,
}

/// The whole text that a piece belongs to.
#[derive(Clone)]
pub(crate) enum Whole {
    Text(Arc<String>),
    /// The body of a message.
    Body(Arc<Message>),
}

impl Default for Whole {
    fn default() -> Self {
        Self::Text(Arc::default())
    }
}

impl Whole {
    fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Body(message) => &message.body,
        }
    }

    /// A part of it as a piece that shares its memory; what is not part of it is copied.
    pub(crate) fn piece(&self, part: &str) -> Text {
        let whole = self.as_str();
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        match whole.get(start..start.saturating_add(part.len())) {
            Some(found) if std::ptr::eq(found, part) => Text {
                whole: self.clone(),
                range: start..start + part.len(),
            },
            _ => Text::from(part),
        }
    }
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.whole.as_str().get(self.range.clone()).unwrap_or_default()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self {
            range: 0..text.len(),
            whole: Whole::Text(Arc::new(text)),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}
