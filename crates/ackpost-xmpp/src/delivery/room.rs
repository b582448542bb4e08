//! Rooms (XEP-0045): join and message in one flight, the reflection as proof.

mod missed;
mod shown;

use std::time::SystemTime;

use tokio::time::Instant;

use super::refusal::{is_unclear, join_refusal, no_service, service_missing};
use super::room_state::{Room, RoomView, Stage};
use super::{BarrierState, CLOCK_SLACK, DeliveryTracker, Identity, Key, PriorAttempt, Query, stamp_before};
use crate::error::XmppError;
use crate::id;
use crate::jid::Jid;
use crate::message::{Confirm, ConfirmedBy, Note, RoomTarget, Target};
use crate::ns;
use crate::stanza_error::{ErrorOrigin, StanzaError};
use crate::xml::Element;
use shown::occupant_id;

/// Maximum number of nicks that are tried: `name`, `name_2`, … `name_5`.
const NICKS_MAX: u32 = 5;
/// Maximum number of rooms that are reported as lost at once; a one-shot sender never takes them.
const LOST_ROOMS_MAX: usize = 256;
/// Maximum number of messages of the history that are asked for when one of ours may be in it.
const HISTORY_MAX: &str = "500";

fn variant(nick: &str, attempt: u32) -> String {
    format!("{nick}_{attempt}")
}

impl DeliveryTracker {
    /// Makes sure that we are in the room or entering it. `false` when messages must wait.
    /// With `history_since` they wait until the history is here, unless the room was entered before.
    pub(super) fn enter(&mut self, target: &RoomTarget, history_since: Option<SystemTime>) -> bool {
        let bare = target.room.to_bare();
        if let Some(room) = self.rooms.get_mut(&bare) {
            let waits = room.history_since.is_some();
            let stale = room.asked.elapsed() > self.limit;
            match room.stage {
                Stage::Inside => return true,
                Stage::Outside => {
                    self.join(&bare);
                    return true;
                }
                // The answer is lost, or comes too late for anybody.
                Stage::Entering | Stage::Configuring | Stage::Removing if stale => {
                    room.unfinished = room.stage != Stage::Entering;
                    room.refused = None;
                    self.questions
                        .retain(|_, (_, question)| question.room() != Some(&bare));
                    self.join(&bare);
                    return !waits;
                }
                Stage::Entering => return !waits,
                Stage::Configuring | Stage::Removing => return false,
            }
        }
        let nick = target
            .nick
            .clone()
            .or_else(|| target.room.resource().map(ToOwned::to_owned))
            .unwrap_or_else(|| self.nick.clone());
        let looks = history_since.is_some();
        let room = Room {
            wanted_nick: nick.clone(),
            nick,
            attempt: 1,
            password: target.password.clone(),
            create: target.create,
            join_id: String::new(),
            stage: Stage::Outside,
            created: false,
            refused: None,
            occupant_id: None,
            history_since,
            history_oldest: None,
            asked: Instant::now(),
            unfinished: false,
        };
        self.rooms.insert(bare.clone(), room);
        self.join(&bare);
        !looks
    }

    /// Enters a room without a message, for receiving.
    pub(crate) fn join_room(&mut self, target: &RoomTarget) {
        self.enter(target, None);
    }

    /// The room no longer knows us: enter it again.
    pub(crate) fn enter_again(&mut self, bare: &Jid) {
        if self
            .rooms
            .get(bare)
            .is_some_and(|room| room.stage == Stage::Inside)
        {
            self.join(bare);
        }
    }

    /// The rooms we are in or want to be in.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = (&Jid, RoomView)> {
        self.rooms.iter().map(|(jid, room)| {
            (
                jid,
                RoomView {
                    nick: room.nick.clone(),
                    inside: room.stage == Stage::Inside,
                    occupant_ids: room.occupant_id.is_some(),
                },
            )
        })
    }

    fn join(&mut self, bare: &Jid) {
        use secrecy::ExposeSecret;

        let Some(room) = self.rooms.get_mut(bare) else {
            return;
        };
        let Ok(occupant) = bare.with_resource(&room.nick) else {
            let error = XmppError::BadNick { room: bare.clone() };
            self.forget_room(bare, &error);
            return;
        };
        room.stage = Stage::Entering;
        room.asked = Instant::now();
        room.history_oldest = None;
        room.join_id = format!("join-{}", id::short());
        let mut history = Element::new("history", ns::MUC);
        history = match room.history_since {
            // Servers that keep little of it send no more than that. It has to reach back behind the message, and a kept
            // session shows its owner what it asks for.
            Some(since) if self.ended.is_some() => history
                .attr("since", stamp_before(since, CLOCK_SLACK * 2))
                .attr("maxstanzas", HISTORY_MAX),
            Some(_) => history.attr("maxstanzas", HISTORY_MAX),
            None => history.attr("maxstanzas", "0"),
        };
        let password = room
            .password
            .as_ref()
            .map(|password| Element::new("password", ns::MUC).text(password.expose_secret()));
        let presence = Element::new("presence", ns::CLIENT)
            .attr("to", occupant.to_string())
            .attr("id", room.join_id.clone())
            .child(Element::new("x", ns::MUC).child(history).child_opt(password));
        self.out.push((None, presence.to_xml()));
        self.begin_limits(&self.jobs_of(bare));
    }

    /// A fresh session: rooms are to be entered again, messages to be written again. Those that were
    /// written before are looked for in the history of their room or in our archive first.
    pub(crate) fn start_over(&mut self) {
        self.out.clear();
        self.questions.clear();
        self.due.clear();
        self.without_barrier.clear();
        let keys: Vec<Key> = self.jobs.keys().copied().collect();
        for &key in &keys {
            if let Some(job) = self.jobs.get_mut(&key) {
                let Target::Room(target) = &job.target else {
                    continue;
                };
                let looked_for = job.taken_at.filter(|_| job.asked == Confirm::Room);
                if let Some(room) = self.rooms.get_mut(&target.room.to_bare())
                    && let Some(taken_at) = looked_for
                {
                    room.history_since =
                        Some(room.history_since.map_or(taken_at, |since| since.min(taken_at)));
                }
            }
        }
        let rooms: Vec<Jid> = self.rooms.keys().cloned().collect();
        for room in rooms {
            if let Some(known) = self.rooms.get_mut(&room) {
                known.attempt = 1;
                known.refused = None;
                known.nick = known.wanted_nick.clone();
            }
            self.join(&room);
        }
        for key in keys {
            let Some(job) = self.jobs.get_mut(&key) else {
                continue;
            };
            job.released = false;
            job.written = false;
            job.passed = BarrierState::Nothing;
            job.bounced = None;
            job.unreached = None;
            job.identity = Identity::Person;
            job.expected_errors = 0;
            job.again = false;
            job.shown = false;
            job.settling = false;
            job.lookalike = false;
            let hold = match &job.target {
                Target::Room(target) => {
                    job.prior = PriorAttempt::Settled;
                    self.rooms
                        .get(&target.room.to_bare())
                        .is_some_and(|room| room.history_since.is_some())
                }
                Target::User(_) => {
                    job.prior = match job.taken_at {
                        Some(_) => PriorAttempt::Unknown,
                        None => PriorAttempt::Settled,
                    };
                    job.taken_at.is_some()
                }
            };
            if !hold {
                self.release(key);
            }
            self.without_barrier.push(key);
        }
        self.add_barrier();
    }

    /// A presence from a room: are we in, and as whom?
    pub(super) fn handle_presence(&mut self, stanza: &Element) -> bool {
        let Some(from) = stanza.get("from").and_then(|from| from.parse::<Jid>().ok()) else {
            return false;
        };
        let bare = from.to_bare();
        let Some(room) = self.rooms.get_mut(&bare) else {
            return false;
        };
        if stanza.get("type") == Some("error") {
            // Other occupants can send errors too, through the room.
            let asked = from.resource().is_none_or(|nick| nick == &*room.nick);
            let ours = asked && stanza.get("id").is_none_or(|id| id == room.join_id);
            if ours && room.stage == Stage::Entering {
                self.join_refused(&bare, &StanzaError::of(stanza));
            }
            return true;
        }
        let about = stanza.find("x", ns::MUC_USER);
        let has = |code: &str| {
            about.is_some_and(|x| {
                x.find_all("status", ns::MUC_USER)
                    .any(|status| status.get("code") == Some(code))
            })
        };
        // Under another nick only as the answer to our join.
        let renamed = room.stage == Stage::Entering
            && has("110")
            && (has("210") || stanza.get("id") == Some(&*room.join_id));
        let ourselves = renamed || (about.is_some() && from.resource() == Some(&*room.nick));
        if !ourselves {
            return false;
        }
        if stanza.get("type") == Some("unavailable") {
            if has("303") {
                let nick = about
                    .and_then(|x| x.find("item", ns::MUC_USER))
                    .and_then(|item| item.get("nick"))
                    .map(ToOwned::to_owned);
                if let Some(nick) = nick {
                    room.nick = nick;
                }
                return false;
            }
            let text = about
                .and_then(|x| x.find("item", ns::MUC_USER))
                .and_then(|item| item.content_of("reason", ns::MUC_USER));
            if room.stage == Stage::Removing {
                return true;
            }
            // Thrown out: banned, kicked, no longer a member; or the room itself is gone.
            let destroyed = about.is_some_and(|x| x.find("destroy", ns::MUC_USER).is_some());
            let thrown_out = destroyed || ["301", "307", "321", "322"].into_iter().any(has);
            if !thrown_out || has("332") || has("333") {
                // The service or our own session is going down, and comes back.
                room.stage = Stage::Outside;
                return false;
            }
            let error = if has("301") {
                XmppError::Banned { room: bare.clone() }
            } else {
                XmppError::RemovedFromRoom {
                    room: bare.clone(),
                    text,
                }
            };
            self.forget_room(&bare, &error);
            return false;
        }
        if let Some(nick) = from.resource() {
            nick.clone_into(&mut room.nick);
        }
        room.occupant_id = occupant_id(stanza);
        if room.stage == Stage::Entering {
            let owner = about
                .and_then(|x| x.find("item", ns::MUC_USER))
                .is_some_and(|item| item.get("affiliation") == Some("owner"));
            // A room that an earlier join made, and that is still as it was.
            let unfinished = std::mem::take(&mut room.unfinished) && owner;
            self.entered(&bare, has("201") || unfinished);
        }
        false
    }

    fn entered(&mut self, bare: &Jid, created: bool) {
        self.brought_on(&self.jobs_of(bare));
        let Some(room) = self.rooms.get_mut(bare) else {
            return;
        };
        room.asked = Instant::now();
        if created && !room.create {
            room.stage = Stage::Removing;
            let query = Element::new("query", ns::MUC_OWNER).child(Element::new("destroy", ns::MUC_OWNER));
            self.ask(&bare.to_string(), query, Query::Destroy { room: bare.clone() });
            return;
        }
        if !created {
            return self.inside(bare);
        }
        room.created = true;
        room.stage = Stage::Configuring;
        // The form opens the room (XEP-0045 section 10.1.2). A room that is not persistent ends when its last
        // occupant leaves, and its messages with it.
        let field = |name: &str, value: &str| {
            Element::new("field", ns::DATA_FORMS)
                .attr("var", name)
                .child(Element::new("value", ns::DATA_FORMS).text(value))
        };
        let form = Element::new("x", ns::DATA_FORMS)
            .attr("type", "submit")
            .child(field("FORM_TYPE", ns::MUC_ROOM_CONFIG).attr("type", "hidden"))
            .child(field("muc#roomconfig_persistentroom", "1"));
        let query = Element::new("query", ns::MUC_OWNER).child(form);
        let room = bare.clone();
        self.ask(&bare.to_string(), query, Query::Configure { room });
    }

    /// We are in, and the room is as it should be.
    fn inside(&mut self, bare: &Jid) {
        let Some(room) = self.rooms.get_mut(bare) else {
            return;
        };
        room.stage = Stage::Inside;
        let (created, history) = (room.created, room.history_since.is_some());
        let mut again = false;
        for key in self.jobs_of(bare) {
            let Some(job) = self.jobs.get_mut(&key) else {
                continue;
            };
            if std::mem::take(&mut job.shown) {
                if created {
                    job.notes.push(Note::RoomCreated);
                }
                self.deliver(key, ConfirmedBy::Room);
            } else if std::mem::take(&mut job.again)
                || (!job.released && !history && job.prior == PriorAttempt::Settled)
            {
                // Refused because we were not in yet, or held back until the room was set up.
                job.passed = BarrierState::Nothing;
                self.release(key);
                self.without_barrier.push(key);
                again = true;
            }
        }
        if again {
            self.add_barrier();
        }
        self.settle_sent_to_rooms();
        let covers: Vec<Key> = self
            .jobs_of(bare)
            .into_iter()
            .filter(|key| {
                self.jobs
                    .get(key)
                    .is_some_and(|job| job.passed == BarrierState::Responsible)
            })
            .collect();
        self.room_barrier_passed(&covers);
    }

    /// The room was set up, or would not be. Servers silently ignore settings that they do not allow, so the room is
    /// asked which ones it kept.
    pub(super) fn configured(&mut self, bare: &Jid, done: bool) {
        if done {
            let query = Element::new("query", ns::DISCO_INFO);
            self.ask(&bare.to_string(), query, Query::Kept { room: bare.clone() });
        } else {
            self.not_kept(bare);
        }
    }

    /// Handles the answer of a room about its features.
    pub(super) fn kept(&mut self, bare: &Jid, answer: &Element) {
        let has = |feature: &str| {
            answer.find("query", ns::DISCO_INFO).is_some_and(|query| {
                query
                    .find_all("feature", ns::DISCO_INFO)
                    .any(|one| one.get("var") == Some(feature))
            })
        };
        if has("muc_temporary") && !has("muc_persistent") {
            self.not_kept(bare);
        } else if self
            .rooms
            .get(bare)
            .is_some_and(|room| room.stage == Stage::Configuring)
        {
            self.inside(bare);
        }
    }

    /// The room would end as we leave: nobody would ever see the message.
    fn not_kept(&mut self, bare: &Jid) {
        if let Some(room) = self.rooms.get_mut(bare) {
            room.stage = Stage::Removing;
            room.asked = Instant::now();
            room.refused = Some(XmppError::RoomNotKept { room: bare.clone() });
            let query = Element::new("query", ns::MUC_OWNER).child(Element::new("destroy", ns::MUC_OWNER));
            self.ask(&bare.to_string(), query, Query::Destroy { room: bare.clone() });
        }
    }

    pub(super) fn destroyed(&mut self, bare: &Jid, removed: bool) {
        let refused = self.rooms.get_mut(bare).and_then(|room| room.refused.take());
        let error = refused.unwrap_or_else(|| XmppError::NoSuchRoom {
            room: bare.clone(),
            removed,
        });
        self.forget_room(bare, &error);
    }

    fn join_refused(&mut self, bare: &Jid, problem: &StanzaError) {
        let Some(room) = self.rooms.get_mut(bare) else {
            return;
        };
        if problem.condition == "conflict" && room.attempt < NICKS_MAX {
            room.attempt += 1;
            room.nick = variant(&room.wanted_nick, room.attempt);
            self.join(bare);
            for key in self.jobs_of(bare) {
                if let Some(job) = self.jobs.get_mut(&key)
                    && job.released
                {
                    job.expected_errors += 1;
                    self.release(key);
                }
            }
            self.begin_limits(&self.jobs_of(bare));
            return;
        }
        if let Some(error) = service_missing(problem, bare, self.own.domain()) {
            return self.forget_room(bare, &error);
        }
        if problem.condition == "forbidden" && is_unclear(problem.text.as_deref()) {
            // ejabberd says the same where it has no such service: is there one?
            room.refused = Some(join_refusal(bare, problem));
            let query = Element::new("query", ns::DISCO_INFO);
            let (room, refusal) = (bare.clone(), problem.clone());
            return self.ask(bare.domain(), query, Query::Service { room, refusal });
        }
        let given = room.password.is_some();
        let room = bare.clone();
        let error = match problem.condition.as_str() {
            "conflict" => {
                let nick = self
                    .rooms
                    .get(bare)
                    .map(|room| room.wanted_nick.clone())
                    .unwrap_or_default();
                XmppError::NickTaken { room, nick }
            }
            "registration-required" => XmppError::MembersOnly { room },
            "not-authorized" => XmppError::RoomPassword { room, given },
            // ejabberd's error for the case that Prosody reports as not-allowed.
            "forbidden"
                if problem
                    .text
                    .as_deref()
                    .is_some_and(|text| text.contains("creation")) =>
            {
                XmppError::RoomCreationForbidden { room }
            }
            "forbidden" => XmppError::Banned { room },
            "not-allowed" => XmppError::RoomCreationForbidden { room },
            "item-not-found" => XmppError::NoSuchRoom { room, removed: true },
            "jid-malformed" | "not-acceptable" => XmppError::BadNick { room },
            "service-unavailable" => XmppError::RoomFull { room },
            "remote-server-not-found" => XmppError::RemoteServerNotFound {
                domain: bare.domain().to_owned(),
                text: problem.text.clone(),
            },
            "remote-server-timeout" => XmppError::RemoteServerTimeout {
                domain: bare.domain().to_owned(),
                text: problem.text.clone(),
            },
            _ => join_refusal(bare, problem),
        };
        self.forget_room(bare, &error);
    }

    /// The service of a room that refused us answered, or our server for it.
    pub(super) fn service_answered(&mut self, bare: &Jid, refusal: &StanzaError, answer: &Element) {
        let error = if answer.get("type") == Some("error") {
            no_service(bare, self.own.domain(), refusal.text.clone())
        } else {
            join_refusal(bare, refusal)
        };
        self.forget_room(bare, &error);
    }

    /// A room sent a message back.
    pub(super) fn room_bounce(&mut self, key: Key, bare: &Jid, problem: &StanzaError) {
        let Some(room) = self.rooms.get(bare) else { return };
        let stage = room.stage;
        if room.refused.is_some() {
            // The refusal of the join is already known.
            return;
        }
        if stage == Stage::Outside {
            // The service is going down: its errors are not a result for the message.
            return;
        }
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        if job.expected_errors > 0 && problem.condition == "not-acceptable" {
            job.expected_errors -= 1;
            return;
        }
        if stage == Stage::Configuring {
            job.again = true;
            return;
        }
        let room = bare.clone();
        let error = match (problem.condition.as_str(), stage) {
            // The refusal of the join is on its way, or the room takes long to let us in.
            ("not-acceptable", Stage::Entering) => {
                job.again = true;
                return;
            }
            ("not-acceptable", Stage::Removing) => return,
            ("forbidden", _) => XmppError::NoVoice { room },
            ("not-acceptable", _) => XmppError::RemovedFromRoom {
                room,
                text: problem.text.clone(),
            },
            ("item-not-found", _) => XmppError::NoSuchRoom { room, removed: true },
            _ => XmppError::Bounced {
                to: room,
                condition: problem.condition.clone(),
                text: problem.text.clone(),
                temporary: problem.may_pass(ErrorOrigin::Room),
            },
        };
        self.fail(key, error);
    }

    /// Messages to rooms that need no proof are done once they are written and we are in.
    pub(super) fn settle_sent_to_rooms(&mut self) {
        let done: Vec<Key> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.asked == Confirm::Sent && job.written)
            .filter(|(_, job)| match &job.target {
                Target::Room(target) => self
                    .rooms
                    .get(&target.room.to_bare())
                    .is_some_and(|room| room.stage == Stage::Inside),
                Target::User(_) => false,
            })
            .map(|(&key, _)| key)
            .collect();
        for key in done {
            self.deliver(key, ConfirmedBy::Sent);
        }
    }

    /// Leaves a room. Messages that wait for it end as not sent.
    pub(crate) fn leave(&mut self, bare: &Jid) {
        let Some(room) = self.rooms.get(bare) else { return };
        if let (Stage::Inside | Stage::Entering, Ok(occupant)) = (room.stage, bare.with_resource(&room.nick))
        {
            let presence = Element::new("presence", ns::CLIENT)
                .attr("to", occupant.to_string())
                .attr("type", "unavailable");
            self.out.push((None, presence.to_xml()));
        }
        self.rooms.remove(bare);
        let error = XmppError::RemovedFromRoom {
            room: bare.clone(),
            text: None,
        };
        for key in self.jobs_of(bare) {
            self.fail(key, error.clone());
        }
    }

    /// The rooms that threw us out or did not let us in since the last call.
    pub(crate) fn take_lost_rooms(&mut self) -> Vec<(Jid, XmppError)> {
        std::mem::take(&mut self.lost_rooms)
    }

    fn forget_room(&mut self, bare: &Jid, error: &XmppError) {
        self.rooms.remove(bare);
        if self.lost_rooms.len() < LOST_ROOMS_MAX {
            self.lost_rooms.push((bare.clone(), error.clone()));
        }
        for key in self.jobs_of(bare) {
            self.fail(key, error.clone());
        }
    }

    pub(super) fn jobs_of(&self, bare: &Jid) -> Vec<Key> {
        self.jobs
            .iter()
            .filter(|(_, job)| matches!(&job.target, Target::Room(target) if target.room.same_bare(bare)))
            .map(|(&key, _)| key)
            .collect()
    }
}
