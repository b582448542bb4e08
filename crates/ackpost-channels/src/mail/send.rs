//! Sending a mail.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ackpost_notify::service::Finding;
use ackpost_notify::{
    Attempt, BoxFuture, CommonParams, Confirmation, ConnectionPool, File, Outcome, ServicePool,
};
use ackpost_tls::Verify;
use rustls::pki_types::ServerName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

use super::address::Person;
use super::compose::{as_data, compose, copies};
use super::dialogue::{Dialogue, Extensions, Reply, Stream};
use super::{MAIL, Mail, Mode};
use crate::net::{self, Failure, said};
use crate::piece::{Channel, Piece, SendRun};

/// Minimum timeout for a mail server, unless `rto=` is below its default: many servers delay their greeting on purpose.
const PATIENCE: Duration = Duration::from_secs(15);
/// Minimum timeout for the answer to a message, which servers check first.
const LONG_PATIENCE: Duration = Duration::from_secs(60);
/// Default of `rto=`.
const DEFAULT: Duration = Duration::from_secs(4);

/// Maximum number of connections to one server at a time: servers refuse clients that open many.
const CONNECTIONS: usize = 4;
/// Maximum number of servers whose connections are counted.
const SERVERS: usize = 256;

/// Counts the connections to each server.
#[derive(Default)]
struct ConnectionLimits(Mutex<Vec<(String, Arc<Semaphore>)>>);

impl ServicePool for ConnectionLimits {}

impl ConnectionLimits {
    /// Waits until one more connection may be opened.
    async fn acquire(&self, server: String) -> Option<OwnedSemaphorePermit> {
        let limit = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, limit)) = all.iter().find(|(known, _)| *known == server) {
                Arc::clone(limit)
            } else {
                if all.len() >= SERVERS {
                    all.remove(0);
                }
                let limit = Arc::new(Semaphore::new(CONNECTIONS));
                all.push((server, Arc::clone(&limit)));
                limit
            }
        };
        limit.acquire_owned().await.ok()
    }
}

/// A dialogue in which messages can be sent.
struct Session {
    dialogue: Dialogue,
    extensions: Extensions,
    notes: Vec<String>,
}

/// Result for a message that the server accepted.
struct TakenMail {
    reply: Reply,
    notes: Vec<String>,
}

/// Reason why a message was not accepted.
enum SendError {
    /// It is too large.
    TooLarge(Failure),
    Other(Failure),
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

fn patience(common: &CommonParams, least: Duration) -> Duration {
    let written = common.read_timeout();
    if written < DEFAULT || common.guest.is_some() {
        written
    } else {
        written.max(least)
    }
}

impl Mail {
    /// Connects, encrypts and logs in. `step` hears of every step that is done.
    async fn open(
        &self,
        common: &CommonParams,
        pool: &ConnectionPool,
        step: &mut (dyn FnMut(&'static str, String) + Send),
    ) -> Result<Session, Failure> {
        let quotes = common.guest.is_none();
        let wait = patience(common, PATIENCE);
        let tcp = net::connect(&self.server, self.port, common).await?;
        let local = tcp.local_addr().ok();
        let is_near = tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
        step("connect", format!("connected to {}", self.address()));
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if self.mode == Mode::Tls {
            let verify = net::verify(common, pool.options(), self.ca_file.as_deref())?;
            stream = self.encrypt(stream, verify, common).await?;
            step("tls", "the connection is encrypted".to_owned());
        }
        let name = literal(local);
        let mut dialogue = Dialogue::new(stream, wait, quotes);
        dialogue.greeting().await?;
        let mut extensions = dialogue.hello(&name).await?;
        let mut notes = Vec::new();
        // A password is not shown to a line that could be encrypted, whatever the URL asks for.
        let shy = self.mode == Mode::Insecure && self.login().is_some() && !is_near;
        if self.mode == Mode::StartTls || (shy && extensions.starttls) {
            if !extensions.starttls {
                return Err(Failure::permanent(
                    "the mail server offers no STARTTLS",
                    "use mode=ssl, or mailto:// if the connection need not be encrypted",
                ));
            }
            dialogue.starttls().await?;
            let verify = if shy {
                Verify::No
            } else {
                net::verify(common, pool.options(), self.ca_file.as_deref())?
            };
            let stream = self.encrypt(dialogue.into_stream()?, verify, common).await?;
            dialogue = Dialogue::new(stream, wait, quotes);
            extensions = dialogue.hello(&name).await?;
            step("tls", "the connection is encrypted".to_owned());
        } else if shy {
            notes.push("the password went over a connection without encryption".to_owned());
        }
        if let Some((user, password)) = self.login() {
            dialogue.login(&extensions, user, password).await?;
            step("login", format!("logged in as {}", said(user)));
        }
        Ok(Session {
            dialogue,
            extensions,
            notes,
        })
    }

    async fn encrypt(
        &self,
        stream: Box<dyn Stream>,
        verify: Verify,
        common: &CommonParams,
    ) -> Result<Box<dyn Stream>, Failure> {
        let config = verify.client_config().map_err(|error| {
            Failure::permanent(
                error.to_string(),
                "check `ca_file=` and the certificates of this system",
            )
        })?;
        let name = ServerName::try_from(net::bare(&self.server).to_owned()).map_err(|_| {
            Failure::permanent(
                "a certificate cannot contain the name of the mail server",
                "check host and smtp= in the URL",
            )
        })?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match tokio::time::timeout(patience(common, PATIENCE), handshake).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(self.no_encryption(&error)),
            Err(_) => Err(Failure::temporary(
                "the mail server did not finish the encryption in time",
                "look at the mail server, or raise `rto=`",
            )),
        }
    }

    fn no_encryption(&self, error: &std::io::Error) -> Failure {
        match net::inside(error) {
            Some(rustls::Error::InvalidMessage(_)) => Failure::permanent(
                format!("{} does not speak TLS", self.address()),
                "use mode=starttls, or the port for encrypted connections",
            ),
            Some(error) => net::certificate(&self.address(), error),
            None => Failure::temporary(
                format!("the mail server broke the connection during the encryption: {error}"),
                "look at the mail server and the network",
            ),
        }
    }

    async fn send_piece(&self, run: &SendRun<'_>, piece: &Piece, files: &[File]) -> Result<Attempt, Failure> {
        let address = &run.delivery.target.address;
        let to = self.to.iter().find(|person| person.address == *address);
        let fallback = Person {
            name: None,
            address: address.clone(),
        };
        let to = to.unwrap_or(&fallback);
        let program = &run.pool.asset().app_id;
        let mail = compose(self, program, to, piece, files)?;
        // Guests must not keep the operator's own mails waiting.
        let party = if run.common.guest.is_some() {
            "guest"
        } else {
            "own"
        };
        let limits = run.pool.of_service(|_| ConnectionLimits::default());
        let _permit = limits.acquire(format!("{party} {}", self.address())).await;
        let mut session = self.open(run.common, run.pool, &mut |_, _| ()).await?;
        let mut missing = Vec::new();
        let result = match session.mail(self, to, &mail, run.common).await {
            // The text is worth more than the files.
            Err(SendError::TooLarge(failure)) if !files.is_empty() && !piece.body.trim().is_empty() => {
                missing.extend(
                    files
                        .iter()
                        .map(|file| format!("`{}`: {}", file.name, failure.cause)),
                );
                let mail = compose(self, program, to, piece, &[])?;
                session.mail(self, to, &mail, run.common).await
            }
            other => other,
        };
        let taken = result.map_err(|refusal| match refusal {
            SendError::TooLarge(failure) | SendError::Other(failure) => failure,
        })?;
        let Session { dialogue, notes, .. } = session;
        dialogue.quit().await;
        // The server took it over. Nothing says that the recipient's server did.
        let outcome = Outcome::Delivered {
            confirmed_by: Confirmation::HandedOver,
            id: taken.reply.queue_id(),
        };
        let mut attempt = Attempt::new(outcome.without_files(&missing));
        attempt.notes = notes;
        attempt.notes.extend(taken.notes);
        if run.common.guest.is_none() {
            let words = said(&taken.reply.text());
            attempt
                .notes
                .push(format!("{} answered: {} {words}", self.server, taken.reply.code));
        }
        Ok(attempt)
    }

    /// The steps of a send, without one.
    pub(super) async fn findings(&self, common: &CommonParams, pool: &ConnectionPool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let opened = self
            .open(common, pool, &mut |step, text| {
                findings.push(Finding::new(step, Ok(text)));
            })
            .await;
        let mut session = match opened {
            Ok(session) => session,
            Err(failure) => {
                let step = match findings.len() {
                    0 => "connect",
                    _ => "server",
                };
                findings.push(Finding::new(step, Err(failure.diagnostic())));
                return findings;
            }
        };
        for person in &self.to {
            let asked = session.envelope(self, person, 0).await;
            let asked = asked.map(|_| format!("the server takes mail for {}", person.address));
            findings.push(Finding::new("recipient", asked.map_err(Failure::diagnostic)));
            if session.dialogue.command("RSET").await.is_err() {
                break;
            }
        }
        session.dialogue.quit().await;
        findings
    }
}

/// The name of this program in a dialogue: the address of the connection.
fn literal(local: Option<SocketAddr>) -> String {
    match local.map(|local| local.ip().to_canonical()) {
        Some(std::net::IpAddr::V4(address)) => format!("[{address}]"),
        Some(std::net::IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        None => "localhost".to_owned(),
    }
}

impl Session {
    /// Names sender and recipients. Returns remarks about copies that the server refuses.
    async fn envelope(&mut self, mail: &Mail, to: &Person, size: usize) -> Result<Vec<String>, Failure> {
        let dialogue = &mut self.dialogue;
        let size = match self.extensions.size {
            Some(_) if size > 0 => format!(" SIZE={size}"),
            _ => String::new(),
        };
        let reply = dialogue
            .command(&format!("MAIL FROM:<{}>{size}", mail.from.address))
            .await?;
        if reply.code != 250 {
            let remedy = "check the sender (`from=`), and that the login may use it";
            return Err(dialogue.refused("the mail server refuses the sender", &reply, remedy));
        }
        let reply = dialogue.command(&format!("RCPT TO:<{}>", to.address)).await?;
        if !matches!(reply.code, 250 | 251) {
            let remedy = "check the recipient, and that the server sends mail to other hosts after a login";
            return Err(dialogue.refused("the mail server refuses the recipient", &reply, remedy));
        }
        let mut notes = Vec::new();
        let mut all = copies(&mail.cc, &[to], &mail.bcc);
        all.extend(copies(&mail.bcc, &[to], &[]));
        for person in all {
            let reply = dialogue.command(&format!("RCPT TO:<{}>", person.address)).await?;
            if !matches!(reply.code, 250 | 251) {
                let failure = dialogue.refused("no copy for", &reply, "");
                let words = failure.cause.replacen("no copy for", &person.address, 1);
                notes.push(format!("no copy: the mail server refuses the recipient {words}"));
            }
        }
        Ok(notes)
    }

    /// Sends one mail.
    async fn mail(
        &mut self,
        mail: &Mail,
        to: &Person,
        bytes: &[u8],
        common: &CommonParams,
    ) -> Result<TakenMail, SendError> {
        if let Some(limit) = self.extensions.size.filter(|limit| *limit > 0)
            && bytes.len() as u64 > limit
        {
            return Err(SendError::TooLarge(Failure::permanent(
                format!("the mail has {} bytes, and the server takes {limit}", bytes.len()),
                "send less, or raise the limit of the mail server",
            )));
        }
        let notes = self.envelope(mail, to, bytes.len()).await?;
        let dialogue = &mut self.dialogue;
        let reply = dialogue.command("DATA").await?;
        if reply.code != 354 {
            return Err(dialogue
                .refused(
                    "the mail server accepts no message now",
                    &reply,
                    "look at the mail server",
                )
                .into());
        }
        dialogue.write_bytes(&as_data(bytes)).await?;
        // From here on, the server may have it although its answer does not come.
        let ended = async {
            dialogue.write_bytes(b".\r\n").await?;
            dialogue.reply_within(patience(common, LONG_PATIENCE)).await
        };
        let reply = ended.await.map_err(|failure| failure.in_doubt(true))?;
        if reply.code == 250 {
            return Ok(TakenMail { reply, notes });
        }
        let failure = self.dialogue.refused(
            "the mail server refuses the message",
            &reply,
            "read its words; look at text, sender and files",
        );
        let too_large = reply.code == 552 || reply.text().contains(".3.4 ");
        Err(if too_large && failure.permanent {
            SendError::TooLarge(failure)
        } else {
            SendError::Other(failure)
        })
    }
}

impl Channel for Mail {
    fn name(&self) -> &'static str {
        MAIL.name
    }

    fn send<'a>(
        &'a self,
        run: &'a SendRun<'a>,
        piece: &'a Piece,
        files: &'a [File],
    ) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            self.send_piece(run, piece, files)
                .await
                .unwrap_or_else(Failure::attempt)
        })
    }
}
