//! Names, connections and certificates: what every service needs before its own protocol.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ackpost_tls::{CertificateProblem, TlsError, Verify, judged};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificate::Certificate;
use super::step::Walk;

/// A certificate that ends sooner than this deserves a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Looks a name up; empty when it has no address.
pub(super) async fn dns(walk: &mut Walk, host: &str, port: u16, limit: Duration) -> Vec<SocketAddr> {
    walk.begin();
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = plain.parse::<IpAddr>() {
        walk.ok("dns", format!("{ip} is an address"));
        return vec![SocketAddr::new(ip, port)];
    }
    let remedy = "check the spelling of the host name, and this machine's name resolution";
    match timeout(
        limit.max(Duration::from_secs(5)),
        tokio::net::lookup_host((plain, port)),
    )
    .await
    {
        Err(_) => {
            walk.fail(
                "dns",
                format!("the name servers did not answer about {plain}"),
                remedy,
            );
            Vec::new()
        }
        Ok(Err(_)) => {
            walk.fail("dns", format!("{plain} has no address"), remedy);
            Vec::new()
        }
        Ok(Ok(found)) => {
            let mut addresses: Vec<SocketAddr> = found.collect();
            addresses.dedup();
            if addresses.is_empty() {
                walk.fail("dns", format!("{plain} has no address"), remedy);
            } else {
                let shown: Vec<String> = addresses.iter().map(|one| one.ip().to_string()).collect();
                walk.ok("dns", format!("{plain} is {}", shown.join(", ")));
            }
            addresses
        }
    }
}

/// Connects to every address; the first that answers.
pub(super) async fn tcp(walk: &mut Walk, addresses: &[SocketAddr], limit: Duration) -> Option<SocketAddr> {
    walk.begin();
    let tries = addresses.iter().take(8).map(|address| async move {
        let answer = match timeout(limit, TcpStream::connect(address)).await {
            Err(_) => Err("no answer".to_owned()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err("refused".to_owned())
            }
            Ok(Err(error)) => Err(error
                .to_string()
                .split(" (os")
                .next()
                .unwrap_or("failed")
                .to_lowercase()),
            Ok(Ok(_)) => Ok(()),
        };
        (*address, answer)
    });
    let answers = futures_util::future::join_all(tries).await;
    let first = answers
        .iter()
        .find(|(_, answer)| answer.is_ok())
        .map(|(address, _)| *address);
    let shown: Vec<String> = answers
        .iter()
        .map(|(address, answer)| match answer {
            Ok(()) => format!("{address} connected"),
            Err(reason) => format!("{address} {reason}"),
        })
        .collect();
    let all = shown.join(", ");
    // One name often has ::1 and 127.0.0.1; a server that listens on one of them is not broken.
    let failed_family = answers
        .iter()
        .any(|(address, answer)| answer.is_err() && !address.ip().is_loopback());
    match first {
        None => {
            walk.fail(
                "tcp",
                all,
                "check host and port, whether the server runs, and firewalls on the way",
            );
        }
        Some(_) if failed_family => {
            walk.warn(
                "tcp",
                all,
                "messages get through; the address that does not answer costs time",
            );
        }
        Some(_) => {
            walk.ok("tcp", all);
        }
    }
    first
}

/// Result of a TLS handshake.
pub(super) struct Shaken {
    pub(super) version: String,
    pub(super) certificate: Certificate,
    /// Reason why the certificate is not believed.
    pub(super) distrust: Option<(String, String)>,
}

/// Shakes hands and looks at the certificate, also at one that is not believed. `Err` is a handshake that failed
/// before there was a certificate.
pub(super) async fn tls(
    address: SocketAddr,
    name: &str,
    authorities: Option<&[u8]>,
    verify: bool,
    limit: Duration,
) -> Result<Shaken, (String, String)> {
    let plain = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let server_name = ServerName::try_from(plain.clone()).map_err(|_| {
        (
            format!("a certificate cannot contain {plain}"),
            "use a host name".to_owned(),
        )
    })?;
    let verdict = Arc::new(Mutex::new(None));
    let config = watching(authorities, &verdict).map_err(|error| match error {
        TlsError::Provider(_) | TlsError::NoProvider => (error.to_string(), "report this".to_owned()),
        _ => (
            format!("the certificate authorities cannot be used: {error}"),
            "check ca_file=".to_owned(),
        ),
    })?;
    let shake = async {
        let tcp = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(server_name, tcp)
            .await
    };
    let stream = match timeout(limit.max(Duration::from_secs(4)), shake).await {
        Err(_) => return Err(("the handshake got no answer".to_owned(), not_tls_remedy())),
        Ok(Err(error)) => return Err((handshake_text(&error), not_tls_remedy())),
        Ok(Ok(stream)) => stream,
    };
    let connection = stream.get_ref().1;
    let version = connection
        .protocol_version()
        .map_or("TLS".to_owned(), |version| match version {
            rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
            rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
            other => format!("{other:?}"),
        });
    let certificate = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|first| Certificate::read(first))
        .unwrap_or_default();
    let distrust = verdict
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .filter(|_| verify)
        .map(|error| explain(&error, &plain, &certificate));
    Ok(Shaken {
        version,
        certificate,
        distrust,
    })
}

fn not_tls_remedy() -> String {
    "check the port, and whether it speaks TLS at all; without TLS the schema is session://".to_owned()
}

fn handshake_text(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => "the port does not speak TLS".to_owned(),
        Some(other) => format!("the handshake failed: {}", other.to_string().to_lowercase()),
        None => "the connection was closed during the handshake".to_owned(),
    }
}

/// The step on a certificate.
pub(super) fn tls_step(walk: &mut Walk, shaken: &Shaken, verified: bool) -> bool {
    let seen = format!("{}, certificate {}", shaken.version, shaken.certificate.show());
    if let Some((cause, remedy)) = &shaken.distrust {
        walk.fail("tls", format!("{cause} ({seen})"), remedy.clone());
        return false;
    }
    if !verified {
        walk.warn(
            "tls",
            format!("{seen}; not checked"),
            "remove verify=no once the certificate is right",
        );
        return true;
    }
    match shaken.certificate.remaining(SystemTime::now()) {
        Some(left) if left < SOON => {
            let days = left.as_secs() / 86_400;
            walk.warn(
                "tls",
                format!("{seen}, {days} days left"),
                "the operator should renew the certificate",
            );
        }
        _ => {
            walk.ok("tls", seen);
        }
    }
    true
}

/// Settings that let every handshake through and keep what a strict client would have said. Nothing secret is ever sent on such
/// a connection: it is closed after the handshake.
fn watching(
    authorities: Option<&[u8]>,
    verdict: &Arc<Mutex<Option<rustls::Error>>>,
) -> Result<ClientConfig, TlsError> {
    let verify = authorities.map_or(Verify::Platform, |pem| Verify::Authorities(pem.into()));
    let provider = ackpost_tls::provider()?;
    let strict = verify.verifier(&provider)?;
    let verdict = Arc::clone(verdict);
    let watcher = judged(&provider, move |shown| {
        if let Err(error) = shown.check(&*strict) {
            *verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        Ok(())
    });
    ackpost_tls::config_with(provider, watcher)
}

fn explain(error: &rustls::Error, name: &str, certificate: &Certificate) -> (String, String) {
    let Some(problem) = CertificateProblem::of(error) else {
        return (
            error.to_string().to_lowercase(),
            "the operator of the server should look at its TLS set-up".to_owned(),
        );
    };
    let remedy = match &problem {
        CertificateProblem::Expired => "the operator must renew it; check this machine's clock, too",
        CertificateProblem::NotYetValid => "check this machine's clock, then ask the operator",
        CertificateProblem::WrongName => {
            let remedy = match certificate.names.first() {
                Some(other) => {
                    format!("use the name the certificate is for (such as {other}), or ask the operator")
                }
                None => "ask the operator for a certificate with this name".to_owned(),
            };
            return (format!("the certificate is not for {name}"), remedy);
        }
        CertificateProblem::Untrusted => {
            "if you trust the authority, name its certificate with ca_file=; else ask the operator"
        }
        CertificateProblem::Revoked => "ask the operator; do not connect until it is replaced",
        _ => "the operator must replace it",
    };
    (problem.to_string(), remedy.to_owned())
}

/// The proxy of the environment that requests to this URL would take, without its credentials.
pub(super) fn proxy_for(secure: bool, host: &str) -> Option<String> {
    let get = |name: &str| {
        std::env::var(name)
            .or_else(|_| std::env::var(name.to_uppercase()))
            .ok()
            .filter(|text| !text.trim().is_empty())
    };
    let listed = get("no_proxy").is_some_and(|list| {
        list.split(',')
            .map(|one| one.trim().trim_start_matches('.'))
            .any(|one| !one.is_empty() && (one == "*" || host == one || host.ends_with(&format!(".{one}"))))
    });
    if listed {
        return None;
    }
    let proxy = get(if secure { "https_proxy" } else { "http_proxy" }).or_else(|| get("all_proxy"))?;
    Some(
        proxy
            .rsplit_once('@')
            .map_or(proxy.clone(), |(_, host)| host.to_owned()),
    )
}
