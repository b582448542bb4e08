//! Bodies: how much memory they take, which of them hold others up, and what becomes of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{Gateway, dead_url, read};
use crate::support::Program;

const LARGE: usize = 15_000_000;

fn large_bodies() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let fill = |start: &str, item: &str, end: &str| {
        let mut text = start.to_owned();
        while text.len() + item.len() + end.len() < LARGE {
            text.push_str(item);
        }
        text.push_str(end);
        text.into_bytes()
    };
    let mut keys = "{\"k\":0".to_owned();
    let mut number = 0;
    while keys.len() < LARGE - 20 {
        let _ = write!(keys, ",\"k{number}\":0");
        number += 1;
    }
    keys.push('}');
    let json = "application/json";
    vec![
        ("flat array", json, fill("[", "1,", "1]")),
        ("nested arrays", json, fill("[", "[[[[[[]]]]]],", "1]")),
        ("deep arrays", json, fill("", "[", "")),
        ("many keys", json, keys.into_bytes()),
        ("empty objects", json, fill("[", "{},", "1]")),
        (
            "long string",
            json,
            fill("{\"body\":\"x\",\"more\":\"", "xxxxxxxxxxxxxxxx", "\"}"),
        ),
        (
            "escaped string",
            json,
            fill("{\"body\":\"x\",\"more\":\"", "\\u00e4\\n", "\"}"),
        ),
        (
            "file in base64",
            json,
            fill("{\"body\":\"x\",\"attach\":{\"base64\":\"", "AAAA", "\"}}"),
        ),
        (
            "form of one field",
            "application/x-www-form-urlencoded",
            fill("body=x&more=", "%41+", ""),
        ),
        (
            "form of many fields",
            "application/x-www-form-urlencoded",
            fill("body=x", "&a=b", ""),
        ),
        ("text", "text/plain", fill("", "cpu 93 % & rising + more\n", "")),
        (
            "multipart",
            "multipart/form-data; boundary=x",
            fill(
                "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n",
                "yyyyyyyyyyyyyyyy",
                "\r\n--x\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nx\r\n--x--\r\n",
            ),
        ),
    ]
}

/// 400 MB of addresses in all, and several bodies of 15 MB at once; `scripts/large-bodies` sends 20 of each shape.
#[test]
fn large_bodies_of_every_shape_do_not_exhaust_the_memory() {
    let at_once = std::env::var("ACKPOST_TEST_BODIES").map_or(3, |text| text.parse().expect("a number"));
    let config = "private_addresses = true\n[attach]\nmax_size = \"16MiB\"\n";
    let gateway = Gateway::limited(Program::new(), config, "ulimit -v 400000");
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    for (number, (shape, content_type, body)) in large_bodies().into_iter().enumerate() {
        let path = ["/notify/k", "/hook/json/k"][number % 2];
        let answers = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..at_once)
                .map(|_| {
                    let headers = [("Content-Type", content_type)];
                    let (gateway, body) = (&gateway, &body);
                    scope.spawn(move || gateway.request("POST", path, &headers, body).status)
                })
                .collect();
            let began = Instant::now();
            let small = gateway.json("/notify/k", &json!({"body": "small"}));
            assert_eq!(small.status, 200, "{shape} {path}: {small:?}");
            assert!(began.elapsed() < Duration::from_secs(10), "{shape} {path}");
            let answers = senders
                .into_iter()
                .map(|sender| sender.join().expect("an answer"));
            answers.collect::<Vec<_>>()
        });
        assert!(
            answers.iter().all(|status| [200, 400, 431, 503].contains(status)),
            "{shape} {path}: {answers:?}"
        );
        assert!(
            answers.iter().any(|status| *status != 503),
            "{shape} {path}: {answers:?}"
        );
    }
    assert_eq!(gateway.get("/healthz").status, 200);
}

/// URLs that come over HTTP reach the public internet only, and what servers answer is not repeated.
#[test]
fn submitted_urls_do_not_reach_into_the_own_network() {
    let server = crate::hostile::Pictures::start();
    let program = Program::new().file("ops.conf", &format!("{}\n", sogs_url("127.0.0.1", server.port)));
    let gateway = Gateway::with(program, "private_addresses = false\n[keys]\nops = \"ops.conf\"\n");
    let port = server.port;
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
    ] {
        let xmpp = format!("xmpp://u:p@{host}:{port}/jane?mode=none&plain=yes");
        for url in [sogs_url(host, port), xmpp] {
            let answer = gateway.json("/notify?wait=20", &json!({"urls": url, "body": "x"}));
            assert!([204, 424].contains(&answer.status), "{url}: {answer:?}");
            if answer.status == 424 {
                assert!(
                    answer.body.contains("no address that this connection may go to"),
                    "{url}: {answer:?}"
                );
            }
        }
    }
    for parameters in ["xmpp=127.0.0.1", "xmpp=localhost"] {
        let url = format!("xmpp://u:p@example.org:{port}/jane?mode=none&plain=yes&{parameters}");
        let answer = gateway.json("/notify?wait=20", &json!({"urls": url, "body": "x"}));
        assert_eq!(answer.status, 424, "{answer:?}");
        assert!(
            answer.body.contains("no address that this connection may go to"),
            "{answer:?}"
        );
    }
    // A saved configuration is somebody else's too.
    assert_eq!(
        gateway
            .json("/add/k", &json!({"urls": sogs_url("localhost", port)}))
            .status,
        200
    );
    let answer = gateway.json("/notify/k?wait=20", &json!({"body": "x"}));
    assert_eq!(answer.status, 424, "{answer:?}");
    assert_eq!(server.hits(), 0, "no connection was made");
    // A file of the operator may name any address.
    let answer = gateway.json("/notify/ops?wait=20", &json!({"body": "x"}));
    assert_eq!(answer.status, 424, "{answer:?}");
    assert!(server.hits() > 0);
}

/// With the option set, the connection is made; the text of the answer stays here.
#[test]
fn answers_of_submitted_urls_are_not_repeated() {
    let server = crate::hostile::Pictures::start();
    let program = Program::new().file("ops.conf", &format!("{}\n", sogs_url("127.0.0.1", server.port)));
    let gateway = Gateway::with(program, "private_addresses = true\n[keys]\nops = \"ops.conf\"\n");
    let url = sogs_url("127.0.0.1", server.port);
    let answer = gateway.json("/notify?wait=20", &json!({"urls": url, "body": "x"}));
    assert_eq!(answer.status, 424, "{answer:?}");
    assert!(server.hits() > 0);
    assert!(
        !answer.body.contains("the secret of an internal page"),
        "{answer:?}"
    );
    let id = answer.json()["outbox"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(!gateway.get(&format!("/outbox/{id}")).body.contains("the secret"));
    let answer = gateway.json("/notify/ops?wait=20", &json!({"body": "x"}));
    assert!(
        answer.body.contains("the secret of an internal page"),
        "the operator's own: {answer:?}"
    );
}

fn sogs_url(host: &str, port: u16) -> String {
    format!(
        "session://{}:{}@{host}:{port}/lobby?encrypt=no&blind=no",
        crate::support::SERVER_KEY,
        crate::support::SEED
    )
}

/// Bodies that stop half-way hold neither a turn nor, in a full house, a connection.
#[test]
fn half_bodies_hold_nobody_up() {
    let limits = "private_addresses = true\n[limits]\nrequests = 4\nconnections = 40\nbody_time = \"5m\"\n";
    let gateway = Gateway::with(Program::new(), limits);
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    let mut half: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = gateway.connect();
            write!(
                stream,
                "POST /notify/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nbody"
            )
            .expect("sent");
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(gateway.json("/notify/k", &json!({"body": "honest"})).status, 200);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // The latest ones still have their connections and are served when the rest comes.
    let last = half.last_mut().expect("sixty");
    last.write_all(b"=late").expect("sent");
    assert_eq!(read(last).expect("an answer").status, 200);
}

/// More silent connections than the soft limit of descriptors allows.
#[test]
fn the_limit_of_descriptors_is_raised_and_connections_fit_it() {
    let config = "[limits]\nconnections = 3000\nheader_time = \"5m\"\n";
    for (limits, warned) in [("ulimit -Sn 100", false), ("ulimit -n 200", true)] {
        let gateway = Gateway::limited(Program::new(), config, limits);
        let _silent: Vec<_> = (0..300).map(|_| gateway.connect()).collect();
        let began = Instant::now();
        assert_eq!(gateway.get("/status").status, 200, "{limits}");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{limits}: {:?}",
            began.elapsed()
        );
        let log = gateway.log();
        assert_eq!(
            log.contains("fewer connections than configured"),
            warned,
            "{limits}: {log}"
        );
        assert!(!log.contains("could not be taken"), "{limits}: {log}");
    }
}

/// Apprise sends attached files as multipart.
#[test]
fn a_file_is_taken_up_to_the_largest_size() {
    let config = "private_addresses = true\n[attach]\nmax_size = \"3MiB\"\n";
    let gateway = Gateway::with(Program::new(), config);
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    let send = |bytes: usize| {
        let mut body = b"--x\r\nContent-Disposition: form-data; name=\"body\"\r\n\r\nhi\r\n\
            --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"photo.jpg\"\r\n\r\n"
            .to_vec();
        body.resize(body.len() + bytes, b'j');
        body.extend_from_slice(b"\r\n--x--\r\n");
        let headers = [("Content-Type", "multipart/form-data; boundary=x")];
        gateway.request("POST", "/notify/k", &headers, &body)
    };
    // The framework has a limit of 2 MiB, which does not count.
    for bytes in [2_097_152, 3 << 20] {
        let answer = send(bytes);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let answer = send((3 << 20) + 1);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("larger than 3145728 bytes"), "{answer:?}");
}

/// Only the first of many who ask makes the gateway write.
#[test]
fn health_is_looked_at_once_for_all_who_ask() {
    let gateway = Gateway::with(Program::new(), "");
    assert_eq!(gateway.get("/healthz").status, 200);
    let folder = gateway.program.home().join(".local/state/ackpost/gateway/keys");
    let changed = || {
        std::fs::metadata(&folder)
            .and_then(|meta| meta.modified())
            .expect("a folder")
    };
    let before = changed();
    for _ in 0..20 {
        assert_eq!(gateway.get("/status").status, 200);
        assert_eq!(gateway.get("/healthz").status, 200);
    }
    assert_eq!(changed(), before, "nothing was written");
}
