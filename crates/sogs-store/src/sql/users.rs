//! Users: one row for each person, found under any of their ids.

use super::accounts::{KEYS, claim, joined, known, present, show_as};
use super::people::{by_id, override_columns, user_columns};
use super::{Conn, SqlStore, Tx};
use crate::{Change, Id, KnownKey, ModRow, OverrideRow, Person, StoreError, StoreResult, UserFull, UserRow};

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

    pub(crate) async fn noted_ids(&self, user_id: Id) -> StoreResult<Vec<String>> {
        Ok(sqlx::query_scalar(
            "SELECT session_id FROM users WHERE id = $1 UNION SELECT key FROM account_ids WHERE user_id = $1 \
             UNION SELECT session_id FROM joined_users WHERE user_id = $1",
        )
        .bind(user_id)
        .fetch_all(&self.readers)
        .await?)
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
                        let id = joined(&mut tx, person, Some(*user_id))
                            .await?
                            .map_or(*user_id, |row| row.id);
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

pub(super) async fn ensure(mut tx: Tx<'_>, person: &Person, now: f64) -> StoreResult<(UserFull, bool)> {
    if let Some(user) = insert_new(&mut tx, person, now).await? {
        claim(&mut tx, person, user.id).await?;
        let overrides = Vec::new();
        return Ok((UserFull { user, overrides }, true));
    }
    let known = match joined(&mut tx, person, None).await? {
        Some(row) => Some(row),
        // A row that nobody gave its keys yet, for instance the server's own.
        None => by_session_id(tx.conn, &person.session_id).await?,
    };
    let row = known.ok_or(sqlx::Error::RowNotFound)?;
    claim(&mut tx, person, row.id).await?;
    if person.visits && row.is_better_shown_as(&person.session_id, person.blind) {
        show_as(&mut tx, &row, &person.session_id, now).await?;
    }
    let row = by_id(tx.conn, row.id).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok((full(tx.conn, row).await?, false))
}

/// Inserts the row of a person of whom no key is known; `None` if one is.
async fn insert_new(tx: &mut Tx<'_>, person: &Person, now: f64) -> StoreResult<Option<UserRow>> {
    let keys = person.all_keys();
    let Some(first) = keys.first().filter(|_| keys.len() <= KEYS) else {
        return Err(StoreError::Statement(format!("a person has {} keys", keys.len())));
    };
    let mut query = sqlx::query_as(
        "INSERT INTO users (session_id, created, last_active, visited) SELECT $1, $2, $2, $3 \
         WHERE NOT EXISTS (SELECT 1 FROM account_ids WHERE key IN ($4, $5, $6, $7, $8, $9, $10, $11)) \
         AND NOT EXISTS (SELECT 1 FROM users WHERE session_id = $1) \
         RETURNING id, session_id, created, last_active, banned, moderator, admin, visible_mod, visited",
    )
    .bind(&person.session_id)
    .bind(now)
    .bind(person.visits);
    for place in 0..KEYS {
        query = query.bind(keys.get(place).unwrap_or(first));
    }
    let row: Option<UserRow> = query.fetch_optional(&mut *tx.conn).await?;
    tx.changes.extend(row.as_ref().map(|row| Change::User(row.id)));
    Ok(row)
}
