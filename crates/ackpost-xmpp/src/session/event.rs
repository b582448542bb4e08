//! What arrives, as typed values.

use std::time::Duration;

use crate::ns;
use crate::xml::Element;
use crate::{Jid, XmppError};

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
        /// Why.
        reason: XmppError,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// The session is over for good; no event follows.
    Ended {
        /// Why; `None` when it was closed by its owner.
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
        /// The room.
        room: Jid,
        /// Who set it, if known.
        nick: Option<String>,
        /// The new topic; empty when it was removed.
        subject: String,
    },
    /// Somebody came into a room, changed, or left.
    Occupant {
        /// The room.
        room: Jid,
        /// Their nick.
        nick: String,
        /// Their real address, where the room shows it.
        jid: Option<Jid>,
        /// `owner`, `admin`, `member`, `none` or `outcast`.
        affiliation: String,
        /// `moderator`, `participant`, `visitor` or `none`.
        role: String,
        /// Whether they are there now.
        present: bool,
        /// It is ourselves.
        own: bool,
    },
    /// A client has our message (XEP-0184).
    Receipt {
        /// Whose client.
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
        /// Why it came back.
        reason: XmppError,
    },
    /// Somebody reacted to a message (XEP-0444). The list replaces their earlier one.
    Reaction {
        /// Who; in rooms with the nick as resource.
        from: Jid,
        /// The id of the message.
        to: String,
        /// The emoji; empty when they were taken back.
        emoji: Vec<String>,
        /// Where it happened is a room.
        room: bool,
        /// Its place in an archive.
        archive: Option<ArchivePlace>,
    },
    /// The archive does not reach back to where we were: messages may be missing.
    Gap {
        /// Whose archive.
        archive: Jid,
    },
    /// So many events were dropped, because nobody took them.
    Lagged(u64),
}

/// A message that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Who wrote; in rooms with the nick as resource.
    pub from: Option<Jid>,
    /// It was said in a room.
    pub room: bool,
    /// The stanza id.
    pub id: Option<String>,
    /// The id given by its author (XEP-0359).
    pub origin_id: Option<String>,
    /// The text.
    pub body: String,
    /// The subject line.
    pub subject: Option<String>,
    /// The language of the text.
    pub lang: Option<String>,
    /// Addresses of files.
    pub files: Vec<String>,
    /// The id of the message that this one corrects.
    pub replaces: Option<String>,
    /// When it was sent, if it was delayed (XEP-0203, XEP-0082 format).
    pub stamp: Option<String>,
    /// Its place in an archive.
    pub archive: Option<ArchivePlace>,
    /// We wrote it ourselves.
    pub own: bool,
    /// Its author wants to know that it arrived (XEP-0184).
    pub wants_receipt: bool,
}

/// Where a message stands in an archive (XEP-0313, XEP-0359). Keep the last one to catch up from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArchivePlace {
    /// Whose archive: our own address, or a room.
    pub by: Jid,
    /// The id there.
    pub id: String,
}

/// What is known about the place where a message was found.
pub(super) struct Found<'a> {
    pub(super) own: &'a Jid,
    /// Our nick, if the sender is a room we are in.
    pub(super) nick: Option<&'a str>,
    /// The archive and the id in it, if it was read from there.
    pub(super) archive: Option<ArchivePlace>,
    /// When it was archived.
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
    if let Some(reactions) = stanza.find("reactions", ns::REACTIONS) {
        return Some(Event::Reaction {
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
    let own = is_own(&from, room, &found);
    let message = Received {
        id: stanza.get("id").map(ToOwned::to_owned),
        origin_id: stanza
            .find("origin-id", ns::SID)
            .and_then(|id| id.get("id"))
            .map(ToOwned::to_owned),
        body: body?,
        subject: subject.filter(|text| !text.is_empty()),
        lang: stanza.get("xml:lang").map(ToOwned::to_owned),
        files: stanza
            .find_all("x", ns::OOB)
            .filter_map(|x| x.content_of("url", ns::OOB))
            .collect(),
        replaces: stanza
            .find("replace", ns::CORRECT)
            .and_then(|old| old.get("id"))
            .map(ToOwned::to_owned),
        stamp: stanza
            .find("delay", ns::DELAY)
            .and_then(|delay| delay.get("stamp"))
            .map(ToOwned::to_owned)
            .or(found.stamp),
        archive,
        own,
        room,
        wants_receipt: !room && stanza.find("request", ns::RECEIPTS).is_some(),
        from: Some(from),
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

fn is_own(from: &Jid, room: bool, found: &Found<'_>) -> bool {
    if room {
        from.resource().is_some() && from.resource() == found.nick
    } else {
        from.same_bare(found.own)
    }
}

/// XEP-0359: only the archive itself may say where a message stands in it.
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
pub(super) fn of_presence(stanza: &Element, nick: Option<&str>) -> Option<Event> {
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
        present,
        own,
    })
}

/// The message inside a carbon copy (XEP-0280). Only our own account may send one.
pub(super) fn carbon<'a>(stanza: &'a Element, own: &Jid) -> Option<&'a Element> {
    let received = stanza.find("received", ns::CARBONS)?;
    let from: Jid = stanza
        .get("from")
        .map_or(Some(own.to_bare()), |from| from.parse().ok())?;
    if from != own.to_bare() {
        return None;
    }
    received
        .find("forwarded", ns::FORWARD)?
        .find("message", ns::CLIENT)
}
