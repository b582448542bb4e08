//! `send`: lines, JSON, exit codes and texts, against fakes that misbehave and against real servers.

mod support;

use ackpost_testkit::{Ejabberd, FakeSogs, FakeXmpp, FakeXmppMode, Prosody, Receiver, XmppEvent, XmppServer};
use serde_json::{Value, json};
use support::community::Community;
use support::{Program, SEED, SERVER_KEY, steady};

fn sogs(port: u16, rooms: &str) -> String {
    format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{port}/{rooms}")
}

#[test]
fn a_sign_shows_the_type_if_it_is_wanted() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = sogs(fake.port(), "lobby");
    let plain = Program::new();
    let signed = Program::new().env("ACKPOST_SIGNS", "failure=STOP");
    for (program, words) in [
        (&plain, &["-n", "failure", "-b", "disk full"][..]),
        (
            &plain,
            &["--signs", "default", "-n", "failure", "-b", "disk full"],
        ),
        (&plain, &["--signs", "default", "-b", "nothing new"]),
        (&signed, &["-n", "failure", "-t", "db1", "-b", "disk full"]),
    ] {
        let ran = program.run(&[words, &[url.as_str()]].concat());
        assert_eq!(ran.code, 0, "{}", ran.all());
    }
    let posts = fake.posts();
    let texts: Vec<&str> = posts.iter().filter_map(|post| post.text.as_deref()).collect();
    assert_eq!(texts[..3], ["disk full", "🔴 disk full", "nothing new"]);
    assert!(texts[3].starts_with("STOP db1"), "{}", texts[3]);
    let ran = plain.run(&["--signs", "panic=!", "-b", "x", &url]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr.contains("unknown message type `panic`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn one_line_and_one_object_for_each_target() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    let url = sogs(fake.port(), "first/e403/third");
    let ran = program.run(&["--json", "-t", "T", "-b", "hello", &url]);
    // Two rooms have it, one has not; one URL of which one room failed counts as failed, as in Apprise.
    assert_eq!(ran.code, 1, "{}", ran.all());
    let objects = ran.json();
    assert_eq!(objects.len(), 3);
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
    for (object, line) in objects.iter().zip(ran.stderr.lines()) {
        let keys: Vec<&String> = object.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "target",
                "service",
                "outcome",
                "confirmed_by",
                "id",
                "reason",
                "remedy",
                "notes",
                "attempts",
                "elapsed_ms"
            ]
        );
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        assert!(
            line.contains(&text("target")) && line.starts_with(&text("outcome")),
            "{line}"
        );
        assert_eq!(
            (&object["service"], &object["attempts"]),
            (&json!("sogs"), &json!(1))
        );
    }
    assert_eq!(
        (&objects[0]["outcome"], &objects[0]["confirmed_by"]),
        (&json!("delivered"), &json!("server"))
    );
    assert!(objects[0]["id"].is_string() && objects[0]["reason"].is_null());
    assert_eq!(
        (&objects[1]["outcome"], &objects[1]["id"]),
        (&json!("refused"), &Value::Null)
    );
    assert!(objects[1]["reason"].is_string() && objects[1]["remedy"].is_string());
    assert!(!ran.all().contains(SEED));
}

#[test]
fn exit_codes() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new().file("tags.conf", &format!("ops={}\n", sogs(fake.port(), "ok")));
    let code = |args: &[&str]| program.run(args).code;
    let url = |room: &str| sogs(fake.port(), room);
    assert_eq!(code(&["-b", "x", &url("ok")]), 0);
    assert_eq!(code(&["-b", "x", &url("e403")]), 1);
    assert_eq!(code(&["-b", "x", &url("e403?optional=yes")]), 0);
    assert_eq!(code(&["-b", "x", "-n", "loud", &url("ok")]), 2);
    assert_eq!(code(&["-b", "x", "-c", "tags.conf"]), 3);
    // An empty message is the graver mistake, as in the reference.
    assert_eq!(code(&["-b", "", "-c", "tags.conf"]), 1);
    assert_eq!(code(&["-b", "x", "-c", "tags.conf", "-g", "ops"]), 0);
    assert_eq!(code(&["-b", "x", &url("ok"), &url("e403")]), 4);
    assert_eq!(code(&["-b", "x", &url("ok"), "bogus://x"]), 4);
    assert_eq!(code(&["-b", "x", "-L", "0.5", &url("slow3")]), 5);
    assert_eq!(code(&["-b", "x", "bogus://x"]), 1);
    // The body comes from standard input when there is none.
    assert_eq!(program.run_with(&["send", &url("ok")], b"from a pipe\n").code, 0);
    assert_eq!(
        fake.posts().last().and_then(|p| p.text.clone()).as_deref(),
        Some("from a pipe")
    );
    // An alert is worth more than a byte.
    assert_eq!(program.run_with(&["send", &url("ok")], b"\xff\xfe").code, 0);
    assert_eq!(code(&["send", &url("ok")]), 1);
}

#[test]
fn a_time_limit_lists_each_unfinished_target() {
    let fake = FakeSogs::start(SERVER_KEY);
    let ran = Program::new().run(&[
        "--json",
        "-b",
        "x",
        "-L",
        "1",
        &sogs(fake.port(), "slow5/ok/slow6"),
    ]);
    let objects = ran.json();
    let outcomes: Vec<&str> = objects.iter().filter_map(|o| o["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["deferred", "delivered", "deferred"], "{}", ran.all());
}

/// Every refusal has its own cause and remedy; the texts are kept word for word.
#[test]
fn failures_of_a_community_in_words() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    let mut all = String::new();
    for room in [
        "e400",
        "e401",
        "e403",
        "e404",
        "e413",
        "e425",
        "e429",
        "e500",
        "e503",
        "s204",
        "drop",
        "cross",
        "slow9?rto=0.5",
    ] {
        let ran = program.run(&["-b", "x", &sogs(fake.port(), room)]);
        assert_eq!(ran.code, 1, "{room}: {}", ran.all());
        all.push_str(&ran.stderr);
    }
    for url in [
        format!("sessions://{SERVER_KEY}:{SEED}@127.0.0.1:{}/room", fake.port()),
        format!("session://{SERVER_KEY}:{SEED}@no-such-host.invalid/room"),
        sogs(1, "room"),
    ] {
        let ran = program.run(&["-b", "x", &url]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        all.push_str(&ran.stderr);
    }
    let hide = [
        (fake.other_port().to_string(), "OTHER"),
        (fake.port().to_string(), "PORT"),
    ];
    let hide: Vec<(&str, &str)> = hide.iter().map(|(a, b)| (a.as_str(), *b)).collect();
    insta::assert_snapshot!("community_failures", steady(&all, &hide));
}

#[test]
fn failures_of_an_xmpp_server_in_words() {
    let program = Program::new();
    let mut all = String::new();
    let starttls = FakeXmpp::start(FakeXmppMode::StartTls);
    let plain = FakeXmpp::start(FakeXmppMode::Plain);
    let tls = FakeXmpp::start(FakeXmppMode::Tls);
    for (url, port) in [
        ("xmpps://user:wrong@localhost:{}/jane?verify=no", starttls.port()),
        ("xmpps://user:pass@localhost:{}/jane", starttls.port()),
        ("xmpps://user:pass@localhost:{}/err?verify=no", starttls.port()),
        (
            "xmpps://user:pass@localhost:{}/#denied@rooms?verify=no",
            starttls.port(),
        ),
        ("xmpps://user:pass@localhost:{}/jane?verify=no", plain.port()),
        ("xmpps://user:pass@localhost:{}/jane?verify=no", tls.port()),
        (
            "xmpps://user:pass@localhost:{}/jane?verify=no&mode=tls",
            starttls.port(),
        ),
        ("xmpps://user:pass@localhost:{}/jane", 1),
    ] {
        let url = url.replace("{}", &port.to_string());
        let ran = program.run(&["-b", "x", &url]);
        assert_eq!(ran.code, 1, "{url}: {}", ran.all());
        all.push_str(&ran.stderr.replace(&format!(":{port}"), ":PORT"));
    }
    insta::assert_snapshot!("xmpp_failures", steady(&all, &[]));
}

fn xmpp(server: &XmppServer, target: &str) -> String {
    format!(
        "xmpps://alice:alicepass@localhost:{}/{target}?verify=no&xmpp=127.0.0.1",
        server.port
    )
}

#[test]
fn two_rooms_and_a_user_of_three_servers_at_once() {
    let community = Community::start("lobby");
    let (prosody, ejabberd) = (Prosody::shared(), Ejabberd::shared());
    let room = prosody.room("open");
    let mut in_room = Receiver::join(prosody.port, "localhost", "carol", "carolpass", &[&room]);
    let mut user = Receiver::join(ejabberd.port, "localhost", "bob", "bobpass", &[]);
    let body = format!("three at once {}", std::process::id());
    let ran = community.program.run(&[
        "--json",
        "-b",
        &body,
        &format!("{}/lobby", community.server_url()),
        &xmpp(prosody, &format!("#{room}")),
        &xmpp(ejabberd, "bob"),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(
        ran.stderr.lines().filter(|l| l.starts_with("delivered")).count(),
        3,
        "{}",
        ran.stderr
    );
    let confirmed: Vec<Value> = ran
        .json()
        .into_iter()
        .map(|o| o["confirmed_by"].clone())
        .collect();
    assert_eq!(confirmed, [json!("server"), json!("room"), json!("server")]);
    assert_eq!(in_room.wait_body(&body).attr("type"), "groupchat");
    assert_eq!(user.wait_body(&body).attr("type"), "chat");
}

/// Every mode with every kind of target: a user, one of its resources, a room, two rooms and a user, the sender itself.
#[test]
fn every_mode_and_target_arrives_on_both_servers() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let (open, members) = (server.room("open"), server.room("members"));
        let mut bob = Receiver::join(server.port, "localhost", "bob", "bobpass", &[&open, &members]);
        let mut alice = Receiver::join(server.port, "localhost", "alice", "alicepass", &[]);
        let alice_here = alice.jid.replace('@', "%40").replace('/', "%2F");
        for (schema, mode, port) in [
            ("xmpp", "none", server.port),
            ("xmpps", "starttls", server.port),
            ("xmpps", "tls", server.tls_port),
        ] {
            let url = |target: &str| {
                format!(
                    "{schema}://bob:bobpass@localhost:{port}/{target}?verify=no&xmpp=127.0.0.1&mode={mode}&name=bot"
                )
            };
            let send = |body: &str, target: &str, count: usize| {
                let ran = Program::new().run(&["-b", body, &url(target)]);
                assert_eq!(ran.code, 0, "{:?} {}: {}", server.kind, url(target), ran.all());
                assert_eq!(ran.stderr.lines().count(), count, "{}", ran.stderr);
            };
            let body = |what: &str| format!("{what} by {mode}, {}", std::process::id());
            send(&body("user"), "alice", 1);
            alice.wait_body(&body("user"));
            send(&body("resource"), &alice_here, 1);
            alice.wait_body(&body("resource"));
            send(&body("room"), &format!("#{open}"), 1);
            assert_eq!(bob.wait_body(&body("room")).attr("from"), format!("{open}/bot"));
            send(&body("all"), &format!("#{open}/#{members}/alice"), 3);
            alice.wait_body(&body("all"));
            bob.wait_body(&body("all"));
            bob.wait_body(&body("all"));
            send(&body("self"), "", 1);
            bob.wait_body(&body("self"));
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_sent_with_a_note() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = sogs(fake.port(), "ok");
    let program = Program::new();
    let texts = || -> Vec<String> { fake.posts().into_iter().filter_map(|post| post.text).collect() };
    let ran = program.run_with(&[&url], b"caf\xe9 is down");
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("note: the message on standard input is not UTF-8"),
        "{}",
        ran.stderr
    );
    for script in [
        format!(r#"ackpost -b "$(printf 'caf\351')" '{url}'"#),
        format!(r#"ackpost -v "--body=$(printf 'caf\351')" '{url}'"#),
        format!(r#"ackpost -vt "$(printf 'caf\351')" -b x '{url}'"#),
    ] {
        let ran = program.shell(&script);
        assert_eq!(ran.code, 0, "{}", ran.all());
        assert!(
            ran.stderr.contains("note: the message is not UTF-8"),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(
        texts(),
        [
            "caf\u{fffd} is down",
            "caf\u{fffd}",
            "caf\u{fffd}",
            "caf\u{fffd}\r\nx"
        ]
    );
    // A path or an address with another byte would be another one.
    let ran = program.shell(&format!(r#"ackpost -b x -c "$(printf 'caf\351')" '{url}'"#));
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert_eq!(texts().len(), 4);
}

#[test]
fn a_text_goes_without_a_file_that_is_missing() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new().file("there.txt", "1\n");
    let missing = |ran: &support::Ran, file: &str| {
        assert_eq!(ran.code, 4, "{}", ran.all());
        let object = &ran.json()[0];
        assert_eq!(object["outcome"], "incomplete", "{object}");
        let reason = object["reason"].as_str().expect("a reason");
        assert!(
            reason.contains(file) && reason.starts_with("the text was sent without"),
            "{reason}"
        );
    };
    // It cannot be read, or not be fetched.
    for file in ["/nowhere/at/all.txt", "http://127.0.0.1:1/gone.txt"] {
        let ran = program.run(&[
            "--json",
            "-b",
            "down",
            "-a",
            file,
            "-a",
            "there.txt",
            &sogs(fake.port(), "ok"),
        ]);
        missing(&ran, file);
    }
    // It cannot be uploaded: the server refuses it, or has no service for it.
    let ran = program.run(&[
        "--json",
        "-b",
        "down",
        "-a",
        "there.txt",
        &sogs(fake.port(), "nofiles"),
    ]);
    missing(&ran, "there.txt");
    assert!(ran.json()[0]["id"].is_string(), "{}", ran.stdout);
    let posts = fake.posts();
    assert_eq!(posts.len(), 3);
    assert!(posts.iter().all(|post| post.text.as_deref() == Some("down")));
    let xmpp = FakeXmpp::start(FakeXmppMode::StartTls);
    let url = format!("xmpps://user:pass@localhost:{}/jane?verify=no", xmpp.port());
    let ran = program.run(&["--json", "-b", "down", "-a", "there.txt", &url]);
    missing(&ran, "there.txt");
    let chats = |xmpp: &FakeXmpp| {
        let is_chat = |event: &XmppEvent| matches!(event, XmppEvent::Message { body, .. } if body == "down");
        xmpp.events().iter().filter(|event| is_chat(event)).count()
    };
    assert_eq!(chats(&xmpp), 1);

    // Nothing but a file, and that is missing: there is nothing to send.
    let ran = program.run(&[
        "--json",
        "-b",
        "",
        "-a",
        "/nowhere/at/all.txt",
        &sogs(fake.port(), "ok"),
    ]);
    assert_eq!((ran.code, fake.posts().len()), (1, 3), "{}", ran.all());

    // The outbox keeps the text too.
    let url = sogs(fake.port(), "later");
    let ran = program.run(&[
        "--queue",
        "--no-drain",
        "-b",
        "stored",
        "-a",
        "/nowhere/at/all.txt",
        &url,
    ]);
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(ran.stderr.contains("/nowhere/at/all.txt"), "{}", ran.stderr);
    let ran = program.run(&["outbox", "flush"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let ran = program.run(&["outbox", "list", "--json"]);
    let entry = &ran.json()[0];
    assert_eq!(
        (&entry["state"], &entry["outcome"]["outcome"]),
        (&json!("partial"), &json!("incomplete"))
    );
    assert_eq!(
        fake.posts().last().and_then(|post| post.text.clone()).as_deref(),
        Some("stored")
    );
}

#[test]
fn quiet_prints_errors_only() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new();
    for flags in [["-q", "-b"], ["--quiet", "-b"]] {
        let ran = program.run(&[flags[0], flags[1], "x", &sogs(fake.port(), "ok")]);
        assert_eq!((ran.code, ran.all().trim()), (0, ""));
    }
    let ran = program.run_with(&["-q", &sogs(fake.port(), "ok")], b"caf\xe9");
    assert_eq!((ran.code, ran.all().trim()), (0, ""));
    let ran = program.run(&["-q", "--queue", "-b", "x", &sogs(fake.port(), "ok")]);
    assert_eq!((ran.code, ran.all().trim()), (0, ""));
    let ran = program.run(&[
        "-q",
        "-b",
        "x",
        &sogs(fake.port(), "ok"),
        &sogs(fake.port(), "e403"),
    ]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (4, 1), "{}", ran.all());
    assert!(ran.stderr.starts_with("refused"), "{}", ran.stderr);
}

/// Uptime Kuma calls `apprise -vv -b MSG URL -t TITLE`: an empty standard output, or one with `ERROR` in it, is a failure.
/// cron mails whatever a job prints.
#[test]
fn a_secret_on_the_command_line_is_warned_of_on_a_terminal_alone() {
    let url = sogs(1, "room");
    // `script` of util-linux gives the program a terminal.
    let on_terminal = |name: &'static str, words: &str| {
        let script = format!("script -qec \"{name} {words} -d '{url}'\" /dev/null");
        let ran = Program::called(name).shell(&script);
        assert_eq!(ran.code, 0, "{}", ran.all());
        ran.all().matches("in the list of processes").count()
    };
    assert_eq!(on_terminal("ackpost", "send"), 1);
    assert_eq!(on_terminal("ackpost", "send -q"), 0);
    assert_eq!(on_terminal("apprise", ""), 0);
    let ran = Program::new().run(&["send", "-d", &url]);
    assert!(ran.code == 0 && !ran.all().contains("processes"), "{}", ran.all());
}

#[test]
fn under_the_name_apprise_output_and_silence_are_those_of_apprise() {
    let fake = FakeSogs::start(SERVER_KEY);
    let xmpp = FakeXmpp::start(FakeXmppMode::StartTls);
    let person = format!("xmpps://user:pass@localhost:{}/jane?verify=no", xmpp.port());
    let program = Program::called("apprise");
    let texts = |ran: &support::Ran| -> Vec<String> {
        let lines = ran
            .stdout
            .lines()
            .map(|line| line.split_once(" - ").expect("a log line").1);
        lines.map(str::to_owned).collect()
    };
    for url in [sogs(fake.port(), "ok"), person.clone()] {
        let ran = program.run(&["-vv", "-b", "up again", &url, "-t", "Kuma"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
        assert!(!ran.stdout.contains("ERROR"), "{}", ran.stdout);
        assert_eq!(texts(&ran)[0], "INFO - Notifying 1 service(s).");
        assert_eq!(texts(&ran).len(), 2, "{}", ran.stdout);
        for flags in [&["-b", "x"][..], &["-v", "-b", "x"]] {
            let ran = program.run(&[flags, &[&url]].concat());
            assert_eq!((ran.code, ran.all().trim()), (0, ""));
        }
        let ran = program.run_with(&[&url], b"caf\xe9");
        assert_eq!((ran.code, ran.all().trim()), (0, ""));
    }
    let ran = program.run(&["-vv", "-b", "x", &sogs(fake.port(), "ok")]);
    assert_eq!(texts(&ran)[1], "INFO - Sent SOGS notification to room 'ok'.");
    for verbosity in [&["-b"][..], &["-v", "-b"], &["-vv", "-b"]] {
        let ran = program.run(&[verbosity, &["down", &sogs(fake.port(), "e403"), "-t", "Kuma"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
        assert!(ran.stdout.contains(" - ERROR - refused"), "{}", ran.stdout);
    }
    let ran = program.run(&["-b", "x", "bogus://x"]);
    assert!(ran.code != 0 && ran.stdout.contains("ERROR"), "{}", ran.all());
}

/// A server that answers every request with this status and text.
fn answering(status: u16, text: &'static str) -> u16 {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 8192]);
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
        }
    });
    port
}

#[test]
fn text_of_others_cannot_steer_a_terminal() {
    // A login page that answers with control characters of both sets, a bidi override and a line separator.
    let words = "no\u{1b}[2J\u{9b}31m\u{202e}gpj\u{2028}ERROR\u{2066}";
    let port = answering(503, words);
    let program = Program::new();
    let url = format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{port}/ok?encrypt=no");
    for args in [&["-vvvv", "-b", "x"][..], &["--json", "-b", "x"]] {
        let ran = program.run(&[args, &[&url]].concat());
        assert_eq!(ran.code, 1, "{}", ran.all());
        let steers = |c: char| {
            c.is_control() && c != '\n'
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!ran.all().chars().any(steers), "{:?}", ran.all());
    }
}
