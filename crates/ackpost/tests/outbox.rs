//! `send --queue` and `outbox`: what the commands print, store and deliver, against a fake and a real community.

#![expect(clippy::too_many_lines, reason = "one of the tests tells a long story")]

#[path = "outbox/doubt.rs"]
mod doubt;
mod support;

use ackpost_testkit::{Ejabberd, FakeSogs, FakeXmpp, FakeXmppMode, Prosody};
use jiff::Timestamp;
use serde_json::{Value, json};
use support::community::Community;
use support::{Program, SEED, SERVER_KEY};

fn url(port: u16, rest: &str) -> String {
    format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{port}/{rest}")
}

/// The texts that a fake took, in order.
fn taken(fake: &FakeSogs) -> Vec<String> {
    fake.posts().into_iter().filter_map(|post| post.text).collect()
}

#[test]
fn stored_now_and_delivered_by_a_flush() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    let ran = program.run(&[
        "--json",
        "send",
        "--queue",
        "-t",
        "T",
        "-b",
        "hello",
        "--no-drain",
        &url(fake.port(), "ok/e403"),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let stored = ran.json();
    assert_eq!(stored.len(), 2);
    assert_eq!(
        (&stored[0]["outcome"], &stored[0]["state"]),
        (&json!("queued"), &json!("waiting"))
    );
    assert!(
        ran.stderr.lines().all(|line| line.starts_with("stored ")),
        "{}",
        ran.stderr
    );
    assert!(taken(&fake).is_empty(), "exit code 0 means stored");

    let ran = program.run(&["--json", "outbox", "list"]);
    assert_eq!(
        ran.json()
            .iter()
            .filter(|entry| entry["state"] == "waiting")
            .count(),
        2,
        "{}",
        ran.all()
    );

    let ran = program.run(&["--json", "outbox", "flush"]);
    assert_eq!(ran.code, 1, "one was given up: {}", ran.all());
    assert_eq!(
        (&ran.json()[0]["delivered"], &ran.json()[0]["refused"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        taken(&fake),
        ["T\r\nhello", "T\r\nhello"],
        "each room was asked once"
    );

    let ran = program.run(&["outbox", "list", "--state", "dead"]);
    assert!(ran.stdout.contains("/e403"), "{}", ran.all());
    let id = ran.stdout.split_whitespace().next().expect("an id").to_owned();
    let shown = program.run(&["--json", "outbox", "show", &id]);
    let shown = &shown.json()[0];
    assert_eq!(shown["state"], "dead");
    assert!(
        shown["outcome"]["reason"].is_string() && shown["outcome"]["remedy"].is_string(),
        "{shown}"
    );
    let kinds: Vec<&Value> = shown["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["kind"])
        .collect();
    assert_eq!(kinds, ["accepted", "refused"]);

    assert_eq!(program.run(&["outbox", "drop", &id]).code, 0);
    assert_eq!(
        program.run(&["outbox", "drop", &id]).code,
        1,
        "it is dropped already"
    );
    assert_eq!(program.run(&["outbox", "drop"]).code, 2);
    assert_eq!(program.run(&["outbox", "show", "0000000000000000"]).code, 1);
    assert_eq!(program.run(&["outbox", "flush"]).code, 0);
    let stats = program.run(&["--json", "outbox", "stats"]);
    let stats = &stats.json()[0];
    assert_eq!(
        (&stats["delivered"], &stats["dropped"], &stats["waiting"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let log = program.run(&["outbox", "log"]);
    assert_eq!(log.stdout.lines().count(), 5, "{}", log.stdout);
    for ran in [
        &log,
        &program.run(&["outbox", "list"]),
        &program.run(&["outbox", "show", &id]),
    ] {
        assert!(!ran.all().contains(SEED));
    }
}

/// Checks the line of a waiting entry: the time of its next attempt is the stored one, which lies after the last attempt;
/// the server is not said to have asked for it; the cause follows.
fn due_later(program: &Program, line: &str) {
    let id = line.split_whitespace().nth(1).expect("the id of the entry");
    let entry = &program.run(&["--json", "outbox", "show", id]).json()[0];
    let time = |value: &Value| -> Timestamp { value.as_str().expect("a time").parse().expect("a timestamp") };
    let due = time(&entry["due_at"]);
    let events = entry["events"].as_array().expect("its history");
    let attempted = events.iter().rev().find(|event| event["kind"] == "deferred");
    assert!(
        due > time(&attempted.expect("an attempt")["at"]),
        "{due}: {events:?}"
    );
    let shown = due.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let start = format!(": waits for the delay after a failed attempt, next attempt {shown}; ");
    let (_, cause) = line
        .split_once(&start)
        .unwrap_or_else(|| panic!("no `{start}` in {line}"));
    assert!(cause.contains("no-such-host.invalid"), "{line}");
}

#[test]
fn a_flush_prints_cause_and_time_of_waiting_messages() {
    let program = Program::new().env("TZ", "UTC");
    // A name that does not resolve waits like a server that does not answer: an outage of DNS looks just so.
    for to in [
        "xmpps://a:b@no-such-host.invalid/jane".to_owned(),
        format!("session://{SERVER_KEY}:{SEED}@no-such-host.invalid/room"),
    ] {
        let ran = program.run(&["send", "--queue", "-b", "x", &to]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        // The command that stored it prints the result of the first attempt and the time of the next one.
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{}", ran.stderr);
        assert!(lines[0].starts_with("stored "), "{}", lines[0]);
        assert!(lines[1].starts_with("left "), "{}", lines[1]);
        due_later(&program, lines[1]);
    }
    let ran = program.run(&["outbox", "flush"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stderr.contains("0 refused, 0 expired, 2 left"),
        "{}",
        ran.stderr
    );
    let left: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("left "))
        .collect();
    assert_eq!(left.len(), 2, "{}", ran.stderr);
    for line in left {
        due_later(&program, line);
    }
    let listed = program.run(&["--json", "outbox", "list"]);
    assert!(
        listed.json().iter().all(|entry| entry["state"] == "waiting"),
        "{}",
        listed.all()
    );
}

#[test]
fn a_flush_says_why_it_failed_when_nothing_is_left() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    let store = |rooms: &str| {
        let ran = program.run(&[
            "send",
            "--queue",
            "--no-drain",
            "-b",
            "x",
            &url(fake.port(), rooms),
        ]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    };
    store("held/e403/ok");
    let ran = program.run(&["outbox", "flush"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let mut lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines.remove(0),
        "1 delivered, 1 partial, 0 attempts deferred, 1 refused, 0 expired, 0 left"
    );
    lines.sort_unstable();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(
        lines[0].starts_with("dead      ") && lines[0].contains("/e403: "),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("partial   ") && lines[1].contains("/held: withheld; "),
        "{}",
        lines[1]
    );
    // The same words as without the outbox.
    let direct = program.run(&["--json", "-b", "x", &url(fake.port(), "held")]);
    let listed = program.run(&["--json", "outbox", "list", "--state", "partial"]);
    let (direct, listed) = (&direct.json()[0], &listed.json()[0]["outcome"]);
    assert_eq!(direct["outcome"], "withheld");
    for field in ["outcome", "reason", "remedy"] {
        assert_eq!(direct[field], listed[field], "{field}");
    }
    // Earlier failures are not counted again.
    let ran = program.run(&["outbox", "flush"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    // The command that stores and tries says the same of its own messages.
    let ran = program.run(&["send", "--queue", "-b", "x", &url(fake.port(), "held")]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stderr.contains("/held: withheld; "), "{}", ran.stderr);
}

#[test]
fn the_next_send_goes_on_with_what_waits() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    assert_eq!(
        program
            .run(&[
                "send",
                "--queue",
                "--no-drain",
                "-b",
                "first",
                &url(fake.port(), "a")
            ])
            .code,
        0
    );
    let ran = program.run(&["-b", "second", &url(fake.port(), "b")]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stderr.contains("outbox: 1 delivered"), "{}", ran.stderr);
    let mut texts = taken(&fake);
    texts.sort();
    assert_eq!(texts, ["first", "second"]);
    // A program that was never asked to queue leaves no files behind.
    let other = Program::new();
    assert_eq!(other.run(&["-b", "x", &url(fake.port(), "a")]).code, 0);
    assert!(!other.home().join(".local").exists());
}

#[test]
fn a_url_may_ask_for_it() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    let queued = url(fake.port(), "later?queue=yes");
    let ran = program.run(&[
        "--json",
        "-b",
        "x",
        "--no-drain",
        &queued,
        &url(fake.port(), "now"),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let outcomes: Vec<String> = ran
        .json()
        .iter()
        .map(|one| one["outcome"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(outcomes, ["queued", "delivered"]);
    let ran = program.run(&["-b", "x", "--no-drain", &queued, &url(fake.port(), "e403")]);
    assert_eq!(ran.code, 4, "stored, and refused: {}", ran.all());
    let ran = program.run(&["-b", "x", "--no-drain", &url(fake.port(), "now?queue=no")]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(!ran.stderr.contains("stored"), "{}", ran.stderr);
}

/// The JSON of a result, of the queue and of the log has the URL as somebody wrote it, without the defaults.
#[test]
fn urls_of_results_and_of_the_queue_have_no_defaults() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    let place = format!("@127.0.0.1:{}/lobby", fake.port());
    for (query, shown) in [("", ""), ("?retry=0&overflow=split", "?overflow=split")] {
        let url = url(fake.port(), &format!("lobby{query}"));
        let sent = program.run(&["--json", "send", "--no-drain", "-b", "now", &url]);
        assert_eq!(sent.code, 0, "{}", sent.all());
        let queued = program.run(&["--json", "send", "--queue", "--no-drain", "-b", "later", &url]);
        assert_eq!(queued.code, 0, "{}", queued.all());
        let list = program.run(&["--json", "outbox", "list"]);
        let text = &list.stdout;
        assert!(text.contains(&format!("{place}{shown}\"")), "{text}");
        for ran in [&sent, &queued, &list] {
            let text = &ran.stdout;
            assert!(!text.contains("optional=") && !text.contains("retry="), "{text}");
        }
    }
}

/// One target of a URL and several: the second kind fixes its text at the first attempt.
#[test]
fn a_text_that_was_cut_is_noted_in_the_log() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    for rooms in ["one?overflow=truncate", "two/three?overflow=truncate"] {
        let text = "word ".repeat(1_000);
        let ran = program.run(&["send", "--queue", "-b", &text, &url(fake.port(), rooms)]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    let ran = program.run(&["outbox", "flush"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(taken(&fake).len(), 3);
    let log = program.run(&["--json", "outbox", "log"]).json();
    let notes: Vec<&Value> = log.iter().filter(|event| event["kind"] == "note").collect();
    assert_eq!(notes.len(), 3, "{log:?}");
    for note in notes {
        let text = note["text"].as_str().unwrap_or_default();
        assert!(text.starts_with("cut off: the text is longer"), "{text}");
    }
}

#[test]
fn a_title_that_was_cut_is_noted_with_the_result_and_in_the_log() {
    let server = FakeXmpp::start(FakeXmppMode::StartTls);
    let program = Program::new();
    let url = format!(
        "xmpps://user:pass@localhost:{}/jane?verify=no&subject=yes&overflow=truncate",
        server.port()
    );
    let note = "cut off: the title is longer than the service takes";
    for title in ["t".repeat(251), "t".repeat(250)] {
        let times = usize::from(title.len() > 250);
        let ran = program.run(&["send", "-t", &title, "-b", "x", &url]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        assert_eq!(ran.all().matches(note).count(), times, "{}", ran.all());
        let ran = program.run(&["send", "--queue", "-t", &title, "-b", "x", &url]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    let log = program.run(&["--json", "outbox", "log"]).json();
    let delivered = log.iter().filter(|event| event["kind"] == "delivered").count();
    let noted = |event: &&Value| event["text"].as_str().is_some_and(|text| text.starts_with(note));
    assert_eq!((delivered, log.iter().filter(noted).count()), (2, 1), "{log:?}");
}

/// The sender's archive holds a message that came back: that is not proof that it arrived.
#[test]
fn a_message_that_came_back_is_not_reported_delivered_later() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let program = Program::new();
        let url = format!(
            "xmpp://alice:alicepass@localhost:{}/nobody?verify=no",
            server.port
        );
        let ran = program.run(&["send", "--queue", "-b", "anybody there?", &url]);
        assert_eq!(ran.code, 0, "{:?}: {}", server.kind, ran.all());
        for _ in 0..2 {
            let ran = program.run(&["outbox", "retry", "--waiting"]);
            assert_eq!(ran.code, 0, "{:?}: {}", server.kind, ran.all());
            let ran = program.run(&["outbox", "flush"]);
            assert_eq!(ran.code, 1, "{:?}: {}", server.kind, ran.all());
            let list = program.run(&["--json", "outbox", "list"]).json();
            assert_eq!(list[0]["state"], "waiting", "{:?}: {list:?}", server.kind);
            assert_eq!(list[0]["outcome"]["outcome"], "deferred", "{list:?}");
        }
        let log = program.run(&["outbox", "log"]).stdout;
        assert!(!log.contains("an earlier attempt"), "{log}");
    }
}

#[test]
fn messages_that_cannot_be_stored_are_reported() {
    let program = Program::new();
    let target = url(9, "a");
    let code = |args: &[&str]| {
        let ran = program.run(args);
        (ran.code, ran.stderr)
    };
    let (exit, said) = code(&["send", "--queue", "-b", "x", "--ttl", "soon", &target]);
    assert_eq!(exit, 2, "{said}");
    assert!(said.contains("--ttl") && said.contains("5m"), "{said}");
    // Words are checked before anything is opened: there is no outbox yet.
    let looks: [&[&str]; 4] = [
        &["outbox", "flush", "--deadline", "banana"],
        &["outbox", "flush", "--lease", "x"],
        &["outbox", "run", "--alarm-after", "soon"],
        &["send", "--queue", "-b", "x", &target, "--budget", "lots"],
    ];
    for words in looks {
        let (exit, said) = code(words);
        assert_eq!(exit, 2, "{words:?}: {said}");
        assert!(said.contains(words[words.len() - 2]), "{said}");
    }
    let (exit, said) = code(&["send", "--queue", "-b", "x", &format!("{target}?budget=lots")]);
    assert_eq!(exit, 1, "{said}");
    assert!(said.contains("budget="), "{said}");
    let (exit, said) = code(&["send", "--queue", "-b", "", "-a", "no-such-file", &target]);
    assert_eq!(exit, 1, "without a text there is nothing to store: {said}");
    assert!(said.contains("no-such-file"), "{said}");
    let (exit, said) = code(&[
        "send",
        "--queue",
        "-b",
        "x",
        "--outbox",
        "/proc/outbox.db",
        &target,
    ]);
    assert_eq!(exit, 1, "{said}");
    assert!(
        !program.run(&["outbox", "list"]).stdout.contains("waiting"),
        "nothing is half stored"
    );
}

#[test]
fn files_are_copied_in_and_reach_a_real_community() {
    let community = Community::start("lobby");
    let program = Program::new().file("report.txt", "all is well");
    let target = format!("{}/lobby", community.server_url());
    let ran = program.run(&[
        "send",
        "--queue",
        "--no-drain",
        "-b",
        "see the file",
        "-a",
        "report.txt",
        &target,
    ]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    std::fs::remove_file(program.home().join("report.txt")).expect("it was copied in");
    let ran = program.run(&["--json", "outbox", "flush"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let listed = program.run(&["--json", "outbox", "list"]);
    let outcome = &listed.json()[0]["outcome"];
    assert_eq!(
        (&outcome["outcome"], &outcome["confirmed_by"]),
        (&json!("delivered"), &json!("server")),
        "{outcome}"
    );
    assert!(outcome["id"].is_string());
}

#[test]
fn the_settings_of_a_configuration_hold_for_what_is_stored() {
    let fake = FakeSogs::start(SERVER_KEY);
    let config = format!(
        "asset:\n  app_id: Nightwatch\n  interpret_escapes: yes\nurls:\n  - \"{}\"\n",
        url(fake.port(), "ok?encrypt=no")
    );
    let program = Program::new().file("ops.yml", &config);
    let ran = program.run(&[
        "send",
        "--queue",
        "--no-drain",
        "-b",
        "one\\ntwo",
        "-c",
        "ops.yml",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    // Not even the file is needed any more.
    std::fs::remove_file(program.home().join("ops.yml")).expect("it was there");
    assert_eq!(program.run(&["outbox", "flush"]).code, 0);
    assert_eq!(taken(&fake), ["one\ntwo"]);
    let agents: Vec<String> = fake
        .requests()
        .iter()
        .filter_map(|request| request.headers.get("user-agent").cloned())
        .collect();
    assert!(
        !agents.is_empty() && agents.iter().all(|agent| agent.starts_with("Nightwatch")),
        "{agents:?}"
    );
}

#[test]
fn several_processes_share_one_outbox() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    let target = url(fake.port(), "ok?encrypt=no&budget=off");
    let running: Vec<_> = (0..6)
        .map(|number| {
            program
                .command(&[
                    "send",
                    "--queue",
                    "--no-drain",
                    "-b",
                    &format!("message {number}"),
                    &target,
                ])
                .stdin(std::process::Stdio::null())
                .output()
        })
        .collect();
    for output in running {
        assert!(output.expect("it runs").status.success());
    }
    let children: Vec<_> = (6..12)
        .map(|number| {
            let args = ["send", "--queue", "-b", &format!("message {number}"), &target];
            let mut command = program.command(&args);
            command
                .stdin(std::process::Stdio::null())
                .stderr(std::process::Stdio::null());
            command.spawn().expect("it runs")
        })
        .chain((0..3).map(|_| {
            let mut command = program.command(&["outbox", "flush"]);
            command
                .stdin(std::process::Stdio::null())
                .stderr(std::process::Stdio::null());
            command.spawn().expect("it runs")
        }))
        .collect();
    for mut child in children {
        child.wait().expect("it ends");
    }
    assert_eq!(program.run(&["outbox", "flush"]).code, 0);
    let mut texts = taken(&fake);
    texts.sort();
    let mut expected: Vec<String> = (0..12).map(|number| format!("message {number}")).collect();
    expected.sort();
    assert_eq!(texts, expected, "each once");
}

#[test]
fn the_outbox_can_be_named_before_and_after_the_command() {
    let program = Program::new();
    let stored = program.run(&[
        "send",
        "--queue",
        "--no-drain",
        "-b",
        "x",
        "--outbox",
        "here.db",
        "--outbox-key",
        "my.key",
        &url(9, "a"),
    ]);
    assert_eq!(stored.code, 0, "{}", stored.all());
    for args in [
        ["outbox", "--outbox", "here.db", "--outbox-key", "my.key", "list"],
        ["outbox", "list", "--outbox", "here.db", "--outbox-key", "my.key"],
    ] {
        let ran = program.run(&args);
        assert!(ran.code == 0 && ran.stdout.contains("waiting"), "{}", ran.all());
    }
    let stats = program.run(&["outbox", "stats", "--outbox", "here.db", "--outbox-key", "my.key"]);
    let oldest = stats
        .stdout
        .lines()
        .find(|line| line.starts_with("oldest"))
        .expect("a line");
    assert!(oldest.trim_end().ends_with('s'), "{oldest:?}");
}

#[test]
fn a_database_that_does_not_answer_is_named_with_its_cause() {
    let port = ackpost_testkit::reserve_port();
    let program = Program::new();
    let place = format!("postgres://user:hunter2@127.0.0.1:{port}/outbox");
    let ran = program.run(&["send", "--queue", "-b", "x", "--outbox", &place, &url(9, "a")]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let said = ran.all();
    assert!(said.contains(&format!("127.0.0.1:{port}/outbox")), "{said}");
    assert!(said.to_lowercase().contains("refused"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn looking_at_an_outbox_that_is_not_there_makes_none() {
    let program = Program::new();
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(program.home())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    let before = files();
    let id = "0000000000000000";
    let looks: [&[&str]; 7] = [
        &["list"],
        &["stats"],
        &["log"],
        &["show", id],
        &["retry", "--dead"],
        &["drop", id],
        &["flush"],
    ];
    for words in looks {
        let args = [&["outbox", "--outbox", "typo/x.db"], words].concat();
        let ran = program.run(&args);
        assert_eq!(ran.code, 1, "{words:?}: {}", ran.all());
        assert!(
            ran.stderr.contains("no outbox exists at typo/x.db"),
            "{}",
            ran.stderr
        );
        // The usual place is just empty until something is stored.
        let ran = program.run(&[&["outbox"], words].concat());
        assert_eq!(
            ran.code,
            i32::from(words.contains(&id)),
            "{words:?}: {}",
            ran.all()
        );
        assert_eq!(files(), before, "{words:?} made something");
    }
    let ran = program.run(&["outbox", "list"]);
    assert!(ran.stderr.contains("no messages"), "{}", ran.all());
    for (words, none) in [("log", "no events"), ("acts", "no acts")] {
        let ran = program.run(&["outbox", words]);
        assert!(ran.code == 0 && ran.stderr.contains(none), "{}", ran.all());
    }
    let ran = program.run(&["--json", "outbox", "stats"]);
    assert_eq!(ran.json()[0]["waiting"], 0, "{}", ran.all());
}

#[test]
fn an_outbox_without_its_key_says_so_and_gets_no_other() {
    let program = Program::new();
    let target = url(9, "a");
    let store = [
        "send",
        "--queue",
        "--no-drain",
        "-b",
        "x",
        "--outbox",
        "here.db",
        &target,
    ];
    assert_eq!(program.run(&store).code, 0);
    let key = program.home().join("here.key");
    std::fs::remove_file(&key).expect("it was made");
    for args in [&store[..], &["outbox", "--outbox", "here.db", "list"]] {
        let ran = program.run(args);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(
            ran.stderr.contains("the key file ./here.key") || ran.stderr.contains("the key file here.key"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("--outbox-key"), "{}", ran.stderr);
        assert!(!key.exists(), "no other key was made");
    }
}
