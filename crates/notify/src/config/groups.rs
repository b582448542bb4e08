//! Groups: names that stand for tags.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::Entry;
use crate::tag::Tag;

/// Group name to the tags (and groups) it stands for.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, BTreeSet<String>>);

impl Groups {
    pub(super) fn add(&mut self, group: String, tags: impl IntoIterator<Item = String>) {
        self.0.entry(group).or_default().extend(tags);
    }

    /// Gives every entry the groups that its tags belong to, transitively; loops are harmless.
    pub(super) fn apply(&self, entries: &mut [Entry]) {
        if self.0.is_empty() {
            return;
        }
        let resolved: BTreeMap<&String, BTreeSet<&str>> =
            self.0.keys().map(|group| (group, self.reach(group))).collect();
        for entry in entries {
            let names: BTreeSet<String> = entry
                .tags
                .iter()
                .filter(|tag| tag.priority == 0)
                .map(|tag| tag.name.clone())
                .collect();
            for (group, reached) in &resolved {
                if names.iter().any(|name| reached.contains(name.as_str())) && !names.contains(*group) {
                    entry.tags.push(Tag::new((*group).clone()));
                }
            }
            entry.tags.sort();
        }
    }

    /// Groups from which no plain tag of any entry can be reached.
    pub(super) fn idle(&self, entries: &[Entry]) -> Vec<String> {
        let used: BTreeSet<&str> = entries
            .iter()
            .flat_map(|entry| {
                entry
                    .tags
                    .iter()
                    .filter(|tag| tag.priority == 0)
                    .map(|tag| tag.name.as_str())
            })
            .collect();
        self.0
            .keys()
            .filter(|group| {
                !self
                    .reach(group)
                    .iter()
                    .any(|name| !self.0.contains_key(*name) && used.contains(name))
            })
            .cloned()
            .collect()
    }

    fn reach<'a>(&'a self, group: &'a str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![group];
        while let Some(name) = open.pop() {
            if let Some(tags) = self.0.get(name) {
                for tag in tags {
                    if seen.insert(tag.as_str()) {
                        open.push(tag);
                    }
                }
            }
        }
        seen
    }
}
