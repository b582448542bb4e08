//! Calls that run on the threads of the runtime.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::task::AbortHandle;

use crate::answer::Answer;
use crate::log;
use crate::process;
use crate::queue::{Inbox, Queue};

/// Longest wait of a blocking call before Python's signal handlers run.
const SLICE: Duration = Duration::from_millis(50);

/// A running call, and its result.
#[pyclass(frozen)]
#[derive(Debug)]
pub struct Pending {
    slot: Arc<Slot>,
    task: AbortHandle,
    /// Id of the process whose threads run the call.
    process: u32,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    receiver: Option<(Arc<Inbox>, u64)>,
}

impl Slot {
    fn put(&self, answer: Answer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((inbox, ticket)) = state.receiver.take() {
            // The receiver of the answer may have stopped waiting, and ask again.
            inbox.put(ticket, answer.clone());
        }
        state.answer = Some(answer);
        self.changed.notify_all();
    }
}

impl Pending {
    /// Starts a call.
    ///
    /// # Errors
    /// When the runtime cannot start.
    pub(crate) fn start(future: impl Future<Output = Answer> + Send + 'static) -> PyResult<Self> {
        log::install();
        let slot = Arc::new(Slot::default());
        let result = Arc::clone(&slot);
        let task = process::get()?.runtime().spawn(async move {
            let answer = AssertUnwindSafe(future).catch_unwind().await;
            result.put(answer.unwrap_or_else(|_| Answer::broken()));
        });
        Ok(Self {
            slot,
            task: task.abort_handle(),
            process: std::process::id(),
        })
    }

    /// The handle that stops the call.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.task.clone()
    }
}

#[pymethods]
impl Pending {
    /// Waits for the result. Signal handlers run every 50 ms; if one raises, the call is cancelled, unless `cancel` is false.
    /// Raises `RuntimeError` in a forked child, which has no thread that runs the call.
    #[pyo3(signature = (cancel = true))]
    fn wait<'py>(&self, py: Python<'py>, cancel: bool) -> PyResult<(String, Option<Bound<'py, PyBytes>>)> {
        loop {
            // A signal handler may have forked: so each turn asks.
            if process::is_other(self.process) {
                return Err(PyRuntimeError::new_err(
                    "the call was started before this process was forked; start it again",
                ));
            }
            let answer = py.detach(|| {
                let state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
                let (state, _) = self
                    .slot
                    .changed
                    .wait_timeout_while(state, SLICE, |state| state.answer.is_none())
                    .unwrap_or_else(PoisonError::into_inner);
                state.answer.clone()
            });
            if let Some(answer) = answer {
                return Ok(answer.into_python(py));
            }
            if let Err(raised) = py.check_signals() {
                if cancel {
                    self.task.abort();
                }
                return Err(raised);
            }
            if self.task.is_finished() && self.slot.state.lock().is_ok_and(|state| state.answer.is_none()) {
                return Err(PyRuntimeError::new_err("the call was cancelled"));
            }
        }
    }

    /// Puts the result into a queue, under this number; a second call puts it there again.
    fn deliver_to(&self, queue: &Queue, ticket: u64) {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = &state.answer {
            queue.inbox().put(ticket, answer.clone());
        } else {
            state.receiver = Some((Arc::clone(queue.inbox()), ticket));
        }
    }

    /// Stops the call as soon as it waits for something. It then gives no result.
    fn cancel(&self) {
        self.task.abort();
    }
}
