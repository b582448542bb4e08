//! What arrives on a kept session: answers, messages, presences, questions of others.

use super::{Actor, End, Live};
use crate::Jid;
use crate::courier::Late;
use crate::error::XmppError;
use crate::features::Features;
use crate::id;
use crate::login::StanzaError;
use crate::ns;
use crate::session::archive::Page;
use crate::session::event::{self, Found};
use crate::session::{Event, Received};
use crate::stream::stream_error;
use crate::xml::Element;

/// Whether the answer to a ping of ourselves in a room (XEP-0410) comes from there.
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
                        live.stream
                            .queue(&format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", sm.handled));
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
        self.courier.note_line(live.stream.line());
        let settled_something = self.courier.handle(element);
        for Late { id, to, reason } in self.courier.take_late() {
            tracing::warn!(%to, id, %reason, "a message came back after it was reported delivered");
            self.emit(Event::Late { id, to, reason });
        }
        match &*element.name {
            "message" if !settled_something => self.take_message(live, element),
            "presence" => self.take_presence(live, element),
            "iq" if !settled_something => self.take_iq(live, element),
            _ => {}
        }
        None
    }

    fn take_message(&mut self, live: &mut Live, stanza: &Element) {
        let own = self.own.to_bare();
        let archived = self.archives.result(stanza, &own);
        let from_archive = archived.is_some();
        let (message, archive, stamp) = match archived {
            Some((message, place, stamp)) => (message, Some(place), stamp),
            None => (event::carbon(stanza, &own).unwrap_or(stanza), None, None),
        };
        let from: Option<Jid> = message.get("from").and_then(|from| from.parse().ok());
        let nick = from.as_ref().and_then(|from| self.nick_in(&from.to_bare()));
        let Some(event) = event::of_message(
            message,
            Found {
                own: &own,
                nick: nick.as_deref(),
                archive,
                stamp,
            },
        ) else {
            return;
        };
        if let Event::Chat(received)
        | Event::Room(received)
        | Event::Correction(received)
        | Event::File(received) = &event
        {
            if received.wants_receipt && self.options.receipts && !received.own && !from_archive {
                self.acknowledge(live, received);
            }
            let place_is_new = received
                .archive
                .as_ref()
                .is_none_or(|place| self.archives.note(place, from_archive));
            let id = received.origin_id.as_ref().or(received.id.as_ref());
            let id_is_new = match (&received.from, id) {
                (Some(from), Some(id)) => {
                    // In rooms the nick is part of who wrote.
                    let author = if received.room {
                        from.clone()
                    } else {
                        from.to_bare()
                    };
                    self.archives.first_time(&author, id)
                }
                _ => true,
            };
            if !(place_is_new && id_is_new) {
                return;
            }
        }
        if let Event::Reaction {
            archive: Some(place), ..
        } = &event
            && !self.archives.note(place, from_archive)
        {
            return;
        }
        self.emit(event);
    }

    /// XEP-0184.
    fn acknowledge(&mut self, live: &mut Live, received: &Received) {
        let (Some(from), Some(id)) = (&received.from, &received.id) else {
            return;
        };
        let receipt = Element::new("message", ns::CLIENT)
            .attr("type", "chat")
            .attr("to", from.to_string())
            .attr("id", id::uuid())
            .child(Element::new("received", ns::RECEIPTS).attr("id", id.clone()));
        self.say(live, &receipt.to_xml());
    }

    fn take_presence(&mut self, live: &mut Live, stanza: &Element) {
        let Some(from) = stanza.get("from").and_then(|from| from.parse::<Jid>().ok()) else {
            return;
        };
        let nick = self.nick_in(&from.to_bare());
        if let Some(event) = event::of_presence(stanza, nick.as_deref()) {
            if let Event::Occupant {
                own: true,
                present: true,
                room,
                ..
            } = &event
                && let Some(question) = self.archives.catch_up_with(room, &self.own.clone())
            {
                self.say(live, &question.to_xml());
            }
            self.emit(event);
        }
    }

    fn nick_in(&self, room: &Jid) -> Option<String> {
        self.courier
            .rooms()
            .find(|(jid, _)| *jid == room)
            .map(|(_, view)| view.nick)
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
                        let _ = pending.reply.send(Ok(stanza.clone()));
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
                        self.courier.enter_again(&occupant.to_bare());
                    }
                } else {
                    let own = self.own.to_bare();
                    match self.archives.page(stanza, &own) {
                        Some(Page::More(question)) => self.say(live, &question.to_xml()),
                        Some(Page::Gap(archive, question)) => {
                            self.emit(Event::Gap { archive });
                            self.say(live, &question.to_xml());
                        }
                        Some(Page::Failed(archive)) => self.emit(Event::Gap { archive }),
                        Some(Page::Done) | None => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Questions of others are always answered (RFC 6120 section 8.2.3).
    fn answer(&mut self, live: &mut Live, stanza: &Element, id: &str) {
        let base = |kind: &str| {
            Element::new("iq", ns::CLIENT)
                .attr("type", kind)
                .attr("id", id)
                .attr_opt("to", stanza.get("from"))
        };
        let reply = if stanza.find("ping", ns::PING).is_some() {
            base("result")
        } else if stanza.find("query", ns::DISCO_INFO).is_some() && stanza.get("type") == Some("get") {
            let identity = Element::new("identity", ns::DISCO_INFO)
                .attr("category", "client")
                .attr("type", "bot")
                .attr("name", self.connector.account.software.clone());
            let mut query = Element::new("query", ns::DISCO_INFO).child(identity);
            for feature in [ns::DISCO_INFO, ns::PING, ns::RECEIPTS, ns::CORRECT] {
                query.push(Element::new("feature", ns::DISCO_INFO).attr("var", feature));
            }
            base("result").child(query)
        } else {
            let condition = Element::new("service-unavailable", ns::STANZAS);
            base("error").child(
                Element::new("error", ns::CLIENT)
                    .attr("type", "cancel")
                    .child(condition),
            )
        };
        self.say(live, &reply.to_xml());
    }
}
