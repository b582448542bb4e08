//! Sending: a message is stored until a majority of the swarm has signed.

use core::fmt;
use std::time::{Duration, Instant};

use session_protocol::SessionId;
use session_protocol::network::nodes::Node;
use session_protocol::network::storage::MessageHash;
use session_protocol::network::storage::receipts::{MAX_STORE_ANSWER_LEN_BYTES, ReceiptFault, StoreAnswer};
use tokio::task::spawn_blocking;

use crate::draft::{Draft, Sender};
use crate::error::{Cause, NetworkError};
use crate::network::Network;
use crate::prepared::PreparedMessage;
use crate::swarm_request::SwarmRequest;

/// A stored message: a majority of the swarm signed that they have it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Delivery {
    /// The hash of the message.
    pub hash: MessageHash,
    /// Number of nodes of the swarm that signed.
    pub signed: usize,
    /// Number of nodes in the swarm.
    pub swarm: usize,
    /// Reason why the last answer has no receipt of the other nodes.
    pub faults: Vec<([u8; 32], ReceiptFault)>,
    /// Number of calls that were made. 0 if the receipts were there before.
    pub calls: usize,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored, signed by {} of {} nodes", self.signed, self.swarm)
    }
}

impl Network {
    /// Makes the messages of a text, without sending them.
    ///
    /// The bytes of a message are fixed here. Keep them ([`PreparedMessage::to_bytes`]) before the first
    /// [`Network::send`], and send the same bytes after a failure: nodes recognise them, so that no message is ever stored
    /// twice. A first call may ask the network for its time.
    ///
    /// # Errors
    /// [`NetworkError`] if the recipient is not an account, the text is too long, or the used times cannot be kept.
    pub async fn prepare(
        &self,
        sender: &Sender,
        recipient: &SessionId,
        draft: &Draft,
    ) -> Result<Vec<PreparedMessage>, NetworkError> {
        draft.check()?;
        if self.clock_offset_ms().is_none() {
            // The list of nodes brings the time. Without a network the local clock has to do.
            let _ = self.list().await;
        }
        let network = self.clone();
        if matches!(spawn_blocking(move || network.is_time_doubtful()).await, Ok(true)) {
            // Without an answer, messages go on with the times that are known.
            let _ = self.sync_clock().await;
        }
        let (network, sender, recipient, draft) = (self.clone(), sender.clone(), *recipient, draft.clone());
        // The storage may be slow, or locked by another process.
        let prepared = spawn_blocking(move || {
            draft.prepare(&sender, &recipient, network.now()?, &network.inner.timestamps)
        });
        prepared.await.unwrap_or_else(|error| {
            let detail = error.to_string();
            Err(NetworkError::new(Cause::State { detail }))
        })
    }

    /// Returns true if new messages need the time of three nodes first: the known one is doubtful, or the last used time is far
    /// ahead of it.
    fn is_time_doubtful(&self) -> bool {
        let mut offsets = self.lock_offsets();
        if offsets.is_unsettled(self.reading()) {
            return true;
        }
        let now = offsets.network_ms(self.reading());
        drop(offsets);
        now.is_some_and(|now| self.inner.timestamps.is_far_ahead(now))
    }

    /// Stores a message in the recipient's mailbox, and verifies the receipts.
    ///
    /// Succeeds if a majority of the swarm signed that they have the message. Receipts are kept in the message also after a
    /// failure, so that a later send needs the missing ones alone.
    ///
    /// # Errors
    /// [`NetworkError`]; [`NetworkError::stored`] tells how many nodes signed.
    pub async fn send(&self, message: &mut PreparedMessage) -> Result<Delivery, NetworkError> {
        let mut request = SwarmRequest::start(self, message.recipient()).await?;
        let hash = message.hash();
        let mut faults: Vec<([u8; 32], ReceiptFault)> = Vec::new();
        let (mut read_one, mut rechecked) = (false, false);
        loop {
            let (signed, swarm) = (message.signed(&request.swarm), request.swarm.len());
            if signed > swarm / 2 {
                faults.retain(|(node, _)| !message.has(node));
                return Ok(Delivery {
                    hash,
                    signed,
                    swarm,
                    faults,
                    calls: request.calls,
                });
            }
            let Some(node) = request.next_node(|node| !message.has(&node.ed25519)) else {
                break;
            };
            let local = self.local_ms();
            let make = |now: u64, _: &Node| message.to_call(now, local);
            let asked = request
                .ask(&node, &make, MAX_STORE_ANSWER_LEN_BYTES * 4 / 3)
                .await;
            let stored = message.signed(&request.swarm);
            let reply = match asked {
                Ok(reply) => reply,
                Err(error) => {
                    if matches!(error.cause(), Cause::ClocksDiffer) {
                        // A later send goes by what other nodes say.
                        let _ = self.sync_clock().await;
                    }
                    return Err(error.with_stored(stored, request.swarm.len()));
                }
            };
            let Some(answer) = reply.and_then(|reply| StoreAnswer::from_json(&reply.body).ok()) else {
                continue;
            };
            read_one = true;
            let keys: Vec<_> = request.swarm.iter().map(|node| node.ed25519).collect();
            let receipts = answer.check(&hash, &keys);
            if receipts.faults.iter().any(|(_, fault)| is_forged(*fault)) {
                self.lock_routes().avoid(node.ed25519);
            }
            faults = receipts.faults;
            for receipt in receipts.signed {
                message.add(receipt);
            }
            // Signers that the list does not have in this swarm: it may be old, and a majority of it none of today's swarm.
            let is_stranger = |(_, fault): &([u8; 32], ReceiptFault)| *fault == ReceiptFault::Stranger;
            if !rechecked && faults.iter().any(is_stranger) {
                rechecked = true;
                request.recheck_swarm().await;
            }
        }
        let (signed, swarm) = (message.signed(&request.swarm), request.swarm.len());
        let error = if read_one {
            let why = worst(&faults);
            NetworkError::new(Cause::TooFewReceipts { why })
        } else {
            request.failure().await
        };
        Err(error.with_stored(signed, swarm))
    }

    /// Stores a message like [`Network::send`], and tries again for a while after failures that pass. The bytes stay the same,
    /// so that it is stored once.
    ///
    /// # Errors
    /// [`NetworkError`] of the last attempt, if the failure is permanent or another attempt would come after `patience`.
    pub async fn send_within(
        &self,
        message: &mut PreparedMessage,
        patience: Duration,
    ) -> Result<Delivery, NetworkError> {
        let started = Instant::now();
        loop {
            let error = match self.send(message).await {
                Ok(delivery) => return Ok(delivery),
                Err(error) => error,
            };
            match error.retry_after() {
                Some(pause) if started.elapsed() + pause <= patience => {
                    tracing::warn!(%error, seconds = pause.as_secs(), "a message was not stored; trying again");
                    tokio::time::sleep(pause).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// Prepares and sends a text. For programs that keep nothing: a failed send cannot be repeated without the risk
    /// of a second message.
    ///
    /// # Errors
    /// [`NetworkError`] of the first message that fails.
    pub async fn send_text(
        &self,
        sender: &Sender,
        recipient: &SessionId,
        text: &str,
    ) -> Result<Vec<Delivery>, NetworkError> {
        let mut deliveries = Vec::new();
        for mut message in self.prepare(sender, recipient, &Draft::text(text)).await? {
            deliveries.push(self.send(&mut message).await?);
        }
        Ok(deliveries)
    }
}

/// Returns true if a fault means that the answering node made something up. A stranger may be a new member of the swarm.
fn is_forged(fault: ReceiptFault) -> bool {
    matches!(fault, ReceiptFault::OtherHash | ReceiptFault::BadSignature)
}

/// The fault to report: forgery and strangers first, then the most frequent.
fn worst(faults: &[([u8; 32], ReceiptFault)]) -> Option<ReceiptFault> {
    let of_rank = |fault: ReceiptFault| {
        let count = faults.iter().filter(|(_, other)| *other == fault).count();
        (is_forged(fault) || fault == ReceiptFault::Stranger, count)
    };
    faults
        .iter()
        .map(|(_, fault)| *fault)
        .max_by_key(|fault| of_rank(*fault))
}
