//! Encoded words of RFC 2047 in headers: `=?UTF-8?B?QmFja3Vw?=`.

use base64::Engine as _;

/// Decodes every encoded word in UTF-8, ASCII or ISO-8859-1; what cannot be decoded stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(start) = rest.find("=?") {
        let before = &rest[..start];
        let Some((word, length)) = word(&rest[start..]) else {
            out.push_str(&rest[..start + 2]);
            (rest, after_word) = (&rest[start + 2..], false);
            continue;
        };
        // Blanks between two encoded words are not part of the text.
        if !(after_word && before.trim().is_empty()) {
            out.push_str(before);
        }
        out.push_str(&word);
        (rest, after_word) = (&rest[start + length..], true);
    }
    out.push_str(rest);
    out
}

/// The text of the encoded word at the start, and its length in bytes.
fn word(text: &str) -> Option<(String, usize)> {
    let mut parts = text.strip_prefix("=?")?.splitn(4, '?');
    let (charset, encoding, content) = (parts.next()?, parts.next()?, parts.next()?);
    let length = 2 + charset.len() + 1 + encoding.len() + 1 + content.len() + 2;
    if !parts.next()?.starts_with('=') || content.contains(' ') {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => base64::engine::general_purpose::STANDARD.decode(content).ok()?,
        "Q" | "q" => quoted(content.as_bytes())?,
        _ => return None,
    };
    let charset = charset.split('*').next().unwrap_or_default().to_ascii_lowercase();
    let text = match charset.as_str() {
        "utf-8" | "us-ascii" => String::from_utf8_lossy(&bytes).into_owned(),
        "iso-8859-1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => return None,
    };
    Some((text, length))
}

fn quoted(content: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut bytes) = (Vec::with_capacity(content.len()), content.iter());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
                u8::try_from(high? * 16 + low?).ok()?
            }
            other => *other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn encoded_words_are_decoded() {
        for (text, expected) in [
            ("plain", "plain"),
            ("=?UTF-8?B?QmFja3Vw?=", "Backup"),
            (
                "=?utf-8?q?Gr=C3=BC=C3=9Fe_aus?= =?ISO-8859-1?Q?_K=F6ln?= x",
                "Grüße aus Köln x",
            ),
            ("=?UTF-8?B?%%?= y", "=?UTF-8?B?%%?= y"),
            ("=?UTF-8?X?a?=", "=?UTF-8?X?a?="),
            ("=?=?=?", "=?=?=?"),
            ("=?utf-8?q?=C3?=", "\u{fffd}"),
            ("=?utf-8?q?=C?=", "=?utf-8?q?=C?="),
            ("ä =?", "ä =?"),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }
}
