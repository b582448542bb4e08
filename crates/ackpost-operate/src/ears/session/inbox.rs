//! Answers in the inbox of a community: direct messages of its members to the account that sends the alerts.

use std::time::Duration;

use session_protocol::{Prefix, SessionId};
use sogs_client::Server;
use sogs_client::poll::Poll;
use sogs_client::types::DirectMessage;

use super::{Running, shown_member};
use crate::desk::{Answer, Incoming, Words};
use crate::model::people::{Person, Role};

/// A conversation of two in a community, as the log names it. `person` is an account (`05…`).
pub(super) fn at(server: &Server, person: &SessionId) -> String {
    format!("{}{person}", prefix(server))
}

/// Returns the account of a conversation of two.
pub(super) fn person_of(server: &Server, at: &str) -> Option<SessionId> {
    at.strip_prefix(&prefix(server))?.parse().ok()
}

/// No room has this name: tokens have no `#`.
fn prefix(server: &Server) -> String {
    format!("{}/#inbox/", server.base_url().trim_end_matches('/'))
}

impl Running {
    /// Handles a direct message. The word alone means the latest alert in any room of the account.
    pub(super) async fn on_direct(&mut self, poll: &Poll, message: &DirectMessage) {
        let Ok((content, sender)) = &message.opened else {
            return;
        };
        // The name of the sender in the rooms is the server's word; the content proves the account.
        if !self.blinder.matches(sender, &message.item.sender) {
            return;
        }
        let Some(body) = content.body() else { return };
        // Alerts are in rooms: a quote in a direct message is about something else.
        if content
            .data_message
            .as_ref()
            .is_some_and(|data| data.quote.is_some())
        {
            return;
        }
        let posted = Duration::try_from_secs_f64(message.item.posted_at.max(0.0)).unwrap_or_default();
        let now = Duration::from_millis(self.server.now_ms());
        let at = at(&self.server, sender);
        let incoming = Incoming {
            person: Person::Session {
                id: message.item.sender,
                account: Some(*sender),
                role: self.lowest_role(poll, &message.item.sender),
            },
            shown: shown_member(sender, content.display_name()),
            places: self.rooms.values().flatten().cloned().collect(),
            at: at.clone(),
            words: Words::Text {
                body: body.to_owned(),
                direct: true,
            },
            about: None,
            id: format!("direct {}", message.item.id),
            own: false,
            edited: false,
            private: false,
            verified: true,
            carried: false,
            age: Some(now.saturating_sub(posted)),
        };
        if self.desk.permits(&incoming.person) {
            self.desk.listen(&at, self.voice.clone());
        }
        match self.desk.hear(&incoming).await {
            Answer::Nothing => {}
            // The line about the state belongs to a message in a room, which people there see by themselves.
            Answer::Privately(text) | Answer::Openly { text, .. } => {
                self.send_direct(&message.item.sender, &text).await;
            }
        }
    }

    /// The rank that a person has in every room that carries alerts: a rank in one of them says nothing about the others.
    fn lowest_role(&self, poll: &Poll, person: &SessionId) -> Role {
        self.rooms
            .keys()
            .map(|room| {
                poll.room_info(room)
                    .map_or(Role::Everyone, |info| super::role_in(info, person))
            })
            .min()
            .unwrap_or_default()
    }

    /// Sends a direct message to an account, or to its blinded id.
    pub(super) async fn send_direct(&self, person: &SessionId, text: &str) {
        // An account may have either of two blinded ids; the server knows one of them.
        let ids = match (person.prefix(), self.blinder.candidates15(person)) {
            (Prefix::Account, Ok(ids)) => ids.to_vec(),
            _ => vec![*person],
        };
        let mut failed = None;
        for id in ids {
            match self.server.inbox().send(&id, text, self.name.as_deref()).await {
                Ok(_) => return,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::warn!(%error, "an answer could not be sent as a direct message");
        }
    }
}
