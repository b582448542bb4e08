//! Archives for the undo of large changes: whole rooms and file contents, kept beside the database for a while.

use std::collections::{HashMap, HashSet};
use std::io::BufRead as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::context::{Admin, Done, OperationContext};
use super::keeper::{FOLDER, KEEP_DAYS, bring_back, bring_back_missing};
use super::operation::{AdminError, Answer};
use crate::contents::Kept;
use crate::import::bulk::{Conn, Kind, RowValues, Table, Value, wait_to_retry};
use crate::import::{ImportError, backup as backups, tables};
use crate::store::Id;
use sogs_store::Retries;

/// The longest line of an archive, in bytes.
const MAX_LINE: usize = 256 << 20;

impl From<ImportError> for AdminError {
    fn from(error: ImportError) -> Self {
        Self {
            remedy: error.remedy().to_owned(),
            ..Self::failed(error)
        }
    }
}

/// Error of a transaction that reads or writes an archive.
pub(super) enum ArchiveError {
    /// The database failed.
    Import(ImportError),
    /// Another attempt cannot help.
    Final(AdminError),
}

impl ArchiveError {
    /// Waits before the next attempt. Returns false if another attempt cannot help, or if none is left.
    pub(super) async fn wait_to_retry(&self, retries: &mut Retries) -> bool {
        match self {
            Self::Import(error) => wait_to_retry(error, retries).await,
            Self::Final(_) => false,
        }
    }
}

impl From<ImportError> for ArchiveError {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

impl From<AdminError> for ArchiveError {
    fn from(error: AdminError) -> Self {
        Self::Final(error)
    }
}

impl From<ArchiveError> for AdminError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Import(error) => error.into(),
            ArchiveError::Final(error) => error,
        }
    }
}

/// Tables of a room in the order of writing, each with the condition that selects its rows (`{}` = the room's id).
pub(super) const OF_A_ROOM: &[(Table, &str)] = &[
    (tables::ROOMS, "WHERE id = {}"),
    (tables::MESSAGES, "WHERE room_id = {} ORDER BY id"),
    (
        tables::HISTORY,
        "WHERE message_id IN (SELECT id FROM messages WHERE room_id = {})",
    ),
    (tables::REACTIONS, "WHERE room_id = {} ORDER BY id"),
    (
        tables::USER_REACTIONS,
        "WHERE reaction_id IN (SELECT id FROM reactions WHERE room_id = {})",
    ),
    (tables::PINS, "WHERE room_id = {}"),
    (tables::FILES, "WHERE room_id = {} ORDER BY id"),
    (tables::ROOM_USERS, "WHERE room_id = {}"),
    (tables::OVERRIDES, "WHERE room_id = {}"),
    (tables::PERMISSION_FUTURES, "WHERE room_id = {}"),
    (tables::BAN_FUTURES, "WHERE room_id = {}"),
    (tables::SETTINGS, "WHERE room_id = {}"),
    (tables::FILTERS, "WHERE room_id = {}"),
    (tables::RAIDS, "WHERE room_id = {}"),
    (tables::HELD, "WHERE room_id = {}"),
];

/// Name of the lines of an archive that say which message is the notice of which case. The cases themselves stay when the
/// room goes, and lose their notices.
pub(super) const NOTICES: &str = "notices";

/// The id that each person is shown under.
pub(super) async fn people_of(conn: &mut Conn) -> Result<HashMap<Id, String>, ImportError> {
    let (id, name) = (tables::USERS.at("id"), tables::USERS.at("session_id"));
    let rows = conn.read_all(&tables::USERS, "").await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row[id].int()?, row[name].text()?.to_owned())))
        .collect())
}

/// Returns a row of a message with the id that signed it. People may be shown under another id when the room is
/// restored.
pub(super) fn signed(row: &RowValues, table: &Table, people: &HashMap<Id, String>) -> RowValues {
    let mut row = row.clone();
    if table.name == tables::MESSAGES.name {
        let (author, name) = (table.at("user_id"), table.at("posted_as"));
        if row[name] == Value::Null
            && let Some(known) = row[author].int().and_then(|id| people.get(&id))
        {
            row[name] = Value::Text(known.clone());
        }
    }
    row
}

/// People who were joined since an archive was written: the row that they have now, and the id that the former one had.
async fn joined(conn: &mut Conn) -> Result<HashMap<Id, (Id, String)>, ImportError> {
    let rows = conn.read_all(&tables::JOINED_USERS, "").await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row[0].int()?, (row[1].int()?, row[2].text()?.to_owned()))))
        .collect())
}

/// Returns a row that refers to people as they are now.
fn present(mut row: RowValues, table: &Table, joined: &HashMap<Id, (Id, String)>) -> RowValues {
    for (at, (column, _)) in table.columns.iter().enumerate() {
        if !matches!(*column, "user_id" | "whisper_to" | "pinned_by" | "uploader_id") {
            continue;
        }
        let Some((now, name)) = row[at].int().and_then(|id| joined.get(&id)) else {
            continue;
        };
        row[at] = Value::Int(*now);
        if table.name == tables::MESSAGES.name && *column == "user_id" {
            let posted_as = table.at("posted_as");
            if row[posted_as] == Value::Null {
                row[posted_as] = Value::Text(name.clone());
            }
        }
    }
    row
}

/// Returns true if an equal row of the same person was restored already under another of their ids.
fn comes_twice(row: &RowValues, table: &Table, seen: &mut HashSet<(&'static str, Id, Id)>) -> bool {
    let first = match table.name {
        "user_reactions" => "reaction_id",
        "room_users" | "permission_overrides" => "room_id",
        _ => return false,
    };
    let (Some(first), Some(user)) = (row[table.at(first)].int(), row[table.at("user_id")].int()) else {
        return false;
    };
    !seen.insert((table.name, first, user))
}

pub(super) fn condition(text: &str, room_id: Id) -> String {
    text.replace("{}", &room_id.to_string())
}

/// Counts the rows of each table that belong to a room.
pub(super) async fn room_counts(admin: &Admin, room_id: Id) -> Result<Vec<(&'static str, u64)>, AdminError> {
    let mut conn = Conn::open(&admin.database).await?;
    let mut counts = Vec::with_capacity(OF_A_ROOM.len());
    for (table, rest) in OF_A_ROOM {
        let rest = condition(rest.split(" ORDER BY").next().unwrap_or(rest), room_id);
        let rows = conn
            .number(format!("SELECT COUNT(*) FROM {} {rest}", table.name))
            .await?;
        counts.push((table.name, u64::try_from(rows).unwrap_or(0)));
    }
    conn.close().await?;
    Ok(counts)
}

/// Restores an archived room, with all ids as they were.
pub(super) async fn restore_room(act: &OperationContext<'_>, name: &str) -> Result<Vec<String>, AdminError> {
    let path = act
        .admin
        .folder
        .join(FOLDER)
        .join(Path::new(name).file_name().unwrap_or_default());
    let open = || {
        let file = std::fs::File::open(&path).map_err(|error| {
            AdminError::not_found(
                format!("the archive {} cannot be read: {error}", path.display()),
                format!("the machine where the room was deleted keeps archives for {KEEP_DAYS} days"),
            )
        })?;
        Ok::<_, AdminError>(std::io::BufReader::new(file))
    };
    let mut brought = Brought::default();
    let outcome = async {
        // Before the transaction: everybody who writes would wait while files are copied.
        bring_contents(act.admin, open()?, &mut brought).await?;
        let mut retries = Retries::default();
        loop {
            match write_room(act.admin, open()?, &brought).await {
                Err(error) if error.wait_to_retry(&mut retries).await => {}
                outcome => return outcome.map_err(AdminError::from),
            }
        }
    };
    match outcome.await {
        Ok(rows) => {
            act.admin.store.announce().await?;
            Ok(vec![format!("{rows} rows restored")])
        }
        Err(error) => {
            let names: Vec<String> = brought.into_values().flatten().collect();
            if let Err(error) = act.admin.contents().remove_unused(&act.admin.store, &names).await {
                tracing::warn!(%error, "files of a room that did not come back are removed later");
            }
            Err(error)
        }
    }
}

/// The name of each file's content that was brought back, by the id of the file; `None` if the content is gone.
type Brought = HashMap<Id, Option<String>>;

/// Brings the contents of an archived room back.
async fn bring_contents(
    admin: &Admin,
    mut lines: impl std::io::BufRead,
    brought: &mut Brought,
) -> Result<(), AdminError> {
    while let Some((table, values)) = next_line(&mut lines)? {
        if table == tables::ROOMS.name {
            refuse_taken_token(admin, &from_json(&tables::ROOMS, &values)?).await?;
        } else if table == tables::FILES.name {
            let row = from_json(&tables::FILES, &values)?;
            let content = row[tables::FILES.at("content")].text().unwrap_or_default();
            let name = bring_back(admin.keeper(), content).await?;
            brought.insert(row[0].int().unwrap_or(0), name);
        }
    }
    Ok(())
}

/// Returns the next line of an archive: the name of a table and the values of a row.
fn next_line(
    lines: &mut impl std::io::BufRead,
) -> Result<Option<(String, Vec<serde_json::Value>)>, AdminError> {
    let mut text = String::new();
    let size = std::io::Read::take(lines, MAX_LINE as u64)
        .read_line(&mut text)
        .map_err(AdminError::failed)?;
    if size == 0 {
        return Ok(None);
    }
    serde_json::from_str(&text).map(Some).map_err(AdminError::failed)
}

async fn refuse_taken_token(admin: &Admin, room: &RowValues) -> Result<(), AdminError> {
    let key = room[tables::ROOMS.at("token_key")].text().unwrap_or_default();
    if admin.store.room_by_token(key.to_owned()).await?.is_none() {
        return Ok(());
    }
    Err(AdminError::conflict(
        format!("room `{key}` exists again"),
        "delete that one first: a token belongs to one room",
    ))
}

/// Writes the rows of an archived room in one transaction. Returns their number.
async fn write_room(
    admin: &Admin,
    lines: impl std::io::BufRead,
    brought: &Brought,
) -> Result<u64, ArchiveError> {
    let mut conn = Conn::open(&admin.database).await?;
    // A cleanup beside this one removes no content whose row is about to be written.
    let _held = admin.contents().hold().await;
    conn.begin(true).await?;
    match write_archive(admin, &mut conn, lines, brought).await {
        Ok(rows) => {
            conn.commit().await?;
            // The rows are kept, however the connection ends.
            let _ = conn.close().await;
            Ok(rows)
        }
        Err(error) => {
            // The error is the cause; the connection may be lost.
            let _ = conn.rollback().await;
            Err(error)
        }
    }
}

async fn write_archive(
    admin: &Admin,
    conn: &mut Conn,
    mut lines: impl std::io::BufRead,
    brought: &Brought,
) -> Result<u64, ArchiveError> {
    let joined = joined(conn).await?;
    let mut seen = HashSet::new();
    let mut written = 0;
    while let Some((table, values)) = next_line(&mut lines)? {
        if table == NOTICES {
            link_notice(conn, &values).await?;
            continue;
        }
        let Some((table, _)) = OF_A_ROOM.iter().find(|(known, _)| known.name == table) else {
            continue;
        };
        let mut row = present(from_json(table, &values)?, table, &joined);
        if comes_twice(&row, table, &mut seen) {
            continue;
        }
        if table.name == tables::ROOMS.name {
            refuse_taken_token(admin, &row).await?;
        }
        if table.name == tables::FILES.name {
            let (id, place) = (row[0].int().unwrap_or(0), table.at("content"));
            let Some(mut content) = brought.get(&id).cloned().flatten() else {
                continue;
            };
            // Only a name that it had before can have been removed meanwhile: the cleanup knew it.
            if row[place].text() == Some(content.as_str()) {
                match bring_back_missing(admin.keeper(), &content).await? {
                    Some(again) => content = again,
                    None => continue,
                }
            }
            row[place] = Value::Text(content);
            // The row stays without its room until the next cleanup.
            conn.run(format!("DELETE FROM files WHERE id = {id} AND room_id IS NULL"))
                .await?;
        }
        conn.write(table, std::slice::from_ref(&row)).await?;
        written += 1;
    }
    Ok(written)
}

/// Makes a restored message the notice of its case again, unless the case got another notice meanwhile.
async fn link_notice(conn: &mut Conn, values: &[serde_json::Value]) -> Result<(), ArchiveError> {
    let [case, notice] = values else {
        return Err(AdminError::failed("a notice in the archive is damaged").into());
    };
    let (Some(case), Some(notice)) = (case.as_i64(), notice.as_i64()) else {
        return Err(AdminError::failed("a notice in the archive is damaged").into());
    };
    conn.run(format!(
        "UPDATE cases SET notice_id = {notice}, shown = 0 WHERE id = {case} AND notice_id IS NULL \
         AND EXISTS (SELECT 1 FROM messages WHERE id = {notice})"
    ))
    .await?;
    Ok(())
}

pub(super) fn to_json(row: &RowValues) -> Vec<serde_json::Value> {
    row.iter()
        .map(|value| match value {
            Value::Null => serde_json::Value::Null,
            Value::Int(number) => (*number).into(),
            // Times are written as bits, so that they are restored exactly.
            Value::Real(number) => number.to_bits().into(),
            Value::Text(text) => text.as_str().into(),
            Value::Blob(bytes) => STANDARD.encode(bytes).into(),
            Value::Bool(flag) => (*flag).into(),
        })
        .collect()
}

fn from_json(table: &Table, values: &[serde_json::Value]) -> Result<RowValues, AdminError> {
    let broken = || AdminError::failed(format!("a row of {} in the archive is damaged", table.name));
    if !(table.oldest_width()..=table.columns.len()).contains(&values.len()) {
        return Err(broken());
    }
    table
        .columns
        .iter()
        .enumerate()
        .map(|(at, (column, kind))| {
            // Columns that were added after the archive was written are absent from its rows.
            let Some(value) = values.get(at) else {
                return Ok(table.value_before(column));
            };
            if value.is_null() {
                return Ok(Value::Null);
            }
            Ok(match kind {
                Kind::Int => Value::Int(value.as_i64().ok_or_else(broken)?),
                Kind::Real => Value::Real(f64::from_bits(value.as_u64().ok_or_else(broken)?)),
                Kind::Text => Value::Text(value.as_str().ok_or_else(broken)?.to_owned()),
                Kind::Blob => Value::Blob(
                    STANDARD
                        .decode(value.as_str().ok_or_else(broken)?)
                        .map_err(|_| broken())?,
                ),
                Kind::Bool => Value::Bool(value.as_bool().ok_or_else(broken)?),
            })
        })
        .collect()
}

/// Writes a backup.
pub(super) async fn backup(act: &OperationContext<'_>, to: &Path) -> Done {
    if !to.is_absolute() {
        return Err(AdminError::usage(
            "the folder of a backup must be an absolute path",
            "write the path from `/` on",
        ));
    }
    if act.dry_run {
        let mut conn = Conn::open(&act.admin.database).await?;
        let mut total = 0;
        for table in &tables::ALL {
            total += conn.count(table.name).await?;
        }
        conn.close().await?;
        return Ok(Answer::show(
            serde_json::json!({ "to": to, "rows": total }),
            vec![format!("{total} rows to {}", to.display())],
        ));
    }
    let source = backups::BackupSource {
        folder: &act.admin.folder,
        files: act.admin.contents(),
        database: &act.admin.database,
    };
    let report = backups::backup(&source, to).await?;
    act.log(
        "backup",
        None,
        &to.display().to_string(),
        format!("{} rows, {} files", report.rows, report.files),
        None,
    )
    .await?;
    let mut lines = vec![format!(
        "{} rows and {} files are in {}",
        report.rows,
        report.files,
        to.display()
    )];
    lines.extend(report.notes.iter().cloned());
    Ok(Answer {
        changed: 0,
        ..Answer::show(report, lines)
    })
}

/// Puts a new content in its place.
pub(super) async fn put_content(admin: &Admin, bytes: &[u8]) -> Result<Kept, AdminError> {
    Ok(admin.contents().store(bytes).await?)
}
