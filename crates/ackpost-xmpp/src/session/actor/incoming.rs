//! Stanzas that arrive on a kept session: answers, messages, presences, questions of others.

use std::time::Duration;

use tokio::time::Instant;

use super::{Actor, End, Live};
use crate::delivery::{Late, RoomView};
use crate::error::XmppError;
use crate::features::Features;
use crate::jid::Jid;
use crate::ns;
use crate::session::archive::Page;
use crate::session::event::{self, Found};
use crate::session::event::{Event, Received};
use crate::session::refer::Retraction;
use crate::stanza_error::StanzaError;
use crate::stream::stream_error;
use crate::xml::Element;

/// Time after a login in which messages may come that came over the connection before.
const COPIES_COME: Duration = Duration::from_secs(60);
/// Maximum length of an id or a node that is repeated in an answer. Nobody else needs longer ones.
const REPEATED_MAX: usize = 1024;

/// Returns true if the answer to a ping of ourselves in a room (XEP-0410) comes from there.
fn is_from_room(stanza: &Element, occupant: &Jid) -> bool {
    stanza
        .get("from")
        .and_then(|from| from.parse::<Jid>().ok())
        .is_some_and(|from| from == *occupant || from == occupant.to_bare())
}

impl Actor {
    /// A stanza or another element arrived.
    pub(super) fn take(&mut self, live: &mut Live, element: &Element) -> Option<End> {
        if element.is("error", ns::STREAM) {
            let error = stream_error(element, self.own.domain());
            // After a clean end by the server nothing can be resumed.
            if matches!(error, XmppError::Replaced { .. }) {
                self.sm = None;
            }
            return Some(End::Broken(error));
        }
        if element.ns == ns::SM {
            match &*element.name {
                "r" => {
                    if let Some(sm) = &self.sm {
                        live.stream.queue(&sm.acknowledgement());
                    }
                }
                "a" => {
                    if let (Some(sm), Some(handled)) =
                        (&mut self.sm, element.get("h").and_then(|h| h.parse().ok()))
                    {
                        sm.acknowledged(handled);
                    }
                }
                _ => {}
            }
            return None;
        }
        // After SASL2 they come behind the success.
        if element.is("features", ns::STREAM) {
            self.max_bytes = Features::read(element).max_bytes.or(self.max_bytes);
        }
        if element.ns != ns::CLIENT {
            return None;
        }
        if let Some(sm) = &mut self.sm {
            sm.received();
        }
        self.tracker.note_line(live.stream.line());
        let settled_something = self.tracker.handle(element);
        for Late { id, to, reason } in self.tracker.take_late() {
            tracing::warn!(%to, id, %reason, "a message came back after it was reported delivered");
            self.emit(Event::Late { id, to, reason });
        }
        self.heard_of_room(live, element);
        match &*element.name {
            "message" if !settled_something => self.take_message(live, element),
            "presence" => self.take_presence(live, element),
            "iq" if !settled_something => self.take_iq(live, element),
            _ => {}
        }
        self.tell_lost_rooms();
        None
    }

    /// Notes that a room spoke to us.
    fn heard_of_room(&self, live: &mut Live, stanza: &Element) {
        let speaks = match &*stanza.name {
            "message" => stanza.get("type") == Some("groupchat"),
            "presence" => stanza.get("type").is_none(),
            _ => false,
        };
        if !speaks {
            return;
        }
        let from = stanza.get("from").and_then(|from| from.parse::<Jid>().ok());
        if let Some(room) = from.map(|from| from.to_bare())
            && self.view_of(&room).is_some()
        {
            live.heard_rooms.insert(room);
        }
    }

    /// A stored message is removed from the server only when it has a place here.
    fn take_message(&mut self, live: &mut Live, stanza: &Element) {
        if self.show_message(live, stanza) {
            self.stored.note(stanza, self.own.domain());
        }
    }

    /// Makes an event of a message. Returns false if there was no place for it.
    fn show_message(&mut self, live: &mut Live, stanza: &Element) -> bool {
        let own = self.own.to_bare();
        #[cfg(feature = "omemo")]
        if self.take_for_encryption(stanza) {
            return true;
        }
        let archived = self.archives.result(stanza, &own);
        let from_archive = archived.is_some();
        let (message, archive, stamp) = match archived {
            Some((message, place, stamp)) => (message, Some(place), stamp),
            None => (event::carbon(stanza, &own).unwrap_or(stanza), None, None),
        };
        #[cfg(feature = "omemo")]
        let message = match super::super::encrypted::own_copy(stanza, &own) {
            Some(copy) if self.events.decrypts() => copy,
            _ => message,
        };
        let from: Option<Jid> = message.get("from").and_then(|from| from.parse().ok());
        let view = from.as_ref().and_then(|from| self.view_of(&from.to_bare()));
        let (nick, occupant_ids) = view.map_or((None, false), |view| (Some(view.nick), view.occupant_ids));
        #[cfg(feature = "omemo")]
        if self.events.decrypts() && crate::omemo::encrypted_of(message) {
            return self.take_encrypted(message, archive, stamp, from_archive, nick);
        }
        let Some(event) = event::of_message(
            message,
            Found {
                own: &own,
                nick: nick.as_deref(),
                occupant_ids,
                archive,
                stamp,
            },
        ) else {
            return true;
        };
        let mut receipt = None;
        if let Event::Chat(received)
        | Event::Room(received)
        | Event::Correction(received)
        | Event::File(received) = &event
        {
            if received.wants_receipt && self.options.receipts && !received.own && !from_archive {
                receipt = event::receipt(received);
            }
            if !self.is_new(received, from_archive) {
                self.acknowledge(live, receipt);
                return true;
            }
        }
        if let Event::Reaction {
            archive: Some(place), ..
        }
        | Event::Retracted(Retraction {
            archive: Some(place), ..
        }) = &event
            && !self.archives.note(place, from_archive)
        {
            return true;
        }
        let placed = self.emit(event);
        if placed {
            self.acknowledge(live, receipt);
        }
        placed
    }

    /// Notes a message. Returns false if it came before, live or from an archive.
    pub(in crate::session) fn is_new(&mut self, received: &Received, from_archive: bool) -> bool {
        let place_is_new = received
            .archive
            .as_ref()
            .is_none_or(|place| self.archives.note(place, from_archive));
        let id = received.origin_id.as_ref().or(received.id.as_ref());
        let (Some(from), Some(id)) = (&received.from, id) else {
            return place_is_new;
        };
        // In rooms the nick is part of who wrote.
        let author = if received.room {
            from.clone()
        } else {
            from.to_bare()
        };
        let placed = received.archive.is_some();
        let (was_placed, was_not) =
            self.archives
                .seen_before(&author, &format!("{id}\0{}", received.body), placed);
        let came_before = if received.origin_id.is_some() {
            was_placed || was_not
        } else if placed {
            // Its place tells it from others. Only a copy that came without one cannot be told by it.
            was_not
        } else {
            // The id of a stanza is unique in one stream of its author only (RFC 6120 section 8.1.3): somebody may use it
            // for every message. A copy is one that is delayed, or comes when the connection is new.
            let copies_come = received.stamp.is_some() || self.online_since.elapsed() < COPIES_COME;
            copies_come && (was_placed || was_not)
        };
        if came_before && place_is_new && !from_archive {
            tracing::debug!(%author, id, "a message came a second time, and is not shown again");
        }
        place_is_new && !came_before
    }

    fn acknowledge(&mut self, live: &mut Live, receipt: Option<Element>) {
        if let Some(receipt) = receipt {
            self.write(live, &receipt.to_xml());
        }
    }

    fn take_presence(&mut self, live: &mut Live, stanza: &Element) {
        let Some(from) = stanza.get("from").and_then(|from| from.parse::<Jid>().ok()) else {
            return;
        };
        let view = self.view_of(&from.to_bare());
        #[cfg(feature = "omemo")]
        if self.events.decrypts() {
            self.occupants.note(stanza, &from);
        }
        if let Some(event) = event::of_presence(
            stanza,
            view.as_ref().map(|view| &*view.nick),
            view.as_ref().is_some_and(|view| view.occupant_ids),
        ) {
            if let Event::Occupant {
                own: true,
                present: true,
                room,
                ..
            } = &event
                && let Some(question) = self.archives.catch_up_with(room, &self.own.clone())
            {
                self.write(live, &question.to_xml());
            }
            self.emit(event);
        }
    }

    fn view_of(&self, room: &Jid) -> Option<RoomView> {
        self.tracker
            .rooms()
            .find(|(jid, _)| *jid == room)
            .map(|(_, view)| view)
    }

    fn take_iq(&mut self, live: &mut Live, stanza: &Element) {
        let id = stanza.get("id").unwrap_or_default();
        match stanza.get("type") {
            Some("get" | "set") => self.answer(live, stanza, id),
            Some("result" | "error") => {
                // Others may guess an id: only the one asked may answer.
                if self
                    .asked
                    .get(id)
                    .is_some_and(|pending| pending.asked.is_answered_by(stanza))
                {
                    if let Some(pending) = self.asked.remove(id) {
                        pending.reply.send(Ok(stanza.clone()));
                    }
                } else if live
                    .self_pings
                    .get(id)
                    .is_some_and(|occupant| is_from_room(stanza, occupant))
                    && let Some(occupant) = live.self_pings.remove(id)
                {
                    let gone = stanza.get("type") == Some("error")
                        && matches!(
                            StanzaError::of(stanza).condition.as_str(),
                            "not-acceptable" | "item-not-found"
                        );
                    if gone {
                        self.archives.again(&occupant.to_bare());
                        self.tracker.enter_again(&occupant.to_bare());
                    }
                } else if self.stored.is_answer(stanza) {
                    if let Some(question) = self.stored.answered(stanza, &self.own) {
                        self.write(live, &question.to_xml());
                    }
                    if self.stored.releases_presence(Instant::now()) {
                        self.appear(live);
                    }
                } else {
                    let own = self.own.to_bare();
                    match self.archives.page(stanza, &own) {
                        Some(Page::More(question)) => self.write(live, &question.to_xml()),
                        Some(Page::Gap(archive, question)) => {
                            self.emit(Event::Gap { archive });
                            self.write(live, &question.to_xml());
                        }
                        Some(Page::Failed(archive, temporary)) => {
                            self.emit(Event::ArchiveFailed {
                                archive: archive.clone(),
                                temporary,
                            });
                            self.emit(Event::Gap {
                                archive: archive.clone(),
                            });
                            self.emit(Event::CaughtUp { archive });
                        }
                        Some(Page::Done(archive)) => {
                            self.emit(Event::CaughtUp { archive });
                        }
                        None => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Questions of others are always answered (RFC 6120 section 8.2.3).
    fn answer(&mut self, live: &mut Live, stanza: &Element, id: &str) {
        if id.len() > REPEATED_MAX {
            return;
        }
        let base = |kind: &str| {
            Element::new("iq", ns::CLIENT)
                .attr("type", kind)
                .attr("id", id)
                .attr_opt("to", stanza.get("from"))
        };
        let reply = if stanza.find("ping", ns::PING).is_some() {
            base("result")
        } else if stanza.find("query", ns::DISCO_INFO).is_some() && stanza.get("type") == Some("get") {
            let node = stanza
                .find("query", ns::DISCO_INFO)
                .and_then(|query| query.get("node"))
                .filter(|node| node.len() <= REPEATED_MAX);
            // A question about the node of our capabilities is answered under that name (XEP-0115).
            base("result").child(
                node.into_iter()
                    .fold(self.identity(), |query, node| query.attr("node", node)),
            )
        } else {
            let condition = Element::new("service-unavailable", ns::STANZAS);
            base("error").child(
                Element::new("error", ns::CLIENT)
                    .attr("type", "cancel")
                    .child(condition),
            )
        };
        self.write(live, &reply.to_xml());
    }
}
