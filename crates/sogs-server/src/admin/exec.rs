//! Doing an operation: the dispatcher, and what all operations share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use session_protocol::blind::Blinder;
use session_protocol::{Prefix, RoomToken, ServerKey, SessionId};

use super::archive::Keeper;
use super::operation::{AdminError, AdminRequest, Answer, Operation, Place};
use super::socket::Answers;
use super::undo::Undo;
use super::{archive, messages, moderation, names, people, rooms, rules, sweep, undo_many, upkeep};
use crate::account::{self, Found};
use crate::config::Config;
use crate::contents::Contents;
use crate::guard::Guard;
use crate::model::verdict::Verdict;
use crate::store::operation::{Erase, Erased, LogEntry, LogQuery};
use crate::store::{DynStore, Id, Person, RoomRow, StoreError, UserFull, Where};

/// What a running server adds: its rules in memory, its numbers, and reading its configuration again.
pub(crate) trait Live: Send + Sync + 'static {
    /// Numbers of the process for `status`, as JSON.
    fn status(&self) -> serde_json::Value;
    /// The file contents of the process, with the lock that its uploads take.
    fn contents(&self) -> &Contents;
    /// Reads the configuration again; what changed, in words. A dry run changes nothing.
    fn reload(&self, dry_run: bool) -> futures_util::future::BoxFuture<'_, Result<Vec<String>, AdminError>>;
    /// URL under which people reach the server now.
    fn base_url(&self) -> String;
    /// Id of the account under which the server itself posts.
    fn account(&self) -> String;
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
    pub(crate) stored: Contents,
    /// Where the database is, as configured.
    pub(crate) database: String,
    /// URL under which people reach the server, as configured; see [`Admin::base_url`].
    pub(crate) configured_url: String,
    /// Public key of the server.
    pub(crate) key: ServerKey,
    /// Whether the server insists on blinded ids.
    pub(crate) require_blind: bool,
    /// The rules in memory; none when the server is stopped.
    pub(crate) guard: Option<Arc<Guard>>,
    /// The running server; none when it is stopped.
    pub(crate) live: Option<Arc<dyn Live>>,
}

/// One operation under way.
pub(super) struct Act<'a> {
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

pub(super) fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

impl Answers for Admin {
    async fn answer(&self, request: AdminRequest) -> Done {
        self.perform(request).await
    }
}

impl Admin {
    /// Where file contents are.
    pub(crate) fn contents(&self) -> &Contents {
        self.live.as_ref().map_or(&self.stored, |live| live.contents())
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

    /// What deletions need to keep for an undo.
    pub(crate) fn keeper(&self) -> Keeper<'_> {
        Keeper {
            store: &self.store,
            folder: &self.folder,
            contents: self.contents(),
        }
    }

    /// Does one operation.
    pub(crate) async fn perform(&self, request: AdminRequest) -> Done {
        let name: String = request
            .actor
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect();
        let actor = if name.is_empty() {
            "operator".to_owned()
        } else {
            format!("operator:{name}")
        };
        let act = Act {
            admin: self,
            actor,
            dry_run: request.dry_run,
            now: unix_now(),
        };
        act.run(request.operation).await
    }
}

impl Act<'_> {
    #[expect(clippy::too_many_lines, reason = "one line for each operation")]
    async fn run(&self, operation: Operation) -> Done {
        match operation {
            Operation::Status => self.status().await,
            Operation::Reload => self.reload().await,
            Operation::RoomList => rooms::list(self).await,
            Operation::RoomShow { room } => rooms::show(self, &room).await,
            Operation::RoomAdd {
                room,
                name,
                description,
                permissions,
            } => rooms::add(self, room, name, description, permissions).await,
            Operation::RoomEdit {
                room,
                name,
                description,
                permissions,
                image,
            } => {
                rooms::edit(
                    self,
                    &room,
                    rooms::Edit {
                        name,
                        description,
                        permissions,
                        image,
                    },
                )
                .await
            }
            Operation::RoomEditEvery { permissions } => upkeep::edit_every(self, permissions).await,
            Operation::MessagePin { room, id } => upkeep::pin(self, &room, id).await,
            Operation::MessageUnpin { room, id } => upkeep::unpin(self, &room, id).await,
            Operation::FileKeep { place } => upkeep::keep_files(self, &place).await,
            Operation::RoomDelete { room } => rooms::delete(self, &room).await,
            Operation::UserList {
                room,
                limit,
                since,
                until,
                name,
            } => people::list(self, room.as_deref(), limit, (since, until), name.as_deref()).await,
            Operation::UserShow { user } => people::show(self, &user).await,
            Operation::UserPermissions {
                user,
                room,
                permissions,
                clear,
            } => people::permissions(self, &user, &room, permissions, clear).await,
            Operation::ModList => people::mods(self).await,
            Operation::ModAdd {
                user,
                place,
                admin,
                visible,
            } => people::mod_add(self, &user, &place, admin, visible).await,
            Operation::ModRemove { user, place } => people::mod_remove(self, &user, &place).await,
            Operation::BanList => people::bans(self).await,
            Operation::BanAdd {
                user,
                place,
                seconds,
                delete_posts,
            } => people::ban(self, &user, &place, seconds, delete_posts).await,
            Operation::BanRemove { user, place } => people::unban(self, &user, &place).await,
            Operation::MessageList {
                room,
                limit,
                before,
                user,
                since,
                until,
                ids,
            } => {
                let chosen = messages::Chosen {
                    since,
                    until,
                    ids,
                    before,
                };
                messages::list(self, &room, limit, chosen, user.as_deref()).await
            }
            Operation::MessageDelete { room, ids, ranges } => {
                messages::delete(self, &room, ids, &ranges).await
            }
            Operation::MessageDeleteAll {
                user,
                place,
                reactions,
                since,
                until,
            } => messages::delete_all(self, &user, &place, reactions, (since, until)).await,
            Operation::MessageDeleteContaining {
                place,
                text,
                since,
                until,
            } => messages::delete_containing(self, &place, &text, (since, until)).await,
            Operation::HeldList { room } => messages::held(self, room.as_deref()).await,
            Operation::HeldApprove { id } => messages::decide(self, id, Verdict::Approve).await,
            Operation::HeldRefuse { id } => messages::decide(self, id, Verdict::Reject).await,
            Operation::ModerationOn { room } => moderation::on(self, &room).await,
            Operation::ModerationOff => moderation::off(self).await,
            Operation::ModerationStatus => moderation::status(self).await,
            Operation::FileList { room, limit } => messages::files(self, &room, limit).await,
            Operation::FileDelete { id } => messages::file_delete(self, id).await,
            Operation::FilterList => rules::filters(self).await,
            Operation::FilterAdd {
                room,
                kind,
                pattern,
                action,
                reply,
            } => rules::filter_add(self, room.as_deref(), kind, pattern, action, reply).await,
            Operation::FilterRemove { id } => rules::filter_remove(self, id).await,
            Operation::FilterTest { room, text } => rules::filter_test(self, room.as_deref(), text).await,
            Operation::SettingList { room } => rules::settings(self, room.as_deref()).await,
            Operation::SettingSet { room, name, value } => {
                rules::setting_set(self, room.as_deref(), &name, value).await
            }
            Operation::RaidList => rules::raids(self).await,
            Operation::RaidOn {
                room,
                seconds,
                reach_back,
            } => rules::raid_on(self, room.as_deref(), seconds, reach_back).await,
            Operation::RaidSweep {
                room,
                since,
                until,
                ban,
                seconds,
            } => {
                let wave = sweep::Wave {
                    since,
                    until,
                    ban,
                    seconds,
                };
                sweep::sweep(self, room.as_deref(), wave).await
            }
            Operation::RaidOff { room } => rules::raid_off(self, room.as_deref()).await,
            Operation::LogList {
                limit,
                room,
                actor,
                target,
                since,
                until,
            } => {
                let query = LogQuery {
                    room,
                    actor,
                    target,
                    since,
                    until,
                    ids: None,
                    limit: i64::from(limit.min(100_000)),
                };
                rules::log(self, query).await
            }
            Operation::Undo { id } => super::undo::undo(self, id).await,
            Operation::UndoMany {
                ranges,
                actor,
                room,
                since,
                until,
            } => {
                let query = LogQuery {
                    room,
                    actor,
                    since,
                    until,
                    ..LogQuery::default()
                };
                undo_many::undo(self, &ranges, query).await
            }
            Operation::Backup { to } => archive::backup(self, &to).await,
        }
    }

    async fn status(&self) -> Done {
        let totals = self.admin.store.totals().await?;
        let running = self.admin.live.as_ref().map(|live| live.status());
        let raids = self
            .admin
            .store
            .raids()
            .await?
            .into_iter()
            .filter(|raid| raid.raid.is_on(self.now))
            .count();
        let mut lines = vec![
            if running.is_some() {
                "the server is running".to_owned()
            } else {
                "the server is stopped".to_owned()
            },
            format!("address     {}", self.admin.base_url()),
            format!("public key  {}", self.admin.key),
            format!("rooms       {}", totals.rooms),
            format!("people      {}", totals.users),
            format!("messages    {}", totals.messages),
            format!("files       {} ({} bytes)", totals.files, totals.file_bytes),
            format!(
                "waiting     {} direct messages, {} posts to approve",
                totals.direct_messages, totals.held
            ),
        ];
        if raids > 0 {
            lines.push(format!(
                "raid mode   on in {raids} places; see `ackpost server raid status`"
            ));
        }
        let data = serde_json::json!({
            "running": running.is_some(),
            "base_url": self.admin.base_url(),
            "public_key": self.admin.key.to_string(),
            "totals": totals,
            "raids": raids,
            "process": running,
        });
        Ok(Answer::show(data, lines))
    }

    async fn reload(&self) -> Done {
        let Some(live) = &self.admin.live else {
            return Err(AdminError::conflict(
                "the server is stopped, there is nothing to reload",
                "it reads its configuration when it starts",
            ));
        };
        let lines = live.reload(self.dry_run).await?;
        Ok(Answer::show(serde_json::json!({ "changed": lines }), lines))
    }

    /// The room of a token.
    pub(super) async fn room(&self, token: &str) -> Result<RoomRow, AdminError> {
        RoomToken::new(token).map_err(|error| {
            AdminError::usage(
                format!("'{token}' is no room token: {error}"),
                "a token has letters, digits, _ and -, at most 64",
            )
        })?;
        self.admin
            .store
            .room_by_token(token.to_owned())
            .await?
            .ok_or_else(|| {
                AdminError::not_found(
                    format!("there is no room '{token}'"),
                    "`ackpost server room list` names the rooms",
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

    /// The rooms of a place; `None` for the whole server.
    pub(super) async fn rooms(&self, place: &Place) -> Result<Option<Vec<RoomRow>>, AdminError> {
        Ok(match place {
            Place::Global => None,
            Place::EveryRoom => Some(self.admin.store.rooms().await?),
            Place::Rooms(tokens) => {
                let mut rooms = Vec::with_capacity(tokens.len());
                for token in tokens {
                    rooms.push(self.room(token).await?);
                }
                if rooms.is_empty() {
                    return Err(AdminError::usage(
                        "no room is named",
                        "name a room, or say --all-rooms or --global",
                    ));
                }
                Some(rooms)
            }
        })
    }

    /// A person by any id; made known with `create`.
    pub(super) async fn person(&self, text: &str, create: bool) -> Result<Option<UserFull>, AdminError> {
        let looks_whole = text.trim().len() >= 64 && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit());
        let id: SessionId = match text.trim().parse() {
            Ok(id) => id,
            Err(_) if !looks_whole => return names::find(self, text.trim()).await.map(Some),
            Err(error) => {
                return Err(AdminError::usage(
                    format!("`{text}` is not a valid session id: {error}"),
                    "a session id is 05, 15 or 25 and 64 hexadecimal digits",
                ));
            }
        };
        if !matches!(id.prefix(), Prefix::Account | Prefix::Blind15 | Prefix::Blind25) {
            return Err(AdminError::usage(
                format!("'{text}' names nobody"),
                "a session id starts with 05, 15 or 25",
            ));
        }
        let create = create && !self.dry_run;
        let (store, blind) = (&self.admin.store, self.admin.require_blind);
        let blinder = Blinder::new(&self.admin.key);
        Ok(match account::find(store, &blinder, &id, blind).await? {
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
        })
    }

    /// A person that must be known.
    pub(super) async fn known(&self, text: &str) -> Result<UserFull, AdminError> {
        self.person(text, false).await?.ok_or_else(|| {
            AdminError::not_found(
                format!("{text} was never seen on this server"),
                "`ackpost server user list` names the latest",
            )
        })
    }

    /// Several people, one a line, each once; made known with `create`. `None` stands for somebody who would be made known.
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

    /// Several people that must be known, each once.
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

    /// Writes the log, unless it is only tried; the number by which it can be undone.
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

    /// Takes much away and writes the log, in one transaction.
    pub(super) async fn erase(&self, erase: Erase) -> Result<Erased, AdminError> {
        let entry = erase.log.clone();
        let erased = self.admin.store.erase(erase).await?;
        if let Some(entry) = &entry {
            self.tell(entry);
        }
        Ok(erased)
    }

    /// Tells plugins what stands in the log.
    fn tell(&self, entry: &LogEntry) {
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

/// Where a store operation applies.
pub(super) fn place_of(rooms: Option<&[RoomRow]>) -> Where {
    rooms.map_or(Where::Global, |rooms| {
        Where::Rooms(rooms.iter().map(|room| room.id).collect())
    })
}

/// A place in words.
pub(super) fn place_words(rooms: Option<&[RoomRow]>) -> String {
    match rooms {
        None => "the whole server".to_owned(),
        Some(rooms) => {
            let tokens: Vec<&str> = rooms.iter().map(|room| room.token.as_str()).collect();
            tokens.join(", ")
        }
    }
}

/// The token for the log when one room is meant.
pub(super) fn one_token(rooms: Option<&[RoomRow]>) -> Option<&str> {
    match rooms {
        Some([room]) => Some(&room.token),
        _ => None,
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: u64, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

/// A time as an operator reads it.
pub(super) fn time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds, saturating")]
    let whole = seconds as i64;
    jiff::Timestamp::from_second(whole).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
