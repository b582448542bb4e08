//! Check of whether a message could be accepted now.
//!
//! A request for the health reads and never writes: anybody may ask. One check serves all callers; it is repeated after a
//! while. A message that could not be stored makes the outbox unhealthy until the gateway itself, in the background, or
//! another message could write to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ackpost_outbox::{Outbox, OutboxError};
use tokio::time::Instant;

use super::store::Store;

/// Time for which a good result counts.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// Time for which a bad result counts, and between two attempts to write after a message could not be stored.
const BAD_FOR: Duration = Duration::from_secs(2);
/// Time limit of one check.
const LOOK: Duration = Duration::from_secs(5);

/// The latest results.
#[derive(Debug, Default)]
pub(crate) struct Health {
    looked: tokio::sync::Mutex<Option<(Instant, HealthStatus)>>,
    failed: Arc<Mutex<Failed>>,
}

/// The latest message that could not be stored.
#[derive(Debug, Default)]
struct Failed {
    /// Cause; `None` once something could be written again.
    reason: Option<String>,
    /// A task tries to write from time to time.
    watched: bool,
}

/// Data that the gateway can write.
#[derive(Clone, Debug)]
pub(crate) struct HealthStatus {
    /// The reason why the outbox accepts no message, if there is one.
    pub(crate) outbox: Option<String>,
    /// True if configurations can be saved.
    pub(crate) configurations: bool,
}

impl Health {
    /// Remembers the result of an accept.
    pub(crate) fn accepted(&self, outbox: &Outbox, error: Option<&OutboxError>) {
        let mut failed = self.failed();
        let Some(error) = error else {
            failed.reason = None;
            return;
        };
        if is_about_the_message(error) {
            return;
        }
        failed.reason = Some(error.to_string());
        if !failed.watched {
            failed.watched = true;
            tokio::spawn(watch(outbox.clone(), Arc::clone(&self.failed)));
        }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the health status. It looks at most once in a while, however many callers ask, and writes nothing.
    pub(crate) async fn status(&self, outbox: &Outbox, store: &Store) -> HealthStatus {
        let mut looked = self.looked.lock().await;
        let mut status = match &*looked {
            Some((at, status)) if at.elapsed() < status.lasts() => status.clone(),
            _ => {
                let status = look(outbox, store).await;
                *looked = Some((Instant::now(), status.clone()));
                status
            }
        };
        if let Some(reason) = &self.failed().reason {
            status.outbox.get_or_insert_with(|| reason.clone());
        }
        status
    }
}

impl HealthStatus {
    fn lasts(&self) -> Duration {
        if self.outbox.is_none() && self.configurations {
            GOOD_FOR
        } else {
            BAD_FOR
        }
    }
}

/// True when the same message would be refused by an outbox in good order.
fn is_about_the_message(error: &OutboxError) -> bool {
    matches!(
        error,
        OutboxError::TooLarge { .. }
            | OutboxError::TooManyTargets { .. }
            | OutboxError::Unsendable { .. }
            | OutboxError::Attachment { .. }
            | OutboxError::Rule(_)
    )
}

/// Tries to write until it works, or until a message could be stored.
async fn watch(outbox: Outbox, failed: Arc<Mutex<Failed>>) {
    loop {
        tokio::time::sleep(BAD_FOR).await;
        let waits = failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reason
            .is_some();
        let result = if waits {
            tokio::time::timeout(LOOK, outbox.check()).await
        } else {
            Ok(Ok(()))
        };
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.reason = match result {
            Ok(Ok(()) | Err(OutboxError::Closed)) => {
                *failed = Failed::default();
                return;
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it does not answer".to_owned()),
        };
    }
}

async fn look(outbox: &Outbox, store: &Store) -> HealthStatus {
    let reason = match tokio::time::timeout(LOOK, outbox.look()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it does not answer".to_owned()),
    };
    HealthStatus {
        outbox: reason,
        configurations: store.is_writable(),
    }
}
