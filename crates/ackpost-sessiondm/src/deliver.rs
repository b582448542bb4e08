//! Delivering: sealing once, handing the sealed bytes to the queue, and storing them in the mailbox.

use ackpost_notify::{Attempt, Confirmation, ConnectionPool, Delivery, Diagnostic, Encoded, File, Outcome};
use session_network::{
    Disappearing, Draft, MAX_FILES, Network, NetworkError, PreparedMessage, Sender, SessionId, UploadedFile,
};

use crate::networks::Networks;
use crate::piece::Piece;
use crate::proof::{RECIPIENT_HAS_VERSION_2, UPDATE_SOON};
use crate::sent;
use crate::session_dm::SessionDm;

impl SessionDm {
    pub(crate) async fn send(&self, pool: &ConnectionPool, delivery: &Delivery) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = Vec::with_capacity(delivery.pieces.len());
        for (number, piece) in delivery.pieces.iter().enumerate() {
            // A later piece must not overtake one that failed.
            let attempt = if attempts.last().is_none_or(|attempt| attempt.outcome.is_taken()) {
                self.send_piece(pool, delivery, number, piece)
                    .await
                    .unwrap_or_else(|attempt| attempt)
            } else {
                Attempt::new(Outcome::deferred("an earlier piece failed", "send again"))
            };
            attempts.push(attempt);
        }
        attempts
    }

    async fn send_piece(
        &self,
        pool: &ConnectionPool,
        delivery: &Delivery,
        number: usize,
        encoded: &Encoded,
    ) -> Result<Attempt, Attempt> {
        let refused = |problem: Diagnostic| Attempt::new(Outcome::refused(problem.cause, problem.remedy));
        let mut piece = Piece::read(encoded).map_err(refused)?;
        let recipient = delivery.target.address.parse::<SessionId>().map_err(|_| {
            refused(Diagnostic::error(
                "the recipient is not a Session ID",
                "check the URL",
            ))
        })?;
        let networks = pool.of_service(Networks::new);
        let network = networks.get(&self.network).map_err(|error| failed(&error))?;
        let mut message = if let Some(message) = piece.sealed().map_err(refused)? {
            message
        } else {
            let sender = self.account(&networks).and_then(|account| self.sender(&account));
            let sender = sender.map_err(refused)?;
            let files = if number == 0 { &delivery.files[..] } else { &[] };
            let message = self
                .seal(&network, &sender, &recipient, &mut piece, files)
                .await?;
            // A message that may be sent again must be kept first.
            if !keep(delivery, number, encoded, &piece.with(&message)).await {
                return Err(Attempt::new(Outcome::deferred(
                    "the sealed message could not be stored, so it was not sent",
                    "check the disk of the outbox",
                )));
            }
            message
        };
        if *message.recipient() != recipient {
            return Err(refused(Diagnostic::error(
                "the stored message is for another recipient",
                "send it again",
            )));
        }
        let known = message.receipts().len();
        match network.send(&mut message).await {
            Ok(delivered) => {
                if let Ok(account) = self.account(&networks) {
                    sent::note(account.session_id(), &self.network, &message);
                }
                let mut attempt = Attempt::new(Outcome::Delivered {
                    confirmed_by: Confirmation::Server,
                    id: Some(delivered.hash.to_string()),
                });
                attempt.notes.push(format!(
                    "signed by {} of {} nodes",
                    delivered.signed, delivered.swarm
                ));
                attempt.outcome = attempt.outcome.without_files(&piece.missing);
                // Once a day, behind the message: a slow answer delays no message.
                if network.look_for_v2_keys(&recipient).await == Some(true) {
                    attempt
                        .notes
                        .push(format!("{RECIPIENT_HAS_VERSION_2}; {UPDATE_SOON}"));
                }
                Ok(attempt)
            }
            Err(error) => {
                if message.receipts().len() > known {
                    // Without the new receipts the next attempt asks more nodes; nothing is stored twice.
                    keep(delivery, number, encoded, &piece.with(&message)).await;
                }
                Err(failed(&error))
            }
        }
    }

    /// Uploads the files, and seals the message.
    async fn seal(
        &self,
        network: &Network,
        sender: &Sender,
        recipient: &SessionId,
        piece: &mut Piece,
        files: &[File],
    ) -> Result<PreparedMessage, Attempt> {
        let mut draft = Draft::text(&piece.text);
        if let Some(ttl) = self.ttl {
            draft = draft.ttl(ttl);
        }
        if let Some(expire) = self.expire {
            draft = draft.disappearing(Disappearing::AfterSent(expire));
        }
        // Nothing is uploaded for a message that is refused.
        draft.check().map_err(|error| failed(&error))?;
        let (uploaded, missing) = upload(network, files).await;
        piece.missing = missing;
        let draft = draft.files(uploaded);
        let mut messages = network
            .prepare(sender, recipient, &draft)
            .await
            .map_err(|error| failed(&error))?;
        match (messages.pop(), messages.is_empty()) {
            (Some(message), true) => Ok(message),
            _ => Err(Attempt::new(Outcome::refused(
                "the text has more than 2000 characters",
                "write overflow=split",
            ))),
        }
    }
}

/// Leaves files on the file server. Returns those that are there, and why others are not: the text goes out without them.
async fn upload(network: &Network, files: &[File]) -> (Vec<UploadedFile>, Vec<String>) {
    let (mut uploaded, mut missing) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().enumerate() {
        let result = if number < MAX_FILES {
            let result = network.upload(&file.name, &file.media_type, &file.bytes).await;
            result.map_err(|error| error.to_string())
        } else {
            Err(format!("a message has at most {MAX_FILES} files"))
        };
        match result {
            Ok(file) => uploaded.push(file),
            Err(why) => missing.push(format!("`{}`: {why}", file.name)),
        }
    }
    (uploaded, missing)
}

/// Hands the piece to the queue, if there is one. Returns false if the queue could not store it.
async fn keep(delivery: &Delivery, number: usize, before: &Encoded, piece: &Piece) -> bool {
    match &delivery.on_encoded {
        Some(store) => store(number, piece.encode().cut(before.is_cut())).await,
        None => true,
    }
}

/// A failed send as an outcome.
fn failed(error: &NetworkError) -> Attempt {
    let mut attempt = Attempt::new(if error.is_permanent() {
        Outcome::refused(error.to_string(), error.remedy())
    } else {
        Outcome::Deferred {
            reason: error.to_string(),
            remedy: error.remedy(),
            retry_after: error.retry_after(),
        }
    });
    attempt.may_have_arrived = error.may_have_arrived();
    attempt
}
