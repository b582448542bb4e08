//! A server that follows a script, and so can misbehave in exactly one way.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackpost_testkit::SelfSigned;
use ackpost_xmpp::{Account, Mode, Outcome, Target};

use super::{jid, send_one, text, user};

/// One step of a script.
pub enum Step {
    /// Reads until this text came, then answers with what the function makes of everything read in this step.
    On(&'static str, Box<dyn Fn(&str) -> String + Send + Sync>),
    /// TLS from here on.
    Tls(Arc<rustls::ServerConfig>),
    /// Writes this, one byte at a time, with this pause.
    Slowly(String, Duration),
    /// Answers every question to `localhost` from here on, and that is all.
    Pongs,
    /// The same, with what the function makes of the questions.
    Answers(Box<dyn Fn(&str) -> String + Send + Sync>),
    /// The same, but this long after each answer behind a message, the message comes back, even if more stanzas arrive
    /// meanwhile. Only in clear text. The number receives the real time in microseconds.
    Bounces(Duration, Arc<AtomicU64>),
    /// Closes the connection at once.
    Close,
}

/// A fixed answer.
pub fn on(wanted: &'static str, answer: impl Into<String>) -> Step {
    let answer = answer.into();
    Step::On(wanted, Box::new(move |_| answer.clone()))
}

/// An answer made from what was read.
pub fn reply(wanted: &'static str, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Step {
    Step::On(wanted, Box::new(answer))
}

pub const OPEN: &str = "<?xml version='1.0'?><stream:stream from='localhost' id='s' version='1.0' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// Stream header and features.
pub fn features(inside: &str) -> String {
    format!("{OPEN}<stream:features>{inside}</stream:features>")
}

pub fn mechanisms(names: &[&str]) -> String {
    let mut list = String::new();
    for name in names {
        list.push_str("<mechanism>");
        list.push_str(name);
        list.push_str("</mechanism>");
    }
    format!("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{list}</mechanisms>")
}

/// The steps up to a bound session, by PLAIN, which is allowed on the loopback. The last one answers
/// the bind request; what was sent behind it is in the next read.
pub fn logged_in() -> Vec<Step> {
    vec![
        on("<stream:stream", features(&mechanisms(&["PLAIN"]))),
        on("</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
        reply("</iq>", |text| {
            let id = text
                .split("id='bind-")
                .nth(1)
                .and_then(|rest| rest.split('\'').next())
                .unwrap_or_default();
            format!(
                "{}<iq type='result' id='bind-{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <jid>alice@localhost/x</jid></bind></iq>",
                features("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
            )
        }),
    ]
}

/// The value of an attribute of the last element that begins with this text.
pub fn attr(text: &str, element: &str, name: &str) -> Option<String> {
    let from = text.rfind(element)?;
    let tag = &text[from..from + text[from..].find('>')?];
    let at = tag.find(&format!(" {name}='"))? + name.len() + 3;
    Some(tag[at..].split('\'').next()?.to_owned())
}

/// A running script; each connection gets the next one, and the last is repeated.
pub struct Fake {
    pub port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub fn start(scripts: Vec<Vec<Step>>) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), scripts)
    }

    /// On another address of this machine.
    pub fn at(ip: IpAddr, scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, scripts) = (heard.clone(), Arc::new(scripts));
        std::thread::spawn(move || {
            for (number, tcp) in listener.incoming().flatten().enumerate().take(20) {
                let (log, scripts) = (log.clone(), scripts.clone());
                log.lock().unwrap().push(String::new());
                std::thread::spawn(move || {
                    let script = &scripts[number.min(scripts.len() - 1)];
                    let _ = tcp.set_read_timeout(Some(Duration::from_secs(20)));
                    let heard = |text: &str| log.lock().unwrap()[number].push_str(text);
                    follow(script, tcp, heard);
                });
            }
        });
        Self { port, heard }
    }

    /// Returns the bytes that each connection sent, decrypted.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn follow(script: &[Step], tcp: TcpStream, heard: impl Fn(&str)) {
    let raw = tcp.try_clone().unwrap();
    let mut wire: Box<dyn Wire> = Box::new(tcp);
    let mut text = String::new();
    for step in script {
        match step {
            Step::On(wanted, answer) => {
                while !text.contains(wanted) {
                    let mut bytes = [0; 4096];
                    match wire.read(&mut bytes) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => {
                            let more = String::from_utf8_lossy(&bytes[..count]).into_owned();
                            heard(&more);
                            text.push_str(&more);
                        }
                    }
                }
                let end = text.find(wanted).unwrap() + wanted.len();
                let answer = answer(&text);
                text.drain(..end);
                if wire
                    .write_all(answer.as_bytes())
                    .and_then(|()| wire.flush())
                    .is_err()
                {
                    return;
                }
            }
            Step::Tls(config) => {
                text.clear();
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                wire = Box::new(rustls::StreamOwned::new(connection, raw.try_clone().unwrap()));
            }
            Step::Slowly(answer, pause) => {
                for byte in answer.as_bytes() {
                    if wire.write_all(&[*byte]).and_then(|()| wire.flush()).is_err() {
                        return;
                    }
                    std::thread::sleep(*pause);
                }
            }
            Step::Pongs => return answer_questions(&mut wire, text, heard, pongs, |_| ()),
            Step::Answers(answers) => return answer_questions(&mut wire, text, heard, answers, |_| ()),
            Step::Bounces(pause, took) => {
                return answer_questions(&mut wire, text, heard, pongs, |more| {
                    let (bounces, pause, took) = (bounces(more), *pause, took.clone());
                    if bounces.is_empty() {
                        return;
                    }
                    let mut raw = raw.try_clone().unwrap();
                    let answered = Instant::now();
                    std::thread::spawn(move || {
                        std::thread::sleep(pause);
                        let _ = raw.write_all(bounces.as_bytes());
                        let micros = u64::try_from(answered.elapsed().as_micros()).unwrap();
                        took.store(micros, Ordering::SeqCst);
                    });
                });
            }
            Step::Close => {
                let _ = raw.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
    // Silence, until the other side leaves.
    let mut bytes = [0; 4096];
    while let Ok(count) = wire.read(&mut bytes) {
        if count == 0 {
            return;
        }
        heard(&String::from_utf8_lossy(&bytes[..count]));
    }
}

/// Answers whole questions; `then` gets the text with each of them.
fn answer_questions(
    wire: &mut Box<dyn Wire>,
    mut text: String,
    heard: impl Fn(&str),
    answer: impl Fn(&str) -> String,
    then: impl Fn(&str),
) {
    loop {
        if let Some(end) = text.rfind("</iq>") {
            let end = end + "</iq>".len();
            let answers = answer(&text[..end]);
            if wire
                .write_all(answers.as_bytes())
                .and_then(|()| wire.flush())
                .is_err()
            {
                return;
            }
            then(&text[..end]);
            text.drain(..end);
        }
        let mut bytes = [0; 4096];
        match wire.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let more = String::from_utf8_lossy(&bytes[..count]).into_owned();
                heard(&more);
                text.push_str(&more);
            }
        }
    }
}

fn pongs(text: &str) -> String {
    pong(text, "localhost")
}

/// The messages in a text, sent back by their recipients.
fn bounces(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split("<message ").skip(1) {
        let piece = format!("<message {}>", piece.split('>').next().unwrap_or_default());
        if let (Some(id), Some(to)) = (attr(&piece, "<message ", "id"), attr(&piece, "<message ", "to")) {
            let _ = write!(
                out,
                "<message type='error' id='{id}' from='{to}'><error type='cancel'><service-unavailable \
                 xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            );
        }
    }
    out
}

// --- what is said to it ---

pub const LIMIT: Duration = Duration::from_secs(2);

pub fn to_fake(fake: &Fake, mode: Mode) -> Account {
    Account::new(jid("alice@localhost"), "secret-pw-1".to_owned().into())
        .host("127.0.0.1")
        .port(fake.port)
        .mode(mode)
        .connect_timeout(LIMIT)
        .answer_timeout(LIMIT)
}

/// Returns the outcome of a message to a person on this fake; never takes longer than a few limits.
pub fn ends(fake: &Fake, mode: Mode) -> Outcome {
    ends_for(&to_fake(fake, mode), user("bob@localhost"))
}

pub fn ends_for(account: &Account, target: Target) -> Outcome {
    let started = Instant::now();
    let outcome = send_one(account, text(target, "hello"));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
    if let Some(error) = outcome.error() {
        assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
        assert!(!format!("{error} {error:?} {}", error.remedy()).contains("secret-pw-1"));
    }
    outcome
}

pub fn one(script: Vec<Step>) -> Fake {
    Fake::start(vec![script])
}

/// A certificate, wrong in one way, signed by an authority that is trusted.
pub fn certificate(change: impl FnOnce(&mut rcgen::CertificateParams)) -> SelfSigned {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    SelfSigned::from_params(&params)
}

pub fn after_login(mut rest: Vec<Step>) -> Fake {
    let mut script = logged_in();
    script.append(&mut rest);
    one(script)
}

pub fn pong(heard: &str, from: &str) -> String {
    let mut answers = String::new();
    for piece in heard.split("<iq ").skip(1) {
        let piece = format!("<iq {}", piece.split('>').next().unwrap_or_default()) + ">";
        if piece.contains(&format!("to='{from}'"))
            && let Some(id) = attr(&piece, "<iq ", "id")
        {
            let _ = write!(answers, "<iq type='result' id='{id}' from='{from}'/>");
        }
    }
    answers
}
