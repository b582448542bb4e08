//! A whole run: chains, services, verdict.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::message::Message;
use crate::outcome::{Lack, Outcome};
use crate::problem::Diagnostic;
use crate::render::Chunk;
use crate::report::{Report, Status, TargetReport};
use crate::service::loaded::ServiceUrl;
use crate::service::target::Target;

use super::attach;
use super::delivery::{File, MessageId};
use super::lane::{Lane, LaneState, Shared, with};
use super::plan::Prepared;
use super::pool::ConnectionPool;

/// Note of a message that `overflow=truncate` shortened.
pub const CUT_OFF: &str =
    "cut off: the text is longer than one message of the service, and overflow=truncate sends its beginning";

/// Note of a message whose title is longer than the service takes.
pub const TITLE_CUT_OFF: &str = "cut off: the title is longer than the service takes with this message; shorten it, or put it into the text";

/// Groups of services, each given by its index in [`Run::jobs`], in the order they are tried.
///
/// The services of a group are sent to at the same time. The next group is tried only if a service of the group before
/// it failed.
pub type Chain = Vec<Vec<usize>>;

/// Rules of a run.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Time for a whole run; `None` means no limit.
    pub limit: Option<Duration>,
    /// Time for one service, retries and waits included; `None` means no limit. Default 1 minute.
    pub service_limit: Option<Duration>,
    /// One service after another instead of all at once.
    pub sequential: bool,
    /// A message that was handed over without proof counts as a failure.
    pub require_proof: bool,
}

crate::setters::setters!(RunOptions {
    with_limit(limit: Option<Duration>),
    with_service_limit(service_limit: Option<Duration>),
    with_sequential(sequential: bool),
    with_require_proof(require_proof: bool),
});

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            limit: None,
            service_limit: Some(Duration::from_mins(1)),
            sequential: false,
            require_proof: false,
        }
    }
}

/// One service of a run, with the message as it was prepared for it.
#[derive(Debug)]
pub struct Job {
    /// The service.
    pub service: ServiceUrl,
    /// Tags that the report names.
    pub tags: Vec<String>,
    /// Chunks and targets of the service.
    pub prepared: Prepared,
    /// Number of further attempts after the first.
    pub retry: u32,
}

/// A message for several services: what is sent, in which order, and what is known to be wrong.
///
/// ```no_run
/// use ackpost_notify::dispatch::{Job, Run, RunOptions, prepare};
/// use ackpost_notify::{Asset, ConnectionOptions, ConnectionPool, Context, Message, ServiceUrl};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let message = Message::new("disk full");
/// let mut jobs = Vec::new();
/// for url in ["xmpps://bot:secret@example.org/jane", "xmpps://bot:secret@example.net/joe"] {
///     let service = ServiceUrl::parse(url, &Context::default())?;
///     let prepared = prepare(&service, &message)?;
///     jobs.push(Job { service, tags: Vec::new(), prepared, retry: 0 });
/// }
/// // Joe gets it only if it does not reach Jane.
/// let run = Run::new(jobs).with_chains(vec![vec![vec![0], vec![1]]]);
/// let pool = ConnectionPool::new(ConnectionOptions::default(), Asset::default());
/// run.send(&RunOptions::default(), &pool, &message).await.into_result()?;
/// pool.close().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Run {
    /// The services.
    pub jobs: Vec<Job>,
    /// Chains, which run at the same time; of one chain one group has to succeed as a whole. A service that is in no chain
    /// is not sent to.
    pub chains: Vec<Chain>,
    /// Number of services that the message could not be prepared for; they count as failures.
    pub unprepared: usize,
    /// Problems that are known already; with one of them no run is a full success.
    pub problems: Vec<Diagnostic>,
}

crate::setters::setters!(Run {
    with_chains(chains: Vec<Chain>),
    with_unprepared(unprepared: usize),
    with_problems(problems: Vec<Diagnostic>),
});

impl Run {
    /// A run that sends to all services at the same time.
    pub fn new(jobs: Vec<Job>) -> Self {
        Self {
            chains: if jobs.is_empty() {
                Vec::new()
            } else {
                vec![vec![(0..jobs.len()).collect()]]
            },
            jobs,
            unprepared: 0,
            problems: Vec::new(),
        }
    }

    /// Sends the message, from which the jobs were prepared, and says what became of it at each target.
    pub async fn send(self, options: &RunOptions, pool: &ConnectionPool, message: &Message) -> Report {
        run(options, pool, message, self).await
    }
}

/// Result of one service.
#[derive(Debug)]
struct Done {
    targets: Vec<TargetReport>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Delivered,
    /// The service failed, but it is optional.
    Excused,
    Failed,
    TimedOut,
    /// Every target has the text, some without its files.
    Incomplete,
}

/// Sends what is prepared.
async fn run(options: &RunOptions, pool: &ConnectionPool, message: &Message, run: Run) -> Report {
    let started = Instant::now();
    let Run {
        jobs,
        chains,
        unprepared,
        mut problems,
    } = run;
    let (files, missing) = attach::load(&message.attachments, pool.options(), pool.asset()).await;
    let has_text = !message.body.trim().is_empty() || !message.title.trim().is_empty();
    if !missing.is_empty() && files.is_empty() && !has_text {
        problems.extend(missing);
        return Report {
            targets: Vec::new(),
            problems,
            status: Status::Failure,
        };
    }
    let runner = Runner {
        jobs: &jobs,
        pool,
        files: files.into(),
        missing: missing.into_iter().map(|problem| problem.cause).collect(),
        deadline: options.limit.map(|limit| started + limit),
        service_limit: options.service_limit,
        require_proof: options.require_proof,
        sequential: options.sequential || !pool.asset().async_mode,
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
    pool: &'a ConnectionPool,
    files: Arc<[File]>,
    /// Attachments that cannot be read, and why.
    missing: Vec<String>,
    deadline: Option<Instant>,
    service_limit: Option<Duration>,
    require_proof: bool,
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
        // Chains come from the caller: an index of no service is a service that failed.
        let Some(job) = self.jobs.get(index) else {
            return Verdict::Failed;
        };
        let done = self.send(job).await;
        let verdict = done.verdict;
        self.done
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(index, done);
        verdict
    }

    async fn send(&self, job: &Job) -> Done {
        let now = SystemTime::now();
        let lanes: Vec<(Target, Shared)> = job
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
            let encode = |chunk: &Chunk| job.service.encode(target, chunk, &MessageId::new(now));
            let pieces = if chunks.is_empty() {
                vec![encode(&Chunk::default())]
            } else {
                chunks.iter().map(encode).collect()
            };
            Lane {
                service: &job.service,
                pool: self.pool,
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
        let verdict = verdict(job, &targets, self.require_proof);
        Done { targets, verdict }
    }
}

fn report(
    job: &Job,
    url_id: &str,
    target: &Target,
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
                if state.may_have_arrived {
                    "it may have arrived; look for it before you send it again, and raise the limit with --limit or \
                     --service-limit"
                } else {
                    "send again, or raise the limit with --limit or --service-limit"
                },
            )
        }
    };
    let mut notes = state.notes;
    let chunks = &job.prepared.chunks;
    for (note, is_cut) in [
        (TITLE_CUT_OFF, chunks.iter().any(|chunk| chunk.title_cut)),
        (CUT_OFF, chunks.iter().any(|chunk| chunk.cut)),
    ] {
        if is_cut {
            notes.insert(0, note.to_owned());
        }
    }
    TargetReport {
        service: job.service.name(),
        // It names that target alone: the size of a report grows with the number of targets.
        url: job.service.short_url_of(target),
        url_id: url_id.to_owned(),
        tags: job.tags.clone(),
        target: job.service.target_label(target),
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

fn verdict(job: &Job, targets: &[TargetReport], require_proof: bool) -> Verdict {
    let good = |outcome: &Outcome| outcome.is_delivered() && !(require_proof && outcome.is_handed_over());
    let has_text = |target: &TargetReport| {
        let lack = |lack| matches!(&target.outcome, Outcome::Partial { lack: found, .. } if *found == lack);
        good(&target.outcome) || lack(Lack::Files)
    };
    if targets.iter().all(|target| good(&target.outcome)) {
        Verdict::Delivered
    } else if job.service.common().optional {
        Verdict::Excused
    } else if targets.iter().all(has_text) {
        Verdict::Incomplete
    } else if targets
        .iter()
        .filter(|target| !good(&target.outcome))
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
