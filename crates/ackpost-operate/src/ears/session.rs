//! Answers in the rooms of a community.

use std::collections::HashMap;
use std::time::Duration;

use ackpost_notify::service::SogsParts;
use ackpost_notify::{Diagnostic, ServiceUrl};
use ackpost_outbox::TargetKey;
use session_protocol::blind::Blinder;
use session_protocol::{Prefix, RoomToken, SessionId};
use sogs_client::poll::{Cursor, Event, Poll, PollOptions};
use sogs_client::types::Reactions;
use sogs_client::{
    Cause, ListOptions, MAX_LIMIT, Message, Post, RATE_LIMIT_WINDOW, RoomInfo, Server, SogsError,
};
use tokio::sync::mpsc;

use super::{Failure, Hearing, Listener, Pauses, shown_member};

mod inbox;
use crate::desk::{Answer, Desk, Incoming, StateLine, Words};
use crate::model::gesture::{ACKNOWLEDGE, SILENCE};
use crate::model::people::{Person, Role};

/// Messages of the past that are looked at after a start. Older than two minutes, they are not acted on.
const BACKLOG: u32 = 20;
/// Maximum number of reactors of one emoji that a server names.
const REACTORS: u32 = 20;
/// Attempts at a post that the server's rate limit rejects.
const ATTEMPTS: u32 = 4;
/// Messages whose numbers or reactions are remembered.
const REMEMBERED: usize = 2_048;

/// One account at one community server, and the rooms that carry alerts.
pub(super) struct Ear {
    server: Server,
    name: Option<String>,
    rooms: HashMap<RoomToken, Vec<TargetKey>>,
}

/// The reactions of a message that count, by person.
type Reactors = HashMap<SessionId, Vec<String>>;

struct Running {
    desk: Desk,
    server: Server,
    name: Option<String>,
    rooms: HashMap<RoomToken, Vec<TargetKey>>,
    me: SessionId,
    blinder: Blinder,
    /// Our own messages by the time that others quote them by.
    quoted: HashMap<(RoomToken, u64), u64>,
    reactions: HashMap<(RoomToken, u64), Reactors>,
    /// Channel for lines about the end of a silence.
    voice: mpsc::Sender<String>,
}

impl Ear {
    /// Adds the rooms of a URL to the ear of its account.
    pub(super) fn add(
        ears: &mut HashMap<String, Self>,
        desk: &Desk,
        service: &ServiceUrl,
        parts: SogsParts,
    ) -> Result<(), Diagnostic> {
        let access = parts.connect()?;
        let Some(identity) = access.server.identity() else {
            return Err(Diagnostic::error(
                "the URL has no identity",
                "write a seed into the URL, or make an identity",
            ));
        };
        let key = format!("{} {}", access.server.base_url(), identity.session_id());
        let ear = ears.entry(key).or_insert_with(|| Self {
            server: access.server.clone(),
            name: access.name.clone(),
            rooms: HashMap::new(),
        });
        for target in service.targets() {
            if let Ok(room) = RoomToken::new(&target.address) {
                let places = ear.rooms.entry(room).or_default();
                places.push(desk.outbox().target_key(service, &target));
            }
        }
        Ok(())
    }

    /// Polls until an error that does not pass by itself.
    async fn poll(
        &self,
        desk: &Desk,
        pauses: &mut Pauses,
        voice: &mpsc::Sender<String>,
        lines: &mut mpsc::Receiver<String>,
    ) -> SogsError {
        let me = match self.server.my_id().await {
            Ok(me) => me,
            Err(error) => return error,
        };
        let options = PollOptions {
            inbox: true,
            interval: desk.settings().interval,
            backlog: BACKLOG,
            reactors: REACTORS,
            persistent: true,
            ..PollOptions::rooms(self.rooms.keys().cloned())
        };
        let mut poll = self.server.poll(options, Cursor::default());
        let mut running = Running {
            desk: desk.clone(),
            server: self.server.clone(),
            name: self.name.clone(),
            rooms: self.rooms.clone(),
            me,
            blinder: Blinder::new(&self.server.key()),
            quoted: HashMap::new(),
            reactions: HashMap::new(),
            voice: voice.clone(),
        };
        running.note_state().await;
        loop {
            tokio::select! {
                event = poll.next() => match event {
                    Ok(event) => {
                        if !matches!(event, Event::Interrupted { .. }) {
                            *pauses = Pauses::new();
                        }
                        running.take(&poll, event).await;
                    }
                    Err(error) => return error,
                },
                Some(line) = lines.recv() => running.say_line(&line).await,
            }
        }
    }
}

impl Listener for Ear {
    fn name(&self) -> String {
        self.server.base_url().to_owned()
    }

    fn conversations(&self, desk: &Desk) -> Vec<String> {
        let rooms = self.rooms.keys().map(|room| at(&self.server, room));
        let accounts = desk.accounts();
        let people = accounts.iter().map(|account| inbox::at(&self.server, account));
        rooms.chain(people).collect()
    }

    async fn listen(&mut self, hearing: &mut Hearing<'_>) -> Option<Failure> {
        let Hearing {
            desk,
            pauses,
            voice,
            lines,
            stop,
        } = hearing;
        tokio::select! {
            error = self.poll(desk, pauses, voice, lines) => Some(Failure::new(&error, error.retry_after())),
            _ = stop.wait_for(|stop| *stop) => None,
        }
    }
}

/// A room, as the log names it.
fn at(server: &Server, room: &RoomToken) -> String {
    format!("{}/{room}", server.base_url().trim_end_matches('/'))
}

impl Running {
    async fn take(&mut self, poll: &Poll, event: Event) {
        match event {
            Event::Message { room, message } => {
                let info = poll.room_info(&room).cloned();
                self.on_message(&room, info.as_ref(), &message).await;
            }
            Event::Reactions { room, row } => {
                let info = poll.room_info(&room).cloned();
                let key = (room, row.id);
                let now = reactors(&row.reactions);
                self.on_reactions(&key, info.as_ref(), row.seqno, now).await;
            }
            Event::Interrupted { error, retry_in } => {
                tracing::warn!(%error, seconds = retry_in.as_secs(), "a community cannot be asked for answers");
            }
            Event::Direct(message) => self.on_direct(poll, &message).await,
            Event::InboxLost { error } => {
                tracing::warn!(%error, "answers in direct messages of the community are not heard");
            }
            Event::RoomLost { room, error } => {
                tracing::warn!(%room, %error, "answers in the room are not heard");
            }
            Event::RoomBack { room } => tracing::info!(%room, "answers in the room are heard again"),
            // An edited message is not a gesture: its first text was already handled. It comes with its reactions, too.
            Event::Edited { room, message } => {
                let info = poll.room_info(&room).cloned();
                let key = (room, message.id);
                let now = reactors(&message.reactions);
                self.on_reactions(&key, info.as_ref(), message.seqno, now).await;
            }
            _ => {}
        }
    }

    /// Notes the reactions that stand on the latest messages: none of them is a new one.
    async fn note_state(&mut self) {
        let options = ListOptions {
            limit: Some(MAX_LIMIT),
            reactors: Some(REACTORS),
            ..ListOptions::default()
        };
        for room in self.rooms.keys().cloned().collect::<Vec<_>>() {
            match self.server.room(&room).recent(options).await {
                Ok(messages) => {
                    for message in messages {
                        let now = reactors(&message.reactions);
                        remember(&mut self.reactions, (room.clone(), message.id), now);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, %room, "reactions to earlier alerts count from their next change only");
                }
            }
        }
    }

    async fn on_message(&mut self, room: &RoomToken, info: Option<&RoomInfo>, message: &Message) {
        if self.quoted.len() > REMEMBERED {
            self.quoted.clear();
        }
        let now = reactors(&message.reactions);
        remember(&mut self.reactions, (room.clone(), message.id), now);
        let own = message.author == self.me;
        if own {
            self.quoted.insert((room.clone(), message.quote_id()), message.id);
            return;
        }
        let Some(body) = message.body().filter(|_| message.is_authentic()) else {
            return;
        };
        let quote = message
            .content()
            .ok()
            .and_then(|content| content.data_message.as_ref()?.quote.as_ref());
        let about = match quote {
            Some(quote) => {
                let ours = quote.author.as_deref().and_then(|author| author.parse().ok()) == Some(self.me);
                match quote.id.filter(|_| ours) {
                    Some(time) => self.number_of(room, time).await,
                    None => None,
                }
            }
            None => None,
        };
        if quote.is_some() && about.is_none() {
            // It answers something else.
            return;
        }
        let posted = Duration::try_from_secs_f64(message.posted.max(0.0)).unwrap_or_default();
        let now = Duration::from_millis(self.server.now_ms());
        let incoming = Incoming {
            words: Words::Text {
                body: body.to_owned(),
                direct: false,
            },
            about: about.map(|number| number.to_string()),
            id: message.id.to_string(),
            edited: message.edited.is_some(),
            private: message.whisper,
            verified: message.is_authentic(),
            age: Some(now.saturating_sub(posted)),
            ..self.incoming(room, info, &message.author, message.display_name())
        };
        let answer = self.desk.hear(&incoming).await;
        self.answer(room, &message.author, Some(message), answer).await;
    }

    async fn on_reactions(
        &mut self,
        key: &(RoomToken, u64),
        info: Option<&RoomInfo>,
        seqno: i64,
        now: Reactors,
    ) {
        let (room, number) = key;
        // A row has all reactions and no times: without an earlier state, any of them may be of hours ago.
        let Some(before) = remember(&mut self.reactions, key.clone(), now.clone()) else {
            tracing::debug!(%room, number, "reactions to an old message were noted");
            return;
        };
        let mut people: Vec<SessionId> = now.keys().copied().collect();
        people.extend(before.keys().filter(|id| !now.contains_key(id)));
        for person in people {
            let mine = |all: &Reactors| all.get(&person).cloned().unwrap_or_default();
            let (has, had) = (mine(&now), mine(&before));
            if person == self.me || had == has {
                continue;
            }
            let incoming = Incoming {
                words: Words::Reactions {
                    now: has,
                    before: Some(had),
                },
                about: Some(number.to_string()),
                id: format!("reaction {number} {seqno}"),
                ..self.incoming(room, info, &person, None)
            };
            let answer = self.desk.hear(&incoming).await;
            self.answer(room, &person, None, answer).await;
        }
    }

    fn incoming(
        &self,
        room: &RoomToken,
        info: Option<&RoomInfo>,
        author: &SessionId,
        name: Option<&str>,
    ) -> Incoming {
        Incoming {
            person: self.person(info, author),
            shown: shown_member(author, name),
            places: self.rooms.get(room).cloned().unwrap_or_default(),
            at: at(&self.server, room),
            words: Words::Reactions {
                now: Vec::new(),
                before: None,
            },
            about: None,
            id: String::new(),
            own: *author == self.me,
            edited: false,
            private: false,
            verified: true,
            carried: false,
            age: None,
        }
    }

    fn person(&self, info: Option<&RoomInfo>, author: &SessionId) -> Person {
        let role = info.map_or(Role::Everyone, |info| role_in(info, author));
        let account = match author.prefix() {
            Prefix::Account => Some(*author),
            Prefix::Blind15 => self.blinder.account15(author).ok(),
            _ => self
                .desk
                .accounts()
                .into_iter()
                .find(|account| self.blinder.matches(account, author)),
        };
        Person::Session {
            id: *author,
            account,
            role,
        }
    }

    /// The number of our message that was signed at this time.
    async fn number_of(&mut self, room: &RoomToken, time: u64) -> Option<u64> {
        let key = (room.clone(), time);
        if let Some(number) = self.quoted.get(&key) {
            return Some(*number);
        }
        let options = ListOptions {
            limit: Some(MAX_LIMIT),
            reactors: Some(0),
            ..ListOptions::default()
        };
        // The message may be older than this listener.
        match self.server.room(room).recent(options).await {
            Ok(messages) => {
                for message in messages.iter().filter(|message| message.author == self.me) {
                    self.quoted.insert((room.clone(), message.quote_id()), message.id);
                }
            }
            Err(error) => tracing::warn!(%error, "the message that an answer is about cannot be looked up"),
        }
        self.quoted.get(&key).copied()
    }

    async fn answer(&self, room: &RoomToken, person: &SessionId, to: Option<&Message>, answer: Answer) {
        let result = match answer {
            Answer::Nothing => Ok(()),
            Answer::Privately(text) => {
                let sent = self
                    .server
                    .inbox()
                    .send(person, &text, self.name.as_deref())
                    .await;
                sent.map(drop)
            }
            Answer::Openly { text, state } => {
                self.reply(room, to, text, state);
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::warn!(%error, %room, "an answer could not be posted");
        }
    }

    /// Posts an answer. It may have to wait for the rate limit of the server; what others say is heard meanwhile.
    fn reply(&self, room: &RoomToken, to: Option<&Message>, text: String, state: Option<StateLine>) {
        let post = self.named(Post::text(text));
        let post = match to {
            Some(message) => post.reply_to(message),
            None => post,
        };
        let edit = state.and_then(|StateLine { message, text }| {
            let number: u64 = message.parse().ok()?;
            Some((number, self.named(Post::text(text))))
        });
        let room = self.server.room(room);
        tokio::spawn(async move {
            let posted = patiently(|| room.post(post.clone())).await.map(drop);
            let edited = match (posted, edit) {
                (Ok(()), Some((number, edit))) => {
                    patiently(|| room.edit(number, edit.clone())).await.map(drop)
                }
                (posted, _) => posted,
            };
            if let Err(error) = edited {
                tracing::warn!(%error, room = %room.token(), "an answer could not be posted");
            }
        });
    }

    /// Sends a line about the end of a silence: `ROOM\nTEXT`.
    async fn say_line(&self, line: &str) {
        let (at_room, text) = line.split_once('\n').unwrap_or(("", line));
        if let Some(person) = inbox::person_of(&self.server, at_room) {
            return self.send_direct(&person, text).await;
        }
        let room = self.rooms.keys().find(|room| at(&self.server, room) == at_room);
        let Some(room) = room else { return };
        let (at, post) = (self.server.room(room), self.named(Post::text(text)));
        tokio::spawn(async move {
            if let Err(error) = patiently(|| at.post(post.clone())).await {
                tracing::warn!(%error, room = %at.token(), "the end of a silence could not be told");
            }
        });
    }

    fn named(&self, post: Post) -> Post {
        match &self.name {
            Some(name) => post.name(name.clone()),
            None => post,
        }
    }
}

/// Notes the reactions to a message. Returns those that were noted before. The oldest messages are forgotten first.
fn remember(
    all: &mut HashMap<(RoomToken, u64), Reactors>,
    key: (RoomToken, u64),
    now: Reactors,
) -> Option<Reactors> {
    let before = all.insert(key, now);
    if all.len() > REMEMBERED {
        let mut numbers: Vec<u64> = all.keys().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        let middle = numbers[numbers.len() / 2];
        all.retain(|(_, number), _| *number >= middle);
    }
    before
}

/// Makes a call again while the server limits the rate.
async fn patiently<T, F: Future<Output = Result<T, SogsError>>>(
    call: impl Fn() -> F,
) -> Result<T, SogsError> {
    for _ in 0..ATTEMPTS {
        match call().await {
            Err(error) if *error.cause() == Cause::RateLimited => {
                let pause = error.retry_after().unwrap_or(RATE_LIMIT_WINDOW);
                tokio::time::sleep(pause.min(2 * RATE_LIMIT_WINDOW)).await;
            }
            result => return result,
        }
    }
    call().await
}

/// The rank of a person, as a room names it.
fn role_in(info: &RoomInfo, person: &SessionId) -> Role {
    if info.admins.contains(person) || info.hidden_admins.contains(person) {
        Role::Admin
    } else if info.moderators.contains(person) || info.hidden_moderators.contains(person) {
        Role::Moderator
    } else {
        Role::Everyone
    }
}

/// The reactions that count, by person.
fn reactors(reactions: &Reactions) -> Reactors {
    let mut all = Reactors::new();
    for (emoji, reaction) in reactions {
        let bare = emoji.trim_end_matches('\u{fe0f}');
        if bare == ACKNOWLEDGE || bare == SILENCE {
            for person in reaction.reactors.iter().flatten() {
                all.entry(*person).or_default().push(bare.to_owned());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reactions_to_the_newest_messages_stay_known() {
        let room = RoomToken::new("ops").expect("a token");
        let mut all = HashMap::new();
        let last = 3 * REMEMBERED as u64;
        for number in 0..=last {
            assert_eq!(remember(&mut all, (room.clone(), number), Reactors::new()), None);
        }
        assert!(all.len() <= REMEMBERED);
        for number in last - 100..=last {
            assert!(remember(&mut all, (room.clone(), number), Reactors::new()).is_some());
        }
        assert!(remember(&mut all, (room, 0), Reactors::new()).is_none());
    }
}
