//! Files: rows only, the contents are on disk.

use super::SqlStore;
use super::accounts::present;
use crate::{FileRow, Id, MessageView, NewFile, StoreResult};

impl SqlStore {
    pub(crate) async fn add_file(&self, new: NewFile) -> StoreResult<Id> {
        self.write(new, |tx, new| {
            Box::pin(async move {
                let uploader = present(tx.conn, new.uploader_id).await?;
                Ok(sqlx::query_scalar(
                    "INSERT INTO files (room_id, uploader_id, size, uploaded, expiry, filename, content, imported) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE) RETURNING id",
                )
                .bind(new.room_id)
                .bind(uploader)
                .bind(new.size)
                .bind(new.now)
                .bind(new.expiry)
                .bind(new.filename.as_deref())
                .bind(&new.content)
                .fetch_one(&mut *tx.conn)
                .await?)
            })
        })
        .await
    }

    /// A file that was deleted is gone at once, not with the next cleanup.
    pub(crate) async fn file(&self, room_id: Id, file_id: Id) -> StoreResult<Option<FileRow>> {
        Ok(sqlx::query_as(
            "SELECT id, room_id, uploader_id, message_id, size, uploaded, expiry, filename, content, imported \
             FROM files WHERE id = $1 AND room_id = $2 AND (expiry IS NULL OR expiry > 0.0)",
        )
        .bind(file_id)
        .bind(room_id)
        .fetch_optional(&self.readers)
        .await?)
    }

    pub(crate) async fn mark_imported_files(&self, longer_than: f64) -> StoreResult<u64> {
        // No lock for writing when there is nothing to write, as at nearly every start.
        let unmarked: Option<Id> = sqlx::query_scalar("SELECT id FROM files WHERE imported IS NULL LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        if unmarked.is_none() {
            return Ok(0);
        }
        self.write(longer_than, |tx, longer_than| {
            Box::pin(async move {
                Ok(sqlx::query(
                    "UPDATE files SET imported = (message_id IS NULL AND (expiry IS NULL OR expiry - uploaded > $1)) \
                     WHERE imported IS NULL",
                )
                .bind(*longer_than)
                .execute(&mut *tx.conn)
                .await?
                .rows_affected())
            })
        })
        .await
    }

    pub(crate) async fn message_view(&self, room_id: Id, message_id: Id) -> StoreResult<Option<MessageView>> {
        Ok(sqlx::query_as(
            "SELECT user_id, whisper_to, whisper_mods, filtered, for_moderators_of FROM messages \
             WHERE id = $1 AND room_id = $2 AND data IS NOT NULL",
        )
        .bind(message_id)
        .bind(room_id)
        .fetch_optional(&self.readers)
        .await?)
    }

    pub(crate) async fn content_in_use(&self, content: String) -> StoreResult<bool> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM files WHERE content = $1) OR EXISTS (SELECT 1 FROM thumbnails WHERE content = $1)",
        )
        .bind(content)
        .fetch_one(&self.readers)
        .await?)
    }
}
