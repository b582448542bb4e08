//! Replies that wait for a rate limit, so that the bot hears everybody else meanwhile.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use session_core::RoomToken;
use tokio::sync::Notify;

use super::{HandlerFuture, Outcome};
use crate::error::{Cause, SogsError};

/// Maximum number of handlers that wait at the same time; a further one is dropped with a log line.
const MAX_PENDING: usize = 256;
/// Maximum number of attempts after a rate limit for one message.
const MAX_RETRIES: usize = 3;
/// Longest wait for one rate limit; a server that asks for more gets no reply.
const MAX_WAIT: Duration = Duration::from_mins(15);

/// Tells the event loop that a handler waits for a rate limit. One for each run of a handler.
#[derive(Default)]
pub(super) struct Waiting(Notify);

/// One queue for each room, and one for direct messages: replies leave in the order in which handlers made them.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<Option<RoomToken>, Arc<tokio::sync::Mutex<()>>>>);

impl Queues {
    fn of(&self, room: Option<&RoomToken>) -> Arc<tokio::sync::Mutex<()>> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(room.cloned()).or_default().clone()
    }

    /// Sends in turn, and again after each rate limit that the server ends within [`MAX_WAIT`].
    pub(super) async fn send<T, Fut>(
        &self,
        room: Option<&RoomToken>,
        waiting: &Waiting,
        send: impl Fn() -> Fut,
    ) -> Result<T, SogsError>
    where
        Fut: Future<Output = Result<T, SogsError>>,
    {
        let queue = self.of(room);
        let _turn = if let Ok(turn) = queue.try_lock() {
            turn
        } else {
            waiting.0.notify_one();
            queue.lock().await
        };
        let mut retries = 0;
        loop {
            match send().await {
                Err(error) if error.is(&Cause::RateLimited) && retries < MAX_RETRIES => {
                    let wait = error.retry_after().unwrap_or(crate::error::RATE_LIMIT_WINDOW);
                    if wait > MAX_WAIT {
                        return Err(error);
                    }
                    retries += 1;
                    waiting.0.notify_one();
                    tokio::time::sleep(wait).await;
                }
                other => return other,
            }
        }
    }
}

/// Handlers that wait for a rate limit.
#[derive(Default)]
pub(super) struct Pending(FuturesUnordered<HandlerFuture>);

impl Pending {
    /// Runs a handler until it ends or waits for a rate limit; then it goes on in the background.
    pub(super) async fn run(&mut self, mut run: HandlerFuture, waiting: &Waiting) -> Outcome {
        tokio::select! {
            biased;
            outcome = &mut run => return outcome,
            () = waiting.0.notified() => {}
        }
        if self.0.len() < MAX_PENDING {
            self.0.push(run);
        } else {
            tracing::warn!(
                limit = MAX_PENDING,
                "too many replies wait for a rate limit; one was dropped"
            );
        }
        Ok(())
    }

    /// Returns the outcome of the next handler that ends; waits for ever when there is none.
    pub(super) async fn next(&mut self) -> Outcome {
        match self.0.next().await {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
