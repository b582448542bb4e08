//! Events of the XMPP room become entries for the community.

mod changes;

pub(crate) use changes::NOTE_AFTER_MS;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ackpost_xmpp::{Departure, Event, Events, Received, XmppError};
use tokio::time::Instant;

use crate::backlog::Backlog;
use crate::clock::now_ms;
use crate::config::{Files, Replies};
use crate::error::BridgeError;
use crate::job::{Answered, FileRef, Job, Post};
use crate::limits::spoken;
use crate::people::OCCUPANT;
use crate::refused::tell_errors;
use crate::shared::{Occupant, Shared, notice};
use crate::state::state_line;
use crate::store::{NewEntry, Side, StoreError};
use crate::text;
use crate::xmpp_event::{
    MAX_ID, author, file_ref, gap_line, in_room, native, place, places, read_stamp, said_at, size, stamp,
};

/// Maximum number of messages that wait while older ones are still being fetched.
const LIVE_MAX: usize = 2_000;
/// Maximum size of their texts, bytes.
const LIVE_BYTES: usize = 8 << 20;
/// Time limit for a room to return the contents of its archive.
const ARCHIVE_WITHIN: Duration = Duration::from_mins(5);

/// Reads the events of the XMPP room.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four answers that do not exclude each other"
)]
pub(crate) struct FromXmpp<'a> {
    shared: &'a Shared,
    /// The events of the archive, oldest first, while it is still being read.
    archived: Backlog<Event>,
    left_out: u64,
    /// The events that arrived meanwhile.
    fresh: VecDeque<Event>,
    /// Size of their texts.
    fresh_bytes: usize,
    catching_up: bool,
    /// True if there is a position to continue from, so that the archive will be asked.
    has_place: bool,
    /// True if the database has a position.
    has_stored_place: bool,
    lost: u32,
    back_at: Option<Instant>,
    /// Time by which the archive should have been read.
    read_by: Option<Instant>,
    /// The bridge had read the whole archive when the connection broke.
    was_caught_up: bool,
    /// The archive does not have all that was missed.
    has_gap: bool,
    /// Number of starts in which the archive could not be read.
    archive_failures: &'a AtomicU32,
}

impl<'a> FromXmpp<'a> {
    pub(crate) fn new(shared: &'a Shared, has_place: bool, archive_failures: &'a AtomicU32) -> Self {
        Self {
            shared,
            archived: Backlog::new(shared.limits.backlog, |event| {
                matches!(event, Event::Retracted(_))
            }),
            left_out: 0,
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            catching_up: true,
            has_place,
            has_stored_place: has_place,
            lost: 0,
            back_at: None,
            read_by: None,
            was_caught_up: false,
            has_gap: false,
            archive_failures,
        }
    }

    /// Runs until the session ends.
    pub(crate) async fn run(mut self, mut events: Events) -> Result<(), BridgeError> {
        loop {
            let back = at(self.back_at);
            let late = at(self.read_by);
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::Ended { reason: Some(error) }) => return Err(BridgeError::Xmpp(error)),
                    None | Some(Event::Ended { .. }) => return Ok(()),
                    // Events were lost: a new start reads them from the archive.
                    Some(Event::Lagged(_)) => return Err(BridgeError::Behind),
                    Some(event) => self.event(event).await?,
                },
                // The room never gave its archive: a new start asks again.
                () = late => return Err(BridgeError::Behind),
                // The last message may have arrived; the archive shows it.
                () = self.shared.behind.notified() => return Err(BridgeError::Behind),
                () = back => {
                    self.back_at = None;
                    self.catching_up = true;
                    self.shared.xmpp.join(self.shared.place.clone()).await.map_err(BridgeError::Xmpp)?;
                }
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), BridgeError> {
        match event {
            Event::Online { resumed: false, .. } => {
                self.catching_up = true;
                self.was_caught_up = false;
                self.read_by = None;
                self.shared.archive_unread.store(false, Ordering::Relaxed);
                self.shared.caught_up.send_replace(false);
                self.shared.live().forget_occupants();
            }
            // A break may last until a message is given up that did arrive: nothing is sent before the room shows it, or not.
            Event::Offline { .. } => {
                // Each attempt to connect that fails is an event too.
                self.was_caught_up |= self.shared.caught_up.send_replace(false);
            }
            Event::Online { resumed: true, .. } if std::mem::take(&mut self.was_caught_up) => {
                self.shared.caught_up.send_replace(true);
            }
            Event::ArchiveFailed {
                archive, temporary, ..
            } if archive == self.shared.place.room.to_bare() && self.has_stored_place => {
                self.archive_failed(temporary)?;
            }
            Event::Gap { archive } if archive == self.shared.place.room.to_bare() => {
                self.has_gap = self.has_stored_place;
            }
            Event::Occupant { .. } => self.occupant(event).await?,
            Event::RoomLost { room, reason } if room == self.shared.place.room.to_bare() => {
                self.lost(&reason).await?;
            }
            Event::CaughtUp { archive } if archive == self.shared.place.room.to_bare() => {
                self.caught_up().await?;
            }
            Event::Subject { nick, subject, .. } => self.subject(nick, subject).await?,
            Event::Room(_)
            | Event::File(_)
            | Event::Correction(_)
            | Event::Reaction { .. }
            | Event::Retracted(_) => {
                if !in_room(&event, self.shared) {
                } else if !self.catching_up {
                    self.said(event, false).await?;
                } else if stamp(&event).is_some() {
                    // Our own messages are looked at in any case: they may be what was sent before a kill.
                    if let Some(Event::Room(received) | Event::File(received)) = self.archived.push(event)
                        && !self.is_ours(&received, true).await?
                    {
                        self.left_out += 1;
                    }
                } else if self.fresh.len() < LIVE_MAX && self.fresh_bytes < LIVE_BYTES {
                    self.fresh_bytes += size(&event);
                    self.fresh.push_back(event);
                } else {
                    return Err(BridgeError::Behind);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The archive could not be read. A server that has just started may need a moment, so that the bridge asks again; but it does not
    /// wait for an archive that does not come back.
    fn archive_failed(&mut self, temporary: bool) -> Result<(), BridgeError> {
        let failures = self.archive_failures.fetch_add(1, Ordering::Relaxed);
        if temporary && failures < self.shared.limits.archive_tries {
            return Err(BridgeError::Archive);
        }
        self.shared.archive_unread.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn occupant(&mut self, event: Event) -> Result<(), BridgeError> {
        let Event::Occupant {
            nick,
            jid,
            role,
            present,
            own,
            occupant_id,
            departure,
            ..
        } = event
        else {
            return Ok(());
        };
        if !own {
            if matches!(departure, Some(Departure::Banned { .. })) {
                self.banned(&nick, occupant_id.as_deref()).await?;
            }
            let moderator = role == "moderator";
            self.shared.live().note_occupant(
                &nick,
                present.then_some(Occupant {
                    jid,
                    moderator,
                    since: now_ms(),
                    spoke_as: None,
                }),
            );
            return Ok(());
        }
        if present {
            self.lost = 0;
            {
                let mut live = self.shared.live();
                live.nick = nick;
                live.occupant_id = occupant_id;
                live.entered.get_or_insert_with(now_ms);
            }
            if self.catching_up && self.has_place {
                self.read_by = Some(Instant::now() + ARCHIVE_WITHIN);
            } else if self.catching_up {
                self.caught_up().await?;
            }
        } else {
            self.shared.live().entered = None;
            self.shared.caught_up.send_replace(false);
        }
        Ok(())
    }

    /// A moderator banned somebody: what they wrote and has not crossed yet stays where it is.
    async fn banned(&self, nick: &str, occupant_id: Option<&str>) -> Result<(), StoreError> {
        let shared = self.shared;
        let (name, here) = (author(Some(nick), occupant_id), shared.live().occupant(nick));
        let name = here
            .as_ref()
            .and_then(|here| here.spoke_as.clone())
            .unwrap_or(name);
        // A nick may have had another owner before.
        let since = match here {
            _ if name.starts_with(OCCUPANT) => 0,
            Some(here) => here.since,
            None => return Ok(()),
        };
        let dropped = shared
            .store
            .drop_waiting_of(&shared.name, Side::Session, &name, since)
            .await?;
        tracing::info!(
            bridge = shared.name,
            dropped,
            "a person was banned from the XMPP room"
        );
        Ok(())
    }

    /// Handles the events of the archive after all of them have arrived.
    async fn caught_up(&mut self) -> Result<(), BridgeError> {
        self.has_place = true;
        self.catching_up = false;
        self.read_by = None;
        if !self.shared.archive_unread.load(Ordering::Relaxed) {
            self.archive_failures.store(0, Ordering::Relaxed);
        }
        if std::mem::take(&mut self.has_gap) {
            let text =
                "Earlier messages of the XMPP room may be missing: its archive does not have all of them.";
            let key = format!("gap-archive-{}", now_ms());
            self.shared.tell(Side::Session, &key, text.to_owned()).await?;
        }
        let oldest = now_ms() - i64::try_from(self.shared.options.backfill.as_millis()).unwrap_or(i64::MAX);
        let archived = self.archived.take();
        let mut left_out = std::mem::take(&mut self.left_out);
        let mut carried = Vec::new();
        for event in archived {
            let said_at = stamp(&event).and_then(read_stamp).unwrap_or_default();
            if said_at >= oldest {
                carried.push(event);
            } else if let Event::Room(received) | Event::File(received) = &event
                && !self.is_ours(received, true).await?
            {
                left_out += 1;
            }
        }
        if left_out > 0 {
            let key = format!(
                "gap-session-{}",
                carried.first().and_then(place).unwrap_or_default()
            );
            self.shared.tell(Side::Session, &key, gap_line(left_out)).await?;
        }
        for event in carried {
            self.said(event, true).await?;
        }
        self.fresh_bytes = 0;
        for event in std::mem::take(&mut self.fresh) {
            self.said(event, false).await?;
        }
        self.shared.caught_up.send_replace(true);
        Ok(())
    }

    async fn lost(&mut self, reason: &XmppError) -> Result<(), BridgeError> {
        let shared = self.shared;
        shared.caught_up.send_replace(false);
        shared
            .xmpp
            .leave(shared.place.room.to_bare())
            .await
            .map_err(BridgeError::Xmpp)?;
        self.read_by = None;
        // Nobody sees who comes and goes meanwhile.
        shared.live().forget_occupants();
        let banned = matches!(reason, XmppError::Banned { .. });
        let pauses = &shared.limits.back_after;
        let again = pauses[usize::try_from(self.lost)
            .unwrap_or(usize::MAX)
            .min(pauses.len() - 1)];
        self.lost = self.lost.saturating_add(1);
        self.back_at = (!banned).then(|| Instant::now() + again);
        tracing::warn!(bridge = shared.name, %reason, "the XMPP room is lost");
        let text = if banned {
            "The bridge is banned from the XMPP room. It no longer carries messages.".to_owned()
        } else {
            format!(
                "The bridge is out of the XMPP room and tries again in {}.",
                spoken(again)
            )
        };
        let key = format!("lost-{}", now_ms());
        shared.tell(Side::Session, &key, text).await?;
        Ok(())
    }

    async fn subject(&mut self, nick: Option<String>, subject: String) -> Result<(), StoreError> {
        let shared = self.shared;
        let before = shared.live().subject.replace(subject.clone());
        let own = shared.live().nick.clone();
        let Some(nick) = nick.filter(|nick| *nick != own) else {
            return Ok(());
        };
        // The first one after we came in is what it was before.
        if !shared.options.topic || before.is_none_or(|before| before == subject) || self.catching_up {
            return Ok(());
        }
        let name = shared.shown_in_session(&nick);
        let text = match text::excerpt(&subject) {
            empty if empty.is_empty() => format!("* {name} removed the topic"),
            topic => format!("* {name} changed the topic to: {topic}"),
        };
        shared
            .tell(Side::Session, &format!("topic-{}", now_ms()), text)
            .await
    }

    /// Handles a message, and carries it if it is to cross.
    async fn said(&mut self, event: Event, archived: bool) -> Result<(), StoreError> {
        // A delayed event is taken from the archive only.
        if !archived && stamp(&event).is_some() {
            return Ok(());
        }
        let places = places(&event);
        let entries = match event {
            Event::Room(received) | Event::File(received) => self.message(&received, archived).await?,
            Event::Correction(received) => self.correction(&received, archived).await?,
            Event::Reaction {
                from,
                to,
                emoji,
                own: false,
                occupant_id,
                // Another bridge of Ackpost shows what people of the community react with.
                bridge: None,
                archive,
                ..
            } => {
                let author = author(from.resource(), occupant_id.as_deref());
                let place = archive.map(|place| place.id);
                self.reaction(author, to, emoji, place).await?
            }
            Event::Retracted(retraction) => self.retraction(&retraction, archived).await?,
            _ => Vec::new(),
        };
        if !entries.is_empty() || archived || !self.has_stored_place && !places.is_empty() {
            self.shared.take(&entries, &places).await?;
            // From the first message on there is a place from which a new start goes on.
            self.has_stored_place |= !places.is_empty();
        } else if let Some((_, place)) = places.first() {
            // Nothing crosses, and reading it again after a kill would change nothing: no commit for it alone.
            tracing::trace!(place, "nothing to carry");
        }
        Ok(())
    }

    /// Returns true if we wrote a message, now or before a kill; then its id in the room is noted.
    async fn is_ours(&self, received: &Received, archived: bool) -> Result<bool, StoreError> {
        let shared = self.shared;
        let nick = received
            .from
            .as_ref()
            .and_then(|from| from.resource())
            .unwrap_or_default();
        let ours = {
            let live = shared.live();
            if let (Some(own), Some(theirs)) = (&live.occupant_id, &received.occupant_id) {
                own == theirs
            } else {
                let variant = nick
                    .strip_prefix(shared.options.nick.as_str())
                    .is_some_and(|rest| matches!(rest, "" | "_2" | "_3" | "_4" | "_5"));
                received.own || archived && (nick == live.nick || variant)
            }
        };
        if !ours {
            return Ok(false);
        }
        let id = received
            .archive
            .as_ref()
            .map(|place| place.id.as_str())
            .unwrap_or_default();
        for origin in [&received.origin_id, &received.id].into_iter().flatten() {
            if shared.store.shown(&shared.name, origin, id).await? {
                shared.gives_no_ids.store(id.is_empty(), Ordering::Relaxed);
                shared.to_xmpp.notify_one();
                break;
            }
        }
        Ok(true)
    }

    async fn message(&mut self, received: &Received, archived: bool) -> Result<Vec<NewEntry>, StoreError> {
        let shared = self.shared;
        if self.is_ours(received, archived).await? || self.comes_back(received).await? {
            return Ok(Vec::new());
        }
        let Some(nick) = received.from.as_ref().and_then(|from| from.resource()) else {
            return Ok(Vec::new());
        };
        let author = author(Some(nick), received.occupant_id.as_deref());
        if !archived {
            shared.live().note_author(nick, &author);
        }
        let body = text::bounded(received.own_words());
        let only_file = received.files.iter().any(|url| *url == body.trim());
        let text = if only_file { String::new() } else { body };
        let jid = shared.live().occupant(nick).and_then(|occupant| occupant.jid);
        let jid = jid.map(|jid| jid.to_bare().to_string());
        if shared.options.ignores(nick, jid.as_deref(), None, &text) {
            return Ok(Vec::new());
        }
        if text.trim() == "!bridge" {
            let moderator = shared
                .live()
                .occupant(nick)
                .is_some_and(|occupant| occupant.moderator);
            if !shared.live().may_answer(Side::Xmpp) {
                return Ok(Vec::new());
            }
            if moderator {
                tell_errors(shared, &author, nick).await?;
            }
            let line = state_line(shared).await?;
            return Ok(vec![notice(
                Side::Xmpp,
                &format!("asked-{}", native(received)),
                line,
            )]);
        }
        let files: Vec<FileRef> = match shared.options.files {
            Files::Off => Vec::new(),
            Files::Copy | Files::Link => received.files.iter().take(8).map(|url| file_ref(url)).collect(),
        };
        if text.trim().is_empty() && files.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![NewEntry {
            side: Side::Session,
            source: format!("m:{}", native(received)),
            native: native(received),
            reference: received
                .id
                .clone()
                .filter(|id| id.len() <= MAX_ID)
                .unwrap_or_default(),
            author,
            job: Job::Post(Post {
                name: nick.to_owned(),
                edited: false,
                nick: nick.to_owned(),
                text,
                answers: self.answered(received),
                files,
                quote: None,
            }),
            reacted: None,
            made: said_at(received),
        }])
    }

    /// The message that another one answers, unless answers cross as plain text.
    fn answered(&self, received: &Received) -> Option<Answered> {
        let reply = received.reply.as_ref()?;
        (self.shared.options.replies != Replies::Off).then(|| Answered::Xmpp(reply.id.clone()))
    }

    /// Returns true if a bridge carried a message here: it has a mark, or its text crossed a short while ago.
    async fn comes_back(&self, received: &Received) -> Result<bool, StoreError> {
        let shared = self.shared;
        let marked = received.bridge.is_some();
        let nick = received
            .from
            .as_ref()
            .and_then(|from| from.resource())
            .unwrap_or("?");
        let author = author(Some(nick), received.occupant_id.as_deref());
        if shared.live().is_ignored(&author) {
            return Ok(true);
        }
        if !marked && !shared.live().is_echo(&received.body) {
            return Ok(false);
        }
        tracing::info!(
            bridge = shared.name,
            marked,
            "a message that crossed came back and is not carried"
        );
        // A marked message does no harm: every bridge of Ackpost passes it over.
        if !marked {
            shared.note_loop(&author, &text::name_of_nick(nick)).await?;
        }
        Ok(true)
    }
}

/// Waits until a time, or for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
