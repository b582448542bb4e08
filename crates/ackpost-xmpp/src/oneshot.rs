//! Messages on their own connection: log in, send, be sure, leave.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use crate::account::Account;
use crate::connect::Connector;
use crate::delivery::{BARRIER_EVERY, DeliveryTracker};
use crate::error::{Step, XmppError};
use crate::id;
use crate::jid::Jid;
use crate::login::{self, Online, Plan};
use crate::message::{Attachment, Content, Delivered, Note, Outcome, Outgoing, Target};
use crate::ns;
use crate::parts::{merge, parts_of};
use crate::stanza::Part;
use crate::stanza_error::StanzaError;
use crate::stream::{Broken, stream_error};
use crate::upload;
use crate::xml::{Element, Incoming};

/// Sends messages to people and rooms over one connection and reports each, in the order given.
///
/// A failure of the connection or of the login is the outcome of every message. Only messages that were certainly not
/// delivered are retried here (see [`Account`] on channel binding and tokens).
pub async fn send(account: &Account, messages: Vec<Outgoing>) -> Vec<Outcome> {
    let given = messages.clone();
    let mut batch = Batch::new(messages);
    let mut tracker = DeliveryTracker::new(account);
    let later = will_follow_the_login(account, &mut batch, &mut tracker).await;
    let files_first = later || batch.has_files();
    if !files_first && !encrypts(account) {
        batch.hand_over_texts(&mut tracker);
    }
    if !files_first && tracker.is_idle() {
        return batch.finish(&[]);
    }
    let mut notes = Vec::new();
    match run(account, &mut batch, &mut tracker, files_first, &mut notes).await {
        Ok(()) => {}
        // Nothing was written: what fits goes on its way without the rest.
        Err(XmppError::TooLarge { limit, .. }) if !files_first && !encrypts(account) => {
            return without_too_large(account, given, limit).await;
        }
        Err(error) => {
            tracker.fail_all(&error);
            batch.collect(&mut tracker);
            batch.fail_rest(&error);
        }
    }
    batch.finish(&notes)
}

impl Account {
    /// Logs in, sends one text to a person, and logs out. The text counts as delivered when the server responsible for
    /// the person took it ([`crate::Confirm::Server`]).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use ackpost_xmpp::Account;
    ///
    /// let account = Account::new("bot@example.org".parse()?, "secret".to_owned().into());
    /// account.send("jane@example.org".parse()?, "hello").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`XmppError`], which has the cause, the remedy and whether a later attempt may succeed.
    pub async fn send(&self, to: Jid, text: impl Into<String>) -> Result<Delivered, XmppError> {
        let message = Outgoing::new(Target::User(to), Content::text(text));
        let mut outcomes = send(self, vec![message]).await;
        outcomes.pop().map_or(Err(XmppError::Empty), Outcome::into_result)
    }
}

/// Returns true if messages of this account are encrypted.
fn encrypts(account: &Account) -> bool {
    #[cfg(feature = "omemo")]
    return account.omemo.is_some();
    #[cfg(not(feature = "omemo"))]
    {
        let _ = account;
        false
    }
}

/// Returns true if the messages have to be encrypted after the login, because keys have to be fetched first. Messages
/// for which all keys are known are handed over encrypted.
#[cfg(feature = "omemo")]
async fn will_follow_the_login(account: &Account, batch: &mut Batch, tracker: &mut DeliveryTracker) -> bool {
    let Some(device) = crate::omemo::Device::of(account) else {
        return false;
    };
    match crate::omemo::encrypt_at_once(&device, &batch.messages).await {
        Some(parts) => {
            batch.hand_over_parts(tracker, parts);
            false
        }
        None => true,
    }
}

#[cfg(not(feature = "omemo"))]
#[expect(clippy::unused_async, reason = "the same signature as with encryption")]
async fn will_follow_the_login(_: &Account, _: &mut Batch, _: &mut DeliveryTracker) -> bool {
    false
}

/// Sends what fits into the server's limit. A target of which one message is too large gets none, so that the pieces of
/// a text never arrive out of order.
async fn without_too_large(account: &Account, messages: Vec<Outgoing>, limit: usize) -> Vec<Outcome> {
    let size = |message: &Outgoing| {
        parts_of(message, &[])
            .ok()
            .and_then(|parts| parts.iter().map(|part| part.xml.len()).max())
            .unwrap_or_default()
    };
    let sizes: Vec<usize> = messages.iter().map(size).collect();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; messages.len()];
    for (message, bytes) in messages.iter().zip(&sizes).filter(|(_, bytes)| **bytes > limit) {
        let address = message.target.address();
        for (at, other) in messages.iter().enumerate() {
            if other.target.address() == address {
                let bytes = sizes[at].max(*bytes);
                outcomes[at] = Some(Outcome::failed(XmppError::TooLarge { bytes, limit }));
            }
        }
    }
    let fitting =
        |(message, outcome): (&Outgoing, &Option<Outcome>)| outcome.is_none().then(|| message.clone());
    let rest: Vec<Outgoing> = messages.iter().zip(&outcomes).filter_map(fitting).collect();
    let too_large = || {
        Outcome::failed(XmppError::TooLarge {
            bytes: sizes.iter().copied().max().unwrap_or_default(),
            limit,
        })
    };
    // Without one that is left out, the same would happen again.
    let mut sent = if rest.is_empty() || rest.len() == messages.len() {
        Vec::new().into_iter()
    } else {
        Box::pin(send(account, rest)).await.into_iter()
    };
    outcomes
        .into_iter()
        .map(|outcome| outcome.or_else(|| sent.next()).unwrap_or_else(too_large))
        .collect()
}

async fn run(
    account: &Account,
    batch: &mut Batch,
    tracker: &mut DeliveryTracker,
    files_first: bool,
    notes: &mut Vec<Note>,
) -> Result<(), XmppError> {
    let connector = Connector::new(account.clone())?;
    let mut plan = Plan::default();
    let roster = account.roster.then(|| format!("roster-{}", id::short()));
    if let Some(id) = &roster {
        let query = Element::new("query", ns::ROSTER);
        let iq = Element::new("iq", ns::CLIENT)
            .attr("type", "get")
            .attr("id", id.clone())
            .child(query);
        plan.early.push_str(&iq.to_xml());
    }
    for stanza in tracker.take_out() {
        plan.largest = plan.largest.max(stanza.len());
        plan.early.push_str(&stanza);
    }
    tracker.touch();
    let mut online = login::open(&connector, &plan).await?;
    tracker.logged_in();
    *notes = online.notes();
    tracker.note_login(online.stream.line());
    if let Some(at) = online.early_queued {
        tracker.rode_along(at);
    }
    tracker.set_largest(online.max_bytes);
    tracker.touch();
    if files_first {
        let mut alone = upload::Alone {
            online: &mut online,
            account,
        };
        #[cfg(feature = "omemo")]
        if let Some(device) = crate::omemo::Device::of(account) {
            let parts = crate::omemo::encrypt(&device, &mut alone, &connector, &batch.messages).await;
            batch.hand_over_parts(tracker, parts);
            let result = converse(&mut online, tracker, batch, roster.as_deref(), notes).await;
            online.stream.close(Duration::from_secs(1)).await;
            return result;
        }
        match upload::all(&mut alone, &connector, &batch.files()).await {
            Ok(urls) => batch.hand_over_all(tracker, &urls),
            Err(error) => {
                batch.fail_files(&error);
                batch.hand_over_texts(tracker);
            }
        }
    }
    let result = converse(&mut online, tracker, batch, roster.as_deref(), notes).await;
    online.stream.close(Duration::from_secs(1)).await;
    result
}

/// Reads and writes until every message has ended.
async fn converse(
    online: &mut Online,
    tracker: &mut DeliveryTracker,
    batch: &mut Batch,
    roster: Option<&str>,
    notes: &mut Vec<Note>,
) -> Result<(), XmppError> {
    let domain = online.jid.domain().to_owned();
    loop {
        for stanza in tracker.take_out() {
            online.stream.queue(&stanza);
        }
        if !online.stream.is_flushed() {
            // Bytes that cannot be written at once are written while reading.
            let _ = futures_util::poll!(std::pin::pin!(online.stream.flush()));
        }
        if online.stream.is_flushed() {
            tracker.flushed();
        }
        batch.collect(tracker);
        let Some(deadline) = tracker.deadline() else {
            return Ok(());
        };
        let incoming = match timeout_at(deadline, online.stream.next()).await {
            Ok(Ok(incoming)) => incoming,
            Ok(Err(broken)) => {
                if online.stream.is_flushed() {
                    tracker.flushed();
                }
                let step = if matches!(broken, Broken::Lost) {
                    Step::Confirming
                } else {
                    Step::Writing
                };
                return Err(broken.at(step));
            }
            Err(_) => {
                tracker.tick();
                continue;
            }
        };
        tracker.note_line(online.stream.line());
        match incoming {
            Incoming::Open(_) => {}
            Incoming::Close => {
                return Err(XmppError::ConnectionLost {
                    step: Step::Confirming,
                });
            }
            Incoming::Element(element) if element.is("error", ns::STREAM) => {
                return Err(stream_error(&element, &domain));
            }
            Incoming::Element(element) => {
                if roster.is_some() && element.get("id") == roster && element.get("type") == Some("error") {
                    notes.push(Note::NoContactList(StanzaError::of(&element).condition));
                }
                tracker.handle(&element);
            }
        }
    }
}

/// The messages of one call and the results of their parts.
struct Batch {
    messages: Vec<Outgoing>,
    parts: Vec<Vec<Option<Outcome>>>,
    ended: Vec<Option<Outcome>>,
}

/// Parts of one message have consecutive keys.
const PARTS_MAX: u64 = 1 << 16;

impl Batch {
    fn new(messages: Vec<Outgoing>) -> Self {
        let count = messages.len();
        Self {
            messages,
            parts: vec![Vec::new(); count],
            ended: vec![None; count],
        }
    }

    fn has_files(&self) -> bool {
        self.messages
            .iter()
            .any(|message| !message.content.attachments.is_empty())
    }

    /// Every file once, however many messages carry it.
    fn files(&self) -> Vec<Arc<Attachment>> {
        let mut files: Vec<Arc<Attachment>> = Vec::new();
        for file in self
            .messages
            .iter()
            .flat_map(|message| &message.content.attachments)
        {
            if !files.iter().any(|known| Arc::ptr_eq(known, file)) {
                files.push(file.clone());
            }
        }
        files
    }

    fn hand_over_texts(&mut self, tracker: &mut DeliveryTracker) {
        self.hand_over(tracker, None);
    }

    fn hand_over_all(&mut self, tracker: &mut DeliveryTracker, urls: &[(Arc<Attachment>, String)]) {
        self.hand_over(tracker, Some(urls));
    }

    fn hand_over(&mut self, tracker: &mut DeliveryTracker, urls: Option<&[(Arc<Attachment>, String)]>) {
        let parts = self
            .messages
            .iter()
            .map(|message| parts_of(message, urls.unwrap_or_default()));
        let parts = parts.collect();
        self.hand_over_parts(tracker, parts);
    }

    /// Hands over the stanzas of each message.
    fn hand_over_parts(&mut self, tracker: &mut DeliveryTracker, parts: Vec<Result<Vec<Part>, XmppError>>) {
        let mut without_barrier = 0;
        for (at, parts) in parts.into_iter().enumerate() {
            if self.ended[at].is_some() {
                continue;
            }
            // A message of which one part is too large is not sent in part.
            match parts.and_then(|parts| tracker.fit(&parts).map(|()| parts)) {
                Err(error) => self.ended[at] = Some(Outcome::failed(error)),
                Ok(parts) => {
                    self.parts[at] = vec![None; parts.len()];
                    for (number, part) in parts.into_iter().enumerate() {
                        tracker.add(at as u64 * PARTS_MAX + number as u64, part);
                        without_barrier += 1;
                    }
                    if without_barrier >= BARRIER_EVERY {
                        tracker.add_barrier();
                        without_barrier = 0;
                    }
                }
            }
        }
        tracker.add_barrier();
    }

    fn collect(&mut self, tracker: &mut DeliveryTracker) {
        for (key, outcome) in tracker.take_settled() {
            let (at, number) = (key / PARTS_MAX, key % PARTS_MAX);
            let (Ok(at), Ok(number)) = (usize::try_from(at), usize::try_from(number)) else {
                continue;
            };
            if let Some(slot) = self.parts.get_mut(at).and_then(|parts| parts.get_mut(number)) {
                *slot = Some(outcome);
            }
        }
    }

    /// No file can be sent: messages that carry one end here.
    fn fail_files(&mut self, error: &XmppError) {
        for (message, ended) in self.messages.iter().zip(&mut self.ended) {
            if !message.content.attachments.is_empty() && ended.is_none() {
                *ended = Some(Outcome::failed(error.clone()));
            }
        }
    }

    fn fail_rest(&mut self, error: &XmppError) {
        for (parts, ended) in self.parts.iter().zip(&mut self.ended) {
            if ended.is_none() && (parts.is_empty() || parts.iter().any(Option::is_none)) {
                *ended = Some(Outcome::failed(error.clone()));
            }
        }
    }

    fn finish(self, notes: &[Note]) -> Vec<Outcome> {
        self.ended
            .into_iter()
            .zip(self.parts)
            .map(|(ended, parts)| match ended {
                Some(outcome) => outcome,
                None => with_notes(merge(parts), notes),
            })
            .collect()
    }
}

fn with_notes(outcome: Outcome, notes: &[Note]) -> Outcome {
    match outcome {
        Outcome::Delivered(mut proof) => {
            proof.notes.extend_from_slice(notes);
            Outcome::Delivered(proof)
        }
        other => other,
    }
}
