//! Acceptance of messages.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::Row as _;

use super::rows::{event, lock, set_window};
use super::tidy::Unneeded;
use super::{Backend, Db, Tx};
use crate::store::{
    AcceptRequest, AcceptResult, AlarmGuard, Collecting, Draft, FoldPlan, SHARED_EVENT, SharedRow, Stored,
};

impl Backend {
    /// Stores several requests in one transaction; all of them or none.
    pub(crate) async fn accept(&self, requests: &[AcceptRequest]) -> Result<Vec<AcceptResult>, sqlx::Error> {
        if requests.iter().all(is_plain)
            && let Some(results) = self.accept_plain(requests).await?
        {
            return Ok(results);
        }
        let mut tx = self.begin().await?;
        let mut unneeded = Unneeded::default();
        let mut begun = begin_lanes(&mut tx, requests).await?;
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            results.push(accept_one(&mut tx, request, &mut begun, &mut unneeded).await?);
        }
        tx.commit().await?;
        self.tidy(unneeded).await;
        Ok(results)
    }
}

/// Ids of drafts for which a lane was made, with the first stamp of each.
type Begun = HashMap<String, i64>;

/// Locks all lanes of some requests. A new lane is made for its first draft, so that it need not be written twice.
async fn begin_lanes(tx: &mut Tx, requests: &[AcceptRequest]) -> Result<Begun, sqlx::Error> {
    let mut begun = Begun::new();
    let mut lanes: Vec<(&Draft, i64)> = Vec::new();
    for request in requests {
        lanes.extend(request.drafts.iter().map(|draft| (draft, request.now)));
    }
    let folds =
        |(draft, _): &(&Draft, i64)| draft.dedup.is_some() || matches!(draft.plan, FoldPlan::Digest { .. });
    let any_folds = lanes.iter().any(folds);
    // Lanes are locked in one order everywhere, so that two processes never wait for each other.
    lanes.sort_by(|a, b| a.0.lane.cmp(&b.0.lane));
    lanes.dedup_by(|a, b| a.0.lane == b.0.lane);
    if lanes.len() > 1 || any_folds {
        for (draft, now) in lanes {
            if let Some(first) = begin_lane(tx, draft, now).await? {
                begun.insert(draft.id.clone(), first);
            }
        }
    }
    Ok(begun)
}

/// Makes the lane of a draft, or locks it if it is there. Returns the first stamp of the draft if the lane is new.
async fn begin_lane(tx: &mut Tx, draft: &Draft, now: i64) -> Result<Option<i64>, sqlx::Error> {
    let (due, stamps) = match draft.plan {
        FoldPlan::Send { pieces } => (now, pieces),
        FoldPlan::Digest { span_ms, .. } => (now + span_ms, 0),
    };
    let made = sqlx::query(
        "INSERT INTO outbox_lane (id, service, due_at, alarm_after, last_stamp, recent, account, origin) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&draft.lane)
    .bind(&draft.service)
    .bind(due)
    .bind(draft.alarm_after_ms)
    .bind(draft.stamp - 1 + stamps)
    .bind(Vec::<u8>::new())
    .bind(&draft.shares.account)
    .bind(&draft.shares.origin)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if made > 0 {
        return Ok(Some(draft.stamp));
    }
    lock(tx, &draft.lane).await?;
    Ok(None)
}

/// Nothing to fold, no files, no alarm.
fn is_plain(request: &AcceptRequest) -> bool {
    request.guard.is_none()
        && request.bundle.is_none()
        && request
            .drafts
            .iter()
            .all(|draft| draft.dedup.is_none() && matches!(draft.plan, FoldPlan::Send { .. }))
}

/// Most rows of one statement. Fewer go in powers of two, so that few texts have to be kept prepared.
const ROWS: usize = 32;

/// One row that is not yet written.
struct PlainRow<'a> {
    now: i64,
    draft: &'a Draft,
    pieces: i64,
    sealed: Vec<u8>,
    stamp: i64,
}

impl Backend {
    /// Stores many plain messages by few statements. `None`: one of them is stored already, each has to be looked at.
    async fn accept_plain(
        &self,
        requests: &[AcceptRequest],
    ) -> Result<Option<Vec<AcceptResult>>, sqlx::Error> {
        let mut lanes: BTreeMap<&[u8], Vec<PlainRow<'_>>> = BTreeMap::new();
        for request in requests {
            for draft in &request.drafts {
                let FoldPlan::Send { pieces } = draft.plan else {
                    return Ok(None);
                };
                lanes.entry(&draft.lane).or_default().push(PlainRow {
                    now: request.now,
                    draft,
                    pieces,
                    sealed: Vec::new(),
                    stamp: 0,
                });
            }
        }
        let mut tx = self.begin().await?;
        for request in requests {
            insert_shared(&mut tx, request).await?;
        }
        // Lanes are locked in one order everywhere, so that two processes never wait for each other.
        let mut rows = Vec::new();
        for (_, mut of_lane) in lanes {
            reserve(&mut tx, &mut of_lane).await?;
            rows.append(&mut of_lane);
        }
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let size = rest.len().min(ROWS);
            let (now, later) = rest.split_at(1 << size.ilog2());
            if !insert_plain(&mut tx, now).await? {
                return Ok(None);
            }
            rest = later;
        }
        for request in requests {
            for shared in &request.shared {
                shared_event(&mut tx, request.now, shared).await?;
            }
        }
        tx.commit().await?;
        let stored = |draft: &Draft| Stored {
            seq: 0,
            id: draft.id.clone(),
            collecting: false,
            folded: false,
            is_new: true,
        };
        let result = |request: &AcceptRequest| AcceptResult {
            stored: request.drafts.iter().map(stored).collect(),
        };
        Ok(Some(requests.iter().map(result).collect()))
    }
}

/// Reserves the stamps of all rows of one lane in one step, and seals the rows for them.
async fn reserve(tx: &mut Tx, rows: &mut [PlainRow<'_>]) -> Result<(), sqlx::Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    let mut last = first.draft.stamp - 1;
    let mut wanted = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let begin = last.max(row.draft.stamp - 1) + 1;
        wanted.push(begin);
        last = begin + row.pieces - 1;
    }
    let due = rows.iter().map(|row| row.now).min().unwrap_or(first.now);
    let given = add_lane(tx, first.draft, due, last + 1 - first.draft.stamp).await?;
    // Another process took some of them: all move on by as much.
    let moved = given - first.draft.stamp;
    for (row, begin) in rows.iter_mut().zip(wanted) {
        row.stamp = begin + moved;
        row.sealed = row.draft.content.fixed(row.stamp);
    }
    Ok(())
}

/// Inserts entries, and the first line in the log for each that needs one of its own; `false` when one of them is there already.
async fn insert_plain(tx: &mut Tx, rows: &[PlainRow<'_>]) -> Result<bool, sqlx::Error> {
    let mut entries = sqlx::QueryBuilder::<Db>::new(
        "INSERT INTO outbox_entry (id, lane, service, state, accepted_at, due_at, expires_at, pieces, folded, label, \
         sealed, alarmed, shared, target_no, stamp, context) ",
    );
    entries.push_values(rows, |mut values, row| {
        values
            .push_bind(&row.draft.id)
            .push_bind(&row.draft.lane)
            .push_bind(&row.draft.service)
            .push("1")
            .push_bind(row.now)
            .push_bind(row.now)
            .push_bind(row.now + row.draft.ttl_ms)
            .push_bind(row.pieces)
            .push("0")
            .push_bind(&row.draft.label)
            .push_bind(&row.sealed)
            .push_bind(i64::from(row.draft.is_alarm))
            .push_bind(row.draft.share.map(|(id, _)| id))
            .push_bind(row.draft.share.map(|(_, number)| number))
            .push_bind(row.draft.share.map(|_| row.stamp))
            .push_bind(row.draft.context);
    });
    entries.push(" ON CONFLICT (id) DO NOTHING");
    let written = entries.build().execute(&mut **tx).await?.rows_affected();
    if written < rows.len() as u64 {
        return Ok(false);
    }
    let alone: Vec<&PlainRow<'_>> = rows.iter().filter(|row| !row.draft.logged_together).collect();
    if alone.is_empty() {
        return Ok(true);
    }
    let mut events = sqlx::QueryBuilder::<Db>::new("INSERT INTO outbox_event (at, entry, kind) ");
    events.push_values(alone, |mut values, row| {
        values
            .push_bind(row.now)
            .push_bind(&row.draft.id)
            .push("'accepted'");
    });
    events.build().execute(&mut **tx).await?;
    Ok(true)
}

async fn accept_one(
    tx: &mut Tx,
    request: &AcceptRequest,
    begun: &mut Begun,
    unneeded: &mut Unneeded,
) -> Result<AcceptResult, sqlx::Error> {
    if let Some(guard) = &request.guard
        && !pass(tx, guard, request.now).await?
    {
        return Ok(AcceptResult::default());
    }
    insert_shared(tx, request).await?;
    let mut result = AcceptResult::default();
    let mut files_needed = false;
    let mut referred = HashSet::new();
    // In the order of the lanes, so that neighbours in an index are written together.
    let mut drafts: Vec<(usize, &Draft)> = request.drafts.iter().enumerate().collect();
    drafts.sort_by(|(_, a), (_, b)| a.lane.cmp(&b.lane));
    let mut all = Vec::with_capacity(drafts.len());
    for (place, draft) in drafts {
        let stored = store(tx, request, draft, begun, unneeded).await?;
        files_needed |= stored.is_new && !stored.collecting && draft.bundle.is_some();
        if let Some((id, _)) = draft.share.filter(|_| stored.is_new) {
            referred.insert(id);
        }
        all.push((place, stored));
    }
    all.sort_by_key(|(place, _)| *place);
    result.stored = all.into_iter().map(|(_, stored)| stored).collect();
    for shared in &request.shared {
        if referred.contains(&shared.id) {
            shared_event(tx, request.now, shared).await?;
        }
        // Every entry may have been put to another that needs nothing of it.
        unneeded.shares.insert(shared.id);
    }
    if let Some(bundle) = request.bundle.as_ref().filter(|_| files_needed) {
        for (part, sealed) in (0_i64..).zip(&request.files) {
            sqlx::query("INSERT INTO outbox_file (bundle, part, sealed) VALUES ($1, $2, $3)")
                .bind(bundle)
                .bind(part)
                .bind(sealed)
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(result)
}

/// Stores what the entries of a request share; a row that is there already stays.
async fn insert_shared(tx: &mut Tx, request: &AcceptRequest) -> Result<(), sqlx::Error> {
    for (id, sealed) in &request.contexts {
        sqlx::query(
            "INSERT INTO outbox_context (id, at, sealed) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(request.now)
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    }
    for shared in &request.shared {
        sqlx::query(
            "INSERT INTO outbox_shared (id, sealed, label) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        )
        .bind(shared.id)
        .bind(&shared.sealed)
        .bind(&shared.label)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Logs that the entries of a shared row were accepted, unless each has its own line.
async fn shared_event(tx: &mut Tx, now: i64, shared: &SharedRow) -> Result<(), sqlx::Error> {
    let Some(event) = &shared.event else {
        return Ok(());
    };
    sqlx::query("INSERT INTO outbox_event (at, entry, kind, detail) VALUES ($1, $2, 'accepted', $3)")
        .bind(now)
        .bind(format!("{SHARED_EVENT}{}", shared.id))
        .bind(event)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn store(
    tx: &mut Tx,
    request: &AcceptRequest,
    draft: &Draft,
    begun: &mut Begun,
    unneeded: &mut Unneeded,
) -> Result<Stored, sqlx::Error> {
    let now = request.now;
    if let Some((key, window_ms)) = &draft.dedup {
        let window = window(tx, &draft.lane, key)
            .await?
            .filter(|(until, _)| *until > now);
        let Some((until, collecting)) = window else {
            set_window(tx, &draft.lane, key, now + window_ms, 0).await?;
            return fresh(tx, request, draft, begun, unneeded).await;
        };
        if let Some(stored) = collect(tx, draft, collecting, now, unneeded).await? {
            return Ok(stored);
        }
        let sealed = draft.content.follow_up();
        let row = NewRow {
            state: 0,
            due: until,
            pieces: 0,
            fold_key: Some(key),
            folded: 1,
            bundle: None,
            sealed,
            stamp: 0,
        };
        let stored = insert(tx, request, draft, row, begun).await?;
        set_window(tx, &draft.lane, key, until, stored.seq).await?;
        return Ok(stored);
    }
    fresh(tx, request, draft, begun, unneeded).await
}

/// Stores a message that is not a repeat.
async fn fresh(
    tx: &mut Tx,
    request: &AcceptRequest,
    draft: &Draft,
    begun: &mut Begun,
    unneeded: &mut Unneeded,
) -> Result<Stored, sqlx::Error> {
    match &draft.plan {
        FoldPlan::Send { pieces } => {
            let first = match begun.remove(&draft.id) {
                Some(first) => first,
                None => add_lane(tx, draft, request.now, *pieces).await?,
            };
            let sealed = draft.content.fixed(first);
            let bundle = draft.bundle.as_ref();
            let row = NewRow {
                state: 1,
                due: request.now,
                pieces: *pieces,
                fold_key: None,
                folded: 0,
                bundle,
                sealed,
                stamp: first,
            };
            insert(tx, request, draft, row, begun).await
        }
        FoldPlan::Digest { key, span_ms } => {
            let collecting = collecting_digest(tx, &draft.lane, key, request.now).await?;
            if let Some(collecting) = collecting
                && let Some(stored) = collect(tx, draft, collecting, request.now, unneeded).await?
            {
                return Ok(stored);
            }
            let until = request.now + span_ms;
            let sealed = draft.content.fixed(0);
            let row = NewRow {
                state: 0,
                due: until,
                pieces: 0,
                fold_key: Some(key),
                folded: 0,
                bundle: None,
                sealed,
                stamp: 0,
            };
            insert(tx, request, draft, row, begun).await
        }
    }
}

struct NewRow<'a> {
    state: i64,
    due: i64,
    pieces: i64,
    fold_key: Option<&'a Vec<u8>>,
    folded: i64,
    bundle: Option<&'a String>,
    sealed: Vec<u8>,
    /// Stamp of its first piece; 0 while messages are merged into it.
    stamp: i64,
}

async fn insert(
    tx: &mut Tx,
    request: &AcceptRequest,
    draft: &Draft,
    row: NewRow<'_>,
    begun: &mut Begun,
) -> Result<Stored, sqlx::Error> {
    if row.state == 0 && begun.remove(&draft.id).is_none() {
        add_lane(tx, draft, row.due, 0).await?;
    }
    let seq: Option<i64> = sqlx::query_scalar(
        "INSERT INTO outbox_entry (id, lane, service, state, accepted_at, due_at, expires_at, pieces, folded, fold_key, \
         bundle, label, sealed, alarmed, shared, target_no, stamp, context) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
         ON CONFLICT (id) DO NOTHING RETURNING seq",
    )
    .bind(&draft.id)
    .bind(&draft.lane)
    .bind(&draft.service)
    .bind(row.state)
    .bind(request.now)
    .bind(row.due)
    .bind(row.due + draft.ttl_ms)
    .bind(row.pieces)
    .bind(row.folded)
    .bind(row.fold_key)
    .bind(row.bundle)
    .bind(&draft.label)
    .bind(row.sealed)
    .bind(i64::from(draft.is_alarm))
    .bind(draft.share.map(|(id, _)| id))
    .bind(draft.share.map(|(_, number)| number))
    .bind(draft.share.map(|_| row.stamp))
    // A collection is about several messages, so it carries no context.
    .bind(draft.context.filter(|_| row.state == 1))
    .fetch_optional(&mut **tx)
    .await?;
    let Some(seq) = seq else {
        // The connection broke after the commit and before its answer: it is stored already, files and all.
        let seq = sqlx::query_scalar("SELECT seq FROM outbox_entry WHERE id = $1")
            .bind(&draft.id)
            .fetch_one(&mut **tx)
            .await?;
        return Ok(Stored {
            seq,
            id: draft.id.clone(),
            collecting: row.state == 0,
            folded: false,
            is_new: false,
        });
    };
    if !draft.logged_together {
        event(tx, request.now, &draft.id, "accepted").await?;
    }
    Ok(Stored {
        seq,
        id: draft.id.clone(),
        collecting: row.state == 0,
        folded: false,
        is_new: true,
    })
}

/// Finds the entry of a lane that collects a digest. Its window is its own: no row of the windows is needed.
async fn collecting_digest(
    tx: &mut Tx,
    lane: &[u8],
    key: &[u8],
    now: i64,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT seq FROM outbox_entry WHERE lane = $1 AND state = 0 AND fold_key = $2 AND due_at > $3 ORDER BY seq LIMIT 1",
    )
    .bind(lane)
    .bind(key)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await
}

/// Puts a message to an entry that collects, if it still does.
async fn collect(
    tx: &mut Tx,
    draft: &Draft,
    seq: i64,
    now: i64,
    unneeded: &mut Unneeded,
) -> Result<Option<Stored>, sqlx::Error> {
    let found = sqlx::query("SELECT id, shared, sealed FROM outbox_entry WHERE seq = $1 AND state = 0")
        .bind(seq)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let row = Collecting {
        id: found.try_get("id")?,
        share: found.try_get("shared")?,
        sealed: found.try_get("sealed")?,
    };
    let Some(collected) = draft.content.collected(&row) else {
        return Ok(None);
    };
    sqlx::query("UPDATE outbox_entry SET folded = folded + 1, sealed = $2 WHERE seq = $1")
        .bind(seq)
        .bind(collected.sealed)
        .execute(&mut **tx)
        .await?;
    if let Some((share, number)) = collected.share {
        sqlx::query("UPDATE outbox_entry SET shared = $2, target_no = $3 WHERE seq = $1")
            .bind(seq)
            .bind(share)
            .bind(number)
            .execute(&mut **tx)
            .await?;
        unneeded.shares.extend(row.share);
    }
    event(tx, now, &row.id, "folded").await?;
    Ok(Some(Stored {
        seq,
        id: row.id,
        collecting: true,
        folded: true,
        is_new: false,
    }))
}

/// Adds the lane of a draft, or lets it be looked at by `due`; reserves stamps and returns the first.
async fn add_lane(tx: &mut Tx, draft: &Draft, due: i64, stamps: i64) -> Result<i64, sqlx::Error> {
    let last: i64 = sqlx::query_scalar(
        "INSERT INTO outbox_lane (id, service, due_at, alarm_after, last_stamp, recent, account, origin) \
         VALUES ($1, $2, $3, $4, $5, $6, $9, $10) \
         ON CONFLICT (id) DO UPDATE SET \
         last_stamp = (CASE WHEN outbox_lane.last_stamp > $7 THEN outbox_lane.last_stamp ELSE $7 END) + $8, \
         alarm_after = excluded.alarm_after, account = excluded.account, origin = excluded.origin, \
         due_at = CASE WHEN outbox_lane.due_at < $3 THEN outbox_lane.due_at \
                       WHEN outbox_lane.held_until > $3 AND outbox_lane.held_until < outbox_lane.due_at THEN outbox_lane.held_until \
                       WHEN outbox_lane.held_until > $3 THEN outbox_lane.due_at \
                       ELSE $3 END \
         RETURNING last_stamp",
    )
    .bind(&draft.lane)
    .bind(&draft.service)
    .bind(due)
    .bind(draft.alarm_after_ms)
    .bind(draft.stamp - 1 + stamps)
    .bind(Vec::<u8>::new())
    .bind(if stamps == 0 { 0 } else { draft.stamp - 1 })
    .bind(stamps)
    .bind(&draft.shares.account)
    .bind(&draft.shares.origin)
    .fetch_one(&mut **tx)
    .await?;
    Ok(last - stamps + 1)
}

async fn window(tx: &mut Tx, lane: &[u8], key: &[u8]) -> Result<Option<(i64, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT until_at, entry FROM outbox_window WHERE lane = $1 AND fold_key = $2")
        .bind(lane)
        .bind(key)
        .fetch_optional(&mut **tx)
        .await
}

/// Returns true if this alarm is the first about its cause, and marks the cause as reported.
async fn pass(tx: &mut Tx, guard: &AlarmGuard, now: i64) -> Result<bool, sqlx::Error> {
    let mut changed = 0;
    for lane in &guard.lanes {
        changed += sqlx::query(
            "UPDATE outbox_lane SET alarmed_at = $2 WHERE id = $1 AND alarmed_at IS NULL AND failing_since IS NOT NULL",
        )
        .bind(lane)
        .bind(now)
        .execute(&mut **tx)
        .await?
        .rows_affected();
    }
    for seq in &guard.dead {
        changed += sqlx::query("UPDATE outbox_entry SET alarmed = 1 WHERE seq = $1 AND alarmed = 0")
            .bind(seq)
            .execute(&mut **tx)
            .await?
            .rows_affected();
    }
    Ok(changed > 0)
}
