//! Group commit: one task owns the writing connection and runs all requests that wait in one transaction.

use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Change, NonceRow, StoreError, StoreResult};

/// Hears of every committed change, before the request that made it is answered.
pub type ChangeSink = Arc<dyn Fn(&[Change]) + Send + Sync>;

/// Most requests in one transaction: bounds how long the first of them waits.
const MAX_BATCH: usize = 256;
/// Requests that may wait for the writer; more wait in their own tasks.
const QUEUE: usize = 1024;

tokio::task_local! {
    static NONCE: Cell<Option<NonceRow>>;
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

type Work<C> = Box<dyn for<'c> Fn(Tx<'c, C>) -> BoxFuture<'c, StoreResult<()>> + Send + Sync>;

struct Job<C> {
    work: Work<C>,
    nonce: Option<NonceRow>,
    done: oneshot::Sender<StoreResult<()>>,
}

/// A connection that can hold a transaction.
pub(crate) trait WriteConnection: Send + 'static {
    /// The driver's connection.
    type Conn: Send + 'static;
    /// Begins a transaction that will write.
    fn begin(&mut self) -> BoxFuture<'_, StoreResult<()>>;
    /// Ends it so that it lasts, and tells other processes of the changes.
    fn commit<'a>(&'a mut self, changes: &'a [Change]) -> BoxFuture<'a, StoreResult<()>>;
    /// Ends it as if it had not been; opens the connection again if it broke.
    fn rollback(&mut self) -> BoxFuture<'_, ()>;
    /// Adds nonces to the running transaction.
    fn keep_nonces<'a>(&'a mut self, nonces: &'a [NonceRow]) -> BoxFuture<'a, StoreResult<()>>;
    /// The connection.
    fn conn(&mut self) -> &mut Self::Conn;
    /// Closes it.
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
        let queue = self
            .queue
            .lock()
            .expect("never poisoned")
            .clone()
            .ok_or(StoreError::Closed)?;
        let shared = Arc::new((args, run, Mutex::new(None)));
        let slot = Arc::clone(&shared);
        let work: Work<C> = Box::new(move |tx| {
            let shared = Arc::clone(&shared);
            Box::pin(async move {
                let value = (shared.1)(tx, &shared.0).await?;
                *shared.2.lock().expect("never poisoned") = Some(value);
                Ok(())
            })
        });
        let nonce = NONCE.try_with(Cell::take).ok().flatten();
        let (done, answer) = oneshot::channel();
        queue
            .send(Job { work, nonce, done })
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)??;
        let value = slot.2.lock().expect("never poisoned").take();
        value.ok_or(StoreError::Closed)
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
    while jobs.recv_many(&mut batch, MAX_BATCH).await > 0 {
        match commit(&mut connection, &batch, &sink).await {
            Ok(()) => answer(batch.drain(..), || Ok(())),
            // A disk that is full, or a database that is away, is so for all of them.
            Err(StoreError::Unwritable(text)) => {
                answer(batch.drain(..), || Err(StoreError::Unwritable(text.clone())));
            }
            Err(StoreError::Unavailable(text)) if batch.len() == 1 => {
                answer(batch.drain(..), || Err(StoreError::Unavailable(text.clone())));
            }
            Err(_) => {
                // One of them spoilt it for the others: each gets its own transaction.
                for job in batch.drain(..) {
                    let result = commit(&mut connection, std::slice::from_ref(&job), &sink).await;
                    let _ = job.done.send(result);
                }
            }
        }
    }
    connection.close().await;
}

fn answer<C>(batch: impl Iterator<Item = Job<C>>, result: impl Fn() -> StoreResult<()>) {
    for job in batch {
        let _ = job.done.send(result());
    }
}

async fn commit<W: WriteConnection>(
    connection: &mut W,
    batch: &[Job<W::Conn>],
    sink: &ChangeSink,
) -> StoreResult<()> {
    let mut changes = Vec::new();
    let attempt = async {
        connection.begin().await?;
        for job in batch {
            let tx = Tx {
                conn: connection.conn(),
                changes: &mut changes,
            };
            AssertUnwindSafe((job.work)(tx))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Err(StoreError::Statement("an operation panicked".to_owned())))?;
        }
        let nonces: Vec<NonceRow> = batch.iter().filter_map(|job| job.nonce).collect();
        if !nonces.is_empty() {
            connection.keep_nonces(&nonces).await?;
        }
        connection.commit(&changes).await
    };
    let result = attempt.await;
    match &result {
        Ok(()) if !changes.is_empty() => sink(&changes),
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(%error, waiting = batch.len(), "transaction undone");
            connection.rollback().await;
        }
    }
    result
}
