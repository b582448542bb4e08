//! Proof that a network works: a message to oneself that is stored, read again and deleted.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_protocol::Identity;
use session_protocol::network::nodes::Node;
use session_protocol::network::storage::{
    MAX_ANSWER_LEN_BYTES, MessageHash, Namespace, OwnerCall, RetrieveAnswer,
};

use crate::draft::{Draft, Sender};
use crate::error::{Cause, NetworkError};
use crate::network::Network;
use crate::send::Delivery;
use crate::swarm_request::SwarmRequest;

/// Time for which the nodes keep the message if it cannot be deleted.
const TTL: Duration = Duration::from_mins(1);
/// Maximum number of answers that are read of one node.
const MAX_PAGES: usize = 16;
/// Longest answer to a deletion, bytes.
const MAX_DELETED_LEN_BYTES: usize = 1024 * 1024;

/// Result of [`Network::self_test`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfTest {
    /// The receipts of the nodes.
    pub delivery: Delivery,
    /// Time that it took to store the message.
    pub stored_in: Duration,
    /// Time that it took to read it again.
    pub read_in: Duration,
    /// True if a node said that it deleted the message. Otherwise it disappears after a minute.
    pub deleted: bool,
}

/// A seed and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedAnswer {
    /// Host and port.
    pub address: String,
    /// Number of nodes in its list.
    pub nodes: Result<usize, NetworkError>,
}

impl Network {
    /// Stores a message to oneself, reads it again, verifies it and deletes it. Apps and bots do not show it.
    ///
    /// # Errors
    /// [`NetworkError`] of the step that fails. [`Cause::NotFound`] if nodes that signed the message do not give it.
    pub async fn self_test(&self, account: &Identity) -> Result<SelfTest, NetworkError> {
        let sender = Sender::new(account.clone(), "Ackpost")?;
        let draft = Draft::probe().ttl(TTL);
        let id = account.session_id();
        let mut messages = self.prepare(&sender, &id, &draft).await?;
        let Some(message) = messages.first_mut() else {
            return Err(NetworkError::new(Cause::NotFound));
        };
        let started = Instant::now();
        let delivery = self.send(message).await?;
        let stored_in = started.elapsed();
        let started = Instant::now();
        let mut request = SwarmRequest::start(self, &id).await?;
        let mut was_read = false;
        while let Some(node) = request.next_node(|node| message.has(&node.ed25519)) {
            was_read = self.finds(&mut request, &node, account, &message.hash()).await?;
            if was_read {
                break;
            }
        }
        if !was_read {
            request.note(Cause::NotFound);
            return Err(request.failure().await);
        }
        let read_in = started.elapsed();
        Ok(SelfTest {
            delivery,
            stored_in,
            read_in,
            deleted: self.delete(account, message.hash()).await,
        })
    }

    /// Returns true if a node gives the message.
    async fn finds(
        &self,
        request: &mut SwarmRequest,
        node: &Node,
        owner: &Identity,
        hash: &MessageHash,
    ) -> Result<bool, NetworkError> {
        let mut last_hash = None;
        for _ in 0..MAX_PAGES {
            let make = |now: u64, _: &Node| {
                let call = OwnerCall::Retrieve {
                    namespace: Namespace::DEFAULT,
                    timestamp_ms: now,
                    last_hash,
                    max_size: -1,
                };
                Ok(call.to_call(owner)?)
            };
            let Some(reply) = request.ask(node, &make, MAX_ANSWER_LEN_BYTES * 4 / 3).await? else {
                return Ok(false);
            };
            let Ok(answer) = RetrieveAnswer::from_json(&reply.body, &owner.session_id(), Namespace::DEFAULT)
            else {
                return Ok(false);
            };
            if answer.messages.iter().any(|stored| stored.hash == *hash) {
                return Ok(true);
            }
            if !answer.more || answer.last_hash.is_none() || answer.last_hash == last_hash {
                return Ok(false);
            }
            last_hash = answer.last_hash;
        }
        Ok(false)
    }

    async fn delete(&self, owner: &Identity, hash: MessageHash) -> bool {
        let Ok(mut request) = SwarmRequest::start(self, &owner.session_id()).await else {
            return false;
        };
        let hashes = [hash];
        let make = |_: u64, _: &Node| Ok(OwnerCall::Delete { hashes: &hashes }.to_call(owner)?);
        while let Some(node) = request.next_node(|_| true) {
            match request.ask(&node, &make, MAX_DELETED_LEN_BYTES).await {
                Ok(Some(_)) => return true,
                Ok(None) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Asks every seed for its list of nodes, all at once. The list in use stays as it is.
    pub async fn check_seeds(&self) -> Vec<SeedAnswer> {
        let seeds = self.inner.options.seed_list();
        join_all(seeds.iter().map(|seed| async {
            let list = self.list_of_seed(seed).await;
            SeedAnswer {
                address: seed.address(),
                nodes: list.map(|list| list.nodes().len()),
            }
        }))
        .await
    }
}
