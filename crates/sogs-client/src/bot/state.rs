//! What a bot remembers over a restart: where it was, who it knows, and what its handlers put there.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use session_protocol::{RoomToken, SessionId};

use crate::poll::Cursor;

/// Most people remembered per room; the oldest are forgotten first.
const MAX_KNOWN: usize = 50_000;

/// The store failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps what a store reports.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Keeps named pieces of bytes: files in a folder, rows of a table. A write must be whole or not be at all.
pub trait StateStore: Send {
    /// The bytes under `key`, which is a short lower-case word.
    fn load(&mut self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Replaces the bytes under `key`.
    fn save(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError>;
}

/// Forgets everything with the process.
#[derive(Debug, Default)]
pub struct MemoryStore(HashMap<String, Vec<u8>>);

impl StateStore for MemoryStore {
    fn load(&mut self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn save(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// A bot's memory, in the process and in its store.
pub struct State {
    store: Box<dyn StateStore>,
    data: Arc<Mutex<Map<String, Value>>>,
    saved_data: Map<String, Value>,
    saved_cursor: Option<Cursor>,
    known: BTreeMap<RoomToken, Known>,
    known_changed: bool,
    /// When each schedule ran last, milliseconds since 1970.
    pub(super) schedules: BTreeMap<String, u64>,
    schedules_changed: bool,
}

/// People seen in a room, oldest first.
#[derive(Default)]
struct Known {
    order: VecDeque<SessionId>,
    set: HashSet<SessionId>,
}

impl State {
    pub(super) fn load(mut store: Box<dyn StateStore>) -> Result<(Self, Option<Cursor>), StoreError> {
        fn read<T: serde::de::DeserializeOwned>(
            store: &mut dyn StateStore,
            key: &str,
        ) -> Result<Option<T>, StoreError> {
            let Some(bytes) = store.load(key)? else {
                return Ok(None);
            };
            serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| StoreError(format!("{key}: {error}").into()))
        }
        let cursor: Option<Cursor> = read(&mut *store, "cursor")?;
        let data: Map<String, Value> = read(&mut *store, "data")?.unwrap_or_default();
        let people: BTreeMap<RoomToken, Vec<SessionId>> = read(&mut *store, "known")?.unwrap_or_default();
        let schedules = read(&mut *store, "schedules")?.unwrap_or_default();
        let known = people
            .into_iter()
            .map(|(room, order)| {
                let set = order.iter().copied().collect();
                (
                    room,
                    Known {
                        order: order.into(),
                        set,
                    },
                )
            })
            .collect();
        let state = Self {
            store,
            data: Arc::new(Mutex::new(data.clone())),
            saved_data: data,
            saved_cursor: cursor.clone(),
            known,
            known_changed: false,
            schedules,
            schedules_changed: false,
        };
        Ok((state, cursor))
    }

    pub(super) fn data(&self) -> Arc<Mutex<Map<String, Value>>> {
        self.data.clone()
    }

    /// Whether anybody is known in a room; if not, the bot is new there.
    pub(super) fn knows(&self, room: &RoomToken) -> bool {
        self.known.contains_key(room)
    }

    /// Begins to know a room, even if nobody has written there.
    pub(super) fn enter(&mut self, room: &RoomToken) {
        self.known.entry(room.clone()).or_default();
        self.known_changed = true;
    }

    /// Notes that somebody wrote in a room; `true` the first time.
    pub(super) fn see(&mut self, room: &RoomToken, user: &SessionId) -> bool {
        let known = self.known.entry(room.clone()).or_default();
        if !known.set.insert(*user) {
            return false;
        }
        known.order.push_back(*user);
        if known.order.len() > MAX_KNOWN
            && let Some(oldest) = known.order.pop_front()
        {
            known.set.remove(&oldest);
        }
        self.known_changed = true;
        true
    }

    pub(super) fn schedule_ran(&mut self, name: &str, at_ms: u64) {
        self.schedules.insert(name.to_owned(), at_ms);
        self.schedules_changed = true;
    }

    /// Writes what changed, the cursor last: what an event brought about is stored before the event counts as done.
    pub(super) fn save(&mut self, cursor: &Cursor) -> Result<(), StoreError> {
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if data != self.saved_data {
            self.store
                .save("data", Value::Object(data.clone()).to_string().as_bytes())?;
            self.saved_data = data;
        }
        if self.known_changed {
            let people: BTreeMap<_, _> = self
                .known
                .iter()
                .map(|(room, known)| (room, &known.order))
                .collect();
            write(&mut *self.store, "known", &people)?;
            self.known_changed = false;
        }
        if self.schedules_changed {
            write(&mut *self.store, "schedules", &self.schedules)?;
            self.schedules_changed = false;
        }
        if self.saved_cursor.as_ref() != Some(cursor) {
            write(&mut *self.store, "cursor", cursor)?;
            self.saved_cursor = Some(cursor.clone());
        }
        Ok(())
    }
}

fn write(store: &mut dyn StateStore, key: &str, value: &impl serde::Serialize) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(StoreError::new)?;
    store.save(key, &bytes)
}
