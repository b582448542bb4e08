//! Message stanzas: the only module that turns content for recipients into XML.

use std::time::SystemTime;

use crate::error::XmppError;
use crate::id;
use crate::message::{
    About, Confirm, Content, MAX_STANZA_WIRE_BYTES, MessageType, Note, Outgoing, Target, WireTexts,
};
use crate::ns;
use crate::xhtml;
use crate::xml::{Element, replace_forbidden};

/// A message stanza ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) target: Target,
    pub(crate) id: String,
    pub(crate) xml: String,
    pub(crate) asked: Confirm,
    pub(crate) notes: Vec<Note>,
    /// The new topic, when the message is nothing but that: rooms do not always keep its id.
    pub(crate) topic: Option<String>,
    /// It may have been said before, since this time: look into the history of the room or into our archive first.
    pub(crate) repeat_since: Option<SystemTime>,
}

impl Content {
    /// Returns the texts as their stanza carries them.
    pub fn on_wire(&self) -> WireTexts {
        let html = self.html.as_deref().and_then(xhtml::from_html);
        WireTexts {
            html: html.map(|html| html.to_xml()),
            ..self.plain_on_wire()
        }
    }

    pub(crate) fn plain_on_wire(&self) -> WireTexts {
        let body = self.body.replace("\r\n", "\n").replace('\r', "\n");
        let (body, in_body) = replace_forbidden(&body);
        let subject = self.subject.as_deref().unwrap_or_default();
        let subject = subject.replace(['\r', '\n'], " ");
        let (subject, in_subject) = replace_forbidden(&subject);
        WireTexts {
            subject: subject.into_owned(),
            body: body.into_owned(),
            html: None,
            replaced: in_body + in_subject,
        }
    }
}

/// The text part: body, subject, formatting.
pub(crate) fn text_part(
    target: &Target,
    content: &Content,
    asked: Confirm,
    id: String,
    replaces: Option<&str>,
) -> Result<Part, XmppError> {
    let WireTexts {
        subject,
        body,
        replaced,
        ..
    } = content.plain_on_wire();
    if body.is_empty() && subject.is_empty() {
        return Err(XmppError::Empty);
    }
    let mut message = envelope(target, content, &id);
    if !subject.is_empty() {
        message.push(Element::new("subject", ns::CLIENT).text(subject.as_str()));
    }
    if !body.is_empty() {
        message.push(Element::new("body", ns::CLIENT).text(body.as_str()));
    }
    if let Some(html) = content.html.as_deref().and_then(xhtml::from_html) {
        message.push(html);
    }
    if content.unstyled {
        message.push(Element::new("unstyled", ns::STYLING));
    }
    if let Some(replaces) = replaces {
        message.push(Element::new("replace", ns::CORRECT).attr("id", replaces));
    }
    let mut part = finish(target, asked, id, message);
    fits(part.xml.len(), None)?;
    part.topic = (body.is_empty() && matches!(target, Target::Room(_))).then_some(subject);
    if replaced > 0 {
        part.notes.push(Note::CharactersReplaced(replaced));
    }
    Ok(part)
}

/// Checks the size of a stanza against what the server announced.
///
/// # Errors
///
/// Returns [`XmppError::TooLarge`], which names the limit.
pub(crate) fn fits(bytes: usize, announced: Option<usize>) -> Result<(), XmppError> {
    let limit = announced.unwrap_or(MAX_STANZA_WIRE_BYTES);
    if bytes > limit {
        return Err(XmppError::TooLarge { bytes, limit });
    }
    Ok(())
}

/// A file part: the address of the file alone, so that clients show the file itself (XEP-0066).
pub(crate) fn file_part(target: &Target, content: &Content, asked: Confirm, id: String, url: &str) -> Part {
    let message = envelope(target, content, &id)
        .child(Element::new("body", ns::CLIENT).text(url))
        .child(Element::new("x", ns::OOB).child(Element::new("url", ns::OOB).text(url)));
    finish(target, asked, id, message)
}

/// Text that clients without OMEMO show (XEP-0384 0.3.0).
#[cfg(feature = "omemo")]
const FALLBACK: &str = "This message is encrypted with OMEMO, which this client does not support.";

/// An encrypted part. Elements that the older version of OMEMO cannot encrypt are sent beside it in clear text.
#[cfg(feature = "omemo")]
pub(crate) fn sealed_part(
    target: &Target,
    content: &Content,
    asked: Confirm,
    id: String,
    replaces: Option<&str>,
    encrypted: Vec<Element>,
) -> Part {
    let mut message = envelope(target, content, &id);
    let namespaces: Vec<String> = encrypted.iter().map(|element| element.ns.to_string()).collect();
    let older = namespaces
        .iter()
        .any(|namespace| namespace == ::omemo::Version::Axolotl.namespace());
    for element in encrypted {
        message.push(element);
    }
    if older {
        message.push(Element::new("body", ns::CLIENT).text(FALLBACK));
        if let Some(replaces) = replaces {
            message.push(Element::new("replace", ns::CORRECT).attr("id", replaces));
        }
    }
    for namespace in namespaces {
        message.push(Element::new("encryption", ns::EME).attr("namespace", namespace));
    }
    message.push(Element::new("store", ns::HINTS));
    finish(target, asked, id, message)
}

fn envelope(target: &Target, content: &Content, id: &str) -> Element {
    let kind = match (target, content.kind) {
        (Target::Room(_), _) => "groupchat",
        (Target::User(_), MessageType::Chat) => "chat",
        (Target::User(_), MessageType::Normal) => "normal",
        (Target::User(_), MessageType::Headline) => "headline",
    };
    Element::new("message", ns::CLIENT)
        .attr("type", kind)
        .attr("to", target.address().to_string())
        .attr("id", id)
        .attr_opt("xml:lang", content.lang.as_deref())
}

fn finish(target: &Target, asked: Confirm, id: String, mut message: Element) -> Part {
    message.push(Element::new("origin-id", ns::SID).attr("id", id.clone()));
    if asked == Confirm::Receipt && matches!(target, Target::User(_)) {
        message.push(Element::new("request", ns::RECEIPTS));
    }
    Part {
        target: target.clone(),
        id,
        xml: message.to_xml(),
        asked,
        notes: Vec::new(),
        topic: None,
        repeat_since: None,
    }
}

/// The one stanza of a message that is about another one, shows a file by its address, or is carried by a bridge.
pub(crate) fn part_about(message: &Outgoing) -> Result<Part, XmppError> {
    let WireTexts {
        mut body, replaced, ..
    } = message.content.plain_on_wire();
    if let (Some(url), true) = (&message.file, body.is_empty()) {
        body.clone_from(url);
    }
    let silent = matches!(message.about, Some(About::Reactions { .. }));
    if body.is_empty() && !silent {
        return Err(XmppError::Empty);
    }
    let id = message.id.clone().unwrap_or_else(id::uuid);
    let mut stanza = envelope(&message.target, &message.content, &id);
    if !body.is_empty() {
        stanza.push(Element::new("body", ns::CLIENT).text(body));
    }
    if let Some(url) = &message.file {
        stanza.push(Element::new("x", ns::OOB).child(Element::new("url", ns::OOB).text(url.as_str())));
    }
    if let Some(replaces) = &message.replaces {
        stanza.push(Element::new("replace", ns::CORRECT).attr("id", replaces.as_str()));
    }
    match &message.about {
        Some(About::Reply { id, to, quoted }) => {
            let reply = Element::new("reply", ns::REPLY)
                .attr("id", id.as_str())
                .attr_opt("to", to.as_ref().map(ToString::to_string));
            stanza.push(reply);
            if *quoted > 0 {
                stanza.push(fallback(ns::REPLY, Some(*quoted)));
            }
        }
        Some(About::Reactions { id, emoji }) => {
            let mut reactions = Element::new("reactions", ns::REACTIONS).attr("id", id.as_str());
            for one in emoji {
                reactions.push(Element::new("reaction", ns::REACTIONS).text(one.as_str()));
            }
            stanza.push(reactions);
            stanza.push(Element::new("store", ns::HINTS));
        }
        Some(About::Retraction { id }) => {
            stanza.push(Element::new("retract", ns::RETRACT).attr("id", id.as_str()));
            stanza.push(fallback(ns::RETRACT, None));
            stanza.push(Element::new("store", ns::HINTS));
        }
        None => {}
    }
    if let Some(name) = &message.bridge {
        stanza.push(Element::new("x", ns::BRIDGE).attr("name", name.as_str()));
    }
    // A room shows reactions without a text that could be compared: its answer to a question behind them is the proof.
    let asked = match message.target {
        Target::Room(_) if silent => Confirm::Server,
        _ => message.asked(),
    };
    let mut part = finish(&message.target, asked, id, stanza);
    fits(part.xml.len(), None)?;
    part.repeat_since = message.repeat_since;
    if replaced > 0 {
        part.notes.push(Note::CharactersReplaced(replaced));
    }
    Ok(part)
}

/// The mark of a body, or of its first characters, as text for clients without a feature.
fn fallback(about: &str, characters: Option<usize>) -> Element {
    let body = match characters {
        Some(end) => Element::new("body", ns::FALLBACK)
            .attr("start", "0")
            .attr("end", end.to_string()),
        None => Element::new("body", ns::FALLBACK),
    };
    Element::new("fallback", ns::FALLBACK)
        .attr("for", about)
        .child(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RoomTarget;

    fn user() -> Target {
        Target::User("bob@localhost".parse().unwrap())
    }

    #[test]
    fn no_empty_subject_and_nothing_that_was_not_asked_for() {
        let part = text_part(
            &user(),
            &Content::text("a\r\nb"),
            Confirm::Server,
            "1".into(),
            None,
        )
        .unwrap();
        assert_eq!(
            part.xml,
            "<message type='chat' to='bob@localhost' id='1'><body>a\nb</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>"
        );
    }

    #[test]
    fn everything_that_was_asked_for() {
        let content = Content {
            body: "x".into(),
            subject: Some("Title".into()),
            html: Some("<b>x</b>".into()),
            lang: Some("en".into()),
            unstyled: true,
            kind: MessageType::Headline,
            ..Content::default()
        };
        let part = text_part(&user(), &content, Confirm::Receipt, "2".into(), Some("1")).unwrap();
        assert_eq!(
            part.xml,
            "<message type='headline' to='bob@localhost' id='2' xml:lang='en'><subject>Title</subject><body>x</body>\
             <html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>\
             <strong>x</strong></body></html><unstyled xmlns='urn:xmpp:styling:0'/>\
             <replace xmlns='urn:xmpp:message-correct:0' id='1'/><origin-id xmlns='urn:xmpp:sid:0' id='2'/>\
             <request xmlns='urn:xmpp:receipts'/></message>"
        );
        let room = Target::Room(RoomTarget::new("open@conference.localhost".parse().unwrap()));
        let part = text_part(&room, &content, Confirm::Room, "3".into(), None).unwrap();
        assert!(part.xml.contains("type='groupchat'") && !part.xml.contains("receipts"));
    }

    #[test]
    fn forbidden_characters_are_replaced_and_counted() {
        let part = text_part(
            &user(),
            &Content::text("a\u{0}b\u{1b}c"),
            Confirm::Server,
            "1".into(),
            None,
        )
        .unwrap();
        assert!(part.xml.contains("a\u{fffd}b\u{fffd}c"));
        assert_eq!(part.notes, [Note::CharactersReplaced(2)]);
    }

    #[test]
    fn the_limit_counts_bytes_on_the_wire() {
        let text = |text: String| text_part(&user(), &Content::text(text), Confirm::Server, "1".into(), None);
        assert!(text("<".repeat(64_000)).is_ok(), "256,000 bytes");
        let error = text("<".repeat(66_000)).unwrap_err();
        assert!(
            matches!(
                error,
                XmppError::TooLarge {
                    bytes: 264_000..,
                    limit: MAX_STANZA_WIRE_BYTES
                }
            ),
            "{error}"
        );
        assert_eq!(
            text_part(&user(), &Content::default(), Confirm::Server, "1".into(), None).unwrap_err(),
            XmppError::Empty
        );
    }

    fn to_room(body: &str, about: Option<About>) -> Outgoing {
        let mut message = Outgoing::new(
            RoomTarget::new("r@c.example".parse().expect("an address")),
            Content::text(body),
        );
        message.id = Some("1".into());
        message.about = about;
        message
    }

    #[test]
    fn a_reply_names_its_message_and_marks_the_quote() {
        let about = About::Reply {
            id: "s1".into(),
            to: Some("r@c.example/bob".parse().expect("an address")),
            quoted: 5,
        };
        let part = part_about(&to_room("> a\n\nyes", Some(about))).expect("a stanza");
        assert_eq!(
            part.xml,
            "<message type='groupchat' to='r@c.example' id='1'><body>&gt; a\n\nyes</body>\
             <reply xmlns='urn:xmpp:reply:0' id='s1' to='r@c.example/bob'/>\
             <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='5'/></fallback>\
             <origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>"
        );
    }

    #[test]
    fn reactions_have_no_body_and_are_stored() {
        let about = About::Reactions {
            id: "s1".into(),
            emoji: vec!["👍".into()],
        };
        let part = part_about(&to_room("", Some(about))).expect("a stanza");
        assert_eq!(
            part.xml,
            "<message type='groupchat' to='r@c.example' id='1'><reactions xmlns='urn:xmpp:reactions:0' id='s1'>\
             <reaction>👍</reaction></reactions><store xmlns='urn:xmpp:hints'/>\
             <origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>"
        );
        assert_eq!(part.asked, Confirm::Server);
    }

    #[test]
    fn a_retraction_is_readable_by_older_clients() {
        let part =
            part_about(&to_room("deleted", Some(About::Retraction { id: "s1".into() }))).expect("a stanza");
        assert_eq!(
            part.xml,
            "<message type='groupchat' to='r@c.example' id='1'><body>deleted</body>\
             <retract xmlns='urn:xmpp:message-retract:1' id='s1'/>\
             <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'><body/></fallback>\
             <store xmlns='urn:xmpp:hints'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>"
        );
        assert_eq!(
            part_about(&to_room("", Some(About::Retraction { id: "s1".into() }))).expect_err("no text"),
            XmppError::Empty
        );
    }

    #[test]
    fn a_file_is_its_address_and_a_bridge_leaves_its_mark() {
        let mut message = to_room("", None);
        message.file = Some("https://x.example/a.png".into());
        message.bridge = Some("lobby".into());
        let part = part_about(&message).expect("a stanza");
        assert_eq!(
            part.xml,
            "<message type='groupchat' to='r@c.example' id='1'><body>https://x.example/a.png</body>\
             <x xmlns='jabber:x:oob'><url>https://x.example/a.png</url></x>\
             <x xmlns='urn:ackpost:bridge:0' name='lobby'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>"
        );
    }
}
