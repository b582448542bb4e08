//! The watchdog: it sends an alarm when a target has not answered for long or the dead-letter box grows.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use super::accept::{Bundle, Submission, Submitted};
use super::clock::span_ms;
use super::config::Alarm;
use super::error::OutboxError;
use super::outbox::Outbox;
use super::services::destination;
use super::store::{AlarmGuard, LaneRow, View};
use super::types::{AcceptOptions, Accepted, State};
use ackpost_notify::queue_rules::{Rules, span_text};
use ackpost_notify::{Kind, Message};

/// Maximum number of dead letters that one alarm names; the others are counted.
const NAMED: usize = 5;
/// Maximum number of dead letters reported at once.
const AT_ONCE: i64 = 1000;

impl Outbox {
    /// Looks once, and tells the first target of the alarm's services that is not in trouble itself. Each trouble is
    /// reported once, whoever looks; a target that recovers and fails again is a new one.
    ///
    /// # Errors
    /// The database cannot be read, or the alarm cannot be stored.
    pub async fn watch(&self, alarm: &Alarm) -> Result<Option<Accepted>, OutboxError> {
        let inner = &self.0;
        let now = inner.now_ms().await?;
        let lanes = inner.store.lanes().await?;
        let (silent, dead) = (
            overdue(&lanes, alarm, now),
            inner.store.dead_without_alarm(AT_ONCE).await?,
        );
        if silent.is_empty() && dead.is_empty() {
            return Ok(None);
        }
        let failing: HashSet<&[u8]> = lanes
            .iter()
            .filter(|lane| lane.failing_since.is_some())
            .map(|lane| lane.id.as_slice())
            .collect();
        let mut targets = Vec::with_capacity(dead.len());
        for view in &dead {
            targets.push(inner.labels.open(view.label_at()).await?.target);
        }
        let services = alarm.services.get();
        let choice = services
            .iter()
            .flat_map(|service| {
                service
                    .targets()
                    .into_iter()
                    .map(move |target| destination(service, &target))
            })
            .find(|destination| {
                !failing.contains(inner.lane_of(destination).as_slice())
                    && !targets.contains(&destination.target)
            });
        let Some(destination) = choice else {
            tracing::warn!(
                silent = silent.len(),
                dead = dead.len(),
                "deliveries fail, and no working target is left for the alarm"
            );
            return Ok(None);
        };
        let dead_targets: Vec<(&View, String)> = dead.iter().zip(targets).collect();
        let message = self.alarm_text(&silent, &dead_targets, now).await?;
        let guard = AlarmGuard {
            lanes: silent.iter().map(|lane| lane.id.clone()).collect(),
            dead: dead.iter().map(|view| view.seq).collect(),
        };
        let submission = Submission {
            destination,
            rules: Rules::default(),
        };
        let submitted = Submitted {
            message: Cow::Borrowed(&message),
            bundles: vec![Bundle::of(vec![submission])],
            options: Cow::Owned(AcceptOptions::default()),
        };
        let mut accepted = self.store_submissions(&[], vec![submitted], Some(guard)).await?;
        let accepted = accepted.pop();
        if let Some(accepted) = &accepted {
            let text = format!("{}: told {}", message.title, accepted.target);
            tracing::warn!(target_told = %accepted.target, "{}", message.title);
            inner
                .store
                .log(now, "alarm", &inner.seal.seal("event", text.as_bytes()))
                .await?;
        }
        Ok(accepted)
    }

    async fn alarm_text(
        &self,
        silent: &[&LaneRow],
        dead: &[(&View, String)],
        now: i64,
    ) -> Result<Message, OutboxError> {
        let mut lines = Vec::new();
        for lane in silent {
            let shown = self.0.lane_of_row(lane, now).await?;
            let since = span_text(Duration::from_secs(shown.failing_seconds.unwrap_or(0)));
            let reason = shown.reason.unwrap_or_else(|| "no reason known".to_owned());
            lines.push(format!(
                "{} has accepted nothing for {since} ({} waiting): {reason}",
                shown.target, shown.waiting
            ));
        }
        for (view, target) in dead.iter().take(NAMED) {
            let reason = self.0.open_outcome(&view.id, view.outcome.as_deref());
            let reason = reason
                .as_ref()
                .and_then(|outcome| outcome.reason())
                .unwrap_or("no reason known");
            let id = &view.id;
            lines.push(if is_partial(view) {
                format!("{id} arrived only in part at {target}: {reason}")
            } else {
                format!("{id} was given up for {target}: {reason}")
            });
        }
        if dead.len() > NAMED {
            lines.push(format!("and {} more in the dead-letter box", dead.len() - NAMED));
        }
        let partial = dead.iter().filter(|(view, _)| is_partial(view)).count();
        let title: Vec<String> = [
            (silent.len(), unanswered(silent.len())),
            (dead.len() - partial, given_up(dead.len() - partial)),
            (partial, arrived_partly(partial)),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(_, text)| text)
        .collect();
        Ok(Message::new(lines.join("\n"))
            .title(title.join(", "))
            .kind(Kind::Failure))
    }
}

/// Returns the lanes that have been failing for too long and for which no alarm was sent.
fn overdue<'a>(lanes: &'a [LaneRow], alarm: &Alarm, now: i64) -> Vec<&'a LaneRow> {
    lanes
        .iter()
        .filter(|lane| lane.alarmed_at.is_none())
        .filter(|lane| {
            let after = lane.alarm_after.unwrap_or_else(|| span_ms(alarm.after));
            lane.failing_since
                .is_some_and(|since| since.saturating_add(after) <= now)
        })
        .collect()
}

fn is_partial(view: &View) -> bool {
    view.state == State::Partial.code()
}

fn arrived_partly(messages: usize) -> String {
    match messages {
        1 => "1 message arrived only in part".to_owned(),
        many => format!("{many} messages arrived only in part"),
    }
}

fn given_up(messages: usize) -> String {
    match messages {
        1 => "1 message was given up".to_owned(),
        more => format!("{more} messages were given up"),
    }
}

fn unanswered(targets: usize) -> String {
    match targets {
        1 => "1 target does not answer".to_owned(),
        more => format!("{more} targets do not answer"),
    }
}
