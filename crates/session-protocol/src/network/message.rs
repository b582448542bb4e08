//! A direct message as stored in a mailbox: sealed, signed, and wrapped twice.
//!
//! From the inside out: the padded content M; `M ‖ A ‖ signature`, where A is the sender's Ed25519 key and the
//! signature covers `M ‖ A ‖ R` with the recipient's X25519 key R; a sealed box to R; the protobuf `Envelope`; the
//! protobuf `WebSocketMessage`. Who sent a message follows from A alone.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use prost::Message as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::content::DirectContent;
use super::sealed_box;
use super::wire::{Envelope, REQUEST, SESSION_MESSAGE, WrappedRequest, Wrapper};
use crate::content::{ContentError, DataMessage, Profile, check_repeated};
use crate::id::{Prefix, SessionId};
use crate::keys::{self, Identity, SIGNATURE_LEN_BYTES, Signature};
use crate::padding::{Padding, unpad_direct};

/// Longest message that a node stores, bytes.
pub const MAX_DATA_LEN_BYTES: usize = 76_800;
/// Bytes after the content inside the sealed box: the sender's key and the signature.
const SIGNED_OVERHEAD_LEN_BYTES: usize = 32 + SIGNATURE_LEN_BYTES;

/// Reason why a direct message cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The recipient's id is not a `05` id, or its key is not usable.
    #[error("the recipient is not an account; give its Session ID, which starts with 05")]
    NotAnAccount,
    /// The message is longer than [`MAX_DATA_LEN_BYTES`].
    #[error("the message has {0} bytes, nodes store at most {MAX_DATA_LEN_BYTES}; split the text")]
    TooLong(usize),
    /// Content to be sent has no time of signing, or two different ones.
    #[error("the content needs one time: set sig_timestamp, and timestamp in the message to the same value")]
    NoSingleTime,
    /// Written in protocol version 2.
    #[error(
        "the message is written in version 2 of Session's protocol, only version 1 can be read; update this program"
    )]
    ProtocolV2,
    /// The message has an unknown version.
    #[error(
        "the message is written in version {0} of Session's protocol, only version 1 can be read; update this program"
    )]
    UnknownVersion(u8),
    /// The bytes around the sealed box are not those of a message.
    #[error("this is not a direct message: {0}; ignore it")]
    Malformed(&'static str),
    /// An envelope for something else, such as a group.
    #[error("the envelope has type {0}, a direct message has type 6; ignore it")]
    OtherType(u32),
    /// The sealed box is for another recipient, or was changed.
    #[error("the message cannot be decrypted: it is for another account, or was changed; ignore it")]
    Decryption,
    /// The signature inside is not the sender's for this recipient.
    #[error(
        "the signature inside the message does not fit its sender and this recipient; ignore the forged message"
    )]
    ForgedSender,
    /// The signed time and the envelope's time differ. Apps drop such a message.
    #[error("the envelope gives another time than the signed content; ignore the changed message")]
    TimeMismatch,
    /// The message was signed longer ago than any node keeps a message, so a node gives it again.
    #[error("the message was signed longer ago than nodes keep messages; ignore the repeated message")]
    TooOld,
    /// The message was signed more than a day in the future.
    #[error(
        "the message was signed more than a day in the future; ignore it, or check the clock of this system"
    )]
    FarAhead,
    /// The mailbox got more messages than its reader can remember, and this one is older than those, or dated ahead. It may
    /// have been read before.
    #[error(
        "the mailbox got more messages than can be remembered, and this one is older, or dated ahead; ask the sender to send it again"
    )]
    Crowded,
    /// The content cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// The version of the protocol that bytes in a mailbox are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireVersion {
    /// Sealed box in protobuf: every released app of 2026.
    V1,
    /// Starts with `00 02`: keys that change, and a key agreement that quantum computers do not break. Announced.
    V2,
    /// Starts with `00` and this byte. Nobody announced it.
    Unknown(u8),
}

impl WireVersion {
    /// The version of these bytes. Protobuf never starts with a zero byte.
    pub fn of(data: &[u8]) -> Self {
        match data {
            [0, 2, ..] => Self::V2,
            [0, other, ..] => Self::Unknown(*other),
            _ => Self::V1,
        }
    }
}

/// A text as apps send it. Its debug form shows neither text nor name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TextMessage<'a> {
    /// The text; apps show at most 2000 code points ([`crate::content::MAX_BODY_CODE_POINTS`]).
    pub body: &'a str,
    /// The sender's name. The recipient's list of requests shows it.
    pub sender_name: &'a str,
    /// Time of that name's last change, seconds since 1970. A constant for one name.
    pub name_changed_secs: u64,
    /// Time of sending by the network's clock, milliseconds since 1970. Apps drop a message whose time equals
    /// that of another message they have, so use no value twice.
    pub timestamp_ms: u64,
}

impl core::fmt::Debug for TextMessage<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TextMessage")
            .field("timestamp_ms", &self.timestamp_ms)
            .finish_non_exhaustive()
    }
}

impl TextMessage<'_> {
    /// The content of this text, with one time everywhere.
    pub fn to_content(&self) -> DirectContent {
        DirectContent {
            data_message: Some(DataMessage {
                body: Some(self.body.to_owned()),
                timestamp: Some(self.timestamp_ms),
                profile: Some(Profile {
                    display_name: Some(self.sender_name.to_owned()),
                    profile_picture: None,
                    last_update_seconds: Some(self.name_changed_secs),
                }),
                ..DataMessage::default()
            }),
            sig_timestamp: Some(self.timestamp_ms),
            ..DirectContent::default()
        }
    }
}

/// Encodes, pads, signs, seals and wraps content: the bytes to store in the recipient's mailbox.
///
/// The envelope takes the content's `sig_timestamp`. Keep the bytes and store them again after a failure: nodes
/// recognise them by their hash, whereas sealing again makes another message.
pub fn seal<R: CryptoRng + ?Sized>(
    content: &DirectContent,
    sender: &Identity,
    recipient: &SessionId,
    rng: &mut R,
) -> Result<Vec<u8>, MessageError> {
    let timestamp = content.sig_timestamp.ok_or(MessageError::NoSingleTime)?;
    let shown = content
        .data_message
        .as_ref()
        .and_then(|message| message.timestamp);
    if shown.is_some_and(|shown| shown != timestamp) {
        return Err(MessageError::NoSingleTime);
    }
    if recipient.prefix() != Prefix::Account {
        return Err(MessageError::NotAnAccount);
    }
    let padded = Zeroizing::new(Padding::Block.pad(content.to_bytes()));
    let signed = sign(&padded, sender, recipient.key());
    let mut ephemeral = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *ephemeral);
    let sealed = sealed_box::seal(&signed, recipient.key(), &ephemeral).ok_or(MessageError::NotAnAccount)?;
    let data = wrap(timestamp, sealed, decoy(rng));
    if data.len() > MAX_DATA_LEN_BYTES {
        return Err(MessageError::TooLong(data.len()));
    }
    Ok(data)
}

/// A message that was opened: the sender is proved, the content is what the sender signed for this recipient.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedMessage {
    /// The sender's id (`05`).
    pub sender: SessionId,
    /// The sender's Ed25519 key.
    pub sender_ed25519: [u8; 32],
    /// The envelope's time, milliseconds since 1970. It is signed only if the content repeats it.
    pub timestamp_ms: u64,
    /// Content that the sender signed.
    pub content: DirectContent,
}

impl OpenedMessage {
    /// Returns the time that the sender signed, milliseconds since 1970. `None` if the content has none: then everybody who
    /// has the bytes can give them another time.
    pub fn signed_timestamp_ms(&self) -> Option<u64> {
        let of_data = || self.content.data_message.as_ref()?.timestamp;
        self.content.sig_timestamp.or_else(of_data)
    }
}

impl DirectContent {
    /// Reads content of at most [`MAX_DATA_LEN_BYTES`] in memory proportional to its length.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_DATA_LEN_BYTES {
            return Err(MessageError::TooLong(bytes.len()));
        }
        check_repeated(bytes)?;
        Ok(Self::decode(bytes).map_err(ContentError::from)?)
    }
}

/// Opens bytes from a mailbox with the recipient's keys.
pub fn open(data: &[u8], me: &Identity) -> Result<OpenedMessage, MessageError> {
    match WireVersion::of(data) {
        WireVersion::V1 => {}
        WireVersion::V2 => return Err(MessageError::ProtocolV2),
        WireVersion::Unknown(version) => return Err(MessageError::UnknownVersion(version)),
    }
    let (timestamp_ms, sealed) = unwrap(data)?;
    let signed = sealed_box::open(&sealed, me.x25519_secret(), me.x25519_public())
        .ok_or(MessageError::Decryption)
        .map(Zeroizing::new)?;
    let (padded, sender_ed25519) = verify(&signed, me.x25519_public())?;
    let sender = keys::x25519_from_ed25519(&sender_ed25519).map_err(|_| MessageError::ForgedSender)?;
    let content = DirectContent::decode_bounded(unpad_direct(padded))?;
    if content.sig_timestamp.is_some_and(|signed| signed != timestamp_ms) {
        return Err(MessageError::TimeMismatch);
    }
    Ok(OpenedMessage {
        sender: SessionId::new(Prefix::Account, sender),
        sender_ed25519,
        timestamp_ms,
        content,
    })
}

/// `M ‖ A ‖ signature(M ‖ A ‖ R)`.
fn sign(padded: &[u8], sender: &Identity, recipient: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut signed = Zeroizing::new(Vec::with_capacity(padded.len() + SIGNED_OVERHEAD_LEN_BYTES));
    signed.extend_from_slice(padded);
    signed.extend_from_slice(sender.ed25519_public());
    // The recipient is signed but not sent; it stands where the signature comes, within the same capacity.
    signed.extend_from_slice(recipient);
    let signature = sender.sign(&signed);
    signed.truncate(padded.len() + 32);
    signed.extend_from_slice(&signature);
    signed
}

/// The padded content and the sender's key, if the signature is the sender's for this recipient.
fn verify<'a>(signed: &'a [u8], recipient: &[u8; 32]) -> Result<(&'a [u8], [u8; 32]), MessageError> {
    let cut = MessageError::Malformed("there is no content before the sender's key");
    let (rest, signature) = signed
        .split_last_chunk::<SIGNATURE_LEN_BYTES>()
        .ok_or_else(|| cut.clone())?;
    let (padded, sender) = rest.split_last_chunk::<32>().ok_or_else(|| cut.clone())?;
    if padded.is_empty() {
        return Err(cut);
    }
    let mut covered = Zeroizing::new(Vec::with_capacity(rest.len() + 32));
    covered.extend_from_slice(rest);
    covered.extend_from_slice(recipient);
    keys::verify_ed25519(sender, &covered, signature).map_err(|_| MessageError::ForgedSender)?;
    Ok((padded, *sender))
}

/// 64 bytes that look like a signature, so that messages of people with and without Session Pro look alike.
fn decoy<R: CryptoRng + ?Sized>(rng: &mut R) -> Signature {
    let mut random_scalar = || {
        let mut wide = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *wide);
        Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide))
    };
    let point = EdwardsPoint::mul_base(&random_scalar()).compress();
    let mut signature = [0; SIGNATURE_LEN_BYTES];
    signature[..32].copy_from_slice(point.as_bytes());
    signature[32..].copy_from_slice(random_scalar().as_bytes());
    signature
}

fn wrap(timestamp: u64, sealed: Vec<u8>, pro_signature: Signature) -> Vec<u8> {
    let envelope = Envelope {
        kind: Some(SESSION_MESSAGE),
        source: None,
        timestamp: Some(timestamp),
        source_device: Some(1),
        content: Some(sealed),
        pro_signature: Some(pro_signature.to_vec()),
    };
    let wrapper = Wrapper {
        kind: Some(REQUEST),
        request: Some(WrappedRequest {
            verb: Some(Vec::new()),
            path: Some(Vec::new()),
            body: Some(envelope.encode_to_vec()),
            request_id: Some(0),
        }),
    };
    wrapper.encode_to_vec()
}

/// The envelope's time and the sealed box.
fn unwrap(data: &[u8]) -> Result<(u64, Vec<u8>), MessageError> {
    use MessageError::Malformed;

    if data.len() > MAX_DATA_LEN_BYTES {
        return Err(MessageError::TooLong(data.len()));
    }
    let wrapper = Wrapper::decode(data).map_err(|_| Malformed("the wrapper cannot be decoded"))?;
    if wrapper.kind.is_some_and(|kind| kind != REQUEST) {
        return Err(Malformed("the wrapper holds no request"));
    }
    let body = wrapper
        .request
        .and_then(|request| request.body)
        .ok_or(Malformed("the wrapper is empty"))?;
    let envelope =
        Envelope::decode(body.as_slice()).map_err(|_| Malformed("the envelope cannot be decoded"))?;
    match envelope.kind {
        Some(SESSION_MESSAGE) => {}
        Some(other) => return Err(MessageError::OtherType(other)),
        None => return Err(Malformed("the envelope has no type")),
    }
    if let Some(source) = envelope.source.filter(|source| !source.is_empty())
        && !(source.len() == 66 && source.iter().all(u8::is_ascii_hexdigit))
    {
        return Err(Malformed("the envelope's source is not a Session ID"));
    }
    if envelope
        .pro_signature
        .is_some_and(|signature| signature.len() != SIGNATURE_LEN_BYTES)
    {
        return Err(Malformed(
            "the envelope's second signature does not have 64 bytes",
        ));
    }
    let timestamp = envelope.timestamp.ok_or(Malformed("the envelope has no time"))?;
    let sealed = envelope.content.ok_or(Malformed("the envelope is empty"))?;
    Ok((timestamp, sealed))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::*;

    pub(crate) fn vectors() -> Value {
        serde_json::from_str(include_str!("../../vectors/session-network.json")).unwrap()
    }

    pub(crate) fn person(name: &str) -> Identity {
        let vectors = vectors();
        // The file has the seed of carol beside her request alone.
        let (section, field, value) = match name {
            "carol" => ("request_signatures", "signed_text", "retrieve1795966656601"),
            name => ("ids", "name", name),
        };
        let items = vectors[section].as_array().unwrap();
        let item = items.iter().find(|item| item[field] == value).unwrap();
        Identity::from_seed(bytes(item, "seed"))
    }

    pub(crate) fn bytes<const N: usize>(item: &Value, key: &str) -> [u8; N] {
        crate::encoding::array_from_hex(item[key].as_str().unwrap()).unwrap()
    }

    pub(crate) fn item_bytes(item: &Value, key: &str) -> Vec<u8> {
        hex::decode(item[key].as_str().unwrap()).unwrap()
    }

    #[test]
    fn signed_plaintexts_match_libsession() {
        for item in vectors()["signed_plaintext"].as_array().unwrap() {
            let (from, to) = (
                person(item["from"].as_str().unwrap()),
                person(item["to"].as_str().unwrap()),
            );
            let (message, expected) = (item_bytes(item, "message"), item_bytes(item, "message_ed_sig"));
            let signed = sign(&message, &from, to.x25519_public());
            assert_eq!(*signed, expected);
            assert_eq!(
                verify(&signed, to.x25519_public()).unwrap(),
                (&message[..], *from.ed25519_public())
            );
        }
    }

    #[test]
    fn sealed_boxes_of_libsession_open() {
        for item in vectors()["sealed"].as_array().unwrap() {
            let (from, to) = (
                person(item["from"].as_str().unwrap()),
                person(item["to"].as_str().unwrap()),
            );
            let signed = sealed_box::open(
                &item_bytes(item, "sealed"),
                to.x25519_secret(),
                to.x25519_public(),
            )
            .unwrap();
            let message = item_bytes(item, "message");
            let read = verify(&signed, to.x25519_public());
            if message.is_empty() {
                assert!(read.is_err());
            } else {
                assert_eq!(read.unwrap(), (&message[..], *from.ed25519_public()));
            }
        }
    }

    #[test]
    fn nothing_beside_the_signed_content_decides_who_sent_it() {
        let (alice, bob) = (person("alice"), person("bob"));
        let signed = sign(b"padded", &alice, bob.x25519_public());
        for len in 0..signed.len() {
            assert!(verify(&signed[..len], bob.x25519_public()).is_err());
        }
        for bit in 0..signed.len() * 8 {
            let mut bad = signed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&bad, bob.x25519_public()), Err(MessageError::ForgedSender));
        }
        assert_eq!(
            verify(&signed, alice.x25519_public()),
            Err(MessageError::ForgedSender)
        );
    }

    #[test]
    fn errors_say_the_cause_and_what_to_do() {
        let golden = [
            (
                MessageError::NotAnAccount,
                "the recipient is not an account; give its Session ID, which starts with 05",
            ),
            (
                MessageError::TooLong(80_000),
                "the message has 80000 bytes, nodes store at most 76800; split the text",
            ),
            (
                MessageError::NoSingleTime,
                "the content needs one time: set sig_timestamp, and timestamp in the message to the same value",
            ),
            (
                MessageError::ProtocolV2,
                "the message is written in version 2 of Session's protocol, only version 1 can be read; update this program",
            ),
            (
                MessageError::Malformed("it is empty"),
                "this is not a direct message: it is empty; ignore it",
            ),
            (
                MessageError::Decryption,
                "the message cannot be decrypted: it is for another account, or was changed; ignore it",
            ),
        ];
        for (error, text) in golden {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn the_decoy_looks_like_a_signature() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        for _ in 0..8 {
            let decoy = decoy(&mut rng);
            let (point, s) = decoy.split_first_chunk::<32>().unwrap();
            keys::valid_point(point).unwrap();
            assert!(bool::from(
                Scalar::from_canonical_bytes(s.try_into().unwrap()).is_some()
            ));
        }
    }

    #[test]
    fn envelopes_that_are_not_a_direct_message_are_refused() {
        let envelope = |change: fn(&mut Envelope)| {
            let mut envelope = Envelope {
                kind: Some(6),
                timestamp: Some(1),
                content: Some(vec![1; 200]),
                ..Envelope::default()
            };
            change(&mut envelope);
            let request = WrappedRequest {
                body: Some(envelope.encode_to_vec()),
                ..WrappedRequest::default()
            };
            unwrap(
                &Wrapper {
                    kind: None,
                    request: Some(request),
                }
                .encode_to_vec(),
            )
        };
        assert_eq!(envelope(|_| ()), Ok((1, vec![1; 200])));
        assert_eq!(envelope(|e| e.kind = Some(7)), Err(MessageError::OtherType(7)));
        for change in [
            (|e: &mut Envelope| e.kind = None) as fn(&mut Envelope),
            |e| e.timestamp = None,
            |e| e.content = None,
            |e| e.source = Some(b"05ab".to_vec()),
            |e| e.pro_signature = Some(vec![0; 63]),
            |e| e.pro_signature = Some(Vec::new()),
        ] {
            assert!(matches!(envelope(change), Err(MessageError::Malformed(_))));
        }
        let response = Wrapper {
            kind: Some(2),
            request: None,
        };
        assert!(matches!(
            unwrap(&response.encode_to_vec()),
            Err(MessageError::Malformed(_))
        ));
        assert_eq!(
            unwrap(&vec![8; MAX_DATA_LEN_BYTES + 1]),
            Err(MessageError::TooLong(MAX_DATA_LEN_BYTES + 1))
        );
    }
}
