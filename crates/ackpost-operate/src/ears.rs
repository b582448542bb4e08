//! Listening: one session for each account that carries alerts.

mod direct;
mod session;
mod xmpp;

use std::collections::HashMap;
use std::time::Duration;

use ackpost_notify::{ConnectionOptions, ServiceUrl};
use ackpost_platform::text::plain_name;
use ackpost_sessiondm::Account;
use session_protocol::SessionId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::desk::Desk;

/// Time that listeners get to leave in order.
const LEAVE: Duration = Duration::from_secs(3);
/// Pauses between two attempts to reach a server.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Longest name that answers show, characters.
const NAME_CHARS: usize = 32;

/// Listens to the answers in every conversation that these services lead to, until `stop` is true: of XMPP accounts,
/// communities, and Session IDs. Other services are left out.
pub async fn listen(
    desk: &Desk,
    services: &[ServiceUrl],
    options: &ConnectionOptions,
    mut stop: watch::Receiver<bool>,
) {
    let mut communities: HashMap<String, session::Ear> = HashMap::new();
    let mut accounts: HashMap<String, xmpp::Ear> = HashMap::new();
    let mut mailboxes: HashMap<String, direct::Ear> = HashMap::new();
    for service in services {
        let problem = if let Some(parts) = service.sogs_parts(options) {
            parts
                .and_then(|parts| session::Ear::add(&mut communities, desk, service, parts))
                .err()
        } else if let Some(parts) = service.xmpp_parts(options) {
            parts
                .map(|parts| xmpp::Ear::add(&mut accounts, desk, service, parts))
                .err()
        } else if let Some(account) = Account::of(service, options) {
            account
                .and_then(|account| direct::Ear::add(&mut mailboxes, desk, service, account, options))
                .err()
        } else {
            None
        };
        if let Some(problem) = problem {
            tracing::warn!(url = service.masked_url(), %problem, "answers cannot be listened for");
        }
    }
    let mut ears = JoinSet::new();
    for (_, ear) in communities {
        ears.spawn(keep_listening(ear, desk.clone(), stop.clone()));
    }
    for (_, ear) in accounts {
        ears.spawn(keep_listening(ear, desk.clone(), stop.clone()));
    }
    for (_, ear) in mailboxes {
        ears.spawn(keep_listening(ear, desk.clone(), stop.clone()));
    }
    let _ = stop.wait_for(|stop| *stop).await;
    let left = async { while ears.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LEAVE, left).await;
}

/// One account that hears answers.
trait Listener {
    /// The account or its server, as the log names it.
    fn name(&self) -> String;

    /// The conversations from which gestures come.
    fn conversations(&self, desk: &Desk) -> Vec<String>;

    /// Listens until a failure or until the stop. Returns `None` after the stop.
    fn listen(&mut self, hearing: &mut Hearing<'_>) -> impl Future<Output = Option<Failure>> + Send;
}

/// The desk that decides about what is heard, and the channels of a listener.
struct Hearing<'a> {
    desk: &'a Desk,
    pauses: Pauses,
    /// Channel for lines about the end of a silence.
    voice: mpsc::Sender<String>,
    lines: mpsc::Receiver<String>,
    stop: watch::Receiver<bool>,
}

/// A failure after which listening starts anew.
struct Failure {
    cause: String,
    /// Time that the other side asks to wait.
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(cause: &impl ToString, retry_after: Option<Duration>) -> Self {
        Self {
            cause: cause.to_string(),
            retry_after,
        }
    }
}

/// Listens until the stop, with a pause after each failure.
async fn keep_listening(mut listener: impl Listener + Send, desk: Desk, stop: watch::Receiver<bool>) {
    let (voice, lines) = mpsc::channel(16);
    for conversation in listener.conversations(&desk) {
        desk.listen(&conversation, voice.clone());
    }
    let mut hearing = Hearing {
        desk: &desk,
        pauses: Pauses::new(),
        voice,
        lines,
        stop,
    };
    while let Some(Failure { cause, retry_after }) = listener.listen(&mut hearing).await {
        let pause = hearing.pauses.next(retry_after);
        let account = listener.name();
        tracing::warn!(
            account,
            cause,
            seconds = pause.as_secs(),
            "answers are not heard; trying again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = hearing.stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// A name as answers show it: one line of at most 32 characters, without what misleads a reader. Its owner chose it.
fn shown(name: Option<&str>) -> String {
    let clean: String = plain_name(name.unwrap_or_default())
        .chars()
        .take(NAME_CHARS)
        .collect();
    clean.trim().to_owned()
}

/// A member of Session as answers show them: the name with the end of the id, or both ends of the id if no name can be seen.
fn shown_member(id: &SessionId, name: Option<&str>) -> String {
    let full = id.to_string();
    let end = &full[full.len() - 4..];
    match shown(name).as_str() {
        "" => format!("{}…{end}", &full[..6]),
        name => format!("{name} ({end})"),
    }
}

/// The pause before the next attempt: it doubles up to five minutes.
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.0.max(asked.unwrap_or_default());
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_mislead_the_readers_of_an_answer() {
        assert_eq!(shown(Some("jane")), "jane");
        assert_eq!(shown(Some("j\u{202e}ane\u{200b}\nx\u{7}")), "janex");
        assert_eq!(shown(Some(&"x".repeat(1_000))).len(), NAME_CHARS);
        assert_eq!(shown(None), "");
        assert_eq!(shown(Some("j\u{ad}a\u{3164}ne\u{e0041}")), "jane");
    }

    #[test]
    fn a_member_whose_name_cannot_be_seen_is_shown_by_the_id() {
        let id: SessionId = format!("05{}1f2e", "a".repeat(60)).parse().expect("an id");
        assert_eq!(shown_member(&id, Some("jane")), "jane (1f2e)");
        for name in [None, Some(""), Some(" \u{200b}\u{3164} "), Some("\u{202e}\n")] {
            assert_eq!(shown_member(&id, name), "05aaaa…1f2e", "{name:?}");
        }
    }
}
