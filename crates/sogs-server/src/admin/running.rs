//! The local socket of a running server.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::exec::{Admin, Live};
use super::operation::AdminError;
use super::socket::{SOCKET, bind_private, serve};
use crate::app::{App, unix_now};
use crate::config::Config;
use crate::contents::Contents;

struct LiveApp(Arc<App>);

impl Live for LiveApp {
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
            "connections": counters.connections.load(Relaxed),
            "plugins": app.guard.hub().status(),
        })
    }

    fn contents(&self) -> &Contents {
        &self.0.contents
    }

    fn reload(&self) -> BoxFuture<'_, Result<Vec<String>, AdminError>> {
        Box::pin(reload(&self.0))
    }
}

/// Takes over what may change while the server runs; what changed, and what waits for a restart, in words.
pub async fn reload(app: &Arc<App>) -> Result<Vec<String>, AdminError> {
    let old = app.config();
    let new = Config::load(&old.dir)?;
    let (lines, merged) = super::reference::merge_reloadable(&old, &new)?;
    app.set_config(merged);
    app.guard.reload().await?;
    for line in &lines {
        tracing::info!("reload: {line}");
    }
    Ok(lines)
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
        stored: Contents::of(&config).map_err(std::io::Error::other)?,
        database: config.database_url(),
        base_url: app.base_url(),
        key: app.public_key(),
        require_blind: config.users.require_blind_keys,
        guard: Some(Arc::clone(&app.guard)),
        live: Some(Arc::new(LiveApp(Arc::clone(app)))),
    };
    let path = config.dir.join(SOCKET);
    let cleaner = clean_archives(config.dir.clone(), stop.clone());
    Ok(vec![
        tokio::spawn(async move {
            serve(listener, Arc::new(admin), stop).await;
            // Best effort: a socket file that nobody listens on counts as a stopped server.
            let _ = std::fs::remove_file(path);
        }),
        tokio::spawn(cleaner),
    ])
}

/// Once an hour, what was kept for an undo and is too old goes.
async fn clean_archives(folder: std::path::PathBuf, mut stop: watch::Receiver<bool>) {
    let mut hours = tokio::time::interval(std::time::Duration::from_secs(3600));
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            () = super::socket::stopped(&mut stop) => return,
        }
        let folder = folder.clone();
        let gone =
            tokio::task::spawn_blocking(move || super::archive::clean(&folder, std::time::SystemTime::now()))
                .await
                .unwrap_or(0);
        if gone > 0 {
            tracing::info!(gone, "kept for an undo until now");
        }
    }
}
