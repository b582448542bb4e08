//! A list of services, and messages for them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use ackpost_apprise::Options;
use ackpost_notify::{ConnectionOptions, ConnectionPool, Context, Diagnostic, Environment, Foreign};
use ackpost_services::SERVICES;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Answer, Failure, arguments};
use crate::message::{MessageArguments, report};
use crate::pending::Pending;
use crate::place::{self, Variables};
use crate::process::Kept;

/// Settings of a list as Python hands them over. Times are in seconds; 0 means no limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    timeout: Option<f64>,
    service_timeout: Option<f64>,
    sequential: bool,
    require_proof: bool,
    foreign: String,
    variables: Vec<(String, String)>,
    recursion: u32,
    kept: bool,
    state_folder: Option<PathBuf>,
}

fn limit(seconds: Option<f64>) -> Option<Duration> {
    // More than the clock holds is as good as no limit.
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|limit| !limit.is_zero())
}

impl Settings {
    fn options(self, environment: &Variables) -> Options {
        let state = self
            .state_folder
            .unwrap_or_else(|| place::state_folder(environment));
        let connections = ConnectionOptions::default()
            .with_resident(self.kept)
            .with_state_folder(Some(state));
        let env = Environment::from_vars(
            environment
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        Options::default()
            .with_context(Context::default().with_services(SERVICES).with_env(env))
            .with_template_values(self.variables)
            .with_recursion(self.recursion)
            .with_limit(limit(self.timeout))
            .with_service_limit(limit(self.service_timeout))
            .with_sequential(self.sequential)
            .with_require_proof(self.require_proof)
            .with_connections(connections)
    }
}

/// A list of services with tags, and the connections to them.
#[pyclass(frozen)]
#[derive(Debug)]
pub struct Notifier {
    list: Arc<RwLock<Arc<ackpost_apprise::Notifier>>>,
    /// The kept connections, from the first message on: configurations may have changed the settings until then.
    pool: OnceLock<Kept<ConnectionPool>>,
    kept: bool,
    foreign: Foreign,
}

impl Notifier {
    pub(crate) fn list(&self) -> Arc<ackpost_apprise::Notifier> {
        Arc::clone(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut ackpost_apprise::Notifier) -> T) -> T {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut list))
    }
}

fn places(problems: &[Diagnostic]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[pymethods]
impl Notifier {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "Python hands a copy over")]
    fn new(settings: &str, environment: Variables) -> PyResult<Self> {
        let settings: Settings = arguments(settings)?;
        let foreign = settings
            .foreign
            .parse()
            .map_err(|error: ackpost_notify::UnknownWord| {
                pyo3::exceptions::PyValueError::new_err(format!("foreign: {error}"))
            })?;
        let kept = settings.kept;
        let options = settings.options(&environment);
        let list = ackpost_apprise::Notifier::with_options(options);
        Ok(Self {
            list: Arc::new(RwLock::new(Arc::new(list))),
            pool: OnceLock::new(),
            kept,
            foreign,
        })
    }

    /// Adds the URLs of a string. Returns how many services were loaded, and what is wrong with the others.
    fn add(&self, urls: &str, tags: &str) -> (usize, Vec<String>) {
        self.change(|list| match list.add_tagged(urls, tags) {
            Ok(loaded) => (loaded, Vec::new()),
            Err(error) => (error.loaded, places(&error.problems)),
        })
    }

    /// Adds what a configuration holds: a path or an address, or the text itself.
    fn add_config(&self, place: String, is_text: bool) -> PyResult<Pending> {
        let shared = Arc::clone(&self.list);
        Pending::start(async move {
            loop {
                let old = Arc::clone(&shared.read().unwrap_or_else(PoisonError::into_inner));
                let mut list = ackpost_apprise::Notifier::clone(&old);
                let loaded = if is_text {
                    list.add_config_text(&place, None).await
                } else {
                    list.add_config(&place).await
                };
                let mut current = shared.write().unwrap_or_else(PoisonError::into_inner);
                if !Arc::ptr_eq(&old, &current) {
                    // Something else was added in the meantime: load again on top of it.
                    continue;
                }
                *current = Arc::new(list);
                drop(current);
                let problems: Vec<_> = (loaded.problems.iter())
                    .map(|problem| json!({ "text": problem.to_string(), "error": problem.is_error() }))
                    .collect();
                return Answer::ok(&json!({ "services": loaded.services, "problems": problems }));
            }
        })
    }

    /// The URLs with their secrets masked, each with its tags.
    fn services(&self) -> Vec<(String, Vec<String>)> {
        let list = self.list();
        let entries = list.iter().map(|entry| (entry.masked_url(), entry.tag_names()));
        entries.collect()
    }

    /// The errors of what was added: URLs, recipients in them, and entries of configurations.
    fn problems(&self) -> Vec<String> {
        let list = self.list();
        let errors = list.problems().iter().filter(|problem| problem.is_error());
        errors.map(ToString::to_string).collect()
    }

    /// Sends a message to the services of the list, or to those of `urls` instead; `parts` are the bytes of its files.
    fn send(&self, message: &str, parts: Vec<Vec<u8>>, urls: Option<Vec<String>>) -> PyResult<Pending> {
        let message: MessageArguments = arguments(message)?;
        let mut list = self.list();
        let foreign = self.foreign;
        let pool = self.kept.then(|| {
            let options = || list.options().connections.clone();
            let pool = self
                .pool
                .get_or_init(|| Kept::new(ConnectionPool::new(options(), list.asset().clone())));
            Arc::clone(pool)
        });
        Pending::start(async move {
            let filter = message.filter();
            let message = match message.message(parts) {
                Ok(message) => message,
                Err(failure) => return Answer::error(&failure),
            };
            if let Some(urls) = urls {
                let mut own = ackpost_apprise::Notifier::with_options(list.options().clone());
                for text in urls {
                    // The report repeats the problems.
                    let _ = own.add(&text);
                }
                list = Arc::new(own);
            }
            let rule = list.asset().foreign.unwrap_or(foreign);
            if rule != Foreign::Apprise {
                Arc::make_mut(&mut list).settle_foreign(rule, &filter);
            }
            let sent = match pool {
                Some(pool) => list.notify_with(&pool, message, &filter).await,
                None => list.notify_to(message, &filter).await,
            };
            Answer::ok(&report(&sent))
        })
    }

    /// Ends the kept connections in good order.
    fn close(&self) -> PyResult<Pending> {
        let pool = self.pool.get().map(|pool| Arc::clone(pool));
        Pending::start(async move {
            if let Some(pool) = pool {
                pool.close().await;
            }
            Answer::from(Ok::<(), Failure>(()))
        })
    }
}
