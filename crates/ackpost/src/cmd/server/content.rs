//! `ackpost server message|file …`

use clap::Subcommand;
use sogs_server::admin::Operation;

use super::act::act;
use super::which::{WhenArgs, range};
use super::{At, ParsedOperation, PlaceArgs};
use crate::cmd::people::PeopleArgs;
use crate::context::Context;
use crate::exit::Done;

/// Commands about messages.
#[derive(Debug, Subcommand)]
pub(crate) enum MessageCommand {
    /// List messages of a room, newest first
    List {
        #[command(flatten)]
        at: At,
        /// Token of the room
        #[arg(long, value_name = "TOKEN")]
        room: String,
        /// Maximum number of results
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only messages with a smaller number
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
        /// Only messages of this person: a session id, a short id, a display name, or the number of a message
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
        /// Only messages with these numbers: 17-25
        #[arg(long, value_name = "RANGE", value_parser = range)]
        ids: Option<(i64, i64)>,
        #[command(flatten)]
        when: WhenArgs,
    },
    /// Delete messages by number
    Delete {
        #[command(flatten)]
        at: At,
        /// Token of the room
        #[arg(long, value_name = "TOKEN")]
        room: String,
        /// Numbers of the messages, or ranges: 17 20-25
        #[arg(required = true, value_name = "NUMBERS", value_parser = range)]
        ids: Vec<(i64, i64)>,
    },
    /// Delete all messages of people
    DeleteAll {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        people: PeopleArgs,
        #[command(flatten)]
        when: WhenArgs,
        #[command(flatten)]
        place: PlaceArgs,
        /// Remove their reactions too
        #[arg(long)]
        reactions: bool,
    },
    /// Delete messages that contain a phrase
    DeleteContaining {
        #[command(flatten)]
        at: At,
        /// The phrase; case does not matter
        text: String,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        when: WhenArgs,
    },
    /// Pin a message: apps show it on top, and its files are kept
    Pin {
        #[command(flatten)]
        at: At,
        /// Token of the room
        #[arg(long, value_name = "TOKEN")]
        room: String,
        /// Number of the message
        id: i64,
    },
    /// Unpin a message, or all messages of a room
    Unpin {
        #[command(flatten)]
        at: At,
        /// Token of the room
        #[arg(long, value_name = "TOKEN")]
        room: String,
        /// Number of the message; without one, all pinned messages
        id: Option<i64>,
    },
    /// List posts that wait for approval
    Held {
        #[command(flatten)]
        at: At,
        /// Only of this room
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
    },
    /// Show a held post to everybody
    Approve {
        #[command(flatten)]
        at: At,
        /// Number of the message
        id: i64,
    },
    /// Delete a held post
    #[command(alias = "refuse")]
    Reject {
        #[command(flatten)]
        at: At,
        /// Number of the message
        id: i64,
    },
}

/// Commands about files.
#[derive(Debug, Subcommand)]
pub(crate) enum FileCommand {
    /// List files of a room, newest first
    List {
        #[command(flatten)]
        at: At,
        /// Token of the room
        #[arg(long, value_name = "TOKEN")]
        room: String,
        /// Maximum number of results
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Keep the files of messages permanently, regardless of `[files] expiry_days`
    Keep {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Delete a file
    Delete {
        #[command(flatten)]
        at: At,
        /// Number of the file
        id: i64,
    },
    /// Move all files of the stopped server to another storage: a folder or an S3-compatible bucket
    Move(super::data::MoveFilesArgs),
}

impl MessageCommand {
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::List {
                at,
                room,
                limit,
                before,
                user,
                ids,
                when,
            } => (
                at,
                Operation::MessageList {
                    room: room.clone(),
                    limit: *limit,
                    before: *before,
                    user: user.clone(),
                    since: when.since,
                    until: when.until,
                    ids: *ids,
                },
            ),
            Self::Delete { at, room, ids } => {
                let (single, ranges): (Vec<_>, Vec<_>) = ids.iter().partition(|(first, last)| first == last);
                (
                    at,
                    Operation::MessageDelete {
                        room: room.clone(),
                        ids: single.into_iter().map(|(id, _)| id).collect(),
                        ranges,
                    },
                )
            }
            Self::DeleteAll {
                at,
                people,
                when,
                place,
                reactions,
            } => (
                at,
                Operation::MessageDeleteAll {
                    user: people.text()?,
                    place: place.place(),
                    reactions: *reactions,
                    since: when.since,
                    until: when.until,
                },
            ),
            Self::DeleteContaining {
                at,
                text,
                place,
                when,
            } => (
                at,
                Operation::MessageDeleteContaining {
                    place: place.place(),
                    text: text.clone(),
                    since: when.since,
                    until: when.until,
                },
            ),
            Self::Pin { at, room, id } => (
                at,
                Operation::MessagePin {
                    room: room.clone(),
                    id: *id,
                },
            ),
            Self::Unpin { at, room, id } => (
                at,
                Operation::MessageUnpin {
                    room: room.clone(),
                    id: *id,
                },
            ),
            Self::Held { at, room } => (at, Operation::HeldList { room: room.clone() }),
            Self::Approve { at, id } => (at, Operation::HeldApprove { id: *id }),
            Self::Reject { at, id } => (at, Operation::HeldReject { id: *id }),
        })
    }
}

impl FileCommand {
    pub(crate) fn run(&self, context: Context) -> Done {
        match self {
            Self::List { at, room, limit } => {
                let (room, limit) = (room.clone(), *limit);
                act(context, at, Operation::FileList { room, limit })
            }
            Self::Keep { at, place } => act(context, at, Operation::FileKeep { place: place.place() }),
            Self::Delete { at, id } => act(context, at, Operation::FileDelete { id: *id }),
            Self::Move(args) => super::data::move_files(args, context),
        }
    }
}
