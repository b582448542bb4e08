//! Entries: the messages and changes that have yet to cross.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::reactions::{Reacted, is_change, set_reactions};
use super::{Store, StoreError, Tx, set_meta};
use crate::job::Job;

/// The side to which something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The XMPP room.
    Xmpp,
    /// The community.
    Session,
}

impl Side {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Xmpp => "xmpp",
            Self::Session => "session",
        }
    }
}

/// Final state of an entry.
///
/// Before that it is `waiting` (nothing was sent) or `prepared` (its bytes or ids are fixed, and it may have been
/// sent). It is `dropped` when its message was retracted in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The other side has it.
    Done,
    /// It cannot cross.
    Refused,
}

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// Limits on the entries that wait in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) all: u32,
    /// Of one author.
    pub(crate) each: u32,
}

/// An event that is to cross.
#[derive(Clone, Debug)]
pub(crate) struct NewEntry {
    /// The side to which it goes.
    pub(crate) side: Side,
    /// The identity of the event: the same event makes one entry, however often it is seen.
    pub(crate) source: String,
    /// The id of the message on its own side.
    pub(crate) native: String,
    /// The id by which corrections name the message.
    pub(crate) reference: String,
    /// The author of the event.
    pub(crate) author: String,
    pub(crate) job: Job,
    /// The reactions of a person that the event brings. Without a change there is no entry.
    pub(crate) reacted: Option<Reacted>,
    /// Time when it was said, milliseconds since 1970.
    pub(crate) made: i64,
}

/// An entry of the database.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) native: String,
    pub(crate) author: String,
    pub(crate) job: Job,
    pub(crate) prepared: String,
    pub(crate) made: i64,
    pub(crate) due: i64,
    pub(crate) tries: i64,
}

fn entry(row: &AnyRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        id: row.try_get("id")?,
        native: row.try_get("native")?,
        author: row.try_get("author")?,
        job: Job::read(&row.try_get::<String, _>("job")?)?,
        prepared: row.try_get("prepared")?,
        made: row.try_get("made")?,
        due: row.try_get("due")?,
        tries: row.try_get("tries")?,
    })
}

impl Store {
    /// Stores entries and the places up to which a side was read, in one transaction. Returns the number of new ones;
    /// entries above `most` that wait in one direction are refused and not counted.
    pub(crate) async fn take(
        &self,
        bridge: &str,
        entries: &[NewEntry],
        places: &[(&str, String)],
        most: Most,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let mut new = 0;
        for entry in entries {
            new += insert(&mut tx, bridge, entry, most).await?;
        }
        for (name, value) in places {
            set_meta(&mut tx, bridge, name, value).await?;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// The oldest entry of a direction that has not crossed.
    pub(crate) async fn next(&self, bridge: &str, side: Side) -> Result<Option<Entry>, StoreError> {
        let row = sqlx::query(
            "SELECT id, native, author, job, prepared, made, due, tries FROM bridge_entry \
             WHERE bridge = $1 AND side = $2 AND state IN ('waiting', 'prepared') ORDER BY id LIMIT 1",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(entry).transpose()
    }

    /// The oldest line of the bridge itself that a side has not got.
    pub(crate) async fn next_notice(&self, bridge: &str, side: Side) -> Result<Option<Entry>, StoreError> {
        let row = sqlx::query(
            "SELECT id, native, author, job, prepared, made, due, tries FROM bridge_entry \
             WHERE bridge = $1 AND side = $2 AND state IN ('waiting', 'prepared') AND source LIKE 'notice:%' \
             ORDER BY id LIMIT 1",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(entry).transpose()
    }

    /// Stores the prepared form of an entry before it is sent. Returns false if its message was retracted in the meantime:
    /// then it must not be sent.
    pub(crate) async fn prepare(&self, id: i64, prepared: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let is_open = prepare(&mut tx, id, prepared).await?;
        tx.commit().await?;
        Ok(is_open)
    }

    /// Ends an entry. Its words are no longer kept.
    pub(crate) async fn end(&self, id: i64, state: State, error: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        end(&mut tx, id, state, error).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Tries an entry again at a later time.
    pub(crate) async fn later(&self, id: i64, due: i64, error: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE bridge_entry SET due = $2, tries = tries + 1, error = $3 WHERE id = $1")
            .bind(id)
            .bind(due)
            .bind(error.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Returns the number of entries that wait in one direction, and the time when the oldest was said, milliseconds since
    /// 1970.
    pub(crate) async fn waiting(&self, bridge: &str, side: Side) -> Result<(u64, Option<i64>), StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS count, COALESCE(MIN(made), 0) AS oldest FROM bridge_entry \
             WHERE bridge = $1 AND side = $2 AND state IN ('waiting', 'prepared')",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .fetch_one(&self.pool)
        .await?;
        let (count, oldest): (i64, i64) = (row.try_get("count")?, row.try_get("oldest")?);
        Ok((
            u64::try_from(count).unwrap_or_default(),
            Some(oldest).filter(|_| count > 0),
        ))
    }

    /// The message that a correction names: id and time of the newest with this reference and author.
    pub(crate) async fn by_reference(
        &self,
        bridge: &str,
        side: Side,
        reference: &str,
        author: &str,
    ) -> Result<Option<(String, i64)>, StoreError> {
        if reference.is_empty() {
            return Ok(None);
        }
        let row = sqlx::query(
            "SELECT native, made FROM bridge_entry WHERE bridge = $1 AND side = $2 AND reference = $3 AND author = $4 \
             ORDER BY id DESC LIMIT 1",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .bind(reference.to_owned())
        .bind(author.to_owned())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok((row.try_get("native")?, row.try_get("made")?)))
            .transpose()
    }

    /// Returns the author of a message that came from the other side of `side`, and the time when it was said, milliseconds
    /// since 1970.
    pub(crate) async fn message(
        &self,
        bridge: &str,
        side: Side,
        native: &str,
    ) -> Result<Option<(String, i64)>, StoreError> {
        let row = sqlx::query(
            "SELECT author, made FROM bridge_entry WHERE bridge = $1 AND side = $2 AND source = $3",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .bind(format!("m:{native}"))
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok((row.try_get("author")?, row.try_get("made")?)))
            .transpose()
    }

    /// Number of messages towards the community (`to_session`) or the XMPP room that found the queue full, of the last seven
    /// days.
    pub(crate) async fn lost(&self, bridge: &str, to_session: bool) -> Result<u64, StoreError> {
        let side = if to_session { Side::Session } else { Side::Xmpp };
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM bridge_entry WHERE bridge = $1 AND side = $2 AND state = 'refused' AND error = $3 \
             AND source LIKE 'm:%'",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .bind(FULL)
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Returns true if an event was taken in.
    pub(crate) async fn is_known(&self, bridge: &str, side: Side, source: &str) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        is_known(&mut connection, bridge, side, source).await
    }

    /// Takes an entry in hand before what it carries is read: what comes later makes an entry of its own. Returns false if it was
    /// ended in the meantime.
    pub(crate) async fn take_in_hand(&self, id: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE bridge_entry SET state = 'prepared' WHERE id = $1 AND state IN ('waiting', 'prepared')",
        )
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Drops the entry of a message that was retracted before it was sent, and the edits of it that wait. Returns true if the
    /// message itself was dropped in time.
    pub(crate) async fn drop_waiting(
        &self,
        bridge: &str,
        side: Side,
        native: &str,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE bridge_entry SET state = 'dropped', job = $4 \
             WHERE bridge = $1 AND side = $2 AND native = $3 AND state = 'waiting' \
             AND (source LIKE 'e:%' OR source LIKE 'n:%')",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .bind(native.to_owned())
        .bind(EMPTY)
        .execute(&mut *tx)
        .await?;
        let done = sqlx::query(
            "UPDATE bridge_entry SET state = 'dropped', job = $4 \
             WHERE bridge = $1 AND side = $2 AND source = $3 AND state = 'waiting'",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .bind(format!("m:{native}"))
        .bind(EMPTY)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Drops the messages and edits of a person, said at `since` (milliseconds since 1970) or later, that have not been prepared.
    /// Returns their number. Their deletions still cross.
    pub(crate) async fn drop_waiting_of(
        &self,
        bridge: &str,
        side: Side,
        author: &str,
        since: i64,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE bridge_entry SET state = 'dropped', job = $5 \
             WHERE bridge = $1 AND side = $2 AND author = $3 AND made >= $4 AND state = 'waiting' \
             AND (source LIKE 'm:%' OR source LIKE 'n:%' OR source LIKE 'e:%')",
        )
        .bind(bridge.to_owned())
        .bind(side.word())
        .bind(author.to_owned())
        .bind(since)
        .bind(EMPTY)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    /// Deletes data older than `before`, milliseconds since 1970.
    pub(crate) async fn tidy(&self, before: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for statement in [
            "DELETE FROM bridge_entry WHERE made < $1 AND state IN ('done', 'refused', 'dropped')",
            "DELETE FROM bridge_map WHERE made < $1",
            "DELETE FROM bridge_earlier_quote WHERE made < $1",
            "DELETE FROM bridge_reaction WHERE made < $1",
        ] {
            sqlx::query(statement).bind(before).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// The error of an entry that found the queue full.
const FULL: &str = "the queue was full";
/// The replacement for words that are no longer needed.
const EMPTY: &str = r#"{"kind":"notice","text":""}"#;

/// Returns true if as many entries wait as may: in all, or of this author.
///
/// Deletions and the lines of the bridge itself always find a place: there is one deletion at most for each message, and a moderator's
/// deletion must not be lost because others filled the queue.
async fn is_full(tx: &mut Tx, bridge: &str, entry: &NewEntry, most: Most) -> Result<bool, StoreError> {
    if matches!(entry.job, Job::Delete { .. } | Job::Notice { .. }) {
        return Ok(false);
    }
    let waiting: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM bridge_entry WHERE bridge = $1 AND side = $2 AND state IN ('waiting', 'prepared')",
    )
    .bind(bridge.to_owned())
    .bind(entry.side.word())
    .fetch_one(&mut **tx)
    .await?;
    if waiting >= i64::from(most.all) {
        return Ok(true);
    }
    // Lines of the bridge itself have no author.
    if waiting < i64::from(most.each) || entry.author.is_empty() {
        return Ok(false);
    }
    let theirs: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM bridge_entry WHERE bridge = $1 AND side = $2 AND state IN ('waiting', 'prepared') \
         AND author = $3",
    )
    .bind(bridge.to_owned())
    .bind(entry.side.word())
    .bind(entry.author.clone())
    .fetch_one(&mut **tx)
    .await?;
    Ok(theirs >= i64::from(most.each))
}

/// Returns true if a change of reactions to the same message waits, which carries this one too.
///
/// It writes to that entry, so that nobody takes it in hand before our transaction ends. A plain read would let the carrier
/// read the reactions before they are written, if the database runs transactions beside each other.
async fn is_on_its_way(tx: &mut Tx, bridge: &str, entry: &NewEntry) -> Result<bool, StoreError> {
    let held = sqlx::query(
        "UPDATE bridge_entry SET state = 'waiting' WHERE bridge = $1 AND side = $2 AND state = 'waiting' AND native = $3 \
         AND author = $4 AND source LIKE 'r:%'",
    )
    .bind(bridge.to_owned())
    .bind(entry.side.word())
    .bind(entry.native.clone())
    .bind(entry.author.clone())
    .execute(&mut **tx)
    .await?;
    Ok(held.rows_affected() > 0)
}

/// Returns true if an event was taken in.
async fn is_known(
    connection: &mut sqlx::AnyConnection,
    bridge: &str,
    side: Side,
    source: &str,
) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT id FROM bridge_entry WHERE bridge = $1 AND side = $2 AND source = $3")
        .bind(bridge.to_owned())
        .bind(side.word())
        .bind(source.to_owned())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Stores an entry. Returns the number of new ones.
pub(super) async fn insert(
    tx: &mut Tx,
    bridge: &str,
    entry: &NewEntry,
    most: Most,
) -> Result<u64, StoreError> {
    let mut is_carried = false;
    if let Some(reacted) = &entry.reacted {
        // An event that is read again must not bring an earlier state back.
        if is_known(tx, bridge, entry.side, &entry.source).await? || !is_change(tx, bridge, reacted).await? {
            return Ok(0);
        }
        is_carried = is_on_its_way(tx, bridge, entry).await?;
    }
    let full = !is_carried && is_full(tx, bridge, entry, most).await?;
    // In the transaction of the entry: a kill between both would lose the change. Reactions that cannot cross are not
    // stored: the same reactions, said again, are a change again.
    if let Some(reacted) = entry.reacted.as_ref().filter(|_| !full) {
        set_reactions(tx, bridge, reacted, entry.made).await?;
    }
    if is_carried {
        return Ok(0);
    }
    let (state, job, error) = if full {
        ("refused", EMPTY.to_owned(), FULL)
    } else {
        ("waiting", serde_json::to_string(&entry.job)?, "")
    };
    let done = sqlx::query(
        "INSERT INTO bridge_entry (bridge, side, source, native, reference, author, job, state, prepared, made, due, tries, error) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', $9, 0, 0, $10) ON CONFLICT (bridge, side, source) DO NOTHING",
    )
    .bind(bridge.to_owned())
    .bind(entry.side.word())
    .bind(entry.source.clone())
    .bind(entry.native.clone())
    .bind(entry.reference.clone())
    .bind(entry.author.clone())
    .bind(job)
    .bind(state)
    .bind(entry.made)
    .bind(error)
    .execute(&mut **tx)
    .await?;
    Ok(if full { 0 } else { done.rows_affected() })
}

pub(super) async fn prepare(tx: &mut Tx, id: i64, prepared: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE bridge_entry SET state = 'prepared', prepared = $2 WHERE id = $1 AND state IN ('waiting', 'prepared')",
    )
    .bind(id)
    .bind(prepared.to_owned())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn end(tx: &mut Tx, id: i64, state: State, error: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE bridge_entry SET state = $2, error = $3, job = $4, prepared = '' WHERE id = $1")
        .bind(id)
        .bind(state.word())
        .bind(error.to_owned())
        .bind(EMPTY)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
