//! Several processes on one PostgreSQL: one table of nonces, and nobody answers from a memory that is behind.
//!
//! Every request passes the turnstile: waiting requests go through together, in one statement that uses up their
//! nonces and tells how many changes were committed so far. A process whose memory has followed fewer of them
//! forgets it before the requests go on.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::cache::Directory;
use crate::store::{DynStore, NonceRow, StoreError, StoreResult};

struct Ticket {
    nonce: Option<NonceRow>,
    done: oneshot::Sender<StoreResult<bool>>,
}

/// Requests that go through in one statement.
const MAX_TOGETHER: usize = 64;

/// The way through.
pub(crate) struct SharedNonceGate {
    queue: mpsc::Sender<Ticket>,
}

impl SharedNonceGate {
    /// Starts the task behind it.
    pub(crate) fn start(store: DynStore, world: Arc<Directory>) -> Self {
        let (queue, mut tickets) = mpsc::channel::<Ticket>(1024);
        tokio::spawn(async move {
            let mut together = Vec::with_capacity(MAX_TOGETHER);
            while tickets.recv_many(&mut together, MAX_TOGETHER).await > 0 {
                let nonces: Vec<NonceRow> = together.iter().filter_map(|ticket| ticket.nonce).collect();
                let result = store.pass(nonces).await;
                if let Ok(passed) = &result {
                    world.catch_up(passed.changes).await;
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
