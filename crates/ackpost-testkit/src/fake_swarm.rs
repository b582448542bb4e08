//! Service nodes of Session's storage network on loopback: real onion layers, real signatures, and one fault at a time.
//!
//! Each node listens on its own address (127.19.N.1), so that the nodes lie in different networks, as clients want
//! them for their paths. A node answers sealed calls at `/onion_req/v2`, passes layers on to the next node, and answers
//! plain calls at `/storage_rpc/v1`. Two seeds answer `/json_rpc`: one with TLS and its own certificate, one
//! without TLS for old clients. Each node has its own mailboxes; a store call is copied to the other nodes of the swarm.
//!
//! [`FaultPlan`] makes nodes misbehave. The cryptography is written anew here and shares nothing with the code under
//! test.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256, Sha512};

mod faults;
mod files;
mod http;
mod layers;
mod mailbox;
mod methods;
mod owner;

pub use faults::{FaultPlan, SwarmFault};
use mailbox::Mailboxes;
pub use mailbox::StoredRow;

/// Maximum number of calls that are remembered.
const MAX_CALLS: usize = 200_000;

/// One call that a node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmCall {
    /// The number of the node.
    pub node: usize,
    /// The method.
    pub method: String,
    /// Number of nodes that passed the call on before.
    pub hops: usize,
    /// True if the call was sealed to the node.
    pub sealed: bool,
}

/// A running network; it ends with the value.
#[derive(Debug)]
pub struct FakeSwarm {
    state: Arc<State>,
    tls_seed: (u16, [u8; 32]),
    plain_seed: u16,
    plain_files: u16,
}

#[derive(Debug)]
struct Node {
    ip: Ipv4Addr,
    port: u16,
    signing: SigningKey,
    /// The X25519 secret that belongs to the Ed25519 key.
    x25519_secret: [u8; 32],
    x25519: [u8; 32],
    swarm: u64,
}

impl Node {
    fn new(seed: [u8; 32], ip: Ipv4Addr, port: u16, swarm: u64) -> Self {
        let hash = Sha512::digest(seed);
        let mut x25519_secret = [0; 32];
        x25519_secret.copy_from_slice(&hash[..32]);
        Self {
            ip,
            port,
            signing: SigningKey::from_bytes(&seed),
            x25519_secret,
            x25519: x25519_dalek::x25519(x25519_secret, x25519_dalek::X25519_BASEPOINT_BYTES),
            swarm,
        }
    }

    fn name(&self) -> String {
        hex::encode(self.signing.verifying_key().as_bytes())
    }

    fn sign(&self, text: &str) -> [u8; 64] {
        self.signing.sign(text.as_bytes()).to_bytes()
    }
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    swarms: Vec<u64>,
    boxes: Mutex<Mailboxes>,
    file_server: Node,
    files: files::Files,
    plans: Mutex<Vec<FaultPlan>>,
    faulty: Mutex<Vec<usize>>,
    hidden_swarm: Mutex<Option<u64>>,
    calls: Mutex<Vec<SwarmCall>>,
    exchanges: AtomicU64,
    connections: AtomicU64,
    clock_offset_ms: AtomicI64,
    stop: AtomicBool,
}

/// Number of networks that this process started: each has other keys, and the first one always the same.
static SWARMS: AtomicU64 = AtomicU64::new(0);

/// The seed of a node of the network number `salt`.
fn node_seed(salt: u64, n: usize) -> [u8; 32] {
    Sha256::digest(format!("node {n} of network {salt} on loopback")).into()
}

/// The seed of the key pair number `n`, which belongs to nobody in the network.
fn key_seed(n: usize) -> [u8; 32] {
    Sha256::digest(format!("node {n} of a network on loopback")).into()
}

impl FakeSwarm {
    /// Starts one swarm of `nodes` nodes.
    pub fn start(nodes: usize) -> Self {
        Self::with_swarms(&[nodes])
    }

    /// Starts one swarm for each number, with that many nodes.
    pub fn with_swarms(sizes: &[usize]) -> Self {
        let step = u64::MAX / (sizes.len() as u64).max(1);
        let swarms: Vec<u64> = (0..sizes.len() as u64).map(|n| n * step + 77).collect();
        let salt = SWARMS.fetch_add(1, Ordering::Relaxed);
        let mut listeners = Vec::new();
        let mut nodes = Vec::new();
        for (swarm, &size) in swarms.iter().zip(sizes) {
            for _ in 0..size {
                let n = u8::try_from(nodes.len()).expect("at most 255 nodes");
                let ip = Ipv4Addr::new(127, 19, n, 1);
                let (listener, port) = http::listen(ip);
                listeners.push(listener);
                nodes.push(Node::new(node_seed(salt, nodes.len()), ip, port, *swarm));
            }
        }
        let state = Arc::new(State {
            boxes: Mutex::new(Mailboxes::new(nodes.len())),
            file_server: files::server(),
            files: files::Files::default(),
            nodes,
            swarms,
            plans: Mutex::default(),
            faulty: Mutex::default(),
            hidden_swarm: Mutex::default(),
            calls: Mutex::default(),
            exchanges: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            clock_offset_ms: AtomicI64::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = crate::SelfSigned::new(&["service.node"]);
        for (n, listener) in listeners.into_iter().enumerate() {
            http::serve(&state, listener, Some(shared.server()), http::Role::Node(n));
        }
        let seed = crate::SelfSigned::new(&["127.0.0.1"]);
        let (listener, tls_port) = http::listen(Ipv4Addr::LOCALHOST);
        http::serve(&state, listener, Some(seed.server()), http::Role::Seed);
        let (listener, plain_seed) = http::listen(Ipv4Addr::LOCALHOST);
        http::serve(&state, listener, None, http::Role::Seed);
        let (listener, plain_files) = http::listen(Ipv4Addr::LOCALHOST);
        http::serve(&state, listener, None, http::Role::Files);
        Self {
            state,
            tls_seed: (tls_port, seed.sha256()),
            plain_seed,
            plain_files,
        }
    }

    /// The file server as clients that go over hops know it: its host name, and its X25519 key.
    pub fn file_server(&self) -> (&'static str, [u8; 32]) {
        (files::HOST, self.state.file_server.x25519)
    }

    /// Host and port of the file server without TLS and hops; it is an HTTP proxy for old clients as well.
    pub fn plain_file_server(&self) -> String {
        format!("127.0.0.1:{}", self.plain_files)
    }

    /// Returns the number of files on the file server.
    pub fn files(&self) -> usize {
        self.state.files.rows.lock().expect("no panic inside").len()
    }

    /// A node as a seed that is known by its key: `ED25519@IP:PORT`.
    pub fn node_seed(&self, node: usize) -> String {
        let node = &self.state.nodes[node];
        format!("{}@{}:{}", node.name(), node.ip, node.port)
    }

    /// The seed with TLS, and the SHA-256 of its certificate: `https://127.0.0.1:PORT#SHA256`.
    pub fn tls_seed(&self) -> String {
        format!(
            "https://127.0.0.1:{}#{}",
            self.tls_seed.0,
            hex::encode(self.tls_seed.1)
        )
    }

    /// Host and port of the seed without TLS.
    pub fn plain_seed(&self) -> String {
        format!("127.0.0.1:{}", self.plain_seed)
    }

    /// Returns the number of nodes.
    pub fn len(&self) -> usize {
        self.state.nodes.len()
    }

    /// Returns true if there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.state.nodes.is_empty()
    }

    /// The Ed25519 key of a node.
    pub fn node_key(&self, node: usize) -> [u8; 32] {
        *self.state.nodes[node].signing.verifying_key().as_bytes()
    }

    /// The numbers of the nodes that keep the mailbox of an id (66 hexadecimal digits).
    pub fn swarm_of(&self, id: &str) -> Vec<usize> {
        let swarm = self.state.swarm_of(id);
        (0..self.state.nodes.len())
            .filter(|n| Some(self.state.nodes[*n].swarm) == swarm)
            .collect()
    }

    /// Makes nodes misbehave, beside earlier plans. The first plan that fits a call is applied.
    pub fn add_fault(&self, plan: FaultPlan) {
        self.lock_plans().push(plan);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.lock_plans().clear();
        *self.state.hidden_swarm.lock().expect("no panic inside") = None;
    }

    /// Leaves the swarm that keeps this mailbox out of every list of nodes.
    pub fn hide_swarm_of(&self, id: &str) {
        *self.state.hidden_swarm.lock().expect("no panic inside") = self.state.swarm_of(id);
    }

    /// Moves the clock of all nodes, milliseconds.
    pub fn set_clock_offset_ms(&self, offset: i64) {
        self.state.clock_offset_ms.store(offset, Ordering::SeqCst);
    }

    /// Returns the messages that one node has in a mailbox, in the order of their arrival.
    pub fn stored_at(&self, node: usize, id: &str, namespace: i64) -> Vec<StoredRow> {
        let boxes = self.state.boxes.lock().expect("no panic inside");
        boxes.rows(node, id, namespace).to_vec()
    }

    /// Puts bytes into a mailbox on all nodes of its swarm, without any check: what a hostile sender may leave there.
    pub fn put(&self, id: &str, namespace: i64, data: &[u8]) {
        let now = self.state.now_ms();
        let row = StoredRow {
            hash: mailbox::hash(id, namespace, data),
            timestamp_ms: now,
            expiry_ms: now + 86_400_000,
            data: data.to_vec(),
        };
        let mut boxes = self.state.boxes.lock().expect("no panic inside");
        for node in self.swarm_of(id) {
            boxes.insert(node, id, namespace, row.clone());
        }
    }

    /// The calls that nodes and seeds answered so far.
    pub fn calls(&self) -> Vec<SwarmCall> {
        self.state.calls.lock().expect("no panic inside").clone()
    }

    /// Returns the number of answered calls with this method.
    pub fn count(&self, method: &str) -> usize {
        self.calls().iter().filter(|call| call.method == method).count()
    }

    /// Returns the number of the node of each fault that was applied, in order.
    pub fn faulty_nodes(&self) -> Vec<usize> {
        self.state.faulty.lock().expect("no panic inside").clone()
    }

    /// Returns the number of HTTP requests that clients made.
    pub fn exchanges(&self) -> u64 {
        self.state.exchanges.load(Ordering::SeqCst)
    }

    /// Returns the number of connections that clients opened.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    fn lock_plans(&self) -> std::sync::MutexGuard<'_, Vec<FaultPlan>> {
        self.state.plans.lock().expect("no panic inside")
    }
}

impl Drop for FakeSwarm {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let seeds =
            [self.tls_seed.0, self.plain_seed, self.plain_files].map(|port| (Ipv4Addr::LOCALHOST, port));
        for address in self
            .state
            .nodes
            .iter()
            .map(|node| (node.ip, node.port))
            .chain(seeds)
        {
            let _ = TcpStream::connect_timeout(&address.into(), Duration::from_secs(1));
        }
    }
}

impl State {
    fn now_ms(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970");
        let now = u64::try_from(now.as_millis()).expect("a clock before the year 500 million");
        now.saturating_add_signed(self.clock_offset_ms.load(Ordering::SeqCst))
    }

    /// The swarm of an id, as the description has it: the nearest number in a circle.
    fn swarm_of(&self, id: &str) -> Option<u64> {
        let key = hex::decode(id.get(2..)?).ok().filter(|key| key.len() == 32)?;
        let x = key
            .chunks(8)
            .map(|chunk| u64::from_be_bytes(chunk.try_into().expect("eight bytes")))
            .fold(0, |x, part| x ^ part);
        let mut ids = self.swarms.clone();
        ids.sort_unstable();
        let right = ids.iter().position(|&id| id >= x).unwrap_or(0);
        let left = (right + ids.len() - 1) % ids.len();
        let is_right = ids[right].wrapping_sub(x) < x.wrapping_sub(ids[left]);
        Some(if is_right { ids[right] } else { ids[left] })
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name() == name)
    }

    fn record(&self, node: usize, method: &str, hops: usize, sealed: bool) {
        let mut calls = self.calls.lock().expect("no panic inside");
        if calls.len() < MAX_CALLS {
            calls.push(SwarmCall {
                node,
                method: method.to_owned(),
                hops,
                sealed,
            });
        }
    }

    /// The fault for this call, counted down.
    fn fault(&self, node: usize, method: &str, fits: impl Fn(SwarmFault) -> bool) -> Option<FaultPlan> {
        let mut plans = self.plans.lock().expect("no panic inside");
        let plan = plans
            .iter_mut()
            .find(|plan| fits(plan.fault) && plan.is_for(node, method))?;
        plan.times = plan.times.saturating_sub(1);
        self.faulty.lock().expect("no panic inside").push(node);
        Some(plan.clone())
    }
}

/// A map for the tests of other crates: the faults by their names.
pub(crate) fn fault_names() -> HashMap<&'static str, SwarmFault> {
    SwarmFault::ALL
        .iter()
        .map(|fault| (fault.name(), *fault))
        .collect()
}
