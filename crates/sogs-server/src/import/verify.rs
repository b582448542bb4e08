//! Check of a community: the database itself, references, sequence numbers, files, and signatures.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use session_protocol::SessionId;

use super::ImportError;
use super::bulk::{Conn, RowValues, Table, Value};
use super::tables::{FACTS, FILES, HISTORY, MESSAGES, ROOMS, USERS};
use crate::config::{Config, ConfigError};
use crate::contents::{BlobStore, ContentError};
use crate::key::load_key;

/// Maximum number of named problems of one kind.
const MAX_NAMED: usize = 20;

/// Files checked at a time: most of the time is spent waiting for disk or store.
const AT_A_TIME: usize = 8;

/// Report of a check: the number of checked items, and the problems found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Messages with content; deleted ones are not counted.
    pub messages: u64,
    /// Messages whose signature was checked.
    pub signatures_checked: u64,
    /// Of these, messages that apps would show.
    pub signatures_good: u64,
    /// The others, by room: they were signed wrongly when they were posted, or damaged since.
    pub bad_signatures: Vec<BadMessages>,
    /// File contents that were checked.
    pub files: u64,
    /// Problems found.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Returns true if no problem was found.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// The padded bytes that a message's signature is over.
pub(crate) fn padded(data: &[u8], size: i64) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(0);
    let mut bytes = data.to_vec();
    if size > bytes.len() {
        bytes.push(0x80);
        bytes.resize(size, 0);
    }
    bytes
}

/// Returns true if apps would show this row of [`MESSAGES`] as a message of `author`.
pub(super) fn signature_is_good(row: &RowValues, author: &str) -> bool {
    let value = |name| &row[MESSAGES.at(name)];
    is_signed(value("data"), value("data_size"), value("signature"), author)
}

fn is_signed(data: &Value, size: &Value, signature: &Value, author: &str) -> bool {
    let (Some(data), Some(signature)) = (data.blob(), signature.blob()) else {
        return false;
    };
    let Ok(signature) = <[u8; 64]>::try_from(signature) else {
        return false;
    };
    let Ok(author) = author.parse::<SessionId>() else {
        return false;
    };
    let size = size
        .int()
        .unwrap_or_else(|| i64::try_from(data.len()).unwrap_or(0));
    session_protocol::message::verify(&author, &padded(data, size), &signature).is_ok()
}

/// Extent of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Interval of checked signatures: 1 checks every signature, 10 each tenth.
    pub every: u64,
    /// Compares only the sizes of files, without reading them.
    pub sizes_only: bool,
}

/// Messages of a room whose signature is not good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadMessages {
    /// Token of the room.
    pub room: String,
    /// Number of such messages.
    pub count: u64,
    /// Numbers of the first of them.
    pub first: Vec<i64>,
}

impl BadMessages {
    /// A sentence about them that ends in `what`.
    pub fn sentence(&self, what: &str) -> String {
        let numbers: Vec<String> = self.first.iter().map(ToString::to_string).collect();
        let more = if self.count > self.first.len() as u64 {
            ", …"
        } else {
            ""
        };
        format!(
            "room {}: {} ({}{more}): {what}",
            self.room,
            super::count(self.count, "message"),
            numbers.join(", ")
        )
    }
}

/// Messages whose signatures were checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Signatures {
    rooms: HashMap<i64, String>,
    pub(super) checked: u64,
    bad: BTreeMap<Option<i64>, (u64, Vec<i64>)>,
}

impl Signatures {
    pub(super) fn new(rooms: HashMap<i64, String>) -> Self {
        Self {
            rooms,
            ..Self::default()
        }
    }

    /// Counts a message of a room.
    pub(super) fn note(&mut self, room: Option<i64>, message: Option<i64>, is_good: bool) {
        self.checked += 1;
        if is_good {
            return;
        }
        let (count, first) = self.bad.entry(room).or_default();
        *count += 1;
        if first.len() < MAX_NAMED {
            first.extend(message);
        }
    }

    /// Number of good signatures.
    pub(super) fn good(&self) -> u64 {
        self.checked - self.bad.values().map(|(count, _)| count).sum::<u64>()
    }

    /// The messages with signatures that are not good, by room.
    pub(super) fn bad(&self) -> Vec<BadMessages> {
        self.bad
            .iter()
            .map(|(room, (count, first))| BadMessages {
                room: room
                    .and_then(|room| self.rooms.get(&room))
                    .cloned()
                    .unwrap_or_else(|| "?".to_owned()),
                count: *count,
                first: first.clone(),
            })
            .collect()
    }
}

/// Tokens of rooms by database id.
pub(super) async fn rooms_by_id(conn: &mut Conn, rooms: &Table) -> Result<HashMap<i64, String>, ImportError> {
    let token = rooms.at("token");
    Ok(conn
        .read_all(rooms, "")
        .await?
        .into_iter()
        .filter_map(|row| Some((row[0].int()?, row[token].text()?.to_owned())))
        .collect())
}

/// Checks the signatures of all messages in the database of a folder that is only read: a backup.
pub(super) async fn signatures_of(database: &Path) -> Result<VerifyReport, ImportError> {
    let mut conn = Conn::read_file(database).await?;
    let mut report = VerifyReport::default();
    signatures(&mut conn, 1, &mut report).await?;
    conn.close().await?;
    Ok(report)
}

/// Checks the community of a folder, with every byte of its files. `every` = 1 checks every signature, 10 each tenth.
///
/// # Errors
/// Those of configuration, database and storage. Damage is not an error; it is in the report.
pub async fn verify(folder: &Path, every: u64) -> Result<VerifyReport, ImportError> {
    let sizes_only = false;
    verify_with(folder, VerifyOptions { every, sizes_only }).await
}

/// Like [`verify`], with a chosen extent.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(folder: &Path, options: VerifyOptions) -> Result<VerifyReport, ImportError> {
    let config = Config::load(folder)?;
    config.check_database()?;
    let mut conn = Conn::open(&config.database_url()).await?;
    conn.begin(false).await?;
    let mut report = VerifyReport::default();
    key(&config, &mut conn, &mut report).await?;
    integrity(&mut conn, &mut report).await?;
    sequences(&mut conn, &mut report).await?;
    signatures(&mut conn, options.every.max(1), &mut report).await?;
    let contents = BlobStore::of(&config)?;
    contents.reach().await?;
    files(&mut conn, &contents, options.sizes_only, &mut report).await?;
    conn.commit().await?;
    conn.close().await?;
    Ok(report)
}

/// Checks the key. Without its own key a community exists, but no link leads to it.
async fn key(config: &Config, conn: &mut Conn, report: &mut VerifyReport) -> Result<(), ImportError> {
    let noted = if conn.columns(FACTS.name).await?.is_empty() {
        // The database is of an older version, and nobody has started it since.
        None
    } else {
        conn.texts("SELECT value FROM community WHERE name = 'public_key'")
            .await?
            .pop()
    };
    let path = config.key_path();
    let problem = if path.exists() {
        match (load_key(&path), noted) {
            (Err(error), _) => Some(error),
            (Ok(secret), Some(expected)) if secret.public().to_string() != expected => {
                Some(ConfigError::KeyDiffers {
                    path,
                    found: secret.public().to_string(),
                    expected,
                })
            }
            _ => None,
        }
    } else {
        Some(ConfigError::KeyMissing {
            path,
            public_key: noted,
        })
    };
    report.problems.extend(problem.map(|problem| problem.to_string()));
    Ok(())
}

async fn integrity(conn: &mut Conn, report: &mut VerifyReport) -> Result<(), ImportError> {
    if conn.is_postgres() {
        return Ok(());
    }
    for line in conn.texts("PRAGMA integrity_check(20)").await? {
        if line != "ok" {
            report
                .problems
                .push(format!("the database file is damaged: {line}"));
        }
    }
    for table in conn
        .texts("SELECT DISTINCT \"table\" FROM pragma_foreign_key_check")
        .await?
    {
        report.problems.push(format!("{table} refers to missing rows"));
    }
    Ok(())
}

/// Checks that no sequence number is given twice or exceeds the room's counter.
async fn sequences(conn: &mut Conn, report: &mut VerifyReport) -> Result<(), ImportError> {
    for token in conn
        .texts(
            "SELECT r.token FROM rooms r WHERE r.message_sequence < (SELECT COALESCE(MAX(m.seqno), 0) FROM messages m WHERE m.room_id = r.id) \
             ORDER BY 1 LIMIT 20",
        )
        .await?
    {
        report.problems.push(format!("room {token}: a message has a number beyond the room's counter"));
    }
    for token in conn
        .texts(
            "SELECT r.token FROM rooms r WHERE EXISTS (SELECT 1 FROM messages m WHERE m.room_id = r.id \
             GROUP BY m.seqno HAVING COUNT(*) > 1) ORDER BY 1 LIMIT 20",
        )
        .await?
    {
        report
            .problems
            .push(format!("room {token}: two messages have the same number"));
    }
    let wrong = conn
        .number("SELECT COUNT(*) FROM messages WHERE seqno < seqno_data OR seqno < seqno_reactions")
        .await?;
    if wrong > 0 {
        report.problems.push(format!(
            "{wrong} messages have a number below that of their last change"
        ));
    }
    Ok(())
}

/// Checks the signatures of messages, and of their former contents, which an undo brings back.
async fn signatures(conn: &mut Conn, every: u64, report: &mut VerifyReport) -> Result<(), ImportError> {
    let people = people_by_id(conn, &USERS).await?;
    let rooms = rooms_by_id(conn, &ROOMS).await?;
    let room = MESSAGES.at("room_id");
    let mut seen = 0;
    let mut signatures = Signatures::new(rooms);
    let mut chunks = conn
        .chunks(&MESSAGES, "WHERE data IS NOT NULL ORDER BY id")
        .await?;
    while let Some(rows) = chunks.try_next().await? {
        for row in &rows {
            seen += 1;
            if seen % every == 0 {
                let is_good = author(row, &people).is_some_and(|author| signature_is_good(row, &author));
                signatures.note(row[room].int(), row[0].int(), is_good);
            }
        }
    }
    drop(chunks);
    (report.messages, report.signatures_checked, report.signatures_good) =
        (seen, signatures.checked, signatures.good());
    let former = former_signatures(conn, &people, &signatures).await?;
    for (signatures, what) in [
        (&signatures, "their signatures are not valid"),
        (
            &former,
            "the signature of an earlier content, which an undo would restore, is not valid",
        ),
    ] {
        report
            .problems
            .extend(signatures.bad().iter().map(|bad| bad.sentence(what)));
    }
    report.bad_signatures = signatures.bad();
    Ok(())
}

/// The id that a message was posted under.
fn author(row: &RowValues, people: &HashMap<i64, String>) -> Option<String> {
    row[MESSAGES.at("posted_as")]
        .text()
        .map(str::to_owned)
        .or_else(|| people.get(&row[MESSAGES.at("user_id")].int()?).cloned())
}

async fn former_signatures(
    conn: &mut Conn,
    people: &HashMap<i64, String>,
    messages: &Signatures,
) -> Result<Signatures, ImportError> {
    let room = MESSAGES.at("room_id");
    let mut owners: HashMap<i64, (Option<String>, Option<i64>)> = HashMap::new();
    let mut chunks = conn
        .chunks(&MESSAGES, "WHERE id IN (SELECT message_id FROM message_history)")
        .await?;
    while let Some(rows) = chunks.try_next().await? {
        owners.extend(
            rows.iter()
                .filter_map(|row| Some((row[0].int()?, (author(row, people), row[room].int())))),
        );
    }
    drop(chunks);
    let mut signatures = Signatures::new(messages.rooms.clone());
    // pysogs does not note how long a former content was with its padding, so its signature cannot be checked.
    let mut chunks = conn
        .chunks(&HISTORY, "WHERE data IS NOT NULL AND data_size IS NOT NULL")
        .await?;
    while let Some(rows) = chunks.try_next().await? {
        for row in &rows {
            let id = row[HISTORY.at("message_id")].int();
            let owner = id.and_then(|id| owners.get(&id));
            let room = owner.and_then(|(_, room)| *room);
            let at = |name| &row[HISTORY.at(name)];
            let is_good = owner
                .and_then(|(author, _)| author.as_deref())
                .is_some_and(|author| is_signed(at("data"), at("data_size"), at("signature"), author));
            signatures.note(room, id, is_good);
        }
    }
    drop(chunks);
    Ok(signatures)
}

/// Compares every file with its row and, unless `sizes_only`, with the hash in its name.
async fn files(
    conn: &mut Conn,
    contents: &BlobStore,
    sizes_only: bool,
    report: &mut VerifyReport,
) -> Result<(), ImportError> {
    let rows = conn
        .texts(format!(
            "SELECT content || ' ' || CAST(MIN(size) AS TEXT) || ' ' || CAST(MAX(size) AS TEXT) FROM {} \
             GROUP BY content ORDER BY content",
            FILES.name
        ))
        .await?;
    let looked = futures_util::stream::iter(rows.into_iter().map(|row| async move {
        let mut parts = row.rsplitn(3, ' ');
        let (max, min) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = parts.next().unwrap_or_default();
        let problem = match contents.look_at(name, !sizes_only).await {
            Ok(found) if found.hash == Some(false) => Some(format!("the file {name} is damaged")),
            Ok(found) => {
                let size = found.size.to_string();
                (size != min || size != max)
                    .then(|| format!("the file {name} has {size} bytes, its row says {max}"))
            }
            Err(ContentError::Missing) => Some(format!("the file {name} is missing")),
            Err(error) => return Err(ImportError::from(error)),
        };
        Ok(problem)
    }));
    let mut looked = std::pin::pin!(looked.buffered(AT_A_TIME));
    let mut named = 0;
    while let Some(problem) = looked.try_next().await? {
        report.files += 1;
        if let Some(problem) = problem {
            named += 1;
            if named <= MAX_NAMED {
                report.problems.push(problem);
            }
        }
    }
    if named > MAX_NAMED {
        report
            .problems
            .push(format!("and {} files more", named - MAX_NAMED));
    }
    Ok(())
}

/// Ids of people by database id. The users tables of all three programs begin alike.
pub(super) async fn people_by_id(
    conn: &mut Conn,
    users: &Table,
) -> Result<HashMap<i64, String>, ImportError> {
    let (id, name) = (users.at("id"), users.at("session_id"));
    let mut people = HashMap::new();
    let mut chunks = conn.chunks(users, "").await?;
    while let Some(rows) = chunks.try_next().await? {
        people.extend(
            rows.into_iter()
                .filter_map(|row| Some((row[id].int()?, row[name].text()?.to_owned()))),
        );
    }
    drop(chunks);
    Ok(people)
}
