//! One person, one row: the keys of a person's ids, and joining rows that turn out to be the same person.

use super::merge::{merge_ban, merge_overrides};
use super::people::by_id;
use super::{Conn, Tx, bump_all_info, bump_info, chunks};
use crate::{Change, Id, KnownKey, Person, StoreResult, UserRow, key_fingerprint, suitability};

/// The row that a row number means now: another one after a join.
pub(super) async fn present(conn: &mut Conn, id: Id) -> StoreResult<Id> {
    let now: Option<Id> = sqlx::query_scalar("SELECT user_id FROM joined_users WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    Ok(now.unwrap_or(id))
}

/// Keys of one statement: a person has at most eight.
pub(super) const KEYS: usize = 8;

/// Returns those of these keys that are known.
pub(super) async fn known(conn: &mut Conn, keys: &[String]) -> StoreResult<Vec<KnownKey>> {
    let mut found = Vec::new();
    for chunk in keys.chunks(KEYS) {
        let mut query = sqlx::query_as(
            "SELECT a.key, a.user_id, EXISTS (SELECT 1 FROM account_ids o WHERE o.user_id = a.user_id AND o.key LIKE '15%') \
             AS has_account FROM account_ids a WHERE a.key IN ($1, $2, $3, $4, $5, $6, $7, $8)",
        );
        // A short list is filled up, so that one text serves all.
        for place in 0..KEYS {
            query = query.bind(chunk.get(place).unwrap_or(&chunk[0]));
        }
        let rows: Vec<KnownKey> = query.fetch_all(&mut *conn).await?;
        found.extend(rows);
    }
    Ok(found)
}

/// The row of a person, after all rows that are this person were joined into it. `also` is a row that is this person for
/// another reason than its keys.
pub(super) async fn joined(
    tx: &mut Tx<'_>,
    person: &Person,
    also: Option<Id>,
) -> StoreResult<Option<UserRow>> {
    let mut ids: Vec<Id> = also.into_iter().collect();
    let (own, forged): (Vec<KnownKey>, Vec<KnownKey>) = known(tx.conn, &person.all_keys())
        .await?
        .into_iter()
        .partition(|key| person.keys.contains(&key.key));
    ids.extend(own.iter().map(|key| key.user_id));
    let known_forged: Vec<String> = forged.iter().map(|key| key.key.clone()).collect();
    // A visit under an id that no app makes is refused when its account is known; rows from before that are joined.
    ids.extend(
        forged
            .into_iter()
            .filter(|key| also.is_some() || !key.has_account)
            .map(|key| key.user_id),
    );
    ids.sort_unstable();
    ids.dedup();
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        rows.extend(by_id(tx.conn, id).await?);
    }
    rows.sort_by_key(|row| {
        (
            !row.visited,
            std::cmp::Reverse(suitability(&row.session_id, person.blind)),
            row.id,
        )
    });
    let mut rows = rows.into_iter();
    let Some(mut first) = rows.next() else {
        return Ok(None);
    };
    let is_alone = rows.len() == 0;
    for other in rows {
        join(tx, first.id, &other).await?;
    }
    if !is_alone {
        first = by_id(tx.conn, first.id).await?.ok_or(sqlx::Error::RowNotFound)?;
    }
    if person.key.starts_with("15") {
        // From now on such an id is refused.
        for key in known_forged {
            sqlx::query("DELETE FROM account_ids WHERE key = $1 AND user_id = $2")
                .bind(key)
                .bind(first.id)
                .execute(&mut *tx.conn)
                .await?;
        }
    }
    Ok(Some(first))
}

/// Notes the keys of a person.
pub(super) async fn claim(tx: &mut Tx<'_>, person: &Person, user_id: Id) -> StoreResult<()> {
    for keys in chunks(&person.keys, 2) {
        let done = match keys {
            [one, other] => sqlx::query(
                "INSERT INTO account_ids (key, user_id) VALUES ($1, $3), ($2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(one)
            .bind(other),
            keys => {
                sqlx::query("INSERT INTO account_ids (key, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                    .bind(&keys[0])
            }
        }
        .bind(user_id)
        .execute(&mut *tx.conn)
        .await?;
        if done.rows_affected() > 0 {
            tx.changes
                .extend(keys.iter().map(|key| Change::Claimed(key_fingerprint(key))));
        }
    }
    Ok(())
}

/// Moves what refers to a row to another one; `$1` is the row that goes, `$2` the one that stays, `$3` the id that the
/// one that goes was shown under. Each text names all three, because a statement must use what is bound.
const MOVES: [&str; 20] = [
    "UPDATE messages SET user_id = $2, posted_as = COALESCE(posted_as, $3) WHERE user_id = $1",
    "UPDATE messages SET whisper_to = $2 WHERE whisper_to = $1 AND $3 <> ''",
    "DELETE FROM user_reactions WHERE user_id = $1 AND $3 <> '' AND reaction_id IN \
     (SELECT reaction_id FROM user_reactions WHERE user_id = $2)",
    "UPDATE user_reactions SET user_id = $2 WHERE user_id = $1 AND $3 <> ''",
    "UPDATE pinned_messages SET pinned_by = $2 WHERE pinned_by = $1 AND $3 <> ''",
    "UPDATE files SET uploader_id = $2 WHERE uploader_id = $1 AND $3 <> ''",
    "UPDATE room_users SET last_active = (SELECT MAX(o.last_active) FROM room_users o WHERE o.room_id = room_users.room_id \
     AND o.user_id IN ($1, $2)) WHERE user_id = $2 AND $3 <> ''",
    "DELETE FROM room_users WHERE user_id = $1 AND $3 <> '' AND room_id IN (SELECT room_id FROM room_users WHERE user_id = $2)",
    "UPDATE room_users SET user_id = $2 WHERE user_id = $1 AND $3 <> ''",
    "UPDATE permission_futures SET user_id = $2 WHERE user_id = $1 AND $3 <> ''",
    "UPDATE inbox SET recipient_id = $2, recipient_as = COALESCE(recipient_as, $3) WHERE recipient_id = $1",
    "UPDATE inbox SET sender_id = $2, sender_as = COALESCE(sender_as, $3) WHERE sender_id = $1",
    "DELETE FROM reports WHERE user_id = $1 AND $3 <> '' AND case_id IN (SELECT case_id FROM reports WHERE user_id = $2)",
    "UPDATE reports SET user_id = $2 WHERE user_id = $1 AND $3 <> ''",
    "UPDATE account_ids SET user_id = $2 WHERE user_id = $1 AND $3 <> ''",
    "UPDATE joined_users SET user_id = $2 WHERE user_id = $1 AND $3 <> ''",
    "UPDATE users SET created = (SELECT MIN(o.created) FROM users o WHERE o.id IN ($1, $2) AND (o.id = $2 OR o.visited)) WHERE id = $2 AND $3 <> ''",
    "UPDATE users SET last_active = (SELECT MAX(o.last_active) FROM users o WHERE o.id IN ($1, $2)) WHERE id = $2 AND $3 <> ''",
    "DELETE FROM users WHERE id = $1 AND $2 <> 0 AND $3 <> ''",
    "INSERT INTO joined_users (id, user_id, session_id) VALUES ($1, $2, $3)",
];

/// Makes one row of two. The stricter ban stays, and the rights of both; whoever is banned has no rank.
async fn join(tx: &mut Tx<'_>, stays: Id, goes: &UserRow) -> StoreResult<()> {
    let rooms: Vec<Id> = sqlx::query_scalar(
        "SELECT room_id FROM messages WHERE user_id = $1 UNION SELECT r.room_id FROM user_reactions u \
         JOIN reactions r ON r.id = u.reaction_id WHERE u.user_id = $1",
    )
    .bind(goes.id)
    .fetch_all(&mut *tx.conn)
    .await?;
    let ranks = moderated(tx, goes.id).await?;
    let before = moderated(tx, stays).await?;
    let global = merge_ban(tx, stays, goes).await?;
    merge_overrides(tx, stays, goes.id).await?;
    for text in MOVES {
        sqlx::query(text)
            .bind(goes.id)
            .bind(stays)
            .bind(&goes.session_id)
            .execute(&mut *tx.conn)
            .await?;
    }
    tx.changes.extend([
        Change::User(goes.id),
        Change::User(stays),
        Change::DirectMessage(goes.id),
        Change::DirectMessage(stays),
    ]);
    tx.changes.extend(rooms.into_iter().map(Change::Rewritten));
    if global {
        return bump_all_info(tx, 1).await;
    }
    let after = moderated(tx, stays).await?;
    let lost = before.into_iter().filter(|room| !after.contains(room));
    let mut rooms: Vec<Id> = ranks.into_iter().chain(lost).collect();
    rooms.sort_unstable();
    rooms.dedup();
    for room_id in rooms {
        bump_info(tx, room_id, 1).await?;
    }
    Ok(())
}

/// Rooms that somebody moderates.
async fn moderated(tx: &mut Tx<'_>, user_id: Id) -> StoreResult<Vec<Id>> {
    Ok(
        sqlx::query_scalar("SELECT room_id FROM permission_overrides WHERE user_id = $1 AND moderator")
            .bind(user_id)
            .fetch_all(&mut *tx.conn)
            .await?,
    )
}

/// Shows a person under another id from now on. What was written before keeps the id that signed it.
pub(super) async fn show_as(tx: &mut Tx<'_>, row: &UserRow, session_id: &str, now: f64) -> StoreResult<()> {
    if row.session_id != session_id {
        for text in [
            "UPDATE messages SET posted_as = $2 WHERE user_id = $1 AND posted_as IS NULL",
            "UPDATE inbox SET recipient_as = $2 WHERE recipient_id = $1 AND recipient_as IS NULL",
            "UPDATE inbox SET sender_as = $2 WHERE sender_id = $1 AND sender_as IS NULL",
        ] {
            sqlx::query(text)
                .bind(row.id)
                .bind(&row.session_id)
                .execute(&mut *tx.conn)
                .await?;
        }
    }
    sqlx::query(
        "UPDATE users SET session_id = $2, created = CASE WHEN visited THEN created ELSE $3 END, visited = TRUE WHERE id = $1",
    )
    .bind(row.id)
    .bind(session_id)
    .bind(now)
    .execute(&mut *tx.conn)
    .await?;
    tx.changes.push(Change::User(row.id));
    if row.session_id == session_id {
        return Ok(());
    }
    if row.moderator {
        bump_all_info(tx, 1).await?;
    } else {
        for room_id in moderated(tx, row.id).await? {
            bump_info(tx, room_id, 1).await?;
        }
    }
    let reacted: Vec<Id> = sqlx::query_scalar(
        "SELECT DISTINCT r.room_id FROM user_reactions u JOIN reactions r ON r.id = u.reaction_id WHERE u.user_id = $1",
    )
    .bind(row.id)
    .fetch_all(&mut *tx.conn)
    .await?;
    tx.changes.extend(reacted.into_iter().map(Change::Rewritten));
    Ok(())
}
