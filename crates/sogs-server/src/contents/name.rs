//! Names of contents: the BLAKE2b-256 of the bytes in hexadecimal, where needed with its own suffix.
//!
//! In a folder that one process works on, equal contents are stored once, under their hash alone. Where several
//! processes work on the same contents, one of them could remove a content in the moment in which another finds it and
//! registers one more file for it. So a name there is used once: `HASH-SUFFIX`, with 64 random bits.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};

/// Hexadecimal digits of the hash.
const HASH: usize = 64;
/// Hexadecimal digits of the suffix.
const SUFFIX: usize = 16;

/// The hash of a content, as its name begins.
pub fn content_name(bytes: &[u8]) -> String {
    hex::encode(Blake2b::<U32>::digest(bytes))
}

/// The hash in a name; nothing if this is not the name of a content.
pub(crate) fn hash_of(name: &str) -> Option<&str> {
    let digits = |text: &str| {
        text.bytes()
            .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let (hash, rest) = name.split_at_checked(HASH)?;
    let suffix = match rest.strip_prefix('-') {
        Some(suffix) => suffix.len() == SUFFIX && digits(suffix),
        None => rest.is_empty(),
    };
    (digits(hash) && suffix).then_some(hash)
}

/// A name for these bytes that was never used.
pub(super) fn once(hash: &str) -> std::io::Result<String> {
    let mut suffix = [0; SUFFIX / 2];
    getrandom::fill(&mut suffix).map_err(std::io::Error::other)?;
    Ok(format!("{hash}-{}", hex::encode(suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_with_or_without_a_suffix_are_names() {
        let hash = content_name(b"content");
        let name = once(&hash).expect("randomness");
        assert_eq!((hash_of(&hash), hash_of(&name)), (Some(&*hash), Some(&*hash)));
        assert_ne!(name, once(&hash).expect("randomness"));
        for other in [
            "",
            "community",
            &hash[1..],
            &format!("{hash}-"),
            &format!("{hash}-../../../../etc"),
            &format!("{hash}0"),
            &hash.to_uppercase(),
            &"é".repeat(32),
        ] {
            assert_eq!(hash_of(other), None, "{other}");
        }
    }
}
