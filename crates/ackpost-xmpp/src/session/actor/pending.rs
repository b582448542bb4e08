//! Questions of others that wait for their answers.

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::addressee::Addressee;
use crate::error::XmppError;
use crate::xml::Element;

/// A question put for somebody else.
pub(super) struct Pending {
    pub(super) asked: Addressee,
    pub(super) reply: ReplyTo,
    pub(super) until: Instant,
}

/// The receiver of an answer.
pub(super) enum ReplyTo {
    One(oneshot::Sender<Result<Element, XmppError>>),
    #[cfg(feature = "omemo")]
    WithArchive {
        reply: oneshot::Sender<Result<crate::omemo::server::Answer, XmppError>>,
        /// The query id, if archived messages come before the answer.
        query: Option<String>,
        archived: Vec<Element>,
    },
}

impl ReplyTo {
    pub(super) fn send(self, answer: Result<Element, XmppError>) {
        match self {
            Self::One(reply) => {
                let _ = reply.send(answer);
            }
            #[cfg(feature = "omemo")]
            Self::WithArchive { reply, archived, .. } => {
                let answer = answer.map(|stanza| crate::omemo::server::Answer { stanza, archived });
                let _ = reply.send(answer);
            }
        }
    }
}
