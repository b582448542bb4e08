//! Queries for reactions.

use super::accounts::present;
use super::{SqlStore, Tx, id_lists, take_seqnos};
use crate::{Id, MAX_REACTORS, Reacted, ReactionRow, Reactions, StoreResult};

#[derive(sqlx::FromRow)]
struct Place {
    message_id: Id,
    reaction_id: Id,
    reaction: String,
    user_id: Id,
    session_id: String,
    total: i64,
}

impl SqlStore {
    pub(crate) async fn reactions(
        &self,
        room_id: Id,
        messages: Vec<Id>,
        first: i64,
    ) -> StoreResult<Reactions> {
        let mut rows: Vec<ReactionRow> = Vec::new();
        let mut everybody: Vec<Id> = Vec::new();
        let mut too_many = false;
        let mut conn = self.readers.acquire().await?;
        for (list, marks) in id_lists(&messages, 3) {
            let text = format!(
                "SELECT r.message_id, p.reaction_id, r.reaction, p.user_id, u.session_id, p.total FROM reactions r \
                 JOIN (SELECT reaction_id, user_id, \
                       ROW_NUMBER() OVER (PARTITION BY reaction_id ORDER BY at, user_id) AS place, \
                       COUNT(*) OVER (PARTITION BY reaction_id) AS total FROM user_reactions \
                       WHERE reaction_id IN (SELECT id FROM reactions WHERE room_id = $1 AND message_id IN ({marks}))) p \
                 ON p.reaction_id = r.id JOIN users u ON u.id = p.user_id \
                 WHERE p.place <= $2 ORDER BY r.message_id, r.id, p.place"
            );
            // At least one, so that a reaction shows even when nobody is to be named.
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text))
                .bind(room_id)
                .bind(first.max(1));
            for id in &list {
                query = query.bind(*id);
            }
            let places: Vec<Place> = query.fetch_all(&mut *conn).await?;
            for place in places {
                if rows.last().is_none_or(|row| row.reaction_id != place.reaction_id) {
                    rows.push(ReactionRow {
                        message_id: place.message_id,
                        reaction_id: place.reaction_id,
                        reaction: place.reaction,
                        count: place.total,
                        first: Vec::new(),
                    });
                }
                if let Some(row) = rows.last_mut() {
                    row.first.push((place.user_id, place.session_id));
                }
            }
            let text = format!(
                "SELECT DISTINCT p.user_id FROM user_reactions p JOIN reactions r ON r.id = p.reaction_id \
                 WHERE r.room_id = $1 AND r.message_id IN ({marks}) LIMIT $2"
            );
            let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
                .bind(room_id)
                .bind(i64::try_from(MAX_REACTORS + 1).unwrap_or(i64::MAX));
            for id in &list {
                query = query.bind(*id);
            }
            let part: Vec<Id> = query.fetch_all(&mut *conn).await?;
            everybody.extend(part);
            too_many |= everybody.len() > MAX_REACTORS;
        }
        Ok(Reactions {
            rows,
            reactors: (!too_many).then_some(everybody),
        })
    }

    pub(crate) async fn own_reactions(
        &self,
        room_id: Id,
        messages: Vec<Id>,
        user_id: Id,
    ) -> StoreResult<Vec<Id>> {
        let mut own = Vec::new();
        for (list, marks) in id_lists(&messages, 3) {
            let text = format!(
                "SELECT r.id FROM reactions r JOIN user_reactions p ON p.reaction_id = r.id AND p.user_id = $2 \
                 WHERE r.room_id = $1 AND r.message_id IN ({marks})"
            );
            let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
                .bind(room_id)
                .bind(user_id);
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<Id> = query.fetch_all(&self.readers).await?;
            own.extend(part);
        }
        Ok(own)
    }

    pub(crate) async fn add_reaction(
        &self,
        room_id: Id,
        message_id: Id,
        user_id: Id,
        reaction: String,
        kinds: Option<u32>,
        now: f64,
    ) -> StoreResult<Reacted> {
        self.write(
            (room_id, message_id, user_id, reaction, kinds, now),
            |tx, (room_id, message_id, user_id, reaction, kinds, now)| {
                let limit = kinds.map(i64::from);
                Box::pin(add(tx, *room_id, *message_id, *user_id, reaction, limit, *now))
            },
        )
        .await
    }

    pub(crate) async fn remove_reactions(
        &self,
        room_id: Id,
        message_id: Id,
        user_id: Option<Id>,
        reaction: Option<String>,
    ) -> StoreResult<Reacted> {
        self.write(
            (room_id, message_id, user_id, reaction),
            |mut tx, (room_id, message_id, user_id, reaction)| {
                Box::pin(async move {
                    let Some(seqno) = regular(&mut tx, *room_id, *message_id).await? else {
                        return Ok(Reacted::NoMessage);
                    };
                    let user_id = match user_id {
                        Some(user_id) => Some(present(tx.conn, *user_id).await?),
                        None => None,
                    };
                    let (changed, now) =
                        drop_reactions(&mut tx, *room_id, *message_id, user_id, reaction.as_deref()).await?;
                    Ok(Reacted::Done {
                        changed,
                        seqno: if changed > 0 { now } else { seqno },
                    })
                })
            },
        )
        .await
    }

    pub(crate) async fn reactors(
        &self,
        room_id: Id,
        message_id: Id,
        reaction: String,
        limit: i64,
    ) -> StoreResult<Option<Vec<(String, f64)>>> {
        let mut conn = self.readers.acquire().await?;
        let found: Option<i64> = sqlx::query_scalar(REGULAR)
            .bind(message_id)
            .bind(room_id)
            .fetch_optional(&mut *conn)
            .await?;
        if found.is_none() {
            return Ok(None);
        }
        let rows: Vec<(String, f64)> = sqlx::query_as(
            "SELECT u.session_id, p.at FROM reactions r JOIN user_reactions p ON p.reaction_id = r.id \
             JOIN users u ON u.id = p.user_id WHERE r.message_id = $1 AND r.reaction = $2 ORDER BY p.at, p.user_id LIMIT $3",
        )
        .bind(message_id)
        .bind(reaction)
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
        Ok(Some(rows))
    }
}

/// The sequence number of a message that takes reactions: there, not a whisper, not filtered.
const REGULAR: &str = "SELECT seqno FROM messages WHERE id = $1 AND room_id = $2 AND data IS NOT NULL AND NOT filtered \
                       AND whisper_to IS NULL AND NOT whisper_mods";

pub(super) async fn regular(tx: &mut Tx<'_>, room_id: Id, message_id: Id) -> StoreResult<Option<i64>> {
    Ok(sqlx::query_scalar(REGULAR)
        .bind(message_id)
        .bind(room_id)
        .fetch_optional(&mut *tx.conn)
        .await?)
}

pub(super) async fn add(
    mut tx: Tx<'_>,
    room_id: Id,
    message_id: Id,
    user_id: Id,
    reaction: &str,
    kinds: Option<i64>,
    now: f64,
) -> StoreResult<Reacted> {
    let Some(seqno) = regular(&mut tx, room_id, message_id).await? else {
        return Ok(Reacted::NoMessage);
    };
    if let Some(limit) = kinds {
        let others: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM reactions WHERE message_id = $1 AND reaction <> $2")
                .bind(message_id)
                .bind(reaction)
                .fetch_one(&mut *tx.conn)
                .await?;
        let known: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM reactions WHERE message_id = $1 AND reaction = $2")
                .bind(message_id)
                .bind(reaction)
                .fetch_one(&mut *tx.conn)
                .await?;
        if known == 0 && others >= limit {
            return Ok(Reacted::TooMany);
        }
    }
    let user_id = present(tx.conn, user_id).await?;
    sqlx::query(
        "INSERT INTO reactions (room_id, message_id, reaction) VALUES ($1, $2, $3) \
         ON CONFLICT (message_id, reaction) DO NOTHING",
    )
    .bind(room_id)
    .bind(message_id)
    .bind(reaction)
    .execute(&mut *tx.conn)
    .await?;
    let added = sqlx::query(
        "INSERT INTO user_reactions (reaction_id, user_id, at) \
         SELECT id, $3, $4 FROM reactions WHERE message_id = $1 AND reaction = $2 ON CONFLICT DO NOTHING",
    )
    .bind(message_id)
    .bind(reaction)
    .bind(user_id)
    .bind(now)
    .execute(&mut *tx.conn)
    .await?;
    if added.rows_affected() == 0 {
        return Ok(Reacted::Done { changed: 0, seqno });
    }
    let seqno = stamp(&mut tx, room_id, message_id, 1).await?;
    Ok(Reacted::Done { changed: 1, seqno })
}

/// Gives a message as many new sequence numbers as reactions changed; returns the last.
pub(super) async fn stamp(tx: &mut Tx<'_>, room_id: Id, message_id: Id, count: i64) -> StoreResult<i64> {
    let seqno = take_seqnos(tx, room_id, count).await?.unwrap_or(0);
    sqlx::query("UPDATE messages SET seqno = $2, seqno_reactions = $2 WHERE id = $1")
        .bind(message_id)
        .bind(seqno)
        .execute(&mut *tx.conn)
        .await?;
    Ok(seqno)
}

/// Removes reactions of a message; how many, and the message's sequence number if any went.
pub(super) async fn drop_reactions(
    tx: &mut Tx<'_>,
    room_id: Id,
    message_id: Id,
    user_id: Option<Id>,
    reaction: Option<&str>,
) -> StoreResult<(i64, i64)> {
    let kinds: Vec<(Id, String)> = sqlx::query_as("SELECT id, reaction FROM reactions WHERE message_id = $1")
        .bind(message_id)
        .fetch_all(&mut *tx.conn)
        .await?;
    let mut removed = 0;
    for (reaction_id, kind) in kinds {
        if reaction.is_some_and(|only| only != kind) {
            continue;
        }
        let gone = match user_id {
            Some(user_id) => {
                sqlx::query("DELETE FROM user_reactions WHERE reaction_id = $1 AND user_id = $2")
                    .bind(reaction_id)
                    .bind(user_id)
                    .execute(&mut *tx.conn)
                    .await?
            }
            None => {
                sqlx::query("DELETE FROM user_reactions WHERE reaction_id = $1")
                    .bind(reaction_id)
                    .execute(&mut *tx.conn)
                    .await?
            }
        };
        removed += i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX);
        sqlx::query(
            "DELETE FROM reactions WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM user_reactions WHERE reaction_id = $1)",
        )
        .bind(reaction_id)
        .execute(&mut *tx.conn)
        .await?;
    }
    if removed == 0 {
        return Ok((0, 0));
    }
    Ok((removed, stamp(tx, room_id, message_id, removed).await?))
}
