//! Encrypted messages on a kept session: decrypted between the connection and the owner of the events.
//!
//! A separate task does it, so that waiting for the lock of the state stops no connection. The order of the events
//! stays.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::command::{Command, ask_all};
use super::event::{self, Event, Found};
use super::options::{EVENTS_MAX, SessionOptions};
use super::outlet::{Arrived, EncryptedStanza, Outlet};
use super::queue::{QueueReceiver, QueueSender, Taken, queue};
use crate::account::Account;
use crate::error::XmppError;
use crate::jid::Jid;
use crate::omemo::server::{Answer, Question, Server, archived};
use crate::omemo::{Device, EncryptedMessage, Opened, ROUNDS_MAX, VERSIONS, encrypted_of, in_clear};
use crate::upload::Ask;
use crate::xml::Element;

/// Maximum number of archived messages that are kept for one question.
const ARCHIVED_MAX: usize = 200;
/// Pause in encrypted messages after which answers are sent: one for each session, not one for each message.
const QUIET: Duration = Duration::from_millis(300);
/// The longest time until answers are sent.
const LONGEST: Duration = Duration::from_secs(5);

/// Maximum number of times that the own device is put back into its list. A client that removes it each time would be
/// answered for ever.
const PUT_BACK_MAX: usize = 5;

/// Puts a decrypting task between a session and its events, if the account has a device.
pub(super) fn outlet(
    account: &Account,
    options: &SessionOptions,
    commands: &mpsc::Sender<Command>,
    events: QueueSender<Event>,
) -> Outlet {
    let Some(device) = Device::of(account) else {
        return Outlet::Direct(events);
    };
    let (sender, arrived) = queue(EVENTS_MAX);
    let task = Decryptor {
        device,
        own: account.jid.to_bare(),
        receipts: options.receipts,
        // A strong handle would keep the session open.
        commands: commands.downgrade(),
        events,
        due: None,
        displaced: false,
        put_back: 0,
    };
    tokio::spawn(task.run(arrived));
    Outlet::Decrypting(sender)
}

struct Decryptor {
    device: Device,
    own: Jid,
    receipts: bool,
    commands: mpsc::WeakSender<Command>,
    events: QueueSender<Event>,
    /// Time since which something may have to be answered.
    due: Option<Instant>,
    /// The own device is missing in its list. Servers may announce one change several times.
    displaced: bool,
    /// Number of times that the own device was put back into its list.
    put_back: usize,
}

impl Decryptor {
    async fn run(mut self, mut arrived: QueueReceiver<Arrived>) {
        loop {
            let until = self
                .due
                .map(|since| (Instant::now() + QUIET).min(since + LONGEST));
            let next = match until {
                None => arrived.take().await,
                Some(until) => {
                    let Ok(next) = timeout_at(until, arrived.take()).await else {
                        self.follow_up().await;
                        continue;
                    };
                    next
                }
            };
            let next = match next {
                None => return,
                Some(Taken::Item(next)) => next,
                Some(Taken::Lost(count)) => {
                    self.events.lose(count);
                    continue;
                }
            };
            match next {
                Arrived::Event(event) => {
                    if matches!(*event, Event::Online { .. }) {
                        // Do the work that was due when the last process or connection ended.
                        self.due.get_or_insert_with(Instant::now);
                    }
                    self.emit(*event);
                }
                Arrived::Encrypted(sealed) => self.decrypt(*sealed).await,
                Arrived::Devices { of, list } => {
                    let may_put_back = self.put_back < PUT_BACK_MAX;
                    if self.device.take_list(of, list, may_put_back).await {
                        self.displaced = true;
                        self.due.get_or_insert_with(Instant::now);
                    }
                }
            }
        }
    }

    /// Returns false if there was no place for the event.
    fn emit(&self, event: Event) -> bool {
        self.events.put(event)
    }

    /// Sends answers and bundles that are due.
    async fn follow_up(&mut self) {
        let displaced = std::mem::take(&mut self.displaced);
        self.due = None;
        let Some(mut server) = Handle::of(&self.commands) else {
            return;
        };
        // One repair may have to write several times, when another device writes at the same moment.
        let rounds = if displaced {
            PUT_BACK_MAX.saturating_sub(self.put_back)
        } else {
            ROUNDS_MAX
        };
        match self.device.follow_up(&mut server, rounds, None).await {
            Ok(written) if displaced => self.put_back += written,
            Ok(_) => {}
            Err(error) => {
                self.put_back += usize::from(displaced);
                tracing::debug!(%error, "cannot handle a request of an encrypted message");
            }
        }
    }

    async fn decrypt(&mut self, sealed: EncryptedStanza) {
        let found = Found {
            own: &self.own.clone(),
            nick: sealed.nick.as_deref(),
            // The key proves the author.
            occupant_ids: false,
            archive: sealed.archive.clone(),
            stamp: sealed.stamp.clone(),
        };
        let encrypted = sealed
            .sender
            .clone()
            .and_then(|sender| EncryptedMessage::of(&sealed.message, sender, sealed.room.clone()))
            .map(|encrypted| encrypted.archived(sealed.from_archive));
        let Some(encrypted) = encrypted else {
            let reason = if sealed.sender.is_some() {
                "it does not follow the specification"
            } else {
                "the room does not show who wrote it"
            };
            let failed = undecryptable(&sealed, &found, 0, reason.to_owned(), String::new(), false);
            self.emit_opt(failed);
            return;
        };
        match self.device.open(encrypted).await {
            Ok(Opened::Quiet) => {
                self.due.get_or_insert_with(Instant::now);
            }
            Ok(Opened::Content(content)) => {
                self.due.get_or_insert_with(Instant::now);
                if let Some(key) = &content.new_key {
                    self.emit(Event::NewKey {
                        owner: key.jid.clone(),
                        device: key.device,
                        fingerprint: key.fingerprint.clone(),
                        changed: key.changed,
                    });
                }
                let mut receipt = None;
                let clear = in_clear(&sealed.message, &content);
                let Some(mut event) = event::of_message(&clear, found) else {
                    return;
                };
                if let Event::Chat(received)
                | Event::Room(received)
                | Event::Correction(received)
                | Event::File(received) = &mut event
                {
                    received.encryption = Some(content.encryption);
                    if received.wants_receipt && self.receipts && !received.own && !sealed.from_archive {
                        receipt = event::receipt(received);
                    }
                }
                if self.emit(event)
                    && let Some(receipt) = receipt
                {
                    self.acknowledge(&receipt).await;
                }
            }
            Ok(Opened::Failed {
                device,
                error,
                repair,
            }) => {
                if repair {
                    self.due.get_or_insert_with(Instant::now);
                }
                let remedy = error.remedy().into_owned();
                let failed = undecryptable(&sealed, &found, device, error.to_string(), remedy, repair);
                self.emit_opt(failed);
            }
            Err(error) => {
                let remedy = error.remedy().into_owned();
                let failed = undecryptable(&sealed, &found, 0, error.to_string(), remedy, false);
                self.emit_opt(failed);
            }
        }
    }

    fn emit_opt(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.emit(event);
        }
    }

    /// A receipt for an encrypted message means that it was read.
    async fn acknowledge(&self, receipt: &Element) {
        if let Some(mut server) = Handle::of(&self.commands) {
            server.send_unconfirmed(receipt.to_xml()).await;
        }
    }
}

/// The event for a message that cannot be read. None for an empty one: nothing is missing then.
fn undecryptable(
    sealed: &EncryptedStanza,
    found: &Found<'_>,
    device: u32,
    reason: String,
    remedy: String,
    repaired: bool,
) -> Option<Event> {
    let has_payload = VERSIONS.iter().any(|version| {
        let namespace = version.namespace();
        sealed
            .message
            .find("encrypted", namespace)
            .is_some_and(|encrypted| encrypted.find("payload", namespace).is_some())
    });
    let from: Jid = sealed
        .message
        .get("from")
        .and_then(|from| from.parse().ok())
        .unwrap_or_else(|| found.own.clone());
    tracing::debug!(%from, device, reason, repaired, "an encrypted message cannot be read");
    has_payload.then(|| Event::Undecryptable {
        from,
        room: sealed.room.is_some(),
        id: sealed.message.get("id").map(ToOwned::to_owned),
        device,
        reason,
        remedy,
        repaired,
        archive: found.archive.clone(),
    })
}

/// Returns the message of another device of ours in a carbon copy, if it is encrypted.
pub(super) fn own_copy<'a>(stanza: &'a Element, own: &Jid) -> Option<&'a Element> {
    event::sent_copy(stanza, own).filter(|message| encrypted_of(message))
}

/// Takes an archived message of this query.
pub(super) fn collect(query: Option<&str>, collected: &mut Vec<Element>, stanza: &Element) -> bool {
    let Some(result) = query.and_then(|query| archived(stanza, query)) else {
        return false;
    };
    if collected.len() < ARCHIVED_MAX {
        collected.push(result.clone());
    }
    true
}

/// A session that is not kept open by this handle for longer than one piece of work.
struct Handle(mpsc::Sender<Command>);

impl Handle {
    fn of(commands: &mpsc::WeakSender<Command>) -> Option<Self> {
        commands.upgrade().map(Self)
    }
}

impl Ask for Handle {
    async fn ask(&mut self, to: &str, payload: Element) -> Result<Element, XmppError> {
        let mut answers = ask_all(&self.0, vec![Question::get(to, payload)]).await;
        let answer = answers.pop().unwrap_or(Err(XmppError::SessionClosed));
        answer.map(|answer| answer.stanza)
    }
}

impl Server for Handle {
    async fn ask_all(&mut self, questions: Vec<Question>) -> Vec<Result<Answer, XmppError>> {
        ask_all(&self.0, questions).await
    }

    async fn send_unconfirmed(&mut self, stanza: String) {
        let _ = self.0.send(Command::SendUnconfirmed(stanza)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::omemo::{MemoryStore, Omemo};

    /// Somebody sends large messages that no device can read, faster than they can be looked at.
    #[tokio::test]
    async fn a_flood_of_encrypted_messages_is_bounded_and_counted_to_the_last_one() {
        const FLOOD: u64 = 20_000;
        let account = Account::new("bot@x.example".parse().unwrap(), "secret".to_owned().into())
            .omemo(Omemo::new(Arc::new(MemoryStore::default())));
        let (commands, _receiver) = mpsc::channel(1);
        let (events, mut received) = queue(EVENTS_MAX);
        let options = SessionOptions::default();
        let Outlet::Decrypting(arrived) = outlet(&account, &options, &commands, events) else {
            panic!("the account has a device");
        };
        drop(commands);
        let namespace = VERSIONS[0].namespace();
        let encrypted = Element::new("encrypted", namespace)
            .child(Element::new("header", namespace).attr("sid", "7"))
            .child(Element::new("payload", namespace).text("A".repeat(200_000)));
        let message = Element::new("message", crate::ns::CLIENT)
            .attr("from", "eve@x.example/x")
            .child(encrypted);
        for _ in 0..FLOOD {
            arrived.put(Arrived::Encrypted(Box::new(EncryptedStanza {
                message: message.clone(),
                sender: Some("eve@x.example".parse().unwrap()),
                room: None,
                nick: None,
                archive: None,
                stamp: None,
                from_archive: false,
            })));
        }
        let (mut told, mut lagged) = (0, 0);
        while told + lagged < FLOOD {
            match received.take().await {
                Some(Taken::Item(Event::Undecryptable { .. })) => told += 1,
                Some(Taken::Lost(count)) => lagged += count,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told + lagged, FLOOD);
        assert!((100..200).contains(&told), "{told} of 200 kB each waited");
        drop(arrived);
        assert!(received.take().await.is_none());
    }
}
