//! Cases and reports: reading them, and keeping them in line with the messages they are about.

use super::reactions::drop_reactions;
use super::{Conn, SqlStore, Tx};
use crate::cases::{Case, CaseKind, Filed, HeldCase, Moderation, NewReport, Report};
use crate::{Change, Id, StoreError, StoreResult};

/// Seconds within which a case is new.
const FRESH: f64 = 2.0;

#[derive(sqlx::FromRow)]
pub(super) struct CaseRow {
    id: Id,
    kind: String,
    subject_id: Id,
    room_id: Id,
    author: String,
    excerpt: String,
    opened_at: f64,
    state: String,
    decided_by: Option<String>,
    decided_at: Option<f64>,
    in_room: bool,
    posts: i64,
    reports: i64,
    pub(super) revision: i64,
}

macro_rules! case_query {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.kind, c.subject_id, c.room_id, c.author, c.excerpt, c.opened_at, c.state, c.decided_by, \
             c.decided_at, c.in_room, c.posts, (SELECT COUNT(*) FROM reports p WHERE p.case_id = c.id) AS reports, c.revision \
             FROM cases c ",
            $rest
        )
    };
}

pub(super) use case_query;

/// Open cases whose post no longer waits, or whose message is deleted.
macro_rules! decided_elsewhere {
    () => {
        "state = 'open' AND ((kind = 'held' AND NOT EXISTS (SELECT 1 FROM held_messages h JOIN messages m ON m.id = h.message_id \
         WHERE h.message_id = cases.subject_id AND m.data IS NOT NULL)) \
         OR (kind = 'report' AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = cases.subject_id AND m.data IS NOT NULL)))"
    };
}

/// Decided cases whose post waits again, because the decision was undone.
macro_rules! waits_again {
    () => {
        "kind = 'held' AND state <> 'open' AND subject_id IN (SELECT h.message_id FROM held_messages h \
         JOIN messages m ON m.id = h.message_id WHERE m.data IS NOT NULL)"
    };
}

/// Open cases whose notice is gone, with its room or by retention.
macro_rules! lost_notice {
    () => {
        "state = 'open' AND kind <> 'more' AND notice_id IS NULL AND shown > 0"
    };
}

impl CaseRow {
    pub(super) fn case(self) -> StoreResult<Case> {
        let kind = CaseKind::parse(&self.kind)
            .ok_or_else(|| StoreError::Statement(format!("a case is of the unknown kind '{}'", self.kind)))?;
        Ok(Case {
            id: self.id,
            kind,
            subject_id: self.subject_id,
            room_id: self.room_id,
            author: self.author,
            excerpt: self.excerpt,
            opened_at: self.opened_at,
            state: self.state,
            decided_by: self.decided_by,
            decided_at: self.decided_at,
            in_room: self.in_room,
            posts: self.posts,
            reports: self.reports,
        })
    }
}

pub(super) async fn find(conn: &mut Conn, kind: CaseKind, subject_id: Id) -> StoreResult<Option<Case>> {
    let row: Option<CaseRow> = sqlx::query_as(case_query!("WHERE c.kind = $1 AND c.subject_id = $2"))
        .bind(kind.as_str())
        .bind(subject_id)
        .fetch_optional(conn)
        .await?;
    row.map(CaseRow::case).transpose()
}

impl SqlStore {
    pub(crate) async fn case(&self, kind: CaseKind, subject_id: Id) -> StoreResult<Option<Case>> {
        let mut conn = self.readers.acquire().await?;
        find(&mut conn, kind, subject_id).await
    }

    pub(crate) async fn case_of_notice(&self, notice_id: Id) -> StoreResult<Option<Case>> {
        let row: Option<CaseRow> = sqlx::query_as(case_query!("WHERE c.notice_id = $1"))
            .bind(notice_id)
            .fetch_optional(&self.readers)
            .await?;
        row.map(CaseRow::case).transpose()
    }

    pub(crate) async fn open_reports(&self, room_id: Id, after: Id, limit: i64) -> StoreResult<Vec<Case>> {
        let rows: Vec<CaseRow> = sqlx::query_as(case_query!(
            "WHERE c.kind = 'report' AND c.state = 'open' AND c.room_id = $1 AND c.id > $2 ORDER BY c.id LIMIT $3"
        ))
        .bind(room_id)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(CaseRow::case).collect()
    }

    pub(crate) async fn reports_of(&self, case_id: Id, limit: i64) -> StoreResult<Vec<Report>> {
        let rows: Vec<(String, f64, String)> = sqlx::query_as(
            "SELECT u.session_id, r.at, r.reason FROM reports r JOIN users u ON u.id = r.user_id \
             WHERE r.case_id = $1 ORDER BY r.at DESC, r.user_id LIMIT $2",
        )
        .bind(case_id)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let report = |(session_id, at, reason)| Report {
            session_id,
            at,
            reason,
        };
        Ok(rows.into_iter().map(report).collect())
    }

    pub(crate) async fn held_without_case(&self, limit: i64) -> StoreResult<Vec<HeldCase>> {
        let rows: Vec<(Id, Id, String, Vec<u8>, f64)> = sqlx::query_as(
            "SELECT h.message_id, h.room_id, COALESCE(m.posted_as, u.session_id), m.data, h.at FROM held_messages h \
             JOIN messages m ON m.id = h.message_id JOIN users u ON u.id = m.user_id WHERE m.data IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.kind = 'held' AND c.subject_id = h.message_id) \
             ORDER BY h.message_id LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let held = |(message_id, room_id, author, data, at)| HeldCase {
            message_id,
            room_id,
            author,
            data,
            excerpt: String::new(),
            at,
        };
        Ok(rows.into_iter().map(held).collect())
    }

    pub(crate) async fn open_held(&self, rows: Vec<HeldCase>) -> StoreResult<()> {
        self.write(rows, |tx, rows| {
            Box::pin(async move {
                for row in rows {
                    sqlx::query(
                        "INSERT INTO cases (kind, subject_id, room_id, author, excerpt, opened_at, state) \
                         VALUES ('held', $1, $2, $3, $4, $5, 'open') ON CONFLICT DO NOTHING",
                    )
                    .bind(row.message_id)
                    .bind(row.room_id)
                    .bind(&row.author)
                    .bind(&row.excerpt)
                    .bind(row.at)
                    .execute(&mut *tx.conn)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn settle_cases(&self, now: f64) -> StoreResult<bool> {
        let differs: bool = sqlx::query_scalar(concat!(
            "SELECT EXISTS (SELECT 1 FROM cases WHERE ",
            decided_elsewhere!(),
            ") OR EXISTS (SELECT 1 FROM cases WHERE ",
            waits_again!(),
            ") OR EXISTS (SELECT 1 FROM cases WHERE ",
            lost_notice!(),
            ")"
        ))
        .fetch_one(&self.readers)
        .await?;
        if !differs {
            return Ok(false);
        }
        self.write(now, |mut tx, now| {
            Box::pin(async move {
                sqlx::query(concat!(
                    "UPDATE cases SET state = 'gone', decided_at = $1, revision = revision + 1 WHERE ",
                    decided_elsewhere!()
                ))
                .bind(*now)
                .execute(&mut *tx.conn)
                .await?;
                let notices: Vec<(Id, Id)> = sqlx::query_as(concat!(
                    "SELECT id, room_id FROM messages WHERE id IN (SELECT notice_id FROM cases WHERE ",
                    waits_again!(),
                    ")"
                ))
                .fetch_all(&mut *tx.conn)
                .await?;
                forget_reactions(&mut tx, notices).await?;
                sqlx::query(concat!(
                    "UPDATE cases SET state = 'open', in_room = FALSE, decided_at = NULL, decided_by = NULL, revision = revision + 1 WHERE ",
                    waits_again!()
                ))
                .execute(&mut *tx.conn)
                .await?;
                sqlx::query(concat!("UPDATE cases SET shown = 0 WHERE ", lost_notice!()))
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(true)
            })
        })
        .await
    }

    pub(crate) async fn count_waiting(&self, now: f64, every: f64) -> StoreResult<()> {
        // Held posts and reports without a notice, by room, where the number differs from the one that is shown. New
        // cases get their notices at this moment, perhaps from another process.
        let waiting: Vec<(Id, i64)> = sqlx::query_as(
            "SELECT room_id, CAST(SUM(waits) AS BIGINT) FROM (\
             SELECT room_id, CAST(1 AS BIGINT) AS waits FROM cases WHERE state = 'open' AND kind <> 'more' AND notice_id IS NULL \
             AND opened_at < $1 UNION ALL SELECT room_id, CAST(0 AS BIGINT) FROM cases WHERE kind = 'more') AS listed GROUP BY room_id",
        )
        .bind(now - FRESH)
        .fetch_all(&self.readers)
        .await?;
        let known: Vec<(Id, i64, f64)> =
            sqlx::query_as("SELECT room_id, posts, opened_at FROM cases WHERE kind = 'more'")
                .fetch_all(&self.readers)
                .await?;
        let changed: Vec<(Id, i64)> = waiting
            .into_iter()
            .filter(|(room, count)| match known.iter().find(|row| row.0 == *room) {
                Some((_, shown, at)) => count != shown && (*count == 0 || now - at >= every || now < *at),
                None => *count > 0,
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.write((changed, now), |tx, (changed, now)| {
            Box::pin(async move {
                for (room, count) in changed {
                    sqlx::query(
                        "INSERT INTO cases (kind, subject_id, room_id, author, excerpt, opened_at, state, posts) \
                         VALUES ('more', $1, $1, '', '', $2, 'more', $3) ON CONFLICT (kind, subject_id) DO UPDATE SET \
                         posts = excluded.posts, opened_at = excluded.opened_at, revision = cases.revision + 1",
                    )
                    .bind(*room)
                    .bind(*now)
                    .bind(*count)
                    .execute(&mut *tx.conn)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn file_report(&self, new: NewReport) -> StoreResult<Filed> {
        self.write(new, |tx, new| Box::pin(file(tx, new))).await
    }

    pub(crate) async fn held_of(&self, user_id: Id, room_id: Id) -> StoreResult<Vec<Id>> {
        Ok(sqlx::query_scalar(
            "SELECT h.message_id FROM held_messages h JOIN messages m ON m.id = h.message_id \
             WHERE h.room_id = $2 AND m.user_id = $1 AND m.data IS NOT NULL ORDER BY h.message_id LIMIT 10000",
        )
        .bind(user_id)
        .bind(room_id)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(crate) async fn quoted(
        &self,
        room_id: Id,
        user_id: Id,
        from: f64,
        to: f64,
    ) -> StoreResult<Option<(Id, Option<Id>)>> {
        Ok(sqlx::query_as(
            "SELECT id, for_moderators_of FROM messages WHERE user_id = $1 AND room_id = $2 AND posted >= $3 AND posted < $4 \
             ORDER BY posted LIMIT 1",
        )
        .bind(user_id)
        .bind(room_id)
        .bind(from)
        .bind(to)
        .fetch_optional(&self.readers)
        .await?)
    }

    pub(crate) async fn room_of_message(&self, message_id: Id) -> StoreResult<Option<Id>> {
        Ok(
            sqlx::query_scalar("SELECT room_id FROM messages WHERE id = $1 AND data IS NOT NULL")
                .bind(message_id)
                .fetch_optional(&self.readers)
                .await?,
        )
    }

    pub(crate) async fn set_moderators_room(&self, room_id: Option<Id>) -> StoreResult<()> {
        self.write(room_id, |tx, room_id| {
            Box::pin(async move {
                for text in [
                    "UPDATE messages SET filtered = TRUE WHERE for_moderators_of IS NOT NULL AND room_id <> $1 \
                     AND room_id IN (SELECT id FROM rooms WHERE for_moderators)",
                    "UPDATE rooms SET for_moderators = FALSE WHERE for_moderators AND id <> $1",
                    "UPDATE rooms SET for_moderators = TRUE WHERE id = $1",
                    "UPDATE messages SET filtered = FALSE WHERE for_moderators_of IS NOT NULL AND room_id = $1",
                ] {
                    sqlx::query(text)
                        .bind(room_id.unwrap_or(0))
                        .execute(&mut *tx.conn)
                        .await?;
                }
                // Open cases get a notice in the new room.
                if let Some(room_id) = room_id {
                    sqlx::query(
                        "UPDATE cases SET notice_id = NULL, shown = 0 WHERE notice_id IS NOT NULL AND notice_id NOT IN \
                         (SELECT id FROM messages WHERE room_id = $1)",
                    )
                    .bind(*room_id)
                    .execute(&mut *tx.conn)
                    .await?;
                }
                tx.changes.push(Change::Everything);
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn moderation(&self) -> StoreResult<Moderation> {
        let (held, reported) = sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM held_messages h JOIN messages m ON m.id = h.message_id WHERE m.data IS NOT NULL), \
             (SELECT COUNT(*) FROM cases WHERE state = 'open' AND kind = 'report')",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(Moderation { held, reported })
    }
}

/// Removes all reactions to the notices of cases that are open again: the next reaction decides, also one that was given
/// before. Called before the cases are opened.
pub(super) async fn forget_reactions(tx: &mut Tx<'_>, notices: Vec<(Id, Id)>) -> StoreResult<()> {
    for (notice_id, room_id) in notices {
        drop_reactions(tx, room_id, notice_id, None, None).await?;
    }
    Ok(())
}

async fn file(tx: Tx<'_>, new: &NewReport) -> StoreResult<Filed> {
    let user_id = super::accounts::present(tx.conn, new.user_id).await?;
    let count = "SELECT COUNT(*) FROM reports WHERE case_id = $1";
    let known = find(tx.conn, CaseKind::Report, new.message_id).await?;
    if let Some(case) = &known {
        if !case.is_open() {
            return Ok(Filed::Decided);
        }
        let again: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM reports WHERE case_id = $1 AND user_id = $2")
                .bind(case.id)
                .bind(user_id)
                .fetch_one(&mut *tx.conn)
                .await?;
        if again > 0 {
            return Ok(Filed::Again(case.reports));
        }
    }
    let (recent, oldest): (i64, Option<f64>) =
        sqlx::query_as("SELECT COUNT(*), MIN(at) FROM reports WHERE user_id = $1 AND at > $2")
            .bind(user_id)
            .bind(new.now - 3600.0)
            .fetch_one(&mut *tx.conn)
            .await?;
    if recent >= new.per_hour {
        let wait = oldest.map_or(3600.0, |oldest| oldest + 3600.0 - new.now).max(0.0);
        return Ok(Filed::RateLimited(
            std::time::Duration::try_from_secs_f64(wait).map_or(3600, |wait| wait.as_secs() + 1),
        ));
    }
    let case_id: Id = sqlx::query_scalar(
        "INSERT INTO cases (kind, subject_id, room_id, author, excerpt, opened_at, state) \
         VALUES ('report', $1, $2, $3, $4, $5, 'open') ON CONFLICT (kind, subject_id) DO UPDATE SET \
         revision = cases.revision + 1 RETURNING id",
    )
    .bind(new.message_id)
    .bind(new.room_id)
    .bind(&new.author)
    .bind(&new.excerpt)
    .bind(new.now)
    .fetch_one(&mut *tx.conn)
    .await?;
    sqlx::query("INSERT INTO reports (case_id, user_id, at, reason) VALUES ($1, $2, $3, $4)")
        .bind(case_id)
        .bind(user_id)
        .bind(new.now)
        .bind(&new.reason)
        .execute(&mut *tx.conn)
        .await?;
    let reports = sqlx::query_scalar(count)
        .bind(case_id)
        .fetch_one(&mut *tx.conn)
        .await?;
    Ok(Filed::Done(reports))
}

/// Opens a decided case again, if there is one.
pub(super) async fn reopen(tx: &mut Tx<'_>, kind: CaseKind, subject_id: Id) -> StoreResult<()> {
    let notices: Vec<(Id, Id)> = sqlx::query_as(
        "SELECT id, room_id FROM messages WHERE id IN (SELECT notice_id FROM cases WHERE kind = $1 AND subject_id = $2 \
         AND state <> 'open')",
    )
    .bind(kind.as_str())
    .bind(subject_id)
    .fetch_all(&mut *tx.conn)
    .await?;
    forget_reactions(tx, notices).await?;
    sqlx::query(
        "UPDATE cases SET state = 'open', in_room = FALSE, decided_by = NULL, decided_at = NULL, revision = revision + 1 \
         WHERE kind = $1 AND subject_id = $2 AND state <> 'open'",
    )
    .bind(kind.as_str())
    .bind(subject_id)
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}
