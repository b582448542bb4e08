//! Sixteen configurations in the shapes that people have, unchanged: every entry has a true result, and no secret is seen.
//!
//! Services that Ackpost has are fakes on loopback.

mod real;
mod stand_in;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use ackpost_testkit::{FakeHttp, FakeSmtp, FakeSogs, HttpAnswer, SmtpFault};
use serde_json::{Value, json};

use crate::support::{Program, Ran, SEED, SERVER_KEY, root};

/// A configuration, the tags of the run, the exit code, and the results in the order of the file: who says it, and what.
pub(crate) type Case = (
    &'static str,
    &'static [&'static str],
    i32,
    &'static [(&'static str, &'static str)],
);

/// Results of a run, sorted.
pub(crate) fn results(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sent = ran.json().into_iter().filter(|one| !one["service"].is_null());
    let mut all: Vec<_> = sent
        .map(|one| (text(&one["service"]), text(&one["outcome"])))
        .collect();
    all.sort();
    all
}

/// Expected results, sorted.
pub(crate) fn wanted(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<_> = (expected.iter())
        .map(|(service, outcome)| ((*service).to_owned(), (*outcome).to_owned()))
        .collect();
    all.sort();
    all
}

/// True if a text holds a secret of the configurations or of the message. Some tokens must be hexadecimal.
pub(crate) fn is_secret(text: &str) -> bool {
    text.contains("SECRET") || text.contains("5ec4e7")
}

/// The services that Ackpost has.
pub(crate) struct Fakes {
    pub(crate) http: FakeHttp,
    pub(crate) mail: FakeSmtp,
    pub(crate) sogs: FakeSogs,
}

impl Fakes {
    pub(crate) fn start() -> Self {
        Self {
            http: native(),
            mail: FakeSmtp::start(SmtpFault::None),
            sogs: FakeSogs::start(SERVER_KEY),
        }
    }

    /// Copies the configurations into the home of the program, with the places of the fakes in them.
    pub(crate) fn configure(&self, program: &Program) {
        let places = [
            ("@HTTP@", self.http.place()),
            ("@MAIL@", format!("127.0.0.1:{}", self.mail.port)),
            (
                "@SOGS@",
                format!(
                    "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby",
                    self.sogs.port()
                ),
            ),
        ];
        let files = root().join("crates/ackpost/tests/configurations/files");
        copy(&files, &program.home().join("configurations"), &places);
    }
}

/// Messages to the topic `down` are refused for now.
fn native() -> FakeHttp {
    FakeHttp::start(|seen| {
        let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let topic = body["topic"].as_str().unwrap_or("none").to_owned();
        match (topic.as_str(), seen.target.contains("/message")) {
            ("down", _) => HttpAnswer::Status(503, String::new()),
            (_, true) => HttpAnswer::Status(200, json!({"id": 7}).to_string()),
            (topic, _) => {
                let answer = json!({"id": "x", "event": "message", "topic": topic});
                HttpAnswer::Status(200, answer.to_string())
            }
        }
    })
}

/// Returns a file below a folder that holds a secret; the configurations themselves do.
pub(crate) fn leaks(folder: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.ends_with("configurations") {
                continue;
            }
            if let Some(found) = leaks(&path) {
                return Some(found);
            }
        } else if std::fs::read(&path).is_ok_and(|bytes| is_secret(&String::from_utf8_lossy(&bytes))) {
            return Some(path);
        }
    }
    None
}

fn copy(from: &Path, to: &Path, places: &[(&str, String)]) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target, places);
            continue;
        }
        let mut text = std::fs::read_to_string(&path).expect("text");
        for (name, place) in places {
            text = text.replace(name, place);
        }
        std::fs::write(&target, text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&target, mode).expect("set");
    }
}
