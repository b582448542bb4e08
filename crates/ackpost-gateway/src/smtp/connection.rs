//! The bytes of an SMTP connection: lines that end with CR LF, and the data of a mail up to the line with one dot.

use std::io;
use std::time::Duration;

use bounded_http::ActiveRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::memory::Share;

/// Longest command with its line end; RFC 5321 asks for 512, AUTH for more.
const MAX_LINE: usize = 4 << 10;
/// Bytes that are read at once, of commands and of mails.
const SMALL: usize = 512;
const CHUNK: usize = 16 << 10;
/// Maximum number of bytes that one chunk adds to a mail: a CR of the chunk before comes with it.
const MOST_AT_ONCE: usize = CHUNK + 2;
/// Step by which the memory for a mail grows.
const GROWTH: usize = 1 << 20;
/// Longest time of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest time to write an answer.
const WRITE: Duration = Duration::from_secs(30);
/// Maximum number of bytes of a refused mail that are read.
const READ_AWAY: usize = 64 << 20;
/// Minimum number of bytes per second of a mail on average, after a while.
const LEAST_RATE: u64 = 512;
const RATE_COUNTS_AFTER: Duration = Duration::from_secs(10);

/// A connection, with or without TLS.
pub(super) struct Connection {
    stream: Stream,
    /// Bytes that were read and not used.
    ahead: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A line of a client.
pub(super) enum Line {
    Text(String),
    /// It is longer than any command.
    TooLong,
    /// It ends with LF alone, or has a CR or NUL inside.
    BareNewline,
    /// The client left.
    End,
}

/// The data of a mail.
pub(super) enum Data {
    Whole(Vec<u8>),
    /// It is larger than the limit.
    TooLarge,
    /// A line ends with CR or LF alone, or there is a NUL: mail servers disagree where such a mail ends.
    BareNewline,
    /// There is no memory for it now.
    NoMemory,
    /// The client left, or the rest of a refused mail was too much.
    End,
}

impl Connection {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self {
            stream: Stream::Plain(stream),
            ahead: Vec::new(),
        }
    }

    fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self {
            stream: Stream::Tls(Box::new(stream)),
            ahead: Vec::new(),
        }
    }

    /// Begins TLS on a connection.
    pub(super) async fn handshake(tls: &TlsAcceptor, stream: TcpStream) -> io::Result<Self> {
        let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??;
        Ok(Self::tls(stream))
    }

    pub(super) fn is_secure(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// True when the client has sent more than it was asked for.
    pub(super) fn has_more(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Returns the connection below, if it has no TLS yet.
    pub(super) fn into_plain(self) -> Option<TcpStream> {
        match self.stream {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) => None,
        }
    }

    async fn more(&mut self, most: usize) -> io::Result<usize> {
        // An idle connection holds no large buffer.
        if self.ahead.is_empty() && self.ahead.capacity() > 4 * most {
            self.ahead = Vec::new();
        }
        self.ahead.reserve(most);
        match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.ahead).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.ahead).await,
        }
    }

    /// Writes an answer.
    pub(super) async fn say(&mut self, text: &str) -> io::Result<()> {
        let write = async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(text.as_bytes()).await,
                Stream::Tls(stream) => {
                    stream.write_all(text.as_bytes()).await?;
                    stream.flush().await
                }
            }
        };
        tokio::time::timeout(WRITE, write).await?
    }

    /// Shuts the transport down.
    pub(super) async fn close(&mut self) {
        let shut = async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.shutdown().await,
                Stream::Tls(stream) => stream.shutdown().await,
            }
        };
        let _ = tokio::time::timeout(WRITE, shut).await;
    }

    /// Reads a line, without its end.
    pub(super) async fn line(&mut self) -> io::Result<Line> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.ahead) {
                if end >= MAX_LINE {
                    return Ok(Line::TooLong);
                }
                let line: Vec<u8> = self.ahead.drain(..=end).collect();
                let Some(text) = line
                    .strip_suffix(b"\r\n")
                    .filter(|text| !text.iter().any(|byte| b"\r\n\0".contains(byte)))
                else {
                    return Ok(Line::BareNewline);
                };
                return Ok(Line::Text(String::from_utf8_lossy(text).into_owned()));
            }
            if self.ahead.len() >= MAX_LINE {
                return Ok(Line::TooLong);
            }
            if self.more(SMALL).await? == 0 {
                return Ok(Line::End);
            }
        }
    }

    /// Reads the data of a mail of at most `limit` bytes. `pause` is the longest time without a byte. `active` hears of the
    /// bytes.
    pub(super) async fn data(
        &mut self,
        limit: usize,
        pause: Duration,
        share: &mut Share,
        active: Option<&ActiveRequest>,
    ) -> io::Result<Data> {
        let mut reader = Reader::new(limit);
        let began = Instant::now();
        let mut read = 0_usize;
        let mut no_memory = false;
        loop {
            let used = reader.take(&self.ahead);
            self.ahead.drain(..used);
            read += used;
            if reader.state == At::End {
                break;
            }
            if !no_memory && !reader.grow(share).await {
                (no_memory, reader.limit) = (true, 0);
                reader.out = Vec::new();
            }
            let due = began + RATE_COUNTS_AFTER + Duration::from_secs(read as u64 / LEAST_RATE);
            let until = due.min(Instant::now() + pause);
            // A client that ended its mail with bare line ends waits for the answer.
            let unfinished = if reader.bare { Data::BareNewline } else { Data::End };
            let Ok(more) = tokio::time::timeout_at(until, self.more(CHUNK)).await else {
                return Ok(unfinished);
            };
            let more = more?;
            if let Some(active) = active {
                active.data_came(more);
            }
            if more == 0 || read > READ_AWAY.max(limit.saturating_mul(2)) {
                return Ok(unfinished);
            }
        }
        Ok(if reader.bare {
            Data::BareNewline
        } else if no_memory {
            Data::NoMemory
        } else if reader.over {
            Data::TooLarge
        } else {
            Data::Whole(reader.out)
        })
    }
}

/// The part of a mail that the reader is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    /// After the dot that begins a line.
    Dot,
    /// After the dot and a CR.
    DotCr,
    Inside,
    /// After a CR.
    Cr,
    End,
}

/// Finds the end of a mail, and only CR LF . CR LF is one.
struct Reader {
    state: At,
    out: Vec<u8>,
    limit: usize,
    over: bool,
    bare: bool,
}

impl Reader {
    fn new(limit: usize) -> Self {
        Self {
            state: At::LineStart,
            out: Vec::new(),
            limit,
            over: false,
            bare: false,
        }
    }

    /// Makes room for the next bytes, in steps that the memory for all bodies covers; false if there is none.
    async fn grow(&mut self, share: &mut Share) -> bool {
        if self.out.capacity() - self.out.len() >= MOST_AT_ONCE {
            return true;
        }
        let more = GROWTH
            .min(self.limit.saturating_sub(self.out.len()))
            .max(MOST_AT_ONCE);
        // While it grows it is there twice, which is what a share counts.
        share.cover(self.out.len() + more).await.is_ok() && self.out.try_reserve_exact(more).is_ok()
    }

    /// Takes bytes up to the end of the mail; returns how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == At::Inside {
                // Up to the next byte that is more than content.
                let rest = &bytes[at..];
                let plain = memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                let fits = plain.min(self.limit.saturating_sub(self.out.len()));
                self.out.extend_from_slice(&rest[..fits]);
                self.over |= fits < plain;
                at += plain;
            }
            if let Some(byte) = bytes.get(at) {
                self.byte(*byte);
                at += 1;
            }
            if self.state == At::End {
                return at;
            }
        }
        bytes.len()
    }

    fn byte(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (At::LineStart, b'.') => At::Dot,
            (At::Dot, b'\r') => At::DotCr,
            (At::DotCr, b'\n') => At::End,
            (At::Cr, b'\n') => {
                self.push(b'\r');
                self.push(b'\n');
                At::LineStart
            }
            (At::Cr | At::DotCr, byte) => {
                self.bare = true;
                self.push(b'\r');
                self.inside(byte)
            }
            // The dot that begins a line is not part of it.
            (_, byte) => self.inside(byte),
        };
    }

    fn inside(&mut self, byte: u8) -> At {
        match byte {
            b'\r' => return At::Cr,
            b'\n' | 0 => self.bare = true,
            _ => {}
        }
        self.push(byte);
        At::Inside
    }

    fn push(&mut self, byte: u8) {
        if self.out.len() < self.limit {
            self.out.push(byte);
        } else {
            self.over = true;
        }
    }
}

/// Reads any bytes as the data of a mail, whole and in two packets. A mail that ends without a complaint ends at the only
/// place at which any server can see its end.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_any(bytes: &[u8]) {
    const LIMIT: usize = 1 << 10;
    let mut whole = Reader::new(LIMIT);
    let used = whole.take(bytes);
    assert!(whole.out.len() <= LIMIT);
    let cut = bytes
        .first()
        .map_or(0, |byte| usize::from(*byte).min(bytes.len()));
    let mut pieces = Reader::new(LIMIT);
    let mut again = pieces.take(&bytes[..cut]);
    if pieces.state != At::End {
        again += pieces.take(&bytes[cut..]);
    }
    assert_eq!(
        (pieces.out, pieces.bare, pieces.over, pieces.state, again),
        (whole.out, whole.bare, whole.over, whole.state, used)
    );
    if whole.state == At::End && !whole.bare {
        let mail = [b"\r\n", &bytes[..used]].concat();
        let ends = |end: &[u8]| mail.windows(end.len()).filter(|window| *window == end).count();
        assert_eq!(ends(b"\r\n.\r\n"), 1);
        assert_eq!(ends(b"\n"), ends(b"\r\n"));
        assert_eq!(ends(b"\r"), ends(b"\r\n"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> (Reader, usize) {
        let mut reader = Reader::new(1 << 10);
        let used = reader.take(bytes);
        (reader, used)
    }

    #[test]
    fn only_the_whole_sequence_ends_a_mail() {
        let (reader, used) = read(b"a\r\n..b\r\n.c\r\n.\r\nQUIT\r\n");
        assert_eq!(
            (reader.out.as_slice(), used, reader.bare),
            (&b"a\r\n.b\r\nc\r\n"[..], 15, false)
        );
        assert_eq!(read(b".\r\n").1, 3, "an empty mail");
        for smuggled in [
            &b"a\n.\n"[..],
            b"a\n.\r\nMAIL FROM:<x>\r\n",
            b"a\r\n.\nMAIL FROM:<x>\r\n",
            b"a\r.\r\nMAIL",
            b"a\r\n.\rMAIL",
            b"a\r\r\n.\nMAIL",
            b"a\0b\r\n",
        ] {
            let (reader, _) = read(smuggled);
            assert!(reader.state != At::End && reader.bare, "{smuggled:?}");
        }
    }

    /// A mail never grows beyond the memory that was asked for, which would double it.
    #[tokio::test]
    async fn a_mail_grows_in_the_steps_that_the_memory_covers() {
        let memory = crate::memory::Memory::new(64 << 20, 0);
        let mut share = memory.share();
        let mut reader = Reader::new(8 << 20);
        // The CR of each chunk is added with the next one.
        let mut chunk = vec![b'x'; CHUNK];
        chunk[CHUNK - 1] = b'\r';
        let mut next = chunk.clone();
        next[0] = b'\n';
        reader.grow(&mut share).await;
        reader.take(&chunk);
        for _ in 0..400 {
            assert!(reader.grow(&mut share).await);
            let before = reader.out.capacity();
            reader.take(&next);
            assert_eq!(reader.out.capacity(), before, "at {} bytes", reader.out.len());
        }
    }

    #[test]
    fn a_large_mail_is_cut_off_at_its_limit() {
        let mut reader = Reader::new(4);
        reader.take(b"abcdefgh\r\n.\r\n");
        assert_eq!((reader.out.len(), reader.over, reader.state), (4, true, At::End));
    }

    proptest! {
        #[test]
        fn any_data_has_one_end(bytes in "[.a\\r\\n\u{1}]{0,60}") {
            crate::smtp::read_any(bytes.as_bytes());
        }

        #[test]
        fn the_place_of_a_cut_between_packets_changes_nothing(bytes in "[.a\\r\\n]{0,40}", cut in 0_usize..40) {
            let bytes = bytes.as_bytes();
            let (whole, used) = read(bytes);
            let mut reader = Reader::new(1 << 10);
            let cut = cut.min(bytes.len());
            let mut used_again = reader.take(&bytes[..cut]);
            if reader.state != At::End {
                used_again += reader.take(&bytes[cut..]);
            }
            prop_assert_eq!((whole.out, whole.bare, used), (reader.out, reader.bare, used_again));
        }
    }
}
