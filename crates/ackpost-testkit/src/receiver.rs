//! The other side of an XMPP conversation: logs in, joins rooms, and says what arrived.
//!
//! It speaks clear text with PLAIN, which the test servers allow on the loopback, so that it
//! depends on nothing the client under test does.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::xml::{Element, StreamEvent, StreamReader, escape};

const STEP: Duration = Duration::from_secs(20);

/// A logged-in account that collects every stanza.
#[derive(Debug)]
pub struct Receiver {
    /// Its full JID.
    pub jid: String,
    stream: TcpStream,
    stanzas: mpsc::Receiver<Element>,
    seen: Vec<Element>,
}

impl Receiver {
    /// Logs in to `127.0.0.1:port` as `user@domain`, becomes available and joins `rooms`
    /// (`room@service`, or `room@service:password`) under the nick `user`.
    ///
    /// # Panics
    /// When any step of it fails.
    pub fn join(port: u16, domain: &str, user: &str, password: &str, rooms: &[&str]) -> Self {
        Self::try_join(port, domain, user, password, rooms)
            .unwrap_or_else(|e| panic!("{user}@{domain} cannot receive: {e}"))
    }

    /// The same, for a server that may be down.
    ///
    /// # Errors
    /// When any step of it fails.
    pub fn try_join(port: u16, domain: &str, user: &str, password: &str, rooms: &[&str]) -> io::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP))?;
        let mut reader = StreamReader::new(stream.try_clone()?);
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        stream.write_all(header.as_bytes())?;
        wait_for(&mut reader, |e| e.name == "stream:features")?;
        let plain = BASE64.encode(format!("\0{user}\0{password}"));
        write!(
            stream,
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        )?;
        let answer = wait_for(&mut reader, |e| e.name == "success" || e.name == "failure")?;
        if answer.name == "failure" {
            return Err(io::Error::other(answer.raw));
        }
        let mut reader = StreamReader::new(stream.try_clone()?);
        stream.write_all(header.as_bytes())?;
        wait_for(&mut reader, |e| e.name == "stream:features")?;
        write!(
            stream,
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
        )?;
        let bound = wait_for(&mut reader, |e| e.attr("id") == "bind")?;
        let jid = bound
            .child("bind")
            .and_then(|b| b.child_text("jid"))
            .ok_or_else(|| io::Error::other(bound.raw.clone()))?
            .to_owned();
        stream.write_all(b"<presence/>")?;
        let mut early = Vec::new();
        for room in rooms {
            let (room, secret) = room.split_once(':').map_or((*room, None), |(r, s)| (r, Some(s)));
            let secret = secret
                .map(|s| format!("<password>{}</password>", escape(s)))
                .unwrap_or_default();
            write!(
                stream,
                "<presence to='{room}/{user}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/>{secret}</x></presence>"
            )?;
            let me = format!("{room}/{user}");
            loop {
                let stanza = wait_for(&mut reader, |_| true)?;
                if stanza.name == "presence" && stanza.attr("from").eq_ignore_ascii_case(&me) {
                    if stanza.attr("type") == "error" {
                        return Err(io::Error::other(stanza.raw));
                    }
                    break;
                }
                early.push(stanza);
            }
        }
        // The server has handled our presence once it answers this.
        write!(
            stream,
            "<iq type='get' id='sync' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
        )?;
        loop {
            let stanza = wait_for(&mut reader, |_| true)?;
            if stanza.attr("id") == "sync" {
                break;
            }
            early.push(stanza);
        }
        stream.set_read_timeout(None)?;
        let (send, stanzas) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(StreamEvent::Stanza(stanza)) = reader.next_event() {
                if send.send(stanza).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            jid,
            stream,
            stanzas,
            seen: early,
        })
    }

    /// Waits for a stanza that fits, and returns it; stanzas that came earlier count too, each once.
    pub fn wait(&mut self, timeout: Duration, fits: impl Fn(&Element) -> bool) -> Option<Element> {
        if let Some(at) = self.seen.iter().position(&fits) {
            return Some(self.seen.remove(at));
        }
        let until = Instant::now() + timeout;
        while let Ok(stanza) = self
            .stanzas
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if fits(&stanza) {
                return Some(stanza);
            }
            self.seen.push(stanza);
        }
        None
    }

    /// Takes every stanza that comes until the connection ends, or until nothing came for so long. `true` while
    /// the connection stands.
    pub fn drain(&mut self, quiet: Duration, mut take: impl FnMut(&Element)) -> bool {
        for stanza in self.seen.drain(..) {
            take(&stanza);
        }
        loop {
            match self.stanzas.recv_timeout(quiet) {
                Ok(stanza) => take(&stanza),
                Err(mpsc::RecvTimeoutError::Timeout) => return true,
                Err(mpsc::RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Waits for a message with exactly this body.
    ///
    /// # Panics
    /// When it does not come within 20 seconds.
    pub fn wait_body(&mut self, body: &str) -> Element {
        self.wait(STEP, |s| {
            s.name == "message" && s.child_text("body") == Some(body)
        })
        .unwrap_or_else(|| panic!("no message {body:?} reached {}; seen: {:#?}", self.jid, self.seen))
    }

    /// Sends raw XML, for tests that answer.
    pub fn send(&mut self, xml: &str) {
        self.stream.write_all(xml.as_bytes()).expect("the stream is open");
    }

    /// Asks with the payload of an iq of type `set` and waits for the answer.
    ///
    /// # Panics
    /// When none comes within 20 seconds.
    pub fn set(&mut self, id: &str, to: Option<&str>, payload: &str) -> Element {
        let to = to.map(|to| format!(" to='{}'", escape(to))).unwrap_or_default();
        self.send(&format!("<iq type='set' id='{id}'{to}>{payload}</iq>"));
        self.wait(STEP, |stanza| stanza.name == "iq" && stanza.attr("id") == id)
            .unwrap_or_else(|| panic!("no answer to {id}"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.stream.write_all(b"</stream:stream>");
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn wait_for(reader: &mut StreamReader<TcpStream>, fits: impl Fn(&Element) -> bool) -> io::Result<Element> {
    loop {
        match reader.next_event()? {
            StreamEvent::Stanza(stanza) if stanza.name == "stream:error" => {
                return Err(io::Error::other(stanza.raw));
            }
            StreamEvent::Stanza(stanza) if fits(&stanza) => return Ok(stanza),
            StreamEvent::Open(_) | StreamEvent::Stanza(_) => {}
            StreamEvent::Closed => return Err(io::Error::other("the server closed the stream")),
        }
    }
}
