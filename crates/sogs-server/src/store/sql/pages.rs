//! What pages for browsers show and search, and the small versions of pictures.

use futures_util::TryStreamExt as _;

use super::listing::{message_query, whole};
use super::{SqlStore, Tx, id_lists};
use crate::search::{Words, words_of_message};
use crate::store::{Candidate, Id, MessageRow, StoreResult, Thumbnail, Unseen, Visible};

/// Bytes of messages that one round of indexing reads.
const INDEX_BYTES: usize = 2 << 20;

impl SqlStore {
    pub(crate) async fn visible(
        &self,
        room_id: Id,
        which: Visible,
        limit: i64,
    ) -> StoreResult<Vec<MessageRow>> {
        let readers = &self.readers;
        let rows = match &which {
            Visible::Before(id) => sqlx::query_as(message_query!(
                "m.data IS NOT NULL AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL AND m.id < $2 \
                 ORDER BY m.id DESC LIMIT $3"
            ))
            .bind(room_id)
            .bind(id)
            .bind(limit)
            .fetch(readers),
            Visible::After(id) => sqlx::query_as(message_query!(
                "m.data IS NOT NULL AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL AND m.id > $2 \
                 ORDER BY m.id LIMIT $3"
            ))
            .bind(room_id)
            .bind(id)
            .bind(limit)
            .fetch(readers),
            Visible::These(ids) => return self.these(room_id, ids, limit).await,
        };
        whole(rows).await
    }

    async fn these(&self, room_id: Id, ids: &[Id], limit: i64) -> StoreResult<Vec<MessageRow>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(ids, 3) {
            let text = format!(
                "{} ({marks}) ORDER BY m.id DESC LIMIT $2",
                message_query!(
                    "m.data IS NOT NULL AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL AND m.id IN"
                )
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text))
                .bind(room_id)
                .bind(limit);
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<MessageRow> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }

    pub(crate) async fn candidates(
        &self,
        room_id: Id,
        user_id: Id,
        around: f64,
        within: f64,
    ) -> StoreResult<Vec<Candidate>> {
        Ok(sqlx::query_as(
            "SELECT m.id, m.posted, COALESCE(m.data, (SELECT h.data FROM message_history h WHERE h.message_id = m.id \
                 ORDER BY h.replaced DESC LIMIT 1)) AS data, m.data IS NULL AS is_deleted, \
             NOT m.filtered AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL AS is_shown \
             FROM messages m WHERE m.user_id = $1 AND m.room_id = $2 AND m.posted >= $3 AND m.posted <= $4 \
             ORDER BY ABS(m.posted - $5), m.id LIMIT 20",
        )
        .bind(user_id)
        .bind(room_id)
        .bind(around - within)
        .bind(around + within)
        .bind(around)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(crate) async fn find_words(
        &self,
        room_id: Id,
        words: Words,
        before: Id,
        limit: i64,
    ) -> StoreResult<Option<Vec<Id>>> {
        let mut tx = self.readers.begin().await?;
        if let Some(bound) = super::BOUND_SEARCH {
            sqlx::query(bound).execute(&mut *tx).await?;
        }
        let found = sqlx::query_scalar(super::FIND_WORDS)
            .bind(room_id)
            .bind(super::search_expression(room_id, &words))
            .bind(before)
            .bind(limit)
            .fetch_all(&mut *tx)
            .await;
        match found {
            Ok(ids) => Ok(Some(ids)),
            // PostgreSQL ended it: it took too long.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("57014") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn unindexed(&self, most: i64) -> StoreResult<i64> {
        Ok(
            sqlx::query_scalar(
                "SELECT COUNT(*) FROM (SELECT 1 AS one FROM search_queue LIMIT $1) AS waiting",
            )
            .bind(most)
            .fetch_one(&self.readers)
            .await?,
        )
    }

    pub(crate) async fn index_messages(&self, limit: i64) -> StoreResult<i64> {
        if self.unindexed(1).await? == 0 {
            return Ok(0);
        }
        self.write(limit, |tx, limit| Box::pin(index(tx, *limit))).await
    }

    pub(crate) async fn unseen_files(&self, limit: i64) -> StoreResult<Vec<Unseen>> {
        Ok(sqlx::query_as(
            "SELECT q.file_id AS id, f.size, f.content FROM thumbnail_queue q LEFT JOIN files f ON f.id = q.file_id \
             ORDER BY q.file_id DESC LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(crate) async fn note_thumbnail(&self, file_id: Id, content: Option<Thumbnail>) -> StoreResult<()> {
        self.write((file_id, content), |tx, (file_id, made)| {
            Box::pin(async move {
                sqlx::query("DELETE FROM thumbnail_queue WHERE file_id = $1")
                    .bind(*file_id)
                    .execute(&mut *tx.conn)
                    .await?;
                let Some(made) = made else { return Ok(()) };
                sqlx::query(
                    "INSERT INTO thumbnails (file_id, content, size, width, height) \
                     SELECT id, $2, $3, $4, $5 FROM files WHERE id = $1 ON CONFLICT (file_id) DO UPDATE SET \
                     content = excluded.content, size = excluded.size, width = excluded.width, height = excluded.height",
                )
                .bind(*file_id)
                .bind(&made.content)
                .bind(made.size)
                .bind(made.width)
                .bind(made.height)
                .execute(&mut *tx.conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn remake_thumbnail(&self, file_id: Id) -> StoreResult<()> {
        self.write(file_id, |tx, file_id| {
            Box::pin(async move {
                let gone = sqlx::query("DELETE FROM thumbnails WHERE file_id = $1")
                    .bind(*file_id)
                    .execute(&mut *tx.conn)
                    .await?;
                if gone.rows_affected() > 0 {
                    sqlx::query("INSERT INTO thumbnail_queue (file_id) VALUES ($1) ON CONFLICT DO NOTHING")
                        .bind(*file_id)
                        .execute(&mut *tx.conn)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn thumbnails(&self, files: Vec<Id>) -> StoreResult<Vec<Thumbnail>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&files, 1) {
            let text = format!(
                "SELECT file_id, content, size, width, height FROM thumbnails WHERE file_id IN ({marks})"
            );
            let mut query = sqlx::query_as(sqlx::AssertSqlSafe(text));
            for id in list {
                query = query.bind(id);
            }
            let part: Vec<Thumbnail> = query.fetch_all(&self.readers).await?;
            all.extend(part);
        }
        Ok(all)
    }
}

/// A row of the queue: its number, and room and content of the message if everybody may see it.
type Waiting = (Id, Option<Id>, Option<Vec<u8>>);

/// Indexes the newest messages of the queue; how many left the queue.
async fn index(tx: Tx<'_>, limit: i64) -> StoreResult<i64> {
    let waiting: Vec<Waiting> = {
        let mut rows = sqlx::query_as::<_, Waiting>(
            "SELECT q.message_id, m.room_id, m.data FROM search_queue q LEFT JOIN messages m ON m.id = q.message_id \
             AND m.data IS NOT NULL AND NOT m.filtered AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL \
             ORDER BY q.message_id DESC LIMIT $1",
        )
        .bind(limit)
        .fetch(&mut *tx.conn);
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await? {
            bytes += row.2.as_ref().map_or(0, Vec::len);
            all.push(row);
            if bytes > INDEX_BYTES {
                break;
            }
        }
        all
    };
    for (id, room_id, data) in &waiting {
        let (Some(room_id), Some(data)) = (room_id, data) else {
            continue;
        };
        let words = words_of_message(data);
        if words.is_empty() {
            continue;
        }
        sqlx::query(super::INDEX_WORDS)
            .bind(*id)
            .bind(*room_id)
            .bind(words)
            .execute(&mut *tx.conn)
            .await?;
    }
    let ids: Vec<Id> = waiting.iter().map(|(id, ..)| *id).collect();
    for (list, marks) in id_lists(&ids, 1) {
        let text = format!("DELETE FROM search_queue WHERE message_id IN ({marks})");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for id in list {
            query = query.bind(id);
        }
        query.execute(&mut *tx.conn).await?;
    }
    Ok(i64::try_from(waiting.len()).unwrap_or(i64::MAX))
}
