//! The memory of a gateway after a configuration was deleted holds none of its secrets.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSogs, Prosody};
use base64::Engine as _;
use serde_json::json;

use crate::process::Gateway;
use crate::support::{Program, SEED, SERVER_KEY};

/// Counts how often a text is in the writable memory of a process.
fn in_memory(pid: u32, text: &str) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("memory of our child");
    let mut found = 0;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Some((start, end)) = range.split_once('-').filter(|_| rights.starts_with("rw")) else {
            continue;
        };
        let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).expect("it fits")];
        // Some regions of the kernel cannot be read.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            found += memchr::memmem::find_iter(&bytes, text).count();
        }
    }
    found
}

/// Waits until no copy of a text is left. An attempt or a connection that ends may hold one for a moment.
fn wiped(gateway: &Gateway, what: &str, text: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while in_memory(gateway.pid(), text) > 0 {
        assert!(
            Instant::now() < until,
            "{} copies of {what} are left after the keys were deleted",
            in_memory(gateway.pid(), text)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A session that is kept, and a community that is remembered, have the secrets of their URLs.
#[test]
fn deleting_a_key_ends_the_connections_that_hold_its_secrets() {
    let server = Prosody::shared();
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = Gateway::start();
    let person = format!(
        "xmpps://alice:alicepass@{}:{}/bob?xmpp={}&verify=no&keepalive=yes",
        server.domain, server.port, server.host
    );
    let room = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    for (key, url, secret) in [("person", &person, "alicepass"), ("room", &room, SEED)] {
        assert_eq!(
            gateway.json(&format!("/add/{key}"), &json!({"urls": url})).status,
            200
        );
        let sent = gateway.json(&format!("/notify/{key}?wait=30"), &json!({"body": "x"}));
        assert_eq!(sent.json()["status"], "delivered", "{sent:?} {}", gateway.log());
        assert!(
            in_memory(gateway.pid(), secret) > 0,
            "{key}: a kept connection is found"
        );
    }
    for (key, secret) in [("person", "alicepass"), ("room", SEED)] {
        assert_eq!(gateway.form(&format!("/del/{key}"), "").status, 200);
        wiped(&gateway, key, secret);
    }
    // The key can be saved again, and delivers.
    assert_eq!(gateway.json("/add/person", &json!({"urls": person})).status, 200);
    let sent = gateway.json("/notify/person?wait=30", &json!({"body": "y"}));
    assert_eq!(sent.json()["status"], "delivered", "{sent:?} {}", gateway.log());
}

#[test]
fn deleting_a_key_wipes_its_secrets_from_memory() {
    // Loaded by the outbox, kept for the pages, tried by a connection, and read by somebody who may.
    let secret = "wanderlust-7b1c2e90-carousel";
    let gateway = Gateway::with(Program::new(), "access = \"open\"\n");
    let url =
        |number: usize| format!("xmpp://alice:{secret}{number}@127.0.0.1:9/bob?mode=none&plain=yes&tag=t");
    let coded = base64::engine::general_purpose::STANDARD.encode(format!("{secret}-as-a-file"));
    let boundary = [("Content-Type", "multipart/form-data; boundary=x")];
    let multipart = format!(
        "--x\r\nContent-Disposition: form-data; name=\"urls\"\r\n\r\n{}\r\n--x--\r\n",
        url(1)
    );
    let form = format!("urls={}", url(2).replace('&', "%26"));
    let yaml = format!("version: 1\nurls:\n  - \"{}\"\n", url(3));
    for (key, answer) in [
        ("one", gateway.json("/add/one", &json!({"urls": url(0)}))),
        (
            "two",
            gateway.request("POST", "/add/two", &boundary, multipart.as_bytes()),
        ),
        ("three", gateway.form("/add/three", &form)),
        (
            "four",
            gateway.json("/add/four", &json!({"config": yaml, "format": "yaml"})),
        ),
    ] {
        assert_eq!(answer.status, 200, "{key}: {answer:?}");
        let told = gateway.get(&format!("/get/{key}"));
        assert!(told.body.contains(secret), "{key}: {told:?}");
        let shown = gateway.get(&format!("/json/urls/{key}?privacy=0"));
        assert!(shown.body.contains(secret), "{key}: {shown:?}");
        assert_eq!(gateway.get(&format!("/ui/keys/{key}")).status, 200);
        let file = json!({"filename": "a.txt", "base64": coded});
        let sent = gateway.json(
            &format!("/notify/{key}?wait=5"),
            &json!({"body": "x", "attach": file}),
        );
        assert!([200, 424].contains(&sent.status), "{key}: {sent:?}");
        for entry in sent.json()["outbox"].as_array().expect("a list") {
            let id = entry["id"].as_str().expect("an id");
            // A waiting message keeps its sealed URL, and is loaded again when its time comes.
            let dropped = gateway.form(&format!("/outbox/{id}/drop"), "");
            assert!([200, 409].contains(&dropped.status), "{key}: {dropped:?}");
        }
    }
    assert!(
        in_memory(gateway.pid(), secret) > 0,
        "a loaded key is found: the search works"
    );
    for key in ["one", "two", "three", "four"] {
        assert_eq!(gateway.form(&format!("/del/{key}"), "").status, 200, "{key}");
    }
    wiped(&gateway, "the secret", secret);
    assert_eq!(gateway.get("/get/one").status, 204);
    assert!(!gateway.log().contains(secret));
}
