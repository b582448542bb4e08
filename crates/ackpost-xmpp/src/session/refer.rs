//! The relation of a received message to others: answers, retractions, fallbacks; and how occupants left.

use crate::jid::Jid;
use crate::ns;
use crate::xml::Element;

/// Maximum number of fallback ranges that are read from one message.
const FALLBACKS_MAX: usize = 16;

/// The place of a message in an archive (XEP-0313, XEP-0359). Keep the last one to catch up from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArchivePlace {
    /// Owner of the archive: our own address, or a room.
    pub by: Jid,
    /// Id of the message there.
    pub id: String,
}

/// The message that another one answers (XEP-0461).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its id: in rooms the one the room gave (XEP-0359), in chats the one its author gave.
    pub id: String,
    /// Its author, if the answer names one.
    pub to: Option<Jid>,
}

/// A part of a body that is there for clients without a feature (XEP-0428).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The namespace of the feature.
    pub about: String,
    /// The first character and the one behind the last, counted in code points; `None` for the whole body.
    pub range: Option<(usize, usize)>,
}

/// A message that was retracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retraction {
    /// The author of the retraction; in rooms with the nick as resource, and the room itself for a moderator.
    pub from: Jid,
    /// It happened in a room.
    pub room: bool,
    /// The id of the message: in rooms the one the room gave (XEP-0359).
    pub id: String,
    /// Set when a moderator did it. Only the room itself can say so.
    pub moderated: Option<Moderated>,
    /// The author's permanent id in the room (XEP-0421), if the room gives such ids.
    pub occupant_id: Option<String>,
    /// We did it ourselves.
    pub own: bool,
    /// Time when it was sent, if it was delayed (XEP-0203, XEP-0082 format).
    pub stamp: Option<String>,
    /// Its place in an archive.
    pub archive: Option<ArchivePlace>,
}

/// A retraction by a moderator (XEP-0425).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moderated {
    /// The nick of the moderator, where the room names them.
    pub by: Option<String>,
    /// The reason that was given.
    pub reason: Option<String>,
}

/// Way in which somebody left a room, if not by themselves (XEP-0045).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// A moderator removed them.
    Kicked {
        /// The nick of the moderator, where the room names them.
        by: Option<String>,
        /// The reason that was given.
        reason: Option<String>,
    },
    /// A moderator removed them, and they may not come back.
    Banned {
        /// The nick of the moderator, where the room names them.
        by: Option<String>,
        /// The reason that was given.
        reason: Option<String>,
    },
    /// They have another nick from now on.
    Renamed {
        /// The nick that they took.
        to: String,
    },
    /// They are not a member, and the room is for members only.
    NotMember,
    /// Their connection failed, or the service went down.
    Broken,
    /// The room was removed.
    Destroyed,
}

/// Reads the occupant id (XEP-0421).
pub(super) fn occupant_id(stanza: &Element) -> Option<String> {
    stanza
        .find("occupant-id", ns::OCCUPANT_ID)
        .and_then(|id| id.get("id"))
        .filter(|id| !id.is_empty())
        .map(ToOwned::to_owned)
}

pub(super) fn reply(stanza: &Element) -> Option<Reply> {
    let reply = stanza.find("reply", ns::REPLY)?;
    Some(Reply {
        id: reply.get("id").filter(|id| !id.is_empty())?.to_owned(),
        to: reply.get("to").and_then(|to| to.parse().ok()),
    })
}

pub(super) fn fallbacks(stanza: &Element) -> Vec<Fallback> {
    let mut found = Vec::new();
    for fallback in stanza.find_all("fallback", ns::FALLBACK) {
        let about = fallback.get("for").unwrap_or_default();
        let number = |body: &Element, name: &str| body.get(name).and_then(|text| text.parse::<usize>().ok());
        let bodies: Vec<Option<(usize, usize)>> = fallback
            .find_all("body", ns::FALLBACK)
            .map(|body| number(body, "start").zip(number(body, "end")))
            .collect();
        // Without children the whole of the message is meant.
        let whole = bodies.is_empty() && fallback.elements().next().is_none();
        for range in bodies.into_iter().chain(whole.then_some(None)) {
            if found.len() < FALLBACKS_MAX {
                found.push(Fallback {
                    about: about.to_owned(),
                    range,
                });
            }
        }
    }
    found
}

/// The body without the fallback ranges for one feature. Ranges that lie outside of the body are cut to it.
pub(super) fn without_fallbacks(body: &str, fallbacks: &[Fallback], about: &str) -> String {
    let ranges: Vec<Option<(usize, usize)>> = fallbacks
        .iter()
        .filter(|fallback| fallback.about == about)
        .map(|fallback| fallback.range)
        .collect();
    if ranges.is_empty() {
        return body.to_owned();
    }
    body.chars()
        .enumerate()
        .filter(|(at, _)| {
            !ranges
                .iter()
                .any(|range| range.is_none_or(|(start, end)| (start..end).contains(at)))
        })
        .map(|(_, character)| character)
        .collect()
}

/// Returns true if a message has the form of a retraction, no matter who wrote it.
pub(super) fn is_retraction(stanza: &Element) -> bool {
    stanza.find("retract", ns::RETRACT).is_some()
        || stanza
            .find("apply-to", ns::FASTEN)
            .and_then(|fastened| fastened.find("moderated", ns::MODERATE_0))
            .is_some_and(|moderated| moderated.find("retract", ns::RETRACT_0).is_some())
}

/// The retraction in a message, if it counts: in a room, nobody but the room itself (its bare address) speaks for moderators.
pub(super) fn retraction(stanza: &Element, from: &Jid, room: bool) -> Option<Retraction> {
    let read = |id: Option<&str>, moderated: Option<Moderated>| {
        let by_room = room && from.resource().is_none();
        let id = id.filter(|id| !id.is_empty())?;
        // A moderator's comes from the room alone, an author's never does.
        if room && by_room != moderated.is_some() || !room && moderated.is_some() {
            return None;
        }
        Some(Retraction {
            from: from.clone(),
            room,
            id: id.to_owned(),
            moderated,
            occupant_id: None,
            own: false,
            stamp: None,
            archive: None,
        })
    };
    if let Some(retract) = stanza.find("retract", ns::RETRACT) {
        let moderated = retract
            .find("moderated", ns::MODERATE)
            .map(|moderated| by_whom(moderated, retract.content_of("reason", ns::RETRACT)));
        return read(retract.get("id"), moderated);
    }
    let fastened = stanza.find("apply-to", ns::FASTEN)?;
    let moderated = fastened.find("moderated", ns::MODERATE_0)?;
    let reason = moderated.content_of("reason", ns::MODERATE_0);
    read(fastened.get("id"), Some(by_whom(moderated, reason)))
}

fn by_whom(moderated: &Element, reason: Option<String>) -> Moderated {
    Moderated {
        by: moderated
            .get("by")
            .and_then(|by| by.parse::<Jid>().ok())
            .and_then(|by| by.resource().map(ToOwned::to_owned)),
        reason: reason.filter(|reason| !reason.is_empty()),
    }
}

/// Reads how somebody left from the `x` of their last presence.
pub(super) fn departure(about: &Element) -> Option<Departure> {
    let item = about.find("item", ns::MUC_USER);
    let has = |code: &str| {
        about
            .find_all("status", ns::MUC_USER)
            .any(|status| status.get("code") == Some(code))
    };
    let by = || {
        item.and_then(|item| item.find("actor", ns::MUC_USER))
            .and_then(|actor| actor.get("nick"))
            .map(ToOwned::to_owned)
    };
    let reason = || {
        item.and_then(|item| item.content_of("reason", ns::MUC_USER))
            .filter(|reason| !reason.is_empty())
    };
    if has("303") {
        return item
            .and_then(|item| item.get("nick"))
            .map(|to| Departure::Renamed { to: to.to_owned() });
    }
    if about.find("destroy", ns::MUC_USER).is_some() {
        return Some(Departure::Destroyed);
    }
    if has("301") {
        return Some(Departure::Banned {
            by: by(),
            reason: reason(),
        });
    }
    if has("332") || has("333") {
        return Some(Departure::Broken);
    }
    if has("307") {
        return Some(Departure::Kicked {
            by: by(),
            reason: reason(),
        });
    }
    (has("321") || has("322")).then_some(Departure::NotMember)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(xml: &str) -> Element {
        crate::xml::parse(xml).expect("an element")
    }

    fn read(xml: &str) -> Option<Retraction> {
        let stanza = element(xml);
        assert!(is_retraction(&stanza));
        let from: Jid = stanza
            .get("from")
            .unwrap_or_default()
            .parse()
            .expect("an address");
        retraction(&stanza, &from, stanza.get("type") == Some("groupchat"))
    }

    #[test]
    fn an_author_takes_back_what_the_room_calls_by_its_id() {
        let found = read(
            "<message xmlns='jabber:client' type='groupchat' from='r@c.example/bob' id='a'>\
             <retract xmlns='urn:xmpp:message-retract:1' id='s1'/><body>bob retracted a message</body></message>",
        )
        .expect("a retraction");
        assert_eq!((found.id.as_str(), found.moderated), ("s1", None));
    }

    #[test]
    fn only_the_room_itself_speaks_for_moderators() {
        let retract = "<retract xmlns='urn:xmpp:message-retract:1' id='s1'>\
            <moderated xmlns='urn:xmpp:message-moderate:1' by='r@c.example/eve'/><reason>spam</reason></retract>";
        let from = |from: &str| {
            read(&format!(
                "<message xmlns='jabber:client' type='groupchat' from='{from}' id='a'>{retract}</message>"
            ))
        };
        let found = from("r@c.example").expect("a retraction");
        assert_eq!(
            found.moderated,
            Some(Moderated {
                by: Some("eve".into()),
                reason: Some("spam".into())
            })
        );
        assert_eq!(from("r@c.example/eve"), None, "an occupant wrote it");
        let chat = read(&format!(
            "<message xmlns='jabber:client' type='chat' from='eve@c.example' id='a'>{retract}</message>"
        ));
        assert_eq!(chat, None, "a person wrote it");
    }

    #[test]
    fn the_older_form_of_moderators_is_read_too() {
        let found = read(
            "<message xmlns='jabber:client' type='groupchat' from='r@c.example' id='a'>\
             <apply-to xmlns='urn:xmpp:fasten:0' id='s1'><moderated xmlns='urn:xmpp:message-moderate:0' \
             by='r@c.example/eve'><retract xmlns='urn:xmpp:message-retract:0'/></moderated></apply-to></message>",
        )
        .expect("a retraction");
        assert_eq!((found.id.as_str(), found.moderated.is_some()), ("s1", true));
    }

    #[test]
    fn the_quote_of_a_reply_is_not_the_answer() {
        let stanza = element(
            "<message xmlns='jabber:client'><body>&gt; héllo\nyes</body>\
             <reply xmlns='urn:xmpp:reply:0' id='s1' to='r@c.example/bob'/>\
             <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='8'/></fallback></message>",
        );
        let found = reply(&stanza).expect("a reply");
        assert_eq!(found.id, "s1");
        let body = stanza.content_of("body", ns::CLIENT).expect("a body");
        assert_eq!(without_fallbacks(&body, &fallbacks(&stanza), ns::REPLY), "yes");
        assert_eq!(without_fallbacks(&body, &fallbacks(&stanza), "other"), body);
        // A range that is outside, and the whole.
        let whole = [Fallback {
            about: ns::REPLY.to_owned(),
            range: None,
        }];
        assert_eq!(without_fallbacks("abc", &whole, ns::REPLY), "");
        let outside = [Fallback {
            about: ns::REPLY.to_owned(),
            range: Some((2, usize::MAX)),
        }];
        assert_eq!(without_fallbacks("abc", &outside, ns::REPLY), "ab");
    }

    #[test]
    fn the_departure_of_a_person_has_its_reason() {
        let about = |inside: &str| {
            departure(&element(&format!(
                "<x xmlns='http://jabber.org/protocol/muc#user'>{inside}</x>"
            )))
        };
        assert_eq!(about("<item/>"), None);
        assert_eq!(
            about("<item nick='new'/><status code='303'/>"),
            Some(Departure::Renamed { to: "new".into() })
        );
        assert_eq!(
            about("<item><actor nick='eve'/><reason>off topic</reason></item><status code='307'/>"),
            Some(Departure::Kicked {
                by: Some("eve".into()),
                reason: Some("off topic".into())
            })
        );
        assert_eq!(
            about("<item affiliation='outcast'/><status code='301'/><status code='307'/>"),
            Some(Departure::Banned {
                by: None,
                reason: None
            })
        );
        assert_eq!(
            about("<item/><status code='307'/><status code='333'/>"),
            Some(Departure::Broken)
        );
    }
}
