//! Queries for pages of messages.

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;

use super::SqlStore;
use crate::{Id, MessageRow, PAGE_BYTES, Page, Portion, StoreResult};

macro_rules! message_query {
    ($rest:literal) => {
        concat!(
            "SELECT m.id, m.user_id, COALESCE(m.posted_as, u.session_id) AS session_id, m.posted, m.edited, m.seqno, m.seqno_data, m.seqno_reactions, \
             m.seqno_creation, m.data, m.data_size, m.signature, m.whisper_to, w.session_id AS whisper_to_id, \
             m.whisper_mods, m.for_moderators_of FROM messages m JOIN users u ON u.id = m.user_id \
             LEFT JOIN users w ON w.id = m.whisper_to WHERE m.room_id = $1 AND NOT m.filtered AND ",
            $rest
        )
    };
}

pub(super) use message_query;

/// Collects rows until their content is larger than `most` bytes; at least one.
pub(super) async fn within(
    mut rows: BoxStream<'_, Result<MessageRow, sqlx::Error>>,
    most: usize,
) -> StoreResult<Portion> {
    let (mut portion, mut bytes) = (Portion::default(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row.data.as_ref().map_or(0, Vec::len);
        if bytes > most {
            portion.is_cut = true;
            if portion.rows.is_empty() {
                portion.rows.push(row);
            }
            break;
        }
        portion.rows.push(row);
    }
    Ok(portion)
}

impl SqlStore {
    pub(crate) async fn messages(&self, room_id: Id, page: Page, limit: i64) -> StoreResult<Vec<MessageRow>> {
        let portion = self.messages_within(room_id, page, limit, PAGE_BYTES).await?;
        Ok(portion.rows)
    }

    pub(crate) async fn messages_within(
        &self,
        room_id: Id,
        page: Page,
        limit: i64,
        most: usize,
    ) -> StoreResult<Portion> {
        let readers = &self.readers;
        let rows = match page {
            Page::Recent => sqlx::query_as(message_query!("m.data IS NOT NULL ORDER BY m.id DESC LIMIT $2"))
                .bind(room_id)
                .bind(limit)
                .fetch(readers),
            Page::Before(id) => sqlx::query_as(message_query!(
                "m.data IS NOT NULL AND m.id < $2 ORDER BY m.id DESC LIMIT $3"
            ))
            .bind(room_id)
            .bind(id)
            .bind(limit)
            .fetch(readers),
            Page::Since(seqno, true) => sqlx::query_as(message_query!(
                "m.seqno > $2 AND (m.data IS NOT NULL OR m.seqno_creation <= $2) ORDER BY m.seqno LIMIT $3"
            ))
            .bind(room_id)
            .bind(seqno)
            .bind(limit)
            .fetch(readers),
            Page::Since(seqno, false) => sqlx::query_as(message_query!(
                "m.seqno > $2 AND m.seqno_data > $2 AND (m.data IS NOT NULL OR m.seqno_creation <= $2) \
                     ORDER BY m.seqno LIMIT $3"
            ))
            .bind(room_id)
            .bind(seqno)
            .bind(limit)
            .fetch(readers),
            Page::Single(id) => sqlx::query_as(message_query!("m.data IS NOT NULL AND m.id = $2"))
                .bind(room_id)
                .bind(id)
                .fetch(readers),
        };
        within(rows, most).await
    }

    pub(crate) async fn count_posts(&self, user_id: Id, room_id: Option<Id>, limit: i64) -> StoreResult<i64> {
        let count =
            match room_id {
                Some(room_id) => sqlx::query_scalar(
                    "SELECT COUNT(*) FROM (SELECT 1 AS one FROM messages WHERE user_id = $1 AND room_id = $2 \
                     AND data IS NOT NULL AND NOT filtered LIMIT $3) AS posts",
                )
                .bind(user_id)
                .bind(room_id)
                .bind(limit)
                .fetch_one(&self.readers)
                .await,
                None => {
                    sqlx::query_scalar(
                        "SELECT COUNT(*) FROM (SELECT 1 AS one FROM messages WHERE user_id = $1 \
                     AND data IS NOT NULL AND NOT filtered LIMIT $2) AS posts",
                    )
                    .bind(user_id)
                    .bind(limit)
                    .fetch_one(&self.readers)
                    .await
                }
            };
        Ok(count?)
    }
}
