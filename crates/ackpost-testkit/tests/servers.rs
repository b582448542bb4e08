//! The wrappers start what they say, and stop it.

use std::net::TcpStream;
use std::time::Duration;

use ackpost_testkit::{Ejabberd, Postgres, Prosody, Receiver, Relay, RelayOptions, ServerOptions};

#[test]
fn prosody_carries_a_message_through_a_relay_and_stops() {
    let mut server = Prosody::start(ServerOptions::default());
    let relay = Relay::to_port(
        server.port,
        RelayOptions {
            delay: Duration::from_millis(2),
            ..RelayOptions::default()
        },
    );
    let mut bob = Receiver::join(
        server.port,
        "localhost",
        "bob",
        "bobpass",
        &[&server.room("members")],
    );
    let mut alice = Receiver::join(
        relay.port(),
        "localhost",
        "alice",
        "alicepass",
        &["secret@conference.localhost:roompass"],
    );
    alice.send("<message to='bob@localhost' type='chat' id='m'><body>a &amp; b</body></message>");
    assert_eq!(bob.wait_body("a & b").attr("from"), alice.jid);
    assert!(relay.round_trips() >= 5 && relay.connections() == 1);
    server.kill();
    server.restart();
    let port = server.port;
    Receiver::join(port, "localhost", "alice", "alicepass", &[]);
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "still running");
}

#[test]
fn ejabberd_carries_a_room_message() {
    let server = Ejabberd::shared();
    let room = server.room("open");
    let mut bob = Receiver::join(server.port, "localhost", "bob", "bobpass", &[&room]);
    let mut alice = Receiver::join(server.port, "localhost", "alice", "alicepass", &[&room]);
    alice.send(&format!(
        "<message to='{room}' type='groupchat' id='m'><body>hello</body></message>"
    ));
    assert_eq!(bob.wait_body("hello").attr("type"), "groupchat");
}

#[test]
fn postgres_gives_each_test_its_own_database() {
    let cluster = Postgres::shared();
    let one = cluster.database();
    one.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
    let copy = cluster.database_from(&one);
    assert_eq!(copy.sql("SELECT n FROM t"), "7");
    let name = copy.name().to_owned();
    drop(copy);
    assert_eq!(
        cluster.sql(&format!(
            "SELECT count(*) FROM pg_database WHERE datname = '{name}'"
        )),
        "0"
    );
}
