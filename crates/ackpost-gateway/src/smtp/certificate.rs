//! The certificate of SMTP, which is read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Smtp;

/// Names, times and sizes of the two files.
type Version = [(PathBuf, Option<(SystemTime, u64)>); 2];

/// A certificate with its key, as new as its files.
pub(super) struct Certificate(Mutex<(Version, TlsAcceptor)>);

impl Certificate {
    /// Reads a certificate.
    pub(super) fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let version = [version_of(certificate), version_of(key)];
        Ok(Self(Mutex::new((version, acceptor(certificate, key)?))))
    }

    /// Returns the certificate of the files as they are now. A new one that cannot be read is logged once, and the old one
    /// stays in use.
    pub(super) fn current(&self, smtp: &Smtp) -> TlsAcceptor {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(certificate), Some(key)) = (&smtp.certificate, &smtp.private_key) {
            let version = [version_of(certificate), version_of(key)];
            if version != kept.0 {
                match acceptor(certificate, key) {
                    Ok(new) => {
                        tracing::info!("the certificate of SMTP was read again");
                        kept.1 = new;
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot read the new certificate of SMTP; the old one stays in use");
                    }
                }
                kept.0 = version;
            }
        }
        kept.1.clone()
    }
}

fn version_of(path: &Path) -> (PathBuf, Option<(SystemTime, u64)>) {
    let meta = std::fs::metadata(path).ok();
    let version = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
    (path.to_owned(), version)
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let provider = ackpost_tls::provider().map_err(|error| error.to_string())?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| error.to_string())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
