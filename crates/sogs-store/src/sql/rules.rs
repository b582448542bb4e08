//! Rules of an operator: settings, filters and raid mode.

use sqlx::Row as _;

use super::SqlStore;
use super::operation::DbRow;
use crate::model::filter::{Filter, FilterAction, FilterKind};
use crate::model::raid::Raid;
use crate::operation::RaidRow;
use crate::{Change, Id, StoreError, StoreResult};

impl SqlStore {
    pub(crate) async fn settings(&self) -> StoreResult<Vec<(Id, String, String)>> {
        Ok(
            sqlx::query_as("SELECT room_id, name, value FROM settings ORDER BY room_id, name")
                .fetch_all(&self.readers)
                .await?,
        )
    }

    pub(crate) async fn set_setting(
        &self,
        room_id: Id,
        name: String,
        value: Option<String>,
    ) -> StoreResult<()> {
        self.write((room_id, name, value), |tx, (room_id, name, value)| {
            Box::pin(async move {
                sqlx::query("DELETE FROM settings WHERE room_id = $1 AND name = $2")
                    .bind(*room_id)
                    .bind(name)
                    .execute(&mut *tx.conn)
                    .await?;
                if let Some(value) = value {
                    sqlx::query("INSERT INTO settings (room_id, name, value) VALUES ($1, $2, $3)")
                        .bind(*room_id)
                        .bind(name)
                        .bind(value)
                        .execute(&mut *tx.conn)
                        .await?;
                }
                tx.changes.push(Change::Settings);
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn filters(&self) -> StoreResult<Vec<Filter>> {
        let rows = sqlx::query("SELECT id, room_id, kind, pattern, action, reply FROM filters ORDER BY id")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(filter).collect()
    }

    pub(crate) async fn add_filter(&self, filter: Filter) -> StoreResult<Id> {
        self.write(filter, |tx, filter| {
            Box::pin(async move {
                let id = sqlx::query_scalar(
                    "INSERT INTO filters (room_id, kind, pattern, action, reply) VALUES ($1, $2, $3, $4, $5) RETURNING id",
                )
                .bind(filter.room)
                .bind(filter.kind.as_str())
                .bind(&filter.pattern)
                .bind(filter.action.as_str())
                .bind(filter.reply.as_deref())
                .fetch_one(&mut *tx.conn)
                .await?;
                tx.changes.push(Change::Settings);
                Ok(id)
            })
        })
        .await
    }

    pub(crate) async fn remove_filter(&self, id: Id) -> StoreResult<bool> {
        self.write(id, |tx, id| {
            Box::pin(async move {
                let gone = sqlx::query("DELETE FROM filters WHERE id = $1")
                    .bind(*id)
                    .execute(&mut *tx.conn)
                    .await?;
                tx.changes.push(Change::Settings);
                Ok(gone.rows_affected() > 0)
            })
        })
        .await
    }

    pub(crate) async fn raids(&self) -> StoreResult<Vec<RaidRow>> {
        let rows: Vec<(Id, f64, Option<f64>, String)> =
            sqlx::query_as("SELECT room_id, since, until_at, reason FROM raids ORDER BY room_id")
                .fetch_all(&self.readers)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(room_id, since, until, reason)| RaidRow {
                room_id,
                raid: Raid { since, until, reason },
            })
            .collect())
    }

    pub(crate) async fn set_raid(&self, room_id: Id, raid: Option<Raid>) -> StoreResult<()> {
        self.write((room_id, raid), |tx, (room_id, raid)| {
            Box::pin(async move {
                sqlx::query("DELETE FROM raids WHERE room_id = $1")
                    .bind(*room_id)
                    .execute(&mut *tx.conn)
                    .await?;
                if let Some(raid) = raid {
                    sqlx::query(
                        "INSERT INTO raids (room_id, since, until_at, reason) VALUES ($1, $2, $3, $4)",
                    )
                    .bind(*room_id)
                    .bind(raid.since)
                    .bind(raid.until)
                    .bind(&raid.reason)
                    .execute(&mut *tx.conn)
                    .await?;
                }
                tx.changes.push(Change::Settings);
                Ok(())
            })
        })
        .await
    }
}

fn filter(row: &DbRow) -> StoreResult<Filter> {
    let (kind, action): (String, String) = (row.try_get(2)?, row.try_get(4)?);
    let unknown = || {
        StoreError::Statement(format!(
            "a filter is of the unknown kind '{kind}' or action '{action}'"
        ))
    };
    Ok(Filter {
        id: row.try_get(0)?,
        room: row.try_get(1)?,
        kind: FilterKind::parse(&kind).ok_or_else(unknown)?,
        pattern: row.try_get(3)?,
        action: FilterAction::parse(&action).ok_or_else(unknown)?,
        reply: row.try_get(5)?,
    })
}
