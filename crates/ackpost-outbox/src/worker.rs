//! Working the queue: take lanes that are due, as many as allowed at once, until told to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::span_ms;
use super::config::{FlushSettings, Summary, WorkerSettings};
use super::counts::DeliveryCounts;
use super::error::OutboxError;
use super::lane::LaneWorker;
use super::outbox::Outbox;
use super::slots::Slots;
use super::store::Claim;
use super::time::Reading;
use super::types::{OutboxId, Selection};

/// Interval at which old rows are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// Shortest interval between two checks of the watchdog.
const ALARM_EVERY: Duration = Duration::from_secs(30);
/// Number of remembered lanes above which those without a worker are forgotten.
const REMEMBERED_LOCKS: usize = 1024;
/// The shortest time from one look at what is due to the next.
const MIN_LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Longest time for giving lanes back.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after the database could not be reached.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Conditions under which a worker ends by itself.
#[derive(Clone, Copy)]
struct Idle {
    /// Deadline by the clock of the outbox, in milliseconds.
    deadline_ms: i64,
    deadline: Instant,
    /// True if the worker waits for entries that become due before the deadline.
    wait: bool,
    /// True if the worker waits for lanes that pause after a failure.
    retries: bool,
    /// Its begin by the clock of the outbox, in milliseconds.
    began_ms: i64,
}

impl Outbox {
    /// Sends what is in the queue until `shutdown` is ready; then attempts under way may end, and the rest is given
    /// back. A database that does not answer is waited for.
    ///
    /// # Errors
    /// None of the database: what fails is tried again until `shutdown` is ready.
    pub async fn run(
        &self,
        settings: WorkerSettings,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Summary, OutboxError> {
        self.drive(settings, None, shutdown).await
    }

    /// Sends what is due, and what becomes due before the deadline.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn flush(
        &self,
        worker: WorkerSettings,
        settings: FlushSettings,
    ) -> Result<Summary, OutboxError> {
        if settings.now {
            self.0.store.pull_forward(self.0.now_ms().await?).await?;
        }
        let began_ms = self.0.now_ms().await?;
        let idle = Idle {
            deadline_ms: began_ms.saturating_add(span_ms(settings.deadline)),
            deadline: Instant::now() + settings.deadline,
            wait: settings.wait,
            retries: settings.retries,
            began_ms,
        };
        self.drive(worker, Some(idle), std::future::pending()).await
    }

    async fn drive(
        &self,
        settings: WorkerSettings,
        idle: Option<Idle>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Summary, OutboxError> {
        let counts = Arc::new(DeliveryCounts::default());
        let (stop, stopped) = watch::channel(false);
        let (cut, cut_off) = watch::channel(false);
        let runner = LaneWorker {
            outbox: self.clone(),
            owner: format!("{}-{}", std::process::id(), OutboxId::random()),
            settings: settings.clone(),
            counts: Arc::clone(&counts),
            stopped,
            cut: cut_off,
        };
        let mut worker = Worker {
            outbox: self,
            runner,
            claims: 0,
            lane_locks: HashMap::new(),
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
                    Ok(Step::Again) => {}
                    Ok(Step::Done) => break Ok(()),
                    // Someone who waits for the end wants to know.
                    Err(error) if worker.idle.is_some() && !error.may_pass() => break Err(error),
                    Err(error) => {
                        tracing::warn!(%error, "the outbox does not answer; trying again");
                        if worker.idle.is_some_and(|idle| Instant::now() >= idle.deadline) {
                            break Err(error);
                        }
                        tokio::select! {
                            () = &mut shutdown => break Ok(()),
                            () = tokio::time::sleep(ERROR_PAUSE) => {}
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
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn drop_waiting(&self) -> Result<u64, OutboxError> {
        self.drop_entries(&Selection::Waiting).await
    }
}

enum Step {
    Again,
    Done,
}

struct Worker<'a> {
    outbox: &'a Outbox,
    runner: LaneWorker,
    claims: u64,
    /// One task at a time for each lane.
    lane_locks: HashMap<Vec<u8>, Arc<tokio::sync::Mutex<()>>>,
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
    async fn turn(&mut self) -> Result<Step, OutboxError> {
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
        let Reading { now, moved } = inner.reading().await?;
        if free > 0 && !late && inner.store.has_due(now).await? {
            self.claims += 1;
            let mut runner = self.runner.clone();
            runner.owner = format!("{}-{}", self.runner.owner, self.claims);
            let runner = Arc::new(runner);
            // Without retries a lane that fails in this run is not taken again while others are still under way.
            let once = self.idle.filter(|idle| !idle.retries);
            let failing_until = once.map_or(now, |idle| idle.began_ms);
            let claim = Claim {
                owner: &runner.owner,
                now,
                until: now + span_ms(self.settings.lease),
                failing_until,
                limit: free,
                moved,
            };
            let taken = inner.store.claim(&claim, &self.slots).await?;
            let full = taken.len() == free;
            for (lane, slot) in taken {
                let runner = Arc::clone(&runner);
                let before = self.turn_of(&lane);
                self.lanes.spawn(async move {
                    // A worker that had this lane under an expired lease finishes first.
                    let _turn = before.lock().await;
                    let _slot = slot;
                    runner.drain(lane).await
                });
            }
            if full {
                return Ok(Step::Again);
            }
        }
        if late && self.lanes.is_empty() {
            return Ok(Step::Done);
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
                return Ok(Step::Done);
            }
        }
        let until_due = due.map_or(self.settings.poll, |due| {
            Duration::from_millis(u64::try_from(due - inner.time.now_ms()).unwrap_or(0))
        });
        // The entries that are due now may belong to a group that has its full share.
        let nap = if free == 0 || self.slots.full().any() {
            self.settings.poll
        } else {
            until_due.clamp(Duration::from_millis(5), self.settings.poll)
        };
        // Many accepts in a row are one reason to look, not many.
        tokio::time::sleep(MIN_LOOK_INTERVAL.saturating_sub(begun.elapsed())).await;
        tokio::select! {
            joined = self.lanes.join_next(), if !self.lanes.is_empty() => settled(joined)?,
            () = inner.wake.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
        Ok(Step::Again)
    }

    fn turn_of(&mut self, lane: &[u8]) -> Arc<tokio::sync::Mutex<()>> {
        if self.lane_locks.len() > REMEMBERED_LOCKS {
            self.lane_locks.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(self.lane_locks.entry(lane.to_vec()).or_default())
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
                tracing::warn!(%error, "the watchdog could not check the outbox");
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
        if tokio::time::timeout(RELEASE_TIMEOUT, end).await.is_err() {
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
