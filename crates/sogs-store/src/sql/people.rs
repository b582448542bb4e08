//! Rows of people, and of what they are allowed in single rooms.

use super::{Conn, Tx};
use crate::{Change, Id, OverrideRow, StoreResult, UserRow};

macro_rules! user_columns {
    ($from:literal) => {
        concat!(
            "SELECT u.id, u.session_id, u.created, u.last_active, u.banned, u.moderator, u.admin, u.visible_mod, u.visited FROM ",
            $from
        )
    };
}

macro_rules! override_columns {
    () => {
        "room_id, user_id, banned, can_read, can_access, can_write, can_upload, moderator, admin, visible_mod"
    };
}
pub(super) use {override_columns, user_columns};

pub(super) async fn by_id(conn: &mut Conn, id: Id) -> StoreResult<Option<UserRow>> {
    Ok(sqlx::query_as(user_columns!("users u WHERE u.id = $1"))
        .bind(id)
        .fetch_optional(conn)
        .await?)
}

pub(super) async fn current(tx: &mut Tx<'_>, room_id: Id, user_id: Id) -> StoreResult<OverrideRow> {
    let row: Option<OverrideRow> = sqlx::query_as(concat!(
        "SELECT ",
        override_columns!(),
        " FROM permission_overrides WHERE room_id = $1 AND user_id = $2"
    ))
    .bind(room_id)
    .bind(user_id)
    .fetch_optional(&mut *tx.conn)
    .await?;
    Ok(row.unwrap_or(OverrideRow::none(room_id, user_id)))
}

/// Stores an override, or removes it when it changes nothing.
pub(super) async fn save(tx: &mut Tx<'_>, row: &OverrideRow) -> StoreResult<()> {
    tx.changes.push(Change::User(row.user_id));
    let says_something = row.banned
        || row.moderator
        || row.admin
        || [row.read, row.accessible, row.write, row.upload]
            .iter()
            .any(Option::is_some);
    if !says_something {
        sqlx::query("DELETE FROM permission_overrides WHERE room_id = $1 AND user_id = $2")
            .bind(row.room_id)
            .bind(row.user_id)
            .execute(&mut *tx.conn)
            .await?;
        return Ok(());
    }
    sqlx::query(concat!(
        "INSERT INTO permission_overrides (",
        override_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (room_id, user_id) DO UPDATE SET \
         banned = excluded.banned, can_read = excluded.can_read, can_access = excluded.can_access, \
         can_write = excluded.can_write, can_upload = excluded.can_upload, moderator = excluded.moderator, \
         admin = excluded.admin, visible_mod = excluded.visible_mod"
    ))
    .bind(row.room_id)
    .bind(row.user_id)
    .bind(row.banned)
    .bind(row.read)
    .bind(row.accessible)
    .bind(row.write)
    .bind(row.upload)
    .bind(row.moderator)
    .bind(row.admin)
    .bind(row.visible_mod)
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}
