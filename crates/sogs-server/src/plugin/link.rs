//! Carrying the lines: child processes of the server, and the Unix socket in its folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

use super::hub::{Hub, Terms};
use super::protocol::{Decision, FromPlugin, MAX_LINE};
use crate::admin::stopped;

/// Name of the socket in the folder of the server.
pub const SOCKET: &str = "plugin.sock";
/// Connections over the socket at a time.
const MAX_CONNECTIONS: usize = 16;
/// Time within which a connection must send its hello.
const HELLO: Duration = Duration::from_secs(10);
/// Time limit for a write to a plugin; after that, the connection is closed.
const WRITE: Duration = Duration::from_secs(10);

/// A `[[plugin]]` of the configuration: a child process of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// Name in the log and in `status`.
    pub name: String,
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// True if the plugin is asked before a post is stored.
    #[serde(default)]
    pub decide: bool,
    /// Kinds of events it hears; empty = all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Milliseconds an answer may take.
    #[serde(default = "default_deadline")]
    pub deadline_ms: u64,
    /// Decision when no answer arrives in time, and while the program is not running.
    #[serde(default)]
    pub default: Decision,
}

fn default_deadline() -> u64 {
    250
}

/// The deadline for a number of milliseconds: a post never waits longer than ten seconds.
fn deadline(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds.clamp(1, 10_000))
}

impl PluginConfig {
    fn terms(&self) -> Terms {
        Terms {
            name: self.name.clone(),
            configured: true,
            decide: self.decide,
            events: self.events.clone(),
            deadline: deadline(self.deadline_ms),
            otherwise: self.default,
        }
    }
}

/// Starts every configured child and keeps it running until `stop` changes.
pub fn spawn_children(
    hub: &Arc<Hub>,
    plugins: &[PluginConfig],
    folder: &Path,
    stop: &watch::Receiver<bool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    plugins
        .iter()
        .map(|config| {
            hub.expect(config.terms());
            tokio::spawn(keep_child(
                Arc::clone(hub),
                config.clone(),
                folder.to_owned(),
                stop.clone(),
            ))
        })
        .collect()
}

async fn keep_child(hub: Arc<Hub>, config: PluginConfig, folder: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut pause = Duration::from_secs(1);
    while !*stop.borrow() {
        let began = tokio::time::Instant::now();
        tokio::select! {
            outcome = run_child(&hub, &config, &folder) => match outcome {
                Ok(status) => tracing::warn!(plugin = config.name, %status, "plugin ended"),
                Err(error) => tracing::warn!(plugin = config.name, %error, "plugin could not run"),
            },
            () = stopped(&mut stop) => return,
        }
        // A child that ran for a while starts over with the short pause.
        pause = if began.elapsed() > Duration::from_secs(60) {
            Duration::from_secs(1)
        } else {
            (pause * 2).min(Duration::from_secs(60))
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn run_child(
    hub: &Arc<Hub>,
    config: &PluginConfig,
    folder: &Path,
) -> std::io::Result<std::process::ExitStatus> {
    let (program, arguments) = config
        .command
        .split_first()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "the command is empty"))?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("the child has no pipes"));
    };
    converse(hub, config.terms(), BufReader::new(stdout), stdin).await;
    // Its pipes are gone: what is left of it is ended.
    if let Ok(status) = tokio::time::timeout(Duration::from_secs(2), child.wait()).await {
        return status;
    }
    child.kill().await?;
    child.wait().await
}

/// Accepts plugins on a private Unix socket until `stop` changes.
pub async fn serve_socket(hub: Arc<Hub>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = stopped(&mut stop) => break,
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let hub = Arc::clone(&hub);
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let (read, write) = stream.into_split();
            tokio::select! {
                () = greet(&hub, BufReader::new(read), write) => {}
                () = stopped(&mut stop) => {}
            }
            drop(permit);
        });
    }
}

async fn accept(listener: &UnixListener) -> tokio::net::UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, most likely: it passes when connections end.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn greet(hub: &Arc<Hub>, mut read: BufReader<impl AsyncRead + Unpin>, write: impl AsyncWrite + Unpin) {
    let Ok(Ok(Some(line))) = tokio::time::timeout(HELLO, next_line(&mut read)).await else {
        return;
    };
    let Ok(FromPlugin {
        hello: Some(name),
        decide,
        events,
        deadline_ms,
        default,
        ..
    }) = serde_json::from_slice::<FromPlugin>(&line)
    else {
        return;
    };
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let terms = Terms {
        name,
        configured: false,
        decide,
        events,
        deadline: deadline(deadline_ms.unwrap_or_else(default_deadline)),
        otherwise: default,
    };
    converse(hub, terms, read, write).await;
}

/// Passes lines both ways until either side is done.
async fn converse(
    hub: &Arc<Hub>,
    terms: Terms,
    mut read: impl AsyncBufRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
) {
    let (plugin, mut lines) = hub.join(terms);
    let hear = async {
        while let Ok(Some(line)) = next_line(&mut read).await {
            if let Ok(line) = serde_json::from_slice::<FromPlugin>(&line) {
                plugin.hear(line);
            }
        }
    };
    let speak = async {
        let mut told_lost = 0;
        while let Some(mut line) = lines.recv().await {
            line.push('\n');
            let lost = plugin.lost();
            if lost > told_lost {
                line.push_str("{\"lost\":");
                line.push_str(&(lost - told_lost).to_string());
                line.push_str("}\n");
                told_lost = lost;
            }
            match tokio::time::timeout(WRITE, write.write_all(line.as_bytes())).await {
                Ok(Ok(())) => {}
                _ => break,
            }
        }
    };
    // Each side runs in one piece, so that no half-read line is lost when the other has something to do.
    tokio::select! {
        () = hear => {}
        () = speak => {}
    }
    hub.leave(&plugin);
}

/// The next line without its end; `None` at the end of the stream; an error when it is longer than [`MAX_LINE`].
async fn next_line(read: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let size = read.take(limit).read_until(b'\n', &mut line).await?;
    if size == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && size == MAX_LINE {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "the line is too long",
        ));
    }
    Ok(Some(line))
}
