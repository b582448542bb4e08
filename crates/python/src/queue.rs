//! Results for one event loop of Python.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::answer::Answer;

/// Results that wait for one event loop.
#[derive(Debug)]
pub(crate) struct Inbox {
    ready: Mutex<Vec<(u64, Answer)>>,
    bell: UnixStream,
}

impl Inbox {
    /// Stores a result, and wakes the event loop unless it has been woken already.
    pub(crate) fn put(&self, ticket: u64, answer: Answer) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.push((ticket, answer));
        if ready.len() == 1 {
            // A full socket wakes as well, and a closed one has nobody left to wake.
            let _ = (&self.bell).write(&[1]);
        }
    }
}

/// A queue of results with a file descriptor that becomes readable when there are some.
#[pyclass(frozen)]
#[derive(Debug)]
pub struct Queue {
    inbox: Arc<Inbox>,
    ears: UnixStream,
}

impl Queue {
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

#[pymethods]
impl Queue {
    #[new]
    fn new() -> PyResult<Self> {
        let (bell, ears) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ears.set_nonblocking(true)?;
        let ready = Mutex::default();
        Ok(Self {
            inbox: Arc::new(Inbox { ready, bell }),
            ears,
        })
    }

    /// The descriptor to watch. It closes with the queue.
    fn fileno(&self) -> i32 {
        self.ears.as_raw_fd()
    }

    /// Takes every result: number, JSON, bytes.
    fn take<'py>(&self, py: Python<'py>) -> Vec<(u64, String, Option<Bound<'py, PyBytes>>)> {
        let mut heard = [0; 64];
        while (&self.ears)
            .read(&mut heard)
            .is_ok_and(|count| count == heard.len())
        {}
        let ready = std::mem::take(&mut *self.inbox.ready.lock().unwrap_or_else(PoisonError::into_inner));
        let parts = ready.into_iter().map(|(ticket, answer)| {
            let (text, bytes) = answer.into_python(py);
            (ticket, text, bytes)
        });
        parts.collect()
    }
}
