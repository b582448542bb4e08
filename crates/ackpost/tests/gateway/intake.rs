//! Bodies: their memory, their results, and the delay that they cause for others.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{Gateway, dead_url, read};
use crate::smtp::Client;
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
        // Each of these bytes is three in a text of characters.
        ("text that is not UTF-8", "text/plain", vec![0xff; LARGE]),
        (
            "form that is not UTF-8",
            "application/x-www-form-urlencoded",
            [b"body=".as_slice(), &vec![0xff; LARGE]].concat(),
        ),
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

/// Number of bodies of a shape at once: `usual`, or the one that `scripts/large-bodies` chooses.
fn at_once(usual: usize) -> usize {
    std::env::var("ACKPOST_TEST_BODIES").map_or(usual, |text| text.parse().expect("a number"))
}

/// Shapes that took forty times their size as values. They are refused within moments, so that many are tested.
const STRUCTURES: [&str; 5] = [
    "flat array",
    "nested arrays",
    "deep arrays",
    "many keys",
    "empty objects",
];

/// Says what a gateway took at most, for `scripts/large-bodies`.
fn print_peak(gateway: &Gateway) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a process");
    let peaks = status
        .lines()
        .filter(|line| line.starts_with("VmPeak") || line.starts_with("VmHWM"));
    eprintln!("{}", peaks.collect::<Vec<_>>().join(", "));
}

/// Mails of every shape: what they hold is decoded, and the characters of a text may take three times as much.
fn large_mails() -> Vec<(&'static str, Vec<u8>)> {
    let with = |head: &str, line: &[u8]| {
        let mut mail = [b"Subject: large\r\n", head.as_bytes(), b"\r\n"].concat();
        while mail.len() < LARGE {
            mail.extend_from_slice(line);
            mail.extend_from_slice(b"\r\n");
        }
        mail.extend_from_slice(b".\r\n");
        mail
    };
    let binary = vec![0xff; 900];
    let many = "Content-Type: multipart/mixed; boundary=x\r\n";
    let part = [b"--x\r\n\r\n".as_slice(), &vec![0xff; 60_000]].concat();
    vec![
        ("text", with("", &[b'a'; 900])),
        ("text that is not UTF-8", with("", &binary)),
        (
            "quoted-printable",
            with(
                "Content-Transfer-Encoding: quoted-printable\r\n",
                "=FF".repeat(300).as_bytes(),
            ),
        ),
        (
            "page",
            with(
                "Content-Type: text/html\r\n",
                "<b>&amp;</b>".repeat(80).as_bytes(),
            ),
        ),
        (
            "file in base64",
            with(
                "Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n",
                "QUFB".repeat(19).as_bytes(),
            ),
        ),
        ("file as it is", with("Content-Type: application/x\r\n", &binary)),
        ("many texts", with(many, &part)),
        ("short lines", with("", b"")),
    ]
}

#[test]
fn large_mails_of_every_shape_do_not_exhaust_the_memory() {
    // 400 MB of addresses in all.
    let config = "private_addresses = true\n[attach]\nmax_size = \"16MiB\"\n[smtp]\nlisten = \"127.0.0.1:0\"\n\
                  max_size = \"16MiB\"\n";
    let gateway = Gateway::limited(Program::new(), config, "ulimit -v 400000");
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    for (shape, mail) in large_mails() {
        let answers = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..at_once(4))
                .map(|_| scope.spawn(|| Client::open(&gateway).mail("k@x", &mail)))
                .collect();
            let began = Instant::now();
            let small = gateway.json("/notify/k", &json!({"body": "small"}));
            assert_eq!(small.status, 200, "{shape}: {small:?}");
            assert!(began.elapsed() < Duration::from_secs(10), "{shape}");
            let answers = senders
                .into_iter()
                .map(|sender| sender.join().expect("an answer"));
            answers.collect::<Vec<_>>()
        });
        // Stored, refused as too large, or put off for want of memory.
        let known = ["250 ", "554 5.6.0", "451 4.3.0", "452 4.3.1"];
        assert!(
            answers
                .iter()
                .all(|answer| known.iter().any(|code| answer.starts_with(code))),
            "{shape}: {answers:?} {}",
            gateway.log()
        );
        assert!(
            answers.iter().any(|answer| !answer.starts_with("45")),
            "{shape}: {answers:?}"
        );
    }
    assert_eq!(gateway.get("/healthz").status, 200);
    print_peak(&gateway);
}

/// While they come, a small message is answered.
#[test]
fn large_bodies_of_every_shape_do_not_exhaust_the_memory() {
    let config = "private_addresses = true\n[attach]\nmax_size = \"16MiB\"\n";
    let gateway = Gateway::limited(Program::new(), config, "ulimit -v 400000");
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    for (number, (shape, content_type, body)) in large_bodies().into_iter().enumerate() {
        let path = ["/notify/k", "/hook/json/k"][number % 2];
        let usual = if STRUCTURES.contains(&shape) { 20 } else { 3 };
        let answers = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..at_once(usual))
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
            answers
                .iter()
                .all(|status| [200, 400, 424, 431, 503].contains(status)),
            "{shape} {path}: {answers:?}"
        );
        assert!(
            answers.iter().any(|status| *status != 503),
            "{shape} {path}: {answers:?}"
        );
    }
    assert_eq!(gateway.get("/healthz").status, 200);
    print_peak(&gateway);
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
                assert!(answer.body.contains("no allowed address"), "{url}: {answer:?}");
            }
        }
    }
    for parameters in ["xmpp=127.0.0.1", "xmpp=localhost"] {
        let url = format!("xmpp://u:p@example.org:{port}/jane?mode=none&plain=yes&{parameters}");
        let answer = gateway.json("/notify?wait=20", &json!({"urls": url, "body": "x"}));
        assert_eq!(answer.status, 424, "{answer:?}");
        assert!(answer.body.contains("no allowed address"), "{answer:?}");
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
    assert_eq!(answer.status, 424, "the text goes without it");
    assert!(answer.body.contains("larger than 3145728 bytes"), "{answer:?}");
}
