//! The commands of one SMTP connection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use base64::Engine as _;
use bounded_http::{ActiveRequest, Permit};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::connection::{Connection, Data, Line};
use super::deliver;
use super::mailbox::{local_part, path};
use crate::auth::{self, Caller};
use crate::config::Access;
use crate::metrics::SmtpCounters;
use crate::recipient::Recipient;
use crate::reply::Reply;
use crate::state::Gateway;
use crate::token::Scope;

/// Maximum number of recipients of one mail.
const MAX_RECIPIENTS: usize = 100;
/// Maximum number of mistakes of one connection.
const MAX_MISTAKES: u32 = 10;
/// Longest time without a byte of a mail.
const DATA_PAUSE: Duration = Duration::from_secs(60);
/// Time limit for the next command of a client that has not yet named a sender.
const FIRST: Duration = Duration::from_secs(60);

/// The next step after an answer.
enum Next {
    Go,
    Close,
    /// Begin TLS.
    Secure,
}

/// An answer: its code, its texts, and the next step.
type Answer = (String, Next);

/// The state of one connection.
pub(super) struct Session<'a> {
    gateway: &'a Arc<Gateway>,
    peer: IpAddr,
    permit: &'a Permit,
    tls: Option<&'a TlsAcceptor>,
    secure: bool,
    greeted: bool,
    caller: Option<Caller>,
    sender: Option<String>,
    recipients: Vec<Recipient>,
    mistakes: u32,
    /// The command that is worked on. While the client has to go on, there is none, and its connection can make room.
    active: Option<ActiveRequest>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        gateway: &'a Arc<Gateway>,
        peer: IpAddr,
        permit: &'a Permit,
        tls: Option<&'a TlsAcceptor>,
    ) -> Self {
        Self {
            gateway,
            peer,
            permit,
            tls,
            secure: false,
            greeted: false,
            caller: None,
            sender: None,
            recipients: Vec::new(),
            mistakes: 0,
            active: None,
        }
    }

    /// Answers commands until the client leaves.
    pub(super) async fn run(
        &mut self,
        mut connection: Connection,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        self.secure = connection.is_secure();
        connection
            .say(&format!("220 {} ESMTP Ackpost\r\n", self.name()))
            .await?;
        loop {
            let patience = if self.sender.is_some() || self.caller.is_some() {
                self.gateway.config().smtp.idle
            } else {
                self.gateway.config().smtp.idle.min(FIRST)
            };
            let line = tokio::select! {
                line = tokio::time::timeout(patience, connection.line()) => Some(line),
                () = async { drop(stop.wait_for(|stop| *stop).await) } => None,
            };
            let Some(line) = line else {
                connection
                    .say("421 4.3.2 the gateway stops; try again later\r\n")
                    .await?;
                return Ok(());
            };
            let Ok(line) = line else {
                connection.say("421 4.4.2 no command came in time\r\n").await?;
                return Ok(());
            };
            let text = match line? {
                Line::Text(text) => text,
                Line::End => return Ok(()),
                Line::TooLong => {
                    connection.say("500 5.5.2 the line is too long\r\n").await?;
                    connection.close().await;
                    return Ok(());
                }
                Line::BareNewline => {
                    connection.say("500 5.5.2 a line must end with CR LF\r\n").await?;
                    connection.close().await;
                    return Ok(());
                }
            };
            // A connection whose command is being worked on is not closed for another one.
            self.active = Some(self.permit.activate());
            let (answer, next) = self.command(&text, &mut connection).await?;
            connection.say(&answer).await?;
            self.active = None;
            match next {
                Next::Go => {}
                Next::Close => {
                    connection.close().await;
                    return Ok(());
                }
                Next::Secure => {
                    let (Some(tls), Some(stream)) = (self.tls, connection.into_plain()) else {
                        return Ok(());
                    };
                    connection = Connection::handshake(tls, stream).await?;
                    (self.secure, self.greeted, self.caller) = (true, false, None);
                    self.reset();
                }
            }
        }
    }

    fn name(&self) -> String {
        let config = self.gateway.config();
        config
            .hosts
            .first()
            .cloned()
            .unwrap_or_else(|| "localhost".to_owned())
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    /// Returns a refusal; after too many of them the connection ends.
    fn mistake(&mut self, text: &str) -> Answer {
        self.mistakes += 1;
        if self.mistakes > MAX_MISTAKES {
            return ("421 4.7.0 too many mistakes\r\n".to_owned(), Next::Close);
        }
        (format!("{text}\r\n"), Next::Go)
    }

    async fn command(&mut self, line: &str, connection: &mut Connection) -> io::Result<Answer> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let behind = |prefix: &str| {
            let start = rest.get(..prefix.len())?;
            start
                .eq_ignore_ascii_case(prefix)
                .then(|| rest[prefix.len()..].trim())
        };
        Ok(match word.to_ascii_uppercase().as_str() {
            "EHLO" if !rest.is_empty() => self.ehlo(),
            "HELO" if !rest.is_empty() => {
                self.greeted = true;
                self.reset();
                (format!("250 {}\r\n", self.name()), Next::Go)
            }
            "EHLO" | "HELO" => self.mistake("501 5.5.4 name yourself: EHLO NAME"),
            "STARTTLS" => self.starttls(connection),
            "AUTH" => self.auth(rest, connection).await?,
            "MAIL" => match behind("FROM:").and_then(path) {
                Some((address, parameters)) => self.mail(address, &parameters),
                None => self.mistake("501 5.5.4 write MAIL FROM:<ADDRESS>"),
            },
            "RCPT" => match behind("TO:").and_then(path) {
                Some((address, _)) => self.rcpt(&address).await,
                None => self.mistake("501 5.5.4 write RCPT TO:<ADDRESS>"),
            },
            "DATA" => self.data(connection).await?,
            "RSET" => {
                self.reset();
                ("250 2.0.0 forgotten\r\n".to_owned(), Next::Go)
            }
            "NOOP" => ("250 2.0.0 here\r\n".to_owned(), Next::Go),
            "VRFY" => ("252 2.5.0 send a mail and see\r\n".to_owned(), Next::Go),
            "HELP" => (
                "214 2.0.0 recipients are KEY@anything and TAG+KEY@anything\r\n".to_owned(),
                Next::Go,
            ),
            "QUIT" => ("221 2.0.0 goodbye\r\n".to_owned(), Next::Close),
            // A browser that was tricked into this port.
            "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" => {
                ("421 5.7.0 this is not a web server\r\n".to_owned(), Next::Close)
            }
            _ => self.mistake("500 5.5.1 unknown command"),
        })
    }

    fn ehlo(&mut self) -> Answer {
        self.greeted = true;
        self.reset();
        let mut lines = vec![
            self.name(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.gateway.config().smtp.bytes),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        if !self.secure && self.tls.is_some() {
            lines.push("STARTTLS".to_owned());
        }
        if self.may_show_tokens() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.len() - 1;
        let lines = lines.iter().enumerate().map(|(number, line)| {
            let between = if number == last { ' ' } else { '-' };
            format!("250{between}{line}\r\n")
        });
        (lines.collect(), Next::Go)
    }

    fn starttls(&mut self, connection: &Connection) -> Answer {
        if self.secure {
            return self.mistake("503 5.5.1 TLS is active");
        }
        if self.tls.is_none() {
            return self.mistake("502 5.5.1 TLS is not configured");
        }
        // Commands that came before TLS could be somebody else's.
        if connection.has_more() {
            return (
                "554 5.5.0 wait for the answer to STARTTLS\r\n".to_owned(),
                Next::Close,
            );
        }
        ("220 2.0.0 begin TLS\r\n".to_owned(), Next::Secure)
    }

    /// A token is not sent in the clear over a network.
    fn may_show_tokens(&self) -> bool {
        self.secure || self.peer.is_loopback()
    }

    async fn auth(&mut self, rest: &str, connection: &mut Connection) -> io::Result<Answer> {
        if self.caller.is_some() || self.sender.is_some() {
            return Ok(self.mistake("503 5.5.1 not now"));
        }
        if !self.may_show_tokens() {
            return Ok(self.mistake("538 5.7.11 begin TLS first"));
        }
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut given = (!initial.is_empty()).then(|| initial.to_owned());
        let answer = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let text = self.ask(connection, "", &mut given).await?;
                let parts = text.as_deref().and_then(decode);
                // [authorisation id] NUL user NUL password
                parts.and_then(|text| text.split('\0').nth(2).map(str::to_owned))
            }
            "LOGIN" => {
                let user = self.ask(connection, "VXNlcm5hbWU6", &mut given).await?;
                let password = match user {
                    Some(_) => self.ask(connection, "UGFzc3dvcmQ6", &mut None).await?,
                    None => None,
                };
                password.as_deref().and_then(decode)
            }
            _ => return Ok(self.mistake("504 5.5.4 use AUTH PLAIN or AUTH LOGIN")),
        };
        let Some(token) = answer else {
            return Ok(self.mistake("501 5.5.2 the answer cannot be decoded"));
        };
        self.gateway.reload_tokens();
        match auth::of_token(self.gateway, token.trim(), self.peer) {
            Ok(grant) => {
                self.caller = Some(Caller::Token(grant));
                Ok(("235 2.7.0 welcome\r\n".to_owned(), Next::Go))
            }
            Err(reply) if reply.status() == StatusCode::TOO_MANY_REQUESTS => {
                self.counts().logins_refused.fetch_add(1, Ordering::Relaxed);
                Ok((
                    "421 4.7.0 too many wrong tokens; try again later\r\n".to_owned(),
                    Next::Close,
                ))
            }
            Err(_) => {
                self.counts().logins_refused.fetch_add(1, Ordering::Relaxed);
                Ok(self.mistake("535 5.7.8 the password is not a valid token of the gateway"))
            }
        }
    }

    fn mail(&mut self, address: String, parameters: &[(String, String)]) -> Answer {
        if !self.greeted {
            return self.mistake("503 5.5.1 say EHLO first");
        }
        if self.sender.is_some() {
            return self.mistake("503 5.5.1 a mail has begun; end it with DATA or RSET");
        }
        let most = self.gateway.config().smtp.bytes;
        for (name, value) in parameters {
            match (name.as_str(), value.parse::<u64>()) {
                ("SIZE", Ok(size)) if size > most as u64 => {
                    return self.mistake(&format!("552 5.3.4 the mail is larger than {most} bytes"));
                }
                ("BODY", _)
                    if !["7BIT", "8BITMIME"]
                        .iter()
                        .any(|kind| kind.eq_ignore_ascii_case(value)) =>
                {
                    return self.mistake("555 5.5.4 BODY is 7BIT or 8BITMIME");
                }
                ("SIZE", Ok(_)) | ("BODY" | "SMTPUTF8" | "AUTH", _) => {}
                _ => return self.mistake("555 5.5.4 unknown parameter"),
            }
        }
        self.gateway.reload_tokens();
        if !self.gateway.is_healthy() {
            return (
                "421 4.3.2 the gateway does not take mail now\r\n".to_owned(),
                Next::Close,
            );
        }
        let caller = match self.allowed() {
            Ok(caller) => caller,
            Err(answer) => return self.mistake(answer),
        };
        let rates = &self.gateway.rates.callers;
        let (name, rate) = match &caller {
            Caller::Token(grant) => (grant.id.clone(), grant.rate()),
            Caller::Anyone => (self.peer.to_string(), None),
        };
        let rate = rate.unwrap_or(self.gateway.config().limits.token_rate);
        if rates.take(&name, rate, Instant::now()).is_err() {
            return self.mistake("450 4.7.1 too many mails; try again later");
        }
        self.sender = Some(address);
        ("250 2.1.0 ok\r\n".to_owned(), Next::Go)
    }

    /// The caller: the token, or anybody while the gateway is open to the programs of this machine, and only they can connect.
    fn allowed(&self) -> Result<Caller, &'static str> {
        if let Some(Caller::Token(grant)) = &self.caller {
            let now = std::time::SystemTime::now();
            let current = self.gateway.tokens.current(grant, now);
            return current
                .map(Caller::Token)
                .ok_or("530 5.7.0 the token has expired or was removed");
        }
        let config = self.gateway.config();
        // A connection from this machine may be that of a tunnel if others can connect.
        let local = self.peer.is_loopback() && config.smtp.loopback_only();
        if (config.access == Access::Open || local) && self.gateway.is_open() {
            return Ok(Caller::Anyone);
        }
        if self.may_show_tokens() {
            Err("530 5.7.0 log in first; the password is a token of the gateway")
        } else {
            Err("530 5.7.0 begin TLS and log in; the password is a token of the gateway")
        }
    }

    async fn rcpt(&mut self, address: &str) -> Answer {
        let Some(caller) = self.sender.as_ref().and_then(|_| self.allowed().ok()) else {
            return self.mistake("503 5.5.1 name the sender first: MAIL FROM");
        };
        if self.recipients.len() >= MAX_RECIPIENTS {
            // A client that has more of them sends the rest in another mail.
            return ("452 4.5.3 too many recipients\r\n".to_owned(), Next::Go);
        }
        match self.recipient(&caller, &local_part(address)).await {
            Ok(recipient) => {
                if !self.recipients.contains(&recipient) {
                    self.recipients.push(recipient);
                }
                ("250 2.1.5 ok\r\n".to_owned(), Next::Go)
            }
            Err(reply) => {
                let code = match reply.status() {
                    StatusCode::NOT_FOUND => "550 5.1.1",
                    StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "550 5.7.1",
                    status if status.is_server_error() => "451 4.3.0",
                    _ => "550 5.1.3",
                };
                let counts = self.counts();
                counts.recipients_refused.fetch_add(1, Ordering::Relaxed);
                self.mistake(&format!("{code} {}", deliver::line(&reply.sentence())))
            }
        }
    }

    /// The key that an address names, else the default one.
    async fn recipient(&self, caller: &Caller, local: &str) -> Result<Recipient, Reply> {
        let named = Recipient::parse(local);
        let known = match &named {
            Ok(recipient) => deliver::services(self.gateway, caller, recipient).await,
            Err(reply) => Err(reply.clone()),
        };
        let default = self.gateway.config().smtp.default_key.clone();
        match (known, default) {
            (Ok(()), _) => named,
            (Err(reply), Some(default)) if reply.status() == StatusCode::NOT_FOUND => {
                let recipient = Recipient::parse(&default)?;
                caller.may(Scope::Notify, Some(&recipient.key))?;
                deliver::services(self.gateway, caller, &recipient).await?;
                Ok(recipient)
            }
            (Err(reply), _) => Err(reply),
        }
    }

    async fn data(&mut self, connection: &mut Connection) -> io::Result<Answer> {
        if self.sender.is_none() || self.allowed().is_err() {
            return Ok(self.mistake("503 5.5.1 name the sender first: MAIL FROM"));
        }
        if self.recipients.is_empty() {
            return Ok(self.mistake("554 5.5.1 no valid recipients"));
        }
        connection.say("354 end with a line of one dot\r\n").await?;
        let most = self.gateway.config().smtp.bytes;
        let mut share = self.gateway.memory.share();
        let active = self.active.as_ref();
        if let Some(active) = active {
            active.data_begins();
        }
        let data = connection.data(most, DATA_PAUSE, &mut share, active).await?;
        if let Some(active) = active {
            active.data_ends();
        }
        let recipients = std::mem::take(&mut self.recipients);
        self.reset();
        let answer = match data {
            Data::Whole(bytes) => {
                // The mail may have taken hours; its token may be gone.
                self.gateway.reload_tokens();
                match self.allowed() {
                    Ok(caller) => {
                        let answer = deliver::accept(self.gateway, &caller, &recipients, bytes, share).await;
                        (format!("{answer}\r\n"), Next::Go)
                    }
                    Err(answer) => self.mistake(answer),
                }
            }
            Data::TooLarge => self.mistake(&format!("552 5.3.4 the mail is larger than {most} bytes")),
            Data::NoMemory => (
                "452 4.3.1 too little memory for the mail now; try again\r\n".to_owned(),
                Next::Go,
            ),
            // The following bytes could be part of the mail for one side and commands for the other.
            Data::BareNewline => (
                "550 5.6.11 a line of the mail ends with CR or LF alone, or holds a NUL; send CR LF\r\n"
                    .to_owned(),
                Next::Close,
            ),
            Data::End => (
                "421 4.4.2 the mail did not come to its end\r\n".to_owned(),
                Next::Close,
            ),
        };
        self.counts().mail(&answer.0);
        Ok(answer)
    }

    /// Returns what was given with the command, or asks for it; `None` if the client gives up.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        question: &str,
        given: &mut Option<String>,
    ) -> io::Result<Option<String>> {
        if let Some(text) = given.take() {
            return Ok(Some(if text == "=" { String::new() } else { text }));
        }
        connection.say(&format!("334 {question}\r\n")).await?;
        // A client that does not answer keeps nobody out.
        self.active = None;
        let line = tokio::time::timeout(FIRST, connection.line()).await;
        self.active = Some(self.permit.activate());
        match line {
            Ok(Ok(Line::Text(text))) if text != "*" => Ok(Some(text)),
            Ok(Err(error)) => Err(error),
            _ => Ok(None),
        }
    }

    fn counts(&self) -> &'a SmtpCounters {
        &self.gateway.counters.smtp
    }
}

fn decode(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()?;
    String::from_utf8(bytes).ok()
}
