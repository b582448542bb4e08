//! Messages on a connection of their own: log in, send, be sure, leave.

use std::time::Duration;

use tokio::time::timeout_at;

use crate::Account;
use crate::connect::Connector;
use crate::courier::DeliveryTracker;
use crate::error::{Step, XmppError};
use crate::id;
use crate::login::{self, Online, Plan};
use crate::message::{Note, Outcome, Outgoing};
use crate::ns;
use crate::stanza::text_part;
use crate::stream::{Broken, stream_error};
use crate::upload;
use crate::xml::{Element, Incoming};

/// A ping follows after so many messages, so that a long batch is confirmed as it goes.
pub(crate) const SEAL_EVERY: usize = 100;

/// Sends messages to people and rooms over one connection and reports each, in the order given.
///
/// A failure of the connection or of the login is the outcome of every message. Nothing is retried
/// here but what is known not to have been delivered (see [`Account`] on channel binding and tokens).
pub async fn send(account: &Account, messages: Vec<Outgoing>) -> Vec<Outcome> {
    let given = messages.clone();
    let mut batch = Batch::new(messages);
    let mut courier = DeliveryTracker::new(account);
    let files_first = batch.has_files();
    if !files_first {
        batch.hand_over_texts(&mut courier);
    }
    if !files_first && courier.is_idle() {
        return batch.finish(&[]);
    }
    let notes = match run(account, &mut batch, &mut courier, files_first).await {
        Ok(notes) => notes,
        // Nothing was written: what fits goes on its way without the rest.
        Err(XmppError::TooLarge { limit, .. }) if !files_first => {
            return without_too_large(account, given, limit).await;
        }
        Err(error) => {
            courier.fail_all(&error);
            batch.collect(&mut courier);
            batch.fail_rest(&error);
            Vec::new()
        }
    };
    batch.finish(&notes)
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
    courier: &mut DeliveryTracker,
    files_first: bool,
) -> Result<Vec<Note>, XmppError> {
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
    for stanza in courier.take_out() {
        plan.largest = plan.largest.max(stanza.len());
        plan.early.push_str(&stanza);
    }
    courier.touch();
    let mut online = login::open(&connector, &plan).await?;
    courier.logged_in();
    let mut notes = Vec::new();
    if online.without_binding {
        notes.push(Note::WithoutChannelBinding);
    }
    if online.encrypted && !online.verified {
        notes.push(Note::CertificateNotVerified);
    }
    courier.note_login(online.stream.line());
    courier.set_largest(online.max_bytes);
    courier.touch();
    if files_first {
        let mut alone = upload::Alone {
            online: &mut online,
            account,
        };
        match upload::all(&mut alone, &connector, &batch.files()).await {
            Ok(urls) => batch.hand_over_all(courier, &urls),
            Err(error) => {
                batch.fail_files(&error);
                batch.hand_over_texts(courier);
            }
        }
    }
    let result = converse(&mut online, courier, batch, roster.as_deref(), &mut notes).await;
    online.stream.close(Duration::from_secs(1)).await;
    result.map(|()| notes)
}

/// Reads and writes until every message has ended.
async fn converse(
    online: &mut Online,
    courier: &mut DeliveryTracker,
    batch: &mut Batch,
    roster: Option<&str>,
    notes: &mut Vec<Note>,
) -> Result<(), XmppError> {
    let domain = online.jid.domain().to_owned();
    loop {
        for stanza in courier.take_out() {
            online.stream.queue(&stanza);
        }
        if !online.stream.is_flushed() {
            // What cannot be written at once is written while reading.
            let _ = futures_util::poll!(std::pin::pin!(online.stream.flush()));
        }
        if online.stream.is_flushed() {
            courier.flushed();
        }
        batch.collect(courier);
        let Some(deadline) = courier.deadline() else {
            return Ok(());
        };
        let incoming = match timeout_at(deadline, online.stream.next()).await {
            Ok(Ok(incoming)) => incoming,
            Ok(Err(broken)) => {
                if online.stream.is_flushed() {
                    courier.flushed();
                }
                let step = if matches!(broken, Broken::Lost) {
                    Step::Confirming
                } else {
                    Step::Writing
                };
                return Err(broken.at(step));
            }
            Err(_) => {
                courier.tick();
                continue;
            }
        };
        courier.note_line(online.stream.line());
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
                    notes.push(Note::NoContactList(login::StanzaError::of(&element).condition));
                }
                courier.handle(&element);
            }
        }
    }
}

/// The messages of one call and what came of their parts.
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
    fn files(&self) -> Vec<std::sync::Arc<crate::Attachment>> {
        let mut files: Vec<std::sync::Arc<crate::Attachment>> = Vec::new();
        for file in self
            .messages
            .iter()
            .flat_map(|message| &message.content.attachments)
        {
            if !files.iter().any(|known| std::sync::Arc::ptr_eq(known, file)) {
                files.push(file.clone());
            }
        }
        files
    }

    fn hand_over_texts(&mut self, courier: &mut DeliveryTracker) {
        self.hand_over(courier, None);
    }

    fn hand_over_all(
        &mut self,
        courier: &mut DeliveryTracker,
        urls: &[(std::sync::Arc<crate::Attachment>, String)],
    ) {
        self.hand_over(courier, Some(urls));
    }

    fn hand_over(
        &mut self,
        courier: &mut DeliveryTracker,
        urls: Option<&[(std::sync::Arc<crate::Attachment>, String)]>,
    ) {
        let mut unsealed = 0;
        for at in 0..self.messages.len() {
            if self.ended[at].is_some() {
                continue;
            }
            match parts_of(&self.messages[at], urls.unwrap_or_default()) {
                Err(error) => self.ended[at] = Some(Outcome::failed(error)),
                Ok(parts) => {
                    self.parts[at] = vec![None; parts.len()];
                    for (number, part) in parts.into_iter().enumerate() {
                        courier.add(at as u64 * PARTS_MAX + number as u64, part);
                        unsealed += 1;
                    }
                    if unsealed >= SEAL_EVERY {
                        courier.seal();
                        unsealed = 0;
                    }
                }
            }
        }
        courier.seal();
    }

    fn collect(&mut self, courier: &mut DeliveryTracker) {
        for (key, outcome) in courier.take_settled() {
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

/// The stanzas of one message: its text, then one for each file.
pub(crate) fn parts_of(
    message: &Outgoing,
    urls: &[(std::sync::Arc<crate::Attachment>, String)],
) -> Result<Vec<crate::stanza::Part>, XmppError> {
    let content = &message.content;
    let asked = message.asked();
    let mut parts = Vec::new();
    let mut own_id = message.id.clone();
    // Files of a message with an id of its own are as recognisable as its text.
    let file_id = |number: usize| message.id.as_ref().map(|id| format!("{id}.{number}"));
    let has_text =
        !content.body.is_empty() || content.subject.as_deref().is_some_and(|text| !text.is_empty());
    if has_text || content.attachments.is_empty() {
        let id = own_id.take().unwrap_or_else(id::uuid);
        parts.push(text_part(
            &message.target,
            content,
            asked,
            id,
            message.replaces.as_deref(),
        )?);
    }
    for (number, file) in content.attachments.iter().enumerate() {
        let Some((_, url)) = urls.iter().find(|(known, _)| std::sync::Arc::ptr_eq(known, file)) else {
            continue;
        };
        let id = own_id.take().or_else(|| file_id(number)).unwrap_or_else(id::uuid);
        parts.push(crate::stanza::file_part(&message.target, content, asked, id, url));
    }
    for part in &mut parts {
        part.repeat_since = message.repeat_since;
    }
    Ok(parts)
}

/// A message is delivered when all its parts are; the first failure is its failure.
pub(crate) fn merge(parts: Vec<Option<Outcome>>) -> Outcome {
    let mut whole: Option<crate::Delivered> = None;
    for part in parts {
        match part {
            Some(Outcome::Delivered(proof)) => match &mut whole {
                Some(first) => first.notes.extend(proof.notes),
                None => whole = Some(proof),
            },
            Some(failed) => return failed,
            None => return Outcome::failed(XmppError::CutUnconfirmed),
        }
    }
    match whole {
        Some(proof) => Outcome::Delivered(proof),
        None => Outcome::failed(XmppError::Empty),
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
