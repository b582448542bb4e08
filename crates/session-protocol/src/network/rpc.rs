//! Calls to a service node, sealed to its key, with and without hops in between; both ends.
//!
//! The innermost plaintext is the call as JSON, framed with `{"headers":{}}`: the key `headers` says that this node
//! is the last one. Around it stand the layers of [`crate::onion::path`]. The answer is base64 of
//! `{"status":…,"body":…}` under the reply key, whoever passes it on.
//!
//! A call without hops goes to the node itself. Its answer is authenticated by the node's key all the same; TLS adds
//! nothing, because nodes have certificates of their own making.

use rand_core::CryptoRng;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::nodes::Node;
use crate::encoding::{b64, from_b64};
use crate::id::{ServerKey, SessionId};
use crate::keys::ServerSecret;
use crate::onion::path::{self, Hop, Peeled};
use crate::onion::{self, Cipher, OnionError, ReplyKey, Sealed};

/// Path of a POST with a sealed call to a node.
pub use crate::onion::path::HOP_PATH;
/// Path of a POST with an unsealed call to a node.
pub const PLAIN_PATH: &str = "/storage_rpc/v1";
/// Path of a POST with a call to a seed.
pub const SEED_PATH: &str = "/json_rpc";
/// Hops between a client and a node in Session's apps.
pub const HOPS: usize = 3;
/// Most hops of one call.
pub const MAX_HOPS: usize = 8;
/// Longest call, bytes. The longest message, in base64, has about 100 kB.
pub const MAX_CALL_LEN_BYTES: usize = 1024 * 1024;
/// Longest answer, bytes of base64. A mailbox gives at most 7.8 MB at once.
pub const MAX_REPLY_LEN_BYTES: usize = 24 * 1024 * 1024;

/// A method and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    method: &'static str,
    params: Map<String, Value>,
}

impl Call {
    pub(super) fn new(method: &'static str, params: Map<String, Value>) -> Self {
        Self { method, params }
    }

    fn with(method: &'static str, params: Value) -> Self {
        match params {
            Value::Object(params) => Self { method, params },
            _ => Self::new(method, Map::new()),
        }
    }

    /// Asks for a node's version and clock: `timestamp` in the answer, milliseconds since 1970.
    pub fn info() -> Self {
        Self::new("info", Map::new())
    }

    /// Asks for the swarm of an account; [`super::nodes::NodeList::from_swarm_json`] reads the answer.
    pub fn swarm(id: &SessionId) -> Self {
        Self::with("get_swarm", json!({"pubkey": id.to_string()}))
    }

    /// Asks a node for all nodes; [`super::nodes::NodeList::from_json`] reads the answer.
    pub fn all_nodes() -> Self {
        Self::with(
            "oxend_request",
            json!({"endpoint": "get_service_nodes", "params": node_fields()}),
        )
    }

    /// Asks a seed for all nodes, at [`SEED_PATH`]; [`super::nodes::NodeList::from_json`] reads the answer.
    pub fn all_nodes_of_seed() -> Self {
        Self::with("get_n_service_nodes", node_fields())
    }

    /// The name of the method.
    pub fn method(&self) -> &str {
        self.method
    }

    /// The parameters.
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// The JSON of a sealed call.
    pub fn to_json(&self) -> String {
        json!({"method": self.method, "params": self.params}).to_string()
    }

    /// The body of a POST to [`PLAIN_PATH`] or [`SEED_PATH`].
    pub fn to_plain_body(&self) -> String {
        json!({"jsonrpc": "2.0", "id": 0, "method": self.method, "params": self.params}).to_string()
    }

    /// Seals this call to `node` and adds one layer for each hop, the first of which gets the body.
    ///
    /// Without hops the node gets the body itself, and sees the client's address.
    pub fn seal<R: CryptoRng + ?Sized>(
        &self,
        node: &Node,
        hops: &[Hop],
        cipher: Cipher,
        rng: &mut R,
    ) -> Result<SealedCall, OnionError> {
        if hops.len() > MAX_HOPS {
            return Err(OnionError::Malformed("a call goes through at most 8 hops"));
        }
        let plaintext = innermost(self.to_json().as_bytes(), false)?;
        let key = node
            .x25519()
            .map_err(|_| OnionError::Malformed("the node has an unusable key"))?;
        let sealed = Sealed::new(&plaintext, &ServerKey::from_bytes(key), cipher, rng)?;
        let body = path::wrap_to_node(&sealed, &node.ed25519, hops, cipher, rng)?;
        Ok(SealedCall {
            body,
            reply: sealed.reply,
        })
    }
}

/// The fields of a node that we need, and no node that is switched off.
fn node_fields() -> Value {
    json!({
        "active_only": true,
        "fields": {
            "public_ip": true, "storage_port": true, "pubkey_x25519": true, "pubkey_ed25519": true,
            "swarm_id": true, "requested_unlock_height": true, "height": true,
        },
    })
}

/// The body to post, and the key of the answer.
#[derive(Debug, Clone)]
pub struct SealedCall {
    /// The body of a POST to [`HOP_PATH`] of the first hop.
    pub body: Vec<u8>,
    /// The key that opens the answer.
    pub reply: ReplyKey,
}

fn innermost(call: &[u8], embed_json: bool) -> Result<Vec<u8>, OnionError> {
    if call.len() > MAX_CALL_LEN_BYTES {
        return Err(OnionError::Malformed("the call is longer than 1 MiB"));
    }
    let meta = if embed_json {
        json!({"headers": {}, "json": true})
    } else {
        json!({"headers": {}})
    };
    Ok(onion::frame(call, &meta))
}

/// Content of a POST to [`HOP_PATH`], as the node reads it.
#[derive(Debug)]
pub enum Received {
    /// The node is a hop and passes something on.
    PassOn(Peeled),
    /// The node is the last one and answers a call.
    Call(ReceivedCall),
}

/// A call as the last node finds it.
#[derive(Debug)]
pub struct ReceivedCall {
    /// The JSON of the call, not yet parsed.
    pub json: Vec<u8>,
    /// True if the answer's body is to be embedded as JSON instead of as a string.
    pub embed_json: bool,
    /// The key to seal the answer with.
    pub reply: ReplyKey,
}

/// Takes one layer off: a node's side.
pub fn receive(body: &[u8], node: &ServerSecret) -> Result<Received, OnionError> {
    let opened = onion::open(body, node)?;
    let (blob, meta) = onion::unframe(&opened.plaintext)?;
    let fields = onion::routing_fields(meta)?;
    let is_last =
        fields.contains_key("headers") && !fields.contains_key("destination") && !fields.contains_key("host");
    if !is_last {
        return path::peel_plaintext(opened.plaintext).map(Received::PassOn);
    }
    if blob.len() > MAX_CALL_LEN_BYTES {
        return Err(OnionError::Malformed("the call is longer than 1 MiB"));
    }
    Ok(Received::Call(ReceivedCall {
        json: blob.to_vec(),
        embed_json: fields.get("json") == Some(&Value::Bool(true)),
        reply: opened.reply,
    }))
}

/// A node's answer to a sealed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status, with the meaning of HTTP's: 200, 421 for another swarm, 406 for a wrong clock.
    pub status: u16,
    /// The body: JSON after success, plain text after most failures.
    pub body: String,
}

impl Reply {
    /// Opens the text that came back through the hops.
    pub fn open(text: &str, key: &ReplyKey) -> Result<Self, OnionError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            status: u16,
            #[serde(borrow)]
            body: &'a RawValue,
        }
        if text.len() > MAX_REPLY_LEN_BYTES {
            return Err(OnionError::Malformed("the answer is longer than 24 MiB"));
        }
        let sealed = from_b64(text.trim_ascii()).ok_or(OnionError::NotBase64)?;
        let plaintext = key.open(&sealed)?;
        let answer: Answer = serde_json::from_slice(&plaintext)
            .map_err(|_| OnionError::Malformed("the answer has no status and body"))?;
        let body = serde_json::from_str(answer.body.get()).unwrap_or_else(|_| answer.body.get().to_owned());
        Ok(Self {
            status: answer.status,
            body,
        })
    }

    /// Seals this answer: the last node's side. `embed_json` puts a body that is JSON in place.
    pub fn seal<R: CryptoRng + ?Sized>(&self, embed_json: bool, key: &ReplyKey, rng: &mut R) -> String {
        let embedded = if embed_json {
            serde_json::from_str(&self.body).ok()
        } else {
            None
        };
        let body = embedded.unwrap_or_else(|| Value::from(self.body.as_str()));
        b64(key.seal(
            json!({"status": self.status, "body": body})
                .to_string()
                .as_bytes(),
            rng,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_the_json_that_nodes_read() {
        assert_eq!(Call::info().to_json(), r#"{"method":"info","params":{}}"#);
        let id = SessionId::new(crate::Prefix::Account, [9; 32]);
        assert_eq!(
            Call::swarm(&id).to_plain_body(),
            format!(r#"{{"jsonrpc":"2.0","id":0,"method":"get_swarm","params":{{"pubkey":"{id}"}}}}"#)
        );
        assert_eq!(Call::all_nodes().params()["endpoint"], "get_service_nodes");
        assert_eq!(Call::all_nodes_of_seed().params()["active_only"], true);
        assert_eq!(
            innermost(b"{}", true).unwrap(),
            b"\x02\0\0\0{}{\"headers\":{},\"json\":true}"
        );
        assert!(innermost(&vec![b' '; MAX_CALL_LEN_BYTES + 1], false).is_err());
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let server = ServerSecret::from_bytes([7; 32]);
        let key = Sealed::new(b"", &server.public(), Cipher::AesGcm, &mut rng)
            .unwrap()
            .reply;
        let mut open = |plaintext: &str| Reply::open(&b64(key.seal(plaintext.as_bytes(), &mut rng)), &key);
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"status":200}"#,
            r#"{"body":""}"#,
            r#"{"status":"200","body":""}"#,
            r#"{"status":70000,"body":""}"#,
            r#"{"status":-1,"body":""}"#,
        ] {
            assert!(matches!(open(bad), Err(OnionError::Malformed(_))), "{bad}");
        }
        assert_eq!(open(r#"{"status":200,"body":[1]}"#).unwrap().body, "[1]");
        assert!(Reply::open("no base64!", &key).is_err());
        assert!(Reply::open("", &key).is_err());
        assert!(Reply::open(&"A".repeat(MAX_REPLY_LEN_BYTES + 1), &key).is_err());
    }
}
