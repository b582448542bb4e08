//! Delivery of messages: a state machine that does not wait by itself.
//!
//! Stanzas that arrive go in ([`DeliveryTracker::handle`]), stanzas to be written come out
//! ([`DeliveryTracker::take_out`]), and each message ends in exactly one outcome. The one-shot sender and
//! the kept session both drive it.
//!
//! People: a ping to the server responsible follows the message (XEP-0199). On a server that handles
//! the stanzas of a stream one after the other, a bounce comes before its answer. On every other
//! server a second ping follows a little later (see [`barrier`]). Rooms: the reflection.

mod archive_lookup;
mod barrier;
mod late;
mod limits;
mod outcome;
mod refusal;
mod room;
mod room_state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::account::Account;
use crate::addressee::Addressee;
use crate::error::{Doubt, Step, XmppError};
use crate::id;
use crate::jid::Jid;
use crate::message::{Confirm, ConfirmedBy, Delivered, Note, Outcome, Target};
use crate::ns;
use crate::stanza::Part;
use crate::stanza_error::StanzaError;
use crate::stream::Line;
use crate::xml::Element;
use archive_lookup::ArchiveLookup;
pub(crate) use archive_lookup::Ending;
use barrier::{Due, Round};
use late::Ended;
pub(crate) use late::Late;
pub(crate) use refusal::{no_service, service_missing};
use room_state::Room;
pub(crate) use room_state::RoomView;

/// Largest time by which the clock of the server may be behind ours.
const CLOCK_SLACK: Duration = Duration::from_secs(120);

/// Number of messages after which a barrier follows, so that a long batch is confirmed step by step.
pub(crate) const BARRIER_EVERY: usize = 100;

/// Identifies a part for the driver of the tracker.
pub(crate) type Key = u64;

/// Messages on their way.
pub(crate) struct DeliveryTracker {
    own: Jid,
    nick: String,
    limit: Duration,
    jobs: BTreeMap<Key, Job>,
    by_id: HashMap<String, Key>,
    rooms: HashMap<Jid, Room>,
    lost_rooms: Vec<(Jid, XmppError)>,
    /// Our own questions, by the id of the iq.
    questions: HashMap<String, (Addressee, Query)>,
    /// Targets on other domains that are known not to be rooms.
    people: HashSet<Jid>,
    /// Jobs that no barrier follows yet.
    without_barrier: Vec<Key>,
    /// The stanzas to write, each with the message that it is, if it is one.
    out: Vec<(Option<Key>, String)>,
    settled: Vec<(Key, Outcome)>,
    /// Facts about the line and the server.
    line: Line,
    /// Time that the server took lately, the line not counted.
    busy: Duration,
    /// Second questions that are to be asked a little later.
    due: Vec<Due>,
    /// The end of the connection before this one.
    last_end: Ending,
    /// Messages that ended a while ago, on a kept session.
    ended: Option<Ended>,
    /// True if stanzas that are taken out go to a session that is logged in.
    online: bool,
    /// The size of the largest stanza that the server takes, in bytes, as far as it is known.
    largest: Option<usize>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is its own fact about the message"
)]
struct Job {
    target: Target,
    id: String,
    xml: String,
    asked: Confirm,
    notes: Vec<Note>,
    topic: Option<String>,
    /// Its stanza was put into `out`.
    released: bool,
    /// Time when its stanza was first taken out to be written, on this connection or an earlier one: from
    /// then on it may arrive.
    taken_at: Option<SystemTime>,
    /// The same by a clock that nobody sets, if it was this process that took it out.
    taken: Option<Instant>,
    /// Its time limit begins then, and anew with everything that brings it on.
    progress: Instant,
    /// Everything up to it was handed to the operating system.
    written: bool,
    /// The barrier behind it was passed, so far.
    passed: BarrierState,
    /// It came back; the better reason may still be on its way.
    bounced: Option<XmppError>,
    /// Knowledge of the target, which may be a room after all.
    identity: Identity,
    /// The other domain was never reached.
    unreached: Option<XmppError>,
    /// Not-acceptable answers to expect, because the join before it was refused.
    expected_errors: u32,
    /// It was refused before we were in the room, or while the room was being set up.
    again: bool,
    /// The room has shown it already, but is still being set up.
    shown: bool,
    /// The room has shown it to us, and the server is about to be asked whether it lived on.
    settling: bool,
    /// The room has shown our text under another id.
    lookalike: bool,
    /// Knowledge of earlier attempts.
    prior: PriorAttempt,
    /// Time when the responsible server first answered behind it, or the room showed it.
    answered_at: Option<Instant>,
    /// True if an earlier connection lived on for a settle time after that; `None` if that never happened.
    outlived: Option<bool>,
    /// The history of its room reaches back behind the time when it was written, and does not have it.
    not_in_history: bool,
    /// It was sent again although nothing proves that it is missing. That happens once.
    doubtful: bool,
}

/// Knowledge of earlier attempts at a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PriorAttempt {
    /// There are none, or they did not come far.
    Settled,
    /// It may have been sent before, and waits until the archive was searched.
    Unknown,
    /// It is in the archive.
    Found,
    /// The archive was searched back to the time when it was written, and does not have it.
    Missing,
    /// There is no archive, we may not read it, or it was not read back to the time when the message was written.
    NoArchive,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum BarrierState {
    Nothing,
    /// Our own server; the recipient's has not answered yet.
    Own,
    /// The responsible server answered; a session of the recipient may still be at work on the message.
    Answered,
    /// The responsible server, and nothing of it is under way any more.
    Responsible,
}

/// Knowledge of the target of a message to a person. Some servers silently accept a message to the address of a room
/// and show it to nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// On our own domain, or seen before: no room.
    Person,
    Asked,
    Room,
}

enum Query {
    /// Sent behind messages. `domain` is the other domain asked, `None` for our own.
    Barrier {
        domain: Option<String>,
        covers: Vec<Key>,
        round: Round,
    },
    /// The same, to a room.
    RoomBarrier { covers: Vec<Key> },
    /// Is the target of these messages a room?
    Identity { target: Jid, jobs: Vec<Key> },
    /// The room made by our join is being removed.
    Destroy { room: Jid },
    /// The room made by our join is being set up.
    Configure { room: Jid },
    /// Does the room that was set up stay when we leave?
    Kept { room: Jid },
    /// Sent when a room shows a subject that may be part of its history. Its answer comes behind the history.
    HistoryEnd { room: Jid },
    /// Does the service of a room that refused us exist?
    Service { room: Jid, refusal: StanzaError },
    /// Sent when the room showed our text under another id. Its answer comes behind everything shown before.
    Lookalike { job: Key },
    /// Are messages in an archive already: to a person in ours, to a room in its own?
    ArchiveLookup(ArchiveLookup),
    /// Has the server been up since before these messages were written?
    Uptime(Vec<Key>),
}

impl DeliveryTracker {
    pub(crate) fn new(account: &Account) -> Self {
        Self {
            largest: None,
            own: account.jid.to_bare(),
            nick: account.default_nick().to_owned(),
            limit: account.answer_timeout,
            jobs: BTreeMap::new(),
            by_id: HashMap::new(),
            rooms: HashMap::new(),
            lost_rooms: Vec::new(),
            questions: HashMap::new(),
            people: HashSet::new(),
            without_barrier: Vec::new(),
            out: Vec::new(),
            settled: Vec::new(),
            line: Line::default(),
            busy: Duration::ZERO,
            due: Vec::new(),
            last_end: Ending::Unknown,
            ended: None,
            online: false,
        }
    }

    // --- in ---

    /// Takes a message. It is written as soon as `take_out` is.
    pub(crate) fn add(&mut self, key: Key, part: Part) {
        let Part {
            target,
            id,
            xml,
            asked,
            notes,
            topic,
            repeat_since,
        } = part;
        self.by_id.insert(id.clone(), key);
        let room = match &target {
            Target::Room(room) => Some(room.clone()),
            Target::User(_) => None,
        };
        let lookup = repeat_since.is_some() && room.is_none();
        self.jobs.insert(
            key,
            Job {
                target,
                id,
                xml,
                asked,
                notes,
                topic,
                released: false,
                taken_at: repeat_since,
                taken: None,
                progress: Instant::now(),
                written: false,
                passed: BarrierState::Nothing,
                bounced: None,
                identity: Identity::Person,
                unreached: None,
                expected_errors: 0,
                again: false,
                shown: false,
                settling: false,
                lookalike: false,
                prior: if lookup {
                    PriorAttempt::Unknown
                } else {
                    PriorAttempt::Settled
                },
                answered_at: None,
                outlived: None,
                not_in_history: false,
                doubtful: false,
            },
        );
        match room {
            Some(room) => {
                if self.enter(&room, repeat_since) {
                    self.release(key);
                }
            }
            None if lookup => {}
            None => self.release(key),
        }
        self.without_barrier.push(key);
    }

    /// Ends a batch: writes the questions whose answers prove the messages behind them.
    pub(crate) fn add_barrier(&mut self) {
        let batch = std::mem::take(&mut self.without_barrier);
        self.begin_limits(&batch);
        let (waiting, covered) = batch.into_iter().partition(|key| {
            self.jobs
                .get(key)
                .is_some_and(|job| job.prior != PriorAttempt::Settled)
        });
        self.look_up(waiting);
        let covered: Vec<Key> = covered;
        let mut people = Vec::new();
        let mut foreign: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        let mut rooms: HashMap<Jid, Vec<Key>> = HashMap::new();
        let mut unknown: BTreeMap<Jid, Vec<Key>> = BTreeMap::new();
        for key in covered {
            let Some(job) = self.jobs.get(&key) else { continue };
            match (&job.target, job.asked) {
                (_, Confirm::Sent) | (Target::Room(_), Confirm::Room | Confirm::Receipt) => {}
                (Target::Room(room), _) => rooms.entry(room.room.to_bare()).or_default().push(key),
                (Target::User(jid), _) => {
                    people.push(key);
                    if jid.domain() != self.own.domain() {
                        foreign.entry(jid.domain().to_owned()).or_default().push(key);
                        if jid.local().is_some() && jid.resource().is_none() && !self.people.contains(jid) {
                            unknown.entry(jid.clone()).or_default().push(key);
                        }
                    }
                }
            }
        }
        for (target, jobs) in unknown {
            for key in &jobs {
                if let Some(job) = self.jobs.get_mut(key) {
                    job.identity = Identity::Asked;
                }
            }
            let query = Element::new("query", ns::DISCO_INFO);
            self.ask(&target.to_string(), query, Query::Identity { target, jobs });
        }
        for (domain, covers) in foreign {
            self.ask_barrier(Some(domain), covers, Round::default());
        }
        for (room, covers) in rooms {
            // A room answers in the order in which it handles messages.
            let query = Element::new("query", ns::DISCO_INFO);
            self.ask(&room.to_string(), query, Query::RoomBarrier { covers });
        }
        if !people.is_empty() {
            self.ask_barrier(None, people, Round::default());
        }
    }

    /// Notes that the stanzas go to a session that is logged in.
    pub(crate) fn logged_in(&mut self) {
        self.online = true;
    }

    /// Returns the stanzas that are to be written now.
    pub(crate) fn take_out(&mut self) -> Vec<String> {
        if !self.out.is_empty() {
            self.barriers_taken();
            for job in self.jobs.values_mut().filter(|job| job.released) {
                if job.taken_at.is_none() {
                    job.taken_at = Some(SystemTime::now());
                    job.taken = Some(Instant::now());
                }
            }
        }
        let out = std::mem::take(&mut self.out);
        out.into_iter().map(|(_, stanza)| stanza).collect()
    }

    /// Everything taken out was handed to the operating system, on a session that is logged in.
    pub(crate) fn flushed(&mut self) {
        let mut sent = Vec::new();
        for (&key, job) in &mut self.jobs {
            if job.released && !job.written {
                job.written = true;
                job.progress = Instant::now();
                if job.asked == Confirm::Sent && matches!(job.target, Target::User(_)) {
                    sent.push(key);
                }
            }
        }
        for key in sent {
            self.deliver(key, ConfirmedBy::Sent);
        }
        self.settle_sent_to_rooms();
    }

    /// A stanza arrived. `true` when it belonged to a message on its way and is of no other interest.
    pub(crate) fn handle(&mut self, stanza: &Element) -> bool {
        if stanza.ns != ns::CLIENT {
            return false;
        }
        match &*stanza.name {
            "iq" => self.handle_iq(stanza),
            "message" => self.handle_message(stanza),
            "presence" => self.handle_presence(stanza),
            _ => false,
        }
    }

    // --- out ---

    /// The messages that have ended since the last call.
    pub(crate) fn take_settled(&mut self) -> Vec<(Key, Outcome)> {
        std::mem::take(&mut self.settled)
    }

    /// Returns true if this message was written at some time, so that it may have arrived.
    pub(crate) fn was_taken(&self, key: Key) -> bool {
        self.jobs.get(&key).is_some_and(|job| job.taken_at.is_some())
    }

    /// Returns true if nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Notes how busy the server was during the login.
    pub(crate) fn note_login(&mut self, line: Line) {
        self.line = line;
        let fastest = line.fastest.unwrap_or_default();
        self.busy = line.slowest.unwrap_or_default().saturating_sub(fastest);
    }

    /// Sets the size of the largest stanza that the server takes, in bytes.
    pub(crate) fn set_largest(&mut self, limit: Option<usize>) {
        self.largest = limit;
    }

    /// Returns an error if the server would not take one of these stanzas, as far as that is known.
    pub(crate) fn fit(&self, parts: &[Part]) -> Result<(), XmppError> {
        let bytes = parts.iter().map(|part| part.xml.len()).max().unwrap_or_default();
        match self.largest {
            Some(limit) if bytes > limit => Err(XmppError::TooLarge { bytes, limit }),
            _ => Ok(()),
        }
    }

    /// Updates the knowledge about the server. The times of the line after the login say little, because stanzas do not
    /// wait for the answers to earlier ones.
    pub(crate) fn note_line(&mut self, line: Line) {
        self.line.kind = line.kind;
    }

    // --- inside ---

    fn release(&mut self, key: Key) {
        if let Some(job) = self.jobs.get_mut(&key) {
            if let Some(limit) = self.largest.filter(|limit| job.xml.len() > *limit) {
                let bytes = job.xml.len();
                return self.fail(key, XmppError::TooLarge { bytes, limit });
            }
            job.released = true;
            job.written = false;
            self.out.push((Some(key), job.xml.clone()));
        }
    }

    fn ask(&mut self, to: &str, payload: Element, question: Query) {
        let kind = match question {
            Query::Destroy { .. } | Query::Configure { .. } | Query::ArchiveLookup(_) => "set",
            _ => "get",
        };
        let id = format!("q-{}", id::short());
        let iq = Element::new("iq", ns::CLIENT)
            .attr("type", kind)
            .attr("to", to)
            .attr("id", id.clone())
            .child(payload);
        self.out.push((None, iq.to_xml()));
        self.questions
            .insert(id, (Addressee::new(to, &self.own), question));
    }

    fn handle_iq(&mut self, stanza: &Element) -> bool {
        let (Some(id), Some("result" | "error")) = (stanza.get("id"), stanza.get("type")) else {
            return false;
        };
        // Others may guess an id: only the one asked may answer, or our server for it.
        if !self
            .questions
            .get(id)
            .is_some_and(|(asked, _)| asked.is_answered_by(stanza))
        {
            return false;
        }
        let Some((asked, question)) = self.questions.remove(id) else {
            return false;
        };
        let failed = stanza.get("type") == Some("error");
        self.brought_on(&self.concerns(&question));
        match question {
            Query::Barrier {
                domain,
                covers,
                round,
            } => {
                let itself = asked.is_itself(stanza);
                self.barrier_passed(stanza, itself, domain, covers, round);
            }
            Query::RoomBarrier { covers } => {
                if self.room_answered(&asked, stanza) {
                    self.room_barrier_passed(&covers);
                }
            }
            Query::Identity { target, jobs } => self.identified(&target, &jobs, stanza),
            Query::Destroy { room } => self.destroyed(&room, !failed),
            Query::Configure { room } => self.configured(&room, !failed),
            Query::Kept { room } => self.kept(&room, stanza),
            Query::HistoryEnd { room } => {
                if self.room_answered(&asked, stanza) {
                    self.history_over(&room);
                }
            }
            Query::Service { room, refusal } => self.service_answered(&room, &refusal, stanza),
            Query::Lookalike { job } => {
                if self.room_answered(&asked, stanza) {
                    self.lookalike_confirmed(job);
                }
            }
            Query::ArchiveLookup(lookup) => self.lookup_answered(lookup, stanza),
            Query::Uptime(jobs) => self.uptime(jobs, stanza),
        }
        true
    }

    fn handle_message(&mut self, stanza: &Element) -> bool {
        let from = stanza.get("from").and_then(|from| from.parse::<Jid>().ok());
        if self.archived(stanza, from.as_ref()) {
            return true;
        }
        if let Some(receipt) = stanza.find("received", ns::RECEIPTS) {
            return receipt
                .get("id")
                .is_some_and(|id| self.receipt(id, from.as_ref()));
        }
        match stanza.get("type") {
            Some("error") => {
                let key = stanza.get("id").and_then(|id| self.by_id.get(id)).copied();
                if let Some(key) = key {
                    self.bounce(key, stanza, from.as_ref())
                } else {
                    // A bounce of a message that has ended already, or of a join that was refused.
                    self.late_bounce(stanza, from.as_ref());
                    stanza.get("id").is_some()
                }
            }
            Some("groupchat") => from.is_some_and(|from| self.echo(stanza, &from)),
            _ => false,
        }
    }

    fn end(&mut self, key: Key, outcome: Outcome) {
        if let Some(job) = self.jobs.remove(&key) {
            if self.by_id.get(&job.id) == Some(&key) {
                self.by_id.remove(&job.id);
            }
            // A session that is resumed writes what waits: a message that has ended must not be among it.
            self.out.retain(|(of, _)| *of != Some(key));
            if let (Some(ended), Outcome::Delivered(_), Target::User(to)) =
                (&mut self.ended, &outcome, &job.target)
            {
                ended.note(job.id, to.clone());
            }
            self.settled.push((key, outcome));
        }
    }

    fn deliver(&mut self, key: Key, confirmed_by: ConfirmedBy) {
        if let Some(job) = self.jobs.get_mut(&key) {
            let delivered = Delivered {
                confirmed_by,
                id: job.id.clone(),
                notes: std::mem::take(&mut job.notes),
            };
            self.end(key, Outcome::Delivered(delivered));
        }
    }

    fn fail(&mut self, key: Key, error: XmppError) {
        let doubtful = self.jobs.get(&key).is_some_and(|job| job.doubtful);
        let error = if doubtful && error.may_have_arrived() && !error.is_permanent() {
            // It was said twice already, and nothing is known about either.
            self.in_doubt(key, Doubt::NoArchive)
        } else {
            error
        };
        self.end(key, Outcome::failed(error));
    }
}

/// Returns a time in the format of XEP-0082, earlier by so much.
fn stamp_before(time: SystemTime, by: Duration) -> String {
    jiff::Timestamp::try_from(time - by)
        .map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// Reads the time when a stanza was stored or sent, from its delay (XEP-0203). Of several the latest counts: the author may
/// have written one too.
fn stored_at(stanza: &Element) -> Option<SystemTime> {
    let stamps = stanza
        .find_all("delay", ns::DELAY)
        .filter_map(|delay| delay.get("stamp"));
    stamps
        .filter_map(|stamp| stamp.parse::<jiff::Timestamp>().ok())
        .max()
        .map(SystemTime::from)
}

/// Returns true if messages that were read newest first, the oldest of them stored at this time, reach back behind the time
/// when a message was written. A time that lies in the future was written by a clock that has been set back since: it proves
/// nothing.
fn reaches_back(oldest: Option<SystemTime>, written: SystemTime) -> bool {
    written <= SystemTime::now() && oldest.is_some_and(|oldest| oldest + CLOCK_SLACK < written)
}

/// The error when time is over.
fn answer_timeout(step: Step, after: Duration) -> XmppError {
    XmppError::AnswerTimeout { step, after }
}
