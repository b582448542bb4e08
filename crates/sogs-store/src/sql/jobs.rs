//! Jobs that the server runs by itself: expiry, schedules, activity.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::moderation::{apply_future, global_ban, global_unban, room_ban, room_unban};
use super::{SqlStore, Tx, fact, set_fact};
use crate::{Change, Cleaned, CleanupPlan, FuturePermission, Id, LastSeen, StoreResult};

#[derive(sqlx::FromRow)]
struct DuePermission {
    id: Id,
    room_id: Id,
    user_id: Id,
    at: f64,
    can_read: Option<bool>,
    can_write: Option<bool>,
    can_upload: Option<bool>,
}

/// Rows of one round, so that requests get between two rounds.
const TOUCH_ROWS: usize = 200;

impl SqlStore {
    pub(crate) async fn touch(&self, seen: Vec<LastSeen>) -> StoreResult<()> {
        for part in seen.chunks(TOUCH_ROWS) {
            self.write(part.to_vec(), |tx, seen| Box::pin(touch(tx, seen)))
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn cleanup(&self, plan: CleanupPlan) -> StoreResult<Cleaned> {
        let active = self.activity(&plan).await?;
        if !self.anything_due(&plan).await? && active.is_empty() {
            return Ok(Cleaned::default());
        }
        self.write((plan, active), |tx, (plan, active)| {
            Box::pin(clean(tx, plan, active))
        })
        .await
    }

    /// Rooms whose number of active users changed.
    async fn activity(&self, plan: &CleanupPlan) -> StoreResult<Vec<(Id, i64)>> {
        Ok(sqlx::query_as(
            "SELECT r.id, COALESCE(a.users, 0) FROM rooms r LEFT JOIN (SELECT room_id, COUNT(*) AS users FROM room_users \
             WHERE last_active >= $1 GROUP BY room_id) a ON a.room_id = r.id WHERE r.active_users <> COALESCE(a.users, 0)",
        )
        .bind(plan.active_since)
        .fetch_all(&self.readers)
        .await?)
    }

    async fn anything_due(&self, plan: &CleanupPlan) -> StoreResult<bool> {
        let mut conn = self.readers.acquire().await?;
        for text in [
            "SELECT 1 FROM files WHERE expiry <= $1 LIMIT 1",
            "SELECT 1 FROM inbox WHERE expiry <= $1 LIMIT 1",
            "SELECT 1 FROM permission_futures WHERE at <= $1 LIMIT 1",
            "SELECT 1 FROM ban_futures WHERE at <= $1 LIMIT 1",
        ] {
            if sqlx::query(text)
                .bind(plan.now)
                .fetch_optional(&mut *conn)
                .await?
                .is_some()
            {
                return Ok(true);
            }
        }
        let history = sqlx::query("SELECT 1 FROM message_history WHERE replaced <= $1 LIMIT 1")
            .bind(plan.history_before)
            .fetch_optional(&mut *conn)
            .await?;
        let nonces = sqlx::query("SELECT 1 FROM nonces WHERE stamp < $1 LIMIT 1")
            .bind(plan.nonces_before)
            .fetch_optional(&mut *conn)
            .await?;
        let activity = sqlx::query("SELECT 1 FROM room_users WHERE last_active <= $1 LIMIT 1")
            .bind(plan.activity_before)
            .fetch_optional(&mut *conn)
            .await?;
        Ok(history.is_some() || nonces.is_some() || activity.is_some())
    }
}

async fn touch(tx: Tx<'_>, seen: &[LastSeen]) -> StoreResult<()> {
    // A statement writes a row once; the latest time counts.
    let mut rooms = BTreeMap::new();
    let mut people = BTreeMap::new();
    for one in seen {
        let latest: &mut f64 = match one.room_id {
            Some(room_id) => rooms.entry((one.user_id, room_id)).or_insert(one.at),
            None => people.entry(one.user_id).or_insert(one.at),
        };
        *latest = latest.max(one.at);
    }
    // A user or a room that went meanwhile must not spoil it for the others.
    if !rooms.is_empty() {
        let text = format!(
            "INSERT INTO room_users (room_id, user_id, last_active) \
             SELECT r.id, u.id, v.column3 FROM (VALUES {}) AS v \
             JOIN users u ON u.id = v.column1 JOIN rooms r ON r.id = v.column2 WHERE TRUE \
             ON CONFLICT (room_id, user_id) DO UPDATE SET last_active = excluded.last_active \
             WHERE room_users.last_active < excluded.last_active",
            parameters(rooms.len(), 3)
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(rooms.len() == TOUCH_ROWS);
        for ((user_id, room_id), at) in rooms {
            query = query.bind(user_id).bind(room_id).bind(at);
        }
        query.execute(&mut *tx.conn).await?;
    }
    if !people.is_empty() {
        let text = format!(
            "UPDATE users SET last_active = v.column2 FROM (VALUES {}) AS v \
             WHERE users.id = v.column1 AND users.last_active < v.column2",
            parameters(people.len(), 2)
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(people.len() == TOUCH_ROWS);
        for (user_id, at) in people {
            query = query.bind(user_id).bind(at);
        }
        query.execute(&mut *tx.conn).await?;
    }
    Ok(())
}

/// The parameters of rows of values: `($1, $2), ($3, $4)`.
fn parameters(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let numbers: Vec<String> = (1..=columns)
            .map(|column| format!("${}", row * columns + column))
            .collect();
        format!("({})", numbers.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

async fn clean(mut tx: Tx<'_>, plan: &CleanupPlan, active: &[(Id, i64)]) -> StoreResult<Cleaned> {
    let mut done = Cleaned::default();
    expire_files(&mut tx, plan.now, &mut done).await?;
    let gone = sqlx::query("DELETE FROM inbox WHERE expiry <= $1")
        .bind(plan.now)
        .execute(&mut *tx.conn)
        .await?;
    done.direct_messages = gone.rows_affected();
    sqlx::query("DELETE FROM message_history WHERE replaced <= $1")
        .bind(plan.history_before)
        .execute(&mut *tx.conn)
        .await?;
    sqlx::query("DELETE FROM room_users WHERE last_active <= $1")
        .bind(plan.activity_before)
        .execute(&mut *tx.conn)
        .await?;
    forget_nonces(&mut tx, plan).await?;
    done.permissions = due_permissions(&mut tx, plan.now).await?;
    done.bans = due_bans(&mut tx, plan.now).await?;
    for (room_id, active_users) in active {
        sqlx::query("UPDATE rooms SET active_users = $2 WHERE id = $1")
            .bind(*room_id)
            .bind(*active_users)
            .execute(&mut *tx.conn)
            .await?;
        tx.changes.push(Change::Activity {
            room_id: *room_id,
            active_users: *active_users,
        });
    }
    Ok(done)
}

/// Removes files that are due, with their small versions.
async fn expire_files(tx: &mut Tx<'_>, now: f64, done: &mut Cleaned) -> StoreResult<()> {
    let small: Vec<String> = sqlx::query_scalar(
        "DELETE FROM thumbnails WHERE file_id IN (SELECT id FROM files WHERE expiry <= $1) RETURNING content",
    )
    .bind(now)
    .fetch_all(&mut *tx.conn)
    .await?;
    let contents: Vec<String> = sqlx::query_scalar("DELETE FROM files WHERE expiry <= $1 RETURNING content")
        .bind(now)
        .fetch_all(&mut *tx.conn)
        .await?;
    done.files = contents.len() as u64;
    for content in contents.into_iter().chain(small) {
        let used: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM files WHERE content = $1 UNION ALL SELECT file_id FROM thumbnails WHERE content = $1 LIMIT 1",
        )
        .bind(&content)
        .fetch_optional(&mut *tx.conn)
        .await?;
        if used.is_none() && !done.contents.contains(&content) {
            done.contents.push(content);
        }
    }
    Ok(())
}

/// Forgets old nonces, and notes up to when: what was forgotten must not be accepted again.
async fn forget_nonces(tx: &mut Tx<'_>, plan: &CleanupPlan) -> StoreResult<()> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(stamp) FROM nonces WHERE stamp < $1")
        .bind(plan.nonces_before)
        .fetch_one(&mut *tx.conn)
        .await?;
    set_fact(tx.conn, "nonce_clock", &plan.nonce_clock.to_string()).await?;
    let Some(newest) = newest else { return Ok(()) };
    sqlx::query("DELETE FROM nonces WHERE stamp < $1")
        .bind(plan.nonces_before)
        .execute(&mut *tx.conn)
        .await?;
    let known: Option<i64> = fact(tx.conn, "nonces_from")
        .await?
        .and_then(|text| text.parse().ok());
    let oldest = known.unwrap_or(0).max(newest + 1);
    set_fact(tx.conn, "nonces_from", &oldest.to_string()).await
}

async fn due_permissions(tx: &mut Tx<'_>, now: f64) -> StoreResult<u64> {
    let due: Vec<DuePermission> = sqlx::query_as(
        "SELECT id, room_id, user_id, at, can_read, can_write, can_upload FROM permission_futures \
         WHERE at <= $1 ORDER BY at, id",
    )
    .bind(now)
    .fetch_all(&mut *tx.conn)
    .await?;
    for row in &due {
        let change = FuturePermission {
            at: row.at,
            read: row.can_read,
            write: row.can_write,
            upload: row.can_upload,
        };
        apply_future(tx, row.room_id, row.user_id, &change).await?;
        sqlx::query("DELETE FROM permission_futures WHERE id = $1")
            .bind(row.id)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(due.len() as u64)
}

async fn due_bans(tx: &mut Tx<'_>, now: f64) -> StoreResult<u64> {
    let due: Vec<(Id, Option<Id>, Id, bool)> =
        sqlx::query_as("SELECT id, room_id, user_id, banned FROM ban_futures WHERE at <= $1 ORDER BY at, id")
            .bind(now)
            .fetch_all(&mut *tx.conn)
            .await?;
    for (id, room_id, user_id, banned) in &due {
        match (room_id, banned) {
            (Some(room_id), true) => room_ban(tx, *room_id, *user_id).await?,
            (Some(room_id), false) => room_unban(tx, *room_id, *user_id).await?,
            (None, true) => global_ban(tx, *user_id).await?,
            (None, false) => global_unban(tx, *user_id).await?,
        }
        sqlx::query("DELETE FROM ban_futures WHERE id = $1")
            .bind(*id)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(due.len() as u64)
}
