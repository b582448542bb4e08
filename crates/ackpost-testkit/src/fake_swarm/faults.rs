//! The ways in which nodes misbehave.

use std::time::Duration;

/// A fault of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SwarmFault {
    /// Peers do not answer a store call: the node says so after five seconds.
    HangingPeers,
    /// Peers refuse a store call.
    FailedPeers,
    /// The node leaves peers out of its answer to a store call, and does not pass the message on to them.
    MissingPeers,
    /// Receipts are for another message.
    WrongHash,
    /// Receipts have a signature of nobody.
    ForgedSignature,
    /// Receipts are signed, correctly, by keys outside the swarm.
    ForeignSigner,
    /// The node alone stores the message, and repeats its receipt under its name in other spellings.
    RepeatedReceipt,
    /// The node says that another swarm has the mailbox, whichever is asked (421).
    OtherSwarm,
    /// The node names a swarm of nodes that do not exist (421).
    InventedSwarm,
    /// The node does not accept the time of a call (406).
    WrongClock,
    /// A hop does not find the next node (502).
    UnknownNextNode,
    /// A hop cannot open its layer (400).
    InvalidCiphertext,
    /// A hop runs out of time (504).
    HopTimeout,
    /// A hop is not ready (503).
    HopNotReady,
    /// A hop limits the rate (429).
    TooFast,
    /// Lists of nodes name no swarm.
    ListWithoutSwarms,
    /// Lists of nodes are empty.
    EmptyList,
    /// Each node has its own list, with nodes that do not exist.
    InventedList,
    /// Lists of nodes leave out the last third.
    ShortList,
    /// The answer is neither base64 nor anything else.
    GarbageBase64,
    /// The answer is sealed under another key.
    WrongKey,
    /// The sealed answer holds no JSON.
    NoJson,
    /// The answer has 40 MB.
    HugeAnswer,
    /// No node of the swarm stored the message (500).
    SwarmFailed,
    /// The node does not accept the time to live (403).
    RefusedTtl,
    /// The node does not accept the signature (401).
    RefusedSignature,
    /// The node calls the request invalid (400).
    InvalidRequest,
    /// The node is out of order for a while (503).
    NodeBusy,
    /// The connection closes without an answer.
    Dropped,
    /// The connection stays open without an answer.
    Silent,
    /// The node hides the messages of a mailbox.
    Forgetful,
    /// Messages in a mailbox come with a hash that is not theirs.
    ChangedData,
    /// The node keeps messages for ever, gives all of them at every call, and says that each expired in 1970.
    Replays,
}

impl SwarmFault {
    /// All faults.
    pub const ALL: [Self; 33] = [
        Self::HangingPeers,
        Self::FailedPeers,
        Self::MissingPeers,
        Self::WrongHash,
        Self::ForgedSignature,
        Self::ForeignSigner,
        Self::RepeatedReceipt,
        Self::OtherSwarm,
        Self::InventedSwarm,
        Self::WrongClock,
        Self::UnknownNextNode,
        Self::InvalidCiphertext,
        Self::HopTimeout,
        Self::HopNotReady,
        Self::TooFast,
        Self::ListWithoutSwarms,
        Self::EmptyList,
        Self::InventedList,
        Self::ShortList,
        Self::GarbageBase64,
        Self::WrongKey,
        Self::NoJson,
        Self::HugeAnswer,
        Self::SwarmFailed,
        Self::RefusedTtl,
        Self::RefusedSignature,
        Self::InvalidRequest,
        Self::NodeBusy,
        Self::Dropped,
        Self::Silent,
        Self::Forgetful,
        Self::ChangedData,
        Self::Replays,
    ];

    /// The name for the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::HangingPeers => "hanging-peers",
            Self::FailedPeers => "failed-peers",
            Self::MissingPeers => "missing-peers",
            Self::WrongHash => "wrong-hash",
            Self::ForgedSignature => "forged-signature",
            Self::ForeignSigner => "foreign-signer",
            Self::RepeatedReceipt => "repeated-receipt",
            Self::OtherSwarm => "other-swarm",
            Self::InventedSwarm => "invented-swarm",
            Self::WrongClock => "wrong-clock",
            Self::UnknownNextNode => "unknown-next-node",
            Self::InvalidCiphertext => "invalid-ciphertext",
            Self::HopTimeout => "hop-timeout",
            Self::HopNotReady => "hop-not-ready",
            Self::TooFast => "too-fast",
            Self::ListWithoutSwarms => "list-without-swarms",
            Self::EmptyList => "empty-list",
            Self::InventedList => "invented-list",
            Self::ShortList => "short-list",
            Self::GarbageBase64 => "garbage-base64",
            Self::WrongKey => "wrong-key",
            Self::NoJson => "no-json",
            Self::HugeAnswer => "huge-answer",
            Self::SwarmFailed => "swarm-failed",
            Self::RefusedTtl => "refused-ttl",
            Self::RefusedSignature => "refused-signature",
            Self::InvalidRequest => "invalid-request",
            Self::NodeBusy => "node-busy",
            Self::Dropped => "dropped",
            Self::Silent => "silent",
            Self::Forgetful => "forgetful",
            Self::ChangedData => "changed-data",
            Self::Replays => "replays",
        }
    }

    /// The fault with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        super::fault_names().get(name).copied()
    }

    /// Returns true if a hop or the connection fails, before any node opens the call.
    pub(super) fn is_on_the_path(self) -> bool {
        matches!(
            self,
            Self::UnknownNextNode
                | Self::InvalidCiphertext
                | Self::HopTimeout
                | Self::HopNotReady
                | Self::TooFast
                | Self::Dropped
                | Self::Silent
        )
    }

    /// Returns true if the answer is damaged after it was made.
    pub(super) fn is_in_the_answer(self) -> bool {
        matches!(
            self,
            Self::GarbageBase64 | Self::WrongKey | Self::NoJson | Self::HugeAnswer
        )
    }
}

/// A fault, and the calls that it is for: all of them unless it says otherwise.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    pub(super) fault: SwarmFault,
    pub(super) node: Option<usize>,
    pub(super) method: Option<String>,
    pub(super) times: usize,
    pub(super) peers: usize,
    pub(super) pause: Duration,
}

impl FaultPlan {
    /// The fault on every node and for every call.
    pub fn new(fault: SwarmFault) -> Self {
        Self {
            fault,
            node: None,
            method: None,
            times: usize::MAX,
            peers: usize::MAX,
            pause: Duration::from_secs(5),
        }
    }

    /// Limits the fault to this node.
    pub fn on(mut self, node: usize) -> Self {
        self.node = Some(node);
        self
    }

    /// Limits the fault to this method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Limits the fault to this number of calls.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Limits the fault to this number of nodes in the answer to a store call.
    pub fn peers(mut self, peers: usize) -> Self {
        self.peers = peers;
        self
    }

    /// Sets the time that hanging peers take.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    pub(super) fn is_for(&self, node: usize, method: &str) -> bool {
        self.times > 0
            && self.node.is_none_or(|only| only == node)
            && self.method.as_deref().is_none_or(|only| only == method)
    }
}
