//! Python processes of the installed Apprise. Each delivers several messages at the same time, and each message is a request.

mod answer;
mod process;
#[cfg(all(test, unix))]
pub(crate) mod scripted;
mod start;
#[cfg(all(test, unix))]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ackpost_notify::{BoxFuture, Diagnostic, ServicePool};
use serde::Serialize;
use tokio::sync::Notify;
use zeroize::Zeroizing;

pub use self::answer::Installed;
pub(crate) use self::answer::WorkerResponse;
use self::process::Process;
use crate::find::Candidate;

/// Maximum number of processes at the same time.
const MOST: usize = 4;
/// Maximum number of deliveries of one process at the same time. They are in doubt together if it is killed.
const TOGETHER: usize = 8;
/// A delivery waits for so long for busy processes before it starts another one.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Time limit of one delivery. The process ends itself a little later if this program has ended by then.
pub(crate) const LONGEST: Duration = Duration::from_secs(65);
/// Number of messages after which a process is replaced.
const MESSAGES: u32 = 500;
/// A process is replaced when it has taken so much memory, in KiB.
const MEMORY_KIB: u64 = 256 * 1024;
/// Largest request, in bytes.
const ORDER_BYTES: usize = 64 * 1024 * 1024;
/// One message for one URL.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WorkerRequest<'a> {
    pub(crate) url: &'a str,
    pub(crate) keys: Vec<(&'a str, &'a str)>,
    pub(crate) title: &'a str,
    pub(crate) body: &'a str,
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    pub(crate) format: Option<&'a str>,
    /// Number of gateways that the message went through before this one.
    pub(crate) recursion: u32,
    pub(crate) files: Vec<RequestFile<'a>>,
    pub(crate) app_id: &'a str,
    /// Only loads the URL.
    pub(crate) probe: bool,
    pub(crate) seconds: u64,
}

/// A file of a message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RequestFile<'a> {
    pub(crate) path: String,
    pub(crate) name: &'a str,
    #[serde(rename = "type")]
    pub(crate) media_type: &'a str,
}

/// Reason why there is no answer.
#[derive(Debug)]
pub(crate) enum WorkerError {
    /// No process could be started, so nothing was sent.
    Missing(Diagnostic),
    /// The request is too large, so nothing was sent.
    TooLarge,
    /// No process took the whole request, so nothing was sent.
    Unsent(String),
    /// The request was written, and no answer came.
    Open(String),
}

/// A request as it is written.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    #[serde(flatten)]
    request: &'a WorkerRequest<'a>,
}

/// One of the slots for processes.
struct ProcessSlot(Arc<PoolShared>);

impl Drop for ProcessSlot {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.changed.notify_waiters();
    }
}

/// Held while a process starts: nobody starts another one meanwhile.
struct Starting(Arc<PoolShared>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.lock().starting = false;
        self.0.changed.notify_waiters();
    }
}

#[derive(Default)]
struct PoolShared {
    state: Mutex<PoolState>,
    /// A process can take a request, or has ended, or was started.
    changed: Notify,
    requests: AtomicU64,
}

#[derive(Default)]
struct PoolState {
    /// The processes that take requests.
    open: Vec<OpenProcess>,
    /// Number of processes, also of those that take no more requests.
    running: usize,
    starting: bool,
    /// The interpreter that has Apprise, once it is known.
    known: Option<Candidate>,
}

struct OpenProcess {
    process: Arc<Process>,
    /// Number of requests that it works on.
    busy: usize,
    /// Number of requests that it may still take.
    left: u32,
}

impl PoolShared {
    fn lock(&self) -> std::sync::MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for one request in a process. If it is dropped before it is given back, the process takes no more requests, and it
/// is ended with its last one: nobody knows when the request will end.
struct Place {
    // An option, so that it can be moved out of a value with `Drop`.
    process: Option<Arc<Process>>,
    pool: Arc<PoolShared>,
}

impl Place {
    fn process(&self) -> &Process {
        self.process.as_deref().expect("only `give_back` takes it")
    }

    /// Leaves the process to others; one that has done enough is ended.
    async fn give_back(mut self, is_large: bool) {
        let Some(process) = self.process.take() else {
            return;
        };
        {
            let mut state = self.pool.lock();
            if let Some(at) = state.find(&process) {
                let open = &mut state.open[at];
                open.busy -= 1;
                if open.left == 0 || is_large {
                    state.open.swap_remove(at);
                }
            }
        }
        self.pool.changed.notify_waiters();
        end_last(process).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        let removed = {
            let mut state = self.pool.lock();
            state.find(&process).map(|at| state.open.swap_remove(at))
        };
        // A process that is dropped takes the lock.
        drop(removed);
        self.pool.changed.notify_waiters();
    }
}

impl PoolState {
    fn find(&self, process: &Arc<Process>) -> Option<usize> {
        (self.open.iter()).position(|open| Arc::ptr_eq(&open.process, process))
    }
}

/// Ends a process in good order if nobody else has it.
async fn end_last(process: Arc<Process>) {
    if let Some(process) = Arc::into_inner(process) {
        process.end().await;
    }
}

/// The processes of a run or of a resident process. They start when they are first needed.
#[derive(Default)]
pub(crate) struct WorkerPool(Arc<PoolShared>);

impl ServicePool for WorkerPool {
    /// Ends the processes: those that are busy with their last request.
    fn close(&self) -> BoxFuture<'_, ()> {
        let open = std::mem::take(&mut self.0.lock().open);
        Box::pin(async move {
            for OpenProcess { process, .. } in open {
                end_last(process).await;
            }
        })
    }

    /// Ends the processes: nobody knows what they keep of a URL.
    fn forget_guests(&self) -> BoxFuture<'_, ()> {
        self.close()
    }
}

impl WorkerPool {
    /// Hands a request to a process and waits for the answer.
    pub(crate) async fn answer(
        &self,
        request: &WorkerRequest<'_>,
    ) -> Result<(WorkerResponse, Installed), WorkerError> {
        let id = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let line = serde_json::to_vec(&Line { id, request }).map_err(|_| WorkerError::TooLarge)?;
        let mut line = Zeroizing::new(line);
        line.push(b'\n');
        if line.len() > ORDER_BYTES {
            return Err(WorkerError::TooLarge);
        }
        let (place, answered) = self.begin(id, &line).await?;
        let answer = match tokio::time::timeout(LONGEST, answered).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(cause))) => return Err(WorkerError::Open(cause)),
            Ok(Err(_)) => return Err(WorkerError::Open("Apprise ended before it answered".to_owned())),
            Err(_) => {
                let seconds = LONGEST.as_secs();
                return Err(WorkerError::Open(format!(
                    "Apprise did not answer within {seconds} s"
                )));
            }
        };
        let installed = place.process().installed.clone();
        place.give_back(answer.kib >= MEMORY_KIB).await;
        Ok((answer, installed))
    }

    /// Returns a place in a process that took the request. A process that ended meanwhile is replaced once: a process acts on
    /// a whole line alone, so it did nothing.
    async fn begin(&self, id: u64, line: &[u8]) -> Result<(Place, process::Answered), WorkerError> {
        let mut failed = String::new();
        for _ in 0..2 {
            let place = self.take().await.map_err(WorkerError::Missing)?;
            match tokio::time::timeout(LONGEST, place.process().write(id, line)).await {
                Ok(Ok(answered)) => return Ok((place, answered)),
                Ok(Err(error)) => failed = format!("Apprise ended before it took the message: {error}"),
                Err(_) => failed = format!("Apprise did not take the message within {} s", LONGEST.as_secs()),
            }
        }
        Err(WorkerError::Unsent(failed))
    }

    /// Takes a place in a process, or starts one.
    async fn take(&self) -> Result<Place, Diagnostic> {
        let mut since = Instant::now();
        let starting = loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            // A process that is dropped takes the lock.
            let ended: Vec<OpenProcess>;
            {
                let mut state = self.0.lock();
                ended = state
                    .open
                    .extract_if(.., |open| !open.process.is_running())
                    .collect();
                let free = (state.open.iter_mut()).find(|open| open.busy < TOGETHER && open.left > 0);
                if let Some(open) = free {
                    open.busy += 1;
                    open.left -= 1;
                    return Ok(self.place(&open.process));
                }
                if state.starting {
                    // The wait for busy processes begins when it is there.
                    since = Instant::now();
                } else if state.running - ended.len() < MOST
                    && (state.open.is_empty() || since.elapsed() >= PATIENCE)
                {
                    state.starting = true;
                    state.running += 1;
                    break Starting(Arc::clone(&self.0));
                }
            }
            drop(ended);
            let left = PATIENCE.saturating_sub(since.elapsed());
            let left = if left.is_zero() { PATIENCE } else { left };
            let _ = tokio::time::timeout(left, changed).await;
        };
        let slot = Box::new(ProcessSlot(Arc::clone(&self.0)));
        let known = self.0.lock().known.clone();
        let (candidate, process) = start::start(known, slot).await?;
        let process = Arc::new(process);
        {
            let mut state = self.0.lock();
            state.known = Some(candidate);
            state.open.push(OpenProcess {
                process: Arc::clone(&process),
                busy: 1,
                left: MESSAGES - 1,
            });
        }
        drop(starting);
        Ok(self.place(&process))
    }

    fn place(&self, process: &Arc<Process>) -> Place {
        Place {
            process: Some(Arc::clone(process)),
            pool: Arc::clone(&self.0),
        }
    }
}

/// Starts the installed Apprise, asks for its version and ends it.
///
/// # Errors
/// There is none.
pub async fn installed() -> Result<Installed, Diagnostic> {
    let workers = WorkerPool::default();
    let place = workers.take().await?;
    let installed = place.process().installed.clone();
    place.give_back(false).await;
    workers.close().await;
    Ok(installed)
}
