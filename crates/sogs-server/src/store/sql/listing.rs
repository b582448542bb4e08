//! Pages of messages.

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;

use super::SqlStore;
use crate::store::{Id, MessageRow, Page, StoreResult};

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

/// Bytes of content after which a page is full, however few rows it has: nothing but very long messages reaches it.
const PAGE_BYTES: usize = 8 << 20;

/// Collects a page, up to what memory should hold of it.
pub(super) async fn whole(
    mut rows: BoxStream<'_, Result<MessageRow, sqlx::Error>>,
) -> StoreResult<Vec<MessageRow>> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += row.data.as_ref().map_or(0, Vec::len);
        if bytes > PAGE_BYTES && !page.is_empty() {
            break;
        }
        page.push(row);
    }
    Ok(page)
}

impl SqlStore {
    pub(crate) async fn messages(&self, room_id: Id, page: Page, limit: i64) -> StoreResult<Vec<MessageRow>> {
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
        whole(rows).await
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
