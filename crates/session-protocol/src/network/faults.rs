//! Failed calls: which part failed, and what helps.

use super::nodes::NodeList;
use super::rpc::Reply;
use crate::encoding::array_from_hex;

/// Longest text of a failure that is looked at, bytes.
const MAX_TEXT_LEN_BYTES: usize = 4096;

/// A failure on the way, from the status and text that the first hop answers over HTTP. It is not authenticated: any
/// hop may have made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathFault {
    /// A hop does not know the node behind it.
    #[error("a hop does not know the next node; do without that node until the list is refreshed")]
    NextNodeUnknown([u8; 32]),
    /// A node has other keys than those in the list.
    #[error("a node cannot open its layer; refresh the list of nodes")]
    StaleKey,
    /// A node was busy, away or too slow.
    #[error("the path failed with status {0}; try again, and take another path if it happens again")]
    Failed(u16),
    /// The hop does not take such calls.
    #[error("the first hop refused the call with status {0}; take another path")]
    Refused(u16),
    /// Calls come too fast.
    #[error("the first hop limits the rate of calls; wait a second")]
    TooFast,
}

impl PathFault {
    /// Returns the fault for an answer whose status is not 200; `None` for 200.
    pub fn of(status: u16, text: &str) -> Option<Self> {
        let text = text.get(..MAX_TEXT_LEN_BYTES).unwrap_or(text).trim_ascii();
        Some(match status {
            200 => return None,
            429 => Self::TooFast,
            400 if text.contains("Invalid ciphertext") => Self::StaleKey,
            502 => text
                .strip_prefix("Next node not found: ")
                .and_then(array_from_hex)
                .map_or(Self::Failed(status), Self::NextNodeUnknown),
            500..=599 => Self::Failed(status),
            _ => Self::Refused(status),
        })
    }
}

/// A failure of the node that was called. It is authenticated by the node's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeFault {
    /// The mailbox is in another swarm.
    #[error("the mailbox is in another swarm; call one of its nodes, once")]
    OtherSwarm(NodeList),
    /// The call's time is too far from the node's.
    #[error("the node does not accept the time of the call; ask for the network's time and call again, once")]
    WrongClock,
    /// Every node of the swarm failed.
    #[error("no node of the swarm stored the message; try another node of it later")]
    SwarmFailed,
    /// A failure that may pass.
    #[error("the node failed with status {0}; try another node of the swarm")]
    Temporary(u16),
    /// The call itself is wrong: repeating it helps nothing.
    #[error("the node refused the call with status {0}; the same call will be refused again")]
    Permanent(u16),
}

impl NodeFault {
    /// Returns the fault for a reply whose status is not 200; `None` for 200.
    pub fn of(reply: &Reply) -> Option<Self> {
        Some(match reply.status {
            200 => return None,
            // A node that has no usable swarm is of no help; another one may be.
            421 => match NodeList::from_swarm_json(&reply.body) {
                Ok(swarm) if !swarm.nodes().is_empty() => Self::OtherSwarm(swarm),
                _ => Self::Temporary(421),
            },
            406 | 425 => Self::WrongClock,
            500 if is_about_swarm(&reply.body) => Self::SwarmFailed,
            400..=499 if !matches!(reply.status, 408 | 429) => Self::Permanent(reply.status),
            status => Self::Temporary(status),
        })
    }
}

/// Returns true if a body is a JSON object with the member `swarm`.
fn is_about_swarm(body: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(rename = "swarm")]
        _swarm: serde::de::IgnoredAny,
    }
    serde_json::from_str::<Answer>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::paths::tests::node;

    #[test]
    fn each_answer_of_a_hop_has_its_remedy() {
        let key = [0xab; 32];
        let cases = [
            (
                502,
                format!("Next node not found: {}", hex::encode(key)),
                PathFault::NextNodeUnknown(key),
            ),
            (
                502,
                "Next node not found: somebody".to_owned(),
                PathFault::Failed(502),
            ),
            (400, "Invalid ciphertext".to_owned(), PathFault::StaleKey),
            (400, "é".repeat(4097), PathFault::Refused(400)),
            (404, String::new(), PathFault::Refused(404)),
            (429, String::new(), PathFault::TooFast),
            (503, "Snode not ready".to_owned(), PathFault::Failed(503)),
            (504, "Request time out".to_owned(), PathFault::Failed(504)),
        ];
        for (status, text, fault) in cases {
            assert_eq!(PathFault::of(status, &text), Some(fault), "{status} {text}");
        }
        assert_eq!(PathFault::of(200, ""), None);
    }

    #[test]
    fn each_answer_of_a_node_has_its_remedy() {
        let of = |status, body: &str| {
            NodeFault::of(&Reply {
                status,
                body: body.to_owned(),
            })
        };
        let member = node(1, [10, 0, 0, 1]);
        let swarm = serde_json::json!({"swarm": "7", "snodes": [{
            "ip": "10.0.0.1", "port_https": member.port,
            "pubkey_ed25519": hex::encode(member.ed25519), "pubkey_x25519": hex::encode(member.x25519().unwrap()),
        }]});
        let Some(NodeFault::OtherSwarm(list)) = of(421, &swarm.to_string()) else {
            panic!("another swarm");
        };
        assert_eq!(list.nodes(), [member]);
        assert_eq!(
            of(421, r#"{"swarm":"7","snodes":[]}"#),
            Some(NodeFault::Temporary(421))
        );
        assert_eq!(of(421, "no JSON"), Some(NodeFault::Temporary(421)));
        assert_eq!(
            of(406, "Timestamp error: check your clock"),
            Some(NodeFault::WrongClock)
        );
        assert_eq!(of(425, ""), Some(NodeFault::WrongClock));
        assert_eq!(of(500, r#"{"swarm":{}}"#), Some(NodeFault::SwarmFailed));
        assert_eq!(of(500, "oops"), Some(NodeFault::Temporary(500)));
        assert_eq!(of(503, ""), Some(NodeFault::Temporary(503)));
        assert_eq!(of(429, ""), Some(NodeFault::Temporary(429)));
        for status in [400, 401, 403] {
            assert_eq!(of(status, "invalid request"), Some(NodeFault::Permanent(status)));
        }
        assert_eq!(of(200, ""), None);
    }
}
