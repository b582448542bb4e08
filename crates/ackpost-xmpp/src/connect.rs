//! From an account to a stream that is ready for the login.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ackpost_tls::Verify;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::account::{Account, Mode};
use crate::dns::{self, Endpoint};
use crate::error::{Step, XmppError};
use crate::features::Features;
use crate::ns;
use crate::stream::{Stream, Transport, header};
use crate::tls::{self, Bindings};

/// Head start of one address before the next is tried beside it (RFC 8305 section 8).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Maximum number of times that a server may send us to another host (RFC 6120 section 4.9.3.19).
pub(crate) const REDIRECTS_MAX: u32 = 3;

/// Connects one account, again and again.
pub(crate) struct Connector {
    pub(crate) account: Account,
    tls: Option<Arc<ClientConfig>>,
    /// The same with ALPN, for TLS from the first byte (XEP-0368).
    direct_tls: Option<Arc<ClientConfig>>,
}

/// A connection before the login: nothing of the XML stream has been said on it.
pub(crate) struct Link {
    pub(crate) stream: Stream,
    /// Encryption of the connection.
    pub(crate) mode: Mode,
    pub(crate) encrypted: bool,
    /// Encrypted, and the certificate was checked.
    pub(crate) verified: bool,
    /// The other end is this machine.
    pub(crate) loopback: bool,
    pub(crate) bindings: Bindings,
}

impl Connector {
    pub(crate) fn new(account: Account) -> Result<Self, XmppError> {
        let needs_tls = account.mode != Some(Mode::None);
        let config = needs_tls.then(|| tls::config(&account.verify)).transpose()?;
        let direct_tls = config.clone().map(|mut config| {
            config.alpn_protocols = vec![b"ackpost-xmpp".to_vec()];
            Arc::new(config)
        });
        Ok(Self {
            account,
            tls: config.map(Arc::new),
            direct_tls,
        })
    }

    /// The TLS configuration for other connections to the same server (uploads).
    pub(crate) fn http_tls(&self) -> Result<ClientConfig, XmppError> {
        match &self.tls {
            Some(config) => Ok((**config).clone()),
            None => tls::config(&self.account.verify),
        }
    }

    /// Connects to the first server that can be reached; the first failure is reported when none can.
    /// `elsewhere` is the host that a server sent us to.
    pub(crate) async fn connect(&self, elsewhere: Option<&Endpoint>) -> Result<Link, XmppError> {
        let limit = self.account.connect_timeout;
        let endpoints = match elsewhere {
            Some(endpoint) => vec![endpoint.clone()],
            None => dns::endpoints(&self.account).await?,
        };
        let mut first = None;
        for endpoint in endpoints {
            tracing::debug!(host = %endpoint.host, port = endpoint.port, mode = ?endpoint.mode, "connecting");
            match self.follow(endpoint.clone(), limit).await {
                Ok(link) => return Ok(link),
                Err(error) => {
                    tracing::debug!(host = %endpoint.host, port = endpoint.port, %error, "not connected");
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| XmppError::NoSuchHost {
            host: self.account.jid.domain().to_owned(),
        }))
    }

    /// Connects, and goes where the server sends us before TLS: with the same encryption, and with the same
    /// name in the certificate.
    async fn follow(&self, mut endpoint: Endpoint, limit: Duration) -> Result<Link, XmppError> {
        for _ in 0..REDIRECTS_MAX {
            let error = match self.connect_to(&endpoint, limit).await {
                Ok(link) => return Ok(link),
                Err(error) => error,
            };
            let XmppError::SeeOtherHost { to, .. } = &error else {
                return Err(error);
            };
            let Some(next) = Endpoint::redirected(to, endpoint.mode) else {
                return Err(error);
            };
            tracing::debug!(%to, "the server sends its clients to another host");
            endpoint = next;
        }
        self.connect_to(&endpoint, limit).await
    }

    async fn connect_to(&self, endpoint: &Endpoint, limit: Duration) -> Result<Link, XmppError> {
        let address = show(&endpoint.host, endpoint.port);
        let found = timeout(
            limit,
            dns::addresses(&self.account.dns, &endpoint.host, endpoint.port),
        )
        .await
        .map_err(|_| XmppError::DnsFailed {
            host: endpoint.host.clone(),
            reason: "the name servers did not answer in time".to_owned(),
        })??;
        let found =
            dns::allowed(found, self.account.address_rule).ok_or_else(|| XmppError::AddressNotAllowed {
                host: endpoint.host.clone(),
            })?;
        tracing::debug!(host = %endpoint.host, addresses = ?found, "resolved");
        let tcp = timeout(limit, race(found))
            .await
            .map_err(|_| XmppError::ConnectTimeout {
                address: address.clone(),
                after: limit,
            })?
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => XmppError::ConnectionRefused { address },
                io::ErrorKind::TimedOut => XmppError::ConnectTimeout {
                    address,
                    after: limit,
                },
                _ => XmppError::Unreachable {
                    address,
                    reason: plain_reason(&error),
                },
            })?;
        if let Ok(peer) = tcp.peer_addr() {
            tracing::debug!(%peer, "connected");
        }
        let _ = tcp.set_nodelay(true);
        let loopback = tcp.peer_addr().is_ok_and(|peer| is_loopback(peer.ip()));
        match endpoint.mode {
            Mode::None => Ok(Link {
                stream: Stream::new(Transport::Tcp(tcp)),
                mode: endpoint.mode,
                encrypted: false,
                verified: false,
                loopback,
                bindings: Bindings::default(),
            }),
            Mode::StartTls => {
                let tcp = self.start_tls(tcp).await?;
                self.handshake(tcp, self.tls.as_ref(), endpoint.mode, loopback, limit)
                    .await
            }
            Mode::Tls => {
                self.handshake(tcp, self.direct_tls.as_ref(), endpoint.mode, loopback, limit)
                    .await
            }
        }
    }

    /// RFC 6120 section 5, with the request in the same write as the stream header.
    async fn start_tls(&self, tcp: TcpStream) -> Result<TcpStream, XmppError> {
        let domain = self.account.jid.domain();
        let limit = self.account.answer_timeout;
        let mut stream = Stream::new(Transport::Tcp(tcp));
        stream.queue(&header(domain, None));
        stream.queue("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        let features = read_features(&mut stream, limit, domain).await?;
        if !features.starttls {
            return Err(XmppError::StartTlsNotOffered {
                domain: domain.to_owned(),
            });
        }
        let answer = stream
            .expect(limit, Step::StartTls, domain, |answer| {
                answer.is("proceed", ns::TLS) || answer.is("failure", ns::TLS)
            })
            .await?;
        if answer.is("failure", ns::TLS) {
            return Err(XmppError::StartTlsRefused);
        }
        if stream.has_unread() {
            return Err(XmppError::DataBeforeTls);
        }
        match stream.into_transport() {
            Transport::Tcp(tcp) => Ok(tcp),
            Transport::Tls(_) => Err(XmppError::StartTlsRefused),
        }
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
        config: Option<&Arc<ClientConfig>>,
        mode: Mode,
        loopback: bool,
        limit: Duration,
    ) -> Result<Link, XmppError> {
        let domain = self.account.jid.domain();
        let bare = domain.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(dns::ascii(bare)).map_err(|_| XmppError::CertificateInvalid {
            domain: domain.to_owned(),
            reason: "a certificate cannot contain the domain".to_owned(),
        })?;
        let config = config.cloned().ok_or_else(|| XmppError::TlsFailed {
            domain: domain.to_owned(),
            reason: "no TLS configuration".to_owned(),
        })?;
        // Prosody's answers come in two writes; see `Stream::poll_read_in`.
        #[cfg(target_os = "linux")]
        let _ = tcp.set_quickack(true);
        let tls = timeout(limit, TlsConnector::from(config).connect(name, tcp))
            .await
            .map_err(|_| XmppError::AnswerTimeout {
                step: Step::Tls,
                after: limit,
            })?
            .map_err(|error| tls::explain(&error, domain))?;
        let (_, session) = tls.get_ref();
        tracing::debug!(
            version = ?session.protocol_version(),
            cipher = ?session.negotiated_cipher_suite().map(|suite| suite.suite()),
            verified = !matches!(self.account.verify, Verify::No),
            "encrypted"
        );
        let bindings = Bindings::of(&tls);
        Ok(Link {
            stream: Stream::new(Transport::Tls(Box::new(tls))),
            mode,
            encrypted: true,
            verified: !matches!(self.account.verify, Verify::No),
            loopback,
            bindings,
        })
    }
}

/// Reads the features that follow a stream header.
pub(crate) async fn read_features(
    stream: &mut Stream,
    limit: Duration,
    domain: &str,
) -> Result<Features, XmppError> {
    let element = stream
        .expect(limit, Step::Opening, domain, |element| {
            element.is("features", ns::STREAM)
        })
        .await?;
    Ok(Features::read(&element))
}

/// The first of several addresses that accepts, the next one started whenever one fails or takes long.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut first_error = None;
    running.extend(waiting.next().map(TcpStream::connect));
    while !running.is_empty() {
        tokio::select! {
            finished = running.next() => match finished {
                Some(Ok(tcp)) => return Ok(tcp),
                Some(Err(error)) => {
                    first_error.get_or_insert(error);
                    running.extend(waiting.next().map(TcpStream::connect));
                }
                None => break,
            },
            () = sleep(NEXT_ADDRESS_AFTER), if waiting.len() > 0 => {
                running.extend(waiting.next().map(TcpStream::connect));
            }
        }
    }
    Err(first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn show(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The system's words without the number behind them.
fn plain_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
