//! Starting and stopping a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use session_protocol::ServerKey;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::activity::Activity;
use crate::app::{App, Parts};
use crate::cache::Directory;
use crate::clock::unix_now;
use crate::config::{Config, ConfigError};
use crate::guard::Policy;
use crate::http::listen;
use crate::key::{KeyCheck, KeyError};
use crate::nonce::{Gap, KeepClock, Nonces};
use crate::plugin::Hub;
use crate::shared::SharedNonceGate;
use crate::store::{self, Change, ChangeSink, DynStore, StoreError};
use crate::{admin, jobs, plugin, web};

/// Reason why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration or the key file is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database is unusable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address or end the program that uses it")]
    Listen {
        /// Address that the server should listen on.
        address: SocketAddr,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// Something else of the operating system failed.
    #[error("{what}: {source}")]
    System {
        /// Operation that failed.
        what: &'static str,
        /// Cause of the failure.
        source: std::io::Error,
    },
}

impl From<KeyError> for StartError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Config(error) => Self::Config(error),
            KeyError::Store(error) => Self::Store(error),
        }
    }
}

/// The server. See [`Server::start`].
#[derive(Debug, Clone, Copy)]
pub struct Server;

impl Server {
    /// Opens the database (migrating it), reads the key (or makes one where no community is stored yet), listens, and answers from then on.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let listener = bind(&config)?;
        Self::start_on(config, listener).await
    }

    /// Like [`Server::start`] on a socket that is bound already, for instance one that a service manager handed over.
    pub async fn start_on(config: Config, listener: std::net::TcpListener) -> Result<Running, StartError> {
        config.check()?;
        let system = |what| move |source| StartError::System { what, source };
        std::fs::create_dir_all(&config.dir).map_err(system("cannot make the server's folder"))?;
        // Before a database file is made: an existing one without a key is not a new server.
        let key = KeyCheck::before_opening(&config)?;
        config.check_database()?;
        let world = Arc::new(Directory::new(config.limits.cached_users));
        let activity = Arc::new(Activity::default());
        let settings = Arc::new(Notify::new());
        let sink = sink(&world, &settings);
        let store = store::open(&config.store_options(true), sink).await?;
        let secret = key.claim(&store).await?;
        store.mark_imported_files(config.files.longest_wait()).await?;
        let former_stamp = store.last_nonce_stamp().await?.unwrap_or(0);
        let (nonces, keep_clock) = used_nonces(&store, former_stamp, config.limits.nonces).await?;
        let hub = Arc::new(Hub::default());
        let guard = Arc::new(Policy::load(Arc::clone(&store), hub).await?);
        let nonce_gate = store
            .is_shared()
            .then(|| SharedNonceGate::start(Arc::clone(&store), Arc::clone(&world), Arc::clone(&guard)));
        let app = Arc::new(App::new(Parts {
            config,
            store,
            world,
            guard,
            activity,
            secret,
            former_stamp,
            nonces,
            keep_clock,
            nonce_gate,
        })?);

        listener
            .set_nonblocking(true)
            .map_err(system("cannot prepare the socket"))?;
        let listener = TcpListener::from_std(listener).map_err(system("cannot prepare the socket"))?;
        let address = listener.local_addr().map_err(system("cannot read the address"))?;
        app.set_local_url(format!("http://{address}"));
        let (stop, stopped) = watch::channel(false);
        let mut tasks: Vec<JoinHandle<()>> = jobs::start(Arc::clone(&app), stopped.clone()).into();
        tasks.push(tokio::spawn(follow_settings(
            Arc::clone(&app),
            settings,
            stopped.clone(),
        )));
        tasks.extend(
            plugin::start(
                app.guard.hub(),
                &app.config().plugins,
                &app.config().dir,
                stopped.clone(),
            )
            .await
            .map_err(system("cannot start the plugins"))?,
        );
        tasks.extend(
            admin::start(&app, stopped.clone())
                .await
                .map_err(system("cannot open the control socket"))?,
        );
        tasks.extend(
            web::start_metrics(&app, stopped)
                .await
                .map_err(system("cannot listen for metrics"))?,
        );
        let listening = listen(Arc::clone(&app), listener);
        // A failure does not stop the start: posts need no files, and keys may come later.
        if let Err(error) = app.contents.check().await {
            tracing::error!(%error, "files cannot be stored or read");
        }
        tracing::info!(%address, key = %app.public_key(), "serving");
        Ok(Running {
            app,
            address,
            listening,
            stop,
            tasks,
        })
    }
}

/// Reads the used nonces from the database.
///
/// After a run that was killed the server begins with the next second: requests signed until then may have been
/// answered already.
async fn used_nonces(
    store: &DynStore,
    former_stamp: i64,
    capacity: usize,
) -> Result<(Nonces, KeepClock), StoreError> {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
    let whole = |seconds: f64| seconds.floor() as i64;
    let nonces = Nonces::new(capacity);
    let marks = store.nonce_marks().await?;
    nonces.refuse_before(marks.oldest.unwrap_or(0));
    let now = unix_now();
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let latest = if former_stamp > 0 {
        former_stamp as f64
    } else {
        now
    };
    let clock = KeepClock::new(marks.clock.unwrap_or_else(|| latest.min(now)));
    let former = if store.is_shared() {
        Ok(None)
    } else {
        store.begin_run(now).await
    };
    if let Err(error) = &former {
        tracing::warn!(%error, "the start was not stored");
    }
    if let Ok(Some(alive)) = former {
        let now = unix_now();
        nonces.refuse_gap(Gap::new(whole(alive), whole(now)));
        tokio::time::sleep(Duration::from_secs_f64(1.0 - now.fract())).await;
    }
    Ok((nonces, clock))
}

/// Listens where the configuration says, without answering yet; for [`Server::start_on`].
pub fn bind(config: &Config) -> Result<std::net::TcpListener, StartError> {
    let address = config.net.listen;
    let failed = |source| StartError::Listen { address, source };
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
    socket.set_reuse_address(true).map_err(failed)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    if config.net.reuse_port {
        socket.set_reuse_port(true).map_err(failed)?;
    }
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(1024).map_err(failed)?;
    Ok(socket.into())
}

fn sink(world: &Arc<Directory>, settings: &Arc<Notify>) -> ChangeSink {
    let (world, settings) = (Arc::clone(world), Arc::clone(settings));
    Arc::new(move |changes: &[Change]| {
        world.apply(changes);
        if changes
            .iter()
            .any(|change| matches!(change, Change::Settings | Change::Everything))
        {
            settings.notify_one();
        }
    })
}

/// Reads the rules again that another process or a command changed.
async fn follow_settings(app: Arc<App>, settings: Arc<Notify>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = settings.notified() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = app.guard.reload().await {
            tracing::warn!(%error, "the rules could not be read again");
        }
    }
}

/// A server that answers requests.
pub struct Running {
    app: Arc<App>,
    address: SocketAddr,
    listening: bounded_http::Running,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Time that running requests get when the server stops.
const GRACE: Duration = Duration::from_secs(20);

impl Running {
    /// The URL people reach the server under: `[net] base_url`, or the address it listens on.
    pub fn url(&self) -> String {
        self.app.base_url()
    }

    /// The server's public key.
    pub fn public_key(&self) -> ServerKey {
        self.app.public_key()
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// State of the running server.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Stops: no new connections, running requests finish, everything is written, the database is closed.
    pub async fn shutdown(self) {
        self.listening.stop(GRACE).await;
        let _ = self.stop.send(true);
        for task in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout(Duration::from_secs(10), task).await.is_err() {
                abort.abort();
            }
        }
        if !self.app.store.is_shared()
            && let Err(error) = self.app.store.end_run().await
        {
            tracing::warn!(%error, "the end of the run was not stored");
        }
        if let Err(error) = self.app.store.close().await {
            tracing::warn!(%error, "the database did not close");
        }
        tracing::info!("stopped");
    }
}
