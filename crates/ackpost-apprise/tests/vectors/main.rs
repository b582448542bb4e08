//! Every line of the reference vectors runs here. A line that falls under a documented difference is in
//! `vectors/apprise/known-differences.toml` with the number of the difference and the behaviour that is asserted instead; no line is skipped.

mod config;
mod known;
mod rendering;
mod tags;
mod urls;

use std::path::PathBuf;

use serde_json::Value;

/// The lines of one kind: the reference vectors and our own beside this file, all of them produced by running Apprise.
/// A line with `"apprise": "2.3.0"` is answered differently by 2.2.0; 2.2.0 and 2.3.0 answer all other lines alike.
/// `NOTIFY_VECTORS=FOLDER` runs the files of another folder instead.
fn vectors(kind: &str) -> Vec<Value> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folders = match std::env::var_os("NOTIFY_VECTORS") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => vec![
            here.join("../../vectors/apprise"),
            here.join("tests/vectors/more"),
        ],
    };
    let mut lines = Vec::new();
    for folder in folders {
        let path = folder.join(format!("{kind}.jsonl"));
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file of vectors");
        lines.extend(
            text.lines()
                .map(|line| serde_json::from_str(line).expect("one JSON object a line")),
        );
    }
    lines
}

/// Runs `check` on every line and fails with all that is wrong.
fn run(kind: &str, check: impl Fn(&Value) -> Result<(), String>) {
    let lines = vectors(kind);
    assert!(!lines.is_empty());
    let known = known::all();
    let mut wrong = Vec::new();
    for line in &lines {
        let id = line["id"].as_str().expect("an id");
        let outcome = match known.iter().find(|known| known.id == id) {
            Some(known) => known
                .check(line)
                .map_err(|why| format!("(known as {}) {why}", known.number)),
            None => check(line),
        };
        if let Err(why) = outcome {
            wrong.push(format!("{id}: {why}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} lines of {kind} differ:\n{}",
        wrong.len(),
        lines.len(),
        wrong.join("\n")
    );
}

/// A context with nothing of this machine in it.
fn context() -> ackpost_notify::Context {
    ackpost_notify::Context::default()
        .with_env(ackpost_notify::Environment::empty())
        .with_check_permissions(false)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}\n   ours   {ours:?}\n   theirs {theirs:?}"))
    }
}
