//! An XMPP server that accepts everyone with the password `pass`, and records the events.
//!
//! | target | what it does |
//! |---|---|
//! | `err@…` | bounces messages with item-not-found |
//! | `full@…` | bounces messages with service-unavailable |
//! | `denied@…` in a join | refuses with registration-required |
//! | `mute@…` in a join | never answers, reflects nothing |
//! | any other room | joins and reflects |
//! | any other user | swallows the message |

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::{Digest as _, Sha1};

use crate::tls::SelfSigned;
use crate::xml::{Element, StreamEvent, StreamReader, escape};

/// Encryption of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeXmppMode {
    /// Clear text, no STARTTLS.
    Plain,
    /// STARTTLS required before the login.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// Event that the server recorded. Events are kept in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XmppEvent {
    /// The stream was upgraded.
    StartTls,
    /// The connection began with TLS.
    DirectTls,
    /// A login began with this mechanism.
    Auth(String),
    /// This user is in.
    AuthOk(String),
    /// This user was refused.
    AuthFail(String),
    /// A presence: its `to`, if any.
    Presence(Option<String>),
    /// A message.
    Message {
        /// Its `to`.
        to: String,
        /// Its `type`.
        kind: String,
        /// Its body.
        body: String,
        /// Its subject, if it carried one.
        subject: Option<String>,
    },
    /// The connection ended before a login (a wrong TLS mode for the port).
    ConnectionFailed,
}

/// A running fake; it ends with the value.
#[derive(Debug)]
pub struct FakeXmpp {
    port: u16,
    certificate: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    mode: FakeXmppMode,
    tls: Arc<rustls::ServerConfig>,
    stop: AtomicBool,
    events: Mutex<Vec<XmppEvent>>,
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

impl FakeXmpp {
    /// Starts it with a self-signed certificate for `localhost`.
    pub fn start(mode: FakeXmppMode) -> Self {
        let certificate = SelfSigned::new(&["localhost", "127.0.0.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener
            .local_addr()
            .expect("a bound listener has an address")
            .port();
        let state = Arc::new(State {
            mode,
            tls: certificate.server(),
            stop: AtomicBool::new(false),
            events: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stop.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&accepting);
                thread::spawn(move || {
                    let socket = stream.try_clone();
                    if state.serve(stream).is_err() {
                        state.note(XmppEvent::ConnectionFailed);
                    }
                    if let Ok(socket) = socket {
                        let _ = socket.shutdown(Shutdown::Both);
                    }
                });
            }
        });
        Self {
            port,
            certificate: certificate.pem,
            state,
        }
    }

    /// Returns the port on 127.0.0.1 on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the events so far.
    pub fn events(&self) -> Vec<XmppEvent> {
        self.state.events.lock().expect("no panic inside").clone()
    }
}

impl Drop for FakeXmpp {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn note(&self, event: XmppEvent) {
        self.events.lock().expect("no panic inside").push(event);
    }

    /// An error before the login is the event `ConnectionFailed`; later the peer may just leave.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let wire: Box<dyn Wire> = match self.mode {
            FakeXmppMode::Plain => Box::new(stream),
            FakeXmppMode::Tls => {
                let wire = self.upgrade(stream)?;
                self.note(XmppEvent::DirectTls);
                wire
            }
            FakeXmppMode::StartTls => {
                let mut reader = StreamReader::new(stream);
                loop {
                    match reader.next_event()? {
                        StreamEvent::Open(header) => {
                            open(
                                reader.get_mut(),
                                &header,
                                "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
                            )?;
                        }
                        StreamEvent::Stanza(s) if s.name == "starttls" => break,
                        StreamEvent::Stanza(_) => return Err(io::Error::other("not encrypted")),
                        StreamEvent::Closed => return Ok(()),
                    }
                }
                let (mut stream, _) = reader.into_parts();
                stream.write_all(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
                let wire = self.upgrade(stream)?;
                self.note(XmppEvent::StartTls);
                wire
            }
        };
        let mut reader = StreamReader::new(wire);
        let mut asked = false;
        let user = match self.login(&mut reader, &mut asked) {
            Ok(Some(user)) => user,
            // After a refusal the peer may leave as it likes.
            Err(_) if asked => return Ok(()),
            Ok(None) => return Ok(()),
            Err(e) => return Err(e),
        };
        let _ = self.talk(&mut reader, &user);
        Ok(())
    }

    fn upgrade(&self, mut stream: TcpStream) -> io::Result<Box<dyn Wire>> {
        let mut tls = rustls::ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Box::new(rustls::StreamOwned::new(tls, stream)))
    }

    /// Returns the JID that logged in; `None` when the peer left. `asked`: a login was tried.
    fn login(
        &self,
        reader: &mut StreamReader<Box<dyn Wire>>,
        asked: &mut bool,
    ) -> io::Result<Option<String>> {
        let mut domain = String::new();
        loop {
            match reader.next_event()? {
                StreamEvent::Open(header) => {
                    header.attr("to").clone_into(&mut domain);
                    let mechanisms = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms>";
                    open(reader.get_mut(), &header, mechanisms)?;
                }
                StreamEvent::Stanza(auth) if auth.name == "auth" => {
                    *asked = true;
                    let mechanism = auth.attr("mechanism").to_owned();
                    self.note(XmppEvent::Auth(mechanism.clone()));
                    let (user, proof) = match mechanism.as_str() {
                        "PLAIN" => plain(&auth.text),
                        _ => scram(reader, &auth.text)?,
                    };
                    let Some(proof) = proof else {
                        self.note(XmppEvent::AuthFail(user));
                        reader.get_mut().write_all(
                            b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>wrong password</text></failure>",
                        )?;
                        reader.get_mut().flush()?;
                        continue;
                    };
                    self.note(XmppEvent::AuthOk(user.clone()));
                    write!(
                        reader.get_mut(),
                        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{proof}</success>"
                    )?;
                    reader.get_mut().flush()?;
                    return Ok(Some(format!("{user}@{domain}")));
                }
                StreamEvent::Stanza(s) if s.name == "abort" => return Ok(None),
                StreamEvent::Stanza(_) => return Err(io::Error::other("not logged in")),
                StreamEvent::Closed => return Ok(None),
            }
        }
    }

    fn talk(&self, reader: &mut StreamReader<Box<dyn Wire>>, jid: &str) -> io::Result<()> {
        let full = format!("{jid}/fake");
        loop {
            match reader.next_event()? {
                StreamEvent::Open(header) => open(
                    reader.get_mut(),
                    &header,
                    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
                )?,
                StreamEvent::Stanza(stanza) => {
                    let answer = self.stanza(&stanza, &full);
                    reader.get_mut().write_all(answer.as_bytes())?;
                    reader.get_mut().flush()?;
                }
                StreamEvent::Closed => {
                    reader.get_mut().write_all(b"</stream:stream>")?;
                    return reader.get_mut().flush();
                }
            }
        }
    }

    fn stanza(&self, stanza: &Element, full: &str) -> String {
        let (to, id) = (stanza.attr("to"), escape(stanza.attr("id")));
        let bare = to.split('/').next().unwrap_or(to);
        match stanza.name.as_str() {
            "iq" if stanza.child("bind").is_some() => {
                format!(
                    "<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{full}</jid></bind></iq>"
                )
            }
            "iq" if matches!(stanza.attr("type"), "get" | "set") => {
                let from = if to.is_empty() {
                    String::new()
                } else {
                    format!(" from='{}'", escape(to))
                };
                format!("<iq type='result' id='{id}'{from} to='{full}'/>")
            }
            "presence" => {
                self.note(XmppEvent::Presence((!to.is_empty()).then(|| to.to_owned())));
                if to.is_empty() || bare.starts_with("mute@") || !stanza.attr("type").is_empty() {
                    return String::new();
                }
                if bare.starts_with("denied@") {
                    return format!(
                        "<presence type='error' from='{}' to='{full}' id='{id}'><error type='auth'>\
                         <registration-required xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
                        escape(to)
                    );
                }
                format!(
                    "<presence from='{}' to='{full}' id='{id}'><x xmlns='http://jabber.org/protocol/muc#user'>\
                     <item affiliation='none' role='participant'/><status code='110'/></x></presence>",
                    escape(to)
                )
            }
            "message" => self.message(stanza, full, bare),
            _ => String::new(),
        }
    }

    fn message(&self, stanza: &Element, full: &str, bare: &str) -> String {
        let (to, kind) = (stanza.attr("to"), stanza.attr("type"));
        self.note(XmppEvent::Message {
            to: to.to_owned(),
            kind: kind.to_owned(),
            body: stanza.child_text("body").unwrap_or_default().to_owned(),
            subject: stanza.child_text("subject").map(str::to_owned),
        });
        let bounce = |condition: &str| {
            format!(
                "<message type='error' from='{}' to='{full}' id='{}'><error type='cancel'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
                escape(to),
                escape(stanza.attr("id"))
            )
        };
        match (kind, bare.split('@').next().unwrap_or_default()) {
            (_, "err") => bounce("item-not-found"),
            (_, "full") => bounce("service-unavailable"),
            ("groupchat", "denied") => bounce("not-acceptable"),
            ("groupchat", "mute") => String::new(),
            ("groupchat", _) => {
                // Our nick is not kept: only the same id, from the room to us, matters.
                let inner: String = stanza.children.iter().map(|c| c.raw.as_str()).collect();
                let nick = self.nick_in(bare);
                format!(
                    "<message type='groupchat' from='{bare}/{}' to='{full}' id='{}'>{inner}</message>",
                    escape(&nick),
                    escape(stanza.attr("id"))
                )
            }
            _ => String::new(),
        }
    }

    /// The nick of the last join to that room.
    fn nick_in(&self, room: &str) -> String {
        let events = self.events.lock().expect("no panic inside");
        let joined = events.iter().rev().find_map(|event| match event {
            XmppEvent::Presence(Some(to)) => to.strip_prefix(room)?.strip_prefix('/').map(str::to_owned),
            _ => None,
        });
        joined.unwrap_or_default()
    }
}

fn open(out: &mut impl Write, header: &Element, features: &str) -> io::Result<()> {
    write!(
        out,
        "<?xml version='1.0'?><stream:stream from='{}' id='fake' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'><stream:features>{features}</stream:features>",
        escape(header.attr("to"))
    )?;
    out.flush()
}

fn plain(initial: &str) -> (String, Option<String>) {
    let bytes = BASE64.decode(initial).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut parts = text.split('\0').skip(1);
    let user = parts.next().unwrap_or_default().to_owned();
    let good = parts.next() == Some("pass");
    (user, good.then(String::new))
}

/// SCRAM-SHA-1 (RFC 5802) for the password `pass`; the proof of the server, if the client's was right.
fn scram(reader: &mut StreamReader<Box<dyn Wire>>, initial: &str) -> io::Result<(String, Option<String>)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "malformed SCRAM message");
    let first = String::from_utf8(BASE64.decode(initial).map_err(|_| bad())?).map_err(|_| bad())?;
    let bare = first.splitn(3, ',').nth(2).ok_or_else(bad)?.to_owned();
    let value = |message: &str, key: &str| {
        message
            .split(',')
            .find_map(|p| p.strip_prefix(key))
            .map(str::to_owned)
    };
    let user = value(&bare, "n=")
        .ok_or_else(bad)?
        .replace("=2C", ",")
        .replace("=3D", "=");
    let nonce = value(&bare, "r=").ok_or_else(bad)?;
    let server_first = format!("r={nonce}fakenonce,s={},i=4096", BASE64.encode(b"saltsaltsalt"));
    write!(
        reader.get_mut(),
        "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</challenge>",
        BASE64.encode(&server_first)
    )?;
    reader.get_mut().flush()?;
    let StreamEvent::Stanza(response) = reader.next_event()? else {
        return Err(bad());
    };
    let last = String::from_utf8(BASE64.decode(&response.text).map_err(|_| bad())?).map_err(|_| bad())?;
    let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(bad)?;
    let mut salted = [0; 20];
    pbkdf2::pbkdf2_hmac::<Sha1>(b"pass", b"saltsaltsalt", 4096, &mut salted);
    let client_key = mac(&salted, b"Client Key");
    let message = format!("{bare},{server_first},{without_proof}");
    let signature = mac(&Sha1::digest(client_key), message.as_bytes());
    let expected: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let good = BASE64.decode(proof).is_ok_and(|p| p == expected);
    let server = mac(&mac(&salted, b"Server Key"), message.as_bytes());
    Ok((
        user,
        good.then(|| BASE64.encode(format!("v={}", BASE64.encode(server)))),
    ))
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}
