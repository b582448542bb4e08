//! Size limits of a service, in code points and in bytes on the wire.

/// Limits of one message of a service.
///
/// A body has to keep both of its limits: [`body`](Self::body) in code points and [`bytes`](Self::bytes) as the wire
/// counts. Use [`fits`](Self::fits) and [`cut`](Self::cut) wherever a text is made for a service.
///
/// ```
/// use ackpost_notify::{Context, ServiceUrl};
///
/// let service = ServiceUrl::parse("xmpps://user:secret@example.org/jane", &Context::default())?;
/// let limits = service.limits();
/// assert_eq!(limits.wire_bytes("<ж>"), 4 + 2 + 4);
/// assert!(limits.fits("short"));
/// assert!(limits.fits(limits.cut(&"<".repeat(100_000))));
/// # Ok::<(), ackpost_notify::Diagnostic>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest separate title in code points; 0: the service has none, and the title joins the body.
    pub title: usize,
    /// Longest body in code points.
    pub body: usize,
    /// Longest body in bytes on the wire, as `measure` counts them.
    pub bytes: usize,
    /// Measure by which the wire counts bytes.
    pub measure: Measure,
}

/// Measure by which the wire counts the bytes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// UTF-8.
    Utf8,
    /// UTF-8 after XML escaping: `"` takes six bytes.
    Xml,
}

impl Measure {
    /// Returns the bytes of one character on the wire.
    pub fn of(self, character: char) -> usize {
        match self {
            Self::Utf8 => character.len_utf8(),
            Self::Xml => ackpost_xmpp::char_wire_len(character),
        }
    }

    /// Returns the bytes of a text on the wire.
    pub fn bytes(self, text: &str) -> usize {
        match self {
            Self::Utf8 => text.len(),
            Self::Xml => ackpost_xmpp::wire_len(text),
        }
    }

    /// Most bytes that one byte of UTF-8 becomes on the wire.
    fn widest(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Xml => 6,
        }
    }
}

impl Limits {
    /// Returns limits in code points alone.
    pub fn code_points(body: usize) -> Self {
        Self {
            title: 0,
            body,
            bytes: usize::MAX,
            measure: Measure::Utf8,
        }
    }

    /// Returns the bytes of a text on the wire.
    pub fn wire_bytes(&self, text: &str) -> usize {
        self.measure.bytes(text)
    }

    /// Returns true if a text fits into one body.
    pub fn fits(&self, text: &str) -> bool {
        self.end(text).is_none()
    }

    /// Returns the longest beginning of a text that fits into one body.
    pub fn cut<'a>(&self, text: &'a str) -> &'a str {
        self.end(text).map_or(text, |end| &text[..end])
    }

    /// Returns the byte offset behind what fits; `None` if the whole text fits.
    ///
    /// At least one character counts as fitting, so that cutting a text into pieces always ends.
    pub(crate) fn end(&self, text: &str) -> Option<usize> {
        let bytes_fit = text.len() <= self.bytes / self.measure.widest();
        if bytes_fit && text.len() <= self.body {
            return None;
        }
        if bytes_fit && text.as_bytes()[..self.body].is_ascii() {
            return Some(self.body.max(1));
        }
        let mut bytes = 0_usize;
        for (count, (at, character)) in text.char_indices().enumerate() {
            bytes = bytes.saturating_add(self.measure.of(character));
            if count > 0 && (count >= self.body || bytes > self.bytes) {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_count() {
        let limits = Limits {
            title: 0,
            body: 4,
            bytes: 9,
            measure: Measure::Xml,
        };
        assert_eq!(limits.cut("abcdef"), "abcd");
        assert_eq!(limits.cut("a<<<"), "a<<");
        assert_eq!(limits.cut("жжжж"), "жжжж");
        assert_eq!(limits.cut("\"\"\""), "\"");
        assert_eq!(limits.cut(""), "");
        assert!(limits.fits("abcd") && !limits.fits("abcde"));
    }

    #[test]
    fn control_characters_count_as_their_replacement() {
        assert_eq!(Measure::Xml.bytes("\u{0}\r&"), 3 + 5 + 5);
        let all: String = ('\u{0}'..='\u{3ff}').collect();
        let sum: usize = all.chars().map(|c| Measure::Xml.of(c)).sum();
        assert_eq!(sum, Measure::Xml.bytes(&all));
    }
}
