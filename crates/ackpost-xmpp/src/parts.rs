//! The stanzas of one message, and the outcome of a message from those of its stanzas.

use std::sync::Arc;

use crate::error::XmppError;
use crate::id;
use crate::message::{Attachment, ConfirmedBy, Delivered, Outcome, Outgoing};
use crate::stanza::{Part, file_part, part_about, text_part};

/// The stanzas of one message: its text, then one for each file.
pub(crate) fn parts_of(
    message: &Outgoing,
    urls: &[(Arc<Attachment>, String)],
) -> Result<Vec<Part>, XmppError> {
    if message.about.is_some() || message.file.is_some() || message.bridge.is_some() {
        return part_about(message).map(|part| vec![part]);
    }
    let content = &message.content;
    let asked = message.asked();
    let mut parts = Vec::new();
    let mut own_id = message.id.clone();
    // Files of a message with its own id are as recognisable as its text.
    let file_id = |number: usize| message.id.as_ref().map(|id| format!("{id}.{number}"));
    let has_text =
        !content.body.is_empty() || content.subject.as_deref().is_some_and(|text| !text.is_empty());
    if has_text || content.attachments.is_empty() {
        let id = own_id.take().unwrap_or_else(id::uuid);
        parts.push(text_part(
            &message.target,
            content,
            asked,
            id,
            message.replaces.as_deref(),
        )?);
    }
    for (number, file) in content.attachments.iter().enumerate() {
        let Some((_, url)) = urls.iter().find(|(known, _)| Arc::ptr_eq(known, file)) else {
            continue;
        };
        let id = own_id.take().or_else(|| file_id(number)).unwrap_or_else(id::uuid);
        parts.push(file_part(&message.target, content, asked, id, url));
    }
    for part in &mut parts {
        part.repeat_since = message.repeat_since;
    }
    Ok(parts)
}

/// A message is delivered when all its parts are, at the level of the weakest. The first failure is its failure. If other
/// parts arrived, or may have, the failure says so: sent again as a whole, the message would be doubled.
pub(crate) fn merge(parts: Vec<Option<Outcome>>) -> Outcome {
    let count = parts.len();
    let mut whole: Option<Delivered> = None;
    let mut failure: Option<(usize, XmppError)> = None;
    let mut others_in_doubt = false;
    for (at, part) in parts.into_iter().enumerate() {
        let error = match part {
            Some(Outcome::Delivered(proof)) => {
                add_proof(&mut whole, proof);
                continue;
            }
            Some(Outcome::Deferred(error) | Outcome::Refused(error)) => error,
            None => XmppError::CutUnconfirmed,
        };
        if failure.is_some() {
            others_in_doubt |= error.may_have_arrived();
        } else {
            failure = Some((at, error));
        }
    }
    match (failure, whole) {
        (Some((at, cause)), whole) if (whole.is_some() || others_in_doubt) && !cause.may_have_arrived() => {
            Outcome::failed(XmppError::PartFailed {
                part: at + 1,
                parts: count,
                cause: Box::new(cause),
            })
        }
        (Some((_, error)), _) => Outcome::failed(error),
        (None, Some(proof)) => Outcome::Delivered(proof),
        (None, None) => Outcome::failed(XmppError::Empty),
    }
}

fn add_proof(whole: &mut Option<Delivered>, proof: Delivered) {
    let Some(first) = whole else {
        *whole = Some(proof);
        return;
    };
    // Notes about the login come with every part.
    for note in proof.notes {
        if !first.notes.contains(&note) {
            first.notes.push(note);
        }
    }
    if proof.confirmed_by == ConfirmedBy::HandedOver {
        first.confirmed_by = ConfirmedBy::HandedOver;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jid::Jid;

    fn delivered(confirmed_by: ConfirmedBy) -> Outcome {
        Outcome::Delivered(Delivered {
            confirmed_by,
            id: "x1".to_owned(),
            notes: Vec::new(),
        })
    }

    fn bounced(temporary: bool) -> Outcome {
        let to: Jid = "room@conference.example.org".parse().unwrap();
        Outcome::failed(XmppError::Bounced {
            to,
            condition: "resource-constraint".to_owned(),
            text: Some("words of the server".to_owned()),
            temporary,
        })
    }

    #[test]
    fn a_file_that_came_back_beside_a_text_that_arrived_leaves_the_message_in_doubt() {
        for temporary in [true, false] {
            let outcome = merge(vec![Some(delivered(ConfirmedBy::Room)), Some(bounced(temporary))]);
            let error = outcome.error().unwrap();
            assert!(error.may_have_arrived() && !error.came_back(), "{error}");
            assert_eq!(matches!(outcome, Outcome::Deferred(_)), temporary, "{outcome}");
            assert!(error.to_string().starts_with("part 2 of 2 "), "{error}");
            assert!(!error.clone().without_answer().to_string().contains("words"));
        }
    }

    #[test]
    fn a_part_that_may_have_arrived_counts_like_one_that_did() {
        let outcome = merge(vec![Some(bounced(true)), None]);
        let error = outcome.error().unwrap();
        assert!(error.may_have_arrived() && !error.came_back(), "{error}");
        let outcome = merge(vec![Some(bounced(true)), Some(bounced(true))]);
        let error = outcome.error().unwrap();
        assert!(error.came_back() && !error.may_have_arrived(), "nothing arrived");
    }

    #[test]
    fn the_weakest_part_is_the_proof_of_the_message() {
        for order in [
            [ConfirmedBy::Server, ConfirmedBy::HandedOver],
            [ConfirmedBy::HandedOver, ConfirmedBy::Server],
        ] {
            let outcome = merge(order.into_iter().map(delivered).map(Some).collect());
            assert_eq!(outcome.delivered().unwrap().confirmed_by, ConfirmedBy::HandedOver);
        }
    }
}
