//! Acts since the start, by kind and result.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ackpost_outbox::ActResult;

/// Number of acts of one kind with one result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The kind: `ack`, `silence`, `unsilence`, `status` or `end`.
    pub kind: String,
    /// The result.
    pub result: ActResult,
    /// The number.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<Name, (ActResult, u64)>>);

/// Kind and result.
type Name = (String, &'static str);

impl Counts {
    pub(super) fn add(&self, kind: &str, result: ActResult) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = counts.entry((kind.to_owned(), result.as_str()));
        entry.or_insert((result, 0)).1 += 1;
    }

    pub(super) fn all(&self) -> Vec<Count> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |((kind, _), (result, count)): (&(String, &str), &(ActResult, u64))| Count {
            kind: kind.clone(),
            result: *result,
            count: *count,
        };
        counts.iter().map(count).collect()
    }
}
