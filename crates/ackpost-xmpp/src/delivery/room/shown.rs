//! Detection of our own messages among those that rooms show.

use super::super::{DeliveryTracker, Job, Key, PriorAttempt, Query, reaches_back, stored_at};
use super::{NICKS_MAX, Room, Stage, variant};
use crate::jid::Jid;
use crate::message::{ConfirmedBy, Note, Target};
use crate::ns;
use crate::xml::{Element, escape_into};

impl DeliveryTracker {
    /// A room shows a message: ours?
    pub(in crate::delivery) fn echo(&mut self, stanza: &Element, from: &Jid) -> bool {
        let bare = from.to_bare();
        let Some(room) = self.rooms.get_mut(&bare) else {
            return false;
        };
        if room.history_since.is_none() {
            return self.own_message(stanza, from, &bare, false);
        }
        // Everybody can write a delay: it only means something while the room shows its history.
        let replayed = stanza.find("delay", ns::DELAY).is_some();
        if replayed {
            let oldest = [room.history_oldest, stored_at(stanza)];
            room.history_oldest = oldest.into_iter().flatten().min();
        }
        self.own_message(stanza, from, &bare, replayed);
        if stanza.find("subject", ns::CLIENT).is_some() && stanza.find("body", ns::CLIENT).is_none() {
            // The subject ends the history (XEP-0045 section 7.2.15). A change of the subject may be part of it, too.
            if replayed {
                self.ask_for_the_end(&bare);
            } else {
                self.history_over(&bare);
            }
        }
        false
    }

    /// Asks a question that the room answers behind its history.
    fn ask_for_the_end(&mut self, bare: &Jid) {
        let asked = self
            .questions
            .values()
            .any(|(_, question)| matches!(question, Query::HistoryEnd { room } if room == bare));
        if !asked {
            let query = Element::new("query", ns::DISCO_INFO);
            let room = bare.clone();
            self.ask(&bare.to_string(), query, Query::HistoryEnd { room });
        }
    }

    /// `replayed`: the message is part of the history.
    fn own_message(&mut self, stanza: &Element, from: &Jid, bare: &Jid, replayed: bool) -> bool {
        let Some(room) = self.rooms.get_mut(bare) else {
            return false;
        };
        let live = !replayed && from.resource() == Some(&*room.nick);
        let replayed = replayed && room.was_us(from, stanza);
        if room.stage == Stage::Removing || !(live || replayed) {
            return false;
        }
        let proven = replayed && room.is_proven(stanza);
        let reading = room.history_since.is_some();
        let nick_note = (room.nick != room.wanted_nick).then(|| Note::NickChanged(room.nick.clone()));
        let (created, configuring) = (room.created, room.stage == Stage::Configuring);
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
                    .is_some_and(|job| matches!(&job.target, Target::Room(t) if t.room.same_bare(bare)))
            });
        let Some(key) = key.or_else(|| self.topic_job(bare, stanza).filter(|_| !reading)) else {
            if live && origin.is_none() && stanza.find("delay", ns::DELAY).is_none() {
                self.check_lookalike(bare, stanza);
            }
            return false;
        };
        if let Some(job) = self.jobs.get_mut(&key) {
            if !(proven || job.is_shown_by(stanza)) || job.settling {
                return false;
            }
            job.notes.extend(nick_note);
            if configuring {
                job.shown = true;
                return false;
            }
            if created {
                job.notes.push(Note::RoomCreated);
            }
        }
        self.brought_on(&[key]);
        self.shown(key, live);
        // The owner of the session may want to see the stanza too.
        false
    }

    /// Our text under our nick, from a room that gives messages ids of its own and strips ours. Unless the id
    /// we gave comes too before the room answers a question, it is our message: the first that waits for it, as
    /// rooms show messages in order.
    fn check_lookalike(&mut self, bare: &Jid, stanza: &Element) {
        let key = self.jobs_of(bare).into_iter().find(|key| {
            self.jobs
                .get(key)
                .is_some_and(|job| job.released && !job.lookalike && !job.shown && job.is_shown_by(stanza))
        });
        let Some(key) = key else { return };
        if let Some(job) = self.jobs.get_mut(&key) {
            job.lookalike = true;
            let query = Element::new("query", ns::DISCO_INFO);
            self.ask(&bare.to_string(), query, Query::Lookalike { job: key });
        }
    }

    /// Everything that the room showed before is here.
    pub(in crate::delivery) fn lookalike_confirmed(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key).filter(|job| job.lookalike) else {
            return;
        };
        let Target::Room(target) = &job.target else { return };
        let Some(room) = self.rooms.get(&target.room.to_bare()) else {
            return;
        };
        if room.nick != room.wanted_nick {
            job.notes.push(Note::NickChanged(room.nick.clone()));
        }
        if room.stage == Stage::Configuring {
            job.shown = true;
            return;
        }
        if room.created {
            job.notes.push(Note::RoomCreated);
        }
        self.deliver(key, ConfirmedBy::Room);
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

    /// Looks for messages that the history does not hold in the archive of the room, unless they were never written.
    pub(in crate::delivery) fn history_over(&mut self, bare: &Jid) {
        let Some(room) = self
            .rooms
            .get_mut(bare)
            .filter(|room| room.history_since.is_some())
        else {
            return;
        };
        room.history_since = None;
        let oldest = room.history_oldest.take();
        let mut missed = Vec::new();
        for key in self.jobs_of(bare) {
            let Some(job) = self.jobs.get_mut(&key).filter(|job| !job.released) else {
                continue;
            };
            if let Some(written) = job.taken_at {
                job.not_in_history = reaches_back(oldest, written);
                job.prior = PriorAttempt::Unknown;
                missed.push(key);
            } else {
                self.release(key);
            }
        }
        self.brought_on(&missed);
        self.look_up_in_room(bare, missed);
    }
}

impl Room {
    /// Returns true if the room says by a permanent id that the author of a message is us. The id of the message then tells
    /// which one it is; the text need not be the same, because a file has a new address with each attempt, and an encrypted
    /// text a new form.
    pub(super) fn is_proven(&self, stanza: &Element) -> bool {
        self.occupant_id.is_some() && self.occupant_id == occupant_id(stanza)
    }

    /// Returns true if the author of a message in the history is us, maybe under an earlier nick.
    pub(super) fn was_us(&self, from: &Jid, stanza: &Element) -> bool {
        if let (Some(own), Some(author)) = (&self.occupant_id, occupant_id(stanza)) {
            return *own == author;
        }
        let Some(nick) = from.resource() else { return false };
        nick == self.nick
            || nick == self.wanted_nick
            || (2..=NICKS_MAX).any(|attempt| nick == variant(&self.wanted_nick, attempt))
    }
}

impl Job {
    /// Returns true if this stanza has our text.
    pub(super) fn is_shown_by(&self, stanza: &Element) -> bool {
        // The text of an encrypted message. In the newer version of OMEMO there is no body beside it.
        let encrypted = stanza.elements().find(|child| child.name == "encrypted");
        if let Some(payload) = encrypted.and_then(|encrypted| encrypted.content_of("payload", &encrypted.ns))
        {
            return self.xml.contains(&format!("<payload>{payload}</payload>"));
        }
        let Some(body) = stanza.content_of("body", ns::CLIENT) else {
            return self.topic.is_some() && stanza.content_of("subject", ns::CLIENT) == self.topic;
        };
        let mut text = String::from("<body>");
        escape_into(&mut text, &body);
        text.push_str("</body>");
        self.xml.contains(&text)
    }
}

pub(super) fn occupant_id(stanza: &Element) -> Option<String> {
    stanza
        .find("occupant-id", ns::OCCUPANT_ID)
        .and_then(|id| id.get("id"))
        .map(ToOwned::to_owned)
}
