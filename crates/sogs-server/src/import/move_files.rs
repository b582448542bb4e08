//! Moving the files of a community between a folder and a bucket.

use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::bulk::Conn;
use super::tables::FILES;
use super::{ImportError, file_error};
use crate::config::{CONFIG_FILE, Config, Storage};
use crate::contents::{BlobStore, ContentError};
use crate::store;

/// Files that are copied together.
const AT_A_TIME: usize = 4;
/// Maximum number of files in a report that are named.
const MAX_NAMED: usize = 20;

/// Result of a move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MoveReport {
    /// Former storage.
    pub from: String,
    /// New storage.
    pub to: String,
    /// Files that were copied, or would be.
    pub copied: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files that an earlier attempt had copied.
    pub there: u64,
    /// Files with a row but without bytes.
    pub missing: u64,
    /// Files that are not what their names say; as long as there are any, the configuration stays as it is.
    pub damaged: Vec<String>,
}

impl MoveReport {
    /// Returns true if the configuration names the new storage, or would with a real run.
    pub fn is_complete(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// Copies the files of the stopped server in `folder` to the other storage, checks each copy, and then makes the
/// configuration name that storage. The old copies stay. A move that was interrupted goes on where it stopped.
///
/// # Errors
/// [`ImportError::Target`] if the server runs or keeps its files there already; those of storage, database and
/// configuration.
pub async fn move_files(folder: &Path, to: Storage, dry_run: bool) -> Result<MoveReport, ImportError> {
    let mut config = Config::load(folder)?;
    config.dir = std::path::absolute(folder).map_err(file_error(folder))?;
    config.check_database()?;
    if config.files.storage == to {
        return Err(ImportError::Target(format!(
            "the files are in storage `{to}` already"
        )));
    }
    if crate::admin::is_served(&config.dir).await {
        return Err(ImportError::Target("the server of this folder runs".to_owned()));
    }
    let source = BlobStore::of(&config)?;
    let target = BlobStore::in_storage(&config, to)?;
    config.files.storage = to;
    config.check()?;
    // Held to the end, so that no server starts on this database meanwhile.
    let lock = store::open(&config.store_options(true), Arc::new(|_| {})).await?;
    source.reach().await?;
    target.reach().await?;
    if !dry_run {
        let key = crate::key::load_key(&config.key_path())?.public().to_string();
        target.claim(&key).await?;
    }
    let mut conn = Conn::open(&config.database_url()).await?;
    let names = conn
        .texts(format!("SELECT DISTINCT content FROM {} ORDER BY 1", FILES.name))
        .await?;
    let report = copy(&source, &target, names, dry_run).await?;
    if report.is_complete() && !dry_run {
        super::remake_thumbnails(&mut conn).await?;
        let text = crate::admin::commented_config(&config);
        crate::admin::write_private(&folder.join(CONFIG_FILE), text.as_bytes())
            .map_err(|error| ImportError::Target(error.cause))?;
    }
    conn.close().await?;
    lock.close().await?;
    Ok(report)
}

async fn copy(
    source: &BlobStore,
    target: &BlobStore,
    names: Vec<String>,
    dry_run: bool,
) -> Result<MoveReport, ImportError> {
    let mut report = MoveReport {
        from: source.shown(),
        to: target.shown(),
        ..MoveReport::default()
    };
    let copies = futures_util::stream::iter(names.into_iter().map(|name| async move {
        let copied = if dry_run {
            would_copy(source, target, &name).await
        } else {
            source.copy_to(&name, target).await
        };
        match copied {
            Err(error @ (ContentError::Missing | ContentError::Damaged(_))) => Ok((name, Err(error))),
            Err(error) => Err(error),
            Ok(copied) => Ok((name, Ok(copied))),
        }
    }));
    let mut copies = std::pin::pin!(copies.buffered(AT_A_TIME));
    while let Some((name, copied)) = copies.try_next().await? {
        match copied {
            Ok((size, true)) => {
                report.copied += 1;
                report.bytes += size;
            }
            Ok((_, false)) => report.there += 1,
            Err(ContentError::Missing) => report.missing += 1,
            Err(_) if report.damaged.len() < MAX_NAMED => report.damaged.push(name),
            Err(_) => {}
        }
    }
    Ok(report)
}

async fn would_copy(source: &BlobStore, target: &BlobStore, name: &str) -> Result<(u64, bool), ContentError> {
    let size = source.size(name).await?;
    match target.size(name).await {
        Ok(there) => Ok((size, there != size)),
        Err(ContentError::Missing) => Ok((size, true)),
        Err(error) => Err(error),
    }
}
