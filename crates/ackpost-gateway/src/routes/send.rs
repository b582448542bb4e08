//! Storing of a checked message in the outbox, and the answer to the client.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ackpost_notify::{Attachment, Diagnostic, Message, ServiceUrl};
use ackpost_outbox::{AcceptOptions, Accepted, Entry as Queued, MessageCopy, OutboxError, OutboxId, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Value, json};

use crate::memory::Share;
use crate::reply::Reply;
use crate::state::Gateway;

/// A message, where it goes, and how the client wants to hear of it.
pub(crate) struct SendRequest {
    pub(crate) message: Message,
    pub(crate) services: Vec<ServiceUrl>,
    /// Problems of the configuration or the URLs that did not load.
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) options: AcceptOptions,
    pub(crate) wait: Duration,
    /// The memory that the request holds until the message is stored.
    pub(crate) share: Option<Share>,
}

impl SendRequest {
    /// Bytes of its text and files.
    fn bytes(&self) -> usize {
        let files = self.message.attachments.iter().map(|file| match &file.source {
            ackpost_notify::AttachmentSource::Bytes(bytes) => bytes.len(),
            _ => 0,
        });
        self.message.title.len() + self.message.body.len() + files.sum::<usize>()
    }
}

/// Stores the message durably; then, if asked to, waits for the outcome.
pub(crate) async fn accept(gateway: &Gateway, mut order: SendRequest) -> Result<Reply, Reply> {
    let services: Vec<&ServiceUrl> = order.services.iter().collect();
    let permit = gateway.memory.permit(order.bytes()).await;
    let accepted = gateway
        .outbox
        .accept(&order.message, &services, &order.options)
        .await;
    gateway.health.accepted(&gateway.outbox, accepted.as_ref().err());
    let accepted = accepted.map_err(refusal)?;
    let SendRequest {
        problems,
        wait,
        options,
        ..
    } = {
        order.message = Message::default();
        order.share = None;
        drop(permit);
        order
    };
    let missing = options.missing_files;
    gateway
        .counters
        .accepted
        .fetch_add(accepted.len() as u64, Ordering::Relaxed);
    if wait.is_zero() || accepted.is_empty() {
        return Ok(stored(&accepted, &problems, &missing));
    }
    let ids: Vec<OutboxId> = accepted.iter().map(|one| one.id.clone()).collect();
    let entries = gateway.outbox.wait(&ids, wait).await.map_err(refusal)?;
    Ok(outcomes(&entries, &problems, &missing))
}

/// Stores copies of a message with the same files durably: all of them or none.
pub(crate) async fn accept_copies(
    gateway: &Gateway,
    files: &[Attachment],
    orders: &[SendRequest],
) -> Result<Vec<Accepted>, Reply> {
    let services: Vec<Vec<&ServiceUrl>> = orders
        .iter()
        .map(|order| order.services.iter().collect())
        .collect();
    let copies = orders.iter().zip(&services).map(|(order, services)| MessageCopy {
        message: &order.message,
        services,
        options: &order.options,
    });
    let permit = gateway
        .memory
        .permit(orders.iter().map(SendRequest::bytes).sum())
        .await;
    let accepted = gateway
        .outbox
        .accept_copies(files, &copies.collect::<Vec<_>>())
        .await;
    drop(permit);
    gateway.health.accepted(&gateway.outbox, accepted.as_ref().err());
    let accepted = accepted.map_err(refusal)?;
    gateway
        .counters
        .accepted
        .fetch_add(accepted.len() as u64, Ordering::Relaxed);
    Ok(accepted)
}

/// Returns the time to wait: that of the request (`Prefer: wait=10`, `wait`), else that of the gateway.
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

/// Returns the answer for an error of the outbox.
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
        error @ (OutboxError::Attachment { .. }
        | OutboxError::TooLarge { .. }
        | OutboxError::TooManyTargets { .. }
        | OutboxError::Unsendable { .. }
        | OutboxError::Rule(_)) => Reply::bad_request(error.to_string()).remedy(remedy),
        error => Reply::internal(&error),
    }
}

fn stored(accepted: &[Accepted], problems: &[Diagnostic], missing: &[String]) -> Reply {
    let targets = accepted.len();
    let text = format!(
        "stored for {targets} {}",
        if targets == 1 { "target" } else { "targets" }
    );
    let failure = match (problems.is_empty(), missing.is_empty()) {
        (true, false) => "the message lacks a file",
        (false, false) => "some of the services could not be used, and the message lacks a file",
        _ => "some of the services could not be used",
    };
    let good = problems.is_empty() && missing.is_empty() && targets > 0;
    let mut reply = status_of(good, text, failure);
    for file in missing {
        reply = reply.line(format!("file missing: {file}"));
    }
    for one in accepted {
        reply = reply.line(format!("{} {} {}", one.id, one.state, one.target));
    }
    let details = accepted
        .iter()
        .map(|one| log("INFO", &format!("stored for {} as {}", one.target, one.id)));
    finish(reply, "queued", json!(accepted), details.collect(), problems)
}

fn outcomes(entries: &[Queued], problems: &[Diagnostic], missing: &[String]) -> Reply {
    let taken = entries
        .iter()
        .filter(|entry| entry.state == State::Delivered)
        .count();
    let handed_over = entries.iter().filter(|entry| is_handed_over(entry)).count();
    let failed = entries
        .iter()
        .filter(|entry| matches!(entry.state, State::Partial | State::Dead | State::Dropped))
        .count();
    let word = match (taken, failed) {
        // The weakest of the results.
        (t, 0) if t == entries.len() && handed_over > 0 => "handed-over",
        (t, 0) if t == entries.len() => "delivered",
        (0, f) if f == entries.len() && entries.iter().all(|entry| entry.state != State::Partial) => {
            "refused"
        }
        (_, 0) => "queued",
        _ => "partial",
    };
    // Services that did not load are not among the targets that are counted.
    let whose = if problems.is_empty() { "" } else { " of the others" };
    let delivered = taken.saturating_sub(handed_over);
    let mut text = format!("delivered to {delivered} of {} targets{whose}", entries.len());
    if handed_over > 0 {
        let _ = write!(text, ", handed over without proof for {handed_over}");
    }
    let failure = match (failed, problems.is_empty()) {
        (0, true) => "the message lacks a file",
        (0, false) => "some of the services could not be used",
        (_, true) => "one or more notifications could not be sent",
        (_, false) => {
            "some of the services could not be used, and one or more notifications could not be sent"
        }
    };
    let good = problems.is_empty() && failed == 0 && missing.is_empty();
    let mut reply = status_of(good, text, failure);
    for file in missing {
        reply = reply.line(format!("file missing: {file}"));
    }
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

/// Returns a problem in the form for HTTP: with the name of its file and the position in it. Only the log has the
/// folder of the file.
pub(crate) fn told(problem: &Diagnostic) -> String {
    let mut problem = problem.clone();
    if let Some(file) = &mut problem.file
        && let Some((_, name)) = file.rsplit_once('/')
    {
        *file = name.to_owned();
    }
    problem.to_string()
}

/// True if an entry ended as a success without proof.
pub(crate) fn is_handed_over(entry: &Queued) -> bool {
    entry.state == State::Delivered
        && entry
            .outcome
            .as_ref()
            .is_some_and(ackpost_notify::Outcome::is_handed_over)
}

/// Returns one line about the state of an entry.
pub(crate) fn describe(entry: &Queued) -> String {
    if is_handed_over(entry)
        && let Some(ackpost_notify::Outcome::Delivered { confirmed_by, .. }) = &entry.outcome
    {
        let by = match confirmed_by {
            ackpost_notify::Confirmation::Apprise => "Apprise reported success; Ackpost cannot see further",
            _ => "it was taken without proof of the delivery",
        };
        return format!("handed-over {}; {by}", entry.target);
    }
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
        ackpost_outbox::time_text(std::time::SystemTime::now()),
        text
    ])
}
