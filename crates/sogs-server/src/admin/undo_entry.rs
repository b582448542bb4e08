//! Data that an entry of the log needs to be undone.

use serde::{Deserialize, Serialize};

use super::gone::Gone;
use crate::model::filter::{Filter, FilterAction, FilterKind};
use crate::model::raid::Raid;
use crate::store::{FileRow, Id};

/// Rights of a person in a place, as they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one column each")]
pub(crate) struct Rights {
    /// The room; `None` = the whole server.
    pub(super) room_id: Option<Id>,
    pub(super) moderator: bool,
    pub(super) admin: bool,
    pub(super) visible: bool,
    pub(super) banned: bool,
    /// Time at which the ban would have ended by itself.
    pub(super) until: Option<f64>,
}

/// A former scheduled change of permissions: when, read, write, upload.
pub(crate) type KeptFuture = (f64, Option<bool>, Option<bool>, Option<bool>);

/// Plan of an undo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Undo {
    RoomAdd {
        room_id: Id,
    },
    RoomEdit {
        room_id: Id,
        name: String,
        description: Option<String>,
        read: bool,
        accessible: bool,
        write: bool,
        upload: bool,
        image: Option<Id>,
        image_file: Option<FileRow>,
    },
    /// Rooms and their permissions as they were: read, accessible, write, upload.
    RoomsEdit {
        rooms: Vec<(Id, bool, bool, bool, bool)>,
    },
    /// Files, with the times at which they were to expire.
    FilesExpiry {
        files: Vec<(Id, Option<f64>)>,
    },
    RoomDelete {
        archive: String,
    },
    Permissions {
        room_id: Id,
        user_id: Id,
        read: Option<bool>,
        accessible: Option<bool>,
        write: Option<bool>,
        upload: Option<bool>,
        /// Changes of permissions that were scheduled for the person in this room.
        #[serde(default)]
        scheduled: Vec<KeptFuture>,
    },
    Rights {
        user_id: Id,
        rights: Vec<Rights>,
        #[serde(flatten)]
        gone: Gone,
    },
    Messages {
        #[serde(flatten)]
        gone: Gone,
    },
    /// One act that concerned several people.
    Several {
        parts: Vec<Undo>,
        #[serde(flatten)]
        gone: Gone,
    },
    /// A message was pinned; its files expired as noted here.
    Pin {
        room_id: Id,
        message_id: Id,
        /// Person who had pinned it before, and when.
        before: Option<(Id, f64)>,
        files: Vec<FileRow>,
    },
    /// A change of permissions was scheduled.
    Later {
        room_id: Id,
        user_id: Id,
        at: f64,
    },
    File {
        file: FileRow,
    },
    /// A held post was shown.
    Approve {
        message_id: Id,
        reason: String,
        at: f64,
    },
    /// A reported message was left where it is.
    ReportKept {
        message_id: Id,
    },
    /// The moderators' room became another one.
    ModeratorsRoom {
        before: Option<Id>,
        /// A room that was made for it.
        #[serde(default)]
        made: Option<Id>,
    },
    /// The server got another key; the former one is kept under this name.
    Key {
        former: String,
    },
    FilterAdd {
        id: Id,
    },
    FilterRemove {
        filter: Filter,
    },
    Setting {
        room_id: Id,
        name: String,
        value: Option<String>,
    },
    RaidOn {
        room_id: Id,
    },
    RaidOff {
        room_id: Id,
        raid: Raid,
    },
}

impl Undo {
    /// Returns the plan of one entry that undoes all of these.
    pub(super) fn several(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        Self::Several {
            parts,
            gone: Gone::default(),
        }
    }

    /// The content of the picture that a change of a room replaces.
    pub(super) fn image_content(&self) -> Option<String> {
        match self {
            Self::RoomEdit {
                image_file: Some(file),
                ..
            } => Some(file.content.clone()),
            _ => None,
        }
    }
}

/// A filter in the form of the log.
pub(super) fn filter_words(kind: FilterKind, action: FilterAction, pattern: &str) -> String {
    let mut shown: String = pattern
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if pattern.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("{} {} {shown}", action.as_str(), kind.as_str())
}
