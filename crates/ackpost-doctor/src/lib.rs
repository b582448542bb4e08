//! The doctor: checks every step of a delivery, and shows how to fix the failing ones.
//!
//! Every step is looked at by the same code that sends; the order is the order of a send. A step that cannot be
//! looked at because of an earlier one is `skipped`, so that exactly the step that fails is named.

mod certificate;
mod net;
mod omemo;
mod server;
mod sogs;
mod step;
mod suggest;
mod xmpp;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ackpost_notify::{
    Asset, ConnectionOptions, ConnectionPool, Diagnostic, Message, ParamValue, RunOptions, ServiceUrl,
};

use ackpost_xmpp::Dns;
pub use server::link;
pub use step::{CheckStatus, Diagnosis, Step, Walk};

/// Longest file of authorities, bytes.
pub const CA_FILE_BYTES: u64 = 4 << 20;

/// A URL that did not load: the only step.
pub fn unloadable(shown: &str, problem: &Diagnostic) -> Diagnosis {
    let mut walk = Walk::new(shown);
    let place = match (&problem.file, problem.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        _ => String::new(),
    };
    let key = problem
        .key
        .as_ref()
        .map_or(String::new(), |key| format!("{key}: "));
    walk.fail(
        "url",
        format!("{place}{key}{}", problem.cause),
        problem.remedy.clone(),
    );
    walk.end()
}

/// Options for checking a URL.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Check {
    /// Options of the connections.
    pub connections: ConnectionOptions,
    /// True if a test message is sent the same way.
    pub send: bool,
    /// Name servers to ask about XMPP instead of the system's.
    pub dns: Vec<SocketAddr>,
}

impl Check {
    /// Sets [`Self::connections`].
    #[must_use]
    pub fn with_connections(mut self, connections: ConnectionOptions) -> Self {
        self.connections = connections;
        self
    }

    /// Sets [`Self::send`].
    #[must_use]
    pub fn with_send(mut self, send: bool) -> Self {
        self.send = send;
        self
    }

    /// Sets [`Self::dns`].
    #[must_use]
    pub fn with_dns(mut self, dns: Vec<SocketAddr>) -> Self {
        self.dns = dns;
        self
    }
}

/// Looks at a loaded URL.
pub async fn service(service: &ServiceUrl, look: &Check) -> Diagnosis {
    let options = &look.connections;
    let mut walk = Walk::new(service.short_url());
    parsed(&mut walk, service);
    if let Some(parts) = service.xmpp_parts(options) {
        match parts {
            Ok(parts) => {
                let account = if look.dns.is_empty() {
                    parts.account
                } else {
                    parts.account.dns(Dns::Servers(look.dns.clone()))
                };
                let way = xmpp::Way {
                    account,
                    rooms: parts.rooms,
                    people: parts.people,
                    verify: service.common().verify,
                    connect_limit: service.common().connect_timeout(),
                };
                xmpp::walk(&mut walk, &way).await;
            }
            Err(problem) => {
                walk.fail("url", problem.cause, problem.remedy);
            }
        }
    } else if let Some(parts) = service.sogs_parts(options) {
        match parts {
            Ok(parts) => {
                let authorities = parts
                    .ca_file
                    .as_ref()
                    .and_then(|path| ackpost_platform::read_limited(path.as_ref(), CA_FILE_BYTES).ok());
                let says_no = |name: &str| {
                    let no = ParamValue::Text("no".to_owned());
                    service
                        .parameters()
                        .iter()
                        .any(|one| one.name == name && one.value == no)
                };
                let way = sogs::Way {
                    builder: parts.builder,
                    base_url: parts.base_url,
                    rooms: parts.rooms,
                    authorities,
                    verify: service.common().verify,
                    never_blind: says_no("blind"),
                    never_seal: says_no("encrypt"),
                    connect_limit: service.common().connect_timeout(),
                };
                sogs::walk(&mut walk, way).await;
            }
            Err(problem) => {
                walk.fail("url", problem.cause, problem.remedy);
            }
        }
    } else {
        let pool = ConnectionPool::new(options.clone(), Asset::default());
        for finding in service.check(&pool).await {
            match finding.result {
                Ok(seen) => walk.ok(finding.step, seen),
                Err(problem) if !problem.is_error() => walk.warn(finding.step, problem.cause, problem.remedy),
                Err(problem) => walk.fail(finding.step, problem.cause, problem.remedy),
            };
        }
        pool.close().await;
    }
    if look.send {
        test_message(&mut walk, service, options).await;
    }
    walk.end()
}

/// Reports the parsed URL and its oddities.
fn parsed(walk: &mut Walk, service: &ServiceUrl) {
    let targets = service.targets();
    let errors: Vec<&Diagnostic> = service
        .warnings()
        .iter()
        .filter(|problem| problem.is_error())
        .collect();
    let about = format!(
        "{}, {} {}",
        service.name(),
        targets.len(),
        if targets.len() == 1 { "target" } else { "targets" }
    );
    if let Some(first) = errors.first() {
        walk.fail("url", format!("{about}; {}", first.cause), first.remedy.clone());
    } else if let Some(first) = service.warnings().first() {
        let key = first.key.as_ref().map_or(String::new(), |key| format!("{key}: "));
        walk.warn(
            "url",
            format!("{about}; {key}{}", first.cause),
            first.remedy.clone(),
        );
    } else {
        walk.ok("url", about);
    }
}

/// Sends one message and waits for its confirmation.
async fn test_message(walk: &mut Walk, service: &ServiceUrl, options: &ConnectionOptions) {
    if !walk.is_ok() {
        walk.skip("send", "an earlier step failed");
        return;
    }
    walk.begin();
    let at = jiff::Timestamp::try_from(SystemTime::now()).map_or(String::new(), |at| format!(" at {at:.0}"));
    let message = Message::new(format!("Test of the doctor{at}."));
    let pool = ConnectionPool::new(options.clone(), Asset::default());
    let rules = RunOptions::default();
    let sent = tokio::time::timeout(Duration::from_secs(90), async {
        let report = service.send_with(&rules, &pool, message).await;
        pool.close().await;
        report
    });
    let Ok(report) = sent.await else {
        walk.fail("send", "there was no outcome within 90 s", "try again");
        return;
    };
    for target in report.targets {
        match &target.outcome {
            ackpost_notify::Outcome::Delivered { confirmed_by, id } => {
                let id = id.as_ref().map_or(String::new(), |id| format!(", id {id}"));
                walk.ok("send", format!("delivered, confirmed by {confirmed_by}{id}"))
                    .of(target.address);
            }
            other => {
                let reason = other.reason().unwrap_or("no outcome").to_owned();
                walk.fail("send", reason, other.remedy().unwrap_or_default())
                    .of(target.address);
            }
        }
    }
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
