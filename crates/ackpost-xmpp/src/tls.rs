//! TLS: which certificates are believed, and what the login can be bound to.

use std::sync::Arc;

use ackpost_tls::{CertificateProblem, TlsError, Verify, judged};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ClientConfig, NamedGroup};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::error::XmppError;

/// The length of the tls-exporter binding in bytes (RFC 9266 section 2).
const EXPORTER_LEN_BYTES: usize = 32;

/// A configuration for this policy. Built once for all connections of an account, so that TLS
/// sessions can be resumed and the platform's certificates are read once.
pub(crate) fn config(verify: &Verify) -> Result<ClientConfig, XmppError> {
    let no_provider = |error: TlsError| XmppError::BadAuthority {
        reason: error.to_string(),
    };
    let mut provider = (*ackpost_tls::provider().map_err(no_provider)?).clone();
    // Servers with OpenSSL 3.5 ask again for the hybrid key share when it is offered and not sent
    // along, which costs a round trip. Its classical half goes along for all others.
    provider
        .kx_groups
        .sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    let provider = Arc::new(provider);
    let unusable = |error: TlsError| XmppError::BadAuthority {
        reason: error.to_string(),
    };
    if let Verify::Config(config) = verify {
        return Ok(ClientConfig::clone(config));
    }
    let strict = verify.verifier(&provider).map_err(unusable)?;
    let explaining = judged(&provider, move |shown| {
        shown
            .check(&*strict)
            .map_err(|error| explained(error, shown.end_entity))
    });
    ackpost_tls::config_with(provider, explaining).map_err(unusable)
}

/// A certificate whose names are none that a TLS library checks.
#[derive(Debug)]
struct OnlyXmppNames;

impl std::fmt::Display for OnlyXmppNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the names are SRV-ID or xmppAddr")
    }
}

impl std::error::Error for OnlyXmppNames {}

/// Tells certificates that name only XMPP services (RFC 6120 section 13.7.1.2) from those of other hosts.
fn explained(error: rustls::Error, certificate: &CertificateDer<'_>) -> rustls::Error {
    // id-on-dnsSRV (RFC 4985) and id-on-xmppAddr (RFC 6120).
    const SRV_ID: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x07];
    const XMPP_ADDR: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x05];
    let holds = |oid: &[u8]| certificate.windows(oid.len()).any(|window| window == oid);
    if CertificateProblem::of(&error) == Some(CertificateProblem::WrongName)
        && (holds(SRV_ID) || holds(XMPP_ADDR))
    {
        let other = CertificateError::Other(rustls::OtherError(Arc::new(OnlyXmppNames)));
        return rustls::Error::InvalidCertificate(other);
    }
    error
}

/// Data of the TLS connection that a login can be bound to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    /// RFC 9266; only under TLS 1.3, because TLS 1.2 would need the extended master secret, which
    /// cannot be asked about.
    pub(crate) exporter: Option<Vec<u8>>,
    /// RFC 5929 section 4: the hash of the server's certificate.
    pub(crate) end_point: Option<Vec<u8>>,
}

impl Bindings {
    pub(crate) fn of(tls: &TlsStream<TcpStream>) -> Self {
        let connection = tls.get_ref().1;
        let exporter = (connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3))
            .then(|| {
                connection
                    .export_keying_material(vec![0; EXPORTER_LEN_BYTES], b"EXPORTER-Channel-Binding", None)
                    .ok()
            })
            .flatten();
        let end_point = connection
            .peer_certificates()
            .and_then(|chain| end_point(chain.first()?));
        Self { exporter, end_point }
    }

    /// The data for a kind of binding, by its registered name.
    pub(crate) fn get(&self, kind: &str) -> Option<&[u8]> {
        match kind {
            "tls-exporter" => self.exporter.as_deref(),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn any(&self) -> bool {
        self.exporter.is_some() || self.end_point.is_some()
    }
}

/// The certificate hashed with the hash of its own signature, but at least SHA-256. `None` where
/// RFC 5929 defines nothing (Ed25519).
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }
    let (_, body, _) = der(certificate)?;
    let (_, _, rest) = der(body)?;
    let (_, algorithm, _) = der(rest)?;
    let (tag, oid, parameters) = der(algorithm)?;
    if tag != 0x06 {
        return None;
    }
    let bits = if let Some(last) = oid.strip_prefix(RSA) {
        match last {
            [0x04 | 0x05 | 0x0b | 0x0e] => 256, // MD5, SHA-1, SHA-256, SHA-224
            [0x0c] => 384,
            [0x0d] => 512,
            [0x0a] => {
                // RSASSA-PSS: the hash is in the parameters, tagged [0]; SHA-1 when left out.
                let (_, fields, _) = der(parameters)?;
                match der(fields) {
                    Some((0xa0, tagged, _)) => {
                        let (_, hash, _) = der(tagged)?;
                        let (_, oid, _) = der(hash)?;
                        match oid.strip_prefix(SHA2) {
                            Some([2]) => 384,
                            Some([3]) => 512,
                            _ => 256,
                        }
                    }
                    _ => 256,
                }
            }
            _ => return None,
        }
    } else if let Some(last) = oid.strip_prefix(ECDSA_SHA2) {
        match last {
            [1 | 2] => 256,
            [3] => 384,
            [4] => 512,
            _ => return None,
        }
    } else if oid.starts_with(ECDSA_SHA1) {
        256
    } else {
        return None;
    };
    Some(match bits {
        384 => Sha384::digest(certificate).to_vec(),
        512 => Sha512::digest(certificate).to_vec(),
        _ => Sha256::digest(certificate).to_vec(),
    })
}

/// One DER value: tag, content, and what follows it.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        (
            digits
                .iter()
                .fold(0_usize, |len, &digit| len << 8 | usize::from(digit)),
            rest,
        )
    };
    (rest.len() >= len).then(|| (tag, &rest[..len], &rest[len..]))
}

/// Returns the cause of a failed handshake.
pub(crate) fn explain(error: &std::io::Error, domain: &str) -> XmppError {
    let domain = domain.to_owned();
    let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return XmppError::TlsFailed {
                domain,
                reason: "the connection was closed".to_owned(),
            };
        }
        return XmppError::TlsFailed {
            domain,
            reason: error.to_string(),
        };
    };
    if let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error
        && other.0.is::<OnlyXmppNames>()
    {
        return XmppError::CertificateOnlyXmppNames { domain };
    }
    match (CertificateProblem::of(error), error) {
        // A certificate that signed itself is its own, untrusted, authority.
        (Some(CertificateProblem::Untrusted | CertificateProblem::IsAuthority), _) => {
            XmppError::CertificateUntrusted { domain }
        }
        (Some(CertificateProblem::Expired), _) => XmppError::CertificateExpired { domain },
        (Some(CertificateProblem::NotYetValid), _) => XmppError::CertificateNotYetValid { domain },
        (Some(CertificateProblem::WrongName), _) => XmppError::CertificateWrongName { domain },
        (Some(CertificateProblem::Other(reason)), _) => XmppError::CertificateInvalid { domain, reason },
        (Some(other), _) => XmppError::CertificateInvalid {
            domain,
            reason: other.to_string(),
        },
        (None, rustls::Error::InvalidMessage(_)) => XmppError::PortExpectsClearText,
        (None, other) => XmppError::TlsFailed {
            domain,
            reason: other.to_string(),
        },
    }
}
