//! Queries for direct messages.

use super::accounts::present;
use super::{SqlStore, Tx};
use crate::{Change, Id, InboxRow, Mailbox, NewDm, StoreResult};

macro_rules! dm_query {
    ($column:literal) => {
        concat!(
            "SELECT i.id, COALESCE(i.recipient_as, r.session_id) AS recipient, COALESCE(i.sender_as, s.session_id) AS sender, i.body, i.posted_at, i.expiry \
             FROM inbox i JOIN users r ON r.id = i.recipient_id JOIN users s ON s.id = i.sender_id WHERE i.",
            $column,
            " = $1 AND i.id > $2 ORDER BY i.id LIMIT $3"
        )
    };
}

impl SqlStore {
    pub(crate) async fn add_dm(&self, new: NewDm) -> StoreResult<Id> {
        self.write(new, |mut tx, new| {
            Box::pin(async move { insert(&mut tx, new).await })
        })
        .await
    }

    pub(crate) async fn add_dm_within(&self, new: NewDm, since: f64, most: i64) -> StoreResult<Option<Id>> {
        self.write((new, since, most), |mut tx, (new, since, most)| {
            Box::pin(async move {
                // Writers take turns, those of other processes too: nobody else adds one meanwhile.
                let sender = present(tx.conn, new.sender_id).await?;
                let count: i64 = sqlx::query_scalar(COUNT)
                    .bind(sender)
                    .bind(*since)
                    .fetch_one(&mut *tx.conn)
                    .await?;
                if count >= *most {
                    return Ok(None);
                }
                insert(&mut tx, new).await.map(Some)
            })
        })
        .await
    }

    pub(crate) async fn dms(
        &self,
        user_id: Id,
        mailbox: Mailbox,
        since: Id,
        limit: i64,
    ) -> StoreResult<Vec<InboxRow>> {
        let query = match mailbox {
            Mailbox::Inbox => sqlx::query_as(dm_query!("recipient_id")),
            Mailbox::Outbox => sqlx::query_as(dm_query!("sender_id")),
        };
        Ok(query
            .bind(user_id)
            .bind(since)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?)
    }

    pub(crate) async fn dm_tops(&self, user_id: Id) -> StoreResult<(Id, Id)> {
        let mut conn = self.readers.acquire().await?;
        let inbox: Option<Id> =
            sqlx::query_scalar("SELECT id FROM inbox WHERE recipient_id = $1 ORDER BY id DESC LIMIT 1")
                .bind(user_id)
                .fetch_optional(&mut *conn)
                .await?;
        let outbox: Option<Id> =
            sqlx::query_scalar("SELECT id FROM inbox WHERE sender_id = $1 ORDER BY id DESC LIMIT 1")
                .bind(user_id)
                .fetch_optional(&mut *conn)
                .await?;
        Ok((inbox.unwrap_or(0), outbox.unwrap_or(0)))
    }

    pub(crate) async fn delete_dms(&self, user_id: Id) -> StoreResult<i64> {
        self.write(user_id, |tx, user_id| {
            Box::pin(async move {
                let gone = sqlx::query("DELETE FROM inbox WHERE recipient_id = $1")
                    .bind(*user_id)
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
            })
        })
        .await
    }

    pub(crate) async fn count_dms(&self, sender_id: Id, since: f64) -> StoreResult<i64> {
        Ok(sqlx::query_scalar(COUNT)
            .bind(sender_id)
            .bind(since)
            .fetch_one(&self.readers)
            .await?)
    }
}

/// Counts the direct messages that somebody sent since a time.
const COUNT: &str = "SELECT COUNT(*) FROM inbox WHERE sender_id = $1 AND posted_at >= $2";

async fn insert(tx: &mut Tx<'_>, new: &NewDm) -> StoreResult<Id> {
    tx.changes.extend([
        Change::DirectMessage(new.recipient_id),
        Change::DirectMessage(new.sender_id),
    ]);
    let recipient = present(tx.conn, new.recipient_id).await?;
    let sender = present(tx.conn, new.sender_id).await?;
    Ok(sqlx::query_scalar(
        "INSERT INTO inbox (recipient_id, sender_id, body, posted_at, expiry, recipient_as, sender_as) \
         VALUES ($1, $2, $3, $4, $5, NULLIF($6, (SELECT session_id FROM users WHERE id = $1)), \
         NULLIF($7, (SELECT session_id FROM users WHERE id = $2))) RETURNING id",
    )
    .bind(recipient)
    .bind(sender)
    .bind(&new.body[..])
    .bind(new.now)
    .bind(new.expiry)
    .bind(&new.recipient_as)
    .bind(&new.sender_as)
    .fetch_one(&mut *tx.conn)
    .await?)
}
