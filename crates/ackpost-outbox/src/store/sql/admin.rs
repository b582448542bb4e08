//! Setting up, deciding by hand, and clearing away.

use sqlx::Row as _;

use super::rows::{event, lock};
use super::tidy::Unneeded;
use super::{BLOB, Backend, ID, Tx};
use crate::store::{MIGRATIONS, NEVER, Prune, Remark, SCHEMA};

impl Backend {
    /// Makes the tables when there are none; several processes may do so together.
    pub(super) async fn migrate(&self) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        Self::lock_schema(&mut tx).await?;
        if !Self::has_tables(&mut tx).await? {
            let text =
                format!("CREATE TABLE outbox_meta (name TEXT PRIMARY KEY, value {BLOB} NOT NULL);\n{SCHEMA}");
            run(&mut tx, &text).await?;
            put_meta(&mut tx, "version", b"1").await?;
        }
        for (from, change) in (1_i64..).zip(MIGRATIONS) {
            let moved =
                sqlx::query("UPDATE outbox_meta SET value = $1 WHERE name = 'version' AND value = $2")
                    .bind((from + 1).to_string().into_bytes())
                    .bind(from.to_string().into_bytes())
                    .execute(&mut *tx)
                    .await?;
            if moved.rows_affected() > 0 {
                run(&mut tx, change).await?;
            }
        }
        tx.commit().await
    }

    /// A stored setting; stores `default` when there is none.
    pub(crate) async fn meta(
        &self,
        name: &str,
        default: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, sqlx::Error> {
        let mut tx = self.begin().await?;
        if let Some(default) = default {
            put_meta(&mut tx, name, default).await?;
        }
        let value = sqlx::query_scalar("SELECT value FROM outbox_meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(value)
    }

    /// The ids of everything in these states.
    pub(crate) async fn ids(&self, states: &[i64]) -> Result<Vec<String>, sqlx::Error> {
        let states = states.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        // The states are numbers of ours.
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT id FROM outbox_entry WHERE state IN ({states}) ORDER BY seq"
        )))
        .fetch_all(&self.reader)
        .await
    }

    /// Retries dead entries, and waiting ones at once. Returns the number of entries.
    pub(crate) async fn retry(&self, ids: &[String], now: i64, ttl_ms: i64) -> Result<u64, sqlx::Error> {
        let mut tx = self.begin().await?;
        let mut changed = 0;
        for (id, lane) in in_order(&mut tx, ids).await? {
            // Its lane, not its place in it: what was accepted later and is already there stays there.
            let rows = sqlx::query(
                "UPDATE outbox_entry SET state = 1, due_at = $2, hold = 0, settled_at = NULL, alarmed = 0, \
                 expires_at = CASE WHEN state = 3 OR expires_at <= $2 THEN $3 ELSE expires_at END \
                 WHERE id = $1 AND state IN (1, 3) AND sealed IS NOT NULL",
            )
            .bind(&id)
            .bind(now)
            .bind(now + ttl_ms)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if rows > 0 {
                changed += rows;
                wake(&mut tx, &lane, now).await?;
                event(&mut tx, now, &id, "retried").await?;
            }
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// Drops entries that are not delivered, and returns their number.
    pub(crate) async fn drop_entries(&self, ids: &[String], now: i64) -> Result<u64, sqlx::Error> {
        let mut tx = self.begin().await?;
        let (mut changed, mut unneeded) = (0, Unneeded::default());
        for (id, lane) in in_order(&mut tx, ids).await? {
            let held: Option<(Option<String>, Option<i64>)> = sqlx::query_as(
                "SELECT bundle, shared FROM outbox_entry WHERE id = $1 AND state IN (0, 1, 3)",
            )
            .bind(&id)
            .fetch_optional(&mut *tx)
            .await?;
            let Some((bundle, shared)) = held else { continue };
            sqlx::query("UPDATE outbox_entry SET state = 4, settled_at = $2, sealed = NULL, bundle = NULL WHERE id = $1")
                .bind(&id)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            unneeded.bundles.extend(bundle);
            unneeded.shares.extend(shared);
            wake(&mut tx, &lane, now).await?;
            event(&mut tx, now, &id, "dropped").await?;
            changed += 1;
        }
        tx.commit().await?;
        self.tidy(unneeded).await;
        Ok(changed)
    }

    /// Ends the pauses after failed attempts, so that everything is tried now. Times that a server asked for, quiet
    /// hours and budgets still count.
    pub(crate) async fn pull_forward(&self, now: i64) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        let lanes: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT DISTINCT lane FROM outbox_entry WHERE state = 1 AND hold = 1 AND due_at > $1 ORDER BY lane")
                .bind(now)
                .fetch_all(&mut *tx)
                .await?;
        for lane in lanes {
            wake(&mut tx, &lane, now).await?;
            sqlx::query(
                "UPDATE outbox_entry SET due_at = $2, hold = 0 WHERE lane = $1 AND state = 1 AND hold = 1",
            )
            .bind(&lane)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await
    }

    /// Removes what has been settled for long, and the log of it.
    pub(crate) async fn prune(&self, prune: &Prune) -> Result<u64, sqlx::Error> {
        let mut tx = self.begin().await?;
        let mut removed = 0;
        for (states, before) in [("2, 4, 5", prune.done_before), ("3", prune.dead_before)] {
            removed += sqlx::query(sqlx::AssertSqlSafe(format!(
                "DELETE FROM outbox_entry WHERE seq IN (SELECT seq FROM outbox_entry WHERE state IN ({states}) AND settled_at < $1 \
                 ORDER BY seq LIMIT $2)"
            )))
            .bind(before)
            .bind(prune.limit)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        }
        for sql in [
            "DELETE FROM outbox_event WHERE at < $1",
            "DELETE FROM outbox_window WHERE until_at < $1",
            "DELETE FROM outbox_file WHERE $1 = $1 AND bundle NOT IN (SELECT bundle FROM outbox_entry WHERE bundle IS NOT NULL)",
            "DELETE FROM outbox_shared WHERE $1 = $1 AND id NOT IN (SELECT shared FROM outbox_entry WHERE shared IS NOT NULL)",
        ] {
            sqlx::query(sql).bind(prune.done_before).execute(&mut *tx).await?;
        }
        for (sql, before) in [
            ("DELETE FROM outbox_link WHERE at < $1", prune.links_before),
            // A message that still waits may yet lead to its context.
            (
                "DELETE FROM outbox_context WHERE at < $1 AND id NOT IN \
                 (SELECT context FROM outbox_entry WHERE context IS NOT NULL AND state IN (0, 1)) \
                 AND id NOT IN (SELECT context FROM outbox_link)",
                prune.links_before,
            ),
            ("DELETE FROM outbox_gesture WHERE at < $1", prune.gestures_before),
            ("DELETE FROM outbox_act WHERE at < $1", prune.acts_before),
        ] {
            sqlx::query(sql).bind(before).execute(&mut *tx).await?;
        }
        sqlx::query(
            "UPDATE outbox_shared SET sealed = $1 WHERE LENGTH(sealed) > 0 AND id NOT IN \
             (SELECT shared FROM outbox_entry WHERE shared IS NOT NULL AND sealed IS NOT NULL)",
        )
        .bind(Vec::<u8>::new())
        .execute(&mut *tx)
        .await?;
        // A lane without entries is kept a while: its stamps and its budget count on.
        sqlx::query(
            "DELETE FROM outbox_lane WHERE due_at = $1 AND last_stamp < $2 AND leased_by IS NULL \
             AND NOT EXISTS (SELECT 1 FROM outbox_entry WHERE outbox_entry.lane = outbox_lane.id)",
        )
        .bind(NEVER)
        .bind(prune.done_before)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// Writes a setting that no part of the program reads.
    pub(crate) async fn probe(&self) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM outbox_meta WHERE name = 'probe'")
            .execute(&mut *tx)
            .await?;
        put_meta(&mut tx, "probe", b"").await?;
        tx.commit().await
    }

    /// A line in the log that belongs to no entry.
    pub(crate) async fn log(&self, now: i64, kind: &str, sealed: &[u8]) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO outbox_event (at, entry, kind, detail) VALUES ($1, '', $2, $3)")
            .bind(now)
            .bind(kind)
            .bind(sealed)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    /// Logs and counts a remark about an entry. Nothing happens where there is no such entry any more.
    pub(crate) async fn remark(
        &self,
        now: i64,
        entry: &str,
        remark: Remark,
        sealed: &[u8],
    ) -> Result<(), sqlx::Error> {
        let (kind, count) = match remark {
            Remark::Repeated => (
                "repeated",
                Some("UPDATE outbox_counter SET repeated = repeated + 1 WHERE service = $1"),
            ),
            Remark::Late => (
                "late",
                Some("UPDATE outbox_counter SET late = late + 1 WHERE service = $1"),
            ),
            Remark::Note => ("note", None),
        };
        let mut tx = self.begin().await?;
        let service: Option<String> = sqlx::query_scalar("SELECT service FROM outbox_entry WHERE id = $1")
            .bind(entry)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(service) = service else {
            return tx.commit().await;
        };
        sqlx::query("INSERT INTO outbox_event (at, entry, kind, detail) VALUES ($1, $2, $3, $4)")
            .bind(now)
            .bind(entry)
            .bind(kind)
            .bind(sealed)
            .execute(&mut *tx)
            .await?;
        if let Some(count) = count {
            sqlx::query(count).bind(service).execute(&mut *tx).await?;
        }
        tx.commit().await
    }
}

/// Entries with their lanes, in the order in which lanes are locked everywhere; the lanes are locked.
async fn in_order(tx: &mut Tx, ids: &[String]) -> Result<Vec<(String, Vec<u8>)>, sqlx::Error> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let row = sqlx::query("SELECT seq, lane FROM outbox_entry WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut **tx)
            .await?;
        if let Some(row) = row {
            found.push((
                row.try_get::<Vec<u8>, _>("lane")?,
                row.try_get::<i64, _>("seq")?,
                id.clone(),
            ));
        }
    }
    found.sort();
    for (lane, _, _) in &found {
        lock(tx, lane).await?;
    }
    Ok(found.into_iter().map(|(lane, _, id)| (id, lane)).collect())
}

/// Lets a lane be looked at now.
async fn wake(tx: &mut Tx, lane: &[u8], now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE outbox_lane SET due_at = $2, held_until = 0 WHERE id = $1")
        .bind(lane)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Runs a script of this crate.
async fn run(tx: &mut Tx, text: &str) -> Result<(), sqlx::Error> {
    let text = text.replace("{id}", ID).replace("{blob}", BLOB);
    for statement in statements(&text) {
        // The text is a file of this crate.
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn put_meta(tx: &mut Tx, name: &str, value: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO outbox_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(value)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The statements of a script without its comments.
fn statements(text: &str) -> Vec<String> {
    let bare: String = text
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    bare.split(';')
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
        .map(str::to_owned)
        .collect()
}
