//! Certificates for the fakes.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A self-signed certificate, right in everything but its signer.
#[derive(Debug)]
pub struct SelfSigned {
    /// The certificate, PEM: add it to the trust roots to make it right.
    pub pem: String,
    cert: CertificateDer<'static>,
    key: Vec<u8>,
}

impl SelfSigned {
    /// For these DNS names or addresses.
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("names that a certificate can hold");
        Self {
            pem: made.cert.pem(),
            cert: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
        }
    }

    /// For certificates wrong in one exact way (expired, other name …): the caller sets the parameters.
    pub fn from_params(params: &rcgen::CertificateParams) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = params
            .self_signed(&key)
            .expect("parameters that a certificate can hold");
        Self {
            pem: cert.pem(),
            cert: cert.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// The SHA-256 of the certificate, by which a client may pin it.
    pub fn sha256(&self) -> [u8; 32] {
        sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            &self.cert,
        ))
        .into()
    }

    /// A rustls server configuration that shows this certificate.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        server_config(
            vec![self.cert.clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())),
        )
    }
}

/// A rustls server configuration without client authentication, with the aws-lc-rs provider.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<rustls::ServerConfig> {
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the default versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key belongs to the certificate");
    Arc::new(config)
}
