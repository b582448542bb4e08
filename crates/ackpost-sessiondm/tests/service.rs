//! The service against a network on loopback.

use std::sync::{Arc, Mutex};

use ackpost_apprise::{Notifier, Options};
use ackpost_notify::service::{SOGS, ServiceUrl, Services, Target, XMPP};
use ackpost_notify::{ConnectionOptions, ConnectionPool, Context, Delivery, Encoded, Message, Outcome};
use ackpost_sessiondm::{Account, SESSIONDM, take_sent};
use ackpost_testkit::{FakeSwarm, FaultPlan, SwarmFault};
use session_protocol::Identity;
use session_protocol::network::message;

static SERVICES: Services = Services::new(&[&SOGS, &XMPP, &SESSIONDM]);
const SEED: &str = "0101010101010101010101010101010101010101010101010101010101010101";

fn context() -> Context {
    Context::default().with_services(SERVICES)
}

fn reader(n: u8) -> Identity {
    Identity::from_seed([n; 32])
}

fn id(n: u8) -> String {
    reader(n).session_id().to_string()
}

fn parse(url: &str) -> Result<ServiceUrl, ackpost_notify::Diagnostic> {
    ServiceUrl::parse(url, &context())
}

fn url(swarm: &FakeSwarm, recipients: &str, more: &str) -> String {
    let network = swarm.node_seed(0).replace('@', "%40").replace(':', "%3A");
    format!("sessiondm://:{SEED}@{recipients}?network={network}{more}")
}

/// The texts that all nodes of the swarm have for a reader, if all have the same.
fn texts(swarm: &FakeSwarm, n: u8) -> Vec<String> {
    let of = |node| {
        let rows = swarm.stored_at(node, &id(n), 0);
        let open = |row: &ackpost_testkit::StoredRow| {
            let opened = message::open(&row.data, &reader(n)).expect("ours");
            opened.content.body().expect("a text").to_owned()
        };
        rows.iter().map(open).collect::<Vec<_>>()
    };
    let first = of(0);
    for node in swarm.swarm_of(&id(n)) {
        assert_eq!(of(node), first);
    }
    first
}

#[test]
fn urls_are_read_and_printed_without_the_seed() {
    let written = format!(
        "sessiondm://:{SEED}@{}/{}?name=Backup&mode=direct&ttl=2d&expire=1h&to={}",
        id(2),
        id(3),
        id(2)
    );
    let service = parse(&written).expect("a good URL");
    assert_eq!(service.targets().len(), 2, "none twice");
    let masked = service.masked_url();
    assert!(!masked.contains(SEED), "{masked}");
    assert!(
        masked.starts_with(&format!("sessiondm://****@{}/{}", id(2), id(3))) || masked.contains("****"),
        "{masked}"
    );
    let canonical = service.expose_url();
    for part in [SEED, "name=Backup", "mode=direct", "ttl=172800s", "expire=3600s"] {
        assert!(canonical.contains(part), "{part} in {canonical}");
    }
    assert_eq!(parse(&canonical).expect("its own form").expose_url(), canonical);
    assert!(!format!("{service:?}").contains(SEED));
    // The recovery phrase does as well.
    let phrase = Identity::from_entropy(&[7; 16])
        .to_mnemonic()
        .expect("made of entropy")
        .replace(' ', "%20");
    assert!(parse(&format!("sessiondm://{}?seed={phrase}", id(2))).is_ok());
}

#[test]
fn wrong_urls_name_the_right_form() {
    let blinded = format!("15{}", &id(2)[2..]);
    let with = |rest: &str| format!("sessiondm://:{SEED}@{}{rest}", id(2));
    for (url, cause, remedy) in [
        (
            format!("sessiondm://:abc@{}", id(2)),
            "neither 64 hex digits",
            "seed_file",
        ),
        (
            format!("sessiondm://:{SEED}@{blinded}"),
            "belongs to a community",
            "ackpost dm send",
        ),
        (
            format!("sessiondm://:{SEED}@example.org"),
            "not a Session ID",
            "sessiondm://05",
        ),
        (
            format!("sessiondm://:{SEED}@{}", &id(2)[..60]),
            "not a Session ID",
            "sessiondm://05",
        ),
        (with("?ttl=20d"), "`ttl`", "between 10s and 14d"),
        (with("?expire=x"), "`expire`", "between 10s and 14d"),
        (with("?network=example.org"), "`network`", "ED25519@IP:PORT"),
        (with(&format!("?name={}", "n".repeat(101))), "100 bytes", "limits"),
        (
            format!("session://{}", id(2)),
            "Session ID of a person",
            "sessiondm://05",
        ),
    ] {
        let problem = parse(&url).expect_err(&url);
        assert!(problem.cause.contains(cause), "{url}: {problem}");
        assert!(problem.remedy.contains(remedy), "{url}: {problem}");
        assert!(!problem.to_string().contains(SEED));
    }
}

#[tokio::test]
async fn a_delivered_text_says_how_many_nodes_signed() {
    let swarm = FakeSwarm::start(5);
    let mut notifier = Notifier::with_options(
        Options::default()
            .with_context(context())
            .with_connections(connections(None)),
    );
    let recipients = format!("{}/{}", id(2), id(3));
    notifier
        .add(&url(&swarm, &recipients, "&name=Backup"))
        .expect("a good URL");
    let report = notifier.notify(Message::new("disk is full")).await;
    assert_eq!(report.targets.len(), 2);
    for target in &report.targets {
        assert!(target.outcome.is_delivered(), "{:?}", target.outcome);
        assert_eq!(target.notes, ["signed by 5 of 5 nodes"]);
    }
    assert_eq!(
        (texts(&swarm, 2), texts(&swarm, 3)),
        (vec!["disk is full".to_owned()], vec!["disk is full".to_owned()])
    );
    // Fewer than a majority is deferred, and says how many.
    swarm.add_fault(FaultPlan::new(SwarmFault::ForgedSignature));
    let report = notifier.notify(Message::new("again")).await;
    let outcome = &report.targets[0].outcome;
    assert!(matches!(outcome, Outcome::Deferred { .. }), "{outcome:?}");
    assert!(
        outcome
            .reason()
            .is_some_and(|reason| reason.ends_with("(signed by 0 of 5 nodes)")),
        "{outcome:?}"
    );
}

fn connections(folder: Option<&std::path::Path>) -> ConnectionOptions {
    ConnectionOptions::default()
        .with_proxies(false)
        .with_state_folder(folder.map(Into::into))
}

#[tokio::test]
async fn retries_of_one_run_and_long_texts_are_stored_once() {
    let swarm = FakeSwarm::start(5);
    let mut notifier = Notifier::with_options(
        Options::default()
            .with_context(context())
            .with_connections(connections(None)),
    );
    notifier
        .add(&url(&swarm, &id(2), "&mode=direct&retry=3&wait=0&overflow=split"))
        .expect("a good URL");
    // Three nodes are asked for each attempt: the first attempt fails as a whole although all nodes have the message.
    swarm.add_fault(FaultPlan::new(SwarmFault::ForgedSignature).times(3));
    let text = "A line of the report.\n".repeat(250);
    let report = notifier.notify(Message::new(text.clone())).await;
    assert!(
        report.targets[0].outcome.is_delivered(),
        "{:?}",
        report.targets[0]
    );
    let stored = texts(&swarm, 2);
    assert_eq!(stored.len(), 3);
    assert_eq!(stored.concat().replace('\n', ""), text.replace('\n', ""));
}

/// Delivers one text; gives the piece as the queue would have it afterwards.
async fn deliver(
    service: &ServiceUrl,
    pool: &ConnectionPool,
    piece: Encoded,
    takes: bool,
) -> (ackpost_notify::Attempt, Encoded) {
    let kept = Arc::new(Mutex::new(piece.clone()));
    let store = Arc::clone(&kept);
    let target = Target {
        address: id(2),
        room: false,
    };
    let mut delivery = Delivery::new(target, vec![piece]);
    delivery.on_encoded = Some(Arc::new(move |_, piece| {
        if takes {
            *store.lock().expect("no panic") = piece;
        }
        Box::pin(std::future::ready(takes))
    }));
    let attempt = service.deliver(pool, &delivery).await.remove(0);
    let kept = kept.lock().expect("no panic").clone();
    (attempt, kept)
}

#[tokio::test]
async fn the_queue_keeps_the_sealed_bytes_and_the_receipts() {
    let swarm = FakeSwarm::start(7);
    let folder = tempfile::tempdir().expect("a folder");
    let service = parse(&url(&swarm, &id(2), "&mode=direct")).expect("a good URL");
    let pool = || ConnectionPool::new(connections(Some(folder.path())), ackpost_notify::Asset::default());
    let piece: Encoded =
        serde_json::from_str(r#"{"kind":"sessiondm","text":"{\"id\":\"a-0\",\"text\":\"hello\"}"}"#)
            .expect("a piece");
    // A queue that cannot store the sealed bytes gets nothing sent.
    let (attempt, same) = deliver(&service, &pool(), piece.clone(), false).await;
    assert!(matches!(attempt.outcome, Outcome::Deferred { .. }));
    assert_eq!((same == piece, swarm.count("store")), (true, 0));
    // Three of seven sign, then the process ends. The next one sends the same bytes and needs one more receipt.
    swarm.add_fault(FaultPlan::new(SwarmFault::MissingPeers));
    let (attempt, kept) = deliver(&service, &pool(), piece.clone(), true).await;
    assert!(attempt.may_have_arrived);
    assert!(
        attempt
            .outcome
            .reason()
            .is_some_and(|reason| reason.ends_with("(signed by 3 of 7 nodes)")),
        "{attempt:?}"
    );
    let asked = swarm.count("store");
    let (attempt, _) = deliver(&service, &pool(), kept.clone(), true).await;
    assert!(attempt.outcome.is_delivered(), "{attempt:?}");
    assert_eq!(attempt.notes, ["signed by 4 of 7 nodes"]);
    assert_eq!(swarm.count("store"), asked + 1);
    // A repeated delivery stores nothing twice, whatever state it starts with.
    swarm.clear_faults();
    for _ in 0..3 {
        assert!(
            deliver(&service, &pool(), kept.clone(), true)
                .await
                .0
                .outcome
                .is_delivered()
        );
    }
    for node in 0..7 {
        assert!(swarm.stored_at(node, &id(2), 0).len() <= 1);
    }
    // A stored message for somebody else than its delivery is refused, and no node gets it.
    let asked = swarm.count("store");
    let other = parse(&url(&swarm, &id(3), "&mode=direct")).expect("a good URL");
    let target = Target {
        address: id(3),
        room: false,
    };
    let mut attempts = other.deliver(&pool(), &Delivery::new(target, vec![kept])).await;
    let attempt = attempts.remove(0);
    assert!(matches!(attempt.outcome, Outcome::Refused { .. }), "{attempt:?}");
    assert_eq!(
        attempt.outcome.reason(),
        Some("the stored message is for another recipient")
    );
    assert_eq!(swarm.count("store"), asked);
    // Damaged pieces are permanently refused.
    let damaged: Encoded = serde_json::from_str(r#"{"kind":"sessiondm","text":"{"}"#).expect("a piece");
    let (attempt, _) = deliver(&service, &pool(), damaged, true).await;
    assert!(matches!(attempt.outcome, Outcome::Refused { .. }));
}

#[tokio::test]
async fn the_check_names_each_step() {
    let swarm = FakeSwarm::with_swarms(&[4, 4]);
    let service = parse(&url(&swarm, &id(2), "")).expect("a good URL");
    let pool = ConnectionPool::new(connections(None), ackpost_notify::Asset::default());
    let findings = service.check(&pool).await;
    let steps: Vec<_> = findings.iter().map(|finding| finding.step).collect();
    assert_eq!(
        steps,
        [
            "account", "seeds", "nodes", "swarm", "path", "version", "clock", "self", "proof"
        ]
    );
    for finding in &findings {
        // The label is a warning until the network was proven.
        let warned = finding
            .result
            .as_ref()
            .err()
            .map(ackpost_notify::Diagnostic::is_error);
        let expected = (finding.step == "proof").then_some(false);
        assert_eq!(warned, expected, "{finding:?}");
    }
    // The recipient got nothing, and nothing is left in the own mailbox.
    for node in 0..8 {
        assert!(swarm.stored_at(node, &id(2), 0).is_empty());
        assert!(swarm.stored_at(node, &id(1), 0).is_empty());
    }
    swarm.add_fault(FaultPlan::new(SwarmFault::WrongKey).method("info"));
    let findings = service.check(&pool).await;
    let path = findings
        .iter()
        .find(|finding| finding.step == "path")
        .expect("the step");
    assert!(
        path.result
            .as_ref()
            .is_err_and(|problem| problem.cause.contains("another key")),
        "{path:?}"
    );
    swarm.clear_faults();
    // Problems that do not stop a message are warnings: a dead seed beside a good one, keys of version 2, a clock that
    // is off.
    swarm.put(&id(2), -21, b"keys");
    swarm.set_clock_offset_ms(60_000);
    let gone = FakeSwarm::start(1).node_seed(0);
    let network = format!("{},{gone}", swarm.node_seed(0))
        .replace('@', "%40")
        .replace(':', "%3A");
    let service = parse(&format!("sessiondm://:{SEED}@{}?network={network}", id(2))).expect("a good URL");
    let findings = service.check(&pool).await;
    for (step, expected) in [
        ("seeds", "1 of 2 seeds"),
        ("version", "version 2 of the protocol"),
        ("clock", "behind the network's"),
        ("proof", "not proven: the live network"),
    ] {
        let finding = findings
            .iter()
            .find(|finding| finding.step == step)
            .expect("the step");
        let problem = finding.result.as_ref().expect_err(step);
        assert!(!problem.is_error() && !problem.remedy.is_empty(), "{problem}");
        assert!(problem.cause.to_lowercase().contains(expected), "{problem}");
    }
    assert!(
        findings
            .iter()
            .any(|finding| finding.step == "self" && finding.result.is_ok())
    );
}

#[tokio::test]
async fn a_url_without_a_seed_sends_with_one_account_that_is_made_once() {
    let swarm = FakeSwarm::start(5);
    let folder = tempfile::tempdir().expect("a folder");
    let network = swarm.node_seed(0).replace('@', "%40").replace(':', "%3A");
    let url = format!("sessiondm://{}?network={network}&mode=direct", id(2));
    let service = parse(&url).expect("a good URL");
    assert!(!service.expose_url().contains("****") && !service.expose_url().contains(":@"));
    assert_eq!(
        parse(&service.expose_url()).expect("its own form").expose_url(),
        service.expose_url()
    );
    let senders: std::collections::BTreeSet<String> = {
        for _ in 0..2 {
            let mut notifier = Notifier::with_options(
                Options::default()
                    .with_context(context())
                    .with_connections(connections(Some(folder.path()))),
            );
            notifier.add(&url).expect("a good URL");
            let report = notifier.notify(Message::new("hello")).await;
            assert!(report.targets[0].outcome.is_delivered(), "{report:?}");
        }
        let rows = swarm.stored_at(0, &id(2), 0);
        let opened = rows
            .iter()
            .map(|row| message::open(&row.data, &reader(2)).expect("ours"));
        opened.map(|opened| opened.sender.to_string()).collect()
    };
    let account = ackpost_sessiondm::default_account(folder.path()).expect("there");
    assert_eq!(
        senders.into_iter().collect::<Vec<_>>(),
        [account.session_id().to_string()]
    );
    assert!(account.to_mnemonic().is_some(), "it can be used in an app");
    // The program's own identity comes first.
    let with_identity = context().with_identity(Some(SEED.to_owned().into()));
    let service = ServiceUrl::parse(&url, &with_identity).expect("a good URL");
    assert!(service.expose_url().contains(SEED));
    // Without a folder there is no account, and the outcome says so.
    let mut notifier = Notifier::with_options(
        Options::default()
            .with_context(context())
            .with_connections(connections(None)),
    );
    notifier.add(&url).expect("a good URL");
    let report = notifier.notify(Message::new("hello")).await;
    assert!(
        report.targets[0]
            .outcome
            .reason()
            .is_some_and(|reason| reason.contains("no state folder")),
        "{report:?}"
    );
    // A damaged file is not replaced: the account may be known to people.
    let file = folder.path().join(ackpost_sessiondm::FOLDER).join("account");
    std::fs::write(&file, "nothing").expect("written");
    let problem = ackpost_sessiondm::default_account(folder.path()).expect_err("damaged");
    assert!(problem.cause.contains("damaged"), "{problem}");
}

#[tokio::test]
async fn files_come_with_the_first_message_and_what_is_missing_is_told_on_every_attempt() {
    let swarm = FakeSwarm::start(5);
    let (host, key) = swarm.file_server();
    let server = format!("&file_server={}%40{host}%3A80", hex::encode(key));
    let service = parse(&url(&swarm, &id(2), &server)).expect("a good URL");
    assert_eq!(
        parse(&service.expose_url()).expect("its own form").expose_url(),
        service.expose_url()
    );
    assert!(parse(&url(&swarm, &id(2), "&file_server=example.org")).is_err());
    let pool = ConnectionPool::new(connections(None), ackpost_notify::Asset::default());
    let piece: Encoded =
        serde_json::from_str(r#"{"kind":"sessiondm","text":"{\"id\":\"a-0\",\"text\":\"hello\"}"}"#)
            .expect("a piece");
    let file = |name: &str| ackpost_notify::File {
        name: name.to_owned(),
        media_type: "text/plain".to_owned(),
        bytes: vec![7; 5000].into(),
    };
    let kept = Arc::new(Mutex::new(piece.clone()));
    let attempt = async |piece: Encoded| {
        let store = Arc::clone(&kept);
        let target = Target {
            address: id(2),
            room: false,
        };
        let mut delivery = Delivery::new(target, vec![piece]);
        delivery.files = vec![file("one.txt"), file("two.txt")].into();
        delivery.on_encoded = Some(Arc::new(move |_, piece| {
            *store.lock().expect("no panic") = piece;
            Box::pin(std::future::ready(true))
        }));
        service.deliver(&pool, &delivery).await.remove(0).outcome
    };
    assert!(attempt(piece.clone()).await.is_delivered());
    assert_eq!(swarm.files(), 2);
    let attachments = |row: &ackpost_testkit::StoredRow| {
        let opened = message::open(&row.data, &reader(2)).expect("ours");
        opened.content.data_message.expect("a message").attachments
    };
    let rows = swarm.stored_at(0, &id(2), 0);
    let names: Vec<_> = attachments(&rows[0])
        .into_iter()
        .filter_map(|file| file.file_name)
        .collect();
    assert_eq!(names, ["one.txt", "two.txt"]);
    // The server takes one file alone, and then the swarm does not sign: the next attempt still knows what is missing.
    swarm.add_fault(FaultPlan::new(SwarmFault::NodeBusy).method("file").times(1));
    swarm.add_fault(FaultPlan::new(SwarmFault::ForgedSignature).times(3));
    assert!(matches!(attempt(piece).await, Outcome::Deferred { .. }));
    let again = kept.lock().expect("no panic").clone();
    let outcome = attempt(again).await;
    assert!(matches!(outcome, Outcome::Partial { .. }), "{outcome:?}");
    assert!(
        outcome
            .reason()
            .is_some_and(|reason| reason.contains("`one.txt`: the file server")),
        "{outcome:?}"
    );
    assert_eq!(swarm.files(), 3, "nothing is left there twice");
    assert_eq!(attachments(&swarm.stored_at(0, &id(2), 0)[1]).len(), 1);
}

/// One account that sends over two networks: a reader of answers gets the messages of its own network alone.
#[tokio::test]
async fn what_was_sent_is_told_to_the_reader_of_the_same_network() {
    let swarms = [FakeSwarm::start(5), FakeSwarm::start(5)];
    let folder = tempfile::tempdir().expect("a folder");
    let options = connections(Some(folder.path()));
    let pool = ConnectionPool::new(options.clone(), ackpost_notify::Asset::default());
    let seed = "ee".repeat(32);
    let services = swarms
        .each_ref()
        .map(|swarm| parse(&url(swarm, &id(2), "&mode=direct").replace(SEED, &seed)).expect("a good URL"));
    let mut sent = Vec::new();
    for (service, text) in services.iter().zip(["first", "second"]) {
        let piece = format!(r#"{{"kind":"sessiondm","text":"{{\"id\":\"a-0\",\"text\":\"{text}\"}}"}}"#);
        let piece: Encoded = serde_json::from_str(&piece).expect("a piece");
        let (attempt, _) = deliver(service, &pool, piece, true).await;
        let Outcome::Delivered { id: Some(id), .. } = attempt.outcome else {
            panic!("{attempt:?}");
        };
        sent.push(id);
    }
    for (service, id) in services.iter().zip(&sent).rev() {
        let account = Account::of(service, &options)
            .expect("of this service")
            .expect("an account");
        let ids: Vec<String> = take_sent(&account).into_iter().map(|one| one.id).collect();
        assert_eq!(ids, std::slice::from_ref(id));
        assert!(take_sent(&account).is_empty(), "taken once");
    }
}
