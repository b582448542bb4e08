//! A verifier whose decision is one function.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// The certificates that a server shows, and for which name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Presented<'a> {
    /// The certificate of the server itself.
    pub end_entity: &'a CertificateDer<'a>,
    /// Those that the server sends along.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The name that was asked for.
    pub name: &'a ServerName<'a>,
    /// The OCSP answer that the server sends along; empty without one.
    pub ocsp: &'a [u8],
    /// The time at which the certificates must be valid.
    pub now: UnixTime,
}

impl Presented<'_> {
    /// Asks another verifier.
    ///
    /// # Errors
    /// The reason of that verifier.
    pub fn check(&self, verifier: &dyn ServerCertVerifier) -> Result<(), Error> {
        verifier
            .verify_server_cert(
                self.end_entity,
                self.intermediates,
                self.name,
                self.ocsp,
                self.now,
            )
            .map(drop)
    }
}

/// Returns a verifier that accepts a certificate if `judge` does. Whatever it says, the server must sign the handshake with
/// the key of its certificate.
pub fn judged(
    provider: &CryptoProvider,
    judge: impl Fn(&Presented<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Judged {
        algorithms: provider.signature_verification_algorithms,
        judge,
    })
}

struct Judged<F> {
    algorithms: WebPkiSupportedAlgorithms,
    judge: F,
}

impl<F> fmt::Debug for Judged<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}

impl<F: Fn(&Presented<'_>) -> Result<(), Error> + Send + Sync> ServerCertVerifier for Judged<F> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.judge)(&Presented {
            end_entity,
            intermediates,
            name,
            ocsp,
            now,
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
