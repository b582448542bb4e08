//! Users: one row for each person, found under any of their ids.

use super::accounts::{claim, joined, known, present, show_as};
use super::{Conn, SqlStore, Tx};
use crate::store::{Change, Id, KnownKey, ModRow, OverrideRow, Person, StoreResult, UserFull, UserRow};

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
pub(super) use override_columns;

impl SqlStore {
    pub(crate) async fn user(&self, key: String) -> StoreResult<Option<UserFull>> {
        let mut conn = self.readers.acquire().await?;
        let found: Option<UserRow> = sqlx::query_as(user_columns!(
            "account_ids a JOIN users u ON u.id = a.user_id WHERE a.key = $1"
        ))
        .bind(key)
        .fetch_optional(&mut *conn)
        .await?;
        match found {
            Some(user) => Ok(Some(full(&mut conn, user).await?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn user_by_id(&self, user_id: Id) -> StoreResult<Option<UserFull>> {
        let mut conn = self.readers.acquire().await?;
        let user_id = present(&mut conn, user_id).await?;
        match by_id(&mut conn, user_id).await? {
            Some(user) => Ok(Some(full(&mut conn, user).await?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn known_keys(&self, keys: Vec<String>) -> StoreResult<Vec<KnownKey>> {
        let mut conn = self.readers.acquire().await?;
        known(&mut conn, &keys).await
    }

    pub(crate) async fn ensure_user(&self, person: Person, now: f64) -> StoreResult<(UserFull, bool)> {
        self.write((person, now), |tx, (person, now)| {
            Box::pin(ensure(tx, person, *now))
        })
        .await
    }

    pub(crate) async fn users_after(&self, user_id: Id, limit: i64) -> StoreResult<Vec<(Id, String)>> {
        Ok(
            sqlx::query_as("SELECT id, session_id FROM users WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(user_id)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?,
        )
    }

    pub(crate) async fn settle_users(&self, people: Vec<(Id, Person)>) -> StoreResult<()> {
        self.write(people, |mut tx, people| {
            Box::pin(async move {
                for (user_id, person) in people {
                    // A row that was joined with another a moment ago is settled.
                    if by_id(tx.conn, *user_id).await?.is_some() {
                        let id = joined(&mut tx, person, Some(*user_id)).await?.unwrap_or(*user_id);
                        claim(&mut tx, person, id).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn is_settled(&self) -> StoreResult<bool> {
        let noted: Option<String> = sqlx::query_scalar("SELECT value FROM community WHERE name = 'accounts'")
            .fetch_optional(&self.readers)
            .await?;
        Ok(noted.is_some())
    }

    pub(crate) async fn note_settled(&self) -> StoreResult<()> {
        self.write((), |tx, ()| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO community (name, value) VALUES ('accounts', 'settled') ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx.conn)
                .await?;
                Ok(())
            })
        })
        .await
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

pub(super) async fn by_id(conn: &mut Conn, id: Id) -> StoreResult<Option<UserRow>> {
    Ok(sqlx::query_as(user_columns!("users u WHERE u.id = $1"))
        .bind(id)
        .fetch_optional(conn)
        .await?)
}

async fn by_session_id(conn: &mut Conn, session_id: &str) -> StoreResult<Option<UserRow>> {
    Ok(sqlx::query_as(user_columns!("users u WHERE u.session_id = $1"))
        .bind(session_id)
        .fetch_optional(conn)
        .await?)
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

async fn ensure(mut tx: Tx<'_>, person: &Person, now: f64) -> StoreResult<(UserFull, bool)> {
    let known = match joined(&mut tx, person, None).await? {
        Some(id) => by_id(tx.conn, id).await?,
        // A row that nobody gave its keys yet, for instance the server's own.
        None => by_session_id(tx.conn, &person.session_id).await?,
    };
    let is_new = known.is_none();
    let row = match known {
        Some(row) => row,
        None => insert(&mut tx, person, now).await?,
    };
    claim(&mut tx, person, row.id).await?;
    if person.visits && row.is_better_shown_as(&person.session_id, person.blind) {
        show_as(&mut tx, &row, &person.session_id, now).await?;
    }
    let row = by_id(tx.conn, row.id).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok((full(tx.conn, row).await?, is_new))
}

async fn insert(tx: &mut Tx<'_>, person: &Person, now: f64) -> StoreResult<UserRow> {
    let id: Id = sqlx::query_scalar(
        "INSERT INTO users (session_id, created, last_active, visited) VALUES ($1, $2, $2, $3) RETURNING id",
    )
    .bind(&person.session_id)
    .bind(now)
    .bind(person.visits)
    .fetch_one(&mut *tx.conn)
    .await?;
    tx.changes.push(Change::User(id));
    Ok(by_id(tx.conn, id).await?.ok_or(sqlx::Error::RowNotFound)?)
}
