//! Rooms, their moderators and pins.

use super::accounts::present;
use super::{SqlStore, Tx, bump_info};
use crate::{
    Change, Id, ModRow, NewRoom, PinRow, Pinned, RoomFull, RoomPatch, RoomPatched, RoomRow, StoreResult,
};

macro_rules! room_columns {
    () => {
        "id, token, name, description, image_id, created, message_sequence, info_updates, active_users, \
         can_read, can_access, can_write, can_upload, for_moderators"
    };
}

impl SqlStore {
    pub(crate) async fn rooms(&self) -> StoreResult<Vec<RoomRow>> {
        Ok(sqlx::query_as(concat!(
            "SELECT ",
            room_columns!(),
            " FROM rooms ORDER BY token_key"
        ))
        .fetch_all(&self.readers)
        .await?)
    }

    pub(crate) async fn room_by_token(&self, token: String) -> StoreResult<Option<RoomRow>> {
        Ok(sqlx::query_as(concat!(
            "SELECT ",
            room_columns!(),
            " FROM rooms WHERE token_key = $1"
        ))
        .bind(token.to_ascii_lowercase())
        .fetch_optional(&self.readers)
        .await?)
    }

    pub(crate) async fn room_full(&self, room_id: Id) -> StoreResult<Option<RoomFull>> {
        let mut conn = self.readers.acquire().await?;
        let room: Option<RoomRow> =
            sqlx::query_as(concat!("SELECT ", room_columns!(), " FROM rooms WHERE id = $1"))
                .bind(room_id)
                .fetch_optional(&mut *conn)
                .await?;
        let Some(room) = room else { return Ok(None) };
        let own: Vec<ModRow> = sqlx::query_as(
            "SELECT p.user_id, u.session_id, p.admin, p.visible_mod AS visible, FALSE AS global \
             FROM permission_overrides p JOIN users u ON u.id = p.user_id \
             WHERE p.room_id = $1 AND p.moderator ORDER BY u.session_id",
        )
        .bind(room_id)
        .fetch_all(&mut *conn)
        .await?;
        let global: Vec<ModRow> = sqlx::query_as(
            "SELECT id AS user_id, session_id, admin, visible_mod AS visible, TRUE AS global \
             FROM users WHERE moderator ORDER BY session_id",
        )
        .fetch_all(&mut *conn)
        .await?;
        let pins: Vec<PinRow> = sqlx::query_as(
            "SELECT p.message_id, p.pinned_at, u.session_id AS pinned_by \
             FROM pinned_messages p JOIN users u ON u.id = p.pinned_by \
             WHERE p.room_id = $1 ORDER BY p.pinned_at, p.message_id",
        )
        .bind(room_id)
        .fetch_all(&mut *conn)
        .await?;
        Ok(Some(RoomFull {
            room,
            mods: merge(own, global),
            pins,
        }))
    }

    pub(crate) async fn create_room(&self, new: NewRoom) -> StoreResult<Option<Id>> {
        self.write(new, |tx, new| Box::pin(create(tx, new))).await
    }

    pub(crate) async fn delete_room(&self, room_id: Id) -> StoreResult<bool> {
        self.write(room_id, |tx, room_id| Box::pin(delete(tx, *room_id)))
            .await
    }

    pub(crate) async fn patch_room(&self, room_id: Id, patch: RoomPatch) -> StoreResult<RoomPatched> {
        self.write((room_id, patch), |tx, (room_id, patch)| {
            Box::pin(update(tx, *room_id, patch))
        })
        .await
    }

    pub(crate) async fn pin(
        &self,
        room_id: Id,
        message_id: Id,
        user_id: Id,
        now: f64,
    ) -> StoreResult<Pinned> {
        self.write((room_id, message_id, user_id, now), |tx, args| {
            Box::pin(pin(tx, *args))
        })
        .await
    }

    pub(crate) async fn patch_rooms(&self, rooms: Vec<Id>, patch: RoomPatch) -> StoreResult<()> {
        self.write((rooms, patch), |tx, (rooms, patch)| {
            Box::pin(async move {
                for room_id in rooms {
                    let tx = Tx {
                        conn: &mut *tx.conn,
                        changes: &mut *tx.changes,
                    };
                    update(tx, *room_id, patch).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn unpin(
        &self,
        room_id: Id,
        message_id: Option<Id>,
        files_expire: Option<f64>,
    ) -> StoreResult<Pinned> {
        self.write(
            (room_id, message_id, files_expire),
            |tx, (room_id, message_id, files_expire)| {
                Box::pin(unpin(tx, *room_id, *message_id, *files_expire))
            },
        )
        .await
    }
}

/// One entry per person: the room's own appointment decides visibility, either makes an admin.
fn merge(own: Vec<ModRow>, global: Vec<ModRow>) -> Vec<ModRow> {
    let mut mods = own;
    for other in global {
        if let Some(known) = mods.iter_mut().find(|known| known.user_id == other.user_id) {
            known.admin |= other.admin;
            known.global = true;
        } else {
            mods.push(other);
        }
    }
    mods.sort_by(|a, b| a.session_id.cmp(&b.session_id));
    mods
}

async fn create(tx: Tx<'_>, new: &NewRoom) -> StoreResult<Option<Id>> {
    let id: Option<Id> = sqlx::query_scalar(
        "INSERT INTO rooms (token, token_key, name, description, created, can_read, can_access, can_write, can_upload) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (token_key) DO NOTHING RETURNING id",
    )
    .bind(&new.token)
    .bind(new.token.to_ascii_lowercase())
    .bind(&new.name)
    .bind(new.description.as_deref())
    .bind(new.now)
    .bind(new.defaults.read)
    .bind(new.defaults.accessible)
    .bind(new.defaults.write)
    .bind(new.defaults.upload)
    .fetch_optional(&mut *tx.conn)
    .await?;
    tx.changes.push(Change::Everything);
    Ok(id)
}

async fn delete(tx: Tx<'_>, room_id: Id) -> StoreResult<bool> {
    sqlx::query("UPDATE files SET expiry = 0.0 WHERE room_id = $1")
        .bind(room_id)
        .execute(&mut *tx.conn)
        .await?;
    // Rows with references to messages go first, because not every reference cascades cheaply.
    for text in [
        "DELETE FROM user_reactions WHERE reaction_id IN (SELECT id FROM reactions WHERE room_id = $1)",
        "DELETE FROM reactions WHERE room_id = $1",
        "DELETE FROM pinned_messages WHERE room_id = $1",
        "DELETE FROM message_history WHERE message_id IN (SELECT id FROM messages WHERE room_id = $1)",
        "UPDATE files SET message_id = NULL WHERE room_id = $1",
        "DELETE FROM messages WHERE room_id = $1",
    ] {
        sqlx::query(text).bind(room_id).execute(&mut *tx.conn).await?;
    }
    let gone = sqlx::query("DELETE FROM rooms WHERE id = $1")
        .bind(room_id)
        .execute(&mut *tx.conn)
        .await?;
    tx.changes.push(Change::Everything);
    Ok(gone.rows_affected() > 0)
}

async fn update(mut tx: Tx<'_>, room_id: Id, patch: &RoomPatch) -> StoreResult<RoomPatched> {
    let row: Option<RoomRow> =
        sqlx::query_as(concat!("SELECT ", room_columns!(), " FROM rooms WHERE id = $1"))
            .bind(room_id)
            .fetch_optional(&mut *tx.conn)
            .await?;
    let Some(mut room) = row else {
        return Ok(RoomPatched::NoRoom);
    };
    let mut updates = 0;
    if let Some(image) = patch.image {
        if let Some(file_id) = image {
            let file: Option<Id> = sqlx::query_scalar("SELECT id FROM files WHERE id = $1 AND room_id = $2")
                .bind(file_id)
                .bind(room_id)
                .fetch_optional(&mut *tx.conn)
                .await?;
            if file.is_none() {
                return Ok(RoomPatched::NoFile);
            }
        }
        if room.image_id != image {
            expire_image(&mut tx, room.image_id, image).await?;
            room.image_id = image;
            updates += 1;
        }
    }
    if let Some(name) = patch.name.as_ref().filter(|name| **name != room.name) {
        room.name.clone_from(name);
        updates += 1;
    }
    if let Some(description) = patch
        .description
        .as_ref()
        .filter(|text| **text != room.description)
    {
        room.description.clone_from(description);
        updates += 1;
    }
    let defaults = &mut room.defaults;
    for (value, target) in [
        (patch.read, &mut defaults.read),
        (patch.accessible, &mut defaults.accessible),
        (patch.write, &mut defaults.write),
        (patch.upload, &mut defaults.upload),
    ] {
        *target = value.unwrap_or(*target);
    }
    sqlx::query(
        "UPDATE rooms SET name = $2, description = $3, image_id = $4, can_read = $5, can_access = $6, \
         can_write = $7, can_upload = $8 WHERE id = $1",
    )
    .bind(room_id)
    .bind(&room.name)
    .bind(room.description.as_deref())
    .bind(room.image_id)
    .bind(room.defaults.read)
    .bind(room.defaults.accessible)
    .bind(room.defaults.write)
    .bind(room.defaults.upload)
    .execute(&mut *tx.conn)
    .await?;
    Ok(RoomPatched::Done(bump_info(&mut tx, room_id, updates).await?))
}

/// The new picture stays; the old one goes with the next cleanup, unless it is the attachment of a message.
async fn expire_image(tx: &mut Tx<'_>, old: Option<Id>, new: Option<Id>) -> StoreResult<()> {
    if let Some(old) = old {
        sqlx::query(
            "UPDATE files SET expiry = 0.0 WHERE id = $1 AND (message_id IS NULL \
             OR NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = files.message_id AND m.data IS NOT NULL))",
        )
        .bind(old)
        .execute(&mut *tx.conn)
        .await?;
    }
    if let Some(new) = new {
        sqlx::query("UPDATE files SET expiry = NULL WHERE id = $1")
            .bind(new)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

pub(super) async fn pin(
    mut tx: Tx<'_>,
    (room_id, message_id, user_id, now): (Id, Id, Id, f64),
) -> StoreResult<Pinned> {
    let found: Option<Id> = sqlx::query_scalar(
        "SELECT id FROM messages WHERE id = $1 AND room_id = $2 AND data IS NOT NULL AND NOT filtered \
         AND whisper_to IS NULL AND NOT whisper_mods",
    )
    .bind(message_id)
    .bind(room_id)
    .fetch_optional(&mut *tx.conn)
    .await?;
    if found.is_none() {
        return Ok(Pinned::NoMessage);
    }
    let user_id = present(tx.conn, user_id).await?;
    sqlx::query(
        "INSERT INTO pinned_messages (room_id, message_id, pinned_by, pinned_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (room_id, message_id) DO UPDATE SET pinned_by = excluded.pinned_by, pinned_at = excluded.pinned_at",
    )
    .bind(room_id)
    .bind(message_id)
    .bind(user_id)
    .bind(now)
    .execute(&mut *tx.conn)
    .await?;
    sqlx::query("UPDATE files SET expiry = NULL WHERE message_id = $1")
        .bind(message_id)
        .execute(&mut *tx.conn)
        .await?;
    Ok(Pinned::Done {
        changed: 1,
        info_updates: bump_info(&mut tx, room_id, 1).await?,
    })
}

async fn unpin(
    mut tx: Tx<'_>,
    room_id: Id,
    message_id: Option<Id>,
    files_expire: Option<f64>,
) -> StoreResult<Pinned> {
    let gone: Vec<Id> = match message_id {
        Some(id) => {
            sqlx::query_scalar(
                "DELETE FROM pinned_messages WHERE room_id = $1 AND message_id = $2 RETURNING message_id",
            )
            .bind(room_id)
            .bind(id)
            .fetch_all(&mut *tx.conn)
            .await?
        }
        None => {
            sqlx::query_scalar("DELETE FROM pinned_messages WHERE room_id = $1 RETURNING message_id")
                .bind(room_id)
                .fetch_all(&mut *tx.conn)
                .await?
        }
    };
    for id in &gone {
        // Its files expire again, with their whole lifetime from now on: counted from their upload, those of an old
        // message would be gone in seconds. A room picture stays.
        sqlx::query(
            "UPDATE files SET expiry = $2 WHERE message_id = $1 \
             AND id NOT IN (SELECT image_id FROM rooms WHERE image_id IS NOT NULL)",
        )
        .bind(id)
        .bind(files_expire)
        .execute(&mut *tx.conn)
        .await?;
    }
    let changed = i64::try_from(gone.len()).unwrap_or(i64::MAX);
    Ok(Pinned::Done {
        changed,
        info_updates: bump_info(&mut tx, room_id, changed).await?,
    })
}
