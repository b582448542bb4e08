//! Pieces of a message as a service sends them.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::problem::Diagnostic;

/// One piece of a message as its service sends it: bytes that nobody but this service reads.
///
/// The bytes fix everything that identifies the piece on the wire, such as its id and its signature, so that the other
/// side recognises a repeat. A queue stores them and hands them back unchanged, perhaps to a later version of the service.
///
/// ```
/// use ackpost_notify::Encoded;
///
/// let encoded = Encoded::new("tcpline", "17 disk full");
/// let stored = serde_json::to_string(&encoded)?;
/// assert_eq!(stored, r#"{"kind":"tcpline","text":"17 disk full"}"#);
/// assert_eq!(serde_json::from_str::<Encoded>(&stored)?, encoded);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    kind: Cow<'static, str>,
    bytes: Bytes,
    cut: bool,
    title_cut: bool,
}

impl Encoded {
    /// Wraps the bytes of a service; `kind` is the name of its [`ServiceKind`](super::ServiceKind).
    pub fn new(kind: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self {
            kind: Cow::Borrowed(kind),
            bytes: bytes.into(),
            cut: false,
            title_cut: false,
        }
    }

    /// Encodes a value as JSON. A value that JSON cannot hold becomes a piece that [`Encoded::to_value`] refuses.
    pub fn from_value<T: Serialize>(kind: &'static str, value: &T) -> Self {
        Self::new(kind, serde_json::to_vec(value).unwrap_or_default())
    }

    /// Decodes the value that [`Encoded::from_value`] encoded.
    ///
    /// # Errors
    /// The piece belongs to another service, or the bytes are damaged.
    pub fn to_value<T: DeserializeOwned>(&self, kind: &str) -> Result<T, Diagnostic> {
        if self.kind != kind {
            return Err(Diagnostic::error(
                "the stored message belongs to another service",
                "send it again",
            ));
        }
        serde_json::from_slice(&self.bytes)
            .map_err(|_| Diagnostic::error("the stored message is damaged", "send it again"))
    }

    /// Says that text behind this piece was cut off (`overflow=truncate`).
    #[must_use]
    pub fn cut(self, cut: bool) -> Self {
        Self { cut, ..self }
    }

    /// Says that the end of the title was cut off.
    #[must_use]
    pub fn title_cut(self, title_cut: bool) -> Self {
        Self { title_cut, ..self }
    }

    /// Returns the name of the service that encoded it.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns true if text behind this piece was cut off.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Returns true if the end of the title was cut off.
    pub fn is_title_cut(&self) -> bool {
        self.title_cut
    }
}

impl fmt::Debug for Encoded {
    /// Shows no text of the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("kind", &self.kind)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Serialize for Encoded {
    /// `kind`, the bytes as `text` (as `hex` if they are not UTF-8), and `cut` and `title_cut` if they are true.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind)?;
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => map.serialize_entry("text", text)?,
            Err(_) => map.serialize_entry("hex", &hex::encode(&self.bytes))?,
        }
        if self.cut {
            map.serialize_entry("cut", &true)?;
        }
        if self.title_cut {
            map.serialize_entry("title_cut", &true)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Encoded {
    /// Also reads what versions until November 2026 wrote: an object whose only key is the name of the service with a
    /// capital letter, and whose value is the JSON of the piece.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EncodedVisitor)
    }
}

/// The part of an earlier form that has its own place today.
#[derive(Default, Deserialize)]
struct Earlier {
    #[serde(default)]
    cut: bool,
}

struct EncodedVisitor;

impl<'de> Visitor<'de> for EncodedVisitor {
    type Value = Encoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoded piece of a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Encoded, A::Error> {
        let (mut kind, mut bytes, mut cut, mut title_cut) = (None::<String>, None::<Bytes>, false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kind" => kind = Some(map.next_value()?),
                "text" => bytes = Some(map.next_value::<String>()?.into()),
                "hex" => {
                    let text: String = map.next_value()?;
                    bytes = Some(hex::decode(text).map_err(A::Error::custom)?.into());
                }
                "cut" => cut = map.next_value()?,
                "title_cut" => title_cut = map.next_value()?,
                name if kind.is_none() && bytes.is_none() => {
                    let value: Box<RawValue> = map.next_value()?;
                    let earlier: Earlier = serde_json::from_str(value.get()).map_err(A::Error::custom)?;
                    kind = Some(name.to_ascii_lowercase());
                    bytes = Some(Bytes::copy_from_slice(value.get().as_bytes()));
                    cut = earlier.cut;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Encoded {
            kind: kind.ok_or_else(|| A::Error::missing_field("kind"))?.into(),
            bytes: bytes.ok_or_else(|| A::Error::missing_field("text"))?,
            cut,
            title_cut,
        })
    }
}

/// Texts of a piece as a recipient's program is handed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// The subject.
    pub subject: Option<String>,
    /// The plain text.
    pub body: String,
    /// The same text as markup, where the service carries one.
    pub html: Option<String>,
}

impl Shown {
    /// Makes the texts of a piece that is nothing but a plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Result<Encoded, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn pieces_of_earlier_versions_can_be_read() {
        let text = r#"{"Sogs":{"body":"hello","sent_at_ms":17,"fixed":null,"cut":true}}"#;
        let encoded = stored(text).expect("a piece");
        assert_eq!((encoded.kind(), encoded.is_cut()), ("sogs", true));
        let value: serde_json::Value = encoded.to_value("sogs").expect("its JSON");
        assert_eq!(value["body"], "hello");
        let again = serde_json::to_string(&encoded).expect("JSON");
        assert_eq!(stored(&again).expect("a piece"), encoded);
    }

    #[test]
    fn bytes_that_are_not_text_are_kept() {
        let encoded = Encoded::new("radio", vec![0xff, 0, 7]).cut(true).title_cut(true);
        let text = serde_json::to_string(&encoded).expect("JSON");
        assert_eq!(
            text,
            r#"{"kind":"radio","hex":"ff0007","cut":true,"title_cut":true}"#
        );
        assert_eq!(stored(&text).expect("a piece"), encoded);
    }

    #[test]
    fn damaged_pieces_are_errors() {
        for text in [
            "{}",
            "[]",
            r#"{"kind":"x"}"#,
            r#"{"text":"x"}"#,
            r#"{"kind":"x","hex":"f"}"#,
            r#"{"Sogs":7}"#,
        ] {
            assert!(stored(text).is_err(), "{text}");
        }
        let other = Encoded::new("radio", "{}").to_value::<serde_json::Value>("sogs");
        assert!(other.is_err_and(|problem| problem.cause.contains("another service")));
    }
}
