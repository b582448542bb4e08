//! `/healthz` and `/metrics` on their own listener, so that they are not on the internet by accident.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::store::operation::Totals;

/// Time for which counted rows are shown before they are counted again.
const COUNTED_FOR: Duration = Duration::from_secs(30);
/// Time after which a database that has not answered counts as unhealthy.
const PATIENCE: Duration = Duration::from_secs(5);

struct Metrics {
    app: Arc<App>,
    totals: Mutex<Option<(Instant, Totals)>>,
}

/// Listens for `/healthz` and `/metrics`, if the configuration gives an address.
pub(crate) async fn start_metrics(
    app: &Arc<App>,
    stop: watch::Receiver<bool>,
) -> std::io::Result<Option<JoinHandle<()>>> {
    let Some(address) = app.config().metrics.listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "health and metrics");
    Ok(Some(tokio::spawn(serve(Arc::clone(app), listener, stop))))
}

async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let state = Arc::new(Metrics {
        app,
        totals: Mutex::default(),
    });
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .with_state(state);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { crate::admin::stopped(&mut stop).await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the listener for metrics ended");
    }
}

async fn health(State(state): State<Arc<Metrics>>) -> Response {
    match tokio::time::timeout(PATIENCE, state.app.store.ping()).await {
        Ok(Ok(())) => "ok\n".into_response(),
        Ok(Err(error)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the database does not answer: {error}\n"),
        )
            .into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database takes too long\n").into_response(),
    }
}

async fn metrics(State(state): State<Arc<Metrics>>) -> Response {
    let totals = state.totals().await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], render(&state.app, totals)).into_response()
}

impl Metrics {
    async fn totals(&self) -> Option<Totals> {
        let mut kept = self.totals.lock().await;
        if let Some((at, totals)) = *kept
            && at.elapsed() < COUNTED_FOR
        {
            return Some(totals);
        }
        let totals = tokio::time::timeout(PATIENCE, self.app.store.totals())
            .await
            .ok()?
            .ok()?;
        *kept = Some((Instant::now(), totals));
        Some(totals)
    }
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "# HELP ackpost_{name} {help}\n# TYPE ackpost_{name} {kind}\nackpost_{name} {value}\n"
    );
}

fn render(app: &App, totals: Option<Totals>) -> String {
    let counters = &app.counters;
    let mut text = String::new();
    for (name, help, value) in [
        (
            "requests_total",
            "Requests answered, those inside onions and batches included.",
            &counters.requests,
        ),
        ("onions_total", "Onion requests opened.", &counters.onions),
        ("posts_total", "Messages stored.", &counters.posts),
        (
            "refused_total",
            "Requests answered with a status from 400 on.",
            &counters.refused,
        ),
        (
            "failed_total",
            "Requests answered with a status from 500 on.",
            &counters.failed,
        ),
        (
            "page_hits_total",
            "Pages of messages answered from memory.",
            &counters.page_hits,
        ),
        (
            "page_misses_total",
            "Pages of messages read from the database.",
            &counters.page_misses,
        ),
        (
            "connections_made_room_total",
            "Silent connections closed for another one at the limit.",
            &counters.listener.evicted,
        ),
    ] {
        one(&mut text, name, "counter", help, value.load(Relaxed));
    }
    one(
        &mut text,
        "connections",
        "gauge",
        "Connections open now.",
        counters.listener.open.load(Relaxed),
    );
    one(
        &mut text,
        "start_time_seconds",
        "gauge",
        "When the server started, Unix seconds.",
        app.started(),
    );
    if let Some(bytes) = resident_bytes() {
        one(
            &mut text,
            "resident_memory_bytes",
            "gauge",
            "Memory of the process that is in RAM.",
            bytes,
        );
    }
    if let Some(totals) = totals {
        counted_rows(&mut text, &totals);
    }
    bucket(&mut text, app);
    plugins(&mut text, app);
    text
}

/// Numbers of rows in the database.
fn counted_rows(text: &mut String, totals: &Totals) {
    for (name, help, value) in [
        ("rooms", "Rooms.", totals.rooms),
        ("users", "People ever seen.", totals.users),
        ("messages", "Messages, without deleted ones.", totals.messages),
        ("files", "Files.", totals.files),
        ("file_bytes", "Bytes of all files.", totals.file_bytes),
        (
            "direct_messages",
            "Waiting direct messages.",
            totals.direct_messages,
        ),
        ("held_messages", "Held posts.", totals.held),
    ] {
        one(text, name, "gauge", help, value);
    }
}

/// Numbers of the store of files, if files are in a bucket.
fn bucket(text: &mut String, app: &App) {
    let Some(counters) = app.contents.bucket_counters() else {
        return;
    };
    for (name, help, value) in [
        (
            "bucket_requests_total",
            "Requests to the S3-compatible store, attempts counted one by one.",
            &counters.requests,
        ),
        (
            "bucket_failed_total",
            "Requests that the store refused or did not answer in time.",
            &counters.failed,
        ),
    ] {
        one(text, name, "counter", help, value.load(Relaxed));
    }
    let milliseconds = Duration::from_millis(counters.milliseconds.load(Relaxed));
    one(
        text,
        "bucket_seconds_total",
        "counter",
        "Time between requests to the store and the end of their answers, summed.",
        milliseconds.as_secs_f64(),
    );
}

fn plugins(text: &mut String, app: &App) {
    let status = app.guard.hub().status();
    if status.is_empty() {
        return;
    }
    let label = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"");
    for (name, help, pick) in [
        (
            "plugin_questions_total",
            "Questions to a plugin.",
            (|s| s.asked) as fn(&crate::plugin::PluginStatus) -> u64,
        ),
        (
            "plugin_late_total",
            "Questions a plugin did not answer in time.",
            |s| s.late,
        ),
        (
            "plugin_lost_total",
            "Events lost because a plugin was too slow.",
            |s| s.lost,
        ),
    ] {
        let _ = write!(
            text,
            "# HELP ackpost_{name} {help}\n# TYPE ackpost_{name} counter\n"
        );
        for plugin in &status {
            let _ = writeln!(
                text,
                "ackpost_{name}{{plugin=\"{}\"}} {}",
                label(&plugin.name),
                pick(plugin)
            );
        }
    }
}

/// Resident memory, from the page counts of the kernel.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}
