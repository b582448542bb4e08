//! `ackpost server message|file …`

use clap::Subcommand;
use sogs_server::admin::Operation;

use super::{Asked, At, PlaceArgs};

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
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only messages with a smaller number
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
        /// Only messages of this person
        #[arg(long, value_name = "SESSION_ID")]
        user: Option<String>,
    },
    /// Delete messages by number
    Delete {
        #[command(flatten)]
        at: At,
        /// Token of the room
        #[arg(long, value_name = "TOKEN")]
        room: String,
        /// Numbers of the messages
        #[arg(required = true)]
        ids: Vec<i64>,
    },
    /// Delete all messages of a person
    DeleteAll {
        #[command(flatten)]
        at: At,
        /// Session id
        session_id: String,
        #[command(flatten)]
        place: PlaceArgs,
        /// Remove the person's reactions too
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
        /// Number of the message; all pinned messages when absent
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
    Refuse {
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
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Keep the files of messages for good, whatever `[files] expiry_days` was when they were posted
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
}

impl MessageCommand {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every family of commands is asked the same way"
    )]
    pub(crate) fn operation(&self) -> Asked<'_> {
        Ok(match self {
            Self::List {
                at,
                room,
                limit,
                before,
                user,
            } => (
                at,
                Operation::MessageList {
                    room: room.clone(),
                    limit: *limit,
                    before: *before,
                    user: user.clone(),
                },
            ),
            Self::Delete { at, room, ids } => (
                at,
                Operation::MessageDelete {
                    room: room.clone(),
                    ids: ids.clone(),
                },
            ),
            Self::DeleteAll {
                at,
                session_id,
                place,
                reactions,
            } => (
                at,
                Operation::MessageDeleteAll {
                    user: session_id.clone(),
                    place: place.place(),
                    reactions: *reactions,
                },
            ),
            Self::DeleteContaining { at, text, place } => (
                at,
                Operation::MessageDeleteContaining {
                    place: place.place(),
                    text: text.clone(),
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
            Self::Refuse { at, id } => (at, Operation::HeldRefuse { id: *id }),
        })
    }
}

impl FileCommand {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every family of commands is asked the same way"
    )]
    pub(crate) fn operation(&self) -> Asked<'_> {
        Ok(match self {
            Self::List { at, room, limit } => (
                at,
                Operation::FileList {
                    room: room.clone(),
                    limit: *limit,
                },
            ),
            Self::Keep { at, place } => (at, Operation::FileKeep { place: place.place() }),
            Self::Delete { at, id } => (at, Operation::FileDelete { id: *id }),
        })
    }
}
