//! What operators decide, as stored: settings, filters, raid mode, held posts, the audit log, and listings.
//!
//! These operations are written once in `sql/operation.rs` and called on any store.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cases::{
    Case, CaseKind, Decide, Decided, Filed, HeldCase, Moderation, NewReport, Notice, Report, ShowNotice,
    Shown,
};
use super::{
    Backend, Candidate, Changed, FileRow, Id, MessageRow, RoomPatch, Store, StoreResult, Thumbnail, Unseen,
    Visible,
};
use crate::model::filter::Filter;
use crate::model::raid::Raid;
use crate::search::Words;

/// Raid mode that is on somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct RaidRow {
    /// The room; 0 = the whole server.
    pub room_id: Id,
    /// Since when, until when, why.
    pub raid: Raid,
}

/// Something to write into the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Unix seconds.
    pub at: f64,
    /// A session id, `operator:NAME` or `server`.
    pub actor: String,
    /// What was done, one word with underscores.
    pub action: String,
    /// Room token.
    pub room: Option<String>,
    /// Session id or number.
    pub target: Option<String>,
    /// In words.
    pub detail: String,
    /// What `undo` needs.
    pub undo: Option<Value>,
}

impl LogEntry {
    /// An entry without room, target and undo.
    pub fn new(actor: impl Into<String>, action: impl Into<String>, at: f64) -> Self {
        Self {
            at,
            actor: actor.into(),
            action: action.into(),
            room: None,
            target: None,
            detail: String::new(),
            undo: None,
        }
    }

    /// With a room token.
    pub fn room(mut self, token: impl Into<String>) -> Self {
        self.room = Some(token.into());
        self
    }

    /// With a target.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// With a description.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// With what `undo` needs.
    pub fn undo(mut self, undo: Value) -> Self {
        self.undo = Some(undo);
        self
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRow {
    /// Its number.
    pub id: Id,
    /// Unix seconds.
    pub at: f64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// Room token.
    pub room: Option<String>,
    /// Session id or number.
    pub target: Option<String>,
    /// In words.
    pub detail: String,
    /// What `undo` needs.
    #[serde(skip)]
    pub undo: Option<String>,
    /// When it was taken back.
    pub undone_at: Option<f64>,
}

/// Which entries of the audit log; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogQuery {
    /// Of a room.
    pub room: Option<String>,
    /// By somebody.
    pub actor: Option<String>,
    /// About somebody or something.
    pub target: Option<String>,
    /// Not before this time (Unix seconds).
    pub since: Option<f64>,
    /// Before this time (Unix seconds).
    pub until: Option<f64>,
    /// With numbers from the first to the second, both included.
    pub ids: Option<(Id, Id)>,
    /// At most so many, newest first.
    pub limit: i64,
}

/// A post that waits for approval.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// The message.
    pub message_id: Id,
    /// Its room.
    pub room_id: Id,
    /// Token of the room.
    pub token: String,
    /// Shown id of the author.
    pub session_id: String,
    /// Unix seconds.
    pub at: f64,
    /// Why.
    pub reason: String,
    /// Content without padding; `None` = deleted meanwhile.
    pub data: Option<Vec<u8>>,
}

/// A message as moderators see it: hidden ones too.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainMessage {
    /// The message.
    pub id: Id,
    /// Its room.
    pub room_id: Id,
    /// Shown id of the author.
    pub session_id: String,
    /// Unix seconds.
    pub posted: f64,
    /// Content without padding; `None` = deleted.
    pub data: Option<Vec<u8>>,
    /// Shown to nobody.
    pub filtered: bool,
}

/// Which messages; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageQuery {
    /// Of a room.
    pub room_id: Option<Id>,
    /// Of an author.
    pub user_id: Option<Id>,
    /// With a smaller number.
    pub before: Option<Id>,
    /// With this number or a larger one.
    pub from: Option<Id>,
    /// Posted not before this time (Unix seconds).
    pub since: Option<f64>,
    /// Posted before this time (Unix seconds).
    pub until: Option<f64>,
    /// Only such that are not deleted.
    pub standing: bool,
    /// At most so many, newest first.
    pub limit: i64,
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BanRow {
    /// Shown id of the person.
    pub session_id: String,
    /// Token of the room; `None` = the whole server.
    pub room: Option<String>,
    /// When it ends by itself (Unix seconds).
    pub until: Option<f64>,
}

/// Somebody with moderator rights in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModeratorRow {
    /// Shown id.
    pub session_id: String,
    /// Token of the room; `None` = the whole server.
    pub room: Option<String>,
    /// Admin rather than moderator.
    pub admin: bool,
    /// Listed for everybody.
    pub visible: bool,
}

/// A person in a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PersonRow {
    /// Database id.
    #[serde(skip)]
    pub id: Id,
    /// Shown id.
    pub session_id: String,
    /// First seen (Unix seconds).
    pub created: f64,
    /// Last seen (Unix seconds).
    pub last_active: f64,
    /// Banned from the whole server.
    pub banned: bool,
    /// Global moderator.
    pub moderator: bool,
    /// Global admin.
    pub admin: bool,
}

/// Which people.
#[derive(Debug, Clone, PartialEq)]
pub struct PeopleQuery {
    /// Only people active in this room.
    pub room_id: Option<Id>,
    /// First seen not before this time (Unix seconds).
    pub since: f64,
    /// First seen before this time (Unix seconds).
    pub until: f64,
    /// Leave out so many.
    pub skip: i64,
    /// At most so many, the most recently active first.
    pub limit: i64,
}

impl PeopleQuery {
    /// Everybody.
    pub fn all() -> Self {
        Self {
            room_id: None,
            since: f64::MIN,
            until: f64::MAX,
            skip: 0,
            limit: i64::MAX,
        }
    }
}

/// Numbers of the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Rooms.
    pub rooms: i64,
    /// People ever seen.
    pub users: i64,
    /// Messages that stand.
    pub messages: i64,
    /// Files.
    pub files: i64,
    /// Bytes of all files.
    pub file_bytes: i64,
    /// Direct messages that wait.
    pub direct_messages: i64,
    /// Posts that wait for approval.
    pub held: i64,
}

/// Numbers of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoomTotals {
    /// Messages that stand.
    pub messages: i64,
    /// Bytes of their contents, without padding.
    pub message_bytes: i64,
    /// Reactions that people gave.
    pub reactions: i64,
    /// Files.
    pub files: i64,
    /// Bytes of all files.
    pub file_bytes: i64,
}

/// A reaction as it was: room, message, person, emoji, when it was given.
pub type KeptReaction = (Id, Id, Id, String, f64);

/// A direct message as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
pub struct KeptLetter {
    /// Its number.
    pub id: Id,
    /// Database id of the recipient.
    pub recipient_id: Id,
    /// Database id of the sender.
    pub sender_id: Id,
    /// The id the recipient was addressed by, where it is not the one shown now.
    #[serde(default)]
    pub recipient_as: Option<String>,
    /// The id the sender signed with, where it is not the one shown now.
    #[serde(default)]
    pub sender_as: Option<String>,
    /// Encrypted body.
    #[serde(with = "as_base64")]
    pub body: Vec<u8>,
    /// Unix seconds.
    pub posted_at: f64,
    /// Unix seconds.
    pub expiry: f64,
}

/// Bytes as text in JSON.
mod as_base64 {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&session_protocol::encoding::b64(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        session_protocol::encoding::from_b64(&String::deserialize(from)?)
            .ok_or_else(|| serde::de::Error::custom("not valid base64"))
    }
}

/// A ban that was made by what is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBan {
    /// Database id of the person.
    pub user_id: Id,
    /// The room; `None` = the whole server.
    pub room_id: Option<Id>,
}

/// An account that was first seen lately, neither moderator nor trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Newcomer {
    /// Database id.
    pub id: Id,
    /// Shown id.
    pub session_id: String,
    /// First seen (Unix seconds).
    pub created: f64,
    /// Banned from the whole server.
    pub banned: bool,
}

/// What goes in one transaction, with the entry of the log about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Erase {
    /// Unix seconds.
    pub now: f64,
    /// Messages: room and message.
    pub messages: Vec<(Id, Id)>,
    /// Reactions; those to messages that go are gone with them.
    pub reactions: Vec<KeptReaction>,
    /// Files that expire at once, beyond those of the messages.
    pub files: Vec<Id>,
    /// Direct messages: number, recipient, sender.
    pub letters: Vec<(Id, Id, Id)>,
    /// Bans: person and room, `None` = the whole server.
    pub bans: Vec<(Id, Option<Id>)>,
    /// When the bans end by themselves (Unix seconds).
    pub until: Option<f64>,
    /// The entry of the log. Its `undo` gets the messages that were deleted indeed.
    pub log: Option<LogEntry>,
}

/// What an [`Erase`] came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Messages that stood until then.
    pub messages: Vec<Id>,
    /// Reactions, those to deleted messages not counted.
    pub reactions: u64,
    /// Files.
    pub files: u64,
    /// Direct messages.
    pub letters: u64,
    /// Bans.
    pub bans: u64,
    /// Number in the log.
    pub log: Option<Id>,
}

/// What comes back in one transaction; the contents of files are in their places.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Returning {
    /// Deleted messages, whose content is in the history.
    pub messages: Vec<Id>,
    /// Files.
    pub files: Vec<FileRow>,
    /// Reactions.
    pub reactions: Vec<KeptReaction>,
    /// Pins: room, message, who pinned it, when.
    pub pins: Vec<(Id, Id, Id, f64)>,
    /// Posts that waited for approval: room, message, why, since when.
    pub held: Vec<(Id, Id, String, f64)>,
    /// Direct messages.
    pub letters: Vec<KeptLetter>,
    /// Bans to lift.
    pub unbans: Vec<KeptBan>,
}

/// How much of a [`Returning`] came back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brought {
    /// Messages that stand again.
    pub messages: u64,
    /// Files.
    pub files: u64,
    /// Reactions.
    pub reactions: u64,
    /// Pins.
    pub pins: u64,
    /// Posts that wait again.
    pub held: u64,
    /// Direct messages.
    pub letters: u64,
    /// Bans that were lifted.
    pub bans: u64,
}

macro_rules! operations {
    ($( $(#[$doc:meta])* fn $name:ident($($arg:ident : $type:ty),* $(,)?) -> $ret:ty; )+) => {
        impl dyn Store {
            $( $(#[$doc])*
            pub(crate) async fn $name(&self, $($arg: $type),*) -> StoreResult<$ret> {
                match self.backend() {
                    Backend::Sqlite(store) => store.$name($($arg),*).await,
                    Backend::Postgres(store) => store.$name($($arg),*).await,
                }
            } )+
        }
    };
}

operations! {
    /// Messages of a room that everybody may see.
    fn visible(room_id: Id, which: Visible, limit: i64) -> Vec<MessageRow>;
    /// The messages of a user that were posted about then (Unix seconds), the closest first, at most 20.
    fn candidates(room_id: Id, user_id: Id, around: f64, within: f64) -> Vec<Candidate>;
    /// Messages of a room with these words that everybody may see, newest first; `None` when it took too long.
    fn find_words(room_id: Id, words: Words, before: Id, limit: i64) -> Option<Vec<Id>>;
    /// How many messages are not indexed yet, counted up to `most`.
    fn unindexed(most: i64) -> i64;
    /// Indexes messages of the queue; how many left it.
    fn index_messages(limit: i64) -> i64;
    /// Files whose small versions are to be made, newest first.
    fn unseen_files(limit: i64) -> Vec<Unseen>;
    /// Notes the small version of a file, or that there is none.
    fn note_thumbnail(file_id: Id, made: Option<Thumbnail>) -> ();
    /// Forgets the small version of a file and has it made again.
    fn remake_thumbnail(file_id: Id) -> ();
    /// The small versions of these files.
    fn thumbnails(files: Vec<Id>) -> Vec<Thumbnail>;

    /// The case of a message, or (`More`) of a room.
    fn case(kind: CaseKind, subject_id: Id) -> Option<Case>;
    /// The case whose notice this message is.
    fn case_of_notice(notice_id: Id) -> Option<Case>;
    /// Open reports, oldest first: of a room, or of all.
    fn open_reports(room_id: Option<Id>) -> Vec<Case>;
    /// Reports of a case, newest first.
    fn reports_of(case_id: Id, limit: i64) -> Vec<Report>;
    /// Held posts that have no case yet, oldest first.
    fn held_without_case(limit: i64) -> Vec<HeldCase>;
    /// Opens cases of held posts.
    fn open_held(rows: Vec<HeldCase>) -> ();
    /// Brings cases in line with what was decided elsewhere (deleted, restored, approved in another way); whether any changed.
    fn settle_cases(now: f64) -> bool;
    /// Counts the posts that wait without a notice of their own, by room, in the `More` cases; `every` is the least time
    /// between two changes of one notice, in seconds.
    fn count_waiting(now: f64, every: f64) -> ();
    /// Notices that have to be posted or changed, oldest first.
    fn stale_notices(limit: i64) -> Vec<Notice>;
    /// Posts or changes a notice, unless another process did.
    fn show_notice(notice: ShowNotice) -> Shown;
    /// Notes a report.
    fn file_report(new: NewReport) -> Filed;
    /// Decides once about a held post or reported message, and writes the log, in one transaction.
    fn decide(decide: Decide) -> Decided;
    /// Opens a decided case again.
    fn reopen_case(kind: CaseKind, subject_id: Id) -> ();
    /// Held posts of a person in a room.
    fn held_of(user_id: Id, room_id: Id) -> Vec<Id>;
    /// The message of a room that somebody posted within these two times (Unix seconds), and whom it is for.
    fn quoted(room_id: Id, user_id: Id, from: f64, to: f64) -> Option<(Id, Option<Id>)>;
    /// Makes a room the moderators' room (`None` = no room is any more). What only moderators of one room may see is
    /// hidden while the room is not.
    fn set_moderators_room(room_id: Option<Id>) -> ();
    /// Numbers of the cases.
    fn moderation() -> Moderation;
    /// All rules that are set: room (0 = server), name, value.
    fn settings() -> Vec<(Id, String, String)>;
    /// Sets a rule, or clears it with `None`.
    fn set_setting(room_id: Id, name: String, value: Option<String>) -> ();
    /// All filters, by number.
    fn filters() -> Vec<Filter>;
    /// Adds a filter (its `id` does not matter); with `Some(id)` under that number.
    fn add_filter(filter: Filter) -> Id;
    /// Removes a filter; false when there was none.
    fn remove_filter(id: Id) -> bool;
    /// Where raid mode is on.
    fn raids() -> Vec<RaidRow>;
    /// Switches raid mode on, or off with `None`.
    fn set_raid(room_id: Id, raid: Option<Raid>) -> ();
    /// Posts that wait, oldest first.
    fn held(room_id: Option<Id>) -> Vec<HeldRow>;
    /// Those of these messages that wait.
    fn held_among(messages: Vec<Id>) -> Vec<HeldRow>;
    /// Hides a post again; it waits for approval as before.
    fn hide_shown(message_id: Id, reason: String, at: f64) -> Changed;
    /// Writes the audit log.
    fn add_log(entry: LogEntry) -> Id;
    /// Takes much away at once; see [`Erase`].
    fn erase(erase: Erase) -> Erased;
    /// Brings much back at once.
    fn bring_back(all: Returning) -> Brought;
    /// Accounts first seen in this span that are neither moderators nor trusted, by number.
    fn newcomers(since: f64, until: f64, limit: i64) -> Vec<Newcomer>;
    /// Standing messages of people posted in this span: room, message, person.
    fn posts_of(users: Vec<Id>, since: f64, until: f64) -> Vec<(Id, Id, Id)>;
    /// Reactions that people gave in this span.
    fn reactions_by(users: Vec<Id>, since: f64, until: f64) -> Vec<KeptReaction>;
    /// Files that people uploaded in this span, pictures of rooms excepted.
    fn files_by(users: Vec<Id>, since: f64, until: f64) -> Vec<FileRow>;
    /// Direct messages that people sent in this span; at most `limit` per 256 people.
    fn letters_by(users: Vec<Id>, since: f64, until: f64, limit: i64) -> Vec<KeptLetter>;
    /// Removes a scheduled change of permissions; false when there is none.
    fn remove_future(room_id: Id, user_id: Id, at: f64) -> bool;
    /// Reads the audit log.
    fn log(query: LogQuery) -> Vec<LogRow>;
    /// One entry; with `None` the latest that can be undone.
    fn log_entry(id: Option<Id>) -> Option<LogRow>;
    /// Marks an entry as taken back.
    fn log_undone(id: Id, at: f64) -> ();
    /// Messages as moderators see them.
    fn plain_messages(query: MessageQuery) -> Vec<PlainMessage>;
    /// Everybody's reactions to messages: room, message, user, emoji, when; in the order they were given.
    fn reactions_to(messages: Vec<Id>) -> Vec<(Id, Id, Id, String, f64)>;
    /// Pins of messages: room, message, who, when.
    fn pins_of(messages: Vec<Id>) -> Vec<(Id, Id, Id, f64)>;
    /// All bans.
    fn bans() -> Vec<BanRow>;
    /// When a user's ban from a room (`None`: from the server) ends by itself, in Unix seconds.
    fn ban_end(user_id: Id, room_id: Option<Id>) -> Option<f64>;
    /// All moderators, of rooms and of the server.
    fn moderators() -> Vec<ModeratorRow>;
    /// People, most recently active first.
    fn people(query: PeopleQuery) -> Vec<PersonRow>;
    /// The latest content that each of these people posted: person and content without padding.
    fn latest_posts(users: Vec<Id>) -> Vec<(Id, Vec<u8>)>;
    /// Database ids of people by shown id.
    fn ids_of(session_ids: Vec<String>) -> Vec<(Id, String)>;
    /// People whose shown id begins and ends so, hexadecimal digits in lower case.
    fn users_like(head: String, tail: String, limit: i64) -> Vec<(Id, String)>;
    /// The room of a message that is not deleted.
    fn room_of_message(message_id: Id) -> Option<Id>;
    /// The author of a message, deleted ones included.
    fn author_of(message_id: Id) -> Option<Id>;
    /// Files of a room, newest first.
    fn room_files(room_id: Id, limit: i64) -> Vec<FileRow>;
    /// Files of messages.
    fn files_of_messages(ids: Vec<Id>) -> Vec<FileRow>;
    /// A file by number, of any room.
    fn any_file(id: Id) -> Option<FileRow>;
    /// Changes when a file expires; false when there is none.
    fn set_file_expiry(id: Id, expiry: Option<f64>) -> bool;
    /// Files that are attached to a message and expire, of one room or of all: number and when they expire.
    fn expiring_files(room_id: Option<Id>) -> Vec<(Id, f64)>;
    /// Changes when files expire, in one transaction; how many there were.
    fn set_files_expiry(files: Vec<(Id, Option<f64>)>) -> u64;
    /// Puts a file row back as it was, unless the number is taken.
    fn put_file(row: FileRow) -> bool;
    /// Numbers of the whole server.
    fn totals() -> Totals;
    /// Numbers of a room.
    fn room_totals(room_id: Id) -> RoomTotals;
    /// Changes several rooms alike, in one transaction.
    fn patch_rooms(rooms: Vec<Id>, patch: RoomPatch) -> ();
    /// Messages of a room, pinned ones apart, that were posted before a time.
    fn count_older(room_id: Id, before: f64) -> i64;
    /// The public key of the community, in hexadecimal; `None` = no server was ever started on this database.
    fn community_key() -> Option<String>;
    /// Whether there are rooms or people.
    fn is_inhabited() -> bool;
    /// Notes the public key if there is none yet; the one that is noted now.
    fn claim_key(public_key: String) -> String;
    /// Notes another public key.
    fn set_community_key(public_key: String) -> ();
    /// Tells every process that anything may have changed.
    fn announce() -> ();
}
