//! Mailboxes: storing a message, the receipts of the nodes, and what only the owner may ask.

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::entries::Entries;
use super::message::MAX_DATA_LEN_BYTES;
use super::rpc::Call;
use crate::encoding::{array_from_b64, b64, from_b64};
use crate::id::{Prefix, SessionId};
use crate::keys::Identity;

pub mod receipts;

/// Shortest time that a node keeps a message, milliseconds.
pub const MIN_TTL_MS: u64 = 10_000;
/// Longest time that a node keeps a message, milliseconds: 14 days.
pub const MAX_TTL_MS: u64 = 14 * 24 * 60 * 60 * 1000;
/// Most hashes in one call of a mailbox's owner.
pub const MAX_HASHES: usize = 256;
/// Longest answer to [`OwnerCall::Retrieve`], bytes. A mailbox gives at most 7.8 MB at once.
pub const MAX_ANSWER_LEN_BYTES: usize = 16 * 1024 * 1024;
/// Most messages that are read of one answer.
pub const MAX_MESSAGES: usize = 100_000;

/// Reason why a call to a mailbox cannot be made, or its answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// An id that has no mailbox.
    #[error("only accounts (05) and groups (03) have a mailbox; give such an id")]
    NoMailbox,
    /// The message is longer than [`MAX_DATA_LEN_BYTES`], or empty.
    #[error("the message has {0} bytes, nodes store 1 to {MAX_DATA_LEN_BYTES}; split the text")]
    DataLength(usize),
    /// The time to live is not between [`MIN_TTL_MS`] and [`MAX_TTL_MS`].
    #[error("nodes keep a message between 10 seconds and 14 days; choose a time within")]
    Ttl,
    /// No hash, or more than [`MAX_HASHES`].
    #[error("a call names 1 to {MAX_HASHES} messages; make several calls")]
    HashCount,
    /// The hash is not 32 bytes in base64 without padding.
    #[error("a message hash is 43 characters of base64")]
    NotAHash,
    /// The answer is too long, or not what this method answers.
    #[error("the node's answer cannot be read: {0}; ask another node")]
    Malformed(&'static str),
}

/// A part of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(pub i16);

impl Namespace {
    /// Direct messages.
    pub const DEFAULT: Self = Self(0);
    /// The keys that accounts publish for version 2 of the protocol. Everybody may read it.
    pub const V2_KEYS: Self = Self(-21);

    /// The number as it is hashed and signed: nothing for the default one.
    fn signed_text(self) -> String {
        if self == Self::DEFAULT {
            String::new()
        } else {
            self.0.to_string()
        }
    }
}

/// The name of a stored message: BLAKE2b-256 of mailbox, namespace and bytes; 43 characters of base64 as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageHash([u8; 32]);

impl MessageHash {
    /// The hash that every node computes for these bytes in this mailbox.
    pub fn of(mailbox: &SessionId, namespace: Namespace, data: &[u8]) -> Self {
        Self(
            Blake2b::<U32>::new()
                .chain_update(mailbox.as_bytes())
                .chain_update(namespace.signed_text())
                .chain_update(data)
                .finalize()
                .into(),
        )
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for MessageHash {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, StorageError> {
        if text.len() != 43 {
            return Err(StorageError::NotAHash);
        }
        array_from_b64(text).map(Self).ok_or(StorageError::NotAHash)
    }
}

impl fmt::Display for MessageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base64::engine::general_purpose::STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for MessageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageHash({self})")
    }
}

/// A message to be stored. It is not signed: everybody who knows an id may write to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store<'a> {
    mailbox: SessionId,
    namespace: Namespace,
    timestamp_ms: u64,
    ttl_ms: u64,
    data: &'a [u8],
}

impl<'a> Store<'a> {
    /// Checks the limits of the nodes. `timestamp_ms` is the network's time, milliseconds since 1970; it may be at
    /// most 10 seconds in the node's future.
    pub fn new(
        mailbox: &SessionId,
        namespace: Namespace,
        timestamp_ms: u64,
        ttl_ms: u64,
        data: &'a [u8],
    ) -> Result<Self, StorageError> {
        if !matches!(mailbox.prefix(), Prefix::Account | Prefix::Group) {
            return Err(StorageError::NoMailbox);
        }
        if data.is_empty() || data.len() > MAX_DATA_LEN_BYTES {
            return Err(StorageError::DataLength(data.len()));
        }
        if !(MIN_TTL_MS..=MAX_TTL_MS).contains(&ttl_ms) {
            return Err(StorageError::Ttl);
        }
        Ok(Self {
            mailbox: *mailbox,
            namespace,
            timestamp_ms,
            ttl_ms,
            data,
        })
    }

    /// The call. [`receipts::StoreAnswer::from_json`] reads the answer.
    pub fn to_call(&self) -> Call {
        let mut params = Map::new();
        params.insert("pubkey".to_owned(), self.mailbox.to_string().into());
        params.insert("timestamp".to_owned(), self.timestamp_ms.into());
        params.insert("ttl".to_owned(), self.ttl_ms.into());
        params.insert("namespace".to_owned(), self.namespace.0.into());
        params.insert("data".to_owned(), b64(self.data).into());
        Call::new("store", params)
    }

    /// The hash under which the nodes will keep the message, and which their receipts sign.
    pub fn hash(&self) -> MessageHash {
        MessageHash::of(&self.mailbox, self.namespace, self.data)
    }
}

/// Permitted change of the expiry time in [`OwnerCall::Expire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryChange {
    /// Set it, earlier or later.
    Set,
    /// Only to an earlier time.
    Shorten,
    /// Only to a later time.
    Extend,
}

impl ExpiryChange {
    fn signed_text(self) -> &'static str {
        match self {
            Self::Set => "",
            Self::Shorten => "shorten",
            Self::Extend => "extend",
        }
    }
}

/// Calls that only the owner of a mailbox may make: signed with the account's Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerCall<'a> {
    /// Messages behind `last_hash`; [`RetrieveAnswer::from_json`] reads the answer.
    Retrieve {
        /// The part of the mailbox.
        namespace: Namespace,
        /// The network's time, milliseconds since 1970, within 60 seconds of the node's.
        timestamp_ms: u64,
        /// The last message that this node gave. Another node may have another order.
        last_hash: Option<MessageHash>,
        /// Bytes at most; below zero, that part of the node's own limit: -1 all of it, -3 a third.
        max_size: i64,
    },
    /// Deletes messages.
    Delete {
        /// Hashes of the messages.
        hashes: &'a [MessageHash],
    },
    /// Changes when messages disappear.
    Expire {
        /// Permitted direction of the change.
        change: ExpiryChange,
        /// The new time, milliseconds since 1970.
        expiry_ms: u64,
        /// Hashes of the messages.
        hashes: &'a [MessageHash],
    },
    /// Asks when messages disappear.
    Expiries {
        /// The network's time, milliseconds since 1970, within 60 seconds of the node's.
        timestamp_ms: u64,
        /// Hashes of the messages.
        hashes: &'a [MessageHash],
    },
}

/// Asks for the messages of a namespace that everybody may read, such as [`Namespace::V2_KEYS`]: without a signature.
/// [`RetrieveAnswer::from_json`] reads the answer.
pub fn retrieve_public(mailbox: &SessionId, namespace: Namespace) -> Call {
    let mut params = Map::new();
    params.insert("pubkey".to_owned(), mailbox.to_string().into());
    params.insert("namespace".to_owned(), namespace.0.into());
    params.insert("last_hash".to_owned(), "".into());
    Call::new("retrieve", params)
}

impl OwnerCall<'_> {
    /// The text that the owner signs.
    pub fn signed_text(&self) -> String {
        let list = |hashes: &[MessageHash]| hashes.iter().map(ToString::to_string).collect::<String>();
        match self {
            Self::Retrieve {
                namespace,
                timestamp_ms,
                ..
            } => format!("retrieve{}{timestamp_ms}", namespace.signed_text()),
            Self::Delete { hashes } => format!("delete{}", list(hashes)),
            Self::Expire {
                change,
                expiry_ms,
                hashes,
            } => format!("expire{}{expiry_ms}{}", change.signed_text(), list(hashes)),
            Self::Expiries { timestamp_ms, hashes } => {
                format!("get_expiries{timestamp_ms}{}", list(hashes))
            }
        }
    }

    /// The signed call.
    pub fn to_call(&self, owner: &Identity) -> Result<Call, StorageError> {
        let mut params = Map::new();
        let mut set = |key: &str, value: Value| params.insert(key.to_owned(), value);
        let texts = |hashes: &[MessageHash]| {
            if hashes.is_empty() || hashes.len() > MAX_HASHES {
                return Err(StorageError::HashCount);
            }
            Ok(hashes.iter().map(ToString::to_string).collect())
        };
        set("pubkey", owner.session_id().to_string().into());
        set("pubkey_ed25519", hex::encode(owner.ed25519_public()).into());
        set("signature", b64(owner.sign(self.signed_text().as_bytes())).into());
        let method = match self {
            Self::Retrieve {
                namespace,
                timestamp_ms,
                last_hash,
                max_size,
            } => {
                set("timestamp", json!(timestamp_ms));
                set("namespace", json!(namespace.0));
                set(
                    "last_hash",
                    last_hash.map(|hash| hash.to_string()).unwrap_or_default().into(),
                );
                set("max_size", json!(max_size));
                "retrieve"
            }
            Self::Delete { hashes } => {
                set("messages", texts(hashes)?);
                "delete"
            }
            Self::Expire {
                change,
                expiry_ms,
                hashes,
            } => {
                set("messages", texts(hashes)?);
                set("expiry", json!(expiry_ms));
                if *change != ExpiryChange::Set {
                    set(change.signed_text(), true.into());
                }
                "expire"
            }
            Self::Expiries { timestamp_ms, hashes } => {
                set("messages", texts(hashes)?);
                set("timestamp", json!(timestamp_ms));
                "get_expiries"
            }
        };
        Ok(Call::new(method, params))
    }
}

/// A message of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its hash. It was checked: it is the one of these bytes in this mailbox.
    pub hash: MessageHash,
    /// Time at which its sender claims to have stored it, milliseconds since 1970. Not signed.
    pub timestamp_ms: u64,
    /// Time at which it disappears, milliseconds since 1970.
    pub expiration_ms: u64,
    /// The bytes, for [`super::message::open`].
    pub data: Vec<u8>,
}

/// The answer to [`OwnerCall::Retrieve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrieveAnswer {
    /// The messages, in the node's order.
    pub messages: Vec<StoredMessage>,
    /// The hash of the last message, readable or not: the `last_hash` of the next call to the same node.
    pub last_hash: Option<MessageHash>,
    /// Number of messages that could not be read, or whose hash did not match.
    pub dropped: usize,
    /// True if the mailbox has more messages after these.
    pub more: bool,
}

impl RetrieveAnswer {
    /// Reads the answer for the mailbox and namespace that were asked for.
    pub fn from_json(text: &str, mailbox: &SessionId, namespace: Namespace) -> Result<Self, StorageError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            messages: Entries<'a, MAX_MESSAGES>,
            #[serde(default)]
            more: bool,
        }
        if text.len() > MAX_ANSWER_LEN_BYTES {
            return Err(StorageError::Malformed("it is longer than 16 MiB"));
        }
        let answer: Answer = serde_json::from_str(text)
            .map_err(|_| StorageError::Malformed("it is not a list of messages"))?;
        if answer.messages.too_many {
            return Err(StorageError::Malformed("it has more than 100000 messages"));
        }
        let (mut messages, mut last_hash, mut dropped) = (Vec::new(), None, 0);
        for entry in answer.messages.kept {
            match read_message(entry, mailbox, namespace) {
                (hash, Some(message)) => {
                    last_hash = hash;
                    messages.push(message);
                }
                (hash, None) => {
                    last_hash = hash.or(last_hash);
                    dropped += 1;
                }
            }
        }
        Ok(Self {
            messages,
            last_hash,
            dropped,
            more: answer.more,
        })
    }
}

/// The hash that an entry names, and the message if that hash is right.
fn read_message(
    entry: &RawValue,
    mailbox: &SessionId,
    namespace: Namespace,
) -> (Option<MessageHash>, Option<StoredMessage>) {
    #[derive(Deserialize)]
    struct Entry {
        hash: String,
        timestamp: Option<u64>,
        expiration: Option<u64>,
        data: Option<String>,
    }
    let Ok(entry) = serde_json::from_str::<Entry>(entry.get()) else {
        return (None, None);
    };
    let Ok(hash) = entry.hash.parse::<MessageHash>() else {
        return (None, None);
    };
    let message = || {
        let data = from_b64(entry.data?)?;
        (MessageHash::of(mailbox, namespace, &data) == hash).then_some(StoredMessage {
            hash,
            timestamp_ms: entry.timestamp?,
            expiration_ms: entry.expiration?,
            data,
        })
    };
    (Some(hash), message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signed_text_is_the_documented_one() {
        let hashes = [MessageHash([0; 32]), MessageHash([1; 32])];
        let (first, second) = (hashes[0].to_string(), hashes[1].to_string());
        let owner = Identity::from_seed([3; 32]);
        let calls = [
            (
                OwnerCall::Retrieve {
                    namespace: Namespace::V2_KEYS,
                    timestamp_ms: 17,
                    last_hash: None,
                    max_size: -1,
                },
                "retrieve-2117".to_owned(),
            ),
            (
                OwnerCall::Expire {
                    change: ExpiryChange::Shorten,
                    expiry_ms: 5,
                    hashes: &hashes,
                },
                format!("expireshorten5{first}{second}"),
            ),
            (
                OwnerCall::Expire {
                    change: ExpiryChange::Set,
                    expiry_ms: 5,
                    hashes: &hashes,
                },
                format!("expire5{first}{second}"),
            ),
            (
                OwnerCall::Expiries {
                    timestamp_ms: 9,
                    hashes: &hashes,
                },
                format!("get_expiries9{first}{second}"),
            ),
        ];
        for (call, text) in calls {
            assert_eq!(call.signed_text(), text);
            let call = call.to_call(&owner).unwrap();
            let signature = array_from_b64(call.params()["signature"].as_str().unwrap()).unwrap();
            crate::keys::verify_ed25519(owner.ed25519_public(), text.as_bytes(), &signature).unwrap();
        }
        assert_eq!(
            OwnerCall::Delete { hashes: &[] }.to_call(&owner),
            Err(StorageError::HashCount)
        );
        assert_eq!(
            OwnerCall::Delete {
                hashes: &vec![hashes[0]; MAX_HASHES + 1]
            }
            .to_call(&owner),
            Err(StorageError::HashCount)
        );
    }

    #[test]
    fn calls_beyond_the_nodes_limits_are_refused_before_they_are_sent() {
        let id = SessionId::new(Prefix::Account, [1; 32]);
        let store = |id: &SessionId, ttl: u64, len: usize| {
            Store::new(id, Namespace::DEFAULT, 1, ttl, &vec![1; len]).map(|store| store.hash())
        };
        assert!(store(&id, MIN_TTL_MS, MAX_DATA_LEN_BYTES).is_ok());
        assert!(store(&id, MAX_TTL_MS, 1).is_ok());
        assert_eq!(store(&id, MIN_TTL_MS - 1, 1), Err(StorageError::Ttl));
        assert_eq!(store(&id, MAX_TTL_MS + 1, 1), Err(StorageError::Ttl));
        assert_eq!(store(&id, MIN_TTL_MS, 0), Err(StorageError::DataLength(0)));
        let long = MAX_DATA_LEN_BYTES + 1;
        assert_eq!(store(&id, MIN_TTL_MS, long), Err(StorageError::DataLength(long)));
        let blinded = SessionId::new(Prefix::Blind15, [1; 32]);
        assert_eq!(store(&blinded, MIN_TTL_MS, 1), Err(StorageError::NoMailbox));
    }

    #[test]
    fn messages_with_a_hash_that_is_not_theirs_are_dropped() {
        let id = SessionId::new(Prefix::Account, [1; 32]);
        let good = MessageHash::of(&id, Namespace::DEFAULT, b"one");
        let other = MessageHash::of(&id, Namespace::V2_KEYS, b"one");
        let entry =
            |hash: &str, data: &str| json!({"hash": hash, "timestamp": 1, "expiration": 2, "data": data});
        let text = json!({"messages": [
            entry(&good.to_string(), &b64("one")),
            entry(&other.to_string(), &b64("one")),
            entry(&good.to_string(), "not base64!"),
            entry("short", &b64("one")),
            7,
        ], "more": true})
        .to_string();
        let answer = RetrieveAnswer::from_json(&text, &id, Namespace::DEFAULT).unwrap();
        assert_eq!((answer.messages.len(), answer.dropped, answer.more), (1, 4, true));
        assert_eq!(answer.messages[0].data, b"one");
        assert_eq!(answer.last_hash, Some(good));
        for bad in ["", "{}", "[]", r#"{"messages":{}}"#] {
            assert!(RetrieveAnswer::from_json(bad, &id, Namespace::DEFAULT).is_err());
        }
    }
}
