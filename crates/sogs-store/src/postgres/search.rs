//! The statement that puts the words of many messages into the index at once.

use super::Conn;
use crate::{Id, StoreResult};

/// Puts the words of messages into the index: message, room, words.
pub(super) async fn index_words(conn: &mut Conn, messages: &[(Id, Id, String)]) -> StoreResult<()> {
    if messages.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO search_index (message_id, room_id, words) \
         SELECT message_id, room_id, to_tsvector('simple', words) \
         FROM UNNEST($1::BIGINT[], $2::BIGINT[], $3::TEXT[]) AS new (message_id, room_id, words) \
         ON CONFLICT (message_id) DO UPDATE SET room_id = excluded.room_id, words = excluded.words",
    )
    .bind(messages.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(
        messages
            .iter()
            .map(|(_, room_id, _)| *room_id)
            .collect::<Vec<_>>(),
    )
    .bind(
        messages
            .iter()
            .map(|(.., words)| words.as_str())
            .collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
