//! The connections that deliveries share.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sogs_client::{Server, Verify};

use crate::asset::Asset;
use crate::problem::Diagnostic;
use crate::service::Service;

use super::accounts::Accounts;
use super::lane::Pace;
use super::recent::Recent;
use super::{AttemptResult, File, Late, Parcel};

/// How connections are made.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// Proxies from `http_proxy`, `https_proxy`, `no_proxy` are used for http(s).
    pub proxies: bool,
    /// Trust exactly this TLS configuration for http(s) instead of the platform's roots (tests, embedders).
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Largest attachment that is read, in bytes.
    pub attachment_bytes: u64,
    /// How long the server of an attachment may be silent while it is fetched.
    pub attachment_silence: Duration,
    /// The process stays: XMPP sessions are kept between messages.
    pub resident: bool,
    /// Most XMPP sessions, and most community servers, that are kept. Default 64. URLs that somebody else handed over
    /// are counted apart, and have a quarter of this number.
    pub kept_sessions: usize,
    /// How long a kept XMPP session may be unused before it is closed. Default 5 minutes.
    pub session_idle: Duration,
    /// Where login tokens (`fast=yes`) and replaced messages (`replace=`) are kept; `None` keeps nothing.
    pub state_folder: Option<PathBuf>,
    /// Called as files are uploaded: name (for communities with the room), bytes sent, bytes in all.
    pub progress: Option<Progress>,
}

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

/// Holds the connections of a run (or of a resident process), so that URLs of one account share one. Clones share it.
#[derive(Clone)]
pub struct ConnectionPool(Arc<Inner>, Arc<Asset>);

struct Inner {
    options: ConnectionOptions,
    paces: Mutex<Recent<String, Pace>>,
    /// Community servers: ours, and those of guests.
    servers: [Mutex<Recent<String, Server>>; 2],
    accounts: Accounts,
    /// The messages that `replace=` replaces, of URLs that may not write to the state folder.
    replaced: Mutex<Recent<String, String>>,
    /// Files as XMPP takes them, so that one given to several targets is uploaded once.
    files: Mutex<Vec<(Bytes, Arc<ackpost_xmpp::Attachment>)>>,
}

impl fmt::Debug for ConnectionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPool").finish_non_exhaustive()
    }
}

/// Most files that are remembered as uploaded.
const REMEMBERED_FILES: usize = 16;
/// Most lanes whose pace is remembered.
const REMEMBERED_PACES: usize = 4096;
/// Most keys of `replace=` that are remembered in memory.
const REMEMBERED_REPLACED: usize = 1024;

/// Whose URL a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// The operator's own.
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
        let most = options.kept_sessions;
        let servers = |party: Party| Mutex::new(Recent::new(party.share(most)));
        let inner = Inner {
            paces: Mutex::new(Recent::new(REMEMBERED_PACES)),
            servers: [servers(Party::Own), servers(Party::Guest)],
            accounts: Accounts::new(most, options.session_idle),
            replaced: Mutex::new(Recent::new(REMEMBERED_REPLACED)),
            options,
            files: Mutex::default(),
        };
        Self(Arc::new(inner), Arc::new(asset))
    }

    /// The same connections for a run with other settings. A connection that is open keeps the name it was made with.
    pub fn with_asset(&self, asset: Asset) -> Self {
        Self(Arc::clone(&self.0), Arc::new(asset))
    }

    /// Its options.
    pub fn options(&self) -> &ConnectionOptions {
        &self.0.options
    }

    /// The settings of the run.
    pub fn asset(&self) -> &Asset {
        &self.1
    }

    /// Sends the pieces of one parcel, in order, once, and says what became of each: one attempt, no pause, no pacing.
    /// What a repeat needs to be recognised is in the wires.
    pub async fn deliver(&self, service: &Service, parcel: &Parcel) -> Vec<AttemptResult> {
        service.endpoint().deliver(service.common(), self, parcel).await
    }

    /// Takes the messages that came back after they were reported delivered, since the last call. Only kept sessions
    /// notice them.
    pub fn take_late(&self) -> Vec<Late> {
        self.0.accounts.take_late()
    }

    /// Ends every kept connection in good order.
    pub async fn close(&self) {
        self.0.accounts.close().await;
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

    /// Returns the community server for a key. It is made once and kept until others were used more recently.
    pub(crate) fn sogs_server(
        &self,
        party: Party,
        key: &str,
        secret: &str,
        make: impl FnOnce() -> Result<Server, Diagnostic>,
    ) -> Result<Server, Diagnostic> {
        let key = format!("{key}|{}", fingerprint(secret));
        let mut servers = self.0.servers[party as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(&key) {
            return Ok(server.clone());
        }
        let server = make()?;
        servers.insert(key, server.clone());
        Ok(server)
    }

    /// Hands messages to the one connection of an account.
    pub(crate) async fn xmpp_send(
        &self,
        party: Party,
        key: &str,
        keep: bool,
        account: impl Fn() -> Result<ackpost_xmpp::Account, Diagnostic>,
        messages: Vec<ackpost_xmpp::Outgoing>,
    ) -> Result<Vec<ackpost_xmpp::Outcome>, Diagnostic> {
        self.0.accounts.send(party, key, keep, account, messages).await
    }

    /// Returns the id of the message that a key of `replace=` stands for, as far as it is remembered in memory.
    pub(crate) fn replaced(&self, key: &str) -> Option<String> {
        let mut replaced = self.0.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.get(&key.to_owned()).cloned()
    }

    /// Remembers in memory the id of the message that a key of `replace=` stands for.
    pub(crate) fn remember_replaced(&self, key: &str, id: &str) {
        let mut replaced = self.0.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.insert(key.to_owned(), id.to_owned());
    }

    /// A file as XMPP takes it; the same one for every target.
    pub(crate) fn xmpp_file(&self, file: &File) -> Arc<ackpost_xmpp::Attachment> {
        let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.iter().find(|(bytes, known)| {
            bytes.as_ptr() == file.bytes.as_ptr()
                && bytes.len() == file.bytes.len()
                && known.name == file.name
        });
        if let Some((_, known)) = known {
            return Arc::clone(known);
        }
        let mut attachment =
            ackpost_xmpp::Attachment::new(file.name.clone(), file.media_type.clone(), file.bytes.clone());
        if let Some(Progress(tell)) = self.0.options.progress.clone() {
            let name = file.name.clone();
            attachment.progress = Some(Box::new(move |sent, total| tell(&name, sent, total)));
        }
        let attachment = Arc::new(attachment);
        if files.len() >= REMEMBERED_FILES {
            files.remove(0);
        }
        files.push((file.bytes.clone(), Arc::clone(&attachment)));
        attachment
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
