//! One message as the queue keeps it, the same for all channels.

use ackpost_notify::{
    Attempt, BoxFuture, Chunk, CommonParams, ConnectionPool, Delivery, Diagnostic, Encoded, Format,
    MessageId, Outcome, Shown,
};
use serde::{Deserialize, Serialize};

/// A text with everything that identifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) id: String,
    /// Milliseconds since the epoch.
    pub(crate) at: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) title: String,
    pub(crate) body: String,
    /// `text`, `markdown` or `html`.
    pub(crate) format: String,
    /// `info`, `success`, `warning` or `failure`.
    pub(crate) kind: String,
    /// Number of gateways that the message went through.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) hops: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Piece {
    pub(crate) fn new(chunk: &Chunk, id: &MessageId) -> Self {
        Self {
            id: id.id.clone(),
            at: id.sent_at_ms,
            title: chunk.title.clone(),
            body: chunk.body.to_string(),
            format: chunk.format.as_str().to_owned(),
            kind: chunk.kind.as_str().to_owned(),
            hops: chunk.hops,
        }
    }

    pub(crate) fn encode(&self, service: &'static str, cut: bool) -> Encoded {
        Encoded::from_value(service, self).cut(cut)
    }

    /// Reads a piece of the queue.
    pub(crate) fn read(service: &str, encoded: &Encoded) -> Result<Self, Diagnostic> {
        encoded.to_value(service)
    }

    pub(crate) fn format(&self) -> Format {
        self.format.parse().unwrap_or_default()
    }

    /// Returns the texts for a preview.
    pub(crate) fn shown(service: &str, encoded: &Encoded) -> Shown {
        let Ok(piece) = Self::read(service, encoded) else {
            return Shown::default();
        };
        let mut shown = Shown::text(piece.body);
        shown.subject = Some(piece.title).filter(|title| !title.is_empty());
        shown
    }
}

/// One delivery, as a channel sees it.
pub(crate) struct SendRun<'a> {
    pub(crate) common: &'a CommonParams,
    pub(crate) pool: &'a ConnectionPool,
    pub(crate) delivery: &'a Delivery,
}

/// A channel that sends one piece after the other.
pub(crate) trait Channel: Sync {
    /// Name of the service.
    fn name(&self) -> &'static str;

    /// Makes one attempt at a piece. `files` go with it.
    fn send<'a>(
        &'a self,
        run: &'a SendRun<'a>,
        piece: &'a Piece,
        files: &'a [ackpost_notify::File],
    ) -> BoxFuture<'a, Attempt>;
}

/// Sends the pieces in order. The files go with the first one. A later piece must not overtake one that failed.
pub(crate) async fn in_order<C: Channel>(channel: &C, run: SendRun<'_>) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::with_capacity(run.delivery.pieces.len());
    for (number, encoded) in run.delivery.pieces.iter().enumerate() {
        if attempts.last().is_some_and(|attempt| !attempt.outcome.is_taken()) {
            attempts.push(Attempt::new(Outcome::deferred(
                "an earlier piece failed",
                "send again",
            )));
            continue;
        }
        let files = if number == 0 { &run.delivery.files[..] } else { &[] };
        let mut attempt = match Piece::read(channel.name(), encoded) {
            Ok(piece) => channel.send(&run, &piece, files).await,
            Err(problem) => Attempt::new(Outcome::refused(problem.cause, problem.remedy)),
        };
        if run.delivery.is_repeat(number) && attempt.outcome.is_taken() {
            attempt.repeated = true;
            attempt.notes.push(
                "sent a second time: the answer to an earlier attempt was lost, so it may have arrived twice"
                    .to_owned(),
            );
        }
        attempts.push(attempt);
    }
    attempts
}
