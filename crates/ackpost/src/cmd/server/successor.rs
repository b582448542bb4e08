//! The next process of a server: it gets the listening socket, and starts while this one still serves.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use ackpost_platform::service::{Signal, Signals};
use sogs_server::{Config, Running};
use tokio::process::{Child, Command};

use super::reload::reload;

/// Variable with the file that a successor removes once it has read its configuration and waits for its turn.
const SIGN: &str = "ACKPOST_SUCCESSOR_SIGN";
/// Time that a successor has to come that far.
const PATIENCE: Duration = Duration::from_secs(40);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Tells the previous process, if there is one, that this one needs nothing but its end.
pub(super) fn tell_predecessor() {
    if let Some(sign) = std::env::var_os(SIGN) {
        // The next call, or a later process, finds no file.
        let _ = std::fs::remove_file(sign);
    }
}

/// Starts this program again with the listening socket as its standard input, and returns once this process is to end.
///
/// # Errors
/// The successor cannot start; this process continues.
pub(super) async fn hand_over(
    running: &Running,
    spare: &TcpListener,
    signals: &mut Signals,
) -> Result<(), String> {
    let dir = &running.app().config().dir;
    Config::load(dir).map_err(|error| error.to_string().trim_end().to_owned())?;
    let sign = Sign::new(dir).map_err(|error| error.to_string())?;
    let mut child = spawn(dir, spare, &sign.0).map_err(|error| error.to_string())?;
    let pid = child.id();
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        tokio::select! {
            biased;
            ended = child.wait() => {
                let ended = ended.map_err(|error| error.to_string())?;
                return Err(format!("it ended with {ended}; its messages are above"));
            }
            asked = signals.next() => match asked {
                Signal::Stop => {
                    end(&mut child).await;
                    return Ok(());
                }
                Signal::Reload => reload(running).await,
            },
            () = tokio::time::sleep(PAUSE) => if !sign.0.exists() {
                tracing::info!(child = pid, "a successor takes over the listening socket");
                return Ok(());
            }
        }
    }
    end(&mut child).await;
    Err(format!("it was not ready after {} seconds", PATIENCE.as_secs()))
}

async fn end(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "the successor cannot be ended");
    }
}

fn spawn(dir: &Path, spare: &TcpListener, sign: &Path) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    let socket = spare.try_clone()?;
    Command::new(program)
        .args(["server", "run", "--listen", "stdin"])
        .arg(dir)
        .env(SIGN, sign)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .spawn()
}

/// A file that is there as long as the successor is not ready.
struct Sign(PathBuf);

impl Sign {
    fn new(dir: &Path) -> std::io::Result<Self> {
        let path = dir.join(format!("successor.{}", std::process::id()));
        std::fs::write(&path, b"")?;
        Ok(Self(path))
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
