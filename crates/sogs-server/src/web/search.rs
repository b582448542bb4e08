//! Searches: how many at a time, and how many a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::page::Found;
use super::room::{MESSAGES, complete};
use crate::app::App;
use crate::cache::Room;
use crate::search::{MAX_SEARCH, Words};
use crate::store::{Id, StoreResult, Visible};

/// Searches that run at the same time.
const AT_A_TIME: usize = 2;
/// How long a search waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Searches a second, over all visitors: requests of browsers are not signed, and may all come from one proxy.
const PER_SECOND: f64 = 10.0;
/// Searches that may come at once after a quiet time.
const BURST: f64 = 40.0;
/// More messages than these wait to be indexed while the index is built; fewer wait between two rounds.
const BACKLOG: i64 = 1000;

/// What bounds the searches of all visitors.
pub struct Searches {
    turns: Semaphore,
    left: Mutex<(f64, Instant)>,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_A_TIME),
            left: Mutex::new((BURST, Instant::now())),
        }
    }
}

impl Searches {
    fn admit(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(left.1).as_secs_f64();
        *left = ((left.0 + passed * PER_SECOND).min(BURST), now);
        if left.0 < 1.0 {
            return false;
        }
        left.0 -= 1.0;
        true
    }
}

/// Finds messages of a room, newest first; `None` when there are too many searches at the moment.
pub(super) async fn find(
    app: &Arc<App>,
    room: &Room,
    query: &str,
    before: Option<Id>,
) -> StoreResult<Option<Found>> {
    let mut found = Found {
        query: query.chars().take(MAX_SEARCH).collect(),
        ..Found::default()
    };
    let words = Words::parse(query);
    if words.is_empty() {
        found.is_empty_query = true;
        return Ok(Some(found));
    }
    if !app.searches.admit(Instant::now()) {
        return Ok(None);
    }
    let Ok(Ok(_turn)) = tokio::time::timeout(PATIENCE, app.searches.turns.acquire()).await else {
        return Ok(None);
    };
    let ids = app
        .store
        .find_words(room.id(), words, before.unwrap_or(Id::MAX), MESSAGES + 1)
        .await?;
    let Some(mut ids) = ids else {
        found.took_too_long = true;
        return Ok(Some(found));
    };
    let most = usize::try_from(MESSAGES).unwrap_or(usize::MAX);
    let has_more = ids.len() > most;
    ids.truncate(most);
    found.more = ids.last().copied().filter(|_| has_more);
    let rows = app
        .store
        .visible(room.id(), Visible::These(ids), MESSAGES)
        .await?;
    found.list = complete(app, room, rows).await?;
    found.is_indexing = app.store.unindexed(BACKLOG + 1).await? > BACKLOG;
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let searches = Searches::default();
        let start = Instant::now();
        let passed = (0..100).filter(|_| searches.admit(start)).count();
        assert_eq!(passed, 40);
        assert!(!searches.admit(start + Duration::from_millis(50)));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| searches.admit(later)).count(), 10);
    }
}
