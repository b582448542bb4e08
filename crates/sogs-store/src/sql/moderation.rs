//! Permissions, moderators, bans, and what is scheduled of them.

use super::accounts::present;
use super::people::{current, save};
use super::{SqlStore, Tx, bump_all_info, bump_info};
use crate::{
    Change, FuturePermission, FutureRow, Id, ModChange, OverrideRow, PermissionPatch, PermissionRow,
    RoomDefaults, StoreResult, Where,
};

#[derive(sqlx::FromRow)]
struct NamedOverride {
    session_id: String,
    #[sqlx(flatten)]
    row: OverrideRow,
}

#[derive(sqlx::FromRow)]
struct Scheduled {
    session_id: String,
    at: f64,
    can_read: Option<bool>,
    can_write: Option<bool>,
    can_upload: Option<bool>,
}

impl SqlStore {
    pub(crate) async fn permissions(&self, room_id: Id) -> StoreResult<Vec<PermissionRow>> {
        let rows: Vec<NamedOverride> = sqlx::query_as(
            "SELECT u.session_id, p.room_id, p.user_id, p.banned, p.can_read, p.can_access, p.can_write, p.can_upload, \
             p.moderator, p.admin, p.visible_mod FROM permission_overrides p JOIN users u ON u.id = p.user_id \
             WHERE p.room_id = $1 ORDER BY u.session_id",
        )
        .bind(room_id)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows
            .into_iter()
            .map(|named| PermissionRow {
                session_id: named.session_id,
                row: named.row,
            })
            .collect())
    }

    pub(crate) async fn set_permissions(
        &self,
        room_id: Id,
        user_id: Id,
        patch: PermissionPatch,
    ) -> StoreResult<()> {
        self.write((room_id, user_id, patch), |mut tx, (room_id, user_id, patch)| {
            Box::pin(async move {
                let user_id = present(tx.conn, *user_id).await?;
                set(&mut tx, *room_id, user_id, patch).await
            })
        })
        .await
    }

    pub(crate) async fn futures(&self, room_id: Id, user_id: Option<Id>) -> StoreResult<Vec<FutureRow>> {
        let mut conn = self.readers.acquire().await?;
        let any = match user_id {
            Some(user_id) => present(&mut conn, user_id).await?,
            None => -1,
        };
        let changes: Vec<Scheduled> = sqlx::query_as(
            "SELECT u.session_id, f.at, f.can_read, f.can_write, f.can_upload FROM permission_futures f \
             JOIN users u ON u.id = f.user_id WHERE f.room_id = $1 AND ($2 = -1 OR f.user_id = $2) ORDER BY f.at, f.id",
        )
        .bind(room_id)
        .bind(any)
        .fetch_all(&mut *conn)
        .await?;
        let bans: Vec<(String, f64, bool)> = sqlx::query_as(
            "SELECT u.session_id, f.at, f.banned FROM ban_futures f JOIN users u ON u.id = f.user_id \
             WHERE f.room_id = $1 AND ($2 = -1 OR f.user_id = $2) ORDER BY f.at, f.id",
        )
        .bind(room_id)
        .bind(any)
        .fetch_all(&mut *conn)
        .await?;
        let mut rows: Vec<FutureRow> = changes
            .into_iter()
            .map(|row| FutureRow {
                session_id: row.session_id,
                change: FuturePermission {
                    at: row.at,
                    read: row.can_read,
                    write: row.can_write,
                    upload: row.can_upload,
                },
                banned: None,
            })
            .chain(bans.into_iter().map(|(session_id, at, banned)| FutureRow {
                session_id,
                change: FuturePermission {
                    at,
                    read: None,
                    write: None,
                    upload: None,
                },
                banned: Some(banned),
            }))
            .collect();
        rows.sort_by(|a, b| a.change.at.total_cmp(&b.change.at));
        Ok(rows)
    }

    pub(crate) async fn add_future(
        &self,
        room_id: Id,
        user_id: Id,
        change: FuturePermission,
    ) -> StoreResult<()> {
        self.write((room_id, user_id, change), |tx, (room_id, user_id, change)| {
            Box::pin(async move {
                let user_id = present(tx.conn, *user_id).await?;
                sqlx::query(
                    "INSERT INTO permission_futures (room_id, user_id, at, can_read, can_write, can_upload) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(*room_id)
                .bind(user_id)
                .bind(change.at)
                .bind(change.read)
                .bind(change.write)
                .bind(change.upload)
                .execute(&mut *tx.conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn set_moderator(
        &self,
        user_id: Id,
        place: Where,
        change: ModChange,
    ) -> StoreResult<Vec<(Id, i64)>> {
        self.write((user_id, place, change), |mut tx, (user_id, place, change)| {
            Box::pin(async move {
                let user_id = &present(tx.conn, *user_id).await?;
                match place {
                    Where::Rooms(rooms) => {
                        let mut updates = Vec::with_capacity(rooms.len());
                        for room_id in rooms {
                            updates.push((*room_id, room_mod(&mut tx, *room_id, *user_id, *change).await?));
                        }
                        Ok(updates)
                    }
                    Where::Global => {
                        global_mod(&mut tx, *user_id, *change).await?;
                        let rows: Vec<(Id, i64)> =
                            sqlx::query_as("SELECT id, info_updates FROM rooms ORDER BY token_key")
                                .fetch_all(&mut *tx.conn)
                                .await?;
                        Ok(rows)
                    }
                }
            })
        })
        .await
    }

    pub(crate) async fn ban(&self, user_id: Id, place: Where, until: Option<f64>) -> StoreResult<()> {
        self.write((user_id, place, until), |mut tx, (user_id, place, until)| {
            Box::pin(async move {
                let user_id = &present(tx.conn, *user_id).await?;
                match place {
                    Where::Rooms(rooms) => {
                        for room_id in rooms {
                            room_ban(&mut tx, *room_id, *user_id).await?;
                            reschedule(&mut tx, Some(*room_id), *user_id, *until).await?;
                        }
                    }
                    Where::Global => {
                        global_ban(&mut tx, *user_id).await?;
                        reschedule(&mut tx, None, *user_id, *until).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn unban(&self, user_id: Id, place: Where) -> StoreResult<()> {
        self.write((user_id, place), |mut tx, (user_id, place)| {
            Box::pin(async move {
                let user_id = &present(tx.conn, *user_id).await?;
                match place {
                    Where::Rooms(rooms) => {
                        for room_id in rooms {
                            room_unban(&mut tx, *room_id, *user_id).await?;
                        }
                        Ok(())
                    }
                    Where::Global => global_unban(&mut tx, *user_id).await,
                }
            })
        })
        .await
    }
}

pub(super) async fn set(
    tx: &mut Tx<'_>,
    room_id: Id,
    user_id: Id,
    patch: &PermissionPatch,
) -> StoreResult<()> {
    let mut row = current(tx, room_id, user_id).await?;
    row.read = patch.read.unwrap_or(row.read);
    row.accessible = patch.accessible.unwrap_or(row.accessible);
    row.write = patch.write.unwrap_or(row.write);
    row.upload = patch.upload.unwrap_or(row.upload);
    save(tx, &row).await?;
    if patch.keep_scheduled {
        return Ok(());
    }
    for (set, text) in [
        (
            patch.read,
            "UPDATE permission_futures SET can_read = NULL WHERE room_id = $1 AND user_id = $2",
        ),
        (
            patch.write,
            "UPDATE permission_futures SET can_write = NULL WHERE room_id = $1 AND user_id = $2",
        ),
        (
            patch.upload,
            "UPDATE permission_futures SET can_upload = NULL WHERE room_id = $1 AND user_id = $2",
        ),
    ] {
        if set.is_some() {
            sqlx::query(text)
                .bind(room_id)
                .bind(user_id)
                .execute(&mut *tx.conn)
                .await?;
        }
    }
    sqlx::query(
        "DELETE FROM permission_futures WHERE room_id = $1 AND user_id = $2 \
         AND can_read IS NULL AND can_write IS NULL AND can_upload IS NULL",
    )
    .bind(room_id)
    .bind(user_id)
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Applies the due part of a schedule to a user's permissions.
pub(super) async fn apply_future(
    tx: &mut Tx<'_>,
    room_id: Id,
    user_id: Id,
    change: &FuturePermission,
) -> StoreResult<()> {
    let mut row = current(tx, room_id, user_id).await?;
    let defaults: Option<RoomDefaults> =
        sqlx::query_as("SELECT can_read, can_access, can_write, can_upload FROM rooms WHERE id = $1")
            .bind(room_id)
            .fetch_optional(&mut *tx.conn)
            .await?;
    let Some(defaults) = defaults else { return Ok(()) };
    // A value equal to the room's default is not stored: the person follows the room when its default changes.
    let due = |set: Option<bool>, kept: Option<bool>, default: bool| match set {
        Some(value) if value == default => None,
        Some(value) => Some(value),
        None => kept,
    };
    row.read = due(change.read, row.read, defaults.read);
    row.write = due(change.write, row.write, defaults.write);
    row.upload = due(change.upload, row.upload, defaults.upload);
    save(tx, &row).await
}

async fn room_mod(tx: &mut Tx<'_>, room_id: Id, user_id: Id, change: ModChange) -> StoreResult<i64> {
    let old = current(tx, room_id, user_id).await?;
    let mut row = old;
    match change {
        ModChange::Appoint { admin, visible } => {
            row.moderator = true;
            row.admin = admin.unwrap_or(row.admin);
            row.visible_mod = visible;
            row.banned = false;
        }
        ModChange::Dismiss => {
            row.moderator = false;
            row.admin = false;
            row.visible_mod = true;
        }
        ModChange::Demote => row.admin = false,
    }
    if row != old {
        save(tx, &row).await?;
    }
    let shown = |row: &OverrideRow| (row.moderator, row.admin, row.moderator && row.visible_mod);
    bump_info(tx, room_id, i64::from(shown(&row) != shown(&old))).await
}

async fn global_mod(tx: &mut Tx<'_>, user_id: Id, change: ModChange) -> StoreResult<()> {
    let old: Option<(bool, bool, bool)> =
        sqlx::query_as("SELECT moderator, admin, visible_mod FROM users WHERE id = $1")
            .bind(user_id)
            .fetch_optional(&mut *tx.conn)
            .await?;
    let Some(old) = old else { return Ok(()) };
    let new = match change {
        ModChange::Appoint { admin, visible } => (true, admin.unwrap_or(old.1), visible),
        ModChange::Dismiss => (false, false, false),
        ModChange::Demote => (old.0, false, old.2),
    };
    if new == old {
        return Ok(());
    }
    if new.0 {
        global_unban(tx, user_id).await?;
    }
    sqlx::query("UPDATE users SET moderator = $2, admin = $3, visible_mod = $4 WHERE id = $1")
        .bind(user_id)
        .bind(new.0)
        .bind(new.1)
        .bind(new.2)
        .execute(&mut *tx.conn)
        .await?;
    tx.changes.push(Change::User(user_id));
    bump_all_info(tx, 1).await
}

pub(super) async fn room_ban(tx: &mut Tx<'_>, room_id: Id, user_id: Id) -> StoreResult<()> {
    let mut row = current(tx, room_id, user_id).await?;
    let was_mod = row.moderator;
    row.banned = true;
    row.moderator = false;
    row.admin = false;
    row.visible_mod = true;
    save(tx, &row).await?;
    sqlx::query("DELETE FROM room_users WHERE room_id = $1 AND user_id = $2")
        .bind(room_id)
        .bind(user_id)
        .execute(&mut *tx.conn)
        .await?;
    if was_mod {
        bump_info(tx, room_id, 1).await?;
    }
    Ok(())
}

pub(super) async fn room_unban(tx: &mut Tx<'_>, room_id: Id, user_id: Id) -> StoreResult<()> {
    let mut row = current(tx, room_id, user_id).await?;
    if row.banned {
        row.banned = false;
        save(tx, &row).await?;
    }
    Ok(())
}

pub(super) async fn global_ban(tx: &mut Tx<'_>, user_id: Id) -> StoreResult<()> {
    let was_mod: Option<bool> = sqlx::query_scalar("SELECT moderator FROM users WHERE id = $1")
        .bind(user_id)
        .fetch_optional(&mut *tx.conn)
        .await?;
    sqlx::query("UPDATE users SET banned = TRUE, moderator = FALSE, admin = FALSE WHERE id = $1")
        .bind(user_id)
        .execute(&mut *tx.conn)
        .await?;
    tx.changes.push(Change::User(user_id));
    if was_mod == Some(true) {
        bump_all_info(tx, 1).await?;
    }
    Ok(())
}

pub(super) async fn global_unban(tx: &mut Tx<'_>, user_id: Id) -> StoreResult<()> {
    sqlx::query("UPDATE users SET banned = FALSE WHERE id = $1")
        .bind(user_id)
        .execute(&mut *tx.conn)
        .await?;
    tx.changes.push(Change::User(user_id));
    Ok(())
}

/// A new ban replaces what was scheduled for the old one.
pub(super) async fn reschedule(
    tx: &mut Tx<'_>,
    room_id: Option<Id>,
    user_id: Id,
    until: Option<f64>,
) -> StoreResult<()> {
    match room_id {
        Some(room_id) => {
            sqlx::query("DELETE FROM ban_futures WHERE user_id = $1 AND room_id = $2")
                .bind(user_id)
                .bind(room_id)
                .execute(&mut *tx.conn)
                .await?;
        }
        None => {
            sqlx::query("DELETE FROM ban_futures WHERE user_id = $1 AND room_id IS NULL")
                .bind(user_id)
                .execute(&mut *tx.conn)
                .await?;
        }
    }
    if let Some(at) = until {
        sqlx::query("INSERT INTO ban_futures (room_id, user_id, at, banned) VALUES ($1, $2, $3, FALSE)")
            .bind(room_id)
            .bind(user_id)
            .bind(at)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}
