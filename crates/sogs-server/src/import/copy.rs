//! Copies of our own tables from one database to another.

use std::sync::Arc;

use futures_util::TryStreamExt as _;

use super::ImportError;
use super::bulk::{Conn, Table};
use super::tables::ALL;
use crate::store::{self, StoreOptions};

/// Makes an empty database of the present version.
pub(crate) async fn new_database(url: &str) -> Result<(), ImportError> {
    let options = StoreOptions {
        url: url.to_owned(),
        readers: 1,
        migrate: true,
    };
    let store = store::open(&options, Arc::new(|_| {})).await?;
    store.close().await?;
    Ok(())
}

/// Copies every table as it is and returns the number of rows. Both connections must be in a transaction; the target
/// must be empty.
pub(super) async fn copy_all(
    from: &mut Conn,
    to: &mut Conn,
) -> Result<Vec<(&'static str, u64)>, ImportError> {
    let mut counts = Vec::with_capacity(ALL.len());
    for table in &ALL {
        let mut rows = 0;
        // A backup may be older than the table.
        if from.columns(table.name).await?.is_empty() {
            counts.push((table.name, 0));
            continue;
        }
        let mut chunks = from.chunks(table, "").await?;
        while let Some(chunk) = chunks.try_next().await? {
            rows += chunk.len() as u64;
            to.write(table, &chunk).await?;
        }
        drop(chunks);
        to.follow_keys(table).await?;
        let there = to.count(table.name).await?;
        if u64::try_from(there).ok() != Some(rows) {
            return Err(ImportError::Differs(format!(
                "{} has {there} rows instead of {rows}",
                table.name
            )));
        }
        counts.push((table.name, rows));
    }
    Ok(counts)
}

/// Empties tables, those that refer to others first.
pub(super) async fn empty(conn: &mut Conn, tables: &[Table]) -> Result<(), ImportError> {
    for table in tables.iter().rev() {
        conn.run(format!("DELETE FROM {}", table.name)).await?;
    }
    Ok(())
}
