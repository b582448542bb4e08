//! Groups: names that stand for tags.

use std::collections::{BTreeMap, BTreeSet};

use ackpost_notify::Diagnostic;

use crate::entry::Entry;
use crate::tag::tags_of;

/// Most groups that the services of one configuration may join altogether.
const MEMBERSHIPS: usize = 100_000;

/// Group names and the words (tags, other groups) they stand for, all as they are written: upper and lower case differ
/// here, and `2:ops` is another word than `ops`.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// A word, and the groups that list it.
    listed_in: BTreeMap<String, BTreeSet<String>>,
    names: BTreeSet<String>,
}

impl Groups {
    pub(super) fn add<W: AsRef<str>>(&mut self, group: &str, words: &[W]) {
        self.names.insert(group.to_owned());
        for word in words {
            self.listed_in
                .entry(word.as_ref().to_owned())
                .or_default()
                .insert(group.to_owned());
        }
    }

    /// Gives every entry its tags: the words written for it and the groups that they belong to, transitively; loops are
    /// harmless. False when there would be far too many.
    pub(super) fn apply<W: AsRef<str>>(&self, entries: &mut [Entry], words: &[Vec<W>]) -> bool {
        let mut left = MEMBERSHIPS;
        for (entry, words) in entries.iter_mut().zip(words) {
            let found = self.reach(words.iter().map(AsRef::as_ref));
            let Some(rest) = left.checked_sub(found.len()) else {
                return false;
            };
            left = rest;
            entry.tags = tags_of(words.iter().map(AsRef::as_ref).chain(found));
        }
        true
    }

    /// Groups that no service is in.
    pub(super) fn idle<W: AsRef<str>>(&self, words: &[Vec<W>]) -> Vec<String> {
        let reached = self.reach(words.iter().flatten().map(AsRef::as_ref));
        let idle = self.names.iter().filter(|name| !reached.contains(name.as_str()));
        idle.cloned().collect()
    }

    /// The groups of these words. A word that is a group's own name reaches nothing.
    fn reach<'a>(&'a self, words: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        if self.names.is_empty() {
            return found;
        }
        let mut open: Vec<&str> = words.filter(|word| !self.names.contains(*word)).collect();
        while let Some(word) = open.pop() {
            for group in self.listed_in.get(word).into_iter().flatten() {
                if found.insert(group.as_str()) {
                    open.push(group);
                }
            }
        }
        found
    }
}

/// Returns the error for more groups than any configuration needs. They would take too long to resolve.
pub(super) fn too_many_groups() -> Diagnostic {
    Diagnostic::error(
        "the services are in more than 100,000 groups altogether",
        "use fewer groups",
    )
}
