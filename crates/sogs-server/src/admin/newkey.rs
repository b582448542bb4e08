//! A new key for a community whose key was stolen or lost.
//!
//! Rooms and messages stay; links and people's ids change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::context::OperationContext;
use super::operation::AdminError;
use super::undo_entry::Undo;
use crate::clock::unix_now;
use crate::config::Config;
use crate::key::{load_key, load_or_create_key};
use crate::store;
use crate::store::operation::LogEntry;

/// Result of giving the server another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewKey {
    /// The former public key, if the database or the key file knows it.
    pub former: Option<String>,
    /// Path at which the former key file is kept.
    pub kept: Option<PathBuf>,
    /// The public key now; none when it was only tried.
    pub public_key: Option<String>,
    /// Moderators, admins and banned people, whose ids the new key makes useless.
    pub people_with_rights: usize,
    /// Number in the log by which it can be undone.
    pub undo: Option<i64>,
}

fn name_of(former: &str) -> String {
    format!("key_x25519.former-{}", &former[..former.len().min(16)])
}

fn renamed(from: &Path, to: &Path) -> Result<(), AdminError> {
    std::fs::rename(from, to).map_err(|error| AdminError::failed(format!("{}: {error}", from.display())))
}

/// Gives the stopped server of a folder another key. The former key file stays beside it under another name.
pub async fn new_key(folder: &Path, actor: &str, dry_run: bool) -> Result<NewKey, AdminError> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let config = Config::load(&folder)?;
    if super::socket::is_served(&folder).await {
        return Err(running());
    }
    config.check_database()?;
    let store = store::open(&config.store_options(true), Arc::new(|_| {})).await?;
    let outcome = change(&config, &store, actor, dry_run).await;
    store.close().await?;
    outcome
}

fn running() -> AdminError {
    AdminError::conflict(
        "the server runs with its key",
        "stop it first; every process that shares a PostgreSQL database with it, too",
    )
}

async fn change(
    config: &Config,
    store: &store::DynStore,
    actor: &str,
    dry_run: bool,
) -> Result<NewKey, AdminError> {
    let path = config.key_path();
    let own = load_key(&path).ok().map(|key| key.public().to_string());
    let former = own.clone().or(store.community_key().await?);
    let people_with_rights = store.moderators().await?.len() + store.bans().await?.len();
    let name = own.as_deref().map(name_of);
    let mut report = NewKey {
        former: former.clone(),
        kept: name.as_ref().map(|name| config.dir.join(name)),
        public_key: None,
        people_with_rights,
        undo: None,
    };
    if dry_run {
        return Ok(report);
    }
    if let Some(kept) = &report.kept {
        renamed(&path, kept)?;
    } else if path.exists() {
        return Err(AdminError::conflict(
            format!("{} exists and does not hold a key", path.display()),
            "move it out of the way first",
        ));
    }
    let public_key = load_or_create_key(&path)?.public().to_string();
    store.set_community_key(public_key.clone()).await?;
    let actor = match actor {
        "" => "operator".to_owned(),
        name => format!("operator:{name}"),
    };
    let mut entry = LogEntry::new(actor, "new_key", unix_now())
        .target(&public_key)
        .detail(format!(
            "instead of {}",
            former.as_deref().unwrap_or("a lost one")
        ));
    if let Some(former) = name {
        entry.undo = serde_json::to_value(Undo::Key { former }).ok();
    }
    let undoable = entry.undo.is_some();
    let id = store.add_log(entry).await?;
    report.undo = undoable.then_some(id);
    report.public_key = Some(public_key);
    Ok(report)
}

/// Restores a former key; returns the new state in words.
pub(super) async fn back(act: &OperationContext<'_>, former: &str) -> Result<String, AdminError> {
    if act.admin.live.is_some() {
        return Err(running());
    }
    let folder = &act.admin.folder;
    let kept = folder.join(Path::new(former).file_name().unwrap_or_default());
    let secret = load_key(&kept)?;
    let path = folder.join(crate::config::KEY_FILE);
    renamed(&path, &folder.join(name_of(&act.admin.key.to_string())))?;
    renamed(&kept, &path)?;
    let public_key = secret.public().to_string();
    act.admin.store.set_community_key(public_key.clone()).await?;
    Ok(format!("the public key is {public_key} again"))
}
