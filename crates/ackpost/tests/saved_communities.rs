//! Saved communities, certificate authorities of one's own, and servers that differ, by the real binary.

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ackpost_testkit::{DifferingSogs, SOGS_KEY, SelfSigned};
use serde_json::{Value, json};
use session_protocol::{Identity, ServerKey, Signer};
use support::community::Community;
use support::{Program, Ran};

fn ok(program: &Program, args: &[&str]) -> Ran {
    let ran = program.run(args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    ran
}

#[test]
fn a_saved_name_stands_for_a_link_everywhere() {
    let community = Community::start("lobby");
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    let user = Program::new();
    let id = ok(&user, &["identity", "new"]).stdout.trim().to_owned();
    let saved = ok(&user, &["--json", "room", "save", "Lobby", &link]).json();
    assert_eq!(
        (&saved[0]["name"], &saved[0]["link"]),
        (&json!("lobby"), &json!(link))
    );
    let file = user.home().join(".config/ackpost/communities/lobby");
    let mode = std::fs::metadata(&file)
        .expect("it is stored")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // The same again changes nothing; another link under the name is refused.
    ok(&user, &["room", "save", "lobby", &link]);
    let other = link.replace("/lobby?", "/other?");
    let refused = user.run(&["room", "save", "lobby", &other]);
    assert!(
        refused.code == 1 && refused.stderr.contains("--replace"),
        "{}",
        refused.all()
    );
    assert_eq!(
        ok(&user, &["room", "saved"])
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["lobby", &link]
    );

    ok(&user, &["room", "post", "lobby", "-b", "by name"]);
    ok(&user, &["send", "-b", "by URL", "sessions://lobby"]);
    ok(
        &user,
        &["send", "-b", "with a name", "sessions://LOBBY/?name=Alerts"],
    );
    std::fs::write(user.home().join("urls.conf"), "sessions://lobby\n").expect("a file");
    ok(&user, &["send", "-b", "from a file", "-c", "urls.conf"]);
    for name in ["lobby", "sessions://lobby"] {
        let read = ok(&user, &["--json", "room", "read", name]).json();
        let bodies: Vec<_> = read
            .iter()
            .map(|message| message["body"].as_str().expect("a text"))
            .collect();
        assert_eq!(
            bodies,
            ["by name", "by URL", "with a name", "from a file"],
            "{name}"
        );
        assert_eq!(read[2]["name"], "Alerts");
    }
    let watched = ok(
        &user,
        &["--json", "watch", "--backlog", "1", "--count", "1", "lobby"],
    )
    .json();
    assert_eq!(watched[0]["body"], "from a file");
    let blinded = ok(&user, &["--json", "room", "read", "lobby"]).json()[0]["from"]
        .as_str()
        .expect("an id")
        .to_owned();
    ok(&user, &["dm", "send", "lobby", &blinded, "-b", "to myself"]);
    assert_eq!(
        ok(&user, &["--json", "dm", "read", "lobby"]).json()[0]["account"],
        json!(id)
    );
}

#[test]
fn a_name_that_is_not_saved_is_explained_and_a_forgotten_one_is_gone() {
    let user = Program::new();
    let link = format!("https://host/room?public_key={SOGS_KEY}");
    ok(&user, &["room", "save", "lobby", &link]);
    let near = user.run(&["room", "read", "loby"]);
    assert!(
        near.code == 2 && near.stderr.contains("did you mean `lobby`"),
        "{}",
        near.all()
    );
    // A text without -b is taken for a link.
    let text = user.run(&["room", "post", "hello there", "-b", "x"]);
    assert!(
        text.code == 2 && text.stderr.contains("neither a join link nor") && text.stderr.contains("-b"),
        "{}",
        text.all()
    );
    // The stored identities are named if none is the default.
    ok(&user, &["identity", "new", "bot"]);
    let named = user.run(&["room", "post", "lobby", "-b", "hello"]);
    assert!(
        named.code == 1 && named.stderr.contains("--identity (bot)"),
        "{}",
        named.all()
    );
    ok(&user, &["room", "forget", "lobby"]);
    let gone = user.run(&["room", "read", "lobby"]);
    assert!(
        gone.code == 2 && gone.stderr.contains("room save lobby"),
        "{}",
        gone.all()
    );
    assert_eq!(user.run(&["room", "forget", "lobby"]).code, 1);
    assert_eq!(ok(&user, &["--json", "room", "saved"]).stdout, "");
}

#[test]
fn names_and_links_are_checked_before_they_are_saved() {
    let user = Program::new();
    let key = SOGS_KEY;
    let link = format!("https://host/room?public_key={key}");
    for name in ["../up", "a b", "a.b", "", "-x", &"n".repeat(65), key] {
        let args = ["room", "save", "--", name, &link];
        let ran = user.run(&args);
        if name == "-x" {
            assert_eq!(ran.code, 0, "{}", ran.all());
        } else {
            assert_eq!(ran.code, 2, "{name}: {}", ran.all());
        }
    }
    let seed = format!("sessions://{key}:{}@host/room", "ab".repeat(32));
    let ran = user.run(&["room", "save", "x", &seed]);
    assert!(
        ran.code == 2 && ran.stderr.contains("a URL with a seed"),
        "{}",
        ran.all()
    );
    assert!(!ran.all().contains("abab"), "the seed is not repeated");
    // A login in the link is named as what it is.
    for args in [["room", "read"], ["room", "save"]] {
        let login = format!("https://user:hunter2@host/room?public_key={key}");
        let mut args = args.to_vec();
        if args[1] == "save" {
            args.push("x");
        }
        args.push(&login);
        let ran = user.run(&args);
        assert!(
            ran.code == 2
                && ran.stderr.contains("user or password before the host")
                && !ran.all().contains("hunter2"),
            "{}",
            ran.all()
        );
    }
}

/// Answers `/rooms` and everything else over TLS with an empty list, once for each connection. Returns the port and the
/// number of requests that were read, for which TLS was completed.
fn tls_server(certificate: &SelfSigned) -> (u16, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let config = certificate.server();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, count) = (Arc::clone(&config), Arc::clone(&count));
            std::thread::spawn(move || answer(stream, config, &count));
        }
    });
    (port, requests)
}

fn answer(
    mut stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    use std::io::{Read as _, Write as _};
    let mut tls = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut tls, &mut stream);
    let mut request = [0; 8192];
    if stream.read(&mut request)? > 0 {
        requests.fetch_add(1, Ordering::SeqCst);
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
    stream.write_all(head.as_bytes())?;
    stream.flush()
}

#[test]
fn authorities_of_ones_own_are_trusted_by_all_three_commands() {
    let certificate = SelfSigned::new(&["127.0.0.1"]);
    let (port, requests) = tls_server(&certificate);
    let over_tls = || requests.swap(0, Ordering::SeqCst);
    let user = Program::new().file("ca.pem", &certificate.pem);
    ok(&user, &["identity", "new"]);
    let link = format!("https://127.0.0.1:{port}/main?public_key={SOGS_KEY}");
    let refused = user.run(&["room", "read", &link, "--blind", "yes"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("secure connection"),
        "{}",
        refused.all()
    );
    assert_eq!(over_tls(), 0);
    ok(&user, &["room", "save", "ours", &link]);
    ok(
        &user,
        &["room", "read", "ours", "--ca-file", "ca.pem", "--blind", "yes"],
    );
    assert_ne!(over_tls(), 0, "room");
    ok(
        &user,
        &["dm", "read", "ours", "--ca-file", "ca.pem", "--blind", "yes"],
    );
    assert_ne!(over_tls(), 0, "dm");
    let url = format!("sessions://{SOGS_KEY}:{}@127.0.0.1:{port}/main", "ab".repeat(32));
    ok(
        &user,
        &["room", "read", &url, "--ca-file", "ca.pem", "--blind", "yes"],
    );
    assert_ne!(over_tls(), 0, "a URL");
    let missing = user.run(&["room", "read", "ours", "--ca-file", "none.pem"]);
    assert!(
        missing.code == 1 && missing.stderr.contains("none.pem"),
        "{}",
        missing.all()
    );
    // `watch` gets as far as the answer, which is not that of a poll.
    let watched = user.run(&["watch", "ours", "--ca-file", "ca.pem", "--blind", "yes"]);
    assert!(!watched.all().contains("secure connection"), "{}", watched.all());
    assert_ne!(over_tls(), 0, "watch");
}

fn rows(count: u64) -> Vec<Value> {
    let key: ServerKey = SOGS_KEY.parse().expect("a key");
    let signer = Signer::blind15(&Identity::from_seed([3; 32]), &key);
    let row = |id: u64| {
        let post = sogs_client::Post::text(format!("message {id}"))
            .prepare(&signer, 1_700_000_000_000)
            .expect("a post");
        json!({
            "id": id, "seqno": id, "session_id": post.author, "posted": 1_700_000_000.5, "reactions": {},
            "data": session_protocol::encoding::b64(&post.data),
            "signature": session_protocol::encoding::b64(post.signature),
        })
    };
    (1..=count).map(row).collect()
}

#[test]
fn a_server_that_differs_is_worked_with_and_named() {
    let fake = DifferingSogs::start(rows(300), Vec::new());
    let user = Program::new();
    ok(&user, &["identity", "new"]);
    let link = format!("http://127.0.0.1:{}/main?public_key={SOGS_KEY}", fake.port());
    let plain = ["--encrypt", "no", "--blind", "yes"];
    let run = |args: &[&str]| ok(&user, &[args, &plain].concat());
    let read = run(&["--json", "room", "read", &link, "-n", "2"]);
    let bodies: Vec<_> = read.json().iter().map(|m| m["body"].clone()).collect();
    assert_eq!(bodies, ["message 299", "message 300"]);
    assert!(
        read.stderr.contains("differs from the reference server"),
        "{}",
        read.stderr
    );
    let one = run(&["--json", "room", "read", &link, "--message", "7"]).json();
    assert_eq!(one[0]["body"], "message 7");
    let inbox = run(&["dm", "read", &link]);
    assert!(inbox.stderr.contains("no messages"), "{}", inbox.all());
    let watched = run(&["--json", "watch", &link, "--backlog", "2", "--count", "2"]).json();
    let bodies: Vec<_> = watched.iter().map(|m| m["body"].clone()).collect();
    assert_eq!(bodies, ["message 299", "message 300"]);
}
