//! Everything the server remembers: one trait, one SQL text, two databases.
//!
//! The SQL lives in `sql/`, which is compiled once for SQLite and once for PostgreSQL. All writes of a process go
//! through one writer that puts the requests waiting at the moment into one transaction (group commit) and answers
//! them after the commit, so an answered write is as durable as the database promises:
//!
//! * SQLite: WAL with `synchronous=FULL`; the log is flushed to the disk before each answer (power loss safe).
//! * PostgreSQL: whatever the server's `synchronous_commit` says, `on` by default. An advisory lock makes the
//!   writers of several processes take turns.
//!
//! The store knows no HTTP and no cryptography.

pub mod cases;
mod error;
mod migrate;
pub mod operation;
mod types;
mod writer;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use error::StoreError;
pub use types::*;
pub use writer::{ChangeSink, with_nonce};

/// A store of either kind.
pub type DynStore = Arc<dyn Store>;

/// Result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// Where the data is and how it is opened.
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
            .field("url", &crate::database_url::without_password(&self.url))
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
            /// Every room.
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
            /// A user and all overrides, by database id; that of a row that was joined with another means that one.
            fn user_by_id(user_id: Id) -> Option<UserFull>;
            /// Which of these keys are known, and whose they are.
            fn known_keys(keys: Vec<String>) -> Vec<KnownKey>;
            /// The one row of a person, created if new. Rows that turn out to be the same person are joined: the stricter
            /// ban and the rights of both stay, and everything that either wrote. True when the row is new.
            fn ensure_user(person: Person, now: f64) -> (UserFull, bool);
            /// Rows of people after an id, in order: id and shown id.
            fn users_after(user_id: Id, limit: i64) -> Vec<(Id, String)>;
            /// Gives rows the keys of the people they are, and joins those of one person.
            fn settle_users(people: Vec<(Id, Person)>) -> ();
            /// Whether all rows have their keys.
            fn is_settled() -> bool;
            /// Notes that all rows have their keys.
            fn note_settled() -> ();
            /// Global moderators and admins.
            fn global_mods() -> Vec<ModRow>;

            /// Stores a message.
            fn post(new: NewPost) -> Posted;
            /// Replaces a message's content.
            fn edit_post(edit: PostEdit) -> Changed;
            /// Deletes a message; with `only_author` it must be that user's.
            fn delete_post(room_id: Id, message_id: Id, only_author: Option<Id>, now: f64) -> Changed;
            /// Deletes all messages of a user in these rooms and expires the files; count per room.
            fn delete_all_posts(rooms: Vec<Id>, user_id: Id, now: f64) -> Vec<(Id, i64)>;
            /// Rows of a page, of any viewer: the caller drops what the viewer may not see.
            fn messages(room_id: Id, page: Page, limit: i64) -> Vec<MessageRow>;
            /// Reactions of these messages of a room with their first users.
            fn reactions(room_id: Id, messages: Vec<Id>, first: i64) -> Reactions;
            /// Which of these messages' reactions are this user's: pairs of message and reaction id.
            fn own_reactions(room_id: Id, messages: Vec<Id>, user_id: Id) -> Vec<Id>;
            /// How many posts of a user stand and are shown, over all rooms, counted up to `limit`.
            fn count_posts(user_id: Id, room_id: Option<Id>, limit: i64) -> i64;

            /// Adds a reaction; with `kinds` a message has at most so many different ones.
            fn add_reaction(room_id: Id, message_id: Id, user_id: Id, reaction: String, kinds: Option<u32>, now: f64) -> Reacted;
            /// Removes reactions: of one user or of all, one kind or all kinds.
            fn remove_reactions(room_id: Id, message_id: Id, user_id: Option<Id>, reaction: Option<String>) -> Reacted;
            /// Who reacted with this, oldest first; `None` when the message takes no reactions.
            fn reactors(room_id: Id, message_id: Id, reaction: String, limit: i64) -> Option<Vec<(String, f64)>>;

            /// Pins a message, or renews its pin.
            fn pin(room_id: Id, message_id: Id, user_id: Id, now: f64) -> Pinned;
            /// Unpins one message, or all.
            fn unpin(room_id: Id, message_id: Option<Id>, files_expire: Option<f64>) -> Pinned;

            /// Registers a file.
            fn add_file(new: NewFile) -> Id;
            /// A file of a room.
            fn file(room_id: Id, file_id: Id) -> Option<FileRow>;
            /// What decides about the visibility of a message of a room; `None` when it is deleted or not there.
            fn message_view(room_id: Id, message_id: Id) -> Option<MessageView>;
            /// Whether a content is still referred to.
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
            /// Empties a user's inbox; how many went.
            fn delete_dms(user_id: Id) -> i64;
            /// How many direct messages a user started since a time.
            fn count_dms(sender_id: Id, since: f64) -> i64;

            /// Keeps nonces that no write carried along.
            fn keep_nonces(nonces: Vec<NonceRow>, now: f64) -> ();
            /// What is known of forgetting nonces.
            fn nonce_marks() -> NonceMarks;
            /// Notes that a server runs on this database of its own. When the former one did not end by itself: when it was
            /// last known to be alive (Unix seconds).
            fn begin_run(now: f64) -> Option<f64>;
            /// Notes that the server ends by itself, and everything is written.
            fn end_run() -> ();
            /// Uses up nonces in the database that several processes share, and tells how much was committed there.
            /// A database of one process calls every nonce fresh.
            fn pass(nonces: Vec<NonceRow>) -> Passed;
            /// Whether a nonce was used.
            fn nonce_used(nonce: [u8; 16]) -> bool;
            /// The latest timestamp among the kept nonces.
            fn last_nonce_stamp() -> Option<i64>;
            /// Notes who was seen when.
            fn touch(seen: Vec<Seen>) -> ();
            /// One round of the periodic cleanup.
            fn cleanup(plan: CleanupPlan) -> Cleaned;
            /// Removes messages of a room posted before a time, pinned ones excepted; how many went.
            fn prune_messages(room_id: Id, before: f64) -> u64;
            /// Whether the database answers.
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
            /// Whether several processes may share this database.
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
    /// Embedded.
    Sqlite(&'a sqlite::SqlStore),
    /// A server.
    Postgres(&'a postgres::SqlStore),
}

/// Makes the `Store` implementation of one back end from the inherent methods of its `SqlStore`.
macro_rules! implement_store {
    ($kind:ident $shared:literal
     $( $(#[$doc:meta])* fn $name:ident($($arg:ident : $type:ty),* $(,)?) -> $ret:ty; )+) => {
        impl crate::store::Store for SqlStore {
            $( fn $name(&self, $($arg: $type),*) -> futures_util::future::BoxFuture<'_, crate::store::StoreResult<$ret>> {
                Box::pin(SqlStore::$name(self, $($arg),*))
            } )+
            fn is_shared(&self) -> bool {
                $shared
            }
            fn backend(&self) -> crate::store::Backend<'_> {
                crate::store::Backend::$kind(self)
            }
        }
    };
}

// After the macros that they use.
pub mod postgres;
pub mod sqlite;
