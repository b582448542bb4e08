//! Messages stored on the nodes.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};

/// One stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// Its hash, as text.
    pub hash: String,
    /// The time that its sender gave, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Time when it disappears, milliseconds since 1970.
    pub expiry_ms: u64,
    /// The bytes.
    pub data: Vec<u8>,
}

/// The mailboxes of all nodes, each for itself.
#[derive(Debug)]
pub(super) struct Mailboxes {
    nodes: Vec<HashMap<(String, i64), Vec<StoredRow>>>,
}

impl Mailboxes {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes: vec![HashMap::new(); nodes],
        }
    }

    pub(super) fn rows(&self, node: usize, id: &str, namespace: i64) -> &[StoredRow] {
        self.nodes[node]
            .get(&(id.to_owned(), namespace))
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn rows_mut(&mut self, node: usize, id: &str) -> impl Iterator<Item = &mut Vec<StoredRow>> {
        self.nodes[node]
            .iter_mut()
            .filter(move |((owner, _), _)| owner == id)
            .map(|(_, rows)| rows)
    }

    /// Stores a message; `true` if the node had it before.
    pub(super) fn insert(&mut self, node: usize, id: &str, namespace: i64, row: StoredRow) -> bool {
        let rows = self.nodes[node].entry((id.to_owned(), namespace)).or_default();
        if let Some(had) = rows.iter_mut().find(|had| had.hash == row.hash) {
            had.expiry_ms = had.expiry_ms.max(row.expiry_ms);
            return true;
        }
        rows.push(row);
        false
    }

    /// Drops expired messages.
    pub(super) fn expire(&mut self, now_ms: u64) {
        for rows in self.nodes.iter_mut().flat_map(HashMap::values_mut) {
            rows.retain(|row| row.expiry_ms > now_ms);
        }
    }
}

/// The hash of a message in the mailbox of `id` (66 hexadecimal digits).
pub(super) fn hash(id: &str, namespace: i64, data: &[u8]) -> String {
    let mut hash = Blake2b::<U32>::new();
    hash.update(hex::decode(id).unwrap_or_default());
    if namespace != 0 {
        hash.update(namespace.to_string());
    }
    hash.update(data);
    STANDARD_NO_PAD.encode(hash.finalize())
}
