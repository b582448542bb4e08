//! Protocol version that an account reads: an account that publishes keys of version 2 reads version 2.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest as _};
use session_protocol::SessionId;
use session_protocol::network::nodes::Node;
use session_protocol::network::storage::{Namespace, RetrieveAnswer, retrieve_public};

use crate::error::NetworkError;
use crate::network::{Network, off_thread};
use crate::storage::Storage;
use crate::swarm_request::{SwarmRequest, WITNESSES};

/// The item in the storage: by hash of an account, from when on it is asked for again, seconds since 1970.
const ITEM: &str = "v2-keys";
/// Maximum number of accounts in the item.
const MAX_ACCOUNTS: usize = 4096;
/// Pause after an answer, seconds.
const DAY_SECS: u64 = 24 * 60 * 60;
/// Pause after a failure, seconds.
const HOUR_SECS: u64 = 60 * 60;
/// Time for which [`Network::look_for_v2_keys`] waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer with the keys of version 2, bytes.
const MAX_KEYS_LEN_BYTES: usize = 4 * 1024 * 1024;

type Dates = BTreeMap<String, u64>;

impl Network {
    /// Asks whether an account publishes keys for version 2 of the protocol. Version 1, which this crate writes, stays
    /// readable for a time after that; warn the user. Once a day is often enough: see [`Network::look_for_v2_keys`].
    ///
    /// Anybody can write keys that are not the account's, so that two nodes must have them. One node that says there are none
    /// is believed: a lie delays the warning until another node is asked.
    ///
    /// # Errors
    /// [`NetworkError`] if no node of the swarm answers.
    pub async fn publishes_v2_keys(&self, id: &SessionId) -> Result<bool, NetworkError> {
        let mut request = SwarmRequest::start(self, id).await?;
        let mut seen_by = 0;
        while let Some(node) = request.next_node(|_| true) {
            let make = |_, _: &Node| Ok(retrieve_public(id, Namespace::V2_KEYS));
            let Some(reply) = request.ask(&node, &make, MAX_KEYS_LEN_BYTES).await? else {
                continue;
            };
            let id = *id;
            let read = move || RetrieveAnswer::from_json(&reply.body, &id, Namespace::V2_KEYS);
            let Ok(answer) = off_thread(read).await? else {
                continue;
            };
            if answer.messages.is_empty() {
                return Ok(false);
            }
            seen_by += 1;
            if seen_by >= WITNESSES.min(request.swarm.len()) {
                return Ok(true);
            }
        }
        if seen_by > 0 {
            return Ok(false);
        }
        Err(request.failure().await)
    }

    /// Asks like [`Network::publishes_v2_keys`], at most once a day for each account, over all runs that share the storage.
    /// Returns `None` if it was asked lately, or if nobody answers within five seconds; then it is asked again after an hour.
    pub async fn look_for_v2_keys(&self, id: &SessionId) -> Option<bool> {
        let now_secs = self.network_ms().ok()? / 1000;
        let storage = self.inner.options.shared_storage();
        let key = hex::encode(Blake2b::<U16>::digest(id.as_bytes()));
        let claimed = (Arc::clone(&storage), key.clone());
        // Another process may have the lock for a while.
        let claimed = off_thread(move || claim(&*claimed.0, &claimed.1, now_secs)).await;
        match claimed.ok()? {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::warn!(%error, "it cannot be kept when the keys of version 2 were looked for");
                return None;
            }
        }
        if let Ok(Ok(published)) = tokio::time::timeout(PATIENCE, self.publishes_v2_keys(id)).await {
            return Some(published);
        }
        let kept = off_thread(move || put(&*storage, &key, now_secs, HOUR_SECS)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "it cannot be kept when to look for the keys of version 2 again");
        }
        None
    }
}

/// Reads the dates. Unreadable dates are damaged: everybody is asked for again.
fn read(bytes: Option<Vec<u8>>) -> Dates {
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Returns true if an account is to be asked for now. A date more than a day ahead is from before the clock was set back.
fn is_due(dates: &Dates, key: &str, now_secs: u64) -> bool {
    let day_ahead = now_secs.saturating_add(DAY_SECS);
    dates
        .get(key)
        .is_none_or(|from| *from <= now_secs || *from > day_ahead)
}

/// Returns true if an account is to be asked for now. Nobody else is then told so for a day.
fn claim(storage: &dyn Storage, key: &str, now_secs: u64) -> io::Result<bool> {
    // Most sends find that nothing is to be done, and write nothing.
    if !is_due(&read(storage.load(ITEM)?), key, now_secs) {
        return Ok(false);
    }
    let mut was_due = false;
    storage.update(ITEM, &mut |old| {
        let dates = read(old);
        was_due = is_due(&dates, key, now_secs);
        with(dates, key, now_secs, if was_due { DAY_SECS } else { 0 })
    })?;
    Ok(was_due)
}

fn put(storage: &dyn Storage, key: &str, now_secs: u64, pause_secs: u64) -> io::Result<()> {
    storage.update(ITEM, &mut |old| with(read(old), key, now_secs, pause_secs))
}

/// The dates with that of one account changed, unless the pause is zero. Dates that are over need not be kept.
fn with(mut dates: Dates, key: &str, now_secs: u64, pause_secs: u64) -> Vec<u8> {
    if pause_secs > 0 {
        dates.retain(|_, from| *from > now_secs);
        if dates.len() >= MAX_ACCOUNTS {
            dates.clear();
        }
        dates.insert(key.to_owned(), now_secs.saturating_add(pause_secs));
    }
    serde_json::to_vec(&dates).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const NOW: u64 = 1_796_000_000;

    #[test]
    fn an_account_is_asked_for_once_a_day_and_an_hour_after_a_failure() {
        let storage = MemoryStorage::default();
        let due = |key: &str, now| claim(&storage, key, now).expect("memory");
        assert!(due("a", NOW) && due("b", NOW));
        assert!(!due("a", NOW) && !due("a", NOW + DAY_SECS - 1));
        assert!(due("a", NOW + DAY_SECS));
        put(&storage, "a", NOW + DAY_SECS, HOUR_SECS).expect("memory");
        assert!(!due("a", NOW + DAY_SECS + HOUR_SECS - 1));
        assert!(due("a", NOW + DAY_SECS + HOUR_SECS));
        // The clock is set back by a week.
        assert!(due("a", NOW - 7 * DAY_SECS));
        storage.save(ITEM, b"damaged").expect("memory");
        assert!(due("a", NOW));
    }

    #[test]
    fn the_dates_stay_bounded() {
        let storage = MemoryStorage::default();
        let full: Dates = (0..MAX_ACCOUNTS)
            .map(|n| (n.to_string(), NOW + DAY_SECS))
            .collect();
        let bytes = serde_json::to_vec(&full).expect("plain values");
        storage.save(ITEM, &bytes).expect("memory");
        for n in 0..10 {
            assert!(claim(&storage, &format!("new {n}"), NOW).expect("memory"));
        }
        let kept = read(storage.load(ITEM).expect("memory"));
        assert!(kept.len() <= MAX_ACCOUNTS, "{}", kept.len());
    }
}
