//! Decisions about held posts and reported messages: each is made once, in one transaction.

use super::cases::{find, reopen};
use super::erase::take_away;
use super::moderation::set;
use super::operation::add_log;
use super::undo::show;
use super::{SqlStore, Tx, id_lists, lend};
use crate::cases::{CaseKind, Decide, Decided, Deed};
use crate::{Changed, Id, StoreResult};

impl SqlStore {
    pub(crate) async fn decide(&self, decide: Decide) -> StoreResult<Decided> {
        self.write(decide, |tx, decide| Box::pin(run(tx, decide))).await
    }

    pub(crate) async fn reopen_case(&self, kind: CaseKind, subject_id: Id) -> StoreResult<()> {
        self.write((kind, subject_id), |mut tx, (kind, subject_id)| {
            Box::pin(async move { reopen(&mut tx, *kind, *subject_id).await })
        })
        .await
    }
}

/// Returns true if the message waits for a decision at this moment.
async fn waits(tx: &mut Tx<'_>, decide: &Decide) -> StoreResult<bool> {
    let text = match decide.kind {
        CaseKind::Held => {
            "SELECT COUNT(*) FROM held_messages h JOIN messages m ON m.id = h.message_id \
             WHERE h.message_id = $1 AND h.room_id = $2 AND m.data IS NOT NULL"
        }
        CaseKind::Report => {
            "SELECT COUNT(*) FROM cases c JOIN messages m ON m.id = c.subject_id \
             WHERE c.kind = 'report' AND c.state = 'open' AND c.subject_id = $1 AND m.room_id = $2 AND m.data IS NOT NULL"
        }
        CaseKind::More => return Ok(false),
    };
    let waiting: i64 = sqlx::query_scalar(text)
        .bind(decide.message_id)
        .bind(decide.room_id)
        .fetch_one(&mut *tx.conn)
        .await?;
    Ok(waiting > 0)
}

async fn run(mut tx: Tx<'_>, decide: &Decide) -> StoreResult<Decided> {
    if !waits(&mut tx, decide).await? {
        let case = find(tx.conn, decide.kind, decide.message_id).await?;
        return Ok(match case.filter(|case| case.room_id == decide.room_id) {
            Some(case) => Decided::Already(Box::new(case)),
            None => Decided::Nothing,
        });
    }
    let mut log = Some(&decide.log);
    let mut number = 0;
    let mut concerned = vec![decide.message_id];
    match &decide.deed {
        Deed::Keep => {}
        Deed::Show => {
            if show(lend(&mut tx), decide.message_id).await? == Changed::NoMessage {
                return Ok(Decided::Nothing);
            }
        }
        Deed::Erase(erase) => {
            // It writes the log, with what was deleted indeed.
            let erased = take_away(lend(&mut tx), erase).await?;
            log = log.filter(|_| erased.log.is_none());
            number = erased.log.unwrap_or_default();
            concerned.extend(erased.messages);
            concerned.sort_unstable();
            concerned.dedup();
        }
    }
    if let Some((user_id, patch)) = &decide.permissions {
        let user_id = super::accounts::present(tx.conn, *user_id).await?;
        set(&mut tx, decide.room_id, user_id, patch).await?;
    }
    if let Some(log) = log {
        number = add_log(&mut tx, log).await?;
    }
    close(&mut tx, decide, &concerned).await?;
    Ok(Decided::Done(number))
}

/// Notes the decision in the case, and in those of other messages that went with it.
async fn close(tx: &mut Tx<'_>, decide: &Decide, concerned: &[Id]) -> StoreResult<()> {
    for (list, marks) in id_lists(concerned, 5) {
        let text = format!(
            "UPDATE cases SET state = $1, decided_by = $2, decided_at = $3, in_room = $4, revision = revision + 1 \
             WHERE kind <> 'more' AND state = 'open' AND subject_id IN ({marks})"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(decide.state)
            .bind(&decide.log.actor)
            .bind(decide.now)
            .bind(decide.in_room);
        for id in list.iter().copied() {
            query = query.bind(id);
        }
        query.execute(&mut *tx.conn).await?;
        let text = format!(
            "DELETE FROM held_messages WHERE message_id IN ({})",
            marks_from_one(list.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
        for id in list {
            query = query.bind(id);
        }
        query.execute(&mut *tx.conn).await?;
    }
    if decide.kind == CaseKind::Held {
        // A post that was decided before it got a case: the next moderator is told by whom.
        sqlx::query(
            "INSERT INTO cases (kind, subject_id, room_id, author, excerpt, opened_at, state, decided_by, decided_at) \
             SELECT 'held', m.id, m.room_id, COALESCE(m.posted_as, u.session_id), '', $2, $3, $4, $2 FROM messages m \
             JOIN users u ON u.id = m.user_id WHERE m.id = $1 ON CONFLICT DO NOTHING",
        )
        .bind(decide.message_id)
        .bind(decide.now)
        .bind(decide.state)
        .bind(&decide.log.actor)
        .execute(&mut *tx.conn)
        .await?;
    }
    Ok(())
}

fn marks_from_one(count: usize) -> String {
    let marks: Vec<String> = (1..=count).map(|n| format!("${n}")).collect();
    marks.join(", ")
}
