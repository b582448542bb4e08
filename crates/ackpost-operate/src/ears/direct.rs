//! Answers in direct messages to the Session ID of an account.

use std::collections::HashMap;
use std::time::Duration;

use ackpost_notify::{ConnectionOptions, Diagnostic, ServiceUrl};
use ackpost_outbox::TargetKey;
use ackpost_sessiondm::{Account, Sent, take_sent};
use jiff::Timestamp;
use session_network::{Draft, Event, IncomingMessage, Network, NetworkError};
use session_protocol::SessionId;
use tokio::sync::mpsc;

use super::{Failure, Hearing, Listener, Pauses, shown_member};
use crate::desk::{Answer, Desk, Incoming, Words};
use crate::model::people::{Person, Role};

/// The name under which the mailbox remembers how far the answers were read.
const READER: &str = "answers";
/// Time for which an answer that was not stored is tried again. Nothing else is heard meanwhile.
const PATIENCE: Duration = Duration::from_mins(1);
/// Looks at the outbox for a message that was delivered: it is written down there a moment later.
const LOOKS: u32 = 10;
/// Maximum number of delivered messages whose times are still to be written down.
const PENDING: usize = 1_024;

/// One account, with the people who get alerts from it.
pub(super) struct Ear {
    account: Account,
    network: Network,
    places: HashMap<SessionId, Vec<TargetKey>>,
    /// Kept over failures: the process tells of each message once.
    pending: Vec<Pending>,
}

struct Running<'a> {
    ear: &'a Ear,
    desk: &'a Desk,
    me: SessionId,
    pending: &'a mut Vec<Pending>,
}

/// A message whose time does not lead to its alert yet, and how often that was tried.
type Pending = (Sent, u32);

/// A conversation, as the log names it.
fn at(person: &SessionId) -> String {
    format!("sessiondm:{person}")
}

/// The second id of an alert: the time by which apps quote it.
fn by_time(timestamp_ms: u64) -> String {
    format!("time {timestamp_ms}")
}

impl Ear {
    /// Adds the recipients of a URL to the ear of its account.
    pub(super) fn add(
        ears: &mut HashMap<String, Self>,
        desk: &Desk,
        service: &ServiceUrl,
        account: Account,
        options: &ConnectionOptions,
    ) -> Result<(), Diagnostic> {
        let network = account.open_network(options)?;
        let key = format!("{} {}", account.identity.session_id(), account.network_name());
        let ear = ears.entry(key).or_insert_with(|| Self {
            account,
            network,
            places: HashMap::new(),
            pending: Vec::new(),
        });
        for target in service.targets() {
            if let Ok(person) = target.address.parse::<SessionId>() {
                let places = ear.places.entry(person).or_default();
                places.push(desk.outbox().target_key(service, &target));
            }
        }
        Ok(())
    }

    /// Reads until the mailbox cannot be read.
    async fn read(
        &self,
        desk: &Desk,
        pauses: &mut Pauses,
        lines: &mut mpsc::Receiver<String>,
        pending: &mut Vec<Pending>,
    ) -> NetworkError {
        let owner = self.account.identity.clone();
        let me = owner.session_id();
        let mut mailbox = self.network.mailbox_of_reader(owner, READER);
        let mut running = Running {
            ear: self,
            desk,
            me,
            pending,
        };
        loop {
            let polled = match mailbox.poll().await {
                Ok(polled) => polled,
                Err(error) => return error,
            };
            *pauses = Pauses::new();
            running.note_sent().await;
            let pause = polled.pause(desk.settings().interval);
            for event in polled.events {
                if let Event::Message(message) = event {
                    running.on_message(&message).await;
                }
                // The desk acts on a message once, also when it comes again after a crash.
                if let Err(error) = mailbox.handled(1).await {
                    return error;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Some(line) = lines.recv() => running.say_line(&line).await,
            }
        }
    }
}

impl Listener for Ear {
    fn name(&self) -> String {
        self.account.identity.session_id().short()
    }

    fn conversations(&self, _desk: &Desk) -> Vec<String> {
        self.places.keys().map(at).collect()
    }

    async fn listen(&mut self, hearing: &mut Hearing<'_>) -> Option<Failure> {
        let mut pending = std::mem::take(&mut self.pending);
        let Hearing {
            desk,
            pauses,
            lines,
            stop,
            ..
        } = hearing;
        let ended = tokio::select! {
            error = self.read(desk, pauses, lines, &mut pending) => Some(Failure::new(&error, error.retry_after())),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        self.pending = pending;
        ended
    }
}

impl Running<'_> {
    /// Lets the times of delivered messages lead to their alerts, also after a restart.
    async fn note_sent(&mut self) {
        self.pending
            .extend(take_sent(&self.ear.account).into_iter().map(|sent| (sent, 0)));
        let surplus = self.pending.len().saturating_sub(PENDING);
        self.pending.drain(..surplus);
        let mut left = Vec::new();
        for (sent, looks) in std::mem::take(self.pending) {
            if !self.is_noted(&sent).await && looks < LOOKS {
                left.push((sent, looks + 1));
            }
        }
        *self.pending = left;
    }

    async fn is_noted(&self, sent: &Sent) -> bool {
        for place in self.ear.places.get(&sent.recipient).into_iter().flatten() {
            let time = by_time(sent.timestamp_ms);
            match self.desk.outbox().link_also(place, &sent.id, &time).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the time of an alert could not be kept"),
            }
        }
        false
    }

    async fn on_message(&self, message: &IncomingMessage) {
        let person = message.from;
        // Copies of our own messages, and people who get no alerts.
        let Some(places) = self.ear.places.get(&person).filter(|_| person != self.me) else {
            return;
        };
        let Some(body) = &message.text else { return };
        let quote = message.content.data_message.as_ref();
        let about = match quote.and_then(|data| data.quote.as_ref()) {
            None => None,
            Some(quote) => {
                let is_ours = quote.author.as_deref().and_then(|author| author.parse().ok()) == Some(self.me);
                match quote.id.filter(|_| is_ours) {
                    Some(time) => Some(self.id_of(&person, time)),
                    // It answers something else.
                    None => return,
                }
            }
        };
        let sent = Duration::from_millis(message.timestamp_ms);
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        let incoming = Incoming {
            person: Person::Session {
                id: person,
                account: Some(person),
                role: Role::Everyone,
            },
            shown: shown_member(&person, message.name.as_deref()),
            places: places.clone(),
            at: at(&person),
            words: Words::Text {
                body: body.clone(),
                direct: true,
            },
            about,
            // Apps know a message by its sender and its time.
            id: format!("direct {}", message.timestamp_ms),
            own: false,
            edited: false,
            private: false,
            verified: true,
            carried: false,
            age: Some(Duration::from_millis(now).saturating_sub(sent)),
        };
        match self.desk.hear(&incoming).await {
            Answer::Nothing => {}
            // Messages of this kind cannot be edited, so that the alert gets no line.
            Answer::Privately(text) | Answer::Openly { text, .. } => {
                let draft = Draft::text(text).reply_to(message.timestamp_ms, person);
                self.send(&person, &draft).await;
            }
        }
    }

    /// The id of the message that was sent to a person at this time.
    fn id_of(&self, person: &SessionId, time: u64) -> String {
        let fits = |sent: &Sent| sent.recipient == *person && sent.timestamp_ms == time;
        let fresh = self.pending.iter().find(|(sent, _)| fits(sent));
        fresh.map_or_else(|| by_time(time), |(sent, _)| sent.id.clone())
    }

    async fn send(&self, person: &SessionId, draft: &Draft) {
        let network = &self.ear.network;
        let sent = async {
            for mut message in network.prepare(&self.ear.account.sender, person, draft).await? {
                drop(network.send_within(&mut message, PATIENCE).await?);
            }
            Ok::<_, NetworkError>(())
        };
        if let Err(error) = sent.await {
            tracing::warn!(%error, "an answer could not be sent");
        }
    }

    /// Sends a line about the end of a silence: `CONVERSATION\nTEXT`.
    async fn say_line(&self, line: &str) {
        let (place, text) = line.split_once('\n').unwrap_or(("", line));
        let person = self.ear.places.keys().find(|person| at(person) == place);
        if let Some(person) = person {
            self.send(person, &Draft::text(text)).await;
        }
    }
}
