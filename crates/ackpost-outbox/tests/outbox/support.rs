//! An outbox on either database, and an other side that reacts as the test demands.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackpost_notify::BoxFuture;
use ackpost_notify::dispatch::Late;
use ackpost_notify::{Confirmation, Message, Outcome};
use ackpost_notify::{Encoded, File, MessageId};
use ackpost_outbox::{
    AcceptOptions, Accepted, DeliveryRequest, Destination, FixedJitter, FlushSettings, Location, ManualClock,
    Outbox, OutboxConfig, OutboxId, Rules, SecretText, State, Submission, Summary, Transport, WorkerSettings,
};
use serde_json::json;

/// 2026-01-10 12:00:00 UTC, a Saturday.
pub(crate) const NOON: i64 = 1_768_046_400_000;

/// Runs every test of a list on both databases.
macro_rules! stamped {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::support::Place::sqlite()).await; } )+
        }
        mod postgres {
            $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::support::Place::postgres()).await; } )+
        }
    };
}
pub(crate) use stamped;

/// Place for an outbox, with its own clock.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) database: Option<ackpost_testkit::Database>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(NOON)),
            database: None,
        }
    }

    pub(crate) fn postgres() -> Self {
        Self {
            database: Some(ackpost_testkit::Postgres::shared().database()),
            ..Self::sqlite()
        }
    }

    pub(crate) fn config(&self) -> OutboxConfig {
        let location = match &self.database {
            None => Location::Sqlite(self.folder.path().join("outbox.db")),
            Some(database) => Location::Postgres(database.url().to_owned().into()),
        };
        let mut config = OutboxConfig::new(location, self.key_file());
        config.clock = self.clock.clone();
        config.jitter = Arc::new(FixedJitter(1.0));
        config
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("outbox.key")
    }

    pub(crate) async fn open(&self, sink: &Sink) -> Outbox {
        Outbox::open(self.config(), Arc::new(sink.clone())).await.unwrap()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// One piece that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) address: String,
    pub(crate) text: String,
    pub(crate) id: String,
    pub(crate) sent_at: u64,
    pub(crate) files: Vec<File>,
}

/// Reaction of the other side to the next attempt.
#[derive(Clone)]
pub(crate) enum Reaction {
    /// Answers this; the message has not arrived.
    Answer(Outcome),
    /// Takes the message, and the answer is lost.
    TakeAndSilence,
    /// Takes the message and answers this.
    TakeAnd(Outcome),
    /// Takes the message after this time, and says so.
    Slow(Duration),
    /// Takes the message a second time without knowing whether it has the first.
    TakeTwice,
    /// Does this, then takes the message.
    Do(Arc<dyn Fn() + Send + Sync>),
    /// Does this, and answers that; the message has not arrived.
    DoAnd(Arc<dyn Fn() + Send + Sync>, Outcome),
}

/// The other side: keeps what arrives, recognises repeats by their id.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    arrived: Vec<Arrived>,
    reactions: HashMap<String, VecDeque<Reaction>>,
    attempts: Vec<(String, bool)>,
    late: Vec<Late>,
}

impl Sink {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sets the reactions to the next attempts at an address; after them every message is taken.
    pub(crate) fn next(&self, address: &str, reactions: impl IntoIterator<Item = Reaction>) {
        self.0
            .lock()
            .unwrap()
            .reactions
            .entry(address.to_owned())
            .or_default()
            .extend(reactions);
    }

    /// Sends a piece back although it was taken.
    pub(crate) fn send_back(&self, id: &str) {
        self.0.lock().unwrap().late.push(Late {
            id: id.to_owned(),
            to: "bob@localhost".to_owned(),
            reason: "bob@localhost accepts no messages".to_owned(),
            remedy: "check the recipient".to_owned(),
        });
    }

    pub(crate) fn texts(&self, address: &str) -> Vec<String> {
        self.arrived()
            .into_iter()
            .filter(|one| one.address == address)
            .map(|one| one.text)
            .collect()
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.0.lock().unwrap().arrived.clone()
    }

    /// Id of each attempt, and whether it was marked as a repeat.
    pub(crate) fn attempts(&self) -> Vec<(String, bool)> {
        self.0.lock().unwrap().attempts.clone()
    }
}

pub(crate) fn delivered() -> Outcome {
    Outcome::Delivered {
        confirmed_by: Confirmation::Server,
        id: Some("7".to_owned()),
    }
}

pub(crate) fn later(seconds: Option<u64>) -> Reaction {
    Reaction::Answer(Outcome::Deferred {
        reason: "busy".to_owned(),
        remedy: "wait".to_owned(),
        retry_after: seconds.map(Duration::from_secs),
    })
}

impl Transport for Sink {
    /// A `|` in the text parts it into pieces.
    fn encode(
        &self,
        destination: &Destination,
        message: &Message,
        stamp: &MessageId,
    ) -> Result<Vec<Encoded>, Outcome> {
        if message.body.is_empty() && message.title.is_empty() {
            return Err(Outcome::refused("there is nothing to send", "give a body"));
        }
        let text = if message.title.is_empty() {
            message.body.clone()
        } else {
            format!("{}: {}", message.title, message.body)
        };
        Ok(text
            .split('|')
            .enumerate()
            .map(|(n, text)| {
                let MessageId {
                    id,
                    sent_at_ms: sent_at,
                } = stamp.piece(n);
                let piece =
                    json!({ "address": destination.address, "text": text, "id": id, "sent_at": sent_at });
                Encoded::from_value("test", &piece)
            })
            .collect())
    }

    fn deliver<'a>(&'a self, request: DeliveryRequest<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let piece: serde_json::Value = request.piece.to_value("test").unwrap();
            let text = |name: &str| piece[name].as_str().unwrap().to_owned();
            let arrived = Arrived {
                address: text("address"),
                text: text("text"),
                id: text("id"),
                sent_at: piece["sent_at"].as_u64().unwrap(),
                files: request.files.to_vec(),
            };
            let reaction = {
                let mut inside = self.0.lock().unwrap();
                inside.attempts.push((arrived.id.clone(), request.repeat));
                if request.repeat && inside.arrived.iter().any(|one| one.id == arrived.id) {
                    return delivered();
                }
                let reaction = inside
                    .reactions
                    .get_mut(&arrived.address)
                    .and_then(VecDeque::pop_front);
                if !matches!(
                    reaction,
                    Some(Reaction::Answer(_) | Reaction::DoAnd(..) | Reaction::Slow(_))
                ) {
                    inside.arrived.push(arrived.clone());
                }
                reaction
            };
            match reaction {
                None => delivered(),
                Some(Reaction::DoAnd(act, outcome)) => {
                    act();
                    outcome
                }
                Some(Reaction::Do(act)) => {
                    act();
                    delivered()
                }
                Some(Reaction::TakeTwice) => {
                    request.checkpoint.repeated();
                    delivered()
                }
                Some(Reaction::Answer(outcome) | Reaction::TakeAnd(outcome)) => outcome,
                Some(Reaction::TakeAndSilence) => std::future::pending().await,
                Some(Reaction::Slow(time)) => {
                    tokio::time::sleep(time).await;
                    self.0.lock().unwrap().arrived.push(arrived);
                    delivered()
                }
            }
        })
    }

    fn take_late(&self) -> Vec<Late> {
        std::mem::take(&mut self.0.lock().unwrap().late)
    }
}

pub(crate) fn submission(address: &str, words: &[(&str, &str)]) -> Submission {
    Submission {
        destination: Destination {
            service: "test".to_owned(),
            url: SecretText::new(format!("test://user:topsecretpassword@host/{address}")),
            masked: format!("test://user:****@host/{address}"),
            url_id: "0badcafe".to_owned(),
            address: address.to_owned(),
            target: format!("test://host/{address}"),
            sender: None,
            guest: None,
        },
        rules: Rules::from_words(words.iter().copied(), Some("UTC")).unwrap(),
    }
}

/// Accepts a text for one address.
pub(crate) async fn accept(outbox: &Outbox, address: &str, words: &[(&str, &str)], text: &str) -> Accepted {
    let mut accepted = outbox
        .submit(
            &Message::new(text),
            &[],
            vec![submission(address, words)],
            &AcceptOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(accepted.len(), 1);
    accepted.remove(0)
}

/// Works until nothing is due at the time the clock shows.
pub(crate) async fn flush(outbox: &Outbox) -> Summary {
    let settings = FlushSettings::default()
        .with_deadline(Duration::from_secs(60))
        .with_now(false)
        .with_wait(false)
        .with_retries(true);
    outbox.flush(worker(), settings).await.unwrap()
}

pub(crate) fn worker() -> WorkerSettings {
    WorkerSettings::default().with_poll(Duration::from_millis(20))
}

pub(crate) async fn state(outbox: &Outbox, id: &OutboxId) -> State {
    outbox.get(id).await.unwrap().expect("the entry is there").state
}
