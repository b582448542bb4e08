//! A map with a bound, which forgets the entries that were not used for the longest time.

use std::collections::HashMap;
use std::hash::Hash;

/// Map that holds a bounded number of entries.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    most: usize,
    uses: u64,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Returns an empty map for at most `most` entries, at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            most: most.max(1),
            uses: 0,
        }
    }

    /// Returns an entry, which counts as used now.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    /// Adds an entry. If the map is full, the entry that was not used for the longest time makes room.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if !self.entries.contains_key(&key) {
            self.make_room(|_| true);
        }
        self.uses += 1;
        self.entries.insert(key, (self.uses, value));
    }

    /// Removes the entry that was not used for the longest time and that may go, if the map is full. Returns true if
    /// there is room for another entry.
    pub(crate) fn make_room(&mut self, may_go: impl Fn(&V) -> bool) -> bool {
        if self.entries.len() < self.most {
            return true;
        }
        let oldest = self.entries.iter().filter(|(_, (_, value))| may_go(value));
        let Some(key) = oldest
            .min_by_key(|(_, (used, _))| *used)
            .map(|(key, _)| key.clone())
        else {
            return false;
        };
        self.entries.remove(&key);
        true
    }

    /// Keeps only the entries for which `keep` is true.
    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.entries.retain(|_, (_, value)| keep(value));
    }

    /// Takes every entry out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = V> {
        self.entries.drain().map(|(_, (_, value))| value)
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_longest_unused_entry_makes_room() {
        let mut recent = Recent::new(2);
        recent.insert("a", 1);
        recent.insert("b", 2);
        assert_eq!(recent.get(&"a"), Some(&mut 1));
        recent.insert("c", 3);
        assert_eq!(recent.get(&"b"), None);
        assert_eq!(recent.get(&"a"), Some(&mut 1));
        assert!(!recent.make_room(|value| *value > 9), "no entry may go");
        assert!(recent.make_room(|value| *value == 1), "an entry in use stays");
        assert_eq!(recent.get(&"c"), Some(&mut 3));
    }
}
