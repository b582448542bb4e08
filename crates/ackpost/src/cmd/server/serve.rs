//! `ackpost server init` and `ackpost server run`.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use sogs_server::admin::{self, AdminError, InitOptions};
use sogs_server::{App, Config, ConfigError, Running, Server, StartError};
use tokio::sync::watch;

use super::{logging, reload::reload, successor};
use crate::context::{Context, LogFormat};
use crate::exit::{Done, Exit, Failure};
use crate::output;
use ackpost_platform::service::{self, ServiceManager, Signal, Signals};

/// Maximum time that a start which takes over a listening socket waits for the previous process to release the
/// database.
const TAKEOVER: Duration = Duration::from_secs(40);
/// Maximum wait of any other start: an administrative command may hold the database for a moment, a running server
/// keeps it.
const MOMENT: Duration = Duration::from_millis(1500);
/// Time without a sign from the store after which the process counts as stuck.
const SILENCE: Duration = Duration::from_secs(20);
/// Maximum time for the end of a server: open requests, then the last writes.
const LONGEST_END: Duration = Duration::from_secs(40);

/// Words of `server init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Folder for the new server
    dir: PathBuf,
    /// Public address for join links, such as https://sogs.example
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Database: sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME [default: $ACKPOST_DATABASE, else a file in the folder]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

/// Words of `server run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Folder of the server
    dir: PathBuf,
    /// Address and port to listen on, instead of the configured one; `stdin` takes a listening socket that is
    /// handed over as standard input (systemd: StandardInput=socket)
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    listen: Option<Listen>,
}

/// Address to listen on, or a socket on standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listen {
    At(SocketAddr),
    Stdin,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    text.to_socket_addrs()
        .map_err(|error| format!("`{text}` is not an address and port: {error}"))?
        .next()
        .ok_or_else(|| format!("`{text}` has no address"))
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "stdin" {
        Ok(Listen::Stdin)
    } else {
        address(text).map(Listen::At)
    }
}

pub(super) fn failure(error: AdminError) -> Failure {
    Failure::new(error.cause, error.remedy)
}

/// `ackpost server init`
pub(crate) fn init(args: &InitArgs, context: Context) -> Done {
    // Everybody on the machine can read a command line; a URL in the environment keeps its password to the account.
    let database = args.database.clone().or_else(|| {
        std::env::var("ACKPOST_DATABASE")
            .ok()
            .filter(|url| !url.is_empty())
    });
    let options = InitOptions {
        base_url: args.base_url.clone(),
        listen: args.listen,
        database,
    };
    let made = context
        .runtime()
        .block_on(admin::init(&args.dir, &options))
        .map_err(failure)?;
    if context.json {
        output::json(&serde_json::json!({
            "config": made.config, "key_file": made.key_file, "public_key": made.public_key.to_string(), "database": made.database,
            "link_problem": made.link_problem,
        }));
        return Ok(Exit::Success);
    }
    output::line(&format!("configuration  {}", made.config.display()));
    output::line(&format!(
        "key            {} (keep a copy: all join links depend on it)",
        made.key_file.display()
    ));
    output::line(&format!("public key     {}", made.public_key));
    output::line(&format!("database       {}", made.database));
    let dir = args.dir.display();
    if let Some(problem) = &made.link_problem {
        output::warning(&format!(
            "{problem}; set `[net] base_url` in {} to the address that people outside use, such as https://sogs.example",
            made.config.display()
        ));
    }
    output::note(&format!(
        "next: ackpost server room add --dir {dir} TOKEN --name NAME; ackpost server run {dir}"
    ));
    Ok(Exit::Success)
}

/// `ackpost server run`
pub(crate) fn run(args: &RunArgs, context: Context) -> Done {
    service::with_few_heaps();
    let mut config = Config::load(&args.dir).map_err(|error| config_failure(&error))?;
    config.dir =
        std::path::absolute(&args.dir).map_err(|error| Failure::new(error.to_string(), "check the path"))?;
    let mut handed = None;
    match args.listen {
        Some(Listen::At(address)) => config.net.listen = address,
        Some(Listen::Stdin) => handed = Some(socket_of_stdin()?),
        None => {}
    }
    config.log.json |= context.log_format == LogFormat::Json;
    let level = logging::start(&config, context.verbosity)
        .map_err(|error| Failure::usage(error, "write error, warn, info, debug or trace"))?;
    if let Some((cause, remedy)) = super::config::open_to_others(&config.key_path()) {
        tracing::warn!("{cause}; {remedy}");
    }
    if let Some(problem) = admin::link_problem(&config) {
        tracing::warn!("{problem}; set [net] base_url to the address that people outside use");
    }
    context
        .server_runtime()
        .block_on(serve(config, handed, level, context))
}

/// The listening socket that the parent process gave as standard input.
fn socket_of_stdin() -> Result<TcpListener, Failure> {
    let remedy = "start it from a service manager with StandardInput=socket, or name an address";
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Failure::new(error.to_string(), remedy))?;
    let listener = TcpListener::from(socket);
    listener
        .local_addr()
        .map_err(|_| Failure::new("standard input is not a listening socket", remedy))?;
    Ok(listener)
}

async fn serve(config: Config, handed: Option<TcpListener>, level: logging::Level, context: Context) -> Done {
    let system = |error: std::io::Error| Failure::new(error.to_string(), "check the limits of the system");
    let mut signals = Signals::new().map_err(system)?;
    let mut next =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined2()).map_err(system)?;
    let manager = ServiceManager::from_env();
    // A handed-over socket, or one that two processes may share, means that this process follows another one.
    let patience = if handed.is_some() || config.net.reuse_port {
        TAKEOVER
    } else {
        MOMENT
    };
    let listener = match handed {
        Some(listener) => listener,
        None => bind(&config).await?,
    };
    // The next process gets this socket: the queue of waiting connections is never without a reader.
    let spare = listener.try_clone().map_err(system)?;
    let Some(running) = start(config, listener, patience, &mut signals).await? else {
        return Ok(Exit::Success);
    };
    let verbosity = context.verbosity;
    running
        .app()
        .on_log_level(move |text, dry_run| level.follow(text, verbosity, dry_run));
    successor::tell_predecessor();
    announce(&running, context);
    manager.ready(&format!("serving {}", running.url()));
    let (stop, stopped) = watch::channel(false);
    let well = Arc::new(AtomicBool::new(true));
    let health = tokio::spawn(watch_health(
        Arc::clone(running.app()),
        Arc::clone(&well),
        stopped.clone(),
    ));
    let watchdog = tokio::spawn(async move {
        let manager = ServiceManager::from_env();
        manager.watch(stopped, move || well.load(Ordering::Relaxed)).await;
    });
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Signal::Stop => break,
                Signal::Reload => reload(&running).await,
            },
            _ = next.recv() => match successor::hand_over(&running, &spare, &mut signals).await {
                Ok(()) => break,
                Err(cause) => tracing::error!(%cause, "the successor cannot start; this process continues"),
            },
        }
    }
    manager.stopping(LONGEST_END);
    // Closed here, the socket stays open where a successor or the service manager holds it.
    drop(spare);
    running.shutdown().await;
    let _ = stop.send(true);
    let _ = watchdog.await;
    let _ = health.await;
    Ok(Exit::Success)
}

/// Looks now and then whether the store still answers at all. A database that says no is none of the watchdog's
/// business, a restart would not help it; one that says nothing is.
async fn watch_health(app: Arc<App>, well: Arc<AtomicBool>, mut stopped: watch::Receiver<bool>) {
    loop {
        let answered = tokio::time::timeout(SILENCE, app.store.ping()).await.is_ok();
        well.store(answered, Ordering::Relaxed);
        tokio::select! {
            () = tokio::time::sleep(SILENCE / 3) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

fn config_failure(error: &ConfigError) -> Failure {
    // A mistake in the file is shown with its line, and the line ends.
    Failure::new(error.to_string().trim_end(), error.remedy())
}

fn start_failure(error: &StartError) -> Failure {
    let remedy = match error {
        StartError::Config(error) => return config_failure(error),
        StartError::Store(_) => "check `[database] url` and that no other server uses this database",
        StartError::Listen { .. } => "`--listen ADDR:PORT` chooses another address",
        _ => "check permissions and limits of the system",
    };
    Failure::new(error.to_string(), remedy)
}

/// Listens. An address that is in use is waited for a moment: after a kill the system needs it to close the sockets of
/// the process. A server that answers stays.
async fn bind(config: &Config) -> Result<TcpListener, Failure> {
    let began = Instant::now();
    loop {
        let error = match sogs_server::bind(config) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let StartError::Listen { source, .. } = &error else {
            return Err(start_failure(&error));
        };
        if somebody_serves(config).await {
            return Err(in_use(config));
        }
        if source.kind() != std::io::ErrorKind::AddrInUse || began.elapsed() >= MOMENT {
            return Err(start_failure(&error));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns true if a server answers on the local socket of this folder: one that was killed accepts for a moment, but says
/// nothing any more.
async fn somebody_serves(config: &Config) -> bool {
    let request = admin::AdminRequest {
        actor: String::new(),
        dry_run: false,
        operation: admin::Operation::Status,
    };
    let answer = admin::ask(&config.dir, &request);
    matches!(
        tokio::time::timeout(MOMENT, answer).await,
        Ok(Ok(admin::SocketReply::Answered(_)))
    )
}

fn in_use(config: &Config) -> Failure {
    let dir = config.dir.display();
    Failure::new(
        format!("another process runs the server of {dir}"),
        format!("`ackpost server status --dir {dir}` shows which; stop it first, or keep using that one"),
    )
}

/// Starts; while the process before this one still finishes its requests, its database is waited for. Nothing when
/// a signal ended the wait.
async fn start(
    config: Config,
    listener: TcpListener,
    patience: Duration,
    signals: &mut Signals,
) -> Result<Option<Running>, Failure> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let again = listener
            .try_clone()
            .map_err(|error| Failure::new(error.to_string(), "check the limits of the system"))?;
        match Server::start_on(config.clone(), again).await {
            Err(StartError::Store(sogs_server::store::StoreError::InUse)) => {
                if began.elapsed() >= patience {
                    return Err(in_use(&config));
                }
                if !std::mem::replace(&mut told, true) {
                    successor::tell_predecessor();
                    tracing::info!("waiting for another process to release the database");
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    // A reload has nothing to do yet: the configuration was read just now.
                    asked = signals.next() => if asked == Signal::Stop {
                        return Ok(None);
                    },
                }
            }
            outcome => return outcome.map(Some).map_err(|error| start_failure(&error)),
        }
    }
}

/// With `--json` the first line on standard output; scripts wait for it and connect to `url`, so that is the
/// address it listens on, whatever the public one is.
fn announce(running: &Running, context: Context) {
    let mut address = running.local_addr();
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let (url, key) = (format!("http://{address}"), running.public_key());
    if context.json {
        output::json(&serde_json::json!({
            "url": url,
            "public_key": key.to_string(),
            "base_url": running.url(),
            "pid": std::process::id(),
        }));
    } else {
        output::line(&format!("serving {} at {url}", running.url()));
        output::line(&format!("public key {key}"));
    }
}
