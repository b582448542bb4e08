//! Starts after a kill, levels of the log, join links that lead nowhere, damaged messages.

use super::*;

/// The lines that a server has written to standard error so far.
fn log_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_starts_at_once_after_it_was_killed() {
    let mut server = Server::new();
    let dir = server.dir();
    let started = server.start();
    let taken = address(&started).to_string();
    for _ in 0..5 {
        // Not waited for: the system is still closing what the process had.
        server.child.as_mut().expect("running").kill().expect("killed");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ackpost"));
        command.args(["server", "run", dir, "--listen", &taken, "--json"]);
        let (child, started) = process::start(command.stderr(Stdio::null()));
        let mut former = server.child.replace(child).expect("the one before");
        let _ = former.wait();
        assert_eq!(address(&started).to_string(), taken);
        // A command right after a kill works on the database as well.
        server.child.as_mut().expect("running").kill().expect("killed");
        good(&["server", "room", "list", "--dir", dir]);
        let (child, _) = process::start(command.stderr(Stdio::null()));
        let mut former = server.child.replace(child).expect("the one before");
        let _ = former.wait();
    }
}

#[test]
fn a_reload_changes_the_level_of_the_log() {
    let mut server = Server::new();
    let dir = server.dir();
    let log = server.folder.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackpost"));
    command.args(["server", "run", dir, "--listen", "127.0.0.1:0", "--json"]);
    command.stderr(std::fs::File::create(&log).expect("a file"));
    let (child, started) = process::start(&mut command);
    server.child = Some(child);
    let file = server.path().join("server.toml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    let level = |level: &str| {
        let changed = text.replace("#level = \"info\"", &format!("level = \"{level}\""));
        std::fs::write(&file, changed).expect("written");
        ackpost(&["--json", "server", "reload", "--dir", dir])
    };
    let ask = |path: &str| get(address(&started), path).expect("an answer");
    ask("/quiet-before");
    let answer = level("debug");
    assert!(answer.status.success(), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.stdout).contains("[log] level"));
    ask("/loud");
    until("requests are logged", || log_of(&log).contains("/loud"));
    assert!(!log_of(&log).contains("/quiet-before"));
    // An operator who turns the logging of addresses off has turned it off.
    assert!(level("warn").status.success());
    ask("/quiet-after");
    assert!(level("debug").status.success());
    ask("/loud-again");
    until("requests are logged", || log_of(&log).contains("/loud-again"));
    assert!(!log_of(&log).contains("/quiet-after"), "{}", log_of(&log));
    let refused = level("purple");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown level `purple`"));
}

#[test]
fn join_links_that_lead_nowhere_are_warned_about() {
    let folder = tempfile::tempdir().expect("folder");
    for (place, words, problem) in [
        ("plain", &[][..], Some("works on this machine only")),
        (
            "any",
            &["--listen", "0.0.0.0:8080"],
            Some("which is not an address"),
        ),
        (
            "any6",
            &["--listen", "[::]:8080"],
            Some("which is not an address"),
        ),
        (
            "local",
            &["--base-url", "http://localhost:8080"],
            Some("works on this machine only"),
        ),
        ("public", &["--base-url", "https://sogs.example"], None),
        ("address", &["--base-url", "http://203.0.113.9:8080"], None),
        ("address6", &["--base-url", "http://[2001:db8::1]:8080"], None),
    ] {
        let dir = folder.path().join(place).display().to_string();
        let made = ackpost(&[&["server", "init", &dir], words].concat());
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        match problem {
            Some(problem) => assert!(
                said.contains(problem) && said.contains("address that people outside use"),
                "{place}: {said}"
            ),
            None => assert!(!said.contains("join links"), "{place}: {said}"),
        }
    }
}
