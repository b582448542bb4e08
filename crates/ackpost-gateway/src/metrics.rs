//! `/metrics` in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ackpost_operate::Count;
use ackpost_outbox::{LATENCY_MS, Stats};

/// Counters of the HTTP side; the outbox counts the rest, across restarts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Messages stored.
    pub(crate) accepted: AtomicU64,
    /// Answers by class: 1xx is never sent, so 2xx is at 0.
    answers: [AtomicU64; 4],
    /// Requests being worked on.
    pub(crate) in_flight: AtomicU64,
    /// Connections of the listeners.
    pub(crate) listener: Arc<bounded_http::Counters>,
    /// The SMTP side.
    pub(crate) smtp: SmtpCounters,
}

/// Counters of the SMTP side.
#[derive(Debug, Default)]
pub(crate) struct SmtpCounters {
    /// Open connections.
    pub(crate) open: AtomicU64,
    /// Idle connections closed for another one at the limit.
    pub(crate) made_room: AtomicU64,
    pub(crate) logins_refused: AtomicU64,
    pub(crate) recipients_refused: AtomicU64,
    /// Mails whose data came, by the class of the answer: 2xx, 4xx, 5xx.
    mails: [AtomicU64; 3],
}

impl SmtpCounters {
    /// Counts a mail by the answer to its data.
    pub(crate) fn mail(&self, answer: &str) {
        let class = match answer.as_bytes().first() {
            Some(b'2') => 0,
            Some(b'4') => 1,
            _ => 2,
        };
        self.mails[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts one as long as this exists, also when the work on it is given up.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    /// Counts one more.
    pub(crate) fn new(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// The whole page.
pub(crate) fn page(
    counters: &Counters,
    stats: &Stats,
    failing_seconds: Option<u64>,
    uptime_seconds: u64,
) -> String {
    let mut out = Page(String::with_capacity(4096));
    out.head("ackpost_up_seconds", "gauge", "Time since the gateway started.");
    out.line("ackpost_up_seconds", "", uptime_seconds);
    out.head(
        "ackpost_http_answers_total",
        "counter",
        "Answers by status class.",
    );
    for (class, count) in ["2xx", "3xx", "4xx", "5xx"].iter().zip(&counters.answers) {
        out.line(
            "ackpost_http_answers_total",
            &format!("class=\"{class}\""),
            count.load(Ordering::Relaxed),
        );
    }
    for (name, help, value) in [
        (
            "ackpost_http_requests_in_flight",
            "Requests being worked on.",
            &counters.in_flight,
        ),
        (
            "ackpost_http_connections",
            "Open connections.",
            &counters.listener.open,
        ),
    ] {
        out.head(name, "gauge", help);
        out.line(name, "", value.load(Ordering::Relaxed));
    }
    out.head(
        "ackpost_http_connections_made_room_total",
        "counter",
        "Silent connections closed for another one at the limit.",
    );
    out.line(
        "ackpost_http_connections_made_room_total",
        "",
        counters.listener.evicted.load(Ordering::Relaxed),
    );
    out.head(
        "ackpost_accepted_total",
        "counter",
        "Messages stored since the start, one for each target.",
    );
    out.line(
        "ackpost_accepted_total",
        "",
        counters.accepted.load(Ordering::Relaxed),
    );
    smtp(&mut out, &counters.smtp);
    queue(&mut out, stats, failing_seconds);
    services(&mut out, stats);
    out.0
}

fn smtp(out: &mut Page, counters: &SmtpCounters) {
    out.head("ackpost_smtp_connections", "gauge", "Open SMTP connections.");
    let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    out.line("ackpost_smtp_connections", "", value(&counters.open));
    out.head(
        "ackpost_smtp_mails_total",
        "counter",
        "Mails by the answer to their data: stored, to be sent again, or refused.",
    );
    for (result, count) in ["stored", "deferred", "refused"].iter().zip(&counters.mails) {
        out.line(
            "ackpost_smtp_mails_total",
            &format!("result=\"{result}\""),
            value(count),
        );
    }
    for (name, help, counter) in [
        (
            "ackpost_smtp_recipients_refused_total",
            "Recipients refused before the data of a mail.",
            &counters.recipients_refused,
        ),
        (
            "ackpost_smtp_logins_refused_total",
            "SMTP logins with a wrong token.",
            &counters.logins_refused,
        ),
        (
            "ackpost_smtp_connections_made_room_total",
            "Idle SMTP connections closed for another one at the limit.",
            &counters.made_room,
        ),
    ] {
        out.head(name, "counter", help);
        out.line(name, "", value(counter));
    }
}

/// Writes the counts of answers to alerts since the start.
pub(crate) fn acts(counts: &[Count]) -> String {
    let mut out = Page(String::new());
    out.head(
        "ackpost_acts_total",
        "counter",
        "Answers to alerts from a chat, by kind and result.",
    );
    for Count {
        kind, result, count, ..
    } in counts
    {
        let labels = format!("kind=\"{}\",result=\"{result}\"", label(kind));
        out.line("ackpost_acts_total", &labels, *count);
    }
    out.0
}

fn queue(out: &mut Page, stats: &Stats, failing_seconds: Option<u64>) {
    out.head("ackpost_queued", "gauge", "Messages in the outbox by state.");
    for (state, value) in [
        ("waiting", stats.waiting),
        ("collecting", stats.collecting),
        ("dead", stats.dead),
    ] {
        out.line("ackpost_queued", &format!("state=\"{state}\""), value);
    }
    out.head(
        "ackpost_oldest_waiting_seconds",
        "gauge",
        "Age of the oldest message that waits.",
    );
    out.line(
        "ackpost_oldest_waiting_seconds",
        "",
        stats.oldest_waiting_seconds.unwrap_or(0),
    );
    out.head(
        "ackpost_lanes",
        "gauge",
        "Targets with something waiting, and targets that fail.",
    );
    out.line("ackpost_lanes", "state=\"waiting\"", stats.lanes);
    out.line("ackpost_lanes", "state=\"failing\"", stats.failing_lanes);
    out.head(
        "ackpost_longest_failing_seconds",
        "gauge",
        "Time since the longest failing target began to fail.",
    );
    out.line(
        "ackpost_longest_failing_seconds",
        "",
        failing_seconds.unwrap_or(0),
    );
}

fn services(out: &mut Page, stats: &Stats) {
    out.head(
        "ackpost_messages_total",
        "counter",
        "Finished messages by outcome, since the outbox was made.",
    );
    for service in &stats.services {
        for (outcome, value) in [
            ("delivered", service.delivered.saturating_sub(service.handed_over)),
            ("handed-over", service.handed_over),
            ("partial", service.partial),
            ("deferred", service.deferred),
            ("refused", service.refused),
            ("expired", service.expired),
        ] {
            let labels = format!("service=\"{}\",outcome=\"{outcome}\"", label(&service.service));
            out.line("ackpost_messages_total", &labels, value);
        }
    }
    out.head(
        "ackpost_attempts_total",
        "counter",
        "Attempts begun, since the outbox was made.",
    );
    for service in &stats.services {
        out.line(
            "ackpost_attempts_total",
            &format!("service=\"{}\"", label(&service.service)),
            service.attempts,
        );
    }
    out.head(
        "ackpost_doubts_total",
        "counter",
        "Messages sent twice because nothing showed whether they had arrived, and messages returned after they were delivered.",
    );
    for service in &stats.services {
        for (kind, value) in [("repeated", service.repeated), ("late", service.late)] {
            let labels = format!("service=\"{}\",kind=\"{kind}\"", label(&service.service));
            out.line("ackpost_doubts_total", &labels, value);
        }
    }
    out.head("ackpost_latency_seconds", "histogram", "From accept to delivery.");
    for service in &stats.services {
        let name = label(&service.service);
        let mut so_far = 0;
        for (end, count) in LATENCY_MS.iter().zip(&service.latency) {
            so_far += count;
            let seconds = std::time::Duration::from_millis(end.unsigned_abs()).as_secs_f64();
            out.line(
                "ackpost_latency_seconds_bucket",
                &format!("service=\"{name}\",le=\"{seconds}\""),
                so_far,
            );
        }
        let all: u64 = service.latency.iter().sum();
        out.line(
            "ackpost_latency_seconds_bucket",
            &format!("service=\"{name}\",le=\"+Inf\""),
            all,
        );
        let sum = std::time::Duration::from_millis(service.latency_ms_sum).as_secs_f64();
        let _ = writeln!(out.0, "ackpost_latency_seconds_sum{{service=\"{name}\"}} {sum}");
        out.line(
            "ackpost_latency_seconds_count",
            &format!("service=\"{name}\""),
            all,
        );
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use ackpost_outbox::ServiceStats;

    use super::*;

    #[test]
    fn histograms_are_cumulative() {
        let mut service = ServiceStats::default();
        service.service = "xmpp".into();
        service.delivered = 8;
        service.handed_over = 2;
        service.latency = [1, 2, 3, 0, 0, 0, 0];
        service.latency_ms_sum = 1_500;
        let mut stats = Stats::default();
        stats.waiting = 3;
        stats.services = vec![service];
        let counters = Counters::default();
        counters.answered(200);
        counters.answered(204);
        counters.answered(503);
        let text = page(&counters, &stats, Some(7), 1);
        for line in [
            "ackpost_http_answers_total{class=\"2xx\"} 2",
            "ackpost_http_answers_total{class=\"5xx\"} 1",
            "ackpost_queued{state=\"waiting\"} 3",
            "ackpost_messages_total{service=\"xmpp\",outcome=\"delivered\"} 6",
            "ackpost_messages_total{service=\"xmpp\",outcome=\"handed-over\"} 2",
            "ackpost_latency_seconds_bucket{service=\"xmpp\",le=\"0.5\"} 3",
            "ackpost_latency_seconds_bucket{service=\"xmpp\",le=\"+Inf\"} 6",
            "ackpost_latency_seconds_sum{service=\"xmpp\"} 1.5",
            "ackpost_longest_failing_seconds 7",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
