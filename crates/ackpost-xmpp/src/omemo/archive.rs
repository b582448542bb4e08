//! Answers that wait in the archive of the own account (XEP-0313).
//!
//! A one-shot sender is never online when its recipients' devices answer. Without their answers each message carries a
//! key exchange, and the devices answer each of them. Only messages without text are read here: texts are left for a
//! session that shows them, because a message can be decrypted once.

use super::device::Device;
use super::error::OmemoError;
use super::receiving::{self, EncryptedMessage};
use super::server::{Answer, Question, Server};
use super::store::State;
use super::system::now;
use crate::error::XmppError;
use crate::id;
use crate::jid::Jid;
use crate::ns;
use crate::stanza_error::StanzaError;
use crate::xml::Element;

/// Messages on one page.
const PAGE: usize = 100;
/// Maximum number of pages that are read before a message.
const PAGES_MAX: usize = 3;
/// Time after which the archive is read although no session waits for an answer, in seconds.
const READ_EVERY: u64 = 3600;
/// Largest time by which the clock of the server may be behind ours, in seconds.
const CLOCK_SLACK: u64 = 300;

/// The position from which to go on reading.
#[derive(Clone, Debug)]
pub(super) struct ArchivePosition {
    query: String,
    after: Option<String>,
    /// Seconds since 1970; counts without `after`.
    since: u64,
}

/// Returns where to read, if a session with one of these people waits for an answer or it is time.
pub(super) fn waiting(state: &State, people: &[Jid], now: u64) -> Option<ArchivePosition> {
    state.own.as_ref()?;
    let people: Vec<String> = people.iter().map(ToString::to_string).collect();
    let unconfirmed = state
        .sessions
        .iter()
        .any(|(address, entry)| !entry.confirmed && people.contains(&address.jid));
    (unconfirmed || state.archive_read + READ_EVERY < now)
        .then(|| ArchivePosition::new(state.archive.clone(), state.archive_read))
}

impl ArchivePosition {
    fn new(after: Option<String>, since: u64) -> Self {
        Self {
            query: id::short(),
            after,
            since,
        }
    }

    pub(super) fn question(&self) -> Question {
        let field = |name: &str, value: &str| {
            Element::new("field", ns::DATA_FORMS)
                .attr("var", name)
                .child(Element::new("value", ns::DATA_FORMS).text(value))
        };
        let mut query = Element::new("query", ns::MAM).attr("queryid", self.query.clone());
        let mut set = Element::new("set", ns::RSM).child(Element::new("max", ns::RSM).text(PAGE.to_string()));
        if let Some(after) = &self.after {
            set.push(Element::new("after", ns::RSM).text(after.clone()));
        } else {
            let stamp = i64::try_from(self.since.saturating_sub(CLOCK_SLACK))
                .ok()
                .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
                .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
                .unwrap_or_default();
            query.push(
                Element::new("x", ns::DATA_FORMS)
                    .attr("type", "submit")
                    .child(field("FORM_TYPE", ns::MAM).attr("type", "hidden"))
                    .child(field("start", &stamp)),
            );
        }
        Question {
            to: String::new(),
            changes: true,
            payload: query.child(set),
            archive: Some(self.query.clone()),
        }
    }
}

impl Device {
    /// Takes the waiting messages, from the first page on.
    pub(super) async fn read_archive(
        &self,
        server: &mut impl Server,
        mut waiting: ArchivePosition,
        mut page: Answer,
    ) -> Result<(), XmppError> {
        for _ in 0..PAGES_MAX {
            let next = self.take_page(waiting, page).await?;
            let Some(more) = next else { return Ok(()) };
            waiting = more;
            let mut answers = server.ask_all(vec![waiting.question()]).await;
            match answers.pop() {
                Some(Ok(answer)) => page = answer,
                _ => return Ok(()),
            }
        }
        // The rest is read by the next runs.
        Ok(())
    }

    /// Returns where to go on, if the archive has more.
    async fn take_page(
        &self,
        waiting: ArchivePosition,
        page: Answer,
    ) -> Result<Option<ArchivePosition>, OmemoError> {
        if page.stanza.get("type") == Some("error") {
            let gone = StanzaError::of(&page.stanza).condition == "item-not-found";
            return self
                .change(move |_, state| {
                    // There is no archive, or it no longer has our position.
                    state.archive = None;
                    state.archive_read = now();
                    let again = gone && waiting.after.is_some();
                    Ok(again.then(|| ArchivePosition::new(None, waiting.since)))
                })
                .await;
        }
        let fin = page.stanza.find("fin", ns::MAM);
        let complete = fin.is_none_or(|fin| matches!(fin.get("complete"), Some("true" | "1")));
        let last = fin
            .and_then(|fin| fin.find("set", ns::RSM))
            .and_then(|set| set.content_of("last", ns::RSM))
            .filter(|last| !last.is_empty() && last.len() <= 1024);
        let encrypted_messages: Vec<EncryptedMessage> = page.archived.iter().filter_map(encrypted).collect();
        self.change(move |this, state| {
            for encrypted in encrypted_messages {
                receiving::open(this, state, &encrypted)?;
            }
            if last.is_some() {
                state.archive.clone_from(&last);
            }
            state.archive_read = now();
            let more = last.filter(|_| !complete);
            Ok(more.map(|last| ArchivePosition::new(Some(last), 0)))
        })
        .await
    }
}

/// The encrypted message without text in an archived message.
fn encrypted(result: &Element) -> Option<EncryptedMessage> {
    let message = result
        .find("forwarded", ns::FORWARD)?
        .find("message", ns::CLIENT)?;
    if message.get("type") == Some("groupchat") {
        return None;
    }
    let from: Jid = message.get("from")?.parse().ok()?;
    let mut encrypted = EncryptedMessage::of(message, from.to_bare(), None)?;
    encrypted.keep_empty();
    encrypted.from_archive = true;
    (!encrypted.is_nothing()).then_some(encrypted)
}
