//! Events of the community become entries for the XMPP room.

use session_protocol::content::Content;
use sogs_client::poll::{Cursor, Event, Poll, PollOptions};
use sogs_client::types::{Reaction, Reactions};
use sogs_client::{Message, SessionId};

use crate::backlog::Backlog;
use crate::clock::now_ms;
use crate::config::{Deletes, Edits, Files, Replies};
use crate::error::BridgeError;
use crate::job::{Answered, FileRef, Job, Post};
use crate::shared::{Shared, notice};
use crate::state::state_line;
use crate::store::{NewEntry, Reacted, Side, StoreError, Taken};
use crate::xmpp_event::{gap_line, is_emoji};

/// Reads the events of the community.
pub(crate) struct FromSession<'a> {
    shared: &'a Shared,
    poll: Poll,
    /// The events that were missed, oldest first, while they are still being read.
    missed: Backlog<Event>,
    left_out: u64,
    catching_up: bool,
}

impl<'a> FromSession<'a> {
    pub(crate) fn new(shared: &'a Shared, cursor: Option<&str>) -> Self {
        let mut options = PollOptions::rooms([shared.room.token().clone()]);
        options.inbox = false;
        options.interval = shared.options.interval;
        options.reactors = 20;
        options.persistent = true;
        let cursor: Cursor = cursor
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        Self {
            shared,
            poll: shared.room.server().poll(options, cursor),
            missed: Backlog::new(shared.limits.backlog, |event| {
                matches!(event, Event::Deleted { .. })
            }),
            left_out: 0,
            catching_up: true,
        }
    }

    /// Runs until a permanent error of the community.
    pub(crate) async fn run(mut self) -> Result<(), BridgeError> {
        let caught_up = self.poll.caught_up();
        let mut caught_up = std::pin::pin!(caught_up);
        loop {
            let catching_up = self.catching_up;
            tokio::select! {
                biased;
                event = self.poll.next() => {
                    let event = event.map_err(BridgeError::Session)?;
                    self.event(event).await?;
                }
                () = &mut caught_up, if catching_up => self.caught_up().await?,
            }
        }
    }

    /// Returns the position up to which the community was read, once the events before it are stored.
    fn place(&self) -> Vec<(&'static str, String)> {
        serde_json::to_string(self.poll.cursor())
            .map(|cursor| ("session.cursor", cursor))
            .into_iter()
            .collect()
    }

    async fn event(&mut self, event: Event) -> Result<(), StoreError> {
        let shared = self.shared;
        match event {
            Event::RoomChanged { info } => {
                shared.live().admin = info.admin || info.global_admin;
                Ok(())
            }
            Event::RoomLost { error, .. } => {
                let text = format!("The community cannot be read now: {error}");
                shared.tell(Side::Xmpp, &format!("lost-{}", now_ms()), text).await
            }
            Event::RoomBack { .. } => {
                let text = "The community can be read again.".to_owned();
                shared.tell(Side::Xmpp, &format!("back-{}", now_ms()), text).await
            }
            Event::Interrupted { error, .. } => {
                tracing::info!(bridge = shared.name, %error, "the community does not answer");
                Ok(())
            }
            event if self.catching_up => {
                if matches!(self.missed.push(event), Some(Event::Message { .. })) {
                    self.left_out += 1;
                }
                Ok(())
            }
            event => {
                let entries = self.entries(event).await?;
                shared.take(&entries, &self.place()).await.map(drop)
            }
        }
    }

    /// Handles the missed events after all of them have arrived.
    async fn caught_up(&mut self) -> Result<(), StoreError> {
        self.catching_up = false;
        let oldest = now_ms() - i64::try_from(self.shared.options.backfill.as_millis()).unwrap_or(i64::MAX);
        let mut entries = Vec::new();
        for event in self.missed.take() {
            match &event {
                Event::Message { message, .. } if millis(message.posted) < oldest => {
                    if !self.shared.is_own(&message.author) {
                        self.left_out += 1;
                    }
                }
                _ => entries.extend(self.entries(event).await?),
            }
        }
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let key = format!(
                "gap-xmpp-{}",
                entries
                    .first()
                    .map(|entry| entry.source.clone())
                    .unwrap_or_default()
            );
            entries.insert(0, notice(Side::Xmpp, &key, gap_line(left_out)));
        }
        self.shared.take(&entries, &self.place()).await?;
        Ok(())
    }

    async fn entries(&mut self, event: Event) -> Result<Vec<NewEntry>, StoreError> {
        Ok(match event {
            Event::Message { message, .. } => {
                // A post of ours may have been edited before we saw it here.
                if message.edited.is_some() {
                    self.requote(&message).await?;
                }
                let mut entries = self.message(&message).await?;
                let carried = entries.iter().any(|entry| entry.native == message.id.to_string());
                // Somebody may have reacted before we saw it.
                if !message.reactions.is_empty() {
                    entries.extend(
                        self.reactions(message.id, message.seqno, &message.reactions, carried)
                            .await?,
                    );
                }
                entries
            }
            Event::Edited { message, .. } => {
                self.requote(&message).await?;
                let mut entries = self.edited(&message);
                entries.extend(
                    self.reactions(message.id, message.seqno, &message.reactions, false)
                        .await?,
                );
                entries
            }
            Event::Deleted { tombstone, .. } => self.deleted(tombstone.id).await?,
            Event::Reactions { row, .. } => self.reactions(row.id, row.seqno, &row.reactions, false).await?,
            _ => Vec::new(),
        })
    }

    /// An edited message is quoted by the time of its new version from now on.
    async fn requote(&self, message: &Message) -> Result<(), StoreError> {
        let number = i64::try_from(message.id).unwrap_or_default();
        let shared = self.shared;
        shared
            .store
            .set_quote(&shared.name, number, message.quote_id())
            .await
    }

    /// Returns true if a message may cross: it is not ours, everybody may see it, and it is authentic.
    fn may_cross(&self, message: &Message) -> bool {
        !self.shared.is_own(&message.author)
            && !message.whisper
            && message.whisper_to.is_none()
            && !message.whisper_mods
            && !message.filtered
            && message.is_authentic()
    }

    async fn message(&mut self, message: &Message) -> Result<Vec<NewEntry>, StoreError> {
        let shared = self.shared;
        if !self.may_cross(message) {
            return Ok(Vec::new());
        }
        let text = message.body().unwrap_or_default().to_owned();
        let id = message.author.to_string();
        let shown = message.display_name().unwrap_or_default();
        if shared.options.ignores(shown, None, Some(&id), &text) {
            return Ok(Vec::new());
        }
        if shared.live().is_ignored(&id) {
            return Ok(Vec::new());
        }
        if shared.live().is_echo(&text) {
            tracing::info!(
                bridge = shared.name,
                "a message that crossed came back and is not carried"
            );
            let name = shared.shown_in_xmpp(&message.author, message.display_name());
            shared.note_loop(&id, &name).await?;
            return Ok(Vec::new());
        }
        if text.trim() == "!bridge" {
            if !shared.live().may_answer(Side::Session) {
                return Ok(Vec::new());
            }
            let line = state_line(shared).await?;
            return Ok(vec![notice(
                Side::Session,
                &format!("asked-{}", message.id),
                line,
            )]);
        }
        let name = shared.shown_in_xmpp(&message.author, message.display_name());
        shared.live().note_speaker(message.author, shown);
        let content = message.content().ok();
        let files = self.files(content);
        if text.trim().is_empty() && files.is_empty() {
            return Ok(Vec::new());
        }
        let job = Job::Post(Post {
            name,
            edited: false,
            nick: String::new(),
            text,
            answers: self.answered(content),
            files,
            quote: Some((message.quote_id(), id.clone())),
        });
        let mut entries = vec![Self::entry(
            format!("m:{}", message.id),
            message.id,
            &id,
            job,
            millis(message.posted),
        )];
        if let Some(edited) = message.edited {
            // This text has crossed with the message: it is not an edit when only the reactions change later.
            entries.push(Self::entry(
                edit_source(message.id, edited),
                message.id,
                &id,
                Job::Notice { text: String::new() },
                millis(message.posted),
            ));
        }
        Ok(entries)
    }

    fn entry(source: String, id: u64, author: &str, job: Job, made: i64) -> NewEntry {
        NewEntry {
            side: Side::Xmpp,
            source,
            native: id.to_string(),
            reference: String::new(),
            author: author.to_owned(),
            job,
            reacted: None,
            made,
        }
    }

    /// The message that another one answers, unless answers cross as plain text.
    fn answered(&self, content: Option<&Content>) -> Option<Answered> {
        let quote = content?.data_message.as_ref()?.quote.as_ref()?;
        // The author of a quote is whatever somebody wrote there.
        let author: SessionId = quote.author.as_deref()?.parse().ok()?;
        (self.shared.options.replies != Replies::Off)
            .then_some(Answered::Session(quote.id?, author.to_string()))
    }

    /// The files of a message that cross.
    fn files(&self, content: Option<&Content>) -> Vec<FileRef> {
        let attachments = content
            .filter(|_| self.shared.options.files == Files::Copy)
            .map(Content::attachments)
            .unwrap_or_default();
        attachments
            .iter()
            .take(32)
            .filter_map(|pointer| self.file(pointer))
            .collect()
    }

    /// A file of this very room; addresses of other places are not fetched.
    fn file(&self, pointer: &session_protocol::content::AttachmentPointer) -> Option<FileRef> {
        let from_url = pointer.url.as_deref().and_then(|url| {
            let path = url::Url::parse(url).ok()?.path().to_owned();
            let room = format!("/room/{}/file/", self.shared.room.token());
            path.rsplit_once(&room)?.1.parse::<u64>().ok()
        });
        let id = from_url.or(Some(pointer.id)).filter(|id| *id != 0)?;
        Some(FileRef {
            url: String::new(),
            id,
            name: pointer.file_name.clone(),
            media_type: pointer
                .content_type
                .clone()
                .filter(|kind| ackpost_platform::text::is_media_type(kind)),
            size: pointer.size.map(u64::from),
        })
    }

    fn edited(&self, message: &Message) -> Vec<NewEntry> {
        let shared = self.shared;
        let (Some(edited), true) = (message.edited, self.may_cross(message)) else {
            return Vec::new();
        };
        if shared.options.edits == Edits::Off {
            return Vec::new();
        }
        let id = message.author.to_string();
        let name = shared.shown_in_xmpp(&message.author, message.display_name());
        let text = message.body().unwrap_or_default().to_owned();
        let shown = message.display_name().unwrap_or_default();
        if shared.options.ignores(shown, None, Some(&id), &text) {
            return Vec::new();
        }
        let job = if shared.options.edits == Edits::Edit {
            Job::Edit {
                target: message.id.to_string(),
                name,
                text,
                answers: self.answered(message.content().ok()),
            }
        } else {
            Job::Post(Post {
                name,
                edited: true,
                text,
                answers: Some(Answered::Session(message.quote_id(), id.clone())),
                ..Post::default()
            })
        };
        vec![Self::entry(
            edit_source(message.id, edited),
            message.id,
            &id,
            job,
            now_ms(),
        )]
    }

    async fn deleted(&self, id: u64) -> Result<Vec<NewEntry>, StoreError> {
        let shared = self.shared;
        // A tombstone does not tell whether the author or a moderator deleted it.
        if shared.options.deletes == Deletes::Off {
            return Ok(Vec::new());
        }
        let target = id.to_string();
        if let Some(entry) = self.removed_from_xmpp(id).await? {
            return Ok(entry.into_iter().collect());
        }
        let Some((author, _)) = shared.store.message(&shared.name, Side::Xmpp, &target).await? else {
            return Ok(Vec::new());
        };
        if shared
            .store
            .drop_waiting(&shared.name, Side::Xmpp, &target)
            .await?
        {
            return Ok(Vec::new());
        }
        let job = Job::Delete { target };
        Ok(vec![Self::entry(format!("d:{id}"), id, &author, job, now_ms())])
    }

    /// A message that came from XMPP was deleted here. If a moderator did it, it is removed there too; `None` if it did not
    /// come from there.
    async fn removed_from_xmpp(&self, id: u64) -> Result<Option<Option<NewEntry>>, StoreError> {
        let shared = self.shared;
        let number = i64::try_from(id).unwrap_or_default();
        let peers = shared.store.peers(&shared.name, Taken::Session(number)).await?;
        let Some(peer) = peers.into_iter().find(|peer| peer.from_xmpp) else {
            return Ok(None);
        };
        // A line of the bridge itself and a note about an edit have no counterpart, and our own deletions come from there.
        if peer.xmpp.is_empty()
            || peer.is_note()
            || shared
                .store
                .is_known(&shared.name, Side::Session, &format!("d:{}", peer.xmpp))
                .await?
        {
            return Ok(Some(None));
        }
        let job = Job::Delete {
            target: id.to_string(),
        };
        let source = format!("d:{}", peer.xmpp);
        Ok(Some(Some(Self::entry(source, id, "", job, now_ms()))))
    }

    /// Returns true if anybody reacted who belongs to the community.
    fn is_of_others(&self, reaction: &Reaction) -> bool {
        let known = reaction.reactors.as_deref().unwrap_or_default();
        let ours = known.iter().filter(|id| self.shared.is_own(id)).count() as u64;
        reaction.count > ours.max(u64::from(reaction.you))
    }

    async fn reactions(
        &self,
        id: u64,
        seqno: i64,
        reactions: &Reactions,
        is_carried: bool,
    ) -> Result<Vec<NewEntry>, StoreError> {
        let shared = self.shared;
        let number = i64::try_from(id).unwrap_or_default();
        let target = id.to_string();
        let known = is_carried
            || shared
                .store
                .message(&shared.name, Side::Xmpp, &target)
                .await?
                .is_some()
            || !shared
                .store
                .peers(&shared.name, Taken::Session(number))
                .await?
                .is_empty();
        if !shared.options.reactions || !known {
            return Ok(Vec::new());
        }
        let mut emoji: Vec<String> = reactions
            .iter()
            .filter(|(emoji, reaction)| self.is_of_others(reaction) && is_emoji(emoji))
            .map(|(emoji, _)| emoji.clone())
            .collect();
        emoji.truncate(20);
        let reacted = Some(Reacted {
            side: "session",
            target: target.clone(),
            person: "*".to_owned(),
            emoji,
        });
        let job = Job::React { target };
        let entry = Self::entry(format!("r:{id}:{seqno}"), id, "", job, now_ms());
        Ok(vec![NewEntry { reacted, ..entry }])
    }
}

fn edit_source(id: u64, edited: f64) -> String {
    format!("e:{id}:{}", millis(edited))
}

/// Unix seconds as milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "milliseconds of this era fit")]
fn millis(secs: f64) -> i64 {
    (secs * 1000.0) as i64
}
