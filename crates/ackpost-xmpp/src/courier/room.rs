//! Rooms (XEP-0045): join and message in one flight, the reflection as proof.

mod missed;
mod shown;

use std::time::SystemTime;

use super::{DeliveryTracker, Key, Question, RoomPassword, no_service, service_missing, stamp_before};
use crate::Jid;
use crate::conditions::Speaker;
use crate::error::XmppError;
use crate::id;
use crate::login::StanzaError;
use crate::message::{Confirm, ConfirmedBy, Note, RoomTarget, Target};
use crate::ns;
use crate::xml::Element;
use shown::occupant_id;

/// How many nicks are tried: `name`, `name_2`, … `name_5`.
const NICKS_MAX: u32 = 5;
/// How much history is asked for when a message of ours may be in it.
const HISTORY_MAX: &str = "500";

/// A room we are in, or entering.
pub(super) struct Room {
    wanted_nick: String,
    nick: String,
    attempt: u32,
    password: RoomPassword,
    create: bool,
    join_id: String,
    pub(super) stage: Stage,
    created: bool,
    /// Why the room will not have us, while something about it is still being asked.
    pub(super) refused: Option<XmppError>,
    /// Our address for good in this room (XEP-0421), where it has such.
    occupant_id: Option<String>,
    /// Hold messages back until the history is here: one of them may already be in it.
    history_since: Option<SystemTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The join is on its way.
    Entering,
    /// Our join made the room, and it is being set up.
    Configuring,
    Inside,
    /// We were in, and the session that was is gone.
    Outside,
    /// The room only came into being by our join, and is being removed again.
    Removing,
}

fn variant(nick: &str, attempt: u32) -> String {
    format!("{nick}_{attempt}")
}

/// A `forbidden` whose words are neither those of a ban nor of the refusal to create a room.
fn is_unclear(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.contains("ban") && !text.contains("creation"))
}

fn refused_at_the_door(room: &Jid, problem: &StanzaError) -> XmppError {
    XmppError::JoinRefused {
        room: room.clone(),
        condition: problem.condition.clone(),
        text: problem.text.clone(),
        temporary: problem.may_pass(Speaker::Room),
    }
}

/// Something a room did to us, for whoever keeps a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomView {
    pub(crate) nick: String,
    pub(crate) inside: bool,
}

impl DeliveryTracker {
    /// Makes sure that we are in the room or entering it. `false` when messages must wait.
    /// With `history_since` they wait until the history is here, unless the room was entered before.
    pub(super) fn enter(&mut self, target: &RoomTarget, history_since: Option<SystemTime>) -> bool {
        let bare = target.room.to_bare();
        if let Some(room) = self.rooms.get(&bare) {
            match room.stage {
                Stage::Inside => return true,
                Stage::Entering => return room.history_since.is_none(),
                Stage::Configuring | Stage::Removing => return false,
                Stage::Outside => {
                    self.join(&bare);
                    return true;
                }
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
        };
        self.rooms.insert(bare.clone(), room);
        self.join(&bare);
        !looks
    }

    /// Enters a room without a message, for receiving.
    pub(crate) fn visit(&mut self, target: &RoomTarget) {
        self.enter(target, None);
        self.touch();
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
        room.join_id = format!("join-{}", id::short());
        let mut history = Element::new("history", ns::MUC);
        history = match room.history_since {
            // Servers that keep little of it send no more than that.
            Some(since) => history
                .attr("since", stamp_before(since))
                .attr("maxstanzas", HISTORY_MAX),
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
        self.out.push(presence.to_xml());
    }

    /// A fresh session: rooms are to be entered again, messages to be written again. Those that were
    /// written before are looked for in the history of their room or in our archive first.
    pub(crate) fn start_over(&mut self) {
        self.out.clear();
        self.questions.clear();
        self.due.clear();
        self.unsealed.clear();
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
            job.passed = super::Passed::Nothing;
            job.bounced = None;
            job.unreached = None;
            job.identity = super::Identity::Person;
            job.excused = 0;
            job.again = false;
            job.shown = false;
            job.shown_until = None;
            job.lookalike = false;
            let hold = match &job.target {
                Target::Room(target) => {
                    job.past = super::PriorAttempt::Settled;
                    self.rooms
                        .get(&target.room.to_bare())
                        .is_some_and(|room| room.history_since.is_some())
                }
                Target::User(_) => {
                    job.past = match job.taken_at {
                        Some(_) => super::PriorAttempt::Unknown,
                        None => super::PriorAttempt::Settled,
                    };
                    job.taken_at.is_some()
                }
            };
            if !hold {
                self.release(key);
            }
            self.unsealed.push(key);
        }
        self.seal();
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
            self.entered(&bare, has("201"));
        }
        false
    }

    fn entered(&mut self, bare: &Jid, created: bool) {
        self.progress = tokio::time::Instant::now();
        let Some(room) = self.rooms.get_mut(bare) else {
            return;
        };
        if created && !room.create {
            room.stage = Stage::Removing;
            let query = Element::new("query", ns::MUC_OWNER).child(Element::new("destroy", ns::MUC_OWNER));
            self.ask(&bare.to_string(), query, Question::Destroy { room: bare.clone() });
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
        self.ask(&bare.to_string(), query, Question::Configure { room });
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
                || (!job.released && !history && job.past == super::PriorAttempt::Settled)
            {
                // Refused because we were not in yet, or held back until the room was set up.
                job.passed = super::Passed::Nothing;
                self.release(key);
                self.unsealed.push(key);
                again = true;
            }
        }
        if again {
            self.seal();
        }
        self.settle_sent_to_rooms();
        let covers: Vec<Key> = self
            .jobs_of(bare)
            .into_iter()
            .filter(|key| {
                self.jobs
                    .get(key)
                    .is_some_and(|job| job.passed == super::Passed::Responsible)
            })
            .collect();
        self.room_barrier_passed(&covers);
    }

    /// The room was set up, or would not be. Servers pass over settings that they do not allow without a word,
    /// so the room is asked what came of it.
    pub(super) fn configured(&mut self, bare: &Jid, done: bool) {
        if done {
            let query = Element::new("query", ns::DISCO_INFO);
            self.ask(&bare.to_string(), query, Question::Kept { room: bare.clone() });
        } else {
            self.not_kept(bare);
        }
    }

    /// The room says what it is now.
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
            room.refused = Some(XmppError::RoomNotKept { room: bare.clone() });
            let query = Element::new("query", ns::MUC_OWNER).child(Element::new("destroy", ns::MUC_OWNER));
            self.ask(&bare.to_string(), query, Question::Destroy { room: bare.clone() });
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
                    job.excused += 1;
                    self.release(key);
                }
            }
            self.touch();
            return;
        }
        if let Some(error) = service_missing(problem, bare, self.own.domain()) {
            return self.forget_room(bare, &error);
        }
        if problem.condition == "forbidden" && is_unclear(problem.text.as_deref()) {
            // ejabberd says the same where it has no such service: is there one?
            room.refused = Some(refused_at_the_door(bare, problem));
            let query = Element::new("query", ns::DISCO_INFO);
            let (room, refusal) = (bare.clone(), problem.clone());
            return self.ask(bare.domain(), query, Question::Service { room, refusal });
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
            // ejabberd's words for what Prosody calls not-allowed.
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
            _ => refused_at_the_door(bare, problem),
        };
        self.forget_room(bare, &error);
    }

    /// The service of a room that refused us answered, or our server for it.
    pub(super) fn service_answered(&mut self, bare: &Jid, refusal: &StanzaError, answer: &Element) {
        let error = if answer.get("type") == Some("error") {
            no_service(bare, self.own.domain(), refusal.text.clone())
        } else {
            refused_at_the_door(bare, refusal)
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
            // The service is going down: what it says on the way is no verdict on the message.
            return;
        }
        let Some(job) = self.jobs.get_mut(&key) else {
            return;
        };
        if job.excused > 0 && problem.condition == "not-acceptable" {
            job.excused -= 1;
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
                temporary: problem.may_pass(Speaker::Room),
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

    fn forget_room(&mut self, bare: &Jid, error: &XmppError) {
        self.rooms.remove(bare);
        for key in self.jobs_of(bare) {
            self.fail(key, error.clone());
        }
    }

    fn jobs_of(&self, bare: &Jid) -> Vec<Key> {
        self.jobs
            .iter()
            .filter(|(_, job)| matches!(&job.target, Target::Room(target) if target.room.same_bare(bare)))
            .map(|(&key, _)| key)
            .collect()
    }
}
