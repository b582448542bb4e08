//! Answers of nodes and seeds.

use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::layers::{self, Key, Layer};
use super::mailbox::{self, StoredRow};
use super::{FaultPlan, Node, State, SwarmFault, key_seed};

/// Longest message, bytes.
const MAX_DATA: usize = 76_800;
/// Maximum number of calls in a batch.
const MAX_BATCH: usize = 20;
/// Maximum number of hops of a call.
const MAX_HOPS: usize = 10;
/// Longest time that a message is kept, milliseconds.
const MAX_TTL: u64 = 14 * 86_400_000;

/// Answer over HTTP.
pub(super) enum Answer {
    Body { status: u16, body: Vec<u8> },
    Close,
    Silence,
}

impl Answer {
    pub(super) fn text(status: u16, text: &str) -> Self {
        Self::Body {
            status,
            body: text.as_bytes().to_vec(),
        }
    }
}

/// Answer of a method: JSON, or a text with the reason of a failure.
pub(super) struct Result {
    status: u16,
    body: Value,
}

impl Result {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    pub(super) fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            body: text.into(),
        }
    }

    pub(super) fn invalid(text: &str) -> Self {
        Self::text(400, &format!("invalid request: {text}"))
    }

    /// The body as the text of an HTTP answer.
    fn body_text(&self) -> String {
        match &self.body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl State {
    /// A POST to `/onion_req/v2`, after `hops` nodes.
    pub(super) fn onion(&self, at: usize, body: &[u8], hops: usize) -> Answer {
        let node = &self.nodes[at];
        let Some(layer) = layers::open(body, node).filter(|_| hops <= MAX_HOPS) else {
            return Answer::text(400, "Invalid ciphertext");
        };
        let (json, embed, key) = match layer {
            Layer::PassOn { to, body } => {
                let fits = |fault: SwarmFault| fault.is_on_the_path();
                if let Some(plan) = self.fault(at, "pass-on", fits) {
                    return on_the_path(plan.fault, &to);
                }
                return match self.find(&to) {
                    Some(next) => self.onion(next, &body, hops + 1),
                    None => Answer::text(502, &format!("Next node not found: {to}")),
                };
            }
            Layer::Deliver { host, target, body } => {
                let fits = |fault: SwarmFault| fault.is_on_the_path();
                return match self.fault(at, "deliver", fits) {
                    Some(plan) => on_the_path(plan.fault, &host),
                    None => self.deliver(&host, &target, &body),
                };
            }
            Layer::Call { json, embed, key } => (json, embed, key),
        };
        let call: Value = serde_json::from_slice(&json).unwrap_or_default();
        let method = call["method"].as_str().unwrap_or_default().to_owned();
        let fits = |fault: SwarmFault| fault.is_on_the_path() && fault != SwarmFault::UnknownNextNode;
        if let Some(plan) = self.fault(at, &method, fits) {
            return on_the_path(plan.fault, "");
        }
        self.record(at, &method, hops, true);
        let result = self.call(at, &method, &call["params"]);
        let spoiled = self.fault(at, &method, SwarmFault::is_in_the_answer);
        seal(&result, embed, &key, spoiled.map(|plan| plan.fault))
    }

    /// A POST to `/storage_rpc/v1`.
    pub(super) fn plain(&self, at: usize, body: &[u8]) -> Answer {
        let call: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(method) = call["method"].as_str() else {
            return Answer::text(400, "invalid JSON request: there is no method");
        };
        if !call["params"].is_object() {
            return Answer::text(400, "invalid JSON request: there are no params");
        }
        self.record(at, method, 0, false);
        let result = self.call(at, method, &call["params"]);
        Answer::text(result.status, &result.body_text())
    }

    /// A POST to `/json_rpc` of a seed.
    pub(super) fn seed(&self, body: &[u8]) -> Answer {
        let call: Value = serde_json::from_slice(body).unwrap_or_default();
        let method = call["method"].as_str().unwrap_or_default();
        self.record(usize::MAX, method, 0, false);
        let result = match method {
            "get_n_service_nodes" | "get_service_nodes" => self.list(usize::MAX),
            "active_nodes_bin" => self.binary_list(),
            _ => json!({"error": "no such method"}),
        };
        Answer::text(
            200,
            &json!({"jsonrpc": "2.0", "id": 0, "result": result}).to_string(),
        )
    }

    fn call(&self, at: usize, method: &str, params: &Value) -> Result {
        let mut result = match method {
            "info" => Result::ok(json!({"timestamp": self.now_ms(), "version": [2, 11, 3]})),
            "get_swarm" => match self.swarm_of(params["pubkey"].as_str().unwrap_or_default()) {
                Some(swarm) => Result::ok(self.swarm_json(swarm)),
                None => Result::invalid("invalid pubkey"),
            },
            "oxend_request" => match params["endpoint"].as_str() {
                Some("get_service_nodes") => Result::ok(json!({"result": self.list(at)})),
                _ => Result::invalid("invalid oxend endpoint"),
            },
            "get_n_service_nodes" => Result::ok(json!({"result": self.list(at)})),
            "active_nodes_bin" => Result::ok(self.binary_list()),
            "batch" | "sequence" => self.batch(at, method, params),
            "store" => self.store(at, params),
            "retrieve" | "delete" | "expire" | "get_expiries" => self.of_owner(at, method, params),
            _ => Result::invalid("no such method"),
        };
        if let (200, Value::Object(body)) = (result.status, &mut result.body) {
            body.insert("t".to_owned(), self.now_ms().into());
            body.insert("hf".to_owned(), json!([19, 5]));
        }
        result
    }

    fn batch(&self, at: usize, method: &str, params: &Value) -> Result {
        let empty = Vec::new();
        let calls = params["requests"].as_array().unwrap_or(&empty);
        if calls.is_empty() || calls.len() > MAX_BATCH {
            return Result::invalid("a batch has 1 to 20 requests");
        }
        let mut results = Vec::new();
        for call in calls {
            let name = call["method"].as_str().unwrap_or_default();
            self.record(at, name, 0, false);
            let result = self.call(at, name, &call["params"]);
            results.push(json!({"code": result.status, "body": result.body}));
            if method == "sequence" && result.status != 200 {
                break;
            }
        }
        Result::ok(json!({"results": results}))
    }

    /// Status 421 for a mailbox that is elsewhere, and the faults that are about it.
    pub(super) fn elsewhere(&self, at: usize, method: &str, id: &str) -> Option<Result> {
        let fits = |fault| matches!(fault, SwarmFault::OtherSwarm | SwarmFault::InventedSwarm);
        let right = self.swarm_of(id)?;
        match self.fault(at, method, fits).map(|plan| plan.fault) {
            Some(SwarmFault::InventedSwarm) => Some(Result {
                status: 421,
                body: json!({"swarm": format!("{right:x}"), "snodes": self.invented(at).iter().map(swarm_node).collect::<Vec<_>>()}),
            }),
            Some(_) => {
                let here = self
                    .swarms
                    .iter()
                    .position(|swarm| *swarm == self.nodes[at].swarm)?;
                let other = self.swarms[(here + 1) % self.swarms.len()];
                Some(Result {
                    status: 421,
                    body: self.swarm_json(other),
                })
            }
            None => (right != self.nodes[at].swarm).then(|| Result {
                status: 421,
                body: self.swarm_json(right),
            }),
        }
    }

    fn store(&self, at: usize, params: &Value) -> Result {
        let (Some(id), Some(timestamp), Some(data)) = (
            id_of(params),
            number(&params["timestamp"]),
            params["data"].as_str().and_then(|text| BASE64.decode(text).ok()),
        ) else {
            return Result::invalid("pubkey, timestamp and data are required");
        };
        let namespace = params["namespace"].as_i64().unwrap_or(0);
        if let Some(result) = self.elsewhere(at, "store", &id) {
            return result;
        }
        if data.len() > MAX_DATA {
            return Result::invalid("Message body exceeds maximum allowed length of 76800 bytes");
        }
        let now = self.now_ms();
        let expiry = number(&params["expiry"])
            .or_else(|| Some(timestamp + number(&params["ttl"])?))
            .unwrap_or_default();
        let ttl = expiry.saturating_sub(timestamp);
        let plan = self.fault(at, "store", |fault| {
            !fault.is_on_the_path()
                && !fault.is_in_the_answer()
                && !matches!(
                    fault,
                    SwarmFault::ListWithoutSwarms
                        | SwarmFault::EmptyList
                        | SwarmFault::InventedList
                        | SwarmFault::ShortList
                        | SwarmFault::OtherSwarm
                        | SwarmFault::InventedSwarm
                        | SwarmFault::Forgetful
                        | SwarmFault::ChangedData
                        | SwarmFault::Replays
                )
        });
        let fault = plan.as_ref().map(|plan| plan.fault);
        if let Some(result) = fault.and_then(|fault| self.refusal(fault, at)) {
            return result;
        }
        if timestamp > now + 10_000 || expiry + 10_000 < now {
            return Result::text(406, "Timestamp error: check your clock");
        }
        if !(10_000..=MAX_TTL).contains(&ttl) {
            return Result::text(403, "Provided expiry/TTL is not valid.");
        }
        let row = StoredRow {
            hash: mailbox::hash(&id, namespace, &data),
            timestamp_ms: timestamp,
            expiry_ms: expiry,
            data,
        };
        self.store_in_swarm(at, &id, namespace, &row, plan.as_ref())
    }

    /// Refusals of the whole call.
    pub(super) fn refusal(&self, fault: SwarmFault, at: usize) -> Option<Result> {
        Some(match fault {
            SwarmFault::WrongClock => Result::text(406, "Timestamp error: check your clock"),
            SwarmFault::RefusedTtl => Result::text(403, "Provided expiry/TTL is not valid."),
            SwarmFault::RefusedSignature => Result::text(401, "retrieve signature verification failed"),
            SwarmFault::InvalidRequest => Result::invalid("something that this node alone knows"),
            SwarmFault::NodeBusy => Result::text(503, "Snode not ready: syncing"),
            SwarmFault::SwarmFailed => {
                let swarm: Map<_, _> = self
                    .members(self.nodes[at].swarm)
                    .map(|n| (self.nodes[n].name(), json!({"failed": true, "code": 500})))
                    .collect();
                Result {
                    status: 500,
                    body: json!({ "swarm": swarm }),
                }
            }
            _ => return None,
        })
    }

    fn store_in_swarm(
        &self,
        at: usize,
        id: &str,
        namespace: i64,
        row: &StoredRow,
        plan: Option<&FaultPlan>,
    ) -> Result {
        let fault = plan.map(|plan| plan.fault);
        let affected = plan.map_or(0, |plan| plan.peers);
        if fault == Some(SwarmFault::HangingPeers) {
            thread::sleep(plan.map(|plan| plan.pause).unwrap_or_default());
        }
        let fails = matches!(
            fault,
            Some(
                SwarmFault::HangingPeers
                    | SwarmFault::FailedPeers
                    | SwarmFault::MissingPeers
                    | SwarmFault::RepeatedReceipt
            )
        );
        let mut swarm = Map::new();
        // The peers first, so that faults of peers spare the node itself as long as they can.
        let peers = self.members(self.nodes[at].swarm).filter(|n| *n != at);
        for (count, n) in peers.chain([at]).enumerate() {
            let node = &self.nodes[n];
            let hit = count < affected;
            if hit && fails && n != at {
                match fault {
                    Some(SwarmFault::HangingPeers) => {
                        swarm.insert(node.name(), json!({"failed": true, "timeout": true}))
                    }
                    Some(SwarmFault::FailedPeers) => swarm.insert(
                        node.name(),
                        json!({"failed": true, "code": 500, "reason": "disk full"}),
                    ),
                    _ => None,
                };
                continue;
            }
            let mut boxes = self.boxes.lock().expect("no panic inside");
            boxes.expire(self.now_ms());
            let already = boxes.insert(n, id, namespace, row.clone());
            drop(boxes);
            let (name, entry) = receipt(node, n, row, already, fault.filter(|_| hit));
            if fault == Some(SwarmFault::RepeatedReceipt) {
                swarm.insert(name.to_uppercase(), entry.clone());
                swarm.insert(name.replace('a', "A"), entry.clone());
                swarm.insert(format!("0x{name}"), entry.clone());
                swarm.insert(format!(" {name}"), entry.clone());
            }
            swarm.insert(name, entry);
        }
        Result::ok(json!({"hash": row.hash, "swarm": swarm}))
    }

    pub(super) fn members(&self, swarm: u64) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(move |n| self.nodes[*n].swarm == swarm)
    }

    fn swarm_json(&self, swarm: u64) -> Value {
        let nodes: Vec<_> = self.members(swarm).map(|n| swarm_node(&self.nodes[n])).collect();
        json!({"swarm": format!("{swarm:x}"), "snodes": nodes})
    }

    /// Nodes at real addresses with keys that no node has.
    fn invented(&self, at: usize) -> Vec<Node> {
        let first = at % self.nodes.len().max(1) * self.nodes.len();
        self.nodes
            .iter()
            .enumerate()
            .map(|(n, node)| Node::new(key_seed(1000 + first + n), node.ip, node.port, node.swarm))
            .collect()
    }

    fn list(&self, at: usize) -> Value {
        let fits = |fault| {
            matches!(
                fault,
                SwarmFault::ListWithoutSwarms
                    | SwarmFault::EmptyList
                    | SwarmFault::InventedList
                    | SwarmFault::ShortList
            )
        };
        let fault = self.fault(at, "get_service_nodes", fits).map(|plan| plan.fault);
        let hidden = *self.hidden_swarm.lock().expect("no panic inside");
        let entry = |node: &Node| {
            let swarm = if fault == Some(SwarmFault::ListWithoutSwarms) {
                u64::MAX
            } else {
                node.swarm
            };
            json!({
                "public_ip": node.ip.to_string(), "storage_port": node.port, "pubkey_ed25519": node.name(),
                "pubkey_x25519": hex::encode(node.x25519), "swarm_id": swarm, "requested_unlock_height": 0, "height": 1,
            })
        };
        let left_out = match fault {
            Some(SwarmFault::ShortList) => self.nodes.len() / 3,
            _ => 0,
        };
        let states: Vec<_> = match fault {
            Some(SwarmFault::EmptyList) => Vec::new(),
            Some(SwarmFault::InventedList) => self
                .invented(at.min(self.nodes.len()))
                .iter()
                .map(entry)
                .collect(),
            _ => self.nodes[..self.nodes.len() - left_out]
                .iter()
                .filter(|node| Some(node.swarm) != hidden)
                .map(entry)
                .collect(),
        };
        json!({"service_node_states": states, "height": 1})
    }

    fn binary_list(&self) -> Value {
        let mut bytes = Vec::new();
        for node in &self.nodes {
            bytes.extend_from_slice(node.signing.verifying_key().as_bytes());
            bytes.extend_from_slice(&node.swarm.to_be_bytes());
            bytes.extend_from_slice(&node.ip.octets());
            bytes.extend_from_slice(&node.port.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 2, 11, 3]);
        }
        json!({"snodes": BASE64.encode(bytes)})
    }
}

/// The sealed answer to a sealed call.
fn seal(result: &Result, embed: bool, key: &Key, spoiled: Option<SwarmFault>) -> Answer {
    let body = if embed {
        result.body.clone()
    } else {
        result.body_text().into()
    };
    let plain = json!({"status": result.status, "body": body}).to_string();
    let sealed = match spoiled {
        Some(SwarmFault::GarbageBase64) => return Answer::text(200, "%%% neither base64 nor JSON %%%"),
        Some(SwarmFault::HugeAnswer) => return Answer::text(200, &"A".repeat(40 << 20)),
        Some(SwarmFault::WrongKey) => Key::foreign().seal(plain.as_bytes()),
        Some(SwarmFault::NoJson) => key.seal(b"nothing that anybody reads"),
        _ => key.seal(plain.as_bytes()),
    };
    Answer::text(200, &BASE64.encode(sealed))
}

/// A fault that the first hop answers with.
fn on_the_path(fault: SwarmFault, next: &str) -> Answer {
    match fault {
        SwarmFault::UnknownNextNode => Answer::text(502, &format!("Next node not found: {next}")),
        SwarmFault::InvalidCiphertext => Answer::text(400, "Invalid ciphertext"),
        SwarmFault::HopTimeout => Answer::text(504, "Request time out"),
        SwarmFault::HopNotReady => Answer::text(503, "Snode not ready: syncing"),
        SwarmFault::TooFast => Answer::text(429, "Rate limited"),
        SwarmFault::Silent => Answer::Silence,
        _ => Answer::Close,
    }
}

/// A node's entry in the answer to a store call.
fn receipt(
    node: &Node,
    n: usize,
    row: &StoredRow,
    already: bool,
    fault: Option<SwarmFault>,
) -> (String, Value) {
    let stranger = Node::new(key_seed(5000 + n), node.ip, node.port, node.swarm);
    let other = mailbox::hash("", 0, row.hash.as_bytes());
    let (signer, hash) = match fault {
        Some(SwarmFault::WrongHash) => (node, other.as_str()),
        Some(SwarmFault::ForeignSigner) => (&stranger, row.hash.as_str()),
        _ => (node, row.hash.as_str()),
    };
    let mut signature = signer.sign(hash);
    if fault == Some(SwarmFault::ForgedSignature) {
        signature[7] ^= 1;
    }
    let mut entry = json!({"hash": hash, "signature": BASE64.encode(signature), "expiry": row.expiry_ms});
    if already {
        entry["already"] = if n.is_multiple_of(2) {
            true.into()
        } else {
            1.into()
        };
    }
    (signer.name(), entry)
}

fn swarm_node(node: &Node) -> Value {
    json!({
        "ip": node.ip.to_string(), "port": node.port.to_string(), "port_https": node.port, "port_omq": 22020,
        "pubkey_ed25519": node.name(), "pubkey_x25519": hex::encode(node.x25519), "pubkey_legacy": node.name(),
    })
}

pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(super) fn id_of(params: &Value) -> Option<String> {
    let id = params["pubkey"].as_str()?;
    let is_id = id.len() == 66 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_ascii_lowercase())
}
