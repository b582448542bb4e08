//! Statements that store many messages at once, with numbered parameters for each row.

use std::fmt::Write as _;

use sqlx::AssertSqlSafe;

use super::Conn;
use crate::{Id, Numbered, StoreResult, Window};

/// Most rows of one statement. The connection keeps the prepared text of each number of rows.
const ROWS: usize = 32;
/// Values of a row.
const COLUMNS: usize = 12;

/// Stores messages; returns id, room and sequence number of each.
pub(super) async fn insert_messages(
    conn: &mut Conn,
    messages: &[Numbered<'_>],
) -> StoreResult<Vec<(Id, Id, i64)>> {
    let mut stored = Vec::with_capacity(messages.len());
    for rows in messages.chunks(ROWS) {
        let mut query = sqlx::query_as(AssertSqlSafe(insert_text(rows.len())));
        for Numbered { new, seqno } in rows {
            query = query
                .bind(new.room_id)
                .bind(new.user_id)
                .bind(new.now)
                .bind(seqno)
                .bind(&new.data[..])
                .bind(new.data_size)
                .bind(&new.signature[..])
                .bind(new.filtered)
                .bind(new.whisper_to)
                .bind(new.whisper_mods)
                .bind(new.posted_as.as_deref())
                .bind(new.for_moderators_of);
        }
        stored.append(&mut query.fetch_all(&mut *conn).await?);
    }
    Ok(stored)
}

fn insert_text(rows: usize) -> String {
    let mut text = String::from(
        "INSERT INTO messages (room_id, user_id, posted, seqno, seqno_data, seqno_creation, data, data_size, signature, \
         filtered, whisper_to, whisper_mods, posted_as, for_moderators_of) VALUES ",
    );
    for row in 0..rows {
        let at = |column: usize| row * COLUMNS + column;
        let _ = write!(
            text,
            "{}(${1}, COALESCE((SELECT user_id FROM joined_users WHERE id = ${2}), ${2}), ${3}, ${4}, ${4}, ${4}, ${5}, ${6}, \
             ${7}, ${8}, ${9}, ${10}, NULLIF(${11}, (SELECT session_id FROM users WHERE id = ${2})), ${12})",
            if row > 0 { ", " } else { "" },
            at(1),
            at(2),
            at(3),
            at(4),
            at(5),
            at(6),
            at(7),
            at(8),
            at(9),
            at(10),
            at(11),
            at(12),
        );
    }
    text.push_str(" RETURNING id, room_id, seqno");
    text
}

/// Counts the stored messages in each window, at most as many as its limit.
pub(super) async fn count_recent(conn: &mut Conn, windows: &[Window]) -> StoreResult<Vec<i64>> {
    let mut counts = vec![0; windows.len()];
    for (list, counts) in windows.chunks(ROWS).zip(counts.chunks_mut(ROWS)) {
        let mut query = sqlx::query_as(AssertSqlSafe(count_text(list.len())));
        for window in list {
            query = query
                .bind(window.user_id)
                .bind(window.room_id)
                .bind(window.since)
                .bind(window.limit);
        }
        let found: Vec<(i64, i64)> = query.fetch_all(&mut *conn).await?;
        for (row, count) in found {
            if let Some(slot) = usize::try_from(row).ok().and_then(|row| counts.get_mut(row)) {
                *slot = count;
            }
        }
    }
    Ok(counts)
}

fn count_text(rows: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let _ = write!(
            text,
            "{}SELECT CAST({row} AS BIGINT) AS place, COUNT(*) AS recent FROM (SELECT 1 AS one FROM messages \
             WHERE user_id = ${} AND room_id = ${} AND posted >= ${} LIMIT ${}) AS recent{row}",
            if row > 0 { " UNION ALL " } else { "" },
            row * 4 + 1,
            row * 4 + 2,
            row * 4 + 3,
            row * 4 + 4,
        );
    }
    text
}
