//! The connections that deliveries share.

use std::any::{Any, TypeId};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sogs_client::Verify;

use crate::asset::Asset;

use super::delivery::{BoxFuture, Late};
use super::pace::Pace;
use super::recent::Recent;

/// Options for connections.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// Proxies from `http_proxy`, `https_proxy`, `no_proxy` are used for http(s).
    pub proxies: bool,
    /// Trust exactly this TLS configuration for http(s) instead of the platform's roots (tests, embedders).
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Largest attachment that is read, in bytes.
    pub attachment_bytes: u64,
    /// Longest time that the server of an attachment may be silent while it is fetched.
    pub attachment_silence: Duration,
    /// The process stays: XMPP sessions are kept between messages.
    pub resident: bool,
    /// Most XMPP sessions, and most community servers, that are kept. Default 64. URLs that somebody else handed over
    /// are counted apart, and have a quarter of this number.
    pub kept_sessions: usize,
    /// Time after which an unused XMPP session is closed. Default 5 minutes.
    pub session_idle: Duration,
    /// Folder of login tokens (`fast=yes`), OMEMO keys and replaced messages (`replace=`); `None` keeps nothing.
    pub state_folder: Option<PathBuf>,
    /// Called as files are uploaded: name (for communities with the room), bytes sent, bytes in all.
    pub progress: Option<Progress>,
}

crate::setters::setters!(ConnectionOptions {
    with_proxies(proxies: bool),
    with_tls(tls: Option<Arc<rustls::ClientConfig>>),
    with_attachment_bytes(attachment_bytes: u64),
    with_attachment_silence(attachment_silence: Duration),
    with_resident(resident: bool),
    with_kept_sessions(kept_sessions: usize),
    with_session_idle(session_idle: Duration),
    with_state_folder(state_folder: Option<PathBuf>),
    with_progress(progress: Option<Progress>),
});

/// Told how far an upload is.
#[derive(Clone)]
pub struct Progress(pub ProgressFn);

/// Name of the file, bytes sent, bytes in all.
pub type ProgressFn = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            proxies: true,
            tls: None,
            attachment_bytes: 64 * 1024 * 1024,
            attachment_silence: Duration::from_secs(30),
            resident: false,
            kept_sessions: 64,
            session_idle: Duration::from_mins(5),
            state_folder: None,
            progress: None,
        }
    }
}

impl ConnectionOptions {
    /// An http client for everything that is not a community server (configurations, attachments). Redirects are
    /// followed to the same origin only. The error is a cause to show.
    pub(crate) fn http_client(
        &self,
        verify: bool,
        connect: Duration,
        read: Duration,
        agent: &str,
    ) -> Result<reqwest::Client, String> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect)
            .read_timeout(read)
            .timeout(read.saturating_mul(6).max(Duration::from_secs(30)))
            .user_agent(agent)
            .redirect(reqwest::redirect::Policy::custom(|attempt| {
                let origin = attempt.previous().first().map(::url::Url::origin);
                if attempt.previous().len() > 5 {
                    attempt.error("too many redirects")
                } else if origin.is_some_and(|origin| origin == attempt.url().origin()) {
                    attempt.follow()
                } else {
                    attempt.error("redirected to another server")
                }
            }));
        if let Some(tls) = &self.tls {
            builder = builder.tls_backend_preconfigured(rustls::ClientConfig::clone(tls));
        } else if rustls::crypto::CryptoProvider::get_default().is_none() {
            // The program chose none: as the clients of the services do.
            let rule = if verify { Verify::Platform } else { Verify::No };
            let tls = rule.client_config().map_err(|error| error.to_string())?;
            builder = builder.tls_backend_preconfigured(tls);
        } else if !verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if !self.proxies {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| error.to_string())
    }
}

/// State that one service keeps between deliveries, such as its connections. [`ConnectionPool::of_service`] makes and finds it.
pub trait ServicePool: Any + Send + Sync {
    /// Ends every kept connection in good order. Later deliveries may open new ones.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Takes the messages that came back after they were reported delivered, since the last call.
    fn take_late(&self) -> Vec<Late> {
        Vec::new()
    }

    /// Lets go of idle connections of URLs that somebody else handed over, with the secrets in them.
    fn forget_guests(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Holds the connections of a run (or of a resident process), so that URLs of one account share one. Clones share it.
#[derive(Clone)]
pub struct ConnectionPool(Arc<Inner>, Arc<Asset>);

struct Inner {
    options: ConnectionOptions,
    paces: Mutex<Recent<String, Pace>>,
    /// At most one for each type.
    services: Mutex<Vec<(TypeId, Arc<dyn ServicePool>)>>,
}

impl fmt::Debug for ConnectionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPool").finish_non_exhaustive()
    }
}

/// Most lanes whose pace is remembered.
const REMEMBERED_PACES: usize = 4096;

/// Owner of the URL that a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// The URL is the operator's own.
    Own,
    /// Somebody else handed the URL over.
    Guest,
}

impl Party {
    /// Returns the party that a URL with these rules belongs to.
    pub(crate) fn of(guest: Option<crate::Guest>) -> Self {
        guest.map_or(Self::Own, |_| Self::Guest)
    }

    /// Returns the share of this party in `most` kept connections.
    pub(crate) fn share(self, most: usize) -> usize {
        match self {
            Self::Own => most.max(1),
            Self::Guest => (most / 4).max(1),
        }
    }
}

impl ConnectionPool {
    /// No connection is made yet.
    pub fn new(options: ConnectionOptions, asset: Asset) -> Self {
        let inner = Inner {
            paces: Mutex::new(Recent::new(REMEMBERED_PACES)),
            services: Mutex::default(),
            options,
        };
        Self(Arc::new(inner), Arc::new(asset))
    }

    /// The same connections for a run with other settings. A connection that is open keeps the name it was made with.
    pub fn with_asset(&self, asset: Asset) -> Self {
        Self(Arc::clone(&self.0), Arc::new(asset))
    }

    /// Returns the options.
    pub fn options(&self) -> &ConnectionOptions {
        &self.0.options
    }

    /// The settings of the run.
    pub fn asset(&self) -> &Asset {
        &self.1
    }

    /// Returns what a service keeps between deliveries, such as its connections. It is made by the first delivery that asks
    /// for it, and is the same for all clones of the pool.
    pub fn of_service<T: ServicePool>(&self, make: impl FnOnce(&ConnectionOptions) -> T) -> Arc<T> {
        let mut all = self.services();
        let known = all.iter().find(|(kind, _)| *kind == TypeId::of::<T>());
        let known: Option<Arc<dyn Any + Send + Sync>> = known.map(|(_, one)| Arc::clone(one) as _);
        if let Some(Ok(known)) = known.map(Arc::downcast) {
            return known;
        }
        let made = Arc::new(make(&self.0.options));
        all.push((TypeId::of::<T>(), Arc::clone(&made) as _));
        made
    }

    fn services(&self) -> MutexGuard<'_, Vec<(TypeId, Arc<dyn ServicePool>)>> {
        self.0.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the messages that came back after they were reported delivered, since the last call. Only kept connections
    /// notice them.
    pub fn take_late(&self) -> Vec<Late> {
        self.services()
            .iter()
            .flat_map(|(_, one)| one.take_late())
            .collect()
    }

    /// Lets go of idle connections of URLs that somebody else handed over, with the secrets in them.
    pub async fn forget_guests(&self) {
        let all: Vec<_> = self.services().iter().map(|(_, one)| Arc::clone(one)).collect();
        for one in all {
            one.forget_guests().await;
        }
    }

    /// Ends every kept connection in good order.
    pub async fn close(&self) {
        let all: Vec<_> = self.services().iter().map(|(_, one)| Arc::clone(one)).collect();
        for one in all {
            one.close().await;
        }
    }

    /// Waits until one more piece may go to `lane` by the server's own limit.
    pub(crate) async fn pace(&self, lane: &str, posts: u32, window: Duration) {
        loop {
            let wait = {
                let mut paces = self.0.paces.lock().unwrap_or_else(PoisonError::into_inner);
                let now = tokio::time::Instant::now();
                if paces.get(&lane.to_owned()).is_none() {
                    paces.insert(lane.to_owned(), Pace::default());
                }
                paces
                    .get(&lane.to_owned())
                    .and_then(|pace| pace.take(now, posts, window))
            };
            match wait {
                None => return,
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

/// Returns a short mark that tells secrets apart within this process. It is keyed with a random key of the process, so
/// that nobody can guess a secret from it.
pub(crate) fn fingerprint(secret: &str) -> String {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0; 32];
        // Without randomness from the system the mark still tells secrets apart, and it never leaves the process.
        let _ = getrandom::fill(&mut key);
        key
    });
    keyed_mark(key, secret)
}

/// Returns a short mark of a text under a key (HMAC-SHA-256, 128 bits, in hex).
pub(crate) fn keyed_mark(key: &[u8; 32], text: &str) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    hex::encode(&mac.finalize().into_bytes()[..16])
}
