//! The settings of SMTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Largest size of a mail that can be set, bytes.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// `[smtp]` of gateway.toml.
#[derive(Clone, Debug)]
pub(crate) struct Smtp {
    /// Addresses with STARTTLS, if there is a certificate.
    pub(crate) listen: Vec<SocketAddr>,
    /// Addresses with TLS from the first byte.
    pub(crate) tls_listen: Vec<SocketAddr>,
    /// Certificate chain and private key, as PEM.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) private_key: Option<PathBuf>,
    /// Key for recipients that are not a key.
    pub(crate) default_key: Option<String>,
    pub(crate) connections: usize,
    /// Longest pause between two commands.
    pub(crate) idle: Duration,
    /// Maximum size of a mail, bytes.
    pub(crate) bytes: usize,
}

impl Smtp {
    /// Returns true if only this machine can connect.
    pub(crate) fn loopback_only(&self) -> bool {
        let mut addresses = self.listen.iter().chain(&self.tls_listen);
        addresses.all(|address| address.ip().is_loopback())
    }

    /// Returns true if there is an address to listen on.
    pub(crate) fn listens(&self) -> bool {
        !self.listen.is_empty() || !self.tls_listen.is_empty()
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls_listen: Vec::new(),
            certificate: None,
            private_key: None,
            default_key: None,
            connections: 256,
            idle: Duration::from_secs(300),
            bytes: 12 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_of_a_network_opens_the_listeners_to_others() {
        let mut smtp = Smtp {
            listen: vec![([127, 0, 0, 1], 2525).into()],
            ..Smtp::default()
        };
        assert!(smtp.loopback_only() && smtp.listens());
        smtp.tls_listen = vec![([0, 0, 0, 0], 465).into()];
        assert!(!smtp.loopback_only());
        assert!(!Smtp::default().listens());
    }
}
