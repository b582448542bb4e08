//! Group commit: one task owns the writing connection and runs all requests that wait in one transaction.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Change, Id, NewPost, NonceRow, Posted, StoreError, StoreResult};
use crate::operation::LogEntry;
use crate::retry::Retries;

/// Hears of every committed change, before the request that made it is answered.
pub type ChangeSink = Arc<dyn Fn(&[Change]) + Send + Sync>;

/// Most requests in one transaction: bounds how long the first of them waits.
const MAX_BATCH: usize = 256;
/// Requests that may wait for the writer; more wait in their own tasks.
const QUEUE: usize = 1024;

tokio::task_local! {
    static NONCE: Cell<Option<NonceRow>>;
    static ENTRIES: Cell<Option<Arc<Entries>>>;
}

/// Makes the entries of the audit log from the result of an act.
type MakeEntries = Box<dyn Fn(&dyn Any) -> Vec<LogEntry> + Send + Sync>;

/// Entries of the audit log that are written with an act, and their numbers.
struct Entries {
    make: MakeEntries,
    made: Mutex<Vec<LogEntry>>,
    ids: Mutex<Vec<Id>>,
}

/// Runs an act whose entries of the audit log are part of its transaction: neither is kept without the other. The entries
/// follow from the result; there are none for an act that found nothing to do. Returns them with their numbers; they are
/// without a number if the act wrote nothing by itself.
///
/// # Errors
/// Returns the error of the act, or of the entries.
pub async fn with_entries<T: 'static>(
    act: impl Future<Output = StoreResult<T>>,
    entries: impl Fn(&T) -> Vec<LogEntry> + Send + Sync + 'static,
) -> StoreResult<(T, Vec<(LogEntry, Option<Id>)>)> {
    let entries = Arc::new(entries);
    let make = Arc::clone(&entries);
    let shared = Arc::new(Entries {
        make: Box::new(move |result| {
            result
                .downcast_ref::<T>()
                .map_or_else(Vec::new, |result| make(result))
        }),
        made: Mutex::default(),
        ids: Mutex::default(),
    });
    let result = ENTRIES.scope(Cell::new(Some(Arc::clone(&shared))), act).await?;
    let ids = std::mem::take(&mut *shared.ids.lock().expect("never poisoned"));
    let made = std::mem::take(&mut *shared.made.lock().expect("never poisoned"));
    let listed = if ids.is_empty() {
        entries(&result).into_iter().map(|entry| (entry, None)).collect()
    } else {
        made.into_iter().zip(ids.into_iter().map(Some)).collect()
    };
    Ok((result, listed))
}

/// Runs a request whose nonce is kept by the first transaction it writes, so that a request that changed
/// something cannot be replayed even after a crash. Returns the nonce when nothing was written.
pub async fn with_nonce<T>(nonce: NonceRow, request: impl Future<Output = T>) -> (T, Option<NonceRow>) {
    NONCE
        .scope(Cell::new(Some(nonce)), async {
            (request.await, NONCE.with(Cell::take))
        })
        .await
}

/// A transaction as an operation sees it.
pub(crate) struct Tx<'c, C> {
    /// The connection, inside the transaction.
    pub conn: &'c mut C,
    /// Filled with what changed.
    pub changes: &'c mut Vec<Change>,
}

type Operation<C> = Box<dyn for<'c> Fn(Tx<'c, C>) -> BoxFuture<'c, StoreResult<()>> + Send + Sync>;

/// A message to store, and what became of it.
struct Post {
    new: NewPost,
    outcome: Mutex<Option<Posted>>,
}

enum Work<C> {
    /// Messages that wait together are stored together.
    Post(Arc<Post>),
    Other(Operation<C>),
}

struct Job<C> {
    work: Work<C>,
    nonce: Option<NonceRow>,
    entries: Option<Arc<Entries>>,
    done: oneshot::Sender<StoreResult<()>>,
}

/// State of the connection after a transaction was undone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undone {
    /// The connection works.
    Kept,
    /// The connection broke and is open again.
    Reopened,
    /// The connection broke, and the database cannot be reached.
    Away,
}

/// A connection that can hold a transaction.
pub(crate) trait WriteConnection: Send + 'static {
    /// Connection type of the driver.
    type Conn: Send + 'static;
    /// Begins a transaction that will write.
    fn begin(&mut self) -> BoxFuture<'_, StoreResult<()>>;
    /// Ends the transaction so that it and the nonces of its requests last, and tells other processes of the changes.
    ///
    /// [`StoreError::Uncertain`] means that it may have ended so all the same; every other error that it did not.
    fn commit<'a>(
        &'a mut self,
        nonces: &'a [NonceRow],
        changes: &'a [Change],
    ) -> BoxFuture<'a, StoreResult<()>>;
    /// Undoes the transaction. Opens the connection again if it broke.
    fn rollback(&mut self) -> BoxFuture<'_, Undone>;
    /// Stores messages, as if one after the other; what became of each.
    fn posts<'a>(
        &'a mut self,
        posts: &'a [&'a NewPost],
        changes: &'a mut Vec<Change>,
    ) -> BoxFuture<'a, StoreResult<Vec<Posted>>>;
    /// Writes entries of the audit log; their numbers.
    fn note<'a>(&'a mut self, entries: &'a [LogEntry]) -> BoxFuture<'a, StoreResult<Vec<Id>>>;
    /// Returns the driver's connection.
    fn conn(&mut self) -> &mut Self::Conn;
    /// Closes the connection.
    fn close(self) -> BoxFuture<'static, ()>;
}

/// The way to the writer task.
pub(crate) struct Writer<C> {
    queue: Mutex<Option<mpsc::Sender<Job<C>>>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl<C: Send + 'static> Writer<C> {
    /// Starts the task that owns the connection.
    pub(crate) fn start<W: WriteConnection<Conn = C>>(connection: W, sink: ChangeSink) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(connection, jobs, sink));
        Self {
            queue: Mutex::new(Some(queue)),
            task: Mutex::new(Some(task)),
        }
    }

    /// Runs an operation in the next transaction and waits until that is committed.
    ///
    /// The operation may run a second time, when the transaction it shared failed because of another one.
    pub(crate) async fn write<A, T, F>(&self, args: A, run: F) -> StoreResult<T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'c> Fn(Tx<'c, C>, &'c A) -> BoxFuture<'c, StoreResult<T>> + Send + Sync + 'static,
    {
        let shared = Arc::new((args, run, Mutex::new(None)));
        let slot = Arc::clone(&shared);
        let entries = ENTRIES.try_with(Cell::take).ok().flatten();
        let making = entries.clone();
        let work = Work::Other(Box::new(move |tx| {
            let (shared, making) = (Arc::clone(&shared), making.clone());
            Box::pin(async move {
                let value = (shared.1)(tx, &shared.0).await?;
                if let Some(entries) = making {
                    *entries.made.lock().expect("never poisoned") = (entries.make)(&value);
                }
                *shared.2.lock().expect("never poisoned") = Some(value);
                Ok(())
            })
        }));
        self.perform(work, entries).await?;
        let value = slot.2.lock().expect("never poisoned").take();
        value.ok_or(StoreError::Closed)
    }

    /// Stores a message in the next transaction and waits until that is committed.
    pub(crate) async fn post(&self, new: NewPost) -> StoreResult<Posted> {
        let post = Arc::new(Post {
            new,
            outcome: Mutex::new(None),
        });
        self.perform(Work::Post(Arc::clone(&post)), None).await?;
        let outcome = post.outcome.lock().expect("never poisoned").take();
        outcome.ok_or(StoreError::Closed)
    }

    async fn perform(&self, work: Work<C>, entries: Option<Arc<Entries>>) -> StoreResult<()> {
        let queue = self
            .queue
            .lock()
            .expect("never poisoned")
            .clone()
            .ok_or(StoreError::Closed)?;
        let nonce = NONCE.try_with(Cell::take).ok().flatten();
        let (done, answer) = oneshot::channel();
        queue
            .send(Job {
                work,
                nonce,
                entries,
                done,
            })
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Lets the queue run empty and closes the connection.
    pub(crate) async fn close(&self) {
        drop(self.queue.lock().expect("never poisoned").take());
        let task = self.task.lock().expect("never poisoned").take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

async fn run<W: WriteConnection>(
    mut connection: W,
    mut jobs: mpsc::Receiver<Job<W::Conn>>,
    sink: ChangeSink,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut rhythm = Rhythm::default();
    while jobs.recv_many(&mut batch, MAX_BATCH).await > 0 {
        rhythm.gather(&mut batch, &mut jobs).await;
        let (began, size) = (Instant::now(), batch.len());
        match commit(&mut connection, &batch, &sink).await {
            Ok(()) => answer(batch.drain(..), || Ok(())),
            // A disk that is full, or a database that is away, is so for all of them.
            Err((StoreError::Unwritable(text), _)) => {
                answer(batch.drain(..), || Err(StoreError::Unwritable(text.clone())));
            }
            Err((StoreError::Unavailable(text), Undone::Away)) => {
                answer(batch.drain(..), || Err(StoreError::Unavailable(text.clone())));
            }
            // All of it may be kept: doing it again would do it twice.
            Err((StoreError::Uncertain(text), _)) => {
                answer(batch.drain(..), || Err(StoreError::Uncertain(text.clone())));
            }
            // It was tried as often as may help.
            Err((error @ (StoreError::Unavailable(_) | StoreError::Conflict(_)), _)) if batch.len() == 1 => {
                if let Some(job) = batch.pop() {
                    let _ = job.done.send(Err(error));
                }
            }
            Err(_) => {
                // One request made the shared transaction fail: each gets its own transaction.
                for job in batch.drain(..) {
                    let result = commit(&mut connection, std::slice::from_ref(&job), &sink).await;
                    let _ = job.done.send(result.map_err(|(error, _)| error));
                }
            }
        }
        rhythm.note(size, began.elapsed());
    }
    connection.close().await;
}

/// Sizes of the last groups of requests, and duration of a commit.
///
/// Callers who were answered a moment ago send their next request a moment later. A commit that began with the first of
/// them would make the others wait for the next commit, and every second flush of the disk would be for one request.
#[derive(Default)]
struct Rhythm {
    sizes: [usize; 2],
    took: Duration,
}

/// Longest wait for requests that are expected.
const MAX_WAIT: Duration = Duration::from_millis(2);

impl Rhythm {
    /// Waits, for less time than a commit takes, until as many requests are there as in the last groups.
    async fn gather<C>(&self, batch: &mut Vec<Job<C>>, jobs: &mut mpsc::Receiver<Job<C>>) {
        let expected = self.sizes[0].max(self.sizes[1]).min(MAX_BATCH);
        if batch.len() >= expected {
            return;
        }
        let until = tokio::time::Instant::now() + (self.took / 2).min(MAX_WAIT);
        while batch.len() < expected {
            let room = MAX_BATCH - batch.len();
            match tokio::time::timeout_at(until, jobs.recv_many(batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn note(&mut self, size: usize, took: Duration) {
        self.sizes = [size, self.sizes[0]];
        self.took = took;
    }
}

fn answer<C>(batch: impl Iterator<Item = Job<C>>, result: impl Fn() -> StoreResult<()>) {
    for job in batch {
        let _ = job.done.send(result());
    }
}

/// Runs requests in one transaction. If another transaction makes it fail, or the connection breaks before the commit is
/// sent, it is undone and runs again from its start, a few times.
async fn commit<W: WriteConnection>(
    connection: &mut W,
    batch: &[Job<W::Conn>],
    sink: &ChangeSink,
) -> Result<(), (StoreError, Undone)> {
    let mut retries = Retries::default();
    loop {
        let (error, undone) = match commit_once(connection, batch, sink).await {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        let may_help = match &error {
            StoreError::Conflict(_) => true,
            StoreError::Unavailable(_) => undone != Undone::Kept,
            _ => false,
        };
        if !may_help || !retries.wait().await {
            return Err((error, undone));
        }
    }
}

async fn commit_once<W: WriteConnection>(
    connection: &mut W,
    batch: &[Job<W::Conn>],
    sink: &ChangeSink,
) -> Result<(), (StoreError, Undone)> {
    let mut changes = Vec::new();
    let attempt = async {
        connection.begin().await?;
        let mut rest = batch;
        while let [job, later @ ..] = rest {
            rest = match &job.work {
                Work::Other(operation) => {
                    let tx = Tx {
                        conn: connection.conn(),
                        changes: &mut changes,
                    };
                    AssertUnwindSafe(operation(tx))
                        .catch_unwind()
                        .await
                        .unwrap_or_else(|_| Err(StoreError::Statement("an operation panicked".to_owned())))?;
                    if let Some(entries) = &job.entries {
                        let made = entries.made.lock().expect("never poisoned").clone();
                        *entries.ids.lock().expect("never poisoned") = Vec::new();
                        let ids = connection.note(&made).await?;
                        *entries.ids.lock().expect("never poisoned") = ids;
                    }
                    later
                }
                Work::Post(_) => store_posts(connection, rest, &mut changes).await?,
            };
        }
        let nonces: Vec<NonceRow> = batch.iter().filter_map(|job| job.nonce).collect();
        connection.commit(&nonces, &changes).await
    };
    match attempt.await {
        Ok(()) => {
            if !changes.is_empty() {
                sink(&changes);
            }
            Ok(())
        }
        Err(error @ StoreError::Uncertain(_)) => {
            tracing::error!(%error, waiting = batch.len(), "the outcome of a transaction is unknown");
            let undone = connection.rollback().await;
            // The caches in memory may be behind.
            sink(&[Change::Everything]);
            Err((error, undone))
        }
        Err(error) => {
            tracing::warn!(%error, waiting = batch.len(), "transaction undone");
            Err((error, connection.rollback().await))
        }
    }
}

/// Stores the messages at the front of a list of jobs; returns the jobs behind them.
async fn store_posts<'j, W: WriteConnection>(
    connection: &mut W,
    jobs: &'j [Job<W::Conn>],
    changes: &mut Vec<Change>,
) -> StoreResult<&'j [Job<W::Conn>]> {
    let posts: Vec<&Post> = jobs
        .iter()
        .map_while(|job| match &job.work {
            Work::Post(post) => Some(&**post),
            Work::Other(_) => None,
        })
        .collect();
    let new: Vec<&NewPost> = posts.iter().map(|post| &post.new).collect();
    let outcomes = connection.posts(&new, changes).await?;
    for (post, outcome) in posts.iter().zip(outcomes) {
        *post.outcome.lock().expect("never poisoned") = Some(outcome);
    }
    Ok(&jobs[posts.len()..])
}
