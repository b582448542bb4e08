//! One direction of a bridge: takes the entries of the database in their order, and decides about each.

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::clock::now_ms;
use crate::job::{Answered, Job, Post};
use crate::limits::{millis, spoken};
use crate::refused::{Refusal, tell_refusal};
use crate::shared::Shared;
use crate::store::{Entry, Side, State, Store, StoreError};

/// Interval between two checks of the database when nothing wakes the bridge.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Result of an attempt.
pub(crate) enum Ended {
    /// It crossed, or need not any more.
    Done,
    /// Its message was retracted while it was prepared.
    Gone,
    /// It cannot cross.
    Refused(Refusal),
    /// It is tried again: after this many milliseconds, for this reason.
    Later(i64, String),
}

impl Ended {
    pub(crate) fn refused(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused(Refusal {
            cause: cause.into(),
            remedy: remedy.into(),
        })
    }
}

/// The new version of a message.
pub(crate) struct Edit<'a> {
    /// Its author as shown.
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    /// The message that it answers.
    pub(crate) answers: Option<&'a Answered>,
}

type Attempt = Result<Ended, StoreError>;

/// Carries the entries of one direction.
pub(crate) trait Lane: Send {
    /// The side to which it carries.
    const SIDE: Side;

    /// Waits until the other side can be written to.
    fn ready(&mut self) -> impl Future<Output = ()> + Send;

    /// Carries a message. `maybe_sent`: an earlier attempt may have arrived.
    fn post(&mut self, entry: &Entry, post: &Post, maybe_sent: bool) -> impl Future<Output = Attempt> + Send;

    /// Changes a message that crossed.
    fn edit(&mut self, entry: &Entry, target: &str, edit: &Edit<'_>) -> impl Future<Output = Attempt> + Send;

    /// Deletes a message that crossed.
    fn delete(&mut self, entry: &Entry, target: &str) -> impl Future<Output = Attempt> + Send;

    /// Brings the reactions to a message in line with those of the other side.
    fn react(&mut self, entry: &Entry, target: &str) -> impl Future<Output = Attempt> + Send;
}

/// Carries until the database fails.
pub(crate) async fn run<L: Lane>(shared: &Shared, mut lane: L) -> Result<(), StoreError> {
    let mut paused = shared.paused.subscribe();
    loop {
        lane.ready().await;
        // The lines of the bridge itself cross during a pause too: they say that it is paused.
        let next = if *paused.borrow_and_update() {
            shared.store.next_notice(&shared.name, L::SIDE).await?
        } else {
            shared.store.next(&shared.name, L::SIDE).await?
        };
        let Some(entry) = next else {
            tokio::select! {
                _ = timeout(LOOK_AGAIN, shared.woken(L::SIDE).notified()) => {}
                _ = paused.changed() => {}
            }
            continue;
        };
        let now = now_ms();
        if entry.due > now {
            let wait = u64::try_from(entry.due - now).unwrap_or_default();
            sleep(Duration::from_millis(wait.min(2_000))).await;
            continue;
        }
        // An entry that was prepared before a kill may have arrived.
        let maybe_sent = entry.tries > 0 || !entry.prepared.is_empty();
        let expiry = shared.limits.expiry;
        let ended = if is_expired(shared, &entry, now - millis(expiry)).await? {
            Ended::refused(
                format!("it waited for more than {}", spoken(expiry)),
                "write it again; !bridge shows the state of the bridge",
            )
        } else {
            carry(&shared.store, &mut lane, &entry, maybe_sent).await?
        };
        finish(shared, L::SIDE, &entry, ended).await?;
    }
}

/// Returns true if an entry has waited since before `oldest`, milliseconds since 1970. Time in a pause by command does not count.
async fn is_expired(shared: &Shared, entry: &Entry, oldest: i64) -> Result<bool, StoreError> {
    Ok(entry.made < oldest && shared.store.pause_ended(&shared.name).await? < oldest)
}

async fn carry<L: Lane>(store: &Store, lane: &mut L, entry: &Entry, maybe_sent: bool) -> Attempt {
    match &entry.job {
        Job::Post(post) => lane.post(entry, post, maybe_sent).await,
        Job::Notice { text } if text.is_empty() => Ok(Ended::Done),
        Job::Notice { text } => {
            let post = Post {
                text: text.clone(),
                ..Post::default()
            };
            lane.post(entry, &post, maybe_sent).await
        }
        Job::Edit {
            target,
            name,
            text,
            answers,
        } => {
            let edit = Edit {
                name,
                text,
                answers: answers.as_ref(),
            };
            lane.edit(entry, target, &edit).await
        }
        Job::Delete { target } => lane.delete(entry, target).await,
        Job::React { target } => {
            if !store.take_in_hand(entry.id).await? {
                return Ok(Ended::Gone);
            }
            lane.react(entry, target).await
        }
    }
}

/// Stores the result of an entry, and tells that a message or a change cannot cross.
async fn finish(shared: &Shared, side: Side, entry: &Entry, ended: Ended) -> Result<(), StoreError> {
    let kind = entry.job.kind();
    match ended {
        Ended::Gone => Ok(()),
        Ended::Done => shared.store.end(entry.id, State::Done, "").await,
        Ended::Refused(refusal) => {
            let to = side.word();
            tracing::warn!(bridge = shared.name, to, kind, why = refusal.cause, "refused");
            shared.store.end(entry.id, State::Refused, &refusal.cause).await?;
            tell_refusal(shared, side, entry, &refusal).await
        }
        Ended::Later(wait, why) => {
            tracing::debug!(bridge = shared.name, kind, why, "tried again");
            shared.store.later(entry.id, now_ms() + wait, &why).await
        }
    }
}
