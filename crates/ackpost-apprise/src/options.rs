//! Options of a notifier.

use std::time::Duration;

use ackpost_notify::{ConnectionOptions, Context, RunOptions};

/// Options of a [`Notifier`](crate::Notifier).
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Options {
    /// Environment, defaults and identity that URLs may refer to.
    pub context: Context,
    /// Values for templates (`-tv`), name and value.
    pub template_values: Vec<(String, String)>,
    /// Maximum depth of configuration files that include others; 0 forbids includes.
    pub recursion: u32,
    /// Time for a whole run; `None` means no limit.
    pub limit: Option<Duration>,
    /// Time for one service, retries and waits included; `None` means no limit.
    pub service_limit: Option<Duration>,
    /// One service after another instead of all at once.
    pub sequential: bool,
    /// A message that was handed over without proof counts as a failure.
    pub require_proof: bool,
    /// Connections: trust, proxies, progress.
    pub connections: ConnectionOptions,
}

crate::setters::setters!(Options {
    with_context(context: Context),
    with_template_values(template_values: Vec<(String, String)>),
    with_recursion(recursion: u32),
    with_limit(limit: Option<Duration>),
    with_service_limit(service_limit: Option<Duration>),
    with_sequential(sequential: bool),
    with_require_proof(require_proof: bool),
    with_connections(connections: ConnectionOptions),
});

impl Options {
    /// The rules of a run among them.
    pub(crate) fn of_run(&self) -> RunOptions {
        RunOptions::default()
            .with_limit(self.limit)
            .with_service_limit(self.service_limit)
            .with_sequential(self.sequential)
            .with_require_proof(self.require_proof)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context: Context::default(),
            template_values: Vec::new(),
            recursion: 1,
            limit: None,
            service_limit: Some(Duration::from_mins(1)),
            sequential: false,
            require_proof: false,
            connections: ConnectionOptions::default(),
        }
    }
}
