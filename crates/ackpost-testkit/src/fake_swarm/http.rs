//! Connections: TLS or not, one request after the other.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::State;
use super::methods::Answer;

/// The largest request body it reads.
const MAX_BODY: usize = 16 << 20;
/// Maximum time for which a silent connection stays open.
const SILENCE: Duration = Duration::from_secs(120);

/// Role of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Node(usize),
    Seed,
    Files,
}

/// A listener on a free port of this address.
pub(super) fn listen(ip: Ipv4Addr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip, 0)).expect("a free port");
    let port = listener
        .local_addr()
        .expect("a bound listener has an address")
        .port();
    (listener, port)
}

/// Answers connections until the network ends.
pub(super) fn serve(
    state: &Arc<State>,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    role: Role,
) {
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if state.stop.load(Ordering::SeqCst) {
                break;
            }
            let (state, tls) = (Arc::clone(&state), tls.clone());
            thread::spawn(move || {
                let _ = state.connection(stream, tls, role);
            });
        }
    });
}

/// A request: its method, its path and its body.
struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

impl State {
    fn connection(
        &self,
        stream: TcpStream,
        tls: Option<Arc<rustls::ServerConfig>>,
        role: Role,
    ) -> io::Result<()> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        match tls {
            Some(config) => {
                let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
                self.requests(BufReader::new(rustls::StreamOwned::new(session, stream)), role)
            }
            None => self.requests(BufReader::new(stream), role),
        }
    }

    fn requests<S: Read + Write>(&self, mut stream: BufReader<S>, role: Role) -> io::Result<()> {
        while let Some(request) = read(&mut stream)? {
            self.exchanges.fetch_add(1, Ordering::SeqCst);
            let answer = match (role, request.path.as_str()) {
                (Role::Node(node), "/onion_req/v2") => self.onion(node, &request.body, 0),
                (Role::Node(node), "/storage_rpc/v1") => self.plain(node, &request.body),
                (Role::Files, path) => self.plain_file(&request.method, path, &request.body),
                (Role::Seed, "/json_rpc") => self.seed(&request.body),
                _ => Answer::text(404, "no such endpoint"),
            };
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            match answer {
                Answer::Close => break,
                Answer::Silence => {
                    for _ in 0..SILENCE.as_secs() * 10 {
                        if self.stop.load(Ordering::SeqCst) {
                            break;
                        }
                        thread::sleep(Duration::from_millis(100));
                    }
                    break;
                }
                Answer::Body { status, body } => {
                    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                    let stream = stream.get_mut();
                    stream.write_all(&[head.as_bytes(), &body].concat())?;
                    stream.flush()?;
                }
            }
        }
        Ok(())
    }
}

fn read<S: Read>(stream: &mut BufReader<S>) -> io::Result<Option<Request>> {
    let mut first = None;
    let mut length = 0;
    let mut head = 0;
    loop {
        let mut line = String::new();
        if stream.by_ref().take(16 << 10).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        head += line.len();
        if head > 64 << 10 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() && first.is_some() {
            break;
        }
        if first.is_none() {
            let mut words = line.split(' ').map(str::to_owned);
            first = Some((words.next().unwrap_or_default(), words.next().unwrap_or_default()));
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    if length > MAX_BODY {
        return Ok(None);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(first.map(|(method, path)| Request { method, path, body }))
}
