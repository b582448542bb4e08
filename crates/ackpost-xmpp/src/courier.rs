//! How a message becomes delivered: a state machine without any waiting of its own.
//!
//! Stanzas that arrive go in ([`DeliveryTracker::handle`]), stanzas to be written come out
//! ([`DeliveryTracker::take_out`]), and each message ends in exactly one outcome. The one-shot sender and
//! the kept session both drive it.
//!
//! People: a ping to the server responsible follows the message (XEP-0199). On a server that handles
//! the stanzas of a stream one after the other, a bounce comes before its answer. On every other
//! server a second ping follows a little later (see [`barrier`]). Rooms: the reflection.

mod barrier;
mod late;
mod look;
mod room;
mod settle;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::time::Instant;

use crate::asked::Asked;
use crate::error::{Doubt, Step, XmppError};
use crate::id;
use crate::login::StanzaError;
use crate::message::{Confirm, ConfirmedBy, Delivered, Note, Outcome, Target};
use crate::ns;
use crate::stanza::Part;
use crate::stream::Line;
use crate::xml::Element;
use crate::{Account, Jid};
use barrier::{Due, Round};
use late::Ended;
pub(crate) use late::Late;
pub(crate) use look::Ending;
use look::Look;
use room::Room;
pub(crate) use settle::{no_service, service_missing};

/// How far the clock of the server may be behind ours.
const CLOCK_SLACK: Duration = Duration::from_secs(120);

/// Identifies a part for whoever drives the courier.
pub(crate) type Key = u64;

/// Messages on their way.
pub(crate) struct DeliveryTracker {
    own: Jid,
    nick: String,
    limit: Duration,
    jobs: BTreeMap<Key, Job>,
    by_id: HashMap<String, Key>,
    rooms: HashMap<Jid, Room>,
    /// Our own questions, by the id of the iq.
    questions: HashMap<String, (Asked, Question)>,
    /// Targets on other domains that are known to be no rooms.
    people: HashSet<Jid>,
    /// Jobs that no barrier follows yet.
    unsealed: Vec<Key>,
    out: Vec<String>,
    settled: Vec<(Key, Outcome)>,
    progress: Instant,
    /// What is known about the line and the server.
    line: Line,
    /// How long the server took lately, the line not counted.
    busy: Duration,
    /// Second questions that are to be asked a little later.
    due: Vec<Due>,
    /// How the connection before this one ended.
    last_end: Ending,
    /// Messages that ended a while ago, on a kept session.
    ended: Option<Ended>,
    /// What is taken out goes to a session that is logged in.
    online: bool,
    /// The size of the largest stanza that the server takes, in bytes, as far as it is known.
    largest: Option<usize>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the message"
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
    /// When its stanza was first taken out to be written, on this connection or an earlier one: from
    /// then on it may arrive.
    taken_at: Option<SystemTime>,
    /// Everything up to it was handed to the operating system.
    written: bool,
    /// The barrier behind it was passed, so far.
    passed: Passed,
    /// It came back; the better reason may still be on its way.
    bounced: Option<XmppError>,
    /// Whether the target is a room after all.
    identity: Identity,
    /// The other domain was never reached.
    unreached: Option<XmppError>,
    /// Not-acceptable answers to expect, because the join before it was refused.
    excused: u32,
    /// It was refused before we were in the room, or while the room was being set up.
    again: bool,
    /// The room has shown it already, but is still being set up.
    shown: bool,
    /// The room has shown it to us; it counts as shown to everybody then.
    shown_until: Option<Instant>,
    /// The room has shown our text under another id.
    lookalike: bool,
    /// Whether it was said before.
    past: PriorAttempt,
    /// When the responsible server first answered behind it, or the room showed it.
    answered_at: Option<Instant>,
    /// How long an earlier connection lived on after that.
    lived: Option<Duration>,
    /// It was said again although nothing proves that it is missing. That happens once.
    doubtful: bool,
}

/// What is known about earlier attempts at a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PriorAttempt {
    /// There are none, or they did not come far.
    Settled,
    /// It may have been said before, and waits until the archive was looked through.
    Unknown,
    /// It is in the archive.
    Found,
    /// The archive was looked through and does not have it.
    Missing,
    /// There is no archive, or not for us.
    NoArchive,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Passed {
    Nothing,
    /// Our own server; the recipient's has not answered yet.
    Own,
    /// The responsible server answered; a session of the recipient may still be at work on the message.
    Answered,
    /// The responsible server, and nothing of it is under way any more.
    Responsible,
}

/// What is known about the target of a message to a person. Some servers take a message to the
/// address of a room without a word and show it to nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// On our own domain, or seen before: no room.
    Person,
    Asked,
    Room,
}

enum Question {
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
    /// Does the service of a room that refused us exist?
    Service { room: Jid, refusal: StanzaError },
    /// Sent when the room showed our text under another id. Its answer comes behind everything shown before.
    Lookalike { job: Key },
    /// Do messages stand in an archive already: to a person in ours, to a room in its own?
    Look(Look),
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
            questions: HashMap::new(),
            people: HashSet::new(),
            unsealed: Vec::new(),
            out: Vec::new(),
            settled: Vec::new(),
            progress: Instant::now(),
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
        let look = repeat_since.is_some() && room.is_none();
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
                written: false,
                passed: Passed::Nothing,
                bounced: None,
                identity: Identity::Person,
                unreached: None,
                excused: 0,
                again: false,
                shown: false,
                shown_until: None,
                lookalike: false,
                past: if look {
                    PriorAttempt::Unknown
                } else {
                    PriorAttempt::Settled
                },
                answered_at: None,
                lived: None,
                doubtful: false,
            },
        );
        match room {
            Some(room) => {
                if self.enter(&room, repeat_since) {
                    self.release(key);
                }
            }
            None if look => {}
            None => self.release(key),
        }
        self.unsealed.push(key);
    }

    /// Ends a batch: the questions whose answers prove the messages go behind them.
    pub(crate) fn seal(&mut self) {
        let (waiting, covered) = std::mem::take(&mut self.unsealed).into_iter().partition(|key| {
            self.jobs
                .get(key)
                .is_some_and(|job| job.past != PriorAttempt::Settled)
        });
        self.look_for(waiting);
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
            self.ask(&target.to_string(), query, Question::Identity { target, jobs });
        }
        for (domain, covers) in foreign {
            self.ask_barrier(Some(domain), covers, Round::default());
        }
        for (room, covers) in rooms {
            // A room answers in the order in which it handles messages.
            let query = Element::new("query", ns::DISCO_INFO);
            self.ask(&room.to_string(), query, Question::RoomBarrier { covers });
        }
        if !people.is_empty() {
            self.ask_barrier(None, people, Round::default());
        }
        self.progress = Instant::now();
    }

    /// What was and will be taken out goes to a session that is logged in.
    pub(crate) fn logged_in(&mut self) {
        self.online = true;
    }

    /// What is to be written now, stanza by stanza.
    pub(crate) fn take_out(&mut self) -> Vec<String> {
        if !self.out.is_empty() {
            self.barriers_taken();
            for job in self.jobs.values_mut().filter(|job| job.released) {
                job.taken_at.get_or_insert_with(SystemTime::now);
            }
        }
        std::mem::take(&mut self.out)
    }

    /// Everything taken out was handed to the operating system, on a session that is logged in.
    pub(crate) fn flushed(&mut self) {
        let mut sent = Vec::new();
        for (&key, job) in &mut self.jobs {
            if job.released && !job.written {
                job.written = true;
                self.progress = Instant::now();
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

    /// Whether this message was written at some time, so that it may have arrived.
    pub(crate) fn was_taken(&self, key: Key) -> bool {
        self.jobs.get(&key).is_some_and(|job| job.taken_at.is_some())
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether the server owes an answer: silence then is the connection's. A receipt is owed by nobody.
    pub(crate) fn is_owed_an_answer(&self) -> bool {
        !self.questions.is_empty()
            || self
                .jobs
                .values()
                .any(|job| matches!(job.target, Target::Room(_)) || job.passed == Passed::Nothing)
    }

    /// When to call [`tick`](Self::tick), if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.jobs.is_empty()).then(|| {
            let limit = self.progress + self.limit;
            let due = self.due.iter().map(|due| due.at);
            let shown = self.jobs.values().filter_map(|job| job.shown_until);
            due.chain(shown).fold(limit, Instant::min)
        })
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

    /// Notes what is known about the server by now. The times of the line after the login say little: what is
    /// written does not wait for the answers to what was written before.
    pub(crate) fn note_line(&mut self, line: Line) {
        self.line.kind = line.kind;
    }

    /// Gives the messages on their way a fresh limit.
    pub(crate) fn touch(&mut self) {
        self.progress = Instant::now();
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
            self.out.push(job.xml.clone());
        }
    }

    fn ask(&mut self, to: &str, payload: Element, question: Question) {
        let kind = match question {
            Question::Destroy { .. } | Question::Configure { .. } | Question::Look(_) => "set",
            _ => "get",
        };
        let id = format!("q-{}", id::short());
        let iq = Element::new("iq", ns::CLIENT)
            .attr("type", kind)
            .attr("to", to)
            .attr("id", id.clone())
            .child(payload);
        self.out.push(iq.to_xml());
        self.questions.insert(id, (Asked::new(to, &self.own), question));
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
        self.progress = Instant::now();
        match question {
            Question::Barrier {
                domain,
                covers,
                round,
            } => {
                let itself = asked.is_itself(stanza);
                self.barrier_passed(stanza, itself, domain, covers, round);
            }
            Question::RoomBarrier { covers } => {
                if self.room_answered(&asked, stanza) {
                    self.room_barrier_passed(&covers);
                }
            }
            Question::Identity { target, jobs } => self.identified(&target, &jobs, stanza),
            Question::Destroy { room } => self.destroyed(&room, !failed),
            Question::Configure { room } => self.configured(&room, !failed),
            Question::Kept { room } => self.kept(&room, stanza),
            Question::Service { room, refusal } => self.service_answered(&room, &refusal, stanza),
            Question::Lookalike { job } => {
                if self.room_answered(&asked, stanza) {
                    self.looked_alike(job);
                }
            }
            Question::Look(look) => self.looked(look, stanza),
            Question::Uptime(jobs) => self.uptime(jobs, stanza),
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
            self.progress = Instant::now();
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

/// Whether two room passwords are the same is never asked: the first one given for a room counts.
type RoomPassword = Option<SecretString>;

/// A time as XEP-0082 writes it, earlier by what clocks may differ.
fn stamp_before(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time - CLOCK_SLACK)
        .map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// What remains when time is over.
fn silent(step: Step, after: Duration) -> XmppError {
    XmppError::Silent { step, after }
}
