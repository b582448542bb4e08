//! Asking the nodes of a swarm one after the other, by the table of errors.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use session_protocol::SessionId;
use session_protocol::network::agreement::{SOURCES, choose};
use session_protocol::network::faults::NodeFault;
use session_protocol::network::nodes::{Node, NodeList};
use session_protocol::network::rpc::{Call, Reply};

use crate::error::{Cause, NetworkError, clean};
use crate::exchange::SEALED_EXTRA_LEN_BYTES;
use crate::network::Network;

/// Nodes of a swarm that are asked at most.
const MAX_NODES: usize = 3;
/// Number of nodes that must refuse a call before it counts as permanently refused.
const REFUSALS: usize = 2;
/// Number of nodes that must say the same before it is believed.
pub(crate) const WITNESSES: usize = 2;
/// Time for which the network's time is not asked for again.
const SYNC_PAUSE: Duration = Duration::from_mins(1);
/// Longest answer that names a swarm, bytes.
const MAX_SWARM_LEN_BYTES: usize = 1024 * 1024;

/// Makes a call for the network's time, milliseconds since 1970.
pub(crate) type MakeCall<'a> = dyn Fn(u64, &Node) -> Result<Call, NetworkError> + Send + Sync + 'a;

/// One operation on a mailbox.
pub(crate) struct SwarmRequest {
    network: Network,
    mailbox: SessionId,
    /// The nodes of the swarm.
    pub(crate) swarm: Vec<Node>,
    tried: HashSet<[u8; 32]>,
    refusals: usize,
    corrected: bool,
    /// The last failure.
    last: Option<Cause>,
    /// True if a node answered at all.
    answered: bool,
    /// Number of calls that were made.
    pub(crate) calls: usize,
    started: Instant,
}

impl SwarmRequest {
    pub(crate) async fn start(network: &Network, mailbox: &SessionId) -> Result<Self, NetworkError> {
        Ok(Self {
            network: network.clone(),
            mailbox: *mailbox,
            swarm: network.swarm(mailbox).await?,
            tried: HashSet::new(),
            refusals: 0,
            corrected: false,
            last: None,
            answered: false,
            calls: 0,
            started: Instant::now(),
        })
    }

    /// The next node to ask: one for which `wanted` holds, if there is one left; a node that failed lately comes last.
    pub(crate) fn next_node(&self, wanted: impl Fn(&Node) -> bool) -> Option<Node> {
        let late = self.started.elapsed() > self.network.inner.options.send_limit();
        if self.tried.len() >= MAX_NODES || (late && !self.tried.is_empty()) {
            return None;
        }
        let routes = self.network.lock_routes();
        let left = |node: &Node| !self.tried.contains(&node.ed25519);
        let healthy = |node: &Node| left(node) && !routes.is_avoided(&node.ed25519);
        let rng = &mut UnwrapErr(SysRng);
        let mut pick = |fits: &dyn Fn(&Node) -> bool| choose(&self.swarm, 1, fits, rng).first().copied();
        pick(&|node| healthy(node) && wanted(node))
            .or_else(|| pick(&|node| left(node) && wanted(node)))
            .or_else(|| pick(&healthy))
    }

    /// Asks a node. Returns its answer, or `None` if another node should be asked.
    ///
    /// # Errors
    /// A failure that another node would not mend.
    pub(crate) async fn ask(
        &mut self,
        node: &Node,
        make: &MakeCall<'_>,
        limit: usize,
    ) -> Result<Option<Reply>, NetworkError> {
        self.tried.insert(node.ed25519);
        let mut synced = false;
        loop {
            let call = make(self.network.network_ms()?, node)?;
            self.calls += 1;
            let reply = match self
                .network
                .call(&call, node, limit + SEALED_EXTRA_LEN_BYTES)
                .await
            {
                Ok(reply) => reply,
                Err(error) => {
                    self.last = Some(error.cause().clone());
                    return Ok(None);
                }
            };
            self.answered = true;
            match NodeFault::of(&reply) {
                None => return Ok(Some(reply)),
                Some(NodeFault::WrongClock) => {
                    self.last = Some(Cause::WrongClock);
                    if synced || !self.network.sync_clock().await {
                        return Ok(None);
                    }
                    synced = true;
                }
                Some(fault) => {
                    self.learn(node, &call, &reply, fault).await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn learn(
        &mut self,
        node: &Node,
        call: &Call,
        reply: &Reply,
        fault: NodeFault,
    ) -> Result<(), NetworkError> {
        let cause = match fault {
            NodeFault::OtherSwarm(claimed) => {
                let claimed = self.network.reachable(claimed);
                if self.corrected {
                    return Err(NetworkError::new(Cause::SwarmUnsettled));
                }
                if self.is_confirmed(&claimed, node).await {
                    self.corrected = true;
                    self.swarm = claimed.nodes().to_vec();
                    self.tried.clear();
                    self.network
                        .correct_swarm(&self.mailbox, self.swarm.clone())
                        .await;
                }
                Cause::SwarmUnsettled
            }
            NodeFault::SwarmFailed => Cause::SwarmFailed,
            NodeFault::Permanent(status) => {
                self.refusals += 1;
                if self.refusals >= REFUSALS.min(self.swarm.len()) {
                    return Err(NetworkError::new(Cause::Refused {
                        method: call.method().to_owned(),
                        status,
                        text: clean(&reply.body),
                    }));
                }
                Cause::NodeFailed { status }
            }
            NodeFault::Temporary(421) => Cause::SwarmUnsettled,
            NodeFault::Temporary(status) => {
                self.network.lock_routes().avoid(node.ed25519);
                Cause::NodeFailed { status }
            }
            _ => Cause::NodeFailed { status: reply.status },
        };
        self.last = Some(cause);
        Ok(())
    }

    /// Returns true if the list of nodes has the claimed swarm, or enough other nodes name it. One node alone could name its own
    /// nodes.
    ///
    /// The list may be old, so that a new one is fetched first, at most every ten minutes. One witness is enough for a swarm
    /// of which the list has at least half; nodes that nobody knows need two.
    async fn is_confirmed(&mut self, claimed: &NodeList, claims: &Node) -> bool {
        let set = |nodes: &[Node]| nodes.iter().copied().collect::<HashSet<_>>();
        let keys = |nodes: &[Node]| nodes.iter().map(|node| node.ed25519).collect::<HashSet<_>>();
        let theirs = set(claimed.nodes());
        if theirs.is_empty() || theirs == set(&self.swarm) {
            return false;
        }
        self.network.distrust_list().await;
        let Ok(list) = self.network.list().await else {
            return false;
        };
        let listed = list.swarm_of(&self.mailbox).map(|(_, nodes)| nodes);
        if listed.is_some_and(|nodes| keys(&nodes) == keys(claimed.nodes())) {
            return true;
        }
        let known = keys(list.nodes());
        let listed = claimed
            .nodes()
            .iter()
            .filter(|node| known.contains(&node.ed25519));
        let needed = if listed.count() * 2 >= claimed.nodes().len() {
            1
        } else {
            WITNESSES
        };
        let other = |node: &Node| node.ed25519 != claims.ed25519;
        let outside = |node: &Node| other(node) && !theirs.contains(node);
        let rng = &mut UnwrapErr(SysRng);
        let mut witnesses = choose(list.nodes(), needed, outside, rng);
        let missing = needed - witnesses.len();
        let inside = |node: &Node| other(node) && theirs.contains(node);
        witnesses.extend(choose(list.nodes(), missing, inside, rng));
        if witnesses.len() < needed {
            return false;
        }
        self.calls += witnesses.len();
        let call = Call::swarm(&self.mailbox);
        let asked = witnesses
            .iter()
            .map(|witness| self.network.call(&call, witness, MAX_SWARM_LEN_BYTES));
        join_all(asked).await.into_iter().all(|answer| {
            answer.is_ok_and(|reply| {
                reply.status == 200
                    && NodeList::from_swarm_json(&reply.body).is_ok_and(|named| set(named.nodes()) == theirs)
            })
        })
    }

    /// Drops a list of nodes that an answer contradicts, and reads the swarm anew. The list is replaced at most every ten minutes.
    pub(crate) async fn recheck_swarm(&mut self) {
        self.network.distrust_list().await;
        if let Ok(swarm) = self.network.swarm(&self.mailbox).await {
            self.swarm = swarm;
        }
    }

    /// Notes a failure that only the caller can see.
    pub(crate) fn note(&mut self, cause: Cause) {
        // A failed call is the better explanation.
        if self.last.is_none() {
            self.last = Some(cause);
        }
    }

    /// The failure of the whole operation.
    pub(crate) async fn failure(self) -> NetworkError {
        if !self.answered {
            self.network.distrust_list().await;
        }
        NetworkError::new(self.last.unwrap_or(Cause::NoSwarm))
    }
}

impl Network {
    /// Asks three nodes for the time, at most once a minute. Returns true if at least two answered, and agree.
    pub(crate) async fn sync_clock(&self) -> bool {
        {
            let mut last = self
                .inner
                .last_sync
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < SYNC_PAUSE) {
                return false;
            }
            *last = Some(Instant::now());
        }
        let Ok(list) = self.list().await else {
            return false;
        };
        let nodes = choose(list.nodes(), SOURCES, |_| true, &mut UnwrapErr(SysRng));
        let call = Call::info();
        let calls = nodes
            .iter()
            .map(|node| self.call_for_time(&call, node, SEALED_EXTRA_LEN_BYTES));
        let answers = join_all(calls).await;
        let told: Vec<_> = answers.into_iter().filter_map(|answer| answer.ok()?.1).collect();
        // If fewer than two told the time, the known one still holds, whatever the node says that asked for this. Other calls
        // need it meanwhile.
        if told.len() < WITNESSES.min(nodes.len()) {
            return false;
        }
        let mut offsets = self.lock_offsets();
        offsets.replace(told);
        offsets.offset_ms(self.reading()).is_some()
    }

    /// Asks three random nodes for their time, at most once a minute. Returns the offset from the system's clock to the network's,
    /// milliseconds. `None` if the nodes do not agree about it.
    pub async fn measure_clock_offset_ms(&self) -> Option<i64> {
        // Without new answers the known offset holds.
        let _ = self.sync_clock().await;
        self.clock_offset_ms()
    }

    /// Asks one node of a mailbox's swarm for its time, as the mode says: shows that the way to the mailbox works, and stores
    /// nothing. Returns how long it took.
    ///
    /// # Errors
    /// [`NetworkError`] if no node of the swarm answers.
    pub async fn ping(&self, id: &SessionId) -> Result<Duration, NetworkError> {
        let mut request = SwarmRequest::start(self, id).await?;
        while let Some(node) = request.next_node(|_| true) {
            let started = Instant::now();
            if request.ask(&node, &|_, _| Ok(Call::info()), 0).await?.is_some() {
                return Ok(started.elapsed());
            }
        }
        Err(request.failure().await)
    }
}
