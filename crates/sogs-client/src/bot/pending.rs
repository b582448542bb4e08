//! Replies that wait for a rate limit, so that the bot hears everybody else meanwhile.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use session_protocol::RoomToken;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{HandlerFuture, Outcome};
use crate::error::{Cause, RATE_LIMIT_WINDOW, SogsError};

/// Maximum number of handlers that wait at the same time; a further one is dropped with a log line.
const MAX_PENDING: usize = 256;
/// Maximum number of attempts after a rate limit that does not say how long it lasts.
const MAX_RETRIES: usize = 3;
/// Longest wait for the rate limit of one message; a server that asks for more gets no reply.
const MAX_WAIT: Duration = Duration::from_mins(15);
/// Longest time between two attempts: a limit may be lifted before it ends.
const ATTEMPT_EVERY: Duration = Duration::from_secs(20);
/// Longest time in the queue behind other replies. An older reply is dropped, so that a flood does not make the bot
/// answer the past for a quarter of an hour.
const MAX_QUEUED: Duration = Duration::from_mins(1);

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
    ///
    /// # Errors
    /// [`Cause::RateLimited`] if the turn does not come within [`MAX_QUEUED`], or the limit does not end.
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
            let queued = Instant::now();
            let turn = queue.lock().await;
            if queued.elapsed() > MAX_QUEUED {
                let error = SogsError::new(Cause::RateLimited);
                return Err(error.with_text("the reply waited too long behind others and was dropped"));
            }
            turn
        };
        let started = Instant::now();
        let mut retries = 0;
        loop {
            let error = match send().await {
                Err(error) if error.is(&Cause::RateLimited) => error,
                other => return other,
            };
            let wait = error.retry_after().unwrap_or(RATE_LIMIT_WINDOW);
            // A limit that says how long it lasts is waited for in full, with attempts in between.
            retries += usize::from(wait <= RATE_LIMIT_WINDOW);
            if started.elapsed() + wait > MAX_WAIT || retries > MAX_RETRIES {
                return Err(error);
            }
            waiting.0.notify_one();
            tokio::time::sleep(wait.min(ATTEMPT_EVERY)).await;
        }
    }
}

/// Handlers that wait for a rate limit.
#[derive(Default)]
pub(super) struct Pending(FuturesUnordered<HandlerFuture>);

impl Pending {
    /// Runs a handler until it ends or waits for a rate limit; then it continues in the background.
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
