//! Signals, an orderly end, and the service manager (systemd).

use std::time::Duration;

use tokio::sync::watch;

/// Request that a signal of the system makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end in good order.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Signals of the process, taken over from their default effect as soon as this exists.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP.
    #[cfg(unix)]
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Takes over Ctrl-C.
    #[cfg(not(unix))]
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for Ctrl-C.
    #[cfg(not(unix))]
    pub async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Stop
    }
}

/// Until a person (SIGINT) or the system (SIGTERM) says stop. SIGHUP keeps its effect: a command in a terminal that is
/// closed ends.
#[cfg(unix)]
pub async fn stop_asked() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// Until a person (Ctrl-C) says stop.
#[cfg(not(unix))]
pub async fn stop_asked() {
    let _ = tokio::signal::ctrl_c().await;
}

/// Starts this program again in its place, with the C library told to use two heaps. By default it reserves 64 MB of
/// addresses for each thread, which counts under `ulimit -v` and leaves freed memory in pieces. The process keeps its
/// number, its arguments and the descriptors that it was given. Nothing happens when the variable is set already.
pub fn with_few_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::os::unix::process::CommandExt as _;
        const HEAPS: &str = "MALLOC_ARENA_MAX";
        if std::env::var_os(HEAPS).is_some() {
            return;
        }
        let mut arguments = std::env::args_os();
        let (Some(name), Ok(program)) = (arguments.next(), std::env::current_exe()) else {
            return;
        };
        // Returns only when it fails; then this process goes on as it is.
        let error = std::process::Command::new(program)
            .arg0(name)
            .args(arguments)
            .env(HEAPS, "2")
            .exec();
        tracing::warn!(%error, "the number of heaps cannot be set");
    }
}

/// The socket of the service manager (sd_notify). Without `NOTIFY_SOCKET` every call does nothing.
#[derive(Debug)]
pub struct ServiceManager {
    #[cfg(unix)]
    socket: Option<(std::os::unix::net::UnixDatagram, std::os::unix::net::SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// From the environment that systemd sets for a service with `Type=notify`.
    pub fn from_env() -> Self {
        let watchdog = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Duration::from_micros)
            .filter(|_| {
                // Inherited from a parent that is watched itself?
                std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string())
            });
        Self {
            #[cfg(unix)]
            socket: std::env::var("NOTIFY_SOCKET")
                .ok()
                .and_then(|path| open_socket(&path)),
            watchdog,
        }
    }

    /// The start is over; requests are answered.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The end has begun, and may take so long.
    pub fn stopping(&self, longest: Duration) {
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={longest}"));
    }

    /// Tells the watchdog twice in its time that the process is well, as long as `is_well` says so; returns when
    /// `stop` is set. Without a watchdog it only waits.
    pub async fn watch(&self, mut stop: watch::Receiver<bool>, is_well: impl Fn() -> bool) {
        let Some(interval) = self.watchdog else {
            let _ = stop.wait_for(|stop| *stop).await;
            return;
        };
        let mut ticks = tokio::time::interval(interval / 2);
        loop {
            tokio::select! {
                _ = ticks.tick() => if is_well() { self.tell("WATCHDOG=1") },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    #[cfg(unix)]
    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }

    #[cfg(not(unix))]
    fn tell(&self, _state: &str) {}
}

/// `/path` or `@abstract`.
#[cfg(unix)]
fn open_socket(path: &str) -> Option<(std::os::unix::net::UnixDatagram, std::os::unix::net::SocketAddr)> {
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let address = match path.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name).ok()?
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return None,
        None => SocketAddr::from_pathname(path).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}
