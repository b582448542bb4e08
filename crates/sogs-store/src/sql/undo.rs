//! Queries for undoing: hiding and showing posts, restoring deleted ones; and the stored public key.

use super::accounts::present;
use super::cases::reopen;
use super::operation::hold;
use super::{SqlStore, Tx, id_lists, take_seqnos};
use crate::cases::CaseKind;
use crate::{Change, Changed, FileRow, Id, StoreResult};

/// A row of the history: when it was replaced, content, size, signature.
type Former = (f64, Vec<u8>, Option<i64>, Option<Vec<u8>>);

impl SqlStore {
    pub(crate) async fn hide_shown(&self, message_id: Id, reason: String, at: f64) -> StoreResult<Changed> {
        self.write((message_id, reason, at), |tx, (id, reason, at)| {
            Box::pin(hide(tx, *id, reason, *at))
        })
        .await
    }

    pub(crate) async fn reactions_to(
        &self,
        messages: Vec<Id>,
    ) -> StoreResult<Vec<(Id, Id, Id, String, f64)>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&messages, 1) {
            let text = format!(
                "SELECT r.room_id, r.message_id, u.user_id, r.reaction, u.at FROM user_reactions u \
                 JOIN reactions r ON r.id = u.reaction_id WHERE r.message_id IN ({marks}) ORDER BY r.id, u.at"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<(Id, Id, Id, String, f64)> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn pins_of(&self, messages: Vec<Id>) -> StoreResult<Vec<(Id, Id, Id, f64)>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&messages, 1) {
            let text = format!(
                "SELECT room_id, message_id, pinned_by, pinned_at FROM pinned_messages \
                 WHERE message_id IN ({marks}) ORDER BY pinned_at, message_id"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<(Id, Id, Id, f64)> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn community_key(&self) -> StoreResult<Option<String>> {
        Ok(
            sqlx::query_scalar("SELECT value FROM community WHERE name = 'public_key'")
                .fetch_optional(&self.readers)
                .await?,
        )
    }

    pub(crate) async fn is_inhabited(&self) -> StoreResult<bool> {
        Ok(
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM rooms) OR EXISTS (SELECT 1 FROM users)")
                .fetch_one(&self.readers)
                .await?,
        )
    }

    pub(crate) async fn claim_key(&self, public_key: String) -> StoreResult<String> {
        self.write(public_key, |tx, key| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO community (name, value) VALUES ('public_key', $1) ON CONFLICT DO NOTHING",
                )
                .bind(key)
                .execute(&mut *tx.conn)
                .await?;
                Ok(
                    sqlx::query_scalar("SELECT value FROM community WHERE name = 'public_key'")
                        .fetch_one(&mut *tx.conn)
                        .await?,
                )
            })
        })
        .await
    }

    pub(crate) async fn set_community_key(&self, public_key: String) -> StoreResult<()> {
        self.write(public_key, |tx, key| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO community (name, value) VALUES ('public_key', $1) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )
                .bind(key)
                .execute(&mut *tx.conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn put_file(&self, row: FileRow) -> StoreResult<bool> {
        self.write(row, |tx, row| Box::pin(put_file(tx, row))).await
    }
}

/// Takes the sequence number for a change of a message; `which` is the query for the message's room.
///
/// Returns the room and the number, or `None` if the query does not find the message: then no number is taken.
async fn next_seqno(tx: &mut Tx<'_>, which: &'static str, message_id: Id) -> StoreResult<Option<(Id, i64)>> {
    let room: Option<Id> = sqlx::query_scalar(which)
        .bind(message_id)
        .fetch_optional(&mut *tx.conn)
        .await?;
    let Some(room_id) = room else { return Ok(None) };
    let seqno = take_seqnos(tx, room_id, 1).await?;
    Ok(seqno.map(|seqno| (room_id, seqno)))
}

/// A hidden post becomes a new one: it gets the next sequence number, so that every client fetches it.
pub(super) async fn show(mut tx: Tx<'_>, message_id: Id) -> StoreResult<Changed> {
    let hidden = "SELECT room_id FROM messages WHERE id = $1 AND filtered AND data IS NOT NULL";
    let Some((room_id, seqno)) = next_seqno(&mut tx, hidden, message_id).await? else {
        return Ok(Changed::NoMessage);
    };
    sqlx::query("UPDATE messages SET filtered = FALSE, seqno = $2, seqno_data = $2, seqno_creation = $2 WHERE id = $1")
        .bind(message_id)
        .bind(seqno)
        .execute(&mut *tx.conn)
        .await?;
    sqlx::query("DELETE FROM held_messages WHERE message_id = $1")
        .bind(message_id)
        .execute(&mut *tx.conn)
        .await?;
    tx.changes.push(Change::Rewritten(room_id));
    Ok(Changed::Done(seqno))
}

/// Reverts [`show`]: nobody can fetch the post any more, and it waits for approval again.
async fn hide(mut tx: Tx<'_>, message_id: Id, reason: &str, at: f64) -> StoreResult<Changed> {
    let shown = "SELECT room_id FROM messages WHERE id = $1 AND NOT filtered AND data IS NOT NULL";
    let Some((room_id, seqno)) = next_seqno(&mut tx, shown, message_id).await? else {
        return Ok(Changed::NoMessage);
    };
    sqlx::query("UPDATE messages SET filtered = TRUE, seqno = $2, seqno_data = $2 WHERE id = $1")
        .bind(message_id)
        .bind(seqno)
        .execute(&mut *tx.conn)
        .await?;
    hold(&mut tx, message_id, room_id, reason, at).await?;
    tx.changes.push(Change::Rewritten(room_id));
    Ok(Changed::Done(seqno))
}

/// Restores a deleted message with its last content, as an edit that every client fetches.
pub(super) async fn restore(tx: &mut Tx<'_>, message_id: Id) -> StoreResult<u64> {
    let room: Option<Id> = sqlx::query_scalar("SELECT room_id FROM messages WHERE id = $1 AND data IS NULL")
        .bind(message_id)
        .fetch_optional(&mut *tx.conn)
        .await?;
    let Some(room_id) = room else { return Ok(0) };
    let kept: Option<Former> = sqlx::query_as(
        "SELECT replaced, data, data_size, signature FROM message_history WHERE message_id = $1 ORDER BY replaced DESC LIMIT 1",
    )
    .bind(message_id)
    .fetch_optional(&mut *tx.conn)
    .await?;
    let Some((replaced, data, size, signature)) = kept else {
        return Ok(0);
    };
    let Some(seqno) = take_seqnos(tx, room_id, 1).await? else {
        return Ok(0);
    };
    let size = size.unwrap_or_else(|| i64::try_from(data.len()).unwrap_or(i64::MAX));
    sqlx::query("DELETE FROM message_history WHERE message_id = $1 AND replaced = $2")
        .bind(message_id)
        .bind(replaced)
        .execute(&mut *tx.conn)
        .await?;
    // Edits replaced the versions left in the history; the last edit made this content.
    sqlx::query(
        "UPDATE messages SET data = $2, data_size = $3, signature = $4, \
         edited = (SELECT MAX(replaced) FROM message_history WHERE message_id = $1), \
         seqno_data = $5, seqno_creation = $5, seqno = $5 WHERE id = $1",
    )
    .bind(message_id)
    .bind(data)
    .bind(size)
    .bind(signature)
    .bind(seqno)
    .execute(&mut *tx.conn)
    .await?;
    reopen(tx, CaseKind::Report, message_id).await?;
    tx.changes.push(Change::Rewritten(room_id));
    Ok(1)
}

pub(super) async fn put_file(tx: Tx<'_>, row: &FileRow) -> StoreResult<bool> {
    let known: Option<Id> = sqlx::query_scalar("SELECT id FROM files WHERE id = $1")
        .bind(row.id)
        .fetch_optional(&mut *tx.conn)
        .await?;
    if known.is_some() {
        let done = sqlx::query(
            // The same bytes may come back under another name.
            "UPDATE files SET expiry = $2, content = $3 WHERE id = $1 AND substr(content, 1, 64) = substr($3, 1, 64)",
        )
            .bind(row.id)
            .bind(row.expiry)
            .bind(&row.content)
            .execute(&mut *tx.conn)
            .await?;
        return Ok(done.rows_affected() > 0);
    }
    let uploader = match row.uploader_id {
        Some(uploader) => Some(present(tx.conn, uploader).await?),
        None => None,
    };
    // The key is below the counter of the table, so it cannot meet a new one. A message that retention removed meanwhile
    // leaves the file on its own; without its room nobody could fetch it.
    let new = sqlx::query(
        "INSERT INTO files (id, room_id, uploader_id, message_id, size, uploaded, expiry, filename, content, imported) \
         SELECT $1, r.id, (SELECT id FROM users WHERE id = $3), (SELECT id FROM messages WHERE id = $4), $5, $6, $7, $8, $9, $10 \
         FROM rooms r WHERE r.id = $2",
    )
    .bind(row.id)
    .bind(row.room_id)
    .bind(uploader)
    .bind(row.message_id)
    .bind(row.size)
    .bind(row.uploaded)
    .bind(row.expiry)
    .bind(row.filename.as_deref())
    .bind(&row.content)
    .bind(row.imported)
    .execute(&mut *tx.conn)
    .await?;
    Ok(new.rows_affected() > 0)
}
