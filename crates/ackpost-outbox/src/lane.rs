//! One lane: its entries one after the other, each attempt noted durably before it is made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::clock::{backoff, span_ms};
use super::config::WorkerSettings;
use super::counts::DeliveryCounts;
use super::encode::{count_of, encode};
use super::error::OutboxError;
use super::outbox::Outbox;
use super::payload::{Fold, Payload, SlimAt};
use super::remarks;
use super::store::{AttemptEnd, AttemptStart, CollectionEnd, Ending, Head, Next, Postponed, Remark};
use super::transport::{Checkpoint, DeliveryRequest};
use super::types::{Hold, OutboxId, StoredOutcome};
use ackpost_notify::Encoded;
use ackpost_notify::Outcome;
use ackpost_notify::dispatch::{BoxFuture, File};
use ackpost_notify::queue_rules::span_text;

/// Longest time to keep the result of an attempt in memory while the database does not take it.
const INSIST: Duration = Duration::from_secs(300);

/// One worker.
#[derive(Clone)]
pub(super) struct LaneWorker {
    pub(super) outbox: Outbox,
    /// Under this name its lanes are leased; every time it takes some it is another one, so that a worker that came
    /// too late to renew a lease, and took the lane anew, does not work it twice.
    pub(super) owner: String,
    pub(super) settings: WorkerSettings,
    pub(super) counts: Arc<DeliveryCounts>,
    pub(super) stopped: watch::Receiver<bool>,
    /// No time is left: attempts under way are given back.
    pub(super) cut: watch::Receiver<bool>,
}

/// History of a lane when its first entry was read.
struct LaneHistory {
    failures: i64,
    recent: Vec<i64>,
}

impl LaneWorker {
    fn now(&self) -> i64 {
        self.outbox.0.time.now_ms()
    }

    fn lease(&self) -> i64 {
        self.now() + span_ms(self.settings.lease)
    }

    /// Works a lane that was taken, until there is nothing to do in it now.
    pub(super) async fn drain(&self, lane: Vec<u8>) -> Result<(), OutboxError> {
        let store = &self.outbox.0.store;
        let mut next = store.next(&lane, &self.owner, self.now()).await?;
        let mut sent = 0;
        loop {
            next = match next {
                Next::Lost | Next::Nothing => return Ok(()),
                _ if sent >= self.settings.turn || *self.stopped.borrow() => {
                    return store.release(&lane, &self.owner, self.now()).await;
                }
                Next::Close(head) => self.close(&lane, &head).await?,
                Next::Send(head, failures, recent) => {
                    sent += 1;
                    let history = LaneHistory {
                        failures,
                        recent: times(&recent),
                    };
                    match self.attempt_head(&lane, &head, history).await? {
                        Some(next) => next,
                        None => return Ok(()),
                    }
                }
            };
        }
    }

    /// Renders what was collected and lets it wait like any other.
    async fn close(&self, lane: &[u8], head: &Head) -> Result<Next, OutboxError> {
        let inner = &self.outbox.0;
        let prepared = match self.open(lane, head).await? {
            Err(outcome) => Err(outcome),
            Ok(payload) => self.render(lane, head, payload).await?,
        };
        let payload = match prepared {
            Ok(payload) => payload,
            Err(outcome) => {
                return self
                    .settle_untried(lane, head, Ending::Refused, &outcome)
                    .await
                    .map(|next| next.unwrap_or(Next::Lost));
            }
        };
        let window_ms = match payload.fold {
            Fold::Repeats => payload.rules.dedup.as_ref().map(|dedup| span_ms(dedup.window)),
            _ => None,
        };
        let sealed = payload.seal(&inner.seal, &head.id);
        let close = CollectionEnd {
            lane,
            owner: &self.owner,
            head,
            now: self.now(),
            pieces: count_of(&payload.pieces),
            sealed: &sealed,
            window_ms,
        };
        let next = inner.store.close_entry(&close).await?;
        inner.changed();
        Ok(next)
    }

    async fn render(
        &self,
        lane: &[u8],
        head: &Head,
        mut payload: Payload,
    ) -> Result<Result<Payload, Outcome>, OutboxError> {
        let inner = &self.outbox.0;
        let extra = u64::try_from(head.folded).unwrap_or(0);
        // For repeats all are counted (the first one was sent by itself), for a digest the first is one of them.
        let count = if payload.fold == Fold::Repeats {
            extra
        } else {
            extra + 1
        };
        let message = payload.message(count);
        let id: OutboxId = match head.id.parse() {
            Ok(id) => id,
            Err(_) => OutboxId::random(),
        };
        let refused = |(reason, remedy)| Outcome::Refused { reason, remedy };
        let transport = inner.transport.as_ref();
        let pieces = match encode(transport, &payload.destination, &message, &id, self.now()) {
            Ok(pieces) => count_of(&pieces),
            Err(why) => return Ok(Err(refused(why))),
        };
        let first = inner.store.stamps(lane, self.now(), pieces).await?;
        Ok(
            match encode(transport, &payload.destination, &message, &id, first) {
                Ok(pieces) => {
                    payload.pieces = pieces;
                    Ok(payload)
                }
                Err(why) => Err(refused(why)),
            },
        )
    }

    /// Makes one attempt at the first entry, unless something holds it. `None`: the lane is not ours any more.
    async fn attempt_head(
        &self,
        lane: &[u8],
        head: &Head,
        history: LaneHistory,
    ) -> Result<Option<Next>, OutboxError> {
        let inner = &self.outbox.0;
        let now = inner.now_ms().await?;
        // Nothing ends before it was tried.
        if head.expires_at <= now && head.attempts > 0 {
            // The clock may have been set since the entry was read.
            let now = inner.checked_now_ms().await?;
            return match inner.store.next(lane, &self.owner, now).await? {
                Next::Send(fresh, ..) if fresh.seq == head.seq && fresh.expires_at <= now => {
                    let outcome = self.expired(&fresh);
                    self.settle_untried(lane, &fresh, Ending::Expired, &outcome).await
                }
                next => Ok(Some(next)),
            };
        }
        let mut payload = match self.open(lane, head).await? {
            Ok(payload) => payload,
            Err(outcome) => return self.settle_untried(lane, head, Ending::Refused, &outcome).await,
        };
        if let Some((until, hold)) = holds(&payload, &history, now) {
            let held = Postponed {
                lane,
                owner: &self.owner,
                seq: head.seq,
                now,
                until,
                hold: hold.code(),
            };
            return inner.store.hold(&held).await.map(Some);
        }
        let files = match self.files(head).await {
            Ok(files) => files,
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                let outcome = Outcome::refused(error.to_string(), error.remedy());
                return self.settle_untried(lane, head, Ending::Refused, &outcome).await;
            }
        };
        let fixed = match self.fix(head, &mut payload) {
            Ok(fixed) => fixed,
            Err(outcome) => return self.settle_untried(lane, head, Ending::Refused, &outcome).await,
        };
        let recent = remember(&payload, history.recent, now);
        let reading = inner.time.reading();
        let mark = AttemptStart {
            lane,
            owner: &self.owner,
            head,
            until: reading.now + span_ms(self.settings.lease),
            moved: reading.moved,
            recent: &recent,
            fixed: fixed.as_deref().map(|sealed| (count_of(&payload.pieces), sealed)),
        };
        if !inner.store.mark(&mark).await? {
            return inner.store.next(lane, &self.owner, self.now()).await.map(Some);
        }
        inner.changed();
        let Some((outcome, maybe_sent)) = self.attempt(lane, head, &payload, &files).await else {
            return Ok(None);
        };
        let pieces = count_of(&payload.pieces);
        let Some(outcome) = self.with_earlier_pieces(lane, head, payload, outcome).await else {
            return inner.store.next(lane, &self.owner, self.now()).await.map(Some);
        };
        // The clock may have been set while the attempt was under way.
        let _ = inner.now_ms().await;
        let ending = self.ending(head, pieces, history.failures, &outcome);
        self.settle(lane, head, ending, &outcome, maybe_sent).await
    }

    /// Returns the outcome of a piece that was taken, together with those before it. A piece without full proof is
    /// stored with the entry, because it decides about the whole. `None`: it cannot be stored.
    async fn with_earlier_pieces(
        &self,
        lane: &[u8],
        head: &Head,
        mut payload: Payload,
        outcome: Outcome,
    ) -> Option<Outcome> {
        if !outcome.is_taken() {
            return Some(outcome);
        }
        let earlier = payload.partial.take().map(Outcome::from);
        let known = earlier.clone();
        let whole = match earlier {
            Some(earlier) => earlier.with_piece(outcome),
            None => outcome,
        };
        let last = head.pieces_done + 1 >= count_of(&payload.pieces);
        let full = matches!(whole.word(), "delivered");
        if last || full || known.as_ref() == Some(&whole) {
            return Some(whole);
        }
        payload.partial = Some(StoredOutcome::from(&whole));
        let inner = &self.outbox.0;
        let sealed = payload.seal(&inner.seal, &head.id);
        let kept = inner.store.keep(lane, &self.owner, head.seq, &sealed).await;
        kept.unwrap_or(false).then_some(whole)
    }

    /// Opens the row of an entry, together with what it shares with others.
    async fn open(&self, lane: &[u8], head: &Head) -> Result<Result<Payload, Outcome>, OutboxError> {
        let inner = &self.outbox.0;
        let sealed = head.sealed.as_deref();
        let opened = match head.share {
            None => Payload::open(&inner.seal, &head.id, sealed),
            Some(share) => {
                let shared = inner.store.shared(share).await?;
                let address = match head.target_no {
                    Some(number) => inner.labels.shared_address(share, number).await?,
                    None => None,
                };
                let at = SlimAt {
                    id: &head.id,
                    sealed,
                    share,
                    number: head.target_no,
                    address,
                    stamp: head.stamp,
                };
                Payload::open_slim(&inner.seal, &at, shared.as_deref()).and_then(|payload| {
                    // The number of the target is not sealed; the name of the lane tells whether it was changed.
                    if inner.lane_of(&payload.destination) == lane {
                        return Ok(payload);
                    }
                    Err(OutboxError::Damaged {
                        id: head.id.clone(),
                        cause: "its target differs from its lane".to_owned(),
                    })
                })
            }
        };
        Ok(opened.map_err(|error| Outcome::refused(error.to_string(), error.remedy())))
    }

    /// Fixes the pieces of an entry that shares its message, before its first attempt. Returns the row to store.
    fn fix(&self, head: &Head, payload: &mut Payload) -> Result<Option<Vec<u8>>, Outcome> {
        let Some(share) = payload.share.filter(|_| payload.pieces.is_empty()) else {
            return Ok(None);
        };
        let inner = &self.outbox.0;
        let id = head.id.parse().unwrap_or_else(|_| OutboxId::random());
        let message = payload.message(1);
        payload.pieces = encode(
            inner.transport.as_ref(),
            &payload.destination,
            &message,
            &id,
            share.stamp,
        )
        .map_err(|(reason, remedy)| Outcome::Refused { reason, remedy })?;
        Ok(Some(payload.seal(&inner.seal, &head.id)))
    }

    /// Returns the outcome of one attempt, and whether a copy may have arrived although it was not confirmed; `None`
    /// when the lane was lost meanwhile.
    async fn attempt(
        &self,
        lane: &[u8],
        head: &Head,
        payload: &Payload,
        files: &[File],
    ) -> Option<(Outcome, bool)> {
        let number = usize::try_from(head.pieces_done).unwrap_or(usize::MAX);
        let Some(piece) = payload.pieces.get(number) else {
            let outcome = Outcome::refused(
                "the stored message has fewer pieces than it should",
                "drop the entry and send it again",
            );
            return Some((outcome, head.maybe_sent));
        };
        let keeper = LaneCheckpoint {
            engine: self,
            lane,
            head,
            payload,
            number,
            repeated: AtomicBool::new(false),
            notes: Mutex::default(),
            doubt: AtomicBool::new(true),
        };
        let request = DeliveryRequest {
            destination: &payload.destination,
            piece,
            files,
            repeat: head.maybe_sent,
            accepted_at_ms: head.accepted_at,
            checkpoint: &keeper,
        };
        let delivery = tokio::time::timeout(self.settings.attempt, self.outbox.0.transport.deliver(request));
        let outcome = tokio::select! {
            outcome = delivery => Some(outcome.unwrap_or_else(|_| {
                let longest = span_text(self.settings.attempt);
                Outcome::deferred(format!("there was no outcome within {longest}"), "check that the server answers")
            })),
            () = self.keep_lease(lane) => None,
            () = self.cut_off() => {
                // The next attempt looks first whether this one arrived.
                let _ = self.outbox.0.store.release(lane, &self.owner, self.now()).await;
                None
            }
        };
        if keeper.repeated.load(Ordering::Relaxed) {
            let text = "it was sent a second time under the same id: the connection broke, and no archive shows \
                        whether the first one arrived";
            self.outbox.remark(&head.id, Remark::Repeated, text).await;
        }
        let notes = keeper.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
        for note in notes {
            self.outbox.remark(&head.id, Remark::Note, &note).await;
        }
        Some((outcome?, keeper.doubt.load(Ordering::Relaxed)))
    }

    /// Waits until no time is left.
    async fn cut_off(&self) {
        let mut cut = self.cut.clone();
        if cut.wait_for(|cut| *cut).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Renews the lease for as long as it can be renewed.
    async fn keep_lease(&self, lane: &[u8]) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.settings.lease / 3).await;
            // A lease is only worth something in the time that the others have.
            let _ = self.outbox.0.checked_now_ms().await;
            match self.outbox.0.store.renew(lane, &self.owner, self.lease()).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => return,
                // After the lease expires, the owner of the lane is unknown.
                Err(_) if renewed.elapsed() > self.settings.lease => return,
                Err(_) => {}
            }
        }
    }

    fn ending(&self, head: &Head, pieces: i64, failures: i64, outcome: &Outcome) -> Ending {
        match outcome {
            Outcome::Delivered { .. } | Outcome::Partial { .. } if head.pieces_done + 1 < pieces => {
                Ending::Piece
            }
            Outcome::Partial { .. } => Ending::Partial,
            handed_over if handed_over.is_handed_over() => Ending::HandedOver,
            Outcome::Delivered { .. } => Ending::Delivered,
            Outcome::Refused { .. } => Ending::Refused,
            Outcome::Deferred { retry_after, .. } => {
                let settings = &self.settings;
                let failures = u32::try_from(failures + 1).unwrap_or(u32::MAX);
                let jitter = self.outbox.0.jitter.as_ref();
                let pause = backoff(failures, settings.first_pause, settings.longest_pause, jitter);
                let (pause, hold) = match retry_after {
                    Some(asked) if *asked >= pause => (*asked, Hold::AskedToWait),
                    _ => (pause, Hold::Backoff),
                };
                Ending::Deferred {
                    due: self.now().saturating_add(span_ms(pause)),
                    hold: hold.code(),
                }
            }
        }
    }

    fn expired(&self, head: &Head) -> Outcome {
        let lived = Duration::from_millis(u64::try_from(head.expires_at - head.accepted_at).unwrap_or(0));
        let last = self.outbox.0.open_outcome(&head.id, head.outcome.as_deref());
        let mut reason = format!("not delivered within {}", span_text(lived));
        if let Some(last) = last.as_ref().and_then(Outcome::reason) {
            reason = format!("{reason}; last: {last}");
        }
        if head.maybe_sent {
            reason.push_str("; it is unknown whether the last attempt arrived");
        }
        let remedy = last
            .as_ref()
            .and_then(Outcome::remedy)
            .filter(|remedy| !remedy.is_empty());
        Outcome::refused(
            reason,
            remedy.unwrap_or("make sure that the target can be reached, then run `ackpost outbox retry`"),
        )
    }

    /// Stores the end of an entry that was not tried this time.
    async fn settle_untried(
        &self,
        lane: &[u8],
        head: &Head,
        ending: Ending,
        outcome: &Outcome,
    ) -> Result<Option<Next>, OutboxError> {
        self.settle(lane, head, ending, outcome, head.maybe_sent).await
    }

    /// Stores the result, and retries if that fails: the attempt was made and cannot be taken back.
    async fn settle(
        &self,
        lane: &[u8],
        head: &Head,
        ending: Ending,
        outcome: &Outcome,
        maybe_sent: bool,
    ) -> Result<Option<Next>, OutboxError> {
        let inner = &self.outbox.0;
        let sealed = inner.seal_outcome(&head.id, outcome);
        let insist = Instant::now() + INSIST;
        let counter = match ending {
            Ending::Piece => None,
            Ending::Delivered | Ending::HandedOver => Some(&self.counts.delivered),
            Ending::Partial => Some(&self.counts.partial),
            Ending::Deferred { .. } => Some(&self.counts.deferred),
            Ending::Refused => Some(&self.counts.refused),
            Ending::Expired => Some(&self.counts.expired),
        };
        let mut settle = AttemptEnd {
            lane,
            owner: &self.owner,
            head,
            now: self.now(),
            until: self.lease(),
            ending,
            maybe_sent,
            outcome: &sealed,
            link: inner.link_of(lane, head, outcome, self.now()),
            again: false,
        };
        loop {
            match inner.store.settle(&settle).await {
                Ok(Next::Lost) => return Ok(None),
                Ok(next) => {
                    if let Some(counter) = counter {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                    if matches!(settle.ending, Ending::Partial | Ending::Refused | Ending::Expired) {
                        self.counts.fail(&head.id);
                    }
                    remarks::attempt(head, &settle.ending, outcome);
                    inner.changed();
                    return Ok(Some(next));
                }
                Err(error) if error.may_pass() && Instant::now() < insist && !*self.stopped.borrow() => {
                    tracing::warn!(%error, "an outcome cannot be written down yet");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    settle.again = true;
                    settle.now = self.now();
                    settle.until = self.lease();
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn files(&self, head: &Head) -> Result<Vec<File>, OutboxError> {
        let Some(bundle) = head.bundle.as_ref().filter(|_| head.pieces_done == 0) else {
            return Ok(Vec::new());
        };
        let inner = &self.outbox.0;
        let rows = inner.store.files(bundle).await?;
        super::files::open(&inner.seal, &head.id, bundle, &rows)
    }
}

/// Returns the reason why an entry may not be sent now, and the time until which it holds.
fn holds(payload: &Payload, history: &LaneHistory, now: i64) -> Option<(i64, Hold)> {
    if let Some(until) = payload.rules.quiet_until(now) {
        return Some((until, Hold::Quiet));
    }
    let until = payload.rules.budget?.not_before(&history.recent, now)?;
    Some((until, Hold::Budget))
}

fn times(bytes: &[u8]) -> Vec<i64> {
    bytes
        .chunks_exact(8)
        .filter_map(|chunk| chunk.try_into().ok().map(i64::from_le_bytes))
        .collect()
}

/// The times of the latest posts with this one, as many as the budget needs.
fn remember(payload: &Payload, mut recent: Vec<i64>, now: i64) -> Vec<u8> {
    let Some(budget) = payload.rules.budget else {
        return Vec::new();
    };
    recent.push(now);
    let keep = budget.remembered();
    let from = recent.len().saturating_sub(keep);
    recent[from..]
        .iter()
        .flat_map(|time| time.to_le_bytes())
        .collect()
}

struct LaneCheckpoint<'a> {
    engine: &'a LaneWorker,
    lane: &'a [u8],
    head: &'a Head,
    payload: &'a Payload,
    number: usize,
    repeated: AtomicBool,
    notes: Mutex<Vec<String>>,
    /// A copy may have arrived.
    doubt: AtomicBool,
}

impl Checkpoint for LaneCheckpoint<'_> {
    fn save(&self, encoded: Encoded) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let inner = &self.engine.outbox.0;
            let mut payload = self.payload.clone();
            let Some(piece) = payload.pieces.get_mut(self.number) else {
                return false;
            };
            *piece = encoded;
            let sealed = payload.seal(&inner.seal, &self.head.id);
            inner
                .store
                .keep(self.lane, &self.engine.owner, self.head.seq, &sealed)
                .await
                .unwrap_or(false)
        })
    }

    fn repeated(&self) {
        self.repeated.store(true, Ordering::Relaxed);
    }

    fn doubt(&self, may_have_arrived: bool) {
        self.doubt.store(may_have_arrived, Ordering::Relaxed);
    }

    fn noted(&self, notes: Vec<String>) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(notes);
    }
}
