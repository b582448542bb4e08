//! The local socket of a running server.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::context::{Admin, RunningServer};
use super::operation::AdminError;
use super::reference::Merged;
use super::socket::{SOCKET, bind_private, serve};
use crate::app::{App, LogLevel};
use crate::clock::unix_now;
use crate::config::Config;
use crate::contents::BlobStore;
use crate::store::DynStore;

struct LiveApp(Arc<App>);

impl RunningServer for LiveApp {
    fn status(&self) -> serde_json::Value {
        let app = &self.0;
        let counters = &app.counters;
        serde_json::json!({
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": (unix_now() - app.started()).max(0.0),
            "memory_bytes": crate::web::resident_bytes(),
            "requests": counters.requests.load(Relaxed),
            "posts": counters.posts.load(Relaxed),
            "refused": counters.refused.load(Relaxed),
            "failed": counters.failed.load(Relaxed),
            "connections": counters.listener.open.load(Relaxed),
            "plugins": app.guard.hub().status(),
        })
    }

    fn contents(&self) -> &BlobStore {
        &self.0.contents
    }

    fn reload(&self, dry_run: bool) -> BoxFuture<'_, Result<Vec<String>, AdminError>> {
        Box::pin(read_again(&self.0, dry_run))
    }

    fn base_url(&self) -> String {
        self.0.base_url()
    }

    fn config(&self) -> Arc<Config> {
        self.0.config()
    }
}

/// Takes over what may change while the server runs.
///
/// Returns what changed and what waits for a restart, in words. Each option that is said to have changed holds
/// everywhere from now on.
///
/// # Errors
/// The configuration cannot be used; the old one stays in force as a whole.
pub async fn reload(app: &Arc<App>) -> Result<Vec<String>, AdminError> {
    read_again(app, false).await
}

async fn read_again(app: &Arc<App>, dry_run: bool) -> Result<Vec<String>, AdminError> {
    let _one_at_a_time = app.reloading.lock().await;
    let old = app.config();
    let new = Config::load(&old.dir)?;
    let Merged {
        mut lines,
        mut config,
    } = super::reference::merge_reloadable(&old, app.file_at_start(), &new)?;
    if config.log.level != old.log.level {
        match app.try_log_level(&config.log.level, dry_run) {
            LogLevel::Follows => {}
            LogLevel::Unusable(cause) => {
                return Err(AdminError::usage(
                    cause,
                    "write error, warn, info, debug or trace; nothing was changed",
                ));
            }
            LogLevel::Fixed(cause) => {
                config.log.level.clone_from(&old.log.level);
                lines.retain(|line| !line.starts_with("[log] level"));
                lines.push(format!("[log] level changes at the next start: {cause}"));
            }
        }
    }
    lines.extend(kept_files(app, &old, &config).await?);
    if dry_run {
        return Ok(lines);
    }
    app.set_config(config);
    app.guard.reload().await?;
    for line in &lines {
        tracing::info!("reload: {line}");
    }
    Ok(lines)
}

/// Explains what a new lifetime of files does not change.
async fn kept_files(app: &App, old: &Config, new: &Config) -> Result<Vec<String>, AdminError> {
    let days = |config: &Config| Some(config.files.expiry_days).filter(|days| *days > 0.0);
    let (before, after) = (days(old), days(new));
    let is_longer = match (before, after) {
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
        (None, _) => false,
    };
    if !is_longer {
        return Ok(Vec::new());
    }
    let count = app.store.expiring_files(None).await?.len();
    Ok(if count == 0 {
        Vec::new()
    } else {
        vec![format!(
            "the new lifetime applies to new files; {count} older ones expire as before: \
             `ackpost server file keep --all-rooms` keeps them"
        )]
    })
}

/// Opens the local socket in the server's folder.
pub(crate) async fn start(
    app: &Arc<App>,
    stop: watch::Receiver<bool>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let config = app.config();
    let listener = bind_private(&config.dir.join(SOCKET))?;
    let admin = Admin {
        store: Arc::clone(&app.store),
        folder: config.dir.clone(),
        stored: BlobStore::of(&config).map_err(std::io::Error::other)?,
        database: config.database_url(),
        configured_url: app.base_url(),
        key: app.public_key(),
        account: app.moderation.account.clone(),
        require_blind: config.users.require_blind_keys,
        guard: Some(Arc::clone(&app.guard)),
        live: Some(Arc::new(LiveApp(Arc::clone(app)))),
    };
    let path = config.dir.join(SOCKET);
    let cleaner = clean_kept(config.dir.clone(), Arc::clone(&app.store), stop.clone());
    Ok(vec![
        tokio::spawn(async move {
            serve(listener, Arc::new(admin), stop).await;
            // Best effort: a socket file that nobody listens on counts as a stopped server.
            let _ = std::fs::remove_file(path);
        }),
        tokio::spawn(cleaner),
    ])
}

/// Removes, once an hour, data that was kept for an undo and is too old: files, archives, and the rows' own data in the
/// audit log.
async fn clean_kept(folder: std::path::PathBuf, store: DynStore, mut stop: watch::Receiver<bool>) {
    let mut hours = tokio::time::interval(std::time::Duration::from_secs(3600));
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            () = super::socket::stopped(&mut stop) => return,
        }
        let folder = folder.clone();
        let gone =
            tokio::task::spawn_blocking(move || super::keeper::clean(&folder, std::time::SystemTime::now()))
                .await
                .unwrap_or(0);
        if gone > 0 {
            tracing::info!(gone, "kept for an undo until now");
        }
        let before = unix_now() - super::keeper::KEEP_DAYS * 86_400.0;
        match store.forget_undo(before).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(
                entries,
                "the time for an undo of entries of the audit log is over"
            ),
            Err(error) => tracing::warn!(%error, "old data for an undo was not removed; it is tried again"),
        }
    }
}
