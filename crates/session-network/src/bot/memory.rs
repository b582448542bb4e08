//! Memory of a bot: accepted requests, values of its handlers, and the current event with its answers.
//!
//! The answers of an event are kept before they are sent. If the bot is killed, the event comes again, its handlers run
//! again on the earlier memory, and their answers are the kept ones: the nodes recognise them, so that none is stored
//! twice.

use std::sync::Arc;

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use session_protocol::SessionId;
use session_protocol::encoding::{b64, from_b64};

use crate::error::{Cause, NetworkError};
use crate::prepared::PreparedMessage;
use crate::storage::{MAX_ITEM_LEN_BYTES, Storage};

/// Maximum number of accounts that are remembered; the oldest are forgotten first.
const MAX_ACCOUNTS: usize = 10_000;
/// Maximum number of answers of one event.
const MAX_ANSWERS: usize = 32;
/// Time after which an account is checked again for keys of version 2, seconds.
const LOOK_AGAIN_SECS: u64 = 24 * 60 * 60;

#[derive(Default, Serialize, Deserialize)]
struct Saved {
    #[serde(default)]
    accounts: Vec<Account>,
    #[serde(default)]
    data: Map<String, Value>,
    #[serde(default)]
    event: Option<InHand>,
}

/// An account that wrote to the bot and whose request was accepted.
#[derive(Clone, Serialize, Deserialize)]
struct Account {
    id: String,
    /// Time when the keys of version 2 were looked for, seconds since 1970.
    #[serde(default)]
    looked_secs: u64,
}

/// The last event that was begun.
#[derive(Clone, Default, Serialize, Deserialize)]
struct InHand {
    key: String,
    done: bool,
    #[serde(default)]
    answers: Vec<Answer>,
}

/// One answer: the messages of one text.
#[derive(Clone, Serialize, Deserialize)]
struct Answer {
    to: String,
    /// Base64 of [`PreparedMessage::to_bytes`].
    messages: Vec<String>,
}

/// The memory of one account's bot.
pub(super) struct Memory {
    storage: Arc<dyn Storage>,
    item: String,
    accounts: Vec<Account>,
    data: Map<String, Value>,
    /// The data at the begin of the event, with which a repeated run begins.
    data_before: Map<String, Value>,
    event: InHand,
    /// Number of answers that the handlers of this run gave.
    given: usize,
}

impl Memory {
    /// Reads the memory of an account's bot.
    pub(super) fn load(storage: Arc<dyn Storage>, owner: &SessionId) -> Result<Self, NetworkError> {
        let item = format!("bot-{}", hex::encode(Blake2b::<U16>::digest(owner.as_bytes())));
        let saved = match storage.load(&item)? {
            None => Saved::default(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let detail = format!("the bot's memory `{item}` is damaged: {error}");
                NetworkError::new(Cause::State { detail })
            })?,
        };
        Ok(Self {
            storage,
            item,
            accounts: saved.accounts,
            data_before: saved.data.clone(),
            data: saved.data,
            event: saved.event.unwrap_or_default(),
            given: 0,
        })
    }

    /// Takes an event in hand. Returns false if it was done before.
    pub(super) fn begin(&mut self, key: &str) -> bool {
        self.data.clone_from(&self.data_before);
        self.given = 0;
        if self.event.key == key {
            return !self.event.done;
        }
        self.event = InHand {
            key: key.to_owned(),
            ..InHand::default()
        };
        true
    }

    /// Stores that the event is done, with the memory of its handlers.
    pub(super) fn finish(&mut self) -> Result<(), NetworkError> {
        self.event.done = true;
        self.event.answers.clear();
        self.data_before.clone_from(&self.data);
        self.save()
    }

    /// The next answer to `to` as an earlier run kept it.
    pub(super) fn kept(&mut self, to: &SessionId) -> Option<Vec<PreparedMessage>> {
        let answer = self.event.answers.get(self.given)?;
        let read = |text: &String| PreparedMessage::from_bytes(&from_b64(text)?).ok();
        let messages: Option<Vec<_>> = answer.messages.iter().map(read).collect();
        if messages.is_none() || answer.to != to.to_string() {
            // The handlers took another turn: from here on their answers are new.
            self.event.answers.truncate(self.given);
            return None;
        }
        self.given += 1;
        messages
    }

    /// Keeps the next answer, before it is sent.
    pub(super) fn keep(&mut self, to: &SessionId, messages: &[PreparedMessage]) -> Result<(), NetworkError> {
        if self.event.answers.len() >= MAX_ANSWERS {
            let rule = "an event has at most 32 answers";
            return Err(NetworkError::new(Cause::Option { rule }));
        }
        self.event.answers.push(Answer {
            to: to.to_string(),
            messages: messages.iter().map(|message| b64(message.to_bytes())).collect(),
        });
        self.given += 1;
        self.save()
    }

    /// Returns true if the request of an account was accepted.
    pub(super) fn knows(&self, id: &SessionId) -> bool {
        let id = id.to_string();
        self.accounts.iter().any(|account| account.id == id)
    }

    /// Remembers an account; it is kept with the next save.
    pub(super) fn know(&mut self, id: &SessionId) {
        if self.knows(id) {
            return;
        }
        if self.accounts.len() >= MAX_ACCOUNTS {
            self.accounts.remove(0);
        }
        self.accounts.push(Account {
            id: id.to_string(),
            looked_secs: 0,
        });
    }

    /// Returns true once a day for each known account: it is time to look for keys of version 2.
    pub(super) fn is_time_to_look(&mut self, id: &SessionId, now_secs: u64) -> bool {
        let id = id.to_string();
        let Some(account) = self.accounts.iter_mut().find(|account| account.id == id) else {
            return false;
        };
        let due = now_secs.saturating_sub(account.looked_secs) >= LOOK_AGAIN_SECS;
        if due {
            account.looked_secs = now_secs;
        }
        due
    }

    pub(super) fn recall(&self, key: &str) -> Option<Value> {
        self.data.get(key).cloned()
    }

    pub(super) fn remember(&mut self, key: String, value: Value) {
        if value.is_null() {
            self.data.remove(&key);
        } else {
            self.data.insert(key, value);
        }
    }

    fn save(&self) -> Result<(), NetworkError> {
        let saved = Saved {
            accounts: self.accounts.clone(),
            data: self.data_before.clone(),
            event: Some(self.event.clone()),
        };
        let too_long = || {
            let detail = "the bot remembers more than 8 MiB".to_owned();
            NetworkError::new(Cause::State { detail })
        };
        let bytes = serde_json::to_vec(&saved).map_err(|_| too_long())?;
        if bytes.len() > MAX_ITEM_LEN_BYTES {
            return Err(too_long());
        }
        Ok(self.storage.save(&self.item, &bytes)?)
    }
}

/// Reads any bytes as a kept memory, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(bytes: &[u8]) {
    let storage = crate::storage::MemoryStorage::default();
    let owner = SessionId::new(session_protocol::Prefix::Account, [5; 32]);
    let item = format!("bot-{}", hex::encode(Blake2b::<U16>::digest(owner.as_bytes())));
    if storage.save(&item, bytes).is_ok()
        && let Ok(mut memory) = Memory::load(Arc::new(storage), &owner)
    {
        let key = memory.event.key.clone();
        memory.begin(&key);
        while memory.kept(&owner).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;
    use session_protocol::Prefix;

    fn id(n: u8) -> SessionId {
        SessionId::new(Prefix::Account, [n; 32])
    }

    #[test]
    fn a_repeated_event_begins_with_the_memory_of_before() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let load = || Memory::load(Arc::clone(&storage), &id(1)).expect("readable");
        let mut memory = load();
        assert!(memory.begin("one"));
        memory.remember("count".to_owned(), 1.into());
        memory.keep(&id(2), &[]).expect("kept");
        // Killed here. The handler's memory is not kept, but its answer is.
        let mut memory = load();
        assert!(memory.begin("one"));
        assert_eq!(memory.recall("count"), None);
        assert_eq!(memory.kept(&id(2)), Some(Vec::new()));
        assert_eq!(memory.kept(&id(2)), None);
        memory.remember("count".to_owned(), 1.into());
        memory.know(&id(2));
        memory.finish().expect("kept");
        let mut memory = load();
        assert!(!memory.begin("one"), "done before");
        assert!(memory.begin("two"));
        assert_eq!(
            (memory.recall("count"), memory.knows(&id(2))),
            (Some(1.into()), true)
        );
        assert!(memory.is_time_to_look(&id(2), 2_000_000));
        assert!(!memory.is_time_to_look(&id(2), 2_000_100) && !memory.is_time_to_look(&id(3), 2_000_000));
    }

    #[test]
    fn damage_is_named_and_answers_and_accounts_are_bounded() {
        let storage = MemoryStorage::default();
        let item = format!("bot-{}", hex::encode(Blake2b::<U16>::digest(id(1).as_bytes())));
        storage.save(&item, b"{").expect("saved");
        let error = Memory::load(Arc::new(storage), &id(1)).err().expect("damaged");
        assert!(matches!(error.cause(), Cause::State { .. }));
        let mut memory = Memory::load(Arc::new(MemoryStorage::default()), &id(1)).expect("empty");
        assert!(memory.begin("one"));
        for _ in 0..MAX_ANSWERS {
            memory.keep(&id(2), &[]).expect("kept");
        }
        assert!(memory.keep(&id(2), &[]).is_err());
        for n in 0..(MAX_ACCOUNTS as u64 + 5) {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            memory.know(&SessionId::new(Prefix::Account, key));
        }
        assert_eq!(memory.accounts.len(), MAX_ACCOUNTS);
    }
}
