//! `ackpost watch` while its server is killed and itself is stopped: every message once, in order.

mod support;

use std::io::BufRead as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Program;
use support::community::Community;

/// Messages in all.
const MESSAGES: usize = 40;

/// A run of `watch`, whose messages go to `seen`.
fn watch(user: &Program, link: &str, seen: &Sender<u64>) -> Child {
    let args = [
        "watch",
        "--json",
        "--interval",
        "1",
        "--cursor",
        "seen.json",
        link,
    ];
    let mut child = user
        .command(&args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let seen = seen.clone();
    std::thread::spawn(move || {
        for line in stdout.lines() {
            let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            if event["event"] == "message" {
                let _ = seen.send(event["id"].as_u64().expect("a number"));
            }
        }
    });
    child
}

/// Runs `watch` with a position in `seen.json` until a text comes, or without one until the position is stored; all
/// texts.
fn watch_until(user: &Program, links: &[&str], until: Option<&str>) -> Vec<String> {
    let mut args = vec!["watch", "--json", "--interval", "1", "--cursor", "seen.json"];
    args.extend(links);
    let mut child = user
        .command(&args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).expect("JSON");
            let _ = sender.send(event);
        }
    });
    let mut events = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_stored = || {
        let text = std::fs::read_to_string(user.home().join("seen.json")).unwrap_or_default();
        text.contains("seqno")
    };
    loop {
        match lines.recv_timeout(Duration::from_millis(20)) {
            Ok(event) => events.push(event),
            Err(_) => assert!(Instant::now() < deadline, "{until:?} does not come: {events:?}"),
        }
        match until {
            Some(body) if events.iter().any(|event| event["body"] == body) => break,
            None if is_stored() => break,
            _ => {}
        }
    }
    stop(child);
    events.extend(lines.iter());
    let texts = events.iter().filter_map(|event| event["body"].as_str());
    texts.map(str::to_owned).collect()
}

#[test]
fn rooms_of_one_server_share_a_position_that_a_quiet_run_stores_too() {
    let community = Community::start("one");
    let program = &community.program;
    let added = program.run(&["server", "room", "add", "--dir", "community", "two"]);
    assert_eq!(added.code, 0, "{}", added.all());
    let link = |room: &str| format!("{}/{room}?public_key={}", community.url, community.key);
    let (one, two) = (link("one"), link("two"));
    let (reader, writer) = (Program::new(), Program::new());
    for user in [&reader, &writer] {
        assert_eq!(user.run(&["identity", "new"]).code, 0);
    }
    let post = |link: &str, body: &str| {
        let ran = writer.run(&["room", "post", link, "-b", body]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    };
    let before = reader.run(&["--json", "room", "post", &one, "-b", "before"]);
    assert_eq!(before.code, 0, "{}", before.all());
    let me = before.json()[0]["from"].as_str().expect("an id").to_owned();
    // A room that is named twice is watched once.
    let links = [one.as_str(), two.as_str(), one.as_str()];
    assert_eq!(watch_until(&reader, &links, None), [""; 0]);
    post(&one, "a1");
    post(&two, "b1");
    assert_eq!(
        watch_until(&reader, &links, Some("b1")),
        ["a1", "b1"],
        "written after a quiet run"
    );
    post(&one, "a2");
    assert_eq!(watch_until(&reader, &links, Some("a2")), ["a2"]);
    // The room that was silent keeps its place, and the account has one inbox.
    post(&two, "b2");
    let sent = writer.run(&["dm", "send", &one, &me, "-b", "to you alone"]);
    assert_eq!(sent.code, 0, "{}", sent.all());
    assert_eq!(
        watch_until(&reader, &links, Some("to you alone")),
        ["b2", "to you alone"]
    );
}

/// SIGTERM, and its end.
fn stop(mut child: Child) {
    support::process::signal(child.id(), "-TERM");
    assert!(child.wait().expect("our child").success());
}

fn collect(seen: &Receiver<u64>, until: usize, ids: &mut Vec<u64>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while ids.len() < until {
        let left = deadline.saturating_duration_since(Instant::now());
        ids.push(seen.recv_timeout(left).unwrap_or_else(|e| panic!("{e}: {ids:?}")));
    }
}

#[test]
fn nothing_is_lost_or_repeated_over_kills_of_the_server_and_restarts_of_the_watcher() {
    let mut community = Community::start("lobby");
    let admin = Program::new();
    let made = admin.run(&["identity", "new"]);
    let args = [
        "server",
        "mod",
        "add",
        "--dir",
        "community",
        made.stdout.trim(),
        "--global",
        "--admin",
    ];
    assert_eq!(community.program.run(&args).code, 0);
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    let user = Program::new();
    let (sender, seen) = channel();
    let mut watching = watch(&user, &link, &sender);
    // Its first look finds out where "now" is.
    std::thread::sleep(Duration::from_secs(3));

    let mut posted = Vec::new();
    let mut ids = Vec::new();
    while posted.len() < MESSAGES {
        let body = format!("message {}", posted.len());
        let ran = admin.run(&["--json", "room", "post", &link, "-b", &body]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        posted.push(ran.json()[0]["id"].as_u64().expect("a number"));
        match posted.len() {
            10 | 30 => community.kill_and_start(Duration::from_millis(1_500)),
            20 => {
                // The next run reports messages that come while nobody watches.
                collect(&seen, 15, &mut ids);
                stop(watching);
                watching = watch(&user, &link, &sender);
            }
            25 => {
                stop(watching);
                community.kill_and_start(Duration::from_millis(200));
                watching = watch(&user, &link, &sender);
            }
            _ => {}
        }
    }
    collect(&seen, MESSAGES, &mut ids);
    assert_eq!(ids, posted);
    // And nothing more comes behind it.
    assert!(seen.recv_timeout(Duration::from_secs(3)).is_err());
    stop(watching);
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let mut community = Community::start("lobby");
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    let user = Program::new();
    assert_eq!(user.run(&["identity", "new"]).code, 0);
    let (child, events) = std::thread::scope(|scope| {
        scope.spawn(|| community.kill_and_start(Duration::from_secs(4)));
        std::thread::sleep(Duration::from_secs(1));
        let mut child = user
            .command(&["watch", "--json", "--interval", "1", "--backlog", "5", &link])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
                let _ = sender.send(event);
            }
        });
        (child, events)
    });
    let next = || events.recv_timeout(Duration::from_secs(60)).expect("an event");
    let first = next();
    assert_eq!(
        (&first["event"], &first["service"]),
        (&"offline".into(), &"sogs".into()),
        "{first}"
    );
    let posted = user.run(&["--json", "room", "post", &link, "-b", "here"]);
    assert_eq!(posted.code, 0, "{}", posted.all());
    let message = std::iter::repeat_with(next)
        .find(|event| event["event"] == "message")
        .expect("a message");
    assert_eq!(message["body"], "here");
    stop(child);
}
