//! State that a bot keeps over a restart: its position, the people it knows, and the data of its handlers.

use std::collections::{BTreeMap, HashSet, VecDeque};

use ackpost_bot::{Memory, StateStore, StoreError};
use session_protocol::{RoomToken, SessionId};

use crate::poll::Cursor;

/// Most people remembered per room; the oldest are forgotten first.
const MAX_KNOWN: usize = 50_000;

/// A bot's memory, in the process and in its store.
pub(super) struct State {
    pub(super) memory: Memory,
    saved_cursor: Option<Cursor>,
    known: BTreeMap<RoomToken, Known>,
    known_changed: bool,
}

/// People seen in a room, oldest first.
#[derive(Default)]
struct Known {
    order: VecDeque<SessionId>,
    set: HashSet<SessionId>,
}

impl State {
    pub(super) fn load(store: Box<dyn StateStore>) -> Result<(Self, Option<Cursor>), StoreError> {
        let mut memory = Memory::load(store)?;
        let cursor: Option<Cursor> = memory.read("cursor")?;
        let people: BTreeMap<RoomToken, Vec<SessionId>> = memory.read("known")?.unwrap_or_default();
        let known = people
            .into_iter()
            .map(|(room, order)| {
                let set = order.iter().copied().collect();
                (
                    room,
                    Known {
                        order: order.into(),
                        set,
                    },
                )
            })
            .collect();
        let state = Self {
            memory,
            saved_cursor: cursor.clone(),
            known,
            known_changed: false,
        };
        Ok((state, cursor))
    }

    /// Returns true if the bot knows anybody in the room; if not, the bot is new there.
    pub(super) fn knows(&self, room: &RoomToken) -> bool {
        self.known.contains_key(room)
    }

    /// Marks a room as known, even if nobody has written there.
    pub(super) fn enter(&mut self, room: &RoomToken) {
        self.known.entry(room.clone()).or_default();
        self.known_changed = true;
    }

    /// Records that a person wrote in a room; returns true the first time.
    pub(super) fn see(&mut self, room: &RoomToken, user: &SessionId) -> bool {
        let known = self.known.entry(room.clone()).or_default();
        if !known.set.insert(*user) {
            return false;
        }
        known.order.push_back(*user);
        if known.order.len() > MAX_KNOWN
            && let Some(oldest) = known.order.pop_front()
        {
            known.set.remove(&oldest);
        }
        self.known_changed = true;
        true
    }

    /// Writes what changed, the cursor last: what an event brought about is stored before the event counts as done.
    pub(super) fn save(&mut self, cursor: &Cursor) -> Result<(), StoreError> {
        self.memory.save()?;
        if self.known_changed {
            let people: BTreeMap<_, _> = self
                .known
                .iter()
                .map(|(room, known)| (room, &known.order))
                .collect();
            self.memory.write("known", &people)?;
            self.known_changed = false;
        }
        if self.saved_cursor.as_ref() != Some(cursor) {
            self.memory.write("cursor", cursor)?;
            self.saved_cursor = Some(cursor.clone());
        }
        Ok(())
    }
}
