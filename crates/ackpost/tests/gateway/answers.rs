//! Answers to alerts: a real Alertmanager, a real XMPP server or our community server, and a person who answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackpost_testkit::{Alertmanager, Ejabberd, Prosody, ServerOptions, XmppServer};
use ackpost_xmpp::{
    About, Account, Content, Event, Events, Jid, Mode, Outgoing, Received, RoomTarget, Session,
    SessionOptions, Target, Verify,
};
use serde_json::{Value, json};
use sogs_client::{Identity, JoinLink, ListOptions, Message, Post, RoomToken, Server};

use crate::process::Gateway;
use crate::support::community::Community;
use crate::support::{Program, SEED};

/// Longest wait for something that takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
pub(crate) const DISK: [(&str, &str); 3] = [
    ("alertname", "DiskFull"),
    ("instance", "db1"),
    ("severity", "critical"),
];

/// A gateway whose alerts come from a real Alertmanager. `target` is the URL that gets them.
pub(crate) struct Bench {
    pub(crate) gateway: Gateway,
    pub(crate) alertmanager: Alertmanager,
}

impl Bench {
    pub(crate) fn start(target: &str, operate: &str) -> Self {
        let program = Program::new().secret_file("ops.conf", &format!("{target}\n"));
        let keys = "[keys]\nops = \"ops.conf\"\n";
        let gateway = Gateway::with(program, keys);
        let webhook = format!("http://127.0.0.1:{}/hook/alertmanager/ops", gateway.port);
        let alertmanager = Alertmanager::start(&webhook);
        // Answers are switched on by a reload, with the configuration of the guide.
        let guide = include_str!("../../../../docs/guide/answer-alerts.md");
        let block = guide
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let block = block
            .expect("the configuration")
            .replace("http://127.0.0.1:9093", alertmanager.url());
        let people = "allow = [\"xmpp:jane@example.org\"]";
        assert!(block.contains(people), "{block}");
        let config = format!("private_addresses = true\n{}", block.replace(people, operate));
        std::fs::write(gateway.program.home().join("gateway.toml"), config).expect("written");
        gateway.signal("HUP");
        let bench = Self {
            gateway,
            alertmanager,
        };
        bench.until("answers are listened for", || {
            bench.gateway.log().contains("listening for answers to alerts")
        });
        bench
    }

    pub(crate) fn until(&self, what: &str, done: impl Fn() -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < limit, "{what}: {}", self.gateway.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Silences that hold now.
    pub(crate) fn silences(&self) -> Vec<Value> {
        let all: Vec<Value> = serde_json::from_str(&self.alertmanager.get("/api/v2/silences")).expect("JSON");
        all.into_iter()
            .filter(|silence| silence["status"]["state"] == "active")
            .collect()
    }

    /// The log of acts, oldest first.
    pub(crate) fn acts(&self) -> Vec<Value> {
        let ran = self.gateway.program.run(&["--json", "outbox", "acts"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        let mut acts = ran.json();
        acts.reverse();
        acts
    }

    /// Kind and result of every act, oldest first.
    pub(crate) fn done(&self) -> Vec<String> {
        let word = |act: &Value, name: &str| act[name].as_str().expect("text").to_owned();
        self.acts()
            .iter()
            .map(|act| format!("{} {}", word(act, "kind"), word(act, "result")))
            .collect()
    }
}

fn account(server: &XmppServer, user: &str) -> Account {
    let jid: Jid = format!("{user}@{}", server.domain).parse().expect("a JID");
    let authority: Arc<[u8]> = std::fs::read(&server.ca).expect("readable").into();
    Account::new(jid, format!("{user}pass").into())
        .host(&server.host)
        .port(server.port)
        .mode(Mode::StartTls)
        .verify(Verify::Authorities(authority))
}

/// A person with a client.
pub(crate) struct Client {
    session: Session,
    events: Events,
    place: Target,
    seen: Vec<String>,
}

impl Client {
    pub(crate) async fn start(server: &XmppServer, user: &str, room: Option<(&str, &str)>) -> Self {
        let mut options = SessionOptions::receiving(Vec::new());
        let mut place = Target::User(format!("alice@{}", server.domain).parse().expect("a JID"));
        if let Some((room, nick)) = room {
            let mut target = RoomTarget::new(room.parse().expect("a JID"));
            target.nick = Some(nick.to_owned());
            options.rooms.push(target.clone());
            place = Target::Room(target);
        }
        let (session, events) = Session::open(&account(server, user), options)
            .await
            .expect("a session");
        let mut client = Self {
            session,
            events,
            place,
            seen: Vec::new(),
        };
        if room.is_some() {
            client
                .wait("presence of ourselves", |event| match event {
                    Event::Occupant {
                        own: true,
                        present: true,
                        ..
                    } => Some(()),
                    _ => None,
                })
                .await;
        }
        client
    }

    async fn wait<T>(&mut self, what: &str, mut fits: impl FnMut(Event) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(event) = self.events.next().await {
                self.seen.push(format!("{event:?}"));
                if let Some(found) = fits(event) {
                    return Some(found);
                }
            }
            None
        });
        match found.await {
            Ok(Some(found)) => found,
            _ => panic!(
                "no {what}; seen: {:#?}",
                self.seen.iter().rev().take(12).collect::<Vec<_>>()
            ),
        }
    }

    /// A message of somebody else with this text in it.
    pub(crate) async fn message(&mut self, text: &str) -> Received {
        self.wait(text, |event| match event {
            Event::Room(message) | Event::Chat(message) if !message.own && message.body.contains(text) => {
                Some(message)
            }
            _ => None,
        })
        .await
    }

    /// A correction with this text in it.
    pub(crate) async fn correction(&mut self, text: &str) -> Received {
        self.wait(text, |event| match event {
            Event::Correction(message) if message.body.contains(text) => Some(message),
            _ => None,
        })
        .await
    }

    async fn send(&self, body: &str, about: Option<About>) {
        let mut message = Outgoing::new(self.place.clone(), Content::text(body));
        message.about = about;
        for outcome in self.session.send(vec![message]).await {
            outcome.into_result().expect("delivered");
        }
    }

    async fn reply(&self, to: &Received, body: &str) {
        let id = match &to.archive {
            Some(archive) if to.room => archive.id.clone(),
            _ => to.id.clone().expect("an id"),
        };
        let about = About::Reply {
            id,
            to: to.from.clone(),
            quoted: 0,
        };
        self.send(body, Some(about)).await;
    }

    async fn react(&self, to: &Received, emoji: &[&str]) {
        let id = match &to.archive {
            Some(archive) if to.room => archive.id.clone(),
            _ => to.id.clone().expect("an id"),
        };
        let emoji = emoji.iter().map(|one| (*one).to_owned()).collect();
        self.send("", Some(About::Reactions { id, emoji })).await;
    }
}

pub(crate) fn xmpp_url(server: &XmppServer, to: &str) -> String {
    format!(
        "xmpps://alice:alicepass@localhost:{}/{to}?xmpp=127.0.0.1&mode=starttls&ca_file={}",
        server.port,
        server.ca.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_answers_an_alert_on_prosody() {
    a_room_answers_an_alert(&Prosody::start(ServerOptions::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_answers_an_alert_on_ejabberd() {
    a_room_answers_an_alert(&Ejabberd::start(ServerOptions::default())).await;
}

#[expect(
    clippy::too_many_lines,
    clippy::print_stdout,
    reason = "a long story, and the times that it took"
)]
async fn a_room_answers_an_alert(server: &XmppServer) {
    let room = format!("oncall@{}", server.muc);
    let url = format!(
        "{}&create=yes",
        xmpp_url(server, &format!("%23{}", room.replace('@', "%40")))
    );
    let bench = Bench::start(&url, "allow = [\"xmpp:bob@localhost\"]");
    // The listener makes the room.
    bench.until("the room is there", || {
        bench.gateway.log().contains("answers in the room are heard")
    });
    let mut bob = Client::start(server, "bob", Some((&room, "bob"))).await;
    let mut carol = Client::start(server, "carol", Some((&room, "bob2"))).await;
    bench.alertmanager.raise(&DISK);
    let alert = bob.message("DiskFull").await;
    let mut fastest = Duration::MAX;
    for round in 0..3 {
        let begun = Instant::now();
        bob.reply(&alert, "silence 2h the disk is being replaced").await;
        let answer = bob.message("🔕 silenced until").await;
        let took = begun.elapsed();
        println!("round {round}: gesture to answer in {took:?}: {}", answer.body);
        fastest = fastest.min(took);
        let silences = bench.silences();
        assert_eq!(silences.len(), 1, "{silences:#?}");
        assert_eq!(silences[0]["createdBy"], "bob@localhost via ackpost");
        assert_eq!(
            silences[0]["comment"],
            format!("the disk is being replaced (answered in xmpp:{room})")
        );
        assert_eq!(silences[0]["matchers"].as_array().expect("a list").len(), 3);
        assert!(answer.reply.is_some(), "the answer refers to the gesture");
        let state = bob.correction("🔕 silenced until").await;
        assert_eq!(state.replaces, alert.id, "the message of the alert");
        assert!(state.body.contains("DiskFull"), "{}", state.body);
        if round == 2 {
            break;
        }
        bob.reply(&alert, "unsilence").await;
        bob.message("🔔 the silence was ended by bob").await;
        assert!(bench.silences().is_empty());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    // Somebody else asks for the same, and gets the silence that is there.
    bob.reply(&alert, "silence 1h").await;
    bob.message("🔕 already silenced until").await;
    // A person who is not allowed, under a nick that looks like it.
    carol.message("already silenced").await;
    carol.reply(&alert, "unsilence").await;
    carol.message("you may not answer alerts here").await;
    carol.react(&alert, &["🔕"]).await;
    carol.reply(&alert, "unsilence").await;
    // Reactions of the person on call.
    bob.react(&alert, &["👀"]).await;
    bob.message("👀 acknowledged by bob").await;
    bob.reply(&alert, "status").await;
    bob.message("already silenced").await;
    bob.send("!status", None).await;
    let list = bob.message("🔴 #").await.body;
    let number = list
        .split(['#', ' '])
        .find(|word| word.len() == 5)
        .expect("a number")
        .to_owned();
    bob.send(&format!("!unsilence #{number}"), None).await;
    bob.message("🔔 the silence was ended by bob").await;
    assert!(bench.silences().is_empty());
    // Quotes, corrections and sentences change nothing.
    bob.reply(&alert, "> silence 2h").await;
    bob.send("should we silence 2h #00000?", None).await;
    bob.reply(&alert, "silence 30d").await;
    bob.message("the longest silence is 24h").await;
    assert!(bench.silences().is_empty());
    assert_eq!(
        bench.done(),
        [
            "silence done",
            "unsilence done",
            "silence done",
            "unsilence done",
            "silence done",
            "silence already",
            "unsilence refused",
            "ack done",
            "unsilence done",
            "silence failed",
        ]
    );
    let metrics = bench.gateway.get("/metrics").body;
    assert!(
        metrics.contains("ackpost_acts_total{kind=\"silence\",result=\"done\"} 3"),
        "{metrics}"
    );
    assert!(
        metrics.contains("ackpost_acts_total{kind=\"unsilence\",result=\"refused\"} 2"),
        "{metrics}"
    );
    let page = bench.gateway.get("/ui/outbox").body;
    assert!(
        page.contains("Answers to alerts") && page.contains("bob@localhost"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_answers_its_latest_alert() {
    let server = Prosody::start(ServerOptions::default());
    let bench = Bench::start(
        &xmpp_url(&server, "bob"),
        "allow = [\"xmpp:bob@localhost\"]\nacknowledge = \"15m\"",
    );
    let doctor = bench
        .gateway
        .program
        .run(&["doctor", "--answers", "gateway.toml"]);
    assert!(
        doctor.code == 0 && doctor.stdout.contains("→ an alert could be answered"),
        "{}",
        doctor.all()
    );
    let mut bob = Client::start(&server, "bob", None).await;
    bench.alertmanager.raise(&DISK);
    let alert = bob.message("DiskFull").await;
    bob.send("ack I look at it", None).await;
    bob.message("👀 acknowledged by bob: I look at it").await;
    bob.correction("👀 acknowledged by bob").await;
    assert_eq!(
        bench.silences().len(),
        1,
        "an acknowledgement makes a short silence here"
    );
    bob.react(&alert, &["🔕"]).await;
    bob.message("🔕 silenced until").await;
    assert_eq!(
        bench.silences().len(),
        1,
        "the longer silence replaces the short one"
    );
    bob.react(&alert, &[]).await;
    bob.message("🔔 the silence was ended by bob").await;
    assert!(bench.silences().is_empty());
    // Another account is not listened to, whatever it writes.
    let carol = Client::start(&server, "carol", None).await;
    carol.send("silence 2h", None).await;
    bob.send("silence soon", None).await;
    bob.message("`soon` is not a time").await;
    assert!(bench.silences().is_empty());
    assert_eq!(bench.done(), ["ack done", "silence done", "unsilence done"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "a long story")]
async fn a_community_answers_an_alert() {
    let community = Community::start("lobby");
    let link: JoinLink = format!("{}/lobby?public_key={}", community.url, community.key)
        .parse()
        .expect("a link");
    let jane = Identity::from_seed_hex(&"77".repeat(16)).expect("an identity");
    let server = Server::connect(&link, jane.clone()).expect("a server");
    let room = server.room(&RoomToken::new("lobby").expect("a token"));
    let stranger = Server::connect(
        &link,
        Identity::from_seed_hex(&"99".repeat(16)).expect("an identity"),
    )
    .expect("a server");
    let stranger = stranger.room(&RoomToken::new("lobby").expect("a token"));
    let allow = format!("allow = [\"session:{}\"]\ninterval = \"1s\"", jane.session_id());
    let bench = Bench::start(&format!("{}/lobby", community.server_url()), &allow);
    bench.alertmanager.raise(&DISK);
    let wait = async |text: &str, than: u64| -> Message {
        let limit = Instant::now() + PATIENCE;
        loop {
            let messages = room.recent(ListOptions::default()).await.expect("messages");
            let found = messages
                .into_iter()
                .find(|one| one.id > than && one.body().is_some_and(|body| body.contains(text)));
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < limit, "no {text}: {}", bench.gateway.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let alert = wait("DiskFull", 0).await;
    stranger
        .post(Post::text("silence 2h").reply_to(&alert))
        .await
        .expect("posted");
    let begun = Instant::now();
    room.post(Post::text("silence 2h").reply_to(&alert))
        .await
        .expect("posted");
    let answer = wait("🔕 silenced until", alert.id).await;
    println!(
        "gesture to answer in {:?} with a poll each second: {}",
        begun.elapsed(),
        answer.body().unwrap_or_default()
    );
    let silences = bench.silences();
    assert_eq!(silences.len(), 1, "{silences:#?}");
    assert_eq!(
        silences[0]["createdBy"],
        format!("{} via ackpost", jane.session_id())
    );
    let limit = Instant::now() + PATIENCE;
    while !room
        .message(alert.id)
        .await
        .expect("the alert")
        .body()
        .is_some_and(|body| body.contains("🔕 silenced until"))
    {
        assert!(
            Instant::now() < limit,
            "the alert shows no state: {}",
            bench.gateway.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    room.post(Post::text(format!("!unsilence #{}", alert.id)))
        .await
        .expect("posted");
    wait("🔔 the silence was ended", answer.id).await;
    room.react(alert.id, "👀").await.expect("a reaction");
    let acknowledged = wait("👀 acknowledged by", answer.id).await;
    stranger.react(alert.id, "🔕").await.expect("a reaction");
    room.react(alert.id, "🔕").await.expect("a reaction");
    let silenced = wait("🔕 silenced until", acknowledged.id).await;
    assert_eq!(bench.silences().len(), 1);
    room.unreact(alert.id, "🔕").await.expect("taken back");
    wait("🔔 the silence was ended", silenced.id).await;
    assert!(bench.silences().is_empty());
    let refused = bench
        .acts()
        .iter()
        .filter(|act| act["result"] == "refused")
        .count();
    assert_eq!(
        refused,
        1,
        "a stranger is told once in ten minutes: {:?}",
        bench.done()
    );
    let page = bench
        .gateway
        .json("/notify/ops?wait=5", &json!({"body": "no alert"}));
    assert_eq!(page.status, 200);
    assert_ne!(SEED, "", "the gateway has its own identity");
}
