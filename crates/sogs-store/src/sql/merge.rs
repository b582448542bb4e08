//! Merge of the rights and bans in two rows of one person.

use super::Tx;
use super::people::{by_id, current, save};
use crate::{Id, OverrideRow, StoreResult, UserRow};

/// Time at which a ban ends by itself; `None` = never.
type End = Option<f64>;

/// The stricter of two bans: banned or not, and until when.
fn stricter(one: (bool, End), other: (bool, End)) -> (bool, End) {
    match (one.0, other.0) {
        (true, true) => (true, one.1.zip(other.1).map(|(one, other)| one.max(other))),
        (true, false) => one,
        _ => other,
    }
}

/// The end of a ban, of a room or (0) of the server.
async fn end(tx: &mut Tx<'_>, user_id: Id, room_id: Id) -> StoreResult<End> {
    Ok(sqlx::query_scalar(
        "SELECT MIN(at) FROM ban_futures WHERE user_id = $1 AND COALESCE(room_id, 0) = $2 AND NOT banned",
    )
    .bind(user_id)
    .bind(room_id)
    .fetch_one(&mut *tx.conn)
    .await?)
}

/// Leaves only this end of a ban scheduled for `stays`; what was scheduled for `goes` too goes with its row.
async fn set_end(tx: &mut Tx<'_>, stays: Id, goes: Id, room_id: Id, at: End) -> StoreResult<()> {
    sqlx::query(
        "DELETE FROM ban_futures WHERE user_id IN ($1, $2) AND COALESCE(room_id, 0) = $3 AND NOT banned",
    )
    .bind(stays)
    .bind(goes)
    .bind(room_id)
    .execute(&mut *tx.conn)
    .await?;
    if let Some(at) = at {
        sqlx::query("INSERT INTO ban_futures (room_id, user_id, at, banned) VALUES ($1, $2, $3, FALSE)")
            .bind((room_id != 0).then_some(room_id))
            .bind(stays)
            .bind(at)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

/// Rights and bans on the whole server. True when a rank on the server comes or goes.
pub(super) async fn merge_ban(tx: &mut Tx<'_>, stays: Id, goes: &UserRow) -> StoreResult<bool> {
    let Some(row) = by_id(tx.conn, stays).await? else {
        return Ok(false);
    };
    let (banned, until) = stricter(
        (row.banned, end(tx, stays, 0).await?),
        (goes.banned, end(tx, goes.id, 0).await?),
    );
    let ranked = row.moderator || goes.moderator;
    sqlx::query(
        "UPDATE users SET banned = $2, moderator = $3, admin = $4, visible_mod = $5, visited = $6 WHERE id = $1",
    )
    .bind(stays)
    .bind(banned)
    .bind(!banned && ranked)
    .bind(!banned && (row.admin || goes.admin))
    .bind(!banned && (row.moderator && row.visible_mod || goes.moderator && goes.visible_mod))
    .bind(row.visited || goes.visited)
    .execute(&mut *tx.conn)
    .await?;
    set_end(tx, stays, goes.id, 0, if banned { until } else { None }).await?;
    Ok(goes.moderator || (banned && row.moderator))
}

/// Merges one right of two rows: it is refused if either row refuses it, otherwise granted if either row grants it.
fn right(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one && other),
        (one, other) => one.or(other),
    }
}

/// Rights and bans in rooms.
pub(super) async fn merge_overrides(tx: &mut Tx<'_>, stays: Id, goes: Id) -> StoreResult<()> {
    let rooms: Vec<Id> = sqlx::query_scalar(
        "SELECT room_id FROM permission_overrides WHERE user_id = $1 \
         UNION SELECT room_id FROM ban_futures WHERE user_id = $1 AND room_id IS NOT NULL",
    )
    .bind(goes)
    .fetch_all(&mut *tx.conn)
    .await?;
    for room_id in rooms {
        let (one, other) = (
            current(tx, room_id, stays).await?,
            current(tx, room_id, goes).await?,
        );
        let (banned, until) = stricter(
            (one.banned, end(tx, stays, room_id).await?),
            (other.banned, end(tx, goes, room_id).await?),
        );
        let moderator = !banned && (one.moderator || other.moderator);
        let row = OverrideRow {
            room_id,
            user_id: stays,
            banned,
            read: right(one.read, other.read),
            accessible: right(one.accessible, other.accessible),
            write: right(one.write, other.write),
            upload: right(one.upload, other.upload),
            moderator,
            admin: moderator && (one.admin || other.admin),
            visible_mod: !moderator
                || one.moderator && one.visible_mod
                || other.moderator && other.visible_mod,
        };
        save(tx, &row).await?;
        set_end(tx, stays, goes, room_id, if banned { until } else { None }).await?;
    }
    // Bans that are still to come.
    sqlx::query("UPDATE ban_futures SET user_id = $2 WHERE user_id = $1")
        .bind(goes)
        .bind(stays)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}
