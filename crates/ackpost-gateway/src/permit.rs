//! Limits how many requests are worked on at once. A request whose body is still coming holds no permit.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permit of one request; it is put on the request by the listener.
#[derive(Clone, Debug)]
pub(crate) struct RequestPermit {
    permits: Arc<Semaphore>,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl RequestPermit {
    /// Waits for a permit.
    pub(crate) async fn take(permits: Arc<Semaphore>) -> Self {
        let held = Arc::clone(&permits).acquire_owned().await.ok();
        Self {
            permits,
            held: Arc::new(Mutex::new(held)),
        }
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

/// Returns the permit of a request to the pool while `waiting` goes on, and waits for another one afterwards.
pub(crate) async fn without<T>(request: &Parts, waiting: impl Future<Output = T>) -> T {
    let permit = request.extensions.get::<RequestPermit>().cloned();
    if let Some(permit) = &permit {
        permit.set(None);
    }
    let result = waiting.await;
    if let Some(permit) = &permit {
        permit.set(Arc::clone(&permit.permits).acquire_owned().await.ok());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_holds_no_permit() {
        let permits = Arc::new(Semaphore::new(1));
        let permit = RequestPermit::take(Arc::clone(&permits)).await;
        let mut request = axum::http::Request::new(());
        request.extensions_mut().insert(permit.clone());
        let (parts, ()) = request.into_parts();
        assert_eq!(permits.available_permits(), 0);
        without(&parts, async { assert_eq!(permits.available_permits(), 1) }).await;
        assert_eq!(permits.available_permits(), 0);
        drop((parts, permit));
        assert_eq!(permits.available_permits(), 1);
    }
}
