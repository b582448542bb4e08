//! Held posts, audit log, and listings for operators.

use sqlx::Row as _;

use super::{Conn, SqlStore, Tx, id_lists};
use crate::operation::{
    BanRow, HeldRow, LogEntry, LogQuery, LogRow, MessageQuery, ModeratorRow, PlainMessage, RoomTotals, Totals,
};
use crate::{Change, FileRow, Id, StoreResult};

macro_rules! held_rows {
    () => {
        "SELECT h.message_id, h.room_id, r.token, COALESCE(m.posted_as, u.session_id), h.at, h.reason, m.data FROM held_messages h \
         JOIN messages m ON m.id = h.message_id JOIN rooms r ON r.id = h.room_id JOIN users u ON u.id = m.user_id \
         WHERE m.data IS NOT NULL "
    };
}

pub(super) type DbRow = <super::Db as sqlx::Database>::Row;

impl SqlStore {
    pub(crate) async fn held(&self, room_id: Option<Id>) -> StoreResult<Vec<HeldRow>> {
        let rows = sqlx::query(concat!(
            held_rows!(),
            "AND (h.room_id = $1 OR $2) ORDER BY h.message_id LIMIT 10000"
        ))
        .bind(room_id.unwrap_or(0))
        .bind(room_id.is_none())
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(held_row).collect()
    }

    pub(crate) async fn held_among(&self, messages: Vec<Id>) -> StoreResult<Vec<HeldRow>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&messages, 1) {
            let text = format!(
                "{} AND h.message_id IN ({marks}) ORDER BY h.message_id",
                held_rows!()
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(id);
            }
            for row in query.fetch_all(&self.readers).await? {
                all.push(held_row(&row)?);
            }
        }
        Ok(all)
    }

    pub(crate) async fn add_log(&self, entry: LogEntry) -> StoreResult<Id> {
        self.write(entry, |mut tx, entry| {
            Box::pin(async move { add_log(&mut tx, entry).await })
        })
        .await
    }

    pub(crate) async fn log(&self, query: LogQuery) -> StoreResult<Vec<LogRow>> {
        let mut text = "SELECT id, at, actor, action, room, target, detail, undo, undone_at FROM audit_log \
             WHERE ($1 = '' OR LOWER(room) = LOWER($1)) AND at >= $2 AND at < $3 AND id >= $4 AND id <= $5"
            .to_owned();
        let mut bound = 6;
        if let Some(actors) = &query.actors {
            text.push_str(&format!(" AND actor IN ({})", marks(&mut bound, actors.len())));
        }
        if let Some(about) = &query.about {
            let list = marks(&mut bound, about.len());
            text.push_str(&format!(" AND (target IN ({list}) OR actor IN ({list}))"));
        }
        text.push_str(&format!(" ORDER BY id DESC LIMIT ${bound}"));
        let mut statement = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(query.room.unwrap_or_default())
            .bind(query.since.unwrap_or(f64::MIN))
            .bind(query.until.unwrap_or(f64::MAX))
            .bind(query.ids.map_or(0, |(first, _)| first))
            .bind(query.ids.map_or(Id::MAX, |(_, last)| last));
        for text in query.actors.into_iter().chain(query.about).flatten() {
            statement = statement.bind(text);
        }
        let rows = statement.bind(query.limit).fetch_all(&self.readers).await?;
        rows.iter().map(log_row).collect()
    }

    pub(crate) async fn log_entry(&self, id: Option<Id>) -> StoreResult<Option<LogRow>> {
        let row = sqlx::query(
            "SELECT id, at, actor, action, room, target, detail, undo, undone_at FROM audit_log \
             WHERE id = $1 OR ($2 AND undo IS NOT NULL AND undone_at IS NULL) ORDER BY id DESC LIMIT 1",
        )
        .bind(id.unwrap_or(0))
        .bind(id.is_none())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(log_row).transpose()
    }

    pub(crate) async fn log_undone(&self, id: Id, at: f64) -> StoreResult<()> {
        self.write((id, at), |tx, (id, at)| {
            Box::pin(async move {
                sqlx::query("UPDATE audit_log SET undone_at = $2 WHERE id = $1")
                    .bind(*id)
                    .bind(*at)
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn forget_undo(&self, before: f64) -> StoreResult<u64> {
        self.write(before, |tx, before| {
            Box::pin(async move {
                Ok(
                    sqlx::query("UPDATE audit_log SET undo = NULL WHERE at < $1 AND undo IS NOT NULL")
                        .bind(*before)
                        .execute(&mut *tx.conn)
                        .await?
                        .rows_affected(),
                )
            })
        })
        .await
    }

    pub(crate) async fn plain_messages(&self, query: MessageQuery) -> StoreResult<Vec<PlainMessage>> {
        // Separate texts, because each has its own index.
        const COLUMNS: &str = "SELECT m.id, m.room_id, COALESCE(m.posted_as, u.session_id), m.posted, m.data, m.filtered FROM messages m JOIN users u ON u.id = m.user_id";
        let wanted = match (query.room_id, query.user_id) {
            (Some(_), Some(_)) => "m.room_id = $1 AND m.user_id = $2",
            (Some(_), None) => "m.room_id = $1 AND $2 = 0",
            (None, Some(_)) => "$1 = 0 AND m.user_id = $2",
            (None, None) => "$1 = 0 AND $2 = 0",
        };
        let text = format!(
            "{COLUMNS} WHERE {wanted} AND m.id < $3 AND m.id >= $6 AND m.posted >= $7 AND m.posted < $8 \
             AND (m.data IS NOT NULL OR NOT $4) ORDER BY m.id DESC LIMIT $5"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(query.room_id.unwrap_or(0))
            .bind(query.user_id.unwrap_or(0))
            .bind(query.before.unwrap_or(Id::MAX))
            .bind(query.standing)
            .bind(query.limit)
            .bind(query.from.unwrap_or(0))
            .bind(query.since.unwrap_or(f64::MIN))
            .bind(query.until.unwrap_or(f64::MAX))
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(PlainMessage {
                    id: row.try_get(0)?,
                    room_id: row.try_get(1)?,
                    session_id: row.try_get(2)?,
                    posted: row.try_get(3)?,
                    data: row.try_get(4)?,
                    filtered: row.try_get(5)?,
                })
            })
            .collect()
    }

    pub(crate) async fn ban_end(&self, user_id: Id, room_id: Option<Id>) -> StoreResult<Option<f64>> {
        Ok(sqlx::query_scalar(
            "SELECT MIN(at) FROM ban_futures WHERE user_id = $1 AND NOT banned \
             AND (room_id = $2 OR (room_id IS NULL AND $3))",
        )
        .bind(user_id)
        .bind(room_id.unwrap_or(0))
        .bind(room_id.is_none())
        .fetch_one(&self.readers)
        .await?)
    }

    pub(crate) async fn bans(&self) -> StoreResult<Vec<BanRow>> {
        let rows: Vec<(String, Option<String>, Option<f64>)> = sqlx::query_as(
            "SELECT u.session_id, NULL AS room, \
             (SELECT MIN(f.at) FROM ban_futures f WHERE f.user_id = u.id AND f.room_id IS NULL AND NOT f.banned) \
             FROM users u WHERE u.banned \
             UNION ALL \
             SELECT u.session_id, r.token, \
             (SELECT MIN(f.at) FROM ban_futures f WHERE f.user_id = u.id AND f.room_id = r.id AND NOT f.banned) \
             FROM permission_overrides p JOIN users u ON u.id = p.user_id JOIN rooms r ON r.id = p.room_id WHERE p.banned \
             ORDER BY 1, 2 NULLS FIRST",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(session_id, room, until)| BanRow {
                session_id,
                room,
                until,
            })
            .collect())
    }

    pub(crate) async fn bans_of(&self, user_id: Id) -> StoreResult<Vec<BanRow>> {
        let rows: Vec<(String, Option<String>, Option<f64>)> = sqlx::query_as(
            "SELECT u.session_id, NULL AS room, \
             (SELECT MIN(f.at) FROM ban_futures f WHERE f.user_id = u.id AND f.room_id IS NULL AND NOT f.banned) \
             FROM users u WHERE u.id = $1 AND u.banned \
             UNION ALL \
             SELECT u.session_id, r.token, \
             (SELECT MIN(f.at) FROM ban_futures f WHERE f.user_id = u.id AND f.room_id = r.id AND NOT f.banned) \
             FROM permission_overrides p JOIN users u ON u.id = p.user_id JOIN rooms r ON r.id = p.room_id \
             WHERE p.user_id = $1 AND p.banned",
        )
        .bind(user_id)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(session_id, room, until)| BanRow {
                session_id,
                room,
                until,
            })
            .collect())
    }

    pub(crate) async fn moderators(&self) -> StoreResult<Vec<ModeratorRow>> {
        let rows: Vec<(String, Option<String>, bool, bool)> = sqlx::query_as(
            "SELECT u.session_id, NULL AS room, u.admin, u.visible_mod FROM users u WHERE u.moderator \
             UNION ALL \
             SELECT u.session_id, r.token, p.admin, p.visible_mod \
             FROM permission_overrides p JOIN users u ON u.id = p.user_id JOIN rooms r ON r.id = p.room_id WHERE p.moderator \
             ORDER BY 2 NULLS FIRST, 1",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(session_id, room, admin, visible)| ModeratorRow {
                session_id,
                room,
                admin,
                visible,
            })
            .collect())
    }

    pub(crate) async fn room_files(&self, room_id: Id, limit: i64) -> StoreResult<Vec<FileRow>> {
        let rows = sqlx::query(concat!(
            file_columns!(),
            " WHERE room_id = $1 ORDER BY id DESC LIMIT $2"
        ))
        .bind(room_id)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(file_row).collect()
    }

    pub(crate) async fn files_of_messages(&self, ids: Vec<Id>) -> StoreResult<Vec<FileRow>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&ids, 1) {
            let text = format!("{} WHERE message_id IN ({marks}) ORDER BY id", file_columns!());
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(id);
            }
            for row in query.fetch_all(&self.readers).await? {
                all.push(file_row(&row)?);
            }
        }
        Ok(all)
    }

    pub(crate) async fn any_file(&self, id: Id) -> StoreResult<Option<FileRow>> {
        let row = sqlx::query(concat!(file_columns!(), " WHERE id = $1"))
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(file_row).transpose()
    }

    pub(crate) async fn room_totals(&self, room_id: Id) -> StoreResult<RoomTotals> {
        let (messages, message_bytes, reactions, files, file_bytes) = sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM messages WHERE room_id = $1 AND data IS NOT NULL), \
             (SELECT CAST(COALESCE(SUM(LENGTH(data)), 0) AS BIGINT) FROM messages WHERE room_id = $1), \
             (SELECT COUNT(*) FROM reactions r JOIN user_reactions p ON p.reaction_id = r.id WHERE r.room_id = $1), \
             (SELECT COUNT(*) FROM files WHERE room_id = $1), \
             (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM files WHERE room_id = $1)",
        )
        .bind(room_id)
        .fetch_one(&self.readers)
        .await?;
        Ok(RoomTotals {
            messages,
            message_bytes,
            reactions,
            files,
            file_bytes,
        })
    }

    pub(crate) async fn count_older(&self, room_id: Id, before: f64) -> StoreResult<i64> {
        Ok(sqlx::query_scalar(
            "SELECT COUNT(*) FROM messages WHERE room_id = $1 AND posted < $2 AND data IS NOT NULL \
             AND id NOT IN (SELECT message_id FROM pinned_messages WHERE room_id = $1)",
        )
        .bind(room_id)
        .bind(before)
        .fetch_one(&self.readers)
        .await?)
    }

    pub(crate) async fn expiring_files(&self, room_id: Option<Id>) -> StoreResult<Vec<(Id, f64)>> {
        Ok(sqlx::query_as(
            "SELECT id, expiry FROM files WHERE message_id IS NOT NULL AND expiry > 0.0 AND (room_id = $1 OR $2) \
             ORDER BY id",
        )
        .bind(room_id.unwrap_or(0))
        .bind(room_id.is_none())
        .fetch_all(&self.readers)
        .await?)
    }

    pub(crate) async fn set_files_expiry(&self, files: Vec<(Id, Option<f64>)>) -> StoreResult<u64> {
        self.write(files, |tx, files| {
            Box::pin(async move {
                let mut changed = 0;
                for (id, expiry) in files {
                    changed += sqlx::query("UPDATE files SET expiry = $2 WHERE id = $1")
                        .bind(*id)
                        .bind(*expiry)
                        .execute(&mut *tx.conn)
                        .await?
                        .rows_affected();
                }
                Ok(changed)
            })
        })
        .await
    }

    pub(crate) async fn set_file_expiry(&self, id: Id, expiry: Option<f64>) -> StoreResult<bool> {
        self.write((id, expiry), |tx, (id, expiry)| {
            Box::pin(async move {
                let done = sqlx::query("UPDATE files SET expiry = $2 WHERE id = $1")
                    .bind(*id)
                    .bind(*expiry)
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    pub(crate) async fn announce(&self) -> StoreResult<()> {
        self.write((), |tx, ()| {
            Box::pin(async move {
                tx.changes.push(Change::Everything);
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn totals(&self) -> StoreResult<Totals> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM rooms), (SELECT COUNT(*) FROM users), (SELECT COUNT(*) FROM messages WHERE data IS NOT NULL), \
             (SELECT COUNT(*) FROM files), (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM files), (SELECT COUNT(*) FROM inbox), \
             (SELECT COUNT(*) FROM held_messages)",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(Totals {
            rooms: row.try_get(0)?,
            users: row.try_get(1)?,
            messages: row.try_get(2)?,
            files: row.try_get(3)?,
            file_bytes: row.try_get(4)?,
            direct_messages: row.try_get(5)?,
            held: row.try_get(6)?,
        })
    }
}

/// Markers for the next values of a statement; `NULL`, which nothing equals, for none.
fn marks(next: &mut usize, count: usize) -> String {
    let list: Vec<String> = (*next..*next + count).map(|n| format!("${n}")).collect();
    *next += count;
    if list.is_empty() {
        return "NULL".to_owned();
    }
    list.join(", ")
}

/// Writes entries of the audit log; their numbers.
pub(in super::super) async fn add_logs(conn: &mut Conn, entries: &[LogEntry]) -> StoreResult<Vec<Id>> {
    let mut changes = Vec::new();
    let mut tx = Tx {
        conn,
        changes: &mut changes,
    };
    let mut ids = Vec::with_capacity(entries.len());
    for entry in entries {
        ids.push(add_log(&mut tx, entry).await?);
    }
    Ok(ids)
}

/// Writes an entry of the audit log; its number.
pub(super) async fn add_log(tx: &mut Tx<'_>, entry: &LogEntry) -> StoreResult<Id> {
    Ok(sqlx::query_scalar(
        "INSERT INTO audit_log (at, actor, action, room, target, detail, undo) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         RETURNING id",
    )
    .bind(entry.at)
    .bind(&entry.actor)
    .bind(&entry.action)
    .bind(entry.room.as_deref())
    .bind(entry.target.as_deref())
    .bind(&entry.detail)
    .bind(entry.undo.as_ref().map(ToString::to_string))
    .fetch_one(&mut *tx.conn)
    .await?)
}

/// Notes that a post waits for approval, unless it is gone; how many notes were made.
pub(super) async fn hold(
    tx: &mut Tx<'_>,
    message_id: Id,
    room_id: Id,
    reason: &str,
    at: f64,
) -> StoreResult<u64> {
    let done = sqlx::query(
        "INSERT INTO held_messages (message_id, room_id, at, reason) SELECT id, room_id, $3, $4 FROM messages \
         WHERE id = $1 AND room_id = $2 AND data IS NOT NULL ON CONFLICT DO NOTHING",
    )
    .bind(message_id)
    .bind(room_id)
    .bind(at)
    .bind(reason)
    .execute(&mut *tx.conn)
    .await?;
    Ok(done.rows_affected())
}

/// Content of a message and, if it is held, why.
pub(super) async fn held_data(
    readers: &sqlx::Pool<super::Db>,
    message_id: Id,
) -> StoreResult<(Option<Vec<u8>>, Option<String>)> {
    let row: Option<(Option<Vec<u8>>, Option<String>)> = sqlx::query_as(
        "SELECT m.data, h.reason FROM messages m LEFT JOIN held_messages h ON h.message_id = m.id WHERE m.id = $1",
    )
    .bind(message_id)
    .fetch_optional(readers)
    .await?;
    Ok(row.unwrap_or_default())
}

macro_rules! file_columns {
    () => {
        "SELECT id, room_id, uploader_id, message_id, size, uploaded, expiry, filename, content, imported FROM files"
    };
}
pub(super) use file_columns;

pub(super) fn file_row(row: &DbRow) -> StoreResult<FileRow> {
    Ok(FileRow {
        id: row.try_get(0)?,
        room_id: row.try_get(1)?,
        uploader_id: row.try_get(2)?,
        message_id: row.try_get(3)?,
        size: row.try_get(4)?,
        uploaded: row.try_get(5)?,
        expiry: row.try_get(6)?,
        filename: row.try_get(7)?,
        content: row.try_get(8)?,
        imported: row.try_get(9)?,
    })
}

fn held_row(row: &DbRow) -> StoreResult<HeldRow> {
    Ok(HeldRow {
        message_id: row.try_get(0)?,
        room_id: row.try_get(1)?,
        token: row.try_get(2)?,
        session_id: row.try_get(3)?,
        at: row.try_get(4)?,
        reason: row.try_get(5)?,
        data: row.try_get(6)?,
    })
}

fn log_row(row: &DbRow) -> StoreResult<LogRow> {
    Ok(LogRow {
        id: row.try_get(0)?,
        at: row.try_get(1)?,
        actor: row.try_get(2)?,
        action: row.try_get(3)?,
        room: row.try_get(4)?,
        target: row.try_get(5)?,
        detail: row.try_get(6)?,
        undo: row.try_get(7)?,
        undone_at: row.try_get(8)?,
    })
}
