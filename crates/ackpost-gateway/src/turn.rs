//! Turns: how many requests are worked on at once. A request whose body is still coming has none.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turn of one request; it is put on the request by the listener.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    turns: Arc<Semaphore>,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Turn {
    /// Waits for a turn.
    pub(crate) async fn take(turns: Arc<Semaphore>) -> Self {
        let held = Arc::clone(&turns).acquire_owned().await.ok();
        Self {
            turns,
            held: Arc::new(Mutex::new(held)),
        }
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

/// Gives the turn of a request back while `waiting` goes on, and waits for another one afterwards.
pub(crate) async fn without<T>(request: &Parts, waiting: impl Future<Output = T>) -> T {
    let turn = request.extensions.get::<Turn>().cloned();
    if let Some(turn) = &turn {
        turn.set(None);
    }
    let result = waiting.await;
    if let Some(turn) = &turn {
        turn.set(Arc::clone(&turn.turns).acquire_owned().await.ok());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_holds_no_turn() {
        let turns = Arc::new(Semaphore::new(1));
        let turn = Turn::take(Arc::clone(&turns)).await;
        let mut request = axum::http::Request::new(());
        request.extensions_mut().insert(turn.clone());
        let (parts, ()) = request.into_parts();
        assert_eq!(turns.available_permits(), 0);
        without(&parts, async { assert_eq!(turns.available_permits(), 1) }).await;
        assert_eq!(turns.available_permits(), 0);
        drop((parts, turn));
        assert_eq!(turns.available_permits(), 1);
    }
}
