//! Plan of a message for the services of a list, made without the network.

use ackpost_notify::{Diagnostic, Prepared, ServiceUrl};

use crate::entry::Entry;

/// Result of preparing a message for every service that a filter chooses.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan<'a> {
    /// One entry per service, in order.
    pub services: Vec<Planned<'a>>,
    /// Templates that could not be resolved.
    pub problems: Vec<Diagnostic>,
}

/// One service of a [`Plan`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Planned<'a> {
    /// The entry it came from.
    pub entry: &'a Entry,
    /// The service, a template resolved.
    pub service: ServiceUrl,
    /// Chunks and targets of the service, or the reason why there are none.
    pub prepared: Result<Prepared, Diagnostic>,
}
