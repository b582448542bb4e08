//! Queries for editing and deleting messages.

use super::accounts::present;
use super::posts::attach;
use super::reactions::drop_reactions;
use super::{SqlStore, Tx, bump_info, id_lists, take_seqnos};
use crate::{Change, Changed, Id, PostEdit, StoreResult};

impl SqlStore {
    pub(crate) async fn edit_post(&self, edit: PostEdit) -> StoreResult<Changed> {
        self.write(edit, |tx, edit| Box::pin(replace(tx, edit))).await
    }

    pub(crate) async fn delete_post(
        &self,
        room_id: Id,
        message_id: Id,
        only_author: Option<Id>,
        now: f64,
    ) -> StoreResult<Changed> {
        self.write((room_id, message_id, only_author, now), |tx, args| {
            Box::pin(delete(tx, *args))
        })
        .await
    }

    pub(crate) async fn scopes_of(&self, room_id: Id, user_id: Id) -> StoreResult<Vec<Id>> {
        Ok(sqlx::query_scalar(
            "SELECT DISTINCT for_moderators_of FROM messages WHERE user_id = $1 AND room_id = $2 AND data IS NOT NULL \
             AND for_moderators_of IS NOT NULL",
        )
        .bind(user_id)
        .bind(room_id)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(crate) async fn delete_all_posts(
        &self,
        rooms: Vec<Id>,
        user_id: Id,
        now: f64,
    ) -> StoreResult<Vec<(Id, i64)>> {
        self.write((rooms, user_id, now), |mut tx, (rooms, user_id, now)| {
            Box::pin(async move {
                let user_id = present(tx.conn, *user_id).await?;
                let mut counts = Vec::with_capacity(rooms.len());
                for room_id in rooms {
                    counts.push((*room_id, delete_all(&mut tx, *room_id, user_id, *now).await?));
                }
                Ok(counts)
            })
        })
        .await
    }

    pub(crate) async fn prune_messages(&self, room_id: Id, before: f64) -> StoreResult<u64> {
        let mut gone = 0;
        loop {
            let round = self
                .write((room_id, before), |tx, args| Box::pin(prune(tx, *args)))
                .await?;
            gone += round;
            if round < PRUNE_ROWS {
                return Ok(gone);
            }
        }
    }
}

async fn keep_history(tx: &mut Tx<'_>, message_id: Id, now: f64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO message_history (message_id, replaced, data, data_size, signature) \
         SELECT id, $2, data, data_size, signature FROM messages WHERE id = $1",
    )
    .bind(message_id)
    .bind(now)
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

pub(super) async fn replace(mut tx: Tx<'_>, edit: &PostEdit) -> StoreResult<Changed> {
    let found: Option<(Id, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT user_id, seqno, data FROM messages WHERE id = $1 AND room_id = $2 AND data IS NOT NULL",
    )
    .bind(edit.message_id)
    .bind(edit.room_id)
    .fetch_optional(&mut *tx.conn)
    .await?;
    let Some((author, seqno, old)) = found else {
        return Ok(Changed::NoMessage);
    };
    if author != edit.user_id {
        return Ok(Changed::NotYours);
    }
    // Moderators decide about the text that they were shown.
    let is_held: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM held_messages WHERE message_id = $1)")
            .bind(edit.message_id)
            .fetch_one(&mut *tx.conn)
            .await?;
    if is_held {
        return Ok(Changed::NotYours);
    }
    let mut now_at = seqno;
    if old == edit.data {
        // Nothing anybody would see changed; the signature may be another one over the same content.
        sqlx::query(
            "UPDATE messages SET signature = $2, data_size = $3, posted_as = NULLIF($4, \
             (SELECT session_id FROM users WHERE id = messages.user_id)) WHERE id = $1",
        )
        .bind(edit.message_id)
        .bind(&edit.signature[..])
        .bind(edit.data_size)
        .bind(edit.posted_as.as_deref())
        .execute(&mut *tx.conn)
        .await?;
        tx.changes.push(Change::Rewritten(edit.room_id));
    } else {
        keep_history(&mut tx, edit.message_id, edit.now).await?;
        let Some(next) = take_seqnos(&mut tx, edit.room_id, 1).await? else {
            return Ok(Changed::NoMessage);
        };
        now_at = next;
        sqlx::query(
            "UPDATE messages SET data = $2, data_size = $3, signature = $4, edited = $5, seqno = $6, seqno_data = $6, \
             posted_as = NULLIF($7, (SELECT session_id FROM users WHERE id = messages.user_id)) WHERE id = $1",
        )
        .bind(edit.message_id)
        .bind(&edit.data[..])
        .bind(edit.data_size)
        .bind(&edit.signature[..])
        .bind(edit.now)
        .bind(next)
        .bind(edit.posted_as.as_deref())
        .execute(&mut *tx.conn)
        .await?;
    }
    if edit.filtered {
        sqlx::query("UPDATE messages SET filtered = TRUE WHERE id = $1")
            .bind(edit.message_id)
            .execute(&mut *tx.conn)
            .await?;
        tx.changes.push(Change::Rewritten(edit.room_id));
    }
    attach(
        &mut tx,
        edit.room_id,
        edit.message_id,
        edit.user_id,
        &edit.files,
        edit.files_expire,
        edit.now,
    )
    .await?;
    Ok(Changed::Done(now_at))
}

async fn delete(
    mut tx: Tx<'_>,
    (room_id, message_id, only, now): (Id, Id, Option<Id>, f64),
) -> StoreResult<Changed> {
    let author: Option<Id> = sqlx::query_scalar(
        "SELECT user_id FROM messages WHERE id = $1 AND room_id = $2 AND data IS NOT NULL",
    )
    .bind(message_id)
    .bind(room_id)
    .fetch_optional(&mut *tx.conn)
    .await?;
    let Some(author) = author else {
        return Ok(Changed::NoMessage);
    };
    if only.is_some_and(|only| only != author) {
        return Ok(Changed::NotYours);
    }
    keep_history(&mut tx, message_id, now).await?;
    let Some(seqno) = take_seqnos(&mut tx, room_id, 1).await? else {
        return Ok(Changed::NoMessage);
    };
    sqlx::query(
        "UPDATE messages SET data = NULL, data_size = NULL, signature = NULL, edited = $2, seqno = $3, seqno_data = $3 \
         WHERE id = $1",
    )
    .bind(message_id)
    .bind(now)
    .bind(seqno)
    .execute(&mut *tx.conn)
    .await?;
    let last = aftermath(&mut tx, room_id, message_id).await?;
    Ok(Changed::Done(last.unwrap_or(seqno)))
}

/// Removes the pin and reactions of a deleted message and expires its files.
///
/// Returns the new sequence number if there were reactions.
pub(super) async fn aftermath(tx: &mut Tx<'_>, room_id: Id, message_id: Id) -> StoreResult<Option<i64>> {
    let pins = sqlx::query("DELETE FROM pinned_messages WHERE message_id = $1")
        .bind(message_id)
        .execute(&mut *tx.conn)
        .await?;
    if pins.rows_affected() > 0 {
        bump_info(tx, room_id, 1).await?;
    }
    // A picture of a room stays, also one that was posted.
    sqlx::query(
        "UPDATE files SET expiry = 0.0 WHERE message_id = $1 \
         AND id NOT IN (SELECT image_id FROM rooms WHERE image_id IS NOT NULL)",
    )
    .bind(message_id)
    .execute(&mut *tx.conn)
    .await?;
    let dropped = drop_reactions(tx, room_id, message_id, None, None).await?;
    Ok((dropped.0 > 0).then_some(dropped.1))
}

async fn delete_all(tx: &mut Tx<'_>, room_id: Id, user_id: Id, now: f64) -> StoreResult<i64> {
    let ids: Vec<Id> = sqlx::query_scalar(
        "SELECT id FROM messages WHERE user_id = $1 AND room_id = $2 AND data IS NOT NULL ORDER BY id",
    )
    .bind(user_id)
    .bind(room_id)
    .fetch_all(&mut *tx.conn)
    .await?;
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    sqlx::query(
        "UPDATE files SET expiry = 0.0 WHERE room_id = $1 AND uploader_id = $2 \
         AND id NOT IN (SELECT image_id FROM rooms WHERE image_id IS NOT NULL)",
    )
    .bind(room_id)
    .bind(user_id)
    .execute(&mut *tx.conn)
    .await?;
    if count == 0 {
        return Ok(0);
    }
    sqlx::query(
        "INSERT INTO message_history (message_id, replaced, data, data_size, signature) \
         SELECT id, $3, data, data_size, signature FROM messages WHERE user_id = $1 AND room_id = $2 AND data IS NOT NULL",
    )
    .bind(user_id)
    .bind(room_id)
    .bind(now)
    .execute(&mut *tx.conn)
    .await?;
    let Some(last) = take_seqnos(tx, room_id, count).await? else {
        return Ok(0);
    };
    // One number each, in the order of posting.
    sqlx::query(
        "UPDATE messages SET data = NULL, data_size = NULL, signature = NULL, edited = $3, \
         seqno = $4 + list.place, seqno_data = $4 + list.place \
         FROM (SELECT id AS message_id, ROW_NUMBER() OVER (ORDER BY id) AS place FROM messages \
               WHERE user_id = $1 AND room_id = $2 AND data IS NOT NULL) AS list \
         WHERE messages.id = list.message_id",
    )
    .bind(user_id)
    .bind(room_id)
    .bind(now)
    .bind(last - count)
    .execute(&mut *tx.conn)
    .await?;
    for touched in with_company(tx, &ids).await? {
        aftermath(tx, room_id, touched).await?;
    }
    Ok(count)
}

/// Returns those of these messages that have reactions, a pin or files.
pub(super) async fn with_company(tx: &mut Tx<'_>, ids: &[Id]) -> StoreResult<Vec<Id>> {
    let mut found = Vec::new();
    for (list, marks) in id_lists(ids, 1) {
        let text = format!(
            "SELECT message_id FROM reactions WHERE message_id IN ({marks}) \
             UNION SELECT message_id FROM pinned_messages WHERE message_id IN ({marks}) \
             UNION SELECT message_id FROM files WHERE message_id IN ({marks}) ORDER BY 1"
        );
        let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(text));
        for id in list {
            query = query.bind(id);
        }
        let part: Vec<Id> = query.fetch_all(&mut *tx.conn).await?;
        found.extend(part);
    }
    Ok(found)
}

/// Rows of one round of pruning: bounds how long others wait.
const PRUNE_ROWS: u64 = 500;

async fn prune(tx: Tx<'_>, (room_id, before): (Id, f64)) -> StoreResult<u64> {
    // Ids follow the order of posting: the oldest are looked at, not the whole room.
    let oldest: Vec<(Id, f64)> = sqlx::query_as(
        "SELECT id, posted FROM messages WHERE room_id = $1 \
         AND id NOT IN (SELECT message_id FROM pinned_messages WHERE room_id = $1) ORDER BY id LIMIT 500",
    )
    .bind(room_id)
    .fetch_all(&mut *tx.conn)
    .await?;
    let ids: Vec<Id> = oldest
        .into_iter()
        .filter(|(_, posted)| *posted < before)
        .map(|(id, _)| id)
        .collect();
    for (list, marks) in id_lists(&ids, 1) {
        for text in [
            format!(
                "UPDATE files SET expiry = 0.0 WHERE message_id IN ({marks}) \
                 AND id NOT IN (SELECT image_id FROM rooms WHERE image_id IS NOT NULL)"
            ),
            format!("UPDATE files SET message_id = NULL WHERE message_id IN ({marks})"),
            format!(
                "DELETE FROM user_reactions WHERE reaction_id IN (SELECT id FROM reactions WHERE message_id IN ({marks}))"
            ),
            format!("DELETE FROM reactions WHERE message_id IN ({marks})"),
            format!("DELETE FROM message_history WHERE message_id IN ({marks})"),
            format!("DELETE FROM messages WHERE id IN ({marks})"),
        ] {
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
            for id in &list {
                query = query.bind(*id);
            }
            query.execute(&mut *tx.conn).await?;
        }
    }
    if !ids.is_empty() {
        tx.changes.push(Change::Rewritten(room_id));
    }
    Ok(ids.len() as u64)
}
