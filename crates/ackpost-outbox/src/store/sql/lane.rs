//! Working a lane: take it, look at its first entry, note each attempt before it is made, settle it, let it go.

use std::sync::Arc;

use sqlx::Row as _;

use super::link::insert_link;
use super::rows::{event, lock, set_window};
use super::tidy::Unneeded;
use super::{Backend, Db, Row, TAKE, Tx};
use crate::slots::{FullGroups, Shares, Slot, Slots};
use crate::store::{AttemptEnd, AttemptStart, Claim, CollectionEnd, Ending, Head, NEVER, Next, Postponed};

const HEAD: &str = "SELECT seq, id, service, state, accepted_at, due_at, expires_at, attempts, maybe_sent, hold, \
    pieces_done, folded, fold_key, bundle, shared, target_no, stamp, context, pieces, sealed, outcome FROM outbox_entry ";

impl Backend {
    /// Takes up to `limit` lanes that are due, that no worker has, and whose groups have a slot left.
    pub(crate) async fn claim(
        &self,
        claim: &Claim<'_>,
        slots: &Arc<Slots>,
    ) -> Result<Vec<(Vec<u8>, Slot)>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let mut taken = Vec::new();
        loop {
            let wanted = claim.limit - taken.len();
            let found = due_lanes(&mut tx, claim, wanted, &slots.full()).await?;
            let mut passed_over = false;
            let mut picked = Vec::new();
            for (lane, shares) in found {
                match slots.take(&shares) {
                    Some(slot) => picked.push((lane, slot)),
                    // Its group just got its full share; the next look leaves the group out.
                    None => passed_over = true,
                }
            }
            if !picked.is_empty() {
                lease(&mut tx, claim.owner, claim.until, &picked).await?;
                taken.append(&mut picked);
            }
            if taken.len() >= claim.limit || !passed_over {
                break;
            }
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// True when [`Self::claim`] would find something: a look that takes no lock.
    pub(crate) async fn has_due(&self, now: i64) -> Result<bool, sqlx::Error> {
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT due_at FROM outbox_lane WHERE due_at <= $1 AND leased_until <= $1 LIMIT 1",
        )
        .bind(now)
        .fetch_optional(&self.reader)
        .await?;
        Ok(found.is_some())
    }

    /// The earliest moment at which a lane that somebody may take is due. Lanes that pause after a failure count
    /// only with `failing`.
    pub(crate) async fn next_due(&self, failing: bool) -> Result<Option<i64>, sqlx::Error> {
        let due: Option<i64> = sqlx::query_scalar(
            "SELECT MIN(CASE WHEN leased_until > due_at THEN leased_until ELSE due_at END) FROM outbox_lane \
             WHERE due_at < $1 AND (failures = 0 OR $2 = 1)",
        )
        .bind(NEVER)
        .bind(i64::from(failing))
        .fetch_one(&self.reader)
        .await?;
        Ok(due)
    }

    /// Returns the next step in a lane. If there is nothing to do now, the lane is released in the same transaction.
    pub(crate) async fn next(&self, lane: &[u8], owner: &str, now: i64) -> Result<Next, sqlx::Error> {
        let mut tx = self.begin().await?;
        let next = next(&mut tx, lane, owner, now).await?;
        tx.commit().await?;
        Ok(next)
    }

    /// Keeps lanes longer; the ones that are still ours.
    pub(crate) async fn renew(&self, lane: &[u8], owner: &str, until: i64) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        let ours = renew(&mut tx, lane, owner, until).await?;
        tx.commit().await?;
        Ok(ours)
    }

    /// Gives a lane back with something left to do.
    pub(crate) async fn release(&self, lane: &[u8], owner: &str, now: i64) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE outbox_lane SET leased_by = NULL, leased_until = 0, due_at = CASE WHEN due_at > $3 THEN $3 ELSE due_at END \
                     WHERE id = $1 AND leased_by = $2")
            .bind(lane)
            .bind(owner)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    /// Puts the first entry off without an attempt, and says what is next.
    pub(crate) async fn hold(&self, held: &Postponed<'_>) -> Result<Next, sqlx::Error> {
        let mut tx = self.begin().await?;
        if lock(&mut tx, held.lane).await?.as_deref() != Some(held.owner) {
            return Ok(Next::Lost);
        }
        sqlx::query(
            // An entry that was never tried does not expire before it may be.
            "UPDATE outbox_entry SET due_at = $2, hold = $3, \
             expires_at = CASE WHEN attempts = 0 AND expires_at < $2 THEN $2 ELSE expires_at END \
             WHERE seq = $1 AND state = 1",
        )
        .bind(held.seq)
        .bind(held.until)
        .bind(held.hold)
        .execute(&mut *tx)
        .await?;
        let next = next(&mut tx, held.lane, held.owner, held.now).await?;
        tx.commit().await?;
        Ok(next)
    }

    /// Notes durably that an attempt begins. `false`: the lane is no longer ours or the entry no longer waits, and
    /// nothing may be sent.
    pub(crate) async fn mark(&self, mark: &AttemptStart<'_>) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        let mut lane = sqlx::QueryBuilder::<Db>::new("UPDATE outbox_lane SET leased_until = ");
        lane.push_bind(mark.until)
            .push(", recent = ")
            .push_bind(mark.recent)
            .push(" WHERE id = ")
            .push_bind(mark.lane)
            .push(" AND leased_by = ")
            .push_bind(mark.owner);
        push_same_clock(&mut lane, mark.moved);
        let ours = lane.build().execute(&mut *tx).await?.rows_affected();
        if ours == 0 {
            return Ok(false);
        }
        let waits = sqlx::query("UPDATE outbox_entry SET attempts = attempts + 1, maybe_sent = 1, hold = 0 WHERE seq = $1 AND state = 1")
            .bind(mark.head.seq)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if waits == 0 {
            return Ok(false);
        }
        if let Some((pieces, sealed)) = mark.fixed {
            sqlx::query("UPDATE outbox_entry SET pieces = $2, sealed = $3 WHERE seq = $1")
                .bind(mark.head.seq)
                .bind(pieces)
                .bind(sealed)
                .execute(&mut *tx)
                .await?;
        }
        count(&mut tx, &mark.head.service, Counter::Attempt, None).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Replaces what is stored of an entry that is being sent.
    pub(crate) async fn keep(
        &self,
        lane: &[u8],
        owner: &str,
        seq: i64,
        sealed: &[u8],
    ) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        if lock(&mut tx, lane).await?.as_deref() != Some(owner) {
            return Ok(false);
        }
        let kept = sqlx::query("UPDATE outbox_entry SET sealed = $2 WHERE seq = $1 AND state = 1")
            .bind(seq)
            .bind(sealed)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(kept > 0)
    }

    /// Writes down what came of an attempt, and says what is next in the lane.
    pub(crate) async fn settle(&self, settle: &AttemptEnd<'_>) -> Result<Next, sqlx::Error> {
        let mut tx = self.begin().await?;
        let ours = renew(&mut tx, settle.lane, settle.owner, settle.until).await?;
        let is_written = settle.again && is_written(&mut tx, settle).await?;
        if !ours {
            // The step that was written may have been the last one in the lane.
            return Ok(if is_written { Next::Nothing } else { Next::Lost });
        }
        if !is_written {
            write_down(&mut tx, settle).await?;
            if let Some(link) = &settle.link {
                insert_link(&mut tx, link).await?;
            }
        }
        let next = next(&mut tx, settle.lane, settle.owner, settle.now).await?;
        tx.commit().await?;
        if matches!(
            settle.ending,
            Ending::Delivered | Ending::HandedOver | Ending::Partial
        ) {
            self.tidy(Unneeded {
                bundles: settle.head.bundle.iter().cloned().collect(),
                shares: settle.head.share.into_iter().collect(),
            })
            .await;
        }
        Ok(next)
    }

    /// Reserves `count` stamps of a lane that is ours and returns the first.
    pub(crate) async fn stamps(&self, lane: &[u8], now: i64, count: i64) -> Result<i64, sqlx::Error> {
        let mut tx = self.begin().await?;
        let last: i64 = sqlx::query_scalar(
            "UPDATE outbox_lane SET last_stamp = (CASE WHEN last_stamp >= $2 THEN last_stamp ELSE $2 - 1 END) + $3 \
             WHERE id = $1 RETURNING last_stamp",
        )
        .bind(lane)
        .bind(now)
        .bind(count)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(last - count + 1)
    }

    /// Ends the collecting of an entry: from now on it waits like any other.
    pub(crate) async fn close_entry(&self, close: &CollectionEnd<'_>) -> Result<Next, sqlx::Error> {
        let mut tx = self.begin().await?;
        if lock(&mut tx, close.lane).await?.as_deref() != Some(close.owner) {
            return Ok(Next::Lost);
        }
        // The entry is closed only if no message was merged into it since it was read; otherwise it is read again.
        let changed = sqlx::query(
            "UPDATE outbox_entry SET state = 1, due_at = $2, pieces = $3, sealed = $4 WHERE seq = $1 AND state = 0 AND folded = $5",
        )
        .bind(close.head.seq)
        .bind(close.now)
        .bind(close.pieces)
        .bind(close.sealed)
        .bind(close.head.folded)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed > 0 {
            event(&mut tx, close.now, &close.head.id, "closed").await?;
            if let (Some(key), Some(window_ms)) = (&close.head.fold_key, close.window_ms) {
                set_window(&mut tx, close.lane, key, close.now + window_ms, 0).await?;
            }
        }
        let next = next(&mut tx, close.lane, close.owner, close.now).await?;
        tx.commit().await?;
        Ok(next)
    }

    /// A sealed row that entries share.
    pub(crate) async fn shared(&self, id: i64) -> Result<Option<Vec<u8>>, sqlx::Error> {
        sqlx::query_scalar("SELECT sealed FROM outbox_shared WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.reader)
            .await
    }

    /// A sealed label that entries share.
    pub(crate) async fn label(&self, id: i64) -> Result<Option<Vec<u8>>, sqlx::Error> {
        sqlx::query_scalar::<_, Option<Vec<u8>>>("SELECT label FROM outbox_shared WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.reader)
            .await
            .map(Option::flatten)
    }

    /// The sealed parts of a bundle of files, in order.
    pub(crate) async fn files(&self, bundle: &str) -> Result<Vec<Vec<u8>>, sqlx::Error> {
        sqlx::query_scalar("SELECT sealed FROM outbox_file WHERE bundle = $1 ORDER BY part")
            .bind(bundle)
            .fetch_all(&self.reader)
            .await
    }
}

/// Returns lanes that are due and that no worker has, without those of groups that are full.
async fn due_lanes(
    tx: &mut Tx,
    claim: &Claim<'_>,
    limit: usize,
    full: &FullGroups,
) -> Result<Vec<(Vec<u8>, Shares)>, sqlx::Error> {
    let mut query =
        sqlx::QueryBuilder::<Db>::new("SELECT id, account, origin FROM outbox_lane WHERE due_at <= ");
    query
        .push_bind(claim.now)
        .push(" AND leased_until <= ")
        .push_bind(claim.now);
    query
        .push(" AND (failures = 0 OR due_at <= ")
        .push_bind(claim.failing_until)
        .push(")");
    push_same_clock(&mut query, claim.moved);
    for (column, names) in [("account", &full.accounts), ("origin", &full.origins)] {
        if !names.is_empty() {
            query.push(format!(" AND ({column} IS NULL OR {column} NOT IN ("));
            let mut list = query.separated(", ");
            for name in names {
                list.push_bind(name.clone());
            }
            query.push("))");
        }
    }
    if full.guests {
        query.push(" AND origin IS NULL");
    }
    query
        .push(" ORDER BY due_at LIMIT ")
        .push_bind(i64::try_from(limit).unwrap_or(1))
        .push(TAKE);
    let rows = query.build().fetch_all(&mut **tx).await?;
    let lane = |row: &Row| {
        let shares = Shares {
            account: row.try_get("account")?,
            origin: row.try_get("origin")?,
        };
        Ok((row.try_get("id")?, shares))
    };
    rows.iter().map(lane).collect()
}

/// Excludes rows whose times were moved since the time of the statement was read: by that time a lease would be over
/// that is not.
fn push_same_clock(query: &mut sqlx::QueryBuilder<Db>, moved: Option<i64>) {
    if let Some(moved) = moved {
        query
            .push(" AND NOT EXISTS (SELECT 1 FROM outbox_meta WHERE name = 'server moved' AND value <> ")
            .push_bind(moved.to_string().into_bytes())
            .push(")");
    }
}

async fn lease(tx: &mut Tx, owner: &str, until: i64, lanes: &[(Vec<u8>, Slot)]) -> Result<(), sqlx::Error> {
    let mut query = sqlx::QueryBuilder::<Db>::new("UPDATE outbox_lane SET leased_by = ");
    query
        .push_bind(owner.to_owned())
        .push(", leased_until = ")
        .push_bind(until)
        .push(" WHERE id IN (");
    let mut list = query.separated(", ");
    for (lane, _) in lanes {
        list.push_bind(lane.clone());
    }
    query.push(")");
    query.build().execute(&mut **tx).await?;
    Ok(())
}

async fn renew(tx: &mut Tx, lane: &[u8], owner: &str, until: i64) -> Result<bool, sqlx::Error> {
    let renewed = sqlx::query("UPDATE outbox_lane SET leased_until = $3 WHERE id = $1 AND leased_by = $2")
        .bind(lane)
        .bind(owner)
        .bind(until)
        .execute(&mut **tx)
        .await?;
    Ok(renewed.rows_affected() > 0)
}

async fn next(tx: &mut Tx, lane: &[u8], owner: &str, now: i64) -> Result<Next, sqlx::Error> {
    if lock(tx, lane).await?.as_deref() != Some(owner) {
        return Ok(Next::Lost);
    }
    let closing = one(
        tx,
        "WHERE lane = $1 AND state = 0 AND due_at <= $2 ORDER BY seq LIMIT 1",
        lane,
        now,
    )
    .await?;
    if let Some(head) = closing {
        return Ok(Next::Close(Box::new(head)));
    }
    // A message that is out of time is not held by anything.
    let head = one(
        tx,
        // An entry that waits for the end of its quiet hours holds back no other, unless a part of it arrived.
        "WHERE lane = $1 AND state = 1 AND (hold <> 3 OR pieces_done > 0 OR due_at <= $2 OR expires_at <= $2) \
         ORDER BY seq LIMIT 1",
        lane,
        now,
    )
    .await?;
    let pause = match &head {
        Some(head) if head.hold == 3 && head.expires_at > now => pause_of_target(tx, lane, now).await?,
        _ => None,
    };
    let held = match head {
        Some(_) if pause.is_some() => pause.unwrap_or(0),
        Some(head) if head.due_at <= now || head.expires_at <= now => {
            let lane_row = sqlx::query("SELECT failures, recent FROM outbox_lane WHERE id = $1")
                .bind(lane)
                .fetch_one(&mut **tx)
                .await?;
            let failures: i64 = lane_row.try_get("failures")?;
            let recent: Vec<u8> = lane_row.try_get("recent")?;
            return Ok(Next::Send(Box::new(head), failures, recent));
        }
        Some(head) => head.due_at.min(head.expires_at),
        None => 0,
    };
    let collecting = "SELECT MIN(due_at) FROM outbox_entry WHERE lane = $1 AND state = 0";
    let quiet = "SELECT MIN(CASE WHEN expires_at < due_at THEN expires_at ELSE due_at END) FROM outbox_entry \
        WHERE lane = $1 AND state = 1 AND hold > 0 AND hold = 3";
    let mut due = if held == 0 { NEVER } else { held };
    for sql in [Some(collecting), Some(quiet).filter(|_| pause.is_none())]
        .into_iter()
        .flatten()
    {
        let first: Option<i64> = sqlx::query_scalar(sql).bind(lane).fetch_one(&mut **tx).await?;
        due = due.min(first.unwrap_or(NEVER));
    }
    sqlx::query("UPDATE outbox_lane SET leased_by = NULL, leased_until = 0, due_at = $3, held_until = $4 WHERE id = $1 AND leased_by = $2")
        .bind(lane)
        .bind(owner)
        .bind(due)
        .bind(held)
        .execute(&mut **tx)
        .await?;
    Ok(Next::Nothing)
}

/// Returns until when a target pauses after a failed attempt at a message behind one with quiet hours.
async fn pause_of_target(tx: &mut Tx, lane: &[u8], now: i64) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT MAX(due_at) FROM outbox_entry \
         WHERE lane = $1 AND state = 1 AND hold > 0 AND hold < 3 AND due_at > $2",
    )
    .bind(lane)
    .bind(now)
    .fetch_one(&mut **tx)
    .await
}

async fn one(
    tx: &mut Tx,
    condition: &'static str,
    lane: &[u8],
    now: i64,
) -> Result<Option<Head>, sqlx::Error> {
    let sql = format!("{HEAD}{condition}");
    // Both halves are constants of this file.
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(lane)
        .bind(now)
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| head(&row)).transpose()
}

fn head(row: &Row) -> Result<Head, sqlx::Error> {
    Ok(Head {
        seq: row.try_get("seq")?,
        id: row.try_get("id")?,
        service: row.try_get("service")?,
        accepted_at: row.try_get("accepted_at")?,
        due_at: row.try_get("due_at")?,
        expires_at: row.try_get("expires_at")?,
        attempts: row.try_get("attempts")?,
        share: row.try_get("shared")?,
        target_no: row.try_get("target_no")?,
        stamp: row.try_get("stamp")?,
        maybe_sent: row.try_get::<i64, _>("maybe_sent")? != 0,
        hold: row.try_get("hold")?,
        pieces_done: row.try_get("pieces_done")?,
        folded: row.try_get("folded")?,
        fold_key: row.try_get("fold_key")?,
        bundle: row.try_get("bundle")?,
        context: row.try_get("context")?,
        pieces: row.try_get("pieces")?,
        sealed: row.try_get("sealed")?,
        outcome: row.try_get("outcome")?,
    })
}

/// True if an earlier try of this very step was committed although its confirmation was lost. No two outcomes are sealed
/// alike.
async fn is_written(tx: &mut Tx, settle: &AttemptEnd<'_>) -> Result<bool, sqlx::Error> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM outbox_entry WHERE seq = $1 AND outcome = $2")
            .bind(settle.head.seq)
            .bind(settle.outcome)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(found.is_some())
}

async fn write_down(tx: &mut Tx, settle: &AttemptEnd<'_>) -> Result<(), sqlx::Error> {
    let head = settle.head;
    let now = settle.now;
    match &settle.ending {
        Ending::Piece => {
            sqlx::query("UPDATE outbox_entry SET pieces_done = pieces_done + 1, maybe_sent = 0, due_at = $2, outcome = $3 WHERE seq = $1 AND state = 1")
                .bind(head.seq)
                .bind(now)
                .bind(settle.outcome)
                .execute(&mut **tx)
                .await?;
            recovered(tx, settle.lane).await?;
        }
        Ending::Delivered => write_taken(tx, settle, 2, Counter::Delivered, "delivered").await?,
        Ending::HandedOver => write_taken(tx, settle, 2, Counter::HandedOver, "delivered").await?,
        Ending::Partial => write_taken(tx, settle, 5, Counter::Partial, "partial").await?,
        Ending::Deferred { due, hold } => {
            sqlx::query(
                "UPDATE outbox_entry SET due_at = $2, hold = $3, outcome = $4, maybe_sent = $5 WHERE seq = $1 AND state = 1",
            )
            .bind(head.seq)
            .bind(due)
            .bind(hold)
            .bind(settle.outcome)
            .bind(i64::from(settle.maybe_sent))
            .execute(&mut **tx)
            .await?;
            sqlx::query("UPDATE outbox_lane SET failures = failures + 1, failing_since = COALESCE(failing_since, $2) WHERE id = $1")
                .bind(settle.lane)
                .bind(now)
                .execute(&mut **tx)
                .await?;
            count(tx, &head.service, Counter::Deferred, None).await?;
            note(tx, settle, "deferred").await?;
        }
        Ending::Refused | Ending::Expired => {
            sqlx::query("UPDATE outbox_entry SET state = 3, settled_at = $2, outcome = $3, maybe_sent = $4 WHERE seq = $1 AND state IN (0, 1)")
                .bind(head.seq)
                .bind(now)
                .bind(settle.outcome)
                .bind(i64::from(settle.maybe_sent))
                .execute(&mut **tx)
                .await?;
            let refused = matches!(settle.ending, Ending::Refused);
            if refused {
                // It answers; what it said is for the dead-letter box.
                recovered(tx, settle.lane).await?;
            }
            count(
                tx,
                &head.service,
                if refused {
                    Counter::Refused
                } else {
                    Counter::Expired
                },
                None,
            )
            .await?;
            note(tx, settle, if refused { "refused" } else { "expired" }).await?;
        }
    }
    Ok(())
}

/// Ends an entry that the other side took, wholly or in part.
async fn write_taken(
    tx: &mut Tx,
    settle: &AttemptEnd<'_>,
    state: i32,
    counter: Counter,
    word: &str,
) -> Result<(), sqlx::Error> {
    let head = settle.head;
    let now = settle.now;
    // Dropped while it was on its way: it stays dropped, the log says that it arrived.
    sqlx::query(
        "UPDATE outbox_entry SET state = CASE WHEN state = 1 THEN $4 ELSE state END, pieces_done = pieces, maybe_sent = 0, \
         settled_at = $2, outcome = $3, sealed = NULL, bundle = NULL WHERE seq = $1 AND state NOT IN (2, 5)",
    )
    .bind(head.seq)
    .bind(now)
    .bind(settle.outcome)
    .bind(state)
    .execute(&mut **tx)
    .await?;
    recovered(tx, settle.lane).await?;
    count(
        tx,
        &head.service,
        counter,
        (counter != Counter::Partial).then_some(now - head.accepted_at),
    )
    .await?;
    note(tx, settle, word).await
}

async fn recovered(tx: &mut Tx, lane: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE outbox_lane SET failures = 0, failing_since = NULL, alarmed_at = NULL WHERE id = $1 AND failures > 0")
        .bind(lane)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn note(tx: &mut Tx, settle: &AttemptEnd<'_>, kind: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO outbox_event (at, entry, kind, detail) VALUES ($1, $2, $3, $4)")
        .bind(settle.now)
        .bind(&settle.head.id)
        .bind(kind)
        .bind(settle.outcome)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Counter {
    Attempt,
    Delivered,
    Deferred,
    Refused,
    Expired,
    Partial,
    /// It counts as delivered, too.
    HandedOver,
}

async fn count(
    tx: &mut Tx,
    service: &str,
    counter: Counter,
    latency_ms: Option<i64>,
) -> Result<(), sqlx::Error> {
    let mut adds = [0_i64; 7];
    adds[counter as usize] = 1;
    if counter == Counter::HandedOver {
        adds[Counter::Delivered as usize] = 1;
    }
    let latency_ms = latency_ms.map(|ms| ms.max(0));
    let class = latency_ms.map(|ms| {
        crate::types::LATENCY_MS
            .iter()
            .position(|end| ms <= *end)
            .unwrap_or(crate::types::LATENCY_MS.len())
    });
    let mut query = sqlx::query(
        "INSERT INTO outbox_counter (service, attempts, delivered, deferred, refused, expired, latency_ms, \
         latency_0, latency_1, latency_2, latency_3, latency_4, latency_5, latency_6, partial, handed_over) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT (service) DO UPDATE SET \
         attempts = outbox_counter.attempts + $2, delivered = outbox_counter.delivered + $3, \
         deferred = outbox_counter.deferred + $4, refused = outbox_counter.refused + $5, \
         expired = outbox_counter.expired + $6, latency_ms = outbox_counter.latency_ms + $7, \
         latency_0 = outbox_counter.latency_0 + $8, latency_1 = outbox_counter.latency_1 + $9, \
         latency_2 = outbox_counter.latency_2 + $10, latency_3 = outbox_counter.latency_3 + $11, \
         latency_4 = outbox_counter.latency_4 + $12, latency_5 = outbox_counter.latency_5 + $13, \
         latency_6 = outbox_counter.latency_6 + $14, partial = outbox_counter.partial + $15, \
         handed_over = outbox_counter.handed_over + $16",
    )
    .bind(service);
    let [counted @ .., partial, handed_over] = adds;
    for add in counted {
        query = query.bind(add);
    }
    query = query.bind(latency_ms.unwrap_or(0));
    for number in 0..=crate::types::LATENCY_MS.len() {
        query = query.bind(i64::from(class == Some(number)));
    }
    query = query.bind(partial).bind(handed_over);
    query.execute(&mut **tx).await?;
    Ok(())
}
