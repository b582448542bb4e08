//! The one shape of bencode that onion requests use: a list of one or two byte strings.

use super::OnionError;

/// `l<n>:<bytes>…e`.
pub fn encode_list(strings: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(strings.iter().map(|s| s.len() + 12).sum::<usize>() + 2);
    out.push(b'l');
    for string in strings {
        out.extend_from_slice(string.len().to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(string);
    }
    out.push(b'e');
    out
}

/// Reads a list of one or two byte strings; nothing may follow it.
pub fn decode_list(bytes: &[u8]) -> Result<(&[u8], Option<&[u8]>), OnionError> {
    let rest = bytes
        .strip_prefix(b"l")
        .ok_or(OnionError::Malformed("not a bencoded list"))?;
    let (first, rest) = string(rest)?;
    let (second, rest) = if rest.first() == Some(&b'e') {
        (None, rest)
    } else {
        let (second, rest) = string(rest)?;
        (Some(second), rest)
    };
    if rest == b"e" {
        Ok((first, second))
    } else {
        Err(OnionError::Malformed("more than two strings in the list"))
    }
}

fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), OnionError> {
    const BAD: OnionError = OnionError::Malformed("not a bencoded string");
    // Ten digits hold every length there can be; a longer run is refused before it is read.
    let colon = bytes.iter().take(11).position(|&b| b == b':').ok_or(BAD)?;
    let (digits, rest) = (&bytes[..colon], &bytes[colon + 1..]);
    if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') || !digits.iter().all(u8::is_ascii_digit)
    {
        return Err(BAD);
    }
    let len = digits
        .iter()
        .fold(0u64, |len, digit| len * 10 + u64::from(digit - b'0'));
    usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len))
        .ok_or(BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_one_and_two() {
        assert_eq!(decode_list(b"l2:abe"), Ok((&b"ab"[..], None)));
        assert_eq!(decode_list(b"l2:ab0:e"), Ok((&b"ab"[..], Some(&b""[..]))));
        assert_eq!(encode_list(&[b"ab", b"l1:xe"]), b"l2:ab5:l1:xee");
        for bad in [
            &b""[..],
            b"l",
            b"le",
            b"l2:ab",
            b"l3:abe",
            b"l02:abe",
            b"l-1:abe",
            b"l2:ab1:x1:ye",
            b"l2:abex",
            b"d2:abe",
            b"l99999999999999999999:e",
            b"l:e",
            b"li5ee",
        ] {
            assert!(decode_list(bad).is_err(), "{bad:?}");
        }
    }
}
