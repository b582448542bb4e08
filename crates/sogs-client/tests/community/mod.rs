//! A real community server on a free port, onion hops in front of it, and people.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use session_protocol::onion::path::{self, HOP_PATH, Hop, Peeled};
use session_protocol::{Identity, RoomToken, ServerSecret};
use sogs_client::{Encrypt, OnionPath, Room, Server, ServerBuilder, Verify};
use sogs_server::admin::{
    AdminRequest, Answer, InitOptions, Operation, PermissionChange, RoomScope, init, perform,
};
use sogs_server::{Config, Running};

/// Transport of requests to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    Sealed,
    ThreeHops,
}

/// All transports.
pub const WAYS: [Way; 3] = [Way::Direct, Way::Sealed, Way::ThreeHops];

/// Database of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgresql,
}

pub struct Community {
    folder: tempfile::TempDir,
    /// Dropped together with the community.
    database: Option<ackpost_testkit::Database>,
    running: Option<Running>,
    hops: OnionPath,
    url: String,
    key: sogs_client::ServerKey,
}

impl Community {
    /// A server with the room `main`, and `admin()` as its global admin.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_from(InitOptions::default(), change).await
    }

    pub async fn start_on(database: Database) -> Self {
        let database = match database {
            Database::Sqlite => None,
            Database::Postgresql => {
                let fresh = || ackpost_testkit::Postgres::shared().database();
                Some(tokio::task::spawn_blocking(fresh).await.expect("a database"))
            }
        };
        let options = InitOptions {
            database: database.as_ref().map(|database| database.url().to_owned()),
            ..InitOptions::default()
        };
        Self {
            database,
            ..Self::start_from(options, |_| {}).await
        }
    }

    async fn start_from(options: InitOptions, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("server");
        init(&dir, &options).await.expect("init");
        let mut config = Config::load(&dir).expect("configuration");
        change(&mut config);
        config.net.listen = ([127, 0, 0, 1], 0).into();
        let running = sogs_server::Server::start(config)
            .await
            .expect("the server starts");
        let community = Self {
            url: running.url(),
            key: running.public_key(),
            running: Some(running),
            database: None,
            folder,
            hops: hops(3).await,
        };
        community.room_add("main").await;
        let user = admin().session_id().to_string();
        community
            .act(Operation::ModAdd {
                user,
                place: RoomScope::Global,
                admin: true,
                visible: Some(true),
            })
            .await;
        // The server knows the admin by the 05 id until the blinded one shows up; that counts as a change of rooms.
        community
            .room(Way::Direct, &admin())
            .recent(sogs_client::ListOptions::default())
            .await
            .expect("the admin reads");
        community
    }

    pub async fn act(&self, operation: Operation) {
        self.ask(operation).await;
    }

    /// Bans a person, or ends the ban.
    pub async fn ban(&self, who: &Identity, place: &RoomScope, on: bool) {
        let (user, place) = (who.session_id().to_string(), place.clone());
        let (seconds, delete_posts) = (None, false);
        self.act(if on {
            Operation::BanAdd {
                user,
                place,
                seconds,
                delete_posts,
            }
        } else {
            Operation::BanRemove { user, place }
        })
        .await;
    }

    /// Does an operation and gives its answer.
    pub async fn ask(&self, operation: Operation) -> Answer {
        let request = AdminRequest {
            actor: "test".to_owned(),
            dry_run: false,
            operation,
        };
        perform(&self.folder.path().join("server"), request)
            .await
            .expect("the operation is done")
    }

    /// Starts another process of the community, on another port.
    pub async fn another(&self) -> Running {
        let mut config = Config::load(self.folder.path().join("server")).expect("configuration");
        config.net.listen = ([127, 0, 0, 1], 0).into();
        sogs_server::Server::start(config)
            .await
            .expect("another server starts")
    }

    pub async fn room_add(&self, token: &str) {
        let room = token.to_owned();
        let permissions = PermissionChange::default();
        self.act(Operation::RoomAdd {
            room,
            name: None,
            description: None,
            permissions,
        })
        .await;
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn key(&self) -> sogs_client::ServerKey {
        self.key
    }

    /// A connection that goes a certain way.
    pub fn builder(&self, way: Way) -> ServerBuilder {
        let builder = Server::builder(&self.url, self.key)
            .verify(Verify::No)
            .proxies_from_environment(false)
            .read_timeout(Duration::from_secs(20));
        match way {
            Way::Direct => builder.encrypt(Encrypt::No),
            Way::Sealed => builder.encrypt(Encrypt::Yes),
            Way::ThreeHops => builder.path(self.hops.clone()),
        }
    }

    pub fn server(&self, way: Way, who: &Identity) -> Server {
        self.builder(way).identity(who.clone()).build().expect("a client")
    }

    /// The room `main` as somebody sees it.
    pub fn room(&self, way: Way, who: &Identity) -> Room {
        self.server(way, who).room(&token("main"))
    }

    /// Stops and starts the server on the same port.
    pub async fn restart(&mut self) {
        let address = self.interrupt().await;
        self.resume(address).await;
    }

    /// Stops the server for a while; returns its address.
    pub async fn interrupt(&mut self) -> std::net::SocketAddr {
        let running = self.running.take().expect("it runs");
        let address = running.local_addr();
        running.shutdown().await;
        address
    }

    /// Starts the server at the address that it had.
    pub async fn resume(&mut self, address: std::net::SocketAddr) {
        let dir = self.folder.path().join("server");
        let mut config = Config::load(&dir).expect("configuration");
        config.net.listen = address;
        self.running = Some(
            sogs_server::Server::start(config)
                .await
                .expect("the server starts again"),
        );
    }

    /// Stops the server, copies its folder, and starts it again.
    pub async fn back_up(&mut self) {
        let address = self.interrupt().await;
        copy(
            &self.folder.path().join("server"),
            &self.folder.path().join("copy"),
        );
        self.resume(address).await;
    }

    /// Puts the copied folder in the place of the present one.
    pub async fn restore(&mut self) {
        let address = self.interrupt().await;
        let (dir, saved) = (self.folder.path().join("server"), self.folder.path().join("copy"));
        std::fs::remove_dir_all(&dir).expect("the folder is removed");
        std::fs::rename(saved, dir).expect("the copy takes its place");
        self.resume(address).await;
    }

    /// Stops the server, gives the community another key, and starts it on the same port.
    pub async fn restart_with_another_key(&mut self) {
        let running = self.running.take().expect("it runs");
        let address = running.local_addr();
        running.shutdown().await;
        let dir = self.folder.path().join("server");
        sogs_server::admin::new_key(&dir, "test", false)
            .await
            .expect("another key");
        let mut config = Config::load(&dir).expect("configuration");
        config.net.listen = address;
        let running = sogs_server::Server::start(config)
            .await
            .expect("the server starts again");
        self.key = running.public_key();
        self.running = Some(running);
    }

    /// Stops the server permanently.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }
}

/// Copies the files of a folder, and those of the folders in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a list") {
        let entry = entry.expect("an entry");
        let (kind, place) = (entry.file_type().expect("a type"), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &place);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), place).expect("a copy");
        }
    }
}

pub fn token(text: &str) -> RoomToken {
    RoomToken::new(text).expect("a token")
}

pub fn admin() -> Identity {
    Identity::from_seed([0xad; 32])
}

/// Somebody who differs for each way, so that rate limits and state do not mix. Half of these have a negative key.
pub fn person(way: Way, n: u8) -> Identity {
    Identity::from_seed([1 + n * 3 + way as u8; 32])
}

type Directory = Arc<RwLock<HashMap<[u8; 32], String>>>;

struct HopState {
    secret: ServerSecret,
    directory: Directory,
    client: reqwest::Client,
}

/// Starts hops that know each other, and gives the path through all of them.
async fn hops(count: u8) -> OnionPath {
    let directory: Directory = Arc::default();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(
            rustls::ClientConfig::builder_with_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
        )
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client");
    let mut hops = Vec::new();
    let mut entry = None;
    for n in 1..=count {
        let secret = ServerSecret::from_bytes([n; 32]);
        let hop = Hop {
            x25519: *secret.public().as_bytes(),
            ed25519: [n; 32],
        };
        let state = Arc::new(HopState {
            secret,
            directory: directory.clone(),
            client: client.clone(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        directory
            .write()
            .expect("not poisoned")
            .insert(hop.ed25519, url.clone());
        let app = Router::new()
            .route(HOP_PATH, post(pass_on))
            .layer(axum::extract::DefaultBodyLimit::max(32 << 20))
            .with_state(state);
        tokio::spawn(async move { axum::serve(listener, app).await });
        entry.get_or_insert(url);
        hops.push(hop);
    }
    OnionPath {
        entry: entry.expect("a hop").parse().expect("a URL"),
        hops,
    }
}

/// Acts as a hop: opens its layer, posts the content to the next address, and returns the answer unchanged.
async fn pass_on(State(hop): State<Arc<HopState>>, body: Bytes) -> (StatusCode, Bytes) {
    let (url, body) = match path::peel(&body, &hop.secret) {
        Ok(Peeled::Forward { ed25519, body }) => {
            let Some(url) = hop.directory.read().expect("not poisoned").get(&ed25519).cloned() else {
                return (StatusCode::NOT_FOUND, Bytes::from_static(b"next hop unknown"));
            };
            (format!("{url}{HOP_PATH}"), body)
        }
        Ok(Peeled::Deliver { destination, body }) => {
            let to = &destination;
            (
                format!("{}://{}:{}{}", to.protocol, to.host, to.port, to.target),
                body,
            )
        }
        Err(error) => return (StatusCode::BAD_REQUEST, Bytes::from(error.to_string())),
    };
    match hop.client.post(url).body(body).send().await {
        Ok(answer) => {
            let status = answer.status();
            (status, answer.bytes().await.unwrap_or_default())
        }
        Err(error) => (StatusCode::BAD_GATEWAY, Bytes::from(error.to_string())),
    }
}
