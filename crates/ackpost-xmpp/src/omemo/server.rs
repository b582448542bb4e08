//! Several questions to the server at once, and stanzas that nobody confirms.

use std::collections::HashMap;
use std::future::Future;

use tokio::time::{Instant, timeout_at};

use crate::addressee::Addressee;
use crate::error::{Step, XmppError};
use crate::id;
use crate::ns;
use crate::stream::stream_error;
use crate::upload::{Alone, Ask};
use crate::xml::{Element, Incoming};

/// Maximum number of questions that are under way at once.
pub(crate) const AT_ONCE_MAX: usize = 16;
/// Maximum number of archived messages that are taken from one answer.
const ARCHIVED_MAX: usize = 200;

/// An `<iq/>` to be answered.
pub(crate) struct Question {
    /// The address to ask; empty for the own account.
    pub(crate) to: String,
    /// It changes something (`set`).
    pub(crate) changes: bool,
    pub(crate) payload: Element,
    /// The query id, if archived messages come before the answer (XEP-0313).
    pub(crate) archive: Option<String>,
}

impl Question {
    pub(crate) fn get(to: impl Into<String>, payload: Element) -> Self {
        Self {
            to: to.into(),
            changes: false,
            payload,
            archive: None,
        }
    }

    pub(crate) fn set(payload: Element) -> Self {
        Self {
            to: String::new(),
            changes: true,
            payload,
            archive: None,
        }
    }

    pub(crate) fn iq(&self, id: &str) -> Element {
        Element::new("iq", ns::CLIENT)
            .attr("type", if self.changes { "set" } else { "get" })
            .attr_opt("to", (!self.to.is_empty()).then_some(self.to.as_str()))
            .attr("id", id)
            .child(self.payload.clone())
    }
}

/// The answer to a [`Question`].
pub(crate) struct Answer {
    /// The result or error.
    pub(crate) stanza: Element,
    /// The archived messages that came before it.
    pub(crate) archived: Vec<Element>,
}

/// A logged in session that questions and stanzas can be put through.
pub(crate) trait Server: Ask {
    /// Asks at most [`AT_ONCE_MAX`] questions at once and returns the answers in their order.
    fn ask_all(
        &mut self,
        questions: Vec<Question>,
    ) -> impl Future<Output = Vec<Result<Answer, XmppError>>> + Send;

    /// Sends a stanza. Nobody learns whether it arrives.
    fn send_unconfirmed(&mut self, stanza: String) -> impl Future<Output = ()> + Send;
}

/// The result element of an archived message of this query.
pub(crate) fn archived<'a>(stanza: &'a Element, query: &str) -> Option<&'a Element> {
    let result = stanza.find("result", ns::MAM)?;
    (result.get("queryid") == Some(query)).then_some(result)
}

struct OpenQuestion {
    place: usize,
    asked: Addressee,
    archive: Option<String>,
    collected: Vec<Element>,
}

impl Server for Alone<'_> {
    async fn ask_all(&mut self, questions: Vec<Question>) -> Vec<Result<Answer, XmppError>> {
        let mut answers: Vec<Option<Result<Answer, XmppError>>> = Vec::new();
        answers.resize_with(questions.len(), || None);
        let mut waiting = questions.into_iter().enumerate();
        let mut pending: HashMap<String, OpenQuestion> = HashMap::new();
        let limit = self.account.answer_timeout;
        loop {
            while pending.len() < AT_ONCE_MAX {
                let Some((place, question)) = waiting.next() else {
                    break;
                };
                let id = format!("q-{}", id::short());
                self.online.stream.queue(&question.iq(&id).to_xml());
                let entry = OpenQuestion {
                    place,
                    asked: Addressee::new(&question.to, &self.online.jid),
                    archive: question.archive,
                    collected: Vec::new(),
                };
                pending.insert(id, entry);
            }
            if pending.is_empty() {
                break;
            }
            let error = match self.next_answer(&mut pending, Instant::now() + limit).await {
                Ok((place, answer)) => {
                    answers[place] = Some(Ok(answer));
                    continue;
                }
                Err(error) => error,
            };
            // Nothing came in time: it will not come for the others either.
            for entry in std::mem::take(&mut pending).into_values() {
                answers[entry.place] = Some(Err(error.clone()));
            }
            if !matches!(error, XmppError::AnswerTimeout { .. }) {
                break;
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Err(XmppError::ConnectionLost { step: Step::Query })))
            .collect()
    }

    async fn send_unconfirmed(&mut self, stanza: String) {
        self.online.stream.queue(&stanza);
        let _ = self.online.stream.flush().await;
    }
}

impl Alone<'_> {
    async fn next_answer(
        &mut self,
        pending: &mut HashMap<String, OpenQuestion>,
        until: Instant,
    ) -> Result<(usize, Answer), XmppError> {
        let domain = self.account.jid.domain();
        loop {
            let incoming = timeout_at(until, self.online.stream.next())
                .await
                .map_err(|_| XmppError::AnswerTimeout {
                    step: Step::Query,
                    after: self.account.answer_timeout,
                })?
                .map_err(|broken| broken.at(Step::Query))?;
            let element = match incoming {
                Incoming::Open(_) => continue,
                Incoming::Close => return Err(XmppError::ConnectionLost { step: Step::Query }),
                Incoming::Element(element) if element.is("error", ns::STREAM) => {
                    return Err(stream_error(&element, domain));
                }
                Incoming::Element(element) => element,
            };
            if element.is("message", ns::CLIENT) {
                for entry in pending.values_mut() {
                    if let Some(query) = &entry.archive
                        && entry.collected.len() < ARCHIVED_MAX
                        && entry.asked.is_answered_by(&element)
                        && let Some(result) = archived(&element, query)
                    {
                        entry.collected.push(result.clone());
                    }
                }
                continue;
            }
            let fits = |entry: &OpenQuestion| entry.asked.is_answered_by(&element);
            let Some(id) = element.get("id").filter(|id| pending.get(*id).is_some_and(fits)) else {
                continue;
            };
            if !element.is("iq", ns::CLIENT) || !matches!(element.get("type"), Some("result" | "error")) {
                continue;
            }
            if let Some(entry) = pending.remove(id) {
                let answer = Answer {
                    stanza: element.clone(),
                    archived: entry.collected,
                };
                return Ok((entry.place, answer));
            }
        }
    }
}

/// The error if the connection is gone: no answer of one account is no reason to stop.
pub(super) fn connection_error(answers: &[Result<Answer, XmppError>]) -> Option<XmppError> {
    answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .find(|error| !matches!(error, XmppError::AnswerTimeout { .. }))
        .cloned()
}
