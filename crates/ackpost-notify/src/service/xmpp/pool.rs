//! State that XMPP keeps between deliveries: connections of accounts, files, and keys of `replace=`.

use std::sync::{Arc, Mutex, PoisonError};

use ackpost_xmpp::Attachment;

use crate::dispatch::delivery::{BoxFuture, File, Late};
use crate::dispatch::pool::{ConnectionOptions, Progress, ServicePool};
use crate::dispatch::recent::Recent;

use super::accounts::Accounts;

/// Most files that are remembered as uploaded.
const REMEMBERED_FILES: usize = 16;
/// Most keys of `replace=` that are remembered in memory.
const REMEMBERED_REPLACED: usize = 1024;

/// Accounts in use, and what is remembered about their messages.
pub(super) struct XmppPool {
    pub(super) accounts: Accounts,
    /// The messages that `replace=` replaces, of URLs that may not write to the state folder.
    replaced: Mutex<Recent<String, String>>,
    /// Files as XMPP takes them, so that one given to several targets is uploaded once.
    files: Mutex<Vec<Arc<Attachment>>>,
}

impl XmppPool {
    /// Returns an empty pool.
    pub(super) fn new(options: &ConnectionOptions) -> Self {
        Self {
            accounts: Accounts::new(options.kept_sessions, options.session_idle),
            replaced: Mutex::new(Recent::new(REMEMBERED_REPLACED)),
            files: Mutex::default(),
        }
    }

    /// Returns the id of the message that a key of `replace=` stands for, as far as it is remembered in memory.
    pub(super) fn replaced(&self, key: &str) -> Option<String> {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.get(&key.to_owned()).cloned()
    }

    /// Remembers in memory the id of the message that a key of `replace=` stands for.
    pub(super) fn remember_replaced(&self, key: &str, id: &str) {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.insert(key.to_owned(), id.to_owned());
    }

    /// Returns a file as XMPP takes it; the same one for every target.
    pub(super) fn file(&self, file: &File, progress: Option<&Progress>) -> Arc<Attachment> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.iter().find(|known| {
            known.data.as_ptr() == file.bytes.as_ptr()
                && known.data.len() == file.bytes.len()
                && known.name == file.name
        });
        if let Some(known) = known {
            return Arc::clone(known);
        }
        // A file that no message holds any more does not come again.
        files.retain(|known| Arc::strong_count(known) > 1 || !known.data.is_unique());
        let mut attachment = Attachment::new(file.name.clone(), file.media_type.clone(), file.bytes.clone());
        if let Some(Progress(tell)) = progress.cloned() {
            let name = file.name.clone();
            attachment.progress = Some(Box::new(move |sent, total| tell(&name, sent, total)));
        }
        let attachment = Arc::new(attachment);
        if files.len() >= REMEMBERED_FILES {
            files.remove(0);
        }
        files.push(Arc::clone(&attachment));
        attachment
    }
}

impl ServicePool for XmppPool {
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.accounts.close())
    }

    fn take_late(&self) -> Vec<Late> {
        self.accounts.take_late()
    }

    fn forget_guests(&self) -> BoxFuture<'_, ()> {
        self.accounts.forget_guests();
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Box::pin(std::future::ready(()))
    }
}
