//! The task behind a kept session: the only owner of its connection.

mod between;
mod incoming;
mod live;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::archive::Archives;
use super::sm::Resumable;
use super::{Event, SessionOptions};
use crate::asked::Asked;
use crate::connect::Connector;
use crate::courier::{DeliveryTracker, Ending, Key};
use crate::error::{Step, XmppError};
use crate::id;
use crate::login::Online;
use crate::ns;
use crate::oneshot::SEAL_EVERY;
use crate::stanza::Part;
use crate::xml::{Element, Incoming};
use crate::{Jid, Outcome, RoomTarget};
use live::Live;

/// The pause before the first new attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A session that stood this long starts its pauses anew.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// No more messages than this are on their way at once.
const IN_FLIGHT_MAX: usize = 2_000;

pub(super) enum Command {
    Send(Vec<(Part, oneshot::Sender<Outcome>)>),
    Ask {
        to: String,
        payload: Element,
        reply: oneshot::Sender<Result<Element, XmppError>>,
    },
    Join(RoomTarget),
    Close(oneshot::Sender<()>),
}

/// Whom to tell that the session is closed, if it was closed by name and not just dropped.
type Closing = Option<oneshot::Sender<()>>;

/// How the time on one connection ended.
enum End {
    Closed(Closing),
    Broken(XmppError),
}

struct Waiting {
    reply: oneshot::Sender<Outcome>,
    give_up: Instant,
}

/// A question put for somebody else.
struct Pending {
    asked: Asked,
    reply: oneshot::Sender<Result<Element, XmppError>>,
    until: Instant,
}

pub(super) struct Actor {
    connector: Arc<Connector>,
    options: SessionOptions,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    lagged: u64,
    courier: DeliveryTracker,
    next_key: Key,
    waiting: HashMap<Key, Waiting>,
    asked: HashMap<String, Pending>,
    archives: Archives,
    sm: Option<Resumable>,
    own: Jid,
    was_online: bool,
    /// The largest stanza in bytes that the server announced (XEP-0478).
    max_bytes: Option<usize>,
    last_error: Option<XmppError>,
}

impl Actor {
    pub(super) fn new(
        connector: Arc<Connector>,
        options: SessionOptions,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let mut archives = Archives::default();
        for (archive, after) in &options.catch_up {
            archives.follow(archive, after.clone(), stamp(SystemTime::now()));
        }
        let mut courier = DeliveryTracker::new(&connector.account);
        courier.keep_ended();
        Self {
            courier,
            own: connector.account.jid.clone(),
            connector,
            options,
            commands,
            events,
            lagged: 0,
            next_key: 0,
            waiting: HashMap::new(),
            asked: HashMap::new(),
            archives,
            sm: None,
            was_online: false,
            max_bytes: None,
            last_error: None,
        }
    }

    /// Runs until the session is closed or refused for good.
    pub(super) async fn run(mut self, ready: oneshot::Sender<Result<Jid, XmppError>>) {
        let mut ready = Some(ready);
        let mut pause = FIRST_PAUSE;
        let ended = loop {
            match self.connect().await {
                Err(End::Closed(done)) => break (None, done),
                Err(End::Broken(error)) => {
                    if let Some(ready) = ready.take() {
                        let _ = ready.send(Err(error));
                        return;
                    }
                    if error.ends_session() {
                        break (Some(error), None);
                    }
                    if let Some(done) = self.rest(error, pause).await {
                        break (None, done);
                    }
                    pause = (pause * 2).min(self.options.longest_pause);
                }
                Ok(mut online) => {
                    if online.resumed.is_some() {
                        // The old session goes on, under its old address.
                        online.jid = self.own.clone();
                    }
                    self.own = online.jid.clone();
                    if let Some(ready) = ready.take() {
                        let _ = ready.send(Ok(online.jid.clone()));
                    }
                    let began = Instant::now();
                    match self.live(online).await {
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
                            pause = (pause * 2).min(self.options.longest_pause);
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
        self.courier.fail_all(&error);
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
                Command::Join(_) => {}
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

    fn accept(&mut self, part: Part, reply: oneshot::Sender<Outcome>) {
        // The server would end the session, and take every other message with it.
        if let Err(error) = crate::stanza::fits(part.xml.len(), self.max_bytes) {
            let _ = reply.send(Outcome::failed(error));
            return;
        }
        self.next_key += 1;
        let key = self.next_key;
        self.waiting.insert(
            key,
            Waiting {
                reply,
                give_up: Instant::now() + self.options.patience,
            },
        );
        self.courier.add(key, part);
    }

    fn keep_room(&mut self, room: RoomTarget) {
        self.courier.visit(&room);
        if !self
            .options
            .rooms
            .iter()
            .any(|kept| kept.room.same_bare(&room.room))
        {
            self.options.rooms.push(room);
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
        let last = self.last_error.clone().unwrap_or(XmppError::Silent {
            step: Step::Confirming,
            after: self.options.patience,
        });
        for key in over {
            let error = XmppError::GaveUp {
                after: self.options.patience,
                last: Box::new(last.clone()),
                written: self.courier.was_taken(key),
            };
            self.courier.cancel(key, error);
        }
        self.report();
    }

    /// Hands the ended messages to those who wait for them.
    fn report(&mut self) {
        for (key, outcome) in self.courier.take_settled() {
            if let Some(waiting) = self.waiting.remove(&key) {
                let _ = waiting.reply.send(outcome);
            }
        }
    }

    fn emit(&mut self, event: Event) {
        if self.lagged > 0 && self.events.try_send(Event::Lagged(self.lagged)).is_ok() {
            self.lagged = 0;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            self.lagged += 1;
        }
    }

    // --- on a connection ---

    async fn live(&mut self, online: Online) -> End {
        self.max_bytes = online.max_bytes.or(self.max_bytes);
        let mut live = Live::new(
            online.stream,
            self.connector.account.answer_timeout,
            self.options.ping_after,
        );
        self.courier.note_login(live.stream.line());
        self.courier.logged_in();
        self.begin(&mut live, online.resumed, online.resumable_as, &online.jid);
        let end = self.work(&mut live).await;
        let ending = match &end {
            End::Broken(XmppError::ConnectionLost { .. }) if !live.closed => Ending::Cut,
            End::Broken(XmppError::Silent { .. }) => Ending::Cut,
            _ => Ending::Said,
        };
        // A server may go on holding the connection for seconds after its last word.
        self.courier.cut(live.last_heard, ending);
        if let End::Closed(_) = end {
            live.stream.close(Duration::from_secs(1)).await;
            self.sm = None;
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
            self.courier.touch();
            true
        } else {
            self.sm = resumable_as.map(Resumable::new);
            if self.options.presence {
                self.say(live, "<presence/>");
                let enable = Element::new("enable", ns::CARBONS);
                let iq = Element::new("iq", ns::CLIENT)
                    .attr("type", "set")
                    .attr("id", format!("carbons-{}", id::short()))
                    .child(enable);
                self.say(live, &iq.to_xml());
            }
            self.courier.start_over();
            for room in self.options.rooms.clone() {
                self.courier.visit(&room);
            }
            let first = !std::mem::replace(&mut self.was_online, true);
            if let Some(question) = self.archives.catch_up(&self.own.clone(), first) {
                self.say(live, &question.to_xml());
            }
            false
        };
        self.emit(Event::Online {
            jid: jid.clone(),
            resumed: was_resumed,
        });
    }

    /// Queues a stanza and counts it.
    fn say(&mut self, live: &mut Live, stanza: &str) {
        live.stream.queue(stanza);
        if let Some(sm) = &mut self.sm {
            sm.sent(stanza);
            live.unasked = true;
        }
    }

    async fn work(&mut self, live: &mut Live) -> End {
        loop {
            for stanza in self.courier.take_out() {
                self.say(live, &stanza);
            }
            if live.unasked && self.sm.is_some() {
                live.unasked = false;
                live.stream.queue("<r xmlns='urn:xmpp:sm:3'/>");
            }
            if !live.stream.is_flushed() {
                let _ = futures_util::poll!(std::pin::pin!(live.stream.flush()));
            }
            if live.stream.is_flushed() {
                self.courier.flushed();
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
            self.courier.deadline(),
            self.next_give_up(),
            self.asked.values().map(|pending| pending.until).min(),
        ]
        .into_iter()
        .flatten()
        .fold(live.ping_due(), Instant::min)
    }

    fn obey(&mut self, live: &mut Live, command: Option<Command>) -> Option<End> {
        let mut next = command;
        let mut unsealed = 0;
        // Whatever waits goes out together, with one question behind it.
        loop {
            match next {
                None => return Some(End::Closed(None)),
                Some(Command::Close(done)) => return Some(End::Closed(Some(done))),
                Some(Command::Send(parts)) => {
                    for (part, reply) in parts {
                        self.accept(part, reply);
                        unsealed += 1;
                    }
                }
                Some(Command::Join(room)) => self.keep_room(room),
                Some(Command::Ask { to, payload, reply }) => {
                    let id = format!("a-{}", id::short());
                    let pending = Pending {
                        asked: Asked::new(&to, &self.own),
                        reply,
                        until: Instant::now() + live.limit,
                    };
                    let iq = Element::new("iq", ns::CLIENT)
                        .attr("type", "get")
                        .attr("to", to)
                        .attr("id", id.clone())
                        .child(payload);
                    self.asked.insert(id, pending);
                    self.say(live, &iq.to_xml());
                }
            }
            if unsealed >= SEAL_EVERY || self.waiting.len() >= IN_FLIGHT_MAX {
                break;
            }
            next = match self.commands.try_recv() {
                Ok(command) => Some(command),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    // Nobody can send any more; what was sent is still carried out.
                    if self.waiting.is_empty() {
                        return Some(End::Closed(None));
                    }
                    break;
                }
            };
        }
        if unsealed > 0 {
            self.courier.seal();
        }
        None
    }

    /// Some time is over: a message's, an answer's, or it is time for a ping.
    fn tick(&mut self, live: &mut Live) -> Option<End> {
        let now = Instant::now();
        if self.courier.deadline().is_some_and(|deadline| deadline <= now) {
            if live.last_heard + live.limit <= now && self.courier.is_owed_an_answer() {
                // Nothing at all came: it is the connection, not the message.
                return Some(End::Broken(XmppError::Silent {
                    step: Step::Confirming,
                    after: live.limit,
                }));
            }
            self.courier.tick();
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
                let _ = pending.reply.send(Err(XmppError::Silent {
                    step: Step::Query,
                    after: live.limit,
                }));
            }
        }
        self.give_up();
        if live.ping_due() <= now {
            if live.pinged.is_some() {
                return Some(End::Broken(XmppError::Silent {
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
            self.say(live, &ping.to_xml());
            self.look_after_rooms(live);
        }
        None
    }

    /// XEP-0410: are we still in our rooms? And those we were thrown out of are tried again.
    fn look_after_rooms(&mut self, live: &mut Live) {
        let inside: Vec<(Jid, String)> = self
            .courier
            .rooms()
            .filter(|(_, view)| view.inside)
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
            self.say(live, &ping.to_xml());
        }
        for room in self.options.rooms.clone() {
            self.courier.visit(&room);
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
