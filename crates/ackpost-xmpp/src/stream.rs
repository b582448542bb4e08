//! One XML stream over TCP or TLS: elements in, stanzas out, both at once.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::error::{Step, XmppError};
use crate::ns;
use crate::xml::{Element, Incoming, Reader};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// Time that a stream without a version has to say more.
const OLD_STREAM_WAIT: Duration = Duration::from_secs(1);

/// Time to wait for the last words of a server once nothing can be written any more.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// Facts about the line to a server, and about the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    /// The shortest time between something written and the next bytes that came: not much more than a round trip.
    pub(crate) fastest: Option<Duration>,
    /// The longest such time. It means something during the login, when everything written asks for an answer.
    pub(crate) slowest: Option<Duration>,
    pub(crate) kind: ServerKind,
}

/// A server program whose order of answers is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// Handles the stanzas of a stream one after the other, deliveries to local sessions included.
    Prosody,
    /// Each session is its own process: a recipient's session works beside the sender's.
    Ejabberd,
    #[default]
    Unknown,
}

impl Line {
    /// Returns true if an answer proves that everything written before the question was handled to its end.
    pub(crate) fn in_order(self) -> bool {
        self.kind == ServerKind::Prosody
    }
}

/// The transport of the stream.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[cfg(target_os = "linux")]
impl Transport {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// The way in which a stream broke.
#[derive(Debug)]
pub(crate) enum Broken {
    /// End of file, or the connection was reset.
    Lost,
    /// The other side sent no XML, or no stream.
    NotXmpp(String),
    /// The first bytes are those of TLS.
    Tls,
}

impl Broken {
    pub(crate) fn at(self, step: Step) -> XmppError {
        match self {
            Self::Lost => XmppError::ConnectionLost { step },
            Self::NotXmpp(reason) => XmppError::NotXmpp { reason },
            Self::Tls => XmppError::PortExpectsTls,
        }
    }
}

/// A stream in both directions. All waiting is cancel safe: nothing is lost when a future is dropped.
pub(crate) struct Stream {
    io: Transport,
    reader: Reader,
    /// Read and not yet parsed.
    input: Vec<u8>,
    parsed: usize,
    /// Bytes that are to be written.
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// Writing failed; until then the other side's last words are waited for.
    write_failed: Option<Pin<Box<Sleep>>>,
    /// The first byte came.
    began: bool,
    /// Number of bytes that came in all.
    received: u64,
    /// Time since which something that was written waits for an answer.
    asked: Option<Instant>,
    line: Line,
    /// The id of the stream looks as Prosody writes it.
    uuid: bool,
    /// The read buffer, kept.
    scratch: Box<[u8]>,
}

impl Stream {
    pub(crate) fn new(io: Transport) -> Self {
        Self {
            io,
            reader: Reader::new(),
            input: Vec::new(),
            parsed: 0,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            write_failed: None,
            began: false,
            received: 0,
            asked: None,
            line: Line::default(),
            uuid: false,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Expects a fresh stream header from now on (after TLS or SASL). Bytes that were read and not parsed stay.
    pub(crate) fn restart(&mut self) {
        self.reader = Reader::new();
    }

    /// Queues text; it is written whenever the stream is polled.
    pub(crate) fn queue(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
    }

    /// Returns true if everything queued was handed to the operating system.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.unflushed
    }

    /// Returns true if bytes came that nothing has read yet.
    pub(crate) fn has_unread(&self) -> bool {
        self.parsed < self.input.len()
    }

    /// Returns what is known about the line and the server so far.
    pub(crate) fn line(&self) -> Line {
        self.line
    }

    /// The connection below, for STARTTLS.
    pub(crate) fn into_transport(self) -> Transport {
        self.io
    }

    /// The next element, writing what is queued meanwhile.
    pub(crate) async fn next(&mut self) -> Result<Incoming, Broken> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next element that is `wanted`, with stream errors and ends turned into errors. Everything else is passed
    /// over and wins no time: `limit` holds for all of it together.
    pub(crate) async fn expect(
        &mut self,
        limit: Duration,
        step: Step,
        domain: &str,
        wanted: impl Fn(&Element) -> bool,
    ) -> Result<Element, XmppError> {
        let mut step = step;
        let mut until = Instant::now() + limit;
        let mut old = false;
        loop {
            let before = self.received;
            let incoming = match timeout_at(until, self.next()).await {
                Ok(Err(Broken::Lost)) | Err(_) if old => {
                    return Err(XmppError::OldStream {
                        domain: domain.to_owned(),
                    });
                }
                Ok(incoming) => incoming.map_err(|broken| broken.at(step))?,
                Err(_) if self.received > before => {
                    return Err(XmppError::TooSlow {
                        step,
                        bytes: self.received - before,
                        after: limit,
                    });
                }
                Err(_) => return Err(XmppError::AnswerTimeout { step, after: limit }),
            };
            match incoming {
                Incoming::Open(header) if step == Step::Opening => {
                    step = Step::Features;
                    // Without a version no features follow; a stream error may.
                    old = header.get("version").is_none();
                    until = Instant::now() + if old { limit.min(OLD_STREAM_WAIT) } else { limit };
                }
                Incoming::Close if old => {
                    return Err(XmppError::OldStream {
                        domain: domain.to_owned(),
                    });
                }
                Incoming::Close => return Err(XmppError::ConnectionLost { step }),
                Incoming::Element(element) if element.is("error", ns::STREAM) => {
                    return Err(stream_error(&element, domain));
                }
                Incoming::Element(element) if wanted(&element) => return Ok(element),
                Incoming::Open(_) | Incoming::Element(_) => {}
            }
        }
    }

    /// Waits until everything queued is written; what arrives meanwhile is kept.
    pub(crate) async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_write_out(cx)).await
    }

    /// Ends the stream without waiting for the other side: ejabberd takes 100 ms to answer.
    pub(crate) async fn close(mut self, limit: Duration) {
        self.queue("</stream:stream>");
        let _ = timeout(limit, self.flush_and_shut_down()).await;
    }

    /// Ends the stream and waits until the other side has ended it too. Data that it still sends is dropped.
    ///
    /// A connection that is closed while it holds unread bytes is reset, and a server that sees the reset first takes the session
    /// for a lost one: it keeps it for minutes, and gives messages to it that nobody reads.
    pub(crate) async fn close_and_wait(mut self, limit: Duration) {
        self.queue("</stream:stream>");
        let _ = timeout(limit, async {
            let _ = self.flush().await;
            while !matches!(
                poll_fn(|cx| self.poll_next(cx)).await,
                Ok(Incoming::Close) | Err(_)
            ) {}
            self.flush_and_shut_down().await
        })
        .await;
    }

    async fn flush_and_shut_down(&mut self) -> io::Result<()> {
        let _ = self.flush().await;
        match &mut self.io {
            Transport::Tcp(tcp) => tcp.shutdown().await,
            Transport::Tls(tls) => tls.shutdown().await,
        }
    }

    /// Recognises the server by the form of its stream.
    fn recognise(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Open(header) => self.uuid = header.get("id").is_some_and(is_uuid),
            Incoming::Element(features) if features.is("features", ns::STREAM) => {
                let node = features.find("c", ns::CAPS).and_then(|caps| caps.get("node"));
                if let Some(node) = node {
                    self.line.kind = match node.trim_end_matches('/') {
                        // Two signs that have nothing to do with each other: neither alone is believed.
                        "http://prosody.im" if self.uuid => ServerKind::Prosody,
                        "http://www.process-one.net/en/ejabberd" => ServerKind::Ejabberd,
                        _ => ServerKind::Unknown,
                    };
                }
            }
            _ => {}
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        loop {
            if self.parsed < self.input.len() {
                let mut rest = &self.input[self.parsed..];
                let result = self.reader.feed(&mut rest);
                self.parsed = self.input.len() - rest.len();
                if self.parsed == self.input.len() {
                    self.input.clear();
                    self.parsed = 0;
                }
                match result {
                    Ok(Some(incoming)) => {
                        self.recognise(&incoming);
                        return Poll::Ready(Ok(incoming));
                    }
                    Ok(None) => {}
                    Err(reason) => return Poll::Ready(Err(Broken::NotXmpp(reason))),
                }
            }
            // A broken pipe while writing is reported only when nothing is left to read: the reason for it (a stream
            // error) is often there. It may have reached the system although the runtime does not know it yet, so
            // that one look is not enough; the end of the connection follows it.
            if self.write_failed.is_none() && matches!(self.poll_write_out(cx), Poll::Ready(Err(_))) {
                self.write_failed = Some(Box::pin(sleep(LAST_WORDS_WAIT)));
            }
            match self.poll_read_in(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::Lost)),
                Poll::Ready(Ok(_)) if !self.began => {
                    self.began = true;
                    // TLS alert or handshake records begin with 0x15 or 0x16 and the major version 3.
                    if matches!(self.input[..], [0x15 | 0x16, 0x03, ..]) {
                        return Poll::Ready(Err(Broken::Tls));
                    }
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    let over = self.write_failed.as_mut().map(|wait| wait.as_mut().poll(cx));
                    return match over {
                        Some(Poll::Ready(())) => Poll::Ready(Err(Broken::Lost)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }

    fn poll_read_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Prosody leaves Nagle's algorithm on: its second answer waits for our ACK, which Linux
        // would delay by 40 ms. The switch is not permanent, so it is set before each read.
        #[cfg(target_os = "linux")]
        let _ = self.io.tcp().set_quickack(true);
        let mut buffer = ReadBuf::new(&mut self.scratch);
        let polled = match &mut self.io {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Transport::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, &mut buffer),
        };
        match polled {
            Poll::Ready(Ok(())) => {
                self.input.extend_from_slice(buffer.filled());
                self.received += buffer.filled().len() as u64;
                if let Some(asked) = self.asked.take() {
                    let took = asked.elapsed();
                    self.line.fastest = Some(self.line.fastest.map_or(took, |fastest| fastest.min(took)));
                    self.line.slowest = Some(self.line.slowest.map_or(took, |slowest| slowest.max(took)));
                }
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            let polled = match &mut self.io {
                Transport::Tcp(tcp) => Pin::new(tcp).poll_write(cx, rest),
                Transport::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, rest),
            };
            match polled {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::Lost)),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.unflushed = true;
                    self.asked.get_or_insert_with(Instant::now);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        self.output.clear();
        self.written = 0;
        if self.unflushed {
            let polled = match &mut self.io {
                Transport::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
                Transport::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            };
            match polled {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Lost)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The opening tag of our direction. `from` only under encryption: it names the account.
pub(crate) fn header(domain: &str, from: Option<&str>) -> String {
    let mut out = String::from("<?xml version='1.0'?><stream:stream to='");
    crate::xml::escape_into(&mut out, domain);
    if let Some(from) = from {
        out.push_str("' from='");
        crate::xml::escape_into(&mut out, from);
    }
    out.push_str(
        "' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    out
}

/// RFC 6120 section 4.9: the error that the server sends before it ends the stream.
pub(crate) fn stream_error(element: &Element, domain: &str) -> XmppError {
    const STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
    let text = element.content_of("text", STREAMS).map(shorten);
    let condition = element
        .elements()
        .find(|child| child.ns == STREAMS && child.name != "text")
        .map_or_else(
            || "undefined-condition".to_owned(),
            |child| child.name.to_string(),
        );
    match condition.as_str() {
        "host-unknown" | "host-gone" => XmppError::HostUnknown {
            domain: domain.to_owned(),
            text,
        },
        "system-shutdown" => XmppError::ShuttingDown { text },
        "conflict" => XmppError::Replaced { text },
        "see-other-host" => XmppError::SeeOtherHost {
            domain: domain.to_owned(),
            to: shorten(element.content_of("see-other-host", STREAMS).unwrap_or_default()),
        },
        // ejabberd's words for a port where encryption is required.
        "policy-violation"
            if text
                .as_deref()
                .is_some_and(|text| text.to_lowercase().contains("starttls")) =>
        {
            XmppError::TlsRequired {
                domain: domain.to_owned(),
            }
        }
        // The words of Prosody and ejabberd; no condition of its own says it.
        "policy-violation"
            if text
                .as_deref()
                .is_some_and(|text| text.to_lowercase().contains("too big")) =>
        {
            XmppError::StanzaTooBig { text }
        }
        _ => XmppError::StreamError { condition, text },
    }
}

/// A random UUID, as Prosody names its streams.
fn is_uuid(id: &str) -> bool {
    let groups: Vec<&str> = id.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups[2].starts_with('4')
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A server's words, bounded, on one line.
pub(crate) fn shorten(text: impl AsRef<str>) -> String {
    let line: String = text.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 200 {
        line
    } else {
        line.chars().take(199).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The runtime learns of bytes and of resets by asking the system now and then. A write that fails may come first.
    #[tokio::test]
    async fn the_last_words_are_heard_although_writing_failed_first() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut stream = Stream::new(Transport::Tcp(tcp));
        stream.queue("<message/>");
        assert!(futures_util::poll!(std::pin::pin!(stream.next())).is_pending());
        // From here to the failed write the runtime has no turn. The server never reads the message: its end is a reset.
        server
            .write_all(
                b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>\
                <stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
            )
            .unwrap();
        drop(server);
        stream.queue("<message/>");
        assert!(futures_util::poll!(std::pin::pin!(stream.flush())).is_ready());
        assert!(matches!(stream.next().await, Ok(Incoming::Open(_))));
        let Ok(Incoming::Element(error)) = stream.next().await else {
            panic!("no stream error");
        };
        assert!(matches!(
            stream_error(&error, "localhost"),
            XmppError::ShuttingDown { .. }
        ));
        assert!(matches!(stream.next().await, Ok(Incoming::Close)));
        assert!(matches!(stream.next().await, Err(Broken::Lost)));
    }
}
