//! The real Apprise of PyPI, and a server that its messages go to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// `apprise` in a virtual environment that is made once and kept beside the build (`ACKPOST_TEST_APPRISE` names a
/// ready one of the version whose language is followed).
pub(crate) fn installed(version: &str) -> PathBuf {
    if version == ackpost_apprise::APPRISE_VERSION
        && let Some(ready) = std::env::var_os("ACKPOST_TEST_APPRISE")
    {
        return ready.into();
    }
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = base.join(format!("apprise-{version}"));
    // Tests run at the same time: one of them makes it.
    let lock = std::fs::File::create(base.join(format!("apprise-{version}.lock"))).expect("a lock");
    lock.lock().expect("a lock");
    let (program, ready) = (folder.join("bin/apprise"), folder.join("ready"));
    if !ready.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "python3 with venv is needed (Debian: python3-venv)"
        );
        let package = format!("apprise=={version}");
        let installed = Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", &package])
            .status();
        assert!(
            installed.is_ok_and(|status| status.success()),
            "apprise {version} could not be installed from PyPI"
        );
        std::fs::write(ready, version).expect("written");
    }
    program
}

/// One request that the sink got.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    /// Its path.
    pub(crate) path: String,
    /// Its head.
    pub(crate) head: String,
    /// Its body.
    pub(crate) json: serde_json::Value,
}

/// An HTTP server for `json://` URLs. `/e500…` is answered with that status, `/slow…` after 3 seconds, `/never…` not at
/// all, everything else with 200.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Its port on the loopback.
    pub(crate) port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Sink {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let posted = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&posted);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                thread::spawn(move || serve(stream, &all));
            }
        });
        Self { port, posted }
    }

    /// `json://127.0.0.1:PORT/PATH`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("json://127.0.0.1:{}/{path}", self.port)
    }

    /// Everything that arrived so far.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("no panic").clone()
    }

    /// Returns the number of requests with this path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.posted().iter().filter(|one| one.path == path).count()
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Posted>>) {
    let mut answer = stream.try_clone().expect("a stream");
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let json = serde_json::from_slice(&body).unwrap_or_default();
    all.lock().expect("no panic").push(Posted {
        path: path.clone(),
        head,
        json,
    });
    if path.starts_with("/never") {
        thread::sleep(Duration::from_secs(30));
        return;
    }
    if path.starts_with("/slow") {
        thread::sleep(Duration::from_secs(3));
    }
    let status = path
        .strip_prefix("/e")
        .and_then(|rest| rest.get(..3))
        .unwrap_or("200");
    let _ = write!(
        answer,
        "HTTP/1.1 {status} Status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
}
