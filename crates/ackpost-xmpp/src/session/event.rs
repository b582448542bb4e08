//! Typed events of a session.

use std::time::Duration;

use super::refer;
use super::refer::{ArchivePlace, Departure, Fallback, Reply, Retraction};
use crate::error::XmppError;
use crate::jid::Jid;
use crate::ns;
use crate::xml::Element;

/// Something that happened on a kept session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The session stands (again).
    Online {
        /// Our full address.
        jid: Jid,
        /// The old session goes on: nothing was missed.
        resumed: bool,
    },
    /// The connection is gone and will be made again.
    Offline {
        /// The reason for it.
        reason: XmppError,
        /// Time until the next attempt.
        retry_in: Duration,
    },
    /// The session has ended permanently; no event follows.
    Ended {
        /// Reason of the end; `None` when it was closed by its owner.
        reason: Option<XmppError>,
    },
    /// A person wrote.
    Chat(Received),
    /// Somebody wrote in a room.
    Room(Received),
    /// An earlier message was corrected (XEP-0308): see [`Received::replaces`].
    Correction(Received),
    /// A file: see [`Received::files`] (XEP-0066).
    File(Received),
    /// The topic of a room.
    Subject {
        /// Address of the room.
        room: Jid,
        /// The person who set it, if known.
        nick: Option<String>,
        /// The new topic; empty when it was removed.
        subject: String,
    },
    /// Somebody came into a room, changed, or left.
    Occupant {
        /// Address of the room.
        room: Jid,
        /// Their nick.
        nick: String,
        /// Their real address, where the room shows it.
        jid: Option<Jid>,
        /// `owner`, `admin`, `member`, `none` or `outcast`.
        affiliation: String,
        /// `moderator`, `participant`, `visitor` or `none`.
        role: String,
        /// True if they are there now.
        present: bool,
        /// True if the occupant is ourselves.
        own: bool,
        /// Their permanent id in this room (XEP-0421), if the room gives such ids.
        occupant_id: Option<String>,
        /// Way in which they left; `None` when they went by themselves or are there.
        departure: Option<Departure>,
    },
    /// We are no longer in a room, or were not let in; it is not entered again by itself until the next look after the
    /// rooms. [`Session::leave`](crate::Session::leave) keeps it from being entered.
    RoomLost {
        /// Address of the room.
        room: Jid,
        /// Cause of the event.
        reason: XmppError,
    },
    /// A message was retracted, by its author (XEP-0424) or by a moderator of the room (XEP-0425).
    Retracted(Retraction),
    /// A client has our message (XEP-0184).
    Receipt {
        /// Owner of the client.
        from: Jid,
        /// The id of our message.
        id: String,
    },
    /// A message of ours came back after it was reported delivered.
    Late {
        /// The id of our message.
        id: String,
        /// Its target.
        to: Jid,
        /// Reason why it came back.
        reason: XmppError,
    },
    /// Somebody reacted to a message (XEP-0444). The list replaces their earlier one.
    Reaction {
        /// The person; in rooms with the nick as resource.
        from: Jid,
        /// The id of the message.
        to: String,
        /// The emoji; empty when they were removed.
        emoji: Vec<String>,
        /// True if it happened in a room.
        room: bool,
        /// True if we reacted ourselves.
        own: bool,
        /// The reactor's permanent id in the room (XEP-0421), if the room gives such ids.
        occupant_id: Option<String>,
        /// The bridge of Ackpost that carried it here.
        bridge: Option<String>,
        /// Time when it was sent, if it was delayed (XEP-0203, XEP-0082 format).
        stamp: Option<String>,
        /// Its place in an archive.
        archive: Option<ArchivePlace>,
    },
    /// An encrypted message could not be read.
    Undecryptable {
        /// The author; in rooms with the nick as resource.
        from: Jid,
        /// True if it was sent in a room.
        room: bool,
        /// Id of the stanza.
        id: Option<String>,
        /// The device that sent it.
        device: u32,
        /// Reason why it could not be read, on one line.
        reason: String,
        /// The remedy.
        remedy: String,
        /// A new session was started: the next message of this device can be read.
        repaired: bool,
        /// Its place in an archive.
        archive: Option<ArchivePlace>,
    },
    /// A device sent its first message with this identity key.
    NewKey {
        /// Owner of the device.
        owner: Jid,
        /// Id of the OMEMO device.
        device: u32,
        /// The fingerprint, 64 hexadecimal digits.
        fingerprint: String,
        /// The account had other keys before.
        changed: bool,
    },
    /// An archive could not be read. [`Gap`](Self::Gap) and [`CaughtUp`](Self::CaughtUp) follow.
    ArchiveFailed {
        /// The address of the archive.
        archive: Jid,
        /// A later attempt may succeed.
        temporary: bool,
    },
    /// The archive does not reach back to where we were: messages may be missing.
    Gap {
        /// Owner of the archive.
        archive: Jid,
    },
    /// All earlier messages of an archive have been events; the following ones are new.
    CaughtUp {
        /// Owner of the archive.
        archive: Jid,
    },
    /// Number of events that were dropped, because nobody took them.
    Lagged(u64),
}

/// A message that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The author; in rooms with the nick as resource.
    pub from: Option<Jid>,
    /// True if it was sent in a room.
    pub room: bool,
    /// Id of the stanza.
    pub id: Option<String>,
    /// The id given by its author (XEP-0359).
    pub origin_id: Option<String>,
    /// Text of the message.
    pub body: String,
    /// The subject line.
    pub subject: Option<String>,
    /// The language of the text.
    pub lang: Option<String>,
    /// Addresses of files.
    pub files: Vec<String>,
    /// The id of the message that this one corrects.
    pub replaces: Option<String>,
    /// Time when it was sent, if it was delayed (XEP-0203, XEP-0082 format).
    pub stamp: Option<String>,
    /// Its place in an archive.
    pub archive: Option<ArchivePlace>,
    /// We wrote it ourselves.
    pub own: bool,
    /// Its author wants to know that it arrived (XEP-0184).
    pub wants_receipt: bool,
    /// Encryption of the message; `None` for clear text.
    pub encryption: Option<Encryption>,
    /// Its author's permanent id in this room (XEP-0421), if the room gives such ids.
    pub occupant_id: Option<String>,
    /// The message that it answers (XEP-0461).
    pub reply: Option<Reply>,
    /// Parts of the body that are there for clients without a feature (XEP-0428).
    pub fallbacks: Vec<Fallback>,
    /// The bridge of Ackpost that carried it here.
    pub bridge: Option<String>,
}

impl Received {
    /// Returns the body without the text that is there for clients that do not know replies (XEP-0428).
    pub fn own_words(&self) -> String {
        refer::without_fallbacks(&self.body, &self.fallbacks, ns::REPLY)
    }
}

/// End-to-end encryption of a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The namespace of the version of OMEMO.
    pub namespace: &'static str,
    /// The device that sent it.
    pub device: u32,
    /// The fingerprint of its identity key, 64 hexadecimal digits.
    pub fingerprint: String,
    /// A person compared the fingerprint.
    pub verified: bool,
}

/// Facts about the place where a message was found.
#[derive(Clone)]
pub(super) struct Found<'a> {
    pub(super) own: &'a Jid,
    /// Our nick, if the sender is a room we are in.
    pub(super) nick: Option<&'a str>,
    /// The sender is a room that gives permanent ids (XEP-0421). From any other, everybody can write such an id.
    pub(super) occupant_ids: bool,
    /// The archive and the id in it, if it was read from there.
    pub(super) archive: Option<ArchivePlace>,
    /// Time when it was archived.
    pub(super) stamp: Option<String>,
}

/// The event in a message stanza, if there is one.
pub(super) fn of_message(stanza: &Element, found: Found<'_>) -> Option<Event> {
    let from: Jid = stanza
        .get("from")
        .and_then(|from| from.parse().ok())
        .unwrap_or_else(|| found.own.to_bare());
    let room = match stanza.get("type") {
        Some("error") => return None,
        Some("groupchat") => true,
        _ => false,
    };
    let archive = found
        .archive
        .clone()
        .or_else(|| archive_place(stanza, if room { &from } else { found.own }));
    if let Some(receipt) = stanza.find("received", ns::RECEIPTS) {
        return Some(Event::Receipt {
            from,
            id: receipt.get("id")?.to_owned(),
        });
    }
    let own = is_own(&from, room, &found);
    let occupant_id = refer::occupant_id(stanza).filter(|_| room && found.occupant_ids);
    // The archive knows when it stored a message. A time inside the message may be its sender's word.
    let stamp = found.stamp.or_else(|| stamp_of(stanza));
    if refer::is_retraction(stanza) {
        return refer::retraction(stanza, &from, room).map(|retraction| {
            Event::Retracted(Retraction {
                own: own && retraction.moderated.is_none(),
                occupant_id,
                archive,
                stamp,
                ..retraction
            })
        });
    }
    if let Some(reactions) = stanza.find("reactions", ns::REACTIONS) {
        return Some(Event::Reaction {
            own,
            occupant_id,
            bridge: bridge_of(stanza),
            stamp,
            from,
            to: reactions.get("id")?.to_owned(),
            emoji: reactions
                .find_all("reaction", ns::REACTIONS)
                .map(Element::content)
                .collect(),
            room,
            archive,
        });
    }
    let body = stanza.content_of("body", ns::CLIENT);
    let subject = stanza.content_of("subject", ns::CLIENT);
    if room && body.is_none() {
        let nick = from.resource().map(ToOwned::to_owned);
        return subject.map(|subject| Event::Subject {
            room: from.to_bare(),
            nick,
            subject,
        });
    }
    let message = Received {
        archive,
        own,
        occupant_id,
        from: Some(from),
        ..words(stanza, body?, room, stamp)
    };
    Some(if message.replaces.is_some() {
        Event::Correction(message)
    } else if !message.files.is_empty() {
        Event::File(message)
    } else if room {
        Event::Room(message)
    } else {
        Event::Chat(message)
    })
}

/// Reads the facts that a message contains itself.
fn words(stanza: &Element, body: String, room: bool, stamp: Option<String>) -> Received {
    Received {
        id: stanza.get("id").map(ToOwned::to_owned),
        origin_id: stanza
            .find("origin-id", ns::SID)
            .and_then(|id| id.get("id"))
            .map(ToOwned::to_owned),
        body,
        subject: stanza
            .content_of("subject", ns::CLIENT)
            .filter(|text| !text.is_empty()),
        lang: stanza.get("xml:lang").map(ToOwned::to_owned),
        files: stanza
            .find_all("x", ns::OOB)
            .filter_map(|x| x.content_of("url", ns::OOB))
            .collect(),
        replaces: stanza
            .find("replace", ns::CORRECT)
            .and_then(|old| old.get("id"))
            .map(ToOwned::to_owned),
        stamp,
        archive: None,
        own: false,
        room,
        wants_receipt: !room && stanza.find("request", ns::RECEIPTS).is_some(),
        encryption: None,
        occupant_id: None,
        reply: refer::reply(stanza),
        fallbacks: refer::fallbacks(stanza),
        bridge: bridge_of(stanza),
        from: None,
    }
}

/// Returns the name of the bridge of Ackpost that marked a stanza.
fn bridge_of(stanza: &Element) -> Option<String> {
    stanza
        .find("x", ns::BRIDGE)
        .map(|mark| mark.get("name").unwrap_or_default().to_owned())
}

/// Returns the time when a delayed stanza was sent (XEP-0203).
fn stamp_of(stanza: &Element) -> Option<String> {
    let delay = stanza.find("delay", ns::DELAY)?;
    delay.get("stamp").map(ToOwned::to_owned)
}

fn is_own(from: &Jid, room: bool, found: &Found<'_>) -> bool {
    if room {
        from.resource().is_some() && from.resource() == found.nick
    } else {
        from.same_bare(found.own)
    }
}

/// XEP-0359: only the archive itself may say where a message is in it.
fn archive_place(stanza: &Element, by: &Jid) -> Option<ArchivePlace> {
    let by = by.to_bare();
    stanza
        .find_all("stanza-id", ns::SID)
        .find(|id| id.get("by").and_then(|by| by.parse::<Jid>().ok()).as_ref() == Some(&by))
        .and_then(|id| id.get("id"))
        .map(|id| ArchivePlace {
            by: by.clone(),
            id: id.to_owned(),
        })
}

/// The event in a presence from a room.
pub(super) fn of_presence(stanza: &Element, nick: Option<&str>, occupant_ids: bool) -> Option<Event> {
    let from: Jid = stanza.get("from")?.parse().ok()?;
    let about = stanza.find("x", ns::MUC_USER)?;
    let present = match stanza.get("type") {
        None => true,
        Some("unavailable") => false,
        Some(_) => return None,
    };
    let item = about.find("item", ns::MUC_USER)?;
    let own = about
        .find_all("status", ns::MUC_USER)
        .any(|status| status.get("code") == Some("110"))
        || (nick.is_some() && from.resource() == nick);
    Some(Event::Occupant {
        nick: from.resource()?.to_owned(),
        room: from.to_bare(),
        jid: item.get("jid").and_then(|jid| jid.parse().ok()),
        affiliation: item.get("affiliation").unwrap_or("none").to_owned(),
        role: item.get("role").unwrap_or("none").to_owned(),
        departure: (!present).then(|| refer::departure(about)).flatten(),
        occupant_id: refer::occupant_id(stanza).filter(|_| occupant_ids || own),
        present,
        own,
    })
}

/// Maximum length of an id that is acknowledged. Nobody needs longer ones, and receipts wait for the server.
const ID_MAX: usize = 1024;

/// The receipt for a message (XEP-0184).
pub(super) fn receipt(received: &Received) -> Option<Element> {
    let (Some(from), Some(id)) = (
        &received.from,
        received.id.as_ref().filter(|id| id.len() <= ID_MAX),
    ) else {
        return None;
    };
    let receipt = Element::new("message", ns::CLIENT)
        .attr("type", "chat")
        .attr("to", from.to_string())
        .attr("id", crate::id::uuid())
        .child(Element::new("received", ns::RECEIPTS).attr("id", id.clone()));
    Some(receipt)
}

/// The message inside a carbon copy (XEP-0280). Only our own account may send one.
pub(super) fn carbon<'a>(stanza: &'a Element, own: &Jid) -> Option<&'a Element> {
    copy(stanza, own, "received")
}

/// The message that another device of our own account sent, inside its copy.
#[cfg(feature = "omemo")]
pub(super) fn sent_copy<'a>(stanza: &'a Element, own: &Jid) -> Option<&'a Element> {
    copy(stanza, own, "sent")
}

fn copy<'a>(stanza: &'a Element, own: &Jid, kind: &str) -> Option<&'a Element> {
    let copy = stanza.find(kind, ns::CARBONS)?;
    let from: Jid = stanza
        .get("from")
        .map_or(Some(own.to_bare()), |from| from.parse().ok())?;
    if from != own.to_bare() {
        return None;
    }
    copy.find("forwarded", ns::FORWARD)?.find("message", ns::CLIENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_knows_when_a_message_was_sent_and_not_its_sender() {
        let own: Jid = "me@example.org/x".parse().expect("an address");
        let stanza = Element::new("message", ns::CLIENT)
            .attr("type", "groupchat")
            .attr("from", "room@rooms.example.org/mallory")
            .child(Element::new("body", ns::CLIENT).text("hello"))
            .child(Element::new("delay", ns::DELAY).attr("stamp", "2026-01-01T00:00:00Z"));
        let by: Jid = "room@rooms.example.org".parse().expect("an address");
        let found = |archived: bool| Found {
            own: &own,
            nick: None,
            occupant_ids: false,
            archive: archived.then(|| ArchivePlace {
                by: by.clone(),
                id: "1".to_owned(),
            }),
            stamp: archived.then(|| "2026-11-30T12:00:00Z".to_owned()),
        };
        let stamp = |archived| match of_message(&stanza, found(archived)) {
            Some(Event::Room(received)) => received.stamp,
            other => panic!("{other:?}"),
        };
        assert_eq!(stamp(true).as_deref(), Some("2026-11-30T12:00:00Z"));
        // The history that a room sends to those who enter has no other time.
        assert_eq!(stamp(false).as_deref(), Some("2026-01-01T00:00:00Z"));
    }
}
