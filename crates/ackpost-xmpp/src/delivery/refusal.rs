//! Meaning of an error stanza for a message or a room.

use crate::error::XmppError;
use crate::jid::Jid;
use crate::stanza_error::{ErrorKind, ErrorOrigin, StanzaError};

/// Returns the error for another domain that was never reached.
pub(super) fn unreachable(problem: &StanzaError, domain: &str) -> Option<XmppError> {
    let (domain, text) = (domain.to_owned(), problem.text.clone());
    let remote = problem.is_about_remote_domains();
    match problem.condition.as_str() {
        "remote-server-not-found" => Some(XmppError::RemoteServerNotFound { domain, text }),
        "remote-server-timeout" => Some(XmppError::RemoteServerTimeout { domain, text }),
        "not-allowed" | "forbidden" | "service-unavailable" if remote => {
            Some(XmppError::RemoteNotAllowed { domain, text })
        }
        _ => None,
    }
}

/// The error of a server that has no such service: below its own domain it is a wrong address, elsewhere
/// a domain it does not talk to.
pub(crate) fn no_service(room: &Jid, own_domain: &str, text: Option<String>) -> XmppError {
    let domain = room.domain().to_owned();
    if domain
        .strip_suffix(own_domain)
        .is_some_and(|rest| rest.ends_with('.'))
    {
        XmppError::NoSuchService { domain, text }
    } else {
        XmppError::RemoteNotAllowed { domain, text }
    }
}

/// Returns the error if a room's refusal is that of our server, which did not reach the room's service.
pub(crate) fn service_missing(problem: &StanzaError, room: &Jid, own_domain: &str) -> Option<XmppError> {
    if room.domain() == own_domain {
        return None;
    }
    let error = unreachable(problem, room.domain())?;
    let below = room
        .domain()
        .strip_suffix(own_domain)
        .is_some_and(|rest| rest.ends_with('.'));
    Some(match error {
        XmppError::RemoteNotAllowed { .. } if below => no_service(room, own_domain, problem.text.clone()),
        other => other,
    })
}

pub(super) fn explain(problem: &StanzaError, to: &Jid, own_domain: &str) -> XmppError {
    if to.domain() != own_domain
        && let Some(error) = unreachable(problem, to.domain())
    {
        return error;
    }
    if problem.blocked {
        return XmppError::Blocked { to: to.clone() };
    }
    match problem.condition.as_str() {
        "service-unavailable" | "item-not-found" if problem.kind != ErrorKind::Wait => {
            XmppError::NoSuchUser {
                to: to.clone(),
                text: problem.text.clone(),
                temporary: problem.may_pass(ErrorOrigin::Recipient),
            }
        }
        _ => XmppError::Bounced {
            to: to.clone(),
            condition: problem.condition.clone(),
            text: problem.text.clone(),
            temporary: problem.may_pass(ErrorOrigin::Recipient),
        },
    }
}

/// A `forbidden` whose words are neither those of a ban nor of the refusal to create a room.
pub(super) fn is_unclear(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.contains("ban") && !text.contains("creation"))
}

/// The refusal of a room that no other error describes.
pub(super) fn join_refusal(room: &Jid, problem: &StanzaError) -> XmppError {
    XmppError::JoinRefused {
        room: room.clone(),
        condition: problem.condition.clone(),
        text: problem.text.clone(),
        temporary: problem.may_pass(ErrorOrigin::Room),
    }
}
