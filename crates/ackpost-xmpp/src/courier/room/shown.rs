//! What rooms show: which of it is ours.

use super::super::{DeliveryTracker, Job, Key, PriorAttempt, Question};
use super::{NICKS_MAX, Room, Stage, variant};
use crate::Jid;
use crate::message::{ConfirmedBy, Note, Target};
use crate::ns;
use crate::xml::{Element, escape_into};

impl DeliveryTracker {
    /// A room shows a message: ours?
    pub(in crate::courier) fn echo(&mut self, stanza: &Element, from: &Jid) -> bool {
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
        let live = from.resource() == Some(&*room.nick);
        // Everybody can write a delay: it only means something while the room shows its history.
        let replayed = room.history_since.is_some()
            && stanza.find("delay", ns::DELAY).is_some()
            && room.was_us(from, stanza);
        if room.stage == Stage::Removing || !(live || replayed) {
            return false;
        }
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
                    .is_some_and(|job| matches!(&job.target, Target::Room(t) if t.room.same_bare(&bare)))
            });
        let Some(key) = key.or_else(|| self.topic_job(&bare, stanza)) else {
            if live && origin.is_none() && stanza.find("delay", ns::DELAY).is_none() {
                self.look_at_lookalike(&bare, stanza);
            }
            return false;
        };
        if let Some(job) = self.jobs.get_mut(&key) {
            if !job.is_shown_by(stanza) || job.shown_until.is_some() {
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
        self.shown(key, live);
        // Whoever keeps the session may want to see it too.
        false
    }

    /// Our text under our nick, from a room that gives messages ids of its own and strips ours. Unless the id
    /// we gave comes too before the room answers a question, it is our message: the first that waits for it, as
    /// rooms show messages in order.
    fn look_at_lookalike(&mut self, bare: &Jid, stanza: &Element) {
        let key = self.jobs_of(bare).into_iter().find(|key| {
            self.jobs
                .get(key)
                .is_some_and(|job| job.released && !job.lookalike && !job.shown && job.is_shown_by(stanza))
        });
        let Some(key) = key else { return };
        if let Some(job) = self.jobs.get_mut(&key) {
            job.lookalike = true;
            let query = Element::new("query", ns::DISCO_INFO);
            self.ask(&bare.to_string(), query, Question::Lookalike { job: key });
        }
    }

    /// Everything that the room showed before is here.
    pub(in crate::courier) fn looked_alike(&mut self, key: Key) {
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

    /// What the history does not hold is looked for in the archive of the room, unless it was never written.
    fn history_over(&mut self, bare: &Jid) {
        if let Some(room) = self.rooms.get_mut(bare) {
            room.history_since = None;
        }
        let mut missed = Vec::new();
        for key in self.jobs_of(bare) {
            let Some(job) = self.jobs.get_mut(&key).filter(|job| !job.released) else {
                continue;
            };
            if job.taken_at.is_some() {
                job.past = PriorAttempt::Unknown;
                missed.push(key);
            } else {
                self.release(key);
            }
        }
        self.touch();
        self.look_in_room(bare, missed);
    }
}

impl Room {
    /// Whether the author of a message in the history is us, maybe under an earlier nick.
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
    /// Whether this stanza has our text.
    pub(super) fn is_shown_by(&self, stanza: &Element) -> bool {
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
