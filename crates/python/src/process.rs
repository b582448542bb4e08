//! The runtime and the log records of one process.
//!
//! A forked child has none of its parent's threads, and may have inherited locks that nobody will ever release. So each
//! process has a runtime and its own log, found by its id without any lock.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use tokio::runtime::Runtime;

/// Maximum number of log records that wait to be fetched; the oldest are dropped.
const MAX_RECORDS: usize = 1000;
/// Maximum number of forks in a row of processes that each used the library.
const MAX_GENERATIONS: usize = 64;

static PROCESSES: [OnceLock<Process>; MAX_GENERATIONS] = [const { OnceLock::new() }; MAX_GENERATIONS];
static CURRENT: AtomicUsize = AtomicUsize::new(0);

/// Returns true in another process than the one with this id: a child that was forked from it.
pub(crate) fn is_other(id: u32) -> bool {
    id != std::process::id()
}

/// A shared value that no forked child drops.
///
/// A child has copies of the connections and databases of its parent. SQLite forbids to close a copy, and a thread that
/// the child does not have may hold a lock of a connection. So the copies stay until the child ends.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    value: Arc<T>,
    process: u32,
}

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Arc::new(value),
            process: std::process::id(),
        }
    }
}

impl<T> Deref for Kept<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if is_other(self.process) {
            std::mem::forget(Arc::clone(&self.value));
        }
    }
}

/// A log record: level as in Python's `logging`, name of the module, text.
pub(crate) type Record = (u8, String, String);

/// The state that belongs to one process.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    runtime: Runtime,
    records: Mutex<VecDeque<Record>>,
}

impl Process {
    fn start() -> std::io::Result<Self> {
        // The one place where a TLS provider is chosen; the libraries take it from here. A second choice is ignored.
        if let Ok(provider) = ackpost_tls::provider() {
            let _ = rustls::crypto::CryptoProvider::clone(&provider).install_default();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(16)
            .thread_name("ackpost")
            .enable_all()
            .build()?;
        Ok(Self {
            id: std::process::id(),
            runtime,
            records: Mutex::default(),
        })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Stores a record until the next call of Python.
    pub(crate) fn log(&self, record: Record) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == MAX_RECORDS {
            records.pop_front();
        }
        records.push_back(record);
    }

    pub(crate) fn take_logs(&self) -> Vec<Record> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.drain(..).collect()
    }
}

/// The process whose threads run; `None` before the first call, and in a forked child before its first call.
pub(crate) fn current() -> Option<&'static Process> {
    let process = latest()?;
    (process.id == std::process::id()).then_some(process)
}

/// The process that started last, without a look at its id: for the threads of that process.
pub(crate) fn latest() -> Option<&'static Process> {
    PROCESSES.get(CURRENT.load(Ordering::Acquire))?.get()
}

/// Returns the process, which starts its threads at the first call.
///
/// # Errors
/// When the system provides no threads or no event queue.
pub(crate) fn get() -> PyResult<&'static Process> {
    let failed = |cause: String| PyOSError::new_err(format!("cannot start the runtime: {cause}"));
    loop {
        let at = CURRENT.load(Ordering::Acquire);
        let Some(place) = PROCESSES.get(at) else {
            return Err(failed(format!(
                "{MAX_GENERATIONS} processes in a row forked each other"
            )));
        };
        match place.get() {
            Some(process) if process.id == std::process::id() => return Ok(process),
            // Its threads stayed in the parent.
            Some(_) => {
                let _ = CURRENT.compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Acquire);
            }
            None => {
                let process = Process::start().map_err(|cause| failed(cause.to_string()))?;
                if let Err(spare) = place.set(process) {
                    // Another thread was faster.
                    spare.runtime.shutdown_background();
                }
            }
        }
    }
}
