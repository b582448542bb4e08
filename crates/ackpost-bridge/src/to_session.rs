//! Entries cross into the community, one after the other.

mod failed;
mod files;
mod part;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sogs_client::{Cause, OwnPost, Post as SogsPost, PreparedPost, Room, SessionId};
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::config::Replies;
use crate::from_xmpp::NOTE_AFTER_MS;
use crate::job::{Answered, Job, Post};
use crate::lane::{Edit, Ended, Lane};
use crate::limits::millis;
use crate::shared::Shared;
use crate::store::{Entry, NOTE, NewEntry, Peer, Reacted, Side, StoreError, Taken};
use crate::text;
use failed::{is_about_this, is_left_open};
use part::{Draft, Part};

/// Posts of one identity that a community takes within [`PACE_WINDOW`].
const PACE_POSTS: usize = 5;
const PACE_WINDOW: Duration = Duration::from_secs(16);
/// A message that is answered, in the community.
enum Quoted {
    /// Its time and its author, by which apps show it.
    Native(u64, SessionId),
    /// A line in front of the text.
    Line(String),
}

/// Carries into the community.
pub(crate) struct ToSession<'a> {
    shared: &'a Shared,
    /// Times of each identity's posts; the bridge itself is the empty author.
    posts: HashMap<String, VecDeque<Instant>>,
    /// People whose files came too slowly, and when: their next ones are named alone for a while.
    slow: HashMap<String, Instant>,
    refused: usize,
    /// The entry that was refused although the bridge may write.
    doubted: Option<i64>,
}

impl<'a> ToSession<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            posts: HashMap::new(),
            slow: HashMap::new(),
            refused: 0,
            doubted: None,
        }
    }

    /// The identity and the room of an author who has their own identity; `None`: the bridge speaks.
    async fn person(&self, author: &str) -> Result<Option<Room>, StoreError> {
        self.shared.people.room_of(&self.shared.store, author).await
    }

    /// Waits until the community takes another post of this author, or of the bridge.
    async fn pace(&mut self, person: Option<&str>) {
        if person.is_none() && self.shared.live().admin {
            return;
        }
        let author = person.unwrap_or_default();
        loop {
            let now = Instant::now();
            self.posts.retain(|_, posts| {
                while posts
                    .front()
                    .is_some_and(|at| now.duration_since(*at) > PACE_WINDOW)
                {
                    posts.pop_front();
                }
                !posts.is_empty()
            });
            let posts = self.posts.entry(author.to_owned()).or_default();
            if posts.len() < PACE_POSTS {
                posts.push_back(now);
                return;
            }
            let free = posts.front().map_or(now, |at| *at + PACE_WINDOW);
            tokio::time::sleep_until(free).await;
        }
    }

    /// A text as the community sees it: behind the name, unless its author has their own identity.
    fn said(&self, is_person: bool, nick: &str, edited: bool, words: &str) -> String {
        let shared = self.shared;
        if is_person {
            // A note about an edit keeps its mark.
            let text = text::said("{text}", &text::name_of_nick(nick), words);
            return text::author(&text, edited);
        }
        let name = text::author(&shared.shown_in_session(nick), edited);
        text::no_gesture(&if words.is_empty() {
            name
        } else {
            text::said(&shared.options.to_session, &name, words)
        })
    }

    /// The posts of a message: its text in parts, its files with the first.
    async fn posts(&mut self, entry: &Entry, post: &Post) -> Result<Result<Vec<Draft>, Ended>, StoreError> {
        let shared = self.shared;
        let person = self.person(&entry.author).await?;
        let (files, remarks) = match self.files(entry, post, person.as_ref()).await? {
            Ok(found) => found,
            Err(ended) => return Ok(Err(ended)),
        };
        let mut words = post.text.clone();
        for remark in remarks {
            if !words.is_empty() {
                words.push('\n');
            }
            words.push_str(&remark);
        }
        let quote = match self.quoted(post.answers.as_ref()).await? {
            Some(Quoted::Native(at, author)) => Some((at, author)),
            Some(Quoted::Line(line)) => {
                words = format!("{line}{words}");
                None
            }
            None => None,
        };
        let body = match &entry.job {
            Job::Notice { .. } => words.clone(),
            _ => self.said(person.is_some(), &post.name, post.edited, &words),
        };
        // Another bridge brings it back with a name, in either mode.
        let named = match &entry.job {
            Job::Notice { .. } => words,
            _ => self.said(false, &post.name, post.edited, &words),
        };
        shared.live().note_carried(&named);
        let shown = match &person {
            Some(_) => shared.shown_as_person(&post.name),
            None => shared.options.nick.clone(),
        };
        let mut posts: Vec<Draft> = text::parts(&body)
            .into_iter()
            .map(|part| Draft {
                post: SogsPost::text(part.clone()).name(shown.clone()),
                text: part,
                name: shown.clone(),
            })
            .collect();
        if let Some(first) = posts.first_mut() {
            let mut whole = std::mem::take(&mut first.post);
            if let Some((at, author)) = quote {
                whole = whole.quote(at, &author);
            }
            for file in files {
                whole = whole.file(file);
            }
            first.post = whole;
        }
        Ok(Ok(posts))
    }

    /// The form in which the community shows the message that is answered; `None` if it never crossed.
    async fn quoted(&self, answers: Option<&Answered>) -> Result<Option<Quoted>, StoreError> {
        let shared = self.shared;
        let Some(Answered::Xmpp(id)) = answers else {
            return Ok(None);
        };
        let peers = shared.store.peers(&shared.name, Taken::Xmpp(id)).await?;
        Ok(peers
            .into_iter()
            .next()
            .map(|peer| match (shared.options.replies, peer.quote_author.parse()) {
                (Replies::Native, Ok(author)) => {
                    Quoted::Native(u64::try_from(peer.quote_at).unwrap_or_default(), author)
                }
                _ => Quoted::Line(text::quoted(&peer.excerpt)),
            }))
    }

    /// The new text of a message needs more parts than the message has: a note has all of it, unless the edit came so late that there
    /// is a note anyway.
    async fn note_whole(&self, entry: &Entry, target: &str, edit: &Edit<'_>) -> Result<(), StoreError> {
        let shared = self.shared;
        let message = shared.store.message(&shared.name, Side::Session, target).await?;
        if message.is_none_or(|(_, made)| entry.made - made > NOTE_AFTER_MS) {
            return Ok(());
        }
        let note = NewEntry {
            side: Side::Session,
            source: format!("n:edit-{}", entry.id),
            native: target.to_owned(),
            reference: String::new(),
            author: entry.author.clone(),
            job: Job::Post(Post {
                name: edit.name.to_owned(),
                edited: true,
                nick: edit.name.to_owned(),
                text: edit.text.to_owned(),
                answers: Some(Answered::Xmpp(target.to_owned())),
                ..Post::default()
            }),
            reacted: None,
            made: entry.made,
        };
        shared.take(&[note], &[]).await.map(drop)
    }

    /// Takes the signatures of a message back. Parts that arrived stay: after a long break in the middle of a message, its rest
    /// alone is signed anew.
    async fn unsign(&self, entry: &Entry, parts: &[Part]) -> Result<(), StoreError> {
        let can_go_on = parts.iter().all(|part| part.arrived || !part.text.is_empty());
        let prepared = if can_go_on && parts.iter().any(|part| part.arrived) {
            let parts: Vec<Part> = parts.iter().map(Part::unsigned).collect();
            serde_json::to_string(&parts)?
        } else {
            // The files too are uploaded again: the community may have deleted them.
            String::new()
        };
        self.shared.store.prepare(entry.id, &prepared).await.map(drop)
    }

    /// Signs the parts that lost their signatures.
    async fn sign(&mut self, entry: &Entry, parts: &mut [Part]) -> Result<Option<Ended>, StoreError> {
        let shared = self.shared;
        let person = self.person(&entry.author).await?;
        let room = person.as_ref().unwrap_or(&shared.room);
        for part in parts.iter_mut().filter(|part| part.data.is_empty()) {
            let post = SogsPost::text(part.text.clone()).name(part.name.clone());
            match room.prepare(&post).await {
                Ok(prepared) => *part = Part::of(&prepared, part.text.clone(), part.name.clone()),
                Err(error) => return self.failed(entry, &error).await.map(Some),
            }
        }
        let prepared = serde_json::to_string(parts)?;
        shared.store.prepare(entry.id, &prepared).await?;
        Ok(None)
    }

    /// Posts a prepared message, unless it exists already. Returns its number.
    async fn send(
        &mut self,
        entry: &Entry,
        parts: &[Part],
        prepared: &PreparedPost,
        maybe_sent: bool,
    ) -> Result<Result<u64, Ended>, StoreError> {
        let shared = self.shared;
        let person = self.person(&entry.author).await?;
        let room = person.as_ref().unwrap_or(&shared.room);
        if maybe_sent {
            match room.look_for_own(prepared).await {
                Ok(OwnPost::Found(message)) => return Ok(Ok(message.id)),
                Ok(OwnPost::Absent) => {}
                // A repeat could double it.
                Ok(_) => {
                    return Ok(Err(Ended::refused(
                        "it may have arrived: more messages followed than are searched",
                        "look for it in the community before you send it again",
                    )));
                }
                Err(error) => return Ok(Err(self.failed(entry, &error).await?)),
            }
        }
        let age = now_ms() - i64::try_from(prepared.signed_at_ms).unwrap_or(0);
        if age > millis(shared.limits.signed_for) {
            self.unsign(entry, parts).await?;
            return Ok(Err(Ended::Later(0, "it was signed too long ago".to_owned())));
        }
        self.pace(person.as_ref().map(|_| entry.author.as_str())).await;
        Ok(match room.post_prepared(prepared).await {
            Ok(posted) if posted.withheld.is_some() => Err(Ended::refused(
                "the community stored it but does not show it",
                "ask its moderators which words it filters",
            )),
            Ok(posted) => Ok(posted.id),
            // It was accepted, but the answer does not prove it: the room shows whether it is there.
            Err(error) if is_left_open(&error) => match room.find_own(prepared).await {
                Ok(Some(message)) => Ok(message.id),
                Ok(None) => Err(Ended::refused(error.to_string(), error.remedy())),
                Err(error) => Err(self.failed(entry, &error).await?),
            },
            Err(error) if matches!(error.cause(), Cause::BlindingRequired) => {
                self.unsign(entry, parts).await?;
                Err(Ended::Later(1_000 << entry.tries.clamp(0, 6), error.to_string()))
            }
            Err(error) => Err(self.failed(entry, &error).await?),
        })
    }
}

impl Lane for ToSession<'_> {
    const SIDE: Side = Side::Session;

    async fn ready(&mut self) {}

    async fn post(&mut self, entry: &Entry, post: &Post, maybe_sent: bool) -> Result<Ended, StoreError> {
        let shared = self.shared;
        let mut parts: Vec<Part> = serde_json::from_str(&entry.prepared).unwrap_or_default();
        if parts.is_empty() {
            let posts = match self.posts(entry, post).await? {
                Ok(posts) => posts,
                Err(ended) => return Ok(ended),
            };
            let person = self.person(&entry.author).await?;
            let room = person.as_ref().unwrap_or(&shared.room);
            for one in posts {
                match room.prepare(&one.post).await {
                    Ok(prepared) => parts.push(Part::of(&prepared, one.text, one.name)),
                    Err(error) => return self.failed(entry, &error).await,
                }
            }
            let prepared = serde_json::to_string(&parts)?;
            if !shared.store.prepare(entry.id, &prepared).await? {
                return Ok(Ended::Gone);
            }
        }
        if parts.iter().any(|part| part.data.is_empty())
            && let Some(ended) = self.sign(entry, &mut parts).await?
        {
            return Ok(ended);
        }
        let count = parts.len();
        for at in 0..count {
            if parts[at].arrived {
                continue;
            }
            let Some(prepared) = parts[at].prepared() else {
                return Ok(Ended::refused(
                    "what was prepared cannot be read",
                    "write it again",
                ));
            };
            let id = match self.send(entry, &parts, &prepared, maybe_sent).await? {
                Ok(id) => id,
                Err(ended) => return Ok(ended),
            };
            self.refused = 0;
            parts[at].arrived = true;
            let number = i64::try_from(at).unwrap_or_default();
            // A note about an edit belongs to the message that was edited, and is deleted with it.
            let (origin, xmpp, number) = match (&entry.job, &post.answers) {
                (Job::Post(_), Some(Answered::Xmpp(edited))) if post.edited => {
                    (String::new(), edited.clone(), NOTE + number)
                }
                (Job::Post(_), _) => (entry.native.clone(), entry.native.clone(), number),
                _ => (String::new(), String::new(), number),
            };
            let peer = Peer {
                xmpp,
                origin,
                nick: post.nick.clone(),
                session: i64::try_from(id).unwrap_or_default(),
                quote_at: i64::try_from(prepared.signed_at_ms).unwrap_or_default(),
                quote_author: prepared.author.to_string(),
                excerpt: text::excerpt(&post.text),
                from_xmpp: true,
                part: number,
                made: entry.made,
            };
            shared
                .store
                .arrived(
                    &shared.name,
                    entry.id,
                    &serde_json::to_string(&parts)?,
                    &peer,
                    at + 1 == count,
                )
                .await?;
        }
        Ok(Ended::Done)
    }

    async fn edit(&mut self, entry: &Entry, target: &str, edit: &Edit<'_>) -> Result<Ended, StoreError> {
        let shared = self.shared;
        let peers = shared.store.peers(&shared.name, Taken::Xmpp(target)).await?;
        let peers: Vec<Peer> = peers
            .into_iter()
            .filter(|peer| peer.from_xmpp && !peer.is_note())
            .collect();
        let person = self.person(&entry.author).await?;
        let room = person.as_ref().unwrap_or(&shared.room);
        // The quote of an answer is a part of its own, which an edit of the text does not touch.
        let line = match self.quoted(edit.answers).await? {
            Some(Quoted::Line(line)) => line,
            Some(Quoted::Native(..)) | None => String::new(),
        };
        let words = format!("{line}{}", edit.text);
        let body = self.said(person.is_some(), edit.name, false, &words);
        let mut parts = text::parts(&body);
        if parts.len() > peers.len()
            && let Some(last) = peers.len().checked_sub(1)
        {
            parts.truncate(last + 1);
            parts[last].push('…');
            self.note_whole(entry, target, edit).await?;
        }
        let mut refusal = None;
        for (at, peer) in peers.iter().enumerate() {
            let part = parts.get(at).map_or("…", String::as_str);
            let id = u64::try_from(peer.session).unwrap_or_default();
            match room.edit(id, SogsPost::text(part)).await {
                Ok(edited) if edited.withheld.is_some() => {
                    refusal = Some(Ended::refused(
                        "the community stored the edit and shows the message no longer",
                        "ask its moderators which words it filters",
                    ));
                }
                Ok(_) => {}
                Err(error) => match self.is_gone(&error).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return self.failed(entry, &error).await,
                },
            }
        }
        self.refused = 0;
        Ok(refusal.unwrap_or(Ended::Done))
    }

    async fn delete(&mut self, entry: &Entry, target: &str) -> Result<Ended, StoreError> {
        let shared = self.shared;
        // Deleted by its author, who may have their own identity; a moderator's deletion needs no more than that.
        let written_by = shared.store.message(&shared.name, Side::Session, target).await?;
        let person = match &written_by {
            Some((author, _)) => self.person(author).await?,
            None => None,
        };
        let room = person.as_ref().unwrap_or(&shared.room);
        for peer in shared.store.peers(&shared.name, Taken::Xmpp(target)).await? {
            let id = u64::try_from(peer.session).unwrap_or_default();
            let deleted = match room.delete(id).await {
                // Somebody who is banned cannot delete, but the bridge can, if it is a moderator.
                Err(error)
                    if person.is_some() && matches!(error.cause(), Cause::Banned | Cause::Forbidden) =>
                {
                    shared.room.delete(id).await
                }
                other => other,
            };
            match deleted {
                Ok(()) => {}
                // Somebody else's message, and we are not a moderator: that is not a fault of the bridge.
                Err(error) if !peer.from_xmpp && matches!(error.cause(), Cause::Forbidden) => {
                    return Ok(Ended::refused(error.to_string(), error.remedy()));
                }
                Err(error) => match self.is_gone(&error).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return self.failed(entry, &error).await,
                },
            }
        }
        self.refused = 0;
        Ok(Ended::Done)
    }

    async fn react(&mut self, entry: &Entry, target: &str) -> Result<Ended, StoreError> {
        let shared = self.shared;
        let Some(peer) = shared
            .store
            .peers(&shared.name, Taken::Xmpp(target))
            .await?
            .into_iter()
            .next()
        else {
            return Ok(Ended::Done);
        };
        let id = u64::try_from(peer.session).unwrap_or_default();
        let person = self.person(&entry.author).await?;
        let room = person.as_ref().unwrap_or(&shared.room);
        // A person with an identity reacts alone; the bridge holds what all others react with.
        let alone = person.as_ref().map(|_| entry.author.as_str());
        let holder = alone.unwrap_or_default();
        let store = &shared.store;
        let wanted = store.reactions(&shared.name, "xmpp", target, alone).await?;
        let mut held = store
            .reactions(&shared.name, "held", target, Some(holder))
            .await?;
        let changes: Vec<(String, bool)> = held
            .difference(&wanted)
            .map(|emoji| (emoji.clone(), false))
            .chain(wanted.difference(&held).map(|emoji| (emoji.clone(), true)))
            .collect();
        let mut refusal = None;
        for (emoji, add) in changes {
            let done = if add {
                room.react(id, &emoji).await.map(drop)
            } else {
                room.unreact(id, &emoji).await.map(drop)
            };
            match done {
                Ok(()) if add => {
                    held.insert(emoji);
                }
                Ok(()) => {
                    held.remove(&emoji);
                }
                // An emoji that the community does not allow; the others still cross.
                Err(error) if is_about_this(&error) => {
                    refusal = Some(Ended::refused(error.to_string(), error.remedy()));
                }
                Err(error) => match self.is_gone(&error).await {
                    Ok(true) => return Ok(Ended::Done),
                    Ok(false) | Err(_) => return self.failed(entry, &error).await,
                },
            }
            let all = Reacted {
                side: "held",
                target: target.to_owned(),
                person: holder.to_owned(),
                emoji: held.iter().cloned().collect(),
            };
            store.react(&shared.name, &all, now_ms()).await?;
        }
        Ok(refusal.unwrap_or(Ended::Done))
    }
}
