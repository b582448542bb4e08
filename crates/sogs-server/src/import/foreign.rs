//! `import`: turns a pysogs or bunsogs community into one of this server, unnoticed by its clients.
//!
//! The source is only read, and nothing beside it is created. Everything is written in one transaction, which is
//! kept only when the counts of all tables and a sample of messages agree with the source.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use serde::Serialize;
use session_protocol::ServerKey;

use super::bulk::{Conn, RowValues, Table};
use super::convert::Known;
use super::foreign_tables as theirs;
use super::options::ImportOptions;
use super::source::{Source, UploadImport};
use super::target::{Target, rehearse};
use super::verify::{BadMessages, Signatures, people_by_id};
use super::{ImportError, settle, tables};

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableCount {
    /// Name in the source.
    pub table: String,
    /// Number of rows in the source.
    pub source: u64,
    /// Number of rows copied (or, in a dry run, that would be).
    pub copied: u64,
}

/// Report of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Public key of the community: the same as before.
    pub public_key: String,
    /// Rows of each table.
    pub tables: Vec<TableCount>,
    /// Messages whose signature was checked.
    pub signatures_checked: u64,
    /// Of these, messages that apps show.
    pub signatures_good: u64,
    /// The others, by room: they were signed wrongly when they were posted, or damaged since.
    pub bad_signatures: Vec<BadMessages>,
    /// Rows left out, by reason.
    pub skipped: Vec<(String, u64)>,
    /// Remarks.
    pub notes: Vec<String>,
    /// True if nothing was written.
    pub dry_run: bool,
}

/// Imports a community.
pub async fn import(options: &ImportOptions) -> Result<ImportReport, ImportError> {
    let mut source = Source::open(options.origin, &options.source).await?;
    let key = source.key()?;
    let dm_lifetime = source
        .config
        .dm_expiry_days
        .filter(|days| *days > 0.0)
        .unwrap_or(15.0)
        * 86_400.0;
    let mut known = Known::new(dm_lifetime);
    let mut notes = source.notes.clone();
    if options.dry_run {
        let mut files = UploadImport::new(&source, None);
        let mut tables = Vec::new();
        for table in &theirs::ALL {
            tables.push(copy_table(&mut source.conn, None, table, &mut known, &mut files).await?);
        }
        notes.extend(files.notes());
        notes.extend(rehearse(options, &source.config, &key).await?);
        notes.extend(settle::rehearse(&mut source, &files).await?);
        let signatures = check_signatures(&mut source.conn).await?;
        return Ok(report(key.public(), tables, &signatures, &known, notes, true));
    }
    let mut target = Target::open(options, &source.config, &key).await?;
    let outcome = write(&mut source, &mut target, &mut known, options.replace, &mut notes).await;
    match outcome {
        Ok((tables, signatures)) => {
            target.finish(&options.source, options.origin).await?;
            notes.append(&mut target.notes);
            Ok(report(key.public(), tables, &signatures, &known, notes, false))
        }
        Err(error) => {
            target.abandon().await;
            Err(error)
        }
    }
}

fn report(
    key: ServerKey,
    tables: Vec<TableCount>,
    signatures: &Signatures,
    known: &Known,
    mut notes: Vec<String>,
    dry_run: bool,
) -> ImportReport {
    if known.mended > 0 {
        notes.push(format!(
            "{} direct messages had an invalid expiry; they expire as configured",
            known.mended
        ));
    }
    let skipped = known
        .skipped
        .iter()
        .map(|(reason, rows)| ((*reason).to_owned(), *rows))
        .collect();
    ImportReport {
        public_key: key.to_string(),
        tables,
        signatures_checked: signatures.checked,
        signatures_good: signatures.good(),
        bad_signatures: signatures.bad(),
        skipped,
        notes,
        dry_run,
    }
}

async fn write(
    source: &mut Source,
    target: &mut Target,
    known: &mut Known,
    replace: bool,
    notes: &mut Vec<String>,
) -> Result<(Vec<TableCount>, Signatures), ImportError> {
    target.prepare(replace).await?;
    let mut files = UploadImport::new(source, Some(target.contents()));
    let mut tables = Vec::new();
    for table in &theirs::ALL {
        tables.push(copy_table(&mut source.conn, Some(&mut target.conn), table, known, &mut files).await?);
    }
    notes.extend(files.notes());
    for (count, (_, ours)) in tables.iter().zip(PAIRS) {
        let there = u64::try_from(target.conn.count(ours.name).await?).unwrap_or(0);
        if there != count.copied {
            return Err(ImportError::Differs(format!(
                "{} has {there} rows instead of {}",
                ours.name, count.copied
            )));
        }
        target.conn.follow_keys(ours).await?;
    }
    // Whom the source waits for under another id has not been there.
    target
        .conn
        .run("UPDATE users SET visited = FALSE WHERE session_id LIKE '05%' AND id IN (SELECT user_id FROM account_ids)")
        .await?;
    let compared = compare(&mut source.conn, &mut target.conn).await?;
    notes.push(format!("{compared} messages were compared byte by byte"));
    let signatures = check_signatures(&mut source.conn).await?;
    notes.extend(settle::apply(&mut target.conn, source).await?);
    Ok((tables, signatures))
}

/// Their tables and ours, in the order of writing.
const PAIRS: [(&Table, &Table); 15] = [
    (&theirs::ROOMS, &tables::ROOMS),
    (&theirs::USERS, &tables::USERS),
    (&theirs::NEEDS_BLINDING, &tables::ACCOUNT_IDS),
    (&theirs::MESSAGES, &tables::MESSAGES),
    (&theirs::HISTORY, &tables::HISTORY),
    (&theirs::REACTIONS, &tables::REACTIONS),
    (&theirs::USER_REACTIONS, &tables::USER_REACTIONS),
    (&theirs::PINS, &tables::PINS),
    (&theirs::FILES, &tables::FILES),
    (&theirs::ROOM_USERS, &tables::ROOM_USERS),
    (&theirs::OVERRIDES, &tables::OVERRIDES),
    (&theirs::PERMISSION_FUTURES, &tables::PERMISSION_FUTURES),
    (&theirs::BAN_FUTURES, &tables::BAN_FUTURES),
    (&theirs::NONCES, &tables::NONCES),
    (&theirs::INBOX, &tables::INBOX),
];

fn ours(table: &Table) -> &'static Table {
    PAIRS
        .iter()
        .find(|(theirs, _)| theirs.name == table.name)
        .map_or(&tables::ROOMS, |(_, ours)| ours)
}

async fn copy_table(
    from: &mut Conn,
    mut to: Option<&mut Conn>,
    table: &'static Table,
    known: &mut Known,
    files: &mut UploadImport,
) -> Result<TableCount, ImportError> {
    known.begin();
    let (mut rows, mut copied) = (0, 0);
    let order = if table.columns[0].0 == "id" {
        "ORDER BY id"
    } else {
        ""
    };
    let target = ours(table);
    let mut chunks = from.chunks(table, order).await?;
    while let Some(chunk) = chunks.try_next().await? {
        rows += chunk.len() as u64;
        let mut converted: Vec<RowValues> = Vec::with_capacity(chunk.len());
        for row in chunk {
            if table.name == theirs::FILES.name {
                if let Some((content, size)) = files.take(&row)? {
                    converted.extend(known.file(row, content, size));
                }
            } else {
                converted.extend(known.convert(table, row));
            }
        }
        copied += converted.len() as u64;
        if let Some(to) = to.as_deref_mut() {
            to.write(target, &converted).await?;
        }
    }
    Ok(TableCount {
        table: table.name.to_owned(),
        source: rows,
        copied,
    })
}

/// Messages that are compared: at most about this many, spread evenly.
const SAMPLE: i64 = 2000;

async fn every(conn: &mut Conn) -> Result<i64, ImportError> {
    let all = conn.count(theirs::MESSAGES.name).await?;
    Ok((all / SAMPLE).max(1))
}

/// Checks the signature of every message.
async fn check_signatures(conn: &mut Conn) -> Result<Signatures, ImportError> {
    let people = people_by_id(conn, &theirs::USERS).await?;
    let rooms = super::verify::rooms_by_id(conn, &theirs::ROOMS).await?;
    let (user, room) = (theirs::MESSAGES.at("user"), theirs::MESSAGES.at("room"));
    let mut signatures = Signatures::new(rooms);
    let mut chunks = conn
        .chunks(&theirs::MESSAGES, "WHERE data IS NOT NULL ORDER BY id")
        .await?;
    while let Some(rows) = chunks.try_next().await? {
        for row in &rows {
            let author = row[user].int().and_then(|id| people.get(&id));
            // The columns used here have the same positions in both message tables.
            let is_good = author.is_some_and(|author| super::verify::signature_is_good(row, author));
            signatures.note(row[room].int(), row[0].int(), is_good);
        }
    }
    drop(chunks);
    Ok(signatures)
}

/// Compares content, signature, times and sequence numbers of a sample of messages.
async fn compare(from: &mut Conn, to: &mut Conn) -> Result<u64, ImportError> {
    let step = every(from).await?;
    let rest = format!("WHERE id % {step} = 0 ORDER BY id");
    let mut originals: HashMap<i64, RowValues> = HashMap::new();
    let mut chunks = from.chunks(&theirs::MESSAGES, &rest).await?;
    while let Some(rows) = chunks.try_next().await? {
        originals.extend(rows.into_iter().filter_map(|row| Some((row[0].int()?, row))));
    }
    drop(chunks);
    let mut compared = 0;
    let (size, room) = (tables::MESSAGES.at("data_size"), tables::MESSAGES.at("room_id"));
    let mut chunks = to.chunks(&tables::MESSAGES, &rest).await?;
    while let Some(rows) = chunks.try_next().await? {
        for row in &rows {
            let id = row[0].int().unwrap_or(0);
            let same = originals.get(&id).is_some_and(|original| {
                (room..original.len())
                    .all(|at| at == size || row[at] == original[at] || is_default(&row[at], &original[at]))
            });
            if !same {
                return Err(ImportError::Differs(format!("message {id}")));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

/// Returns true if a value is the default for one that the source left out.
fn is_default(ours: &super::bulk::Value, theirs: &super::bulk::Value) -> bool {
    use super::bulk::Value;
    *theirs == Value::Null && matches!(ours, Value::Int(0) | Value::Bool(false))
}
