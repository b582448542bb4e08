//! Answers to alerts in direct messages: to a Session ID, over a network of fake nodes, and in the inbox of a community.

use std::time::{Duration, Instant};

use ackpost_testkit::FakeSwarm;
use session_network::{Draft, Event, IncomingMessage, Mailbox, Mode, Network, Sender};
use sogs_client::{Identity, JoinLink, ListOptions, Post, RoomToken, Server};

use crate::answers::{Bench, DISK, PATIENCE};
use crate::support::SEED;
use crate::support::community::Community;

/// A person with an app.
struct Person {
    network: Network,
    sender: Sender,
    mailbox: Mailbox,
    seen: Vec<String>,
}

impl Person {
    fn new(swarm: &FakeSwarm, n: u8, name: &str) -> Self {
        let seed = swarm.node_seed(0).parse().expect("a seed");
        let network = Network::builder()
            .seeds([seed])
            .use_proxies(false)
            .mode(Mode::Direct);
        let network = network.build().expect("a network");
        let account = Identity::from_seed([n; 32]);
        Self {
            mailbox: network.mailbox(account.clone()),
            sender: Sender::new(account, name).expect("a name"),
            network,
            seen: Vec::new(),
        }
    }

    async fn send(&self, to: &IncomingMessage, text: &str, quotes: bool) {
        let mut draft = Draft::text(text);
        if quotes {
            draft = draft.reply_to(to.timestamp_ms, to.from);
        }
        let prepared = self.network.prepare(&self.sender, &to.from, &draft).await;
        for mut message in prepared.expect("sealed") {
            drop(self.network.send(&mut message).await.expect("stored"));
        }
    }

    /// The next message with this text in it.
    async fn hears(&mut self, text: &str, log: impl Fn() -> String) -> IncomingMessage {
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            let polled = self.mailbox.poll().await.expect("the mailbox");
            self.mailbox.save().await.expect("kept");
            for event in polled.events {
                let Event::Message(message) = event else { continue };
                let said = message.text.clone().unwrap_or_default();
                self.seen.push(said.clone());
                if said.contains(text) {
                    return *message;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("no {text}; seen: {:#?}; {}", self.seen, log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_message_to_a_session_id_answers_an_alert() {
    let swarm = FakeSwarm::start(5);
    let (mut jane, mut mallory) = (
        Person::new(&swarm, 0x71, "Jane"),
        Person::new(&swarm, 0x72, "Jane"),
    );
    let network = swarm.node_seed(0).replace('@', "%40").replace(':', "%3A");
    let url = format!(
        "sessiondm://:{SEED}@{}/{}?network={network}&mode=direct",
        jane.sender.id(),
        mallory.sender.id()
    );
    let allow = format!("allow = [\"session:{}\"]\ninterval = \"1s\"", jane.sender.id());
    let bench = Bench::start(&url, &allow);
    let log = || bench.gateway.log();
    bench.alertmanager.raise(&DISK);
    let alert = jane.hears("DiskFull", log).await;
    let same = mallory.hears("DiskFull", log).await;
    // A stranger under the same name gets the same alert, and one private line.
    mallory.send(&same, "silence 2h", true).await;
    mallory.hears("you may not answer alerts here", log).await;
    assert!(bench.silences().is_empty());
    // A reply, and the word alone.
    jane.send(&alert, "silence 2h the disk is being replaced", true)
        .await;
    let answer = jane.hears("🔕 silenced until", log).await;
    let quote = answer.content.data_message.clone().and_then(|data| data.quote);
    assert_eq!(
        quote.and_then(|quote| quote.author),
        Some(jane.sender.id().to_string()),
        "the answer refers to the gesture"
    );
    let silences = bench.silences();
    assert_eq!(silences.len(), 1, "{silences:#?}");
    assert_eq!(
        silences[0]["createdBy"],
        format!("{} via ackpost", jane.sender.id())
    );
    jane.send(&alert, "unsilence", false).await;
    jane.hears("🔔 the silence was ended by Jane", log).await;
    assert!(bench.silences().is_empty());
    // An answer to an answer is about no alert, and a sentence is none.
    jane.send(&answer, "silence 2h", true).await;
    jane.send(&alert, "I silence it", false).await;
    jane.send(&alert, "status", true).await;
    jane.hears("🔴 DiskFull: 1 alert fires", log).await;
    assert!(bench.silences().is_empty());
    assert_eq!(
        bench.done(),
        ["silence refused", "silence done", "unsilence done"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_message_in_a_community_answers_its_latest_alert() {
    let community = Community::start("lobby");
    let link: JoinLink = format!("{}/lobby?public_key={}", community.url, community.key)
        .parse()
        .expect("a link");
    let person = |n: u8| {
        let identity = Identity::from_seed([n; 32]);
        (
            Server::connect(&link, identity.clone()).expect("a server"),
            identity,
        )
    };
    let ((jane, identity), (mallory, _)) = (person(0x71), person(0x72));
    let allow = format!(
        "allow = [\"session:{}\"]\ninterval = \"1s\"",
        identity.session_id()
    );
    let bench = Bench::start(&format!("{}/lobby", community.server_url()), &allow);
    let room = |server: &Server| server.room(&RoomToken::new("lobby").expect("a token"));
    // The server knows who was there.
    for server in [&jane, &mallory] {
        room(server)
            .post(Post::text("here").name("Jane"))
            .await
            .expect("posted");
    }
    bench.alertmanager.raise(&DISK);
    let limit = Instant::now() + PATIENCE;
    let alert = loop {
        let messages = room(&jane)
            .recent(ListOptions::default())
            .await
            .expect("messages");
        let found = messages
            .into_iter()
            .find(|one| one.body().is_some_and(|body| body.contains("DiskFull")));
        if let Some(found) = found {
            break found;
        }
        assert!(Instant::now() < limit, "no alert: {}", bench.gateway.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let hears = async |server: &Server, text: &str| {
        let limit = Instant::now() + PATIENCE;
        loop {
            let all = server.inbox().received(None).await.expect("the inbox");
            if all
                .iter()
                .any(|one| one.body().is_some_and(|body| body.contains(text)))
            {
                return;
            }
            assert!(Instant::now() < limit, "no {text}: {}", bench.gateway.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let says = async |server: &Server, text: &str| {
        let sent = server.inbox().send(&alert.author, text, Some("Jane")).await;
        sent.expect("sent");
    };
    says(&mallory, "silence 2h").await;
    hears(&mallory, "you may not answer alerts here").await;
    assert!(bench.silences().is_empty());
    says(&jane, "silence 2h").await;
    hears(&jane, "🔕 silenced until").await;
    assert_eq!(bench.silences().len(), 1);
    says(&jane, &format!("unsilence #{}", alert.id)).await;
    hears(&jane, "🔔 the silence was ended by Jane").await;
    assert!(bench.silences().is_empty());
    assert_eq!(
        bench.done(),
        ["silence refused", "silence done", "unsilence done"]
    );
}
