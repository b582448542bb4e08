//! One target of one service: its attempts, in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::{Confirmation, Outcome};
use crate::report::Pieces;
use crate::service::encoded::Encoded;
use crate::service::loaded::ServiceUrl;
use crate::service::target::Target;

use super::delivery::{Attempt, Delivery, File};
use super::pool::ConnectionPool;

/// Longest wait that a server may ask for within one run; longer ones end the attempts.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// State of a lane so far. It can be read from outside while the lane runs, so that a time limit loses nothing.
#[derive(Clone, Debug)]
pub(super) struct LaneState {
    pub(super) attempts: u32,
    pub(super) pieces: Pieces,
    pub(super) outcome: Option<Outcome>,
    pub(super) elapsed: Duration,
    pub(super) notes: Vec<String>,
    pub(super) started: Instant,
    /// A piece that was not confirmed may have arrived: it is on its way now, or an earlier attempt left this open.
    pub(super) may_have_arrived: bool,
}

impl LaneState {
    pub(super) fn new(total: usize) -> Self {
        Self {
            attempts: 0,
            pieces: Pieces { total, accepted: 0 },
            outcome: None,
            elapsed: Duration::ZERO,
            notes: Vec::new(),
            started: Instant::now(),
            may_have_arrived: false,
        }
    }
}

/// Shared view of a lane.
pub(super) type Shared = Arc<Mutex<LaneState>>;

pub(super) fn with<T>(state: &Shared, change: impl FnOnce(&mut LaneState) -> T) -> T {
    change(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Everything a lane needs.
pub(super) struct Lane<'a> {
    pub(super) service: &'a ServiceUrl,
    pub(super) pool: &'a ConnectionPool,
    pub(super) target: Target,
    pub(super) pieces: Vec<Encoded>,
    pub(super) files: Arc<[File]>,
    pub(super) retry: u32,
}

impl Lane<'_> {
    /// Attempts until every piece is accepted, one is permanently refused, or the attempts are used up. A piece that was
    /// accepted is never sent again.
    pub(super) async fn run(self, state: &Shared) {
        with(state, |state| state.started = Instant::now());
        let mut pending = self.pieces.clone();
        let mut taken = Accepted::default();
        let mut repeat = vec![false; pending.len()];
        for attempt in 0..=self.retry {
            with(state, |state| {
                state.attempts = attempt + 1;
                state.may_have_arrived = true;
            });
            let mut results = self.attempt(&mut pending, taken.is_empty(), &repeat).await;
            for (result, _) in results.iter_mut().zip(&repeat).filter(|(_, repeat)| **repeat) {
                say_open(result);
            }
            for (repeat, result) in repeat.iter_mut().zip(&results) {
                *repeat = result.leaves_doubt(*repeat);
            }
            // A piece that was taken is not sent again.
            let mut taken_now = results.iter().map(|result| result.outcome.is_taken());
            repeat.retain(|_| !taken_now.next().unwrap_or_default());
            let (left, failure) = settle(pending, results, &mut taken, state);
            pending = left;
            let outcome = failure.unwrap_or_else(|| taken.outcome());
            let last = attempt == self.retry;
            tracing::debug!(
                target = %self.service.target_label(&self.target),
                attempt = attempt + 1,
                accepted = taken.accepted.len(),
                left = pending.len(),
                ids = ?taken.accepted.iter().filter_map(|(_, id)| id.as_deref()).collect::<Vec<_>>(),
                outcome = outcome.word(),
                reason = outcome.reason().unwrap_or_default(),
                "attempted"
            );
            let wait = match &outcome {
                Outcome::Deferred { retry_after, .. } if !last => {
                    Some(self.service.common().wait().max(retry_after.unwrap_or_default()))
                }
                _ => None,
            };
            with(state, |state| {
                state.may_have_arrived = repeat.contains(&true);
                state.elapsed = state.started.elapsed();
                state.outcome = Some(outcome);
            });
            match wait {
                Some(wait) if wait <= LONGEST_WAIT => tokio::time::sleep(wait).await,
                _ => break,
            }
        }
    }

    /// Makes one attempt. If a server limits posts, pieces go one by one, each when the limit allows it.
    ///
    /// A piece that got its final form on the way (files uploaded, quoted message looked up) keeps it in `pending`: a
    /// repeat must be the same bytes, or the server could not be asked whether it has them already.
    async fn attempt(&self, pending: &mut [Encoded], first: bool, repeat: &[bool]) -> Vec<Attempt> {
        let final_forms = Arc::new(Mutex::new(Vec::new()));
        let delivery = |from: usize, pieces: Vec<Encoded>, files: Arc<[File]>| {
            let final_forms = Arc::clone(&final_forms);
            Delivery {
                target: self.target.clone(),
                pieces,
                files,
                repeat: repeat[from..].to_vec(),
                since: None,
                on_encoded: Some(Arc::new(move |n, piece| {
                    let mut forms = final_forms.lock().unwrap_or_else(PoisonError::into_inner);
                    forms.push((from + n, piece));
                    Box::pin(std::future::ready(true))
                })),
            }
        };
        let mut results = Vec::with_capacity(pending.len());
        let files = if first {
            Arc::clone(&self.files)
        } else {
            Arc::default()
        };
        if let Some((posts, window)) = self.service.pace() {
            let lane = format!("{}/{}", self.service.url_id(16), self.target.address);
            for (n, piece) in pending.iter().enumerate() {
                self.pool.pace(&lane, posts, window).await;
                let files = if n == 0 {
                    Arc::clone(&files)
                } else {
                    Arc::default()
                };
                let delivery = delivery(n, vec![piece.clone()], files);
                let result = self.service.deliver(self.pool, &delivery).await;
                let accepted = result.iter().all(|result| result.outcome.is_taken());
                results.extend(result);
                if !accepted {
                    break;
                }
            }
        } else {
            let delivery = delivery(0, pending.to_vec(), files);
            results = self.service.deliver(self.pool, &delivery).await;
        }
        let mut final_forms = final_forms.lock().unwrap_or_else(PoisonError::into_inner);
        for (n, form) in final_forms.drain(..) {
            if let Some(piece) = pending.get_mut(n) {
                *piece = form;
            }
        }
        results
    }
}

/// An attempt before this one was written, and this one could not find out what became of it: the remedy says so.
fn say_open(attempt: &mut Attempt) {
    if attempt.may_have_arrived
        && let Outcome::Deferred { remedy, .. } | Outcome::Refused { remedy, .. } = &mut attempt.outcome
        && !remedy.contains("may have arrived")
    {
        *remedy =
            format!("an earlier attempt may have arrived; look for it before you send it again; {remedy}");
    }
}

/// Sorts the results of one attempt: what was accepted, what is left, and the first failure.
fn settle(
    pending: Vec<Encoded>,
    results: Vec<Attempt>,
    taken: &mut Accepted,
    state: &Shared,
) -> (Vec<Encoded>, Option<Outcome>) {
    let mut left = Vec::new();
    let mut failure: Option<Outcome> = None;
    let mut results = results.into_iter();
    for piece in pending {
        let result = results.next().unwrap_or_else(|| {
            Attempt::new(Outcome::deferred(
                "it was not tried, because an earlier piece failed",
                "send again",
            ))
        });
        with(state, |state| {
            for note in result.notes {
                if !state.notes.contains(&note) {
                    state.notes.push(note);
                }
            }
        });
        match result.outcome {
            Outcome::Delivered { confirmed_by, id } => {
                taken.accepted.push((confirmed_by, id));
                with(state, |state| state.pieces.accepted += 1);
            }
            partial @ Outcome::Partial { .. } => {
                taken.partial.get_or_insert(partial);
            }
            other => {
                left.push(piece);
                if failure.is_none()
                    || matches!(&other, Outcome::Refused { .. })
                        && !matches!(&failure, Some(Outcome::Refused { .. }))
                {
                    failure = Some(other);
                }
            }
        }
    }
    (left, failure)
}

/// Pieces that the other side took.
#[derive(Debug, Default)]
struct Accepted {
    accepted: Vec<(Confirmation, Option<String>)>,
    /// The first piece that was taken, but not as it was asked for.
    partial: Option<Outcome>,
}

impl Accepted {
    fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.partial.is_none()
    }

    /// The outcome of a message whose pieces were all taken: the weakest confirmation among them, the id of the first.
    fn outcome(&self) -> Outcome {
        if let Some(partial) = &self.partial {
            return partial.clone();
        }
        let confirmed_by = self.accepted.iter().map(|(by, _)| *by).min();
        Outcome::Delivered {
            confirmed_by: confirmed_by.unwrap_or(Confirmation::Server),
            id: self.accepted.iter().find_map(|(_, id)| id.clone()),
        }
    }
}
