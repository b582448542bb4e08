//! Move of a community to another database: from SQLite to PostgreSQL, or back.

use std::path::Path;

use serde::Serialize;

use super::ImportError;
use super::bulk::{Conn, wait_to_retry};
use super::copy::{copy_all, empty, new_database};
use super::tables::{COMMUNITY, FACTS};
use crate::config::{CONFIG_FILE, Config};
use sogs_store::Retries;

/// Report of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrateReport {
    /// Former database of the community.
    pub from: String,
    /// New database of the community.
    pub to: String,
    /// Rows of each table.
    pub tables: Vec<(&'static str, u64)>,
}

/// Copies the database of the server in `folder` to `to`, and makes the configuration name it. The old database
/// stays as it is. The server must be stopped.
pub async fn migrate(folder: &Path, to: &str, dry_run: bool) -> Result<MigrateReport, ImportError> {
    let mut config = Config::load(folder)?;
    config.dir = std::path::absolute(folder).map_err(super::file_error(folder))?;
    config.check_database()?;
    let from = config.database_url();
    to.clone_into(&mut config.database.url);
    config.check()?;
    let url = config.database_url();
    if url == from {
        return Err(ImportError::Target(
            "the community is in this database already".to_owned(),
        ));
    }
    // Taking the store's own lock shows that no server works on it.
    new_database(&from).await?;
    let tables = if dry_run {
        let mut conn = Conn::open(&from).await?;
        let mut counts = Vec::new();
        for table in &super::tables::ALL {
            counts.push((
                table.name,
                u64::try_from(conn.count(table.name).await?).unwrap_or(0),
            ));
        }
        conn.close().await?;
        counts
    } else {
        let tables = copy_into(&from, &url).await?;
        let text = crate::admin::commented_config(&config);
        crate::admin::write_private(&folder.join(CONFIG_FILE), text.as_bytes())
            .map_err(|error| ImportError::Target(error.cause))?;
        tables
    };
    Ok(MigrateReport {
        from: crate::database_url::without_password(&from),
        to: crate::database_url::without_password(&url),
        tables,
    })
}

/// Copies all tables into another database, which must hold no community.
pub(super) async fn copy_into(from: &str, to: &str) -> Result<Vec<(&'static str, u64)>, ImportError> {
    let mut retries = Retries::default();
    loop {
        match copy_once(from, to).await {
            Err(error) if wait_to_retry(&error, &mut retries).await => {
                tracing::warn!(%error, "the copy was undone; trying again");
            }
            outcome => return outcome,
        }
    }
}

async fn copy_once(from: &str, to: &str) -> Result<Vec<(&'static str, u64)>, ImportError> {
    new_database(to).await?;
    let mut source = Conn::open(from).await?;
    let mut target = Conn::open(to).await?;
    source.begin(false).await?;
    target.begin(true).await?;
    let outcome = async {
        for table in COMMUNITY {
            if target.count(table.name).await? > 0 {
                return Err(ImportError::Target(format!(
                    "{} holds a community already",
                    crate::database_url::without_password(to)
                )));
            }
        }
        // The program that made the empty database noted a key in it that no link names.
        empty(&mut target, &[FACTS]).await?;
        copy_all(&mut source, &mut target).await
    }
    .await;
    match outcome {
        Ok(counts) => {
            target.commit().await?;
            // The copy is kept, however the connections end.
            let _ = source.commit().await;
            let _ = target.close().await;
            let _ = source.close().await;
            Ok(counts)
        }
        Err(error) => {
            // The error is the cause; the connection may be lost.
            let _ = target.rollback().await;
            Err(error)
        }
    }
}
