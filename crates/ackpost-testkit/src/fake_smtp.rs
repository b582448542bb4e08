//! A mail server that misbehaves in one exact way, on plain threads.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The one fault of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmtpFault {
    /// The server has no fault.
    None,
    /// Answers a command (`""` is the greeting, `.` the end of a message) with these bytes instead.
    Answer(&'static str, &'static str),
    /// Closes the connection instead of answering a command.
    Close(&'static str),
    /// Does not answer a command.
    Silent(&'static str),
    /// Announces these lines after EHLO, and nothing else.
    Offers(&'static [&'static str]),
    /// Answers STARTTLS, and writes more bytes in the same packet.
    Injects,
    /// Refuses this recipient permanently, and takes the others.
    RefusesRecipient(&'static str),
    /// Writes an answer without end.
    Endless,
    /// Closes the first connection instead of answering the end of a message; later ones are good.
    LosesFirstAnswer,
}

/// The server, on 127.0.0.1. It ends with the value.
pub struct FakeSmtp {
    /// Its port.
    pub port: u16,
    commands: Arc<Mutex<Vec<String>>>,
    messages: Arc<Mutex<Vec<String>>>,
    open: Arc<Open>,
    ended: Arc<AtomicBool>,
}

/// Connections now, and most at a time.
#[derive(Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl std::fmt::Debug for FakeSmtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeSmtp")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

struct Shared {
    fault: SmtpFault,
    commands: Arc<Mutex<Vec<String>>>,
    messages: Arc<Mutex<Vec<String>>>,
}

impl FakeSmtp {
    /// Starts the server.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(fault: SmtpFault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (commands, messages) = (Arc::default(), Arc::default());
        let shared = Arc::new(Shared {
            fault,
            commands: Arc::clone(&commands),
            messages: Arc::clone(&messages),
        });
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let open = Arc::new(Open::default());
        let counted = Arc::clone(&open);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(stream) = stream {
                    let (shared, open) = (Arc::clone(&shared), Arc::clone(&counted));
                    let now = open.now.fetch_add(1, Ordering::SeqCst) + 1;
                    open.most.fetch_max(now, Ordering::SeqCst);
                    std::thread::spawn(move || {
                        serve(stream, &shared);
                        open.now.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self {
            port,
            commands,
            messages,
            open,
            ended,
        }
    }

    /// Returns the largest number of connections at a time.
    pub fn most_at_once(&self) -> usize {
        self.open.most.load(Ordering::SeqCst)
    }

    /// The commands so far, of all connections.
    pub fn commands(&self) -> Vec<String> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The messages so far, as they came between DATA and the dot.
    pub fn messages(&self) -> Vec<String> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for FakeSmtp {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Answers one step; `None` ends the connection.
fn step(out: &mut TcpStream, shared: &Shared, step: &str, good: &str) -> Option<()> {
    let answer = match &shared.fault {
        SmtpFault::Answer(at, answer) if *at == step => (*answer).to_owned(),
        SmtpFault::Close(at) if *at == step => return None,
        SmtpFault::Silent(at) if *at == step => {
            std::thread::sleep(Duration::from_secs(20));
            return None;
        }
        SmtpFault::Endless if step.is_empty() => loop {
            out.write_all(&[b'2'; 4096]).ok()?;
        },
        SmtpFault::Injects if step == "STARTTLS" => "220 go\r\n250 injected\r\n".to_owned(),
        SmtpFault::LosesFirstAnswer if step == "." && first(shared) => return None,
        _ => format!("{good}\r\n"),
    };
    out.write_all(answer.as_bytes()).ok()
}

fn first(shared: &Shared) -> bool {
    shared
        .messages
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len()
        == 1
}

fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut out = stream.try_clone().ok()?;
    let mut input = BufReader::new(stream);
    step(&mut out, shared, "", "220 fake ESMTP")?;
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_owned();
        shared
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line.clone());
        let verb = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let mut lines = vec!["fake".to_owned()];
                match &shared.fault {
                    SmtpFault::Offers(offers) => lines.extend(offers.iter().map(|&offer| offer.to_owned())),
                    SmtpFault::Injects => lines.push("STARTTLS".to_owned()),
                    _ => lines.push("AUTH PLAIN LOGIN".to_owned()),
                }
                let last = lines.len() - 1;
                let lines: Vec<String> = lines
                    .iter()
                    .enumerate()
                    .map(|(n, line)| format!("250{}{line}", if n == last { ' ' } else { '-' }))
                    .collect();
                step(&mut out, shared, "EHLO", &lines.join("\r\n"))?;
            }
            "RCPT" => {
                let refused = matches!(&shared.fault, SmtpFault::RefusesRecipient(who) if line.contains(who));
                let good = if refused {
                    "550 5.1.1 no such user"
                } else {
                    "250 ok"
                };
                step(&mut out, shared, "RCPT", good)?;
            }
            "AUTH" => step(&mut out, shared, "AUTH", "235 2.7.0 welcome")?,
            "DATA" => {
                step(&mut out, shared, "DATA", "354 go")?;
                if matches!(&shared.fault, SmtpFault::Answer("DATA", _)) {
                    continue;
                }
                let mut message = Vec::new();
                loop {
                    let mut line = Vec::new();
                    input.read_until(b'\n', &mut line).ok().filter(|read| *read > 0)?;
                    if line == b".\r\n" {
                        break;
                    }
                    message.extend_from_slice(&line);
                }
                let message = String::from_utf8_lossy(&message).into_owned();
                shared
                    .messages
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(message);
                step(&mut out, shared, ".", "250 2.0.0 Ok: queued as FAKE123456")?;
            }
            "QUIT" => {
                let _ = out.write_all(b"221 bye\r\n");
                return None;
            }
            "STARTTLS" => step(&mut out, shared, "STARTTLS", "220 go")?,
            other => step(&mut out, shared, other, "250 ok")?,
        }
    }
}
