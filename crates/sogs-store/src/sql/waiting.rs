//! Lists of what waits for moderators, in parts.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::{SqlStore, id_lists};
use crate::cases::Report;
use crate::operation::HeldRow;
use crate::{Id, StoreResult};

impl SqlStore {
    pub(crate) async fn held_after(
        &self,
        room_id: Id,
        after: Id,
        limit: i64,
        bytes: usize,
    ) -> StoreResult<Vec<HeldRow>> {
        let mut rows = sqlx::query(
            "SELECT h.message_id, h.room_id, r.token, COALESCE(m.posted_as, u.session_id), h.at, h.reason, m.data \
             FROM held_messages h JOIN messages m ON m.id = h.message_id JOIN rooms r ON r.id = h.room_id \
             JOIN users u ON u.id = m.user_id \
             WHERE m.data IS NOT NULL AND h.room_id = $1 AND h.message_id > $2 ORDER BY h.message_id LIMIT $3",
        )
        .bind(room_id)
        .bind(after)
        .bind(limit)
        .fetch(&self.readers);
        let (mut all, mut left) = (Vec::new(), bytes);
        while let Some(row) = rows.try_next().await? {
            let held = HeldRow {
                message_id: row.try_get(0)?,
                room_id: row.try_get(1)?,
                token: row.try_get(2)?,
                session_id: row.try_get(3)?,
                at: row.try_get(4)?,
                reason: row.try_get(5)?,
                data: row.try_get(6)?,
            };
            let size = held.data.as_ref().map_or(0, Vec::len);
            if size > left && !all.is_empty() {
                break;
            }
            left = left.saturating_sub(size);
            all.push(held);
        }
        Ok(all)
    }

    pub(crate) async fn reports_of_all(&self, cases: Vec<Id>, each: i64) -> StoreResult<Vec<(Id, Report)>> {
        let mut all = Vec::new();
        for (list, marks) in id_lists(&cases, 2) {
            let text = format!(
                "SELECT case_id, session_id, at, reason FROM (SELECT r.case_id, u.session_id, r.at, r.reason, \
                 ROW_NUMBER() OVER (PARTITION BY r.case_id ORDER BY r.at DESC, r.user_id) AS place \
                 FROM reports r JOIN users u ON u.id = r.user_id WHERE r.case_id IN ({marks})) AS numbered \
                 WHERE place <= $1 ORDER BY case_id, place"
            );
            let mut query =
                sqlx::query_as::<_, (Id, String, f64, String)>(sqlx::AssertSqlSafe(text)).bind(each);
            for id in list {
                query = query.bind(id);
            }
            let rows = query.fetch_all(&self.readers).await?;
            all.extend(rows.into_iter().map(|(case_id, session_id, at, reason)| {
                let report = Report {
                    session_id,
                    at,
                    reason,
                };
                (case_id, report)
            }));
        }
        Ok(all)
    }
}
