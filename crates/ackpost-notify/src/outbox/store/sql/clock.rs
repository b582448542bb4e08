//! Moving every time of what waits when the wall clock was set.

use sqlx::Row as _;

use super::{Backend, Tx};
use crate::outbox::store::NEVER;

/// Where the clock stood when somebody looked last.
struct Seen<'a> {
    boot: &'a str,
    /// How far the wall clock was ahead of the clock that nobody can set.
    ahead: i64,
    /// What the wall clock showed.
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
        let stored: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT value FROM outbox_meta WHERE name = 'clock'")
                .fetch_optional(&mut *tx)
                .await?;
        let stored = stored.and_then(|bytes| String::from_utf8(bytes).ok());
        let moved = match stored.as_deref().and_then(Seen::read) {
            Some(seen) if seen.boot == boot => ahead - seen.ahead,
            // Time passed while the machine was off: nobody knows how much, but it was not negative.
            Some(seen) => (now - latest(&mut tx, seen.now).await?).min(0),
            None => 0,
        };
        let moved = if moved.abs() < jump { 0 } else { moved };
        if moved != 0 {
            move_times(&mut tx, moved).await?;
        }
        sqlx::query(
            "INSERT INTO outbox_meta (name, value) VALUES ('clock', $1) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(format!("{ahead} {now} {boot}").into_bytes())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(moved)
    }
}

impl<'a> Seen<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        Some(Self {
            ahead: words.next()?.parse().ok()?,
            now: words.next()?.parse().ok()?,
            boot: words.next()?,
        })
    }
}

/// The latest time that is known to have passed.
async fn latest(tx: &mut Tx, seen: i64) -> Result<i64, sqlx::Error> {
    let logged: Option<i64> = sqlx::query_scalar("SELECT MAX(at) FROM outbox_event")
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
             failing_since = failing_since + $2, alarmed_at = alarmed_at + $2 WHERE id = $1",
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
        "UPDATE outbox_window SET until_at = until_at + $1",
    ] {
        sqlx::query(sql).bind(by).execute(&mut **tx).await?;
    }
    Ok(())
}
