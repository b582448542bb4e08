//! `ackpost watch xmpps://…` by the real binary against a real server: every kind of event, a clean end, and what
//! was missed meanwhile.

mod support;

use std::io::BufRead as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver as Channel, channel};
use std::time::{Duration, Instant};

use ackpost_testkit::{Prosody, Receiver, ServerOptions, XmppServer};
use serde_json::Value;
use support::Program;

const ROOM: &str = "open@conference.localhost";
const LONG: Duration = Duration::from_secs(60);

/// A running `watch` and its events.
struct Watch {
    child: Child,
    events: Channel<Value>,
    seen: Vec<Value>,
}

impl Watch {
    fn start(program: &Program, server: &XmppServer) -> Self {
        let url = format!(
            "xmpps://bob:bobpass@localhost:{}/%23{ROOM}?xmpp=127.0.0.1&ca_file={}",
            server.port,
            server.ca.display()
        );
        let mut child = program
            .command(&["watch", "--json", "--cursor", "seen.json", &url])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program runs");
        let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let (send, events) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let event = serde_json::from_str(&line.expect("text")).expect("one JSON object each line");
                if send.send(event).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            events,
            seen: Vec::new(),
        }
    }

    /// The next event of this name; others are kept aside.
    fn wait(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + LONG;
        while let Ok(event) = self
            .events
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            assert_eq!(
                (&event["service"], &event["source"]),
                (&"xmpp".into(), &"bob@localhost".into())
            );
            assert!(event["time"].is_string(), "{event}");
            if event["event"] == name && fits(&event) {
                return event;
            }
            self.seen.push(event);
        }
        panic!("no {name}; seen: {:#?}", self.seen);
    }

    /// SIGTERM, its end, and what it still said.
    fn stop(mut self) -> Vec<Value> {
        support::process::signal(self.child.id(), "-TERM");
        let status = self.child.wait().expect("our child");
        assert_eq!(status.code(), Some(0), "a clean end");
        self.seen.extend(self.events.iter());
        self.seen
    }
}

fn say(carol: &mut Receiver, to: &str, kind: &str, id: &str, inside: &str) {
    carol.send(&format!(
        "<message to='{to}' type='{kind}' id='{id}'><origin-id xmlns='urn:xmpp:sid:0' id='{id}'/>{inside}</message>"
    ));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn everything_that_happens_to_an_account() {
    let server = Prosody::start(ServerOptions::default());
    let program = Program::new();
    let mut carol = Receiver::join(server.port, &server.domain, "carol", "carolpass", &[ROOM]);
    let mut watch = Watch::start(&program, &server);

    let online = watch.wait("online", |_| true);
    let full = online["jid"].as_str().expect("an address").to_owned();
    assert!(full.starts_with("bob@localhost/"), "{online}");
    let own = watch.wait("presence", |event| event["own"] == true);
    assert_eq!(
        (&own["room"], &own["name"], &own["present"]),
        (&ROOM.into(), &"bob".into(), &true.into())
    );
    // Presence of others, coming and going.
    let dave = Receiver::join(server.port, &server.domain, "alice", "alicepass", &[ROOM]);
    watch.wait("presence", |event| {
        event["name"] == "alice" && event["present"] == true
    });
    drop(dave);
    watch.wait("presence", |event| {
        event["name"] == "alice" && event["present"] == false
    });

    // A person: message with a receipt asked for, correction, reaction, receipt, file.
    let request = "<request xmlns='urn:xmpp:receipts'/>";
    say(
        &mut carol,
        "bob@localhost",
        "chat",
        "m1",
        &format!("<body>hello bob</body>{request}"),
    );
    let direct = watch.wait("direct", |_| true);
    assert_eq!(
        (&direct["body"], &direct["id"], &direct["own"], &direct["room"]),
        (&"hello bob".into(), &"m1".into(), &false.into(), &Value::Null)
    );
    assert!(
        direct["from"]
            .as_str()
            .expect("an address")
            .starts_with("carol@localhost/")
    );
    assert!(direct["archive_id"].is_string(), "{direct}");
    let receipt = carol
        .wait(LONG, |s| s.child("received").is_some())
        .expect("a receipt");
    assert_eq!(receipt.child("received").expect("just seen").attr("id"), "m1");
    let replace = "<body>hello Bob</body><replace xmlns='urn:xmpp:message-correct:0' id='m1'/>";
    say(&mut carol, "bob@localhost", "chat", "m2", replace);
    let edited = watch.wait("edited", |_| true);
    assert_eq!(
        (&edited["body"], &edited["replaces"]),
        (&"hello Bob".into(), &"m1".into())
    );
    let reactions = "<reactions xmlns='urn:xmpp:reactions:0' id='m1'><reaction>👍</reaction></reactions>";
    say(&mut carol, "bob@localhost", "chat", "m3", reactions);
    let reaction = watch.wait("reactions", |_| true);
    assert_eq!(
        (&reaction["id"], &reaction["emoji"], &reaction["in_room"]),
        (&"m1".into(), &serde_json::json!(["👍"]), &false.into())
    );
    say(
        &mut carol,
        &full,
        "chat",
        "m4",
        "<received xmlns='urn:xmpp:receipts' id='x7'/>",
    );
    assert_eq!(watch.wait("receipt", |_| true)["id"], "x7");
    let file =
        "<body>https://x.invalid/a.png</body><x xmlns='jabber:x:oob'><url>https://x.invalid/a.png</url></x>";
    say(&mut carol, "bob@localhost", "chat", "m5", file);
    assert_eq!(
        watch.wait("file", |_| true)["files"],
        serde_json::json!(["https://x.invalid/a.png"])
    );

    // A room: message, correction, topic.
    say(&mut carol, ROOM, "groupchat", "r1", "<body>hello all</body>");
    let message = watch.wait("message", |_| true);
    assert_eq!(
        (
            &message["room"],
            &message["name"],
            &message["body"],
            &message["own"]
        ),
        (&ROOM.into(), &"carol".into(), &"hello all".into(), &false.into())
    );
    let replace = "<body>hello everybody</body><replace xmlns='urn:xmpp:message-correct:0' id='r1'/>";
    say(&mut carol, ROOM, "groupchat", "r2", replace);
    let edited = watch.wait("edited", |_| true);
    assert_eq!(
        (&edited["room"], &edited["name"], &edited["replaces"]),
        (&ROOM.into(), &"carol".into(), &"r1".into())
    );

    // The end: nothing is left behind, he is gone from the room at once.
    let rest = watch.stop();
    assert!(rest.iter().all(|event| event["event"] != "offline"), "{rest:?}");
    let gone = carol.wait(Duration::from_secs(10), |s| {
        s.name == "presence" && s.attr("type") == "unavailable" && s.attr("from").ends_with("/bob")
    });
    assert!(gone.is_some(), "he left the room");

    // The next run reports missed messages, once and in order.
    let missed = ["one", "two", "three"];
    for body in missed {
        say(
            &mut carol,
            "bob@localhost",
            "chat",
            &format!("d-{body}"),
            &format!("<body>{body}</body>"),
        );
        say(
            &mut carol,
            ROOM,
            "groupchat",
            &format!("g-{body}"),
            &format!("<body>{body}</body>"),
        );
    }
    let sync = "<iq type='get' id='sync2' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>";
    carol.send(sync);
    carol
        .wait(LONG, |s| s.attr("id") == "sync2")
        .expect("the server has them");
    let mut watch = Watch::start(&program, &server);
    watch.wait("direct", |event| event["body"] == "three");
    watch.wait("message", |event| event["body"] == "three");
    say(
        &mut carol,
        "bob@localhost",
        "chat",
        "m9",
        "<body>live again</body>",
    );
    watch.wait("direct", |event| event["body"] == "live again");
    let mut seen = watch.stop();
    seen.retain(|event| event["body"].is_string());
    for kind in ["direct", "message"] {
        let bodies: Vec<&str> = seen
            .iter()
            .filter(|event| event["event"] == kind)
            .filter_map(|event| event["body"].as_str())
            .collect();
        // The third was taken out by waiting for it.
        assert_eq!(bodies, missed[..2], "{kind}");
    }
}

#[test]
fn what_is_written_after_a_quiet_first_run_comes_with_the_next_one() {
    let server = Prosody::start(ServerOptions::default());
    let program = Program::new();
    let mut carol = Receiver::join(server.port, &server.domain, "carol", "carolpass", &[ROOM]);
    let mut watch = Watch::start(&program, &server);
    watch.wait("presence", |event| event["own"] == true);
    watch.stop();
    say(&mut carol, "bob@localhost", "chat", "q1", "<body>to you</body>");
    say(&mut carol, ROOM, "groupchat", "q2", "<body>to all</body>");
    let sync = "<iq type='get' id='sync3' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>";
    carol.send(sync);
    carol
        .wait(LONG, |s| s.attr("id") == "sync3")
        .expect("the server has them");
    let mut watch = Watch::start(&program, &server);
    watch.wait("message", |event| event["body"] == "to all");
    let both = watch.seen.iter().any(|event| event["body"] == "to you");
    if !both {
        watch.wait("direct", |event| event["body"] == "to you");
    }
    watch.stop();
}

#[test]
fn an_account_that_is_refused_says_why() {
    let server = Prosody::shared();
    let url = format!(
        "xmpps://bob:wrong@localhost:{}/?xmpp=127.0.0.1&ca_file={}",
        server.port,
        server.ca.display()
    );
    let ran = Program::new().run(&["watch", "--json", &url]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.all());
    assert!(
        ran.stderr.contains("wrong password") && !ran.stderr.contains("bob:wrong"),
        "{}",
        ran.stderr
    );
}
