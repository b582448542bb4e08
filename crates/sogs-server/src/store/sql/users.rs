//! Users, and how one person's several ids find each other.

use super::{Conn, SqlStore, Tx, bump_all_info, bump_info};
use crate::store::{Aliases, Change, Id, ModRow, OverrideRow, StoreResult, UserFull, UserRow};

macro_rules! user_columns {
    () => {
        "id, session_id, created, last_active, banned, moderator, admin, visible_mod"
    };
}

macro_rules! override_columns {
    () => {
        "room_id, user_id, banned, can_read, can_access, can_write, can_upload, moderator, admin, visible_mod"
    };
}
pub(super) use override_columns;

impl SqlStore {
    pub(crate) async fn user(&self, session_id: String) -> StoreResult<Option<UserFull>> {
        let mut conn = self.readers.acquire().await?;
        match by_session_id(&mut conn, &session_id).await? {
            Some(user) => Ok(Some(full(&mut conn, user).await?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn user_by_id(&self, user_id: Id) -> StoreResult<Option<UserFull>> {
        let mut conn = self.readers.acquire().await?;
        match by_id(&mut conn, user_id).await? {
            Some(user) => Ok(Some(full(&mut conn, user).await?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn ensure_user(
        &self,
        session_id: String,
        pending: Option<String>,
        now: f64,
    ) -> StoreResult<UserFull> {
        self.write((session_id, pending, now), |tx, (session_id, pending, now)| {
            Box::pin(ensure(tx, session_id, pending.as_deref(), *now))
        })
        .await
    }

    pub(crate) async fn resolve_user(
        &self,
        session_id: String,
        aliases: Aliases,
        create: bool,
        now: f64,
    ) -> StoreResult<Option<UserFull>> {
        let mut conn = self.readers.acquire().await?;
        for id in aliases.candidates.iter().chain([&session_id]) {
            if let Some(user) = by_session_id(&mut conn, id).await? {
                return Ok(Some(full(&mut conn, user).await?));
            }
        }
        drop(conn);
        if !create {
            return Ok(None);
        }
        self.write((session_id, aliases, now), |tx, (session_id, aliases, now)| {
            Box::pin(remember(tx, session_id, aliases, *now))
        })
        .await
        .map(Some)
    }

    pub(crate) async fn global_mods(&self) -> StoreResult<Vec<ModRow>> {
        Ok(sqlx::query_as(
            "SELECT id AS user_id, session_id, admin, visible_mod AS visible, TRUE AS global \
             FROM users WHERE moderator ORDER BY session_id",
        )
        .fetch_all(&self.readers)
        .await?)
    }
}

async fn by_session_id(conn: &mut Conn, session_id: &str) -> StoreResult<Option<UserRow>> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users WHERE session_id = $1"
    ))
    .bind(session_id)
    .fetch_optional(conn)
    .await?)
}

async fn by_id(conn: &mut Conn, id: Id) -> StoreResult<Option<UserRow>> {
    Ok(
        sqlx::query_as(concat!("SELECT ", user_columns!(), " FROM users WHERE id = $1"))
            .bind(id)
            .fetch_optional(conn)
            .await?,
    )
}

async fn full(conn: &mut Conn, user: UserRow) -> StoreResult<UserFull> {
    let overrides: Vec<OverrideRow> = sqlx::query_as(concat!(
        "SELECT ",
        override_columns!(),
        " FROM permission_overrides WHERE user_id = $1"
    ))
    .bind(user.id)
    .fetch_all(conn)
    .await?;
    Ok(UserFull { user, overrides })
}

async fn insert(conn: &mut Conn, session_id: &str, now: f64) -> StoreResult<Option<UserRow>> {
    Ok(sqlx::query_as(concat!(
        "INSERT INTO users (session_id, created, last_active) VALUES ($1, $2, $2) \
         ON CONFLICT (session_id) DO NOTHING RETURNING ",
        user_columns!()
    ))
    .bind(session_id)
    .bind(now)
    .fetch_optional(conn)
    .await?)
}

async fn ensure(mut tx: Tx<'_>, session_id: &str, pending: Option<&str>, now: f64) -> StoreResult<UserFull> {
    let user = if let Some(new) = insert(tx.conn, session_id, now).await? {
        if let Some(key) = pending {
            take_over(&mut tx, key, new.id).await?;
        }
        by_id(tx.conn, new.id).await?.unwrap_or(new)
    } else {
        by_session_id(tx.conn, session_id)
            .await?
            .ok_or(sqlx::Error::RowNotFound)?
    };
    full(tx.conn, user).await
}

/// Makes a user that nobody has seen yet, to be recognised under the pending keys.
async fn remember(tx: Tx<'_>, session_id: &str, aliases: &Aliases, now: f64) -> StoreResult<UserFull> {
    for id in aliases.candidates.iter().map(String::as_str).chain([session_id]) {
        if let Some(user) = by_session_id(tx.conn, id).await? {
            return full(tx.conn, user).await;
        }
    }
    let Some(user) = insert(tx.conn, session_id, now).await? else {
        return Err(sqlx::Error::RowNotFound.into());
    };
    for key in &aliases.pending {
        sqlx::query("INSERT INTO needs_blinding (blinded, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(user.id)
            .execute(&mut *tx.conn)
            .await?;
    }
    tx.changes.push(Change::User(user.id));
    full(tx.conn, user).await
}

/// A person known by another id until now shows up under this one: rights, bans and schedules go over.
async fn take_over(tx: &mut Tx<'_>, key: &str, new_id: Id) -> StoreResult<()> {
    let waiting: Option<Id> =
        sqlx::query_scalar("DELETE FROM needs_blinding WHERE blinded = $1 RETURNING user_id")
            .bind(key)
            .fetch_optional(&mut *tx.conn)
            .await?;
    let Some(old_id) = waiting else { return Ok(()) };
    let Some(old) = by_id(tx.conn, old_id).await? else {
        return Ok(());
    };
    let moderated: Vec<Id> =
        sqlx::query_scalar("SELECT room_id FROM permission_overrides WHERE user_id = $1 AND moderator")
            .bind(old_id)
            .fetch_all(&mut *tx.conn)
            .await?;
    sqlx::query("UPDATE users SET banned = $2, moderator = $3, admin = $4, visible_mod = $5 WHERE id = $1")
        .bind(new_id)
        .bind(old.banned)
        .bind(old.moderator)
        .bind(old.admin)
        .bind(old.visible_mod)
        .execute(&mut *tx.conn)
        .await?;
    if old.session_id.starts_with("05") {
        // The account id itself never comes: everything moves. Another blinded form of it may still come.
        sqlx::query("UPDATE users SET banned = FALSE, moderator = FALSE, admin = FALSE, visible_mod = FALSE WHERE id = $1")
            .bind(old_id)
            .execute(&mut *tx.conn)
            .await?;
        for text in [
            "UPDATE permission_overrides SET user_id = $2 WHERE user_id = $1",
            "UPDATE permission_futures SET user_id = $2 WHERE user_id = $1",
            "UPDATE ban_futures SET user_id = $2 WHERE user_id = $1",
            "UPDATE needs_blinding SET user_id = $2 WHERE user_id = $1",
        ] {
            sqlx::query(text)
                .bind(old_id)
                .bind(new_id)
                .execute(&mut *tx.conn)
                .await?;
        }
    } else {
        for text in [
            concat!(
                "INSERT INTO permission_overrides (",
                override_columns!(),
                ") SELECT room_id, $2, banned, can_read, can_access, can_write, can_upload, moderator, admin, visible_mod \
                 FROM permission_overrides WHERE user_id = $1"
            ),
            "INSERT INTO permission_futures (room_id, user_id, at, can_read, can_write, can_upload) \
             SELECT room_id, $2, at, can_read, can_write, can_upload FROM permission_futures WHERE user_id = $1",
            "INSERT INTO ban_futures (room_id, user_id, at, banned) SELECT room_id, $2, at, banned \
             FROM ban_futures WHERE user_id = $1",
        ] {
            sqlx::query(text)
                .bind(old_id)
                .bind(new_id)
                .execute(&mut *tx.conn)
                .await?;
        }
    }
    tx.changes.extend([Change::User(old_id), Change::User(new_id)]);
    if old.moderator {
        bump_all_info(tx, 1).await?;
    } else {
        for room_id in moderated {
            bump_info(tx, room_id, 1).await?;
        }
    }
    Ok(())
}
