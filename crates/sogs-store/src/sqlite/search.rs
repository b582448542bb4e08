//! Statements that put the words of many messages into the index at once.

use sqlx::AssertSqlSafe;

use super::{Conn, sql};
use crate::{Id, StoreResult};

/// Most rows of one statement.
const ROWS: usize = 32;

/// Puts the words of messages into the index: message, room, words.
pub(super) async fn index_words(conn: &mut Conn, messages: &[(Id, Id, String)]) -> StoreResult<()> {
    for some in sql::chunks(messages, ROWS) {
        let values: Vec<String> = (0..some.len())
            .map(|row| format!("(${}, 'r' || ${}, ${})", 3 * row + 1, 3 * row + 2, 3 * row + 3))
            .collect();
        let text = format!(
            "INSERT OR REPLACE INTO search_index (rowid, room, text) VALUES {}",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for (id, room_id, words) in some {
            query = query.bind(id).bind(room_id).bind(words);
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}
