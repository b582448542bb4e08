//! Sealed messages: made once, and kept with the receipts that they have so far.

use core::fmt;

use session_protocol::network::message::MAX_DATA_LEN_BYTES;
use session_protocol::network::nodes::Node;
use session_protocol::network::rpc::Call;
use session_protocol::network::storage::receipts::{MAX_PEERS, Receipt};
use session_protocol::network::storage::{MAX_TTL_MS, MIN_TTL_MS, MessageHash, Namespace, Store};
use session_protocol::{Prefix, SessionId};

use crate::error::{Cause, NetworkError};

/// The first bytes of a kept message: the version of the format.
const MAGIC: &[u8; 4] = b"SNM1";

/// A sealed message and the receipts that it has so far. Its bytes never change.
#[derive(Clone, PartialEq, Eq)]
pub struct PreparedMessage {
    recipient: SessionId,
    timestamp_ms: u64,
    ttl_ms: u64,
    data: Vec<u8>,
    receipts: Vec<Receipt>,
}

impl fmt::Debug for PreparedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedMessage")
            .field("recipient", &self.recipient)
            .field("hash", &self.hash())
            .field("receipts", &self.receipts.len())
            .finish_non_exhaustive()
    }
}

impl PreparedMessage {
    /// A message without receipts.
    pub(crate) fn new(recipient: SessionId, timestamp_ms: u64, ttl_ms: u64, data: Vec<u8>) -> Self {
        Self {
            recipient,
            timestamp_ms,
            ttl_ms,
            data,
            receipts: Vec::new(),
        }
    }

    /// The hash under which the nodes keep the message.
    pub fn hash(&self) -> MessageHash {
        MessageHash::of(&self.recipient, Namespace::DEFAULT, &self.data)
    }

    /// Address of the recipient.
    pub fn recipient(&self) -> &SessionId {
        &self.recipient
    }

    /// The message's time, milliseconds since 1970.
    pub fn timestamp_ms(&self) -> u64 {
        self.timestamp_ms
    }

    /// The receipts so far. All were verified.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// Writes the message and its receipts, to be kept until it is delivered.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.recipient.as_bytes());
        bytes.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        bytes.extend_from_slice(&self.ttl_ms.to_be_bytes());
        let count = u16::try_from(self.receipts.len()).unwrap_or(0);
        bytes.extend_from_slice(&count.to_be_bytes());
        for receipt in self.receipts.iter().take(usize::from(count)) {
            bytes.extend_from_slice(receipt.node());
            bytes.extend_from_slice(receipt.signature());
        }
        bytes.extend_from_slice(&self.data);
        bytes
    }

    /// Reads what [`PreparedMessage::to_bytes`] wrote. Receipts are verified anew; a wrong one is left out.
    ///
    /// # Errors
    /// [`Cause::State`] if the bytes are not a kept message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NetworkError> {
        Self::read(bytes).ok_or_else(|| {
            let detail = "the bytes are not a kept message".to_owned();
            NetworkError::new(Cause::State { detail })
        })
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (recipient, rest) = rest.split_first_chunk::<33>()?;
        let (timestamp_ms, rest) = rest.split_first_chunk::<8>()?;
        let (ttl_ms, rest) = rest.split_first_chunk::<8>()?;
        let (count, mut rest) = rest.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_be_bytes(*count));
        if count > MAX_PEERS {
            return None;
        }
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            let (node, after) = rest.split_first_chunk::<32>()?;
            let (signature, after) = after.split_first_chunk::<64>()?;
            signatures.push((*node, *signature));
            rest = after;
        }
        let recipient = SessionId::from_bytes(*recipient).ok()?;
        let fits = recipient.prefix() == Prefix::Account && (1..=MAX_DATA_LEN_BYTES).contains(&rest.len());
        let ttl_ms = u64::from_be_bytes(*ttl_ms);
        if !fits || !(MIN_TTL_MS..=MAX_TTL_MS).contains(&ttl_ms) {
            return None;
        }
        let timestamp_ms = u64::from_be_bytes(*timestamp_ms);
        let mut message = Self::new(recipient, timestamp_ms, ttl_ms, rest.to_vec());
        let hash = message.hash();
        for (node, signature) in signatures {
            if let Ok(receipt) = Receipt::verify(node, hash, signature) {
                message.add(receipt);
            }
        }
        Some(message)
    }

    /// Keeps a receipt, one for each node.
    pub(crate) fn add(&mut self, receipt: Receipt) {
        if self.receipts.len() < MAX_PEERS && !self.has(receipt.node()) {
            self.receipts.push(receipt);
        }
    }

    /// Returns true if a node signed that it has the message.
    pub(crate) fn has(&self, node: &[u8; 32]) -> bool {
        self.receipts.iter().any(|receipt| receipt.node() == node)
    }

    /// The nodes of the swarm that signed.
    pub(crate) fn signed(&self, swarm: &[Node]) -> usize {
        swarm.iter().filter(|node| self.has(&node.ed25519)).count()
    }

    /// The call that stores the message.
    ///
    /// # Errors
    /// [`Cause::Expired`] if the message has disappeared by the network's time and by the local clock: nodes alone could make
    /// every message fail for ever. [`Cause::ClocksDiffer`] if only the nodes say so.
    pub(crate) fn to_call(&self, now_ms: u64, local_ms: u64) -> Result<Call, NetworkError> {
        let gone_ms = self.timestamp_ms.saturating_add(self.ttl_ms);
        if gone_ms <= now_ms {
            return Err(NetworkError::new(if gone_ms <= local_ms {
                Cause::Expired
            } else {
                Cause::ClocksDiffer
            }));
        }
        // A message whose time was taken from a fast clock is stored with the time of now.
        let timestamp = self.timestamp_ms.min(now_ms);
        let store = Store::new(
            &self.recipient,
            Namespace::DEFAULT,
            timestamp,
            self.ttl_ms,
            &self.data,
        )?;
        Ok(store.to_call())
    }
}
