//! Start of a process with the first Apprise that is found.

use std::process::Stdio;
use std::time::Duration;

use ackpost_notify::Diagnostic;
use serde::Deserialize;
use tokio::io::BufReader;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::answer::Installed;
use super::process::{Process, Slot, read_line};
use crate::find::{Candidate, DELEGATED, candidates};

/// The program of the process.
const PROGRAM: &str = include_str!("../worker.py");
/// Time limit for the start of a process.
const START: Duration = Duration::from_secs(30);
/// Variables of this process that are handed down: nothing else of the environment is.
const ENVIRONMENT: [&str; 32] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_TIME",
    "TZ",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "APPRISE_STORAGE_PATH",
    "APPRISE_PLUGIN_PATH",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "PYENV_ROOT",
    "PYENV_VERSION",
];

/// The first line of a process.
#[derive(Debug, Deserialize)]
struct Greeting {
    #[serde(default)]
    version: String,
    #[serde(default)]
    error: Option<String>,
}

/// Starts a process of the first interpreter that has Apprise.
pub(super) async fn start(known: Option<Candidate>, slot: Slot) -> Result<(Candidate, Process), Diagnostic> {
    let all = match known {
        Some(known) => vec![known],
        None => candidates(&|name| std::env::var(name).ok())?,
    };
    let mut old = None;
    for candidate in all {
        if let Some((child, requests, responses, installed)) = greet(&candidate).await {
            if is_too_old(&installed.version) {
                old.get_or_insert(installed);
                continue;
            }
            tracing::debug!(version = %installed.version, python = %candidate.python.display(), "Apprise was started");
            let process = Process::new(child, requests, responses, installed, slot);
            return Ok((candidate, process));
        }
        tracing::debug!(python = %candidate.python.display(), "no Apprise was found there");
    }
    if let Some(old) = old {
        let (version, python) = (old.version, old.python.display());
        return Err(Diagnostic::error(
            format!("Apprise {version} ({python}) is too old"),
            "install Apprise 1.2 or later (pipx install apprise), set ACKPOST_APPRISE to its path, or leave such entries \
             out with --foreign skip",
        ));
    }
    Err(Diagnostic::error(
        "no Apprise was found",
        "install Apprise (pipx install apprise), set ACKPOST_APPRISE to its path, or leave such entries out with \
         --foreign skip",
    ))
}

/// True for versions before 1.2, which lack functions that the process calls. A version that cannot be read is tried.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (1, 2),
        _ => false,
    }
}

type Started = (Child, ChildStdin, BufReader<ChildStdout>, Installed);

/// Starts a process and reads its first line; nothing if it has no Apprise.
async fn greet(candidate: &Candidate) -> Option<Started> {
    let given = ENVIRONMENT
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut command = Command::new(&candidate.python);
    // A Ctrl-C at the terminal ends this program in good order, and not a delivery in the middle.
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command
        .args(["-I", "-u", "-c", PROGRAM])
        .env_clear()
        .envs(given)
        .env(DELEGATED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let requests = child.stdin.take()?;
    let mut responses = BufReader::new(child.stdout.take()?);
    let line = tokio::time::timeout(START, read_line(&mut responses))
        .await
        .ok()?
        .ok()?;
    let greeting: Greeting = serde_json::from_slice(&line).ok()?;
    if greeting.error.is_some() {
        return None;
    }
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
    let installed = Installed {
        version: greeting.version.chars().filter(plain).take(32).collect(),
        python: candidate.python.clone(),
    };
    Some((child, requests, responses, installed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_1_2_are_too_old() {
        for version in ["0.9.9", "1.0.0", "1.1"] {
            assert!(is_too_old(version), "{version}");
        }
        for version in ["1.2.0", "1.10.0", "2.3.0", "3", "", "unknown"] {
            assert!(!is_too_old(version), "{version}");
        }
    }
}
