//! Direct messages between blinded ids.

use session_protocol::content::{Content, ContentError};
use session_protocol::dm::{Conversation, DmError, NONCE_LEN_BYTES};
use session_protocol::encoding::from_b64;
use session_protocol::padding::Padding;
use session_protocol::{Identity, SessionId, message};

use crate::call_types::MAX_LIMIT;
use crate::calls::{self, DirectBox};
use crate::differences::Difference;
use crate::error::{Cause, SogsError};
use crate::server::Server;
use crate::types::{DirectMessage, InboxItem, InboxReceipt};

/// Most pages of a box that are read at once: 16,384 messages.
const MAX_PAGES: usize = 64;
/// Once this much has been read, no further page is asked for, bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The inbox and outbox of this account on one server. Needs a blinded id.
#[derive(Debug, Clone)]
pub struct Inbox {
    server: Server,
}

impl Server {
    /// Returns the direct messages of this account on this server.
    pub fn inbox(&self) -> Inbox {
        Inbox { server: self.clone() }
    }
}

impl Inbox {
    fn me(&self) -> Result<&Identity, SogsError> {
        self.server
            .identity()
            .ok_or_else(|| SogsError::new(Cause::NoIdentity))
    }

    /// Sends a text to a blinded id (`15`) of this server, under `name` if one is given.
    pub async fn send(
        &self,
        recipient: &SessionId,
        text: &str,
        name: Option<&str>,
    ) -> Result<InboxReceipt, SogsError> {
        self.send_content(recipient, &Content::text(text, name, self.server.now_ms()))
            .await
    }

    /// Sends content to a blinded id of this server.
    ///
    /// # Errors
    /// [`Cause::Unproven`] when the server accepts the message with an answer that names somebody else.
    pub async fn send_content(
        &self,
        recipient: &SessionId,
        content: &Content,
    ) -> Result<InboxReceipt, SogsError> {
        let sealed = self.seal(recipient, content)?;
        let receipt = self.server.run(calls::send_direct(recipient, &sealed)).await?;
        let me = self.server.my_id().await?;
        if receipt.recipient == *recipient && receipt.sender == me {
            return Ok(receipt);
        }
        let unproven = SogsError::new(Cause::Unproven {
            id: Some(receipt.id),
            detail: "names another sender or recipient".to_owned(),
            withheld: None,
        });
        Err(unproven.at(self.server.base_url(), &format!("POST /inbox/{recipient}")))
    }

    fn seal(&self, recipient: &SessionId, content: &Content) -> Result<Vec<u8>, SogsError> {
        let conversation = Conversation::new(self.me()?, recipient, &self.server.key())?;
        let mut nonce = [0; NONCE_LEN_BYTES];
        getrandom::fill(&mut nonce).expect("the system has randomness");
        Ok(conversation.seal(&Padding::Block.pad(content.to_bytes()), &nonce))
    }

    /// Direct messages that others sent us, oldest first; with `since`, only those after that number.
    pub async fn received(&self, since: Option<u64>) -> Result<Vec<DirectMessage>, SogsError> {
        self.all(DirectBox::Inbox, since).await
    }

    /// Direct messages that we sent, oldest first; with `since`, only those after that number.
    pub async fn sent(&self, since: Option<u64>) -> Result<Vec<DirectMessage>, SogsError> {
        self.all(DirectBox::Outbox, since).await
    }

    /// Page after page, because one answer has 256 at most.
    async fn all(&self, which: DirectBox, mut since: Option<u64>) -> Result<Vec<DirectMessage>, SogsError> {
        let mut messages: Vec<DirectMessage> = Vec::new();
        let mut bytes = 0;
        for _ in 0..MAX_PAGES {
            let (items, full) = self.page(which, since).await?;
            let newest = items.iter().map(|item| item.id).max();
            for item in items {
                bytes += item.message.len();
                messages.push(self.open(item)?);
            }
            // A server that gives the same again is not asked for ever.
            if !full || newest <= since || bytes >= MAX_BYTES {
                break;
            }
            since = newest;
        }
        Ok(messages)
    }

    /// One page of a box, and whether more may follow.
    async fn page(&self, which: DirectBox, since: Option<u64>) -> Result<(Vec<InboxItem>, bool), SogsError> {
        if !self.server.differs(Difference::NoInboxLimit) {
            let page = calls::direct_messages(which, since, Some(MAX_LIMIT));
            match self.server.run(page).await {
                Ok(items) => {
                    let full = items.len() >= MAX_LIMIT as usize;
                    return Ok((items, full));
                }
                Err(error) if error.is_failed_answer() => {
                    let page = calls::direct_messages(which, since, None);
                    let items = self.server.run(page).await.map_err(|_| error)?;
                    self.server.note(Difference::NoInboxLimit);
                    let full = !items.is_empty();
                    return Ok((items, full));
                }
                Err(error) => return Err(error),
            }
        }
        let items = self
            .server
            .run(calls::direct_messages(which, since, None))
            .await?;
        let full = !items.is_empty();
        Ok((items, full))
    }

    /// Empties our inbox; gives the number of items.
    pub async fn clear(&self) -> Result<u64, SogsError> {
        Ok(self.server.run(calls::clear_inbox()).await?.deleted)
    }

    /// Opens an item of either box: it is ours if we are its sender.
    pub fn open(&self, item: InboxItem) -> Result<DirectMessage, SogsError> {
        let me = self.me()?;
        let opened = open_item(me, &self.server, &item);
        Ok(DirectMessage { item, opened })
    }
}

fn open_item(me: &Identity, server: &Server, item: &InboxItem) -> Result<(Content, SessionId), DmError> {
    let sealed = from_b64(&item.message).ok_or(DmError::Truncated)?;
    let key = server.key();
    let mine = [me.blind15(&key).id(), me.blind25(&key).id()];
    let sent = mine.contains(&item.sender);
    let other = if sent { &item.recipient } else { &item.sender };
    let conversation = Conversation::new(me, other, &key)?;
    let opened = if sent {
        conversation.open_sent(&sealed)?
    } else {
        conversation.open_received(&sealed)?
    };
    let content = message::open(&opened.data).map_err(|_: ContentError| DmError::Decryption)?;
    Ok((content, opened.sender))
}
