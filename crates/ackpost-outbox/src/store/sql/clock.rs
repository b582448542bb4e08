//! Moving every time of what waits when the wall clock was set.

use sqlx::Row as _;

use super::{Backend, Tx};
use crate::clock::ServerReading;
use crate::store::NEVER;

/// Reading of the clock by the latest process that looked.
struct ClockReading<'a> {
    boot: &'a str,
    /// Time by which the wall clock was ahead of the clock that cannot be set.
    ahead: i64,
    /// Time that the wall clock showed.
    now: i64,
}

impl Backend {
    /// Compares the clock with what the latest process saw, and moves all times by the difference if it is at least
    /// `jump`. Returns by how many milliseconds.
    pub(crate) async fn follow_clock(
        &self,
        boot: &str,
        now: i64,
        ahead: i64,
        jump: i64,
    ) -> Result<i64, sqlx::Error> {
        let mut tx = self.begin().await?;
        Self::lock_schema(&mut tx).await?;
        let stored = text(&mut tx, "clock").await?;
        let moved = match stored.as_deref().and_then(ClockReading::read) {
            Some(seen) if seen.boot == boot => ahead - seen.ahead,
            // Time passed while the machine was off. The amount is unknown, but it was not negative.
            Some(seen) => (now - latest(&mut tx, seen.now).await?).min(0),
            None => 0,
        };
        let moved = if moved.abs() < jump { 0 } else { moved };
        if moved != 0 {
            move_times(&mut tx, moved).await?;
        }
        put(&mut tx, "clock", format!("{ahead} {now} {boot}")).await?;
        tx.commit().await?;
        Ok(moved)
    }

    /// Compares the clock of the database server with what this process saw before, or else with what the latest process
    /// of this machine saw. If the clock was set, and no process has moved the times since, moves all times by as much.
    /// Returns by how many milliseconds; `None` if another process moved them since the reading.
    pub(crate) async fn follow_server(
        &self,
        reading: &ServerReading<'_>,
    ) -> Result<Option<i64>, sqlx::Error> {
        let mut tx = self.begin().await?;
        Self::lock_schema(&mut tx).await?;
        let before = number(text(&mut tx, "server moved").await?.map(String::into_bytes));
        if before != reading.moved {
            return Ok(None);
        }
        let stored = text(&mut tx, "server clock").await?;
        let stored = stored.as_deref().and_then(ClockReading::read);
        let moved = match (reading.last, stored) {
            (Some(last), _) => reading.ahead - last,
            (None, Some(seen)) if seen.boot == reading.boot => reading.ahead - seen.ahead,
            // Nobody knows how much time passed, but it was not negative.
            (None, Some(seen)) => (reading.now - latest(&mut tx, seen.now).await?).min(0),
            (None, None) => 0,
        };
        let moved = if moved.abs() < reading.jump { 0 } else { moved };
        if moved != 0 {
            move_times(&mut tx, moved).await?;
            put(&mut tx, "server moved", (before + moved).to_string()).await?;
        }
        let line = format!("{} {} {}", reading.ahead - moved, reading.now, reading.boot);
        put(&mut tx, "server clock", line).await?;
        tx.commit().await?;
        Ok(Some(moved))
    }
}

/// A number that is stored as text; 0 if there is none.
pub(super) fn number(bytes: Option<Vec<u8>>) -> i64 {
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

async fn text(tx: &mut Tx, name: &str) -> Result<Option<String>, sqlx::Error> {
    let stored: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM outbox_meta WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(stored.and_then(|bytes| String::from_utf8(bytes).ok()))
}

async fn put(tx: &mut Tx, name: &str, value: String) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO outbox_meta (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value.into_bytes())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

impl<'a> ClockReading<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        Some(Self {
            ahead: words.next()?.parse().ok()?,
            now: words.next()?.parse().ok()?,
            boot: words.next()?,
        })
    }
}

/// The latest time that is known to have passed. Lines of the log from before the latest move show another clock.
async fn latest(tx: &mut Tx, seen: i64) -> Result<i64, sqlx::Error> {
    let moved_after = number(text(tx, "events before move").await?.map(String::into_bytes));
    let logged: Option<i64> = sqlx::query_scalar("SELECT MAX(at) FROM outbox_event WHERE seq > $1")
        .bind(moved_after)
        .fetch_one(&mut **tx)
        .await?;
    Ok(logged.unwrap_or(seen).max(seen))
}

/// Lanes come first and in one order, as everywhere, so that two processes never wait for each other.
async fn move_times(tx: &mut Tx, by: i64) -> Result<(), sqlx::Error> {
    let lanes = sqlx::query("SELECT id, recent FROM outbox_lane ORDER BY id")
        .fetch_all(&mut **tx)
        .await?;
    for lane in lanes {
        let recent: Vec<u8> = lane.try_get("recent")?;
        let moved: Vec<u8> = recent
            .chunks_exact(8)
            .filter_map(|time| time.try_into().ok().map(i64::from_le_bytes))
            .flat_map(|time| time.saturating_add(by).to_le_bytes())
            .collect();
        sqlx::query(
            "UPDATE outbox_lane SET recent = $3, \
             due_at = CASE WHEN due_at < $4 THEN due_at + $2 ELSE due_at END, \
             held_until = CASE WHEN held_until > 0 THEN held_until + $2 ELSE 0 END, \
             leased_until = CASE WHEN leased_until > 0 THEN leased_until + $2 ELSE 0 END, \
             failing_since = failing_since + $2, alarmed_at = alarmed_at + $2, \
             last_stamp = CASE WHEN last_stamp > 0 THEN last_stamp + $2 ELSE last_stamp END WHERE id = $1",
        )
        .bind(lane.try_get::<Vec<u8>, _>("id")?)
        .bind(by)
        .bind(moved)
        .bind(NEVER)
        .execute(&mut **tx)
        .await?;
    }
    for sql in [
        "UPDATE outbox_entry SET accepted_at = accepted_at + $1, due_at = due_at + $1, expires_at = expires_at + $1 \
         WHERE state IN (0, 1)",
        "UPDATE outbox_entry SET settled_at = settled_at + $1 WHERE state NOT IN (0, 1)",
        // Pieces are fixed by the first attempt where the stamp is beside the row.
        "UPDATE outbox_entry SET stamp = stamp + $1 WHERE state = 1 AND attempts = 0 AND stamp > 0",
        "UPDATE outbox_window SET until_at = until_at + $1",
    ] {
        sqlx::query(sql).bind(by).execute(&mut **tx).await?;
    }
    let last: Option<i64> = sqlx::query_scalar("SELECT MAX(seq) FROM outbox_event")
        .fetch_one(&mut **tx)
        .await?;
    put(tx, "events before move", last.unwrap_or(0).to_string()).await
}
