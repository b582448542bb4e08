//! One connection per XMPP account, shared by every URL and target that uses it.
//!
//! Each account has a small task. Messages that are handed to it while it is idle or busy are collected and go out
//! together, so that ten targets of one account cost one login.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ackpost_xmpp::{Account, Event, Events, Outcome, Outgoing, Session, SessionOptions, XmppError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::dispatch::delivery::Late;
use crate::dispatch::pool::Party;
use crate::dispatch::recent::Recent;
use crate::problem::Diagnostic;

/// Requests of one account that may wait.
const WAITING: usize = 1024;
/// Most messages in one go over a connection that is not kept.
const BATCH: usize = 10_000;
/// Most accounts without a kept connection that have a task.
const ONE_SHOT: usize = 1024;
/// Time that a task without a kept connection waits for further messages.
const ONE_SHOT_IDLE: Duration = Duration::from_secs(30);
/// Maximum number of times a request is handed to another task because the one it was meant for has just ended.
const HANDED_OVER: u32 = 3;
/// Longest time for a task to end its connection.
const GOODBYE: Duration = Duration::from_secs(3);

/// Messages, and the channel for their outcomes.
struct Request {
    messages: Vec<Outgoing>,
    answer: oneshot::Sender<Vec<Outcome>>,
    /// Ends once the other lanes of the same run had their turn to hand over their messages.
    gathered: oneshot::Receiver<()>,
    /// The task is in use as long as this exists.
    in_use: Arc<()>,
}

struct AccountTask {
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
    uses: Arc<()>,
}

impl AccountTask {
    /// Returns true while a request waits or is under way. The entry and its task hold one reference each.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.uses) > 2
    }

    fn is_open(&self) -> bool {
        !self.requests.is_closed() && !self.task.is_finished()
    }

    fn handle(&self) -> (mpsc::Sender<Request>, Arc<()>) {
        (self.requests.clone(), Arc::clone(&self.uses))
    }
}

/// Tasks of the accounts.
struct Tasks {
    /// Those with a session that is kept: ours, and those of guests.
    kept: [Recent<String, AccountTask>; 2],
    /// Those that make a connection for each batch.
    one_shot: Recent<String, AccountTask>,
}

/// The accounts in use.
///
/// Kept sessions are bounded: an unused one is closed after some time, and when there are too many, the one that was
/// not used for the longest time is closed. A session in use is never closed for another one.
pub(super) struct Accounts {
    tasks: Mutex<Tasks>,
    idle: Duration,
    late: Arc<LateReplies>,
}

/// Messages over kept sessions that came back after they were reported delivered.
#[derive(Default)]
struct LateReplies(Mutex<Vec<Late>>);

/// Maximum number of late replies that wait to be taken; further ones are only logged.
const LATE_MAX: usize = 1_000;

impl LateReplies {
    fn add(&self, late: Late) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < LATE_MAX {
            all.push(late);
        }
    }
}

impl Accounts {
    /// Keeps at most `most` own sessions and a share of that for guests; each ends when it was idle for so long.
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        let kept = |party: Party| Recent::new(party.share(most));
        let tasks = Tasks {
            kept: [kept(Party::Own), kept(Party::Guest)],
            one_shot: Recent::new(ONE_SHOT),
        };
        Self {
            tasks: Mutex::new(tasks),
            idle,
            late: Arc::default(),
        }
    }

    /// Hands messages to an account's connection and waits for what becomes of them.
    pub(super) async fn send(
        &self,
        party: Party,
        key: &str,
        keep: bool,
        account: impl Fn() -> Result<Account, Diagnostic>,
        mut messages: Vec<Outgoing>,
    ) -> Result<Vec<Outcome>, Diagnostic> {
        let count = messages.len();
        for _ in 0..HANDED_OVER {
            let (requests, in_use) = self.requests(party, key, keep, &account)?;
            let (answer, outcomes) = oneshot::channel();
            let (has_gathered, gathered) = oneshot::channel();
            let request = Request {
                messages,
                answer,
                gathered,
                in_use,
            };
            match requests.send(request).await {
                Ok(()) => {
                    drop(requests);
                    // The lanes of a run share one task, so that each of them gets its turn before this one goes on.
                    tokio::task::yield_now().await;
                    let _ = has_gathered.send(());
                    if let Ok(outcomes) = outcomes.await {
                        return Ok(outcomes);
                    }
                    break;
                }
                // The task ended because it had not been used for long.
                Err(mpsc::error::SendError(request)) => messages = request.messages,
            }
        }
        Ok(vec![Outcome::failed(XmppError::SessionClosed); count])
    }

    fn requests(
        &self,
        party: Party,
        key: &str,
        keep: bool,
        account: impl Fn() -> Result<Account, Diagnostic>,
    ) -> Result<(mpsc::Sender<Request>, Arc<()>), Diagnostic> {
        let key = key.to_owned();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Tasks { kept, one_shot } = &mut *tasks;
        let kept = &mut kept[party as usize];
        let known = if keep { kept.get(&key) } else { one_shot.get(&key) };
        if let Some(entry) = known.filter(|entry| entry.is_open()) {
            return Ok(entry.handle());
        }
        let account = account()?;
        kept.retain(AccountTask::is_open);
        one_shot.retain(AccountTask::is_open);
        // While every kept session is in use, the messages go over their own connection.
        let keep = keep && kept.make_room(|entry| !entry.is_in_use());
        let tasks = if keep { kept } else { one_shot };
        if let Some(entry) = tasks.get(&key) {
            return Ok(entry.handle());
        }
        let (requests, receiver) = mpsc::channel(WAITING);
        let uses = Arc::new(());
        let inbox = Inbox {
            requests: receiver,
            uses: Arc::clone(&uses),
            idle: if keep { self.idle } else { ONE_SHOT_IDLE },
        };
        let task = if keep {
            tokio::spawn(kept_session(account, inbox, Arc::clone(&self.late)))
        } else {
            tokio::spawn(one_shot_connections(account, inbox))
        };
        let entry = AccountTask { requests, task, uses };
        let handle = entry.handle();
        tasks.insert(key, entry);
        Ok(handle)
    }

    /// Takes the messages that came back late since the last call.
    pub(super) fn take_late(&self) -> Vec<Late> {
        std::mem::take(&mut *self.late.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the idle tasks of guests, and those that hold no connection.
    pub(super) fn forget_guests(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Tasks { kept, one_shot } = &mut *tasks;
        // A task ends, and closes its session, when the last sender of its requests is gone.
        kept[Party::Guest as usize].retain(AccountTask::is_in_use);
        one_shot.retain(AccountTask::is_in_use);
    }

    /// Ends every task once what it holds is done.
    pub(super) async fn close(&self) {
        let entries: Vec<AccountTask> = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            let Tasks { kept, one_shot } = &mut *tasks;
            let kept = kept.iter_mut().flat_map(Recent::drain);
            kept.chain(one_shot.drain()).collect()
        };
        for AccountTask {
            requests, mut task, ..
        } in entries
        {
            drop(requests);
            if tokio::time::timeout(GOODBYE, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Requests that a task receives.
struct Inbox {
    requests: mpsc::Receiver<Request>,
    uses: Arc<()>,
    idle: Duration,
}

impl Inbox {
    /// Returns the next request; `None` once the task was idle for long, or no sender is left.
    async fn next(&mut self) -> Option<Request> {
        loop {
            if let Ok(request) = tokio::time::timeout(self.idle, self.requests.recv()).await {
                return request;
            }
            // A request under way is a use as well. A request that was handed over in this moment is still taken out.
            if Arc::strong_count(&self.uses) <= 2 {
                self.requests.close();
            }
        }
    }
}

/// A connection for each batch: everything that waits goes out together.
async fn one_shot_connections(account: Account, mut inbox: Inbox) {
    while let Some(mut first) = inbox.next().await {
        // An error means that the caller gave up, which is looked at below.
        let _ = (&mut first.gathered).await;
        let mut batch = vec![first];
        let mut count = batch[0].messages.len();
        while count < BATCH
            && let Ok(next) = inbox.requests.try_recv()
        {
            count += next.messages.len();
            batch.push(next);
        }
        // The caller may have given up in the meantime; a request that nobody waits for is not sent.
        batch.retain(|request| !request.answer.is_closed());
        let mut messages = Vec::with_capacity(count);
        let mut shares: Vec<Share> = Vec::with_capacity(batch.len());
        for request in batch {
            shares.push((request.messages.len(), request.answer, request.in_use));
            messages.extend(request.messages);
        }
        if messages.is_empty() {
            continue;
        }
        let outcomes = tokio::select! {
            outcomes = ackpost_xmpp::send(&account, messages) => outcomes,
            // Everybody gave up: no message goes out behind their backs.
            () = all_gave_up(&mut shares) => continue,
        };
        let mut outcomes = outcomes.into_iter();
        for (share, answer, _in_use) in shares {
            let _ = answer.send(outcomes.by_ref().take(share).collect());
        }
    }
}

/// Number of messages of a request in a batch, the channel for their outcomes, and its reference to the task.
type Share = (usize, oneshot::Sender<Vec<Outcome>>, Arc<()>);

/// Waits until nobody waits for any of these outcomes.
async fn all_gave_up(shares: &mut [Share]) {
    for (_, answer, _) in shares {
        answer.closed().await;
    }
}

/// One session for all of them. It is opened when it is needed, and again after a permanent end.
async fn kept_session(account: Account, mut inbox: Inbox, late: Arc<LateReplies>) {
    let mut session: Option<(Session, Arc<AtomicBool>)> = None;
    while let Some(mut request) = inbox.next().await {
        // A request that nobody waits for is not sent.
        if request.answer.is_closed() {
            continue;
        }
        let usable = session.take().filter(|(_, ended)| !ended.load(Ordering::Relaxed));
        let (open, ended) = match usable {
            Some(usable) => usable,
            None => match open_session(&account, &mut request.answer).await {
                None => continue,
                Some(Ok((open, mut events))) => {
                    let ended = Arc::new(AtomicBool::new(false));
                    let flag = Arc::clone(&ended);
                    let late = Arc::clone(&late);
                    // Of the events only late replies count here, but all must be taken out; after the last one it is over.
                    tokio::spawn(async move {
                        while let Some(event) = events.next().await {
                            if let Event::Late { id, to, reason } = event {
                                late.add(Late {
                                    id,
                                    to: to.to_string(),
                                    remedy: reason.remedy().into_owned(),
                                    reason: reason.to_string(),
                                });
                            }
                        }
                        flag.store(true, Ordering::Relaxed);
                    });
                    (open, ended)
                }
                Some(Err(error)) => {
                    let failure = Outcome::failed(error);
                    let _ = request.answer.send(vec![failure; request.messages.len()]);
                    continue;
                }
            },
        };
        let sender = open.clone();
        let flag = Arc::clone(&ended);
        tokio::spawn(async move {
            let mut request = request;
            let _in_use = request.in_use;
            let outcomes = tokio::select! {
                outcomes = sender.send(request.messages) => outcomes,
                () = request.answer.closed() => return,
            };
            if outcomes
                .iter()
                .any(|outcome| matches!(outcome.error(), Some(XmppError::SessionClosed)))
            {
                flag.store(true, Ordering::Relaxed);
            }
            let _ = request.answer.send(outcomes);
        });
        session = Some((open, ended));
    }
    if let Some((session, _)) = session {
        session.close().await;
    }
}

/// Opens a session for a request; `None` once nobody waits for its outcome any more.
async fn open_session(
    account: &Account,
    answer: &mut oneshot::Sender<Vec<Outcome>>,
) -> Option<Result<(Session, Events), XmppError>> {
    tokio::select! {
        opened = Session::open(account, SessionOptions::default()) => Some(opened),
        () = answer.closed() => None,
    }
}
