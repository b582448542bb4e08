//! Pieces that are larger than the server takes, sent in smaller ones.

use crate::dispatch::{Attempt, Parcel};
use crate::message::Overflow;
use crate::outcome::Outcome;
use crate::render::pieces_within;

use super::limits::{Limits, Measure};
use super::wire::{Wire, XmppWire};

/// Bytes of a stanza besides its text: addresses, ids, namespaces.
const ENVELOPE_BYTES: usize = 2_048;

/// Pieces of a parcel cut anew, and how many became of each.
pub(super) struct Smaller {
    pub(super) parcel: Parcel,
    counts: Vec<(usize, usize)>,
    limit: usize,
    truncated: bool,
}

impl Smaller {
    /// Cuts the pieces with these numbers so that each fits into `limit` bytes. `None`: the limit leaves no room for a
    /// text, or the URL does not allow to cut.
    pub(super) fn of(parcel: &Parcel, numbers: &[usize], limit: usize, overflow: Overflow) -> Option<Self> {
        if overflow == Overflow::Upstream {
            return None;
        }
        let truncated = overflow == Overflow::Truncate;
        let (mut wires, mut counts, mut repeat) = (Vec::new(), Vec::new(), Vec::new());
        for number in numbers {
            let Some(Wire::Xmpp(wire)) = parcel.wires.get(*number) else {
                return None;
            };
            let mut cut = cut(wire, limit)?;
            if truncated {
                cut.truncate(1);
            }
            counts.push((*number, cut.len()));
            repeat.extend(std::iter::repeat_n(parcel.is_repeat(*number), cut.len()));
            wires.extend(cut.into_iter().map(Wire::Xmpp));
        }
        let parcel = Parcel {
            target: parcel.target.clone(),
            wires,
            files: if numbers.first() == Some(&0) {
                parcel.files.clone()
            } else {
                Vec::new().into()
            },
            repeat,
            fixed: None,
        };
        Some(Self {
            parcel,
            counts,
            limit,
            truncated,
        })
    }

    /// Puts what became of the smaller pieces in the place of the pieces they are of.
    pub(super) fn put_back(&self, attempts: Vec<Attempt>, all: &mut [Attempt]) {
        let mut attempts = attempts.into_iter();
        for (number, count) in &self.counts {
            let group: Vec<Attempt> = attempts.by_ref().take(*count).collect();
            if let Some(place) = all.get_mut(*number) {
                *place = self.whole(group);
            }
        }
    }

    fn whole(&self, group: Vec<Attempt>) -> Attempt {
        let count = group.len();
        let taken = |attempt: &Attempt| {
            matches!(
                attempt.outcome,
                Outcome::Delivered { .. } | Outcome::Partial { .. }
            )
        };
        let some_arrived = group.iter().any(taken);
        let mut group = group.into_iter();
        let Some(mut first) = group.next() else {
            return Attempt::new(Outcome::refused(
                "the message is empty",
                "give the message a text",
            ));
        };
        if taken(&first) {
            if let Some(mut failed) = group.find(|attempt| !taken(attempt)) {
                failed.may_have_arrived |= some_arrived;
                failed.came_back &= !some_arrived;
                return failed;
            }
        } else {
            first.may_have_arrived |= some_arrived;
            first.came_back &= !some_arrived;
            return first;
        }
        first.notes.push(if self.truncated {
            format!("cut off: the server takes at most {} bytes", self.limit)
        } else {
            format!(
                "sent in {count} parts: the server takes at most {} bytes",
                self.limit
            )
        });
        first
    }
}

/// The same text in several messages. The ids depend on nothing but the message and the limit, so that a repeat is
/// recognised.
fn cut(wire: &XmppWire, limit: usize) -> Option<Vec<XmppWire>> {
    let subject = wire.subject.as_deref().map_or(0, xmpp_client::wire_len);
    let bytes = limit
        .checked_sub(ENVELOPE_BYTES + subject)
        .filter(|bytes| *bytes >= 1_024)?;
    let limits = Limits {
        title: 0,
        body: usize::MAX,
        bytes,
        measure: Measure::Xml,
    };
    let piece = |(number, body): (usize, String)| XmppWire {
        id: if number == 0 {
            wire.id.clone()
        } else {
            format!("{}-{number}", wire.id)
        },
        body,
        subject: wire.subject.clone().filter(|_| number == 0),
        // The plain text says the same in fewer bytes.
        html: None,
        ..wire.clone()
    };
    let pieces = pieces_within(&wire.body, limits).into_iter();
    Some(
        pieces
            .filter(|body| !body.is_empty())
            .enumerate()
            .map(piece)
            .collect(),
    )
}
