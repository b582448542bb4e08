//! State that all requests share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use ackpost_operate::Desk;
use ackpost_outbox::{AlarmServices, Outbox};
use tokio::sync::Notify;

use super::catalog::Catalog;
use super::config::{Access, Config, ConfigError};
use super::health::Health;
use super::key::Key;
use super::login::Logins;
use super::mail::Mail;
use super::memory::Memory;
use super::metrics::Counters;
use super::rate::Buckets;
use super::reply::Reply;
use super::token::Tokens;

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    config: RwLock<Arc<Config>>,
    config_file: Option<PathBuf>,
    pub(crate) tokens: Tokens,
    pub(crate) catalog: Catalog,
    pub(crate) outbox: Outbox,
    pub(crate) rates: Rates,
    pub(crate) logins: Logins,
    pub(crate) counters: Counters,
    /// Memory for bodies and fetched attachments.
    pub(crate) memory: Arc<Memory>,
    pub(crate) health: Health,
    pub(crate) started: Instant,
    /// Services that receive alarms.
    pub(crate) alarm_services: AlarmServices,
    /// Notified when a key was saved or deleted.
    pub(crate) keys_changed: Notify,
    /// Notified for the listeners of answers when a key was saved or deleted.
    pub(crate) answers_changed: Notify,
    /// The desk that decides about answers to alerts, if anybody may answer.
    desk: RwLock<Option<Desk>>,
    worker_alive: AtomicBool,
    draining: AtomicBool,
}

/// Rate limits for callers and for wrong tokens.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Requests by token; on an open gateway, by address.
    pub(crate) callers: Buckets<String>,
    /// Wrong tokens by address.
    pub(crate) guesses: Buckets<IpAddr>,
}

/// Returns the memory of the largest request, or of the largest mail if there are mails.
fn largest(config: &Config) -> usize {
    let body = config.limits.body_bytes.saturating_mul(2);
    if config.smtp.listens() {
        body.max(Mail::memory(config.smtp.bytes))
    } else {
        body
    }
}

impl Gateway {
    pub(crate) fn new(
        config: Config,
        config_file: Option<PathBuf>,
        tokens: Tokens,
        catalog: Catalog,
        outbox: Outbox,
    ) -> Self {
        let memory = Memory::new(config.limits.memory, largest(&config));
        Self {
            config: RwLock::new(Arc::new(config)),
            config_file,
            tokens,
            catalog,
            outbox,
            rates: Rates {
                callers: Buckets::new(),
                guesses: Buckets::new(),
            },
            logins: Logins::default(),
            counters: Counters::default(),
            memory,
            health: Health::default(),
            started: Instant::now(),
            alarm_services: AlarmServices::default(),
            keys_changed: Notify::new(),
            answers_changed: Notify::new(),
            desk: RwLock::default(),
            worker_alive: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// The configuration as it is now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns true when no token is needed: `access = "open"`, or on loopback as long as no token was ever made.
    pub(crate) fn is_open(&self) -> bool {
        let config = self.config();
        match config.access {
            Access::Open => true,
            Access::Tokens => false,
            Access::Auto => config.loopback_only() && !self.tokens.ever_made(),
        }
    }

    /// Reads the configuration and everything it names again. Listeners and folders stay the same.
    pub(crate) fn reload(&self) -> Result<(), ConfigError> {
        if let Some(file) = &self.config_file {
            let mut new = Config::load(file, &|name| std::env::var(name).ok())?;
            let old = self.config();
            new.listen.clone_from(&old.listen);
            new.folder.clone_from(&old.folder);
            new.outbox.clone_from(&old.outbox);
            new.smtp.listen.clone_from(&old.smtp.listen);
            new.smtp.tls_listen.clone_from(&old.smtp.tls_listen);
            self.configure(new);
        }
        self.catalog.forget();
        self.reload_tokens();
        Ok(())
    }

    /// Replaces the configuration.
    pub(super) fn configure(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Reads the tokens again if their file was changed.
    pub(crate) fn reload_tokens(&self) {
        match self.tokens.reload_if_changed() {
            Ok(true) => tracing::info!("the tokens were read again"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "cannot read the tokens: no token is valid until the file is repaired");
            }
        }
    }

    /// The operator's file of a key, if it has one.
    pub(crate) fn operator_file(&self, key: &Key) -> Option<PathBuf> {
        self.config().keys.get(key.as_str()).cloned()
    }

    /// Every key: the operator's and the saved ones.
    pub(crate) fn keys(&self) -> Result<Vec<Key>, Reply> {
        let mut keys = self
            .catalog
            .store()
            .keys()
            .map_err(|error| Reply::internal(&error))?;
        keys.extend(self.config().keys.keys().filter_map(|name| Key::parse(name).ok()));
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    pub(crate) fn set_worker_alive(&self, alive: bool) {
        self.worker_alive.store(alive, Ordering::Relaxed);
    }

    /// The desk of the answers, while they are listened for.
    pub(crate) fn desk(&self) -> Option<Desk> {
        self.desk.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_desk(&self, desk: Option<Desk>) {
        *self.desk.write().unwrap_or_else(PoisonError::into_inner) = desk;
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// True while messages are being delivered and requests are taken.
    pub(crate) fn is_healthy(&self) -> bool {
        self.worker_alive.load(Ordering::Relaxed) && !self.draining.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mail_has_its_memory_set_aside() {
        let mut config = Config::with_folder("/x".into());
        assert_eq!(largest(&config), 32 << 20);
        config.smtp.listen = vec![([127, 0, 0, 1], 25).into()];
        assert_eq!(largest(&config), 48 << 20);
        config.smtp.bytes = 1 << 20;
        assert_eq!(largest(&config), 32 << 20);
    }
}
