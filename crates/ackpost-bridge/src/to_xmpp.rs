//! Entries cross into the XMPP room, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ackpost_xmpp::{About, Attachment, Content, Jid, Outcome, Outgoing, XmppError};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::Replies;
use crate::job::{Answered, Job, Post};
use crate::lane::{Edit, Ended, Lane};
use crate::limits::millis;
use crate::shared::Shared;
use crate::store::{Entry, Peer, Side, StoreError, Taken};
use crate::text;

/// Pause between two stanzas.
const PACE: Duration = Duration::from_millis(500);
/// Time within which the room must show a message that it accepted.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// Attempts at a change to a message whose id in the room is not known yet. Some rooms give no ids.
const UNSHOWN_TRIES: i64 = 2;

/// The room has not shown the message, so that its id is not known.
fn not_shown() -> Ended {
    Ended::Later(2_000, "the room has not shown the message yet".to_owned())
}

/// A part of a message as it is sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Part {
    origin: String,
    body: String,
    file: Option<String>,
    reply: Option<Reply>,
    /// An earlier attempt may have arrived.
    open: bool,
}

/// The message that a part answers: its id in the room, the nick of its author, and the length of its quoted line, characters.
type Reply = (String, String, usize);

/// Carries into the XMPP room.
pub(crate) struct ToXmpp<'a> {
    shared: &'a Shared,
    free_at: Instant,
    /// The last attempt failed, and may have arrived.
    left_open: bool,
}

impl<'a> ToXmpp<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            free_at: Instant::now(),
            left_open: false,
        }
    }

    /// Sends one stanza.
    async fn send(&mut self, mut message: Outgoing) -> Ended {
        sleep_until(self.free_at).await;
        self.free_at = Instant::now() + PACE;
        message.bridge = Some(self.shared.name.clone());
        let outcomes = self.shared.xmpp.send(vec![message]).await;
        self.left_open = outcomes
            .first()
            .and_then(Outcome::error)
            .is_some_and(XmppError::may_have_arrived);
        match outcomes.into_iter().next() {
            Some(Outcome::Delivered(_)) => Ended::Done,
            Some(Outcome::Deferred(error)) => {
                Ended::Later(error.retry_after().map_or(2_000, millis), error.to_string())
            }
            // Not the message is at fault, but that we are not in the room.
            Some(Outcome::Refused(
                error @ (XmppError::RemovedFromRoom { .. }
                | XmppError::Banned { .. }
                | XmppError::NoVoice { .. }
                | XmppError::NoSuchRoom { .. }
                | XmppError::MembersOnly { .. }
                | XmppError::JoinRefused { .. }
                | XmppError::NickTaken { .. }
                | XmppError::SessionClosed),
            )) => Ended::Later(30_000, error.to_string()),
            Some(Outcome::Refused(error)) => Ended::refused(error.to_string(), error.remedy().to_string()),
            Some(_) | None => Ended::Later(2_000, "no answer".to_owned()),
        }
    }

    fn outgoing(&self, body: &str) -> Outgoing {
        Outgoing::new(self.shared.place.clone(), Arc::new(Content::text(body)))
    }

    /// The stanzas of a message: its text, and one for each file.
    async fn parts(&mut self, entry: &Entry, post: &Post) -> Result<Result<Vec<Part>, Ended>, StoreError> {
        let shared = self.shared;
        let mut words = post.text.clone();
        let mut urls = Vec::new();
        for file in &post.files {
            match self.copy(file).await {
                Ok(url) => urls.push(url),
                Err(Ended::Later(..)) if entry.tries < 3 => {
                    return Ok(Err(Ended::Later(5_000, "a file cannot be copied now".to_owned())));
                }
                Err(ended) => {
                    let why = match ended {
                        Ended::Refused(refusal) => refusal.cause,
                        Ended::Later(_, why) => why,
                        Ended::Done | Ended::Gone => String::new(),
                    };
                    if !words.is_empty() {
                        words.push('\n');
                    }
                    let name = file
                        .name
                        .as_deref()
                        .map_or_else(|| "a file".to_owned(), text::clean_name);
                    words.push_str(&format!("({name} was not copied: {why})"));
                }
            }
        }
        let (quote, reply) = self.quoted(post.answers.as_ref()).await?;
        let name = text::author(&post.name, post.edited);
        let said = match (&entry.job, words.is_empty()) {
            (Job::Notice { .. }, _) => words,
            (_, true) => format!("{name}:"),
            (_, false) => text::said(&shared.options.to_xmpp, &name, &words),
        };
        shared.live().note_carried(&said);
        let mut parts = vec![Part {
            origin: shared.origin(&[&entry.id.to_string(), &entry.native, "0"]),
            body: format!("{quote}{said}"),
            file: None,
            reply,
            open: false,
        }];
        for (at, url) in urls.into_iter().enumerate() {
            parts.push(Part {
                origin: shared.origin(&[&entry.id.to_string(), &entry.native, &(at + 1).to_string()]),
                file: Some(url),
                ..Part::default()
            });
        }
        Ok(Ok(parts))
    }

    /// The line that quotes the message that is answered, and the place of that message in the room.
    async fn quoted(&self, answers: Option<&Answered>) -> Result<(String, Option<Reply>), StoreError> {
        let shared = self.shared;
        let Some(Answered::Session(at, author)) = answers else {
            return Ok((String::new(), None));
        };
        let peers = shared
            .store
            .peers(&shared.name, Taken::Quote(*at, author))
            .await?;
        let Some(peer) = peers.into_iter().find(|peer| !peer.xmpp.is_empty()) else {
            return Ok((String::new(), None));
        };
        let quote = text::quoted(&peer.excerpt);
        let reply = (shared.options.replies == Replies::Native).then(|| {
            let nick = if peer.from_xmpp {
                peer.nick
            } else {
                shared.live().nick.clone()
            };
            (peer.xmpp, nick, quote.chars().count())
        });
        Ok((quote, reply))
    }

    fn about(&self, (id, nick, quoted): &Reply) -> About {
        About::Reply {
            id: id.clone(),
            to: self.occupant(nick),
            quoted: *quoted,
        }
    }

    fn too_large(&self) -> Ended {
        let most = self.shared.options.max_file;
        Ended::refused(format!("it is larger than {most} bytes"), "send a smaller file")
    }

    /// Copies a file of the community to the XMPP server. Returns its address there.
    async fn copy(&mut self, file: &crate::job::FileRef) -> Result<String, Ended> {
        let shared = self.shared;
        if file.size.is_some_and(|size| size > shared.options.max_file) {
            return Err(self.too_large());
        }
        let found = shared.room.download(file.id).await.map_err(|error| {
            if error.is_permanent() {
                Ended::refused(error.to_string(), error.remedy())
            } else {
                Ended::Later(5_000, error.to_string())
            }
        })?;
        if found.bytes.len() as u64 > shared.options.max_file {
            return Err(self.too_large());
        }
        let name = file
            .name
            .clone()
            .or(found.name)
            .map_or_else(|| "file".to_owned(), |name| text::clean_name(&name));
        let media_type = file
            .media_type
            .clone()
            .unwrap_or_else(|| "application/octet-stream".to_owned());
        shared
            .xmpp
            .upload_file(Attachment::new(
                name.replace(['/', '\\'], "_"),
                media_type,
                found.bytes,
            ))
            .await
            .map_err(|error| {
                if error.is_permanent() {
                    Ended::refused(error.to_string(), error.remedy().to_string())
                } else {
                    Ended::Later(5_000, error.to_string())
                }
            })
    }

    fn occupant(&self, nick: &str) -> Option<Jid> {
        self.shared.place.room.to_bare().with_resource(nick).ok()
    }

    /// Returns true if the room showed one of our messages.
    async fn was_shown(&self, origin: &str) -> Result<bool, StoreError> {
        let peers = self
            .shared
            .store
            .peers(&self.shared.name, Taken::Origin(origin))
            .await?;
        Ok(peers.iter().any(|peer| !peer.xmpp.is_empty()))
    }

    /// Waits for some time until the room shows a message: later entries about it need the id that the room gave it.
    async fn wait_until_shown(&self, origin: &str) -> Result<(), StoreError> {
        let until = Instant::now() + SHOWN_WITHIN;
        while !self.was_shown(origin).await?
            && !self.shared.gives_no_ids.load(Ordering::Relaxed)
            && Instant::now() < until
        {
            let _ = timeout(Duration::from_millis(100), self.shared.to_xmpp.notified()).await;
        }
        Ok(())
    }

    /// Returns true if an earlier attempt may have arrived, and no archive tells. The archive was read before, so that with one a
    /// message that was not shown did not arrive.
    async fn is_in_doubt(&self, part: &Part, is_of_before: bool) -> Result<bool, StoreError> {
        let is_unread = self.shared.archive_unread.load(Ordering::Relaxed);
        if is_unread {
            return Ok(part.open || is_of_before);
        }
        if !part.open {
            return Ok(false);
        }
        let place = self.shared.store.meta(&self.shared.name, "xmpp.after").await?;
        Ok(place.is_none())
    }

    /// The parts of a message that we sent for the community.
    async fn ours(&self, target: &str) -> Result<Vec<Peer>, StoreError> {
        let number = target.parse().unwrap_or_default();
        let peers = self
            .shared
            .store
            .peers(&self.shared.name, Taken::Session(number))
            .await?;
        Ok(peers.into_iter().filter(|peer| !peer.from_xmpp).collect())
    }

    /// Removes a message of the XMPP room that a moderator of the community deleted. A room that does not let the bridge do that
    /// gets a line.
    async fn remove(&mut self, peer: &Peer) -> Result<Ended, StoreError> {
        let shared = self.shared;
        sleep_until(self.free_at).await;
        self.free_at = Instant::now() + PACE;
        let reason = "removed by a moderator of the community";
        match shared.xmpp.moderate(&shared.place.room, &peer.xmpp, reason).await {
            Ok(true) => Ok(Ended::Done),
            Ok(false) => {
                let text = format!(
                    "A moderator of the community removed a message of {} there. The bridge cannot remove it here.",
                    text::name_of_nick(&peer.nick)
                );
                shared
                    .tell(Side::Xmpp, &format!("removed-{}", peer.xmpp), text)
                    .await?;
                Ok(Ended::Done)
            }
            Err(error) => Ok(Ended::Later(
                error.retry_after().map_or(2_000, millis),
                error.to_string(),
            )),
        }
    }
}

impl Lane for ToXmpp<'_> {
    const SIDE: Side = Side::Xmpp;

    async fn ready(&mut self) {
        // The archive shows what was sent before a kill or a break: nothing is sent before that was read.
        let mut caught_up = self.shared.caught_up.subscribe();
        let _ = caught_up.wait_for(|caught_up| *caught_up).await;
    }

    async fn post(&mut self, entry: &Entry, post: &Post, _maybe_sent: bool) -> Result<Ended, StoreError> {
        let shared = self.shared;
        let mut parts: Vec<Part> = serde_json::from_str(&entry.prepared).unwrap_or_default();
        if parts.is_empty() {
            parts = match self.parts(entry, post).await? {
                Ok(parts) => parts,
                Err(ended) => return Ok(ended),
            };
            let (quote_at, quote_author) = post.quote.clone().unwrap_or_default();
            let session = match entry.job {
                Job::Post(_) => entry.native.parse().unwrap_or_default(),
                _ => 0,
            };
            let peers: Vec<Peer> = parts
                .iter()
                .enumerate()
                .map(|(at, part)| Peer {
                    xmpp: String::new(),
                    origin: part.origin.clone(),
                    nick: String::new(),
                    session,
                    quote_at: i64::try_from(quote_at).unwrap_or_default(),
                    quote_author: quote_author.clone(),
                    excerpt: text::excerpt(&part.body),
                    from_xmpp: false,
                    part: i64::try_from(at).unwrap_or_default(),
                    made: entry.made,
                })
                .collect();
            let prepared = serde_json::to_string(&parts)?;
            let store = &shared.store;
            if !store
                .prepare_with(&shared.name, entry.id, &prepared, &peers)
                .await?
            {
                return Ok(Ended::Gone);
            }
        }
        let is_of_before = entry.tries == 0 && !entry.prepared.is_empty();
        for at in 0..parts.len() {
            let part = &parts[at];
            if self.was_shown(&part.origin).await? {
                continue;
            }
            if self.is_in_doubt(part, is_of_before).await? {
                return Ok(Ended::refused(
                    "nobody knows whether it arrived, because the room has no archive that can be read",
                    "look into the room before you write it again",
                ));
            }
            let mut message = self.outgoing(&part.body);
            message.id = Some(part.origin.clone());
            message.file.clone_from(&part.file);
            message.about = part.reply.as_ref().map(|reply| self.about(reply));
            match self.send(message).await {
                Ended::Done => self.wait_until_shown(&part.origin).await?,
                ended if self.left_open => {
                    self.wait_until_shown(&part.origin).await?;
                    if self.was_shown(&part.origin).await? {
                        continue;
                    }
                    parts[at].open = true;
                    let prepared = serde_json::to_string(&parts)?;
                    shared.store.prepare(entry.id, &prepared).await?;
                    shared.read_again();
                    return Ok(ended);
                }
                ended => return Ok(ended),
            }
        }
        Ok(Ended::Done)
    }

    async fn edit(&mut self, entry: &Entry, target: &str, edit: &Edit<'_>) -> Result<Ended, StoreError> {
        let Some(first) = self.ours(target).await?.into_iter().find(|peer| peer.part == 0) else {
            return Ok(Ended::Done);
        };
        let (quote, reply) = self.quoted(edit.answers).await?;
        let said = text::said(&self.shared.options.to_xmpp, edit.name, edit.text);
        let mut message = self.outgoing(&format!("{quote}{said}"));
        message.about = reply.as_ref().map(|reply| self.about(reply));
        message.id = Some(self.shared.origin(&[&entry.id.to_string(), target, "edit"]));
        // Always the first version, never the one before: clients know the first alone.
        message.replaces = Some(first.origin);
        Ok(self.send(message).await)
    }

    async fn delete(&mut self, entry: &Entry, target: &str) -> Result<Ended, StoreError> {
        let number = target.parse().unwrap_or_default();
        let peers = self
            .shared
            .store
            .peers(&self.shared.name, Taken::Session(number))
            .await?;
        if peers.iter().any(|peer| peer.xmpp.is_empty() && !peer.from_xmpp) && entry.tries < UNSHOWN_TRIES {
            return Ok(not_shown());
        }
        for peer in peers {
            if peer.xmpp.is_empty() {
                continue;
            }
            if peer.from_xmpp {
                match self.remove(&peer).await? {
                    Ended::Done => continue,
                    ended => return Ok(ended),
                }
            }
            let mut message = self.outgoing("This message was deleted.");
            message.id = Some(self.shared.origin(&[target, &peer.part.to_string(), "delete"]));
            message.about = Some(About::Retraction { id: peer.xmpp });
            match self.send(message).await {
                Ended::Done => {}
                ended => return Ok(ended),
            }
        }
        Ok(Ended::Done)
    }

    async fn react(&mut self, entry: &Entry, target: &str) -> Result<Ended, StoreError> {
        let shared = self.shared;
        let number = target.parse().unwrap_or_default();
        let peers = shared.store.peers(&shared.name, Taken::Session(number)).await?;
        // The reactions to a note about an edit are not those to the message.
        let mut peers = peers.into_iter().filter(|peer| !peer.is_note()).peekable();
        let is_there = peers.peek().is_some();
        let Some(peer) = peers.find(|peer| !peer.xmpp.is_empty()) else {
            return Ok(if is_there && entry.tries < UNSHOWN_TRIES {
                not_shown()
            } else {
                Ended::Done
            });
        };
        let emoji = shared
            .store
            .reactions(&shared.name, "session", target, None)
            .await?;
        let mut message = self.outgoing("");
        message.about = Some(About::Reactions {
            id: peer.xmpp,
            emoji: emoji.into_iter().collect(),
        });
        Ok(self.send(message).await)
    }
}
