//! The life of a gateway: open, listen, deliver, reload, drain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ackpost_apprise::{TagFilter, Values};
use ackpost_notify::{Environment, ServiceUrl, Services};
use ackpost_outbox::{Alarm, Outbox, OutboxError, WorkerSettings};
use tokio::sync::watch;

use super::catalog::{Catalog, OperatorOptions};
use super::config::{Access, Config, ConfigError};
use super::listeners;
use super::router::router;
use super::serve;
use super::smtp;
use super::state::Gateway;
use super::store::Store;
use super::token::{TokenError, Tokens};
use ackpost_platform::service::{ServiceManager, Signal, Signals};

/// Interval between two checks of the token file.
const TOKEN_LOOK: Duration = Duration::from_secs(2);
/// A time longer than any target is watched.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Pause before a worker that failed is started again.
const WORKER_PAUSE: Duration = Duration::from_secs(1);

/// Reason why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A value of the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file of tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The folder cannot be used.
    #[error("{path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// An address cannot be listened on.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Error of the system.
        source: std::io::Error,
    },
    /// Mail cannot be taken by SMTP.
    #[error("{0}")]
    Smtp(String),
    /// The outbox cannot be used.
    #[error("{0}")]
    Outbox(#[from] OutboxError),
    /// The system provides no signals.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

impl GatewayError {
    /// Returns the remedy, as an imperative.
    pub fn remedy(&self) -> String {
        match self {
            Self::Config(_) => "correct it; `ackpost gateway config` prints a documented file".to_owned(),
            Self::Tokens(_) => "correct the token file, or empty it and make the tokens again".to_owned(),
            Self::Folder { .. } => {
                "make the folder writable for this user, or name another with `folder`".to_owned()
            }
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                "stop the other program, or choose another port with `listen`".to_owned()
            }
            Self::Listen { .. } => "choose another address with `listen`".to_owned(),
            Self::Smtp(_) => {
                "correct [smtp] in gateway.toml, or stop the other program on this address".to_owned()
            }
            Self::Outbox(error) => error.remedy(),
            Self::Signals(_) => "check the limits of the process".to_owned(),
        }
    }
}

/// Addresses that a gateway listens on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listening {
    /// Addresses for HTTP.
    pub http: Vec<std::net::SocketAddr>,
    /// Addresses for mail.
    pub smtp: Vec<std::net::SocketAddr>,
}

impl Listening {
    fn of(listeners: &[tokio::net::TcpListener], mail: &smtp::Listening) -> Self {
        let http = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        Self {
            http: http.collect(),
            smtp: mail.addresses(),
        }
    }
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again. URLs may name `services`. `announce` is called with the addresses and with
/// true if no token is needed, once requests are answered.
///
/// # Errors
/// [`GatewayError`] if the gateway does not start.
pub async fn run(
    config: Config,
    config_file: Option<&Path>,
    outbox: Outbox,
    operator: OperatorOptions,
    services: Services,
    announce: impl FnOnce(&Listening, bool),
) -> Result<(), GatewayError> {
    let mut signals = Signals::new().map_err(GatewayError::Signals)?;
    let manager = ServiceManager::from_env();
    let folder = config.folder.clone();
    let store = Store::open(&folder.join("keys"), &credential("gateway.key", &folder)).map_err(|source| {
        GatewayError::Folder {
            path: folder.clone(),
            source,
        }
    })?;
    let tokens = Tokens::open(&folder.join("tokens.toml"))?;
    tokens.remember()?;
    let listeners = serve::listen(&config.listen)
        .await
        .map_err(|(address, source)| GatewayError::Listen { address, source })?;
    let mail = smtp::Listening::open(&config.smtp)
        .await
        .map_err(|error| GatewayError::Smtp(error.to_string()))?;
    let drain = config.drain;
    let file = config_file.map(Path::to_owned);
    let catalog = Catalog::new(store, operator, services);
    let gateway = Arc::new(Gateway::new(config, file, tokens, catalog, outbox));
    let addresses = Listening::of(&listeners, &mail);
    warn_of_open_access(&gateway);

    let (stop, stopped) = watch::channel(false);
    let (reload, reloaded) = watch::channel(0_u64);
    let served = tokio::spawn(serve::serve(
        Arc::clone(&gateway),
        listeners,
        router(Arc::clone(&gateway)),
        stopped.clone(),
    ));
    let mailed = tokio::spawn(mail.serve(Arc::clone(&gateway), stopped.clone()));
    // It is announced as ready below, which must not come before the worker counts as running.
    gateway.set_worker_alive(true);
    let answered = tokio::spawn(listeners::run(gateway.clone(), reloaded.clone(), stopped.clone()));
    let delivered = tokio::spawn(deliver(Arc::clone(&gateway), stopped.clone(), reloaded, drain));
    let looked = tokio::spawn(look_after_tokens(Arc::clone(&gateway), stopped.clone()));
    let listened = tokio::spawn(look_after_listeners(
        Arc::clone(&gateway),
        reload.clone(),
        stopped.clone(),
    ));
    announce(&addresses, gateway.is_open());
    manager.ready("taking messages");

    let watching = manager.watch(stopped.clone(), || gateway.is_healthy());
    let commanding = async {
        loop {
            match signals.next().await {
                Signal::Stop => break,
                Signal::Reload => match gateway.reload() {
                    Ok(()) => {
                        reload.send_modify(|count| *count += 1);
                        tracing::info!("the configuration was read again");
                        manager.status("taking messages");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the configuration was not read again; the old one stays in use");
                        manager.status("the configuration could not be read again");
                    }
                },
            }
        }
        tracing::info!("stopping: no new requests, running ones end");
        gateway.set_draining();
        manager.stopping(drain + Duration::from_secs(10));
        let _ = stop.send(true);
    };
    tokio::join!(watching, commanding);
    // A second signal does not wait.
    tokio::select! {
        () = async {
            let _ = tokio::join!(served, mailed, delivered, looked, answered, listened);
        } => {}
        asked = signals.next() => tracing::warn!(?asked, "stopping at once; stored messages stay stored"),
    }
    Ok(())
}

/// Logs the permissions of callers without a token.
fn warn_of_open_access(gateway: &Gateway) {
    if gateway.config().access == Access::Open {
        tracing::warn!(
            "access = \"open\": everybody who can connect may send, change keys and read their secrets"
        );
    } else if gateway.is_open() {
        tracing::warn!(
            "no token exists: every program on this machine may send and change keys; secrets are not shown. \
             `ackpost gateway token add` changes that"
        );
    }
}

/// A key file: the one systemd hands in (`LoadCredential=`), else the one in the folder.
fn credential(name: &str, folder: &Path) -> PathBuf {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|credentials| Path::new(&credentials).join(name))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| folder.join(name))
}

/// Works the outbox; starts again after a reload, and after a failure of the database.
async fn deliver(
    gateway: Arc<Gateway>,
    stopped: watch::Receiver<bool>,
    mut reloaded: watch::Receiver<u64>,
    drain: Duration,
) {
    loop {
        reloaded.mark_unchanged();
        let settings = WorkerSettings::default()
            .with_drain(drain)
            .with_alarm(alarm(&gateway).await);
        let (mut stop, mut again) = (stopped.clone(), reloaded.clone());
        let end = async move {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                _ = again.changed() => {}
            }
        };
        gateway.set_worker_alive(true);
        let ended = gateway.outbox.run(settings, end).await;
        if *stopped.borrow() {
            gateway.set_worker_alive(false);
            return;
        }
        if let Err(error) = ended {
            gateway.set_worker_alive(false);
            tracing::error!(%error, remedy = %error.remedy(), "deliveries stopped and start again");
            tokio::time::sleep(WORKER_PAUSE).await;
        }
    }
}

/// Returns the recipients of alarms, if the gateway (`alarm_after`) or a URL (`alarm_after=`) asks for alarms.
async fn alarm(gateway: &Gateway) -> Option<Alarm> {
    let wanted = gateway.config().alarm_after;
    let found = listeners(gateway).await;
    if wanted.is_none() && !found.asked_by_url {
        return None;
    }
    if found.services.is_empty() {
        tracing::warn!(
            tag = gateway.config().alarm_tag,
            "alarm_after is set, but no service has the alarm tag"
        );
    }
    gateway.alarm_services.set(found.services);
    Some(Alarm {
        after: wanted.unwrap_or(NEVER),
        services: gateway.alarm_services.clone(),
    })
}

struct Listeners {
    services: Vec<ServiceUrl>,
    /// A URL has an `alarm_after=` of its own.
    asked_by_url: bool,
}

/// The services that hear of trouble, of all keys.
async fn listeners(gateway: &Gateway) -> Listeners {
    let filter = TagFilter::from_values([&gateway.config().alarm_tag]);
    let values = Values::new::<&str, String>([], &Environment::empty());
    let mut found = Listeners {
        services: Vec::new(),
        asked_by_url: false,
    };
    for key in gateway.keys().unwrap_or_default() {
        match super::routes::notify::key_services(gateway, &key).await {
            Ok(Some(notifier)) => {
                let resolved = notifier.find(&filter);
                found
                    .services
                    .extend(resolved.filter_map(|entry| entry.resolve(&values).ok()));
                found.asked_by_url |= notifier
                    .iter()
                    .filter_map(ackpost_apprise::Entry::service)
                    .any(|service| service.common().queue.contains_key("alarm_after"));
            }
            Ok(None) => {}
            Err(reply) => {
                tracing::warn!(%key, reason = reply.sentence(), "a key could not be read for alarms");
            }
        }
    }
    found
}

/// Keeps the list of those who hear of trouble up to date with the keys.
async fn look_after_listeners(
    gateway: Arc<Gateway>,
    restart: watch::Sender<u64>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut alarms = alarm(&gateway).await.is_some();
    loop {
        tokio::select! {
            () = gateway.keys_changed.notified() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let now = alarm(&gateway).await.is_some();
        if now != alarms {
            // The worker knows from its start whether anybody wants to know.
            alarms = now;
            restart.send_modify(|count| *count += 1);
        }
    }
}

async fn look_after_tokens(gateway: Arc<Gateway>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(TOKEN_LOOK);
    loop {
        tokio::select! {
            _ = ticks.tick() => gateway.reload_tokens(),
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}
