//! Later decisions about the same things. An undo leaves what somebody decided since as it is.
//!
//! Every entry of the log that can be undone says which things it changed. Entries are looked at from the newest to the one
//! that is undone: whatever a newer one changed, and was not undone, stays.

use std::collections::{BTreeMap, HashMap};

use super::context::OperationContext;
use super::operation::AdminError;
use super::undo_entry::Undo;
use crate::store::operation::{LogQuery, LogRow};
use crate::store::{Id, RoomRow};

/// Entries read at a time.
const PAGE: i64 = 200;
/// Sentences about things that stay; more are counted.
const SHOWN: usize = 20;

/// A part of the description of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum RoomPart {
    Name,
    Description,
    Read,
    Accessible,
    Write,
    Upload,
    Image,
}

impl RoomPart {
    fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Description => "description",
            Self::Read => "read permission",
            Self::Accessible => "visibility",
            Self::Write => "write permission",
            Self::Upload => "upload permission",
            Self::Image => "picture",
        }
    }
}

/// A thing that an entry changed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    /// Rights and bans of a person in a room, or (`None`) the whole server.
    Right(Id, Option<Id>),
    /// Permissions of a person: room, person.
    Permission(Id, Id),
    /// A rule of a room, or (0) of the whole server.
    Setting(Id, String),
    /// Raid mode of a room, or (0) of the whole server.
    Raid(Id),
    /// Time at which a file expires.
    Expiry(Id),
    /// The pin of a message.
    Pin(Id),
    ModeratorsRoom,
    Room(Id, RoomPart),
}

/// Values of a room as an entry found them, as text; parts that it does not name are absent.
type Values = BTreeMap<RoomPart, String>;

/// The entry that decided about a thing last, in words.
type Decision = String;

/// Things about which later entries decided.
pub(super) struct Later {
    decisions: HashMap<Subject, Decision>,
    /// Rooms as the oldest entry that was looked at found them; at first as they are now.
    rooms: HashMap<Id, Values>,
    /// The entries from this number on were looked at.
    from: Id,
}

/// Things of an entry that stay, in words.
pub(super) type Left = Vec<String>;

impl Later {
    pub(super) async fn new(act: &OperationContext<'_>) -> Result<Self, AdminError> {
        let rooms = act.admin.store.rooms().await?;
        Ok(Self {
            decisions: HashMap::new(),
            rooms: rooms.iter().map(|room| (room.id, present(room))).collect(),
            from: Id::MAX,
        })
    }

    /// Looks at the entries behind this one that were not looked at yet.
    pub(super) async fn look_behind(&mut self, act: &OperationContext<'_>, id: Id) -> Result<(), AdminError> {
        while self.from > id + 1 {
            let query = LogQuery {
                ids: Some((id + 1, self.from - 1)),
                limit: PAGE,
                ..LogQuery::default()
            };
            let rows = act.admin.store.log(query).await?;
            for row in &rows {
                self.note(row, row.undone_at.is_some());
            }
            if rows.is_empty() {
                self.from = id + 1;
            }
        }
        Ok(())
    }

    /// Notes what an entry changed.
    pub(super) fn note(&mut self, row: &LogRow, undone: bool) {
        self.from = row.id;
        let plan = row
            .undo
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        let Some(plan) = plan else { return };
        let mut subjects = Vec::new();
        self.subjects(&plan, &mut subjects);
        self.move_back(&plan);
        if undone {
            return;
        }
        for subject in subjects {
            self.decisions
                .entry(subject)
                .or_insert_with(|| format!("entry {} ({} by {})", row.id, row.action, row.actor));
        }
    }

    /// The parts of a room that an entry changed and nobody changed since.
    pub(super) fn open_parts(&self, room_id: Id, plan: &Undo) -> Vec<RoomPart> {
        let mut subjects = Vec::new();
        self.subjects(plan, &mut subjects);
        subjects
            .into_iter()
            .filter(|subject| !self.decisions.contains_key(subject))
            .filter_map(|subject| match subject {
                Subject::Room(of, part) if of == room_id => Some(part),
                _ => None,
            })
            .collect()
    }

    /// Returns the part of a plan that nobody decided about since, or `None` if nothing is left of it; and what stays.
    pub(super) fn still_open(&self, plan: Undo) -> (Option<Undo>, Left) {
        let mut left = Left::new();
        let rest = self.pruned(plan, &mut left);
        if left.len() > SHOWN {
            let more = left.len() - SHOWN;
            left.truncate(SHOWN);
            left.push(format!("and {more} more"));
        }
        (rest, left)
    }

    /// Returns true if nobody decided about this since; otherwise notes that it stays.
    fn is_open(&self, subject: &Subject, left: &mut Left) -> bool {
        let Some(decision) = self.decisions.get(subject) else {
            return true;
        };
        let what = match subject {
            Subject::Right(user, _) => format!("rights and bans of user {user}"),
            Subject::Permission(_, user) => format!("permissions of user {user}"),
            Subject::Setting(_, name) => format!("the setting {name}"),
            Subject::Raid(_) => "raid mode".to_owned(),
            Subject::Expiry(file) => format!("the lifetime of file {file}"),
            Subject::Pin(message) => format!("the pin of message {message}"),
            Subject::ModeratorsRoom => "the moderators' room".to_owned(),
            Subject::Room(_, part) => format!("the {} of the room", part.as_str()),
        };
        left.push(format!("left as it is: {what}, decided since by {decision}"));
        false
    }

    fn pruned(&self, mut plan: Undo, left: &mut Left) -> Option<Undo> {
        let before = left.len();
        match &mut plan {
            Undo::Rights {
                user_id,
                rights,
                gone,
            } => {
                rights.retain(|right| self.is_open(&Subject::Right(*user_id, right.room_id), left));
                self.prune_gone(gone, left);
                if rights.is_empty() && gone.is_empty() && left.len() > before {
                    return None;
                }
            }
            Undo::Messages { gone } => {
                self.prune_gone(gone, left);
                if gone.is_empty() && left.len() > before {
                    return None;
                }
            }
            Undo::Several { parts, gone } => {
                *parts = std::mem::take(parts)
                    .into_iter()
                    .filter_map(|part| self.pruned(part, left))
                    .collect();
                self.prune_gone(gone, left);
                if parts.is_empty() && gone.is_empty() && left.len() > before {
                    return None;
                }
            }
            Undo::FilesExpiry { files } => {
                files.retain(|(id, _)| self.is_open(&Subject::Expiry(*id), left));
                if files.is_empty() && left.len() > before {
                    return None;
                }
            }
            other => {
                let mut subjects = Vec::new();
                self.subjects(other, &mut subjects);
                let open = subjects
                    .iter()
                    .filter(|subject| self.is_open(subject, left))
                    .count();
                // A pin stands for its files too; of a room, single parts may come back.
                let whole = !matches!(other, Undo::RoomEdit { .. } | Undo::RoomsEdit { .. });
                if left.len() > before && (whole || open == 0) {
                    return None;
                }
            }
        }
        Some(plan)
    }

    fn prune_gone(&self, gone: &mut super::gone::Gone, left: &mut Left) {
        gone.bans
            .retain(|ban| self.is_open(&Subject::Right(ban.user_id, ban.room_id), left));
        gone.retain_pins(|message| self.is_open(&Subject::Pin(message), left));
    }

    /// Collects the things that a plan puts back.
    fn subjects(&self, plan: &Undo, all: &mut Vec<Subject>) {
        match plan {
            Undo::Rights {
                user_id,
                rights,
                gone,
            } => {
                all.extend(rights.iter().map(|right| Subject::Right(*user_id, right.room_id)));
                gone_subjects(gone, all);
            }
            Undo::Messages { gone } => gone_subjects(gone, all),
            Undo::Several { parts, gone } => {
                for part in parts {
                    self.subjects(part, all);
                }
                gone_subjects(gone, all);
            }
            Undo::Permissions { room_id, user_id, .. } => all.push(Subject::Permission(*room_id, *user_id)),
            Undo::Setting { room_id, name, .. } => all.push(Subject::Setting(*room_id, name.clone())),
            Undo::RaidOn { room_id } | Undo::RaidOff { room_id, .. } => all.push(Subject::Raid(*room_id)),
            Undo::FilesExpiry { files } => all.extend(files.iter().map(|(id, _)| Subject::Expiry(*id))),
            Undo::Pin {
                message_id, files, ..
            } => {
                all.push(Subject::Pin(*message_id));
                all.extend(files.iter().map(|file| Subject::Expiry(file.id)));
            }
            Undo::ModeratorsRoom { .. } => all.push(Subject::ModeratorsRoom),
            Undo::RoomEdit { .. } | Undo::RoomsEdit { .. } => {
                for (room_id, found) in found_rooms(plan) {
                    let after = self.rooms.get(&room_id);
                    let changed = found
                        .iter()
                        .filter(|(part, value)| after.and_then(|after| after.get(part)) != Some(value));
                    all.extend(changed.map(|(part, _)| Subject::Room(room_id, *part)));
                }
            }
            Undo::RoomAdd { .. }
            | Undo::RoomDelete { .. }
            | Undo::Later { .. }
            | Undo::File { .. }
            | Undo::Approve { .. }
            | Undo::ReportKept { .. }
            | Undo::Key { .. }
            | Undo::FilterAdd { .. }
            | Undo::FilterRemove { .. } => {}
        }
    }

    /// Before an entry, rooms were as it found them.
    fn move_back(&mut self, plan: &Undo) {
        for (room_id, found) in found_rooms(plan) {
            self.rooms.entry(room_id).or_default().extend(found);
        }
    }
}

fn gone_subjects(gone: &super::gone::Gone, all: &mut Vec<Subject>) {
    all.extend(
        gone.bans
            .iter()
            .map(|ban| Subject::Right(ban.user_id, ban.room_id)),
    );
    all.extend(gone.pinned().map(Subject::Pin));
}

/// The permissions of a room: read, accessible, write, upload.
fn permissions([read, accessible, write, upload]: [bool; 4]) -> [(RoomPart, String); 4] {
    [
        (RoomPart::Read, read.to_string()),
        (RoomPart::Accessible, accessible.to_string()),
        (RoomPart::Write, write.to_string()),
        (RoomPart::Upload, upload.to_string()),
    ]
}

fn words(name: &str, description: Option<&str>, image: Option<Id>) -> [(RoomPart, String); 3] {
    [
        (RoomPart::Name, name.to_owned()),
        (RoomPart::Description, format!("{description:?}")),
        (RoomPart::Image, format!("{image:?}")),
    ]
}

/// A room as it is now.
fn present(room: &RoomRow) -> Values {
    let (all, description) = (room.defaults, room.description.as_deref());
    permissions([all.read, all.accessible, all.write, all.upload])
        .into_iter()
        .chain(words(&room.name, description, room.image_id))
        .collect()
}

/// Rooms as an entry found them.
fn found_rooms(plan: &Undo) -> Vec<(Id, Values)> {
    match plan {
        Undo::RoomEdit {
            room_id,
            name,
            description,
            read,
            accessible,
            write,
            upload,
            image,
            ..
        } => {
            let values = permissions([*read, *accessible, *write, *upload])
                .into_iter()
                .chain(words(name, description.as_deref(), *image));
            vec![(*room_id, values.collect())]
        }
        Undo::RoomsEdit { rooms } => rooms
            .iter()
            .map(|(id, read, accessible, write, upload)| {
                let values = permissions([*read, *accessible, *write, *upload]);
                (*id, values.into_iter().collect())
            })
            .collect(),
        _ => Vec::new(),
    }
}
