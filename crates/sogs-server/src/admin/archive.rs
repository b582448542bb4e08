//! What an undo of something large needs: whole rooms and file contents, kept beside the database for a while.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt as _;

use super::exec::{Admin, Done, OperationContext};
use super::operation::{AdminError, Answer};
use crate::contents::{BlobStore, ContentError, Kept, hash_of};
use crate::import::bulk::{Conn, Kind, RowValues, Table, Value};
use crate::import::{ImportError, backup as backups, tables};
use crate::store::{DynStore, FileRow, Id, RoomRow};

/// Folder in the folder of the server.
const FOLDER: &str = "undo";
/// What the names of backups in it begin with.
const REPLACED: &str = "replaced-";
/// How long things are kept for an undo, in days.
pub(crate) const KEEP_DAYS: f64 = 30.0;
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

impl From<ContentError> for AdminError {
    fn from(error: ContentError) -> Self {
        Self {
            remedy: "check the storage that [files] names, then try again".to_owned(),
            ..Self::failed(error)
        }
    }
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> AdminError {
    move |error| AdminError::failed(format!("{}: {error}", path.display()))
}

/// Tables of a room in the order of writing, each with the condition that selects its rows (`{}` = the room's id).
const OF_A_ROOM: &[(Table, &str)] = &[
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

/// The id that each person is shown under.
async fn people_of(conn: &mut Conn) -> Result<HashMap<Id, String>, AdminError> {
    let (id, name) = (tables::USERS.at("id"), tables::USERS.at("session_id"));
    let rows = conn.read_all(&tables::USERS, "").await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row[id].int()?, row[name].text()?.to_owned())))
        .collect())
}

/// A row of a message with the id that signed it: people may be shown under another one when the room comes back.
fn signed(row: &RowValues, table: &Table, people: &HashMap<Id, String>) -> RowValues {
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
async fn joined(conn: &mut Conn) -> Result<HashMap<Id, (Id, String)>, AdminError> {
    let rows = conn.read_all(&tables::JOINED_USERS, "").await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row[0].int()?, (row[1].int()?, row[2].text()?.to_owned()))))
        .collect())
}

/// A row that means people as they are now.
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

/// Whether a row that says the same of the same person came back already, under another of their ids.
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

fn condition(text: &str, room_id: Id) -> String {
    text.replace("{}", &room_id.to_string())
}

/// How many rows of each table belong to a room.
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

/// Writes everything of a room into an archive; its name.
pub(super) async fn save_room(admin: &Admin, room: &RoomRow, now: f64) -> Result<String, AdminError> {
    let folder = admin.folder.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(file_error(&folder))?;
    let name = format!("room-{}-{}-{now:.0}.jsonl", room.id, room.token);
    let path = folder.join(&name);
    let file = std::fs::File::create(&path).map_err(file_error(&path))?;
    let mut out = std::io::BufWriter::new(file);
    let mut conn = Conn::open(&admin.database).await?;
    conn.begin(false).await?;
    let people = people_of(&mut conn).await?;
    for (table, rest) in OF_A_ROOM {
        let content = table.name == tables::FILES.name;
        let rest = condition(rest, room.id);
        let mut chunks = conn.chunks(table, &rest).await?;
        while let Some(rows) = chunks.try_next().await? {
            for row in &rows {
                let row = &signed(row, table, &people);
                if content && let Some(content) = row[table.at("content")].text() {
                    keep(admin.keeper(), content).await?;
                }
                let line = serde_json::json!([table.name, to_json(row)]);
                writeln!(out, "{line}").map_err(file_error(&path))?;
            }
        }
    }
    // The rules of a room have no reference to it, so they do not go with its row.
    conn.commit().await?;
    out.flush().map_err(file_error(&path))?;
    out.get_ref().sync_all().map_err(file_error(&path))?;
    for table in [&tables::SETTINGS, &tables::RAIDS] {
        conn.run(format!("DELETE FROM {} WHERE room_id = {}", table.name, room.id))
            .await?;
    }
    conn.close().await?;
    Ok(name)
}

/// Puts an archived room back, with all ids as they were.
pub(super) async fn restore_room(act: &OperationContext<'_>, name: &str) -> Result<Vec<String>, AdminError> {
    let path = act
        .admin
        .folder
        .join(FOLDER)
        .join(Path::new(name).file_name().unwrap_or_default());
    let file = std::fs::File::open(&path).map_err(|error| {
        AdminError::not_found(
            format!("the archive {} cannot be read: {error}", path.display()),
            format!("archives are kept for {KEEP_DAYS} days on the machine where the room was deleted"),
        )
    })?;
    let mut conn = Conn::open(&act.admin.database).await?;
    conn.begin(true).await?;
    let outcome = write_archive(act.admin, &mut conn, std::io::BufReader::new(file)).await;
    match outcome {
        Ok(rows) => {
            conn.commit().await?;
            conn.close().await?;
            act.admin.store.announce().await?;
            Ok(vec![format!("{rows} rows are back")])
        }
        Err(error) => {
            conn.rollback().await?;
            Err(error)
        }
    }
}

async fn write_archive(
    admin: &Admin,
    conn: &mut Conn,
    mut lines: impl std::io::BufRead,
) -> Result<u64, AdminError> {
    let joined = joined(conn).await?;
    let mut seen = HashSet::new();
    let mut written = 0;
    let mut text = String::new();
    loop {
        text.clear();
        let size = std::io::Read::take(&mut lines, MAX_LINE as u64)
            .read_line(&mut text)
            .map_err(AdminError::failed)?;
        if size == 0 {
            return Ok(written);
        }
        let (table, values): (String, Vec<serde_json::Value>) =
            serde_json::from_str(&text).map_err(AdminError::failed)?;
        let Some((table, _)) = OF_A_ROOM.iter().find(|(known, _)| known.name == table) else {
            continue;
        };
        let mut row = present(from_json(table, &values)?, table, &joined);
        if comes_twice(&row, table, &mut seen) {
            continue;
        }
        if table.name == tables::ROOMS.name {
            let key = row[table.at("token_key")].text().unwrap_or_default().to_owned();
            if admin.store.room_by_token(key.clone()).await?.is_some() {
                return Err(AdminError::conflict(
                    format!("there is a room '{key}' again"),
                    "rename or delete that one first: a token belongs to one room",
                ));
            }
        }
        if table.name == tables::FILES.name {
            let place = table.at("content");
            let Some(content) = bring_back(admin.keeper(), row[place].text().unwrap_or_default()).await?
            else {
                continue;
            };
            row[place] = Value::Text(content);
            // The row stays without its room until the next cleanup.
            let id = row[0].int().unwrap_or(0);
            conn.run(format!("DELETE FROM files WHERE id = {id} AND room_id IS NULL"))
                .await?;
        }
        conn.write(table, std::slice::from_ref(&row)).await?;
        written += 1;
    }
}

fn to_json(row: &RowValues) -> Vec<serde_json::Value> {
    row.iter()
        .map(|value| match value {
            Value::Null => serde_json::Value::Null,
            Value::Int(number) => (*number).into(),
            // Bits, so that a time comes back as exactly the same number.
            Value::Real(number) => number.to_bits().into(),
            Value::Text(text) => text.as_str().into(),
            Value::Blob(bytes) => STANDARD.encode(bytes).into(),
            Value::Bool(flag) => (*flag).into(),
        })
        .collect()
}

fn from_json(table: &Table, values: &[serde_json::Value]) -> Result<RowValues, AdminError> {
    let broken = || AdminError::failed(format!("a row of {} in the archive is broken", table.name));
    if !(table.oldest_width()..=table.columns.len()).contains(&values.len()) {
        return Err(broken());
    }
    // What came after the archive was written is absent from its rows.
    let absent = std::iter::repeat(&serde_json::Value::Null);
    values
        .iter()
        .chain(absent)
        .zip(table.columns)
        .map(|(value, (_, kind))| {
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

/// Where contents of files are, and where they are kept for an undo.
#[derive(Clone, Copy)]
pub(crate) struct Keeper<'a> {
    pub(crate) store: &'a DynStore,
    /// Folder of the server.
    pub(crate) folder: &'a Path,
    pub(crate) contents: &'a BlobStore,
}

fn kept_path(keeper: Keeper<'_>, content: &str) -> Option<PathBuf> {
    // Anything but the name of a content is kept from becoming a path.
    hash_of(content).map(|_| keeper.folder.join(FOLDER).join("files").join(content))
}

/// Keeps a file's content for an undo; nothing happens when it is gone already.
pub(super) async fn keep(keeper: Keeper<'_>, content: &str) -> Result<(), AdminError> {
    let Some(to) = kept_path(keeper, content).filter(|to| !to.exists()) else {
        return Ok(());
    };
    let folder = to.parent().unwrap_or(keeper.folder);
    std::fs::create_dir_all(folder).map_err(file_error(folder))?;
    let kept = match keeper.contents.folder_path(content) {
        Some(from) if !from.exists() => return Ok(()),
        Some(from) => return link_or_copy(&from, &to),
        None => keeper.contents.fetch(content, &to).await,
    };
    match kept {
        // A damaged content is not worth keeping; deleting it must be possible.
        Ok(()) | Err(ContentError::Missing | ContentError::Damaged(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that a file's content is in its place, and returns its name there; nothing when it is nowhere any more.
async fn bring_back(keeper: Keeper<'_>, content: &str) -> Result<Option<String>, AdminError> {
    let contents = keeper.contents;
    match kept_path(keeper, content).filter(|from| from.exists()) {
        Some(from) => Ok(Some(contents.bring_back(content, &from).await?)),
        None => Ok(contents.exists(content).await?.then(|| content.to_owned())),
    }
}

/// Puts the content of a deleted file back; the row as it has to be written, or nothing when the content is gone.
pub(super) async fn bring_file(keeper: Keeper<'_>, mut file: FileRow) -> Result<Option<FileRow>, AdminError> {
    let Some(content) = bring_back(keeper, &file.content).await? else {
        return Ok(None);
    };
    file.content = content;
    Ok(Some(file))
}

fn link_or_copy(from: &Path, to: &Path) -> Result<(), AdminError> {
    // Contents never change, so two names may share one; across file systems it is copied.
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => std::fs::copy(from, to).map(drop).map_err(file_error(to)),
    }
}

/// Where a whole community goes that an import replaces.
pub(crate) fn replaced_folder(folder: &Path, now: f64) -> PathBuf {
    folder.join(FOLDER).join(format!("{REPLACED}{now:.0}"))
}

/// Removes what is older than [`KEEP_DAYS`]; how many files went. For the hourly job of the server.
pub(crate) fn clean(folder: &Path, now: std::time::SystemTime) -> u64 {
    let limit = std::time::Duration::from_secs_f64(KEEP_DAYS * 86_400.0);
    let mut gone = 0;
    for folder in [folder.join(FOLDER), folder.join(FOLDER).join("files")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let old = entry.metadata().is_ok_and(|metadata| {
                // A hard link has the age of its content: the time it was linked is that of the last status change,
                // which this platform does not offer everywhere; the older of the two errs on keeping less.
                metadata.is_file()
                    && metadata
                        .modified()
                        .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > limit))
            });
            if old && std::fs::remove_file(entry.path()).is_ok() {
                gone += 1;
            }
        }
    }
    for entry in std::fs::read_dir(folder.join(FOLDER))
        .into_iter()
        .flatten()
        .flatten()
    {
        let old = entry.file_name().to_string_lossy().starts_with(REPLACED)
            && entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > limit));
        if old && std::fs::remove_dir_all(entry.path()).is_ok() {
            gone += 1;
        }
    }
    gone
}

/// Writes a backup.
pub(super) async fn backup(act: &OperationContext<'_>, to: &Path) -> Done {
    if !to.is_absolute() {
        return Err(AdminError::usage(
            "the folder of a backup must be an absolute path",
            "the command makes it one",
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
    let source = backups::Source {
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
