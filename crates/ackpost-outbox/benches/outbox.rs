//! Measures how many messages a second the outbox accepts durably, and how long each call takes, while a target is
//! down.
//!
//! `cargo bench -p ackpost-notify --bench outbox` (SQLite in a temporary folder; `OUTBOX_BENCH_FOLDER` chooses the disk,
//! `OUTBOX_BENCH_LOCATION` a PostgreSQL database). The last column compares with one sender.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program that prints a few measured numbers"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackpost_notify::{Context, Message, ServiceUrl};
use ackpost_outbox::{AcceptOptions, Location, Outbox, OutboxConfig, WorkerSettings};

/// No server listens at this address, so every attempt is deferred.
const URL: &str = "session://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:\
    fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210@127.0.0.1:9/lobby";

#[tokio::main]
async fn main() {
    let folder = match std::env::var_os("OUTBOX_BENCH_FOLDER") {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    }
    .expect("a folder");
    let mut config = OutboxConfig::in_folder(folder.path());
    if let Ok(location) = std::env::var("OUTBOX_BENCH_LOCATION") {
        config.location = Location::parse(&location);
    }
    config.limits.waiting = 1_000_000;
    let outbox = Outbox::for_services(config, ackpost_notify::Services::default())
        .await
        .expect("the outbox opens");
    let worker = tokio::spawn({
        let outbox = outbox.clone();
        async move {
            outbox
                .run(WorkerSettings::default(), std::future::pending())
                .await
        }
    });
    let service = Arc::new(ServiceUrl::parse(URL, &Context::default()).expect("the URL is right"));
    let one = round(&outbox, &service, 1, 500).await;
    for senders in [1, 8, 32, 128] {
        let rate = round(&outbox, &service, senders, 6_000 / senders.max(4)).await;
        println!("{senders:>4} senders: {:.1} times the rate of one", rate / one);
    }
    worker.abort();
}

/// Returns the number of messages accepted per second.
async fn round(outbox: &Outbox, service: &Arc<ServiceUrl>, senders: usize, each: usize) -> f64 {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for sender in 0..senders {
        let (outbox, service) = (outbox.clone(), Arc::clone(service));
        tasks.push(tokio::spawn(async move {
            let mut took = Vec::with_capacity(each);
            for number in 0..each {
                let message = Message::new(format!("message {number} of {sender}"));
                let begun = Instant::now();
                outbox
                    .accept(&message, &[&service], &AcceptOptions::default())
                    .await
                    .expect("accepted");
                took.push(begun.elapsed());
            }
            took
        }));
    }
    let mut took: Vec<Duration> = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("no sender fails"));
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{senders:>4} senders: {rate:>8.0} accepts/s, median {:?}, 99 % {:?}, longest {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    rate
}
