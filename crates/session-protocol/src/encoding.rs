//! Text forms of bytes: hex, base64 with or without padding, and z-base-32, as the protocol writes them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Standard alphabet, padded output; padding optional on input, because clients of both habits exist.
const B64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const Z32: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

/// Standard base64 with padding.
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    B64.encode(bytes)
}

/// Decodes standard base64; trailing `=` may be missing. `None` for anything else.
pub fn from_b64(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    B64.decode(text).ok()
}

/// Decodes exactly `N` bytes from base64.
pub fn array_from_b64<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Longer text cannot be N bytes: refuse before allocating for it.
    if text.len() > N.div_ceil(3) * 4 {
        return None;
    }
    from_b64(text)?.try_into().ok()
}

/// Decodes exactly `N` bytes from hexadecimal digits of either case.
pub fn array_from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out).ok()?;
    Some(out)
}

/// Decodes a 32-byte key from hex (64 digits), base64 (43 or 44) or z-base-32 (52), the three forms in which
/// public keys are handed around.
pub fn key_from_text(text: &str) -> Option<[u8; 32]> {
    match text.len() {
        64 => array_from_hex(text),
        43 | 44 => array_from_b64(text),
        52 => key_from_z32(text),
        _ => None,
    }
}

fn key_from_z32(text: &str) -> Option<[u8; 32]> {
    let mut out = [0u8; 32];
    let (mut buffer, mut bits, mut at) = (0u32, 0u32, 0usize);
    for c in text.bytes() {
        let value = Z32.iter().position(|&z| z == c.to_ascii_lowercase())?;
        buffer = (buffer << 5) | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *out.get_mut(at)? = u8::try_from((buffer >> bits) & 0xff).ok()?;
            at += 1;
            buffer &= (1 << bits) - 1;
        }
    }
    // 52 digits carry 260 bits; the 4 left over must be zero.
    (at == 32 && buffer == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_takes_both_paddings_and_nothing_else() {
        assert_eq!(from_b64("QEFCQw==").as_deref(), Some(&b"@ABC"[..]));
        assert_eq!(from_b64("QEFCQw").as_deref(), Some(&b"@ABC"[..]));
        assert_eq!(from_b64("QEFCQ*"), None);
        assert_eq!(array_from_b64::<4>("QEFCQ0RF"), None);
    }

    #[test]
    fn the_three_forms_of_a_key_are_one_key() {
        let key =
            array_from_hex::<32>("33202f87ce4ff20cbcd0f2e48c8c7f263d11a3609c673b8c7eae56653769c12f").unwrap();
        assert_eq!(key_from_text(&b64(key)), Some(key));
        let mut z = String::new();
        let (mut buffer, mut bits) = (0u32, 0u32);
        for byte in key {
            buffer = (buffer << 8) | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                z.push(char::from(Z32[((buffer >> bits) & 31) as usize]));
            }
            buffer &= (1 << bits) - 1;
        }
        z.push(char::from(Z32[((buffer << (5 - bits)) & 31) as usize]));
        assert_eq!(z.len(), 52);
        assert_eq!(key_from_text(&z), Some(key));
    }
}
