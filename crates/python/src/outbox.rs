//! The durable queue.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackpost_notify::{Asset, ConnectionOptions, ConnectionPool, Message, ServiceUrl};
use ackpost_outbox::{
    AcceptOptions, Accepted, Dedup, Filter, FlushSettings, Location, OutboxConfig, OutboxError, OutboxId,
    QuietHours, RateLimit, Selection, ServiceTransport, WorkerSettings, parse_span,
};
use ackpost_services::SERVICES;
use futures_util::FutureExt as _;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, OnceCell};

use crate::answer::{Answer, Failure, arguments};
use crate::message::MessageArguments;
use crate::notifier::Notifier;
use crate::pending::Pending;
use crate::place::{self, Variables};
use crate::process::Kept;

/// A queue in a file or a database. It opens with the first call.
#[pyclass(frozen)]
#[derive(Debug)]
pub struct Outbox(Kept<Inner>);

#[derive(Debug)]
struct Inner {
    config: OutboxConfig,
    state_folder: PathBuf,
    /// `None` after it was closed.
    open: OnceCell<ackpost_outbox::Outbox>,
    stop: Notify,
    /// Number of workers under way. A stop without a worker must not end the next one.
    workers: AtomicUsize,
}

impl From<OutboxError> for Failure {
    fn from(error: OutboxError) -> Self {
        let kind = if error.is_passing() {
            "outbox-passing"
        } else {
            "outbox"
        };
        Self {
            kind,
            cause: error.to_string(),
            remedy: error.remedy(),
            retry_after: None,
        }
    }
}

/// The settings of a queue, as the command line finds them.
fn config(location: Option<&str>, key: Option<PathBuf>, variables: &Variables) -> OutboxConfig {
    let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let location = location
        .or_else(|| set("ACKPOST_OUTBOX").map(String::as_str))
        .map(Location::parse);
    let key = key.or_else(|| set("ACKPOST_OUTBOX_KEY").map(PathBuf::from));
    let mut config = OutboxConfig::in_folder(place::state_folder(variables));
    if let Some(location) = location {
        if let Location::Sqlite(file) = &location {
            config.key_file = file.with_extension("key");
        }
        config.location = location;
    }
    if let Some(key) = key {
        config.key_file = key;
    }
    config
}

/// Makes the folder of a queue, for its owner alone.
fn make_folder(config: &OutboxConfig) -> Result<(), Failure> {
    let file = match &config.location {
        Location::Sqlite(file) => file,
        Location::Postgres(_) => &config.key_file,
    };
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder).map_err(|error| {
        Failure::config(
            format!("the folder {} cannot be made: {error}", folder.display()),
            "make it yourself, or name another outbox",
        )
    })
}

/// A worker under way.
struct Working(Arc<Inner>);

impl Working {
    fn begin(inner: &Arc<Inner>) -> Self {
        inner.workers.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(inner))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if self.0.workers.fetch_sub(1, Ordering::SeqCst) == 1 {
            // A stop that came too late for this worker is not meant for the next one.
            let _ = self.0.stop.notified().now_or_never();
        }
    }
}

impl Inner {
    async fn open(&self) -> Result<&ackpost_outbox::Outbox, Failure> {
        self.open
            .get_or_try_init(|| async {
                make_folder(&self.config)?;
                let options = ConnectionOptions::default()
                    .with_resident(true)
                    .with_state_folder(Some(self.state_folder.clone()));
                let pool = ConnectionPool::new(options, Asset::default());
                let transport = Arc::new(ServiceTransport::new(pool, SERVICES));
                Ok(ackpost_outbox::Outbox::open(self.config.clone(), transport).await?)
            })
            .await
    }

    async fn call(&self, call: Call) -> Result<Value, Failure> {
        let outbox = self.open().await?;
        Ok(match call {
            Call::Get { id } => {
                let shown = outbox.show(&self::id(&id)?).await?;
                shown.map_or(Value::Null, |(entry, events)| {
                    let mut value = serde_json::to_value(entry).unwrap_or_default();
                    value["events"] = json!(events);
                    value
                })
            }
            Call::List {
                states,
                target,
                limit,
                before,
            } => {
                let states = states
                    .iter()
                    .map(|state| state.parse())
                    .collect::<Result<Vec<_>, _>>();
                let states = states.map_err(|error: ackpost_notify::UnknownWord| {
                    Failure::config("unknown state", format!("use one of: {}", error.expected))
                })?;
                let before = before.as_deref().map(id).transpose()?;
                let filter = Filter::default()
                    .with_states(states)
                    .with_target(target)
                    .with_limit(limit)
                    .with_before(before);
                json!(outbox.list(&filter).await?)
            }
            Call::Wait { ids, seconds } => {
                let ids = ids.iter().map(|id| self::id(id)).collect::<Result<Vec<_>, _>>()?;
                json!(outbox.wait(&ids, self::seconds(seconds)).await?)
            }
            Call::Retry { ids } => json!(outbox.retry(&selection(ids)?).await?),
            Call::Drop { ids } => json!(outbox.drop_entries(&selection(ids)?).await?),
            Call::Stats => json!(outbox.stats().await?),
            Call::Flush {
                seconds,
                now,
                wait,
                retries,
            } => {
                let settings = FlushSettings::default()
                    .with_deadline(self::seconds(seconds))
                    .with_now(now)
                    .with_wait(wait)
                    .with_retries(retries);
                json!(outbox.flush(WorkerSettings::default(), settings).await?)
            }
            Call::Run => json!(
                outbox
                    .run(WorkerSettings::default(), self.stop.notified())
                    .await?
            ),
            Call::Close => {
                outbox.close().await;
                Value::Null
            }
        })
    }
}

/// A call as Python hands it over.
#[derive(Debug, Deserialize)]
#[serde(tag = "call", rename_all = "lowercase", deny_unknown_fields)]
enum Call {
    Get {
        id: String,
    },
    List {
        states: Vec<String>,
        target: Option<String>,
        limit: usize,
        before: Option<String>,
    },
    Wait {
        ids: Vec<String>,
        seconds: f64,
    },
    /// `null` stands for every dead entry.
    Retry {
        ids: Option<Vec<String>>,
    },
    Drop {
        ids: Option<Vec<String>>,
    },
    Stats,
    Flush {
        seconds: f64,
        now: bool,
        wait: bool,
        retries: bool,
    },
    Run,
    Close,
}

fn id(text: &str) -> Result<OutboxId, Failure> {
    text.parse().map_err(|error: ackpost_outbox::BadOutboxId| {
        Failure::config(error.to_string(), "use an id of a receipt")
    })
}

fn selection(ids: Option<Vec<String>>) -> Result<Selection, Failure> {
    let Some(ids) = ids else {
        return Ok(Selection::Dead);
    };
    let ids = ids.iter().map(|text| id(text)).collect::<Result<_, _>>()?;
    Ok(Selection::Ids(ids))
}

fn seconds(number: f64) -> Duration {
    // Longer than any program runs.
    Duration::try_from_secs_f64(number.clamp(0.0, 1e9)).unwrap_or_default()
}

/// Arguments from Python about a message for the queue; they win over the URL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueArguments {
    ttl: Option<String>,
    dedup: Option<String>,
    digest: Option<String>,
    budget: Option<String>,
    quiet: Option<String>,
}

impl QueueArguments {
    fn options(&self, asset: Asset) -> Result<AcceptOptions, OutboxError> {
        let span =
            |name, text: &Option<String>| text.as_deref().map(|text| parse_span(name, text)).transpose();
        Ok(AcceptOptions::default()
            .with_ttl(span("ttl", &self.ttl)?)
            .with_digest(span("digest", &self.digest)?)
            .with_dedup(self.dedup.as_deref().map(Dedup::parse).transpose()?)
            .with_budget(self.budget.as_deref().map(RateLimit::parse).transpose()?)
            .with_quiet(self.quiet.as_deref().map(QuietHours::parse).transpose()?)
            .with_asset(Some(asset)))
    }
}

/// The message and the services that are to be stored, and the problems of the rest.
struct Stored {
    message: Message,
    services: Vec<ServiceUrl>,
    problems: Vec<String>,
    asset: Asset,
}

fn chosen(
    list: &ackpost_apprise::Notifier,
    message: MessageArguments,
    parts: Vec<Vec<u8>>,
) -> Result<Stored, Failure> {
    let filter = message.filter();
    let message = message.message(parts)?;
    let plan = list.plan(&message, &filter);
    let problems = (list.problems().iter().filter(|problem| problem.is_error()))
        .chain(&plan.problems)
        .map(ToString::to_string);
    Ok(Stored {
        problems: problems.collect(),
        services: plan
            .services
            .iter()
            .map(|planned| planned.service.clone())
            .collect(),
        asset: list.asset().clone(),
        message,
    })
}

#[pymethods]
impl Outbox {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "Python hands a copy over")]
    fn new(location: Option<&str>, key: Option<PathBuf>, environment: Variables) -> Self {
        Self(Kept::new(Inner {
            config: config(location, key, &environment),
            state_folder: place::state_folder(&environment),
            open: OnceCell::new(),
            stop: Notify::new(),
            workers: AtomicUsize::new(0),
        }))
    }

    /// Stores a message for services of a list; `parts` are the bytes of its files.
    fn accept(
        &self,
        list: &Notifier,
        message: &str,
        parts: Vec<Vec<u8>>,
        options: &str,
    ) -> PyResult<Pending> {
        let message: MessageArguments = arguments(message)?;
        let options: QueueArguments = arguments(options)?;
        let (inner, list) = (Arc::clone(&self.0), list.list());
        Pending::start(async move {
            let stored = async {
                let stored = chosen(&list, message, parts)?;
                let mut accepted: Vec<Accepted> = Vec::new();
                if !stored.services.is_empty() {
                    let options = options.options(stored.asset)?;
                    let services: Vec<&ServiceUrl> = stored.services.iter().collect();
                    accepted = inner
                        .open()
                        .await?
                        .accept(&stored.message, &services, &options)
                        .await?;
                }
                Ok::<_, Failure>(json!({ "accepted": accepted, "problems": stored.problems }))
            };
            Answer::from(stored.await)
        })
    }

    /// Starts a call, given as JSON.
    fn call(&self, call: &str) -> PyResult<Pending> {
        let call: Call = arguments(call)?;
        let inner = Arc::clone(&self.0);
        let working = matches!(call, Call::Run).then(|| Working::begin(&inner));
        Pending::start(async move {
            let result = inner.call(call).await;
            drop(working);
            Answer::from(result)
        })
    }

    /// Lets the running worker end in good order.
    fn stop(&self) {
        if self.0.workers.load(Ordering::SeqCst) > 0 {
            self.0.stop.notify_one();
        }
    }
}
