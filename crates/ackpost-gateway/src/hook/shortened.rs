//! JSON within limits: copies whose texts are cut, and the beginning of its text form.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::Value;

/// Returns a copy of a value. Texts of more than `limit` bytes are cut and end with `sign`.
pub(super) fn copy(value: &Value, limit: usize, sign: &str) -> Value {
    match value {
        Value::String(text) if text.len() > limit => {
            let end = text.floor_char_boundary(limit.saturating_sub(sign.len()));
            Value::String(format!("{}{sign}", &text[..end]))
        }
        Value::Array(items) => items.iter().map(|item| copy(item, limit, sign)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), copy(member, limit, sign)))
            .collect(),
        other => other.clone(),
    }
}

/// Returns the first `limit` bytes of the indented text form of a value.
pub(super) fn pretty(value: &Value, limit: usize) -> String {
    let mut out = Limited {
        bytes: Vec::new(),
        limit,
    };
    // The end of the room is not an error.
    let _ = value.serialize(&mut serde_json::Serializer::pretty(&mut out));
    let mut text = String::from_utf8_lossy(&out.bytes).into_owned();
    // Half a character at the end.
    while text.ends_with(char::REPLACEMENT_CHARACTER) && out.bytes.len() == limit {
        text.pop();
    }
    text
}

/// Takes a number of bytes and refuses the rest.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.limit - self.bytes.len();
        if left == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let taken = bytes.len().min(left);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_texts_are_cut_with_a_sign() {
        let value = json!({"a": ["ü".repeat(100), "short"], "b": 1});
        let copy = copy(&value, 21, "…");
        assert_eq!(
            copy,
            json!({"a": [format!("{}…", "ü".repeat(9)), "short"], "b": 1})
        );
    }

    #[test]
    fn the_text_form_ends_at_the_limit() {
        let value = json!({"a": "ü".repeat(100)});
        let whole = serde_json::to_string_pretty(&value).expect("JSON");
        assert_eq!(pretty(&value, 10_000), whole);
        for limit in 0..40 {
            let text = pretty(&value, limit);
            assert!(
                whole.starts_with(&text) && text.len() <= limit && text.len() + 2 > limit,
                "{text}"
            );
        }
    }
}
