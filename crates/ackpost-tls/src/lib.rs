//! TLS settings of a client: which certificates it accepts, by which provider, and why one was refused.
//!
//! ```
//! use ackpost_tls::Verify;
//!
//! let config = Verify::No.client_config()?;
//! assert!(config.alpn_protocols.is_empty());
//! # Ok::<(), ackpost_tls::TlsError>(())
//! ```
//!
//! The provider of cryptography is the one that the program installed
//! ([`CryptoProvider::install_default`]), else the one of the features: `aws-lc-rs`, then `ring`.

mod judge;
mod problem;

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

pub use rustls::ClientConfig;

pub use judge::{Presented, judged};
pub use problem::CertificateProblem;

/// Which certificates are accepted.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Verify {
    /// Those that the platform trusts.
    #[default]
    Platform,
    /// Those signed by these authorities, in PEM, and no others.
    Authorities(Arc<[u8]>),
    /// Any. The server must still have the key of the certificate that it shows.
    No,
    /// Those that this configuration accepts.
    Config(Arc<ClientConfig>),
}

impl fmt::Debug for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Platform => "Platform",
            Self::Authorities(_) => "Authorities",
            Self::No => "No",
            Self::Config(_) => "Config",
        })
    }
}

/// Why there are no TLS settings.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The program installed no provider, and the crate was built without one.
    #[error("no TLS provider is installed; build with the feature aws-lc-rs or ring, or install one")]
    NoProvider,
    /// The authorities cannot be used.
    #[error("{0}")]
    Authorities(String),
    /// The platform provides no authorities.
    #[error("the authorities of the platform cannot be used: {0}")]
    Platform(#[source] rustls::Error),
    /// The provider does not support the needed versions of TLS.
    #[error("the TLS provider cannot be used: {0}")]
    Provider(#[source] rustls::Error),
}

impl Verify {
    /// Returns the settings of a client that accepts these certificates.
    ///
    /// # Errors
    /// [`TlsError`] without a provider, and for authorities that cannot be read.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        if let Self::Config(config) = self {
            return Ok(ClientConfig::clone(config));
        }
        let provider = provider()?;
        let verifier = self.verifier(&provider)?;
        config_with(provider, verifier)
    }

    /// Returns what checks the certificates of a server.
    ///
    /// # Errors
    /// [`TlsError::Authorities`] and [`TlsError::Platform`] for authorities that cannot be used.
    pub fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        Ok(match self {
            Self::Authorities(pem) => strict(roots(pem)?, provider)?,
            Self::No => judged(provider, |_| Ok(())),
            Self::Platform | Self::Config(_) => Arc::new(
                rustls_platform_verifier::Verifier::new(provider.clone()).map_err(TlsError::Platform)?,
            ),
        })
    }
}

/// Returns the provider that the program installed, else the one of the features.
///
/// # Errors
/// [`TlsError::NoProvider`] if there is neither.
pub fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    match CryptoProvider::get_default() {
        Some(installed) => Ok(installed.clone()),
        None => built_in(),
    }
}

/// Returns the settings of a client with this verifier.
///
/// # Errors
/// [`TlsError::Provider`] if the provider supports neither TLS 1.2 nor 1.3.
pub fn config_with(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Returns the settings of a client that never uses TLS. Nothing is loaded, which keeps the start fast.
///
/// # Errors
/// [`TlsError`] without a usable provider.
pub fn without_certificates() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

#[cfg(feature = "aws-lc-rs")]
#[expect(clippy::unnecessary_wraps, reason = "without a provider it is an error")]
fn built_in() -> Result<Arc<CryptoProvider>, TlsError> {
    Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
#[expect(clippy::unnecessary_wraps, reason = "without a provider it is an error")]
fn built_in() -> Result<Arc<CryptoProvider>, TlsError> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
fn built_in() -> Result<Arc<CryptoProvider>, TlsError> {
    Err(TlsError::NoProvider)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let unusable = |reason: String| TlsError::Authorities(reason);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(format!("it is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn strict(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| TlsError::Authorities(error.to_string()))?;
    Ok(verifier)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn authorities_without_a_certificate_are_refused() {
        for (pem, word) in [
            (&b""[..], "no certificate"),
            (b"not a certificate", "no certificate"),
        ] {
            let error = Verify::Authorities(pem.into()).client_config().unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn an_authority_in_pem_is_accepted() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Verify::Authorities(made.cert.pem().into_bytes().into())
            .client_config()
            .unwrap();
    }

    #[test]
    fn a_configuration_is_used_as_it_is() {
        let mut mine = without_certificates().unwrap();
        mine.alpn_protocols = vec![b"xmpp-client".to_vec()];
        let config = Verify::Config(Arc::new(mine)).client_config().unwrap();
        assert_eq!(config.alpn_protocols, [b"xmpp-client"]);
    }
}

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
