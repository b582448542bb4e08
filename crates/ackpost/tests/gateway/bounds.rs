//! One caller must not log in as another, use up what all share, or keep others waiting.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ackpost_testkit::{Prosody, ServerOptions, XmppServer};
use serde_json::json;

use crate::process::{Answer, Gateway, read};
use crate::support::Program;

fn url(server: &XmppServer, password: &str, query: &str) -> String {
    format!(
        "xmpps://alice:{password}@{}:{}/bob?xmpp={}&verify=no&rto=10{query}",
        server.domain, server.port, server.host
    )
}

fn send(gateway: &Gateway, url: &str) -> Answer {
    gateway.json("/notify", &json!({"urls": url, "body": "hello", "wait": 30}))
}

/// Prosody 13, which gives out login tokens, in a Debian tree of its own (see `tests/servers/make-trixie.sh`).
fn with_tokens() -> XmppServer {
    let tree = std::env::var_os("ACKPOST_TEST_TRIXIE").map_or_else(
        || {
            let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trixie");
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/make-trixie.sh");
            let made = std::process::Command::new(script)
                .arg(&tree)
                .output()
                .expect("the script runs");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            tree
        },
        PathBuf::from,
    );
    Prosody::start(ServerOptions {
        chroot: Some(tree),
        ..ServerOptions::default()
    })
}

#[test]
fn a_login_token_is_of_no_use_with_another_password() {
    let server = with_tokens();
    let gateway = Gateway::start();
    let right = url(&server, "alicepass", "&fast=yes");
    let answer = send(&gateway, &right);
    assert_eq!(answer.json()["status"], "delivered", "{answer:?}");
    for query in ["&fast=yes", "&fast=yes&keepalive=yes", "&fast=yes&name=other"] {
        let answer = send(&gateway, &url(&server, "WRONG", query));
        assert_eq!(answer.json()["status"], "refused", "{query}: {answer:?}");
    }
    // The wrong ones change nothing for the right one, and leave nothing in the state folder.
    let answer = send(&gateway, &right);
    assert_eq!(answer.json()["status"], "delivered", "{answer:?}");
    let folder = gateway.program.home().join(".local/state/ackpost/gateway");
    assert!(folder.is_dir());
    for name in ["xmpp", "xmpp-replace"] {
        assert!(!folder.join(name).exists(), "{name}");
    }
}

#[test]
fn many_accounts_do_not_use_up_the_descriptors() {
    let server = Prosody::shared();
    let gateway = Gateway::limited(Program::new(), "", "ulimit -n 200");
    for number in 0..220 {
        let answer = send(&gateway, &url(server, "alicepass", &format!("&name=n{number}")));
        assert_eq!(answer.json()["status"], "delivered", "{number}: {answer:?}");
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .expect("a process")
        .count();
    assert!(open < 100, "{open} descriptors are open");
    assert_eq!(gateway.get("/status").status, 200);
}

/// Strangers send the body of a login a byte at a time. Callers are answered meanwhile.
#[test]
fn slow_logins_keep_nobody_out() {
    let limits = "access = \"tokens\"\n[limits]\nconnections = 32\n";
    let gateway = Gateway::with(Program::new(), limits);
    let token = gateway.token(&["mine"]);
    let stop = Arc::new(AtomicBool::new(false));
    let port = gateway.port;
    let stopped = Arc::clone(&stop);
    let strangers = std::thread::spawn(move || {
        let mut open = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            open.retain_mut(|stream: &mut std::net::TcpStream| stream.write_all(b"a").is_ok());
            while open.len() < 48 {
                let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
                    return;
                };
                let head = "POST /ui/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\n\r\n";
                if stream.write_all(head.as_bytes()).is_ok() {
                    open.push(stream);
                }
            }
            std::thread::sleep(Duration::from_millis(400));
        }
    });
    let bearer = format!("Bearer {token}");
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..4 {
        let began = Instant::now();
        let answer = gateway.request("GET", "/status", &[("Authorization", &bearer)], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    strangers.join().expect("no panic");
    let long = format!("token={}", "x".repeat(5_000));
    let answer = gateway.form("/ui/login", &long);
    assert_eq!(answer.status, 431, "{answer:?}");
    assert!(!answer.body.contains("max_body"), "{answer:?}");
}

/// Forty targets on a port that never answers, with the longest timeouts.
#[test]
fn silent_targets_leave_room_for_the_messages_of_others() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let server = Prosody::shared();
    let gateway = Gateway::start();
    let targets: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    let hostile = format!(
        "xmpp://u:p@127.0.0.1:{port}/{}?rto=600&cto=600",
        targets.join("/")
    );
    let answer = gateway.json("/notify", &json!({"urls": hostile, "body": "x"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    let answer = send(&gateway, &url(server, "alicepass", ""));
    assert_eq!(answer.json()["status"], "delivered", "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // The URL of somebody else does not choose how long its server may stay silent.
    let until = Instant::now() + Duration::from_secs(40);
    let ended = |page: &str| {
        let deferred = |line: &str| line.contains("outcome=\"deferred\"") && !line.ends_with(" 0");
        page.lines().any(deferred)
    };
    while !ended(&gateway.get("/metrics").body) {
        assert!(
            Instant::now() < until,
            "no attempt ended: {}",
            gateway.get("/metrics").body
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn rooms(port: u16, count: usize) -> String {
    let rooms: Vec<String> = (0..count).map(|number| format!("r{number}")).collect();
    let (key, seed) = (crate::support::SERVER_KEY, crate::support::SEED);
    format!("session://{key}:{seed}@127.0.0.1:{port}/{}", rooms.join("/"))
}

/// Answer and database of a message to 2,000 targets of one URL. They wait for a server that never answers.
#[test]
fn two_thousand_targets_of_one_url_cost_little() {
    const LIMIT: usize = 2_000_000;
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    for accept in ["application/json", "text/plain"] {
        let mut gateway = Gateway::with(Program::new(), "drain = \"1s\"\n");
        let body = json!({"urls": rooms(port, 2_000), "body": "the disk of db1 is full"});
        let headers = [("Content-Type", "application/json"), ("Accept", accept)];
        let answer = gateway.request("POST", "/notify", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        let named = answer.body.matches("/r1999").count();
        assert!(
            named > 0 && answer.body.len() < LIMIT,
            "{named}, {} bytes",
            answer.body.len()
        );
        if accept == "application/json" {
            assert_eq!(answer.json()["outbox"].as_array().map(Vec::len), Some(2_000));
        }
        gateway.stop();
        let folder = gateway.program.home().join(".local/state/ackpost");
        let files = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|file| file.expect("a file"));
        let database = files.filter(|file| file.file_name().to_string_lossy().starts_with("outbox.db"));
        let size: u64 = database.map(|file| file.metadata().expect("a file").len()).sum();
        assert!(
            size > 100_000 && size < LIMIT as u64,
            "the database has {size} bytes"
        );
    }
}

/// One message may have 5,000 targets. One more is the client's mistake, and says nothing about the outbox.
#[test]
fn a_message_has_at_most_5000_targets() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let gateway = Gateway::start();
    let send = |count: usize| gateway.json("/notify", &json!({"urls": rooms(port, count), "body": "x"}));
    let answer = send(5_001);
    assert_eq!(answer.status, 400, "{answer:?}");
    let told = "the message has 5001 targets; at most 5000 are allowed";
    assert!(answer.body.contains(told), "{answer:?}");
    assert_eq!(gateway.get("/healthz").status, 200);
    assert_eq!(gateway.get("/outbox").json().as_array().map(Vec::len), Some(0));
    let answer = send(5_000);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["outbox"].as_array().map(Vec::len), Some(5_000));
}

#[test]
fn requests_that_a_proxy_forwards_need_a_token() {
    let gateway = Gateway::start();
    let ask = |version: &str, headers: &str| {
        let mut stream = gateway.connect();
        write!(
            stream,
            "GET /cfg HTTP/{version}\r\nHost: 127.0.0.1:{}\r\n{headers}\r\n",
            gateway.port
        )
        .expect("sent");
        read(&mut stream).expect("an answer").status
    };
    assert_eq!(
        ask("1.0", "User-Agent: curl/8.0\r\nAccept: */*\r\n"),
        200,
        "curl --http1.0"
    );
    assert_eq!(ask("1.1", "Connection: close\r\n"), 200);
    assert_eq!(ask("1.0", "Connection: close\r\n"), 401, "nginx without settings");
    for header in [
        "Forwarded: for=192.0.2.1",
        "Via: 1.1 proxy",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Server: front",
        "X-Real-IP: 192.0.2.1",
        "CF-Connecting-IP: 192.0.2.1",
        "True-Client-IP: 192.0.2.1",
    ] {
        assert_eq!(
            ask("1.1", &format!("Connection: close\r\n{header}\r\n")),
            401,
            "{header}"
        );
    }
}

#[test]
fn a_multipart_part_with_a_long_header_is_refused_at_once() {
    let gateway = Gateway::start();
    let kind = [("Content-Type", "multipart/form-data; boundary=x")];
    let body = format!("--x\r\n{}: v\r\n\r\nhello\r\n--x--\r\n", "n".repeat(15 << 20));
    let began = Instant::now();
    let answer = gateway.request("POST", "/notify", &kind, body.as_bytes());
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("headers of a part"), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn clients_that_leave_are_not_counted_as_requests() {
    let gateway = Gateway::start();
    for _ in 0..5 {
        let mut stream = gateway.connect();
        stream
            .write_all(b"POST /notify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nbody=")
            .expect("sent");
    }
    let until = Instant::now() + Duration::from_secs(10);
    // The request that asks is one itself.
    while !gateway
        .get("/metrics")
        .body
        .lines()
        .any(|line| line == "ackpost_http_requests_in_flight 1")
    {
        assert!(Instant::now() < until, "{}", gateway.get("/metrics").body);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn fixed_limits_and_unusable_urls_are_explained() {
    let gateway = Gateway::start();
    let answer = gateway.json(
        "/notify",
        &json!({"urls": "xmpps://u:p@h.org", "body": "x".repeat(1 << 21)}),
    );
    assert_eq!(answer.status, 431, "{answer:?}");
    assert!(
        answer.body.contains("1048576") && !answer.body.contains("max_body"),
        "{answer:?}"
    );
    let urls = "xmpps://u:hunter2@h.org/jane?ca_file=/etc/ssl/ca.pem";
    let answer = gateway.json("/notify", &json!({"urls": urls, "body": "x"}));
    assert_eq!(answer.status, 204, "{answer:?}");
    let log = gateway.log();
    assert!(log.contains("ca_file") && log.contains("[keys]"), "{log}");
    assert!(
        !log.contains("hunter2") && !log.contains("write the value itself"),
        "{log}"
    );
}
