//! Load generator for the community server: it starts the server as a child process, signs and seals every request
//! beforehand, and prints requests per second, latency, the server's CPU time per request and its memory.
//!
//! ```sh
//! cargo run --release -p sogs-server --example loadgen -- run [--seconds 3] [--database postgres://…]
//! cargo run --release -p sogs-server --example loadgen -- growth [--plot docs/growth.svg]
//! cargo run --release -p sogs-server --example loadgen -- raid
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

mod child;
mod drive;
mod growth;
mod raid;
mod requests;

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
        _ => standard(
            option(&args, "--seconds")
                .and_then(|text| text.parse().ok())
                .unwrap_or(3.0),
            option(&args, "--database").as_deref(),
            option(&args, "--only").as_deref(),
        ),
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
    // Every user is known before the measuring begins.
    let warm = drive(&server, &workshop.capabilities(4000), 8, 60.0);
    assert_eq!(warm.failed, 0, "warming up: {}", warm.example);
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    for connections in [1, 32] {
        let scale = if connections == 1 { 0.5 } else { 1.0 };
        let count = |per_second: f64| (per_second * seconds * scale) as usize;
        for (name, list) in [
            (
                "post",
                wanted("post").then(|| workshop.posts(count(6000.0).min(9900), connections)),
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
    println!(
        "\nmemory at the end {:.1} MB, at most {:.1} MB",
        server.memory_mb(),
        server.peak_mb()
    );
}
