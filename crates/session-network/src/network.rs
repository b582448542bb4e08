//! The network: its options, and the state that all calls share.

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use session_protocol::SessionId;
use session_protocol::network::nodes::Node;
use session_protocol::network::paths::PathRules;
use session_protocol::onion::Cipher;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::clock::{Offsets, Reading, SystemClock};
use crate::directory::Directory;
use crate::error::{Cause, NetworkError};
use crate::file::FileServer;
use crate::http::{Http, Limits};
use crate::routes::Routes;
use crate::seed::{MAX_SEEDS, Seed};
use crate::storage::{MemoryStorage, Storage};
use crate::timestamps::{Now, Timestamps};

/// Maximum number of calls at the same time.
const MAX_CALLS: usize = 16;

/// Decides through which nodes calls about mailboxes go, and so whether one node learns both the address of this machine and the
/// mailbox. Lists of nodes and the time come from nodes directly in either mode: these nodes see the address, and learn of no
/// mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Calls about mailboxes go through three nodes: the first sees our address, the last sees the mailbox, and no
    /// node sees both. As in Session's apps.
    #[default]
    Onion,
    /// Calls go straight to a node that keeps the mailbox. It learns the address of this machine and the mailbox. For servers
    /// whose address is no secret.
    Direct,
}

/// Options of a [`Network`].
#[derive(Clone)]
#[must_use]
pub struct NetworkBuilder {
    mode: Mode,
    seeds: Vec<Seed>,
    storage: Arc<dyn Storage>,
    call_timeout: Duration,
    send_timeout: Duration,
    distinct_networks: bool,
    use_proxies: bool,
    cipher: Cipher,
    file_server: FileServer,
    clock: SystemClock,
}

impl Default for NetworkBuilder {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            seeds: Seed::public(),
            storage: Arc::new(MemoryStorage::default()),
            call_timeout: Duration::from_secs(20),
            send_timeout: Duration::from_mins(1),
            distinct_networks: true,
            use_proxies: true,
            cipher: Cipher::AesGcm,
            file_server: FileServer::public(),
            clock: Arc::new(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or(Duration::ZERO)
            }),
        }
    }
}

impl NetworkBuilder {
    /// Sets whether calls go through hops. Default: [`Mode::Onion`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the seeds, at most 32. Nodes are asked before servers, in random order. Default: [`Seed::public`].
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = Seed>) -> Self {
        self.seeds = seeds.into_iter().take(MAX_SEEDS + 1).collect();
        self
    }

    /// Sets where the list of nodes and the last used time are kept. Default: in memory, which does not keep two runs
    /// from using one time; see [`crate::FolderStorage`].
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.storage = Arc::new(storage);
        self
    }

    /// Sets how long one call may take, from 1 second to 5 minutes. Default: 20 seconds. A node answers a store call
    /// after 5 seconds at the latest if others of its swarm are slow.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets after what time a send starts no further call. Default: one minute.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// Sets whether the hops of a path must lie in different networks (/24). Default: true. False is for networks of
    /// tests alone.
    pub fn distinct_networks(mut self, distinct: bool) -> Self {
        self.distinct_networks = distinct;
        self
    }

    /// Sets whether connections go through the proxies of the environment. Default: true.
    pub fn use_proxies(mut self, use_proxies: bool) -> Self {
        self.use_proxies = use_proxies;
        self
    }

    /// Sets the cipher of the layers. Default: AES-GCM, as in Session's apps.
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// Sets the server that keeps files. Default: [`FileServer::public`].
    pub fn file_server(mut self, server: FileServer) -> Self {
        self.file_server = server;
        self
    }

    /// Sets the system's clock, for tests.
    pub fn clock(mut self, clock: SystemClock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the network. Nothing is sent before the first call.
    ///
    /// # Errors
    /// [`Cause::Option`] for an option outside its limits.
    pub fn build(self) -> Result<Network, NetworkError> {
        let rule = |rule| Err(NetworkError::new(Cause::Option { rule }));
        if self.seeds.is_empty() || self.seeds.len() > MAX_SEEDS {
            return rule("a network has 1 to 32 seeds");
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(5)).contains(&self.call_timeout) {
            return rule("the timeout of a call is between 1 second and 5 minutes");
        }
        let limits = Limits {
            connect: self.call_timeout.min(Duration::from_secs(8)),
            total: self.call_timeout,
        };
        let rules = PathRules {
            distinct_networks: self.distinct_networks,
            ..PathRules::default()
        };
        let inner = NetworkState {
            http: Http::new(limits, self.use_proxies),
            directory: tokio::sync::Mutex::new(Directory::new(&self.seeds)),
            routes: Mutex::new(Routes::new(rules)),
            offsets: Mutex::default(),
            last_sync: Mutex::default(),
            refresh: tokio::sync::Mutex::default(),
            timestamps: Timestamps::new(Arc::clone(&self.storage)),
            calls: Semaphore::new(MAX_CALLS),
            options: self,
        };
        Ok(Network {
            inner: Arc::new(inner),
        })
    }
}

/// Session's storage network, or another one with the same protocol. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Network {
    pub(crate) inner: Arc<NetworkState>,
}

pub(crate) struct NetworkState {
    pub(crate) options: NetworkBuilder,
    pub(crate) http: Http,
    pub(crate) directory: tokio::sync::Mutex<Directory>,
    pub(crate) routes: Mutex<Routes>,
    pub(crate) offsets: Mutex<Offsets>,
    /// Held by the call that fetches a list of nodes.
    pub(crate) refresh: tokio::sync::Mutex<()>,
    pub(crate) last_sync: Mutex<Option<Instant>>,
    pub(crate) timestamps: Timestamps,
    pub(crate) calls: Semaphore,
}

impl NetworkBuilder {
    pub(crate) fn is_onion(&self) -> bool {
        self.mode == Mode::Onion
    }

    /// Returns true for Session's own network.
    pub(crate) fn is_public(&self) -> bool {
        let public = Seed::public();
        self.seeds.iter().all(|seed| public.contains(seed))
    }

    pub(crate) fn seed_list(&self) -> &[Seed] {
        &self.seeds
    }

    pub(crate) fn file_server_ref(&self) -> &FileServer {
        &self.file_server
    }

    pub(crate) fn layer_cipher(&self) -> Cipher {
        self.cipher
    }

    pub(crate) fn shared_storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage)
    }

    pub(crate) fn send_limit(&self) -> Duration {
        self.send_timeout
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("mode", &self.inner.options.mode)
            .field("seeds", &self.inner.options.seeds.len())
            .finish_non_exhaustive()
    }
}

impl Network {
    /// Starts with the default options.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder::default()
    }

    /// The network's time, milliseconds since 1970.
    ///
    /// # Errors
    /// [`Cause::ClockUnknown`] if no node reported the time and the system's clock cannot be right.
    pub fn network_ms(&self) -> Result<u64, NetworkError> {
        self.lock_offsets()
            .network_ms(self.reading())
            .ok_or_else(|| NetworkError::new(Cause::ClockUnknown))
    }

    /// Returns the offset from the system's clock to the network's, milliseconds. `None` before nodes told their time, and while
    /// they do not agree about it.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.lock_offsets().offset_ms(self.reading())
    }

    /// The time for new messages.
    pub(crate) fn now(&self) -> Result<Now, NetworkError> {
        let ms = self.network_ms()?;
        Ok(if self.lock_offsets().is_median(self.reading()) {
            Now::Network(ms)
        } else {
            Now::Local(ms)
        })
    }

    /// Returns the number of requests that this network made so far: for the list of nodes, and for mailboxes. A request through hops counts once.
    pub fn round_trips(&self) -> u64 {
        self.inner.http.round_trips()
    }

    pub(crate) fn local_ms(&self) -> u64 {
        u64::try_from((self.inner.options.clock)().as_millis()).unwrap_or(u64::MAX)
    }

    /// Both local clocks.
    pub(crate) fn reading(&self) -> Reading {
        Reading {
            wall_ms: self.local_ms(),
            running: Instant::now(),
        }
    }

    pub(crate) fn lock_offsets(&self) -> MutexGuard<'_, Offsets> {
        self.inner.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_routes(&self) -> MutexGuard<'_, Routes> {
        self.inner.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the swarm of a mailbox until the next list.
    pub(crate) async fn correct_swarm(&self, id: &SessionId, nodes: Vec<Node>) {
        self.inner.directory.lock().await.correct_swarm(id, nodes);
    }

    /// Notes that the node at the first hop's address says it cannot open its layer. Anybody can say so, unsealed, so that the
    /// list is dropped once two different ones did.
    pub(crate) async fn note_stale_key(&self, first: &Node) {
        let now = self.local_ms();
        self.inner
            .directory
            .lock()
            .await
            .note_stale_key(first.ed25519, now);
    }

    /// Drops a list of which no node answers, so that the next call fetches another one; at most every ten minutes.
    pub(crate) async fn distrust_list(&self) {
        self.inner.directory.lock().await.distrust(self.local_ms());
    }

    /// Keeps the guard for later runs. Without it, the next run chooses another one.
    pub(crate) async fn keep_guard(&self) {
        let Some(guard) = self.lock_routes().changed_guard() else {
            return;
        };
        let item = self.inner.directory.lock().await.guard_item.clone();
        let storage = self.inner.options.shared_storage();
        let saved = spawn_blocking(move || storage.save(&item, &guard.to_bytes())).await;
        if let Err(error) = saved.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            tracing::warn!(%error, "the guard node cannot be kept");
        }
    }
}

/// Runs what takes long, files or thousands of keys, off the async threads.
///
/// # Errors
/// [`Cause::State`] if it panics.
pub(crate) async fn off_thread<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NetworkError> {
    spawn_blocking(run).await.map_err(|error| {
        let detail = error.to_string();
        NetworkError::new(Cause::State { detail })
    })
}
