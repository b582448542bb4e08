//! Advantages of a resident process: sessions and connections that are kept, and alarms.

use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSogs, Postgres, Prosody, Relay, RelayOptions};
use serde_json::json;

use crate::api::room_texts;
use crate::process::{Gateway, dead_url};
use crate::support::community::Community;
use crate::support::{Program, SEED, SERVER_KEY};

/// Waits until the condition is true.
fn until(gateway: &Gateway, what: &str, done: &dyn Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < limit, "{what}: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn delivered(gateway: &Gateway, path: &str, text: &str) {
    let answer = gateway.json(&format!("{path}?wait=30"), &json!({"body": text}));
    assert_eq!(answer.status, 200, "{answer:?} {}", gateway.log());
    assert_eq!(
        answer.json()["status"],
        "delivered",
        "{answer:?} {}",
        gateway.log()
    );
}

#[test]
fn an_xmpp_session_is_kept_between_messages() {
    let server = Prosody::shared();
    let relay = Relay::to_port(server.port, RelayOptions::default());
    let room = server.room("open").replace('@', "%40");
    let url = |to: &str| {
        format!(
            "xmpps://alice:alicepass@localhost:{}/{to}?xmpp=127.0.0.1&mode=starttls&ca_file={}",
            relay.port(),
            server.ca.display()
        )
    };
    let program = Program::new().file(
        "ops.conf",
        &format!("person={}\nroom={}\n", url("bob"), url(&format!("%23{room}"))),
    );
    let gateway = Gateway::with(program, "[keys]\nops = \"ops.conf\"\n");
    for number in 1..=3 {
        delivered(&gateway, "/notify/ops", &format!("message {number}"));
        assert_eq!(
            relay.connections(),
            1,
            "after message {number} to both: {}",
            gateway.log()
        );
    }
    // Cut off, it comes back by itself, and what is sent meanwhile arrives once.
    relay.cut();
    delivered(&gateway, "/notify/ops", "after the cut");
    delivered(&gateway, "/notify/ops", "and on");
    assert_eq!(relay.connections(), 2, "{}", gateway.log());
}

#[test]
fn a_community_connection_is_kept_warm() {
    let community = Community::start("lobby");
    let port = community
        .url
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let relay = Relay::to_port(port.expect("a port"), RelayOptions::default());
    let gateway = Gateway::start();
    let url = format!(
        "session://{}:{SEED}@127.0.0.1:{}/lobby",
        community.key,
        relay.port()
    );
    assert_eq!(gateway.json("/add/ops", &json!({"urls": url})).status, 200);
    delivered(&gateway, "/notify/ops", "first");
    let (connections, turns) = (relay.connections(), relay.round_trips());
    delivered(&gateway, "/notify/ops", "second");
    delivered(&gateway, "/notify/ops", "third");
    assert_eq!(relay.connections(), connections, "no further connection");
    assert_eq!(
        relay.round_trips() - turns,
        2,
        "one request for a message: nothing is asked again"
    );
    let texts = room_texts(&community);
    for text in ["first", "second", "third"] {
        assert_eq!(
            texts.iter().filter(|one| one.contains(text)).count(),
            1,
            "{texts:?}"
        );
    }
}

#[test]
fn trouble_is_told_through_another_target() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = Gateway::with(Program::new(), "alarm_after = \"2s\"\n");
    let room = |room: &str| {
        format!(
            "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/{room}?encrypt=no",
            fake.port()
        )
    };
    // Keys are saved while it runs: who hears of trouble is known without a restart.
    let text = format!(
        "alarm={}\nbad={}\ndead={}\n",
        room("operators"),
        room("e403"),
        dead_url()
    );
    let saved = gateway.json("/add/ops", &json!({"config": text, "format": "text"}));
    assert_eq!(saved.status, 200, "{saved:?}");
    let told = |part: &str| {
        fake.posts()
            .iter()
            .filter(|post| post.path.contains("/operators/"))
            .filter(|post| post.text.as_deref().is_some_and(|text| text.contains(part)))
            .count()
    };
    // The dead-letter box grows.
    let answer = gateway.json("/notify/ops?wait=20", &json!({"body": "x", "tag": "bad"}));
    assert_eq!(answer.status, 424, "{answer:?}");
    until(&gateway, "a lost message is told", &|| {
        told("was given up for") == 1
    });
    // A target does not answer.
    assert_eq!(
        gateway
            .json("/notify/ops", &json!({"body": "y", "tag": "dead"}))
            .status,
        200
    );
    until(&gateway, "a silent target is told", &|| {
        told("has accepted nothing for") == 1
    });
    // Each trouble once.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        (told("was given up for"), told("has accepted nothing for")),
        (1, 1)
    );
    assert!(
        !fake
            .posts()
            .iter()
            .any(|post| post.text.as_deref().is_some_and(|text| text.contains(SEED)))
    );
}

#[test]
fn a_url_may_ask_to_be_watched() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = Gateway::start();
    let operators = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/operators?encrypt=no",
        fake.port()
    );
    let text = format!("alarm={operators}\ndead={}?alarm_after=1s\n", dead_url());
    assert_eq!(
        gateway
            .json("/add/ops", &json!({"config": text, "format": "text"}))
            .status,
        200
    );
    assert_eq!(
        gateway
            .json("/notify/ops", &json!({"body": "y", "tag": "dead"}))
            .status,
        200
    );
    until(&gateway, "a silent target is told", &|| {
        fake.posts().iter().any(|post| {
            post.text
                .as_deref()
                .is_some_and(|text| text.contains("does not answer"))
        })
    });
}

#[test]
fn the_keys_come_from_the_credential_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let program = Program::new()
        .file("credentials/gateway.key", &"0b".repeat(32))
        .file("credentials/outbox.key", &"0c".repeat(32));
    let folder = program.home().join("credentials");
    for name in ["gateway.key", "outbox.key"] {
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o400)).expect("set");
    }
    let program = program
        .env("CREDENTIALS_DIRECTORY", folder.display().to_string())
        .env(
            "ACKPOST_OUTBOX_KEY",
            folder.join("outbox.key").display().to_string(),
        );
    let mut gateway = Gateway::with(program, "");
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    assert_eq!(gateway.json("/notify/k", &json!({"body": "x"})).status, 200);
    gateway.stop();
    let state = gateway.program.home().join(".local/state/ackpost");
    for key in ["gateway/gateway.key", "outbox.key"] {
        assert!(
            !state.join(key).exists(),
            "{key} was made although one was handed in"
        );
    }
    // Without them, nothing that was stored can be read.
    let without = gateway
        .program
        .shell("unset CREDENTIALS_DIRECTORY ACKPOST_OUTBOX_KEY; ackpost outbox list");
    assert_eq!(without.code, 1, "{}", without.all());
    assert!(
        without.all().contains("outbox.key of the outbox") && without.all().contains("is missing"),
        "{}",
        without.all()
    );
    let with = gateway.program.run(&["outbox", "list"]);
    assert!(
        with.code == 0 && with.stdout.contains("waiting"),
        "{}",
        with.all()
    );
}

#[test]
fn the_outbox_may_be_in_postgresql() {
    let database = Postgres::shared().database();
    let community = Community::start("lobby");
    let config = format!("outbox = \"{}\"\n", database.url());
    let mut gateway = Gateway::with(Program::new(), &config);
    let text = format!("good={}/lobby\ndead={}\n", community.server_url(), dead_url());
    assert_eq!(
        gateway
            .json("/add/ops", &json!({"config": text, "format": "text"}))
            .status,
        200
    );
    let answer = gateway.json(
        "/notify/ops?wait=30",
        &json!({"body": "by way of PostgreSQL", "tag": "good"}),
    );
    assert_eq!(
        answer.json()["status"],
        "delivered",
        "{answer:?} {}",
        gateway.log()
    );
    assert_eq!(
        gateway
            .json("/notify/ops", &json!({"body": "later", "tag": "dead"}))
            .status,
        200
    );
    assert_eq!(database.sql("SELECT COUNT(*) FROM outbox_entry").trim(), "2");
    assert!(
        gateway
            .get("/metrics")
            .body
            .contains("ackpost_queued{state=\"waiting\"} 1")
    );
    let stored = database.sql("SELECT string_agg(encode(sealed, 'escape'), '') FROM outbox_entry");
    assert!(
        !stored.contains(SEED) && !stored.contains("later"),
        "sealed at rest"
    );
    gateway.stop();
    let ran = gateway
        .program
        .run(&["outbox", "--outbox", database.url(), "list"]);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.all());
    assert!(
        room_texts(&community)
            .iter()
            .any(|text| text.contains("by way of PostgreSQL"))
    );
}
