//! Storage of entries. The SQL is in `sql/` and is compiled once for SQLite and once for PostgreSQL; the differences
//! between the two are in `sqlite.rs` and `postgres.rs`. Everything that is written in one step is one transaction.
//! This module cannot read sealed content.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::clock::{ServerClock, ServerReading};
use super::error::OutboxError;
use super::slots::{Shares, Slot, Slots};
use super::types::Stats;

/// A moment that never comes.
pub(crate) const NEVER: i64 = i64::MAX;
pub(crate) const SCHEMA: &str = include_str!("store/schema.sql");
/// Changes from each version to the next, the first one from version 1.
pub(crate) const MIGRATIONS: [&str; 7] = [
    "ALTER TABLE outbox_counter ADD COLUMN partial BIGINT NOT NULL DEFAULT 0",
    include_str!("store/version3.sql"),
    include_str!("store/version4.sql"),
    include_str!("store/version5.sql"),
    include_str!("store/version6.sql"),
    include_str!("store/version7.sql"),
    "ALTER TABLE outbox_counter ADD COLUMN handed_over BIGINT NOT NULL DEFAULT 0",
];
/// One more than there are migrations.
pub(crate) const VERSION: i64 = 8;
const _: () = assert!(MIGRATIONS.len() == 7, "a new migration needs a new version");
/// Time after the delivery for which a message leads to its context.
pub(crate) const KEEP_LINKS: Duration = Duration::from_secs(7 * 86_400);
/// Time for which a gesture is remembered, so that it is acted on once.
pub(crate) const KEEP_GESTURES: Duration = Duration::from_secs(30 * 86_400);
/// Time for which the log of acts is kept.
pub(crate) const KEEP_ACTS: Duration = Duration::from_secs(400 * 86_400);
/// Start of the name under which the log keeps a line about all entries that share a row.
pub(crate) const SHARED_EVENT: &str = "shared ";
/// Bytes that are written to see whether the disk takes a message.
const PROBE_BYTES: usize = 256 << 10;

/// Location of an outbox.
#[derive(Clone, Debug)]
pub enum Location {
    /// One file, for the processes of one machine.
    Sqlite(PathBuf),
    /// A database by its `postgres://` URL, for workers on several machines.
    Postgres(SecretString),
}

impl Location {
    /// `postgres://…` or `postgresql://…`; anything else is the name of a file, with or without `sqlite:` before it.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(text.to_owned().into());
        }
        Self::Sqlite(text.strip_prefix("sqlite:").unwrap_or(text).into())
    }

    /// Returns the location without secrets.
    pub fn masked(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => {
                let url = url.expose_secret();
                let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
                format!(
                    "postgres://{}",
                    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
                )
            }
        }
    }
}

/// Sealed content of an entry.
#[derive(Debug)]
pub(crate) struct ContentRow {
    /// `None` once it is delivered or dropped.
    pub(crate) sealed: Option<Vec<u8>>,
    /// The shared row that it refers to.
    pub(crate) share: Option<i64>,
}

/// Contents of a draft under its seal; the store only asks for sealed bytes.
pub(crate) trait Content: Send + Sync {
    /// Returns the row of a separate entry, its pieces stamped from `first_stamp` on (0: nothing is fixed yet).
    fn fixed(&self, first_stamp: i64) -> Vec<u8>;
    /// Returns the row of a first repeat.
    fn follow_up(&self) -> Vec<u8>;
    /// Returns the row of another entry with this message merged into it; `None` when that row cannot be read.
    fn collected(&self, row: &Collecting) -> Option<Collected>;
}

/// An entry that collects, as it is stored.
pub(crate) struct Collecting {
    pub(crate) id: String,
    pub(crate) share: Option<i64>,
    pub(crate) sealed: Option<Vec<u8>>,
}

/// An entry that collects, after another message was merged into it.
pub(crate) struct Collected {
    pub(crate) sealed: Vec<u8>,
    /// It refers to another shared row now: its id, and the number of the target there.
    pub(crate) share: Option<(i64, i64)>,
}

/// A message for one target, about to be stored.
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) lane: Vec<u8>,
    /// Whom the lane counts for from now on.
    pub(crate) shares: Shares,
    pub(crate) service: String,
    pub(crate) label: Vec<u8>,
    pub(crate) ttl_ms: i64,
    pub(crate) alarm_after_ms: Option<i64>,
    pub(crate) bundle: Option<String>,
    /// The context that it carries.
    pub(crate) context: Option<i64>,
    /// The shared row that it refers to, and the number of its target there. `label` is empty then.
    pub(crate) share: Option<(i64, i64)>,
    /// The log has one line about the acceptance of all that share the row.
    pub(crate) logged_together: bool,
    /// An alarm is nothing to raise an alarm about.
    pub(crate) is_alarm: bool,
    /// Key and window in milliseconds.
    pub(crate) dedup: Option<(Vec<u8>, i64)>,
    pub(crate) plan: FoldPlan,
    /// The first stamp that `content` is fixed for already.
    pub(crate) stamp: i64,
    pub(crate) content: Box<dyn Content>,
}

/// Way in which a message that is not a repeat is stored.
pub(crate) enum FoldPlan {
    /// As its own entry, in this number of pieces.
    Send { pieces: i64 },
    /// Collected with others into one entry.
    Digest { key: Vec<u8>, span_ms: i64 },
}

/// One call of `accept`.
pub(crate) struct AcceptRequest {
    pub(crate) now: i64,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) bundle: Option<String>,
    /// Sealed parts of the files.
    pub(crate) files: Vec<Vec<u8>>,
    /// Rows that drafts share.
    pub(crate) shared: Vec<SharedRow>,
    pub(crate) guard: Option<AlarmGuard>,
    /// Ids and sealed texts of the contexts of its drafts.
    pub(crate) contexts: Vec<(i64, Vec<u8>)>,
}

/// Content that the entries of one message to one URL have in common.
pub(crate) struct SharedRow {
    pub(crate) id: i64,
    /// Sealed: URL, rules, message. Emptied with the last entry that may still be sent.
    pub(crate) sealed: Vec<u8>,
    /// Sealed: addresses, and what lists show. Removed with the last entry.
    pub(crate) label: Vec<u8>,
    /// Sealed: the line in the log about the acceptance of all of them. `None`: each has its own line.
    pub(crate) event: Option<Vec<u8>>,
}

/// Only store the request if it is the first alarm about these.
pub(crate) struct AlarmGuard {
    pub(crate) lanes: Vec<Vec<u8>>,
    pub(crate) dead: Vec<i64>,
}

#[derive(Default)]
pub(crate) struct AcceptResult {
    pub(crate) stored: Vec<Stored>,
}

pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) collecting: bool,
    pub(crate) folded: bool,
    /// It was not there before.
    pub(crate) is_new: bool,
}

/// The first entry of a lane.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) accepted_at: i64,
    pub(crate) due_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) attempts: i64,
    pub(crate) maybe_sent: bool,
    /// Code of the reason for waiting; see [`super::types::Hold::code`].
    pub(crate) hold: i64,
    pub(crate) pieces_done: i64,
    pub(crate) folded: i64,
    /// The shared row that it refers to.
    pub(crate) share: Option<i64>,
    /// The number of its target there; `None` in rows of earlier versions, which hold the address themselves.
    pub(crate) target_no: Option<i64>,
    /// Of its first piece, while pieces are not fixed.
    pub(crate) stamp: Option<i64>,
    pub(crate) fold_key: Option<Vec<u8>>,
    pub(crate) bundle: Option<String>,
    /// The context that it carries.
    pub(crate) context: Option<i64>,
    pub(crate) pieces: i64,
    pub(crate) sealed: Option<Vec<u8>>,
    /// Outcome of the attempt before, sealed.
    pub(crate) outcome: Option<Vec<u8>>,
}

/// Next step in a lane.
pub(crate) enum Next {
    /// Send this entry; with the failures in a row and the times of the latest posts.
    Send(Box<Head>, i64, Vec<u8>),
    /// Close this entry: it has been collecting long enough.
    Close(Box<Head>),
    /// Nothing is to be done now; the lane is released.
    Nothing,
    /// Another worker has the lane.
    Lost,
}

/// A worker asks for lanes.
pub(crate) struct Claim<'a> {
    pub(crate) owner: &'a str,
    pub(crate) now: i64,
    /// Time until which the lanes are kept.
    pub(crate) until: i64,
    /// Lanes that pause after a failure count only until then.
    pub(crate) failing_until: i64,
    pub(crate) limit: usize,
    /// The sum of all moves of the clock that `now` takes into account; see [`ServerClock::moved`].
    pub(crate) moved: Option<i64>,
}

/// An entry is put off without an attempt.
pub(crate) struct Postponed<'a> {
    pub(crate) lane: &'a [u8],
    pub(crate) owner: &'a str,
    pub(crate) seq: i64,
    pub(crate) now: i64,
    pub(crate) until: i64,
    pub(crate) hold: i64,
}

/// Values that are stored when an attempt begins.
pub(crate) struct AttemptStart<'a> {
    pub(crate) lane: &'a [u8],
    pub(crate) owner: &'a str,
    pub(crate) head: &'a Head,
    /// Time until which the lane is kept.
    pub(crate) until: i64,
    /// The sum of all moves of the clock that `until` takes into account; see [`ServerClock::moved`].
    pub(crate) moved: Option<i64>,
    /// Times of the latest posts.
    pub(crate) recent: &'a [u8],
    /// The pieces were fixed just now: their number and the sealed row.
    pub(crate) fixed: Option<(i64, &'a [u8])>,
}

/// Values that are stored when an attempt ends.
pub(crate) struct AttemptEnd<'a> {
    pub(crate) lane: &'a [u8],
    pub(crate) owner: &'a str,
    pub(crate) head: &'a Head,
    pub(crate) now: i64,
    /// Time until which the lane is kept.
    pub(crate) until: i64,
    pub(crate) ending: Ending,
    /// A copy of the current piece may have arrived.
    pub(crate) maybe_sent: bool,
    /// Outcome of the attempt, sealed.
    pub(crate) outcome: &'a [u8],
    /// The message that arrived leads to its context.
    pub(crate) link: Option<LinkRow>,
    /// It was tried before, and may be written already.
    pub(crate) again: bool,
}

/// A delivered message, and the context that it carried.
pub(crate) struct LinkRow {
    pub(crate) id: Vec<u8>,
    pub(crate) lane: Vec<u8>,
    pub(crate) context: i64,
    pub(crate) at: i64,
    pub(crate) sealed: Vec<u8>,
}

/// A link with its context.
pub(crate) struct LinkedRow {
    pub(crate) link: LinkRow,
    pub(crate) context_sealed: Vec<u8>,
}

/// A line of the log of acts.
pub(crate) struct ActRow {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) gesture: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) kind: String,
    pub(crate) result: String,
    pub(crate) sealed: Vec<u8>,
}

pub(crate) enum Ending {
    /// A piece arrived, others follow.
    Piece,
    /// The last piece arrived.
    Delivered,
    /// The last piece was handed over without proof.
    HandedOver,
    /// The last piece was taken; some piece not as it was asked for.
    Partial,
    /// The attempt is repeated later.
    Deferred { due: i64, hold: i64 },
    /// The entry is permanently refused.
    Refused,
    /// The entry has expired.
    Expired,
}

/// Something about an entry that is counted and logged, and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// A piece was sent a second time although nothing shows whether the first one arrived.
    Repeated,
    /// A piece came back after it was reported delivered.
    Late,
    /// Something about a delivery that is not a failure. Logged, not counted.
    Note,
}

/// The end of a collection.
pub(crate) struct CollectionEnd<'a> {
    pub(crate) lane: &'a [u8],
    pub(crate) owner: &'a str,
    pub(crate) head: &'a Head,
    pub(crate) now: i64,
    pub(crate) pieces: i64,
    pub(crate) sealed: &'a [u8],
    /// A new window for repeats begins.
    pub(crate) window_ms: Option<i64>,
}

/// An entry as lists show it.
pub(crate) struct View {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) state: i64,
    pub(crate) accepted_at: i64,
    pub(crate) due_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) settled_at: Option<i64>,
    pub(crate) attempts: i64,
    pub(crate) maybe_sent: bool,
    pub(crate) leased_until: i64,
    pub(crate) pieces: i64,
    pub(crate) pieces_done: i64,
    pub(crate) folded: i64,
    pub(crate) hold: i64,
    pub(crate) share: Option<i64>,
    pub(crate) target_no: Option<i64>,
    pub(crate) label: Vec<u8>,
    pub(crate) outcome: Option<Vec<u8>>,
}

/// Location of the label of an entry.
pub(super) struct LabelAt<'a> {
    pub(super) id: &'a str,
    /// Empty if it is shared.
    pub(super) sealed: &'a [u8],
    pub(super) share: Option<i64>,
    pub(super) number: Option<i64>,
}

impl View {
    /// Returns the location of its label.
    pub(super) fn label_at(&self) -> LabelAt<'_> {
        LabelAt {
            id: &self.id,
            sealed: &self.label,
            share: self.share,
            number: self.target_no,
        }
    }
}

pub(crate) struct EntryPage {
    pub(crate) states: Vec<i64>,
    pub(crate) before: i64,
    pub(crate) limit: i64,
}

pub(crate) struct EventRow {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) entry: String,
    pub(crate) kind: String,
    pub(crate) detail: Option<Vec<u8>>,
}

pub(crate) struct LaneRow {
    pub(crate) id: Vec<u8>,
    pub(crate) failures: i64,
    pub(crate) failing_since: Option<i64>,
    pub(crate) alarm_after: Option<i64>,
    pub(crate) alarmed_at: Option<i64>,
    pub(crate) waiting: i64,
    pub(crate) head: String,
    pub(crate) share: Option<i64>,
    pub(crate) target_no: Option<i64>,
    pub(crate) label: Vec<u8>,
    pub(crate) outcome: Option<Vec<u8>>,
}

impl LaneRow {
    /// Returns the location of the label of its first entry.
    pub(super) fn label_at(&self) -> LabelAt<'_> {
        LabelAt {
            id: &self.head,
            sealed: &self.label,
            share: self.share,
            number: self.target_no,
        }
    }
}

pub(crate) struct Prune {
    pub(crate) done_before: i64,
    pub(crate) dead_before: i64,
    pub(crate) links_before: i64,
    pub(crate) gestures_before: i64,
    pub(crate) acts_before: i64,
    pub(crate) limit: i64,
}

#[derive(Debug)]
enum Backend {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Backend),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Backend),
}

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("ackpost-outbox needs the feature `sqlite` or the feature `postgres`");

/// The store, of either kind.
#[derive(Debug)]
pub(crate) struct Store {
    backend: Backend,
    location: String,
    /// The folder of an SQLite file.
    folder: Option<PathBuf>,
}

/// Hands each operation to the back end and sorts its errors. PostgreSQL may need several attempts: an operation borrows
/// its arguments and keeps nothing of an attempt that failed.
macro_rules! operations {
    ($( fn $name:ident($($arg:ident : $type:ty),*) -> $ret:ty; )+) => {
        impl Store {
            $( pub(crate) async fn $name(&self, $($arg: $type),*) -> Result<$ret, OutboxError> {
                match &self.backend {
                    #[cfg(feature = "sqlite")]
                    Backend::Sqlite(backend) => backend.$name($($arg),*).await,
                    #[cfg(feature = "postgres")]
                    Backend::Postgres(backend) => postgres::again(|| backend.$name($($arg),*)).await,
                }
                .map_err(|error| OutboxError::database(&self.location, error))
            } )+
        }
    };
}

operations! {
    fn accept(requests: &[AcceptRequest]) -> Vec<AcceptResult>;
    fn claim(claim: &Claim<'_>, slots: &Arc<Slots>) -> Vec<(Vec<u8>, Slot)>;
    fn has_due(now: i64) -> bool;
    fn next_due(failing: bool) -> Option<i64>;
    fn next(lane: &[u8], owner: &str, now: i64) -> Next;
    fn renew(lane: &[u8], owner: &str, until: i64) -> bool;
    fn release(lane: &[u8], owner: &str, now: i64) -> ();
    fn hold(held: &Postponed<'_>) -> Next;
    fn mark(mark: &AttemptStart<'_>) -> bool;
    fn shared(id: i64) -> Option<Vec<u8>>;
    fn label(id: i64) -> Option<Vec<u8>>;
    fn keep(lane: &[u8], owner: &str, seq: i64, sealed: &[u8]) -> bool;
    fn settle(settle: &AttemptEnd<'_>) -> Next;
    fn stamps(lane: &[u8], now: i64, count: i64) -> i64;
    fn close_entry(close: &CollectionEnd<'_>) -> Next;
    fn files(bundle: &str) -> Vec<Vec<u8>>;
    fn entry(id: &str) -> Option<View>;
    fn content(id: &str) -> Option<ContentRow>;
    fn entries(wanted: &EntryPage) -> Vec<View>;
    fn events(entry: Option<(&str, Option<i64>)>, since: i64, limit: i64) -> Vec<EventRow>;
    fn latest_events(limit: i64) -> Vec<EventRow>;
    fn stats(now: i64) -> Stats;
    fn count_waiting() -> i64;
    fn lanes() -> Vec<LaneRow>;
    fn dead_without_alarm(limit: i64) -> Vec<View>;
    fn meta(name: &str, default: Option<&[u8]>) -> Option<Vec<u8>>;
    fn ids(states: &[i64]) -> Vec<String>;
    fn retry(ids: &[String], now: i64, ttl_ms: i64) -> u64;
    fn drop_entries(ids: &[String], now: i64) -> u64;
    fn pull_forward(now: i64) -> ();
    fn prune(prune: &Prune) -> u64;
    fn follow_clock(boot: &str, now: i64, ahead: i64, jump: i64) -> i64;
    fn follow_server(reading: &ServerReading<'_>) -> Option<i64>;
    fn server_clock() -> Option<ServerClock>;
    fn log(now: i64, kind: &str, sealed: &[u8]) -> ();
    fn remark(now: i64, entry: &str, remark: Remark, sealed: &[u8]) -> ();
    fn probe() -> ();
    fn linked(id: &[u8]) -> Option<LinkedRow>;
    fn latest_linked(lane: &[u8], limit: i64) -> Vec<LinkedRow>;
    fn add_link(link: &LinkRow) -> bool;
    fn begin_act(act: &ActRow) -> bool;
    fn add_act(act: &ActRow) -> ();
    fn acts(subject: Option<&[u8]>, before: i64, limit: i64) -> Vec<ActRow>;
}

impl Store {
    /// Opens it, and makes it when there is none.
    pub(crate) async fn open(location: &Location) -> Result<Self, OutboxError> {
        let masked = location.masked();
        let backend = match location {
            #[cfg(feature = "sqlite")]
            Location::Sqlite(path) => sqlite::Backend::open(path).await.map(Backend::Sqlite),
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => postgres::Backend::open(url.expose_secret())
                .await
                .map(Backend::Postgres),
            #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
            _ => return Err(OutboxError::NoDriver { location: masked }),
        }
        .map_err(|error| OutboxError::database(&masked, error))?;
        Ok(Self {
            backend,
            location: masked,
            folder: match location {
                Location::Sqlite(path) => path.parent().map(Path::to_owned),
                Location::Postgres(_) => None,
            },
        })
    }

    /// Checks that there is room for a message. Writes nothing.
    pub(crate) fn look(&self) -> Result<(), OutboxError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        ackpost_platform::disk::check_room(folder, PROBE_BYTES as u64).map_err(|error| self.unwritable(error))
    }

    /// Sorts what the system says about the folder of the outbox.
    fn unwritable(&self, error: io::Error) -> OutboxError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OutboxError::Full {
                location: self.location.clone(),
            },
            _ => OutboxError::database(&self.location, sqlx::Error::Io(error)),
        }
    }

    /// Checks that something can be written.
    pub(crate) async fn check(&self) -> Result<(), OutboxError> {
        if let Some(folder) = self.folder.clone() {
            // A small write may find room inside of the database where a message finds none.
            let written = tokio::task::spawn_blocking(move || write_file(&folder)).await;
            written
                .unwrap_or_else(|error| Err(io::Error::other(error)))
                .map_err(|error| self.unwritable(error))?;
        }
        self.probe().await
    }

    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    pub(crate) async fn close(&self) {
        match &self.backend {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(backend) => backend.close().await,
            #[cfg(feature = "postgres")]
            Backend::Postgres(backend) => backend.close().await,
        }
    }
}

/// Writes a file in this folder and removes it.
fn write_file(folder: &Path) -> io::Result<()> {
    use std::io::Write as _;
    // An empty path is the current folder.
    let path = folder.join(format!(".outbox-check.{}", std::process::id()));
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(&vec![0; PROBE_BYTES]));
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_shows_no_password() {
        let location =
            Location::parse("postgres://user:pass%40word@db.example:5432/ackpost?sslmode=require&password=x");
        assert_eq!(location.masked(), "postgres://db.example:5432/ackpost");
        assert!(!format!("{location:?}").contains("pass"), "{location:?}");
        assert!(matches!(Location::parse("sqlite:/a/b"), Location::Sqlite(path) if path == *"/a/b"));
        assert!(matches!(Location::parse("/a/b"), Location::Sqlite(path) if path == *"/a/b"));
    }
}
