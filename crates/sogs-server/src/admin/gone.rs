//! Messages that are deleted, with everything that goes with them, and their way back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::archive;
use super::exec::{Act, count};
use super::operation::AdminError;
use crate::store::{FileRow, Id};

/// A reaction as it was: room, message, person, emoji, when it was given.
type KeptReaction = (Id, Id, Id, String, f64);
/// A pin as it was: room, message, who pinned it, when.
type KeptPin = (Id, Id, Id, f64);
/// A post that waited for approval: room, message, why, since when.
type KeptHeld = (Id, Id, String, f64);

/// What a deletion takes along, as the audit log keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Gone {
    /// Numbers of the messages, whose content stays in the history for a while.
    pub(super) messages: Vec<Id>,
    files: Vec<FileRow>,
    reactions: Vec<KeptReaction>,
    pins: Vec<KeptPin>,
    held: Vec<KeptHeld>,
}

impl Gone {
    /// A single file.
    pub(super) fn file(file: FileRow) -> Self {
        Self {
            files: vec![file],
            ..Self::default()
        }
    }

    /// Looks at messages before they are deleted, and keeps the contents of their files. When it is only tried, the
    /// numbers are all.
    pub(super) async fn look(act: &Act<'_>, messages: Vec<Id>) -> Result<Self, AdminError> {
        if act.dry_run || messages.is_empty() {
            return Ok(Self {
                messages,
                ..Self::default()
            });
        }
        let store = &act.admin.store;
        let files = store.files_of_messages(messages.clone()).await?;
        for file in &files {
            archive::keep(act.admin, &file.content).await?;
        }
        let mut held = store.held(None).await?;
        if !held.is_empty() {
            let chosen: BTreeSet<Id> = messages.iter().copied().collect();
            held.retain(|row| chosen.contains(&row.message_id));
        }
        Ok(Self {
            files,
            reactions: store.reactions_to(messages.clone()).await?,
            pins: store.pins_of(messages.clone()).await?,
            held: held
                .into_iter()
                .map(|row| (row.room_id, row.message_id, row.reason, row.at))
                .collect(),
            messages,
        })
    }

    /// Reactions that one person gave in a room go too; those to messages that are deleted anyway are known.
    pub(super) async fn take_reactions(
        &mut self,
        act: &Act<'_>,
        user_id: Id,
        room_id: Id,
    ) -> Result<(), AdminError> {
        let given = act.admin.store.reactions_of(user_id, room_id).await?;
        for (message, emoji, at) in given {
            let reaction = (room_id, message, user_id, emoji, at);
            if !self.reactions.contains(&reaction) {
                self.reactions.push(reaction);
            }
        }
        Ok(())
    }

    /// Removes the reactions of one person, whose messages are deleted already.
    pub(super) async fn remove_reactions(&self, act: &Act<'_>, user_id: Id) -> Result<u64, AdminError> {
        let mut removed = 0;
        for (room_id, message_id, _, emoji, _) in self.reactions.iter().filter(|given| given.2 == user_id) {
            removed += 1;
            if !act.dry_run {
                act.admin
                    .store
                    .remove_reactions(*room_id, *message_id, Some(user_id), Some(emoji.clone()))
                    .await?;
            }
        }
        Ok(removed)
    }

    /// Only what belongs to these messages.
    pub(super) fn only(mut self, messages: Vec<Id>) -> Self {
        let stay: BTreeSet<Id> = messages.iter().copied().collect();
        self.files
            .retain(|file| file.message_id.is_some_and(|id| stay.contains(&id)));
        self.reactions.retain(|(_, id, ..)| stay.contains(id));
        self.pins.retain(|(_, id, ..)| stay.contains(id));
        self.held.retain(|(_, id, ..)| stay.contains(id));
        self.messages = messages;
        self
    }

    /// Brings everything back that can be; what came, in words.
    pub(super) async fn restore(&self, act: &Act<'_>) -> Result<Vec<String>, AdminError> {
        let store = &act.admin.store;
        let mut lines = Vec::new();
        let mut tell = |came: u64, all: usize, thing: &str, verb: &str| {
            if all > 0 {
                lines.push(format!("{came} of {} {verb}", count(all as u64, thing)));
            }
        };
        let restored = store.restore_messages(self.messages.clone()).await?;
        tell(restored, self.messages.len(), "message", "stand again");
        let mut kept = 0;
        for file in &self.files {
            if archive::restore_file(act.admin, file.clone()).await? {
                kept += 1;
            }
        }
        tell(kept, self.files.len(), "file", "are back");
        let mut reacted = 0;
        for (room_id, message_id, user_id, reaction, at) in &self.reactions {
            if let crate::store::Reacted::Done { .. } = store
                .add_reaction(*room_id, *message_id, *user_id, reaction.clone(), None, *at)
                .await?
            {
                reacted += 1;
            }
        }
        tell(reacted, self.reactions.len(), "reaction", "are back");
        let mut pinned = 0;
        for (room_id, message_id, user_id, at) in &self.pins {
            if let crate::store::Pinned::Done { .. } = store.pin(*room_id, *message_id, *user_id, *at).await?
            {
                pinned += 1;
            }
        }
        tell(pinned, self.pins.len(), "pin", "are back");
        for (room_id, message_id, reason, at) in &self.held {
            store.hold(*message_id, *room_id, reason.clone(), *at).await?;
        }
        tell(self.held.len() as u64, self.held.len(), "post", "wait again");
        Ok(lines)
    }
}
