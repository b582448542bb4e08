//! The answer to a store call: a signed receipt from each node of the swarm, or the reason why there is none.
//!
//! A receipt is the node's Ed25519 signature over the text of the message hash. The hash commits to mailbox and bytes,
//! so the receipt proves that this node had these bytes. It does not cover the time of expiry.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{MessageHash, StorageError};
use crate::encoding::{array_from_b64, array_from_hex};
use crate::keys::{self, BadSignature, Signature};

/// Longest answer to a store call, bytes. Ten nodes take 3 kB.
pub const MAX_STORE_ANSWER_LEN_BYTES: usize = 1024 * 1024;
/// Most nodes in one answer. A swarm of 2026 has about ten.
pub const MAX_PEERS: usize = 1024;

/// The answer to a store call, not yet verified; see [`StoreAnswer::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAnswer {
    peers: Vec<([u8; 32], Peer)>,
    time_ms: Option<u64>,
    unreadable: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Peer {
    Stored {
        hash: MessageHash,
        signature: Signature,
        expiry_ms: Option<u64>,
        already: bool,
    },
    Failed {
        timed_out: bool,
    },
    Unreadable,
}

/// A node's signature that it had a message. It was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    node: [u8; 32],
    hash: MessageHash,
    signature: Signature,
    expiry_ms: Option<u64>,
    already: bool,
}

impl Receipt {
    /// Verifies a receipt that was kept.
    pub fn verify(node: [u8; 32], hash: MessageHash, signature: Signature) -> Result<Self, BadSignature> {
        keys::verify_ed25519(&node, hash.to_string().as_bytes(), &signature)?;
        Ok(Self {
            node,
            hash,
            signature,
            expiry_ms: None,
            already: false,
        })
    }

    /// The node's Ed25519 key.
    pub fn node(&self) -> &[u8; 32] {
        &self.node
    }

    /// Returns the hash of the message.
    pub fn hash(&self) -> MessageHash {
        self.hash
    }

    /// The signature, to be kept as proof.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Time at which the message disappears according to the node, milliseconds since 1970. Not signed.
    pub fn expiry_ms(&self) -> Option<u64> {
        self.expiry_ms
    }

    /// Returns true if the node claims that it had the message before. Not signed.
    pub fn already(&self) -> bool {
        self.already
    }
}

/// Reason why a node's receipt is missing or not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFault {
    /// The answer does not mention this node of the swarm.
    #[error("the node is not mentioned in the answer; the swarm will copy the message to it later")]
    Missing,
    /// The answering node did not reach this one in time.
    #[error("the node did not answer in time; the swarm will copy the message to it later")]
    TimedOut,
    /// The node refused, or could not be asked.
    #[error("the node did not store the message; store it on another node too")]
    Failed,
    /// The receipt is for other bytes or another mailbox.
    #[error("the receipt is for another message; do not trust the node that answered")]
    OtherHash,
    /// The signature is not this node's.
    #[error("the receipt's signature is not the node's; do not trust the node that answered")]
    BadSignature,
    /// The node does not belong to the swarm.
    #[error("the node does not belong to the mailbox's swarm; refresh the list of nodes")]
    Stranger,
    /// The entry lacks a hash or a signature.
    #[error("the node's part of the answer cannot be read; ask another node")]
    Unreadable,
}

/// Result of the check of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// One verified receipt for each node of the swarm that gave one.
    pub signed: Vec<Receipt>,
    /// The other nodes of the swarm, and strangers.
    pub faults: Vec<([u8; 32], ReceiptFault)>,
}

impl StoreAnswer {
    /// Reads the answer. Unreadable entries do not affect the others.
    pub fn from_json(text: &str) -> Result<Self, StorageError> {
        #[derive(Deserialize)]
        struct Answer {
            swarm: Map<String, Value>,
            t: Option<Value>,
        }
        if text.len() > MAX_STORE_ANSWER_LEN_BYTES {
            return Err(StorageError::Malformed("it is longer than 1 MiB"));
        }
        let answer: Answer =
            serde_json::from_str(text).map_err(|_| StorageError::Malformed("it has no swarm"))?;
        if answer.swarm.len() > MAX_PEERS {
            return Err(StorageError::Malformed("it has more than 1024 nodes"));
        }
        let entries = answer.swarm.len();
        let mut peers: Vec<([u8; 32], Peer)> = Vec::with_capacity(entries);
        for (node, entry) in &answer.swarm {
            if let Some(node) = array_from_hex(node)
                && peers.iter().all(|(seen, _)| *seen != node)
            {
                peers.push((node, Peer::read(entry)));
            }
        }
        Ok(Self {
            unreadable: entries - peers.len(),
            peers,
            time_ms: answer.t.as_ref().and_then(Value::as_u64),
        })
    }

    /// The answering node's clock, milliseconds since 1970.
    pub fn time_ms(&self) -> Option<u64> {
        self.time_ms
    }

    /// Number of entries whose key was not a node's key, or one that had an entry already.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Verifies the receipts for the message `hash` of the nodes of `swarm`, which comes from the list of nodes and not
    /// from the answer.
    pub fn check(&self, hash: &MessageHash, swarm: &[[u8; 32]]) -> Receipts {
        let (mut signed, mut faults) = (Vec::new(), Vec::new());
        for (node, peer) in &self.peers {
            if !swarm.contains(node) {
                faults.push((*node, ReceiptFault::Stranger));
                continue;
            }
            match peer.check(node, hash) {
                Ok(receipt) => signed.push(receipt),
                Err(fault) => faults.push((*node, fault)),
            }
        }
        for (at, node) in swarm.iter().enumerate() {
            let mentioned = self.peers.iter().any(|(mentioned, _)| mentioned == node);
            if !mentioned && !swarm[..at].contains(node) {
                faults.push((*node, ReceiptFault::Missing));
            }
        }
        Receipts { signed, faults }
    }
}

impl Peer {
    fn read(entry: &Value) -> Self {
        let is_set = |key: &str| match entry.get(key) {
            Some(Value::Bool(set)) => *set,
            Some(Value::Number(number)) => number.as_u64() != Some(0),
            _ => false,
        };
        if is_set("failed") {
            return Self::Failed {
                timed_out: is_set("timeout"),
            };
        }
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        match (
            text("hash").and_then(|hash| hash.parse().ok()),
            text("signature").and_then(array_from_b64),
        ) {
            (Some(hash), Some(signature)) => Self::Stored {
                hash,
                signature,
                expiry_ms: entry.get("expiry").and_then(Value::as_u64),
                already: is_set("already"),
            },
            _ => Self::Unreadable,
        }
    }

    fn check(&self, node: &[u8; 32], expected: &MessageHash) -> Result<Receipt, ReceiptFault> {
        match self {
            Self::Failed { timed_out: true } => Err(ReceiptFault::TimedOut),
            Self::Failed { timed_out: false } => Err(ReceiptFault::Failed),
            Self::Unreadable => Err(ReceiptFault::Unreadable),
            Self::Stored { hash, .. } if hash != expected => Err(ReceiptFault::OtherHash),
            Self::Stored {
                hash,
                signature,
                expiry_ms,
                already,
            } => {
                let receipt =
                    Receipt::verify(*node, *hash, *signature).map_err(|_| ReceiptFault::BadSignature)?;
                Ok(Receipt {
                    expiry_ms: *expiry_ms,
                    already: *already,
                    ..receipt
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::encoding::b64;
    use crate::network::storage::Namespace;
    use crate::{Identity, Prefix, SessionId};

    #[test]
    fn each_way_of_having_no_receipt_is_told_apart() {
        let nodes: Vec<_> = (0u8..8).map(|n| Identity::from_seed([n; 32])).collect();
        let key = |n: usize| *nodes[n].ed25519_public();
        let id = SessionId::new(Prefix::Account, [1; 32]);
        let hash = MessageHash::of(&id, Namespace::DEFAULT, b"sent");
        let other = MessageHash::of(&id, Namespace::DEFAULT, b"other");
        let signed = |by: usize, hash: &MessageHash| json!({"hash": hash.to_string(), "signature": b64(nodes[by].sign(hash.to_string().as_bytes())), "expiry": 5});
        let mut swarm = Map::new();
        let mut set = |n: usize, entry: Value| swarm.insert(hex::encode(key(n)), entry);
        set(0, signed(0, &hash));
        set(1, signed(1, &other));
        set(2, signed(0, &hash));
        set(3, json!({"failed": true, "timeout": true}));
        set(4, json!({"failed": true, "code": 500, "reason": "disk"}));
        set(5, json!({"hash": hash.to_string()}));
        set(7, signed(7, &hash));
        swarm.insert("no key".to_owned(), signed(0, &hash));
        let answer = StoreAnswer::from_json(&json!({"swarm": swarm, "t": 77}).to_string()).unwrap();
        let receipts = answer.check(&hash, &(0..7).map(key).collect::<Vec<_>>());
        assert_eq!(receipts.signed.len(), 1);
        assert_eq!(receipts.signed[0].node(), &key(0));
        assert_eq!(receipts.signed[0].expiry_ms(), Some(5));
        assert_eq!(
            receipts.faults,
            [
                (key(1), ReceiptFault::OtherHash),
                (key(2), ReceiptFault::BadSignature),
                (key(3), ReceiptFault::TimedOut),
                (key(4), ReceiptFault::Failed),
                (key(5), ReceiptFault::Unreadable),
                (key(7), ReceiptFault::Stranger),
                (key(6), ReceiptFault::Missing),
            ]
        );
        assert_eq!((answer.time_ms(), answer.unreadable()), (Some(77), 1));
    }

    #[test]
    fn one_node_has_one_entry_in_whatever_spelling() {
        let node = Identity::from_seed([1; 32]);
        let name = hex::encode(node.ed25519_public());
        let text = json!({"swarm": {name.clone(): {"failed": true}, name.to_uppercase(): {"failed": true}}});
        let answer = StoreAnswer::from_json(&text.to_string()).unwrap();
        assert_eq!((answer.peers.len(), answer.unreadable()), (1, 1));
        for bad in ["", "{}", "[]", r#"{"swarm":[]}"#] {
            assert!(StoreAnswer::from_json(bad).is_err());
        }
    }
}
