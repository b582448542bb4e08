//! Storage of a network's state between runs.

use core::any::Any;
use core::fmt;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackpost_platform::private_file;

/// Longest item that is read, bytes.
pub const MAX_ITEM_LEN_BYTES: usize = 8 * 1024 * 1024;
/// Longest time for which another process may lock an item.
const LONGEST_LOCK: Duration = Duration::from_secs(10);

/// Storage for a few items of bytes: the list of nodes, the last used time, the reading state of a mailbox.
///
/// Names consist of lower-case letters, digits and `-`. Calls may block for the time of a write to disk.
pub trait Storage: Send + Sync + 'static {
    /// Returns an item, `None` if there is none.
    ///
    /// # Errors
    /// Any failure of the storage.
    fn load(&self, item: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces an item as a whole: after a crash it is the old one or the new one.
    ///
    /// # Errors
    /// Any failure of the storage.
    fn save(&self, item: &str, bytes: &[u8]) -> io::Result<()>;

    /// Replaces an item by the bytes that `change` makes of it. Nobody else changes the item in between, neither
    /// another thread nor another process.
    ///
    /// # Errors
    /// Any failure of the storage.
    fn update(&self, item: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Vec<u8>) -> io::Result<()>;

    /// Takes the right to use an item alone, until the lock is dropped or the process ends. Returns `None` at once if another
    /// one has it. Calls of the other methods do not look at it.
    ///
    /// # Errors
    /// Any failure of the storage.
    fn lock(&self, item: &str) -> io::Result<Option<ItemLock>>;
}

/// The right to use an item alone. It ends when this is dropped.
pub struct ItemLock(#[expect(dead_code, reason = "it is kept to be dropped")] Box<dyn Any + Send + Sync>);

impl ItemLock {
    /// Keeps what ends the lock when it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for ItemLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemLock").finish_non_exhaustive()
    }
}

/// Items in memory: they end with the process.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    items: Mutex<HashMap<String, Vec<u8>>>,
    locked: Arc<Mutex<HashSet<String>>>,
}

/// The name of a locked item, which is free again once this is dropped.
struct Locked {
    all: Arc<Mutex<HashSet<String>>>,
    item: String,
}

impl Drop for Locked {
    fn drop(&mut self) {
        guard(&self.all).remove(&self.item);
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryStorage {
    fn items(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        guard(&self.items)
    }
}

impl Storage for MemoryStorage {
    fn load(&self, item: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.items().get(item).cloned())
    }

    fn save(&self, item: &str, bytes: &[u8]) -> io::Result<()> {
        self.items().insert(item.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn update(&self, item: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Vec<u8>) -> io::Result<()> {
        let mut items = self.items();
        let changed = change(items.get(item).cloned());
        items.insert(item.to_owned(), changed);
        Ok(())
    }

    fn lock(&self, item: &str) -> io::Result<Option<ItemLock>> {
        let is_free = guard(&self.locked).insert(item.to_owned());
        Ok(is_free.then(|| {
            ItemLock::new(Locked {
                all: Arc::clone(&self.locked),
                item: item.to_owned(),
            })
        }))
    }
}

/// Items as files in a folder that only their owner may read. Several processes may use it at once.
#[derive(Debug, Clone)]
pub struct FolderStorage {
    folder: PathBuf,
}

impl FolderStorage {
    /// Uses this folder; it is made when the first item is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }
}

impl Storage for FolderStorage {
    fn load(&self, item: &str) -> io::Result<Option<Vec<u8>>> {
        private_file::read(&self.folder.join(item), MAX_ITEM_LEN_BYTES)
    }

    fn save(&self, item: &str, bytes: &[u8]) -> io::Result<()> {
        private_file::replace(&self.folder.join(item), bytes)
    }

    fn update(&self, item: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Vec<u8>) -> io::Result<()> {
        let _lock = private_file::lock(&self.folder.join(format!("{item}.lock")), LONGEST_LOCK)?;
        let changed = change(self.load(item)?);
        self.save(item, &changed)
    }

    fn lock(&self, item: &str) -> io::Result<Option<ItemLock>> {
        let file = self.folder.join(format!("{item}.lock"));
        match private_file::lock(&file, Duration::ZERO) {
            Ok(file) => Ok(Some(ItemLock::new(file))),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_replaced_and_updates_exclude_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let storages: [&dyn Storage; 2] = [
            &MemoryStorage::default(),
            &FolderStorage::new(folder.path().join("below")),
        ];
        for storage in storages {
            assert_eq!(storage.load("nodes").expect("read"), None);
            storage.save("nodes", b"one").expect("written");
            assert_eq!(storage.load("nodes").expect("read").as_deref(), Some(&b"one"[..]));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            storage
                                .update("count", &mut |old| {
                                    let count = old.and_then(|old| old.first().copied()).unwrap_or(0);
                                    vec![count + 1]
                                })
                                .expect("updated");
                        }
                    });
                }
            });
            assert_eq!(storage.load("count").expect("read"), Some(vec![40]));
        }
    }

    #[test]
    fn one_has_a_lock_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let storages: [&dyn Storage; 2] = [
            &MemoryStorage::default(),
            &FolderStorage::new(folder.path().join("below")),
        ];
        for storage in storages {
            let first = storage.lock("mailbox").expect("a lock");
            assert!(first.is_some());
            assert!(storage.lock("mailbox").expect("no failure").is_none());
            assert!(storage.lock("other").expect("a lock").is_some());
            storage.save("mailbox", b"one").expect("written");
            drop(first);
            assert!(storage.lock("mailbox").expect("a lock").is_some());
        }
    }
}
