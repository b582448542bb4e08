//! Percent-encoding exactly as the reference reads and writes it.

use std::fmt::Write as _;

/// Decodes `%XX` once; invalid UTF-8 becomes U+FFFD, a `%` without two hex digits stays as it is.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%'
            && let (Some(high), Some(low)) = (hex(bytes.get(i + 1)), hex(bytes.get(i + 2)))
        {
            out.push(high * 16 + low);
            i += 3;
            continue;
        }
        out.push(bytes[i]);
        i += 1;
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Encodes everything but letters, digits and `_ . - ~`, as upper-case `%XX`; a blank is `%20`.
pub fn encode(text: &str) -> String {
    encode_except(text, "")
}

/// Like [`encode`], leaving the ASCII characters of `safe` as they are.
pub fn encode_except(text: &str, safe: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || safe.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn hex(byte: Option<&u8>) -> Option<u8> {
    byte.and_then(|byte| char::from(*byte).to_digit(16))
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Guards a value that is percent-decoded twice when it is read against the second decoding.
pub(crate) fn guarded(text: &str) -> String {
    if decode(text) == text {
        text.to_owned()
    } else {
        text.replace('%', "%25")
    }
}
