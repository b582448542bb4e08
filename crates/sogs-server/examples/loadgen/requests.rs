//! Requests, signed and sealed before the measuring begins.

use serde_json::json;
use session_protocol::auth::{Request, Signer};
use session_protocol::encoding::b64;
use session_protocol::onion::{Cipher, v4};
use session_protocol::{Identity, ServerKey};

use crate::child::Child;

/// Randomness for nonces and onions.
pub(crate) struct Rng;

impl rand_core::TryRng for Rng {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        getrandom::fill(out).unwrap();
        Ok(())
    }
}
impl rand_core::TryCryptoRng for Rng {}

/// Makes requests of many people.
pub(crate) struct Workshop {
    key: ServerKey,
    people: Vec<Signer>,
}

/// Number of people.
const PEOPLE: u64 = 4000;

impl Workshop {
    pub(crate) fn new(server: &Child) -> Self {
        Self::with_people(server, 0, PEOPLE)
    }

    pub(crate) fn with_people(server: &Child, from: u64, count: u64) -> Self {
        let people = (from..from + count)
            .map(|n| {
                let mut seed = [0x11; 32];
                seed[..8].copy_from_slice(&n.to_le_bytes());
                Signer::blind15(&Identity::from_seed(seed), &server.key)
            })
            .collect();
        Self {
            key: server.key,
            people,
        }
    }

    fn signed(&self, who: usize, method: &str, path: &str, body: &[u8]) -> Vec<(String, String)> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).unwrap();
        let now = sogs_server::unix_now() as u64;
        let auth = Request { method, path, body }.sign(
            &self.people[who % self.people.len()],
            &self.key,
            &nonce,
            now,
        );
        auth.pairs()
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn http(&self, who: usize, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: loadgen\r\n");
        for (name, value) in self.signed(who, method, path, body) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        finish(head, body)
    }

    pub(crate) fn capabilities(&self, count: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| self.http(n, "GET", "/capabilities", b""))
            .collect()
    }

    /// Posts of different people, so that nobody reaches the rate limit.
    pub(crate) fn posts(&self, count: usize, round: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| {
                let mut data = format!("message {round} {n} of the load generator").into_bytes();
                data.push(0x80);
                data.resize(160, 0);
                let body = json!({"data": b64(&data), "signature": b64([9; 64])}).to_string();
                self.http(n, "POST", "/room/room0/message", body.as_bytes())
            })
            .collect()
    }

    pub(crate) fn recent(&self, count: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| self.http(n, "GET", "/room/room0/messages/recent?limit=100", b""))
            .collect()
    }

    fn poll_body() -> Vec<u8> {
        // Far ahead of every counter: nothing is new, as in most polls of a real client.
        json!([
            {"method": "GET", "path": "/capabilities"},
            {"method": "GET", "path": "/room/room0/pollInfo/0"},
            {"method": "GET", "path": "/room/room0/messages/since/1000000000?t=r&reactors=5"},
            {"method": "GET", "path": "/inbox/since/1000000000"},
            {"method": "GET", "path": "/outbox/since/1000000000"},
        ])
        .to_string()
        .into_bytes()
    }

    pub(crate) fn polls(&self, count: usize) -> Vec<Vec<u8>> {
        let body = Self::poll_body();
        (0..count)
            .map(|n| self.http(n, "POST", "/batch", &body))
            .collect()
    }

    pub(crate) fn onion_polls(&self, count: usize) -> Vec<Vec<u8>> {
        let body = Self::poll_body();
        (0..count)
            .map(|n| {
                let mut headers = self.signed(n, "POST", "/batch", &body);
                headers.push(("Content-Type".into(), "application/json".into()));
                let request = v4::Request {
                    method: "POST".into(),
                    endpoint: "/batch".into(),
                    headers,
                    body: Some(body.clone()),
                };
                let sealed = request
                    .seal(&self.key, Cipher::XChaCha20, &mut Rng)
                    .unwrap()
                    .to_body();
                finish(
                    format!("POST {} HTTP/1.1\r\nhost: loadgen\r\n", v4::PATH),
                    &sealed,
                )
            })
            .collect()
    }
}

fn finish(mut head: String, body: &[u8]) -> Vec<u8> {
    if !body.is_empty() {
        head.push_str(&format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        ));
    }
    head.push_str("\r\n");
    let mut all = head.into_bytes();
    all.extend_from_slice(body);
    all
}
