//! Orders to the task behind a session.

#[cfg(feature = "omemo")]
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::error::XmppError;
use crate::jid::Jid;
use crate::message::{Outcome, RoomTarget};
#[cfg(feature = "omemo")]
use crate::omemo::server::{AT_ONCE_MAX, Answer, Question};
use crate::stanza::Part;
use crate::xml::Element;

/// An order to the task behind a session.
pub(super) enum Command {
    Send(Vec<(Part, oneshot::Sender<Outcome>)>),
    Ask {
        /// `get` or `set`.
        kind: &'static str,
        to: String,
        payload: Element,
        reply: oneshot::Sender<Result<Element, XmppError>>,
    },
    #[cfg(feature = "omemo")]
    Question {
        question: Question,
        reply: oneshot::Sender<Result<Answer, XmppError>>,
    },
    /// A stanza that nobody confirms.
    #[cfg(feature = "omemo")]
    SendUnconfirmed(String),
    Join(RoomTarget),
    Leave(Jid),
    Close(oneshot::Sender<()>),
}

/// The caller to tell that the session is closed; none if it was only dropped.
pub(super) type Closing = Option<oneshot::Sender<()>>;

/// Asks questions, a few at a time, and waits for all answers.
#[cfg(feature = "omemo")]
pub(super) async fn ask_all(
    commands: &mpsc::Sender<Command>,
    questions: Vec<Question>,
) -> Vec<Result<Answer, XmppError>> {
    let mut answers = Vec::with_capacity(questions.len());
    let mut questions = questions.into_iter().peekable();
    while questions.peek().is_some() {
        let mut waiting = Vec::new();
        for question in questions.by_ref().take(AT_ONCE_MAX) {
            let (reply, answer) = oneshot::channel();
            let sent = commands.send(Command::Question { question, reply }).await;
            waiting.push(sent.map(|()| answer).map_err(|_| XmppError::SessionClosed));
        }
        for answer in waiting {
            answers.push(match answer {
                Ok(answer) => answer.await.unwrap_or(Err(XmppError::SessionClosed)),
                Err(error) => Err(error),
            });
        }
    }
    answers
}
