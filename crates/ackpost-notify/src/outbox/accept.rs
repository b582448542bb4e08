//! Taking messages in: everything is worked out first, then stored in one commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::carrier::{Carrier, Hidden, Route, Stamp, StoredFile, StoredMessage};
use super::clock::span_ms;
use super::error::OutboxError;
use super::outbox::Outbox;
use super::payload::{Fold, Payload, Shared, Slim};
use super::seal::Seal;
use super::slots::Shares;
use super::store::{AcceptRequest, AcceptResult, Content, Draft, Guard, Plan, Store};
use super::types::{AcceptOptions, Accepted, OutboxId, State, StoredOutcome};
use crate::message::Message;
use crate::outcome::{Confirmation, Outcome};
use crate::queue_rules::Rules;

/// At most so many calls are stored in one transaction.
const BATCH: usize = 128;
/// So many calls may wait to be stored; further ones wait for room.
const QUEUE: usize = 1024;
/// How old the count of waiting entries may be.
const COUNT_AGE: Duration = Duration::from_secs(1);
/// How long a database that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many lanes have their latest stamp remembered.
const REMEMBERED_STAMPS: usize = 4096;

/// One message for one target, not yet stored.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Where it goes.
    pub route: Route,
    /// How it is queued.
    pub rules: Rules,
}

/// The targets of one service.
pub(super) struct Bundle {
    pub(super) parcels: Vec<Parcel>,
    /// The URL that names all of them. With it, what they have in common is stored once.
    pub(super) whole: Option<Hidden>,
}

impl Bundle {
    /// Targets that share nothing.
    pub(super) fn of(parcels: Vec<Parcel>) -> Self {
        Self { parcels, whole: None }
    }
}

/// The targets of one service that share a row.
struct Sharing {
    id: i64,
    /// How many pieces the message has, for every target.
    pieces: i64,
    origin: Option<String>,
}

impl Outbox {
    /// Stores a message for targets in one durable commit: after this it is not lost, before it nothing is sent.
    /// `files` are the attachments of the message, read in.
    pub async fn accept_parcels(
        &self,
        message: &Message,
        files: &[StoredFile],
        parcels: Vec<Parcel>,
        options: &AcceptOptions,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let accepted = self
            .store_parcels(message, files, vec![Bundle::of(parcels)], options, None)
            .await?;
        Ok(accepted)
    }

    pub(super) async fn store_parcels(
        &self,
        message: &Message,
        files: &[StoredFile],
        bundles: Vec<Bundle>,
        options: &AcceptOptions,
        guard: Option<Guard>,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let count = bundles.iter().map(|bundle| bundle.parcels.len()).sum();
        self.check_sizes(message, files, count)?;
        let inner = &self.0;
        let now = inner.now_ms().await?;
        let bundle = (!files.is_empty()).then(|| OutboxId::random().to_string());
        let mut drafts = Vec::with_capacity(count);
        let mut shared = Vec::new();
        let mut shown = Vec::with_capacity(count);
        for Bundle { parcels, whole } in bundles {
            let sharing = match (whole, parcels.first()) {
                (Some(whole), Some(first)) if options.missing_files.is_empty() => {
                    self.share(first, whole, message, options, &mut shared, files)?
                }
                _ => None,
            };
            for mut parcel in parcels {
                parcel.rules = merged(parcel.rules, options);
                let id = OutboxId::random();
                shown.push(Shown::of(&parcel.route));
                let mut draft = match &sharing {
                    Some(sharing) => self.slim_draft(&id, parcel, sharing, bundle.clone(), now),
                    None => self.draft(&id, parcel, options, message, bundle.clone(), now)?,
                };
                draft.is_alarm = guard.is_some();
                drafts.push(draft);
            }
        }
        let sealed = match &bundle {
            Some(bundle) => super::files::seal(&inner.seal, bundle, files),
            None => Vec::new(),
        };
        let request = AcceptRequest {
            now,
            drafts,
            bundle,
            files: sealed,
            shared,
            guard,
        };
        let result = inner.door.store(request).await?;
        inner.changed();
        Ok(result
            .stored
            .into_iter()
            .zip(shown)
            .map(|(stored, shown)| Accepted {
                id: stored.id.parse().unwrap_or_else(|_| OutboxId::random()),
                service: shown.service,
                url: shown.masked,
                url_id: shown.url_id,
                target: shown.target,
                state: if stored.collecting {
                    State::Collecting
                } else {
                    State::Waiting
                },
                folded: stored.folded,
                missing_files: options.missing_files.clone(),
            })
            .collect())
    }

    fn check_sizes(
        &self,
        message: &Message,
        files: &[StoredFile],
        targets: usize,
    ) -> Result<(), OutboxError> {
        let limits = &self.0.limits;
        if targets as u64 > limits.targets {
            return Err(OutboxError::TooManyTargets {
                targets: targets as u64,
                limit: limits.targets,
            });
        }
        let text = (message.title.len() + message.body.len()) as u64;
        if text > limits.text_bytes {
            return Err(OutboxError::TooLarge {
                what: "the message".to_owned(),
                bytes: text,
                limit: limits.text_bytes,
            });
        }
        let bytes: u64 = files.iter().map(|file| file.bytes.len() as u64).sum();
        if bytes > limits.file_bytes {
            return Err(OutboxError::TooLarge {
                what: "all files together".to_owned(),
                bytes,
                limit: limits.file_bytes,
            });
        }
        Ok(())
    }

    /// Seals what the targets of one URL have in common. `None`: a digest or a fold is collected for each target, so
    /// that each needs the message for itself.
    fn share(
        &self,
        first: &Parcel,
        whole: Hidden,
        message: &Message,
        options: &AcceptOptions,
        shared: &mut Vec<(i64, Vec<u8>)>,
        files: &[StoredFile],
    ) -> Result<Option<Sharing>, OutboxError> {
        let inner = &self.0;
        let rules = merged(first.rules.clone(), options);
        let digest = rules.digest.is_some() && files.is_empty();
        if digest || rules.dedup.is_some() {
            return Ok(None);
        }
        // Rendered once: the number of pieces does not depend on the target.
        let id = OutboxId::random();
        let prepared = prepare(inner.carrier.as_ref(), &first.route, message, &id, 0);
        let pieces = prepared.map_err(|(cause, remedy)| OutboxError::Unsendable { cause, remedy })?;
        let sharing = Sharing {
            id: random_number(),
            pieces: count_of(&pieces),
            origin: options.origin.clone(),
        };
        let stored = StoredMessage::new(message, !files.is_empty());
        let row = Shared::new(&first.route, whole, rules, stored);
        shared.push((sharing.id, row.seal(&inner.seal, sharing.id)));
        Ok(Some(sharing))
    }

    fn slim_draft(
        &self,
        id: &OutboxId,
        Parcel { route, rules }: Parcel,
        sharing: &Sharing,
        bundle: Option<String>,
        now: i64,
    ) -> Draft {
        let inner = &self.0;
        let lane = inner.lane_of(&route);
        let stamp = inner.door.take_stamp(&lane, now);
        inner.door.take_up_to(&lane, stamp + sharing.pieces - 1);
        Draft {
            id: id.to_string(),
            label: inner.seal_label(id.as_str(), &route, sharing.origin.as_deref()),
            shares: Shares::of(&inner.seal, &route, sharing.origin.as_deref()),
            lane,
            service: route.service,
            ttl_ms: span_ms(rules.time_to_live()),
            alarm_after_ms: rules.alarm_after.map(span_ms),
            bundle,
            share: Some(sharing.id),
            is_alarm: false,
            dedup: None,
            plan: Plan::Send {
                pieces: sharing.pieces,
            },
            stamp,
            content: Box::new(SlimRow {
                seal: Arc::clone(&inner.seal),
                id: id.clone(),
                address: route.address,
            }),
        }
    }

    fn draft(
        &self,
        id: &OutboxId,
        Parcel { route, rules }: Parcel,
        options: &AcceptOptions,
        message: &Message,
        bundle: Option<String>,
        now: i64,
    ) -> Result<Draft, OutboxError> {
        let inner = &self.0;
        // An entry belongs to one origin; without one the names are those of earlier versions.
        let origin = options.origin.as_deref();
        let fold_key = |parts: &[&[u8]]| match origin {
            Some(origin) => inner
                .seal
                .name(&[parts, &[b"origin", origin.as_bytes()]].concat()),
            None => inner.seal.name(parts),
        };
        let lane = inner.lane_of(&route);
        let dedup = rules.dedup.as_ref().map(|dedup| {
            let key = if dedup.key == "auto" {
                fold_key(&[
                    b"repeat of text",
                    message.title.as_bytes(),
                    message.body.as_bytes(),
                ])
            } else {
                fold_key(&[b"repeat", dedup.key.as_bytes()])
            };
            (key, span_ms(dedup.window))
        });
        // Files cannot be shown in a digest: such a message goes by itself.
        let digest = rules.digest.filter(|_| bundle.is_none());
        let stored = StoredMessage::new(message, bundle.is_some());
        let stamp = inner.door.take_stamp(&lane, now);
        let mut payload = Payload {
            route,
            rules,
            fold: Fold::None,
            messages: vec![stored.clone()],
            partial: without_files(&options.missing_files),
            pieces: Vec::new(),
            share: None,
        };
        let prepared = prepare(inner.carrier.as_ref(), &payload.route, message, id, stamp);
        let pieces = prepared.map_err(|(cause, remedy)| OutboxError::Unsendable { cause, remedy })?;
        let plan = if let Some(span) = digest {
            payload.fold = Fold::Digest;
            Plan::Digest {
                key: fold_key(&[b"digest"]),
                span_ms: span_ms(span),
            }
        } else {
            let count = count_of(&pieces);
            payload.pieces = pieces;
            Plan::Send { pieces: count }
        };
        if let Plan::Send { pieces } = plan {
            inner.door.take_up_to(&lane, stamp + pieces - 1);
        }
        // Sealed here, where calls run beside each other, not where they are written one after the other.
        let ready = payload.seal(&inner.seal, id.as_str());
        Ok(Draft {
            id: id.to_string(),
            label: inner.seal_label(id.as_str(), &payload.route, origin),
            shares: Shares::of(&inner.seal, &payload.route, origin),
            lane,
            service: payload.route.service.clone(),
            ttl_ms: span_ms(payload.rules.time_to_live()),
            alarm_after_ms: payload.rules.alarm_after.map(span_ms),
            bundle,
            share: None,
            is_alarm: false,
            dedup,
            plan,
            stamp,
            content: Box::new(Row {
                seal: Arc::clone(&inner.seal),
                carrier: Arc::clone(&inner.carrier),
                id: id.clone(),
                stamp,
                ready,
                message: stored,
                payload,
            }),
        })
    }
}

impl super::outbox::Inner {
    /// The lane of a target: the same for every URL that leads there with the same account.
    pub(super) fn lane_of(&self, route: &Route) -> Vec<u8> {
        self.seal.name(&[
            b"lane",
            route.service.as_bytes(),
            route.url_id.as_bytes(),
            route.address.as_bytes(),
        ])
    }
}

/// Fixes the pieces of a message, or says why it can never be sent.
pub(super) fn prepare(
    carrier: &dyn Carrier,
    route: &Route,
    message: &Message,
    id: &OutboxId,
    stamp: i64,
) -> Result<Vec<super::carrier::Wire>, (String, String)> {
    let stamp = Stamp {
        sent_at_ms: u64::try_from(stamp).unwrap_or(0),
        id: id.to_string(),
    };
    match carrier.prepare(route, message, &stamp) {
        Ok(pieces) if pieces.is_empty() => Err((
            "there is nothing to send: title and body are empty".to_owned(),
            "give a body or a title".to_owned(),
        )),
        Ok(pieces) => Ok(pieces),
        Err(Outcome::Deferred { reason, remedy, .. } | Outcome::Refused { reason, remedy }) => {
            Err((reason, remedy))
        }
        Err(Outcome::Delivered { .. } | Outcome::Partial { .. }) => {
            Err(("it cannot be rendered".to_owned(), "report this".to_owned()))
        }
    }
}

/// How many pieces, as the database counts.
pub(super) fn count_of(pieces: &[super::carrier::Wire]) -> i64 {
    i64::try_from(pieces.len()).unwrap_or(i64::MAX)
}

fn merged(mut rules: Rules, options: &AcceptOptions) -> Rules {
    rules.ttl = options.ttl.or(rules.ttl);
    rules.dedup = options.dedup.clone().or(rules.dedup);
    rules.digest = options.digest.or(rules.digest);
    rules.budget = options.budget.or(rules.budget);
    rules.quiet = options.quiet.or(rules.quiet);
    rules
}

/// What the caller of an accept is told about a target.
struct Shown {
    service: String,
    masked: String,
    url_id: String,
    target: String,
}

impl Shown {
    fn of(route: &Route) -> Self {
        Self {
            service: route.service.clone(),
            masked: route.masked.clone(),
            url_id: route.url_id.clone(),
            target: route.target.clone(),
        }
    }
}

/// A number that nobody else takes: 63 random bits.
fn random_number() -> i64 {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    i64::from_le_bytes(bytes) & i64::MAX
}

/// What a draft adds to a shared row.
struct SlimRow {
    seal: Arc<Seal>,
    id: OutboxId,
    address: String,
}

impl Content for SlimRow {
    fn fixed(&self, first_stamp: i64) -> Vec<u8> {
        let slim = Slim {
            address: self.address.clone(),
            stamp: first_stamp,
            pieces: Vec::new(),
            partial: None,
        };
        slim.seal(&self.seal, self.id.as_str())
    }

    fn follow_up(&self) -> Vec<u8> {
        self.fixed(0)
    }

    fn collected(&self, _id: &str, _sealed: Option<&[u8]>) -> Option<Vec<u8>> {
        None
    }
}

/// What a draft holds; sealed when the store asks for it.
struct Row {
    seal: Arc<Seal>,
    carrier: Arc<dyn Carrier>,
    id: OutboxId,
    stamp: i64,
    /// Sealed as it is, for `stamp`.
    ready: Vec<u8>,
    message: StoredMessage,
    payload: Payload,
}

impl Content for Row {
    fn fixed(&self, first_stamp: i64) -> Vec<u8> {
        if first_stamp == 0 || first_stamp == self.stamp {
            return self.ready.clone();
        }
        // Another process took these stamps first.
        let mut payload = self.payload.clone();
        let again = prepare(
            self.carrier.as_ref(),
            &payload.route,
            &self.message.to_message(),
            &self.id,
            first_stamp,
        );
        if let Ok(pieces) = again
            && pieces.len() == payload.pieces.len()
        {
            payload.pieces = pieces;
        }
        payload.seal(&self.seal, self.id.as_str())
    }

    fn follow_up(&self) -> Vec<u8> {
        let mut payload = self.payload.clone();
        payload.fold = Fold::Repeats;
        payload.pieces = Vec::new();
        payload.seal(&self.seal, self.id.as_str())
    }

    fn collected(&self, id: &str, sealed: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut payload = Payload::open(&self.seal, id, sealed).ok()?;
        payload.collect(self.message.clone());
        Some(payload.seal(&self.seal, id))
    }
}

type Answer = oneshot::Sender<Result<AcceptResult, OutboxError>>;

/// Where messages come in: calls that arrive together are stored in one transaction.
pub(super) struct Door {
    queue: Mutex<Option<mpsc::Sender<(AcceptRequest, Answer)>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stamps: Mutex<HashMap<Vec<u8>, i64>>,
}

impl Door {
    pub(super) fn open(store: Arc<Store>, limit: u64) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(write(store, limit, requests));
        Self {
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(writer)),
            stamps: Mutex::default(),
        }
    }

    async fn store(&self, request: AcceptRequest) -> Result<AcceptResult, OutboxError> {
        let queue = lock(&self.queue).clone().ok_or(OutboxError::Closed)?;
        let (answer, result) = oneshot::channel();
        queue
            .send((request, answer))
            .await
            .map_err(|_| OutboxError::Closed)?;
        result.await.map_err(|_| OutboxError::Closed)?
    }

    /// A stamp that is probably free, taken for a message of one piece; the store corrects it when it is not.
    fn take_stamp(&self, lane: &[u8], now: i64) -> i64 {
        let mut stamps = lock(&self.stamps);
        if let Some(last) = stamps.get_mut(lane) {
            *last = now.max(*last + 1);
            return *last;
        }
        if stamps.len() >= REMEMBERED_STAMPS {
            stamps.clear();
        }
        stamps.insert(lane.to_vec(), now);
        now
    }

    /// Takes the stamps of further pieces.
    fn take_up_to(&self, lane: &[u8], end: i64) {
        if let Some(last) = lock(&self.stamps).get_mut(lane) {
            *last = end.max(*last);
        }
    }

    pub(super) async fn close(&self) {
        drop(lock(&self.queue).take());
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            let _ = writer.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(store: Arc<Store>, limit: u64, mut requests: mpsc::Receiver<(AcceptRequest, Answer)>) {
    let mut waiting = Waiting::default();
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        let (mut calls, mut answers) = (Vec::new(), Vec::new());
        for (request, answer) in batch.drain(..) {
            match waiting.admit(&store, limit, request.drafts.len()).await {
                Ok(()) => {
                    calls.push(request);
                    answers.push(answer);
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        }
        if calls.is_empty() {
            continue;
        }
        match store.accept(&calls).await {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    let _ = answer.send(Ok(result));
                }
            }
            // One call of the batch may be to blame, or the connection broke: each by itself.
            Err(error) => {
                let passing = error.is_passing() && !error.is_full();
                let alone = calls.len() == 1;
                let mut first = Some(error);
                for (call, answer) in calls.into_iter().zip(answers) {
                    let result = if alone && !passing {
                        Err(first.take().unwrap_or(OutboxError::Closed))
                    } else {
                        again(&store, &call).await
                    };
                    let _ = answer.send(result);
                }
            }
        }
    }
}

/// Stores a call, with patience for a database that is restarting. A call that was stored although the answer got
/// lost is not stored twice.
async fn again(store: &Store, call: &AcceptRequest) -> Result<AcceptResult, OutboxError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.accept(std::slice::from_ref(call)).await {
            Ok(mut results) => return Ok(results.pop().unwrap_or_default()),
            Err(error) if error.is_passing() && !error.is_full() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// How many entries wait, counted now and then.
#[derive(Default)]
struct Waiting {
    count: u64,
    counted: Option<Instant>,
}

impl Waiting {
    async fn admit(&mut self, store: &Store, limit: u64, more: usize) -> Result<(), OutboxError> {
        if self.counted.is_none_or(|at| at.elapsed() > COUNT_AGE) {
            self.count = u64::try_from(store.count_waiting().await?).unwrap_or(0);
            self.counted = Some(Instant::now());
        }
        if self.count + more as u64 > limit {
            return Err(OutboxError::TooManyWaiting {
                waiting: self.count,
                limit,
            });
        }
        self.count += more as u64;
        Ok(())
    }
}
/// The outcome of an entry whose files could not all be read.
fn without_files(missing: &[String]) -> Option<StoredOutcome> {
    let arrived = Outcome::Delivered {
        confirmed_by: Confirmation::Server,
        id: None,
    };
    (!missing.is_empty()).then(|| StoredOutcome::from(&arrived.without_files(missing)))
}
