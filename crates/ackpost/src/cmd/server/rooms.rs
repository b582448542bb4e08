//! `ackpost server room …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sogs_server::admin::{Operation, PermissionChange};

use super::{At, ParsedOperation};
use crate::exit::Failure;

/// The largest picture of a room, bytes.
const IMAGE_BYTES: u64 = 10_000_000;

/// Commands about rooms.
#[derive(Debug, Subcommand)]
pub(crate) enum RoomCommand {
    /// List all rooms
    List(At),
    /// Show one room, its rules and its join link
    Show {
        #[command(flatten)]
        at: At,
        /// Token of the room
        token: String,
    },
    /// Add a room
    Add(AddArgs),
    /// Change a room, or the permissions of all rooms
    Edit(EditArgs),
    /// Delete a room with everything in it
    Delete {
        #[command(flatten)]
        at: At,
        /// Token of the room
        token: String,
    },
}

/// `yes`/`no` for each permission.
#[derive(Debug, Args)]
pub(crate) struct PermissionArgs {
    /// Allow reading messages
    #[arg(long, value_name = "yes|no", value_parser = yes_no)]
    read: Option<bool>,
    /// Show the room to people who may not read it
    #[arg(long, value_name = "yes|no", value_parser = yes_no)]
    accessible: Option<bool>,
    /// Allow posting messages
    #[arg(long, value_name = "yes|no", value_parser = yes_no)]
    write: Option<bool>,
    /// Allow uploading files
    #[arg(long, value_name = "yes|no", value_parser = yes_no)]
    upload: Option<bool>,
}

impl PermissionArgs {
    pub(crate) fn change(&self) -> PermissionChange {
        PermissionChange {
            read: self.read,
            accessible: self.accessible,
            write: self.write,
            upload: self.upload,
        }
    }
}

fn yes_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

/// Words of `room add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    at: At,
    /// Token of the room: letters, digits, _ and -, at most 64
    token: String,
    /// Name of the room; without one, the token
    #[arg(long)]
    name: Option<String>,
    /// Description of the room
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    permissions: PermissionArgs,
}

/// Words of `room edit`.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    #[command(flatten)]
    at: At,
    /// Token of the room
    #[arg(required_unless_present = "all_rooms", conflicts_with = "all_rooms")]
    token: Option<String>,
    /// Change the permissions of every room that exists now
    #[arg(long, conflicts_with_all = ["name", "description", "image", "no_image"])]
    all_rooms: bool,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// New description; an empty one removes it
    #[arg(long)]
    description: Option<String>,
    /// Picture of the room: a PNG, JPEG, GIF or WebP file
    #[arg(long, value_name = "FILE", conflicts_with = "no_image")]
    image: Option<PathBuf>,
    /// Remove the picture
    #[arg(long)]
    no_image: bool,
    #[command(flatten)]
    permissions: PermissionArgs,
}

impl RoomCommand {
    pub(crate) fn operation(&self) -> ParsedOperation<'_> {
        Ok(match self {
            Self::List(at) => (at, Operation::RoomList),
            Self::Show { at, token } => (at, Operation::RoomShow { room: token.clone() }),
            Self::Add(args) => (
                &args.at,
                Operation::RoomAdd {
                    room: args.token.clone(),
                    name: args.name.clone(),
                    description: args.description.clone(),
                    permissions: args.permissions.change(),
                },
            ),
            Self::Edit(EditArgs {
                at,
                token: None,
                permissions,
                ..
            }) => (
                at,
                Operation::RoomEditEvery {
                    permissions: permissions.change(),
                },
            ),
            Self::Edit(args) => (
                &args.at,
                Operation::RoomEdit {
                    room: args.token.clone().unwrap_or_default(),
                    name: args.name.clone(),
                    description: args.description.clone(),
                    permissions: args.permissions.change(),
                    image: args.image()?,
                },
            ),
            Self::Delete { at, token } => (at, Operation::RoomDelete { room: token.clone() }),
        })
    }
}

impl EditArgs {
    fn image(&self) -> Result<Option<String>, Failure> {
        use base64::Engine as _;
        if self.no_image {
            return Ok(Some(String::new()));
        }
        let Some(path) = &self.image else { return Ok(None) };
        let bytes =
            ackpost_platform::read_limited(path, IMAGE_BYTES).map_err(|error| match error.kind() {
                std::io::ErrorKind::FileTooLarge => Failure::usage(
                    format!("{} is larger than 10 MB", path.display()),
                    "use a smaller picture",
                ),
                _ => Failure::new(
                    format!("{} cannot be read: {error}", path.display()),
                    "check the path",
                ),
            })?;
        Ok(Some(base64::engine::general_purpose::STANDARD.encode(bytes)))
    }
}

/// Commands about the moderators' room.
#[derive(Debug, Subcommand)]
pub(crate) enum ModerationCommand {
    /// Open the moderators' room: held posts and reports appear there, and moderators decide by reaction or reply
    On {
        #[command(flatten)]
        at: At,
        /// Token of the room; it is made if there is none
        #[arg(long, value_name = "TOKEN", default_value = "moderators")]
        room: String,
    },
    /// Close the moderators' room: held posts and reports no longer appear there
    Off(At),
    /// Show the moderators' room, its account, and the number of waiting posts and reports
    Status(At),
}

impl ModerationCommand {
    pub(crate) fn operation(&self) -> (&At, Operation) {
        match self {
            Self::On { at, room } => (at, Operation::ModerationOn { room: room.clone() }),
            Self::Off(at) => (at, Operation::ModerationOff),
            Self::Status(at) => (at, Operation::ModerationStatus),
        }
    }
}
