//! An authority that makes a fake any host.

use std::io::Write as _;
use std::net::TcpStream;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::tls::server_config;

/// Issues a certificate for every host that is asked for.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority; the second value is its certificate, PEM.
    pub(crate) fn new() -> (Self, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A certificate whose issuer has its own name would count as self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "Authority of the fake proxy");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        (Self { issuer }, pem)
    }

    /// Accepts the tunnel to `HOST:PORT`, and is that host by TLS; nothing if the client is gone.
    pub(crate) fn terminate(
        &self,
        mut stream: TcpStream,
        place: &str,
    ) -> Option<rustls::StreamOwned<rustls::ServerConnection, TcpStream>> {
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
        let key = KeyPair::generate().ok()?;
        let params = CertificateParams::new(vec![host.to_owned()]).ok()?;
        let certificate = params.signed_by(&key, &self.issuer).ok()?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = server_config(vec![certificate.der().clone()], key);
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .ok()?;
        let tls = rustls::ServerConnection::new(config).ok()?;
        Some(rustls::StreamOwned::new(tls, stream))
    }
}
