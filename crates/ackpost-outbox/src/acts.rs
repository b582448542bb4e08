//! The log of acts: what people did about delivered messages. Lines are only added, and removed after more than a year.

use std::collections::HashSet;
use std::fmt;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::OutboxError;
use super::outbox::{Core, Outbox, system_time};
use super::store::ActRow;
use super::types::time_text;

/// Largest page of the log.
const PAGE: usize = 1_000;

/// Result of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ActResult {
    /// It began, and no end was written down: the program stopped meanwhile.
    Begun,
    /// It was done.
    Done,
    /// Another person had done it before; nothing was changed.
    Already,
    /// It was tried and failed.
    Failed,
    /// The person may not do it.
    Refused,
}

impl ActResult {
    /// All results.
    pub const ALL: [Self; 5] = [
        Self::Begun,
        Self::Done,
        Self::Already,
        Self::Failed,
        Self::Refused,
    ];

    /// Returns the lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Already => "already",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for ActResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An act that is about to be written down.
#[derive(Clone, Debug)]
pub struct NewAct<'a> {
    /// Names the gesture among all gestures: the place, the person and the id of the message.
    pub gesture: &'a str,
    /// Names what the act is about. [`Outbox::acts_about`] finds it.
    pub subject: &'a str,
    /// The kind in one word, such as `silence`.
    pub kind: &'a str,
    /// The result.
    pub result: ActResult,
    /// Details. They are stored encrypted.
    pub detail: Map<String, Value>,
}

/// A line of the log.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Act {
    /// Ascending number.
    pub number: i64,
    /// Time at which it was written down.
    #[serde(serialize_with = "time")]
    pub at: SystemTime,
    /// The kind in one word.
    pub kind: String,
    /// The result.
    pub result: ActResult,
    /// Details.
    #[serde(flatten)]
    pub detail: Map<String, Value>,
}

fn time<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_text(*time))
}

impl Outbox {
    /// Claims a gesture and writes down that an act begins, in one commit. Returns false if the gesture was claimed before:
    /// it must not be acted on again.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn begin_act(&self, act: &NewAct<'_>) -> Result<bool, OutboxError> {
        let row = self.0.act_row(act).await?;
        self.0.store.begin_act(&row).await
    }

    /// Writes down the result of an act.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn end_act(&self, act: &NewAct<'_>) -> Result<(), OutboxError> {
        let row = self.0.act_row(act).await?;
        self.0.store.add_act(&row).await
    }

    /// Returns the log before a number, newest first, at most 1,000 lines. An act that ended has one line.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn acts(&self, before: Option<i64>, limit: usize) -> Result<Vec<Act>, OutboxError> {
        self.0.acts(None, before, limit).await
    }

    /// Returns the log about one subject, newest first, at most 1,000 lines.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn acts_about(&self, subject: &str, limit: usize) -> Result<Vec<Act>, OutboxError> {
        let subject = self.0.seal.name(&[b"subject", subject.as_bytes()]);
        self.0.acts(Some(&subject), None, limit).await
    }
}

impl Core {
    async fn act_row(&self, act: &NewAct<'_>) -> Result<ActRow, OutboxError> {
        let gesture = self.seal.name(&[b"gesture", act.gesture.as_bytes()]);
        let plain = serde_json::to_vec(&act.detail).expect("JSON can be written");
        Ok(ActRow {
            seq: 0,
            at: self.now_ms().await?,
            sealed: self.seal.seal("act", &plain),
            gesture,
            subject: self.seal.name(&[b"subject", act.subject.as_bytes()]),
            kind: act.kind.to_owned(),
            result: act.result.as_str().to_owned(),
        })
    }

    async fn acts(
        &self,
        subject: Option<&[u8]>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Act>, OutboxError> {
        let limit = limit.clamp(1, PAGE);
        // An act has at most two lines, and the earlier one is left out.
        let rows = i64::try_from(2 * limit).unwrap_or(i64::MAX);
        let before = before.unwrap_or(i64::MAX);
        let rows = self.store.acts(subject, before, rows).await?;
        let mut ended = HashSet::new();
        let mut acts = Vec::new();
        for row in rows {
            let result = ActResult::ALL.into_iter().find(|one| one.as_str() == row.result);
            let result = result.unwrap_or(ActResult::Begun);
            if result == ActResult::Begun && ended.contains(&row.gesture) {
                continue;
            }
            let detail = self.seal.open("act", &row.sealed);
            let detail = detail.and_then(|plain| serde_json::from_slice(&plain).ok());
            acts.push(Act {
                number: row.seq,
                at: system_time(row.at),
                kind: row.kind,
                result,
                detail: detail.unwrap_or_default(),
            });
            ended.insert(row.gesture);
            if acts.len() == limit {
                break;
            }
        }
        Ok(acts)
    }
}
