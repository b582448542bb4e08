//! Requests of hostile clients.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{Gateway, dead_url, read};
use crate::support::Program;

#[test]
fn keys_name_no_paths() {
    let gateway = Gateway::start();
    let before = files(&gateway);
    for key in [
        "..",
        "../x",
        "..%2fx",
        "%2e%2e%2fx",
        "%2e%2e",
        "a%00b",
        "a%0d%0ax",
        ".hidden",
        "a.b",
        "C:",
        "a%5cb",
        "%7e",
        "a%20b",
        &"k".repeat(129),
        "%c3%a4",
        "con%3a",
    ] {
        for path in [
            format!("/add/{key}"),
            format!("/get/{key}"),
            format!("/del/{key}"),
            format!("/notify/{key}"),
        ] {
            let answer = gateway.form(&path, "urls=xmpps://u:p@h.org/jane&body=x");
            assert!([400, 404, 405].contains(&answer.status), "{path}: {answer:?}");
        }
    }
    assert_eq!(files(&gateway), before);
    assert_eq!(
        gateway
            .form(
                &format!("/add/{}", "k".repeat(128)),
                "urls=xmpps://u:p@h.org/jane"
            )
            .status,
        200
    );
}

fn files(gateway: &Gateway) -> Vec<String> {
    let folder = gateway.program.home().join(".local/state/ackpost/gateway/keys");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of keys")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn huge_and_deep_bodies_are_refused() {
    let gateway = Gateway::with(Program::new(), "[limits]\nmax_body = \"100KiB\"\n");
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    let json = [("Content-Type", "application/json")];
    let huge = format!("{{\"body\":\"{}\"}}", "x".repeat(200_000));
    assert_eq!(
        gateway
            .request("POST", "/notify/k", &json, huge.as_bytes())
            .status,
        431
    );
    // Without a length, in chunks that never end.
    let mut stream = gateway.connect();
    write!(stream, "POST /notify/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    let chunk = format!("4000\r\n{}\r\n", "y".repeat(0x4000));
    for _ in 0..40 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(read(&mut stream).expect("an answer").status, 431);
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(
        gateway
            .request("POST", "/notify/k", &json, deep.as_bytes())
            .status,
        400
    );
    let deep = format!("{{\"body\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(
        gateway
            .request("POST", "/notify/k", &json, deep.as_bytes())
            .status,
        400
    );
    let many = (0..5_000)
        .map(|n| format!("f{n}=x"))
        .collect::<Vec<_>>()
        .join("&");
    assert_eq!(gateway.form("/notify/k", &many).status, 400);
    let tags = format!("body=x&tag={}", "a,".repeat(5_000));
    assert_eq!(gateway.form("/notify/k", &tags).status, 400);
    assert_eq!(
        gateway.json("/notify/k", &json!({"body": "still here"})).status,
        200
    );
}

#[test]
fn slow_senders_are_cut_off_and_hold_nobody_up() {
    let limits = "[limits]\nheader_time = \"1s\"\nbody_time = \"1s\"\n";
    let gateway = Gateway::with(Program::new(), limits);
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    // The head never ends; the body never comes.
    let mut slow_heads: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    for stream in &mut slow_heads {
        stream
            .write_all(b"POST /notify/k HTTP/1.1\r\nHost: localh")
            .expect("sent");
    }
    let mut slow_body = gateway.connect();
    write!(
        slow_body,
        "POST /notify/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\nbody="
    )
    .expect("sent");
    let began = Instant::now();
    assert_eq!(gateway.json("/notify/k", &json!({"body": "x"})).status, 200);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "others are served meanwhile"
    );
    assert_eq!(read(&mut slow_body).expect("an answer").status, 408);
    for stream in &mut slow_heads {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the connection was closed");
    }
}

#[test]
fn long_heads_are_refused() {
    let gateway = Gateway::start();
    let long = "x".repeat(100_000);
    let answer = gateway.request("GET", "/status", &[("X-Long", &long)], b"");
    assert_eq!(answer.status, 431, "{answer:?}");
    let many: Vec<(&str, &str)> = (0..200).map(|_| ("X-Many", "1")).collect();
    assert_eq!(gateway.request("GET", "/status", &many, b"").status, 431);
}

/// However many say nothing, they keep nobody out; who is being served stays.
#[test]
fn silent_connections_make_room_for_who_asks() {
    let gateway = Gateway::with(
        Program::new(),
        "[limits]\nconnections = 8\nrequests = 4\nheader_time = \"5m\"\nbody_time = \"5m\"\n",
    );
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    let mut slow_body = gateway.connect();
    write!(
        slow_body,
        "POST /notify/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nbody"
    )
    .expect("sent");
    let began = Instant::now();
    let mut silent = Vec::new();
    for round in 0..5 {
        for number in 0..8 {
            let mut stream = gateway.connect();
            if number % 2 == 0 {
                stream.write_all(b"GET /status HTT").expect("sent");
            }
            silent.push(stream);
        }
        assert_eq!(gateway.get("/status").status, 200, "round {round}");
    }
    let metrics = gateway.get("/metrics").body;
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("ackpost_http_connections_made_room_total 3")),
        "most of the silent ones had to leave: {metrics}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "long before their time was up"
    );
    slow_body.write_all(b"=late").expect("sent");
    assert_eq!(read(&mut slow_body).expect("an answer").status, 200);
}

#[test]
fn attachments_by_address_do_not_reach_into_the_own_network() {
    let server = Pictures::start();
    let gateway = Gateway::with(Program::new(), "private_addresses = false\n");
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    let send = |gateway: &Gateway, attach: &str| {
        gateway
            .json("/notify/k", &json!({"body": "x", "attach": attach}))
            .status
    };
    for address in [
        format!("http://127.0.0.1:{}/a.png", server.port),
        format!("http://localhost:{}/a.png", server.port),
        format!("http://[::1]:{}/a.png", server.port),
        format!("http://[::ffff:127.0.0.1]:{}/a.png", server.port),
        format!("http://2130706433:{}/a.png", server.port),
        format!("http://0x7f.1:{}/a.png", server.port),
        format!("http://0:{}/a.png", server.port),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://user:pass@127.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
    ] {
        assert_eq!(send(&gateway, &address), 424, "the text goes: {address}");
        let strict = json!({"body": "x", "attach": address, "require_files": true});
        assert_eq!(
            gateway.json("/notify/k", &strict).status,
            400,
            "all or nothing: {address}"
        );
    }
    assert_eq!(server.hits(), 0, "nothing was even asked for");
    // Allowed by the operator; redirects still are not.
    let gateway = Gateway::with(
        Program::new(),
        "[attach]\nprivate_addresses = true\nmax_size = \"1KiB\"\n",
    );
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    let own = |path: &str| format!("http://127.0.0.1:{}/{path}", server.port);
    assert_eq!(send(&gateway, &own("a.png")), 200);
    assert_eq!(send(&gateway, &own("redirect")), 424);
    assert_eq!(send(&gateway, &own("large")), 424);
    assert_eq!(send(&gateway, &own("missing")), 424);
}

/// A server on loopback that counts who asks.
pub(crate) struct Pictures {
    pub(crate) port: u16,
    hits: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

impl Pictures {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let hits = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = std::sync::Arc::clone(&hits);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let mut head = [0; 2048];
                let read = stream.read(&mut head).unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let answer = match text.split(' ').nth(1).unwrap_or_default() {
                    "/a.png" => "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\nConnection: close\r\n\r\npng".to_owned(),
                    "/redirect" => "HTTP/1.1 302 Found\r\nLocation: /a.png\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                    "/large" => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(5_000)),
                    _ => "HTTP/1.1 403 Forbidden\r\nContent-Length: 30\r\nConnection: close\r\n\r\nthe secret of an internal page".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { port, hits }
    }

    pub(crate) fn hits(&self) -> u32 {
        self.hits.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn urls_of_strangers_read_no_files_and_no_variables() {
    let gateway = Gateway::with(Program::new().file("secret", "hunter2"), "");
    let path = gateway.program.home().join("secret");
    let path = path.display();
    for url in [
        format!("xmpps://u@127.0.0.1/jane?password_file={path}"),
        format!("xmpps://u@127.0.0.1/jane?password%5ffile={path}"),
        format!("xmpps://u:{{file:{path}}}@127.0.0.1/jane"),
        "xmpps://u:{env:HOME}@127.0.0.1/jane".to_owned(),
    ] {
        assert_eq!(
            gateway.json("/notify", &json!({"urls": url, "body": "x"})).status,
            204,
            "{url}"
        );
        assert_eq!(gateway.json("/add/k", &json!({"urls": url})).status, 400, "{url}");
    }
    let config = format!("include {path}\n");
    assert_eq!(
        gateway
            .json("/add/k", &json!({"config": config, "format": "text"}))
            .status,
        400
    );
    assert!(!gateway.log().contains("hunter2"));
}

#[test]
fn a_template_bomb_costs_a_bounded_time() {
    let config = "[keys]\nops = \"ops.conf\"\n[hooks.bomb]\nkey = \"ops\"\nbody = \
        \"{{#each a}}{{#each b}}{{#each a}}{{#each b}}{{ text }}{{/each}}{{/each}}{{/each}}{{/each}}\"\n";
    let program = Program::new().file("ops.conf", &format!("{}\n", dead_url()));
    let gateway = Gateway::with(program, config);
    let list: Vec<_> = (0..2_000)
        .map(|n| json!({"text": "x".repeat(100), "n": n}))
        .collect();
    let began = Instant::now();
    let answer = gateway.json("/hook/bomb", &json!({"a": list.clone(), "b": list}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(gateway.get("/healthz").status, 200);
}
