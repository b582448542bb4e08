//! An HTTP server that notes every request and answers as it is told, on plain threads.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::authority::Authority;

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSeen {
    /// The method.
    pub method: String,
    /// Path and query as written.
    pub target: String,
    /// Headers with their names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpSeen {
    /// The value of a header (name in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The behaviour of the server for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAnswer {
    /// Answers with a status and a body.
    Status(u16, String),
    /// Answers with a status, a further header and a body.
    With(u16, &'static str, String, String),
    /// Reads the request and closes the connection without an answer.
    Close,
    /// Reads the request and stays silent for this time.
    Silent(Duration),
    /// Writes these bytes, whatever they are.
    Raw(&'static [u8]),
}

type Rule = dyn Fn(&HttpSeen) -> HttpAnswer + Send + Sync;

/// The server, on 127.0.0.1. It ends with the value.
pub struct FakeHttp {
    /// Its port.
    pub port: u16,
    seen: Arc<Mutex<Vec<HttpSeen>>>,
    ended: Arc<AtomicBool>,
}

impl std::fmt::Debug for FakeHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeHttp")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl FakeHttp {
    /// Starts the server; `rule` gives the answer to each request.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(rule: impl Fn(&HttpSeen) -> HttpAnswer + Send + Sync + 'static) -> Self {
        Self::start_as(None, rule)
    }

    /// Starts the server; with an authority it is a proxy too, which answers in place of every host.
    pub(crate) fn start_as(
        authority: Option<Arc<Authority>>,
        rule: impl Fn(&HttpSeen) -> HttpAnswer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let rule: Arc<Rule> = Arc::new(rule);
        let (noted, over) = (Arc::clone(&seen), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(stream) = stream {
                    let (noted, rule) = (Arc::clone(&noted), Arc::clone(&rule));
                    let authority = authority.clone();
                    std::thread::spawn(move || accept(stream, authority.as_deref(), &noted, &*rule));
                }
            }
        });
        Self { port, seen, ended }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<HttpSeen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests so far, and returns them.
    pub fn take(&self) -> Vec<HttpSeen> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Host and port.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for FakeHttp {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn accept(stream: TcpStream, authority: Option<&Authority>, seen: &Mutex<Vec<HttpSeen>>, rule: &Rule) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut input = BufReader::new(stream);
    let Some(first) = read(&mut input) else {
        return;
    };
    match authority.filter(|_| first.method == "CONNECT") {
        None => serve(&mut input, Some(first), seen, rule),
        // The client begins TLS only after the answer, so nothing of it was read.
        Some(authority) => {
            if let Some(stream) = authority.terminate(input.into_inner(), &first.target) {
                serve(&mut BufReader::new(stream), None, seen, rule);
            }
        }
    }
}

fn serve<S: Read + Write>(
    input: &mut BufReader<S>,
    mut first: Option<HttpSeen>,
    seen: &Mutex<Vec<HttpSeen>>,
    rule: &Rule,
) {
    while let Some(request) = first.take().or_else(|| read(input)) {
        let answer = rule(&request);
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        let out = input.get_mut();
        let (status, header, body) = match answer {
            HttpAnswer::Status(status, body) => (status, String::new(), body),
            HttpAnswer::With(status, name, value, body) => (status, format!("{name}: {value}\r\n"), body),
            HttpAnswer::Close => return,
            HttpAnswer::Silent(time) => {
                std::thread::sleep(time);
                return;
            }
            HttpAnswer::Raw(bytes) => {
                let _ = out.write_all(bytes);
                return;
            }
        };
        let body = if request.method == "HEAD" { "" } else { &body };
        let head = format!(
            "HTTP/1.1 {status} Status\r\n{header}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let written = out.write_all(format!("{head}{body}").as_bytes());
        if written.and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// Reads one request; nothing at the end of the connection.
fn read(input: &mut BufReader<impl Read>) -> Option<HttpSeen> {
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line).ok()?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0_usize);
    let mut body = vec![0; length.min(16 * 1024 * 1024)];
    input.read_exact(&mut body).ok()?;
    Some(HttpSeen {
        method,
        target,
        headers,
        body,
    })
}
