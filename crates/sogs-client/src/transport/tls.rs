//! The TLS settings of a connection, from what the caller chose.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::error::{Cause, SogsError};

/// Which certificates are accepted.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Verify {
    /// Those the platform trusts.
    #[default]
    Platform,
    /// Any (`verify=no`). The server is still known by its key when requests are sealed to it.
    No,
    /// Those signed by these authorities, in PEM.
    Authorities(Vec<u8>),
    /// What this configuration of rustls says.
    Config(Arc<ClientConfig>),
}

impl Verify {
    /// Returns the TLS settings of a client with these rules. The provider is the one of the process, else aws-lc.
    ///
    /// # Errors
    /// [`SogsError`] if the authorities hold no certificate, or the platform gives none.
    pub fn client_config(&self) -> Result<ClientConfig, SogsError> {
        config(self, true)
    }
}

/// Builds the configuration. For plain http nothing is trusted and nothing is loaded, which keeps the start fast.
pub(super) fn config(verify: &Verify, needed: bool) -> Result<ClientConfig, SogsError> {
    if let Verify::Config(config) = verify {
        return Ok(ClientConfig::clone(config));
    }
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?;
    if !needed {
        return Ok(builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    Ok(match verify {
        Verify::No => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(algorithms)))
            .with_no_client_auth(),
        Verify::Authorities(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate
                    .map_err(|error| SogsError::invalid(format!("the authorities are no PEM: {error}")))?;
                roots.add(certificate).map_err(tls)?;
            }
            if roots.is_empty() {
                return Err(SogsError::invalid("the authorities hold no certificate"));
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Verify::Platform | Verify::Config(_) => builder
            .with_platform_verifier()
            .map_err(tls)?
            .with_no_client_auth(),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn tls(error: rustls::Error) -> SogsError {
    SogsError::new(Cause::Tls {
        detail: explain(&error),
    })
}

/// A failed handshake in words.
pub(super) fn explain(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return error.to_string();
    };
    match problem {
        // A bad signature is that of another authority with the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the certificate is signed by an authority that is not trusted here".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows the certificate of an authority, which signs others, as its own".to_owned()
        }
        other => format!("the certificate is not valid: {other}"),
    }
}

/// Accepts any certificate, but still requires that the handshake is signed with its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
