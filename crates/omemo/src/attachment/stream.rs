//! AES-256-GCM in pieces (NIST SP 800-38D), from the two parts that the crate `aes-gcm` consists of.

use core::fmt;

use aes::Aes256;
use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::U16;
use cbc::cipher::{BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _};
use ctr::Ctr32BE;
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Attachment, TAG_BYTES};
use crate::error::Error;

type Block = Array<u8, U16>;

const BLOCK_BYTES: usize = 16;
/// Longest file of AES-GCM in bytes: 2^36 - 32.
const MAX_FILE_BYTES: u64 = (1 << 36) - 32;

/// Cipher and authenticator of one file.
struct Gcm {
    cipher: Ctr32BE<Aes256>,
    hash: GHash,
    /// Encrypts the tag.
    mask: Zeroizing<[u8; TAG_BYTES]>,
    /// Bytes that do not fill a block yet.
    rest: [u8; BLOCK_BYTES],
    rest_len: usize,
    len: u64,
}

impl Gcm {
    fn new(attachment: &Attachment) -> Self {
        let key = (&*attachment.key).into();
        let mut hash_key = Block::default();
        Aes256::new(key).encrypt_block(&mut hash_key);
        let hash = GHash::new(&hash_key);
        let iv = &attachment.iv[..attachment.iv_len];
        let mut counter = Block::default();
        if iv.len() == 12 {
            counter[..12].copy_from_slice(iv);
            counter[15] = 1;
        } else {
            // Any other length: the counter is the hash of the IV and its length in bits.
            let mut hash = hash.clone();
            hash.update_padded(iv);
            let mut lengths = Block::default();
            lengths[8..].copy_from_slice(&(iv.len() as u64 * 8).to_be_bytes());
            hash.update(&[lengths]);
            counter = hash.finalize();
        }
        let mut cipher = Ctr32BE::<Aes256>::new(key, &counter);
        let mut mask = Zeroizing::new([0; TAG_BYTES]);
        cipher.apply_keystream(&mut *mask);
        Self {
            cipher,
            hash,
            mask,
            rest: [0; BLOCK_BYTES],
            rest_len: 0,
            len: 0,
        }
    }

    /// Counts bytes, up to the limit of the cipher.
    fn count(&mut self, more: usize) -> Result<(), Error> {
        let len = self.len.saturating_add(more as u64);
        if len > MAX_FILE_BYTES {
            return Err(Error::TooLarge {
                what: "attachment",
                limit: usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX),
            });
        }
        self.len = len;
        Ok(())
    }

    /// Authenticates bytes of the encrypted file.
    fn authenticate(&mut self, mut bytes: &[u8]) {
        if self.rest_len > 0 {
            let (start, after) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.rest_len));
            self.rest[self.rest_len..self.rest_len + start.len()].copy_from_slice(start);
            self.rest_len += start.len();
            if self.rest_len < BLOCK_BYTES {
                return;
            }
            self.hash.update(&[self.rest.into()]);
            self.rest_len = 0;
            bytes = after;
        }
        let (blocks, rest) = Block::slice_as_chunks(bytes);
        self.hash.update(blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_len = rest.len();
    }

    fn finish(mut self) -> [u8; TAG_BYTES] {
        self.hash.update_padded(&self.rest[..self.rest_len]);
        let mut lengths = Block::default();
        lengths[8..].copy_from_slice(&(self.len * 8).to_be_bytes());
        self.hash.update(&[lengths]);
        let mut tag: [u8; TAG_BYTES] = self.hash.finalize().into();
        for (byte, mask) in tag.iter_mut().zip(*self.mask) {
            *byte ^= mask;
        }
        tag
    }
}

/// Encryption of an attachment in pieces, see [`Attachment::encrypt_pieces`].
pub struct AttachmentEncryptor(Gcm);

impl AttachmentEncryptor {
    pub(super) fn new(attachment: &Attachment) -> Self {
        Self(Gcm::new(attachment))
    }

    /// Encrypts the next piece in place. Pieces may have any length.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond 64 GiB.
    pub fn update(&mut self, piece: &mut [u8]) -> Result<(), Error> {
        self.0.count(piece.len())?;
        self.0.cipher.apply_keystream(piece);
        self.0.authenticate(piece);
        Ok(())
    }

    /// Returns the tag: the last 16 bytes of the encrypted file.
    pub fn finish(self) -> [u8; 16] {
        self.0.finish()
    }
}

/// Decryption of an attachment in pieces, see [`Attachment::decrypt_pieces`].
///
/// The pieces are **not authenticated** until [`AttachmentDecryptor::finish`] succeeds. Write them where nobody reads
/// them, a temporary file for example, and delete them if it fails.
pub struct AttachmentDecryptor {
    gcm: Gcm,
    /// The last bytes so far, which may be the tag.
    held: [u8; TAG_BYTES],
    held_len: usize,
}

impl AttachmentDecryptor {
    pub(super) fn new(attachment: &Attachment) -> Self {
        Self {
            gcm: Gcm::new(attachment),
            held: [0; TAG_BYTES],
            held_len: 0,
        }
    }

    /// Decrypts the next piece and appends what is certain not to be the tag to `out`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond 64 GiB.
    pub fn update(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let total = self.held_len + piece.len();
        let ready = total.saturating_sub(TAG_BYTES);
        self.gcm.count(ready)?;
        let start = out.len();
        let from_held = ready.min(self.held_len);
        out.extend_from_slice(&self.held[..from_held]);
        self.held.copy_within(from_held..self.held_len, 0);
        self.held_len -= from_held;
        let (now, later) = piece.split_at(ready - from_held);
        out.extend_from_slice(now);
        self.held[self.held_len..self.held_len + later.len()].copy_from_slice(later);
        self.held_len += later.len();
        let content = &mut out[start..];
        self.gcm.authenticate(content);
        self.gcm.cipher.apply_keystream(content);
        Ok(())
    }

    /// Checks the tag.
    ///
    /// # Errors
    /// [`Error::AlteredContent`] if the file was altered or cut: nothing that was decrypted may be used.
    pub fn finish(self) -> Result<(), Error> {
        let tag = self.gcm.finish();
        if self.held_len == TAG_BYTES && bool::from(tag.ct_eq(&self.held)) {
            Ok(())
        } else {
            Err(Error::AlteredContent)
        }
    }
}

impl fmt::Debug for AttachmentEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentEncryptor").finish_non_exhaustive()
    }
}

impl fmt::Debug for AttachmentDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentDecryptor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decrypt(attachment: &Attachment, upload: &[u8], step: usize) -> Result<Vec<u8>, Error> {
        let (mut decryptor, mut out) = (attachment.decrypt_pieces(), Vec::new());
        for piece in upload.chunks(step) {
            decryptor.update(piece, &mut out)?;
        }
        decryptor.finish().map(|()| out)
    }

    proptest! {
        /// The crate `aes-gcm` says the same in one piece.
        #[test]
        fn pieces_give_what_one_piece_gives(file: Vec<u8>, step in 1usize..70, long_iv: bool, key: [u8; 32], iv: [u8; 16]) {
            let attachment = Attachment { key: Zeroizing::new(key), iv, iv_len: if long_iv { 16 } else { 12 } };
            let mut encryptor = AttachmentEncryptor::new(&attachment);
            let mut upload = file.clone();
            for piece in upload.chunks_mut(step) {
                encryptor.update(piece).unwrap();
            }
            upload.extend(encryptor.finish());
            let mut whole = upload.clone();
            attachment.decrypt(&mut whole).unwrap();
            prop_assert_eq!(&whole, &file);
            if !long_iv {
                attachment.seal(&mut whole);
                prop_assert_eq!(&whole, &upload);
            }
            prop_assert_eq!(decrypt(&attachment, &upload, step), Ok(file));
        }

        #[test]
        fn altered_and_cut_files_are_found(file: Vec<u8>, step in 1usize..70, at: usize, bit in 0u32..8) {
            let (attachment, mut encryptor) = Attachment::encrypt_pieces(&mut rand_core::UnwrapErr(getrandom::SysRng));
            let mut upload = file;
            encryptor.update(&mut upload).unwrap();
            upload.extend(encryptor.finish());
            let at = at % upload.len();
            prop_assert_eq!(decrypt(&attachment, &upload[..at], step), Err(Error::AlteredContent));
            upload[at] ^= 1u8 << bit;
            prop_assert_eq!(decrypt(&attachment, &upload, step), Err(Error::AlteredContent));
        }
    }

    #[test]
    fn vectors_in_pieces() {
        for vector in crate::vectors::of_kind("aesgcm") {
            let (_, attachment) = Attachment::from_link(vector["out"]["url"].as_str().unwrap()).unwrap();
            let upload = crate::vectors::bytes(&vector["out"]["upload"]);
            let file = crate::vectors::bytes(&vector["in"]["file"]);
            assert_eq!(decrypt(&attachment, &upload, 100), Ok(file));
        }
    }

    #[test]
    fn the_limit_of_the_cipher_is_kept() {
        let (_, mut encryptor) = Attachment::encrypt_pieces(&mut rand_core::UnwrapErr(getrandom::SysRng));
        encryptor.0.len = MAX_FILE_BYTES - 1;
        encryptor.update(&mut [0]).unwrap();
        assert!(matches!(encryptor.update(&mut [0]), Err(Error::TooLarge { .. })));
    }
}
