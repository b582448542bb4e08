//! Everything that one command removes, including what is removed along with it, and how it is restored.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::keeper::{self, Keeper};
use super::operation::AdminError;
use super::words::{count, time};
use crate::store::operation::{Erase, KeptBan, KeptLetter, KeptReaction, Returning};
use crate::store::{FileRow, Id, RoomRow};

/// A pin as it was: room, message, who pinned it, when.
pub(super) type KeptPin = (Id, Id, Id, f64);
/// A post that waited for approval: room, message, reason, and the time since when it waited.
type KeptHeld = (Id, Id, String, f64);

/// Maximum number of direct messages that one command removes, and of the bytes of their bodies.
const MAX_LETTERS: usize = 50_000;
const MAX_LETTER_BYTES: usize = 32 << 20;
/// Maximum number of messages that one command deletes: more is a job for `retention_days` or a ban.
pub(super) const MAX_DELETED: usize = 100_000;

/// Lifetime of files that come back. A file whose time is over, or nearly so, would be gone in seconds: it gets the whole
/// time of a new file.
#[derive(Debug)]
pub(super) struct Lifetime {
    now: f64,
    /// Time at which a file of now expires; `None` = never.
    whole: Option<f64>,
    extended: u64,
}

impl Lifetime {
    /// Lifetime of files by `[files] expiry_days`.
    pub(super) fn new(now: f64, expiry_days: f64) -> Self {
        Self {
            now,
            whole: (expiry_days > 0.0).then_some(now + expiry_days * 86_400.0),
            extended: 0,
        }
    }

    /// Time at which a file expires that was to expire at `former`. A file that was deleted already stays so.
    pub(super) fn of(&mut self, former: Option<f64>) -> Option<f64> {
        match former {
            Some(at) if at > 0.0 && at < self.now + 86_400.0 && self.whole.is_none_or(|whole| whole > at) => {
                self.extended += 1;
                self.whole
            }
            other => other,
        }
    }

    pub(super) fn of_file(&mut self, file: FileRow) -> FileRow {
        FileRow {
            expiry: self.of(file.expiry),
            ..file
        }
    }

    /// Says which files stay longer than they would have.
    pub(super) fn line(&self) -> Option<String> {
        let files = count(self.extended, "file");
        (self.extended > 0).then(|| match self.whole {
            Some(at) => format!("{files} would have expired by now: kept until {}", time(at)),
            None => format!("{files} would have expired by now: kept permanently"),
        })
    }
}

/// Everything that a deletion removes, as the audit log keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Gone {
    /// Numbers of the messages, whose content stays in the history for a while.
    pub(super) messages: Vec<Id>,
    pub(super) files: Vec<FileRow>,
    pub(super) reactions: Vec<KeptReaction>,
    pins: Vec<KeptPin>,
    held: Vec<KeptHeld>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) letters: Vec<KeptLetter>,
    /// Bans that came with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) bans: Vec<KeptBan>,
}

/// Extent of acts: rooms (`None` = all, direct messages included), and the span of time.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    pub(super) rooms: Option<Vec<Id>>,
    pub(super) since: f64,
    pub(super) until: f64,
}

impl Extent {
    /// Everything in these rooms.
    pub(super) fn rooms(rooms: &[RoomRow]) -> Self {
        Self {
            rooms: Some(rooms.iter().map(|room| room.id).collect()),
            since: f64::MIN,
            until: f64::MAX,
        }
    }

    fn has(&self, room_id: Id) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(&room_id))
    }
}

/// Acts of people in an extent: as they are kept for the undo, and as the store removes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    pub(super) gone: Gone,
    pub(super) erase: Erase,
    /// Files, those of messages included.
    pub(super) files: u64,
    /// Reactions that these people gave.
    pub(super) given: u64,
    /// Number of posts of each person in the extent.
    pub(super) posts: std::collections::HashMap<Id, u64>,
}

/// Finds the posts of people with their files, and other files of theirs; with `all` their reactions too, and their
/// direct messages unless rooms are named. The contents of files are kept unless it is only tried.
pub(super) async fn trace(
    keeper: Keeper<'_>,
    users: &[Id],
    extent: &Extent,
    all: bool,
    dry_run: bool,
) -> Result<Trace, AdminError> {
    let (store, since, until) = (keeper.store, extent.since, extent.until);
    let mut trace = Trace::default();
    for (room_id, id, user_id) in store.posts_of(users.to_vec(), since, until).await? {
        if extent.has(room_id) {
            trace.erase.messages.push((room_id, id));
            *trace.posts.entry(user_id).or_default() += 1;
        }
    }
    too_many(trace.erase.messages.len())?;
    let messages: Vec<Id> = trace.erase.messages.iter().map(|(_, id)| *id).collect();
    trace.gone = Gone::look(keeper, messages, dry_run).await?;
    let known: BTreeSet<Id> = trace.gone.files.iter().map(|file| file.id).collect();
    let mut files = store.files_by(users.to_vec(), since, until).await?;
    files.retain(|file| !known.contains(&file.id) && file.room_id.is_none_or(|room| extent.has(room)));
    for file in &files {
        if !dry_run {
            keeper::keep(keeper, &file.content).await?;
        }
    }
    trace.erase.files = files.iter().map(|file| file.id).collect();
    trace.gone.files.extend(files);
    trace.files = trace.gone.files.len() as u64;
    if !all {
        return Ok(trace);
    }
    let mut reactions = store.reactions_by(users.to_vec(), since, until).await?;
    reactions.retain(|given| extent.has(given.0));
    trace.given = reactions.len() as u64;
    let deleted: BTreeSet<Id> = trace.gone.messages.iter().copied().collect();
    // Reactions to messages that are deleted are known already.
    reactions.retain(|given| !deleted.contains(&given.1));
    trace.gone.reactions.extend(reactions.iter().cloned());
    trace.erase.reactions = reactions;
    if extent.rooms.is_none() {
        let limit = i64::try_from(MAX_LETTERS + 1).unwrap_or(i64::MAX);
        let letters = store.letters_by(users.to_vec(), since, until, limit).await?;
        let bytes: usize = letters.iter().map(|letter| letter.body.len()).sum();
        if letters.len() > MAX_LETTERS || bytes > MAX_LETTER_BYTES {
            return Err(AdminError::usage(
                format!(
                    "these are more than {MAX_LETTERS} direct messages or {MAX_LETTER_BYTES} bytes of them"
                ),
                "choose a shorter time with --since and --until",
            ));
        }
        trace.erase.letters = letters
            .iter()
            .map(|letter| (letter.id, letter.recipient_id, letter.sender_id))
            .collect();
        trace.gone.letters = letters;
    }
    Ok(trace)
}

/// Refuses more messages than one command deletes.
pub(super) fn too_many(messages: usize) -> Result<(), AdminError> {
    if messages > MAX_DELETED {
        return Err(AdminError::usage(
            format!("these are {messages} messages; one command deletes at most {MAX_DELETED}"),
            "choose a shorter time or fewer rooms",
        ));
    }
    Ok(())
}

impl Gone {
    /// A single file.
    pub(super) fn file(file: FileRow) -> Self {
        Self {
            files: vec![file],
            ..Self::default()
        }
    }

    /// Returns true if nothing is to be restored.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The messages whose pins come back.
    pub(super) fn pinned(&self) -> impl Iterator<Item = Id> + '_ {
        self.pins.iter().map(|pin| pin.1)
    }

    /// Keeps the pins of messages of which this is true.
    pub(super) fn retain_pins(&mut self, mut keep: impl FnMut(Id) -> bool) {
        self.pins.retain(|pin| keep(pin.1));
    }

    /// Reactions alone.
    pub(crate) fn reactions(reactions: Vec<KeptReaction>) -> Self {
        Self {
            reactions,
            ..Self::default()
        }
    }

    /// Pins alone.
    pub(crate) fn pins(pins: Vec<KeptPin>) -> Self {
        Self {
            pins,
            ..Self::default()
        }
    }

    /// Reads messages before they are deleted, and keeps the contents of their files except in a dry run.
    pub(crate) async fn look(
        keeper: Keeper<'_>,
        messages: Vec<Id>,
        dry_run: bool,
    ) -> Result<Self, AdminError> {
        if messages.is_empty() {
            return Ok(Self::default());
        }
        let store = keeper.store;
        let files = store.files_of_messages(messages.clone()).await?;
        if dry_run {
            return Ok(Self {
                messages,
                files,
                ..Self::default()
            });
        }
        for file in &files {
            keeper::keep(keeper, &file.content).await?;
        }
        let held = store.held_among(messages.clone()).await?;
        Ok(Self {
            files,
            reactions: store.reactions_to(messages.clone()).await?,
            pins: store.pins_of(messages.clone()).await?,
            held: held
                .into_iter()
                .map(|row| (row.room_id, row.message_id, row.reason, row.at))
                .collect(),
            messages,
            ..Self::default()
        })
    }

    /// Restores everything that can be restored, in one transaction; returns the results in words.
    pub(super) async fn restore(
        &self,
        keeper: Keeper<'_>,
        lifetime: &mut Lifetime,
    ) -> Result<Vec<String>, AdminError> {
        let mut files = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let file = keeper::bring_file(keeper, file.clone()).await?;
            files.extend(file.map(|file| lifetime.of_file(file)));
        }
        let brought = keeper
            .store
            .bring_back(Returning {
                messages: self.messages.clone(),
                files,
                reactions: self.reactions.clone(),
                pins: self.pins.clone(),
                held: self.held.clone(),
                letters: self.letters.clone(),
                unbans: self.bans.clone(),
            })
            .await?;
        let mut lines = Vec::new();
        for (came, all, thing, verb) in [
            (brought.messages, self.messages.len(), "message", "restored"),
            (brought.files, self.files.len(), "file", "restored"),
            (brought.reactions, self.reactions.len(), "reaction", "restored"),
            (brought.pins, self.pins.len(), "pin", "restored"),
            (
                brought.held,
                self.held.len(),
                "post",
                "waiting for approval again",
            ),
            (brought.letters, self.letters.len(), "direct message", "restored"),
            (brought.bans, self.bans.len(), "ban", "lifted"),
        ] {
            if all > 0 {
                lines.push(format!("{came} of {} {verb}", count(all as u64, thing)));
            }
        }
        Ok(lines)
    }
}
