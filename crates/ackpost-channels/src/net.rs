//! Addresses, and failures of connections to them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ackpost_notify::service::authorities;
use ackpost_notify::{Attempt, CommonParams, ConnectionOptions, Diagnostic, Outcome};
use ackpost_tls::{CertificateProblem, Verify};

/// Remedy for a host that is not on the public internet.
pub(crate) const ADDRESS_REMEDY: &str =
    "use a host on the public internet, or allow others with `private_addresses = true` in gateway.toml";
/// Cause for such a host.
pub(crate) const ADDRESS_CAUSE: &str = "the host has no allowed address";

/// A failure: its cause, its remedy, and the prospects of the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) cause: String,
    pub(crate) remedy: String,
    /// The same attempt would fail again.
    pub(crate) permanent: bool,
    /// The other side may have the message.
    pub(crate) in_doubt: bool,
    /// Time that the other side asked to wait.
    pub(crate) retry_after: Option<std::time::Duration>,
    /// A smaller message may be accepted.
    pub(crate) too_large: bool,
}

impl Failure {
    pub(crate) fn temporary(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
            permanent: false,
            in_doubt: false,
            retry_after: None,
            too_large: false,
        }
    }

    pub(crate) fn permanent(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            permanent: true,
            ..Self::temporary(cause, remedy)
        }
    }

    /// Says that the message was written.
    pub(crate) fn in_doubt(self, in_doubt: bool) -> Self {
        Self { in_doubt, ..self }
    }

    pub(crate) fn attempt(self) -> Attempt {
        let mut attempt = Attempt::new(if self.permanent {
            Outcome::refused(self.cause, self.remedy)
        } else {
            Outcome::Deferred {
                reason: self.cause,
                remedy: self.remedy,
                retry_after: self.retry_after,
            }
        });
        attempt.may_have_arrived = self.in_doubt;
        attempt
    }

    pub(crate) fn diagnostic(self) -> Diagnostic {
        Diagnostic::error(self.cause, self.remedy)
    }
}

impl From<Diagnostic> for Failure {
    fn from(problem: Diagnostic) -> Self {
        Self::permanent(problem.cause, problem.remedy)
    }
}

/// Returns which certificates a connection accepts.
pub(crate) fn verify(
    common: &CommonParams,
    options: &ConnectionOptions,
    ca_file: Option<&str>,
) -> Result<Verify, Diagnostic> {
    Ok(if let Some(path) = ca_file {
        Verify::Authorities(authorities(path)?.into())
    } else if !common.verify {
        Verify::No
    } else if let Some(tls) = &options.tls {
        Verify::Config(tls.clone())
    } else {
        Verify::Platform
    })
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Returns true if a connection of this URL may go to an address.
pub(crate) fn allowed(common: &CommonParams, address: IpAddr) -> bool {
    common
        .guest
        .is_none_or(|guest| guest.allows(address.to_canonical()))
}

/// Finds the addresses of a host that a connection may go to.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    common: &CommonParams,
) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::time::timeout(
        common.connect_timeout(),
        tokio::net::lookup_host((bare(host), port)),
    )
    .await
    .map_err(|_| Failure::temporary("the name server did not answer in time", "try again later"))?
    .map_err(|error| {
        Failure::temporary(
            format!("the host `{host}` cannot be found: {error}"),
            "check the host in the URL and the name server of this machine",
        )
    })?;
    let found: Vec<SocketAddr> = found.take(16).collect();
    let usable: Vec<SocketAddr> = found
        .into_iter()
        .filter(|one| allowed(common, one.ip()))
        .collect();
    if usable.is_empty() {
        return Err(Failure::permanent(ADDRESS_CAUSE, ADDRESS_REMEDY));
    }
    Ok(usable)
}

/// Opens a connection to the first address that answers.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    common: &CommonParams,
) -> Result<tokio::net::TcpStream, Failure> {
    let mut last = Failure::temporary("the host has no address", "check the host in the URL");
    for address in resolve(host, port, common).await? {
        let dialled = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(common.connect_timeout(), dialled).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = refused(host, port, &error),
            Err(_) => {
                last = Failure::temporary(
                    format!("{host}:{port} did not take the connection in time"),
                    "check host, port and firewall, or raise `cto=`",
                );
            }
        }
    }
    Err(last)
}

fn refused(host: &str, port: u16, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return Failure::temporary(
            format!("nobody listens on {host}:{port}"),
            "check host and port in the URL, and that the server runs",
        );
    }
    Failure::temporary(
        format!("no connection to {host}:{port}: {error}"),
        "check host, port and firewall",
    )
}

/// Returns the failure of a TLS handshake.
pub(crate) fn certificate(address: &str, error: &rustls::Error) -> Failure {
    let reason =
        CertificateProblem::of(error).map_or_else(|| error.to_string(), |problem| problem.to_string());
    Failure::permanent(
        format!("no encryption with {address}: {reason}"),
        "correct the certificate of the server, trust its authority with `ca_file=`, or write verify=no",
    )
}

/// The TLS error that an `io::Error` carries. The TLS library wraps more than once.
pub(crate) fn inside(io: &io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    match inner.downcast_ref::<io::Error>() {
        Some(io) => inside(io),
        None => inner.downcast_ref(),
    }
}

/// Makes a text of another program safe to show: one line, no control characters, at most 200 characters.
pub(crate) fn said(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(201)
        .collect();
    if plain.chars().count() > 200 {
        plain.pop();
        plain.push('…');
    }
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server_are_one_short_line() {
        assert_eq!(said("no\r\nsuch\u{1b}[31m user\n"), "no  such [31m user");
        assert_eq!(said(&"x".repeat(500)).chars().count(), 201);
    }

    #[test]
    fn brackets_are_not_part_of_an_address() {
        assert_eq!((bare("[::1]"), bare("h.org")), ("::1", "h.org"));
    }
}
