//! Statements that store many messages at once, with one array for each column: one prepared text for any number of rows.

use super::Conn;
use crate::{Id, Numbered, StoreResult, Window};

/// Stores messages; returns id, room and sequence number of each.
pub(super) async fn insert_messages(
    conn: &mut Conn,
    messages: &[Numbered<'_>],
) -> StoreResult<Vec<(Id, Id, i64)>> {
    let new = || messages.iter().map(|message| message.new);
    let stored = sqlx::query_as(
        "INSERT INTO messages (room_id, user_id, posted, seqno, seqno_data, seqno_creation, data, data_size, signature, \
         filtered, whisper_to, whisper_mods, posted_as, for_moderators_of) \
         SELECT room_id, COALESCE((SELECT j.user_id FROM joined_users j WHERE j.id = new.user_id), new.user_id), posted, \
         seqno, seqno, seqno, data, data_size, signature, filtered, whisper_to, whisper_mods, \
         NULLIF(posted_as, (SELECT u.session_id FROM users u WHERE u.id = new.user_id)), for_moderators_of \
         FROM UNNEST($1::BIGINT[], $2::BIGINT[], $3::DOUBLE PRECISION[], $4::BIGINT[], $5::BYTEA[], $6::BIGINT[], \
         $7::BYTEA[], $8::BOOLEAN[], $9::BIGINT[], $10::BOOLEAN[], $11::TEXT[], $12::BIGINT[]) WITH ORDINALITY \
         AS new (room_id, user_id, posted, seqno, data, data_size, signature, filtered, whisper_to, whisper_mods, posted_as, \
         for_moderators_of, place) ORDER BY place RETURNING id, room_id, seqno",
    )
    .bind(new().map(|new| new.room_id).collect::<Vec<_>>())
    .bind(new().map(|new| new.user_id).collect::<Vec<_>>())
    .bind(new().map(|new| new.now).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| message.seqno).collect::<Vec<_>>())
    .bind(new().map(|new| &new.data[..]).collect::<Vec<_>>())
    .bind(new().map(|new| new.data_size).collect::<Vec<_>>())
    .bind(new().map(|new| &new.signature[..]).collect::<Vec<_>>())
    .bind(new().map(|new| new.filtered).collect::<Vec<_>>())
    .bind(new().map(|new| new.whisper_to).collect::<Vec<_>>())
    .bind(new().map(|new| new.whisper_mods).collect::<Vec<_>>())
    .bind(new().map(|new| new.posted_as.as_deref()).collect::<Vec<_>>())
    .bind(new().map(|new| new.for_moderators_of).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(stored)
}

/// Counts the stored messages in each window, at most as many as its limit.
pub(super) async fn count_recent(conn: &mut Conn, windows: &[Window]) -> StoreResult<Vec<i64>> {
    if windows.is_empty() {
        return Ok(Vec::new());
    }
    let counts = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM messages m WHERE m.user_id = w.user_id AND m.room_id = w.room_id \
         AND m.posted >= w.since LIMIT w.most) AS recent) \
         FROM UNNEST($1::BIGINT[], $2::BIGINT[], $3::DOUBLE PRECISION[], $4::BIGINT[]) WITH ORDINALITY \
         AS w (user_id, room_id, since, most, place) ORDER BY w.place",
    )
    .bind(windows.iter().map(|window| window.user_id).collect::<Vec<_>>())
    .bind(windows.iter().map(|window| window.room_id).collect::<Vec<_>>())
    .bind(windows.iter().map(|window| window.since).collect::<Vec<_>>())
    .bind(windows.iter().map(|window| window.limit).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(counts)
}
