//! `[smtp]`: the options of the SMTP server.

use std::path::PathBuf;

use serde::Deserialize;

use super::value::{ConfigError, OneOrMore, bytes, time};
use crate::recipient::Recipient;
use crate::smtp::{MAX_BYTES, Smtp};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSmtp {
    listen: Option<OneOrMore>,
    tls_listen: Option<OneOrMore>,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    default_key: Option<String>,
    connections: Option<usize>,
    idle: Option<String>,
    max_size: Option<String>,
}

impl RawSmtp {
    pub(super) fn check(self) -> Result<Smtp, ConfigError> {
        let defaults = Smtp::default();
        let addresses = |place: &str, given: Option<OneOrMore>| {
            given.map_or(Ok(Vec::new()), |given| given.addresses(place))
        };
        let smtp = Smtp {
            listen: addresses("smtp.listen", self.listen)?,
            tls_listen: addresses("smtp.tls_listen", self.tls_listen)?,
            certificate: self.certificate,
            private_key: self.private_key,
            default_key: self.default_key,
            connections: self.connections.unwrap_or(defaults.connections),
            idle: time("smtp.idle", self.idle, defaults.idle)?,
            bytes: bytes("smtp.max_size", self.max_size, defaults.bytes)?,
        };
        if smtp.certificate.is_some() != smtp.private_key.is_some() {
            return Err(ConfigError::new(
                "smtp",
                "certificate and private_key belong together",
            ));
        }
        if smtp.certificate.is_none() && !smtp.tls_listen.is_empty() {
            return Err(ConfigError::new(
                "smtp.tls_listen",
                "needs certificate and private_key",
            ));
        }
        if let Some(key) = &smtp.default_key {
            Recipient::parse(key)
                .map_err(|_| ConfigError::new("smtp.default_key", "is not KEY or TAG+KEY"))?;
        }
        if smtp.bytes > MAX_BYTES {
            return Err(ConfigError::new("smtp.max_size", "must be at most 64MiB"));
        }
        if smtp.connections == 0 {
            return Err(ConfigError::new("smtp.connections", "must be at least 1"));
        }
        Ok(smtp)
    }
}
