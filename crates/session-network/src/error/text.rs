//! Texts of failures: cause and remedy.

use core::fmt;

use session_protocol::network::faults::PathFault;
use session_protocol::network::files::FileError;
use session_protocol::network::message::MessageError;
use session_protocol::network::paths::NoPath;
use session_protocol::network::storage::StorageError;
use session_protocol::network::storage::receipts::ReceiptFault;

use super::{Cause, NetworkError};
use crate::http::HttpFault;

impl Cause {
    fn remedy_of_file(&self) -> &'static str {
        match self {
            Self::File(FileError::TooLong(_)) | Self::FileServer { status: 413 } => {
                "send a smaller file, or a link to it"
            }
            Self::File(FileError::Answer) => "try again later",
            Self::FileServer { status: 404 } => {
                "ask the sender to send the file again: the server does not have it"
            }
            Self::FileServer { .. } => "try again later: the file server has a problem",
            _ => "ask the sender to send the file again",
        }
    }

    pub(super) fn remedy(&self) -> String {
        let text = match self {
            Self::Seed { .. } => "write a seed as `ED25519@IP:PORT` or `https://HOST:PORT#SHA256`",
            Self::Option { .. } => "choose a value within the limits",
            Self::Message(MessageError::NotAnAccount) | Self::Storage(StorageError::NoMailbox) => {
                "give a Session ID: 66 characters that start with 05"
            }
            Self::Message(MessageError::ProtocolV2 | MessageError::UnknownVersion(_)) => {
                "update this program"
            }
            Self::Message(_) => "change the message",
            Self::Storage(StorageError::Ttl) => "choose a time between 10 seconds and 14 days",
            Self::Storage(StorageError::DataLength(_)) => "split the text",
            Self::Storage(_) => "check the message and its times, or update this program",
            Self::TextTooLong { .. } => "shorten the text, or send it as several messages",
            Self::Expired => "send the text again as a new message",
            Self::State { .. } => "make the folder writable for this user, and free disk space",
            Self::MailboxInUse => "stop the other program, or give this one a reading position of its own",
            Self::ClockUnknown => "set the clock of this system",
            Self::NoSeed { why, .. } if why.is_about_the_seed() => return why.remedy(),
            Self::NoSeed { .. } => {
                "check the network and the firewall for connections to these ports, or give own seeds"
            }
            Self::Disagreement { .. } => "allow connections to a seed, and try again",
            Self::EmptyList => "give other seeds",
            Self::NoSwarm => "check that the seeds belong to the right network",
            Self::NoPath(_) => "use direct mode for small networks, or wait for a new list of nodes",
            Self::Http { fault, .. } => match fault {
                HttpFault::OtherCertificate => {
                    "check who answers at this address; if the seed was renewed, update this program"
                }
                HttpFault::TooLong { .. } => "try again: another node will be asked",
                _ => "check the network and the firewall, and try again",
            },
            Self::Path(fault) => match fault {
                PathFault::NextNodeUnknown(_) => {
                    "try again: the node will not be used until the next list of nodes"
                }
                PathFault::StaleKey => "try again: another path will be taken",
                PathFault::TooFast => "send fewer messages a second",
                PathFault::Refused(_) => "try again: another first node will be used",
                _ => "try again: another path will be taken if it happens again",
            },
            Self::NotSealed => {
                "try again over another path; if all fail, look for a proxy that answers in between"
            }
            Self::WrongKey => "try again with another node; report the node if it happens again",
            Self::Unreadable { .. } => "try again with another node, and update this program",
            Self::SwarmUnsettled => "wait until the swarms have settled, and try again",
            Self::WrongClock => "check the clock of this system, and try again",
            Self::ClocksDiffer => {
                "set the clock of this system, or try again: other nodes will be asked for the time"
            }
            Self::Refused { status: 403, .. } => "choose a time to live between 10 seconds and 14 days",
            Self::Refused { status: 401, .. } => "check that the seed belongs to this mailbox",
            Self::Refused { .. } => "shorten the message, or update this program",
            Self::NodeFailed { .. } => "try again: another node of the swarm will be asked",
            Self::SwarmFailed => "try again later: the swarm has a problem",
            Self::File(_) | Self::FileServer { .. } => self.remedy_of_file(),
            Self::NotFound => "try again; report the swarm if it happens again",
            Self::TooFewReceipts { why } => match why {
                Some(ReceiptFault::TimedOut) => {
                    "try again later: the swarm copies the message to slow nodes itself"
                }
                Some(ReceiptFault::Missing) => {
                    "try again later: the swarm copies the message to absent nodes itself"
                }
                Some(ReceiptFault::Failed) => {
                    "try again later: the message will be stored on the other nodes"
                }
                Some(ReceiptFault::OtherHash) => "try again with another node: this one changed the message",
                Some(ReceiptFault::BadSignature) => "try again with another node: this one invents receipts",
                Some(ReceiptFault::Stranger) => "try again after the next list of nodes: strangers signed",
                Some(ReceiptFault::Unreadable) => "try again with another node, and update this program",
                _ => "try again later",
            },
        };
        text.to_owned()
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.cause.fmt(f)?;
        match self.inner.stored {
            Some((signed, swarm)) => write!(f, " (signed by {signed} of {swarm} nodes)"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed { text } => write!(f, "`{text}` is not a seed"),
            Self::Option { rule } => write!(f, "an option cannot be used: {rule}"),
            Self::Message(error) => write!(f, "the message cannot be made: {}", cause_of(&error.to_string())),
            Self::Storage(error) => {
                write!(
                    f,
                    "the call to the mailbox cannot be made: {}",
                    cause_of(&error.to_string())
                )
            }
            Self::TextTooLong { limit } => write!(f, "the text has more than {limit} characters"),
            Self::Expired => f.write_str("the message has disappeared before it was stored"),
            Self::State { detail } => write!(f, "the state of the network cannot be kept: {detail}"),
            Self::MailboxInUse => {
                f.write_str("another program reads this mailbox from the same reading position")
            }
            Self::ClockUnknown => f.write_str("the clock is far off, and no node reported the time"),
            Self::NoSeed { tried, last, why } => {
                write!(
                    f,
                    "none of {tried} seeds gave a list of nodes; the last, {last}: {why}"
                )
            }
            Self::Disagreement { in_common, needed } => write!(
                f,
                "the nodes disagree about the list of nodes ({in_common} in common, {needed} needed), and no seed answers"
            ),
            Self::EmptyList => f.write_str("the list of nodes is empty"),
            Self::NoSwarm => f.write_str("no swarm keeps the mailbox: the list of nodes has no swarm"),
            Self::NoPath(NoPath { needed, found }) => {
                write!(
                    f,
                    "a path needs {needed} nodes in different networks, and {found} fit"
                )
            }
            Self::Http { address, fault } => write!(f, "no answer from {address}: {fault}"),
            Self::Path(fault) => match fault {
                PathFault::NextNodeUnknown(_) => f.write_str("a hop does not know the next node"),
                PathFault::StaleKey => f.write_str("a node of the path cannot open its layer"),
                PathFault::Failed(504) => f.write_str("a node of the path ran out of time"),
                PathFault::Failed(503) => f.write_str("a node of the path is not ready"),
                PathFault::Failed(status) => write!(f, "the path failed with status {status}"),
                PathFault::Refused(status) => {
                    write!(f, "the first node refused the call with status {status}")
                }
                PathFault::TooFast => f.write_str("the first node limits the rate of calls"),
                other => other.fmt(f),
            },
            Self::NotSealed => f.write_str("the answer is not sealed by the node"),
            Self::WrongKey => f.write_str("the answer is sealed under another key than the node's"),
            Self::Unreadable { detail } => write!(f, "the node's answer cannot be read: {detail}"),
            Self::SwarmUnsettled => f.write_str("the nodes do not agree about which swarm keeps the mailbox"),
            Self::WrongClock => f.write_str("the nodes refuse the time of the call"),
            Self::ClocksDiffer => f.write_str(
                "the message has disappeared by the nodes' time, and not by the clock of this system",
            ),
            Self::Refused { method, status, text } => {
                write!(f, "the nodes refuse the call `{method}` with status {status}")?;
                if text.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {text}")
                }
            }
            Self::NodeFailed { status } => write!(f, "the node failed with status {status}"),
            Self::SwarmFailed => f.write_str("no node of the swarm stored the message"),
            Self::File(error) => write!(f, "{}", cause_of(&error.to_string())),
            Self::FileServer { status } => {
                write!(f, "the file server refuses the request with status {status}")
            }
            Self::NotFound => f.write_str("nodes signed the message but do not return it"),
            Self::TooFewReceipts { why } => {
                f.write_str("too few nodes signed that they have the message")?;
                let Some(why) = why else { return Ok(()) };
                write!(f, ": {}", cause_of(&why.to_string()))
            }
        }
    }
}

/// The part of a protocol error before its remedy.
fn cause_of(text: &str) -> &str {
    text.split_once("; ").map_or(text, |(cause, _)| cause)
}
