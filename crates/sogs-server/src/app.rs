//! The running server's state: what every request can reach.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use session_core::blind::{Blinder, absolute15};
use session_core::{Prefix, ServerKey, ServerSecret, SessionId};
use tokio::sync::Semaphore;

use crate::activity::Activity;
use crate::cache::{Room, User, World};
use crate::config::{Config, ConfigError};
use crate::contents::Contents;
use crate::guard::Guard;
use crate::http::answers::Answers;
use crate::nonce::Nonces;
use crate::shared::Turnstile;
use crate::store::{Aliases, DynStore, Id, InboxRow, Mailbox, NonceRow, StoreResult};

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered, those inside onions and batches included.
    pub requests: AtomicU64,
    /// Onion requests opened.
    pub onions: AtomicU64,
    /// Messages stored.
    pub posts: AtomicU64,
    /// Requests refused with a status from 400 on.
    pub refused: AtomicU64,
    /// Requests that failed with a status from 500 on.
    pub failed: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Silent connections closed because their places were wanted.
    pub made_room: AtomicU64,
    /// Pages of messages answered from memory.
    pub page_hits: AtomicU64,
    /// Pages of messages that had to be read.
    pub page_misses: AtomicU64,
}

/// Ids whose keys have been checked before, in two generations.
#[derive(Default)]
struct Verified {
    young: std::collections::HashSet<SessionId>,
    old: std::collections::HashSet<SessionId>,
}

/// Ids remembered per generation.
const VERIFIED: usize = 20_000;
/// Nonces of reading requests that wait to be written; beyond that they are kept in memory only.
const NONCE_BACKLOG: usize = 100_000;

/// The state of a running server.
pub struct App {
    config: RwLock<Arc<Config>>,
    /// The database.
    pub store: DynStore,
    /// Rooms and users in memory.
    pub world: Arc<World>,
    /// Rules beyond the protocol.
    pub guard: Arc<Guard>,
    /// Uploaded contents.
    pub contents: Contents,
    /// Counters for `/metrics`.
    pub counters: Counters,
    pub(crate) secret: ServerSecret,
    pub(crate) key: ServerKey,
    pub(crate) blinder: Blinder,
    pub(crate) nonces: Nonces,
    pub(crate) activity: Arc<Activity>,
    pub(crate) answers: Answers,
    /// Memory for bodies and large answers, in KiB.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) turnstile: Option<Turnstile>,
    verified: Mutex<Verified>,
    backlog: Mutex<Vec<NonceRow>>,
    /// Latest timestamp among the nonces of former runs: requests signed later cannot be replays of those.
    former_stamp: AtomicI64,
    url: RwLock<String>,
    started: f64,
}

/// What an [`App`] is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: DynStore,
    pub(crate) world: Arc<World>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) secret: ServerSecret,
    pub(crate) former_stamp: i64,
    pub(crate) turnstile: Option<Turnstile>,
}

impl App {
    /// # Errors
    /// [`ConfigError::Value`] if `[files]` names no usable bucket.
    pub(crate) fn new(parts: Parts) -> Result<Self, ConfigError> {
        let key = parts.secret.public();
        let limits = &parts.config.limits;
        // A batch takes twice its size, and three times with a batch inside.
        let memory = Arc::new(Semaphore::new(
            (limits.bodies_bytes.max(3 * limits.body_bytes) / 1024).clamp(64, Semaphore::MAX_PERMITS),
        ));
        Ok(Self {
            store: parts.store,
            world: parts.world,
            guard: parts.guard,
            contents: Contents::serving(&parts.config, Arc::clone(&memory))?,
            counters: Counters::default(),
            secret: parts.secret,
            key,
            blinder: Blinder::new(&key),
            nonces: Nonces::new(limits.nonces),
            activity: parts.activity,
            answers: Answers::new(limits.answer_cache_bytes),
            memory,
            turnstile: parts.turnstile,
            verified: Mutex::default(),
            backlog: Mutex::default(),
            former_stamp: AtomicI64::new(parts.former_stamp),
            url: RwLock::default(),
            started: unix_now(),
            config: RwLock::new(Arc::new(parts.config)),
        })
    }

    /// The configuration now in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the reloadable options of another configuration into force.
    pub fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The server's public key.
    pub fn public_key(&self) -> ServerKey {
        self.key
    }

    /// URL under which people reach the server, without a slash at the end.
    pub fn base_url(&self) -> String {
        let config = self.config();
        if config.net.base_url.is_empty() {
            self.url.read().unwrap_or_else(PoisonError::into_inner).clone()
        } else {
            config.net.base_url.trim_end_matches('/').to_owned()
        }
    }

    pub(crate) fn set_local_url(&self, url: String) {
        *self.url.write().unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// When the server started (Unix seconds).
    pub fn started(&self) -> f64 {
        self.started
    }

    /// Reads a room from memory or the database.
    pub async fn room(&self, token: &str) -> StoreResult<Option<Arc<Room>>> {
        self.world.room(&self.store, token).await
    }

    /// All rooms in the order of their tokens.
    pub async fn rooms(&self) -> StoreResult<Vec<Arc<Room>>> {
        self.world.all_rooms(&self.store).await
    }

    /// Reads a user from memory or the database.
    pub async fn user(&self, session_id: &str) -> StoreResult<Option<Arc<User>>> {
        self.world.user(&self.store, session_id).await
    }

    /// Finds the user whom an id means here. On a server that insists on blinded ids an account id (05) means the
    /// blinded user of that account; with `create` one who never came is remembered until then.
    pub async fn resolve(&self, id: &SessionId, create: bool) -> StoreResult<Option<Arc<User>>> {
        let text = id.to_string();
        let aliases = self.aliases(id);
        if aliases.candidates.is_empty()
            && let Some(user) = self.world.known_user(&text)
        {
            return Ok(Some(user));
        }
        let before = self.world.epoch();
        let found = if create && aliases.candidates.is_empty() && id.is_blinded() {
            // A blinded id that never came: rights that wait for it are handed over now.
            let pending = Some(absolute15(id).to_string());
            match self.store.user(text.clone()).await? {
                Some(user) => Some(user),
                None => Some(self.store.ensure_user(text, pending, unix_now()).await?),
            }
        } else {
            self.store.resolve_user(text, aliases, create, unix_now()).await?
        };
        Ok(found.map(|full| self.world.keep_user(full, before)))
    }

    /// The other ids of a person, as far as they follow from this one here.
    pub fn aliases(&self, id: &SessionId) -> Aliases {
        if id.prefix() != Prefix::Account || !self.config().users.require_blind_keys {
            return Aliases::default();
        }
        let mut aliases = Aliases::default();
        if let Ok([absolute, negative]) = self.blinder.candidates15(id) {
            aliases
                .candidates
                .extend([absolute.to_string(), negative.to_string()]);
            aliases.pending.push(absolute.to_string());
        }
        if let Ok(id25) = self.blinder.id25(id) {
            aliases.candidates.push(id25.to_string());
            aliases.pending.push(id25.to_string());
        }
        aliases
    }

    /// Whether a key was found good before.
    pub(crate) fn was_verified(&self, id: &SessionId) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.young.contains(id) || verified.old.contains(id)
    }

    pub(crate) fn note_verified(&self, id: SessionId) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.young.len() >= VERIFIED {
            verified.old = std::mem::take(&mut verified.young);
        }
        verified.young.insert(id);
    }

    /// Whether a nonce with this timestamp may have been used in a former run.
    pub(crate) fn may_be_former(&self, stamp: i64) -> bool {
        stamp <= self.former_stamp.load(Ordering::Relaxed)
    }

    /// Keeps a nonce that no transaction carried along, to be written soon.
    pub(crate) fn keep_nonce_later(&self, nonce: NonceRow) {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if backlog.len() < NONCE_BACKLOG {
            backlog.push(nonce);
        }
    }

    pub(crate) fn take_backlog(&self) -> Vec<NonceRow> {
        std::mem::take(&mut *self.backlog.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Direct messages after an id; from memory when there is nothing new.
    pub(crate) async fn mailbox(
        &self,
        user_id: Id,
        mailbox: Mailbox,
        since: Id,
        limit: i64,
    ) -> StoreResult<Vec<InboxRow>> {
        let (inbox, outbox) = self.world.dm_tops(&self.store, user_id).await?;
        let top = if mailbox == Mailbox::Inbox { inbox } else { outbox };
        if since >= top {
            return Ok(Vec::new());
        }
        self.store.dms(user_id, mailbox, since, limit).await
    }
}

/// Unix seconds with fraction.
pub fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
