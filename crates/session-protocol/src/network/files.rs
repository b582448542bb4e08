//! Files of direct messages: encrypted for the recipient, kept on a file server, and pointed to in the message.
//!
//! The classic encryption of the apps: a key of 64 bytes is an AES-256-CBC key and an HMAC-SHA256 key; the file is `iv ‖
//! ciphertext ‖ mac(iv ‖ ciphertext)`. Before that it is padded with zeros, so that its length tells little.

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::CryptoRng;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::content::AttachmentPointer;

/// Longest encrypted file, bytes: what the public file server takes.
pub const MAX_SEALED_FILE_LEN_BYTES: usize = 10_000_000;
/// Maximum length of a file, bytes.
pub const MAX_FILE_LEN_BYTES: usize = MAX_SEALED_FILE_LEN_BYTES - EXTRA_LEN_BYTES;
/// Longest name of a file, bytes.
pub const MAX_FILE_NAME_LEN_BYTES: usize = 255;
/// IV, the longest CBC padding, and the MAC, bytes.
const EXTRA_LEN_BYTES: usize = 16 + 16 + 32;
/// Shortest padded file, bytes.
const MIN_PADDED_LEN_BYTES: usize = 541;

/// Reason why a file cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file is longer than [`MAX_FILE_LEN_BYTES`].
    #[error("the file has {0} bytes, and {MAX_FILE_LEN_BYTES} can be sent; send a link")]
    TooLong(usize),
    /// The pointer has no key or digest, or has no file.
    #[error("the pointer to the file is incomplete: {0}; ask the sender to send it again")]
    Pointer(&'static str),
    /// The bytes are not those that the sender signed for.
    #[error("the file was altered or damaged; ask the sender to send it again")]
    Altered,
    /// The server's answer has no file.
    #[error("the file server's answer cannot be read; try again later")]
    Answer,
}

/// The length to which a file is padded: the next power of 1.05, at least 541, at most the longest file.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "powers of 1.05 up to ten million"
)]
pub fn padded_len(len: usize) -> usize {
    let step = ((len.max(1) as f64).ln() / 1.05_f64.ln()).ceil();
    let next = 1.05_f64.powf(step).floor() as usize;
    // The longest file is not padded, and rounding must never cut one.
    next.clamp(MIN_PADDED_LEN_BYTES, MAX_FILE_LEN_BYTES).max(len)
}

/// The keys of one file.
#[derive(zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
struct Keys {
    aes: [u8; 32],
    mac: [u8; 32],
}

impl Keys {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (aes, mac) = bytes.split_first_chunk::<32>()?;
        Some(Self {
            aes: *aes,
            mac: mac.try_into().ok()?,
        })
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.mac).expect("HMAC takes keys of any length");
        mac.update(bytes);
        mac
    }
}

/// An encrypted file and what its pointer needs.
pub struct SealedFile {
    /// The bytes for the file server.
    pub bytes: Vec<u8>,
    keys: Keys,
    size: u32,
}

impl core::fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SealedFile")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl SealedFile {
    /// Pads and encrypts a file under a new key.
    ///
    /// # Errors
    /// [`FileError::TooLong`].
    pub fn seal<R: CryptoRng + ?Sized>(file: &[u8], rng: &mut R) -> Result<Self, FileError> {
        if file.len() > MAX_FILE_LEN_BYTES {
            return Err(FileError::TooLong(file.len()));
        }
        let size = u32::try_from(file.len()).map_err(|_| FileError::TooLong(file.len()))?;
        let mut padded = Zeroizing::new(file.to_vec());
        padded.resize(padded_len(file.len()), 0);
        let mut iv = [0; 16];
        let mut keys = Keys {
            aes: [0; 32],
            mac: [0; 32],
        };
        // Written in place, so that no copy of a key is left on the stack.
        for part in [&mut keys.aes[..], &mut keys.mac, &mut iv] {
            rng.fill_bytes(part);
        }
        let ciphertext = cbc::Encryptor::<Aes256>::new((&keys.aes).into(), &iv.into())
            .encrypt_padded_vec::<Pkcs7>(&padded);
        let mut bytes = iv.to_vec();
        bytes.extend_from_slice(&ciphertext);
        let tag = keys.mac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        Ok(Self { bytes, keys, size })
    }

    /// The pointer to put into a message, once the server gave the file a number.
    pub fn pointer(&self, id: u64, url: String, name: &str, content_type: &str) -> AttachmentPointer {
        AttachmentPointer {
            id,
            content_type: Some(content_type.to_owned()),
            key: Some([self.keys.aes, self.keys.mac].concat()),
            size: Some(self.size),
            digest: Some(Sha256::digest(&self.bytes).to_vec()),
            file_name: Some(name.to_owned()),
            url: Some(url),
            ..AttachmentPointer::default()
        }
    }
}

/// Checks and decrypts the bytes of the file that a pointer describes.
///
/// # Errors
/// [`FileError`] if the pointer is incomplete, or the bytes are not the sender's.
pub fn open(pointer: &AttachmentPointer, bytes: &[u8]) -> Result<Vec<u8>, FileError> {
    let keys = pointer.key.as_deref().and_then(Keys::from_bytes);
    let keys = keys.ok_or(FileError::Pointer("it has no key"))?;
    let digest = pointer.digest.as_deref();
    let digest = digest.ok_or(FileError::Pointer("it has no digest"))?;
    if bytes.len() > MAX_SEALED_FILE_LEN_BYTES || Sha256::digest(bytes)[..] != *digest {
        return Err(FileError::Altered);
    }
    let (content, tag) = bytes.split_last_chunk::<32>().ok_or(FileError::Altered)?;
    let (iv, ciphertext) = content.split_first_chunk::<16>().ok_or(FileError::Altered)?;
    keys.mac(content)
        .verify_slice(tag)
        .map_err(|_| FileError::Altered)?;
    let mut file = cbc::Decryptor::<Aes256>::new((&keys.aes).into(), iv.into())
        .decrypt_padded_vec::<Pkcs7>(ciphertext)
        .map_err(|_| FileError::Altered)?;
    match pointer.size.map(usize::try_from) {
        Some(Ok(size)) if size <= file.len() => file.truncate(size),
        None => {}
        _ => return Err(FileError::Altered),
    }
    Ok(file)
}

/// The number of a file: the last part of its URL, or the number beside it.
pub fn number_of(pointer: &AttachmentPointer) -> Option<String> {
    let url = pointer.url.as_deref().unwrap_or_default();
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit_once("/file/").map(|(_, number)| number.to_owned());
    let number = last.or_else(|| (pointer.id != 0).then(|| pointer.id.to_string()))?;
    let is_plain = (1..=64).contains(&number.len())
        && number
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_plain.then_some(number)
}

/// Reads the file server's answer to an upload: the number of the file, as a number or as text.
///
/// # Errors
/// [`FileError::Answer`].
pub fn uploaded_number(answer: &[u8]) -> Result<String, FileError> {
    let answer: Map<String, Value> = serde_json::from_slice(answer).map_err(|_| FileError::Answer)?;
    let text = match answer.get("id") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err(FileError::Answer),
    };
    let pointer = AttachmentPointer {
        url: Some(format!("/file/{text}")),
        ..AttachmentPointer::default()
    };
    number_of(&pointer).ok_or(FileError::Answer)
}

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;

    fn pair(file: &[u8]) -> (SealedFile, AttachmentPointer) {
        let sealed = SealedFile::seal(file, &mut UnwrapErr(getrandom::SysRng)).unwrap();
        let pointer = sealed.pointer(7, "http://files.example/file/7".to_owned(), "a.txt", "text/plain");
        (sealed, pointer)
    }

    #[test]
    fn files_are_padded_as_the_apps_do() {
        // Lengths of session-python 1.0.5, which follows session-desktop.
        for (len, padded) in [
            (0, 541),
            (1, 541),
            (541, 541),
            (542, 568),
            (1000, 1020),
            (100_000, 100_155),
            (MAX_FILE_LEN_BYTES, MAX_FILE_LEN_BYTES),
        ] {
            assert_eq!(padded_len(len), padded, "{len}");
        }
        for len in (0..200_000).step_by(37) {
            assert!(padded_len(len) >= len, "{len}");
        }
    }

    #[test]
    fn a_file_opens_for_its_pointer_alone() {
        for len in [0, 1, 540, 541, 5000] {
            let file = vec![0x5a; len];
            let (sealed, pointer) = pair(&file);
            assert_eq!(sealed.bytes.len() % 16, 0);
            assert_eq!(open(&pointer, &sealed.bytes).as_ref(), Ok(&file));
            let (_, other) = pair(&file);
            assert_eq!(open(&other, &sealed.bytes), Err(FileError::Altered));
        }
        let (sealed, pointer) = pair(b"hello");
        for at in [0, 15, 16, 300, sealed.bytes.len() - 1] {
            let mut altered = sealed.bytes.clone();
            altered[at] ^= 1;
            assert_eq!(open(&pointer, &altered), Err(FileError::Altered), "{at}");
            // A digest of the altered bytes does not help: the MAC is under the key.
            let digest = Some(Sha256::digest(&altered).to_vec());
            let signed = AttachmentPointer {
                digest,
                ..pointer.clone()
            };
            assert_eq!(open(&signed, &altered), Err(FileError::Altered), "{at}");
        }
        for cut in [0, 16, 47, 48] {
            assert_eq!(open(&pointer, &sealed.bytes[..cut]), Err(FileError::Altered));
        }
        let without = |change: fn(&mut AttachmentPointer)| {
            let mut pointer = pointer.clone();
            change(&mut pointer);
            open(&pointer, &sealed.bytes)
        };
        assert!(matches!(
            without(|pointer| pointer.key = None),
            Err(FileError::Pointer(_))
        ));
        assert!(matches!(
            without(|pointer| pointer.digest = None),
            Err(FileError::Pointer(_))
        ));
        assert_eq!(
            without(|pointer| pointer.size = Some(u32::MAX)),
            Err(FileError::Altered)
        );
        assert!(without(|pointer| pointer.size = None).is_ok_and(|file| file.len() == 541));
        let long = vec![0; MAX_FILE_LEN_BYTES + 1];
        let refused = SealedFile::seal(&long, &mut UnwrapErr(getrandom::SysRng));
        assert_eq!(refused.err(), Some(FileError::TooLong(MAX_FILE_LEN_BYTES + 1)));
    }

    #[test]
    fn numbers_of_files_are_plain_words() {
        let number = |id, url: &str| {
            let url = Some(url.to_owned()).filter(|url| !url.is_empty());
            number_of(&AttachmentPointer {
                id,
                url,
                ..AttachmentPointer::default()
            })
        };
        assert_eq!(number(0, "http://f.example/file/12#p=ab"), Some("12".to_owned()));
        assert_eq!(number(9, ""), Some("9".to_owned()));
        for bad in [
            "http://f.example/file/../x",
            "http://f.example/file/",
            "http://f.example/file/a b",
        ] {
            assert_eq!(number(0, bad), None, "{bad}");
        }
        assert_eq!(number(0, ""), None);
        assert_eq!(uploaded_number(br#"{"id": 12}"#), Ok("12".to_owned()));
        assert_eq!(uploaded_number(br#"{"id": "1_a-B"}"#), Ok("1_a-B".to_owned()));
        for bad in [&b"{}"[..], b"", br#"{"id": "../x"}"#, br#"{"id": 1.5}"#, b"[1]"] {
            assert_eq!(uploaded_number(bad), Err(FileError::Answer));
        }
    }
}
