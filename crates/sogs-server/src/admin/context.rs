//! Context that all operations share: the community that they work on, their author and their time.

use std::path::PathBuf;
use std::sync::Arc;

use session_protocol::blind::Blinder;
use session_protocol::person::PersonRef;
use session_protocol::{Prefix, RoomToken, ServerKey, SessionId};

use super::keeper::Keeper;
use super::names;
use super::operation::{AdminError, Answer, RoomScope};
use super::undo_entry::Undo;
use crate::account::{self, Found};
use crate::config::Config;
use crate::contents::BlobStore;
use crate::guard::Policy;
use crate::moderation::Account;
use crate::store::operation::{Erase, Erased, LogEntry};
use crate::store::{DynStore, Id, Person, RoomRow, StoreError, StoreResult, UserFull, with_entries};

/// Additions of a running server: its rules in memory, its numbers, and reading its configuration again.
pub(crate) trait RunningServer: Send + Sync + 'static {
    /// Numbers of the process for `status`, as JSON.
    fn status(&self) -> serde_json::Value;
    /// The file contents of the process, with the lock that its uploads take.
    fn contents(&self) -> &BlobStore;
    /// Reads the configuration again; returns the changes in words. A dry run changes nothing.
    fn reload(&self, dry_run: bool) -> futures_util::future::BoxFuture<'_, Result<Vec<String>, AdminError>>;
    /// URL under which people reach the server now.
    fn base_url(&self) -> String;
    /// The configuration in force.
    fn config(&self) -> Arc<Config>;
}

/// Everything the operations work on.
pub(crate) struct Admin {
    /// The database.
    pub(crate) store: DynStore,
    /// Folder of the server.
    pub(crate) folder: PathBuf,
    /// File contents of a stopped server.
    pub(crate) stored: BlobStore,
    /// URL of the database, as configured.
    pub(crate) database: String,
    /// URL under which people reach the server, as configured; see [`Admin::base_url`].
    pub(crate) configured_url: String,
    /// Public key of the server.
    pub(crate) key: ServerKey,
    /// The server's own account, which posts in the moderators' room.
    pub(crate) account: Account,
    /// True if the server requires blinded ids.
    pub(crate) require_blind: bool,
    /// The rules in memory; none when the server is stopped.
    pub(crate) guard: Option<Arc<Policy>>,
    /// The running server; none when it is stopped.
    pub(crate) live: Option<Arc<dyn RunningServer>>,
}

/// An operation that is running.
pub(super) struct OperationContext<'a> {
    pub(super) admin: &'a Admin,
    pub(super) actor: String,
    pub(super) dry_run: bool,
    pub(super) now: f64,
}

pub(super) type Done = Result<Answer, AdminError>;

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse => Self::conflict(
                "another process is using the database of this server",
                "if the server runs, its local socket must be reachable: run the command as the same user, or stop the server",
            ),
            other => Self::failed(other),
        }
    }
}

impl Admin {
    /// Storage of file contents.
    pub(crate) fn contents(&self) -> &BlobStore {
        self.live.as_ref().map_or(&self.stored, |live| live.contents())
    }

    /// Returns true for the ids of the server itself: its account, and its name as an actor.
    pub(super) fn is_own_account(&self, session_id: &str) -> bool {
        session_id.starts_with("ff") || session_id.parse().is_ok_and(|id| self.account.is(&id))
    }

    /// URL under which people reach the server: the one in force where the server runs.
    pub(crate) fn base_url(&self) -> String {
        self.live
            .as_ref()
            .map_or_else(|| self.configured_url.clone(), |live| live.base_url())
    }

    /// The configuration: the one in force where the server runs, else the file.
    pub(super) fn config(&self) -> Result<Arc<Config>, AdminError> {
        match &self.live {
            Some(live) => Ok(live.config()),
            None => Ok(Arc::new(Config::load(&self.folder)?)),
        }
    }

    /// Returns the keeper of removed content.
    pub(crate) fn keeper(&self) -> Keeper<'_> {
        Keeper {
            store: &self.store,
            folder: &self.folder,
            contents: self.contents(),
        }
    }
}

impl OperationContext<'_> {
    /// The room of a token.
    pub(super) async fn room(&self, token: &str) -> Result<RoomRow, AdminError> {
        RoomToken::new(token).map_err(|error| {
            AdminError::usage(
                format!("`{token}` is not a valid room token: {error}"),
                "a token has letters, digits, _ and -, at most 64",
            )
        })?;
        self.admin
            .store
            .room_by_token(token.to_owned())
            .await?
            .ok_or_else(|| {
                AdminError::not_found(
                    format!("room `{token}` does not exist"),
                    "`ackpost server room list` lists the rooms",
                )
            })
    }

    /// The room of a token that may be absent.
    pub(super) async fn maybe_room(&self, token: Option<&str>) -> Result<Option<RoomRow>, AdminError> {
        match token {
            Some(token) => self.room(token).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the rooms of a place; `None` for the whole server.
    pub(super) async fn rooms(&self, place: &RoomScope) -> Result<Option<Vec<RoomRow>>, AdminError> {
        Ok(match place {
            RoomScope::Global => None,
            RoomScope::EveryRoom => Some(self.admin.store.rooms().await?),
            RoomScope::Rooms(tokens) => {
                let mut rooms = Vec::with_capacity(tokens.len());
                for token in tokens {
                    rooms.push(self.room(token).await?);
                }
                if rooms.is_empty() {
                    return Err(AdminError::usage(
                        "no room is given",
                        "name a room, or give --all-rooms or --global",
                    ));
                }
                Some(rooms)
            }
        })
    }

    /// Finds a person by any id; `create` makes an unknown one known.
    pub(super) async fn person(&self, text: &str, create: bool) -> Result<Option<UserFull>, AdminError> {
        let id: SessionId = match text.parse() {
            Ok(PersonRef::Id(id)) => id,
            Ok(person) => {
                return names::find(&self.admin.store, text.trim(), person)
                    .await
                    .map(Some);
            }
            Err(error) => {
                return Err(AdminError::usage(
                    format!("`{text}` is not a valid session id: {error}"),
                    "a session id is 05, 15 or 25 and 64 hexadecimal digits",
                ));
            }
        };
        if !matches!(id.prefix(), Prefix::Account | Prefix::Blind15 | Prefix::Blind25) {
            return Err(AdminError::usage(
                format!("`{text}` is not a person"),
                "a session id starts with 05, 15 or 25",
            ));
        }
        let create = create && !self.dry_run;
        let (store, blind) = (&self.admin.store, self.admin.require_blind);
        let blinder = Blinder::new(&self.admin.key);
        Ok(
            match account::find(store, &blinder, &id, blind, self.now).await? {
                Found::Known(full) => Some(full),
                Found::Forged(user_id) => store.user_by_id(user_id).await?,
                Found::Nobody(person) if create => {
                    let person = Person {
                        visits: false,
                        ..*person
                    };
                    Some(store.ensure_user(person, self.now).await?.0)
                }
                Found::Nobody(_) => None,
            },
        )
    }

    /// A person that must be known.
    pub(super) async fn known(&self, text: &str) -> Result<UserFull, AdminError> {
        self.person(text, false).await?.ok_or_else(|| {
            AdminError::not_found(
                format!("{text} was never seen on this server"),
                "`ackpost server user list` lists the latest",
            )
        })
    }

    /// Finds several people, one a line, each once; `create` makes unknown ones known.
    ///
    /// `None` stands for a person who would be made known.
    pub(super) async fn several(
        &self,
        user: &str,
        create: bool,
    ) -> Result<Vec<(String, Option<UserFull>)>, AdminError> {
        let mut all: Vec<(String, Option<UserFull>)> = Vec::new();
        for text in names::texts(user)? {
            let person = self.person(text, create).await?;
            let shown = person
                .as_ref()
                .map_or_else(|| text.to_owned(), |person| person.user.session_id.clone());
            if all.iter().all(|(known, _)| *known != shown) {
                all.push((shown, person));
            }
        }
        Ok(all)
    }

    /// Finds several people that must be known, each once.
    pub(super) async fn all_known(&self, user: &str) -> Result<Vec<UserFull>, AdminError> {
        let mut all = Vec::new();
        for text in names::texts(user)? {
            let person = self.known(text).await?;
            if all.iter().all(|known: &UserFull| known.user.id != person.user.id) {
                all.push(person);
            }
        }
        Ok(all)
    }

    /// Writes the log, except in a dry run; returns the number by which the operation can be undone.
    pub(super) async fn log(
        &self,
        action: &str,
        room: Option<&str>,
        target: &str,
        detail: String,
        undo: Option<Undo>,
    ) -> Result<Option<Id>, AdminError> {
        if self.dry_run {
            return Ok(None);
        }
        let entry = self.entry(action, room, target, detail, undo.as_ref());
        let id = self.admin.store.add_log(entry.clone()).await?;
        self.tell(&entry);
        Ok(undo.is_some().then_some(id))
    }

    /// Carries out a change. Its entry of the log follows from the result and is part of the transaction. Returns also the
    /// number by which the change can be undone.
    pub(super) async fn logged<T: 'static>(
        &self,
        change: impl Future<Output = StoreResult<T>>,
        entry: impl Fn(&T) -> Option<LogEntry> + Send + Sync + 'static,
    ) -> Result<(T, Option<Id>), AdminError> {
        let (result, written) =
            with_entries(change, move |result| entry(result).into_iter().collect()).await?;
        let mut undo = None;
        for (entry, id) in written {
            let id = match id {
                Some(id) => id,
                None => self.admin.store.add_log(entry.clone()).await?,
            };
            self.tell(&entry);
            undo = entry.undo.is_some().then_some(id);
        }
        Ok((result, undo))
    }

    /// An entry for the log.
    pub(super) fn entry(
        &self,
        action: &str,
        room: Option<&str>,
        target: &str,
        detail: String,
        undo: Option<&Undo>,
    ) -> LogEntry {
        let mut entry = LogEntry::new(&self.actor, action, self.now)
            .target(target)
            .detail(detail);
        entry.room = room.map(str::to_owned);
        entry.undo = undo.and_then(|undo| serde_json::to_value(undo).ok());
        entry
    }

    /// Removes many things and writes the log, in one transaction.
    pub(super) async fn erase(&self, erase: Erase) -> Result<Erased, AdminError> {
        let entry = erase.log.clone();
        let erased = self.admin.store.erase(erase).await?;
        if let Some(entry) = &entry {
            self.tell(entry);
        }
        Ok(erased)
    }

    /// Tells plugins of an entry of the log.
    pub(super) fn tell(&self, entry: &LogEntry) {
        if let Some(guard) = &self.admin.guard {
            guard.tell(&crate::plugin::PluginEvent::Moderated {
                room: entry.room.clone(),
                action: entry.action.clone(),
                target: entry.target.clone().unwrap_or_default(),
            });
        }
    }

    /// Makes the running server use changed rules at once.
    pub(super) async fn rules_changed(&self) -> Result<(), AdminError> {
        if let Some(guard) = &self.admin.guard {
            guard.reload().await?;
        }
        Ok(())
    }
}
