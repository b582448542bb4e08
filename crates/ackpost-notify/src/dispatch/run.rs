//! A whole run: chains, services, verdict.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::message::Message;
use crate::notifier::Options;
use crate::outcome::{Lack, Outcome};
use crate::problem::Diagnostic;
use crate::report::{Report, Status, TargetReport};
use crate::service::{Chunk, Service};
use crate::tag::{Chain, Tag, TagFilter};

use super::lane::{Lane, LaneState, Shared, with};
use super::{ConnectionPool, File, MessageId, Plan, Prepared, attach};

/// Note of a message that `overflow=truncate` shortened.
pub(crate) const CUT_OFF: &str =
    "cut off: the text is longer than one message of the service, and overflow=truncate sends its beginning";

/// One service of the run.
struct Job {
    service: Service,
    tags: Vec<Tag>,
    prepared: Prepared,
    retry: u32,
}

/// What became of one service.
#[derive(Debug)]
struct Done {
    targets: Vec<TargetReport>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Delivered,
    /// Failed, but optional.
    Excused,
    Failed,
    TimedOut,
    /// Every target has the text, some without its files.
    Incomplete,
}

/// Sends a plan.
pub(crate) async fn run(
    options: &Options,
    courier: &ConnectionPool,
    message: &Message,
    plan: Plan<'_>,
    filter: &TagFilter,
    mut problems: Vec<Diagnostic>,
) -> Report {
    let started = Instant::now();
    let mut jobs = Vec::new();
    let mut unprepared = 0;
    for planned in plan.services {
        match planned.prepared {
            Ok(prepared) => jobs.push(Job {
                retry: filter
                    .retry_override(&planned.entry.tags)
                    .unwrap_or(planned.service.common().retry),
                service: planned.service,
                tags: planned.entry.tags.clone(),
                prepared,
            }),
            Err(problem) => {
                unprepared += 1;
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
    }
    let (files, missing) = attach::load(&message.attachments, courier.options(), courier.asset()).await;
    let has_text = !message.body.trim().is_empty() || !message.title.trim().is_empty();
    if !missing.is_empty() && files.is_empty() && !has_text {
        problems.extend(missing);
        return Report {
            targets: Vec::new(),
            problems,
            status: Status::Failure,
        };
    }
    let chains = filter.chains(&jobs.iter().map(|job| job.tags.as_slice()).collect::<Vec<_>>());
    let runner = Runner {
        jobs: &jobs,
        courier,
        files: files.into(),
        missing: missing.into_iter().map(|problem| problem.cause).collect(),
        deadline: options.limit.map(|limit| started + limit),
        service_limit: options.service_limit,
        sequential: options.sequential || !courier.asset().async_mode,
        done: Mutex::new(BTreeMap::new()),
    };
    let verdicts: Vec<bool> = if runner.sequential {
        let mut verdicts = Vec::new();
        for chain in &chains {
            verdicts.push(runner.chain(chain).await);
        }
        verdicts
    } else {
        join_all(chains.iter().map(|chain| runner.chain(chain))).await
    };
    let done = runner
        .done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let status = status(&done, &verdicts, unprepared, problems.len());
    Report {
        targets: done.into_values().flat_map(|done| done.targets).collect(),
        problems,
        status,
    }
}

struct Runner<'a> {
    jobs: &'a [Job],
    courier: &'a ConnectionPool,
    files: Arc<[File]>,
    /// Attachments that cannot be read, and why.
    missing: Vec<String>,
    deadline: Option<Instant>,
    service_limit: Option<Duration>,
    sequential: bool,
    done: Mutex<BTreeMap<usize, Done>>,
}

impl Runner<'_> {
    /// True when some group of the chain succeeded as a whole.
    async fn chain(&self, chain: &Chain) -> bool {
        for group in chain {
            let verdicts: Vec<Verdict> = if self.sequential {
                let mut verdicts = Vec::new();
                for job in group {
                    verdicts.push(self.job(*job).await);
                }
                verdicts
            } else {
                join_all(group.iter().map(|job| self.job(*job))).await
            };
            if verdicts
                .iter()
                .all(|verdict| matches!(verdict, Verdict::Delivered | Verdict::Excused))
            {
                return true;
            }
        }
        false
    }

    async fn job(&self, index: usize) -> Verdict {
        let done = self.send(&self.jobs[index]).await;
        let verdict = done.verdict;
        self.done
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(index, done);
        verdict
    }

    async fn send(&self, job: &Job) -> Done {
        let now = SystemTime::now();
        let lanes: Vec<(crate::service::Target, Shared)> = job
            .prepared
            .targets
            .iter()
            .map(|target| {
                (
                    target.clone(),
                    Arc::new(Mutex::new(LaneState::new(job.prepared.chunks.len().max(1)))),
                )
            })
            .collect();
        let work = join_all(lanes.iter().map(|(target, state)| {
            let chunks = &job.prepared.chunks;
            let fix = |chunk: &Chunk| job.service.fix(target, chunk, &MessageId::new(now));
            let pieces = if chunks.is_empty() {
                vec![fix(&Chunk::default())]
            } else {
                chunks.iter().map(fix).collect()
            };
            Lane {
                service: &job.service,
                courier: self.courier,
                target: target.clone(),
                pieces,
                files: Arc::clone(&self.files),
                retry: job.retry,
            }
            .run(state)
        }));
        let end = match (
            self.deadline,
            self.service_limit.map(|limit| Instant::now() + limit),
        ) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let in_time = if let Some(end) = end {
            tokio::time::timeout_at(end, work).await.is_ok()
        } else {
            work.await;
            true
        };
        let url_id = job.service.url_id(8);
        let targets: Vec<TargetReport> = lanes
            .into_iter()
            .map(|(target, state)| {
                report(
                    job,
                    &url_id,
                    &target,
                    with(&state, |state| state.clone()),
                    in_time,
                    &self.missing,
                )
            })
            .collect();
        let verdict = verdict(job, &targets);
        Done { targets, verdict }
    }
}

fn report(
    job: &Job,
    url_id: &str,
    target: &crate::service::Target,
    state: LaneState,
    in_time: bool,
    missing: &[String],
) -> TargetReport {
    let finished = state
        .outcome
        .as_ref()
        .is_some_and(|outcome| in_time || !matches!(outcome, Outcome::Deferred { .. }));
    let outcome = match state.outcome {
        Some(outcome) if finished => outcome.without_files(missing),
        earlier => {
            let so_far = earlier
                .as_ref()
                .and_then(Outcome::reason)
                .map(|reason| format!(" (last: {reason})"));
            Outcome::deferred(
                format!(
                    "the time limit was reached before it was confirmed{}",
                    so_far.unwrap_or_default()
                ),
                "send again, or raise the limit with --limit or --service-limit",
            )
        }
    };
    let mut notes = state.notes;
    if job.prepared.chunks.iter().any(|chunk| chunk.cut) {
        notes.insert(0, CUT_OFF.to_owned());
    }
    TargetReport {
        service: job.service.name(),
        // It names that target alone: the size of a report grows with the number of targets.
        url: job.service.masked_url_of(target),
        url_id: url_id.to_owned(),
        tags: job.tags.iter().map(|tag| tag.name.clone()).collect(),
        target: job.service.endpoint().target_label(target),
        address: target.address.clone(),
        outcome,
        attempts: state.attempts,
        elapsed: if finished {
            state.elapsed
        } else {
            state.started.elapsed()
        },
        optional: job.service.common().optional,
        pieces: state.pieces,
        timed_out: !finished,
        notes,
    }
}

fn verdict(job: &Job, targets: &[TargetReport]) -> Verdict {
    let has_text = |target: &TargetReport| {
        let lack = |lack| matches!(&target.outcome, Outcome::Partial { lack: found, .. } if *found == lack);
        target.outcome.is_delivered() || lack(Lack::Files)
    };
    if targets.iter().all(|target| target.outcome.is_delivered()) {
        Verdict::Delivered
    } else if job.service.common().optional {
        Verdict::Excused
    } else if targets.iter().all(has_text) {
        Verdict::Incomplete
    } else if targets
        .iter()
        .filter(|target| !target.outcome.is_delivered())
        .all(|target| target.timed_out)
    {
        Verdict::TimedOut
    } else {
        Verdict::Failed
    }
}

/// The verdict on the run. A service counts as a whole: one refused room of two is a failure of that URL.
fn status(done: &BTreeMap<usize, Done>, chains: &[bool], unprepared: usize, problems: usize) -> Status {
    let any = |wanted: Verdict| done.values().any(|done| done.verdict == wanted);
    let delivered = any(Verdict::Delivered) || any(Verdict::Incomplete);
    let all_good = chains.iter().all(|good| *good) && unprepared == 0;
    if all_good && problems == 0 {
        return Status::Success;
    }
    if delivered {
        return Status::Partial;
    }
    if !all_good && any(Verdict::TimedOut) && !any(Verdict::Failed) && unprepared == 0 {
        return Status::Timeout;
    }
    Status::Failure
}
