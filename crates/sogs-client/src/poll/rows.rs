//! Rows of a room that the cursor knows: new messages, edits, deletions, reactions.

use std::collections::BTreeSet;

use session_protocol::RoomToken;

use super::{Event, HANDED_OUT_MAX, Poll, RoomCursor, Step};
use crate::types::{Message, PollInfo, Row};

impl Poll {
    /// Takes the answers for a room that the cursor knows; returns true if there was a row behind the cursor.
    pub(super) fn follow(&mut self, room: &RoomToken, info: PollInfo, rows: Vec<Row>) -> bool {
        let known = self.cursor.rooms.get(room).copied().unwrap_or_default();
        if let Some(details) = info.details {
            if details.message_sequence < known.seqno {
                self.start_again(room, details.message_sequence);
            }
            let changed = details.info_updates != known.info_updates;
            self.infos.insert(room.clone(), details.clone());
            if changed {
                let step = Step::Info {
                    room: room.clone(),
                    info_updates: details.info_updates,
                };
                self.queue.push_back((
                    step,
                    Event::RoomChanged {
                        info: Box::new(details),
                    },
                ));
            }
        }
        let RoomCursor {
            seqno: from,
            last_id: known_id,
            ..
        } = self.cursor.rooms.get(room).copied().unwrap_or_default();
        let rows: Vec<Row> = rows.into_iter().filter(|row| row.seqno() > from).collect();
        let newest_id = rows.iter().map(Row::id).max().unwrap_or_default();
        let no_numbers = BTreeSet::new();
        let handed_out = self.handed_out.get(room).unwrap_or(&no_numbers);
        let is_new = |row: &Row| match row {
            Row::Message(message) => {
                message.id > known_id || appeared(message) && !handed_out.contains(&message.id)
            }
            _ => false,
        };
        let rows = in_order_of_posting(rows, is_new);
        let is_new: Vec<bool> = rows.iter().map(is_new).collect();
        let count = rows.len();
        // Each event moves the cursor up to the lowest sequence number still to come, so that no row is skipped.
        let mut to_come = vec![i64::MAX; count];
        for at in (1..count).rev() {
            to_come[at - 1] = to_come[at].min(rows[at].seqno());
        }
        let mut highest = from;
        for (at, row) in rows.into_iter().enumerate() {
            highest = highest.max(row.seqno());
            let room = room.clone();
            let step = Step::Room {
                room: room.clone(),
                seqno: highest.min(to_come[at].saturating_sub(1)),
                // The numbers of all rows count as seen with the last of them: a message that was edited before we saw it
                // comes behind later ones, and is new all the same.
                last_id: if at + 1 == count { newest_id } else { known_id },
            };
            let event = match row {
                Row::Message(message) if is_new[at] => Event::Message { room, message },
                Row::Message(message) => Event::Edited { room, message },
                Row::Deleted(tombstone) => Event::Deleted { room, tombstone },
                Row::Reactions(row) => Event::Reactions { room, row },
            };
            self.queue.push_back((step, event));
        }
        count > 0
    }

    /// Follows a room from its present state: the server went back in time (a restored database).
    fn start_again(&mut self, room: &RoomToken, sequence: i64) {
        tracing::warn!(%room, "the room's sequence went backwards; following it from its present state");
        let cursor = self.cursor.rooms.entry(room.clone()).or_default();
        cursor.seqno = sequence;
        cursor.last_id = 0;
        self.handed_out.remove(room);
        self.went_back += 1;
        self.queue
            .push_back((Step::Nothing, Event::Gap { room: room.clone() }));
    }

    pub(super) fn note_handed_out(&mut self, event: &Event) {
        let Event::Message { room, message } = event else {
            return;
        };
        let numbers = self.handed_out.entry(room.clone()).or_default();
        numbers.insert(message.id);
        if numbers.len() > HANDED_OUT_MAX {
            numbers.pop_first();
        }
    }
}

/// Returns true for a message that changed without an edit: it was held back and is shown now. Servers that list
/// messages with changed reactions in full give reactions with them, so such a message does not count.
fn appeared(message: &Message) -> bool {
    message.edited.is_none() && message.reactions.is_empty()
}

/// Brings new messages into the order in which they were posted, in the places that they have among the other rows.
fn in_order_of_posting(rows: Vec<Row>, is_new: impl Fn(&Row) -> bool) -> Vec<Row> {
    let places: Vec<bool> = rows.iter().map(&is_new).collect();
    let (mut new, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| is_new(row));
    new.sort_by_key(Row::id);
    let (mut new, mut others) = (new.into_iter(), others.into_iter());
    places
        .into_iter()
        .filter_map(|is_new| if is_new { new.next() } else { others.next() })
        .collect()
}
