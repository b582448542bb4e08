//! The outbox as a whole: open, look, decide.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::accept_queue::AcceptQueue;
use super::clock::Jitter;
use super::config::{OutboxConfig, OutboxLimits};
use super::error::OutboxError;
use super::label::Labels;
use super::seal::AtRestCipher;
use super::store::{
    EntryPage, EventRow, KEEP_ACTS, KEEP_GESTURES, KEEP_LINKS, LaneRow, Prune, SHARED_EVENT, Store, VERSION,
    View,
};
use super::time::{Reading, Time};
use super::transport::Transport;
use super::types::{Entry, Event, Filter, Hold, OutboxId, Selection, State, Stats, StoredOutcome};
use ackpost_notify::Outcome;
use ackpost_notify::queue_rules::DEFAULT_TTL;

/// The most entries a page of [`Outbox::list`] has.
const PAGE: usize = 10_000;
/// Interval at which [`Outbox::wait`] looks for what other processes did.
const LOOK: Duration = Duration::from_millis(250);

/// A durable queue of messages. Cheap to clone; every clone is the same outbox.
#[derive(Clone)]
pub struct Outbox(pub(super) Arc<Core>);

pub(super) struct Core {
    pub(super) store: Arc<Store>,
    pub(super) seal: Arc<AtRestCipher>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) time: Time,
    pub(super) jitter: Arc<dyn Jitter>,
    pub(super) limits: OutboxLimits,
    pub(super) queue: AcceptQueue,
    pub(super) labels: Labels,
    pub(super) changes: watch::Sender<u64>,
    /// Something may be due.
    pub(super) wake: Notify,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("location", &self.0.store.location())
            .finish_non_exhaustive()
    }
}

/// A target with something waiting.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Lane {
    /// The target in full without secrets.
    pub target: String,
    /// The service's URL, masked.
    pub url: String,
    /// Number of entries that wait or are being collected.
    pub waiting: u64,
    /// Failed attempts in a row.
    pub failures: u64,
    /// Seconds since it began to fail.
    pub failing_seconds: Option<u64>,
    /// An alarm was sent about it.
    pub alarmed: bool,
    /// Reason of the latest attempt's outcome, in words.
    pub reason: Option<String>,
}

impl Outbox {
    /// Opens an outbox, and makes it and its key when there is none. An outbox that was begun never gets another key:
    /// when its key file is gone, that is [`OutboxError::KeyMissing`]. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The database cannot be opened or has another version, or the key file is missing, unreadable, or another one.
    pub async fn open(config: OutboxConfig, transport: Arc<dyn Transport>) -> Result<Self, OutboxError> {
        // A key that cannot be used is said before anything is made.
        let found = AtRestCipher::existing(&config.key_file)?;
        let store = Arc::new(Store::open(&config.location).await?);
        check_version(&store).await?;
        let seal = match found {
            Some(seal) => seal,
            None => first_key(&store, &config.key_file).await?,
        };
        let seal = Arc::new(seal);
        check_key(&store, &seal).await?;
        let time = Time::new(config.clock);
        time.note(&store).await?;
        let queue = AcceptQueue::open(Arc::clone(&store), config.limits.waiting);
        let labels = Labels::new(Arc::clone(&store), Arc::clone(&seal));
        Ok(Self(Arc::new(Core {
            store,
            seal,
            transport,
            time,
            jitter: config.jitter,
            limits: config.limits,
            queue,
            labels,
            changes: watch::Sender::new(0),
            wake: Notify::new(),
        })))
    }

    /// Wipes the loaded services from memory, and ends idle connections of URLs that somebody else handed over, for example
    /// when a configuration was deleted. Entries that wait load theirs again.
    pub fn forget_services(&self) {
        self.0.transport.forget();
    }

    /// Returns one entry.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn get(&self, id: &OutboxId) -> Result<Option<Entry>, OutboxError> {
        match self.0.store.entry(id.as_str()).await? {
            Some(view) => self.0.entry(view).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns one entry and its history.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn show(&self, id: &OutboxId) -> Result<Option<(Entry, Vec<Event>)>, OutboxError> {
        let Some(view) = self.0.store.entry(id.as_str()).await? else {
            return Ok(None);
        };
        let share = view.share;
        let entry = self.0.entry(view).await?;
        let events = self.0.store.events(Some((id.as_str(), share)), 0, 1000).await?;
        let own = |event: EventRow| Event {
            entry: id.to_string(),
            ..self.0.event(event)
        };
        Ok(Some((entry, events.into_iter().map(own).collect())))
    }

    /// A page of entries, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Entry>, OutboxError> {
        self.list_where(filter, &|_| true).await
    }

    /// A page of the entries for which `wanted` returns true, newest first.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn list_where(
        &self,
        filter: &Filter,
        wanted: &(dyn Fn(&Entry) -> bool + Send + Sync),
    ) -> Result<Vec<Entry>, OutboxError> {
        let limit = if filter.limit == 0 {
            100
        } else {
            filter.limit.min(PAGE)
        };
        let mut before = i64::MAX;
        if let Some(id) = &filter.before {
            before = self.0.store.entry(id.as_str()).await?.map_or(0, |view| view.seq);
        }
        let states: &[State] = if filter.states.is_empty() {
            &State::ALL
        } else {
            &filter.states
        };
        let mut codes: Vec<i64> = states.iter().map(|state| state.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        let mut entries = Vec::new();
        loop {
            let page = EntryPage {
                states: codes.clone(),
                before,
                limit: i64::try_from(limit.max(200)).unwrap_or(i64::MAX),
            };
            let page = self.0.store.entries(&page).await?;
            let last = page.len() < limit.max(200);
            for view in page {
                before = view.seq;
                let entry = self.0.entry(view).await?;
                let fits = states.contains(&entry.state)
                    && wanted(&entry)
                    && filter
                        .target
                        .as_ref()
                        .is_none_or(|part| entry.target.contains(part.as_str()));
                if fits {
                    entries.push(entry);
                    if entries.len() == limit {
                        return Ok(entries);
                    }
                }
            }
            if last {
                return Ok(entries);
            }
        }
    }

    /// Waits until these are final or the time is up; what they are then, in the same order. Unknown ids are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn wait(&self, ids: &[OutboxId], longest: Duration) -> Result<Vec<Entry>, OutboxError> {
        let deadline = tokio::time::Instant::now() + longest;
        let mut changes = self.changes();
        loop {
            let mut entries = Vec::with_capacity(ids.len());
            for id in ids {
                entries.extend(self.get(id).await?);
            }
            let now = tokio::time::Instant::now();
            if now >= deadline || entries.iter().all(|entry| entry.state.is_final()) {
                return Ok(entries);
            }
            let _ = tokio::time::timeout_at(deadline.min(now + LOOK), changes.changed()).await;
        }
    }

    /// Retries dead entries with a new time to live, and waiting ones at once. Returns the number of entries.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn retry(&self, selection: &Selection) -> Result<u64, OutboxError> {
        let ids = self.selected(selection).await?;
        let ttl = super::clock::span_ms(DEFAULT_TTL);
        let now = self.0.now_ms().await?;
        let changed = self.0.store.retry(&ids, now, ttl).await?;
        self.0.changed();
        Ok(changed)
    }

    /// Drops entries that are not delivered, and returns their number. An entry that is just being sent may still
    /// arrive.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn drop_entries(&self, selection: &Selection) -> Result<u64, OutboxError> {
        let ids = self.selected(selection).await?;
        let mut changed = 0;
        // In portions, so that other writers get their turn.
        for portion in ids.chunks(500) {
            changed += self.0.store.drop_entries(portion, self.0.now_ms().await?).await?;
        }
        self.0.changed();
        Ok(changed)
    }

    async fn selected(&self, selection: &Selection) -> Result<Vec<String>, OutboxError> {
        match selection {
            Selection::Ids(ids) => Ok(ids.iter().map(|id| id.as_str().to_owned()).collect()),
            Selection::Dead => self.0.store.ids(&[State::Dead.code()]).await,
            Selection::Waiting => {
                self.0
                    .store
                    .ids(&[State::Collecting.code(), State::Waiting.code()])
                    .await
            }
        }
    }

    /// Returns the counts of the outbox.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn stats(&self) -> Result<Stats, OutboxError> {
        self.0.store.stats(self.0.now_ms().await?).await
    }

    /// Targets with something waiting.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn lanes(&self) -> Result<Vec<Lane>, OutboxError> {
        let now = self.0.now_ms().await?;
        let rows = self.0.store.lanes().await?;
        let mut lanes = Vec::with_capacity(rows.len());
        for row in rows {
            lanes.push(self.0.lane_of_row(&row, now).await?);
        }
        Ok(lanes)
    }

    /// The log after a number, oldest first; without a number its latest lines.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn log(&self, since: Option<i64>, limit: usize) -> Result<Vec<Event>, OutboxError> {
        let limit = i64::try_from(limit.clamp(1, PAGE)).unwrap_or(i64::MAX);
        let rows = match since {
            Some(since) => self.0.store.events(None, since, limit).await?,
            None => self.0.store.latest_events(limit).await?,
        };
        Ok(rows.into_iter().map(|event| self.0.event(event)).collect())
    }

    /// Counts up with every change that this process makes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Removes what was settled long ago. The worker does so from time to time.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn prune(&self) -> Result<u64, OutboxError> {
        self.0.prune().await
    }

    /// Checks that a message could be stored now. Writes a little and takes it away again.
    ///
    /// # Errors
    /// The error that storing a message would give.
    pub async fn check(&self) -> Result<(), OutboxError> {
        self.0.store.check().await?;
        self.check_waiting().await
    }

    /// Checks whether a message could be stored now, as far as that can be seen without writing anything.
    ///
    /// # Errors
    /// The error that storing a message would give.
    pub async fn look(&self) -> Result<(), OutboxError> {
        self.0.store.look()?;
        self.check_waiting().await
    }

    async fn check_waiting(&self) -> Result<(), OutboxError> {
        let (waiting, limit) = (self.0.store.count_waiting().await?, self.0.limits.waiting);
        let waiting = u64::try_from(waiting).unwrap_or(0);
        if waiting >= limit {
            return Err(OutboxError::TooManyWaiting { waiting, limit });
        }
        Ok(())
    }

    /// Waits for what is being written and closes the database.
    pub async fn close(&self) {
        self.0.queue.close().await;
        self.0.store.close().await;
    }
}

impl Core {
    /// The time, after a look whether the clock was set.
    pub(super) async fn now_ms(&self) -> Result<i64, OutboxError> {
        if self.time.look(&self.store).await? {
            self.queue.forget_stamps();
        }
        Ok(self.time.now_ms())
    }

    /// The same with what is needed to see whether it still holds.
    pub(super) async fn reading(&self) -> Result<Reading, OutboxError> {
        self.now_ms().await?;
        Ok(self.time.reading())
    }

    /// The time for a decision that cannot be taken back, after a look at the clock of a database server, too.
    pub(super) async fn checked_now_ms(&self) -> Result<i64, OutboxError> {
        if self.time.look_now(&self.store).await? {
            self.queue.forget_stamps();
        }
        Ok(self.time.now_ms())
    }

    /// Something changed and may be due.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        self.wake.notify_one();
    }

    pub(super) async fn prune(&self) -> Result<u64, OutboxError> {
        if self.time.note(&self.store).await? {
            self.queue.forget_stamps();
        }
        let now = self.time.now_ms();
        let before = |keep: Duration| now - super::clock::span_ms(keep);
        self.store
            .prune(&Prune {
                done_before: before(self.limits.keep_done),
                dead_before: self.limits.keep_dead.map_or(i64::MIN, before),
                links_before: before(KEEP_LINKS),
                gestures_before: before(KEEP_GESTURES),
                acts_before: before(KEEP_ACTS),
                limit: 5_000,
            })
            .await
    }

    pub(super) fn seal_outcome(&self, id: &str, outcome: &Outcome) -> Vec<u8> {
        let stored = serde_json::to_vec(&StoredOutcome::from(outcome)).expect("texts can be written");
        self.seal.seal(&format!("outcome {id}"), &stored)
    }

    pub(super) fn open_outcome(&self, id: &str, sealed: Option<&[u8]>) -> Option<Outcome> {
        let plain = self.seal.open(&format!("outcome {id}"), sealed?)?;
        serde_json::from_slice::<StoredOutcome>(&plain)
            .ok()
            .map(Outcome::from)
    }

    pub(super) async fn entry(&self, view: View) -> Result<Entry, OutboxError> {
        let label = self.labels.open(view.label_at()).await?;
        let sending =
            view.maybe_sent && view.due_at <= self.time.now_ms() && view.leased_until > self.time.now_ms();
        let outcome = self.open_outcome(&view.id, view.outcome.as_deref());
        Ok(Entry {
            id: view.id.parse().unwrap_or_else(|_| OutboxId::random()),
            service: view.service,
            url: label.url,
            url_id: label.url_id,
            target: label.target,
            state: State::from_code(view.state, sending),
            accepted_at: system_time(view.accepted_at),
            due_at: system_time(view.due_at),
            expires_at: system_time(view.expires_at),
            settled_at: view.settled_at.map(system_time),
            attempts: u32::try_from(view.attempts).unwrap_or(u32::MAX),
            pieces: u32::try_from(view.pieces).unwrap_or(u32::MAX),
            pieces_done: u32::try_from(view.pieces_done).unwrap_or(u32::MAX),
            folded: u64::try_from(view.folded).unwrap_or(0),
            waits_for: Hold::from_code(view.hold),
            outcome,
            origin: label.origin,
        })
    }

    fn event(&self, row: EventRow) -> Event {
        // A line about no entry, or about all entries of one URL.
        let shared = row.entry.starts_with(SHARED_EVENT);
        let text = if row.entry.is_empty() || shared {
            row.detail
                .and_then(|sealed| self.seal.open("event", &sealed))
                .map(|plain| String::from_utf8_lossy(&plain).into_owned())
        } else {
            self.open_outcome(&row.entry, row.detail.as_deref())
                .map(|outcome| match outcome {
                    Outcome::Delivered {
                        confirmed_by,
                        id: Some(id),
                    } => format!("confirmed by {confirmed_by}, id {id}"),
                    Outcome::Delivered {
                        confirmed_by,
                        id: None,
                    } => format!("confirmed by {confirmed_by}"),
                    Outcome::Partial { lack, reason, .. } => format!("{}: {reason}", lack.as_str()),
                    Outcome::Deferred { reason, .. } | Outcome::Refused { reason, .. } => reason,
                })
        };
        Event {
            number: row.seq,
            at: system_time(row.at),
            entry: if shared { String::new() } else { row.entry },
            kind: row.kind,
            text: text.unwrap_or_default(),
        }
    }

    /// A text about an entry, as its log keeps it.
    pub(super) fn seal_remark(&self, id: &str, text: &str) -> Vec<u8> {
        self.seal_outcome(id, &Outcome::deferred(text, ""))
    }

    pub(super) async fn lane_of_row(&self, row: &LaneRow, now: i64) -> Result<Lane, OutboxError> {
        let label = self.labels.open(row.label_at()).await?;
        let outcome = self.open_outcome(&row.head, row.outcome.as_deref());
        Ok(Lane {
            target: label.target,
            url: label.url,
            waiting: u64::try_from(row.waiting).unwrap_or(0),
            failures: u64::try_from(row.failures).unwrap_or(0),
            failing_seconds: row
                .failing_since
                .map(|since| u64::try_from((now - since) / 1000).unwrap_or(0)),
            alarmed: row.alarmed_at.is_some(),
            reason: outcome.and_then(|outcome| outcome.reason().map(str::to_owned)),
        })
    }
}

pub(super) fn system_time(ms: i64) -> SystemTime {
    match u64::try_from(ms) {
        Ok(ms) => UNIX_EPOCH
            .checked_add(Duration::from_millis(ms))
            .unwrap_or(UNIX_EPOCH),
        Err(_) => UNIX_EPOCH,
    }
}

async fn check_version(store: &Store) -> Result<(), OutboxError> {
    let found = store.meta("version", None).await?;
    let found = found
        .and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok())
        .unwrap_or(0);
    if found == VERSION {
        Ok(())
    } else {
        Err(OutboxError::Version {
            found,
            known: VERSION,
        })
    }
}

/// Setting with a text sealed under [`KEY_CHECK`]. It shows which key an outbox was begun with.
const KEY_META: &str = "key";
const KEY_CHECK: &str = "key check";

/// Returns the key of an outbox without a key file. It is a new key only if nothing was sealed with another.
async fn first_key(store: &Store, path: &Path) -> Result<AtRestCipher, OutboxError> {
    let begun = store.meta(KEY_META, None).await?.is_some();
    if begun {
        // Another process may have begun it since we looked; it put its key there first.
        return AtRestCipher::existing(path)?.ok_or_else(|| OutboxError::KeyMissing {
            path: path.to_owned(),
            location: store.location().to_owned(),
        });
    }
    AtRestCipher::from_file(path)
}

/// Checks that the key is the one that the outbox was begun with.
async fn check_key(store: &Store, seal: &AtRestCipher) -> Result<(), OutboxError> {
    let ours = seal.seal(KEY_CHECK, b"ackpost");
    let stored = store.meta(KEY_META, Some(&ours)).await?.unwrap_or_default();
    if seal.open(KEY_CHECK, &stored).is_some() {
        Ok(())
    } else {
        Err(OutboxError::WrongKey {
            path: seal.path().to_owned(),
        })
    }
}
