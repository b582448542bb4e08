//! The calls of any store that operators and the pages need.
//!
//! They are written once in `sql/` and do not belong to the trait that other programs may implement.

use super::cases::{
    Case, CaseKind, Decide, Decided, Filed, HeldCase, Moderation, NewReport, Notice, Report, ShowNotice,
    Shown,
};
use super::operation::{
    BanRow, Brought, Erase, Erased, HeldRow, KeptLetter, KeptReaction, LogEntry, LogQuery, LogRow,
    MessageQuery, ModeratorRow, Newcomer, PeopleQuery, PersonRow, PlainMessage, RaidRow, Returning,
    RoomTotals, Totals,
};
use super::{
    Backend, Candidate, Changed, FileRow, Id, NewDm, Portion, PostWindow, RoomPatch, Store, StoreResult,
    Thumbnail, Unseen, Visible,
};
use crate::model::filter::Filter;
use crate::model::raid::Raid;
use crate::search::Words;

macro_rules! operations {
    ($( $(#[$doc:meta])* fn $name:ident($($arg:ident : $type:ty),* $(,)?) -> $ret:ty; )+) => {
        impl dyn Store {
            $( $(#[$doc])*
            pub async fn $name(&self, $($arg: $type),*) -> StoreResult<$ret> {
                match self.backend() {
                    Backend::Sqlite(store) => store.$name($($arg),*).await,
                    Backend::Postgres(store) => store.$name($($arg),*).await,
                }
            } )+
        }
    };
}

operations! {
    /// Messages of a room that everybody may see, until their content is larger than `most` bytes; at least one.
    fn visible(room_id: Id, which: Visible, limit: i64, most: usize) -> Portion;
    /// The messages of a user that were posted within so many seconds of a time (Unix milliseconds), the closest first,
    /// at most 20.
    fn candidates(room_id: Id, user_id: Id, around: u64, within: f64) -> Vec<Candidate>;
    /// Those among the latest 256 standing messages of a user posted within so many seconds of a time (Unix
    /// milliseconds) whose content may name that time as its own; at most 8.
    fn sent_at(room_id: Id, user_id: Id, time: u64, within: f64) -> Vec<(Id, Vec<u8>)>;
    /// Whole seconds until these limits let a person post again; `None` if they do now. Only the transaction that stores
    /// a post decides.
    fn post_wait(room_id: Id, user_id: Id, windows: Vec<PostWindow>, now: f64) -> Option<u64>;
    /// Stores a direct message, unless its sender started as many as `most` since a time.
    fn add_dm_within(new: NewDm, since: f64, most: i64) -> Option<Id>;
    /// Posts of a room after an id that wait for approval, oldest first, until their content is larger than `bytes`; at
    /// least one.
    fn held_after(room_id: Id, after: Id, limit: i64, bytes: usize) -> Vec<HeldRow>;
    /// Reports of cases, the latest first, at most `each` of one case.
    fn reports_of_all(cases: Vec<Id>, each: i64) -> Vec<(Id, Report)>;
    /// Messages of a room with these words that everybody may see, newest first; `None` when it took too long.
    fn find_words(room_id: Id, words: Words, before: Id, limit: i64) -> Option<Vec<Id>>;
    /// Number of messages that are not indexed yet, counted up to `most`.
    fn unindexed(most: i64) -> i64;
    /// Indexes messages of the queue; returns the number of messages that left it.
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
    /// Open reports of a room whose number is larger than `after`, oldest first.
    fn open_reports(room_id: Id, after: Id, limit: i64) -> Vec<Case>;
    /// Reports of a case, newest first.
    fn reports_of(case_id: Id, limit: i64) -> Vec<Report>;
    /// Held posts that have no case yet, oldest first.
    fn held_without_case(limit: i64) -> Vec<HeldCase>;
    /// Opens cases of held posts.
    fn open_held(rows: Vec<HeldCase>) -> ();
    /// Brings cases in line with what was decided elsewhere (deleted, restored, approved in another way); whether any changed.
    fn settle_cases(now: f64) -> bool;
    /// Counts the posts that wait without their own notice, by room, in the `More` cases; `every` is the least time
    /// between two changes of one notice, in seconds.
    fn count_waiting(now: f64, every: f64) -> ();
    /// Notices that have to be posted or changed, oldest first.
    fn stale_notices(limit: i64) -> Vec<Notice>;
    /// Posts or changes a notice, unless another process did.
    fn show_notice(notice: ShowNotice) -> Shown;
    /// Stores a report.
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
    /// Raid modes that are on, with their rooms.
    fn raids() -> Vec<RaidRow>;
    /// Switches raid mode on, or off with `None`.
    fn set_raid(room_id: Id, raid: Option<Raid>) -> ();
    /// Posts that wait for approval, oldest first.
    fn held(room_id: Option<Id>) -> Vec<HeldRow>;
    /// Those of these messages that wait for approval.
    fn held_among(messages: Vec<Id>) -> Vec<HeldRow>;
    /// Hides a post again; it waits for approval as before.
    fn hide_shown(message_id: Id, reason: String, at: f64) -> Changed;
    /// Writes the audit log.
    fn add_log(entry: LogEntry) -> Id;
    /// Deletes and bans in one transaction; see [`Erase`].
    fn erase(erase: Erase) -> Erased;
    /// Restores deleted things in one transaction; see [`Returning`].
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
    /// Drops what undo needs from entries before this time (Unix seconds); returns how many had it.
    fn forget_undo(before: f64) -> u64;
    /// Marks an entry as undone.
    fn log_undone(id: Id, at: f64) -> ();
    /// Messages as moderators see them.
    fn plain_messages(query: MessageQuery) -> Vec<PlainMessage>;
    /// All reactions to messages: room, message, user, emoji, time; in the order in which they were given.
    fn reactions_to(messages: Vec<Id>) -> Vec<(Id, Id, Id, String, f64)>;
    /// Pins of messages: room, message, who, when.
    fn pins_of(messages: Vec<Id>) -> Vec<(Id, Id, Id, f64)>;
    /// All bans.
    fn bans() -> Vec<BanRow>;
    /// The bans of one person.
    fn bans_of(user_id: Id) -> Vec<BanRow>;
    /// Time at which a user's ban from a room (`None`: from the server) ends by itself, in Unix seconds.
    fn ban_end(user_id: Id, room_id: Option<Id>) -> Option<f64>;
    /// All moderators, of rooms and of the server.
    fn moderators() -> Vec<ModeratorRow>;
    /// People, most recently active first.
    fn people(query: PeopleQuery) -> Vec<PersonRow>;
    /// The latest content that each of these people posted: person and content without padding.
    fn latest_posts(users: Vec<Id>) -> Vec<(Id, Vec<u8>)>;
    /// Contents that each of these people posted, the newest first: the 16 latest, then edited and deleted ones.
    fn earlier_posts(users: Vec<Id>) -> Vec<(Id, Vec<u8>)>;
    /// Database ids of people by shown id.
    fn ids_of(session_ids: Vec<String>) -> Vec<(Id, String)>;
    /// Ids under which a person was seen, and the keys of those that follow from them.
    fn noted_ids(user_id: Id) -> Vec<String>;
    /// People whose shown id has this beginning and end, hexadecimal digits in lower case.
    fn users_like(head: String, tail: String, limit: i64) -> Vec<(Id, String)>;
    /// The room of a message that is not deleted.
    fn room_of_message(message_id: Id) -> Option<Id>;
    /// The author of a message, deleted ones included.
    fn author_of(message_id: Id) -> Option<Id>;
    /// Decides which files without the mark are of a former server: those that hang on no message and live longer than
    /// this many seconds. Returns the number of files that were without it.
    fn mark_imported_files(longer_than: f64) -> u64;
    /// Files of a room, newest first.
    fn room_files(room_id: Id, limit: i64) -> Vec<FileRow>;
    /// Files that are attached to these messages.
    fn files_of_messages(ids: Vec<Id>) -> Vec<FileRow>;
    /// A file by number, of any room.
    fn any_file(id: Id) -> Option<FileRow>;
    /// Changes when a file expires; false when there is none.
    fn set_file_expiry(id: Id, expiry: Option<f64>) -> bool;
    /// Files that are attached to a message and expire, of one room or of all: number and when they expire.
    fn expiring_files(room_id: Option<Id>) -> Vec<(Id, f64)>;
    /// Changes when files expire, in one transaction; returns the number of files that were found.
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
    /// Returns true if there are rooms or people.
    fn is_inhabited() -> bool;
    /// Stores the public key if there is none yet; returns the stored key.
    fn claim_key(public_key: String) -> String;
    /// Notes another public key.
    fn set_community_key(public_key: String) -> ();
    /// Tells every process that anything may have changed.
    fn announce() -> ();
}
