//! Everything that a community of Session is made of, on SQLite or PostgreSQL.
//!
//! | module | what |
//! |---|---|
//! | [`Store`], [`open`] | one trait, one SQL text, two databases |
//! | [`model`] | rules on plain values: permissions, filters, gates, raids |
//! | [`account`] | all ids that follow from one key are one person |
//! | [`search`] | the words of a message, as the search index has them |
//! | [`cases`], [`operation`] | what moderators decide about, and what operators do |
//!
//! The SQL lives in `sql/`, which is compiled once for SQLite and once for PostgreSQL. All writes of a process go
//! through one writer that puts the requests waiting at the moment into one transaction (group commit) and answers
//! them after the commit, so an answered write is as durable as the database promises:
//!
//! * SQLite: WAL with `synchronous=FULL`; the log is flushed to the disk before each answer (power loss safe).
//! * PostgreSQL: whatever the server's `synchronous_commit` says, `on` by default. An advisory lock makes the
//!   writers of several processes take turns.
//!
//! The crate does not know HTTP. Times are parameters.

pub mod account;
pub mod cases;
pub mod database_url;
mod error;
mod migrate;
pub mod model;
pub mod operation;
mod operation_calls;
mod retry;
pub mod search;
mod types;
mod writer;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use error::StoreError;
pub use retry::{Retries, is_conflict, is_cut};
pub use types::*;
pub use writer::{ChangeSink, with_entries, with_nonce};

/// A store of either kind.
pub type DynStore = Arc<dyn Store>;

/// Result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// Location of the data and settings for opening it.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:PATH`, a plain path, or `postgres://…`.
    pub url: String,
    /// Connections that read (SQLite) or all but the writer (PostgreSQL).
    pub readers: u32,
    /// Apply missing migrations; otherwise a database of another version is refused.
    pub migrate: bool,
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions")
            .field("url", &database_url::without_password(&self.url))
            .field("readers", &self.readers)
            .field("migrate", &self.migrate)
            .finish()
    }
}

/// Opens a store of the kind that the URL names. `sink` hears of every committed change, in this process and, on
/// PostgreSQL, in every other one.
pub async fn open(options: &StoreOptions, sink: ChangeSink) -> StoreResult<DynStore> {
    if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
        Ok(Arc::new(postgres::SqlStore::open(options, sink).await?))
    } else {
        Ok(Arc::new(sqlite::SqlStore::open(options, sink).await?))
    }
}

/// Lists the operations of the store once; the trait and both implementations are made from the list.
macro_rules! store_api {
    ($apply:ident $($head:tt)*) => {
        $apply! { $($head)*
            /// All rooms.
            fn rooms() -> Vec<RoomRow>;
            /// One room with its moderators and pins.
            fn room_full(room_id: Id) -> Option<RoomFull>;
            /// The room of a token, without regard to case.
            fn room_by_token(token: String) -> Option<RoomRow>;
            /// Creates a room; `None` when the token is taken.
            fn create_room(new: NewRoom) -> Option<Id>;
            /// Removes a room and everything in it; the files expire at once. False when there was none.
            fn delete_room(room_id: Id) -> bool;
            /// Changes a room.
            fn patch_room(room_id: Id, patch: RoomPatch) -> RoomPatched;

            /// A user and all overrides, by a key of the account (see [`Person`]).
            fn user(key: String) -> Option<UserFull>;
            /// A user and all overrides, by database id. The id of a row that was joined with another finds that other
            /// row.
            fn user_by_id(user_id: Id) -> Option<UserFull>;
            /// Those of these keys that are known, with the people they belong to.
            fn known_keys(keys: Vec<String>) -> Vec<KnownKey>;
            /// Returns the row of a person, created if new, and true if it is new.
            ///
            /// Rows that turn out to belong to the same person are joined: the stricter ban, the rights of both and
            /// everything that either wrote stay.
            fn ensure_user(person: Person, now: f64) -> (UserFull, bool);
            /// Rows of people after an id, in order: id and shown id.
            fn users_after(user_id: Id, limit: i64) -> Vec<(Id, String)>;
            /// Gives rows the keys of their people, and joins rows of the same person.
            fn settle_users(people: Vec<(Id, Person)>) -> ();
            /// Returns true if all rows have their keys.
            fn is_settled() -> bool;
            /// Notes that all rows have their keys.
            fn note_settled() -> ();
            /// Global moderators and admins.
            fn global_mods() -> Vec<ModRow>;

            /// Stores a message.
            fn post(new: NewPost) -> Posted;
            /// Stores the first message of a person, whose row is made in the same transaction; its `user_id` does not
            /// matter. The row, whether it is new, and what became of the message.
            fn join_and_post(person: Person, new: NewPost) -> (UserFull, bool, Posted);
            /// Replaces a message's content.
            fn edit_post(edit: PostEdit) -> Changed;
            /// Deletes a message; with `only_author` it must be that user's.
            fn delete_post(room_id: Id, message_id: Id, only_author: Option<Id>, now: f64) -> Changed;
            /// Rooms whose moderators alone see posts of this user in the moderators' room.
            fn scopes_of(room_id: Id, user_id: Id) -> Vec<Id>;
            /// Deletes all messages of a user in these rooms and expires the files; count per room.
            fn delete_all_posts(rooms: Vec<Id>, user_id: Id, now: f64) -> Vec<(Id, i64)>;
            /// Rows of a page, of any viewer: the caller drops what the viewer may not see.
            fn messages(room_id: Id, page: Page, limit: i64) -> Vec<MessageRow>;
            /// The same, until the content is larger than `most` bytes; at least one row.
            fn messages_within(room_id: Id, page: Page, limit: i64, most: usize) -> Portion;
            /// Reactions of these messages of a room with their first users.
            fn reactions(room_id: Id, messages: Vec<Id>, first: i64) -> Reactions;
            /// Database ids of the reactions to these messages that this user gave.
            fn own_reactions(room_id: Id, messages: Vec<Id>, user_id: Id) -> Vec<Id>;
            /// Number of posts of a user that are neither deleted nor hidden, in a room or (`None`) in all, counted up
            /// to `limit`.
            fn count_posts(user_id: Id, room_id: Option<Id>, limit: i64) -> i64;

            /// Adds a reaction. `kinds` is the maximum number of different reactions to a message.
            fn add_reaction(room_id: Id, message_id: Id, user_id: Id, reaction: String, kinds: Option<u32>, now: f64) -> Reacted;
            /// Removes reactions: of one user or of all, one kind or all kinds.
            fn remove_reactions(room_id: Id, message_id: Id, user_id: Option<Id>, reaction: Option<String>) -> Reacted;
            /// People who gave this reaction, oldest first; `None` when the message accepts no reactions.
            fn reactors(room_id: Id, message_id: Id, reaction: String, limit: i64) -> Option<Vec<(String, f64)>>;

            /// Pins a message, or renews its pin.
            fn pin(room_id: Id, message_id: Id, user_id: Id, now: f64) -> Pinned;
            /// Unpins one message, or all.
            fn unpin(room_id: Id, message_id: Option<Id>, files_expire: Option<f64>) -> Pinned;

            /// Registers a file.
            fn add_file(new: NewFile) -> Id;
            /// A file of a room.
            fn file(room_id: Id, file_id: Id) -> Option<FileRow>;
            /// Data that decides who can see a message of a room; `None` when it is deleted or does not exist.
            fn message_view(room_id: Id, message_id: Id) -> Option<MessageView>;
            /// Returns true if a file or a small version still refers to the content.
            fn content_in_use(content: String) -> bool;

            /// Overrides of a room, by shown id.
            fn permissions(room_id: Id) -> Vec<PermissionRow>;
            /// Changes a user's permissions in a room.
            fn set_permissions(room_id: Id, user_id: Id, patch: PermissionPatch) -> ();
            /// Scheduled changes of a room, or of one user in it, in order of time.
            fn futures(room_id: Id, user_id: Option<Id>) -> Vec<FutureRow>;
            /// Schedules a change.
            fn add_future(room_id: Id, user_id: Id, change: FuturePermission) -> ();
            /// Changes moderator rights; the `info_updates` of the rooms touched.
            fn set_moderator(user_id: Id, place: Where, change: ModChange) -> Vec<(Id, i64)>;
            /// Bans a user; with `until` the ban ends by itself.
            fn ban(user_id: Id, place: Where, until: Option<f64>) -> ();
            /// Lifts bans.
            fn unban(user_id: Id, place: Where) -> ();

            /// Stores a direct message.
            fn add_dm(new: NewDm) -> Id;
            /// Direct messages after an id, oldest first.
            fn dms(user_id: Id, mailbox: Mailbox, since: Id, limit: i64) -> Vec<InboxRow>;
            /// The highest ids of a user's inbox and outbox.
            fn dm_tops(user_id: Id) -> (Id, Id);
            /// Empties a user's inbox; returns the number of removed messages.
            fn delete_dms(user_id: Id) -> i64;
            /// Number of direct messages that a user started since a time.
            fn count_dms(sender_id: Id, since: f64) -> i64;

            /// Keeps nonces that no write carried along.
            fn keep_nonces(nonces: Vec<NonceRow>, now: f64) -> ();
            /// Marks of the last removal of nonces.
            fn nonce_marks() -> NonceMarks;
            /// Notes that a server runs on this database of its own. When the former one did not end by itself: when it was
            /// last known to be alive (Unix seconds).
            fn begin_run(now: f64) -> Option<f64>;
            /// Notes that the server ends by itself, and everything is written.
            fn end_run() -> ();
            /// Uses up nonces in the database that several processes share, and tells how much was committed there.
            /// A database of one process calls every nonce fresh.
            fn pass(nonces: Vec<NonceRow>) -> Passed;
            /// Returns true if a nonce was used.
            fn nonce_used(nonce: [u8; 16]) -> bool;
            /// The latest timestamp among the kept nonces.
            fn last_nonce_stamp() -> Option<i64>;
            /// Records when people were last seen.
            fn touch(seen: Vec<LastSeen>) -> ();
            /// One round of the periodic cleanup.
            fn cleanup(plan: CleanupPlan) -> Cleaned;
            /// Removes messages of a room posted before a time, pinned ones excepted; how many went.
            fn prune_messages(room_id: Id, before: f64) -> u64;
            /// Checks that the database answers.
            fn ping() -> ();
            /// Waits for what is under way and closes the connections.
            fn close() -> ();
        }
    };
}

macro_rules! define_store {
    ($( $(#[$doc:meta])* fn $name:ident($($arg:ident : $type:ty),* $(,)?) -> $ret:ty; )+) => {
        /// The operations of the store. See the module for what an answered write means.
        pub trait Store: Send + Sync + 'static {
            $( $(#[$doc])* fn $name(&self, $($arg: $type),*) -> BoxFuture<'_, StoreResult<$ret>>; )+
            /// Returns true if several processes may share this database.
            fn is_shared(&self) -> bool;
            /// The store behind the trait, for operations that only this crate knows.
            fn backend(&self) -> Backend<'_>;
        }
    };
}
store_api!(define_store);

/// Refuses a database that this program does not know or may not change.
fn migrate_check(found: i64, allowed: bool) -> StoreResult<()> {
    let known = migrate::known_version();
    let remedy = match found {
        _ if found > known => "use the version of ackpost that wrote it, or a newer one",
        _ if found < known && !allowed => "run `ackpost server migrate`",
        _ => return Ok(()),
    };
    Err(StoreError::Version { found, known, remedy })
}

/// The store behind the trait.
pub enum Backend<'a> {
    /// SQLite, embedded in this process.
    Sqlite(&'a sqlite::SqlStore),
    /// PostgreSQL, a database server.
    Postgres(&'a postgres::SqlStore),
}

/// Makes the `Store` implementation of one back end from the inherent methods of its `SqlStore`.
macro_rules! implement_store {
    ($kind:ident $shared:literal
     $( $(#[$doc:meta])* fn $name:ident($($arg:ident : $type:ty),* $(,)?) -> $ret:ty; )+) => {
        impl crate::Store for SqlStore {
            $( fn $name(&self, $($arg: $type),*) -> futures_util::future::BoxFuture<'_, crate::StoreResult<$ret>> {
                Box::pin(SqlStore::$name(self, $($arg),*))
            } )+
            fn is_shared(&self) -> bool {
                $shared
            }
            fn backend(&self) -> crate::Backend<'_> {
                crate::Backend::$kind(self)
            }
        }
    };
}

// After the macros that they use.
pub mod postgres;
pub mod sqlite;

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
