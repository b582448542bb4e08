//! Notices in the moderators' room: which of them differ from their cases, and posting or changing them.

use super::cases::{CaseRow, case_query};
use super::operation::held_data;
use super::posts::insert_all;
use super::reactions::{add as react, drop_reactions};
use super::{SqlStore, Tx, lend};
use crate::cases::{CaseKind, Notice, OwnPost, ShowNotice, Shown};
use crate::{Id, NewPost, PostEdit, Posted, StoreResult};

/// Notices of one room that are open at a time; more posts wait behind them.
const OPEN_NOTICES: i64 = 50;

impl SqlStore {
    pub(crate) async fn stale_notices(&self, limit: i64) -> StoreResult<Vec<Notice>> {
        // Decided cases get no notice any more, and only so many of a room are open at a time.
        let rows: Vec<CaseRow> = sqlx::query_as(case_query!(
            "WHERE c.shown < c.revision AND (c.notice_id IS NOT NULL OR (c.kind = 'more' AND c.posts > 0) OR (c.state = 'open' \
             AND c.room_id NOT IN (SELECT o.room_id FROM cases o WHERE o.state = 'open' AND o.notice_id IS NOT NULL \
             GROUP BY o.room_id HAVING COUNT(*) >= $2))) \
             ORDER BY CASE WHEN c.notice_id IS NULL AND c.kind <> 'more' THEN 1 ELSE 0 END, c.id LIMIT $1"
        ))
        .bind(limit)
        .bind(OPEN_NOTICES)
        .fetch_all(&self.readers)
        .await?;
        let mut notices = Vec::with_capacity(rows.len());
        for row in rows {
            let revision = row.revision;
            let case = row.case()?;
            let (data, reason) = if case.is_open() {
                held_data(&self.readers, case.subject_id).await?
            } else {
                (None, None)
            };
            let (posted, signed_by, room) = sqlx::query_as(
                "SELECT (SELECT m.posted FROM cases c JOIN messages m ON m.id = c.notice_id WHERE c.id = $1), \
                 (SELECT COALESCE(m.posted_as, u.session_id) FROM cases c JOIN messages m ON m.id = c.notice_id \
                 JOIN users u ON u.id = m.user_id WHERE c.id = $1), (SELECT token FROM rooms WHERE id = $2)",
            )
            .bind(case.id)
            .bind(case.room_id)
            .fetch_one(&self.readers)
            .await?;
            notices.push(Notice {
                case,
                revision,
                data,
                reason,
                posted,
                signed_by,
                room,
            });
        }
        Ok(notices)
    }

    pub(crate) async fn show_notice(&self, notice: ShowNotice) -> StoreResult<Shown> {
        self.write(notice, |tx, notice| Box::pin(show(tx, notice))).await
    }
}

async fn show(mut tx: Tx<'_>, new: &ShowNotice) -> StoreResult<Shown> {
    let found: Option<(Option<Id>, Id, String, i64)> =
        sqlx::query_as("SELECT notice_id, room_id, kind, shown FROM cases WHERE id = $1 AND revision >= $2")
            .bind(new.case_id)
            .bind(new.revision)
            .fetch_optional(&mut *tx.conn)
            .await?;
    let Some((notice, scope, kind, shown)) = found else {
        return Ok(Shown::NotNeeded);
    };
    if shown >= new.revision {
        return Ok(Shown::NotNeeded);
    }
    let notice_id = if let Some(notice_id) = notice {
        let edit = PostEdit {
            room_id: new.room_id,
            message_id: notice_id,
            user_id: new.user_id,
            posted_as: Some(new.posted_as.clone()),
            now: new.now,
            data: new.post.data.clone(),
            data_size: new.post.data_size,
            signature: new.post.signature.clone(),
            filtered: false,
            files: Vec::new(),
            files_expire: None,
        };
        if let Some(reply) = &new.reply
            && post(&mut tx, new, reply, scope).await?.is_none()
        {
            return Ok(Shown::Again);
        }
        take_over(&mut tx, new, notice_id).await?;
        super::messages::replace(lend(&mut tx), &edit).await?;
        mark(&mut tx, new, notice_id).await?;
        notice_id
    } else {
        let recent: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM messages WHERE user_id = $1 AND room_id = $2 AND posted > $3 AND for_moderators_of IS NOT NULL",
        )
        .bind(new.user_id)
        .bind(new.room_id)
        .bind(new.now - 60.0)
        .fetch_one(&mut *tx.conn)
        .await?;
        if recent >= new.per_minute && kind != CaseKind::More.as_str() {
            return Ok(Shown::Later);
        }
        match post(&mut tx, new, &new.post, scope).await? {
            Some(id) => id,
            None => return Ok(Shown::Again),
        }
    };
    sqlx::query("UPDATE cases SET notice_id = $2, shown = $3 WHERE id = $1")
        .bind(new.case_id)
        .bind(notice_id)
        .bind(new.revision)
        .execute(&mut *tx.conn)
        .await?;
    Ok(Shown::Done)
}

/// Makes a notice of a former account one of the present account. The community got another key since it was posted, and
/// only the present account can sign what it says from now on.
async fn take_over(tx: &mut Tx<'_>, new: &ShowNotice, notice_id: Id) -> StoreResult<()> {
    let former: Option<Id> =
        sqlx::query_scalar("SELECT user_id FROM messages WHERE id = $1 AND room_id = $2 AND user_id <> $3")
            .bind(notice_id)
            .bind(new.room_id)
            .bind(new.user_id)
            .fetch_optional(&mut *tx.conn)
            .await?;
    if let Some(former) = former {
        drop_reactions(tx, new.room_id, notice_id, Some(former), None).await?;
        sqlx::query("UPDATE messages SET user_id = $2 WHERE id = $1")
            .bind(notice_id)
            .bind(new.user_id)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

/// Makes the account's reaction to a notice the one that shows what was decided.
async fn mark(tx: &mut Tx<'_>, new: &ShowNotice, notice_id: Id) -> StoreResult<()> {
    drop_reactions(tx, new.room_id, notice_id, Some(new.user_id), None).await?;
    if let Some(emoji) = new.mark {
        react(
            lend(tx),
            new.room_id,
            notice_id,
            new.user_id,
            emoji,
            None,
            new.now,
        )
        .await?;
    }
    Ok(())
}

/// Posts something under the account. Apps take two messages of one author at one time for the same, and a reply names
/// its message by time: nothing is posted at a time that is taken.
async fn post(tx: &mut Tx<'_>, new: &ShowNotice, own: &OwnPost, scope: Id) -> StoreResult<Option<Id>> {
    let now = own.posted;
    let last: Option<f64> =
        sqlx::query_scalar("SELECT MAX(posted) FROM messages WHERE user_id = $1 AND room_id = $2")
            .bind(new.user_id)
            .bind(new.room_id)
            .fetch_one(&mut *tx.conn)
            .await?;
    if last.is_some_and(|last| last + 0.005 > now) {
        return Ok(None);
    }
    let post = NewPost {
        room_id: new.room_id,
        user_id: new.user_id,
        posted_as: Some(new.posted_as.clone()),
        now,
        data: own.data.clone(),
        data_size: own.data_size,
        signature: own.signature.clone(),
        filtered: false,
        held: None,
        whisper_to: None,
        whisper_mods: false,
        for_moderators_of: Some(scope),
        files: Vec::new(),
        files_expire: None,
        windows: Vec::new(),
    };
    let posted = insert_all(tx.conn, tx.changes, &[&post]).await?;
    Ok(match posted.first() {
        Some(Posted::Done { id, .. }) => Some(*id),
        _ => None,
    })
}
