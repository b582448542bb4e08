//! The inbox as a part of the poll.

use super::{Event, Poll, Step};
use crate::call_types::MAX_LIMIT;
use crate::calls::{self, DirectBox};
use crate::differences::Difference;
use crate::error::SogsError;
use crate::types::InboxItem;

impl Poll {
    /// Takes the answer for the inbox; returns true if more waits there.
    pub(super) async fn hear(
        &mut self,
        items: Result<Vec<InboxItem>, SogsError>,
        since: Option<u64>,
    ) -> Result<bool, SogsError> {
        let items = match items {
            Err(error) if error.is_failed_answer() && !self.server.differs(Difference::NoInboxLimit) => {
                match self
                    .server
                    .run(calls::direct_messages(DirectBox::Inbox, since, None))
                    .await
                {
                    Ok(items) => {
                        self.server.note(Difference::NoInboxLimit);
                        Ok(items)
                    }
                    Err(_) => Err(error),
                }
            }
            items => items,
        };
        match items {
            Ok(items) => {
                let known = self.cursor.inbox.unwrap_or(0);
                // A server that gives the same items again is not asked without a pause.
                let more = self.is_full(&items) && items.iter().any(|item| item.id > known);
                if std::mem::take(&mut self.inbox_lost) {
                    self.queue.push_back((Step::Nothing, Event::InboxBack));
                }
                self.direct(items, more)?;
                Ok(more)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.inbox_lost, true) {
                    self.queue.push_back((Step::Nothing, Event::InboxLost { error }));
                }
                Ok(false)
            }
        }
    }

    /// Returns true if there may be more in the inbox than these items. Without a limit, nobody knows how many the
    /// server gives at once.
    fn is_full(&self, items: &[InboxItem]) -> bool {
        match self.inbox_limit() {
            Some(limit) => items.len() >= limit as usize,
            None => !items.is_empty(),
        }
    }

    pub(super) fn inbox_limit(&self) -> Option<u32> {
        (!self.server.differs(Difference::NoInboxLimit)).then_some(MAX_LIMIT)
    }

    fn direct(&mut self, items: Vec<InboxItem>, more: bool) -> Result<(), SogsError> {
        let known = self.cursor.inbox.unwrap_or(0);
        if !self.inbox_primed {
            // Existing messages are skipped page by page: there is no call for the last number alone.
            self.cursor.inbox = Some(items.iter().map(|item| item.id).max().unwrap_or(0).max(known));
            self.inbox_primed = !more;
            return Ok(());
        }
        let inbox = self.server.inbox();
        self.cursor.inbox = Some(known);
        for item in items {
            if item.id > known {
                let step = Step::Inbox(item.id);
                self.queue
                    .push_back((step, Event::Direct(Box::new(inbox.open(item)?))));
            }
        }
        Ok(())
    }
}
