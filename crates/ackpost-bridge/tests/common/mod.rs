//! A community, a room of a real XMPP server, a bridge between them, and people on both sides.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ackpost_bridge::{Config, Limits, Parts, Store};
use ackpost_testkit::{FakeHttp, HttpAnswer, HttpSeen, Receiver, XmppServer};
use ackpost_xmpp::{
    Account, Content, Event, Events, Mode, Outcome, Outgoing, Received, RoomTarget, Session, SessionOptions,
};
use session_protocol::Identity;
use sogs_client::{Encrypt, ListOptions, Message, Room, RoomToken, Row, Server, ServerKey, Verify};
use sogs_server::admin::{AdminRequest, InitOptions, Operation, PermissionChange, RoomScope, init, perform};
use sogs_server::{Config as ServerConfig, Running};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time limit for anything to cross.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub struct Stage {
    pub folder: tempfile::TempDir,
    pub running: Option<Running>,
    url: String,
    key: ServerKey,
    pub server: &'static XmppServer,
    /// Address of the XMPP room.
    pub place: String,
}

pub fn identity(n: u8) -> Identity {
    Identity::from_seed([n; 32])
}

/// The identity of the bridge.
pub const BRIDGE: u8 = 0xb0;

impl Stage {
    /// The bridge is admin in the community.
    pub async fn new(server: &'static XmppServer) -> Self {
        let stage = Self::without_admin(server).await;
        stage.make_admin(BRIDGE).await;
        stage
    }

    /// The bridge is a member of the community like everybody.
    pub async fn without_admin(server: &'static XmppServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("server");
        init(&dir, &InitOptions::default()).await.unwrap();
        let mut config = ServerConfig::load(&dir).unwrap();
        config.net.listen = ([127, 0, 0, 1], 0).into();
        config.files.max_size = 10 << 20;
        let running = sogs_server::Server::start(config).await.unwrap();
        let stage = Self {
            folder,
            url: running.url(),
            key: running.public_key(),
            running: Some(running),
            server,
            place: server.room(&unique("bridge")),
        };
        stage
            .act(Operation::RoomAdd {
                room: "main".into(),
                name: None,
                description: None,
                permissions: PermissionChange::default(),
            })
            .await;
        // Alice makes the room, and owns it.
        let (alice, _events) = stage.join("alice", "alice").await;
        alice.close().await;
        stage
    }

    /// Ends the community server in order.
    pub async fn stop_community(&mut self) {
        self.running.take().unwrap().shutdown().await;
    }

    /// Starts it again at its address.
    pub async fn start_community(&mut self) {
        let mut config = ServerConfig::load(self.folder.path().join("server")).unwrap();
        let address = self.url.trim_start_matches("http://");
        config.net.listen = address.parse().unwrap();
        self.running = Some(sogs_server::Server::start(config).await.unwrap());
    }

    pub async fn act(&self, operation: Operation) {
        let request = AdminRequest {
            actor: "test".to_owned(),
            dry_run: false,
            operation,
        };
        perform(&self.folder.path().join("server"), request)
            .await
            .unwrap();
    }

    pub async fn make_admin(&self, who: u8) {
        self.act(Operation::ModAdd {
            user: identity(who).session_id().to_string(),
            place: RoomScope::Global,
            admin: true,
            visible: Some(true),
        })
        .await;
        self.main(who).recent(ListOptions::default()).await.unwrap();
    }

    /// The room of the community as somebody sees it.
    pub fn main(&self, who: u8) -> Room {
        self.seen_by(who, Encrypt::Auto)
    }

    /// The room of the community as somebody sees it whose program does not seal requests.
    pub fn unsealed(&self, who: u8) -> Room {
        self.seen_by(who, Encrypt::No)
    }

    /// The room of the community as somebody sees it through a proxy, whose program does not seal requests.
    pub fn through(&self, front: &FakeHttp, who: u8) -> Room {
        self.seen_at(format!("http://{}", front.place()), who, Encrypt::No)
    }

    fn seen_by(&self, who: u8, encrypt: Encrypt) -> Room {
        self.seen_at(self.url.clone(), who, encrypt)
    }

    fn seen_at(&self, url: String, who: u8, encrypt: Encrypt) -> Room {
        Server::builder(url, self.key)
            .encrypt(encrypt)
            .verify(Verify::No)
            .proxies_from_environment(false)
            .identity(identity(who))
            .build()
            .unwrap()
            .room(&RoomToken::new("main").unwrap())
    }

    pub fn account(&self, user: &str, nick: &str) -> Account {
        // The many accounts of the test servers share a password.
        let owner = user.trim_end_matches(|c: char| c.is_ascii_digit());
        Account::new(
            format!("{user}@{}", self.server.domain).parse().unwrap(),
            format!("{owner}pass").into(),
        )
        .host(&self.server.host)
        .port(self.server.port)
        .mode(Mode::StartTls)
        .verify(Verify::Authorities(
            std::fs::read(&self.server.ca).unwrap().into(),
        ))
        .answer_timeout(Duration::from_secs(10))
        .nick(nick)
    }

    pub fn target(&self) -> RoomTarget {
        let mut target = RoomTarget::new(self.place.parse().unwrap());
        target.create = true;
        target
    }

    /// Somebody in the XMPP room, and what they see.
    pub async fn join(&self, user: &str, nick: &str) -> (Session, Events) {
        let mut options = SessionOptions::default();
        options.rooms = vec![self.target()];
        let (session, mut events) = Session::open(&self.account(user, nick), options).await.unwrap();
        loop {
            match next(&mut events).await {
                Event::Occupant {
                    own: true,
                    present: true,
                    ..
                } => return (session, events),
                Event::RoomLost { reason, .. } => panic!("{nick} cannot join: {reason}"),
                _ => {}
            }
        }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("bridge.db")
    }

    pub fn parts(&self, options: &str) -> Parts {
        let text = format!(
            "[[bridge]]\nname = 'lobby'\nxmpp = 'x'\nsession = 's'\ninterval = 1\nannounce = ''\n{options}\n"
        );
        let config = Config::parse(&text, "test").unwrap();
        Parts {
            name: "lobby".into(),
            account: self.account("bob", "relay"),
            place: self.target(),
            room: self.main(BRIDGE),
            options: config.bridges[0].options().unwrap(),
            limits: Limits::default(),
        }
    }

    /// A proxy in front of the community server. `rule` gets each request and may answer it itself; with `None` the proxy passes it on.
    pub fn front(
        &self,
        rule: impl Fn(&HttpSeen, &dyn Fn() -> HttpAnswer) -> Option<HttpAnswer> + Send + Sync + 'static,
    ) -> FakeHttp {
        let upstream = self.url.trim_start_matches("http://").to_owned();
        FakeHttp::start(move |request| {
            let pass = || pass_on(request, &upstream);
            rule(request, &pass).unwrap_or_else(pass)
        })
    }

    /// Starts the bridge.
    pub async fn bridge(&self, options: &str) -> Running2 {
        self.bridge_with(self.parts(options)).await
    }

    /// Starts the bridge with other bounds and pauses.
    pub async fn bridge_within(&self, options: &str, change: impl FnOnce(&mut Limits)) -> Running2 {
        let mut parts = self.parts(options);
        change(&mut parts.limits);
        self.bridge_with(parts).await
    }

    pub async fn bridge_with(&self, parts: Parts) -> Running2 {
        let store = Store::open(&self.database().display().to_string()).await.unwrap();
        Self::bridge_on(parts, store)
    }

    /// Starts the bridge with this database.
    pub fn bridge_on(parts: Parts, store: Store) -> Running2 {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(ackpost_bridge::run(parts, store.clone(), stopped));
        Running2 { store, stop, task }
    }

    /// Sends stanzas as the owner of the XMPP room, on her own connection.
    pub async fn as_owner(&self, stanzas: &[String]) {
        let (port, domain) = (self.server.port, self.server.domain.clone());
        let (place, stanzas) = (self.place.clone(), stanzas.to_vec());
        tokio::task::spawn_blocking(move || {
            let mut owner = Receiver::join(port, &domain, "alice", "alicepass", &[&place]);
            for (at, item) in stanzas.iter().enumerate() {
                let payload = format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>");
                let answer = owner.set(&format!("owner-{at}"), Some(&place), &payload);
                assert_eq!(answer.attr("type"), "result", "{item}");
            }
        })
        .await
        .unwrap();
    }
}

/// Passes a request on to the community server, and its answer back.
fn pass_on(request: &HttpSeen, upstream: &str) -> HttpAnswer {
    let answer = || -> std::io::Result<HttpAnswer> {
        let mut stream = TcpStream::connect(upstream)?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nconnection: close\r\n",
            request.method, request.target
        );
        for (name, value) in &request.headers {
            if !matches!(name.as_str(), "connection" | "accept-encoding") {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(&request.body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(HttpAnswer::With(
            status.unwrap_or(502),
            "content-type",
            "application/json".to_owned(),
            body.to_owned(),
        ))
    };
    answer().unwrap_or(HttpAnswer::Close)
}

/// A running bridge.
pub struct Running2 {
    pub store: Store,
    pub stop: watch::Sender<bool>,
    pub task: JoinHandle<Result<(), ackpost_bridge::BridgeError>>,
}

impl Running2 {
    /// Ends it in order.
    pub async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap();
        self.store.close().await;
    }

    /// Ends it where it is.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.store.close().await;
    }
}

pub async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(PATIENCE, events.next())
        .await
        .expect("an event")
        .expect("the session goes on")
}

/// The next event that fits.
pub async fn wait<T>(events: &mut Events, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(PATIENCE, async {
        while let Some(event) = events.next().await {
            if let Some(found) = fits(&event) {
                return found;
            }
            seen.push(format!("{event:?}"));
        }
        panic!("the session ended")
    })
    .await;
    found.unwrap_or_else(|_| panic!("no {what}; seen: {seen:#?}"))
}

pub async fn send(session: &Session, message: Outgoing) -> String {
    match session.send(vec![message]).await.remove(0) {
        Outcome::Delivered(proof) => proof.id,
        other => panic!("not delivered: {other:?}"),
    }
}

pub async fn say(session: &Session, stage: &Stage, body: &str) -> String {
    send(session, Outgoing::new(stage.target(), Content::text(body))).await
}

/// Waits until the bridge reads both sides: on its first start it begins with what is written from then on.
pub async fn warm(stage: &Stage, alice: &Session, events: &mut Events) {
    enters(events, "Session").await;
    let reader = stage.main(0xee);
    for try_number in 0..10_u8 {
        let (text, name) = (format!("warm {try_number}"), format!("guest{try_number}"));
        say(alice, stage, &text).await;
        // Another guest each time, who is not held to the rate of the one before.
        let guest = stage.main(0xe0 + try_number);
        guest
            .post(sogs_client::Post::text(text.clone()).name(name.clone()))
            .await
            .unwrap();
        let crossed = tokio::time::timeout(Duration::from_secs(6), async {
            loop {
                if let Some(Event::Room(received)) = events.next().await
                    && received.body == format!("{name}: {text}")
                {
                    return;
                }
            }
        })
        .await;
        if crossed.is_ok() {
            read(&reader, "the text of XMPP", |message| {
                message.body().is_some_and(|body| body.contains("warm"))
                    && message.display_name() != Some(name.as_str())
            })
            .await;
            return;
        }
    }
    panic!("the bridge does not read the community");
}

/// Waits until somebody is in the XMPP room.
pub async fn enters(events: &mut Events, who: &str) {
    wait(events, who, |event| match event {
        Event::Occupant {
            nick, present: true, ..
        } if nick == who => Some(()),
        _ => None,
    })
    .await;
}

/// Waits for a text in the XMPP room.
pub async fn hear(events: &mut Events, what: &str, fits: impl Fn(&str) -> bool) -> Received {
    wait(events, what, |event| match event {
        Event::Room(received) if fits(&received.body) => Some(received.clone()),
        _ => None,
    })
    .await
}

/// The message of the community whose text fits.
pub async fn read(room: &Room, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            for message in room.recent(ListOptions::limit(100)).await.unwrap() {
                if fits(&message) {
                    return message;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let Ok(found) = found else {
        panic!("no {what}; there: {:#?}", texts(room).await)
    };
    found
}

/// All texts of the community, oldest first.
pub async fn texts(room: &Room) -> Vec<String> {
    let mut since = 0;
    let mut found: Vec<(u64, String)> = Vec::new();
    loop {
        let mut options = ListOptions::limit(256);
        options.with_reaction_rows = true;
        let rows = room.since(since, options).await.unwrap();
        let Some(last) = rows.last() else { break };
        since = last.seqno();
        for row in rows {
            if let Row::Message(message) = row {
                found.retain(|(id, _)| *id != message.id);
                found.push((message.id, message.body().unwrap_or_default().to_owned()));
            }
        }
    }
    found.sort_by_key(|(id, _)| *id);
    found.into_iter().map(|(_, text)| text).collect()
}

pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{what}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
