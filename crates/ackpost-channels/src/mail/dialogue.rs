//! The dialogue with a mail server: commands, answers, and their limits.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

use crate::net::{Failure, said};

/// Longest line of an answer. RFC 5321 has 512 bytes.
const LINE_BYTES: u64 = 4096;
/// Maximum number of lines of one answer.
const LINES: usize = 128;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// All lines as one.
    pub(super) fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// Returns the id under which the server queued the message, if its answer names one.
    pub(super) fn queue_id(&self) -> Option<String> {
        let text = self.text();
        let lower = text.to_ascii_lowercase();
        let word = |at: usize| {
            let rest = text.get(at..)?.trim_start_matches([' ', '=', ':', '<', '"']);
            let id: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "-_.@+/".contains(*c))
                .take(128)
                .collect();
            let id = id.trim_end_matches('.').to_owned();
            (!id.is_empty()).then_some(id)
        };
        for mark in ["queued as ", "queued with id ", "queued id ", "id="] {
            if let Some(at) = lower.find(mark) {
                return word(at + mark.len());
            }
        }
        // Sendmail: `2.0.0 49A0B1cd012345 Message accepted for delivery`.
        let at = lower.find(" message accepted for delivery")?;
        let id = text.get(..at)?.rsplit(' ').next()?;
        (id.len() >= 6
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
        .then(|| id.to_owned())
    }
}

/// Extensions of the server, from its answer to EHLO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) starttls: bool,
    /// Mechanisms of the login, in capital letters.
    pub(super) auth: Vec<String>,
    /// Largest message in bytes, if the server names one; 0 if it only takes the size.
    pub(super) size: Option<u64>,
}

impl Extensions {
    fn read(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase().replace("AUTH=", "AUTH ");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("STARTTLS") => extensions.starttls = true,
                Some("SIZE") => {
                    extensions.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0));
                }
                Some("AUTH") => extensions.auth.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        extensions
    }
}

/// A dialogue over one connection.
pub(super) struct Dialogue {
    stream: BufReader<Box<dyn Stream>>,
    /// Time limit for the server's answer to one command.
    patience: Duration,
    /// True if causes may quote the server.
    quotes: bool,
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialogue").finish_non_exhaustive()
    }
}

impl Dialogue {
    pub(super) fn new(stream: Box<dyn Stream>, patience: Duration, quotes: bool) -> Self {
        Self {
            stream: BufReader::new(stream),
            patience,
            quotes,
        }
    }

    /// Returns the connection, for encryption.
    ///
    /// # Errors
    /// The server wrote something before the encryption, which could be somebody else's.
    pub(super) fn into_stream(self) -> Result<Box<dyn Stream>, Failure> {
        if self.stream.buffer().is_empty() {
            return Ok(self.stream.into_inner());
        }
        Err(Failure::permanent(
            "the server wrote more before the encryption began, which may come from somebody else",
            "use mode=ssl, or update the server",
        ))
    }

    /// Reads one answer.
    pub(super) async fn reply(&mut self) -> Result<Reply, Failure> {
        self.reply_within(self.patience).await
    }

    pub(super) async fn reply_within(&mut self, patience: Duration) -> Result<Reply, Failure> {
        match tokio::time::timeout(patience, self.read_reply()).await {
            Ok(reply) => reply,
            Err(_) => Err(Failure::temporary(
                "the mail server did not answer in time",
                "look at the mail server, or raise `rto=`",
            )),
        }
    }

    async fn read_reply(&mut self) -> Result<Reply, Failure> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.stream).take(LINE_BYTES);
            let read = bounded.read_until(b'\n', &mut line).await;
            let broken = |how: String| {
                Failure::temporary(
                    format!("the mail server {how}"),
                    "look at the mail server and the network",
                )
            };
            read.map_err(|error| broken(format!("broke the connection: {error}")))?;
            if line.is_empty() {
                return Err(broken("closed the connection before its answer".to_owned()));
            }
            if !line.ends_with(b"\n") && (line.len() as u64) < LINE_BYTES {
                return Err(broken(
                    "closed the connection in the middle of its answer".to_owned(),
                ));
            }
            let foreign = || {
                Failure::permanent(
                    "the answer is not that of a mail server",
                    "check host, port and mode in the URL",
                )
            };
            let line = line.strip_suffix(b"\n").ok_or_else(foreign)?;
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let code = code
                .filter(|code| (200..600).contains(code))
                .ok_or_else(foreign)?;
            let last = !line[3..].starts_with('-');
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if last {
                return Ok(Reply { code, lines });
            }
            if lines.len() >= LINES {
                return Err(foreign());
            }
        }
    }

    /// Writes a line. `line` must not hold a line end.
    async fn write(&mut self, line: &str) -> Result<(), Failure> {
        let text = format!("{}\r\n", line.replace(['\r', '\n'], ""));
        self.write_bytes(text.as_bytes()).await
    }

    pub(super) async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let stream = self.stream.get_mut();
        // In parts: the time limit is about a server that does not read, not about the size of a message.
        for part in bytes.chunks(64 * 1024) {
            let written = async {
                stream.write_all(part).await?;
                stream.flush().await
            };
            match tokio::time::timeout(self.patience, written).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return Err(Failure::temporary(
                        format!("the connection to the mail server broke: {error}"),
                        "look at the mail server and the network",
                    ));
                }
                Err(_) => {
                    return Err(Failure::temporary(
                        "the mail server stopped reading",
                        "look at the mail server, or raise `rto=`",
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn command(&mut self, line: &str) -> Result<Reply, Failure> {
        self.write(line).await?;
        self.reply().await
    }

    /// Waits for the greeting.
    pub(super) async fn greeting(&mut self) -> Result<(), Failure> {
        let reply = self.reply().await?;
        if reply.code == 220 {
            return Ok(());
        }
        Err(self.refused(
            "the mail server does not take connections from here",
            &reply,
            "ask its operator",
        ))
    }

    /// Introduces this program as `name`.
    pub(super) async fn hello(&mut self, name: &str) -> Result<Extensions, Failure> {
        let reply = self.command(&format!("EHLO {name}")).await?;
        if reply.code == 250 {
            return Ok(Extensions::read(&reply));
        }
        let reply = self.command(&format!("HELO {name}")).await?;
        if reply.code == 250 {
            return Ok(Extensions::default());
        }
        Err(self.refused(
            "the mail server does not take this program's greeting",
            &reply,
            "ask its operator",
        ))
    }

    /// Asks for encryption.
    pub(super) async fn starttls(&mut self) -> Result<(), Failure> {
        let reply = self.command("STARTTLS").await?;
        if reply.code == 220 {
            return Ok(());
        }
        Err(self.refused(
            "the mail server cannot encrypt now",
            &reply,
            "look at the mail server, or use mode=ssl",
        ))
    }

    /// Logs in.
    pub(super) async fn login(
        &mut self,
        extensions: &Extensions,
        user: &str,
        password: &str,
    ) -> Result<(), Failure> {
        let offers = |name: &str| extensions.auth.iter().any(|offered| offered == name);
        let reply = if offers("PLAIN") {
            let word = BASE64.encode(format!("\0{user}\0{password}"));
            self.command(&format!("AUTH PLAIN {word}")).await?
        } else if offers("LOGIN") {
            let mut reply = self.command("AUTH LOGIN").await?;
            for word in [user, password] {
                if reply.code == 334 {
                    reply = self.command(&BASE64.encode(word)).await?;
                }
            }
            reply
        } else if extensions.auth.is_empty() {
            return Err(Failure::permanent(
                "the mail server offers no login on this connection",
                "use mailtos:// or mode=ssl, or remove user and password from the URL",
            ));
        } else {
            return Err(Failure::permanent(
                format!(
                    "the mail server offers only logins that are not supported here: {}",
                    said(&extensions.auth.join(", "))
                ),
                "allow PLAIN or LOGIN on the mail server",
            ));
        };
        match reply.code {
            235 => Ok(()),
            _ => Err(self.refused(
                "the mail server refuses the login",
                &reply,
                "check user and password in the URL; some providers need a password for programs",
            )),
        }
    }

    /// Returns the failure that an answer means: 4xx passes, everything else does not.
    pub(super) fn refused(&self, cause: &str, reply: &Reply, remedy: &str) -> Failure {
        let words = if self.quotes {
            said(&reply.text())
        } else {
            String::new()
        };
        let words = if words.is_empty() {
            format!("({})", reply.code)
        } else {
            format!("({} {words})", reply.code)
        };
        let cause = format!("{cause} {words}");
        if (400..500).contains(&reply.code) {
            Failure::temporary(cause, remedy)
        } else {
            Failure::permanent(cause, remedy)
        }
    }

    /// Sends QUIT; the answer does not matter.
    pub(super) async fn quit(mut self) {
        if self.write("QUIT").await.is_ok() {
            let _ = self.reply_within(Duration::from_millis(500)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply {
            code: 250,
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn the_queue_id_of_known_servers_is_found() {
        for (text, id) in [
            ("2.0.0 Ok: queued as 4XyZ7k0Lz1z9rvB", Some("4XyZ7k0Lz1z9rvB")),
            ("OK id=1rXyZa-0001aB-2C", Some("1rXyZa-0001aB-2C")),
            (
                "2.0.0 49A0B1cd012345 Message accepted for delivery",
                Some("49A0B1cd012345"),
            ),
            (
                "2.6.0 <a.b@c.org> [InternalId=1] Queued mail for delivery",
                Some("1"),
            ),
            ("OK", None),
            ("", None),
        ] {
            assert_eq!(reply(text).queue_id().as_deref(), id, "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_ends_in_the_middle_may_come_again() {
        for (written, permanent) in [
            ("250-fake\r\n250 hal", false),
            ("250-fake\r\n", false),
            ("what\r\n", true),
        ] {
            let (near, mut far) = tokio::io::duplex(1024);
            far.write_all(written.as_bytes()).await.expect("room");
            drop(far);
            let mut dialogue = Dialogue::new(Box::new(near), Duration::from_secs(5), true);
            let failure = dialogue.reply().await.expect_err(written);
            assert_eq!(failure.permanent, permanent, "{written}: {failure:?}");
        }
    }

    #[test]
    fn abilities_are_read_in_any_case() {
        let extensions = Extensions::read(&reply(
            "h.org\nstarttls\nSize 1000\nAUTH=LOGIN\nauth plain xoauth2\nSIZE",
        ));
        assert!(extensions.starttls);
        assert_eq!(extensions.auth, ["LOGIN", "PLAIN", "XOAUTH2"]);
        assert_eq!(extensions.size, Some(0));
        assert_eq!(
            Extensions::read(&reply("STARTTLS")),
            Extensions::default(),
            "the first line is a name"
        );
    }
}
