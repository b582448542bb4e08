//! Memory of a bot over a restart: values of its handlers, and the last runs of its schedules.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

/// The store failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps an error of a store.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Keeps named pieces of bytes: files in a folder, rows of a table. A write must be whole or not be at all.
pub trait StateStore: Send {
    /// Returns the bytes under `key`, which is a short lower-case word.
    ///
    /// # Errors
    /// The store cannot be read.
    fn load(&mut self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Replaces the bytes under `key`.
    ///
    /// # Errors
    /// The store cannot be written.
    fn save(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError>;
}

/// A store that forgets everything with the process.
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
pub struct Memory {
    store: Box<dyn StateStore>,
    data: Recollection,
    saved: Map<String, Value>,
    /// Time when each schedule ran last, milliseconds since 1970.
    schedules: BTreeMap<String, u64>,
    schedules_changed: bool,
}

impl Memory {
    /// Reads the data of a store.
    ///
    /// # Errors
    /// The store cannot be read, or has something else.
    pub fn load(mut store: Box<dyn StateStore>) -> Result<Self, StoreError> {
        let data: Map<String, Value> = read(&mut *store, "data")?.unwrap_or_default();
        let schedules = read(&mut *store, "schedules")?.unwrap_or_default();
        Ok(Self {
            store,
            data: Recollection(Arc::new(Mutex::new(data.clone()))),
            saved: data,
            schedules,
            schedules_changed: false,
        })
    }

    /// Reads a piece that the bot itself keeps.
    ///
    /// # Errors
    /// The store cannot be read, or has something else.
    pub fn read<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, StoreError> {
        read(&mut *self.store, key)
    }

    /// Writes a piece that the bot itself keeps.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write(&mut self, key: &str, value: &impl serde::Serialize) -> Result<(), StoreError> {
        write(&mut *self.store, key, value)
    }

    /// The values for handlers.
    pub fn recollection(&self) -> Recollection {
        self.data.clone()
    }

    pub(crate) fn schedule_ran_at(&self, name: &str) -> Option<u64> {
        self.schedules.get(name).copied()
    }

    pub(crate) fn schedule_ran(&mut self, name: &str, at_ms: u64) {
        self.schedules.insert(name.to_owned(), at_ms);
        self.schedules_changed = true;
    }

    /// Writes the values and the schedules that changed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn save(&mut self) -> Result<(), StoreError> {
        let data = self.data.lock().clone();
        if data != self.saved {
            write(&mut *self.store, "data", &data)?;
            self.saved = data;
        }
        if self.schedules_changed {
            write(&mut *self.store, "schedules", &self.schedules)?;
            self.schedules_changed = false;
        }
        Ok(())
    }
}

/// The values that handlers put into a memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Recollection(Arc<Mutex<Map<String, Value>>>);

impl Recollection {
    fn lock(&self) -> std::sync::MutexGuard<'_, Map<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a value.
    pub fn recall(&self, key: &str) -> Option<Value> {
        self.lock().get(key).cloned()
    }

    /// Remembers a value; `Value::Null` forgets it.
    pub fn remember(&self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        let mut data = self.lock();
        if value.is_null() {
            data.retain(|known, _| *known != key);
        } else {
            data.insert(key, value);
        }
    }
}

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

fn write(store: &mut dyn StateStore, key: &str, value: &impl serde::Serialize) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(StoreError::new)?;
    store.save(key, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that many memories share.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<MemoryStore>>);

    impl StateStore for Shared {
        fn load(&mut self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.0.lock().unwrap().load(key)
        }

        fn save(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
            self.0.lock().unwrap().save(key, bytes)
        }
    }

    #[test]
    fn values_survive_a_restart_and_null_forgets() {
        let store = Shared::default();
        let mut memory = Memory::load(Box::new(store.clone())).unwrap();
        let values = memory.recollection();
        values.remember("count", 3);
        values.remember("gone", "x");
        values.remember("gone", Value::Null);
        memory.schedule_ran("nine", 5);
        memory.write("place", &"s1").unwrap();
        memory.save().unwrap();
        let mut again = Memory::load(Box::new(store.clone())).unwrap();
        assert_eq!(again.recollection().recall("count"), Some(3.into()));
        assert_eq!(again.recollection().recall("gone"), None);
        assert_eq!(again.schedule_ran_at("nine"), Some(5));
        assert_eq!(again.read::<String>("place").unwrap().as_deref(), Some("s1"));
        store.0.lock().unwrap().save("data", b"[").unwrap();
        let wrong = Memory::load(Box::new(store)).err().expect("not readable");
        assert!(wrong.to_string().starts_with("data: "), "{wrong}");
    }
}
