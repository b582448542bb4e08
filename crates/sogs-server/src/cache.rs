//! Caches of rooms and users, kept up to date by the changes that every commit announces.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::model::permission::{Override, Rights, UserFlags, rights};
use crate::store::{
    Change, DynStore, Id, OverrideRow, Person, RoomFull, StoreResult, UserFull, UserRow, key_fingerprint,
};

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A room in memory.
#[derive(Debug)]
pub struct Room {
    /// Description, moderators, pins. Its counters are those at loading; see `live` for now.
    pub full: RoomFull,
    /// Current counters of the room.
    pub live: Arc<RoomCounters>,
}

impl Room {
    /// Database id.
    pub fn id(&self) -> Id {
        self.full.room.id
    }

    /// Token as the operator wrote it.
    pub fn token(&self) -> &str {
        &self.full.room.token
    }

    /// Returns the rights of this user in the room.
    pub fn rights(&self, user: Option<&User>) -> Rights {
        let rights = rights(
            (&self.full.room.defaults).into(),
            user.map(|user| (&user.row).into()),
            user.and_then(|user| user.overrides.get(&self.id()).map(Into::into)),
        );
        if self.is_for_moderators() {
            rights.in_moderators_room(user.is_some_and(User::moderates_some_room))
        } else {
            rights
        }
    }

    /// Returns true if it is the moderators' room.
    pub fn is_for_moderators(&self) -> bool {
        self.full.room.for_moderators
    }

    /// Returns true if this user would see the room if they were not banned from it.
    pub fn is_visible_without_ban(&self, user: &User) -> bool {
        if self.is_for_moderators() {
            return false;
        }
        let standing = UserFlags {
            banned: false,
            ..(&user.row).into()
        };
        let own = user.overrides.get(&self.id()).map(|own| Override {
            banned: false,
            ..own.into()
        });
        rights((&self.full.room.defaults).into(), Some(standing), own).visible()
    }
}

/// Counters of a room that change with every message.
#[derive(Debug)]
pub struct RoomCounters {
    /// Last sequence number.
    pub seqno: AtomicI64,
    /// Counts changes that leave no trace in the sequence.
    pub rewritten: AtomicU64,
    /// Active users.
    pub active: AtomicI64,
}

/// Row number of a person without a row: no row has it, not even an imported one.
pub(crate) const NOBODY: Id = Id::MIN;

/// A user in memory, as one id names them.
#[derive(Debug)]
pub struct User {
    /// The id that was used. The row has the one that the person is shown under.
    pub name: String,
    /// The row. Somebody who has done nothing here yet has none in the database: its `id` is then the smallest number there is.
    pub row: UserRow,
    /// Overrides by room.
    pub overrides: HashMap<Id, OverrideRow>,
    /// All ids that follow from the key of a person without a row: they cost half a millisecond to compute.
    pub(crate) person: Option<Box<Person>>,
}

impl User {
    fn new(full: UserFull, name: String) -> Self {
        let overrides = full.overrides.into_iter().map(|row| (row.room_id, row)).collect();
        Self {
            name,
            row: full.user,
            overrides,
            person: None,
        }
    }

    fn newcomer(name: String, person: Box<Person>, now: f64) -> Self {
        Self {
            row: UserRow {
                id: NOBODY,
                session_id: name.clone(),
                created: now,
                last_active: now,
                banned: false,
                moderator: false,
                admin: false,
                visible_mod: false,
                visited: true,
            },
            name,
            overrides: HashMap::new(),
            person: Some(person),
        }
    }

    /// Returns true if the person has a row in the database.
    pub fn is_known(&self) -> bool {
        self.row.id != NOBODY
    }

    /// Returns true if the user moderates a room, by whatever appointment.
    pub fn moderates(&self, room_id: Id) -> bool {
        let own = self.overrides.get(&room_id);
        let ranked =
            self.row.moderator || self.row.admin || own.is_some_and(|own| own.moderator || own.admin);
        ranked && !self.row.banned && own.is_none_or(|own| !own.banned)
    }

    /// Returns true if the user moderates any room by an appointment there.
    pub fn moderates_some_room(&self) -> bool {
        self.overrides
            .values()
            .any(|own| (own.moderator || own.admin) && !own.banned)
            && !self.row.banned
    }

    /// Returns true if the user has an explicit permission to write in any room.
    pub fn trusted_somewhere(&self) -> bool {
        self.overrides
            .values()
            .any(|row| row.write == Some(true) && !row.banned)
    }

    /// Returns true if the user is banned from any room.
    pub fn banned_somewhere(&self) -> bool {
        self.row.banned || self.overrides.values().any(|row| row.banned)
    }
}

/// Users in two generations: when the young one is full it becomes the old one, and what is used comes back.
#[derive(Default)]
struct Users {
    young: HashMap<String, Arc<User>>,
    old: HashMap<String, Arc<User>>,
    names: HashMap<Id, Vec<String>>,
    /// People without a row, by the id they use.
    newcomers: HashMap<String, Arc<User>>,
    /// The ids they use, by the fingerprints of all keys that would tell who they are.
    newcomer_keys: HashMap<u64, Vec<String>>,
}

/// The fingerprints of all keys of a newcomer.
fn fingerprints(user: &User) -> impl Iterator<Item = u64> {
    let keys = user
        .person
        .iter()
        .flat_map(|person| person.keys.iter().chain(&person.forged));
    keys.map(|key| key_fingerprint(key))
}

/// Ids of one person that are remembered at a time; there are four that apps make.
const NAMES: usize = 8;

impl Users {
    fn get(&mut self, session_id: &str, capacity: usize) -> Option<Arc<User>> {
        if let Some(user) = self.young.get(session_id) {
            return Some(Arc::clone(user));
        }
        let user = self.old.remove(session_id)?;
        self.put(Arc::clone(&user), capacity);
        Some(user)
    }

    fn put(&mut self, user: Arc<User>, capacity: usize) {
        if self.young.len() >= capacity / 2 {
            self.old = std::mem::take(&mut self.young);
            let Self { old, names, .. } = self;
            names.retain(|_, known| {
                known.retain(|name| old.contains_key(name));
                !known.is_empty()
            });
        }
        self.drop_newcomer(&user.name);
        let names = self.names.entry(user.row.id).or_default();
        if !names.contains(&user.name) {
            if names.len() >= NAMES {
                let oldest = names.remove(0);
                self.young.remove(&oldest);
                self.old.remove(&oldest);
            }
            names.push(user.name.clone());
        }
        self.young.insert(user.name.clone(), user);
    }

    fn put_newcomer(&mut self, user: Arc<User>, capacity: usize) {
        if self.newcomers.len() >= capacity {
            self.newcomers.clear();
            self.newcomer_keys.clear();
        }
        self.drop_newcomer(&user.name);
        for fingerprint in fingerprints(&user) {
            self.newcomer_keys
                .entry(fingerprint)
                .or_default()
                .push(user.name.clone());
        }
        self.newcomers.insert(user.name.clone(), user);
    }

    fn drop_newcomer(&mut self, name: &str) {
        let Some(user) = self.newcomers.remove(name) else {
            return;
        };
        for fingerprint in fingerprints(&user) {
            if let Some(names) = self.newcomer_keys.get_mut(&fingerprint) {
                names.retain(|other| other != name);
                if names.is_empty() {
                    self.newcomer_keys.remove(&fingerprint);
                }
            }
        }
    }

    /// Records that a key belongs to a row now: a person with that key is not a newcomer.
    fn claimed(&mut self, fingerprint: u64) {
        for name in self.newcomer_keys.remove(&fingerprint).unwrap_or_default() {
            self.drop_newcomer(&name);
        }
    }

    fn forget(&mut self, id: Id) {
        for name in self.names.remove(&id).unwrap_or_default() {
            self.young.remove(&name);
            self.old.remove(&name);
        }
    }
}

/// The caches of one process.
pub struct Directory {
    rooms: RwLock<HashMap<Id, Arc<Room>>>,
    tokens: RwLock<HashMap<String, Id>>,
    live: RwLock<HashMap<Id, Arc<RoomCounters>>>,
    list: RwLock<Option<Arc<Vec<Id>>>>,
    users: Mutex<Users>,
    /// Highest ids in users' inboxes and outboxes: a poll from there on has nothing new.
    tops: Mutex<HashMap<Id, (Id, Id)>>,
    capacity: usize,
    /// Counts invalidations: what was loaded before one is not kept.
    epoch: AtomicU64,
    /// Counts changes of the rules, and everything that may have hidden one.
    rules: AtomicU64,
    /// Committed transactions of all processes that were followed.
    followed: tokio::sync::watch::Sender<i64>,
}

/// Users whose mailboxes are known to have nothing new.
const MAX_TOPS: usize = 50_000;
/// Time that a request waits for changes made by other processes; after that, cached data is dropped instead.
const NEWS: std::time::Duration = std::time::Duration::from_millis(25);

impl Directory {
    /// Creates empty caches that keep up to `cached_users` users.
    pub fn new(cached_users: usize) -> Self {
        Self {
            rooms: RwLock::default(),
            tokens: RwLock::default(),
            live: RwLock::default(),
            list: RwLock::default(),
            users: Mutex::default(),
            tops: Mutex::default(),
            capacity: cached_users.max(16),
            epoch: AtomicU64::new(0),
            rules: AtomicU64::new(0),
            followed: tokio::sync::watch::Sender::new(0),
        }
    }

    /// Waits until this many transactions were followed, or drops all cached data.
    pub async fn catch_up(&self, count: i64) {
        if *self.followed.borrow() >= count {
            return;
        }
        let mut news = self.followed.subscribe();
        if tokio::time::timeout(NEWS, news.wait_for(|followed| *followed >= count))
            .await
            .is_err()
        {
            self.clear();
            self.follow(count);
        }
    }

    fn follow(&self, count: i64) {
        self.followed.send_if_modified(|followed| {
            let newer = count > *followed;
            *followed = count.max(*followed);
            newer
        });
    }

    /// Follows committed changes.
    pub fn apply(&self, changes: &[Change]) {
        for change in changes {
            match *change {
                Change::Messages { room_id, seqno } => match self.live(room_id) {
                    Some(live) => drop(live.seqno.fetch_max(seqno, Ordering::AcqRel)),
                    None => self.passed(),
                },
                Change::Rewritten(room_id) => match self.live(room_id) {
                    Some(live) => drop(live.rewritten.fetch_add(1, Ordering::AcqRel)),
                    None => self.passed(),
                },
                Change::Activity {
                    room_id,
                    active_users,
                } => match self.live(room_id) {
                    Some(live) => live.active.store(active_users, Ordering::Release),
                    None => self.passed(),
                },
                Change::Room(id) => {
                    self.passed();
                    write(&self.rooms).remove(&id);
                }
                Change::User(id) => {
                    self.passed();
                    held(&self.users).forget(id);
                }
                Change::Claimed(fingerprint) => {
                    self.passed();
                    held(&self.users).claimed(fingerprint);
                }
                Change::DirectMessage(id) => {
                    self.passed();
                    held(&self.tops).remove(&id);
                }
                Change::Settings => drop(self.rules.fetch_add(1, Ordering::AcqRel)),
                Change::Counted(count) => self.follow(count),
                Change::Everything => self.clear(),
            }
        }
    }

    /// Drops all cached data, including data that is being loaded.
    pub fn clear(&self) {
        self.passed();
        self.rules.fetch_add(1, Ordering::AcqRel);
        write(&self.rooms).clear();
        write(&self.tokens).clear();
        write(&self.live).clear();
        *write(&self.list) = None;
        *held(&self.users) = Users::default();
        held(&self.tops).clear();
    }

    /// The highest ids in a user's inbox and outbox.
    pub async fn dm_tops(&self, store: &DynStore, user_id: Id) -> StoreResult<(Id, Id)> {
        let known = held(&self.tops).get(&user_id).copied();
        if let Some(tops) = known {
            return Ok(tops);
        }
        let before = self.epoch();
        let loaded = store.dm_tops(user_id).await?;
        let mut tops = held(&self.tops);
        if tops.len() >= MAX_TOPS {
            tops.clear();
        }
        if self.epoch() == before {
            tops.insert(user_id, loaded);
        }
        Ok(loaded)
    }

    /// A number that grows when the rules change, or may have changed: rules that were read before are outdated.
    pub fn rules_epoch(&self) -> u64 {
        self.rules.load(Ordering::Acquire)
    }

    fn passed(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn live(&self, room_id: Id) -> Option<Arc<RoomCounters>> {
        read(&self.live).get(&room_id).cloned()
    }

    /// The room of a token.
    pub async fn room(&self, store: &DynStore, token: &str) -> StoreResult<Option<Arc<Room>>> {
        // No room has such a token, and PostgreSQL refuses a text with a zero byte.
        if token.chars().any(char::is_control) {
            return Ok(None);
        }
        let key = token.to_ascii_lowercase();
        let known = read(&self.tokens).get(&key).copied();
        if let Some(id) = known {
            return self.room_by_id(store, id).await;
        }
        let before = self.epoch.load(Ordering::Acquire);
        let Some(row) = store.room_by_token(key.clone()).await? else {
            return Ok(None);
        };
        if self.epoch.load(Ordering::Acquire) == before {
            write(&self.tokens).insert(key, row.id);
        }
        self.room_by_id(store, row.id).await
    }

    /// A room by its database id.
    pub async fn room_by_id(&self, store: &DynStore, id: Id) -> StoreResult<Option<Arc<Room>>> {
        let known = read(&self.rooms).get(&id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let before = self.epoch.load(Ordering::Acquire);
        let Some(full) = store.room_full(id).await? else {
            return Ok(None);
        };
        let live = self.live(id).unwrap_or_else(|| {
            Arc::new(RoomCounters {
                seqno: AtomicI64::new(full.room.message_sequence),
                // Counts from another number each time: what was rendered before may miss a change.
                rewritten: AtomicU64::new(before << 32),
                active: AtomicI64::new(full.room.active_users),
            })
        });
        let room = Arc::new(Room {
            full,
            live: Arc::clone(&live),
        });
        let mut rooms = write(&self.rooms);
        // Checked under the lock: an invalidation between here and the insertion would wait for the lock.
        if self.epoch.load(Ordering::Acquire) == before {
            write(&self.live).entry(id).or_insert(live);
            rooms.insert(id, Arc::clone(&room));
        }
        Ok(Some(room))
    }

    /// All rooms in the order of their tokens.
    pub async fn all_rooms(&self, store: &DynStore) -> StoreResult<Vec<Arc<Room>>> {
        let known = read(&self.list).clone();
        let ids = if let Some(ids) = known {
            ids
        } else {
            let before = self.epoch.load(Ordering::Acquire);
            let ids: Arc<Vec<Id>> = Arc::new(store.rooms().await?.into_iter().map(|row| row.id).collect());
            if self.epoch.load(Ordering::Acquire) == before {
                *write(&self.list) = Some(Arc::clone(&ids));
            }
            ids
        };
        let mut rooms = Vec::with_capacity(ids.len());
        for id in ids.iter() {
            rooms.extend(self.room_by_id(store, *id).await?);
        }
        Ok(rooms)
    }

    /// A user in memory by any id, without asking the store.
    pub fn known_user(&self, name: &str) -> Option<Arc<User>> {
        held(&self.users).get(name, self.capacity)
    }

    /// Returns a cached person who is known to have no row.
    pub fn newcomer(&self, name: &str) -> Option<Arc<User>> {
        held(&self.users).newcomers.get(name).cloned()
    }

    /// Caches a person who was found to have no row since `before`, unless something changed meanwhile.
    pub fn keep_newcomer(&self, name: String, person: Box<Person>, now: f64, before: u64) -> Arc<User> {
        let user = Arc::new(User::newcomer(name, person, now));
        let mut users = held(&self.users);
        if self.epoch.load(Ordering::Acquire) == before {
            users.put_newcomer(Arc::clone(&user), self.capacity);
        }
        user
    }

    /// The count to remember before loading a user for [`Directory::keep_user`].
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// A user under an id that nobody may come with: it is not kept in memory, where visitors are looked for.
    pub fn apart(full: UserFull, name: String) -> Arc<User> {
        Arc::new(User::new(full, name))
    }

    /// Keeps a user loaded since `before` by the id `name`, unless something changed meanwhile.
    pub fn keep_user(&self, full: UserFull, name: String, before: u64) -> Arc<User> {
        let user = Arc::new(User::new(full, name));
        let mut users = held(&self.users);
        if self.epoch.load(Ordering::Acquire) == before {
            users.put(Arc::clone(&user), self.capacity);
        }
        user
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: Id) -> Arc<User> {
        let full = UserFull {
            user: UserRow {
                id,
                session_id: format!("15{id}"),
                created: 0.0,
                last_active: 0.0,
                banned: false,
                moderator: false,
                admin: false,
                visible_mod: false,
                visited: true,
            },
            overrides: Vec::new(),
        };
        Arc::new(User::new(full, format!("15{id}")))
    }

    fn newcomer(name: &str, keys: &[&str]) -> Arc<User> {
        let person = Person {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            ..Person::named(name)
        };
        Arc::new(User::newcomer(name.to_owned(), Box::new(person), 0.0))
    }

    #[test]
    fn a_claimed_key_forgets_the_newcomers_with_that_key_and_no_others() {
        let mut users = Users::default();
        users.put_newcomer(newcomer("15a", &["15a", "25a"]), 100);
        users.put_newcomer(newcomer("25a", &["25a"]), 100);
        users.put_newcomer(newcomer("15b", &["15b", "25b"]), 100);
        users.forget(7);
        users.claimed(key_fingerprint("25a"));
        let left: Vec<&String> = users.newcomers.keys().collect();
        assert_eq!(left, ["15b"], "the row of another person changes nothing");
        assert_eq!(users.newcomer_keys.len(), 2, "nothing is left of those who went");
        users.put(user(5), 100);
        users.claimed(key_fingerprint("15b"));
        assert!(users.newcomers.is_empty() && users.newcomer_keys.is_empty());
    }

    #[test]
    fn users_are_bounded_and_the_used_ones_stay() {
        let mut users = Users::default();
        for id in 0..1000 {
            users.put(user(id), 100);
            assert!(users.get("150", 100).is_some(), "always in use");
        }
        assert!(users.young.len() + users.old.len() <= 101);
        assert!(users.names.len() <= 200);
        assert!(users.get("15500", 100).is_none());
        users.forget(0);
        assert!(users.get("150", 100).is_none());
    }
}
