//! One connection per XMPP account, shared by every URL and target that uses it.
//!
//! Each account has a small task. What is handed to it while it is idle or busy is collected and goes out together, so
//! that ten targets of one account cost one login.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use xmpp_client::{Account, Event, Outcome, Outgoing, Session, SessionOptions, XmppError};

use super::Late;
use crate::problem::Problem;

/// Requests of one account that may wait.
const WAITING: usize = 1024;
/// Most messages in one go over a connection that is not kept.
const BATCH: usize = 10_000;
/// How long a task may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// Messages, and where their outcomes go.
struct Request {
    messages: Vec<Outgoing>,
    answer: oneshot::Sender<Vec<Outcome>>,
}

struct Entry {
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

/// The accounts in use.
#[derive(Default)]
pub(super) struct Accounts {
    entries: Mutex<HashMap<String, Entry>>,
    late: Arc<LateReplies>,
}

/// Messages over kept sessions that came back after they were reported delivered.
#[derive(Default)]
struct LateReplies(Mutex<Vec<Late>>);

/// How many late replies wait to be taken; further ones are only logged.
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
    /// Hands messages to an account's connection and waits for what becomes of them.
    pub(super) async fn send(
        &self,
        key: &str,
        keep: bool,
        account: impl FnOnce() -> Result<Account, Problem>,
        messages: Vec<Outgoing>,
    ) -> Result<Vec<Outcome>, Problem> {
        let count = messages.len();
        let requests = self.requests(&format!("{key}|{keep}"), keep, account)?;
        let (answer, outcomes) = oneshot::channel();
        let handed = requests.send(Request { messages, answer }).await;
        let outcomes = match handed {
            Ok(()) => outcomes.await.ok(),
            Err(_) => None,
        };
        Ok(outcomes.unwrap_or_else(|| vec![Outcome::failed(XmppError::SessionClosed); count]))
    }

    fn requests(
        &self,
        key: &str,
        keep: bool,
        account: impl FnOnce() -> Result<Account, Problem>,
    ) -> Result<mpsc::Sender<Request>, Problem> {
        let mut accounts = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = accounts.get(key).filter(|entry| !entry.task.is_finished()) {
            return Ok(entry.requests.clone());
        }
        let account = account()?;
        let (requests, receiver) = mpsc::channel(WAITING);
        let task = if keep {
            tokio::spawn(kept(account, receiver, Arc::clone(&self.late)))
        } else {
            tokio::spawn(one_shot(account, receiver))
        };
        accounts.insert(
            key.to_owned(),
            Entry {
                requests: requests.clone(),
                task,
            },
        );
        Ok(requests)
    }

    /// Takes the messages that came back late since the last call.
    pub(super) fn take_late(&self) -> Vec<Late> {
        std::mem::take(&mut *self.late.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends every task once what it holds is done.
    pub(super) async fn close(&self) {
        let entries: Vec<Entry> = {
            let mut accounts = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.drain().map(|(_, entry)| entry).collect()
        };
        for Entry { requests, mut task } in entries {
            drop(requests);
            if tokio::time::timeout(GOODBYE, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Lets the other lanes of a run hand their messages over before the connection is made. With one thread they have done
/// so before this task gets its turn; with several they may be a moment behind.
async fn gather() {
    if tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A connection for each batch: everything that waits goes out together.
async fn one_shot(account: Account, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.recv().await {
        gather().await;
        let mut batch = vec![first];
        let mut count = batch[0].messages.len();
        while count < BATCH
            && let Ok(next) = requests.try_recv()
        {
            count += next.messages.len();
            batch.push(next);
        }
        // Whoever asked may have given up in the meantime; what nobody waits for is not sent.
        batch.retain(|request| !request.answer.is_closed());
        let mut messages = Vec::with_capacity(count);
        let mut shares = Vec::with_capacity(batch.len());
        for request in batch {
            shares.push((request.messages.len(), request.answer));
            messages.extend(request.messages);
        }
        if messages.is_empty() {
            continue;
        }
        let mut outcomes = xmpp_client::send(&account, messages).await.into_iter();
        for (share, answer) in shares {
            let _ = answer.send(outcomes.by_ref().take(share).collect());
        }
    }
}

/// One session for all of them. It is opened when it is needed, and again when it has ended for good.
async fn kept(account: Account, mut requests: mpsc::Receiver<Request>, late: Arc<LateReplies>) {
    let mut session: Option<(Session, Arc<AtomicBool>)> = None;
    while let Some(request) = requests.recv().await {
        let usable = session.take().filter(|(_, ended)| !ended.load(Ordering::Relaxed));
        let (open, ended) = match usable {
            Some(usable) => usable,
            None => match Session::open(&account, SessionOptions::default()).await {
                Ok((open, mut events)) => {
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
                Err(error) => {
                    let failure = Outcome::failed(error);
                    let _ = request.answer.send(vec![failure; request.messages.len()]);
                    continue;
                }
            },
        };
        let sender = open.clone();
        let flag = Arc::clone(&ended);
        tokio::spawn(async move {
            let outcomes = sender.send(request.messages).await;
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
