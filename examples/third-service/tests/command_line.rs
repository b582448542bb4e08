//! The command line of the example against a peer in this process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for something that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines that a peer got, and whether it answers.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    silent: bool,
}

/// A peer that speaks the line protocol.
#[derive(Clone)]
struct Peer {
    log: Arc<(Mutex<Log>, Condvar)>,
    port: u16,
}

impl Peer {
    fn start(silent: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let log = Log {
            silent,
            ..Log::default()
        };
        let peer = Self {
            log: Arc::new((Mutex::new(log), Condvar::new())),
            port: listener.local_addr().expect("an address").port(),
        };
        let accepting = peer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let peer = accepting.clone();
                std::thread::spawn(move || peer.serve(&stream));
            }
        });
        peer
    }

    fn serve(&self, stream: &TcpStream) {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let id = line.split(' ').nth(3).unwrap_or_default().to_owned();
            let (log, changed) = &*self.log;
            let silent = {
                let mut log = log.lock().expect("no panic");
                log.lines.push(line);
                log.silent
            };
            changed.notify_all();
            let mut answers = stream;
            if !silent && answers.write_all(format!("OK {id}\n").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        self.log.0.lock().expect("no panic").lines.clone()
    }

    /// Waits until the peer has got this many lines.
    fn wait_for(&self, count: usize) {
        let (log, changed) = &*self.log;
        let log = log.lock().expect("no panic");
        let (log, timeout) = changed
            .wait_timeout_while(log, PATIENCE, |log| log.lines.len() < count)
            .expect("no panic");
        assert!(!timeout.timed_out(), "only {:?}", log.lines);
    }

    fn answer_from_now_on(&self) {
        self.log.0.lock().expect("no panic").silent = false;
    }

    fn url(&self, rest: &str) -> String {
        format!("tcpline://secret-token@127.0.0.1:{}/{rest}", self.port)
    }
}

/// A home folder for the program.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_third-service"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .current_dir(self.path());
        command
    }

    /// Runs it to its end; standard output and error hold no token.
    fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).stdin(Stdio::null()).output().expect("it runs");
        for stream in [&output.stdout, &output.stderr] {
            assert!(
                !String::from_utf8_lossy(stream).contains("secret-token"),
                "{args:?}"
            );
        }
        output
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{args:?}: {out}{err}");
        out.into_owned()
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let text = self.text(&[&["--json"], args].concat());
        let values = serde_json::Deserializer::from_str(&text).into_iter();
        values.map(|value| value.expect("JSON")).collect()
    }

    fn worker(&self) -> Child {
        self.command(&["outbox", "run", "--lease", "1s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs")
    }
}

#[test]
fn details_list_the_service_and_its_parameters() {
    let home = Home::new();
    let all = home.text(&["details"]);
    assert!(all.contains("+ TCP line") && all.contains("+ XMPP"), "{all}");
    assert!(
        all.contains("{schema}://{token}@{host}:{port}/{targets}"),
        "{all}"
    );
    let own = home.text(&["details", "tcpline"]);
    assert!(own.contains("Urgency that the peer shows."), "{own}");
    assert!(home.text(&["generate", "parameters"]).contains("## TCP line"));
}

#[test]
fn a_preview_shows_the_canonical_url_and_the_text() {
    let home = Home::new();
    let url = "TCPLINE://secret-token@localhost:7000/ops?to=night,ops&level=HIGH";
    let shown = home.text(&["preview", "-t", "disk", "-b", "90 % full", url]);
    for expected in [
        "tcpline://****@localhost/ops/night?level=high",
        "disk",
        "90 % full",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    let dry = home.run(&["-d", "-b", "hello", url]);
    assert!(dry.status.success());
    let misspelt = home.run(&["preview", "-b", "x", "tcplin://t@localhost/ops"]);
    let said = String::from_utf8_lossy(&misspelt.stderr).into_owned();
    assert!(said.contains("did you mean tcpline://?"), "{said}");
}

#[test]
fn a_message_is_delivered_when_the_peer_confirms_its_id() {
    let (home, peer) = (Home::new(), Peer::start(false));
    let report = home.json(&["-b", "two words", &peer.url("ops/night?level=low")]);
    let outcomes: Vec<&Value> = report
        .iter()
        .filter(|one| one["outcome"] == "delivered")
        .collect();
    assert_eq!(outcomes.len(), 2, "{report:?}");
    let mut lines = peer.lines();
    lines.sort();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("SEND secret-token night ") && lines[0].ends_with(" low two%20words"));
    let doctor = home.text(&["doctor", &peer.url("ops")]);
    assert!(doctor.contains("connected to 127.0.0.1"), "{doctor}");
}

#[test]
fn a_peer_that_does_not_answer_has_not_confirmed() {
    let (home, peer) = (Home::new(), Peer::start(true));
    let output = home.run(&["-b", "hello", &peer.url("ops?rto=0.2")]);
    assert_ne!(output.status.code(), Some(0));
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("the peer did not answer in time"), "{said}");
}

#[test]
fn a_configuration_file_chooses_it_by_tag() {
    let (home, peer) = (Home::new(), Peer::start(false));
    let file = home.path().join("notify.yml");
    let yaml = format!(
        "urls:\n  - {}:\n      tag: night\n      level: high\n  - {}:\n      tag: day\n",
        peer.url("on-call"),
        peer.url("office")
    );
    std::fs::write(&file, yaml).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("private");
    let file = file.display().to_string();
    home.text(&["-c", &file, "-g", "night", "-b", "hello"]);
    let lines = peer.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(" on-call ") && lines[0].ends_with(" high hello"),
        "{lines:?}"
    );
    assert!(home.text(&["config", "check", &file]).contains("2 services"));
}

#[test]
fn a_worker_that_is_killed_in_the_middle_repeats_the_same_line() {
    let (home, peer) = (Home::new(), Peer::start(true));
    let url = peer.url("ops?rto=60");
    home.text(&["send", "--queue", "--no-drain", "-b", "once", &url]);
    let mut worker = home.worker();
    peer.wait_for(1);
    // The peer has the line, and nobody knows yet that it has.
    worker.kill().expect("our own child");
    worker.wait().expect("it ends");
    peer.answer_from_now_on();
    let mut worker = home.worker();
    peer.wait_for(2);
    let began = std::time::Instant::now();
    loop {
        let entries = home.json(&["outbox", "list", "--state", "delivered"]);
        if entries.iter().any(|one| one["state"] == "delivered") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", home.json(&["outbox", "list"]));
        std::thread::sleep(Duration::from_millis(50));
    }
    worker.kill().expect("our own child");
    worker.wait().expect("it ends");
    let lines = peer.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], lines[1], "the peer recognises the repeat by its id");
}
