//! Acts on a gesture: the calls to the alerting program, and the answer.

use std::time::Duration;

use ackpost_outbox::{ActResult, Linked};
use jiff::Timestamp;

use super::record::{Record, Standing};
use super::{Desk, LINES};
use crate::calls::{Alerting, CallError, NewSilence};
use crate::model::alert::Alert;
use crate::model::gesture::Gesture;
use crate::model::words;

/// A silence that ends less than this before the one asked for is as good.
const AS_GOOD: i64 = 60;

/// An alert that a gesture is about.
pub(super) struct Found {
    pub(super) linked: Linked,
    pub(super) alert: Alert,
    pub(super) subject: String,
}

/// Reason why an act failed, in words for the person.
pub(super) struct Failed(pub(super) String);

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self(words::failed(&error.to_string(), error.remedy()))
    }
}

/// Result of an act.
pub(super) struct Done {
    pub(super) result: ActResult,
    pub(super) answer: String,
    pub(super) state: Option<String>,
    pub(super) record: Record,
}

impl Desk {
    pub(super) fn alerting(&self, alert: &Alert) -> Result<&Alerting, Failed> {
        let fits =
            |one: &&Alerting| one.source().kind == alert.source && one.source().keys.contains(&alert.key);
        self.0.sources.iter().find(fits).ok_or_else(|| {
            let cause = format!("no source in [operate] answers alerts of the key {}", alert.key);
            Failed(words::failed(
                &cause,
                "ask the operator to add the key to a source",
            ))
        })
    }

    /// The silences that were made from a conversation and still hold at the alerting program, newest first.
    async fn standing(&self, found: &Found, alerting: &Alerting) -> Result<Vec<Standing>, Failed> {
        let acts = self.0.outbox.acts_about(&found.subject, LINES).await;
        let acts = acts.map_err(|error| Failed(words::failed(&error.to_string(), &error.remedy())))?;
        let mut holding = Vec::new();
        for standing in Standing::all_of(&acts, Timestamp::now()) {
            if alerting.is_silenced(&standing.silence).await? {
                holding.push(standing);
            }
        }
        Ok(holding)
    }

    pub(super) async fn perform(
        &self,
        gesture: &Gesture,
        found: &Found,
        record: Record,
    ) -> Result<Done, Failed> {
        let alerting = self.alerting(&found.alert)?;
        let standing = self.standing(found, alerting).await?;
        match gesture {
            Gesture::Acknowledge { text } => self.acknowledge(text, found, alerting, standing, record).await,
            Gesture::Silence { span, text, labels } => {
                let span = span.unwrap_or(self.0.settings.default_silence);
                let wanted = Wanted { span, text, labels };
                self.silence(&wanted, found, alerting, standing, record).await
            }
            Gesture::Unsilence => unsilence(alerting, standing, record).await,
            Gesture::Status => self.status(found, alerting, standing, record).await,
        }
    }

    async fn acknowledge(
        &self,
        text: &str,
        found: &Found,
        alerting: &Alerting,
        standing: Vec<Standing>,
        record: Record,
    ) -> Result<Done, Failed> {
        let answer = words::acknowledged(&record.shown, text);
        let mut record = record.said(text);
        if let Some(span) = self.0.settings.acknowledge.filter(|_| standing.is_empty()) {
            let wanted = Wanted {
                span,
                text,
                labels: &[],
            };
            record = make(&wanted, found, alerting, record).await?;
        }
        Ok(Done {
            result: ActResult::Done,
            state: Some(answer.clone()),
            answer,
            record,
        })
    }

    async fn silence(
        &self,
        wanted: &Wanted<'_>,
        found: &Found,
        alerting: &Alerting,
        standing: Vec<Standing>,
        record: Record,
    ) -> Result<Done, Failed> {
        let now = Timestamp::now();
        let longest = self.0.settings.longest;
        if wanted.span > longest {
            let cause = format!("the longest silence is {}", words::span(longest));
            return Err(Failed(words::failed(&cause, "write a shorter time")));
        }
        let matchers = found
            .alert
            .matchers(wanted.labels)
            .map_err(|error| Failed(words::failed(&error.to_string(), error.remedy())))?;
        let ends_at = end(now, wanted.span).as_second();
        let as_good = standing
            .iter()
            .find(|one| one.ends_at.as_second() + AS_GOOD >= ends_at && one.covers(&matchers));
        if let Some(standing) = as_good {
            return Ok(Done {
                result: ActResult::Already,
                answer: standing.silenced().already(now),
                state: None,
                record,
            });
        }
        let record = make(wanted, found, alerting, record).await?;
        let made = record.standing().ok_or_else(|| Failed(String::new()))?;
        // The new one lasts longer and matches as much. If the old one stays as well, `unsilence` ends both.
        for old in standing
            .iter()
            .filter(|old| made.covers(&old.matchers) && made.ends_at >= old.ends_at)
        {
            if let Err(error) = alerting.unsilence(&old.silence).await {
                tracing::warn!(%error, "a silence that a longer one replaces could not be ended");
            }
        }
        Ok(Done {
            result: ActResult::Done,
            answer: made.silenced().answer(now),
            state: Some(made.silenced().state(now)),
            record,
        })
    }

    async fn status(
        &self,
        found: &Found,
        alerting: &Alerting,
        standing: Vec<Standing>,
        record: Record,
    ) -> Result<Done, Failed> {
        let now = Timestamp::now();
        let matchers = found
            .alert
            .matchers(&[])
            .map_err(|error| Failed(words::failed(&error.to_string(), error.remedy())))?;
        let answer = match standing.first() {
            Some(standing) => standing.silenced().already(now),
            None => words::status(found.alert.name(), alerting.firing(&matchers).await?),
        };
        Ok(Done {
            result: ActResult::Done,
            answer,
            state: None,
            record,
        })
    }
}

/// A silence that a person wants.
struct Wanted<'a> {
    span: Duration,
    text: &'a str,
    labels: &'a [String],
}

/// Makes a silence, and puts it into the record.
async fn make(
    wanted: &Wanted<'_>,
    found: &Found,
    alerting: &Alerting,
    record: Record,
) -> Result<Record, Failed> {
    let matchers = found
        .alert
        .matchers(wanted.labels)
        .map_err(|error| Failed(words::failed(&error.to_string(), error.remedy())))?;
    let now = Timestamp::now();
    let ends_at = end(now, wanted.span);
    let comment = if wanted.text.is_empty() {
        format!("answered in {}", record.at)
    } else {
        format!("{} (answered in {})", wanted.text, record.at)
    };
    let silence =
        NewSilence::new(&matchers, (now, ends_at)).by(format!("{} via ackpost", record.who), comment);
    let id = alerting.silence(&silence).await?;
    let source = &alerting.source().name;
    Ok(record
        .said(wanted.text)
        .silenced((id, ends_at), &matchers, source, &found.subject))
}

async fn unsilence(alerting: &Alerting, standing: Vec<Standing>, record: Record) -> Result<Done, Failed> {
    let Some(latest) = standing.first() else {
        return Ok(Done {
            result: ActResult::Already,
            answer: "🔔 no silence that was made from a conversation holds for this alert".to_owned(),
            state: None,
            record,
        });
    };
    for one in &standing {
        alerting.unsilence(&one.silence).await?;
    }
    let answer = words::unsilenced(&record.shown);
    Ok(Done {
        result: ActResult::Done,
        state: Some(answer.clone()),
        answer,
        record: record.unsilenced(latest),
    })
}

fn end(now: Timestamp, span: Duration) -> Timestamp {
    let span = jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::from_hours(1));
    now.checked_add(span).unwrap_or(now)
}
