//! Working the queue: take lanes that are due, as many as allowed at once, until told to stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::span_ms;
use super::config::{FlushSettings, Summary, WorkerSettings};
use super::error::OutboxError;
use super::lane::Engine;
use super::outbox::Outbox;
use super::slots::Slots;
use super::types::{OutboxId, Selection};

/// How often old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// How often the watchdog looks, at most.
const ALARM_EVERY: Duration = Duration::from_secs(30);
/// From so many lanes on, those that nobody works are forgotten.
const REMEMBERED_TURNS: usize = 1024;
/// The shortest time from one look at what is due to the next.
const BREATH: Duration = Duration::from_millis(2);
/// How long lanes may take to be given back.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// Pause after the database could not be reached.
const TROUBLE: Duration = Duration::from_secs(1);

/// What a worker has done so far.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) delivered: AtomicU64,
    pub(super) partial: AtomicU64,
    pub(super) deferred: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) failed: Mutex<Vec<OutboxId>>,
}

impl Counts {
    fn summary(&self, remaining: u64) -> Summary {
        Summary {
            delivered: self.delivered.load(Ordering::Relaxed),
            partial: self.partial.load(Ordering::Relaxed),
            deferred: self.deferred.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            remaining,
            failed: self.failed().clone(),
        }
    }

    /// Remembers an entry that ended without a full delivery.
    pub(super) fn fail(&self, id: &str) {
        let mut failed = self.failed();
        if let Ok(id) = id.parse()
            && failed.len() < Summary::NAMED
        {
            failed.push(id);
        }
    }

    fn failed(&self) -> MutexGuard<'_, Vec<OutboxId>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a worker ends by itself.
#[derive(Clone, Copy)]
struct Idle {
    /// By the clock of the outbox, in milliseconds.
    deadline_ms: i64,
    deadline: Instant,
    /// What becomes due before the deadline is waited for.
    wait: bool,
    /// Lanes that pause after a failure are waited for.
    retries: bool,
}

impl Outbox {
    /// Sends what is in the queue until `shutdown` is ready; then attempts under way may end, and the rest is given
    /// back. A database that does not answer is waited for.
    pub async fn run(
        &self,
        settings: WorkerSettings,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Summary, OutboxError> {
        self.drive(settings, None, shutdown).await
    }

    /// Sends what is due, and what becomes due before the deadline.
    pub async fn flush(
        &self,
        worker: WorkerSettings,
        settings: FlushSettings,
    ) -> Result<Summary, OutboxError> {
        if settings.now {
            self.0.store.pull_forward(self.0.now_ms().await?).await?;
        }
        let idle = Idle {
            deadline_ms: self.0.now_ms().await?.saturating_add(span_ms(settings.deadline)),
            deadline: Instant::now() + settings.deadline,
            wait: settings.wait,
            retries: settings.retries,
        };
        self.drive(worker, Some(idle), std::future::pending()).await
    }

    async fn drive(
        &self,
        settings: WorkerSettings,
        idle: Option<Idle>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Summary, OutboxError> {
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = watch::channel(false);
        let (cut, cut_off) = watch::channel(false);
        let engine = Engine {
            outbox: self.clone(),
            owner: format!("{}-{}", std::process::id(), OutboxId::random()),
            settings: settings.clone(),
            counts: Arc::clone(&counts),
            stopped,
            cut: cut_off,
        };
        let mut worker = Worker {
            outbox: self,
            engine,
            claims: 0,
            turns: HashMap::new(),
            slots: Slots::new(settings.lanes_at_once),
            settings,
            idle,
            stop: stop.clone(),
            cut,
            looked: false,
            lanes: JoinSet::new(),
            pruned: Instant::now(),
            watched: None,
        };
        let mut shutdown = std::pin::pin!(shutdown);
        let ended = loop {
            let turn = worker.turn();
            tokio::select! {
                biased;
                () = &mut shutdown => break Ok(()),
                turn = turn => match turn {
                    Ok(Turn::Again) => {}
                    Ok(Turn::Done) => break Ok(()),
                    // Someone who waits for the end wants to know.
                    Err(error) if worker.idle.is_some() && !error.is_passing() => break Err(error),
                    Err(error) => {
                        tracing::warn!(%error, "the outbox does not answer; trying again");
                        if worker.idle.is_some_and(|idle| Instant::now() >= idle.deadline) {
                            break Err(error);
                        }
                        tokio::select! {
                            () = &mut shutdown => break Ok(()),
                            () = tokio::time::sleep(TROUBLE) => {}
                        }
                    }
                },
            }
        };
        let _ = stop.send(true);
        worker.drain().await;
        ended?;
        let remaining = if worker.idle.is_some() {
            self.remaining().await?
        } else {
            0
        };
        Ok(counts.summary(remaining))
    }

    async fn remaining(&self) -> Result<u64, OutboxError> {
        Ok(u64::try_from(self.0.store.count_waiting().await?).unwrap_or(0))
    }

    /// Removes what the worker of a stopped process had in hand; for tests and tools.
    pub async fn drop_waiting(&self) -> Result<u64, OutboxError> {
        self.drop_entries(&Selection::Waiting).await
    }
}

enum Turn {
    Again,
    Done,
}

struct Worker<'a> {
    outbox: &'a Outbox,
    engine: Engine,
    claims: u64,
    /// One task at a time for each lane.
    turns: HashMap<Vec<u8>, Arc<tokio::sync::Mutex<()>>>,
    slots: Arc<Slots>,
    settings: WorkerSettings,
    idle: Option<Idle>,
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    /// It has looked at least once, however short the time is.
    looked: bool,
    lanes: JoinSet<Result<(), OutboxError>>,
    pruned: Instant,
    watched: Option<Instant>,
}

impl Worker<'_> {
    /// Takes what is due, then waits for something to happen. Dropping it in the middle loses nothing: lanes that were
    /// just taken come back when their lease is over.
    async fn turn(&mut self) -> Result<Turn, OutboxError> {
        let inner = &self.outbox.0;
        let begun = Instant::now();
        self.reap()?;
        self.housekeeping().await;
        let late = self.looked && self.idle.is_some_and(|idle| Instant::now() >= idle.deadline);
        if late {
            let _ = self.stop.send(true);
            let _ = self.cut.send(true);
        }
        self.looked = true;
        let free = self
            .settings
            .lanes_at_once
            .max(1)
            .saturating_sub(self.lanes.len());
        let now = inner.now_ms().await?;
        if free > 0 && !late && inner.store.has_due(now).await? {
            let until = now + span_ms(self.settings.lease);
            self.claims += 1;
            let mut engine = self.engine.clone();
            engine.owner = format!("{}-{}", self.engine.owner, self.claims);
            let engine = Arc::new(engine);
            let taken = inner
                .store
                .claim(&engine.owner, now, until, free, &self.slots)
                .await?;
            let full = taken.len() == free;
            for (lane, slot) in taken {
                let engine = Arc::clone(&engine);
                let before = self.turn_of(&lane);
                self.lanes.spawn(async move {
                    // Whoever worked it before, under a lease that has run out, ends first.
                    let _turn = before.lock().await;
                    let _slot = slot;
                    engine.work(lane).await
                });
            }
            if full {
                return Ok(Turn::Again);
            }
        }
        if late && self.lanes.is_empty() {
            return Ok(Turn::Done);
        }
        let due = inner
            .store
            .next_due(self.idle.is_none_or(|idle| idle.retries))
            .await?;
        if let Some(idle) = self.idle {
            let last = if idle.wait {
                idle.deadline_ms
            } else {
                inner.time.now_ms()
            };
            if self.lanes.is_empty() && due.is_none_or(|due| due > last) {
                return Ok(Turn::Done);
            }
        }
        let until_due = due.map_or(self.settings.poll, |due| {
            Duration::from_millis(u64::try_from(due - inner.time.now_ms()).unwrap_or(0))
        });
        // What is due now may belong to a group that has its full share.
        let nap = if free == 0 || self.slots.full().any() {
            self.settings.poll
        } else {
            until_due.clamp(Duration::from_millis(5), self.settings.poll)
        };
        // Many accepts in a row are one reason to look, not many.
        tokio::time::sleep(BREATH.saturating_sub(begun.elapsed())).await;
        tokio::select! {
            joined = self.lanes.join_next(), if !self.lanes.is_empty() => settled(joined)?,
            () = inner.wake.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
        Ok(Turn::Again)
    }

    fn turn_of(&mut self, lane: &[u8]) -> Arc<tokio::sync::Mutex<()>> {
        if self.turns.len() > REMEMBERED_TURNS {
            self.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(self.turns.entry(lane.to_vec()).or_default())
    }

    fn reap(&mut self) -> Result<(), OutboxError> {
        while let Some(joined) = self.lanes.try_join_next() {
            settled(Some(joined))?;
        }
        Ok(())
    }

    /// Clears away and looks for trouble, now and then; neither keeps the work from going on.
    async fn housekeeping(&mut self) {
        self.outbox.note_late().await;
        if self.pruned.elapsed() > PRUNE_EVERY {
            self.pruned = Instant::now();
            if let Err(error) = self.outbox.prune().await {
                tracing::warn!(%error, "old entries could not be removed");
            }
        }
        let Some(alarm) = &self.settings.alarm else { return };
        let every = ALARM_EVERY.min(alarm.after / 4).max(Duration::from_millis(200));
        if self.watched.is_none_or(|at| at.elapsed() >= every) {
            self.watched = Some(Instant::now());
            if let Err(error) = self.outbox.watch(alarm).await {
                tracing::warn!(%error, "the watchdog could not look");
            }
        }
    }

    /// Lets attempts under way end; what does not end in time is left to be repeated, with a look at the other side
    /// first.
    async fn drain(&mut self) {
        let end = async { while self.lanes.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.drain, end).await.is_ok() {
            return;
        }
        let _ = self.cut.send(true);
        let end = async { while self.lanes.join_next().await.is_some() {} };
        if tokio::time::timeout(GIVE_BACK, end).await.is_err() {
            self.lanes.shutdown().await;
        }
        self.outbox.note_late().await;
    }
}

fn settled(
    joined: Option<Result<Result<(), OutboxError>, tokio::task::JoinError>>,
) -> Result<(), OutboxError> {
    match joined {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(error),
        Some(Err(panic)) => {
            // Its lane comes back when the lease is over.
            tracing::error!(%panic, "sending to a target failed unexpectedly");
            Ok(())
        }
    }
}
