//! `ackpost server message|file …`

use clap::Subcommand;
use sogs_server::admin::Operation;

use super::which::{PeopleArgs, WhenArgs, range};
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
}

impl MessageCommand {
    pub(crate) fn operation(&self) -> Asked<'_> {
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
            Self::Delete { at, id } => (at, Operation::FileDelete { id: *id }),
        })
    }
}
