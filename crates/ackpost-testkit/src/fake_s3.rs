//! An S3-compatible store that misbehaves in one exact way.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Largest body it takes.
const MAX_BODY: u64 = 16 << 20;

/// Behaviour of a [`FakeS3`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeS3Mode {
    /// Stores and sends objects, and checks no signature.
    Works,
    /// Reads requests and never answers.
    Silent,
    /// Answers 503 `SlowDown` to the first two requests, then works.
    SlowDownTwice,
    /// Closes the connection in the middle of a body that it receives.
    HangsUp,
    /// Answers 403 `InvalidAccessKeyId`.
    Denies,
    /// Sends fewer bytes of an object than it announces.
    SendsLess,
    /// Sends whole objects where a range is asked for.
    IgnoresRange,
    /// Redirects to another host.
    Redirects,
}

type Objects = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A running fake; it answers as long as the process runs.
#[derive(Debug)]
pub struct FakeS3 {
    port: u16,
    mode: Arc<Mutex<FakeS3Mode>>,
    requests: Arc<AtomicU64>,
}

impl FakeS3 {
    /// Starts it.
    pub fn start(mode: FakeS3Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mode = Arc::new(Mutex::new(mode));
        let (objects, requests) = (Objects::default(), Arc::new(AtomicU64::new(0)));
        let (shared, count) = (Arc::clone(&mode), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (objects, mode, count) = (Arc::clone(&objects), Arc::clone(&shared), Arc::clone(&count));
                thread::spawn(move || answer(&stream, &objects, &mode, &count));
            }
        });
        Self { port, mode, requests }
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Changes its behaviour.
    pub fn behave(&self, mode: FakeS3Mode) {
        *self.mode.lock().expect("no panic") = mode;
        self.requests.store(0, Ordering::SeqCst);
    }

    /// Requests since the start or the last change.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// One request; the connection closes after it.
fn answer(stream: &TcpStream, objects: &Objects, mode: &Mutex<FakeS3Mode>, count: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let path = target.split('?').next()?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let number = count.fetch_add(1, Ordering::SeqCst);
    let mode = *mode.lock().expect("no panic");
    let length: u64 = headers
        .get("content-length")
        .map_or(Some(0), |text| text.parse().ok())?;
    if mode == FakeS3Mode::HangsUp && length > 0 {
        reader.read_exact(&mut [0; 16]).ok()?;
        return None;
    }
    let mut body = Vec::new();
    reader.take(length.min(MAX_BODY)).read_to_end(&mut body).ok()?;
    match mode {
        FakeS3Mode::Silent => {
            thread::sleep(Duration::from_secs(30));
            return None;
        }
        FakeS3Mode::SlowDownTwice if number < 2 => {
            return say(stream, "503 Slow Down", "", &error("SlowDown"));
        }
        FakeS3Mode::Denies => return say(stream, "403 Forbidden", "", &error("InvalidAccessKeyId")),
        FakeS3Mode::Redirects => {
            return say(
                stream,
                "301 Moved Permanently",
                "location: http://127.0.0.1:9/\r\n",
                &error("PermanentRedirect"),
            );
        }
        _ => {}
    }
    works(stream, objects, mode, (&method, path), headers.get("range"), body)
}

/// Stores, sends and removes objects.
fn works(
    mut stream: &TcpStream,
    objects: &Objects,
    mode: FakeS3Mode,
    (method, path): (&str, String),
    range: Option<&String>,
    body: Vec<u8>,
) -> Option<()> {
    let mut objects = objects.lock().expect("no panic");
    if method == "PUT" {
        objects.insert(path, body);
        return say(stream, "200 OK", "", b"");
    }
    if method == "DELETE" {
        objects.remove(&path);
        return say(stream, "204 No Content", "", b"");
    }
    let Some(object) = objects.get(&path).cloned() else {
        return say(stream, "404 Not Found", "", &error("NoSuchKey"));
    };
    drop(objects);
    let range = range.and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse::<usize>().ok()?))
    });
    match range {
        Some((from, last)) if mode != FakeS3Mode::IgnoresRange => {
            let part = object.get(from..object.len().min(last + 1)).unwrap_or_default();
            let more = format!("content-range: bytes {from}-{last}/{}\r\n", object.len());
            if mode == FakeS3Mode::SendsLess {
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n",
                    part.len()
                );
                stream.write_all(head.as_bytes()).ok()?;
                return stream.write_all(&part[..part.len() / 2]).ok();
            }
            say(stream, "206 Partial Content", &more, part)
        }
        _ => say(stream, "200 OK", "", &object),
    }
}

fn say(mut stream: &TcpStream, status: &str, more: &str, body: &[u8]) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .ok()
}

fn error(code: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>").into_bytes()
}
