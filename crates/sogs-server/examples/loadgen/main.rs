//! Load generator for the community server: it starts the server as a child process, signs and seals every request
//! beforehand, and prints requests per second, latency, the server's CPU time per request and its memory.
//!
//! ```sh
//! cargo run --release -p sogs-server --example loadgen -- run [--seconds 3] [--database postgres://…] [--only "first post"]
//! cargo run --release -p sogs-server --example loadgen -- growth [--plot docs/growth.svg]
//! cargo run --release -p sogs-server --example loadgen -- raid
//! cargo run --release -p sogs-server --example loadgen -- batches
//! cargo run --release -p sogs-server --example loadgen -- search [1000000]
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: it fails by panicking and prints"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "statistics"
)]

mod batches;
mod child;
mod drive;
mod growth;
mod raid;
mod requests;
mod search;

use std::path::PathBuf;

use child::Child;
use drive::{Report, drive};
use requests::Workshop;

fn option(args: &[String], name: &str) -> Option<String> {
    args.iter()
        .position(|arg| arg == name)
        .and_then(|at| args.get(at + 1).cloned())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("serve") => child::serve(&PathBuf::from(&args[1]), option(&args, "--database").as_deref()),
        Some("fill") => child::fill(&args[1..]),
        Some("growth") => growth::run(option(&args, "--plot").map(PathBuf::from)),
        Some("raid") => raid::run(),
        Some("batches") => batches::run(option(&args, "--database").as_deref()),
        Some("search") => search::run(args.get(1).map_or(1_000_000, |text| text.parse().unwrap())),
        _ => standard(
            option(&args, "--seconds")
                .and_then(|text| text.parse().ok())
                .unwrap_or(3.0),
            option(&args, "--database").as_deref(),
            option(&args, "--only").as_deref(),
        ),
    }
}

/// Posts of people who have no row in the database: the first request of all, and the first post of those who have read.
fn first_posts(server: &Child) {
    for (connections, from) in [(1, 100_000), (32, 200_000)] {
        let strangers = Workshop::with_people(server, from, 2000);
        let report = drive(server, &strangers.posts(2000, 0), connections, 60.0);
        println!("{}", report.line("post, first request", connections));
        let readers = Workshop::with_people(server, from + 50_000, 2000);
        let warm = drive(server, &readers.capabilities(2000), 8, 60.0);
        assert_eq!(
            (warm.done, warm.failed),
            (2000, 0),
            "warming up: {}",
            warm.example
        );
        let report = drive(server, &readers.posts(2000, 0), connections, 60.0);
        println!("{}", report.line("post, first after reading", connections));
    }
}

/// The table of the README: posts, recent, polls, at 1 and 32 connections.
fn standard(seconds: f64, database: Option<&str>, only: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    child::fill_dir(dir.path(), database, 1, 2000, 4000);
    let server = Child::start(dir.path(), database);
    println!(
        "database: {}",
        database.map_or("SQLite (WAL, synchronous=FULL)", |_| "PostgreSQL")
    );
    println!(
        "cold start {:.1} ms, {:.1} MB after start\n",
        server.started_ms,
        server.memory_mb()
    );
    println!("{}", Report::header());
    let workshop = Workshop::new(&server);
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    // Every person has a row before the measuring begins.
    for requests in [workshop.capabilities(4000), workshop.posts(4000, 0)] {
        let warm = drive(&server, &requests, 8, 120.0);
        assert_eq!(
            (warm.done, warm.failed),
            (4000, 0),
            "warming up: {}",
            warm.example
        );
    }
    for connections in [1, 32] {
        let scale = if connections == 1 { 0.5 } else { 1.0 };
        let count = |per_second: f64| (per_second * seconds * scale) as usize;
        for (name, list) in [
            (
                "post",
                wanted("post").then(|| workshop.posts(count(6000.0).min(8000), connections)),
            ),
            (
                "recent (100 messages)",
                wanted("recent").then(|| workshop.recent(count(14_000.0))),
            ),
            (
                "no-change poll, http batch",
                wanted("poll").then(|| workshop.polls(count(14_000.0))),
            ),
            (
                "no-change poll, onion batch",
                wanted("onion").then(|| workshop.onion_polls(count(9000.0))),
            ),
        ] {
            let Some(list) = list else { continue };
            let report = drive(&server, &list, connections, seconds);
            println!("{}", report.line(name, connections));
        }
    }
    // Last, because the new people would be in the figures of the others.
    if wanted("first post") {
        first_posts(&server);
    }
    println!(
        "\nmemory at the end {:.1} MB, at most {:.1} MB",
        server.memory_mb(),
        server.peak_mb()
    );
}
