//! Deletion of a room: archive, deletion and log entry in one transaction.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;

use futures_util::TryStreamExt as _;

use super::archive::{ArchiveError, NOTICES, OF_A_ROOM, condition, people_of, signed, to_json};
use super::context::{Admin, OperationContext};
use super::keeper::{FOLDER, file_error, keep};
use super::operation::AdminError;
use super::undo_entry::Undo;
use crate::import::bulk::{Conn, Kind, RowValues, Table, Value};
use crate::import::tables;
use crate::store::operation::LogEntry;
use crate::store::{Id, RoomRow};
use sogs_store::Retries;

/// Rows of a room that grow without bound; those of the other tables are few.
const LARGE: [&str; 5] = [
    "rooms",
    "messages",
    "message_history",
    "reactions",
    "user_reactions",
];

/// Statements that delete a room (`{}` = its id). Rows with references to messages go first, because not every reference
/// cascades cheaply; rules do not refer to the room at all.
const DELETE_A_ROOM: [&str; 10] = [
    "UPDATE files SET expiry = 0.0, message_id = NULL WHERE room_id = {}",
    "DELETE FROM user_reactions WHERE reaction_id IN (SELECT id FROM reactions WHERE room_id = {})",
    "DELETE FROM reactions WHERE room_id = {}",
    "DELETE FROM pinned_messages WHERE room_id = {}",
    "DELETE FROM message_history WHERE message_id IN (SELECT id FROM messages WHERE room_id = {})",
    "DELETE FROM held_messages WHERE room_id = {}",
    "DELETE FROM messages WHERE room_id = {}",
    "DELETE FROM settings WHERE room_id = {}",
    "DELETE FROM raids WHERE room_id = {}",
    "DELETE FROM rooms WHERE id = {}",
];

/// The audit log, without the number that the database gives an entry.
const NEW_ENTRY: Table = Table {
    name: "audit_log",
    columns: &[
        ("at", Kind::Real),
        ("actor", Kind::Text),
        ("action", Kind::Text),
        ("room", Kind::Text),
        ("target", Kind::Text),
        ("detail", Kind::Text),
        ("undo", Kind::Text),
    ],
    automatic: false,
};

/// Writes everything of a room into an archive, deletes the room and notes it in the log, in one transaction: whatever
/// was answered before is in the archive, and whatever comes later finds no room. Returns the number of the entry.
///
/// The large tables are read before the transaction, in which everybody else who writes waits. They are read again in it
/// only if the room changed meanwhile.
pub(super) async fn remove_room(
    act: &OperationContext<'_>,
    room: &RoomRow,
    detail: String,
) -> Result<Id, AdminError> {
    let (admin, folder) = (act.admin, act.admin.folder.join(FOLDER));
    std::fs::create_dir_all(&folder).map_err(file_error(&folder))?;
    let name = format!("room-{}-{}-{:.0}.jsonl", room.id, room.token, act.now);
    let path = folder.join(&name);
    let plan = Undo::RoomDelete { archive: name };
    let entry = act.entry("room_delete", Some(&room.token), &room.token, detail, Some(&plan));
    let mut conn = Conn::open(&admin.database).await?;
    keep_contents(admin, &mut conn, room.id).await?;
    conn.close().await?;
    let mut archive = Archive::create(path.clone())?;
    let mut retries = Retries::default();
    let outcome = loop {
        match archive_and_delete(admin, room.id, &mut archive, &entry).await {
            Err(error) if error.wait_to_retry(&mut retries).await => {}
            outcome => break outcome,
        }
    };
    if outcome.is_err() {
        drop(archive);
        // A part of an archive is of no use; the room is still there.
        let _ = std::fs::remove_file(&path);
    }
    let id = outcome?;
    admin.store.announce().await?;
    act.tell(&entry);
    Ok(id)
}

/// One attempt of [`remove_room`]. It writes the archive from its start.
async fn archive_and_delete(
    admin: &Admin,
    room_id: Id,
    archive: &mut Archive,
    entry: &LogEntry,
) -> Result<Id, ArchiveError> {
    archive.clear()?;
    let mut conn = Conn::open(&admin.database).await?;
    let outcome = async {
        conn.begin(false).await?;
        let before = archive.large_tables(admin, &mut conn, room_id).await;
        conn.commit().await?;
        move_room(admin, &mut conn, (room_id, before?), archive, entry).await
    }
    .await;
    // The outcome is known, however the connection ends.
    let _ = conn.close().await;
    outcome
}

/// The transaction of [`remove_room`]. `before` is the row of the room when the large tables were read.
async fn move_room(
    admin: &Admin,
    conn: &mut Conn,
    (room_id, before): (Id, Vec<RowValues>),
    archive: &mut Archive,
    entry: &LogEntry,
) -> Result<Id, ArchiveError> {
    conn.begin(true).await?;
    let outcome = async {
        let now = conn
            .read_all(&tables::ROOMS, &condition("WHERE id = {}", room_id))
            .await?;
        if now.is_empty() {
            return Err(AdminError::not_found(
                "the room no longer exists",
                "`ackpost server room list` lists the rooms",
            )
            .into());
        }
        if now != before {
            archive.clear()?;
            archive.large_tables(admin, conn, room_id).await?;
        }
        archive.small_tables(admin, conn, room_id).await?;
        archive.finish()?;
        for text in DELETE_A_ROOM {
            conn.run(condition(text, room_id)).await?;
        }
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        let row = vec![
            Value::Real(entry.at),
            Value::Text(entry.actor.clone()),
            Value::Text(entry.action.clone()),
            text(&entry.room),
            text(&entry.target),
            Value::Text(entry.detail.clone()),
            text(&entry.undo.as_ref().map(ToString::to_string)),
        ];
        conn.write(&NEW_ENTRY, &[row]).await?;
        // Nobody else writes meanwhile.
        Ok(conn.number("SELECT MAX(id) FROM audit_log").await?)
    }
    .await;
    match outcome {
        Ok(id) => {
            conn.commit().await?;
            Ok(id)
        }
        Err(error) => {
            // The error is the cause; the connection may be lost.
            let _ = conn.rollback().await;
            Err(error)
        }
    }
}

/// Keeps the contents of a room's files for an undo.
async fn keep_contents(admin: &Admin, conn: &mut Conn, room_id: Id) -> Result<(), AdminError> {
    let place = tables::FILES.at("content");
    let rows = conn
        .read_all(&tables::FILES, &condition("WHERE room_id = {}", room_id))
        .await?;
    for content in rows.iter().filter_map(|row| row[place].text()) {
        keep(admin.keeper(), content).await?;
    }
    Ok(())
}

/// An archive that is being written.
struct Archive {
    path: PathBuf,
    out: std::io::BufWriter<std::fs::File>,
}

impl Archive {
    fn create(path: PathBuf) -> Result<Self, AdminError> {
        let file = std::fs::File::create(&path).map_err(file_error(&path))?;
        Ok(Self {
            out: std::io::BufWriter::new(file),
            path,
        })
    }

    /// Begins again.
    fn clear(&mut self) -> Result<(), AdminError> {
        *self = Self::create(self.path.clone())?;
        Ok(())
    }

    fn line(&mut self, line: &serde_json::Value) -> Result<(), AdminError> {
        writeln!(self.out, "{line}").map_err(file_error(&self.path))
    }

    /// Makes the archive last.
    fn finish(&mut self) -> Result<(), AdminError> {
        self.out.flush().map_err(file_error(&self.path))?;
        self.out.get_ref().sync_all().map_err(file_error(&self.path))
    }

    /// Writes the large tables; returns the row of the room.
    async fn large_tables(
        &mut self,
        admin: &Admin,
        conn: &mut Conn,
        room_id: Id,
    ) -> Result<Vec<RowValues>, ArchiveError> {
        let room = conn
            .read_all(&tables::ROOMS, &condition("WHERE id = {}", room_id))
            .await?;
        let people = people_of(conn).await?;
        for (table, rest) in OF_A_ROOM.iter().filter(|(table, _)| LARGE.contains(&table.name)) {
            self.table(admin, conn, (table, rest, room_id), &people).await?;
        }
        Ok(room)
    }

    /// Writes the other tables, and which messages are notices.
    async fn small_tables(
        &mut self,
        admin: &Admin,
        conn: &mut Conn,
        room_id: Id,
    ) -> Result<(), ArchiveError> {
        let nobody = HashMap::new();
        for (table, rest) in OF_A_ROOM.iter().filter(|(table, _)| !LARGE.contains(&table.name)) {
            self.table(admin, conn, (table, rest, room_id), &nobody).await?;
        }
        let rest = "WHERE notice_id IN (SELECT id FROM messages WHERE room_id = {})";
        let (case, notice) = (tables::CASES.at("id"), tables::CASES.at("notice_id"));
        for row in conn.read_all(&tables::CASES, &condition(rest, room_id)).await? {
            if let (Some(case), Some(notice)) = (row[case].int(), row[notice].int()) {
                self.line(&serde_json::json!([NOTICES, [case, notice]]))?;
            }
        }
        Ok(())
    }

    async fn table(
        &mut self,
        admin: &Admin,
        conn: &mut Conn,
        (table, rest, room_id): (&Table, &str, Id),
        people: &HashMap<Id, String>,
    ) -> Result<(), ArchiveError> {
        let is_file = table.name == tables::FILES.name;
        let mut chunks = conn.chunks(table, &condition(rest, room_id)).await?;
        while let Some(rows) = chunks.try_next().await? {
            for row in &rows {
                let row = &signed(row, table, people);
                if is_file && let Some(content) = row[table.at("content")].text() {
                    keep(admin.keeper(), content).await?;
                }
                self.line(&serde_json::json!([table.name, to_json(row)]))?;
            }
        }
        Ok(())
    }
}
