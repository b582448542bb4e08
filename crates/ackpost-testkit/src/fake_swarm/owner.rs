//! Calls of a mailbox's owner, each with a signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde_json::{Map, Value, json};

use super::methods::{Result, id_of, number};
use super::{State, SwarmFault};

/// Maximum size that a mailbox returns at once, bytes of base64.
const MAX_RETRIEVE: i64 = 7_800_000;

impl State {
    /// Calls of a mailbox's owner: signed.
    pub(super) fn of_owner(&self, at: usize, method: &str, params: &Value) -> Result {
        let public = method == "retrieve" && is_public(params["namespace"].as_i64().unwrap_or(0));
        let signature = params["signature"]
            .as_str()
            .and_then(|text| BASE64.decode(text).ok());
        let (Some(id), Some(signature)) = (id_of(params), signature.or(public.then(Vec::new))) else {
            return Result::invalid("pubkey and signature are required");
        };
        if let Some(result) = self.elsewhere(at, method, &id) {
            return result;
        }
        let fits = |fault| {
            matches!(
                fault,
                SwarmFault::WrongClock
                    | SwarmFault::RefusedSignature
                    | SwarmFault::InvalidRequest
                    | SwarmFault::NodeBusy
            )
        };
        let refusal = self
            .fault(at, method, fits)
            .and_then(|plan| self.refusal(plan.fault, at));
        if let Some(result) = refusal {
            return result;
        }
        let namespace = params["namespace"].as_i64().unwrap_or(0);
        let timestamp = number(&params["timestamp"]).unwrap_or_default();
        if public {
            return self.retrieve(at, &id, namespace, params);
        }
        if matches!(method, "retrieve" | "get_expiries") && timestamp.abs_diff(self.now_ms()) > 60_000 {
            return Result::text(406, "Timestamp error: check your clock");
        }
        let hashes: Vec<&str> = params["messages"]
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let space = if namespace == 0 {
            String::new()
        } else {
            namespace.to_string()
        };
        let expiry = number(&params["expiry"]).unwrap_or_default();
        let direction = ["shorten", "extend"].into_iter().find(|key| params[*key] == true);
        let signed = match method {
            "retrieve" => format!("retrieve{space}{timestamp}"),
            "delete" => format!("delete{}", hashes.concat()),
            "expire" => format!(
                "expire{}{expiry}{}",
                direction.unwrap_or_default(),
                hashes.concat()
            ),
            _ => format!("get_expiries{timestamp}{}", hashes.concat()),
        };
        if !verifies(params, &id, &signed, &signature) {
            return Result::text(401, &format!("{method} signature verification failed"));
        }
        match method {
            "retrieve" => self.retrieve(at, &id, namespace, params),
            "get_expiries" => self.expiries(at, &id, &hashes),
            _ => self.change(at, &id, &hashes, method, expiry, direction),
        }
    }

    fn retrieve(&self, at: usize, id: &str, namespace: i64, params: &Value) -> Result {
        let fault = self
            .fault(at, "retrieve", |fault| {
                matches!(
                    fault,
                    SwarmFault::Forgetful | SwarmFault::ChangedData | SwarmFault::Replays
                )
            })
            .map(|plan| plan.fault);
        if fault == Some(SwarmFault::Forgetful) {
            return Result::ok(json!({"messages": [], "more": false}));
        }
        let field = |snake: &str, camel: &str| params.get(snake).or(params.get(camel)).cloned();
        let last = field("last_hash", "lastHash").unwrap_or_default();
        let size = field("max_size", "maxSize")
            .and_then(|size| size.as_i64())
            .unwrap_or(-1);
        let room = if size < 0 { MAX_RETRIEVE / -size } else { size };
        let mut boxes = self.boxes.lock().expect("no panic inside");
        let replays = fault == Some(SwarmFault::Replays);
        if !replays {
            boxes.expire(self.now_ms());
        }
        let rows = boxes.rows(at, id, namespace);
        let start = rows
            .iter()
            .position(|row| Some(row.hash.as_str()) == last.as_str() && !replays)
            .map_or(0, |at| at + 1);
        let (mut messages, mut used, mut more) = (Vec::new(), 0, false);
        for row in &rows[start..] {
            let mut data = BASE64.encode(&row.data);
            if fault == Some(SwarmFault::ChangedData) {
                data = BASE64.encode([&row.data[..], b"!"].concat());
            }
            used += i64::try_from(data.len()).unwrap_or(i64::MAX);
            if used > room && !messages.is_empty() {
                more = true;
                break;
            }
            let expiry_ms = if replays { 1 } else { row.expiry_ms };
            messages.push(json!({"hash": row.hash, "timestamp": row.timestamp_ms, "expiration": expiry_ms, "data": data}));
        }
        Result::ok(json!({"messages": messages, "more": more}))
    }

    fn expiries(&self, at: usize, id: &str, hashes: &[&str]) -> Result {
        let mut boxes = self.boxes.lock().expect("no panic inside");
        let expiries: Map<_, _> = boxes
            .rows_mut(at, id)
            .flatten()
            .filter(|row| hashes.contains(&row.hash.as_str()))
            .map(|row| (row.hash.clone(), row.expiry_ms.into()))
            .collect();
        Result::ok(json!({ "expiries": expiries }))
    }

    fn change(
        &self,
        at: usize,
        id: &str,
        hashes: &[&str],
        method: &str,
        expiry: u64,
        direction: Option<&str>,
    ) -> Result {
        let mut swarm = Map::new();
        let mut boxes = self.boxes.lock().expect("no panic inside");
        for n in self.members(self.nodes[at].swarm) {
            let mut changed = Vec::new();
            for rows in boxes.rows_mut(n, id) {
                for row in rows.iter_mut().filter(|row| hashes.contains(&row.hash.as_str())) {
                    let fits = match direction {
                        Some("shorten") => expiry < row.expiry_ms,
                        Some(_) => expiry > row.expiry_ms,
                        None => true,
                    };
                    if method == "delete" || fits {
                        changed.push(row.hash.clone());
                        row.expiry_ms = expiry;
                    }
                }
                if method == "delete" {
                    rows.retain(|row| !hashes.contains(&row.hash.as_str()));
                }
            }
            changed.sort_unstable();
            let time = if method == "delete" {
                String::new()
            } else {
                expiry.to_string()
            };
            let signed = format!("{id}{time}{}{}", hashes.concat(), changed.concat());
            let signature = BASE64.encode(self.nodes[n].sign(&signed));
            let key = if method == "delete" { "deleted" } else { "updated" };
            swarm.insert(
                self.nodes[n].name(),
                json!({key: changed, "expiry": expiry, "signature": signature}),
            );
        }
        Result::ok(json!({ "swarm": swarm }))
    }
}

/// Returns true if the owner of `id` signed this text.
fn verifies(params: &Value, id: &str, text: &str, signature: &[u8]) -> bool {
    let key = || {
        let bytes: [u8; 32] = hex::decode(params["pubkey_ed25519"].as_str()?)
            .ok()?
            .try_into()
            .ok()?;
        let key = VerifyingKey::from_bytes(&bytes).ok()?;
        (hex::encode(key.to_montgomery().as_bytes()) == id[2..]).then_some(key)
    };
    let (Some(key), Ok(signature)) = (key(), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify(text.as_bytes(), &signature).is_ok()
}

/// Returns true if everybody may read a namespace: -1, -21, -41, …
fn is_public(namespace: i64) -> bool {
    namespace < 0 && (namespace + 1) % 20 == 0
}
