//! `ackpost server …` by the real binary: the forms that scripts use, restarts, signals.

#[path = "server/damage.rs"]
mod damage;
#[path = "server/memory.rs"]
mod memory;
mod support;
#[path = "server/upkeep.rs"]
mod upkeep;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::{self, PATIENCE};

const ADMIN: &str = "05c83d65bee210fe7a0c14e392b4fd7aced78423aea1882d3395be6e01583eab78";

fn ackpost(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ackpost"))
        .args(words)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn good(words: &[&str]) -> String {
    let ran = ackpost(words);
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{words:?}: {out}{err}");
    out.into_owned()
}

fn json(words: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend(words);
    serde_json::from_str(&good(&all)).expect("JSON")
}

/// The objects of a list, one a line.
fn list(words: &[&str]) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(words);
    let lines = good(&all);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// A folder with a fresh server, and the process that runs it.
struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A successor is nobody's child any more; it is known by the folder, which no other process has.
        for pid in self.processes() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

impl Server {
    fn new() -> Self {
        let server = Self {
            folder: tempfile::tempdir().expect("folder"),
            child: None,
        };
        good(&["server", "init", server.dir()]);
        server
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("community")
    }

    /// The processes that run on this folder now.
    fn processes(&self) -> Vec<u32> {
        let folder = self.path().display().to_string();
        let Ok(all) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        all.flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let words = std::fs::read(entry.path().join("cmdline")).ok()?;
                words
                    .split(|byte| *byte == 0)
                    .any(|word| word == folder.as_bytes())
                    .then_some(pid)
            })
            .collect()
    }

    /// Waits until exactly these processes are left.
    fn wait_for(&self, left: &[u32]) {
        let began = Instant::now();
        loop {
            let now = self.processes();
            if now == left {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{now:?} run, not {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn dir(&self) -> &'static str {
        // Tests are short; a leaked path keeps the calls readable.
        Box::leak(self.path().display().to_string().into_boxed_str())
    }

    /// Starts it on a free port; the first line on standard output.
    fn start(&mut self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ackpost"));
        command.args(["server", "run", self.dir(), "--listen", "127.0.0.1:0", "--json"]);
        let (child, started) = process::start(command.stderr(Stdio::null()));
        self.child = Some(child);
        started
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        process::end(self.child.as_mut().expect("running"))
    }
}

fn address(started: &Value) -> SocketAddr {
    started["url"]
        .as_str()
        .expect("url")
        .strip_prefix("http://")
        .expect("http")
        .parse()
        .expect("address and port")
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn the_forms_that_scripts_use_work_running_and_stopped() {
    let mut server = Server::new();
    let dir = server.dir();
    for name in ["server.toml", "key_x25519", "community.db"] {
        assert!(server.path().join(name).exists(), "{name}");
    }
    let twice = ackpost(&["server", "init", dir]);
    assert_eq!(twice.status.code(), Some(1), "what is there is not overwritten");

    good(&["server", "room", "add", "--dir", dir, "before"]);
    good(&["server", "mod", "add", "--dir", dir, ADMIN, "--global", "--admin"]);
    let started = server.start();
    assert_eq!(started["public_key"].as_str().map(str::len), Some(64));
    good(&[
        "server",
        "room",
        "add",
        "--dir",
        dir,
        "while",
        "--name",
        "While it runs",
    ]);
    let rooms = get(address(&started), "/rooms").expect("an answer");
    assert!(
        rooms.starts_with("HTTP/1.1 200") && rooms.contains("\"before\"") && rooms.contains("While it runs"),
        "{rooms}"
    );
    let status = json(&["server", "status", "--dir", dir]);
    assert_eq!(
        (&status["running"], &status["totals"]["rooms"]),
        (&true.into(), &2.into())
    );
    let mods = list(&["server", "mod", "list", "--dir", dir]);
    assert_eq!(
        (&mods[0]["session_id"], &mods[0]["admin"]),
        (&ADMIN.into(), &true.into())
    );

    let tried = json(&["server", "room", "delete", "--dir", dir, "while", "--dry-run"]);
    assert_eq!(tried["dry_run"], true);
    good(&["server", "room", "delete", "--dir", dir, "while"]);
    assert!(
        get(address(&started), "/room/while")
            .expect("an answer")
            .starts_with("HTTP/1.1 404")
    );
    good(&["server", "undo", "--dir", dir]);
    assert!(
        get(address(&started), "/room/while")
            .expect("an answer")
            .starts_with("HTTP/1.1 200")
    );

    let log = list(&["server", "log", "--dir", dir]);
    assert_eq!(log.len(), 5, "{log:?}");
    process::signal(server.child.as_ref().expect("running").id(), "-TERM");
    assert!(server.wait().success(), "a stop by signal is a good end");
    let status = json(&["server", "status", "--dir", dir]);
    assert_eq!(status["running"], false);

    for (words, code) in [
        (&["server", "room", "add", "--dir", dir, "no spaces"][..], 2),
        (&["server", "room", "show", "--dir", dir, "nowhere"], 1),
        // A word may be a display name, and nobody has this one.
        (&["server", "mod", "add", "--dir", dir, "nobody", "--global"], 1),
        (&["server", "ban", "add", "--dir", dir, ADMIN], 2),
        (&["server", "status", "--dir", "/nonexistent"], 2),
    ] {
        let ran = ackpost(words);
        assert_eq!(
            ran.status.code(),
            Some(code),
            "{words:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        assert!(!ran.stderr.is_empty(), "{words:?} says why");
    }
}

#[test]
fn a_reload_takes_over_what_may_change() {
    let mut server = Server::new();
    let dir = server.dir();
    good(&["server", "room", "add", "--dir", dir, "test"]);
    let started = server.start();
    assert!(
        get(address(&started), "/r/test/")
            .expect("an answer")
            .starts_with("HTTP/1.1 200")
    );
    let file = server.path().join("server.toml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    let changed = text.replace("#base_url = \"\"", "base_url = \"https://changed.example\"");
    assert_ne!(text, changed);
    std::fs::write(&file, changed).expect("written");
    let answer = json(&["server", "reload", "--dir", dir]);
    assert!(
        answer["changed"].to_string().contains("changed.example"),
        "{answer}"
    );
    let again = ackpost(&["server", "reload", "--dir", dir]);
    assert_eq!(
        String::from_utf8_lossy(&again.stdout),
        "the configuration was read again; nothing changed\n"
    );
    let page = get(address(&started), "/r/test/").expect("an answer");
    assert!(
        page.contains("https://changed.example/test?public_key="),
        "{page}"
    );

    std::fs::write(&file, "[net]\nlisten = 5\n").expect("written");
    let check = ackpost(&["server", "config", "check", "--dir", dir]);
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stderr).contains("listen"));
    let refused = ackpost(&["server", "reload", "--dir", dir]);
    assert_ne!(refused.status.code(), Some(0));
    assert!(
        get(address(&started), "/rooms")
            .expect("an answer")
            .starts_with("HTTP/1.1 200"),
        "it serves on"
    );
}

#[test]
fn a_configuration_that_cannot_be_used_says_what_to_do() {
    let server = Server::new();
    let dir = server.dir();
    let said = |words: &[&str]| {
        let ran = ackpost(words);
        (
            ran.status.code(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        )
    };
    // A fresh server has no public address yet: worth a warning, no failure.
    let (code, text) = said(&["server", "config", "check", "--dir", dir]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("base_url is empty"), "{text}");
    let report = json(&["server", "config", "check", "--dir", dir]);
    assert_eq!(
        (&report["good"], &report["problems"]),
        (&true.into(), &serde_json::json!([]))
    );
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(1), "{report}");

    let nowhere = server.folder.path().join("nowhere").display().to_string();
    for words in [
        &["server", "run", &nowhere][..],
        &["server", "config", "check", "--dir", &nowhere],
    ] {
        let (code, text) = said(words);
        assert_eq!(code, Some(1), "{text}");
        assert_eq!(text.matches("`ackpost server init DIR`").count(), 1, "{text}");
    }
    std::fs::write(server.path().join("server.toml"), "[net\n").expect("written");
    let (code, text) = said(&["server", "run", dir]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("correct the line; `ackpost server config check --dir DIR`"),
        "{text}"
    );
    assert!(!text.contains("server init"), "{text}");
}

#[test]
fn a_community_without_its_key_does_not_start() {
    let mut server = Server::new();
    let dir = server.dir();
    let key = server.path().join("key_x25519");
    let bytes = std::fs::read(&key).expect("the key");
    std::fs::remove_file(&key).expect("removed");
    let cause = "is missing although a community is stored already";
    let ran = ackpost(&["server", "run", dir, "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{text}");
    assert!(
        text.contains(cause) && text.contains("restore the file from a backup"),
        "{text}"
    );
    assert!(!key.exists(), "no other key took its place");
    let verified = ackpost(&["server", "verify", "--dir", dir]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&verified.stderr).contains(cause));

    std::fs::write(&key, bytes).expect("put back");
    server.start();
    good(&["server", "verify", "--dir", dir]);
}

/// Returns the exit code and the error output of a command that must fail.
fn refused(words: &[&str]) -> (Option<i32>, String) {
    let ran = ackpost(words);
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!ran.status.success(), "{words:?}: {text}");
    (ran.status.code(), text)
}

#[test]
fn a_community_whose_database_is_gone_is_not_replaced_by_an_empty_one() {
    let mut server = Server::new();
    let dir = server.dir();
    good(&["server", "room", "add", "--dir", dir, "hall", "--name", "Hall"]);
    let (file, kept) = (server.path().join("community.db"), server.path().join("kept.db"));
    std::fs::rename(&file, &kept).expect("moved away");
    let backup = server.folder.path().join("backup").display().to_string();
    for words in [
        &["server", "run", dir, "--listen", "127.0.0.1:0"][..],
        &["server", "config", "check", "--dir", dir],
        &["server", "room", "list", "--dir", dir],
        &["server", "status", "--dir", dir],
        &["server", "verify", "--dir", dir],
        &["server", "backup", "--dir", dir, &backup],
        &["server", "migrate", "--dir", dir, "--to", "sqlite:other.db"],
        &["server", "new-key", "--dir", dir],
    ] {
        let (code, text) = refused(words);
        assert_eq!(code, Some(1), "{words:?}: {text}");
        assert!(
            text.contains("error: the key of a community is here, but its database")
                && text.contains("restore the file or mount its disk"),
            "{words:?}: {text}"
        );
        assert!(!file.exists(), "{words:?} made an empty database");
    }
    std::fs::rename(&kept, &file).expect("put back");
    assert!(good(&["server", "room", "list", "--dir", dir]).contains("hall"));
    // The way to an empty one under this key that the remedy names.
    std::fs::remove_file(&file).expect("removed");
    std::fs::remove_file(server.path().join("server.toml")).expect("removed");
    good(&["server", "init", dir]);
    server.start();
}

#[test]
fn a_server_whose_process_is_stopped_is_not_waited_for() {
    let mut server = Server::new();
    let dir = server.dir();
    server.start();
    let pid = server.child.as_ref().expect("running").id().to_string();
    let signal = |name: &str| {
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .expect("kill")
                .success()
        );
    };
    signal("-STOP");
    let (code, text) = refused(&["server", "status", "--dir", dir]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(&format!("(process {pid}) runs, but did not answer")) && text.contains("kill -CONT"),
        "{text}"
    );
    signal("-CONT");
    good(&["server", "status", "--dir", dir]);
}

#[test]
fn another_kind_of_database_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("folder");
    let dir = folder.path().join("community");
    let dir = dir.to_str().expect("text");
    for url in ["mysql://a:s3cret@b/c", "sqlite+x://a", ""] {
        let (_, text) = refused(&["server", "init", dir, "--database", url]);
        assert!(
            text.contains("database.url: is sqlite:PATH or postgres://") && !text.contains("s3cret"),
            "{text}"
        );
        assert!(!Path::new(dir).exists());
    }
}

#[test]
fn a_key_that_others_may_read_is_said_at_the_start_and_in_the_check() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::new();
    let dir = server.dir();
    let key = server.path().join("key_x25519");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("opened");
    let (code, text) = refused(&["server", "config", "check", "--dir", dir]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("error: others may read the key") && text.contains("chmod 600"),
        "{text}"
    );
    // An address of nobody here ends the start after the warning.
    let (_, text) = refused(&["server", "run", dir, "--listen", "192.0.2.1:1"]);
    assert!(text.contains("others may read the key"), "{text}");

    std::fs::remove_file(&key).expect("removed");
    let (code, text) = refused(&["server", "config", "check", "--dir", dir]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("error: key file") && text.contains("restore the file from a backup"),
        "{text}"
    );
}

#[test]
fn a_first_start_makes_its_key() {
    let mut server = Server::new();
    for name in ["key_x25519", "community.db"] {
        std::fs::remove_file(server.path().join(name)).expect("removed");
    }
    server.start();
    assert!(server.path().join("key_x25519").exists());
}

#[test]
fn a_second_server_in_a_folder_is_refused() {
    let mut server = Server::new();
    let dir = server.dir();
    let started = server.start();
    let taken = address(&started).to_string();
    for listen in ["127.0.0.1:0", &taken] {
        let second = ackpost(&["server", "run", dir, "--listen", listen]);
        let text = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{text}");
        assert!(
            text.contains("another process runs the server of") && text.contains("server status --dir"),
            "{text}"
        );
    }
    assert!(
        get(address(&started), "/rooms")
            .expect("an answer")
            .starts_with("HTTP/1.1 200"),
        "the first one serves on"
    );

    // A process that takes over a socket waits for the previous one; a signal ends that wait.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_ackpost"))
        .args(["server", "run", dir, "--listen", "stdin"])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let said = BufReader::new(waiting.stderr.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("waiting for another process"));
    assert!(said.is_some(), "it says that it waits");
    process::signal(waiting.id(), "-TERM");
    assert!(
        waiting.wait().expect("wait").success(),
        "a stop by signal is a good end"
    );
}

/// Asks over one connection for as long as the server keeps it, then over the next; how many answers came.
fn ask_on(address: SocketAddr, stop: &AtomicBool) -> u32 {
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
        let mut kept = true;
        while kept && !stop.load(Ordering::Relaxed) {
            stream
                .write_all(format!("GET /room/test HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())
                .expect("the request goes out");
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).expect("never refused");
            assert!(
                first.starts_with("HTTP/1.1 200"),
                "answer {answers} on a kept connection: {first:?}"
            );
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a header");
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                kept &= line != "connection: close";
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
            }
            reader.read_exact(&mut vec![0; length]).expect("the whole answer");
            answers += 1;
        }
    }
    answers
}

#[test]
fn restarts_refuse_no_request() {
    let mut server = Server::new();
    let dir = server.dir();
    good(&["server", "room", "add", "--dir", dir, "test"]);
    let started = server.start();
    let address = address(&started);
    let stop = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = (0..4)
        .map(|n| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                if n % 2 == 0 {
                    return ask_on(address, &stop);
                }
                let mut answers = 0;
                while !stop.load(Ordering::Relaxed) {
                    let text = get(address, "/room/test").expect("never refused");
                    assert!(text.starts_with("HTTP/1.1 200"), "answer {answers}: {text:?}");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let mut pid = server.child.as_ref().expect("running").id();
    for _ in 0..3 {
        process::signal(pid, "-USR2");
        let began = Instant::now();
        loop {
            let ran = ackpost(&["--json", "server", "status", "--dir", dir]);
            let status: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
            let now = status["process"]["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok());
            if let Some(now) = now.filter(|now| *now != pid) {
                pid = now;
                break;
            }
            assert!(began.elapsed() < PATIENCE, "no successor: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        assert!(asker.join().expect("no asker was refused") > 0);
    }
    assert!(server.wait().success(), "the first process ended well");
    server.wait_for(&[pid]);
    process::signal(pid, "-TERM");
    server.wait_for(&[]);
    assert_eq!(json(&["server", "status", "--dir", dir])["running"], false);
}

#[test]
fn a_successor_that_cannot_start_leaves_the_server_running() {
    let mut server = Server::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackpost"));
    command.args(["server", "run", server.dir(), "--listen", "127.0.0.1:0", "--json"]);
    let (mut child, started) = process::start(command.stderr(Stdio::piped()));
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let pid = child.id();
    server.child = Some(child);
    let mut said = said.lines().map_while(Result::ok);
    let config = server.path().join("server.toml");
    let good = std::fs::read_to_string(&config).expect("the configuration");
    // The first one is no configuration; the second one is refused by the new process only.
    for bad in ["[net\n", "[log]\nlevel = \"loud\"\n"] {
        let text = if bad.starts_with("[log]") {
            good.replace("[log]", "[log_before]") + bad
        } else {
            format!("{good}{bad}")
        };
        std::fs::write(&config, text).expect("written");
        process::signal(pid, "-USR2");
        let line = said.find(|line| line.contains("the successor cannot start"));
        assert!(line.is_some(), "{bad}: the server ended");
    }
    std::fs::write(&config, good).expect("written");
    let answer = get(address(&started), "/rooms").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.wait_for(&[pid]);
    let left = std::fs::read_dir(server.path()).expect("a folder");
    let mut names = left.map(|entry| entry.expect("an entry").file_name());
    assert!(names.all(|name| !name.to_string_lossy().starts_with("successor")));
}

#[test]
fn an_import_by_one_command() {
    let folder = tempfile::tempdir().expect("folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sogs/pysogs-sample");
    let (source, dir) = (
        source.display().to_string(),
        folder.path().join("new").display().to_string(),
    );
    let tried = json(&[
        "server",
        "import",
        "--from",
        "pysogs",
        &source,
        "--dir",
        &dir,
        "--dry-run",
    ]);
    assert_eq!(tried["dry_run"], true);
    assert!(!Path::new(&dir).exists());
    let report = json(&["server", "import", "--from", "pysogs", &source, "--dir", &dir]);
    assert_eq!(report["tables"], tried["tables"]);
    let verified = json(&["server", "verify", "--dir", &dir]);
    assert_eq!(verified["problems"], serde_json::json!([]));
    assert_eq!(list(&["server", "room", "list", "--dir", &dir]).len(), 3);
    let nothing = ackpost(&["server", "import", "--from", "bunsogs", &dir, "--dir", &dir]);
    assert_eq!(nothing.status.code(), Some(1));
}

#[test]
fn the_reference_page_is_the_one_the_program_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/server-configuration.md");
    let stored = std::fs::read_to_string(page).expect("the page is in the repository");
    assert_eq!(
        good(&["server", "config", "reference"]),
        stored,
        "run `ackpost server config reference` into it"
    );
}
