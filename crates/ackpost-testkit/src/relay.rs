//! A TCP relay on 127.0.0.1 that delays, cuts, swallows and counts.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Effects of the relay on the connections it carries.
#[derive(Debug, Clone, Default)]
pub struct RelayOptions {
    /// Each byte arrives this much later, one way.
    pub delay: Duration,
    /// Cut the connection once this many bytes went from the client to the server (they still arrive).
    pub cut_after_up: Option<u64>,
    /// Cut the connection once this many bytes came back from the server (they still arrive).
    pub cut_after_down: Option<u64>,
    /// Swallow what the server answers after this many bytes, keeping the connection open.
    pub mute_after_down: Option<u64>,
    /// On the first connection, swallow all answers from the moment that the client says this in clear text: what it
    /// said still arrives. The connection stays open.
    pub mute_once_said: Option<&'static str>,
}

/// A running relay; it ends with the value.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    options: RelayOptions,
    stop: AtomicBool,
    black_hole: AtomicBool,
    mute: AtomicBool,
    connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    turns: AtomicU64,
    live: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Listens on a free port and carries every connection to `target`.
    pub fn start(target: impl Into<SocketAddr>, options: RelayOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            target: target.into(),
            options,
            stop: AtomicBool::new(false),
            black_hole: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            live: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.stop.load(Ordering::SeqCst) {
                    break;
                }
                let first = accepting.connections.fetch_add(1, Ordering::SeqCst) == 0;
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.carry(client, first));
            }
        });
        Self { addr, shared }
    }

    /// A relay to a port of 127.0.0.1.
    pub fn to_port(port: u16, options: RelayOptions) -> Self {
        Self::start(([127, 0, 0, 1], port), options)
    }

    /// Returns the address on which it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// From now on nothing passes, in either direction; the connections stay open.
    pub fn black_hole(&self, on: bool) {
        self.shared.black_hole.store(on, Ordering::SeqCst);
    }

    /// From now on nothing from the server passes; bytes from clients still do.
    pub fn mute(&self, on: bool) {
        self.shared.mute.store(on, Ordering::SeqCst);
    }

    /// Cuts every connection that is open now. New ones are carried again.
    pub fn cut(&self) {
        for stream in self.shared.live.lock().expect("no panic inside").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Returns the number of accepted connections.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes from clients to the server so far.
    pub fn bytes_up(&self) -> u64 {
        self.shared.up.load(Ordering::SeqCst)
    }

    /// Bytes from the server to clients so far.
    pub fn bytes_down(&self) -> u64 {
        self.shared.down.load(Ordering::SeqCst)
    }

    /// Returns the number of round trips, not counting the TCP connect.
    ///
    /// A round trip is counted when the server answers something that the client sent. Give the relay a delay
    /// of some milliseconds, so that one answer in several packets is not counted as several.
    pub fn round_trips(&self) -> u64 {
        self.shared.turns.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.cut();
        let _ = TcpStream::connect(self.addr);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Up,
    Down,
}

/// State of one connection that both directions share.
#[derive(Debug)]
struct Pair {
    /// The client spoke last.
    client_spoke: AtomicBool,
    /// The answers of the server are swallowed.
    muted: AtomicBool,
    mute_once_said: Option<&'static str>,
}

impl Pair {
    /// Looks for the text that mutes the server, also where two reads cut it in two. `tail`: the end of earlier reads.
    fn hear(&self, tail: &mut Vec<u8>, bytes: &[u8]) {
        let Some(wanted) = self.mute_once_said.map(str::as_bytes) else {
            return;
        };
        tail.extend_from_slice(bytes);
        if tail.windows(wanted.len()).any(|window| window == wanted) {
            self.muted.store(true, Ordering::SeqCst);
        }
        tail.drain(..tail.len().saturating_sub(wanted.len()));
    }
}

impl Shared {
    fn carry(self: Arc<Self>, client: TcpStream, first: bool) {
        let Ok(server) = TcpStream::connect_timeout(&self.target, Duration::from_secs(5)) else {
            let _ = client.shutdown(Shutdown::Both);
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        {
            let mut live = self.live.lock().expect("no panic inside");
            live.extend(client.try_clone());
            live.extend(server.try_clone());
        }
        let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let pair = Arc::new(Pair {
            client_spoke: AtomicBool::new(false),
            muted: AtomicBool::new(false),
            mute_once_said: self.options.mute_once_said.filter(|_| first),
        });
        let up = {
            let (shared, pair) = (Arc::clone(&self), Arc::clone(&pair));
            thread::spawn(move || shared.pump(client, &server2, Direction::Up, &pair))
        };
        self.pump(server, &client2, Direction::Down, &pair);
        let _ = up.join();
    }

    fn pump(&self, mut from: TcpStream, to: &TcpStream, direction: Direction, pair: &Pair) {
        let (send, receive) = mpsc::channel::<(Instant, Option<Vec<u8>>)>();
        let Ok(mut out) = to.try_clone() else { return };
        let writer = thread::spawn(move || {
            for (due, data) in receive {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let Some(data) = data else {
                    let _ = out.shutdown(Shutdown::Write);
                    return;
                };
                if out.write_all(&data).is_err() {
                    return;
                }
            }
        });
        let (counter, cut_after, mute_after) = match direction {
            Direction::Up => (&self.up, self.options.cut_after_up, None),
            Direction::Down => (
                &self.down,
                self.options.cut_after_down,
                self.options.mute_after_down,
            ),
        };
        let mut passed = 0u64;
        let mut tail = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => n,
            };
            if direction == Direction::Up {
                pair.hear(&mut tail, &buffer[..n]);
            }
            let muted = direction == Direction::Down
                && (self.mute.load(Ordering::SeqCst) || pair.muted.load(Ordering::SeqCst));
            if muted
                || self.black_hole.load(Ordering::SeqCst)
                || mute_after.is_some_and(|limit| passed >= limit)
            {
                continue;
            }
            match direction {
                Direction::Up => pair.client_spoke.store(true, Ordering::SeqCst),
                Direction::Down => {
                    if pair.client_spoke.swap(false, Ordering::SeqCst) {
                        self.turns.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            passed += n as u64;
            counter.fetch_add(n as u64, Ordering::SeqCst);
            if send
                .send((Instant::now() + self.options.delay, Some(buffer[..n].to_vec())))
                .is_err()
            {
                break;
            }
            if cut_after.is_some_and(|limit| passed >= limit) {
                drop(send);
                let _ = writer.join();
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
        let _ = send.send((Instant::now() + self.options.delay, None));
        drop(send);
        let _ = writer.join();
    }
}
