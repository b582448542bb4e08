//! The queue of the outbox: calls that arrive together are stored in one transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::OutboxError;
use super::store::{AcceptRequest, AcceptResult, FoldPlan, Store};

/// Most calls that are stored in one transaction.
const BATCH: usize = 128;
/// Most calls that wait to be stored; further ones wait for room.
const QUEUE: usize = 1024;
/// Greatest age of the count of waiting entries.
const COUNT_AGE: Duration = Duration::from_secs(1);
/// Time to wait for a database that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of lanes whose latest stamp is remembered.
const REMEMBERED_STAMPS: usize = 4096;

type ResultSender = oneshot::Sender<Result<AcceptResult, OutboxError>>;

/// Queue of incoming messages. Calls that arrive together are stored in one transaction.
pub(super) struct AcceptQueue {
    queue: Mutex<Option<mpsc::Sender<(AcceptRequest, ResultSender)>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stamps: Mutex<HashMap<Vec<u8>, i64>>,
}

impl AcceptQueue {
    pub(super) fn open(store: Arc<Store>, limit: u64) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(write(store, limit, requests));
        Self {
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(writer)),
            stamps: Mutex::default(),
        }
    }

    pub(super) async fn store(&self, request: AcceptRequest) -> Result<AcceptResult, OutboxError> {
        let queue = lock(&self.queue).clone().ok_or(OutboxError::Closed)?;
        let (answer, result) = oneshot::channel();
        queue
            .send((request, answer))
            .await
            .map_err(|_| OutboxError::Closed)?;
        result.await.map_err(|_| OutboxError::Closed)?
    }

    /// A stamp that is probably free, taken for a message of one piece; the store corrects it when it is not.
    pub(super) fn take_stamp(&self, lane: &[u8], now: i64) -> i64 {
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

    /// Forgets the latest stamps, because the clock was set; the store knows them, moved by as much.
    pub(super) fn forget_stamps(&self) {
        lock(&self.stamps).clear();
    }

    /// Takes the stamps of further pieces.
    pub(super) fn take_up_to(&self, lane: &[u8], end: i64) {
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

async fn write(store: Arc<Store>, limit: u64, mut requests: mpsc::Receiver<(AcceptRequest, ResultSender)>) {
    let mut waiting = QueuedRequest::default();
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
                let passing = error.may_pass() && !error.is_full();
                let alone = calls.len() == 1;
                let mut first = Some(error);
                for (call, answer) in calls.into_iter().zip(answers) {
                    let uncertain = first.as_ref().and_then(OutboxError::uncertain);
                    let result = if alone && !passing {
                        Err(first.take().unwrap_or(OutboxError::Closed))
                    } else if let Some(error) = uncertain.filter(|_| !is_recognised(&call)) {
                        Err(error)
                    } else {
                        again(&store, &call).await
                    };
                    let _ = answer.send(result);
                }
            }
        }
    }
}

/// True if a call that was stored is recognised by the ids of its entries. A message that is merged into another entry
/// leaves no id.
fn is_recognised(call: &AcceptRequest) -> bool {
    call.drafts
        .iter()
        .all(|draft| draft.dedup.is_none() && matches!(draft.plan, FoldPlan::Send { .. }))
}

/// Stores a call, with patience for a database that is restarting. A call that was stored although the answer got
/// lost is not stored twice.
async fn again(store: &Store, call: &AcceptRequest) -> Result<AcceptResult, OutboxError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.accept(std::slice::from_ref(call)).await {
            Ok(mut results) => return Ok(results.pop().unwrap_or_default()),
            Err(error @ OutboxError::Uncertain { .. }) if !is_recognised(call) => return Err(error),
            Err(error) if error.may_pass() && !error.is_full() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Number of waiting entries. It is counted again when it is too old.
#[derive(Default)]
struct QueuedRequest {
    count: u64,
    counted: Option<Instant>,
}

impl QueuedRequest {
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
