//! Taking away and bringing back much at once: posts, reactions, files, direct messages and bans in one transaction.

use std::collections::BTreeMap;

use super::accounts::present;
use super::messages::{aftermath, with_company};
use super::moderation::{global_ban, global_unban, reschedule, room_ban, room_unban};
use super::operation::{add_log, file_columns, file_row, hold};
use super::reactions::{regular, stamp};
use super::rooms::pin;
use super::undo::{put_file, restore};
use super::{SqlStore, Tx, id_lists, lend, take_seqnos};
use crate::operation::{Brought, Erase, Erased, KeptBan, KeptLetter, KeptReaction, Newcomer, Returning};
use crate::{Change, FileRow, Id, Pinned, StoreResult};

impl SqlStore {
    pub(crate) async fn erase(&self, erase: Erase) -> StoreResult<Erased> {
        self.write(erase, |tx, erase| Box::pin(take_away(tx, erase)))
            .await
    }

    pub(crate) async fn bring_back(&self, all: Returning) -> StoreResult<Brought> {
        self.write(all, |tx, all| Box::pin(give_back(tx, all))).await
    }

    pub(crate) async fn newcomers(&self, since: f64, until: f64, limit: i64) -> StoreResult<Vec<Newcomer>> {
        let rows: Vec<(Id, String, f64, bool)> = sqlx::query_as(
            "SELECT id, session_id, created, banned FROM users WHERE created >= $1 AND created < $2 \
             AND NOT moderator AND NOT admin AND session_id NOT LIKE 'ff%' AND id NOT IN \
             (SELECT user_id FROM permission_overrides WHERE moderator OR admin OR (can_write IS NOT NULL AND can_write)) \
             ORDER BY id LIMIT $3",
        )
        .bind(since)
        .bind(until)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, session_id, created, banned)| Newcomer {
                id,
                session_id,
                created,
                banned,
            })
            .collect())
    }

    pub(crate) async fn posts_of(
        &self,
        users: Vec<Id>,
        since: f64,
        until: f64,
    ) -> StoreResult<Vec<(Id, Id, Id)>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&users, 3) {
            let text = format!(
                "SELECT room_id, id, user_id FROM messages WHERE user_id IN ({marks}) AND posted >= $1 AND posted < $2 \
                 AND data IS NOT NULL ORDER BY id"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(since).bind(until);
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<(Id, Id, Id)> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn reactions_by(
        &self,
        users: Vec<Id>,
        since: f64,
        until: f64,
    ) -> StoreResult<Vec<KeptReaction>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&users, 3) {
            let text = format!(
                "SELECT r.room_id, r.message_id, u.user_id, r.reaction, u.at FROM user_reactions u \
                 JOIN reactions r ON r.id = u.reaction_id WHERE u.user_id IN ({marks}) AND u.at >= $1 AND u.at < $2 \
                 ORDER BY r.id, u.at"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(since).bind(until);
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<KeptReaction> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn files_by(&self, users: Vec<Id>, since: f64, until: f64) -> StoreResult<Vec<FileRow>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&users, 3) {
            let text = format!(
                "{} WHERE uploader_id IN ({marks}) AND uploaded >= $1 AND uploaded < $2 \
                 AND (expiry IS NULL OR expiry > 0.0) \
                 AND id NOT IN (SELECT image_id FROM rooms WHERE image_id IS NOT NULL) ORDER BY id",
                file_columns!()
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(since).bind(until);
            for id in list {
                query = query.bind(id);
            }
            for row in query.fetch_all(&self.readers).await? {
                all.push(file_row(&row)?);
            }
        }
        Ok(all)
    }

    pub(crate) async fn letters_by(
        &self,
        users: Vec<Id>,
        since: f64,
        until: f64,
        limit: i64,
    ) -> StoreResult<Vec<KeptLetter>> {
        let mut all: Vec<KeptLetter> = Vec::new();
        for (list, marks) in id_lists(&users, 4) {
            let text = format!(
                "SELECT id, recipient_id, sender_id, recipient_as, sender_as, body, posted_at, expiry FROM inbox WHERE sender_id IN ({marks}) \
                 AND posted_at >= $1 AND posted_at < $2 ORDER BY id LIMIT $3"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text))
                .bind(since)
                .bind(until)
                .bind(limit);
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<KeptLetter> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn remove_future(&self, room_id: Id, user_id: Id, at: f64) -> StoreResult<bool> {
        self.write((room_id, user_id, at), |tx, (room_id, user_id, at)| {
            Box::pin(async move {
                let user_id = present(tx.conn, *user_id).await?;
                let gone = sqlx::query(
                    "DELETE FROM permission_futures WHERE room_id = $1 AND user_id = $2 AND at > $3 AND at < $4",
                )
                .bind(*room_id)
                .bind(user_id)
                .bind(at - 0.001)
                .bind(at + 0.001)
                .execute(&mut *tx.conn)
                .await?;
                Ok(gone.rows_affected() > 0)
            })
        })
        .await
    }
}

pub(super) async fn take_away(mut tx: Tx<'_>, erase: &Erase) -> StoreResult<Erased> {
    let mut erased = Erased::default();
    let mut rooms: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for (room_id, id) in &erase.messages {
        rooms.entry(*room_id).or_default().push(*id);
    }
    for (room_id, ids) in &rooms {
        for list in ids.chunks(256) {
            erased
                .messages
                .extend(delete_listed(&mut tx, *room_id, list, erase.now).await?);
        }
    }
    let mut given: BTreeMap<(Id, Id), Vec<(Id, &str)>> = BTreeMap::new();
    for (room_id, message_id, user_id, emoji, _) in &erase.reactions {
        given
            .entry((*room_id, *message_id))
            .or_default()
            .push((*user_id, emoji));
    }
    for ((room_id, message_id), list) in given {
        erased.reactions += drop_given(&mut tx, room_id, message_id, &list).await?;
    }
    for (list, marks) in id_lists(&erase.files, 1) {
        let text = format!("UPDATE files SET expiry = 0.0 WHERE id IN ({marks})");
        erased.files += run(&mut tx, text, list).await?;
    }
    for (id, recipient, sender) in &erase.letters {
        let gone = sqlx::query("DELETE FROM inbox WHERE id = $1")
            .bind(*id)
            .execute(&mut *tx.conn)
            .await?;
        if gone.rows_affected() > 0 {
            erased.letters += 1;
            tx.changes
                .extend([Change::DirectMessage(*recipient), Change::DirectMessage(*sender)]);
        }
    }
    for (user_id, room_id) in &erase.bans {
        let user_id = present(tx.conn, *user_id).await?;
        match room_id {
            Some(room_id) => room_ban(&mut tx, *room_id, user_id).await?,
            None => global_ban(&mut tx, user_id).await?,
        }
        reschedule(&mut tx, *room_id, user_id, erase.until).await?;
        erased.bans += 1;
    }
    if let Some(entry) = &erase.log {
        let mut entry = entry.clone();
        // A post that its author deleted at the same moment is not brought back later.
        if let Some(kept) = entry.undo.as_mut().and_then(|undo| undo.get_mut("messages")) {
            *kept = erased.messages.clone().into();
        }
        erased.log = Some(add_log(&mut tx, &entry).await?);
    }
    Ok(erased)
}

async fn run(tx: &mut Tx<'_>, text: String, list: Vec<Id>) -> StoreResult<u64> {
    let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
    for id in list {
        query = query.bind(id);
    }
    Ok(query.execute(&mut *tx.conn).await?.rows_affected())
}

/// Deletes messages of one room, at most 256 at once; those that stood until now.
async fn delete_listed(tx: &mut Tx<'_>, room_id: Id, ids: &[Id], now: f64) -> StoreResult<Vec<Id>> {
    let mut found: Vec<Id> = Vec::new();
    for (list, marks) in id_lists(ids, 2) {
        let text = format!(
            "SELECT id FROM messages WHERE room_id = $1 AND data IS NOT NULL AND id IN ({marks}) ORDER BY id"
        );
        let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).bind(room_id);
        for id in list {
            query = query.bind(id);
        }
        let part: Vec<Id> = query.fetch_all(&mut *tx.conn).await?;
        found.extend(part);
    }
    let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(found);
    }
    let Some(last) = take_seqnos(tx, room_id, count).await? else {
        return Ok(Vec::new());
    };
    for (list, marks) in id_lists(&found, 2) {
        let text = format!(
            "INSERT INTO message_history (message_id, replaced, data, data_size, signature) \
             SELECT id, $1, data, data_size, signature FROM messages WHERE id IN ({marks})"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(now);
        for id in list {
            query = query.bind(id);
        }
        query.execute(&mut *tx.conn).await?;
    }
    for (list, marks) in id_lists(&found, 3) {
        // One number each, in the order of posting.
        let text = format!(
            "UPDATE messages SET data = NULL, data_size = NULL, signature = NULL, edited = $1, \
             seqno = $2 + list.place, seqno_data = $2 + list.place \
             FROM (SELECT id AS message_id, ROW_NUMBER() OVER (ORDER BY id) AS place FROM messages \
                   WHERE id IN ({marks})) AS list WHERE messages.id = list.message_id"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(now)
            .bind(last - count);
        for id in list {
            query = query.bind(id);
        }
        query.execute(&mut *tx.conn).await?;
    }
    for touched in with_company(tx, &found).await? {
        aftermath(tx, room_id, touched).await?;
    }
    Ok(found)
}

/// Removes reactions of some people to one message; how many there were.
async fn drop_given(tx: &mut Tx<'_>, room_id: Id, message_id: Id, given: &[(Id, &str)]) -> StoreResult<u64> {
    let mut removed = 0;
    for (user_id, emoji) in given {
        let gone = sqlx::query(
            "DELETE FROM user_reactions WHERE user_id = $1 AND reaction_id IN \
             (SELECT id FROM reactions WHERE message_id = $2 AND reaction = $3)",
        )
        .bind(*user_id)
        .bind(message_id)
        .bind(*emoji)
        .execute(&mut *tx.conn)
        .await?;
        removed += gone.rows_affected();
    }
    if removed > 0 {
        sqlx::query(
            "DELETE FROM reactions WHERE message_id = $1 \
             AND NOT EXISTS (SELECT 1 FROM user_reactions u WHERE u.reaction_id = reactions.id)",
        )
        .bind(message_id)
        .execute(&mut *tx.conn)
        .await?;
        stamp(
            tx,
            room_id,
            message_id,
            i64::try_from(removed).unwrap_or(i64::MAX),
        )
        .await?;
    }
    Ok(removed)
}

async fn give_back(mut tx: Tx<'_>, all: &Returning) -> StoreResult<Brought> {
    let mut brought = Brought::default();
    for id in &all.messages {
        brought.messages += restore(&mut tx, *id).await?;
    }
    for file in &all.files {
        brought.files += u64::from(put_file(lend(&mut tx), file).await?);
    }
    let mut given: BTreeMap<(Id, Id), Vec<&KeptReaction>> = BTreeMap::new();
    for reaction in &all.reactions {
        given.entry((reaction.0, reaction.1)).or_default().push(reaction);
    }
    for ((room_id, message_id), list) in given {
        brought.reactions += give(&mut tx, room_id, message_id, &list).await?;
    }
    for pinned in &all.pins {
        if let Pinned::Done { .. } = pin(lend(&mut tx), *pinned).await? {
            brought.pins += 1;
        }
    }
    for (room_id, message_id, reason, at) in &all.held {
        brought.held += hold(&mut tx, *message_id, *room_id, reason, *at).await?;
    }
    for letter in &all.letters {
        brought.letters += put_letter(&mut tx, letter).await?;
    }
    for KeptBan { user_id, room_id } in &all.unbans {
        let user_id = present(tx.conn, *user_id).await?;
        match room_id {
            Some(room_id) => room_unban(&mut tx, *room_id, user_id).await?,
            None => global_unban(&mut tx, user_id).await?,
        }
        reschedule(&mut tx, *room_id, user_id, None).await?;
        brought.bans += 1;
    }
    Ok(brought)
}

async fn give(tx: &mut Tx<'_>, room_id: Id, message_id: Id, list: &[&KeptReaction]) -> StoreResult<u64> {
    if regular(tx, room_id, message_id).await?.is_none() {
        return Ok(0);
    }
    let mut added = 0;
    for (_, _, user_id, emoji, at) in list {
        let user_id = present(tx.conn, *user_id).await?;
        sqlx::query(
            "INSERT INTO reactions (room_id, message_id, reaction) VALUES ($1, $2, $3) \
             ON CONFLICT (message_id, reaction) DO NOTHING",
        )
        .bind(room_id)
        .bind(message_id)
        .bind(emoji)
        .execute(&mut *tx.conn)
        .await?;
        let new = sqlx::query(
            "INSERT INTO user_reactions (reaction_id, user_id, at) \
             SELECT id, $3, $4 FROM reactions WHERE message_id = $1 AND reaction = $2 ON CONFLICT DO NOTHING",
        )
        .bind(message_id)
        .bind(emoji)
        .bind(user_id)
        .bind(*at)
        .execute(&mut *tx.conn)
        .await?;
        added += new.rows_affected();
    }
    if added > 0 {
        stamp(tx, room_id, message_id, i64::try_from(added).unwrap_or(i64::MAX)).await?;
    }
    Ok(added)
}

async fn put_letter(tx: &mut Tx<'_>, letter: &KeptLetter) -> StoreResult<u64> {
    let recipient = present(tx.conn, letter.recipient_id).await?;
    let sender = present(tx.conn, letter.sender_id).await?;
    let new = sqlx::query(
        "INSERT INTO inbox (id, recipient_id, sender_id, body, posted_at, expiry, recipient_as, sender_as) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(letter.id)
    .bind(recipient)
    .bind(sender)
    .bind(&letter.body[..])
    .bind(letter.posted_at)
    .bind(letter.expiry)
    .bind(letter.recipient_as.as_deref())
    .bind(letter.sender_as.as_deref())
    .execute(&mut *tx.conn)
    .await?;
    if new.rows_affected() > 0 {
        tx.changes
            .extend([Change::DirectMessage(recipient), Change::DirectMessage(sender)]);
    }
    Ok(new.rows_affected())
}
