//! From a checked message to the outbox, and what the client is told.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ackpost_notify::outbox::{AcceptOptions, Accepted, Entry as Queued, OutboxError, OutboxId, State};
use ackpost_notify::{Diagnostic, Message, Service};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Value, json};

use crate::memory::Share;
use crate::reply::Reply;
use crate::state::Gateway;

/// A message, where it goes, and how the client wants to hear of it.
pub(crate) struct Order {
    pub(crate) message: Message,
    pub(crate) services: Vec<Service>,
    /// What of the configuration or the URLs did not load.
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) options: AcceptOptions,
    pub(crate) wait: Duration,
    /// The memory that the request holds until the message is stored.
    pub(crate) share: Option<Share>,
}

impl Order {
    /// Bytes of its text and files.
    fn bytes(&self) -> usize {
        let files = self.message.attachments.iter().map(|file| match &file.source {
            ackpost_notify::AttachmentSource::Bytes(bytes) => bytes.len(),
            _ => 0,
        });
        self.message.title.len() + self.message.body.len() + files.sum::<usize>()
    }
}

/// Stores the message durably; then, if asked to, waits for what becomes of it.
pub(crate) async fn accept(gateway: &Gateway, mut order: Order) -> Result<Reply, Reply> {
    let services: Vec<&Service> = order.services.iter().collect();
    let turn = gateway.memory.turn(order.bytes()).await;
    let accepted = gateway
        .outbox
        .accept(&order.message, &services, &order.options)
        .await;
    gateway.health.accepted(accepted.as_ref().err());
    let accepted = accepted.map_err(refusal)?;
    let Order { problems, wait, .. } = {
        order.message = Message::default();
        order.share = None;
        drop(turn);
        order
    };
    gateway
        .counters
        .accepted
        .fetch_add(accepted.len() as u64, Ordering::Relaxed);
    if wait.is_zero() || accepted.is_empty() {
        return Ok(stored(&accepted, &problems));
    }
    let ids: Vec<OutboxId> = accepted.iter().map(|one| one.id.clone()).collect();
    let entries = gateway.outbox.wait(&ids, wait).await.map_err(refusal)?;
    Ok(outcomes(&entries, &problems))
}

/// How long to wait: what the request says (`Prefer: wait=10`, `wait`), else what the gateway is set to.
pub(crate) fn wait(gateway: &Gateway, parts: &Parts, asked: Option<Duration>) -> Duration {
    let config = gateway.config();
    let prefer = parts
        .headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','));
    let preferred = prefer
        .filter_map(|word| word.trim().strip_prefix("wait="))
        .find_map(|seconds| seconds.trim().parse().ok().map(Duration::from_secs));
    // The answer must be out before the request's own time is over.
    let most = config
        .max_wait
        .min(config.limits.request_time.saturating_sub(Duration::from_secs(2)));
    asked.or(preferred).unwrap_or(config.wait).min(most)
}

/// What the outbox could not do, as an answer.
pub(crate) fn refusal(error: OutboxError) -> Reply {
    let remedy = error.remedy();
    if error.is_full() {
        tracing::error!(%error, "the outbox is full");
        return Reply::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()).remedy(remedy);
    }
    if error.is_passing() {
        tracing::warn!(%error, "the outbox is not available");
        return Reply::unavailable(
            "the outbox is not available for the moment",
            Duration::from_secs(2),
        );
    }
    match error {
        error @ (OutboxError::Attachment { .. } | OutboxError::TooLarge { .. } | OutboxError::Rule(_)) => {
            Reply::bad_request(error.to_string()).remedy(remedy)
        }
        error => Reply::internal(&error),
    }
}

fn stored(accepted: &[Accepted], problems: &[Diagnostic]) -> Reply {
    let targets = accepted.len();
    let text = format!(
        "stored for {targets} {}",
        if targets == 1 { "target" } else { "targets" }
    );
    let mut reply = status_of(
        problems.is_empty() && targets > 0,
        text,
        "some of the services could not be used",
    );
    for one in accepted {
        reply = reply.line(format!("{} {} {}", one.id, one.state, one.target));
    }
    let details = accepted
        .iter()
        .map(|one| log("INFO", &format!("stored for {} as {}", one.target, one.id)));
    finish(reply, "queued", json!(accepted), details.collect(), problems)
}

fn outcomes(entries: &[Queued], problems: &[Diagnostic]) -> Reply {
    let delivered = entries
        .iter()
        .filter(|entry| entry.state == State::Delivered)
        .count();
    let failed = entries
        .iter()
        .filter(|entry| matches!(entry.state, State::Partial | State::Dead | State::Dropped))
        .count();
    let word = match (delivered, failed) {
        (d, 0) if d == entries.len() => "delivered",
        (0, f) if f == entries.len() && entries.iter().all(|entry| entry.state != State::Partial) => {
            "refused"
        }
        (_, 0) => "queued",
        _ => "partial",
    };
    // What did not load is not among the targets that are counted.
    let whose = if problems.is_empty() { "" } else { " of the others" };
    let text = format!("delivered to {delivered} of {} targets{whose}", entries.len());
    let failure = match (failed, problems.is_empty()) {
        (0, _) => "some of the services could not be used",
        (_, true) => "one or more notifications could not be sent",
        (_, false) => {
            "some of the services could not be used, and one or more notifications could not be sent"
        }
    };
    let mut reply = status_of(problems.is_empty() && failed == 0, text, failure);
    let mut details = Vec::new();
    for entry in entries {
        let level = match entry.state {
            State::Delivered => "INFO",
            State::Partial | State::Dead | State::Dropped => "ERROR",
            _ => "WARNING",
        };
        let line = describe(entry);
        details.push(log(level, &line));
        reply = reply.line(format!("{} {line}", entry.id));
    }
    finish(reply, word, json!(entries), details, problems)
}

fn status_of(good: bool, text: String, failure: &str) -> Reply {
    if good {
        Reply::ok(text)
    } else {
        // Documented by Apprise API for "one or more notifications could not be sent".
        Reply::new(StatusCode::FAILED_DEPENDENCY, format!("{failure}; {text}"))
    }
}

fn finish(
    reply: Reply,
    status: &str,
    outbox: Value,
    mut details: Vec<Value>,
    problems: &[Diagnostic],
) -> Reply {
    let mut reply = reply;
    for problem in problems {
        let text = told(problem);
        details.push(log("ERROR", &text));
        reply = reply.line(text);
    }
    reply
        .field("status", status)
        .field("outbox", outbox)
        .field("details", details)
}

/// A problem as it is told over HTTP: with the name of its file and the place in it. In which folder of this machine the
/// operator keeps it is in the log.
pub(crate) fn told(problem: &Diagnostic) -> String {
    let mut problem = problem.clone();
    if let Some(file) = &mut problem.file
        && let Some((_, name)) = file.rsplit_once('/')
    {
        *file = name.to_owned();
    }
    problem.to_string()
}

/// One line on where an entry stands.
pub(crate) fn describe(entry: &Queued) -> String {
    let mut text = format!("{} {}", entry.state, entry.target);
    if entry.state == State::Delivered {
        if let Some(ackpost_notify::Outcome::Delivered { confirmed_by, id }) = &entry.outcome {
            let _ = write!(text, ", confirmed by {confirmed_by}");
            if let Some(id) = id {
                let _ = write!(text, ", id {id}");
            }
        }
        return text;
    }
    if let Some(outcome) = &entry.outcome {
        for part in [outcome.reason(), outcome.remedy()]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
        {
            text.push_str("; ");
            text.push_str(part);
        }
    }
    text
}

/// A log line in Apprise API's form: level, time, text.
fn log(level: &str, text: &str) -> Value {
    json!([
        level,
        ackpost_notify::outbox::time_text(std::time::SystemTime::now()),
        text
    ])
}
