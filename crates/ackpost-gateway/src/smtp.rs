//! Mail for the outbox: an SMTP server (RFC 5321) with the extensions that mail programs of devices and servers need.
//!
//! A recipient `KEY@anything` is a key, `TAG+KEY@anything` its services with that tag. A mail is accepted with 250 once the
//! outbox has stored it. Mail is never passed on to other mail servers.

mod certificate;
mod connection;
mod deliver;
mod mailbox;
mod session;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bounded_http::ConnectionLimiter;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::metrics::Counted;
use crate::state::Gateway;
use certificate::Certificate;
use connection::Connection;
use session::Session;
pub(crate) use settings::{MAX_BYTES, Smtp};

/// Pause after an accept that failed, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listeners of SMTP, and their settings.
pub(crate) struct Listening {
    listeners: Vec<(TcpListener, bool)>,
    tls: Option<Arc<Certificate>>,
}

/// Reason why mail cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SmtpError {
    /// An address cannot be listened on.
    #[error("{0} cannot be listened on: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The certificate cannot be used.
    #[error("[smtp] certificate: {0}")]
    Certificate(String),
}

impl Listening {
    /// Opens the addresses. A port 0 becomes a free one.
    pub(crate) async fn open(smtp: &Smtp) -> Result<Self, SmtpError> {
        let tls = match (&smtp.certificate, &smtp.private_key) {
            (Some(certificate), Some(key)) => {
                let certificate = Certificate::load(certificate, key);
                Some(Arc::new(certificate.map_err(SmtpError::Certificate)?))
            }
            _ => None,
        };
        let mut listeners = Vec::new();
        let plain = smtp.listen.iter().map(|address| (address, false));
        for (address, implicit) in plain.chain(smtp.tls_listen.iter().map(|address| (address, true))) {
            let listener = TcpListener::bind(address).await;
            listeners.push((
                listener.map_err(|error| SmtpError::Listen(*address, error))?,
                implicit,
            ));
        }
        Ok(Self { listeners, tls })
    }

    /// The addresses, with the ports that were chosen.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self
            .listeners
            .iter()
            .filter_map(|(listener, _)| listener.local_addr().ok());
        addresses.collect()
    }

    /// Takes mail until `stop` is set; then sessions end after the command that they work on, or after `drain`.
    pub(crate) async fn serve(self, gateway: Arc<Gateway>, stop: watch::Receiver<bool>) {
        if self.listeners.is_empty() {
            return;
        }
        let (_, connections) = crate::serve::fitting(&gateway.config());
        let limiter = ConnectionLimiter::new(connections);
        let mut accepting = JoinSet::new();
        for (listener, implicit) in self.listeners {
            let (gateway, limiter, tls) = (Arc::clone(&gateway), Arc::clone(&limiter), self.tls.clone());
            accepting.spawn(accept(listener, implicit, tls, gateway, limiter, stop.clone()));
        }
        while accepting.join_next().await.is_some() {}
        let drain = gateway.config().drain;
        let _ = tokio::time::timeout(drain, limiter.empty()).await;
    }
}

async fn accept(
    listener: TcpListener,
    implicit: bool,
    tls: Option<Arc<Certificate>>,
    gateway: Arc<Gateway>,
    limiter: Arc<ConnectionLimiter>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Without descriptors, an idle connection has to give its own back.
                tracing::warn!(%error, "an SMTP connection cannot be accepted");
                limiter.evict_one();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // The one that has been silent longest makes room.
        let permit = limiter.acquire().await;
        let tls = tls.as_ref().map(|tls| tls.current(&gateway.config().smtp));
        let (gateway, stop) = (Arc::clone(&gateway), stop.clone());
        tokio::spawn(async move {
            let counts = &gateway.counters.smtp;
            let _open = Counted::new(&counts.open);
            let served = async {
                let connection = match (implicit, &tls) {
                    (true, Some(tls)) => Connection::handshake(tls, stream).await?,
                    _ => Connection::plain(stream),
                };
                let mut session = Session::new(&gateway, peer.ip().to_canonical(), &permit, tls.as_ref());
                session.run(connection, stop).await
            };
            tokio::select! {
                ended = served => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %peer.ip(), "an SMTP connection ended early");
                    }
                }
                () = permit.evicted() => {
                    counts.made_room.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(peer = %peer.ip(), "an idle SMTP connection made room");
                }
            }
        });
    }
}

/// Reads any bytes as the paths of commands and as the data of a mail.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(bytes: &[u8]) {
    connection::read_any(bytes);
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Some((address, _)) = mailbox::path(line) {
            assert!(!address.chars().any(char::is_control));
            let _ = crate::recipient::Recipient::parse(&mailbox::local_part(&address));
        }
    }
}
