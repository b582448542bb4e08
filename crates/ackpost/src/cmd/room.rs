//! `ackpost room …`: everything one can do in a Session community, from the command line.

mod act;
pub(crate) mod files;
pub(crate) mod finder;
mod held;
mod moderate;
pub(crate) mod place;
mod read;
pub(crate) mod saved;
pub(crate) mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::people::{FileArgs, PeopleArgs};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::input;
use place::Way;

/// Session communities: read, post, moderate.
#[derive(Debug, Args)]
pub(crate) struct RoomArgs {
    #[command(subcommand)]
    command: RoomCommand,
}

#[derive(Debug, Subcommand)]
enum RoomCommand {
    /// Show name, description, counters, pins and permissions of rooms
    Info(LinksArgs),
    /// List the rooms of a server
    List(LinkArgs),
    /// Read messages, oldest first
    Read(ReadArgs),
    /// Post a message
    Post(PostArgs),
    /// Change the text or name of your own message; files, reply and everything else stay
    Edit(EditArgs),
    /// Delete messages, or all messages of somebody
    Delete(DeleteArgs),
    /// React to a message, list its reactions or remove them
    React(ReactArgs),
    /// Pin a message, or unpin it
    Pin(PinArgs),
    /// Upload files, without a message
    Upload(UploadArgs),
    /// Download a file
    Download(DownloadArgs),
    /// List admins, moderators and people with individual permissions
    Members(LinkArgs),
    /// Ban people
    Ban(BanArgs),
    /// Lift bans
    Unban(UnbanArgs),
    /// List, appoint and dismiss moderators and admins
    Mods(ModsArgs),
    /// List held posts and decide about them (for moderators)
    #[command(subcommand)]
    Held(held::HeldCommand),
    /// Report a message to the moderators
    Report(held::ReportArgs),
    /// List reported messages and decide about them (for moderators)
    #[command(subcommand)]
    Reports(held::ReportsCommand),
    /// Show and change the permissions of people
    Permissions(PermissionsArgs),
    /// Show and change name, description, image and default permissions
    Settings(SettingsArgs),
    /// Save a join link under a short name
    Save(SaveArgs),
    /// List the saved communities
    Saved,
    /// Remove saved communities
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
struct SaveArgs {
    /// Name to use in place of the link: letters, digits, - and _
    name: String,
    /// Join link (https://host/room?public_key=…)
    #[arg(value_name = "LINK")]
    link: String,
    /// Replace the link that is saved under this name
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
struct ForgetArgs {
    /// Names of saved communities
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct LinksArgs {
    /// Join link (https://host/room?public_key=…), saved name, or sessions:// URL
    #[arg(value_name = "LINK", required = true)]
    links: Vec<String>,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct LinkArgs {
    /// Join link (https://host/room?public_key=…), saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct ReadArgs {
    /// Join links (https://host/room?public_key=…), saved names, or sessions:// URLs
    #[arg(value_name = "LINK", required = true)]
    links: Vec<String>,
    /// Maximum number of messages
    #[arg(short = 'n', long, value_name = "COUNT", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=256))]
    limit: u32,
    /// Only this message
    #[arg(long, value_name = "ID", conflicts_with_all = ["before", "since"])]
    message: Option<u64>,
    /// Messages before this one
    #[arg(long, value_name = "ID", conflicts_with = "since")]
    before: Option<u64>,
    /// Show the changes after this sequence number: messages, edits, deletions, reactions
    #[arg(long, value_name = "SEQNO")]
    since: Option<i64>,
    #[command(flatten)]
    way: Way,
}

/// Text of a message.
#[derive(Debug, Args)]
struct TextArgs {
    /// Text of the message (default: standard input)
    #[arg(short, long, value_name = "TEXT")]
    body: Option<String>,
    /// Display name of the author
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct PostArgs {
    /// Join links (https://host/room?public_key=…), saved names, or sessions:// URLs
    #[arg(value_name = "LINK", required = true)]
    links: Vec<String>,
    #[command(flatten)]
    text: TextArgs,
    /// Answer this message
    #[arg(long, value_name = "ID")]
    reply_to: Option<u64>,
    /// Attach a file; may be repeated
    #[arg(short, long = "attach", value_name = "FILE", action = clap::ArgAction::Append)]
    attach: Vec<PathBuf>,
    /// Show the message to this person only (for moderators): a session id, a short id (15e5…b6fe), a display name, or the number
    /// of a message
    #[arg(long, value_name = "WHO")]
    whisper: Option<String>,
    /// Show the message to moderators only (for moderators)
    #[arg(long)]
    whisper_mods: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct EditArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Number of the message
    id: u64,
    /// The new text (default: standard input, unless --name is given)
    #[arg(short, long, value_name = "TEXT")]
    body: Option<String>,
    /// New display name of the author
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace the whole message: it loses its files, reply, previews and name
    #[arg(long, requires = "body")]
    whole: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Numbers of the messages
    #[arg(value_name = "ID", required_unless_present_any = ["all_of", "file"], conflicts_with_all = ["all_of", "file"])]
    ids: Vec<u64>,
    /// Delete all messages of this person: an id, a short id (15e5…b6fe), a display name, or the number of a message. May be repeated
    #[arg(long, value_name = "WHO", action = clap::ArgAction::Append)]
    all_of: Vec<String>,
    #[command(flatten)]
    file: FileArgs,
    /// In all rooms where this account may do so
    #[arg(long, conflicts_with = "ids")]
    everywhere: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct ReactArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Number of the message
    id: u64,
    /// Emoji; with --clear, optional (default: all)
    #[arg(required_unless_present = "clear")]
    emoji: Option<String>,
    /// Remove your reaction
    #[arg(long, conflicts_with_all = ["clear", "who"])]
    remove: bool,
    /// Remove everybody's reactions (for moderators)
    #[arg(long, conflicts_with = "who")]
    clear: bool,
    /// List the people who reacted
    #[arg(long)]
    who: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct PinArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Number of the message
    #[arg(required_unless_present = "remove_all")]
    id: Option<u64>,
    /// Unpin the message
    #[arg(long, conflicts_with = "remove_all")]
    remove: bool,
    /// Unpin all messages
    #[arg(long, conflicts_with = "id")]
    remove_all: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct UploadArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Files to upload
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct DownloadArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Number of the file
    file: u64,
    /// File to write; - for standard output. Without it, the name of the file in the current folder
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    #[command(flatten)]
    way: Way,
}

/// Rooms to which an action applies.
#[derive(Debug, Args)]
struct ScopeArgs {
    /// In all rooms where this account may do so
    #[arg(long, conflicts_with = "global")]
    all_rooms: bool,
    /// On the whole server
    #[arg(long)]
    global: bool,
}

#[derive(Debug, Args)]
struct BanArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    people: PeopleArgs,
    /// Time of the ban: 30m, 12h, 7d (default: permanent)
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<std::time::Duration>,
    /// Delete their messages too
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct UnbanArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    people: PeopleArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct ModsArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// Make this person a moderator: a session id, a short id (15e5…b6fe), a display name, or the number of a message; may be
    /// repeated
    #[arg(long, value_name = "WHO", action = clap::ArgAction::Append)]
    add: Vec<String>,
    /// Remove the role of this person; may be repeated
    #[arg(long, value_name = "WHO", action = clap::ArgAction::Append)]
    remove: Vec<String>,
    /// With --add: an admin. With --remove: an admin becomes a moderator
    #[arg(long)]
    admin: bool,
    /// With --add: not shown to others
    #[arg(long, conflicts_with = "visible")]
    hidden: bool,
    /// With --add: shown to others (the default in rooms)
    #[arg(long)]
    visible: bool,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Args)]
struct PermissionsArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// People: session ids (05…, 15…, 25…), short ids (15e5…b6fe), display names, or numbers of their messages; without any, the permissions of all people
    #[arg(value_name = "WHO")]
    who: Vec<String>,
    #[command(flatten)]
    file: FileArgs,
    /// Permissions to give: any of r(ead) w(rite) u(pload) a(ccess)
    #[arg(long, value_name = "RIGHTS", value_parser = parse_rights)]
    allow: Option<Rights>,
    /// Permissions to remove
    #[arg(long, value_name = "RIGHTS", value_parser = parse_rights)]
    deny: Option<Rights>,
    /// Permissions to reset to the room's default
    #[arg(long, value_name = "RIGHTS", value_parser = parse_rights)]
    reset: Option<Rights>,
    /// Make the change later: 30m, 12h, 7d from now
    #[arg(long = "in", value_name = "TIME", value_parser = parse_time, conflicts_with = "reset")]
    later: Option<std::time::Duration>,
    /// Show scheduled changes
    #[arg(long, conflicts_with_all = ["allow", "deny", "reset"])]
    scheduled: bool,
    #[command(flatten)]
    way: Way,
}

/// Any of the four rights.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four rights")]
struct Rights {
    read: bool,
    write: bool,
    upload: bool,
    access: bool,
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// Join link, saved name, or sessions:// URL
    #[arg(value_name = "LINK")]
    link: String,
    /// New name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// New description; an empty one removes it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// New image: a picture to upload
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Let everybody read
    #[arg(long, value_name = "BOOL")]
    default_read: Option<bool>,
    /// Show the room to people who may not read it
    #[arg(long, value_name = "BOOL")]
    default_access: Option<bool>,
    /// Let everybody post
    #[arg(long, value_name = "BOOL")]
    default_write: Option<bool>,
    /// Let everybody upload files
    #[arg(long, value_name = "BOOL")]
    default_upload: Option<bool>,
    #[command(flatten)]
    way: Way,
}

/// Runs one command.
pub(crate) fn run(args: &RoomArgs, context: Context) -> Done {
    context.runtime().block_on(async {
        match &args.command {
            RoomCommand::Info(args) => read::info(args, context).await,
            RoomCommand::List(args) => read::list(args, context).await,
            RoomCommand::Read(args) => read::read(args, context).await,
            RoomCommand::Post(args) => act::post(args, context).await,
            RoomCommand::Edit(args) => act::edit(args, context).await,
            RoomCommand::Delete(args) => act::delete(args, context).await,
            RoomCommand::React(args) => act::react(args, context).await,
            RoomCommand::Pin(args) => act::pin(args, context).await,
            RoomCommand::Upload(args) => files::upload(args, context).await,
            RoomCommand::Download(args) => files::download(args, context).await,
            RoomCommand::Members(args) => moderate::members(args, context).await,
            RoomCommand::Ban(args) => moderate::ban(args, context).await,
            RoomCommand::Unban(args) => moderate::unban(args, context).await,
            RoomCommand::Mods(args) => moderate::mods(args, context).await,
            RoomCommand::Held(command) => held::held(command, context).await,
            RoomCommand::Report(args) => held::report(args, context).await,
            RoomCommand::Reports(command) => held::reports(command, context).await,
            RoomCommand::Permissions(args) => moderate::permissions(args, context).await,
            RoomCommand::Settings(args) => moderate::settings(args, context).await,
            RoomCommand::Save(args) => saved::save(args, context),
            RoomCommand::Saved => saved::list(context),
            RoomCommand::Forget(args) => saved::forget(args, context),
        }
    })
}

/// The exit code of several independent pieces of work, of which each failure has been printed.
fn all_of(worked: usize, failed: usize) -> Exit {
    match (worked, failed) {
        (_, 0) => Exit::Success,
        (0, _) => Exit::Failure,
        _ => Exit::Partial,
    }
}

fn parse_time(text: &str) -> Result<std::time::Duration, String> {
    let span = ackpost_platform::span::parse(text).map_err(|error| error.to_string())?;
    if span.as_secs() > 1_000_000_000 {
        return Err("it is more than thirty years".to_owned());
    }
    Ok(span)
}

fn parse_rights(text: &str) -> Result<Rights, String> {
    let mut rights = Rights::default();
    for c in text.chars() {
        match c {
            'r' => rights.read = true,
            'w' => rights.write = true,
            'u' => rights.upload = true,
            'a' => rights.access = true,
            _ => return Err(format!("`{c}` is not one of r, w, u, a")),
        }
    }
    Ok(rights)
}

/// The message to post: given, or from standard input.
pub(crate) fn body_of(given: Option<&str>) -> Result<String, Failure> {
    if let Some(body) = given {
        return Ok(body.to_owned());
    }
    Ok(input::message()?.trim_end().to_owned())
}
