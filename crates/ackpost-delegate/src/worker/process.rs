//! One running process: requests go in, and answers come out in any order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::answer::{Installed, WorkerResponse};

/// Longest answer, in bytes.
const ANSWER_BYTES: u64 = 1024 * 1024;
/// Time in which a process ends by itself once its input is closed.
const END: Duration = Duration::from_millis(500);

/// The answer to a request, or the reason why there is none.
pub(super) type Answered = oneshot::Receiver<Result<WorkerResponse, String>>;

/// A line of a process.
#[derive(Deserialize)]
struct Answer {
    id: u64,
    #[serde(flatten)]
    response: WorkerResponse,
}

/// Requests without an answer; nothing once the process has ended.
type WaitingRequests = Option<HashMap<u64, oneshot::Sender<Result<WorkerResponse, String>>>>;
type Waiting = Mutex<WaitingRequests>;

/// A running process. Dropping it ends it.
pub(super) struct Process {
    // Dropped before the process is waited for, whose number is still taken then.
    group: Group,
    child: Mutex<Child>,
    requests: tokio::sync::Mutex<Requests>,
    waiting: Arc<Waiting>,
    reader: Reader,
    pub(super) installed: Installed,
    slot: Slot,
}

/// Held as long as the process.
pub(super) type Slot = Box<dyn std::any::Any + Send + Sync>;

struct Requests {
    pipe: ChildStdin,
    /// A line was begun and not ended: what follows would become a part of it.
    is_broken: bool,
}

/// The task that reads the answers; it ends with the process.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Process {
    /// Takes over a process that has greeted.
    pub(super) fn new(
        child: Child,
        requests: ChildStdin,
        responses: BufReader<ChildStdout>,
        installed: Installed,
        slot: Slot,
    ) -> Self {
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        let reader = Reader(tokio::spawn(read(responses, Arc::clone(&waiting))));
        Self {
            group: Group::of(&child),
            child: Mutex::new(child),
            requests: tokio::sync::Mutex::new(Requests {
                pipe: requests,
                is_broken: false,
            }),
            waiting,
            reader,
            installed,
            slot,
        }
    }

    /// True if it can take a request.
    pub(super) fn is_running(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        lock(&self.waiting).is_some() && matches!(child.try_wait(), Ok(None))
    }

    /// Writes a request, and returns its future answer. After an error, the process did nothing with it.
    pub(super) async fn write(&self, id: u64, request: &[u8]) -> std::io::Result<Answered> {
        let (sender, answered) = oneshot::channel();
        let mut requests = self.requests.lock().await;
        let ended = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        if requests.is_broken {
            return Err(ended());
        }
        lock(&self.waiting).as_mut().ok_or_else(ended)?.insert(id, sender);
        // Also for a future that is dropped in the middle.
        requests.is_broken = true;
        requests.pipe.write_all(request).await?;
        requests.pipe.flush().await?;
        requests.is_broken = false;
        Ok(answered)
    }

    /// Ends the process in good order: its input is closed, and it is killed if it does not end by itself.
    pub(super) async fn end(self) {
        let Self {
            group,
            child,
            requests,
            reader,
            slot,
            ..
        } = self;
        drop(requests);
        let mut child = child.into_inner().unwrap_or_else(PoisonError::into_inner);
        if tokio::time::timeout(END, child.wait()).await.is_ok() {
            group.leave();
        } else {
            drop(group);
            let _ = child.kill().await;
        }
        drop((reader, slot));
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, WaitingRequests> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands every answer to its request until the process ends; the requests that are left are told why.
async fn read(mut responses: BufReader<ChildStdout>, waiting: Arc<Waiting>) {
    let cause = loop {
        let line = match read_line(&mut responses).await {
            Ok(line) => line,
            Err(cause) => break cause,
        };
        let Ok(Answer { id, response }) = serde_json::from_slice(&line) else {
            break "the answer of Apprise is not understood".to_owned();
        };
        let sender = lock(&waiting).as_mut().and_then(|all| all.remove(&id));
        // Nobody waits any more for a request that took too long.
        let _ = sender.map(|sender| sender.send(Ok(response)));
    };
    for (_, sender) in lock(&waiting).take().into_iter().flatten() {
        let _ = sender.send(Err(cause.clone()));
    }
}

/// Reads one line of a process.
pub(super) async fn read_line(responses: &mut BufReader<ChildStdout>) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    (&mut *responses)
        .take(ANSWER_BYTES)
        .read_until(b'\n', &mut line)
        .await
        .map_err(|error| format!("cannot read the answer of Apprise: {error}"))?;
    if line.ends_with(b"\n") {
        Ok(line)
    } else {
        Err("Apprise ended before it answered".to_owned())
    }
}

/// The process group of a worker, with the programs that plugins started. Dropping it ends them.
pub(super) struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    pub(super) fn of(child: &Child) -> Self {
        #[cfg(not(unix))]
        let _ = child;
        Self {
            #[cfg(unix)]
            leader: child
                .id()
                .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)),
        }
    }

    /// Leaves the programs alone that outlive a process which ended by itself.
    fn leave(mut self) {
        #[cfg(unix)]
        self.leader.take();
        let _ = &mut self;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader.take() {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}
