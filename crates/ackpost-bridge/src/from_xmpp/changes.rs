//! Changes to messages of the XMPP room: corrections, reactions and retractions.

use ackpost_xmpp::{Received, Retraction};

use super::FromXmpp;
use crate::clock::now_ms;
use crate::config::{Deletes, Edits};
use crate::job::{Answered, Job, Post};
use crate::people::OCCUPANT;
use crate::store::{NewEntry, Reacted, Side, StoreError, Taken};
use crate::xmpp_event::{author, is_emoji, native, read_stamp, said_at};

/// An edit of a message that is older than this also becomes a line, because apps do not show edits of messages that
/// they have.
pub(crate) const NOTE_AFTER_MS: i64 = 10_000;

impl FromXmpp<'_> {
    pub(super) async fn correction(
        &mut self,
        received: &Received,
        archived: bool,
    ) -> Result<Vec<NewEntry>, StoreError> {
        let shared = self.shared;
        if shared.options.edits == Edits::Off
            || self.is_ours(received, archived).await?
            || received.bridge.is_some()
        {
            return Ok(Vec::new());
        }
        let Some(nick) = received.from.as_ref().and_then(|from| from.resource()) else {
            return Ok(Vec::new());
        };
        let author = author(Some(nick), received.occupant_id.as_deref());
        let replaces = received.replaces.as_deref().unwrap_or_default();
        let found = shared
            .store
            .by_reference(&shared.name, Side::Session, replaces, &author)
            .await?;
        // Only its author corrects a message, and only one that crossed.
        let Some((target, made)) = found else {
            return Ok(Vec::new());
        };
        let text = crate::text::bounded(received.own_words());
        let is_same =
            author.starts_with(OCCUPANT) || shared.live().kept_nick(nick, made, said_at(received), archived);
        let jid = shared.live().occupant(nick).and_then(|occupant| occupant.jid);
        let jid = jid.map(|jid| jid.to_bare().to_string());
        if !is_same || shared.options.ignores(nick, jid.as_deref(), None, &text) {
            return Ok(Vec::new());
        }
        let edited = target.clone();
        let entry = |kind: &str, job: Job| NewEntry {
            side: Side::Session,
            source: format!("{kind}:{}", native(received)),
            // The message that is edited: if it is retracted, this does not cross either.
            native: edited.clone(),
            reference: String::new(),
            author: author.clone(),
            job,
            reacted: None,
            made: said_at(received),
        };
        let mut entries = Vec::new();
        if shared.options.edits == Edits::Edit {
            entries.push(entry(
                "e",
                Job::Edit {
                    target: target.clone(),
                    name: nick.to_owned(),
                    text: text.clone(),
                    answers: self.answered(received),
                },
            ));
        }
        if shared.options.edits == Edits::Note || said_at(received) - made > NOTE_AFTER_MS {
            entries.push(entry(
                "n",
                Job::Post(Post {
                    name: nick.to_owned(),
                    edited: true,
                    nick: nick.to_owned(),
                    text,
                    answers: Some(Answered::Xmpp(target)),
                    ..Post::default()
                }),
            ));
        }
        Ok(entries)
    }

    pub(super) async fn reaction(
        &mut self,
        author: String,
        target: String,
        mut emoji: Vec<String>,
        place: Option<String>,
    ) -> Result<Vec<NewEntry>, StoreError> {
        if !self.shared.options.reactions || !self.is_known(&target).await? {
            return Ok(Vec::new());
        }
        emoji.retain(|emoji| is_emoji(emoji));
        emoji.truncate(20);
        let place = place.unwrap_or_else(|| format!("{target}-{author}-{}", now_ms()));
        Ok(vec![NewEntry {
            side: Side::Session,
            source: format!("r:{place}"),
            native: target.clone(),
            reference: String::new(),
            job: Job::React {
                target: target.clone(),
            },
            reacted: Some(Reacted {
                side: "xmpp",
                target,
                person: author.clone(),
                emoji,
            }),
            author,
            made: now_ms(),
        }])
    }

    /// Returns true if a message crossed, or waits to.
    async fn is_known(&self, target: &str) -> Result<bool, StoreError> {
        let shared = self.shared;
        Ok(shared
            .store
            .message(&shared.name, Side::Session, target)
            .await?
            .is_some()
            || !shared
                .store
                .peers(&shared.name, Taken::Xmpp(target))
                .await?
                .is_empty())
    }

    pub(super) async fn retraction(
        &mut self,
        retraction: &Retraction,
        archived: bool,
    ) -> Result<Vec<NewEntry>, StoreError> {
        let shared = self.shared;
        let moderated = retraction.moderated.is_some();
        let wanted = match shared.options.deletes {
            Deletes::Both => true,
            Deletes::Moderators => moderated,
            Deletes::Off => false,
        };
        if !wanted || retraction.own {
            return Ok(Vec::new());
        }
        let target = retraction.id.as_str();
        let nick = retraction.from.resource().unwrap_or_default();
        let author = author(Some(nick), retraction.occupant_id.as_deref());
        let said_at = retraction.stamp.as_deref().and_then(read_stamp);
        let said_at = said_at.unwrap_or_else(now_ms);
        let entry = shared.store.message(&shared.name, Side::Session, target).await?;
        let allowed = match &entry {
            Some((written_by, made)) => {
                let is_same =
                    author.starts_with(OCCUPANT) || shared.live().kept_nick(nick, *made, said_at, archived);
                moderated || *written_by == author && is_same
            }
            // One that we carried here: only a moderator removes it.
            None => moderated && self.is_known(target).await?,
        };
        if !allowed {
            return Ok(Vec::new());
        }
        if shared
            .store
            .drop_waiting(&shared.name, Side::Session, target)
            .await?
        {
            return Ok(Vec::new());
        }
        Ok(vec![NewEntry {
            side: Side::Session,
            source: format!("d:{target}"),
            native: String::new(),
            reference: String::new(),
            author,
            job: Job::Delete {
                target: target.to_owned(),
            },
            reacted: None,
            made: now_ms(),
        }])
    }
}
