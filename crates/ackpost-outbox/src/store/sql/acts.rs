//! The log of acts: what people did about delivered messages.

use sqlx::Row as _;

use super::{Backend, Db, Tx};
use crate::store::ActRow;

impl Backend {
    /// Claims a gesture and writes that an act begins. Returns false if the gesture was claimed before; nothing is written then.
    pub(crate) async fn begin_act(&self, act: &ActRow) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        let claimed =
            sqlx::query("INSERT INTO outbox_gesture (id, at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
                .bind(&act.gesture)
                .bind(act.at)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        if claimed == 0 {
            return Ok(false);
        }
        insert(&mut tx, act).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Adds a line to the log.
    pub(crate) async fn add_act(&self, act: &ActRow) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        insert(&mut tx, act).await?;
        tx.commit().await
    }

    /// Lines before a number, newest first, of one subject or of all.
    pub(crate) async fn acts(
        &self,
        subject: Option<&[u8]>,
        before: i64,
        limit: i64,
    ) -> Result<Vec<ActRow>, sqlx::Error> {
        let mut query = sqlx::QueryBuilder::<Db>::new(
            "SELECT seq, at, gesture, subject, kind, result, sealed FROM outbox_act WHERE seq < ",
        );
        query.push_bind(before);
        if let Some(subject) = subject {
            query.push(" AND subject = ").push_bind(subject.to_vec());
        }
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(&self.reader).await?;
        let act = |row: &super::Row| {
            Ok(ActRow {
                seq: row.try_get("seq")?,
                at: row.try_get("at")?,
                gesture: row.try_get("gesture")?,
                subject: row.try_get("subject")?,
                kind: row.try_get("kind")?,
                result: row.try_get("result")?,
                sealed: row.try_get("sealed")?,
            })
        };
        rows.iter().map(act).collect()
    }
}

async fn insert(tx: &mut Tx, act: &ActRow) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO outbox_act (at, gesture, subject, kind, result, sealed) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(act.at)
    .bind(&act.gesture)
    .bind(&act.subject)
    .bind(&act.kind)
    .bind(&act.result)
    .bind(&act.sealed)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
