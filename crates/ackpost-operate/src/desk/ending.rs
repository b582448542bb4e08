//! The end of a silence: if alerts still fire, a line says so in the conversation that the silence was made from.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use ackpost_outbox::{ActResult, NewAct, OutboxError};
use jiff::Timestamp;
use serde_json::{Map, json};

use super::record::{Record, Standing};
use super::{Desk, Inner, LINES};
use crate::model::words;

/// Time that the alerting program gets to take the end of a silence into account.
const SETTLE: Duration = Duration::from_secs(2);
/// Lines of a page of the log that is read at the start.
const RESUMED: usize = 1_000;
/// Maximum number of pages that are read.
const PAGES: usize = 100;
/// Age up to which the end of a silence is told after a restart.
const LATE: i64 = 3_600;
/// Looks at an alerting program that does not answer.
const ATTEMPTS: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(30);

impl Desk {
    /// Watches the silences on that were made before.
    pub(super) async fn resume(&self) -> Result<(), OutboxError> {
        let oldest = Timestamp::now().as_second() - LATE;
        let settings = &self.0.settings;
        let longest = settings.longest.max(settings.acknowledge.unwrap_or_default());
        let made_since = SystemTime::now() - longest - Duration::from_secs(LATE.unsigned_abs());
        let mut before = None;
        for _ in 0..PAGES {
            let acts = self.0.outbox.acts(before, RESUMED).await?;
            for act in &acts {
                let Some(standing) = Standing::read(&act.detail).filter(|_| act.result == ActResult::Done)
                else {
                    continue;
                };
                let subject = act.detail.get("subject").and_then(|subject| subject.as_str());
                if let Some(subject) = subject.filter(|_| standing.ends_at.as_second() > oldest) {
                    self.watch(subject.to_owned(), standing);
                }
            }
            match acts.last() {
                Some(last) if last.at >= made_since => before = Some(last.number),
                _ => break,
            }
        }
        Ok(())
    }

    /// Watches the silence that a record holds.
    pub(super) fn watch_end(&self, subject: &str, record: &Record) {
        if let Some(standing) = record.standing() {
            self.watch(subject.to_owned(), standing);
        }
    }

    fn watch(&self, subject: String, standing: Standing) {
        // The task ends with the desk: another desk reads the log.
        let desk = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let left = standing.ends_at.duration_since(Timestamp::now());
            let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
            tokio::time::sleep(left + SETTLE).await;
            for _ in 0..ATTEMPTS {
                let Some(desk) = desk.upgrade() else { return };
                match ended(&desk, &subject, &standing).await {
                    Ok(()) => return,
                    Err(cause) => tracing::warn!(cause, "the end of a silence could not be looked at"),
                }
                drop(desk);
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
        });
    }
}

/// Reports that a silence ended, if it was the last one and alerts still fire.
async fn ended(desk: &Inner, subject: &str, standing: &Standing) -> Result<(), String> {
    let acts = desk.outbox.acts_about(subject, LINES).await;
    let acts = acts.map_err(|error| error.to_string())?;
    let latest = acts
        .iter()
        .filter(|act| act.result == ActResult::Done && act.detail.contains_key("silence"))
        .find(|act| act.kind != "end");
    let is_last = latest.is_some_and(|act| {
        act.kind != "unsilence" && act.detail.get("silence") == Some(&json!(standing.silence))
    });
    let alerting = desk
        .sources
        .iter()
        .find(|one| one.source().name == standing.source);
    let (true, Some(alerting)) = (is_last, alerting) else {
        return Ok(());
    };
    let firing = alerting.firing(&standing.matchers).await;
    let firing = firing.map_err(|error| error.to_string())?;
    if firing == 0 {
        return Ok(());
    }
    let line = words::ended(&standing.alert, firing);
    let detail: Map<_, _> = [
        ("alert", json!(standing.alert)),
        ("silence", json!(standing.silence)),
        ("place", json!(standing.at)),
        ("answer", json!(line)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    let gesture = format!("end of {}", standing.silence);
    let act = NewAct {
        gesture: &gesture,
        subject,
        kind: "end",
        result: ActResult::Done,
        detail,
    };
    if !desk
        .outbox
        .begin_act(&act)
        .await
        .map_err(|error| error.to_string())?
    {
        return Ok(());
    }
    desk.counts.add("end", ActResult::Done);
    let voice = desk
        .voices
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&standing.at)
        .cloned();
    if let Some(voice) = voice {
        // A conversation that accepts no lines any more is looked after by nobody.
        let _ = voice.send(format!("{}\n{line}", standing.at)).await;
    }
    Ok(())
}
