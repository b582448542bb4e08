//! `ackpost server message|file …`

use clap::Subcommand;
use sogs_server::admin::Operation;

use super::act::act;
use super::{Asked, At, PlaceArgs};
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
            Self::Held { at, room } => (at, Operation::HeldList { room: room.clone() }),
            Self::Approve { at, id } => (at, Operation::HeldApprove { id: *id }),
            Self::Refuse { at, id } => (at, Operation::HeldRefuse { id: *id }),
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
            Self::Delete { at, id } => act(context, at, Operation::FileDelete { id: *id }),
            Self::Move(args) => super::data::move_files(args, context),
        }
    }
}
