//! Shared parts of the tests of whole servers: a folder with a server, and signed requests to it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use session_protocol::auth::{Request as Signed, Signer};
use session_protocol::content::Content;
use session_protocol::message::SignedPost;
use session_protocol::padding::Padding;
use session_protocol::{Identity, ServerKey};
use sogs_server::admin::{AdminRequest, Answer, InitOptions, Operation, PermissionChange, init, perform};
use sogs_server::{Config, Running, Server};

/// Reference material in the repository.
pub fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sogs")
}

/// Answer to a request.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A running server in a temporary folder.
pub struct Community {
    pub folder: tempfile::TempDir,
    pub running: Option<Running>,
    pub key: ServerKey,
    pub address: std::net::SocketAddr,
}

/// Starts the server of a folder on a free port.
pub async fn start(folder: &Path) -> Running {
    let mut config = Config::load(folder).expect("configuration");
    config.net.listen = ([127, 0, 0, 1], 0).into();
    Server::start(config).await.expect("server")
}

impl Community {
    /// A fresh server with one room `test`.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A fresh server whose configuration is changed first.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("server");
        init(&dir, &InitOptions::default()).await.expect("init");
        let mut config = Config::load(&dir).expect("configuration");
        change(&mut config);
        std::fs::write(dir.join("server.toml"), config.to_toml()).expect("written");
        let mut all = Self {
            folder,
            running: None,
            key: ServerKey::from_bytes([0; 32]),
            address: ([127, 0, 0, 1], 0).into(),
        };
        all.act(Operation::RoomAdd {
            room: "test".into(),
            name: None,
            description: None,
            permissions: PermissionChange::default(),
        })
        .await;
        all.start().await;
        all
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    pub async fn start(&mut self) {
        let running = start(&self.dir()).await;
        self.key = running.public_key();
        self.address = running.local_addr();
        self.running = Some(running);
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Does an operation, over the socket or on the database.
    pub async fn act(&self, operation: Operation) -> Answer {
        self.try_act(operation, false)
            .await
            .unwrap_or_else(|error| panic!("{error}: {}", error.remedy))
    }

    pub async fn try_act(
        &self,
        operation: Operation,
        dry_run: bool,
    ) -> Result<Answer, sogs_server::admin::AdminError> {
        perform(
            &self.dir(),
            AdminRequest {
                actor: "tester".into(),
                dry_run,
                operation,
            },
        )
        .await
    }

    pub async fn get(&self, path: &str, who: Option<&Identity>) -> Got {
        self.request(Method::GET, path, who, None).await
    }

    pub async fn request(
        &self,
        method: Method,
        path: &str,
        who: Option<&Identity>,
        body: Option<(&str, Vec<u8>)>,
    ) -> Got {
        request(self.address, &self.key, method, path, who, body).await
    }

    /// A request whose path has characters that are escaped on the way, but not in what is signed.
    pub async fn request_raw(&self, method: Method, path: &str, who: &Identity) -> Got {
        request(self.address, &self.key, method, path, Some(who), None).await
    }

    /// Posts a text and returns the answer.
    pub async fn post(&self, room: &str, who: &Identity, text: &str) -> Got {
        let body = post_body(&self.key, who, text);
        self.request(
            Method::POST,
            &format!("/room/{room}/message"),
            Some(who),
            Some(("application/json", body)),
        )
        .await
    }

    /// Uploads a file and returns the answer.
    pub async fn upload(&self, room: &str, who: &Identity, name: &str, bytes: Vec<u8>) -> Got {
        let path = format!("/room/{room}/file");
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let disposition = format!("attachment; filename*=UTF-8''{name}");
        request_with(
            self.address,
            &self.key,
            Method::POST,
            &path,
            Some(who),
            Some(("application/octet-stream", bytes)),
            &[("content-disposition", &disposition)],
        )
        .await
    }

    /// Posts a message with files and returns the answer.
    pub async fn post_message(
        &self,
        room: &str,
        who: &Identity,
        time: u64,
        message: session_protocol::content::DataMessage,
        files: &[i64],
    ) -> Got {
        let content = Content {
            data_message: Some(message),
            sig_timestamp: Some(time),
        };
        let post = SignedPost::new(&content, &Signer::blind15(who, &self.key), Padding::Block);
        let body = serde_json::json!({
            "data": session_protocol::encoding::b64(&post.data),
            "signature": session_protocol::encoding::b64(post.signature),
            "files": files,
        });
        let body = serde_json::to_vec(&body).expect("JSON");
        let path = format!("/room/{room}/message");
        self.request(Method::POST, &path, Some(who), Some(("application/json", body)))
            .await
    }

    /// Returns the texts of a room as a person sees it, newest first.
    pub async fn texts(&self, room: &str, who: Option<&Identity>) -> Vec<String> {
        let got = self.get(&format!("/room/{room}/messages/recent"), who).await;
        assert_eq!(got.status, 200, "{}", got.text());
        got.json()
            .as_array()
            .expect("a list")
            .iter()
            .map(text_of)
            .collect()
    }
}

/// The text of a message of the protocol.
pub fn text_of(message: &serde_json::Value) -> String {
    let data =
        session_protocol::encoding::from_b64(message["data"].as_str().unwrap_or_default()).expect("base64");
    let content = session_protocol::message::open(&data).expect("content");
    content
        .data_message
        .and_then(|message| message.body)
        .unwrap_or_default()
}

/// The JSON of a signed post.
pub fn post_body(key: &ServerKey, who: &Identity, text: &str) -> Vec<u8> {
    let signer = Signer::blind15(who, key);
    let content = Content::text(text, Some("Tester"), now_ms());
    let post = SignedPost::new(&content, &signer, Padding::Block);
    let (data, signature) = (
        session_protocol::encoding::b64(&post.data),
        session_protocol::encoding::b64(post.signature),
    );
    serde_json::to_vec(&serde_json::json!({ "data": data, "signature": signature })).expect("JSON")
}

pub fn now_ms() -> u64 {
    u64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("clock")
            .as_millis(),
    )
    .expect("small")
}

/// A person made from a number.
pub fn person(number: u8) -> Identity {
    Identity::from_seed([number; 32])
}

/// The id under which a person is shown.
pub fn shown(key: &ServerKey, who: &Identity) -> String {
    Signer::blind15(who, key).shown_id().to_string()
}

/// One request on its own connection.
pub async fn request(
    address: std::net::SocketAddr,
    key: &ServerKey,
    method: Method,
    path: &str,
    who: Option<&Identity>,
    body: Option<(&str, Vec<u8>)>,
) -> Got {
    request_with(address, key, method, path, who, body, &[]).await
}

/// The same with further headers.
pub async fn request_with(
    address: std::net::SocketAddr,
    key: &ServerKey,
    method: Method,
    path: &str,
    who: Option<&Identity>,
    body: Option<(&str, Vec<u8>)>,
    further: &[(&str, &str)],
) -> Got {
    let signer = who.map(|who| Signer::blind15(who, key));
    request_as(address, key, method, path, signer.as_ref(), body, further).await
}

/// The same under any id of a person.
pub async fn request_as(
    address: std::net::SocketAddr,
    key: &ServerKey,
    method: Method,
    path: &str,
    who: Option<&Signer>,
    body: Option<(&str, Vec<u8>)>,
    further: &[(&str, &str)],
) -> Got {
    let (kind, body) = body.map_or((None, Vec::new()), |(kind, body)| (Some(kind), body));
    let escaped = percent_encoding::utf8_percent_encode(path, percent_encoding::CONTROLS).to_string();
    let mut builder = Request::builder()
        .method(&method)
        .uri(escaped.as_str())
        .header("host", address.to_string());
    if let Some(kind) = kind {
        builder = builder.header("content-type", kind);
    }
    for (name, value) in further {
        builder = builder.header(*name, *value);
    }
    if let Some(who) = who {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).expect("randomness");
        let signed = Signed {
            method: method.as_str(),
            path,
            body: &body,
        };
        let headers = signed.sign(who, key, &nonce, now_ms() / 1000);
        for (name, value) in headers.pairs() {
            builder = builder.header(name, value);
        }
    }
    let stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .expect("handshake");
    tokio::spawn(connection);
    let response = sender
        .send_request(builder.body(Full::new(Bytes::from(body))).expect("request"))
        .await
        .expect("an answer");
    let (parts, body) = response.into_parts();
    Got {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.expect("a body").to_bytes(),
    }
}
