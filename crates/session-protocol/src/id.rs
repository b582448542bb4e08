//! Session IDs, room tokens and server keys, parsed once and printed exactly as on the wire.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::encoding;

/// Reason why a text or bytes are not a valid id, token or key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The id is not 66 hexadecimal digits.
    #[error("a Session ID has 66 hexadecimal digits")]
    NotAnId,
    /// The first byte is none of the known prefixes.
    #[error("a Session ID starts with 05, 15, 25, 03, 00 or ff")]
    UnknownPrefix,
    /// The 32 bytes after the prefix are not a usable public key.
    #[error("the key inside the id is not a valid public key")]
    NotAKey,
    /// An id of another kind was needed here.
    #[error("this needs an id of another kind")]
    WrongKind,
    /// The token is not 1 to 64 letters, digits, `_` and `-`.
    #[error("a room token is 1 to 64 letters, digits, '-' and '_'")]
    NotAToken,
    /// The key is not 32 bytes in hex, base64 or z-base-32.
    #[error("a server key is 32 bytes, written as 64 hexadecimal digits")]
    NotAServerKey,
}

/// The kind of an id: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Prefix {
    /// `00`: a plain Ed25519 key; only in authentication headers.
    Unblinded = 0x00,
    /// `03`: a closed group.
    Group = 0x03,
    /// `05`: an account, by its X25519 key.
    Account = 0x05,
    /// `15`: an account blinded for one server (version 1).
    Blind15 = 0x15,
    /// `25`: an account blinded for one server (version 2).
    Blind25 = 0x25,
    /// `ff`: the server's own system user.
    System = 0xff,
}

impl Prefix {
    /// Returns the kind of id for `byte`.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x00 => Self::Unblinded,
            0x03 => Self::Group,
            0x05 => Self::Account,
            0x15 => Self::Blind15,
            0x25 => Self::Blind25,
            0xff => Self::System,
            _ => return None,
        })
    }
}

/// A prefix and a 32-byte public key; 66 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 33]);

impl SessionId {
    /// Puts an id together.
    pub fn new(prefix: Prefix, key: [u8; 32]) -> Self {
        let mut bytes = [0; 33];
        bytes[0] = prefix as u8;
        bytes[1..].copy_from_slice(&key);
        Self(bytes)
    }

    /// Reads the 33 bytes of an id.
    pub fn from_bytes(bytes: [u8; 33]) -> Result<Self, IdError> {
        Prefix::from_byte(bytes[0]).ok_or(IdError::UnknownPrefix)?;
        Ok(Self(bytes))
    }

    /// The kind of this id.
    pub fn prefix(&self) -> Prefix {
        Prefix::from_byte(self.0[0]).expect("checked on construction")
    }

    /// The 32 bytes behind the prefix: X25519 for `05`, Ed25519 for `00`, `15` and `25`.
    pub fn key(&self) -> &[u8; 32] {
        self.0[1..].first_chunk().expect("33 bytes")
    }

    /// Returns all 33 bytes: prefix and key.
    pub fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    /// Returns true if this is a blinded id (`15` or `25`).
    pub fn is_blinded(&self) -> bool {
        matches!(self.prefix(), Prefix::Blind15 | Prefix::Blind25)
    }

    /// The short form people see when no name is known: `(05a1b2…c3d4)`.
    pub fn short(&self) -> String {
        let text = self.to_string();
        format!("({}…{})", &text[..6], &text[62..])
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::from_bytes(encoding::array_from_hex(text).ok_or(IdError::NotAnId)?)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// The name of a room in URLs: 1 to 64 of `A-Z a-z 0-9 _ -`. Spelling is kept, comparison ignores ASCII case.
#[derive(Clone)]
pub struct RoomToken(String);

impl RoomToken {
    /// Longest token, in bytes.
    pub const MAX_LEN_BYTES: usize = 64;

    /// Reads a token.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        let fits = (1..=Self::MAX_LEN_BYTES).contains(&text.len());
        let clean = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits && clean {
            Ok(Self(text))
        } else {
            Err(IdError::NotAToken)
        }
    }

    /// The token as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same token in lower case, the form to use as a key in maps and databases.
    #[must_use]
    pub fn to_lower(&self) -> Self {
        Self(self.0.to_ascii_lowercase())
    }
}

impl PartialEq for RoomToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for RoomToken {}

impl Hash for RoomToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl PartialOrd for RoomToken {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RoomToken {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let lower = |t: &Self| t.0.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
        lower(self).cmp(&lower(other))
    }
}

impl FromStr for RoomToken {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl fmt::Display for RoomToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RoomToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomToken({})", self.0)
    }
}

/// A community server's X25519 public key: 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey([u8; 32]);

impl ServerKey {
    /// Takes the 32 bytes as they are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for ServerKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        encoding::key_from_text(text)
            .map(Self)
            .ok_or(IdError::NotAServerKey)
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKey({self})")
    }
}

/// JSON carries these three as their text.
macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("the text of a ", stringify!($type)))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}
serde_as_text!(SessionId, RoomToken, ServerKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_they_came_but_in_lower_case() {
        let text = "051B1b58dd50ea14b60da17b790cd02754d970c9bab864ebb3c0f3016fe51d3f57";
        let id: SessionId = text.parse().unwrap();
        assert_eq!(id.to_string(), text.to_lowercase());
        assert_eq!(id.prefix(), Prefix::Account);
        assert_eq!("0".repeat(65).parse::<SessionId>(), Err(IdError::NotAnId));
        assert_eq!(
            format!("07{}", "0".repeat(64)).parse::<SessionId>(),
            Err(IdError::UnknownPrefix)
        );
        assert_eq!("é".repeat(33).parse::<SessionId>(), Err(IdError::NotAnId));
    }

    #[test]
    fn tokens_compare_without_case_and_keep_their_spelling() {
        let token = RoomToken::new("Rust-Room_1").unwrap();
        assert_eq!(token, RoomToken::new("rust-room_1").unwrap());
        assert_eq!(token.to_string(), "Rust-Room_1");
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert_eq!(RoomToken::new(bad), Err(IdError::NotAToken), "{bad}");
        }
    }
}
