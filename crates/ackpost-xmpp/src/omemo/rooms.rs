//! Readers of a room (XEP-0384 0.9, "Group chats"; XEP-0045).

use super::error::OmemoError;
use super::server::{Answer, Question};
use crate::error::XmppError;
use crate::jid::Jid;
use crate::ns;
use crate::stanza_error::{ErrorOrigin, StanzaError};
use crate::xml::Element;

/// Affiliations whose members may read, offline people included.
const AFFILIATIONS: [&str; 3] = ["owner", "admin", "member"];
/// Number of questions about one room.
pub(super) const QUESTIONS: usize = 1 + AFFILIATIONS.len();
/// Maximum number of members of a room that are encrypted for.
const MEMBERS_MAX: usize = 1000;

/// Returns the questions about a room.
pub(super) fn questions(room: &Jid) -> Vec<Question> {
    let address = room.to_bare().to_string();
    let mut questions = vec![Question::get(
        address.clone(),
        Element::new("query", ns::DISCO_INFO),
    )];
    for affiliation in AFFILIATIONS {
        let item = Element::new("item", ns::MUC_ADMIN).attr("affiliation", affiliation);
        questions.push(Question::get(
            address.clone(),
            Element::new("query", ns::MUC_ADMIN).child(item),
        ));
    }
    questions
}

/// Returns the members of a room that fulfils the conditions, without the own account.
pub(super) fn members(
    room: &Jid,
    own: &Jid,
    answers: &[Result<Answer, XmppError>],
) -> Result<Vec<Jid>, OmemoError> {
    let room = room.to_bare();
    let (info, lists) = answers
        .split_first()
        .ok_or_else(|| unavailable(&room, "no answer"))?;
    conditions(&room, info)?;
    let mut members = Vec::new();
    let mut readable = false;
    for answer in lists {
        let stanza = match answer {
            Ok(answer) => &answer.stanza,
            Err(error) => return Err(unavailable(&room, error)),
        };
        if stanza.get("type") == Some("error") {
            continue;
        }
        readable = true;
        let query = stanza.find("query", ns::MUC_ADMIN);
        for item in query
            .into_iter()
            .flat_map(|query| query.find_all("item", ns::MUC_ADMIN))
        {
            let Some(jid) = item.get("jid").and_then(|jid| jid.parse::<Jid>().ok()) else {
                continue;
            };
            let jid = jid.to_bare();
            // A whole host can be a member, and a room can be listed in itself: neither has devices.
            let is_person = jid.local().is_some() && jid != room && jid != *own;
            if is_person && !members.contains(&jid) && members.len() < MEMBERS_MAX {
                members.push(jid);
            }
        }
    }
    if readable {
        Ok(members)
    } else {
        Err(OmemoError::RoomListsRefused { room })
    }
}

fn conditions(room: &Jid, info: &Result<Answer, XmppError>) -> Result<(), OmemoError> {
    let stanza = match info {
        Ok(answer) => &answer.stanza,
        Err(error) => return Err(unavailable(room, error)),
    };
    if stanza.get("type") == Some("error") {
        let error = StanzaError::of(stanza);
        return Err(if error.may_pass(ErrorOrigin::Room) {
            unavailable(room, &error.condition)
        } else {
            OmemoError::RoomListsRefused { room: room.clone() }
        });
    }
    let features: Vec<&str> = stanza
        .find("query", ns::DISCO_INFO)
        .into_iter()
        .flat_map(|query| query.find_all("feature", ns::DISCO_INFO))
        .filter_map(|feature| feature.get("var"))
        .collect();
    if !features.contains(&"muc_nonanonymous") {
        return Err(OmemoError::RoomHidesAddresses { room: room.clone() });
    }
    if !features.contains(&"muc_membersonly") {
        return Err(OmemoError::RoomOpen { room: room.clone() });
    }
    Ok(())
}

fn unavailable(room: &Jid, reason: &(impl ToString + ?Sized)) -> OmemoError {
    OmemoError::Unavailable {
        of: room.clone(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "answers come as results")]
    fn answer(inside: Element) -> Result<Answer, XmppError> {
        Ok(Answer {
            stanza: Element::new("iq", ns::CLIENT)
                .attr("type", "result")
                .child(inside),
            archived: Vec::new(),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "answers come as results")]
    fn refused() -> Result<Answer, XmppError> {
        let error = Element::new("error", ns::CLIENT).child(Element::new("forbidden", ns::STANZAS));
        Ok(Answer {
            stanza: Element::new("iq", ns::CLIENT).attr("type", "error").child(error),
            archived: Vec::new(),
        })
    }

    fn info(features: &[&'static str]) -> Result<Answer, XmppError> {
        let mut query = Element::new("query", ns::DISCO_INFO);
        for feature in features {
            query.push(Element::new("feature", ns::DISCO_INFO).attr("var", *feature));
        }
        answer(query)
    }

    fn people(jids: &[&'static str]) -> Result<Answer, XmppError> {
        let mut query = Element::new("query", ns::MUC_ADMIN);
        for jid in jids {
            query.push(Element::new("item", ns::MUC_ADMIN).attr("jid", *jid));
        }
        answer(query)
    }

    #[test]
    fn members_are_the_people_of_all_lists_without_hosts_and_ourselves() {
        let room: Jid = "r@muc.example".parse().unwrap();
        let own: Jid = "me@x.example".parse().unwrap();
        let closed = || info(&["muc_nonanonymous", "muc_membersonly"]);
        let found = members(
            &room,
            &own,
            &[
                closed(),
                people(&["Bob@x.example/phone", "me@x.example"]),
                refused(),
                people(&[
                    "bob@x.example",
                    "y.example",
                    "r@muc.example",
                    "@",
                    "carol@y.example",
                ]),
            ],
        )
        .unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["bob@x.example", "carol@y.example"]);
        let result = members(&room, &own, &[closed(), refused(), refused(), refused()]);
        assert_eq!(result, Err(OmemoError::RoomListsRefused { room: room.clone() }));
        let result = members(&room, &own, &[info(&["muc_membersonly"])]);
        assert_eq!(result, Err(OmemoError::RoomHidesAddresses { room: room.clone() }));
        let result = members(&room, &own, &[info(&["muc_nonanonymous"])]);
        assert_eq!(result, Err(OmemoError::RoomOpen { room: room.clone() }));
        let result = members(&room, &own, &[refused()]);
        assert_eq!(result, Err(OmemoError::RoomListsRefused { room: room.clone() }));
        let silent = XmppError::AnswerTimeout {
            step: crate::Step::Query,
            after: std::time::Duration::from_secs(1),
        };
        let result = members(&room, &own, &[Err(silent)]);
        assert!(
            matches!(result, Err(OmemoError::Unavailable { .. })),
            "{result:?}"
        );
    }
}
