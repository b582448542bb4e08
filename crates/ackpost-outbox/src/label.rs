//! Labels: what lists show of an entry. They stay readable after its content was removed.
//!
//! An entry whose URL names several targets has no label of its own: one [`SharedLabel`] serves all of them, and the
//! entry stores its number in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::OutboxError;
use super::seal::AtRestCipher;
use super::store::{LabelAt, Store};
use super::transport::Destination;

/// Number of shared labels that are kept open.
const KEPT: usize = 16;

/// Fields of an entry that lists show.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Label {
    pub(super) url: String,
    pub(super) url_id: String,
    pub(super) target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
}

impl Label {
    fn new(destination: &Destination, origin: Option<&str>) -> Self {
        Self {
            origin: origin.map(str::to_owned),
            url: destination.masked.clone(),
            url_id: destination.url_id.clone(),
            target: destination.target.clone(),
        }
    }

    fn damaged() -> Self {
        Self {
            url: "(damaged)".to_owned(),
            url_id: String::new(),
            target: "(damaged)".to_owned(),
            origin: None,
        }
    }
}

/// The labels of all targets of one URL.
#[derive(Serialize, Deserialize)]
pub(super) struct SharedLabel {
    url_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    addresses: Vec<String>,
    urls: Column,
    targets: Column,
}

/// Texts that differ in one part only.
#[derive(Serialize, Deserialize)]
struct Column {
    before: String,
    after: String,
    /// The parts that differ. `None`: they are the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<String>>,
}

impl Column {
    fn new(texts: &[&str], addresses: &[String]) -> Self {
        // If each text contains its address, the texts mostly differ in nothing else.
        if let Some(column) = Self::around(texts, addresses) {
            return column;
        }
        let first = texts.first().copied().unwrap_or_default();
        let shortest = texts.iter().map(|text| text.len()).min().unwrap_or(0);
        let mut before = common(texts, shortest, |text, n| text.as_bytes()[n]);
        while !texts.iter().all(|text| text.is_char_boundary(before)) {
            before -= 1;
        }
        let rest = shortest - before;
        let mut after = common(texts, rest, |text, n| text.as_bytes()[text.len() - 1 - n]);
        while !texts.iter().all(|text| text.is_char_boundary(text.len() - after)) {
            after -= 1;
        }
        let parts = texts
            .iter()
            .map(|text| text[before..text.len() - after].to_owned())
            .collect();
        Self {
            before: first[..before].to_owned(),
            after: first[first.len() - after..].to_owned(),
            parts: Some(parts),
        }
    }

    /// Returns the column if the texts are the addresses with the same text before and after each.
    fn around(texts: &[&str], addresses: &[String]) -> Option<Self> {
        let (first, address) = (texts.first()?, addresses.first()?);
        let fits = |(at, _): &(usize, &str)| {
            let (before, after) = (&first[..*at], &first[at + address.len()..]);
            texts.iter().zip(addresses).all(|(text, address)| {
                let rest = text
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after));
                rest == Some(address.as_str())
            })
        };
        let (at, _) = first.match_indices(address.as_str()).find(fits)?;
        Some(Self {
            before: first[..at].to_owned(),
            after: first[at + address.len()..].to_owned(),
            parts: None,
        })
    }

    fn text(&self, number: usize, addresses: &[String]) -> Option<String> {
        let parts = self.parts.as_deref().unwrap_or(addresses);
        Some(format!("{}{}{}", self.before, parts.get(number)?, self.after))
    }
}

/// Returns how many bytes all texts have in common, at most `most`.
fn common(texts: &[&str], most: usize, byte: impl Fn(&str, usize) -> u8) -> usize {
    let Some(first) = texts.first() else { return 0 };
    (0..most)
        .take_while(|&n| texts.iter().all(|text| byte(text, n) == byte(first, n)))
        .count()
}

impl SharedLabel {
    /// Takes what lists show of these destinations, which belong to one URL.
    pub(super) fn new<'a>(destinations: impl Iterator<Item = &'a Destination>, origin: Option<&str>) -> Self {
        let (mut addresses, mut urls, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let mut url_id = String::new();
        for destination in destinations {
            url_id.clone_from(&destination.url_id);
            addresses.push(destination.address.clone());
            urls.push(destination.masked.as_str());
            targets.push(destination.target.as_str());
        }
        Self {
            url_id,
            origin: origin.map(str::to_owned),
            urls: Column::new(&urls, &addresses),
            targets: Column::new(&targets, &addresses),
            addresses,
        }
    }

    fn label(&self, number: i64) -> Option<Label> {
        let number = usize::try_from(number).ok()?;
        Some(Label {
            url: self.urls.text(number, &self.addresses)?,
            url_id: self.url_id.clone(),
            target: self.targets.text(number, &self.addresses)?,
            origin: self.origin.clone(),
        })
    }

    /// Seals it for its row.
    pub(super) fn seal(&self, seal: &AtRestCipher, id: i64) -> Vec<u8> {
        let plain = serde_json::to_vec(self).expect("texts can be written");
        seal.seal(&shared_place(id), &plain)
    }
}

fn shared_place(id: i64) -> String {
    format!("shared label {id}")
}

/// Seals and opens labels. It keeps the shared ones that were opened lately, because a label never changes.
pub(super) struct Labels {
    store: Arc<Store>,
    seal: Arc<AtRestCipher>,
    shared: Mutex<VecDeque<(i64, Arc<SharedLabel>)>>,
}

impl Labels {
    pub(super) fn new(store: Arc<Store>, seal: Arc<AtRestCipher>) -> Self {
        Self {
            store,
            seal,
            shared: Mutex::default(),
        }
    }

    fn get(&self, id: i64) -> Option<Arc<SharedLabel>> {
        let kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(known, _)| *known == id);
        found.map(|(_, label)| Arc::clone(label))
    }

    fn put(&self, id: i64, label: &Arc<SharedLabel>) {
        let mut kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front((id, Arc::clone(label)));
    }

    /// Seals the label of an entry.
    pub(super) fn seal(&self, id: &str, destination: &Destination, origin: Option<&str>) -> Vec<u8> {
        let label = serde_json::to_vec(&Label::new(destination, origin)).expect("texts can be written");
        self.seal.seal(&format!("label {id}"), &label)
    }

    /// Opens the label of an entry. A damaged one is shown as damaged.
    pub(super) async fn open(&self, at: LabelAt<'_>) -> Result<Label, OutboxError> {
        if !at.sealed.is_empty() {
            let plain = self.seal.open(&format!("label {}", at.id), at.sealed);
            let label = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
            return Ok(label.unwrap_or_else(Label::damaged));
        }
        let (Some(share), Some(number)) = (at.share, at.number) else {
            return Ok(Label::damaged());
        };
        let shared = self.shared_label(share).await?;
        Ok(shared
            .and_then(|shared| shared.label(number))
            .unwrap_or_else(Label::damaged))
    }

    /// Returns the address of a target by its number in a shared label.
    pub(super) async fn shared_address(
        &self,
        share: i64,
        number: i64,
    ) -> Result<Option<String>, OutboxError> {
        let shared = self.shared_label(share).await?;
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(shared.and_then(|shared| shared.addresses.get(number).cloned()))
    }

    async fn shared_label(&self, id: i64) -> Result<Option<Arc<SharedLabel>>, OutboxError> {
        match self.get(id) {
            Some(shared) => Ok(Some(shared)),
            None => self.opened_shared_label(id).await,
        }
    }

    async fn opened_shared_label(&self, id: i64) -> Result<Option<Arc<SharedLabel>>, OutboxError> {
        let sealed = self.store.label(id).await?;
        let plain = sealed.and_then(|sealed| self.seal.open(&shared_place(id), &sealed));
        let shared = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
        let shared = shared.map(Arc::new);
        if let Some(shared) = &shared {
            self.put(id, shared);
        }
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_gives_back_its_texts() {
        for all in [
            &["xmpps://****@h.org/jane?a=b", "xmpps://****@h.org/joe?a=b"][..],
            &["same", "same"],
            &["", "a"],
            &["aa", "aaa", "a"],
            // They share a byte of a character, at the start and at the end.
            &["/\u{e4}x", "/\u{e5}x"],
            &["x\u{fc}/", "x,\u{bc}/", "x\u{1bc}/"],
            &["one"],
        ] {
            for addresses in [&["jane", "joe", "x"], &["a", "a", "a"], &["no", "such", ""]] {
                let addresses = addresses.map(str::to_owned);
                let column = Column::new(all, &addresses);
                for (number, text) in all.iter().enumerate() {
                    assert_eq!(column.text(number, &addresses).as_deref(), Some(*text));
                }
            }
        }
        let column = Column::new(&["a/r1?q", "a/r12?q"], &["x".to_owned(), "y".to_owned()]);
        assert_eq!((column.before.as_str(), column.after.as_str()), ("a/r1", "?q"));
        assert!(column.text(2, &[]).is_none());
    }

    #[test]
    fn addresses_are_written_once() {
        let destination = |name: &str| Destination {
            service: "test".to_owned(),
            url: super::super::SecretText::new("test://secret@h"),
            masked: format!("test://****@h/{name}?x=h"),
            url_id: "00000000".to_owned(),
            address: name.to_owned(),
            target: format!("test://h/{name}"),
            sender: None,
            guest: None,
        };
        let destinations = [destination("h"), destination("h2")];
        let label = SharedLabel::new(destinations.iter(), Some("key"));
        assert!(label.targets.parts.is_none() && label.urls.parts.is_none());
        let second = label.label(1).expect("the second target");
        assert_eq!(second.url, "test://****@h/h2?x=h");
        assert_eq!(second.target, "test://h/h2");
        assert_eq!(second.origin.as_deref(), Some("key"));
        assert!(label.label(2).is_none());
        assert!(label.label(-1).is_none());
    }
}
