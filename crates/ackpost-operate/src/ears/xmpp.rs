//! Answers in the rooms and chats of an XMPP account.

use std::collections::HashMap;
use std::time::Duration;

use ackpost_notify::ServiceUrl;
use ackpost_notify::service::XmppParts;
use ackpost_outbox::TargetKey;
use ackpost_xmpp::{
    About, Account, Confirm, Content, Event, Events, Jid, Outgoing, Received, RoomTarget, Session,
    SessionOptions, Target, XmppError,
};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Failure, Hearing, Listener, Pauses, shown};
use crate::desk::{Answer, Desk, Incoming, StateLine, Words};
use crate::model::gesture::{ACKNOWLEDGE, SILENCE};
use crate::model::people::{Affiliation, Person};

/// Maximum number of sets of reactions that are remembered.
const REMEMBERED: usize = 2_048;
/// Maximum number of occupants of all rooms that are remembered.
const OCCUPANTS: usize = 20_000;
/// Longest id of a message that is looked up, bytes.
const MAX_ID: usize = 1_024;
/// An age that no gesture may have.
const UNKNOWN_AGE: Duration = Duration::MAX;

/// One account, with the rooms and people that get alerts from it.
pub(super) struct Ear {
    account: Account,
    rooms: Vec<RoomTarget>,
    places: HashMap<Jid, Vec<TargetKey>>,
}

/// A person in a room.
struct Occupant {
    jid: Option<Jid>,
    affiliation: Affiliation,
    /// The permanent id in the room (XEP-0421).
    id: Option<String>,
}

/// The conversation, the author and the message to which the answer to a gesture goes.
struct Asked {
    /// The conversation: a room, or a person.
    to: Jid,
    /// The author; in rooms with the nick as resource.
    from: Jid,
    /// The message that an answer refers to.
    id: Option<String>,
    encrypted: bool,
}

/// The reactions of a person on a message.
struct Reaction {
    from: Jid,
    to: String,
    now: Vec<String>,
    room: bool,
    occupant: Option<String>,
    /// A bridge shows it for somebody else.
    carried: bool,
    id: String,
    stamp: Option<String>,
}

struct Running {
    desk: Desk,
    session: Session,
    rooms: Vec<RoomTarget>,
    places: HashMap<Jid, Vec<TargetKey>>,
    occupants: HashMap<Jid, Occupant>,
    /// Reactions by message and person.
    reactions: HashMap<(String, Jid), Vec<String>>,
}

impl Ear {
    /// Adds the rooms and people of a URL to the ear of its account.
    pub(super) fn add(ears: &mut HashMap<String, Self>, desk: &Desk, service: &ServiceUrl, parts: XmppParts) {
        let key = parts.account.jid().to_bare().to_string();
        let ear = ears.entry(key).or_insert_with(|| Self {
            account: parts.account.clone(),
            rooms: Vec::new(),
            places: HashMap::new(),
        });
        for room in parts.rooms {
            if !ear.rooms.iter().any(|known| known.room.same_bare(&room.room)) {
                ear.rooms.push(room);
            }
        }
        for target in service.targets() {
            if let Ok(jid) = target.address.trim_start_matches('#').parse::<Jid>() {
                let places = ear.places.entry(jid.to_bare()).or_default();
                places.push(desk.outbox().target_key(service, &target));
            }
        }
    }
}

impl Listener for Ear {
    fn name(&self) -> String {
        self.account.jid().to_bare().to_string()
    }

    fn conversations(&self, _desk: &Desk) -> Vec<String> {
        self.places.keys().map(at).collect()
    }

    async fn listen(&mut self, hearing: &mut Hearing<'_>) -> Option<Failure> {
        let mut options = SessionOptions::receiving(self.rooms.clone());
        let archives = std::iter::once(self.account.jid().to_bare())
            .chain(self.rooms.iter().map(|room| room.room.to_bare()));
        options.catch_up = archives.map(|archive| (archive, None)).collect();
        let opened = tokio::select! {
            opened = Session::open(&self.account, options) => opened,
            _ = hearing.stop.wait_for(|stop| *stop) => return None,
        };
        let (session, events) = match opened {
            Ok(opened) => opened,
            Err(error) => return Some(failure(&error)),
        };
        hearing.pauses = Pauses::new();
        let running = Running {
            desk: hearing.desk.clone(),
            session: session.clone(),
            rooms: self.rooms.clone(),
            places: self.places.clone(),
            occupants: HashMap::new(),
            reactions: HashMap::new(),
        };
        let ended = tokio::select! {
            ended = running.listen(events, &mut hearing.lines) => Some(ended),
            _ = hearing.stop.wait_for(|stop| *stop) => None,
        };
        session.close().await;
        let lost = || Failure::new(&"events were lost", None);
        ended.map(|error| error.as_ref().map_or_else(lost, failure))
    }
}

fn failure(error: &XmppError) -> Failure {
    Failure::new(error, error.retry_after())
}

/// A conversation, as the log names it.
fn at(place: &Jid) -> String {
    format!("xmpp:{place}")
}

impl Running {
    /// Listens until the session is over, or until it is no longer known who is in which room.
    async fn listen(mut self, mut events: Events, lines: &mut mpsc::Receiver<String>) -> Option<XmppError> {
        loop {
            tokio::select! {
                event = events.next() => match event {
                    None => return Some(XmppError::SessionClosed),
                    Some(Event::Ended { reason }) => return Some(reason.unwrap_or(XmppError::SessionClosed)),
                    // Presences may be among the dropped events.
                    Some(Event::Lagged(_)) => return None,
                    Some(event) => self.take(event).await,
                },
                Some(line) = lines.recv() => self.say_line(&line).await,
            }
        }
    }

    async fn take(&mut self, event: Event) {
        match event {
            // A new session enters its rooms anew.
            Event::Online { resumed: false, .. } => self.occupants.clear(),
            Event::Occupant {
                room,
                nick,
                jid,
                affiliation,
                present,
                occupant_id,
                own,
                ..
            } => {
                if own && present {
                    tracing::info!(%room, "answers in the room are heard");
                }
                let Ok(occupant) = room.with_resource(&nick) else {
                    return;
                };
                if !present {
                    self.occupants.remove(&occupant);
                } else if self.occupants.len() < OCCUPANTS || self.occupants.contains_key(&occupant) {
                    let known = Occupant {
                        jid,
                        affiliation: Affiliation::of_word(&affiliation),
                        id: occupant_id,
                    };
                    self.occupants.insert(occupant, known);
                }
            }
            Event::RoomLost { room, reason } => {
                tracing::warn!(%room, %reason, "answers in the room are not heard");
                self.occupants.retain(|occupant, _| !occupant.same_bare(&room));
            }
            Event::Room(message) => self.on_room(message).await,
            Event::Chat(message) => self.on_chat(message).await,
            Event::Reaction {
                from,
                to,
                emoji,
                room,
                own: false,
                occupant_id,
                bridge,
                stamp,
                archive,
            } => {
                let id = archive.map_or_else(|| Timestamp::now().to_string(), |archive| archive.id);
                let reaction = Reaction {
                    from,
                    to,
                    now: emoji,
                    room,
                    occupant: occupant_id,
                    carried: bridge.is_some(),
                    id: format!("reaction {id}"),
                    stamp,
                };
                self.on_reaction(reaction).await;
            }
            // An edited message is not a gesture: its first text was already handled.
            _ => {}
        }
    }

    async fn on_room(&mut self, message: Received) {
        let Some(from) = message.from.clone() else { return };
        let room = from.to_bare();
        if self.is_ours(&from, message.own) {
            self.note_own(&room, &message).await;
            return;
        }
        let person = self.person(&from, message.occupant_id.as_deref());
        let incoming = Incoming {
            person,
            shown: shown(from.resource()),
            // A history tells a nick, and another person may have had it then.
            age: message.stamp.as_ref().map(|stamp| {
                if self.is_same(&from, message.occupant_id.as_deref()) {
                    age(stamp)
                } else {
                    UNKNOWN_AGE
                }
            }),
            ..incoming(&message, false)
        };
        let asked = Asked {
            to: room,
            from,
            // In rooms, answers refer to the id that the room gave.
            id: message.archive.as_ref().map(|archive| archive.id.clone()),
            encrypted: message.encryption.is_some(),
        };
        self.hear(incoming, asked).await;
    }

    async fn on_chat(&mut self, message: Received) {
        let Some(from) = message.from.clone().filter(|_| !message.own) else {
            return;
        };
        let bare = from.to_bare();
        let private = self.rooms.iter().any(|room| room.room.same_bare(&bare));
        let incoming = Incoming {
            person: Person::Xmpp {
                jid: Some(bare.to_string()).filter(|_| !private),
                room: None,
            },
            shown: shown(bare.local()),
            private,
            age: message.stamp.as_deref().map(age),
            ..incoming(&message, true)
        };
        let asked = Asked {
            to: bare,
            from,
            id: message.origin_id.clone().or_else(|| message.id.clone()),
            encrypted: message.encryption.is_some(),
        };
        self.hear(incoming, asked).await;
    }

    async fn on_reaction(&mut self, reaction: Reaction) {
        let Reaction {
            from,
            to,
            now,
            room,
            occupant,
            carried,
            id,
            stamp,
        } = reaction;
        let bare = from.to_bare();
        // Anybody may send reactions to the account, and each one that is remembered takes memory.
        if !self.places.contains_key(&bare) || to.len() > MAX_ID {
            return;
        }
        let now = counted(&now);
        let private = !room && self.rooms.iter().any(|one| one.room.same_bare(&bare));
        let person = if room {
            self.person(&from, occupant.as_deref())
        } else {
            Person::Xmpp {
                jid: Some(bare.to_string()).filter(|_| !private),
                room: None,
            }
        };
        if self.reactions.len() > REMEMBERED {
            self.reactions.clear();
        }
        // In rooms a nick may change hands; in chats a person has several clients.
        let who = if room { from.clone() } else { bare.clone() };
        let before = self.reactions.insert((to.clone(), who), now.clone());
        let name = if room { from.resource() } else { from.local() };
        let incoming = Incoming {
            person,
            shown: shown(name),
            places: Vec::new(),
            at: String::new(),
            // A nick may have had another owner before.
            words: Words::Reactions {
                now,
                before: before.filter(|_| !room),
            },
            about: Some(to.clone()),
            id,
            own: false,
            edited: false,
            private,
            verified: true,
            carried,
            age: stamp.as_ref().map(|stamp| {
                if room && !self.is_same(&from, occupant.as_deref()) {
                    UNKNOWN_AGE
                } else {
                    age(stamp)
                }
            }),
        };
        let asked = Asked {
            to: bare,
            from,
            id: Some(to),
            encrypted: false,
        };
        self.hear(incoming, asked).await;
    }

    async fn hear(&self, incoming: Incoming, asked: Asked) {
        let Some(places) = self.places.get(&asked.to) else {
            return;
        };
        let incoming = Incoming {
            places: places.clone(),
            at: at(&asked.to),
            ..incoming
        };
        let answer = self.desk.hear(&incoming).await;
        self.answer(&asked, answer).await;
    }

    /// The person behind a nick, as the room shows it now.
    fn person(&self, from: &Jid, occupant: Option<&str>) -> Person {
        let known = self.occupants.get(from).filter(|known| {
            // With a permanent id, both must be the same person.
            known.id.is_none() || occupant.is_none() || known.id.as_deref() == occupant
        });
        Person::Xmpp {
            jid: known
                .and_then(|known| known.jid.as_ref())
                .map(|jid| jid.to_bare().to_string()),
            room: known.map(|known| (from.to_bare().to_string(), known.affiliation)),
        }
    }

    /// True if the room says that the nick has the same owner now.
    fn is_same(&self, from: &Jid, occupant: Option<&str>) -> bool {
        let known = self.occupants.get(from).and_then(|known| known.id.as_deref());
        occupant.is_some() && known == occupant
    }

    /// True for our own messages, also those of another session of the account in the same room.
    fn is_ours(&self, from: &Jid, own: bool) -> bool {
        let known = self.occupants.get(from).and_then(|known| known.jid.as_ref());
        own || known.is_some_and(|jid| jid.same_bare(self.session.jid()))
    }

    /// Lets the id that a room gave to a message of ours lead to its alert.
    async fn note_own(&self, room: &Jid, message: &Received) {
        let (Some(id), Some(archive)) = (
            message.origin_id.as_ref().or(message.id.as_ref()),
            &message.archive,
        ) else {
            return;
        };
        for place in self.places.get(room).into_iter().flatten() {
            if let Err(error) = self.note(place, id, &archive.id).await {
                tracing::warn!(%error, "the id of an alert in a room could not be kept");
            }
        }
    }

    /// The room may show the message before the outbox has written down that it arrived.
    async fn note(
        &self,
        place: &TargetKey,
        id: &str,
        other: &str,
    ) -> Result<(), ackpost_outbox::OutboxError> {
        if self.desk.outbox().link_also(place, id, other).await? {
            return Ok(());
        }
        let (outbox, place) = (self.desk.outbox().clone(), place.clone());
        let (id, other) = (id.to_owned(), other.to_owned());
        tokio::spawn(async move {
            for pause in [50, 200, 500, 1_000, 3_000, 10_000] {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if !matches!(outbox.link_also(&place, &id, &other).await, Ok(false)) {
                    return;
                }
            }
        });
        Ok(())
    }

    async fn answer(&self, asked: &Asked, answer: Answer) {
        match answer {
            Answer::Nothing => {}
            Answer::Privately(text) => {
                let mut message = Outgoing::new(Target::User(asked.from.clone()), Content::text(text));
                message.confirm = Some(Confirm::Sent);
                self.send(vec![message]).await;
            }
            Answer::Openly { text, state } => {
                let mut message = Outgoing::new(self.target(&asked.to), Content::text(text));
                message.confirm = Some(Confirm::Sent);
                // A reference cannot be encrypted, so an encrypted answer has none.
                message.about = asked
                    .id
                    .clone()
                    .filter(|_| !asked.encrypted)
                    .map(|id| About::Reply {
                        id,
                        to: Some(asked.from.clone()),
                        quoted: 0,
                    });
                let mut messages = vec![message];
                if let Some(StateLine { message, text }) = state.filter(|_| !asked.encrypted) {
                    let mut edit = Outgoing::new(self.target(&asked.to), Content::text(text));
                    edit.replaces = Some(message);
                    edit.confirm = Some(Confirm::Sent);
                    messages.push(edit);
                }
                self.send(messages).await;
            }
        }
    }

    async fn send(&self, messages: Vec<Outgoing>) {
        for outcome in self.session.send(messages).await {
            if let Some(error) = outcome.error() {
                tracing::warn!(%error, "an answer could not be sent");
            }
        }
    }

    fn target(&self, place: &Jid) -> Target {
        let room = self.rooms.iter().find(|room| room.room.same_bare(place));
        room.map_or_else(|| Target::User(place.clone()), |room| Target::Room(room.clone()))
    }

    /// Sends a line about the end of a silence: `CONVERSATION\nTEXT`.
    async fn say_line(&self, line: &str) {
        let (place, text) = line.split_once('\n').unwrap_or(("", line));
        let place = self.places.keys().find(|one| at(one) == place);
        if let Some(place) = place {
            let mut message = Outgoing::new(self.target(place), Content::text(text));
            message.confirm = Some(Confirm::Sent);
            self.send(vec![message]).await;
        }
    }
}

/// Reads the facts that a text message contains itself.
fn incoming(message: &Received, direct: bool) -> Incoming {
    let id = message.origin_id.as_ref().or(message.id.as_ref());
    let id = id.or(message.archive.as_ref().map(|archive| &archive.id));
    Incoming {
        person: Person::Xmpp {
            jid: None,
            room: None,
        },
        shown: String::new(),
        places: Vec::new(),
        at: String::new(),
        words: Words::Text {
            body: message.own_words(),
            direct,
        },
        about: message.reply.as_ref().map(|reply| reply.id.clone()),
        id: id.cloned().unwrap_or_else(|| Timestamp::now().to_string()),
        own: message.own,
        edited: message.replaces.is_some(),
        private: false,
        verified: true,
        carried: message.bridge.is_some(),
        age: None,
    }
}

/// The reactions that mean something here.
fn counted(all: &[String]) -> Vec<String> {
    [ACKNOWLEDGE, SILENCE]
        .into_iter()
        .filter(|emoji| all.iter().any(|one| one.trim_end_matches('\u{fe0f}') == *emoji))
        .map(str::to_owned)
        .collect()
}

/// Returns the age of a delayed message.
fn age(stamp: &str) -> Duration {
    let Ok(sent) = stamp.parse::<Timestamp>() else {
        return UNKNOWN_AGE;
    };
    Duration::try_from(Timestamp::now().duration_since(sent)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reactions_that_mean_something_are_remembered() {
        let large = "x".repeat(100_000);
        let all = [large.as_str(), "🔕\u{fe0f}", "👍", "👀", "👀"].map(str::to_owned);
        assert_eq!(counted(&all), ["👀", "🔕"]);
        assert!(counted(&[large]).is_empty());
    }
}
