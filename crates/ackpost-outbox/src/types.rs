//! Arguments and results of the queue's operations.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use ackpost_notify::UnknownWord;
use ackpost_notify::queue_rules::{Dedup, QuietHours, RateLimit};
use ackpost_notify::{Confirmation, Lack, Outcome};

/// The name of one message at one target in the outbox: 16 lower-case letters and digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct OutboxId(String);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl OutboxId {
    /// Creates a new id of 80 random bits.
    pub(crate) fn random() -> Self {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).expect("the operating system has random bytes");
        Self(
            bytes
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
                .collect(),
        )
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OutboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OutboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not the name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an outbox id has 16 lower-case letters and digits")]
pub struct BadOutboxId;

impl FromStr for OutboxId {
    type Err = BadOutboxId;

    fn from_str(text: &str) -> Result<Self, BadOutboxId> {
        let text = text.trim().to_ascii_lowercase();
        (text.len() == 16 && text.bytes().all(|byte| ALPHABET.contains(&byte)))
            .then_some(Self(text))
            .ok_or(BadOutboxId)
    }
}

/// State of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Further messages are merged into it until its time has come (`digest=`, repeats of `dedup=`).
    Collecting,
    /// It waits for its turn.
    Waiting,
    /// An attempt is being made.
    Sending,
    /// The other side has it.
    Delivered,
    /// The other side took it, but not as it was asked for (withheld, without its files, unconfirmed). It is not sent
    /// again.
    Partial,
    /// It was permanently refused or ran out of time: the dead-letter box.
    Dead,
    /// A user dropped it.
    Dropped,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Collecting,
        Self::Waiting,
        Self::Sending,
        Self::Delivered,
        Self::Partial,
        Self::Dead,
        Self::Dropped,
    ];

    /// Returns the lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collecting => "collecting",
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Partial => "partial",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }

    /// True when nothing more will happen to it by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Partial | Self::Dead | Self::Dropped)
    }

    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Collecting => 0,
            Self::Waiting | Self::Sending => 1,
            Self::Delivered => 2,
            Self::Dead => 3,
            Self::Dropped => 4,
            Self::Partial => 5,
        }
    }

    pub(crate) fn from_code(code: i64, sending: bool) -> Self {
        match code {
            0 => Self::Collecting,
            1 if sending => Self::Sending,
            1 => Self::Waiting,
            2 => Self::Delivered,
            3 => Self::Dead,
            5 => Self::Partial,
            _ => Self::Dropped,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let wanted = text.trim();
        Self::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(wanted))
            .ok_or_else(|| UnknownWord {
                expected: Self::ALL.map(Self::as_str).join(", "),
            })
    }
}

/// Reason why an entry waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// It waits for its turn.
    Turn,
    /// The pause after a failed attempt.
    Backoff,
    /// The time that the other side asked for.
    AskedToWait,
    /// The end of the quiet hours.
    Quiet,
    /// Room in the budget.
    Budget,
}

impl Hold {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Turn => 0,
            Self::Backoff => 1,
            Self::AskedToWait => 2,
            Self::Quiet => 3,
            Self::Budget => 4,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Backoff,
            2 => Self::AskedToWait,
            3 => Self::Quiet,
            4 => Self::Budget,
            _ => Self::Turn,
        }
    }

    /// Returns a short description.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "its turn",
            Self::Backoff => "the delay after a failed attempt",
            Self::AskedToWait => "the time that the server requested",
            Self::Quiet => "the end of the quiet hours",
            Self::Budget => "the rate limit (budget)",
        }
    }
}

/// One message at one target.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Id of the entry.
    pub id: OutboxId,
    /// `sogs`, `xmpp`, …
    pub service: String,
    /// The service's URL, masked.
    pub url: String,
    /// The first eight digits of the service's uid.
    pub url_id: String,
    /// The target in full without secrets.
    pub target: String,
    /// State of the entry.
    pub state: State,
    /// Time at which it was accepted.
    #[serde(serialize_with = "time")]
    pub accepted_at: SystemTime,
    /// Earliest time of the next attempt; meaningless once the state is final.
    #[serde(serialize_with = "time")]
    pub due_at: SystemTime,
    /// Time at which it goes to the dead-letter box undelivered.
    #[serde(serialize_with = "time")]
    pub expires_at: SystemTime,
    /// Time at which the state became final.
    #[serde(serialize_with = "optional_time")]
    pub settled_at: Option<SystemTime>,
    /// Number of attempts that were begun.
    pub attempts: u32,
    /// Number of pieces it is sent in; 0 while messages are collected.
    pub pieces: u32,
    /// Number of pieces that the other side has.
    pub pieces_done: u32,
    /// Number of further messages that were merged into it.
    pub folded: u64,
    /// Reason why it waits.
    pub waits_for: Hold,
    /// Outcome of the latest attempt.
    #[serde(serialize_with = "optional_outcome")]
    pub outcome: Option<Outcome>,
    /// Configuration that it was accepted through; see [`AcceptOptions::origin`].
    #[serde(skip)]
    pub origin: Option<String>,
}

/// One line of the log.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// Number of the line, in ascending order.
    pub number: i64,
    /// Time of the event.
    #[serde(serialize_with = "time")]
    pub at: SystemTime,
    /// Id of the entry that the event is about.
    pub entry: String,
    /// `accepted`, `folded`, `closed`, `delivered`, `deferred`, `refused`, `expired`, `retried`, `dropped`, `repeated`, `late`, `note`,
    /// `alarm`.
    pub kind: String,
    /// Description of the event, in words.
    pub text: String,
}

/// One target of an accepted message.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The entry that carries it. With `folded` it carries others too.
    pub id: OutboxId,
    /// `sogs`, `xmpp`, …
    pub service: String,
    /// The service's URL, masked.
    pub url: String,
    /// The first eight digits of the service's uid.
    pub url_id: String,
    /// The target in full without secrets.
    pub target: String,
    /// [`State::Waiting`], or [`State::Collecting`] when it is sent together with others.
    pub state: State,
    /// It was put to an entry that was there before.
    pub folded: bool,
    /// Files that could not be read, and why; the text goes without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_files: Vec<String>,
}

/// Largest context of a message.
pub const MAX_CONTEXT_BYTES: usize = 64 << 10;

/// Options of a caller for one message; they take precedence over the URL.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct AcceptOptions {
    /// Time to live.
    pub ttl: Option<Duration>,
    /// Rule for folding repeats.
    pub dedup: Option<Dedup>,
    /// Time for which messages are collected and sent as one.
    pub digest: Option<Duration>,
    /// Maximum number of posts in a time span.
    pub budget: Option<RateLimit>,
    /// Quiet hours, in the time zone of the URL.
    pub quiet: Option<QuietHours>,
    /// The settings of the run (`asset:` of a configuration): what they say about the message is applied now, what
    /// they say about the sender is kept with it.
    pub asset: Option<ackpost_notify::Asset>,
    /// Files that could not be read, and why. [`Outbox::accept`](super::Outbox::accept) adds those that it finds.
    pub missing_files: Vec<String>,
    /// Name of the configuration that the message comes through, for access control. Messages of different origins
    /// are never put into one entry.
    pub origin: Option<String>,
    /// A text for the program itself, at most [`MAX_CONTEXT_BYTES`](super::MAX_CONTEXT_BYTES). For a week after the delivery,
    /// [`Outbox::context_of`](super::Outbox::context_of) finds it by the id of the delivered message. A message that is put
    /// into a collection loses it.
    pub context: Option<super::transport::SecretText>,
}

crate::setters::setters!(AcceptOptions {
    with_ttl(ttl: Option<Duration>),
    with_dedup(dedup: Option<Dedup>),
    with_digest(digest: Option<Duration>),
    with_budget(budget: Option<RateLimit>),
    with_quiet(quiet: Option<QuietHours>),
    with_asset(asset: Option<ackpost_notify::Asset>),
    with_missing_files(missing_files: Vec<String>),
    with_origin(origin: Option<String>),
    with_context(context: Option<super::transport::SecretText>),
});

/// Filter for the entries of a list.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these states; empty means all.
    pub states: Vec<State>,
    /// Only targets whose text contains this.
    pub target: Option<String>,
    /// Maximum number of entries, newest first; 0 means 100. Never more than 10,000.
    pub limit: usize,
    /// Only entries older than this one.
    pub before: Option<OutboxId>,
}

crate::setters::setters!(Filter {
    with_states(states: Vec<State>),
    with_target(target: Option<String>),
    with_limit(limit: usize),
    with_before(before: Option<OutboxId>),
});

/// Selection of the entries to retry or drop.
#[derive(Clone, Debug)]
pub enum Selection {
    /// The entries with these ids.
    Ids(Vec<OutboxId>),
    /// The whole dead-letter box.
    Dead,
    /// Everything that waits or is being collected.
    Waiting,
}

/// Counts of an outbox.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Number of entries that wait for their turn or are being sent.
    pub waiting: u64,
    /// Number of entries that are still being collected.
    pub collecting: u64,
    /// Number of delivered entries that are still listed.
    pub delivered: u64,
    /// Number of entries that were taken, but not as they were asked for, and are still listed.
    pub partial: u64,
    /// Number of entries in the dead-letter box.
    pub dead: u64,
    /// Number of dropped entries that are still listed.
    pub dropped: u64,
    /// Age in seconds of the oldest waiting entry.
    pub oldest_waiting_seconds: Option<u64>,
    /// Number of targets with waiting entries.
    pub lanes: u64,
    /// Number of targets that fail at the moment.
    pub failing_lanes: u64,
    /// Counts of each service since the outbox was made.
    pub services: Vec<ServiceStats>,
}

/// Upper ends of the latency classes, in milliseconds; a last class holds what took longer.
pub const LATENCY_MS: [i64; 6] = [100, 500, 2_000, 10_000, 60_000, 600_000];

/// Counts of one service since the outbox was made.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ServiceStats {
    /// `sogs`, `xmpp`, …
    pub service: String,
    /// Number of entries delivered, those that were handed over included.
    pub delivered: u64,
    /// Number of entries among them that were handed over without proof.
    pub handed_over: u64,
    /// Entries that were taken, but not as they were asked for.
    pub partial: u64,
    /// Pieces sent a second time although nothing shows whether the first one arrived.
    pub repeated: u64,
    /// Pieces that came back after they were reported delivered.
    pub late: u64,
    /// Attempts that failed and were put off.
    pub deferred: u64,
    /// Permanently refused entries.
    pub refused: u64,
    /// Entries that ran out of time.
    pub expired: u64,
    /// Number of attempts begun.
    pub attempts: u64,
    /// Sum of the times from accept to delivery, in milliseconds.
    pub latency_ms_sum: u64,
    /// Number of deliveries per latency class: at most each of [`LATENCY_MS`] (not cumulative), and longer.
    pub latency: [u64; 7],
}

fn time<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_text(*time))
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn optional_time<S: serde::Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&time_text(*time)),
        None => serializer.serialize_none(),
    }
}

/// RFC 3339 in UTC with milliseconds.
pub fn time_text(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "out of range".to_owned(), |stamp| format!("{stamp:.3}"))
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn optional_outcome<S: serde::Serializer>(
    outcome: &Option<Outcome>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    /// A delivery in part under its own word, as in the reports of a message that is not queued.
    #[derive(Serialize)]
    struct InPart<'a> {
        outcome: &'a str,
        id: Option<&'a str>,
        reason: &'a str,
        remedy: &'a str,
    }
    if let Some(
        partial @ Outcome::Partial {
            id, reason, remedy, ..
        },
    ) = outcome
    {
        let outcome = partial.word();
        let id = id.as_deref();
        return InPart {
            outcome,
            id,
            reason,
            remedy,
        }
        .serialize(serializer);
    }
    outcome.as_ref().map(StoredOutcome::from).serialize(serializer)
}

/// An outcome as it is stored.
#[derive(Clone, PartialEq, Serialize, serde::Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub(crate) enum StoredOutcome {
    Delivered {
        confirmed_by: String,
        id: Option<String>,
    },
    /// Accepted without proof; earlier versions wrote `delivered`, confirmed by `handed-over`.
    #[serde(rename = "handed-over")]
    HandedOver {
        confirmed_by: String,
        id: Option<String>,
    },
    Partial {
        lack: String,
        id: Option<String>,
        reason: String,
        remedy: String,
    },
    Deferred {
        reason: String,
        remedy: String,
        retry_after_seconds: Option<u64>,
    },
    Refused {
        reason: String,
        remedy: String,
    },
}

impl From<&Outcome> for StoredOutcome {
    fn from(outcome: &Outcome) -> Self {
        match outcome.clone() {
            Outcome::Delivered {
                confirmed_by: confirmed_by @ (Confirmation::HandedOver | Confirmation::Apprise),
                id,
            } => Self::HandedOver {
                confirmed_by: confirmed_by.as_str().to_owned(),
                id,
            },
            Outcome::Delivered { confirmed_by, id } => Self::Delivered {
                confirmed_by: confirmed_by.as_str().to_owned(),
                id,
            },
            Outcome::Partial {
                lack,
                id,
                reason,
                remedy,
            } => Self::Partial {
                lack: lack.as_str().to_owned(),
                id,
                reason,
                remedy,
            },
            Outcome::Deferred {
                reason,
                remedy,
                retry_after,
            } => Self::Deferred {
                reason,
                remedy,
                retry_after_seconds: retry_after.map(|after| after.as_secs()),
            },
            Outcome::Refused { reason, remedy } => Self::Refused { reason, remedy },
        }
    }
}

impl From<StoredOutcome> for Outcome {
    fn from(stored: StoredOutcome) -> Self {
        match stored {
            StoredOutcome::Delivered { confirmed_by, id }
            | StoredOutcome::HandedOver { confirmed_by, id } => Self::Delivered {
                confirmed_by: [
                    Confirmation::Sent,
                    Confirmation::Apprise,
                    Confirmation::HandedOver,
                    Confirmation::Server,
                    Confirmation::Room,
                    Confirmation::Receipt,
                ]
                .into_iter()
                .find(|level| level.as_str() == confirmed_by)
                .unwrap_or(Confirmation::Server),
                id,
            },
            StoredOutcome::Partial {
                lack,
                id,
                reason,
                remedy,
            } => Self::Partial {
                lack: Lack::ALL
                    .into_iter()
                    .find(|one| one.as_str() == lack)
                    .unwrap_or(Lack::Proof),
                id,
                reason,
                remedy,
            },
            StoredOutcome::Deferred {
                reason,
                remedy,
                retry_after_seconds,
            } => Self::Deferred {
                reason,
                remedy,
                retry_after: retry_after_seconds.map(Duration::from_secs),
            },
            StoredOutcome::Refused { reason, remedy } => Self::Refused { reason, remedy },
        }
    }
}
