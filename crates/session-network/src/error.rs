//! Failures: cause, time of another attempt, and remedy.

mod text;

use std::time::Duration;

use session_protocol::network::faults::PathFault;
use session_protocol::network::files::FileError;
use session_protocol::network::message::MessageError;
use session_protocol::network::paths::NoPath;
use session_protocol::network::storage::StorageError;
use session_protocol::network::storage::receipts::ReceiptFault;

use crate::http::HttpFault;

/// Longest piece of a node's text that an error carries, characters.
const MAX_TEXT_CHARS: usize = 200;

/// The cause of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A text is not a seed.
    Seed {
        /// The text that should be a seed.
        text: String,
    },
    /// An option has a value that cannot work.
    Option {
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The message cannot be made.
    Message(MessageError),
    /// The call to the mailbox cannot be made.
    Storage(StorageError),
    /// The text needs more messages than one text may have.
    TextTooLong {
        /// The limit, code points.
        limit: usize,
    },
    /// The message would have disappeared already.
    Expired,
    /// The storage cannot be read or written.
    State {
        /// Message of the storage.
        detail: String,
    },
    /// Another reader of the same name reads the mailbox, here or in another process.
    MailboxInUse,
    /// The system's clock is far off, and no node reported the time.
    ClockUnknown,
    /// No seed gave a list of nodes.
    NoSeed {
        /// Number of seeds that were asked.
        tried: usize,
        /// The address of the last one.
        last: String,
        /// Its failure.
        why: Box<Cause>,
    },
    /// The nodes disagree about the list of nodes, and no seed answers.
    Disagreement {
        /// Number of nodes that enough lists name.
        in_common: usize,
        /// Number that is needed.
        needed: usize,
    },
    /// A list of nodes holds no usable node.
    EmptyList,
    /// No swarm keeps the mailbox, by the list of nodes.
    NoSwarm,
    /// There are too few nodes for a path of hops.
    NoPath(NoPath),
    /// The first node could not be reached, or gave no answer.
    Http {
        /// Its address.
        address: String,
        /// The failure.
        fault: HttpFault,
    },
    /// A node on the path failed.
    Path(PathFault),
    /// An answer is not sealed: any hop may have made it.
    NotSealed,
    /// An answer is sealed under another key than the node's.
    WrongKey,
    /// The answer does not have the form of the method.
    Unreadable {
        /// The fault in it.
        detail: &'static str,
    },
    /// The nodes do not agree about which swarm keeps the mailbox.
    SwarmUnsettled,
    /// The nodes refuse the time of the call, also after asking for the network's time.
    WrongClock,
    /// By the nodes' time the message has disappeared, and by the clock of this system it has not.
    ClocksDiffer,
    /// The nodes refuse the call itself.
    Refused {
        /// The method.
        method: String,
        /// The status.
        status: u16,
        /// The node's text, cleaned and cut.
        text: String,
    },
    /// A node failed, which may pass.
    NodeFailed {
        /// The status.
        status: u16,
    },
    /// No node of the swarm stored the message.
    SwarmFailed,
    /// Nodes that signed a message do not give it to its owner.
    NotFound,
    /// A file cannot be sent or read.
    File(FileError),
    /// The file server refuses a request.
    FileServer {
        /// The status.
        status: u16,
    },
    /// Fewer than a majority of the swarm signed that they have the message.
    TooFewReceipts {
        /// The most frequent reason for a missing receipt.
        why: Option<ReceiptFault>,
    },
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkError {
    inner: Box<Inner>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    cause: Cause,
    stored: Option<(usize, usize)>,
}

impl NetworkError {
    pub(crate) fn new(cause: Cause) -> Self {
        Self {
            inner: Box::new(Inner { cause, stored: None }),
        }
    }

    pub(crate) fn with_stored(mut self, signed: usize, swarm: usize) -> Self {
        self.inner.stored = Some((signed, swarm));
        self
    }

    /// The cause.
    pub fn cause(&self) -> &Cause {
        &self.inner.cause
    }

    /// Returns the number of nodes that signed that they have the message, and that of all nodes of the swarm, as far as a send came.
    pub fn stored(&self) -> Option<(usize, usize)> {
        self.inner.stored
    }

    /// Returns true if the same operation will fail again.
    pub fn is_permanent(&self) -> bool {
        self.inner.cause.is_permanent()
    }

    /// Returns the time to wait before another attempt; `None` if the failure is permanent.
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.cause.retry_after()
    }

    /// Returns true if nodes may have the message although no majority signed: a call went out, and its answer is missing or
    /// worthless. Sending the same bytes again is safe.
    pub fn may_have_arrived(&self) -> bool {
        self.inner.stored.is_some_and(|(signed, _)| signed > 0) || self.inner.cause.may_have_arrived()
    }

    /// Returns the remedy: one imperative sentence for a person.
    pub fn remedy(&self) -> String {
        self.inner.cause.remedy()
    }

    /// Returns cause and remedy of a failed send for a program that does not keep the bytes of the message: if it may have arrived,
    /// a repeat makes a second message.
    pub fn without_bytes(&self) -> (String, String) {
        if !self.may_have_arrived() {
            return (self.to_string(), self.remedy());
        }
        let remedy = format!(
            "ask the recipient before you send it again: a repeat makes a second message; {}",
            self.remedy()
        );
        (format!("{self}; the message may have arrived"), remedy)
    }
}

impl Cause {
    fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Seed { .. }
                | Self::Option { .. }
                | Self::Message(_)
                | Self::Storage(_)
                | Self::TextTooLong { .. }
                | Self::Expired
                | Self::Refused { .. }
                | Self::File(_)
                | Self::FileServer { status: 400..=499 }
        )
    }

    fn may_have_arrived(&self) -> bool {
        match self {
            Self::Http { fault, .. } => matches!(
                fault,
                HttpFault::AnswerTimeout | HttpFault::TooLong { .. } | HttpFault::Failed { .. }
            ),
            Self::Path(fault) => matches!(fault, PathFault::Failed(_)),
            Self::NotSealed | Self::WrongKey | Self::Unreadable { .. } | Self::TooFewReceipts { .. } => true,
            _ => false,
        }
    }

    /// Returns true if a seed answered, and its answer is of no use.
    fn is_about_the_seed(&self) -> bool {
        match self {
            Self::Http { fault, .. } => *fault == HttpFault::OtherCertificate,
            Self::EmptyList | Self::NoSwarm | Self::WrongKey | Self::Unreadable { .. } => true,
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if self.is_permanent() {
            return None;
        }
        Some(Duration::from_secs(match self {
            Self::NoSeed { .. }
            | Self::Disagreement { .. }
            | Self::NoSwarm
            | Self::WrongClock
            | Self::ClocksDiffer
            | Self::EmptyList
            | Self::ClockUnknown
            | Self::SwarmUnsettled => 60,
            // The swarm copies the message itself, which takes time.
            Self::TooFewReceipts {
                why: Some(ReceiptFault::TimedOut | ReceiptFault::Missing),
            }
            | Self::SwarmFailed => 30,
            _ => 5,
        }))
    }
}

impl std::error::Error for NetworkError {}

impl From<MessageError> for NetworkError {
    fn from(error: MessageError) -> Self {
        Self::new(Cause::Message(error))
    }
}

impl From<FileError> for NetworkError {
    fn from(error: FileError) -> Self {
        Self::new(Cause::File(error))
    }
}

impl From<StorageError> for NetworkError {
    fn from(error: StorageError) -> Self {
        Self::new(Cause::Storage(error))
    }
}

impl From<std::io::Error> for NetworkError {
    fn from(error: std::io::Error) -> Self {
        Self::new(Cause::State {
            detail: error.to_string(),
        })
    }
}

/// A node's text without control characters, cut.
pub(crate) fn clean(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT_CHARS)
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_files() -> [Cause; 7] {
        [
            Cause::File(FileError::TooLong(11_000_000)),
            Cause::File(FileError::Pointer("it has no key")),
            Cause::File(FileError::Altered),
            Cause::File(FileError::Answer),
            Cause::FileServer { status: 404 },
            Cause::FileServer { status: 413 },
            Cause::FileServer { status: 503 },
        ]
    }

    fn all() -> Vec<Cause> {
        let http = |fault| Cause::Http {
            address: "203.0.113.7:22021".to_owned(),
            fault,
        };
        let refused = |status, text: &str| Cause::Refused {
            method: "store".to_owned(),
            status,
            text: text.to_owned(),
        };
        let receipts = |why| Cause::TooFewReceipts { why };
        vec![
            Cause::Seed {
                text: "example.org".to_owned(),
            },
            Cause::Option {
                rule: "a network has 1 to 32 seeds",
            },
            Cause::Message(MessageError::NotAnAccount),
            Cause::Message(MessageError::TooLong(80_000)),
            Cause::Message(MessageError::ProtocolV2),
            Cause::Storage(StorageError::Ttl),
            Cause::Storage(StorageError::NoMailbox),
            Cause::TextTooLong { limit: 64_000 },
            Cause::Expired,
            Cause::State {
                detail: "Permission denied (os error 13)".to_owned(),
            },
            Cause::MailboxInUse,
            Cause::ClockUnknown,
            Cause::NoSeed {
                tried: 8,
                last: "seed3.getsession.org:4443".to_owned(),
                why: Box::new(http(HttpFault::Dns)),
            },
            Cause::Disagreement {
                in_common: 3,
                needed: 24,
            },
            Cause::EmptyList,
            Cause::NoSwarm,
            Cause::NoPath(NoPath { needed: 3, found: 1 }),
            http(HttpFault::Refused),
            http(HttpFault::ConnectTimeout),
            http(HttpFault::AnswerTimeout),
            http(HttpFault::OtherCertificate),
            http(HttpFault::TooLong { limit: 1024 }),
            http(HttpFault::Failed {
                detail: "connection reset".to_owned(),
            }),
            Cause::Path(PathFault::NextNodeUnknown([7; 32])),
            Cause::Path(PathFault::StaleKey),
            Cause::Path(PathFault::Failed(504)),
            Cause::Path(PathFault::Failed(503)),
            Cause::Path(PathFault::Failed(500)),
            Cause::Path(PathFault::Refused(404)),
            Cause::Path(PathFault::TooFast),
            Cause::NotSealed,
            Cause::WrongKey,
            Cause::Unreadable {
                detail: "it has no swarm",
            },
            Cause::SwarmUnsettled,
            Cause::WrongClock,
            Cause::ClocksDiffer,
            refused(400, "invalid request: too long"),
            refused(401, ""),
            refused(403, "Provided expiry/TTL is not valid."),
            Cause::NodeFailed { status: 503 },
            Cause::SwarmFailed,
            Cause::NotFound,
            receipts(None),
            receipts(Some(ReceiptFault::Missing)),
            receipts(Some(ReceiptFault::TimedOut)),
            receipts(Some(ReceiptFault::Failed)),
            receipts(Some(ReceiptFault::OtherHash)),
            receipts(Some(ReceiptFault::BadSignature)),
            receipts(Some(ReceiptFault::Stranger)),
            receipts(Some(ReceiptFault::Unreadable)),
        ]
    }

    #[test]
    fn every_cause_has_its_text_its_remedy_and_its_retry() {
        let mut lines = String::new();
        for cause in all().into_iter().chain(of_files()) {
            let mut error = NetworkError::new(cause);
            if matches!(error.cause(), Cause::TooFewReceipts { .. }) {
                error = error.with_stored(1, 5);
            }
            let retry = error.retry_after().map_or("permanent".to_owned(), |after| {
                format!("again after {} s", after.as_secs())
            });
            assert_eq!(error.is_permanent(), error.retry_after().is_none());
            let doubt = if error.may_have_arrived() {
                ", may have arrived"
            } else {
                ""
            };
            lines += &format!("{error}\n  {}\n  {retry}{doubt}\n", error.remedy());
        }
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn a_send_without_its_bytes_is_not_to_be_repeated_if_it_may_have_arrived() {
        let receipts = Cause::TooFewReceipts { why: None };
        let (cause, remedy) = NetworkError::new(receipts).with_stored(1, 5).without_bytes();
        assert!(
            cause.ends_with("(signed by 1 of 5 nodes); the message may have arrived"),
            "{cause}"
        );
        assert!(remedy.contains("a repeat makes a second message"), "{remedy}");
        let error = NetworkError::new(Cause::NoSwarm);
        assert_eq!(error.without_bytes(), (error.to_string(), error.remedy()));
    }

    #[test]
    fn text_of_nodes_is_cleaned_and_cut() {
        assert_eq!(clean(" a\u{1b}[31m\nb "), "a [31m b");
        assert_eq!(clean(&"é".repeat(500)).chars().count(), MAX_TEXT_CHARS);
    }
}
