//! `send`: lines, JSON, exit codes and texts, against fakes that misbehave and against real servers.

mod support;

use serde_json::{Value, json};
use support::community::Community;
use support::{Program, SEED, SERVER_KEY, steady};
use testkit::{Ejabberd, FakeSogs, FakeXmpp, FakeXmppMode, Prosody, Receiver, XmppServer};

fn sogs(port: u16, rooms: &str) -> String {
    format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{port}/{rooms}")
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
    assert_eq!(program.run_with(&["send", &url("ok")], b"\xff\xfe").code, 1);
    assert_eq!(code(&["send", &url("ok")]), 1);
}

#[test]
fn what_a_time_limit_cuts_off_is_listed_target_by_target() {
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
