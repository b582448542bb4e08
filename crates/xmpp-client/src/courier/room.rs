//! Rooms (XEP-0045): join and message in one flight, the reflection as proof.

use std::time::SystemTime;

use super::{Courier, Key, Question, RoomPassword, stamp_before};
use crate::Jid;
use crate::error::XmppError;
use crate::id;
use crate::login::StanzaError;
use crate::message::{Confirm, ConfirmedBy, Note, RoomTarget, Target};
use crate::ns;
use crate::xml::Element;

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
    /// Hold messages back until the history is here: one of them may already be in it.
    history_since: Option<SystemTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The join is on its way.
    Entering,
    Inside,
    /// We were in, and the session that was is gone.
    Outside,
    /// The room only came into being by our join, and is being removed again.
    Removing,
}

/// Something a room did to us, for whoever keeps a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomView {
    pub(crate) nick: String,
    pub(crate) inside: bool,
}

impl Courier {
    /// Makes sure that we are in the room or entering it. `false` when messages must wait.
    /// With `history_since` they wait until the history is here, unless the room was entered before.
    pub(super) fn enter(&mut self, target: &RoomTarget, history_since: Option<SystemTime>) -> bool {
        let bare = target.room.to_bare();
        if let Some(room) = self.rooms.get(&bare) {
            match room.stage {
                Stage::Inside => return true,
                Stage::Entering => return room.history_since.is_none(),
                Stage::Removing => return false,
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
            let hold = match &job.target {
                Target::Room(target) => self
                    .rooms
                    .get(&target.room.to_bare())
                    .is_some_and(|room| room.history_since.is_some()),
                Target::User(_) => {
                    job.past = match job.taken_at {
                        Some(_) => super::Past::Unknown,
                        None => super::Past::Settled,
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
            let ours = stanza.get("id").is_none_or(|id| id == room.join_id);
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
        let ourselves = has("110") || (about.is_some() && from.resource() == Some(&*room.nick));
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
        room.stage = Stage::Inside;
        if created {
            room.created = true;
            // An empty form takes the defaults and opens the room (XEP-0045 section 10.1.2).
            let form = Element::new("x", ns::DATA_FORMS).attr("type", "submit");
            let query = Element::new("query", ns::MUC_OWNER).child(form);
            self.ask(
                &bare.to_string(),
                query,
                Question::Configure { room: bare.clone() },
            );
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

    /// The room was set up: messages it refused meanwhile are said again.
    pub(super) fn configured(&mut self, bare: &Jid, done: bool) {
        for key in self.jobs_of(bare) {
            if let Some(job) = self.jobs.get_mut(&key)
                && job.again
            {
                job.again = false;
                if done {
                    self.release(key);
                } else {
                    self.fail(key, XmppError::RoomCreationForbidden { room: bare.clone() });
                }
            }
        }
    }

    pub(super) fn destroyed(&mut self, bare: &Jid, removed: bool) {
        let error = XmppError::NoSuchRoom {
            room: bare.clone(),
            removed,
        };
        self.forget_room(bare, &error);
    }

    fn join_refused(&mut self, bare: &Jid, problem: &StanzaError) {
        let Some(room) = self.rooms.get_mut(bare) else {
            return;
        };
        if problem.condition == "conflict" && room.attempt < NICKS_MAX {
            room.attempt += 1;
            room.nick = format!("{}_{}", room.wanted_nick, room.attempt);
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
            _ => XmppError::JoinRefused {
                room,
                condition: problem.condition.clone(),
                text: problem.text.clone(),
                temporary: problem.temporary,
            },
        };
        self.forget_room(bare, &error);
    }

    /// A room sent a message back.
    pub(super) fn room_bounce(&mut self, key: Key, bare: &Jid, problem: &StanzaError) {
        let Some(room) = self.rooms.get(bare) else { return };
        let (stage, created) = (room.stage, room.created);
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
        if created && !matches!(problem.condition.as_str(), "forbidden") && !job.again {
            job.again = true;
            return;
        }
        let room = bare.clone();
        let error = match (problem.condition.as_str(), stage) {
            // The refusal of the join is on its way, or was just retried.
            ("not-acceptable", Stage::Entering | Stage::Removing) => return,
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
                temporary: problem.temporary,
            },
        };
        self.fail(key, error);
    }

    /// A room shows a message: ours?
    pub(super) fn echo(&mut self, stanza: &Element, from: &Jid) -> bool {
        let bare = from.to_bare();
        let Some(room) = self.rooms.get_mut(&bare) else {
            return false;
        };
        if room.history_since.is_some() && stanza.find("subject", ns::CLIENT).is_some() {
            // The subject ends the history (XEP-0045 section 7.2.15).
            if stanza.find("body", ns::CLIENT).is_none() {
                self.history_over(&bare);
            }
            return false;
        }
        let replayed = stanza.find("delay", ns::DELAY).is_some();
        if room.stage == Stage::Removing || (from.resource() != Some(&*room.nick) && !replayed) {
            return false;
        }
        let nick_note = (room.nick != room.wanted_nick).then(|| Note::NickChanged(room.nick.clone()));
        let created = room.created;
        let origin = stanza
            .find("origin-id", ns::SID)
            .and_then(|origin| origin.get("id"));
        let key = [stanza.get("id"), origin]
            .into_iter()
            .flatten()
            .find_map(|id| self.by_id.get(id).copied())
            .filter(|key| {
                self.jobs
                    .get(key)
                    .is_some_and(|job| matches!(&job.target, Target::Room(t) if t.room.same_bare(&bare)))
            });
        let Some(key) = key.or_else(|| self.topic_job(&bare, stanza)) else {
            return false;
        };
        if let Some(job) = self.jobs.get_mut(&key) {
            job.notes.extend(nick_note);
            if created {
                job.notes.push(Note::RoomCreated);
            }
        }
        self.deliver(key, ConfirmedBy::Room);
        // Whoever keeps the session may want to see it too.
        false
    }

    /// A change of the topic that we asked for.
    fn topic_job(&self, bare: &Jid, stanza: &Element) -> Option<Key> {
        let topic = stanza
            .content_of("subject", ns::CLIENT)
            .filter(|_| stanza.find("body", ns::CLIENT).is_none())?;
        self.jobs_of(bare).into_iter().find(|key| {
            self.jobs
                .get(key)
                .is_some_and(|job| job.topic.as_ref() == Some(&topic))
        })
    }

    /// What the history does not hold was not shown, and is said now.
    fn history_over(&mut self, bare: &Jid) {
        if let Some(room) = self.rooms.get_mut(bare) {
            room.history_since = None;
        }
        for key in self.jobs_of(bare) {
            if self.jobs.get(&key).is_some_and(|job| !job.released) {
                self.release(key);
            }
        }
        self.touch();
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
