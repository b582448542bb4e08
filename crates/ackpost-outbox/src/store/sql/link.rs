//! Delivered messages that lead to their contexts.

use sqlx::Row as _;

use super::{Backend, Row, Tx};
use crate::store::{LinkRow, LinkedRow};

const LINKED: &str = "SELECT outbox_link.id, lane, context, outbox_link.at, outbox_link.sealed, \
    outbox_context.sealed AS context_sealed \
    FROM outbox_link JOIN outbox_context ON outbox_context.id = context ";

impl Backend {
    /// The link with this id.
    pub(crate) async fn linked(&self, id: &[u8]) -> Result<Option<LinkedRow>, sqlx::Error> {
        // Both halves are constants of this file.
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{LINKED} WHERE outbox_link.id = $1")))
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| linked(&row)).transpose()
    }

    /// The latest links of a lane, newest first.
    pub(crate) async fn latest_linked(&self, lane: &[u8], limit: i64) -> Result<Vec<LinkedRow>, sqlx::Error> {
        // Both halves are constants of this file.
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{LINKED} WHERE lane = $1 ORDER BY outbox_link.at DESC LIMIT $2"
        )))
        .bind(lane)
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(linked).collect()
    }

    /// Adds a link. Returns false if there is one with this id already.
    pub(crate) async fn add_link(&self, link: &LinkRow) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        let added = insert_link(&mut tx, link).await?;
        tx.commit().await?;
        Ok(added)
    }
}

pub(super) async fn insert_link(tx: &mut Tx, link: &LinkRow) -> Result<bool, sqlx::Error> {
    let added = sqlx::query(
        "INSERT INTO outbox_link (id, lane, context, at, sealed) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&link.id)
    .bind(&link.lane)
    .bind(link.context)
    .bind(link.at)
    .bind(&link.sealed)
    .execute(&mut **tx)
    .await?;
    Ok(added.rows_affected() > 0)
}

fn linked(row: &Row) -> Result<LinkedRow, sqlx::Error> {
    Ok(LinkedRow {
        link: LinkRow {
            id: row.try_get("id")?,
            lane: row.try_get("lane")?,
            context: row.try_get("context")?,
            at: row.try_get("at")?,
            sealed: row.try_get("sealed")?,
        },
        context_sealed: row.try_get("context_sealed")?,
    })
}
