//! Looking, without changing anything.

use sqlx::Row as _;

use super::{Backend, Row};
use crate::store::{ContentRow, EntryPage, EventRow, LaneRow, SHARED_EVENT, View};
use crate::types::{ServiceStats, Stats};

const VIEW: &str = "SELECT e.seq, e.id, e.service, e.state, e.accepted_at, e.due_at, e.expires_at, e.settled_at, e.attempts, e.maybe_sent, \
    e.pieces, e.pieces_done, e.folded, e.hold, e.shared, e.target_no, e.label, e.outcome, l.leased_until FROM outbox_entry e \
    JOIN outbox_lane l ON l.id = e.lane ";

impl Backend {
    /// Returns one entry.
    pub(crate) async fn entry(&self, id: &str) -> Result<Option<View>, sqlx::Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{VIEW}WHERE e.id = $1")))
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| view(&row)).transpose()
    }

    /// Returns the sealed content of one entry.
    pub(crate) async fn content(&self, id: &str) -> Result<Option<ContentRow>, sqlx::Error> {
        let row = sqlx::query("SELECT sealed, shared FROM outbox_entry WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| {
            Ok(ContentRow {
                sealed: row.try_get("sealed")?,
                share: row.try_get("shared")?,
            })
        })
        .transpose()
    }

    /// A page of entries, newest first.
    pub(crate) async fn entries(&self, wanted: &EntryPage) -> Result<Vec<View>, sqlx::Error> {
        // The states are numbers of ours.
        let states = wanted
            .states
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{VIEW}WHERE e.state IN ({states}) AND e.seq < $1 ORDER BY e.seq DESC LIMIT $2"
        )))
        .bind(wanted.before)
        .bind(wanted.limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(view).collect()
    }

    /// The log of one entry (with the id of the row it shares), or of all after a number.
    pub(crate) async fn events(
        &self,
        entry: Option<(&str, Option<i64>)>,
        since: i64,
        limit: i64,
    ) -> Result<Vec<EventRow>, sqlx::Error> {
        const ONE: &str = "SELECT seq, at, entry, kind, detail FROM outbox_event \
            WHERE (entry = $1 OR entry = $2) AND seq > $3 ORDER BY seq LIMIT $4";
        const ALL: &str = "SELECT seq, at, entry, kind, detail FROM outbox_event \
            WHERE $1 = $2 AND seq > $3 ORDER BY seq LIMIT $4";
        let (sql, entry, shared) = match entry {
            Some((id, Some(share))) => (ONE, id, format!("{SHARED_EVENT}{share}")),
            Some((id, None)) => (ONE, id, id.to_owned()),
            None => (ALL, "", String::new()),
        };
        let rows = sqlx::query(sql)
            .bind(entry)
            .bind(shared)
            .bind(since)
            .bind(limit)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(event).collect()
    }

    /// The latest lines of the log, oldest first.
    pub(crate) async fn latest_events(&self, limit: i64) -> Result<Vec<EventRow>, sqlx::Error> {
        let rows =
            sqlx::query("SELECT seq, at, entry, kind, detail FROM outbox_event ORDER BY seq DESC LIMIT $1")
                .bind(limit)
                .fetch_all(&self.reader)
                .await?;
        rows.iter().rev().map(event).collect()
    }

    /// Returns the counts.
    pub(crate) async fn stats(&self, now: i64) -> Result<Stats, sqlx::Error> {
        let mut stats = Stats::default();
        let counts: Vec<(i64, i64)> =
            sqlx::query_as("SELECT state, COUNT(*) FROM outbox_entry GROUP BY state")
                .fetch_all(&self.reader)
                .await?;
        for (state, count) in counts {
            let count = unsigned(count);
            match state {
                0 => stats.collecting = count,
                1 => stats.waiting = count,
                2 => stats.delivered = count,
                3 => stats.dead = count,
                5 => stats.partial = count,
                _ => stats.dropped = count,
            }
        }
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT MIN(accepted_at) FROM outbox_entry WHERE state = 1")
                .fetch_one(&self.reader)
                .await?;
        stats.oldest_waiting_seconds = oldest.map(|oldest| unsigned(now - oldest) / 1000);
        let lanes: (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(CAST(SUM(CASE WHEN failures > 0 THEN 1 ELSE 0 END) AS BIGINT), 0) FROM outbox_lane \
             WHERE due_at < $1",
        )
        .bind(crate::store::NEVER)
        .fetch_one(&self.reader)
        .await?;
        stats.lanes = unsigned(lanes.0);
        stats.failing_lanes = unsigned(lanes.1);
        let rows = sqlx::query("SELECT * FROM outbox_counter ORDER BY service")
            .fetch_all(&self.reader)
            .await?;
        for row in rows {
            let number = |name: &str| row.try_get::<i64, _>(name).map(unsigned);
            let mut latency = [0; 7];
            for (class, count) in latency.iter_mut().enumerate() {
                *count = number(&format!("latency_{class}"))?;
            }
            stats.services.push(ServiceStats {
                service: row.try_get("service")?,
                delivered: number("delivered")?,
                handed_over: number("handed_over")?,
                partial: number("partial")?,
                repeated: number("repeated")?,
                late: number("late")?,
                deferred: number("deferred")?,
                refused: number("refused")?,
                expired: number("expired")?,
                attempts: number("attempts")?,
                latency_ms_sum: number("latency_ms")?,
                latency,
            });
        }
        Ok(stats)
    }

    /// Returns the number of entries that wait or are being collected.
    pub(crate) async fn count_waiting(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT COUNT(*) FROM outbox_entry WHERE state IN (0, 1)")
            .fetch_one(&self.reader)
            .await
    }

    /// Lanes with something waiting.
    pub(crate) async fn lanes(&self) -> Result<Vec<LaneRow>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT l.id, l.failures, l.failing_since, l.alarm_after, l.alarmed_at, w.waiting, e.id AS head, e.shared, e.target_no, e.label, e.outcome \
             FROM outbox_lane l JOIN (SELECT lane, COUNT(*) AS waiting, MIN(seq) AS first FROM outbox_entry \
             WHERE state IN (0, 1) GROUP BY lane) w ON w.lane = l.id JOIN outbox_entry e ON e.seq = w.first ORDER BY e.seq",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(LaneRow {
                    id: row.try_get("id")?,
                    failures: row.try_get("failures")?,
                    failing_since: row.try_get("failing_since")?,
                    alarm_after: row.try_get("alarm_after")?,
                    alarmed_at: row.try_get("alarmed_at")?,
                    waiting: row.try_get("waiting")?,
                    head: row.try_get("head")?,
                    share: row.try_get("shared")?,
                    target_no: row.try_get("target_no")?,
                    label: row.try_get("label")?,
                    outcome: row.try_get("outcome")?,
                })
            })
            .collect()
    }

    /// Dead and partial entries that no alarm has spoken of.
    pub(crate) async fn dead_without_alarm(&self, limit: i64) -> Result<Vec<View>, sqlx::Error> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{VIEW}WHERE e.state IN (3, 5) AND e.alarmed = 0 ORDER BY e.seq LIMIT $1"
        )))
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(view).collect()
    }
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn view(row: &Row) -> Result<View, sqlx::Error> {
    Ok(View {
        seq: row.try_get("seq")?,
        id: row.try_get("id")?,
        service: row.try_get("service")?,
        state: row.try_get("state")?,
        accepted_at: row.try_get("accepted_at")?,
        due_at: row.try_get("due_at")?,
        expires_at: row.try_get("expires_at")?,
        settled_at: row.try_get("settled_at")?,
        attempts: row.try_get("attempts")?,
        maybe_sent: row.try_get::<i64, _>("maybe_sent")? != 0,
        leased_until: row.try_get("leased_until")?,
        pieces: row.try_get("pieces")?,
        pieces_done: row.try_get("pieces_done")?,
        folded: row.try_get("folded")?,
        hold: row.try_get("hold")?,
        share: row.try_get("shared")?,
        target_no: row.try_get("target_no")?,
        label: row.try_get("label")?,
        outcome: row.try_get("outcome")?,
    })
}

fn event(row: &Row) -> Result<EventRow, sqlx::Error> {
    Ok(EventRow {
        seq: row.try_get("seq")?,
        at: row.try_get("at")?,
        entry: row.try_get("entry")?,
        kind: row.try_get("kind")?,
        detail: row.try_get("detail")?,
    })
}
