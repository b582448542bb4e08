//! Reading the messages of a room, also on servers that lack a call or answer it in another way.

use std::collections::BTreeMap;

use crate::call_types::{ListOptions, MAX_LIMIT};
use crate::calls::{self, Page};
use crate::differences::Difference;
use crate::error::SogsError;
use crate::room::Room;
use crate::types::{Message, Row};

/// Rows in an answer when no limit is given.
const DEFAULT_LIMIT: u32 = 100;
/// Pages of changes that are searched at most where a server has no call for what is looked for: 4,096 changes.
const SEARCH_PAGES: usize = 16;

impl Room {
    /// Returns the newest messages, newest first, at most [`ListOptions::limit`].
    pub async fn recent(&self, options: ListOptions) -> Result<Vec<Message>, SogsError> {
        let wanted = options.limit.unwrap_or(DEFAULT_LIMIT);
        // One message alone does not show in which order the server lists them.
        let asked = ListOptions {
            limit: Some(wanted.max(2)),
            ..options
        };
        let page = self.server().run(calls::recent_page(self.token(), asked)).await?;
        let mut messages = self.newest(page, asked).await?;
        messages.truncate(wanted as usize);
        Ok(messages)
    }

    /// Returns the newest messages, given what the server says they are: some servers give the oldest.
    pub(crate) async fn newest(&self, page: Page, options: ListOptions) -> Result<Vec<Message>, SogsError> {
        if !page.oldest_first {
            return Ok(page.messages);
        }
        self.server().note(Difference::RecentOldestFirst);
        let wanted = options.limit.unwrap_or(DEFAULT_LIMIT) as usize;
        if page.total < wanted {
            return Ok(page.messages);
        }
        let found = self
            .search(options.reactors, |found| found.len() >= wanted)
            .await?;
        Ok(found.into_values().rev().take(wanted).collect())
    }

    /// Returns messages older than `id`, newest first.
    pub async fn before(&self, id: u64, options: ListOptions) -> Result<Vec<Message>, SogsError> {
        self.server().run(calls::before(self.token(), id, options)).await
    }

    /// Returns what changed after `seqno`, in order.
    pub async fn since(&self, seqno: i64, options: ListOptions) -> Result<Vec<Row>, SogsError> {
        self.server()
            .run(calls::since(self.token(), seqno, options))
            .await
    }

    /// Returns one message. Where the server has no call for that, the newest 4,096 changes of the room are searched.
    pub async fn message(&self, id: u64) -> Result<Message, SogsError> {
        match self.server().run(calls::message(self.token(), id)).await {
            Err(error) if matches!(error.status(), Some(404 | 405)) => {
                self.message_elsewhere(id, error).await
            }
            other => other,
        }
    }

    /// Looks for a message by other calls; `missing` is what is returned if it is not there.
    async fn message_elsewhere(&self, id: u64, missing: SogsError) -> Result<Message, SogsError> {
        if !self.server().differs(Difference::NoSingleMessage) {
            match self.before(id.saturating_add(1), ListOptions::limit(1)).await {
                Ok(list) => return list.into_iter().find(|message| message.id == id).ok_or(missing),
                Err(error) if matches!(error.status(), Some(404 | 405)) => {}
                Err(_) => return Err(missing),
            }
        }
        let Ok(mut found) = self.search(None, |found| found.contains_key(&id)).await else {
            return Err(missing);
        };
        self.server().note(Difference::NoSingleMessage);
        found.remove(&id).ok_or_else(|| {
            missing.with_text(
                "the server cannot return a single message, and its newest changes do not contain it",
            )
        })
    }

    /// Collects messages from the newest changes backwards until there are enough.
    async fn search(
        &self,
        reactors: Option<u32>,
        enough: impl Fn(&BTreeMap<u64, Message>) -> bool,
    ) -> Result<BTreeMap<u64, Message>, SogsError> {
        let options = ListOptions {
            limit: Some(MAX_LIMIT),
            reactors,
            with_reaction_rows: false,
        };
        let mut found = BTreeMap::new();
        let mut until = self.info().await?.message_sequence;
        for _ in 0..SEARCH_PAGES {
            if until <= 0 {
                break;
            }
            let from = (until - i64::from(MAX_LIMIT)).max(0);
            for row in self.since(from, options).await? {
                if let Row::Message(message) = row {
                    found.insert(message.id, *message);
                }
            }
            if enough(&found) {
                break;
            }
            until = from;
        }
        Ok(found)
    }
}
