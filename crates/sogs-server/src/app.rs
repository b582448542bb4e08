//! State of the running server, which every request can reach.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bounded_http::MemoryBudget;
use session_protocol::blind::Blinder;
use session_protocol::{ServerKey, ServerSecret, SessionId};

use crate::account::{self, Found};
use crate::activity::Activity;
use crate::admin::Keeper;
use crate::cache::{Directory, Room, User};
use crate::clock::unix_now;
use crate::config::{Config, ConfigError};
use crate::contents::BlobStore;
use crate::guard::Policy;
use crate::http::response_cache::ResponseCache;
use crate::moderation::Moderation;
use crate::nonce::{KeepClock, Nonces};
use crate::plugin::PluginEvent;
use crate::shared::SharedNonceGate;
use crate::store::{
    DynStore, Id, InboxRow, Mailbox, NewPost, NonceRow, Person, Posted, StoreResult, UserFull,
};
use crate::web::{Replies, Searches};

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
    /// Connections of the listener.
    pub listener: Arc<bounded_http::Counters>,
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
    pub world: Arc<Directory>,
    /// Rules beyond the protocol.
    pub guard: Arc<Policy>,
    /// Uploaded contents.
    pub contents: BlobStore,
    /// Counters for `/metrics`.
    pub counters: Counters,
    pub(crate) secret: ServerSecret,
    pub(crate) key: ServerKey,
    pub(crate) blinder: Blinder,
    pub(crate) moderation: Moderation,
    pub(crate) nonces: Nonces,
    pub(crate) activity: Arc<Activity>,
    pub(crate) answers: ResponseCache,
    /// Memory for bodies and large answers.
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) nonce_gate: Option<SharedNonceGate>,
    pub(crate) searches: Searches,
    pub(crate) replies: Replies,
    verified: Mutex<Verified>,
    backlog: Mutex<Vec<NonceRow>>,
    keep_clock: Mutex<KeepClock>,
    /// Latest timestamp among the nonces of former runs: requests signed later cannot be replays of those.
    former_stamp: AtomicI64,
    url: RwLock<String>,
    started: f64,
    /// The configuration file as it was when the server started, without the words of the command line.
    file_at_start: Config,
    log_level: RwLock<Option<LogLevelFn>>,
    /// Held while the configuration is read again.
    pub(crate) reloading: tokio::sync::Mutex<()>,
}

/// Result of setting a new log level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLevel {
    /// The log follows it.
    Follows,
    /// The value is not a level; the text says why.
    Unusable(String),
    /// The log keeps its level until a restart; the text says why.
    Fixed(String),
}

/// Function that sets a new level of the log, or (if the second argument is true) only reports the result.
type LogLevelFn = Box<dyn Fn(&str, bool) -> LogLevel + Send + Sync>;

/// Parts from which an [`App`] is made.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: DynStore,
    pub(crate) world: Arc<Directory>,
    pub(crate) guard: Arc<Policy>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) secret: ServerSecret,
    pub(crate) former_stamp: i64,
    pub(crate) nonces: Nonces,
    pub(crate) keep_clock: KeepClock,
    pub(crate) nonce_gate: Option<SharedNonceGate>,
}

impl App {
    /// # Errors
    /// [`ConfigError::Value`] if `[files]` has no usable bucket.
    pub(crate) fn new(parts: Parts) -> Result<Self, ConfigError> {
        let key = parts.secret.public();
        let limits = &parts.config.limits;
        // A batch takes twice its size, and three times its size with a batch inside.
        let bytes = limits.bodies_bytes.max(3 * limits.body_bytes).max(64 * 1024);
        let memory = Arc::new(MemoryBudget::new(bytes));
        Ok(Self {
            store: parts.store,
            world: parts.world,
            guard: parts.guard,
            contents: BlobStore::serving(&parts.config, Arc::clone(&memory))?,
            counters: Counters::default(),
            key,
            blinder: Blinder::new(&key),
            moderation: Moderation::new(&parts.secret),
            secret: parts.secret,
            nonces: parts.nonces,
            activity: parts.activity,
            answers: ResponseCache::new(limits.answer_cache_bytes),
            memory,
            nonce_gate: parts.nonce_gate,
            searches: Searches::default(),
            replies: Replies::default(),
            verified: Mutex::default(),
            backlog: Mutex::default(),
            keep_clock: Mutex::new(parts.keep_clock),
            former_stamp: AtomicI64::new(parts.former_stamp),
            url: RwLock::default(),
            started: unix_now(),
            file_at_start: Config::load(&parts.config.dir).unwrap_or_else(|_| parts.config.clone()),
            log_level: RwLock::default(),
            reloading: tokio::sync::Mutex::default(),
            config: RwLock::new(Arc::new(parts.config)),
        })
    }

    /// Returns the stores that acts of moderators use to keep data for an undo; `config` is the one in force.
    pub(crate) fn keeper<'a>(&'a self, config: &'a Config) -> Keeper<'a> {
        Keeper {
            store: &self.store,
            folder: &config.dir,
            contents: &self.contents,
        }
    }

    /// The configuration now in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the reloadable options of another configuration into effect.
    pub fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub(crate) fn file_at_start(&self) -> &Config {
        &self.file_at_start
    }

    /// Sets the function that changes the level of the log when `[log] level` is read again. It gets the level and
    /// whether it is only tried. Without it the level needs a restart.
    pub fn on_log_level(&self, follow: impl Fn(&str, bool) -> LogLevel + Send + Sync + 'static) {
        *self.log_level.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(follow));
    }

    pub(crate) fn try_log_level(&self, level: &str, dry_run: bool) -> LogLevel {
        let follow = self.log_level.read().unwrap_or_else(PoisonError::into_inner);
        follow.as_ref().map_or_else(
            || LogLevel::Fixed("this program sets the level of its log itself".to_owned()),
            |follow| follow(level, dry_run),
        )
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

    /// Time at which the server started (Unix seconds).
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

    /// Finds the person of an id, from memory or the database; `None` for a person without a row.
    pub async fn user(&self, id: &SessionId) -> StoreResult<Option<Arc<User>>> {
        let name = id.to_string();
        if let Some(user) = self.world.known_user(&name) {
            return Ok(Some(user));
        }
        if self.world.newcomer(&name).is_some() {
            return Ok(None);
        }
        let before = self.world.epoch();
        let found = self.store.user(account::key(&self.blinder, id)).await?;
        Ok(found.map(|full| self.world.keep_user(full, name, before)))
    }

    /// Finds the person who comes with an id that was verified; `None` if no app makes such an id.
    ///
    /// A person who has done nothing here yet has no row.
    pub(crate) async fn visitor(&self, id: &SessionId, now: f64) -> StoreResult<Option<Arc<User>>> {
        let name = id.to_string();
        let blind = self.config().users.require_blind_keys;
        let fits = |user: &User| !user.row.is_better_shown_as(&name, blind);
        if let Some(user) = self.world.known_user(&name).filter(|user| fits(user)) {
            return Ok(Some(user));
        }
        if let Some(user) = self.world.newcomer(&name) {
            return Ok(Some(user));
        }
        let before = self.world.epoch();
        let user = match account::find(&self.store, &self.blinder, id, blind, now).await? {
            Found::Known(full) => self.world.keep_user(full, name.clone(), before),
            Found::Forged(_) => return Ok(None),
            Found::Nobody(person) => return Ok(Some(self.world.keep_newcomer(name, person, now, before))),
        };
        if fits(&user) {
            return Ok(Some(user));
        }
        self.enter(id, now).await.map(Some)
    }

    /// Returns the person of an id that a request carries.
    fn arriving(&self, id: &SessionId) -> Person {
        let blind = self.config().users.require_blind_keys;
        let known = self.world.newcomer(&id.to_string());
        let person = known
            .and_then(|user| user.person.clone())
            .filter(|person| person.blind == blind && person.session_id == id.to_string());
        person.map_or_else(|| account::person(&self.blinder, id, blind), |person| *person)
    }

    fn entered(&self, full: UserFull, is_new: bool, name: String, before: u64, now: f64) -> Arc<User> {
        if is_new {
            self.guard.tell(&PluginEvent::Joined {
                session_id: name.clone(),
                at: now,
            });
        }
        self.world.keep_user(full, name, before)
    }

    /// Gives a visitor a row, or notes a visit under an id that suits the server better.
    pub(crate) async fn enter(&self, id: &SessionId, now: f64) -> StoreResult<Arc<User>> {
        let person = self.arriving(id);
        let name = person.session_id.clone();
        let before = self.world.epoch();
        let (full, is_new) = self.store.ensure_user(person, now).await?;
        Ok(self.entered(full, is_new, name, before, now))
    }

    /// Gives a visitor a row and stores the first message, in one transaction.
    pub(crate) async fn enter_and_post(
        &self,
        id: &SessionId,
        new: NewPost,
    ) -> StoreResult<(Arc<User>, Posted)> {
        let person = self.arriving(id);
        let (name, now) = (person.session_id.clone(), new.now);
        let before = self.world.epoch();
        let (full, is_new, posted) = self.store.join_and_post(person, new).await?;
        Ok((self.entered(full, is_new, name, before, now), posted))
    }

    /// Finds the person to whom a direct message goes.
    ///
    /// It is a person with a row, or one who was here a moment ago and gets a row now.
    pub(crate) async fn addressee(&self, id: &SessionId, now: f64) -> StoreResult<Option<Arc<User>>> {
        match self.user(id).await? {
            None if self.activity.is_visiting(&id.to_string()) => self.enter(id, now).await.map(Some),
            known => Ok(known),
        }
    }

    /// Finds the person of an id; with `create` an unknown person gets a row, to be recognized by any id.
    pub async fn resolve(&self, id: &SessionId, create: bool) -> StoreResult<Option<Arc<User>>> {
        let name = id.to_string();
        if let Some(user) = self.world.known_user(&name) {
            return Ok(Some(user));
        }
        let blind = self.config().users.require_blind_keys;
        let before = self.world.epoch();
        let full = match account::find(&self.store, &self.blinder, id, blind, unix_now()).await? {
            Found::Known(full) => full,
            Found::Forged(user_id) => match self.store.user_by_id(user_id).await? {
                Some(full) => return Ok(Some(Directory::apart(full, name))),
                None => return Ok(None),
            },
            Found::Nobody(person) if create => {
                if let Some(id) = self.seen_as(&person) {
                    self.enter(&id, unix_now()).await?;
                    return Box::pin(self.resolve(&id, false)).await;
                }
                let person = Person {
                    visits: false,
                    ..*person
                };
                self.store.ensure_user(person, unix_now()).await?.0
            }
            Found::Nobody(_) => return Ok(None),
        };
        Ok(Some(self.world.keep_user(full, name, before)))
    }

    /// Returns the id under which a person without a row was here a moment ago.
    fn seen_as(&self, person: &Person) -> Option<SessionId> {
        let signs = |key: &String| {
            let id: SessionId = key.parse().ok()?;
            let mut other = *id.key();
            other[31] |= 0x80;
            Some([id, SessionId::new(id.prefix(), other)])
        };
        let mut ids = person.keys.iter().filter_map(signs).flatten();
        ids.find(|id| self.activity.is_visiting(&id.to_string()))
    }

    /// Returns true if a key was verified before.
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

    /// Returns true if a nonce with this timestamp may have been used in a former run.
    pub(crate) fn may_be_former(&self, stamp: i64) -> bool {
        stamp <= self.former_stamp.load(Ordering::Relaxed) || self.nonces.may_be_kept(stamp)
    }

    /// Advances the clock by which nonces are forgotten; see [`KeepClock::advance`].
    pub(crate) fn keep_clock(&self, now: f64) -> (f64, f64) {
        let mut clock = self.keep_clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.advance(now)
    }

    /// Keeps the nonce of a request that wrote nothing.
    ///
    /// It is written within a second. If the clock of the request differs, it is written before the answer: the
    /// nonces that a killed process did not write are recognized by their time.
    pub(crate) async fn keep_nonce(&self, nonce: NonceRow) {
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
        let now = unix_now().floor() as i64;
        if self.store.is_shared() || (now - crate::nonce::LATE..=now).contains(&nonce.stamp) {
            self.keep_nonce_later(nonce);
        } else if let Err(error) = self.store.keep_nonces(vec![nonce], unix_now()).await {
            tracing::warn!(%error, "a nonce was not written; it is kept in memory");
        }
    }

    /// Keeps a nonce that no transaction wrote, to be written soon.
    fn keep_nonce_later(&self, nonce: NonceRow) {
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
