//! A small client for the tests: signed requests through any of the server's doors.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use session_protocol::auth::{AuthHeaders, Request, Signer};
use session_protocol::encoding::{b64, from_b64};
use session_protocol::onion::{Cipher, v4};
use session_protocol::{Identity, ServerKey};
use sogs_server::admin::{AdminRequest, Answer, Operation, SocketReply};
use sogs_server::{Config, Running, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub struct Rng;

impl rand_core::TryRng for Rng {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut b = [0; 4];
        self.try_fill_bytes(&mut b)?;
        Ok(u32::from_le_bytes(b))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut b = [0; 8];
        self.try_fill_bytes(&mut b)?;
        Ok(u64::from_le_bytes(b))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        getrandom::fill(out).unwrap();
        Ok(())
    }
}
impl rand_core::TryCryptoRng for Rng {}

pub fn nonce() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An identity from a number.
pub fn identity(n: u64) -> Identity {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    Identity::from_seed(seed)
}

static NEXT: AtomicU64 = AtomicU64::new(1_000_000);

/// Returns an identity that nobody else uses.
pub fn somebody() -> Identity {
    identity(NEXT.fetch_add(1, Ordering::Relaxed))
}

#[derive(Debug, Clone)]
pub struct Resp {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Resp {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// Transport of a request: plain HTTP, onion requests or batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Http,
    OnionGcm,
    OnionChacha,
    Batch,
    OnionBatch,
}

pub const DOORS: [Door; 5] = [
    Door::Http,
    Door::OnionGcm,
    Door::OnionChacha,
    Door::Batch,
    Door::OnionBatch,
];

#[derive(Debug, Clone)]
pub struct Body {
    pub kind: Option<&'static str>,
    pub bytes: Vec<u8>,
    pub extra: Vec<(String, String)>,
}

impl Body {
    pub fn none() -> Self {
        Self {
            kind: None,
            bytes: Vec::new(),
            extra: Vec::new(),
        }
    }
    pub fn json(value: &Value) -> Self {
        Self {
            kind: Some("application/json"),
            bytes: value.to_string().into_bytes(),
            extra: Vec::new(),
        }
    }
    pub fn raw(bytes: &[u8], extra: &[(&str, &str)]) -> Self {
        Self {
            kind: Some("application/octet-stream"),
            bytes: bytes.to_vec(),
            extra: extra
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Api {
    pub addr: SocketAddr,
    pub key: ServerKey,
    pub door: Door,
}

/// Percent-encodes characters that a request line cannot contain.
pub fn encode_path(path: &str) -> String {
    path.bytes()
        .map(|b| {
            if b.is_ascii_graphic() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

pub async fn raw_http(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> std::io::Result<Resp> {
    let mut stream = TcpStream::connect(addr).await?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    // The server may refuse and close before it has read everything.
    let _ = stream.write_all(body).await;
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all).await;
    if all.is_empty() {
        read?;
    }
    parse(&all).ok_or_else(|| std::io::Error::other("no response"))
}

fn parse(all: &[u8]) -> Option<Resp> {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&all[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let mut body = all[end + 4..].to_vec();
    if headers
        .iter()
        .any(|(n, v)| n == "transfer-encoding" && v == "chunked")
    {
        body = unchunk(&body);
    }
    Some(Resp {
        status,
        headers,
        body,
    })
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    out
}

pub fn sign(key: &ServerKey, who: &Signer, method: &str, path: &str, body: &[u8]) -> AuthHeaders {
    Request { method, path, body }.sign(who, key, &nonce(), now())
}

pub fn pairs(headers: &AuthHeaders) -> Vec<(String, String)> {
    headers
        .pairs()
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect()
}

impl Api {
    pub fn of(running: &Running) -> Self {
        Self {
            addr: running.local_addr(),
            key: running.public_key(),
            door: Door::Http,
        }
    }

    pub fn through(mut self, door: Door) -> Self {
        self.door = door;
        self
    }

    pub async fn get(&self, who: Option<&Signer>, path: &str) -> Resp {
        self.call(who, "GET", path, Body::none()).await
    }

    pub async fn post(&self, who: Option<&Signer>, path: &str, value: &Value) -> Resp {
        self.call(who, "POST", path, Body::json(value)).await
    }

    pub async fn put(&self, who: Option<&Signer>, path: &str, value: &Value) -> Resp {
        self.call(who, "PUT", path, Body::json(value)).await
    }

    pub async fn delete(&self, who: Option<&Signer>, path: &str) -> Resp {
        self.call(who, "DELETE", path, Body::none()).await
    }

    pub async fn call(&self, who: Option<&Signer>, method: &str, path: &str, body: Body) -> Resp {
        match self.door {
            Door::Http => self.direct(who, method, path, body).await,
            Door::OnionGcm => self.onion(who, method, path, body, Cipher::AesGcm).await,
            Door::OnionChacha => self.onion(who, method, path, body, Cipher::XChaCha20).await,
            Door::Batch | Door::OnionBatch => {
                let list = json!([sub(method, path, &body)]);
                let list = Body::json(&list);
                let outer = if self.door == Door::Batch {
                    self.direct(who, "POST", "/batch", list).await
                } else {
                    self.onion(who, "POST", "/batch", list, Cipher::AesGcm).await
                };
                if outer.status != 200 {
                    return outer;
                }
                unbatch(&outer.json()[0])
            }
        }
    }

    pub async fn direct(&self, who: Option<&Signer>, method: &str, path: &str, body: Body) -> Resp {
        let mut headers = who
            .map(|who| pairs(&sign(&self.key, who, method, path, &body.bytes)))
            .unwrap_or_default();
        if let Some(kind) = body.kind {
            headers.push(("content-type".into(), kind.into()));
        }
        headers.extend(body.extra);
        raw_http(self.addr, method, &encode_path(path), &headers, &body.bytes)
            .await
            .unwrap()
    }

    pub async fn onion(
        &self,
        who: Option<&Signer>,
        method: &str,
        path: &str,
        body: Body,
        cipher: Cipher,
    ) -> Resp {
        let mut headers = who
            .map(|who| pairs(&sign(&self.key, who, method, path, &body.bytes)))
            .unwrap_or_default();
        if let Some(kind) = body.kind {
            headers.push(("Content-Type".into(), kind.into()));
        }
        headers.extend(body.extra);
        let has_body = method == "POST" || method == "PUT";
        let request = v4::Request {
            method: method.into(),
            endpoint: path.into(),
            headers,
            body: has_body.then_some(body.bytes),
        };
        let sealed = request.seal(&self.key, cipher, &mut Rng).unwrap();
        let outer = raw_http(self.addr, "POST", v4::PATH, &[], &sealed.to_body())
            .await
            .unwrap();
        assert_eq!(
            outer.status,
            200,
            "the outer status is 200 whatever the inner is: {}",
            outer.text()
        );
        let reply = v4::Response::open(&outer.body, &sealed.reply).unwrap();
        Resp {
            status: reply.code,
            headers: reply.headers,
            body: reply.body,
        }
    }
}

/// A subrequest of a batch.
pub fn sub(method: &str, path: &str, body: &Body) -> Value {
    let mut out = json!({"method": method, "path": path});
    if method == "POST" || method == "PUT" {
        if body.kind == Some("application/json") {
            out["json"] = serde_json::from_slice(&body.bytes).unwrap();
        } else {
            out["b64"] = json!(b64(&body.bytes));
        }
    }
    if !body.extra.is_empty() {
        out["headers"] = body
            .extra
            .iter()
            .map(|(n, v)| (n.clone(), json!(v)))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    out
}

pub fn unbatch(one: &Value) -> Resp {
    let headers: Vec<(String, String)> = one["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned()))
        .collect();
    let is_json = headers
        .iter()
        .any(|(n, v)| n == "content-type" && v == "application/json");
    let body = if is_json {
        one["body"].to_string().into_bytes()
    } else {
        from_b64(one["body"].as_str().unwrap()).unwrap()
    };
    Resp {
        status: u16::try_from(one["code"].as_u64().unwrap()).unwrap(),
        headers,
        body,
    }
}

/// A configuration on a free port in a folder.
pub fn config(dir: &Path) -> Config {
    let mut config = Config::for_dir(dir);
    config.net.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config
}

/// Keeps the files of a configuration in a real S3-compatible store, below its own prefix, which is returned.
pub fn in_bucket(config: &mut Config, store: &ackpost_testkit::ObjectStore) -> String {
    let files = &mut config.files;
    files.storage = sogs_server::config::Storage::S3;
    store.endpoint().clone_into(&mut files.s3_endpoint);
    store.bucket().clone_into(&mut files.s3_bucket);
    files.s3_prefix = store.prefix();
    files.s3_credentials_file = store.keys().to_path_buf();
    files.s3_prefix.clone()
}

/// Store that all tests of a run share.
pub async fn shared_store() -> &'static ackpost_testkit::ObjectStore {
    tokio::task::spawn_blocking(ackpost_testkit::ObjectStore::shared)
        .await
        .unwrap()
}

/// Writes the file of a configuration into its folder.
pub fn write_config(config: &Config) {
    std::fs::create_dir_all(&config.dir).unwrap();
    std::fs::write(config.dir.join("server.toml"), config.to_toml()).unwrap();
}

pub async fn start(config: Config) -> Running {
    Server::start(config).await.unwrap()
}

pub async fn room(running: &Running, token: &str) -> i64 {
    let open = sogs_server::store::RoomDefaults {
        read: true,
        accessible: true,
        write: true,
        upload: true,
    };
    running
        .app()
        .store
        .create_room(sogs_server::store::NewRoom {
            token: token.into(),
            name: format!("Room {token}"),
            description: None,
            defaults: open,
            now: sogs_server::unix_now(),
        })
        .await
        .unwrap()
        .unwrap()
}

/// Does an operation over the local socket of the running server.
pub async fn operate(running: &Running, operation: Operation) -> Answer {
    let request = AdminRequest {
        actor: "tester".into(),
        dry_run: false,
        operation,
    };
    let dir = running.app().config().dir.clone();
    match sogs_server::admin::ask(&dir, &request).await.unwrap() {
        SocketReply::Answered(answer) => answer.unwrap(),
        SocketReply::Stopped => panic!("the server is stopped"),
    }
}

/// Takes messages of any size, as far as a request goes.
pub async fn allow_large_messages(running: &Running) {
    let rule = Operation::SettingSet {
        room: None,
        name: "message_bytes".into(),
        value: Some("0".into()),
    };
    operate(running, rule).await;
}

/// Makes an account a visible global admin, as the operator's command does.
pub async fn make_admin(running: &Running, account: &Identity) {
    let app = running.app();
    let user = app.resolve(&account.session_id(), true).await.unwrap().unwrap();
    app.store
        .set_moderator(
            user.row.id,
            sogs_server::store::Where::Global,
            sogs_server::store::ModChange::Appoint {
                admin: Some(true),
                visible: true,
            },
        )
        .await
        .unwrap();
}

/// A message body: base64 data and a signature of the right length.
pub fn message(text: &str) -> Value {
    json!({"data": b64(padded(text)), "signature": b64([7; 64])})
}

pub fn padded(text: &str) -> Vec<u8> {
    let mut data = text.as_bytes().to_vec();
    data.push(0x80);
    data.resize(160, 0);
    data
}

/// Runs each of these functions, which take a configuration, as a test on SQLite and as one on PostgreSQL.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $( #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(crate::common::config(dir.path())).await;
            } )+
        }
        mod postgresql {
            $( #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database()).await.unwrap();
                let mut config = crate::common::config(dir.path());
                config.database.url = database.url().to_owned();
                super::$name(config).await;
            } )+
        }
    };
}
pub(crate) use on_both;
