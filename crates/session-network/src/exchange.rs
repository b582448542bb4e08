//! One sealed request to a node, directly or over a path, and the search for the part of the path that failed.

use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde::Deserialize;
use session_protocol::network::faults::PathFault;
use session_protocol::network::nodes::Node;
use session_protocol::network::paths::Path;
use session_protocol::network::rpc::{Call, HOP_PATH, Reply};
use session_protocol::onion::OnionError;

use crate::clock::{Reading, Sample};
use crate::error::{Cause, NetworkError};
use crate::http::HttpFault;
use crate::network::Network;

/// Maximum number of bytes that sealing and base64 add to a short answer.
pub(crate) const SEALED_EXTRA_LEN_BYTES: usize = 64 * 1024;
/// The failure of a call to a node whose key is not a point.
pub(crate) const UNUSABLE_KEY: Cause = Cause::Unreadable {
    detail: "a node of the path has an unusable key",
};
/// Time to wait after a node said that calls come too fast. Nodes grant 300 calls a second.
const RATE_PAUSE: Duration = Duration::from_secs(1);

impl Network {
    /// Calls a node without hops: it sees our address. Its key authenticates the answer.
    pub(crate) async fn call_directly(
        &self,
        call: &Call,
        node: &Node,
        limit: usize,
    ) -> Result<Reply, NetworkError> {
        self.call_for_time(call, node, limit)
            .await
            .map(|(reply, _)| reply)
    }

    /// Calls a node without hops. Returns its time beside the answer, if the answer has it.
    pub(crate) async fn call_for_time(
        &self,
        call: &Call,
        node: &Node,
        limit: usize,
    ) -> Result<(Reply, Option<Sample>), NetworkError> {
        let mut again = true;
        loop {
            let before = self.reading();
            let cause = match self.exchange(call, node, None, limit).await {
                Ok(reply) => {
                    let told = time_in(&reply, node, before);
                    return Ok((reply, told));
                }
                Err(cause) => cause,
            };
            if !matches!(cause, Cause::Path(PathFault::TooFast)) {
                self.lock_routes().avoid(node.ed25519);
                return Err(NetworkError::new(cause));
            }
            if !core::mem::take(&mut again) {
                return Err(NetworkError::new(cause));
            }
            tokio::time::sleep(RATE_PAUSE).await;
        }
    }

    /// Handles a failure on the path, apart from the choice of another path. Returns the time to wait before the next
    /// call.
    /// `first` is the node that was called.
    pub(crate) async fn after_failure(&self, cause: &Cause, first: &Node) -> Duration {
        match cause {
            Cause::Path(PathFault::TooFast) => RATE_PAUSE,
            // Another node may be at this address by now: the list is old.
            Cause::Path(PathFault::StaleKey) => {
                self.note_stale_key(first).await;
                Duration::ZERO
            }
            _ => Duration::ZERO,
        }
    }

    /// Decides which part of the path failed. Returns true if another path may help.
    /// `node` is the destination, if it is one of the network.
    pub(crate) fn note_path_failure(&self, cause: &Cause, path: &Path, node: Option<&Node>) -> bool {
        let mut routes = self.lock_routes();
        let destination = node.map(|node| node.ed25519);
        match cause {
            // We were too fast, whichever path we take. Nothing is wrong with this one.
            Cause::Path(PathFault::TooFast) => true,
            Cause::Path(PathFault::NextNodeUnknown(unknown)) => {
                let is_destination = node.is_some_and(|node| *unknown == node.ed25519);
                // The guard may have made this up, so it can only spoil nodes that this call was to reach.
                if is_destination || path.goes_through(unknown) {
                    routes.avoid(*unknown);
                }
                routes.strike(path, true);
                routes.destination_failed(path, destination);
                !is_destination
            }
            // A node of the path was busy or slow, or the destination was. The path may work again.
            Cause::Path(PathFault::Failed(_)) => {
                routes.strike(path, false);
                routes.destination_failed(path, destination);
                true
            }
            // Any node of the path may be slow, or the destination. Two slow calls would take too long, so that there is no
            // second attempt.
            Cause::Http {
                fault: HttpFault::AnswerTimeout,
                ..
            } => {
                routes.strike(path, false);
                routes.destination_failed(path, destination);
                if let Some(silent) = destination {
                    routes.avoid(silent);
                }
                false
            }
            // The destination may have made an answer of any length.
            Cause::Http {
                fault: HttpFault::TooLong { .. },
                ..
            } => {
                routes.strike(path, true);
                routes.destination_failed(path, destination);
                true
            }
            // The connection to the first hop failed.
            Cause::Http { .. } => {
                routes.guard_failed(path);
                routes.strike(path, true);
                true
            }
            // The node itself answered.
            Cause::Unreadable { .. } => false,
            _ => {
                routes.strike(path, true);
                routes.destination_failed(path, destination);
                true
            }
        }
    }

    /// Sends a call, straight or over a path. `limit` is the longest answer as it comes, bytes.
    pub(crate) async fn exchange(
        &self,
        call: &Call,
        node: &Node,
        path: Option<&Path>,
        limit: usize,
    ) -> Result<Reply, Cause> {
        let hops = path
            .map_or(Ok(Vec::new()), Path::hops)
            .map_err(|_| UNUSABLE_KEY)?;
        let first = path.and_then(Path::guard).unwrap_or(node);
        let cipher = self.inner.options.layer_cipher();
        let sealed = call
            .seal(node, &hops, cipher, &mut UnwrapErr(SysRng))
            .map_err(|_| UNUSABLE_KEY)?;
        let _permit = self.inner.calls.acquire().await;
        let url = format!("https://{}:{}{HOP_PATH}", first.ip, first.port);
        let answer = self
            .inner
            .http
            .post_to_node(&url, sealed.body, limit)
            .await
            .map_err(|fault| Cause::Http {
                address: format!("{}:{}", first.ip, first.port),
                fault,
            })?;
        if let Some(fault) = answer.path_fault() {
            return Err(Cause::Path(fault));
        }
        let text = core::str::from_utf8(&answer.body).map_err(|_| Cause::NotSealed)?;
        Reply::open(text, &sealed.reply).map_err(|error| match error {
            OnionError::Decryption => Cause::WrongKey,
            OnionError::NotBase64 => Cause::NotSealed,
            _ => Cause::Unreadable {
                detail: "it has no status and body",
            },
        })
    }
}

/// The time of the node in its answer to a call that was made at `before`.
fn time_in(reply: &Reply, node: &Node, before: Reading) -> Option<Sample> {
    let time = time_of(&reply.body).filter(|_| reply.status == 200)?;
    // Half of the round trip, by the clock that nobody sets.
    let half = before.running.elapsed() / 2;
    let middle = Reading {
        wall_ms: before
            .wall_ms
            .saturating_add(u64::try_from(half.as_millis()).unwrap_or(0)),
        running: before.running + half,
    };
    Sample::new(node.ed25519, time, middle)
}

/// The time in a node's answer, milliseconds since 1970.
fn time_of(body: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct TimedAnswer {
        t: Option<u64>,
        /// In the answer to `info` alone.
        timestamp: Option<u64>,
    }
    let answer = serde_json::from_str::<TimedAnswer>(body).ok()?;
    answer.t.or(answer.timestamp)
}

#[cfg(test)]
mod tests {
    use session_protocol::network::paths::PathRules;

    use super::*;
    use crate::routes::tests::nodes;

    #[test]
    fn one_bad_destination_costs_no_guard_and_two_do() {
        let http = |fault| Cause::Http {
            address: String::new(),
            fault,
        };
        let list = nodes(12);
        let rng = &mut UnwrapErr(SysRng);
        for cause in [
            http(HttpFault::AnswerTimeout),
            http(HttpFault::TooLong { limit: 1 }),
            Cause::WrongKey,
            Cause::NotSealed,
            Cause::Path(PathFault::Failed(504)),
            Cause::Path(PathFault::Refused(404)),
        ] {
            let network = Network::builder().build().expect("good options");
            let mut path = |to: &Node, failed: Option<&Path>| {
                let mut routes = network.lock_routes();
                routes.path_to(Some(to), failed, &list, 1, rng).expect("a path")
            };
            let first = path(&list.nodes()[0], None);
            let guard = first.guard().copied().expect("a guard");
            let others: Vec<_> = list.nodes().iter().filter(|node| **node != guard).collect();
            for _ in 0..5 {
                network.note_path_failure(&cause, &first, Some(others[0]));
                let next = path(others[1], Some(&first));
                assert_eq!(
                    next.guard(),
                    Some(&guard),
                    "{cause:?}: no other node sees our address"
                );
            }
            network.note_path_failure(&cause, &first, Some(others[1]));
            let next = path(others[2], Some(&first));
            assert_ne!(
                next.guard(),
                Some(&guard),
                "{cause:?}: two destinations failed behind it"
            );
        }
        let network = Network::builder().build().expect("good options");
        let path = network
            .lock_routes()
            .path_to(None, None, &list, 1, rng)
            .expect("a path");
        network.note_path_failure(&http(HttpFault::Refused), &path, None);
        let guard = path.guard().expect("a guard");
        assert!(
            network.lock_routes().is_avoided(&guard.ed25519),
            "no connection to it"
        );
    }

    #[test]
    fn a_guard_can_spoil_no_node_but_those_of_its_path() {
        let network = Network::builder().build().expect("good options");
        let list = nodes(12);
        let to = &list.nodes()[0];
        let others = |node: &Node| node.ed25519 != to.ed25519;
        let rng = &mut UnwrapErr(SysRng);
        let path = Path::build(list.nodes(), &PathRules::default(), others, rng).expect("a path");
        for node in list.nodes() {
            let cause = Cause::Path(PathFault::NextNodeUnknown(node.ed25519));
            let again = network.note_path_failure(&cause, &path, Some(to));
            let is_destination = node.ed25519 == to.ed25519;
            assert_eq!(again, !is_destination);
            assert_eq!(
                network.lock_routes().is_avoided(&node.ed25519),
                is_destination || path.goes_through(&node.ed25519)
            );
        }
    }
}
