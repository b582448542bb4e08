//! Encryption of the content of messages.
//!
//! | | cipher | through the ratchet |
//! |---|---|---|
//! | [`Version::Axolotl`] | AES-128-GCM, 12-byte IV | 16 key bytes, 16 tag bytes |
//! | [`Version::Omemo2`] | AES-256-CBC and HMAC-SHA-256, keys by HKDF | 32 key bytes, 16 tag bytes |
//!
//! Sources: XEP-0384 0.3.0, "Sending a message"; 0.9, "Message Encryption" and "Message Decryption".

use aes::{Aes128, Aes256};
use aes_gcm::aead::array::ArraySize;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadInOut as _, AesGcm, KeyInit as _};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use hmac::Mac as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::kdf::CipherKeys;
use crate::version::Version;

/// Longest content and longest payload in bytes. Servers allow less for a whole stanza.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

const TAG_BYTES: usize = 16;

/// An encrypted content.
pub(crate) struct Sealed {
    pub(crate) payload: Vec<u8>,
    /// [`Version::Axolotl`] only.
    pub(crate) iv: Option<[u8; 12]>,
    /// Key and tag, to be encrypted through each session.
    pub(crate) material: Zeroizing<Vec<u8>>,
}

fn check_len(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > MAX_PAYLOAD_BYTES {
        return Err(Error::TooLarge {
            what: "payload",
            limit: MAX_PAYLOAD_BYTES,
        });
    }
    Ok(())
}

/// Encrypts the content with a fresh key.
pub(crate) fn seal<R: CryptoRng + ?Sized>(
    version: Version,
    content: &[u8],
    rng: &mut R,
) -> Result<Sealed, Error> {
    check_len(content)?;
    match version {
        Version::Axolotl => {
            let mut key = Zeroizing::new([0; 16]);
            rng.fill_bytes(&mut *key);
            let mut iv = [0; 12];
            rng.fill_bytes(&mut iv);
            let mut payload = content.to_vec();
            let tag = AesGcm::<Aes128, U12>::new((&*key).into())
                .encrypt_inout_detached(&iv.into(), b"", payload.as_mut_slice().into())
                .expect("the content is short enough for AES-GCM");
            let mut material = Zeroizing::new(Vec::with_capacity(32));
            material.extend_from_slice(&*key);
            material.extend_from_slice(&tag);
            Ok(Sealed {
                payload,
                iv: Some(iv),
                material,
            })
        }
        Version::Omemo2 => {
            let mut key = Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut *key);
            let keys = CipherKeys::of_payload(&*key);
            let payload = cbc::Encryptor::<Aes256>::new(&keys.aes.into(), &keys.iv.into())
                .encrypt_padded_vec::<Pkcs7>(content);
            let mut material = Zeroizing::new(Vec::with_capacity(48));
            material.extend_from_slice(&*key);
            material.extend_from_slice(&keys.mac(&[&payload]).finalize().into_bytes()[..TAG_BYTES]);
            Ok(Sealed {
                payload,
                iv: None,
                material,
            })
        }
    }
}

/// Returns the key material of an empty message: no payload belongs to it.
pub(crate) fn empty_material<R: CryptoRng + ?Sized>(version: Version, rng: &mut R) -> Zeroizing<Vec<u8>> {
    match version {
        Version::Axolotl => {
            let mut material = Zeroizing::new(vec![0; 16]);
            rng.fill_bytes(&mut material);
            material
        }
        Version::Omemo2 => Zeroizing::new(vec![0; 32]),
    }
}

/// Decrypts a payload with the key material that came through the ratchet.
///
/// Reads also two older layouts of [`Version::Axolotl`]: 16-byte IVs, and 16 bytes of key material with the tag at the
/// end of the payload.
pub(crate) fn open(
    version: Version,
    material: &[u8],
    iv: Option<&[u8]>,
    payload: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    check_len(payload)?;
    match version {
        Version::Axolotl => {
            let (key, rest) = material
                .split_first_chunk::<16>()
                .ok_or(Error::Malformed("key material"))?;
            let (payload, tag) = match rest {
                [] => payload.split_last_chunk().ok_or(Error::Malformed("payload"))?,
                rest => (
                    payload,
                    rest.first_chunk::<TAG_BYTES>()
                        .ok_or(Error::Malformed("key material"))?,
                ),
            };
            let iv = iv.ok_or(Error::Malformed("IV"))?;
            match iv.len() {
                12 => open_gcm::<U12>(key, iv, payload, tag),
                16 => open_gcm::<U16>(key, iv, payload, tag),
                _ => Err(Error::Malformed("IV")),
            }
        }
        Version::Omemo2 => {
            let (key, tag) = material
                .split_first_chunk::<32>()
                .ok_or(Error::Malformed("key material"))?;
            let tag: &[u8; TAG_BYTES] = tag.try_into().map_err(|_| Error::Malformed("key material"))?;
            let keys = CipherKeys::of_payload(key);
            keys.mac(&[payload])
                .verify_truncated_left(tag)
                .map_err(|_| Error::AlteredContent)?;
            cbc::Decryptor::<Aes256>::new(&keys.aes.into(), &keys.iv.into())
                .decrypt_padded_vec::<Pkcs7>(payload)
                .map(Zeroizing::new)
                .map_err(|_| Error::Malformed("payload"))
        }
    }
}

fn open_gcm<N: ArraySize>(
    key: &[u8; 16],
    iv: &[u8],
    payload: &[u8],
    tag: &[u8; TAG_BYTES],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut out = Zeroizing::new(payload.to_vec());
    AesGcm::<Aes128, N>::new(key.into())
        .decrypt_inout_detached(
            iv.try_into().map_err(|_| Error::Malformed("IV"))?,
            b"",
            out.as_mut_slice().into(),
            tag.into(),
        )
        .map_err(|_| Error::AlteredContent)?;
    Ok(out)
}
