//! Several processes on one PostgreSQL: they share one table of nonces, and none answers from outdated memory.
//!
//! Waiting requests are checked together: one statement uses up their nonces and returns how many changes were
//! committed so far. A process that has followed fewer changes drops its memory, and reads the rules again, before the
//! requests go on.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::cache::Directory;
use crate::guard::Policy;
use crate::store::{DynStore, NonceRow, StoreError, StoreResult};

struct Ticket {
    nonce: Option<NonceRow>,
    done: oneshot::Sender<StoreResult<bool>>,
}

/// Requests that go through in one statement.
const MAX_TOGETHER: usize = 64;

/// Queue through which all requests have their nonces used up, several in one statement.
pub(crate) struct SharedNonceGate {
    queue: mpsc::Sender<Ticket>,
}

impl SharedNonceGate {
    /// Starts the task that serves the queue.
    pub(crate) fn start(store: DynStore, world: Arc<Directory>, guard: Arc<Policy>) -> Self {
        let (queue, mut tickets) = mpsc::channel::<Ticket>(1024);
        tokio::spawn(async move {
            // The rules may have changed since they were read at the start.
            let mut rules = None;
            let mut together = Vec::with_capacity(MAX_TOGETHER);
            while tickets.recv_many(&mut together, MAX_TOGETHER).await > 0 {
                let nonces: Vec<NonceRow> = together.iter().filter_map(|ticket| ticket.nonce).collect();
                let mut result = store.pass(nonces).await;
                if let Ok(passed) = &result {
                    world.catch_up(passed.changes).await;
                    let epoch = world.rules_epoch();
                    if rules != Some(epoch) {
                        match guard.reload().await {
                            Ok(()) => rules = Some(epoch),
                            Err(error) => result = Err(error),
                        }
                    }
                }
                for ticket in together.drain(..) {
                    let answer = match &result {
                        Ok(passed) => Ok(ticket.nonce.is_none_or(|row| passed.fresh.contains(&row.nonce))),
                        Err(error) => Err(StoreError::Unavailable(error.to_string())),
                    };
                    let _ = ticket.done.send(answer);
                }
            }
        });
        Self { queue }
    }

    /// Uses up a nonce (false: it was used before, in whatever process) and waits until memory is not behind.
    pub(crate) async fn pass(&self, nonce: Option<NonceRow>) -> StoreResult<bool> {
        let (done, answer) = oneshot::channel();
        self.queue
            .send(Ticket { nonce, done })
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}
