//! A message that cannot cross: the mark that everybody sees, and the private line for its author.

use std::sync::Arc;
use std::time::Duration;

use ackpost_xmpp::{About, Confirm, Content, Outgoing};
use sogs_client::SessionId;
use tokio::time::timeout;

use crate::job::Job;
use crate::shared::Shared;
use crate::state::errors_line;
use crate::store::{Entry, Side, StoreError};
use crate::text;

/// The reaction that marks a message which did not cross.
const MARK: &str = "⚠️";
/// Time limit for a mark or a private line.
const WITHIN: Duration = Duration::from_secs(10);

/// Reason why something cannot cross, and the remedy.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) cause: String,
    /// Remedy, as an imperative.
    pub(crate) remedy: String,
}

/// Tells about an entry that cannot cross. A message is marked in its own room, and its author gets the cause and the remedy, as the
/// author of an edit does. About a deletion, the room gets a line: it may be a moderator's.
///
/// # Errors
/// The database failed.
pub(crate) async fn tell_refusal(
    shared: &Shared,
    to: Side,
    entry: &Entry,
    refusal: &Refusal,
) -> Result<(), StoreError> {
    let told = async {
        match &entry.job {
            Job::Post(post) => {
                match to {
                    Side::Session => mark_in_xmpp(shared, &entry.native).await,
                    Side::Xmpp => mark_in_session(shared, &entry.native).await,
                }
                let line = private_line("message", to, &post.text, refusal);
                tell_author(shared, to, entry, &post.nick, line).await;
            }
            Job::Edit { name, text, .. } => {
                let line = private_line("edit", to, text, refusal);
                tell_author(shared, to, entry, name, line).await;
            }
            Job::Delete { .. } | Job::React { .. } | Job::Notice { .. } => {}
        }
    };
    if timeout(WITHIN, told).await.is_err() {
        tracing::debug!(
            bridge = shared.name,
            "the author of a refused message was not told in time"
        );
    }
    if matches!(entry.job, Job::Delete { .. }) {
        tell_undeleted(shared, to, entry, refusal).await?;
    }
    Ok(())
}

/// Tells the room where a message was deleted that it is still there on the other side. One line is enough for many.
async fn tell_undeleted(
    shared: &Shared,
    to: Side,
    entry: &Entry,
    refusal: &Refusal,
) -> Result<(), StoreError> {
    let (here, other) = match to {
        Side::Session => (Side::Xmpp, "the community"),
        Side::Xmpp => (Side::Session, "the XMPP room"),
    };
    let every = shared.limits.private_line_every;
    if !shared.live().may_be_told(&format!("deletions to {other}"), every) {
        return Ok(());
    }
    let text = format!(
        "A message that was deleted here is still in {other}: {}\nTo fix it: {}",
        refusal.cause, refusal.remedy
    );
    shared.tell(here, &format!("undeleted-{}", entry.id), text).await
}

/// Tells a moderator who asks the last errors, in private: they may name servers and people.
///
/// # Errors
/// The database failed.
pub(crate) async fn tell_errors(shared: &Shared, author: &str, nick: &str) -> Result<(), StoreError> {
    if let Some(line) = errors_line(shared).await? {
        let _ = timeout(WITHIN, tell_occupant(shared, author, nick, line)).await;
    }
    Ok(())
}

/// Tells an author, at most once in a while.
async fn tell_author(shared: &Shared, to: Side, entry: &Entry, nick: &str, line: String) {
    let every = shared.limits.private_line_every;
    if entry.author.is_empty() || !shared.live().may_be_told(&entry.author, every) {
        return;
    }
    match to {
        Side::Session => tell_occupant(shared, &entry.author, nick, line).await,
        Side::Xmpp => tell_member(shared, &entry.author, &line).await,
    }
}

/// The line for the author.
fn private_line(kind: &str, to: Side, words: &str, refusal: &Refusal) -> String {
    let place = match to {
        Side::Session => "the community",
        Side::Xmpp => "the XMPP room",
    };
    let said = match text::excerpt(words) {
        empty if empty.is_empty() => format!("Your {kind}"),
        excerpt => format!("Your {kind} “{excerpt}”"),
    };
    format!(
        "{said} did not reach {place}: {}\nTo fix it: {}",
        refusal.cause, refusal.remedy
    )
}

async fn mark_in_session(shared: &Shared, native: &str) {
    if let Ok(id) = native.parse::<u64>()
        && let Err(error) = shared.room.react(id, MARK).await
    {
        tracing::debug!(%error, "the mark of a message that could not cross was not taken");
    }
}

async fn mark_in_xmpp(shared: &Shared, native: &str) {
    let mut message = Outgoing::new(shared.place.clone(), Arc::new(Content::text("")));
    message.about = Some(About::Reactions {
        id: native.to_owned(),
        emoji: vec![MARK.to_owned()],
    });
    let sent = shared.xmpp.send(vec![message]).await;
    tracing::debug!(?sent, "the mark of a message that could not cross");
}

/// A private message in the room, if its author is still there under the same nick.
async fn tell_occupant(shared: &Shared, author: &str, nick: &str, line: String) {
    let there = shared.live().occupant(nick);
    let same = there.is_some_and(|there| there.spoke_as.as_deref() == Some(author));
    let Some(address) = shared
        .place
        .room
        .to_bare()
        .with_resource(nick)
        .ok()
        .filter(|_| same)
    else {
        return;
    };
    let mut message = Outgoing::new(address, Arc::new(Content::text(line)));
    message.confirm = Some(Confirm::Sent);
    message.bridge = Some(shared.name.clone());
    let sent = shared.xmpp.send(vec![message]).await;
    tracing::debug!(?sent, "a private line to an author");
}

/// A direct message in the community.
async fn tell_member(shared: &Shared, author: &str, line: &str) {
    let Ok(id) = author.parse::<SessionId>() else {
        return;
    };
    let inbox = shared.room.server().inbox();
    if let Err(error) = inbox.send(&id, line, Some(&shared.options.nick)).await {
        tracing::debug!(%error, "a private line to an author was not taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_line_names_the_message_the_cause_and_the_remedy() {
        let refusal = Refusal {
            cause: "it is too long".into(),
            remedy: "shorten it".into(),
        };
        assert_eq!(
            private_line("message", Side::Session, "hello\nworld", &refusal),
            "Your message “hello” did not reach the community: it is too long\nTo fix it: shorten it"
        );
        assert_eq!(
            private_line("edit", Side::Xmpp, "", &refusal),
            "Your edit did not reach the XMPP room: it is too long\nTo fix it: shorten it"
        );
    }
}
