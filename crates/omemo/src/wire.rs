//! The bytes inside a `<key>` element: ratchet messages and key exchanges of both versions.
//!
//! | | [`Version::Axolotl`] | [`Version::Omemo2`] |
//! |---|---|---|
//! | ratchet message | `33 ‖ protobuf ‖ mac8`: 1 ratchet key, 2 n, 3 pn, 4 ciphertext | 1 mac (16 bytes), 2 message = 1 n, 2 pn, 3 ratchet key, 4 ciphertext |
//! | key exchange | `33 ‖ protobuf`: 1 prekey, 2 ephemeral key, 3 identity key, 4 ratchet message, 5 registration id, 6 signed prekey | 1 prekey, 2 signed prekey, 3 identity key, 4 ephemeral key, 5 ratchet message |
//!
//! Sources: XEP-0384 0.9, "Protobuf Schema"; the message format that clients of
//! `eu.siacs.conversations.axolotl` exchange, as the vectors show it.

use hmac::Mac as _;

use crate::error::Error;
use crate::identity_key::IdentityKey;
use crate::kdf::CipherKeys;
use crate::keys::{ephemeral_from_wire, key_from_wire, key_to_wire};
use crate::protobuf::{self, write_bytes, write_number};
use crate::version::Version;

/// Current and lowest supported protocol version of [`Version::Axolotl`], 3 and 3, in one byte.
const AXOLOTL_PROTOCOL: u8 = 0x33;
/// Longest content of a `<key>` element in bytes. Key material is 32 or 48 bytes long, which makes 200.
pub(crate) const MAX_KEY_BYTES: usize = 4096;

const MALFORMED: Error = Error::Malformed("message");

/// Length of the truncated HMAC in bytes.
const fn mac_len(version: Version) -> usize {
    match version {
        Version::Axolotl => 8,
        Version::Omemo2 => 16,
    }
}

/// Position of a message in its chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The sender's ratchet key.
    pub(crate) ratchet_key: [u8; 32],
    /// Number of the message in its chain, from 0.
    pub(crate) number: u32,
    /// Length of the sender's previous chain.
    pub(crate) previous: u32,
}

/// A ratchet message as received, not yet authenticated.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) header: Header,
    pub(crate) ciphertext: &'a [u8],
    /// The bytes that the MAC covers, after the associated data.
    pub(crate) authenticated: &'a [u8],
    pub(crate) mac: &'a [u8],
}

/// Encodes a ratchet message, authenticated with the keys and the associated data.
pub(crate) fn encode_message(
    version: Version,
    header: &Header,
    ciphertext: &[u8],
    keys: &CipherKeys,
    associated: &[u8],
) -> Vec<u8> {
    let key = key_to_wire(version, &header.ratchet_key);
    let mut inner = Vec::with_capacity(ciphertext.len() + 64);
    match version {
        Version::Axolotl => {
            inner.push(AXOLOTL_PROTOCOL);
            write_bytes(&mut inner, 1, &key);
            write_number(&mut inner, 2, header.number);
            write_number(&mut inner, 3, header.previous);
        }
        Version::Omemo2 => {
            write_number(&mut inner, 1, header.number);
            write_number(&mut inner, 2, header.previous);
            write_bytes(&mut inner, 3, &key);
        }
    }
    write_bytes(&mut inner, 4, ciphertext);
    let mac = keys.mac(&[associated, &inner]).finalize().into_bytes();
    let mac = &mac[..mac_len(version)];
    match version {
        Version::Axolotl => {
            inner.extend_from_slice(mac);
            inner
        }
        Version::Omemo2 => {
            let mut out = Vec::with_capacity(inner.len() + 24);
            write_bytes(&mut out, 1, mac);
            write_bytes(&mut out, 2, &inner);
            out
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a ratchet message.
    pub(crate) fn parse(version: Version, bytes: &'a [u8]) -> Result<Self, Error> {
        check_len(bytes)?;
        let (authenticated, mac, inner) = match version {
            Version::Axolotl => {
                let content = axolotl_content(bytes)?;
                let (content, mac) = content
                    .split_at_checked(content.len().saturating_sub(mac_len(version)))
                    .ok_or(MALFORMED)?;
                (&bytes[..bytes.len() - mac.len()], mac, content)
            }
            Version::Omemo2 => {
                let (mut mac, mut message) = (None, None);
                protobuf::read(bytes, |number, value| {
                    match number {
                        1 => mac = Some(value.bytes()?),
                        2 => message = Some(value.bytes()?),
                        _ => {}
                    }
                    Ok(())
                })?;
                let message = message.ok_or(MALFORMED)?;
                (message, mac.ok_or(MALFORMED)?, message)
            }
        };
        if mac.len() != mac_len(version) {
            return Err(MALFORMED);
        }
        let (mut key, mut number, mut previous, mut ciphertext) = (None, None, None, None);
        let [key_field, number_field, previous_field] = match version {
            Version::Axolotl => [1, 2, 3],
            Version::Omemo2 => [3, 1, 2],
        };
        protobuf::read(inner, |field, value| {
            if field == key_field {
                key = Some(key_from_wire(version, value.bytes()?)?);
            } else if field == number_field {
                number = Some(value.number()?);
            } else if field == previous_field {
                previous = Some(value.number()?);
            } else if field == 4 {
                ciphertext = Some(value.bytes()?);
            }
            Ok(())
        })?;
        Ok(Self {
            header: Header {
                ratchet_key: key.ok_or(MALFORMED)?,
                number: number.ok_or(MALFORMED)?,
                previous: match version {
                    // Optional in the older format, and not used when receiving.
                    Version::Axolotl => previous.unwrap_or(0),
                    Version::Omemo2 => previous.ok_or(MALFORMED)?,
                },
            },
            ciphertext: ciphertext.ok_or(MALFORMED)?,
            authenticated,
            mac,
        })
    }
}

/// A key exchange, which surrounds the ratchet message in the first messages of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyExchange<'a> {
    pub(crate) prekey: u32,
    pub(crate) signed_prekey: u32,
    pub(crate) identity: IdentityKey,
    pub(crate) ephemeral: [u8; 32],
    /// [`Version::Axolotl`] only, and of no use when receiving.
    pub(crate) registration: Option<u32>,
    pub(crate) message: &'a [u8],
}

impl<'a> KeyExchange<'a> {
    pub(crate) fn encode(&self, version: Version) -> Result<Vec<u8>, Error> {
        let identity = self.identity.to_wire(version)?;
        let ephemeral = key_to_wire(version, &self.ephemeral);
        let mut out = Vec::with_capacity(self.message.len() + 96);
        match version {
            Version::Axolotl => {
                out.push(AXOLOTL_PROTOCOL);
                write_number(&mut out, 1, self.prekey);
                write_bytes(&mut out, 2, &ephemeral);
                write_bytes(&mut out, 3, &identity);
                write_bytes(&mut out, 4, self.message);
                if let Some(registration) = self.registration {
                    write_number(&mut out, 5, registration);
                }
                write_number(&mut out, 6, self.signed_prekey);
            }
            Version::Omemo2 => {
                write_number(&mut out, 1, self.prekey);
                write_number(&mut out, 2, self.signed_prekey);
                write_bytes(&mut out, 3, &identity);
                write_bytes(&mut out, 4, &ephemeral);
                write_bytes(&mut out, 5, self.message);
            }
        }
        Ok(out)
    }

    pub(crate) fn parse(version: Version, bytes: &'a [u8]) -> Result<Self, Error> {
        check_len(bytes)?;
        let (mut prekey, mut signed, mut identity, mut ephemeral, mut message) =
            (None, None, None, None, None);
        let (content, [signed_field, identity_field, ephemeral_field, message_field]) = match version {
            Version::Axolotl => (axolotl_content(bytes)?, [6, 3, 2, 4]),
            Version::Omemo2 => (bytes, [2, 3, 4, 5]),
        };
        let mut registration = None;
        protobuf::read(content, |field, value| {
            if field == 1 {
                prekey = Some(value.number()?);
            } else if field == signed_field {
                signed = Some(value.number()?);
            } else if field == identity_field {
                identity = Some(value.bytes()?);
            } else if field == ephemeral_field {
                ephemeral = Some(value.bytes()?);
            } else if field == message_field {
                message = Some(value.bytes()?);
            } else if version == Version::Axolotl && field == 5 {
                registration = value.number().ok();
            }
            Ok(())
        })?;
        Ok(Self {
            prekey: prekey.ok_or(Error::NoPreKey)?,
            signed_prekey: signed.ok_or(MALFORMED)?,
            identity: IdentityKey::from_wire(version, identity.ok_or(MALFORMED)?)?,
            ephemeral: ephemeral_from_wire(version, ephemeral.ok_or(MALFORMED)?)?,
            registration,
            message: message.ok_or(MALFORMED)?,
        })
    }
}

fn check_len(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > MAX_KEY_BYTES {
        return Err(Error::TooLarge {
            what: "message",
            limit: MAX_KEY_BYTES,
        });
    }
    Ok(())
}

fn axolotl_content(bytes: &[u8]) -> Result<&[u8], Error> {
    match bytes.split_first() {
        Some((&AXOLOTL_PROTOCOL, content)) => Ok(content),
        Some((&other, _)) => Err(Error::UnknownProtocolVersion(other)),
        None => Err(MALFORMED),
    }
}
