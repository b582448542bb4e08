//! Encrypted messages and changes of device lists, on their way to the task that decrypts.

use super::{Actor, ReplyTo};
use crate::jid::Jid;
use crate::ns;
use crate::omemo::pep;
use crate::session::encrypted;
use crate::session::event::Event;
use crate::session::event::{self, Found};
use crate::session::outlet::{Arrived, EncryptedStanza, Outlet};
use crate::session::refer::ArchivePlace;
use crate::xml::Element;

impl Actor {
    /// Handles the stanzas for encryption only: requested messages of an archive, and changes of device lists.
    pub(super) fn take_for_encryption(&mut self, stanza: &Element) -> bool {
        if stanza.find("result", ns::MAM).is_some() && self.collect(stanza) {
            return true;
        }
        if stanza.find("event", ns::PUBSUB_EVENT).is_none() {
            return false;
        }
        let Outlet::Decrypting(arrived) = &self.events else {
            return false;
        };
        let own = self.own.to_bare();
        let from = stanza.get("from").map_or(Some(own), |from| {
            from.parse::<Jid>().ok().map(|from| from.to_bare())
        });
        if let (Some(of), Some(list)) = (from, pep::list_of_event(stanza)) {
            arrived.put(Arrived::Devices { of, list });
        }
        // Nobody shows events of PEP.
        true
    }

    /// Passes an encrypted message on, if it is new. Returns false if there was no place for it.
    pub(super) fn take_encrypted(
        &mut self,
        message: &Element,
        archive: Option<ArchivePlace>,
        stamp: Option<String>,
        from_archive: bool,
        nick: Option<String>,
    ) -> bool {
        let own = self.own.to_bare();
        let from: Jid = message
            .get("from")
            .and_then(|from| from.parse().ok())
            .unwrap_or_else(|| own.clone());
        let in_room = message.get("type") == Some("groupchat");
        let found = Found {
            own: &own,
            nick: nick.as_deref(),
            occupant_ids: false,
            archive,
            stamp: stamp.clone(),
        };
        // Remember the message before it is decrypted: a message cannot be decrypted twice.
        let mut outside = message.clone();
        outside.keep(|child| !child.is("body", ns::CLIENT) && !child.is("x", ns::OOB));
        outside.push(Element::new("body", ns::CLIENT));
        let mut place = None;
        if let Some(
            Event::Chat(received)
            | Event::Room(received)
            | Event::Correction(received)
            | Event::File(received),
        ) = event::of_message(&outside, found)
        {
            if !self.is_new(&received, from_archive) {
                return true;
            }
            place = received.archive;
        }
        let sender = if in_room {
            // Archives of rooms show the address in the message.
            let shown = message
                .find("x", ns::MUC_USER)
                .and_then(|about| about.find("item", ns::MUC_USER))
                .and_then(|item| item.get("jid"))
                .filter(|_| from_archive)
                .and_then(|jid| jid.parse::<Jid>().ok());
            shown
                .map(|jid| jid.to_bare())
                .or_else(|| self.occupants.real(&from))
        } else if nick.is_some() {
            // A private message of an occupant.
            self.occupants.real(&from)
        } else {
            Some(from.to_bare())
        };
        let sealed = EncryptedStanza {
            message: message.clone(),
            sender,
            room: in_room.then(|| from.to_bare()),
            nick,
            archive: place,
            stamp,
            from_archive,
        };
        match &self.events {
            Outlet::Decrypting(arrived) => arrived.put(Arrived::Encrypted(Box::new(sealed))),
            Outlet::Direct(_) => true,
        }
    }

    /// Keeps an archived message that a question of the device waits for.
    pub(super) fn collect(&mut self, stanza: &Element) -> bool {
        self.asked.values_mut().any(|pending| {
            pending.asked.is_answered_by(stanza)
                && match &mut pending.reply {
                    ReplyTo::WithArchive { query, archived, .. } => {
                        encrypted::collect(query.as_deref(), archived, stanza)
                    }
                    ReplyTo::One(_) => false,
                }
        })
    }
}
