//! Whether a message could be accepted now. Looked at once for all who ask, and again after a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ackpost_notify::outbox::{Outbox, OutboxError};
use tokio::time::Instant;

use super::store::Store;

/// Time for which a good result counts.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// Time for which a bad result counts, a failed accept included.
const BAD_FOR: Duration = Duration::from_secs(2);
/// Longest time for one look.
const LOOK: Duration = Duration::from_secs(5);

/// The latest results.
#[derive(Debug, Default)]
pub(crate) struct Health {
    looked: tokio::sync::Mutex<Option<(Instant, Standing)>>,
    /// The latest accept failed, at this time and for this reason.
    failed: Mutex<Option<(Instant, String)>>,
}

/// What can be written.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The reason why the outbox takes no message, if there is one.
    pub(crate) outbox: Option<String>,
    /// Configurations can be saved.
    pub(crate) configurations: bool,
}

impl Health {
    /// Remembers what came of an accept.
    pub(crate) fn accepted(&self, error: Option<&OutboxError>) {
        let failed = error
            .filter(|error| !is_about_the_message(error))
            .map(|error| (Instant::now(), error.to_string()));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Returns what can be written. Writes at most once in a while, however many ask.
    pub(crate) async fn standing(&self, outbox: &Outbox, store: &Store) -> Standing {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut looked = self.looked.lock().await;
        let mut standing = match &*looked {
            Some((at, standing)) if at.elapsed() < standing.lasts() => standing.clone(),
            _ => {
                let standing = look(outbox, store).await;
                *looked = Some((Instant::now(), standing.clone()));
                standing
            }
        };
        if let Some((at, reason)) = failed
            && at.elapsed() < BAD_FOR
        {
            standing.outbox.get_or_insert(reason);
        }
        standing
    }
}

impl Standing {
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
            | OutboxError::Unsendable { .. }
            | OutboxError::Attachment { .. }
            | OutboxError::Rule(_)
    )
}

async fn look(outbox: &Outbox, store: &Store) -> Standing {
    let reason = match tokio::time::timeout(LOOK, outbox.check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it does not answer".to_owned()),
    };
    Standing {
        outbox: reason,
        configurations: store.is_writable(),
    }
}
