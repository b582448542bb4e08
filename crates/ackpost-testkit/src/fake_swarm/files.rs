//! The file server: sealed requests that come over hops, and plain ones of clients that do not hide.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::layers::{self, Key};
use super::methods::Answer;
use super::{Node, State, SwarmFault};

/// Largest file, bytes.
const MAX_FILE: usize = 10_000_000;

/// The name under which clients of the fake network know the server.
pub(super) const HOST: &str = "files.example";

/// State that the server keeps.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) rows: Mutex<HashMap<u64, Vec<u8>>>,
}

impl State {
    /// A POST that the last hop passes to a server. `None` if there is no such server.
    pub(super) fn deliver(&self, host: &str, target: &str, body: &[u8]) -> Answer {
        if host != HOST || target != "/oxen/v4/lsrpc" {
            return Answer::text(502, "Host not found");
        }
        let Some((plain, key)) = layers::open_for_server(body, &self.file_server) else {
            return Answer::text(400, "Invalid ciphertext");
        };
        let Some((meta, content)) = request(&plain) else {
            return Answer::text(400, "Invalid request");
        };
        let method = meta["method"].as_str().unwrap_or_default();
        let endpoint = meta["endpoint"].as_str().unwrap_or_default();
        self.record(usize::MAX, &format!("{method} /file"), 3, true);
        let (status, answer) = self.file(method, endpoint, content);
        let meta = json!({"code": status, "headers": {}}).to_string();
        let plain = [
            format!("l{}:{meta}{}:", meta.len(), answer.len()).as_bytes(),
            &answer,
            b"e",
        ]
        .concat();
        let spoiled = self.fault(usize::MAX, "file", SwarmFault::is_in_the_answer);
        let key = if spoiled.is_some() { Key::foreign() } else { key };
        Answer::Body {
            status: 200,
            body: key.seal(&plain),
        }
    }

    /// A plain request, as old clients make it. The path may be a whole URL.
    pub(super) fn plain_file(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let path = path.rfind("/file").map_or(path, |at| &path[at..]);
        let (status, body) = self.file(method, path, body);
        Answer::Body { status, body }
    }

    fn file(&self, method: &str, endpoint: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let fits = |fault| {
            matches!(
                fault,
                SwarmFault::NodeBusy
                    | SwarmFault::Forgetful
                    | SwarmFault::ChangedData
                    | SwarmFault::InvalidRequest
            )
        };
        let fault = self.fault(usize::MAX, "file", fits).map(|plan| plan.fault);
        match fault {
            Some(SwarmFault::NodeBusy) => return (503, b"busy".to_vec()),
            Some(SwarmFault::InvalidRequest) => return (400, b"invalid".to_vec()),
            Some(SwarmFault::Forgetful) => return (404, b"not found".to_vec()),
            _ => {}
        }
        let mut rows = self.files.rows.lock().expect("no panic inside");
        match (method, endpoint.strip_prefix("/file")) {
            ("POST", Some("")) if body.len() > MAX_FILE => (413, b"too large".to_vec()),
            ("POST", Some("")) => {
                let id = rows.len() as u64 + 1;
                rows.insert(id, body.to_vec());
                (200, json!({ "id": id }).to_string().into_bytes())
            }
            ("GET", Some(rest)) => {
                let id = rest.strip_prefix('/').and_then(|id| id.parse().ok());
                match id.and_then(|id: u64| rows.get(&id)) {
                    Some(file) if fault == Some(SwarmFault::ChangedData) => (200, [file, &b"!"[..]].concat()),
                    Some(file) => (200, file.clone()),
                    None => (404, b"not found".to_vec()),
                }
            }
            _ => (405, b"no such method".to_vec()),
        }
    }
}

/// The server's keys.
pub(super) fn server() -> Node {
    Node::new(super::key_seed(9000), std::net::Ipv4Addr::LOCALHOST, 80, 0)
}

/// The metadata and the body of a bencoded request.
fn request(plain: &[u8]) -> Option<(Value, &[u8])> {
    let rest = plain.strip_prefix(b"l")?.strip_suffix(b"e")?;
    let (meta, rest) = text(rest)?;
    let body = if rest.is_empty() { rest } else { text(rest)?.0 };
    Some((serde_json::from_slice(meta).ok()?, body))
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let len: usize = core::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    bytes[colon + 1..].split_at_checked(len)
}
