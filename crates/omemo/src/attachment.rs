//! Encrypted attachments: `aesgcm://` links (XEP-0454).

use core::fmt;

use aes::Aes256;
use aes_gcm::aead::array::ArraySize;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadInOut as _, AesGcm, KeyInit as _};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::identity_key::push_hex;
use crate::keys::Secret;

mod stream;

pub use stream::{AttachmentDecryptor, AttachmentEncryptor};

const SCHEME: &str = "aesgcm://";
const TAG_BYTES: usize = 16;
/// Longest IV: older clients wrote 16 bytes.
const MAX_IV_BYTES: usize = 16;

/// Key and IV of one encrypted file.
///
/// The key encrypts one file and is never used again. It is part of the link, which must not be logged; `Debug` hides
/// it.
///
/// ```
/// use omemo::Attachment;
/// # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
///
/// let mut file = b"a picture".to_vec();
/// let attachment = Attachment::encrypt(&mut file, &mut rng);
/// // Upload `file` as application/octet-stream (its size grew by 16 bytes), then send the link alone as the body.
/// let link = attachment.link("https://upload.example.org/1/x.jpg")?;
///
/// let (address, received) = Attachment::from_link(&link)?;
/// assert_eq!(address, "https://upload.example.org/1/x.jpg");
/// received.decrypt(&mut file)?;
/// assert_eq!(file, b"a picture");
/// # Ok::<(), omemo::Error>(())
/// ```
#[derive(Clone)]
pub struct Attachment {
    key: Secret,
    iv: [u8; MAX_IV_BYTES],
    iv_len: usize,
}

impl Attachment {
    /// Bytes that encryption adds to a file.
    pub const OVERHEAD_BYTES: u64 = TAG_BYTES as u64;

    /// Encrypts a file in place with a fresh key and appends the tag of 16 bytes.
    pub fn encrypt<R: CryptoRng + ?Sized>(file: &mut Vec<u8>, rng: &mut R) -> Self {
        let attachment = Self::generate(rng);
        attachment.seal(file);
        attachment
    }

    /// Starts to encrypt a file in pieces with a fresh key.
    ///
    /// ```
    /// use omemo::Attachment;
    /// # let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    ///
    /// let (attachment, mut encryptor) = Attachment::encrypt_pieces(&mut rng);
    /// let mut upload = Vec::new();
    /// for piece in [b"first".to_vec(), b"second".to_vec()] {
    ///     let mut piece = piece;
    ///     encryptor.update(&mut piece)?;
    ///     upload.extend(piece);
    /// }
    /// upload.extend(encryptor.finish());
    ///
    /// let mut file = Vec::new();
    /// let mut decryptor = attachment.decrypt_pieces();
    /// for piece in upload.chunks(7) {
    ///     decryptor.update(piece, &mut file)?;
    /// }
    /// decryptor.finish()?;
    /// assert_eq!(file, b"firstsecond");
    /// # Ok::<(), omemo::Error>(())
    /// ```
    pub fn encrypt_pieces<R: CryptoRng + ?Sized>(rng: &mut R) -> (Self, AttachmentEncryptor) {
        let attachment = Self::generate(rng);
        let encryptor = AttachmentEncryptor::new(&attachment);
        (attachment, encryptor)
    }

    /// Starts to decrypt a file in pieces.
    pub fn decrypt_pieces(&self) -> AttachmentDecryptor {
        AttachmentDecryptor::new(self)
    }

    fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut attachment = Self {
            key: Zeroizing::new([0; 32]),
            iv: [0; MAX_IV_BYTES],
            iv_len: 12,
        };
        rng.fill_bytes(&mut *attachment.key);
        rng.fill_bytes(&mut attachment.iv[..12]);
        attachment
    }

    fn seal(&self, file: &mut Vec<u8>) {
        let iv: [u8; 12] = *self.iv.first_chunk().expect("16 bytes hold 12");
        let tag = AesGcm::<Aes256, U12>::new((&*self.key).into())
            .encrypt_inout_detached(&iv.into(), b"", file.as_mut_slice().into())
            .expect("files in memory are shorter than 64 GiB");
        file.extend_from_slice(&tag);
    }

    /// Decrypts a downloaded file in place and removes the tag.
    ///
    /// Limit the size of the download before: the whole file is in memory.
    ///
    /// # Errors
    /// [`Error::AlteredContent`] if the file was altered or cut. It is then empty.
    pub fn decrypt(&self, file: &mut Vec<u8>) -> Result<(), Error> {
        let result = match self.iv_len {
            12 => self.open::<U12>(file),
            _ => self.open::<U16>(file),
        };
        match result {
            Ok(len) => file.truncate(len),
            Err(_) => file.clear(),
        }
        result.map(|_| ())
    }

    fn open<N: ArraySize>(&self, file: &mut [u8]) -> Result<usize, Error> {
        let (content, tag) = file
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(Error::AlteredContent)?;
        let iv = self.iv[..self.iv_len]
            .try_into()
            .map_err(|_| Error::Malformed("attachment link"))?;
        let len = content.len();
        AesGcm::<Aes256, N>::new((&*self.key).into())
            .decrypt_inout_detached(iv, b"", content.into(), (&*tag).into())
            .map_err(|_| Error::AlteredContent)?;
        Ok(len)
    }

    /// Returns the link of a file that was uploaded to an `https` address. The link contains the key.
    ///
    /// # Errors
    /// [`Error::Malformed`] for an address that does not start with `https://`, or that has a fragment.
    pub fn link(&self, address: &str) -> Result<Zeroizing<String>, Error> {
        let rest = without_scheme(address, "https://").filter(|rest| !rest.is_empty() && !rest.contains('#'));
        let rest = rest.ok_or(Error::Malformed("upload address"))?;
        let mut link = Zeroizing::new(String::with_capacity(SCHEME.len() + rest.len() + 1 + 96));
        link.push_str(SCHEME);
        link.push_str(rest);
        link.push('#');
        for byte in self.iv[..self.iv_len].iter().chain(self.key.iter()) {
            push_hex(&mut link, *byte);
        }
        Ok(link)
    }

    /// Parses a link. Returns the `https` address of the encrypted file and the key.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless the text is an `aesgcm` link with an IV of 12 or 16 bytes and a key of 32 bytes.
    pub fn from_link(link: &str) -> Result<(String, Self), Error> {
        const MALFORMED: Error = Error::Malformed("attachment link");
        let rest = without_scheme(link, SCHEME).ok_or(MALFORMED)?;
        let (address, fragment) = rest.split_once('#').ok_or(MALFORMED)?;
        let iv_len = match fragment.len() {
            88 => 12,
            96 => 16,
            _ => return Err(MALFORMED),
        };
        if address.is_empty() {
            return Err(MALFORMED);
        }
        let mut bytes = Zeroizing::new([0; MAX_IV_BYTES + 32]);
        for (out, digits) in bytes.iter_mut().zip(fragment.as_bytes().chunks_exact(2)) {
            let high = char::from(digits[0]).to_digit(16).ok_or(MALFORMED)?;
            let low = char::from(digits[1]).to_digit(16).ok_or(MALFORMED)?;
            *out = u8::try_from(high * 16 + low).expect("two digits are below 256");
        }
        let mut attachment = Self {
            key: Zeroizing::new(*bytes[iv_len..].first_chunk().expect("48 bytes hold IV and key")),
            iv: [0; MAX_IV_BYTES],
            iv_len,
        };
        attachment.iv[..iv_len].copy_from_slice(&bytes[..iv_len]);
        Ok((format!("https://{address}"), attachment))
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").finish_non_exhaustive()
    }
}

/// Removes the scheme, whose letters may be of either case.
fn without_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_xep_0454() {
        for vector in crate::vectors::of_kind("aesgcm") {
            let (input, out) = (&vector["in"], &vector["out"]);
            let url = out["url"].as_str().unwrap();
            let (address, attachment) = Attachment::from_link(url).unwrap();
            assert_eq!(address, input["get_url"]);
            assert_eq!(*attachment.key, crate::vectors::array(&input["key"]));
            assert_eq!(
                attachment.iv[..attachment.iv_len],
                crate::vectors::bytes(&input["iv"])
            );
            let mut file = crate::vectors::bytes(&out["upload"]);
            attachment.decrypt(&mut file).unwrap();
            assert_eq!(file, crate::vectors::bytes(&input["file"]));
            if attachment.iv_len == 12 {
                attachment.seal(&mut file);
                assert_eq!(file, crate::vectors::bytes(&out["upload"]));
                assert_eq!(*attachment.link(&address).unwrap(), url);
                assert_eq!(file.len() as u64, out["upload_size"].as_u64().unwrap());
            }
        }
    }

    #[test]
    fn every_altered_bit_and_every_cut_is_found() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let mut file = vec![7; 40];
        let attachment = Attachment::encrypt(&mut file, &mut rng);
        for bit in 0..file.len() * 8 {
            let mut altered = file.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(attachment.decrypt(&mut altered), Err(Error::AlteredContent));
            assert!(altered.is_empty());
        }
        for len in 0..file.len() {
            let mut cut = file[..len].to_vec();
            assert_eq!(attachment.decrypt(&mut cut), Err(Error::AlteredContent));
        }
    }

    #[test]
    fn links_that_are_not_links_are_refused() {
        let key = "0".repeat(88);
        for link in [
            format!("https://x.example/#{key}"),
            format!("aesgcm://#{key}"),
            format!("aesgcm://x.example/{key}"),
            format!("aesgcm://x.example/#{}", &key[1..]),
            format!("aesgcm://x.example/#{}g", &key[1..]),
            format!("aesgcm://x.example/#{}é", &key[2..]),
            "ä".to_owned(),
            String::new(),
        ] {
            assert!(Attachment::from_link(&link).is_err(), "{link}");
        }
        let (_, attachment) =
            Attachment::from_link(&format!("AESGCM://x.example/#{}", "F".repeat(96))).unwrap();
        assert!(attachment.link("http://x.example/").is_err());
        assert!(attachment.link("https://x.example/#a").is_err());
        assert!(attachment.link("https://").is_err());
        assert_eq!(format!("{attachment:?}"), "Attachment { .. }");
    }
}
