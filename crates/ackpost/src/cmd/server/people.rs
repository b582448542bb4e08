//! `ackpost server user|mod|ban …`

use clap::{Args, Subcommand};
use sogs_server::admin::Operation;

use super::rooms::PermissionArgs;
use super::which::WhenArgs;
use super::{At, ParsedOperation, PlaceArgs, span};
use crate::cmd::people::PeopleArgs;

/// Commands about people.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// List people, most recently active first
    List {
        #[command(flatten)]
        at: At,
        /// Only people active in this room
        #[arg(long, value_name = "TOKEN")]
        room: Option<String>,
        /// Maximum number of results
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only people whose display name contains this text
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// First seen in this span of time
        #[command(flatten)]
        when: WhenArgs,
    },
    /// Show all data about one person
    Show {
        #[command(flatten)]
        at: At,
        /// Person: a session id, a short id (15e5…b6fe), a display name, or the number of a message
        #[arg(value_name = "WHO")]
        session_id: String,
    },
    /// Set or clear what people may do in a room; `--write yes` also exempts them from raid mode, minimum age and approval
    Permissions {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        people: PeopleArgs,
        /// Token of the room
        #[arg(long, value_name = "TOKEN")]
        room: String,
        #[command(flatten)]
        permissions: PermissionArgs,
        /// Restore the defaults of the room (before other changes)
        #[arg(long)]
        clear: bool,
    },
}

/// Commands about moderators.
#[derive(Debug, Subcommand)]
pub(crate) enum ModCommand {
    /// List moderators and admins
    List(At),
    /// Appoint a moderator or admin
    Add(ModAddArgs),
    /// Dismiss a moderator or admin
    Remove {
        #[command(flatten)]
        at: At,
        /// Person: a session id, a short id (15e5…b6fe), a display name, or the number of a message
        #[arg(value_name = "WHO")]
        session_id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Words of `mod add`.
#[derive(Debug, Args)]
pub(crate) struct ModAddArgs {
    #[command(flatten)]
    at: At,
    /// Person: a session id (05…, 15… or 25…, also of a stranger), a short id, a display name, or the number of a message
    #[arg(value_name = "WHO")]
    session_id: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Admin rather than moderator
    #[arg(long)]
    admin: bool,
    /// List the person for everybody (the default in rooms)
    #[arg(long, conflicts_with = "hidden")]
    visible: bool,
    /// Do not list the person (the default with --global)
    #[arg(long)]
    hidden: bool,
}

/// Commands about bans.
#[derive(Debug, Subcommand)]
pub(crate) enum BanCommand {
    /// List bans and when timed ones end
    List(At),
    /// Ban people
    Add {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        people: PeopleArgs,
        #[command(flatten)]
        place: PlaceArgs,
        /// End the ban after a time: 90s, 15m, 12h, 7d
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        seconds: Option<f64>,
        /// Delete their posts and reactions there too
        #[arg(long)]
        delete_posts: bool,
    },
    /// Lift bans
    Remove {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        people: PeopleArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl UserCommand {
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::List {
                at,
                room,
                limit,
                name,
                when,
            } => (
                at,
                Operation::UserList {
                    room: room.clone(),
                    limit: *limit,
                    since: when.since,
                    until: when.until,
                    name: name.clone(),
                },
            ),
            Self::Show { at, session_id } => (
                at,
                Operation::UserShow {
                    user: session_id.clone(),
                },
            ),
            Self::Permissions {
                at,
                people,
                room,
                permissions,
                clear,
            } => (
                at,
                Operation::UserPermissions {
                    user: people.text()?,
                    room: room.clone(),
                    permissions: permissions.change(),
                    clear: *clear,
                },
            ),
        })
    }
}

impl ModCommand {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every family of commands is asked the same way"
    )]
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::List(at) => (at, Operation::ModList),
            Self::Add(args) => (
                &args.at,
                Operation::ModAdd {
                    user: args.session_id.clone(),
                    place: args.place.place(),
                    admin: args.admin,
                    visible: match (args.visible, args.hidden) {
                        (true, _) => Some(true),
                        (_, true) => Some(false),
                        _ => None,
                    },
                },
            ),
            Self::Remove {
                at,
                session_id,
                place,
            } => (
                at,
                Operation::ModRemove {
                    user: session_id.clone(),
                    place: place.place(),
                },
            ),
        })
    }
}

impl BanCommand {
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::List(at) => (at, Operation::BanList),
            Self::Add {
                at,
                people,
                place,
                seconds,
                delete_posts,
            } => (
                at,
                Operation::BanAdd {
                    user: people.text()?,
                    place: place.place(),
                    seconds: *seconds,
                    delete_posts: *delete_posts,
                },
            ),
            Self::Remove { at, people, place } => (
                at,
                Operation::BanRemove {
                    user: people.text()?,
                    place: place.place(),
                },
            ),
        })
    }
}
