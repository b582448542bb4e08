//! The task behind a kept session: the only owner of its connection.

mod about;
#[cfg(feature = "omemo")]
mod encrypted;
mod incoming;
mod live;
mod pending;
mod reconnect;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::archive::Archives;
use super::command::{Closing, Command};
use super::event::Event;
#[cfg(feature = "omemo")]
use super::occupants::Occupants;
use super::options::SessionOptions;
use super::outlet::Outlet;
use super::sm::Resumable;
use super::stored::StoredMessages;
use crate::addressee::Addressee;
use crate::connect::Connector;
use crate::delivery::{BARRIER_EVERY, DeliveryTracker, Ending, Key};
use crate::error::{Step, XmppError};
use crate::id;
use crate::jid::Jid;
use crate::login::Online;
use crate::message::{Note, Outcome, RoomTarget};
use crate::ns;
use crate::stanza::Part;
use crate::xml::{Element, Incoming};
use live::Live;
use pending::{Pending, ReplyTo};

/// The pause before the first new attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A session that stood this long starts its pauses anew.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Longest wait for the server's end of the stream when a session is closed. ejabberd takes 100 ms.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Maximum number of messages that are on their way at once.
const IN_FLIGHT_MAX: usize = 2_000;

/// Maximum number of stanzas that the server has not acknowledged, or not even read. Nobody may make us keep answers for a
/// server that does not take them.
const WAITING_MAX: usize = IN_FLIGHT_MAX + 8_000;

/// The end of the time on one connection.
enum End {
    Closed(Closing),
    Broken(XmppError),
}

struct Waiting {
    reply: oneshot::Sender<Outcome>,
    give_up: Instant,
}

pub(super) struct Actor {
    connector: Arc<Connector>,
    options: SessionOptions,
    commands: mpsc::Receiver<Command>,
    events: Outlet,
    tracker: DeliveryTracker,
    next_key: Key,
    waiting: HashMap<Key, Waiting>,
    asked: HashMap<String, Pending>,
    archives: Archives,
    stored: StoredMessages,
    sm: Option<Resumable>,
    own: Jid,
    was_online: bool,
    /// Time of the latest login.
    online_since: Instant,
    /// The largest stanza in bytes that the server announced (XEP-0478).
    max_bytes: Option<usize>,
    last_error: Option<XmppError>,
    /// Notes about the latest login, which every delivered message carries.
    login_notes: Vec<Note>,
    /// The caller that opened the session, until it is logged in and has sent its presence.
    ready: Option<oneshot::Sender<Result<Jid, XmppError>>>,
    #[cfg(feature = "omemo")]
    occupants: Occupants,
}

impl Actor {
    pub(super) fn new(
        connector: Arc<Connector>,
        options: SessionOptions,
        commands: mpsc::Receiver<Command>,
        events: Outlet,
    ) -> Self {
        let mut archives = Archives::default();
        for (archive, after) in &options.catch_up {
            archives.follow(archive, after.clone(), stamp(SystemTime::now()));
        }
        for (archive, since) in &options.catch_up_since {
            archives.follow_since(archive, since.clone());
        }
        let mut tracker = DeliveryTracker::new(&connector.account);
        tracker.keep_ended();
        Self {
            tracker,
            own: connector.account.jid.clone(),
            connector,
            options,
            commands,
            events,
            next_key: 0,
            waiting: HashMap::new(),
            asked: HashMap::new(),
            archives,
            stored: StoredMessages::default(),
            sm: None,
            was_online: false,
            online_since: Instant::now(),
            max_bytes: None,
            last_error: None,
            login_notes: Vec::new(),
            ready: None,
            #[cfg(feature = "omemo")]
            occupants: Occupants::default(),
        }
    }

    /// Runs until the session is closed or permanently refused.
    pub(super) async fn run(mut self, ready: oneshot::Sender<Result<Jid, XmppError>>) {
        self.ready = Some(ready);
        let mut pause = FIRST_PAUSE;
        let ended = loop {
            match self.connect().await {
                Err(End::Closed(done)) => break (None, done),
                Err(End::Broken(error)) => {
                    if let Some(ready) = self.ready.take() {
                        let _ = ready.send(Err(error));
                        return;
                    }
                    if error.ends_session() {
                        break (Some(error), None);
                    }
                    if let Some(done) = self.rest(error, pause).await {
                        break (None, done);
                    }
                    pause = (pause * 2).min(self.options.max_backoff);
                }
                Ok(mut online) => {
                    if online.resumed.is_some() {
                        // The old session goes on, under its old address.
                        online.jid = self.own.clone();
                    }
                    self.own = online.jid.clone();
                    let began = Instant::now();
                    let end = self.live(online).await;
                    self.is_ready();
                    match end {
                        End::Closed(done) => break (None, done),
                        End::Broken(error) => {
                            if began.elapsed() > STABLE_AFTER {
                                pause = FIRST_PAUSE;
                            }
                            self.last_error = Some(error.clone());
                            if error.ends_session() {
                                break (Some(error), None);
                            }
                            if let Some(done) = self.rest(error, pause).await {
                                break (None, done);
                            }
                            pause = (pause * 2).min(self.options.max_backoff);
                        }
                    }
                }
            }
        };
        let (reason, done) = ended;
        self.finish(reason, done);
    }

    fn finish(mut self, reason: Option<XmppError>, done: Option<oneshot::Sender<()>>) {
        let error = reason.clone().unwrap_or(XmppError::SessionClosed);
        self.tracker.fail_all(&error);
        self.report();
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Send(parts) => {
                    for (_, reply) in parts {
                        let _ = reply.send(Outcome::failed(error.clone()));
                    }
                }
                Command::Ask { reply, .. } => {
                    let _ = reply.send(Err(error.clone()));
                }
                #[cfg(feature = "omemo")]
                Command::Question { reply, .. } => {
                    let _ = reply.send(Err(error.clone()));
                }
                #[cfg(feature = "omemo")]
                Command::SendUnconfirmed(_) => {}
                Command::Join(_) | Command::Leave(_) => {}
                Command::Close(done) => {
                    let _ = done.send(());
                }
            }
        }
        self.emit(Event::Ended { reason });
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Takes the parts of one message. If one of them is too large, none is sent: the server would end the session, and
    /// take every other message with it.
    fn accept_all(&mut self, parts: Vec<(Part, oneshot::Sender<Outcome>)>) {
        let largest = parts.iter().map(|(part, _)| part.xml.len()).max();
        let fits = crate::stanza::fits(largest.unwrap_or_default(), self.max_bytes);
        for (part, reply) in parts {
            match &fits {
                Ok(()) => self.accept(part, reply),
                Err(error) => {
                    let _ = reply.send(Outcome::failed(error.clone()));
                }
            }
        }
    }

    fn accept(&mut self, part: Part, reply: oneshot::Sender<Outcome>) {
        self.next_key += 1;
        let key = self.next_key;
        self.waiting.insert(
            key,
            Waiting {
                reply,
                give_up: Instant::now() + self.options.send_timeout,
            },
        );
        self.tracker.add(key, part);
    }

    fn keep_room(&mut self, room: RoomTarget) {
        self.tracker.join_room(&room);
        if !self
            .options
            .rooms
            .iter()
            .any(|kept| kept.room.same_bare(&room.room))
        {
            self.options.rooms.push(room);
        }
    }

    /// Stays out of a room from now on.
    fn leave_room(&mut self, room: &Jid) {
        self.options.rooms.retain(|kept| !kept.room.same_bare(room));
        self.tracker.leave(&room.to_bare());
        self.archives.again(&room.to_bare());
    }

    /// Rooms that threw us out or did not let us in are events.
    fn tell_lost_rooms(&mut self) {
        for (room, reason) in self.tracker.take_lost_rooms() {
            self.archives.again(&room);
            self.emit(Event::RoomLost { room, reason });
        }
    }

    fn next_give_up(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.give_up).min()
    }

    /// Messages whose time is over end, and are not sent later behind their owner's back.
    fn give_up(&mut self) {
        let now = Instant::now();
        let over: Vec<Key> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.give_up <= now)
            .map(|(&key, _)| key)
            .collect();
        let last = self.last_error.clone().unwrap_or(XmppError::AnswerTimeout {
            step: Step::Confirming,
            after: self.options.send_timeout,
        });
        for key in over {
            let error = XmppError::GaveUp {
                after: self.options.send_timeout,
                last: Box::new(last.clone()),
                written: self.tracker.was_taken(key),
            };
            self.tracker.cancel(key, error);
        }
        self.report();
    }

    /// Hands the ended messages to those who wait for them.
    fn report(&mut self) {
        for (key, mut outcome) in self.tracker.take_settled() {
            if let Outcome::Delivered(proof) = &mut outcome {
                proof.notes.extend_from_slice(&self.login_notes);
            }
            if let Some(waiting) = self.waiting.remove(&key) {
                let _ = waiting.reply.send(outcome);
            }
        }
    }

    /// Returns false if there was no place for the event.
    fn emit(&mut self, event: Event) -> bool {
        self.events.emit(event)
    }

    // --- on a connection ---

    async fn live(&mut self, online: Online) -> End {
        self.max_bytes = online.max_bytes.or(self.max_bytes);
        self.login_notes = online.notes();
        let mut live = Live::new(
            online.stream,
            self.connector.account.answer_timeout,
            self.options.ping_after,
        );
        self.tracker.note_login(live.stream.line());
        self.tracker.logged_in();
        self.begin(&mut live, online.resumed, online.resumable_as, &online.jid);
        let end = self.work(&mut live).await;
        let ending = match &end {
            End::Broken(XmppError::ShuttingDown { .. }) | End::Closed(_) => Ending::Said,
            End::Broken(_) if live.closed => Ending::Said,
            End::Broken(_) => Ending::Cut,
        };
        // A server may go on holding the connection for seconds after its last word.
        self.tracker.cut(live.last_heard, ending);
        if let End::Closed(_) = end {
            if let Some(sm) = self.sm.take() {
                // The acknowledgement keeps the server from sending the handled stanzas again to the next session.
                live.stream.queue(&sm.acknowledgement());
            }
            live.stream.close_and_wait(CLOSE_WAIT).await;
        }
        end
    }

    /// The first words on a connection: go on where the old one ended, or start over.
    fn begin(&mut self, live: &mut Live, resumed: Option<u32>, resumable_as: Option<String>, jid: &Jid) {
        let was_resumed = if let (Some(handled), Some(sm)) = (resumed, self.sm.as_mut()) {
            sm.acknowledged(handled);
            for stanza in sm.unacked() {
                live.stream.queue(stanza);
            }
            self.tracker.touch();
            true
        } else {
            self.sm = resumable_as.map(Resumable::new);
            if self.options.presence {
                let server = live.stream.line().kind;
                match self.stored.logged_in(&self.own, server, Instant::now()) {
                    Some(question) => self.write(live, &question.to_xml()),
                    None => self.appear(live),
                }
            }
            self.tracker.start_over();
            for room in self.options.rooms.clone() {
                self.tracker.join_room(&room);
            }
            let first = !std::mem::replace(&mut self.was_online, true);
            if let Some(question) = self.archives.catch_up(&self.own.clone(), first) {
                self.write(live, &question.to_xml());
            }
            false
        };
        self.online_since = Instant::now();
        self.emit(Event::Online {
            jid: jid.clone(),
            resumed: was_resumed,
        });
        if !self.options.presence || was_resumed {
            self.is_ready();
        }
    }

    /// Tells the caller that opened the session that the first login is done.
    fn is_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(self.own.clone()));
        }
    }

    /// Appears online, and asks for copies of messages to other resources.
    fn appear(&mut self, live: &mut Live) {
        let presence = self.presence();
        self.write(live, &presence);
        let enable = Element::new("enable", ns::CARBONS);
        let iq = Element::new("iq", ns::CLIENT)
            .attr("type", "set")
            .attr("id", format!("carbons-{}", id::short()))
            .child(enable);
        self.write(live, &iq.to_xml());
        self.is_ready();
    }

    /// Queues a stanza and counts it.
    fn write(&mut self, live: &mut Live, stanza: &str) {
        live.stream.queue(stanza);
        live.unwritten += 1;
        if let Some(sm) = &mut self.sm {
            sm.sent(stanza);
            live.unasked = true;
        }
    }

    async fn work(&mut self, live: &mut Live) -> End {
        loop {
            for stanza in self.tracker.take_out() {
                self.write(live, &stanza);
            }
            if live.unasked && self.sm.is_some() {
                live.unasked = false;
                live.stream.queue("<r xmlns='urn:xmpp:sm:3'/>");
            }
            if !live.stream.is_flushed() {
                let _ = futures_util::poll!(std::pin::pin!(live.stream.flush()));
            }
            if live.stream.is_flushed() {
                live.unwritten = 0;
                self.tracker.flushed();
            }
            let unacknowledged = self.sm.as_ref().map_or(0, Resumable::waiting);
            if unacknowledged.max(live.unwritten) > WAITING_MAX {
                // They would be too many again if the session was resumed.
                self.sm = None;
                return End::Broken(XmppError::AnswerTimeout {
                    step: Step::Writing,
                    after: live.limit,
                });
            }
            self.report();
            let deadline = self.deadline(live);
            let room_for_more = self.waiting.len() < IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                incoming = live.stream.next() => match incoming {
                    Ok(Incoming::Open(_)) => {}
                    Ok(Incoming::Close) => {
                        live.closed = true;
                        return End::Broken(XmppError::ConnectionLost { step: Step::Confirming });
                    }
                    Ok(Incoming::Element(element)) => {
                        live.heard();
                        if let Some(end) = self.take(live, &element) {
                            return end;
                        }
                    }
                    Err(broken) => return End::Broken(broken.at(Step::Confirming)),
                },
                command = self.commands.recv(), if room_for_more => {
                    if let Some(end) = self.obey(live, command) {
                        return end;
                    }
                }
                () = sleep_until(deadline) => {
                    if let Some(end) = self.tick(live) {
                        return end;
                    }
                }
            }
        }
    }

    fn deadline(&self, live: &Live) -> Instant {
        [
            self.tracker.deadline(),
            self.next_give_up(),
            self.asked.values().map(|pending| pending.until).min(),
            self.stored.due(),
        ]
        .into_iter()
        .flatten()
        .fold(live.ping_due().min(live.rooms_due), Instant::min)
    }

    fn obey(&mut self, live: &mut Live, command: Option<Command>) -> Option<End> {
        let mut next = command;
        let mut without_barrier = 0;
        // All waiting stanzas go out together, with one question behind them.
        loop {
            match next {
                None => return Some(End::Closed(None)),
                Some(Command::Close(done)) => return Some(End::Closed(Some(done))),
                Some(Command::Send(parts)) => {
                    without_barrier += parts.len();
                    self.accept_all(parts);
                }
                Some(Command::Join(room)) => self.keep_room(room),
                Some(Command::Leave(room)) => self.leave_room(&room),
                Some(Command::Ask {
                    kind,
                    to,
                    payload,
                    reply,
                }) => {
                    let id = format!("a-{}", id::short());
                    let pending = Pending {
                        asked: Addressee::new(&to, &self.own),
                        reply: ReplyTo::One(reply),
                        until: Instant::now() + live.limit,
                    };
                    let iq = Element::new("iq", ns::CLIENT)
                        .attr("type", kind)
                        .attr("to", to)
                        .attr("id", id.clone())
                        .child(payload);
                    self.asked.insert(id, pending);
                    self.write(live, &iq.to_xml());
                }
                #[cfg(feature = "omemo")]
                Some(Command::Question { question, reply }) => {
                    let id = format!("a-{}", id::short());
                    let iq = question.iq(&id).to_xml();
                    let pending = Pending {
                        asked: Addressee::new(&question.to, &self.own),
                        reply: ReplyTo::WithArchive {
                            reply,
                            query: question.archive,
                            archived: Vec::new(),
                        },
                        until: Instant::now() + live.limit,
                    };
                    self.asked.insert(id, pending);
                    self.write(live, &iq);
                }
                #[cfg(feature = "omemo")]
                Some(Command::SendUnconfirmed(stanza)) => self.write(live, &stanza),
            }
            if without_barrier >= BARRIER_EVERY || self.waiting.len() >= IN_FLIGHT_MAX {
                break;
            }
            next = match self.commands.try_recv() {
                Ok(command) => Some(command),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    // Nobody can send commands any more; the earlier ones are still carried out.
                    if self.waiting.is_empty() {
                        return Some(End::Closed(None));
                    }
                    break;
                }
            };
        }
        if without_barrier > 0 {
            self.tracker.add_barrier();
        }
        None
    }

    /// Some time is over: a message's, an answer's, or it is time for a ping.
    fn tick(&mut self, live: &mut Live) -> Option<End> {
        let now = Instant::now();
        if self.tracker.deadline().is_some_and(|deadline| deadline <= now) {
            if live.last_heard + live.limit <= now && self.tracker.is_owed_an_answer() {
                // Nothing at all came: it is the connection, not the message.
                return Some(End::Broken(XmppError::AnswerTimeout {
                    step: Step::Confirming,
                    after: live.limit,
                }));
            }
            self.tracker.tick();
            self.report();
        }
        let late: Vec<String> = self
            .asked
            .iter()
            .filter(|(_, pending)| pending.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            if let Some(pending) = self.asked.remove(&id) {
                pending.reply.send(Err(XmppError::AnswerTimeout {
                    step: Step::Query,
                    after: live.limit,
                }));
            }
        }
        self.give_up();
        if self.stored.releases_presence(now) {
            self.appear(live);
        }
        if let Some(question) = self.stored.ask(&self.own, now) {
            self.write(live, &question.to_xml());
        }
        if live.ping_due() <= now {
            if live.pinged.is_some() {
                return Some(End::Broken(XmppError::AnswerTimeout {
                    step: Step::Query,
                    after: live.limit,
                }));
            }
            live.pinged = Some(now);
            let ping = Element::new("iq", ns::CLIENT)
                .attr("type", "get")
                .attr("to", self.own.domain())
                .attr("id", format!("alive-{}", id::short()))
                .child(Element::new("ping", ns::PING));
            self.write(live, &ping.to_xml());
        }
        if live.rooms_due <= now {
            live.rooms_due = now + live.ping_after;
            self.look_after_rooms(live);
        }
        None
    }

    /// XEP-0410: are we still in our rooms? And those we were thrown out of are tried again. A room that said something
    /// lately still knows us. Whether the line is busy says nothing: it may be another room that talks.
    fn look_after_rooms(&mut self, live: &mut Live) {
        let heard = std::mem::take(&mut live.heard_rooms);
        live.self_pings.clear();
        let inside: Vec<(Jid, String)> = self
            .tracker
            .rooms()
            .filter(|(jid, view)| view.inside && !heard.contains(*jid))
            .map(|(jid, view)| (jid.clone(), view.nick))
            .collect();
        for (room, nick) in inside {
            let Ok(occupant) = room.with_resource(&nick) else {
                continue;
            };
            let id = format!("self-{}", id::short());
            let ping = Element::new("iq", ns::CLIENT)
                .attr("type", "get")
                .attr("to", occupant.to_string())
                .attr("id", id.clone())
                .child(Element::new("ping", ns::PING));
            live.self_pings.insert(id, occupant);
            self.write(live, &ping.to_xml());
        }
        for room in self.options.rooms.clone() {
            self.tracker.join_room(&room);
        }
    }
}

/// A time as XEP-0082 writes it.
fn stamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

async fn maybe_sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
