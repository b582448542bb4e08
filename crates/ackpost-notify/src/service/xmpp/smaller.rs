//! Pieces that are larger than the server takes, sent in smaller ones.

use crate::dispatch::delivery::Attempt;
use crate::message::Overflow;
use crate::outcome::{Lack, Outcome};
use crate::render::{Limits, Measure, pieces_within};

use super::piece::{XmppDelivery, XmppPiece};

/// Bytes of a stanza besides its text: addresses, ids, namespaces.
const ENVELOPE_BYTES: usize = 2_048;

/// Pieces of a delivery cut anew, and how many became of each.
pub(super) struct Smaller {
    pub(super) delivery: XmppDelivery,
    counts: Vec<(usize, usize)>,
    limit: usize,
    truncated: bool,
}

impl Smaller {
    /// Cuts the pieces with these numbers so that each fits into `limit` bytes. `None`: the limit leaves no room for a
    /// text, or the URL does not allow to cut.
    pub(super) fn of(
        delivery: &XmppDelivery,
        numbers: &[usize],
        limit: usize,
        overflow: Overflow,
    ) -> Option<Self> {
        if overflow == Overflow::Upstream {
            return None;
        }
        let truncated = overflow == Overflow::Truncate;
        let (mut pieces, mut counts, mut repeat) = (Vec::new(), Vec::new(), Vec::new());
        for number in numbers {
            let mut cut = cut(delivery.pieces.get(*number)?, limit)?;
            if truncated {
                cut.truncate(1);
            }
            counts.push((*number, cut.len()));
            repeat.extend(std::iter::repeat_n(delivery.is_repeat(*number), cut.len()));
            pieces.extend(cut);
        }
        let delivery = XmppDelivery {
            target: delivery.target.clone(),
            pieces,
            files: if numbers.first() == Some(&0) {
                delivery.files.clone()
            } else {
                Vec::new().into()
            },
            repeat,
        };
        Some(Self {
            delivery,
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
        let arrived = group.iter().filter(|attempt| taken(attempt)).count();
        if let Some(number) = group.iter().position(|attempt| !taken(attempt)) {
            let mut failed = group.into_iter().nth(number).expect("its position was found");
            if arrived == 0 {
                return failed;
            }
            failed.may_have_arrived = true;
            if std::mem::take(&mut failed.came_back) {
                // The archive holds all parts alike, so a repeat could not tell which are missing.
                failed.outcome = came_back(&failed.outcome, number + 1, count);
            }
            return failed;
        }
        let Some(mut first) = group.into_iter().reduce(|mut whole, part| {
            whole.outcome = whole.outcome.with_piece(part.outcome);
            whole.repeated |= part.repeated;
            whole.may_have_arrived |= part.may_have_arrived;
            for note in part.notes {
                if !whole.notes.contains(&note) {
                    whole.notes.push(note);
                }
            }
            whole
        }) else {
            return Attempt::new(Outcome::refused(
                "the message is empty",
                "give the message a text",
            ));
        };
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

/// The outcome of a message of which some parts arrived, and one came back for the reason of `failure`.
fn came_back(failure: &Outcome, number: usize, count: usize) -> Outcome {
    Outcome::Partial {
        lack: Lack::Proof,
        id: None,
        reason: format!(
            "part {number} of {count} came back, others arrived: {}",
            failure.reason().unwrap_or("no reason was given")
        ),
        remedy: format!(
            "look for the parts at the recipient before you send it again; {}",
            failure.remedy().unwrap_or_default()
        ),
    }
}

/// The same text in several messages. The ids depend on nothing but the message and the limit, so that a repeat is
/// recognised.
fn cut(piece: &XmppPiece, limit: usize) -> Option<Vec<XmppPiece>> {
    let subject = piece.subject.as_deref().map_or(0, ackpost_xmpp::wire_len);
    let bytes = limit
        .checked_sub(ENVELOPE_BYTES + subject)
        .filter(|bytes| *bytes >= 1_024)?;
    let limits = Limits {
        title: 0,
        body: usize::MAX,
        bytes,
        measure: Measure::Xml,
    };
    let part = |(number, body): (usize, String)| XmppPiece {
        id: if number == 0 {
            piece.id.clone()
        } else {
            format!("{}-{number}", piece.id)
        },
        body,
        subject: piece.subject.clone().filter(|_| number == 0),
        // The plain text says the same in fewer bytes.
        html: None,
        ..piece.clone()
    };
    let pieces = pieces_within(&piece.body, limits).into_iter();
    Some(
        pieces
            .filter(|body| !body.is_empty())
            .enumerate()
            .map(part)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Confirmation;

    fn whole(group: Vec<Attempt>) -> Attempt {
        let smaller = Smaller {
            delivery: XmppDelivery {
                target: crate::service::target::Target {
                    address: "bob@example.org".to_owned(),
                    room: false,
                },
                pieces: Vec::new(),
                files: Vec::new().into(),
                repeat: Vec::new(),
            },
            counts: vec![(0, group.len())],
            limit: 8_000,
            truncated: false,
        };
        smaller.whole(group)
    }

    fn delivered(confirmed_by: Confirmation) -> Attempt {
        Attempt::new(Outcome::Delivered {
            confirmed_by,
            id: Some("1".to_owned()),
        })
    }

    #[test]
    fn the_weakest_part_decides() {
        let unconfirmed = Attempt::new(Outcome::Partial {
            lack: Lack::Proof,
            id: None,
            reason: "no receipt came".to_owned(),
            remedy: "ask".to_owned(),
        });
        let receipt = || delivered(Confirmation::Receipt);
        assert_eq!(
            whole(vec![receipt(), unconfirmed, receipt()]).outcome.word(),
            "unconfirmed"
        );
        let outcome = whole(vec![receipt(), delivered(Confirmation::HandedOver)]).outcome;
        assert_eq!(outcome.word(), "handed-over");
        assert_eq!(whole(vec![receipt(), receipt()]).outcome.word(), "delivered");
    }

    #[test]
    fn a_part_that_came_back_beside_others_is_not_sent_again() {
        let returned = || Attempt {
            came_back: true,
            ..Attempt::new(Outcome::deferred("no such user", "check the address"))
        };
        let attempt = whole(vec![delivered(Confirmation::Server), returned()]);
        assert_eq!(attempt.outcome.word(), "unconfirmed");
        assert!(
            attempt
                .outcome
                .reason()
                .is_some_and(|reason| reason.starts_with("part 2 of 2 came back"))
        );
        let attempt = whole(vec![returned(), returned()]);
        assert_eq!(
            (attempt.outcome.word(), attempt.leaves_doubt(true)),
            ("deferred", false)
        );
    }
}
