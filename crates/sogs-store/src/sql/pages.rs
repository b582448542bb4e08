//! Queries for the pages that browsers show and search, and the small versions of pictures.

use futures_util::TryStreamExt as _;

use super::listing::{message_query, within};
use super::{Conn, SqlStore, Tx, id_lists};
use crate::search::{Words, words_of_message};
use crate::{Candidate, Id, Portion, StoreResult, Thumbnail, Unseen, Visible};

/// Bytes of messages that one round of indexing reads.
const INDEX_BYTES: usize = 2 << 20;

impl SqlStore {
    pub(crate) async fn visible(
        &self,
        room_id: Id,
        which: Visible,
        limit: i64,
        most: usize,
    ) -> StoreResult<Portion> {
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
            Visible::These(ids) => return self.these(room_id, ids, limit, most).await,
        };
        within(rows, most).await
    }

    async fn these(&self, room_id: Id, ids: &[Id], limit: i64, most: usize) -> StoreResult<Portion> {
        let mut all = Portion::default();
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
            let part = within(query.fetch(&self.readers), most).await?;
            all.rows.extend(part.rows);
            all.is_cut |= part.is_cut;
        }
        Ok(all)
    }

    pub(crate) async fn candidates(
        &self,
        room_id: Id,
        user_id: Id,
        around: u64,
        within: f64,
    ) -> StoreResult<Vec<Candidate>> {
        let seconds = seconds(around);
        let text = format!(
            "SELECT near.id, near.posted, CASE WHEN {} THEN near.data END AS data, near.is_deleted, near.is_shown FROM \
             (SELECT m.id, m.posted, COALESCE(m.data, (SELECT h.data FROM message_history h WHERE h.message_id = m.id \
                 ORDER BY h.replaced DESC LIMIT 1)) AS data, m.data IS NULL AS is_deleted, \
             NOT m.filtered AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL AS is_shown \
             FROM messages m WHERE m.user_id = $1 AND m.room_id = $2 AND m.posted >= $3 AND m.posted <= $4 \
             ORDER BY ABS(m.posted - $5), m.id LIMIT 20) AS near ORDER BY ABS(near.posted - $5), near.id",
            super::CONTAINS
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(user_id)
            .bind(room_id)
            .bind(seconds - within)
            .bind(seconds + within)
            .bind(seconds)
            .bind(varint(around))
            .fetch_all(&self.readers)
            .await?)
    }

    pub(crate) async fn sent_at(
        &self,
        room_id: Id,
        user_id: Id,
        time: u64,
        within: f64,
    ) -> StoreResult<Vec<(Id, Vec<u8>)>> {
        let seconds = seconds(time);
        let text = format!(
            "SELECT near.id, near.data FROM (SELECT m.id, m.data FROM messages m WHERE m.user_id = $1 AND m.room_id = $2 \
             AND m.posted >= $3 AND m.posted < $4 AND m.data IS NOT NULL ORDER BY m.id DESC LIMIT $5) AS near \
             WHERE {} ORDER BY near.id DESC LIMIT 8",
            super::CONTAINS
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(user_id)
            .bind(room_id)
            .bind(seconds - within)
            .bind(seconds + within)
            .bind(256_i64)
            .bind(varint(time))
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
            "SELECT q.file_id AS id, f.size, f.content \
             FROM (SELECT file_id FROM thumbnail_queue ORDER BY file_id DESC LIMIT $1) AS q \
             LEFT JOIN files f ON f.id = q.file_id ORDER BY q.file_id DESC",
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

/// A time in milliseconds as seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit into 52 bits"
)]
fn seconds(time: u64) -> f64 {
    time as f64 / 1000.0
}

/// A number as the content of a message holds it. Content without these bytes does not name the number; content with them
/// is decoded to be sure.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10);
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Indexes the newest messages of the queue; how many left the queue.
async fn index(tx: Tx<'_>, limit: i64) -> StoreResult<i64> {
    let mut ids: Vec<Id> =
        sqlx::query_scalar("SELECT message_id FROM search_queue ORDER BY message_id DESC LIMIT $1")
            .bind(limit)
            .fetch_all(&mut *tx.conn)
            .await?;
    let readable = readable(&mut *tx.conn, &mut ids).await?;
    let words: Vec<(Id, Id, String)> = readable
        .into_iter()
        .map(|(id, room_id, data)| (id, room_id, words_of_message(&data)))
        .filter(|(.., words)| !words.is_empty())
        .collect();
    super::super::index_words(tx.conn, &words).await?;
    for (list, marks) in id_lists(&ids, 1) {
        let text = format!("DELETE FROM search_queue WHERE message_id IN ({marks})");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for id in list {
            query = query.bind(id);
        }
        query.execute(&mut *tx.conn).await?;
    }
    Ok(i64::try_from(ids.len()).unwrap_or(i64::MAX))
}

/// Id, room and content of those messages that everybody may read, until the content is large. `ids` is the newest first;
/// the ids that were not looked at are removed from it.
///
/// One statement with a join would be shorter, but PostgreSQL then reads the whole table of messages.
async fn readable(conn: &mut Conn, ids: &mut Vec<Id>) -> StoreResult<Vec<(Id, Id, Vec<u8>)>> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for (list, marks) in id_lists(ids, 1) {
        let text = format!(
            "SELECT m.id, m.room_id, m.data FROM messages m WHERE m.id IN ({marks}) \
             AND m.data IS NOT NULL AND NOT m.filtered AND m.whisper_to IS NULL AND NOT m.whisper_mods AND m.for_moderators_of IS NULL \
             ORDER BY m.id DESC"
        );
        let mut query = sqlx::query_as::<_, (Id, Id, Vec<u8>)>(sqlx::AssertSqlSafe(text));
        for id in list {
            query = query.bind(id);
        }
        let mut rows = query.fetch(&mut *conn);
        while let Some(row) = rows.try_next().await? {
            bytes += row.2.len();
            all.push(row);
            if bytes > INDEX_BYTES {
                break;
            }
        }
        if bytes > INDEX_BYTES {
            break;
        }
    }
    if bytes > INDEX_BYTES
        && let Some((last, ..)) = all.last()
    {
        ids.retain(|id| id >= last);
    }
    Ok(all)
}
