//! Why a certificate was refused.

use std::error::Error;
use std::{fmt, io};

use rustls::CertificateError;

/// Why a certificate was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is signed by an authority that is not trusted.
    Untrusted,
    /// It signed itself, or is that of an authority, which signs others.
    IsAuthority,
    /// Its time is over.
    Expired,
    /// Its time has not come yet.
    NotYetValid,
    /// It is for another name.
    WrongName,
    /// Its authority took it back.
    Revoked,
    /// Another reason, in the words of the TLS library.
    Other(String),
}

impl CertificateProblem {
    /// Returns the problem, if a certificate was the reason of this error.
    pub fn of(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(problem) = error else {
            return None;
        };
        Some(match problem {
            // A bad signature is that of another authority with the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                Self::IsAuthority
            }
            other => Self::Other(other.to_string()),
        })
    }

    /// Returns the problem, if a certificate was the reason of an error of another library: the errors behind it are searched.
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let tls = error.downcast_ref::<rustls::Error>();
            if let Some(problem) = tls.and_then(Self::of) {
                return Some(problem);
            }
            // The source of such an error is not what it holds, but the source of that.
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inside) => Some(inside),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untrusted => "the certificate is signed by an authority that is not trusted here",
            Self::IsAuthority => {
                "the server shows the certificate of an authority, which signs others, as its own"
            }
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::Revoked => "the certificate was revoked",
            Self::WrongName => "the certificate is for another name",
            Self::Other(reason) => return write!(f, "the certificate is not valid: {reason}"),
        })
    }
}
