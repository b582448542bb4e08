//! A community server that behaves by the name of the room, and records its requests.
//!
//! | room | answer to a post |
//! |---|---|
//! | `eNNN` | status NNN |
//! | `s200`, `s204` | that status |
//! | `flakyN` | fails N times with 500, then 201 |
//! | `slowN` | 201 after N seconds |
//! | `junk` | 201 with a body that is not JSON |
//! | `big` | 201 with a body of 40 kB |
//! | `redirNNN` | status NNN to `/room/landed/message` of the same server |
//! | `cross` | 307 to the second port |
//! | `drop` | closes the connection |
//! | `held` | 201 with the message, which waits for approval |
//! | `hidden` | 201 with the message, which a filter hides |
//! | `filtered` | 201 with the message, which is hidden for a reason that is not said |
//! | `nofiles` | 201 with the message; uploads get 413 |
//! | `bare` | 201 with a message id and nothing else |
//! | `parts` | keeps the first post and closes the connection; its messages come in short pages, the kept post in the second one |
//! | `endless` | the same, and every page of its messages is full of others that were posted later |
//! | any other | 201 with the message |
//!
//! A server started with [`SOGS_KEY`] opens sealed requests; one with another key answers 404 to them. Files can be uploaded to any room; any path that is not a room answers a GET with a few bytes.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blake2::{Blake2b512, Digest as _};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

/// The largest request body it reads.
const MAX_BODY: usize = 16 << 20;

mod sealed;

/// The key of a server that opens sealed requests.
pub const SOGS_KEY: &str = "33202f87ce4ff20cbcd0f2e48c8c7f263d11a3609c673b8c7eae56653769c12f";

/// A server key as 64 hex digits.
pub type PublicKeyHex = String;

/// One request as it arrived.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is its own fact about the request"
)]
pub struct SogsRequest {
    /// `POST`, `GET`, …
    pub method: String,
    /// The path as written in the request line (absolute when it came as to a proxy).
    pub path: String,
    /// `main`, or `other` for the second port.
    pub server: &'static str,
    /// Header names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// The text of the message, when the body is a post.
    pub text: Option<String>,
    /// It came sealed to the server's key.
    pub sealed: bool,
    /// All four `X-SOGS-*` headers are there.
    pub authenticated: bool,
    /// The request signature verifies against the server key it was started with.
    pub signature_valid: bool,
    /// The signature of the message verifies under the key in a `15…` header.
    pub message_signature_valid: bool,
}

/// A running fake; it ends with the value.
#[derive(Debug)]
pub struct FakeSogs {
    port: u16,
    other_port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    server_key: Vec<u8>,
    blind: bool,
    other_port: u16,
    stop: AtomicBool,
    ids: AtomicU64,
    failures: Mutex<HashMap<String, u32>>,
    requests: Mutex<Vec<SogsRequest>>,
}

impl FakeSogs {
    /// Starts it for the server key that clients will use; it asks for blinded ids.
    pub fn start(server_key: &str) -> Self {
        Self::with_blind(server_key, true)
    }

    /// As [`start`](Self::start), saying in `/capabilities` whether ids have to be blinded.
    pub fn with_blind(server_key: &str, blind: bool) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (main, other) = (listen(), listen());
        let port_of = |l: &TcpListener| l.local_addr().expect("a bound listener has an address").port();
        let (port, other_port) = (port_of(&main), port_of(&other));
        let state = Arc::new(State {
            server_key: hex::decode(server_key).expect("a hexadecimal server key"),
            blind,
            other_port,
            stop: AtomicBool::new(false),
            ids: AtomicU64::new(0),
            failures: Mutex::default(),
            requests: Mutex::default(),
        });
        for (listener, name) in [(main, "main"), (other, "other")] {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if state.stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let state = Arc::clone(&state);
                    thread::spawn(move || {
                        let _ = state.serve(&stream, name);
                        let _ = stream.shutdown(Shutdown::Both);
                    });
                }
            });
        }
        Self {
            port,
            other_port,
            state,
        }
    }

    /// The port clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port that the room `cross` redirects to.
    pub fn other_port(&self) -> u16 {
        self.other_port
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<SogsRequest> {
        self.state.requests.lock().expect("no panic inside").clone()
    }

    /// Returns the requests to rooms: all but questions about the server and its rooms.
    pub fn posts(&self) -> Vec<SogsRequest> {
        self.requests()
            .into_iter()
            .filter(|r| r.path.ends_with("/message"))
            .collect()
    }
}

impl Drop for FakeSogs {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        for port in [self.port, self.other_port] {
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
    }
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            location: None,
            body: body.to_string().into_bytes(),
        }
    }
}

impl State {
    fn serve(&self, stream: &TcpStream, server: &'static str) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream.try_clone()?;
        while let Some((method, path, headers, body)) = read_request(&mut reader)? {
            let (origin, plain) = path.split_at(path.len() - plain_path(&path).len());
            let opened = if plain == sealed::PATH && hex::encode(&self.server_key) == SOGS_KEY {
                sealed::open(&body)
            } else {
                None
            };
            if let Some(opened) = opened {
                let (method, path) = (opened.method.clone(), format!("{origin}{}", opened.path));
                let (headers, body) = (opened.headers.clone(), opened.body.clone());
                let request = self.record(method, path, server, headers, body, true);
                let Some(answer) = self.answer(&request) else {
                    return Ok(());
                };
                let mut headers = serde_json::json!({ "content-type": "application/json" });
                if let Some(location) = &answer.location {
                    headers["location"] = location.as_str().into();
                }
                let body = opened.seal(answer.status, &headers, &answer.body);
                write!(writer, "HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", body.len())?;
                writer.write_all(&body)?;
                continue;
            }
            let request = self.record(method, path, server, headers, body, false);
            let Some(answer) = self.answer(&request) else {
                return Ok(());
            };
            let location = answer
                .location
                .map(|l| format!("Location: {l}\r\n"))
                .unwrap_or_default();
            write!(
                writer,
                "HTTP/1.1 {} X\r\n{location}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                answer.status,
                answer.body.len()
            )?;
            writer.write_all(&answer.body)?;
        }
        Ok(())
    }

    fn record(
        &self,
        method: String,
        path: String,
        server: &'static str,
        headers: HashMap<String, String>,
        body: Vec<u8>,
        sealed: bool,
    ) -> SogsRequest {
        let names = [
            "x-sogs-pubkey",
            "x-sogs-nonce",
            "x-sogs-timestamp",
            "x-sogs-signature",
        ];
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let field = |name: &str| json[name].as_str().and_then(|b| BASE64.decode(b).ok());
        let (data, signature) = (field("data"), field("signature"));
        let request = SogsRequest {
            sealed,
            authenticated: names.iter().all(|n| headers.contains_key(*n)),
            signature_valid: self.verify(&method, &path, &headers, &body).unwrap_or(false),
            message_signature_valid: data.as_deref().zip(signature.as_deref()).is_some_and(|(d, s)| {
                headers
                    .get("x-sogs-pubkey")
                    .and_then(|k| key(k))
                    .is_some_and(|k| verifies(&k, d, s))
            }),
            text: data.as_deref().and_then(message_text),
            method,
            path,
            server,
            headers,
            body,
        };
        self.requests
            .lock()
            .expect("no panic inside")
            .push(request.clone());
        request
    }

    fn verify(
        &self,
        method: &str,
        path: &str,
        headers: &HashMap<String, String>,
        body: &[u8],
    ) -> Option<bool> {
        let mut signed = self.server_key.clone();
        let nonce = headers.get("x-sogs-nonce")?;
        signed.extend(BASE64.decode(nonce).or_else(|_| hex::decode(nonce)).ok()?);
        signed.extend(headers.get("x-sogs-timestamp")?.bytes());
        signed.extend(method.bytes());
        signed.extend(plain_path(path).bytes());
        if !body.is_empty() {
            signed.extend(Blake2b512::digest(body));
        }
        let signature = BASE64.decode(headers.get("x-sogs-signature")?).ok()?;
        Some(verifies(
            &key(headers.get("x-sogs-pubkey")?)?,
            &signed,
            &signature,
        ))
    }

    /// `None` closes the connection without a word.
    fn answer(&self, request: &SogsRequest) -> Option<Answer> {
        let path = plain_path(&request.path);
        let path = path.split('?').next().unwrap_or(path);
        if path == "/capabilities" {
            let list: &[&str] = if self.blind {
                &["blind", "reactions", "sogs"]
            } else {
                &["reactions", "sogs"]
            };
            return Some(Answer::json(200, &serde_json::json!({ "capabilities": list })));
        }
        let mut parts = path.trim_start_matches('/').split('/');
        let (Some("room"), Some(room), last) = (parts.next(), parts.next(), parts.next()) else {
            // A sealed request that it cannot open; anything else is a file somewhere, for attachments that are fetched.
            if request.method == "POST" {
                return Some(Answer::json(404, &serde_json::json!({})));
            }
            return Some(Answer {
                status: 200,
                location: None,
                body: b"fetched".to_vec(),
            });
        };
        if last == Some("file") && request.method == "POST" && room == "nofiles" {
            return Some(Answer::json(413, &serde_json::json!({})));
        }
        if last == Some("file") && request.method == "POST" {
            let id = self.ids.fetch_add(1, Ordering::SeqCst) + 1;
            return Some(Answer::json(201, &serde_json::json!({ "id": id })));
        }
        if last == Some("messages") && matches!(room, "parts" | "endless") {
            let before = parts.nth(1).and_then(|id| id.parse().ok());
            return Some(Answer::json(200, &self.page(room, before)));
        }
        if last != Some("message") || request.method != "POST" {
            return Some(Answer::json(
                200,
                &serde_json::json!({ "token": room, "name": room }),
            ));
        }
        self.post(room, request)
    }

    /// Returns true for the first post to a room.
    fn is_first(&self, request: &SogsRequest) -> bool {
        let requests = self.requests.lock().expect("no panic inside");
        requests
            .iter()
            .filter(|one| one.path == request.path && one.method == "POST")
            .count()
            == 1
    }

    /// Returns a page of messages, newest first: the latest ones, or those before a number.
    fn page(&self, room: &str, before: Option<u64>) -> serde_json::Value {
        const NEWEST: u64 = 1_000_000;
        let other = |id: u64| {
            serde_json::json!({
                "id": id, "seqno": id, "posted": 9_000_000_000.5, "reactions": {},
                "session_id": format!("05{}", "ab".repeat(32)),
                "data": BASE64.encode("x"), "signature": BASE64.encode([0; 64]),
            })
        };
        if room == "endless" {
            let first = before.unwrap_or(NEWEST);
            return (first - 256..first).rev().map(other).collect();
        }
        let requests = self.requests.lock().expect("no panic inside");
        let kept = requests.iter().find(|request| request.path.ends_with("/message"));
        match (before, kept) {
            (None, _) => serde_json::json!([other(NEWEST), other(NEWEST - 1)]),
            (Some(id), Some(kept)) if id > 1 => {
                let posted: serde_json::Value = serde_json::from_slice(&kept.body).unwrap_or_default();
                serde_json::json!([{
                    "id": 1, "seqno": 1, "posted": 9_000_000_000.5, "reactions": {},
                    "session_id": kept.headers.get("x-sogs-pubkey").map(|key| shown_id(key)),
                    "data": posted["data"], "signature": posted["signature"],
                }])
            }
            _ => serde_json::json!([]),
        }
    }

    fn post(&self, room: &str, request: &SogsRequest) -> Option<Answer> {
        let number = |prefix: &str| room.strip_prefix(prefix).and_then(|n| n.parse::<u16>().ok());
        let id = || self.ids.fetch_add(1, Ordering::SeqCst) + 1;
        let message = || {
            let posted: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
            serde_json::json!({
                "id": id(), "seqno": id(), "posted": 1_700_000_000.5, "reactions": {},
                "session_id": request.headers.get("x-sogs-pubkey").map(|key| shown_id(key)),
                "data": posted["data"], "signature": posted["signature"],
            })
        };
        let accepted = |status| Answer::json(status, &message());
        let withheld = |held: Option<bool>| {
            let mut message = message();
            message["filtered"] = true.into();
            if let Some(held) = held {
                message["held"] = held.into();
            }
            Answer::json(201, &message)
        };
        if let Some(status) = number("e") {
            return Some(Answer::json(status, &serde_json::json!({})));
        }
        if let Some(status) = number("redir") {
            return Some(Answer {
                status,
                location: Some("/room/landed/message".into()),
                body: Vec::new(),
            });
        }
        if let Some(times) = number("flaky") {
            let mut failures = self.failures.lock().expect("no panic inside");
            let failed = failures.entry(room.to_owned()).or_default();
            if *failed < u32::from(times) {
                *failed += 1;
                return Some(Answer::json(500, &serde_json::json!({})));
            }
        }
        if let Some(seconds) = number("slow") {
            thread::sleep(Duration::from_secs(seconds.into()));
        }
        match room {
            "s200" => Some(accepted(200)),
            "held" => Some(withheld(Some(true))),
            "hidden" => Some(withheld(Some(false))),
            "filtered" => Some(withheld(None)),
            "bare" => Some(Answer::json(201, &serde_json::json!({ "id": id() }))),
            "s204" => Some(Answer {
                status: 204,
                location: None,
                body: Vec::new(),
            }),
            "junk" => Some(Answer {
                status: 201,
                location: None,
                body: b"<html>this is not JSON".to_vec(),
            }),
            "big" => Some(Answer::json(
                201,
                &serde_json::json!({ "id": id(), "filler": "x".repeat(40_000) }),
            )),
            "cross" => {
                let location = format!("http://127.0.0.1:{}/room/landed/message", self.other_port);
                Some(Answer {
                    status: 307,
                    location: Some(location),
                    body: Vec::new(),
                })
            }
            "drop" => None,
            "parts" | "endless" if self.is_first(request) => None,
            _ => Some(accepted(201)),
        }
    }
}

pub(crate) type RawRequest = (String, String, HashMap<String, String>, Vec<u8>);

/// One HTTP/1.1 request with a known length; `None` at the end of the connection.
pub(crate) fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<RawRequest>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    // A TLS hello is not a text line with three words.
    let mut words = line.split_whitespace();
    let (Some(method), Some(path), Some(_)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    if length > MAX_BODY {
        return Ok(None);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((method, path, headers, body)))
}

/// The path as the server sees it: a proxy is asked for the whole URL.
fn plain_path(path: &str) -> &str {
    path.strip_prefix("http://")
        .map_or(path, |rest| rest.find('/').map_or("/", |at| &rest[at..]))
}

/// The id under which a poster is shown: `15…` as it is, `00…` as the Session id of the same key.
fn shown_id(header: &str) -> String {
    match (header.strip_prefix("00"), key(header)) {
        (Some(_), Some(key)) => format!("05{}", hex::encode(key.to_montgomery().as_bytes())),
        _ => header.to_owned(),
    }
}

/// The Ed25519 key in an `X-SOGS-Pubkey` header (`00…` or `15…`).
fn key(header: &str) -> Option<VerifyingKey> {
    let bytes = hex::decode(header.get(2..)?).ok()?;
    VerifyingKey::from_bytes(bytes.as_slice().try_into().ok()?).ok()
}

fn verifies(key: &VerifyingKey, signed: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|s| key.verify(signed, &s).is_ok())
}

/// `Content { 1: DataMessage { 1: text } }`, padded.
fn message_text(padded: &[u8]) -> Option<String> {
    let end = padded.iter().rposition(|&b| b != 0)?;
    let content = if padded[end] == 0x80 {
        &padded[..end]
    } else {
        padded
    };
    let message = field_one(content)?;
    String::from_utf8(field_one(message)?.to_vec()).ok()
}

/// The first length-delimited field with the number 1.
fn field_one(mut bytes: &[u8]) -> Option<&[u8]> {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&first, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first < 0x80 {
                return Some(value);
            }
        }
        None
    }
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let skip = match tag & 7 {
            0 => {
                varint(&mut bytes)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = bytes.split_at_checked(skip)?;
        if tag == 0x0a {
            return Some(value);
        }
        bytes = rest;
    }
    None
}
