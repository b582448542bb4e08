//! `ackpost demo`: every step, in order, and nothing left behind.

#[path = "support/schemas.rs"]
mod schemas;
mod support;

use std::io::{BufRead as _, Read as _};
use std::process::Stdio;

use support::Program;

#[test]
fn the_demo_goes_the_whole_way() {
    let program = Program::new();
    let temporary = program.home().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let program = program.env("TMPDIR", temporary.display().to_string());
    let ran = program.run(&["demo", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let (own, sent): (Vec<_>, Vec<_>) = ran.json().into_iter().partition(|one| one.get("step").is_some());
    schemas::check(&["demo"], &own);
    schemas::check(&["send"], &sent);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let steps: Vec<String> = ran
        .json()
        .iter()
        .filter_map(|o| o["step"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(steps, ["room", "server", "sent", "read", "verified", "end"]);
    let verified = ran
        .json()
        .into_iter()
        .find(|o| o["step"] == "verified")
        .expect("there");
    assert!(
        verified["text"].as_str().expect("text").contains("under 15"),
        "{verified}"
    );
    assert_eq!(
        std::fs::read_dir(&temporary).expect("a folder").count(),
        0,
        "something is left behind"
    );
    let text = program.run(&["demo"]);
    assert!(
        text.code == 0 && text.stdout.starts_with("1. ") && text.stderr.starts_with("delivered"),
        "{}",
        text.all()
    );
}

#[test]
fn kept_it_runs_until_it_is_told_to_stop() {
    let program = Program::new();
    let mut child = program
        .command(&["demo", "--keep", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
    let link = loop {
        let line = lines.next().expect("a link comes").expect("text");
        let step: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if step["step"] == "link" {
            break step["text"].as_str().expect("text").to_owned();
        }
    };
    // The page of the room is there for a browser.
    let address = link
        .split("http://")
        .nth(1)
        .and_then(|l| l.split('/').next())
        .expect("an address")
        .to_owned();
    let mut stream = std::net::TcpStream::connect(&address).expect("it listens");
    std::io::Write::write_all(
        &mut stream,
        format!("GET /r/lobby/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("answered");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("Lobby"),
        "{page}"
    );
    support::process::signal(child.id(), "-TERM");
    assert!(child.wait().expect("ends").success());
}
