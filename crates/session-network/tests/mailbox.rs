//! Reading a mailbox on loopback.

mod support;

use std::task::Poll;
use std::time::Duration;

use ackpost_testkit::{FakeSwarm, SwarmFault};
use session_network::{
    Cause, Disappearing, Draft, Event, FolderStorage, IncomingMessage, Mailbox, MessageError, Mode, Network,
    Sender,
};
use session_protocol::content::DataMessage;
use session_protocol::network::content::DirectContent;
use session_protocol::network::message;
use support::{Hands, account, bot, builder, fault, network, recent};

async fn texts(mailbox: &mut Mailbox) -> Vec<String> {
    let polled = mailbox.poll().await.expect("an answer");
    polled
        .events
        .iter()
        .filter_map(|event| text(event)?.text.clone())
        .collect()
}

fn text(event: &Event) -> Option<&IncomingMessage> {
    match event {
        Event::Message(message) => Some(message),
        _ => None,
    }
}

#[tokio::test]
async fn messages_arrive_once_in_both_modes_and_after_a_restart() {
    for mode in [Mode::Direct, Mode::Onion] {
        let swarm = FakeSwarm::with_swarms(&[5, 5]);
        let folder = tempfile::tempdir().expect("a folder");
        let run = || {
            builder(&swarm)
                .mode(mode)
                .storage(FolderStorage::new(folder.path()))
                .build()
                .expect("built")
        };
        let (network, reader) = (run(), account(9));
        let mut mailbox = network.mailbox(reader.clone());
        assert!(texts(&mut mailbox).await.is_empty());
        for word in ["one", "two"] {
            let _ = network
                .send_text(&bot(), &mailbox.owner(), word)
                .await
                .expect("stored");
        }
        let polled = mailbox.poll().await.expect("an answer");
        let first = text(&polled.events[0]).expect("a message");
        assert_eq!(first.from, bot().id());
        assert_eq!(
            (first.name.as_deref(), first.text.as_deref()),
            (Some("Backup"), Some("one"))
        );
        assert_eq!(
            (polled.events.len(), polled.known, polled.dropped, polled.more),
            (2, 0, 0, false)
        );
        // Not saved: another run gets them again. Saved: it does not, whichever node it asks.
        drop(mailbox);
        let mut mailbox = run().mailbox(reader.clone());
        assert_eq!(texts(&mut mailbox).await, ["one", "two"]);
        mailbox.save().await.expect("saved");
        let owner = mailbox.owner();
        drop(mailbox);
        for _ in 0..6 {
            let mut again = run().mailbox(reader.clone());
            assert!(texts(&mut again).await.is_empty());
        }
        let _ = network.send_text(&bot(), &owner, "three").await.expect("stored");
        let mut again = run().mailbox(reader.clone());
        assert_eq!(texts(&mut again).await, ["three"]);
    }
}

#[tokio::test]
async fn events_that_were_not_handled_come_again_and_others_do_not() {
    let swarm = FakeSwarm::start(5);
    let folder = tempfile::tempdir().expect("a folder");
    let run = || {
        builder(&swarm)
            .mode(Mode::Direct)
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built")
    };
    let open = |reader| run().mailbox_of_reader(account(9), reader);
    for n in 0..400 {
        let content = DirectContent {
            data_message: Some(DataMessage {
                body: Some(format!("{n}")),
                ..DataMessage::default()
            }),
            sig_timestamp: Some(recent(n)),
            ..DirectContent::default()
        };
        put(&swarm, 3, 9, &content);
    }
    let numbers = |range: core::ops::Range<usize>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    // One by one, past the point at which the journal is folded into the state.
    let mut mailbox = open("bot");
    assert_eq!(texts(&mut mailbox).await, numbers(0..400));
    for _ in 0..200 {
        mailbox.handled(1).await.expect("kept");
    }
    drop(mailbox);
    let mut mailbox = open("bot");
    assert_eq!(texts(&mut mailbox).await, numbers(200..400));
    mailbox.handled(50).await.expect("kept");
    // Events that arrived before the next poll are still open.
    let _ = run()
        .send_text(&bot(), &account(9).session_id(), "new")
        .await
        .expect("stored");
    assert_eq!(texts(&mut mailbox).await, ["new"]);
    mailbox.handled(100).await.expect("kept");
    drop(mailbox);
    let mut mailbox = open("bot");
    let left = texts(&mut mailbox).await;
    assert_eq!((left.len(), left.last().map(String::as_str)), (51, Some("new")));
    mailbox.save().await.expect("kept");
    drop(mailbox);
    assert!(texts(&mut open("bot")).await.is_empty());
    // Another reader has its own position.
    assert_eq!(texts(&mut open("other")).await.len(), 401);
}

#[tokio::test]
async fn a_node_that_fails_or_hides_messages_is_replaced() {
    let swarm = FakeSwarm::start(5);
    let network = network(&swarm, Mode::Direct);
    let mut mailbox = network.mailbox(account(9));
    for kind in [
        SwarmFault::Dropped,
        SwarmFault::WrongKey,
        SwarmFault::NodeBusy,
        SwarmFault::RefusedSignature,
    ] {
        let _ = network
            .send_text(&bot(), &mailbox.owner(), "x")
            .await
            .expect("stored");
        swarm.add_fault(fault(kind).method("retrieve").times(1));
        assert_eq!(texts(&mut mailbox).await, ["x"], "{kind:?}");
    }
    // One node says that there is nothing. The others do not, and none is asked for ever.
    let _ = network
        .send_text(&bot(), &mailbox.owner(), "hidden")
        .await
        .expect("stored");
    for node in 0..5 {
        if swarm
            .calls()
            .iter()
            .rev()
            .find(|call| call.method == "retrieve")
            .map(|call| call.node)
            == Some(node)
        {
            swarm.add_fault(fault(SwarmFault::Forgetful).on(node));
        }
    }
    let mut polls = 0;
    while texts(&mut mailbox).await.is_empty() {
        polls += 1;
        assert!(polls < 200, "the message stays hidden");
    }
    // Permanently wrong.
    swarm.add_fault(fault(SwarmFault::RefusedSignature).method("retrieve"));
    let error = mailbox.poll().await.expect_err("refused");
    assert!(
        matches!(error.cause(), Cause::Refused { status: 401, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn bytes_that_are_not_ours_are_dropped_or_named() {
    let swarm = FakeSwarm::start(3);
    let network = network(&swarm, Mode::Direct);
    let reader = account(9);
    let id = reader.session_id().to_string();
    let mut mailbox = network.mailbox(reader.clone());
    let sealed_to_other = message::seal(
        &DirectContent {
            sig_timestamp: Some(recent(5)),
            ..DirectContent::default()
        },
        &account(1),
        &account(2).session_id(),
        &mut rand_core::UnwrapErr(getrandom::SysRng),
    )
    .expect("sealed");
    swarm.put(&id, 0, &sealed_to_other);
    swarm.put(&id, 0, &[0, 2, 1, 1, 1]);
    swarm.put(&id, 0, b"nothing that anybody reads");
    let _ = network
        .send_text(&bot(), &mailbox.owner(), "good")
        .await
        .expect("stored");
    let polled = mailbox.poll().await.expect("an answer");
    let reasons: Vec<_> = polled
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Unreadable { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons[0], &MessageError::Decryption);
    assert_eq!(reasons[1], &MessageError::ProtocolV2);
    assert!(matches!(reasons[2], MessageError::Malformed(_)));
    assert_eq!(polled.events.iter().filter_map(text).count(), 1);
    // Bytes that were changed on the node are not even looked at.
    swarm.add_fault(fault(SwarmFault::ChangedData));
    drop(mailbox);
    let mut other = network.mailbox(reader);
    let polled = other.poll().await.expect("an answer");
    assert_eq!((polled.events.len(), polled.dropped), (0, 4));
}

/// Seals content from an account and puts it into a mailbox.
fn put(swarm: &FakeSwarm, from: u8, to: u8, content: &DirectContent) {
    let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
    let sealed = message::seal(content, &account(from), &account(to).session_id(), rng).expect("sealed");
    swarm.put(&account(to).session_id().to_string(), 0, &sealed);
}

#[tokio::test]
async fn messages_that_a_node_gives_again_are_never_new() {
    let swarm = FakeSwarm::start(5);
    let (folder, hands) = (tempfile::tempdir().expect("a folder"), Hands::default());
    let run = || {
        builder(&swarm)
            .mode(Mode::Direct)
            .clock(hands.clock())
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built")
    };
    let mut mailbox = run().mailbox(account(9));
    let _ = run()
        .send_text(&bot(), &mailbox.owner(), "restart")
        .await
        .expect("stored");
    swarm.add_fault(fault(SwarmFault::Replays));
    assert_eq!(texts(&mut mailbox).await, ["restart"]);
    mailbox.save().await.expect("kept");
    // Past the time for which nodes keep a message, and past the one for which this program remembers it.
    let (mut days, mut replays) = (0, 0);
    for later in [0, 1, 7, 6, 2, 30] {
        days += later;
        hands.forward(Duration::from_hours(later * 24));
        swarm.set_clock_offset_ms(i64::try_from(days * 24 * 3_600_000).expect("short"));
        for _ in 0..3 {
            let polled = mailbox.poll().await.expect("an answer");
            assert!(
                polled.events.iter().all(|event| text(event).is_none()),
                "after {days} days"
            );
            for event in &polled.events {
                assert!(
                    matches!(
                        event,
                        Event::Unreadable {
                            reason: MessageError::TooOld,
                            ..
                        }
                    ),
                    "{event:?}"
                );
                replays += 1;
            }
            mailbox.save().await.expect("kept");
            drop(mailbox);
            mailbox = run().mailbox(account(9));
        }
    }
    assert_eq!(replays, 1, "reported once");
}

#[tokio::test]
async fn requests_timers_and_copies_are_events_of_their_own() {
    let swarm = FakeSwarm::start(3);
    let network = network(&swarm, Mode::Direct);
    let mut mailbox = network.mailbox(account(9));
    let id = mailbox.owner();
    let alice = Sender::new(account(3), "Alice").expect("a good name");
    for draft in [
        Draft::accept_request(),
        Draft::text("soon gone").disappearing(Disappearing::AfterRead(Duration::from_secs(60))),
    ] {
        for mut message in network.prepare(&alice, &id, &draft).await.expect("made") {
            let _ = network.send(&mut message).await.expect("stored");
        }
    }
    let data = |change: fn(&mut DataMessage)| {
        let mut data = DataMessage::default();
        change(&mut data);
        data
    };
    put(
        &swarm,
        3,
        9,
        &DirectContent {
            data_message: Some(data(|data| data.flags = Some(2))),
            expiration_type: Some(2),
            expiration_timer_secs: Some(3600),
            sig_timestamp: Some(recent(11)),
            ..DirectContent::default()
        },
    );
    let other = account(4).session_id().to_string();
    for from in [9, 3] {
        let mut copy = data(|data| data.body = Some("copy".to_owned()));
        copy.sync_target = Some(other.clone());
        put(
            &swarm,
            from,
            9,
            &DirectContent {
                data_message: Some(copy),
                sig_timestamp: Some(recent(12)),
                ..DirectContent::default()
            },
        );
    }
    // The same time from the same sender is the same message, however it is sealed.
    put(
        &swarm,
        3,
        9,
        &DirectContent {
            data_message: Some(data(|data| data.body = Some("twice".to_owned()))),
            sig_timestamp: Some(recent(12)),
            ..DirectContent::default()
        },
    );
    let polled = mailbox.poll().await.expect("an answer");
    assert_eq!((polled.events.len(), polled.known), (5, 1), "{:?}", polled.events);
    assert!(
        matches!(&polled.events[0], Event::RequestAccepted { from, name, .. } if *from == alice.id() && name.as_deref() == Some("Alice"))
    );
    let message = text(&polled.events[1]).expect("a text");
    assert_eq!(
        message.disappearing,
        Some(Disappearing::AfterRead(Duration::from_secs(60)))
    );
    assert!(matches!(
        &polled.events[2],
        Event::ExpiryChanged { disappearing: Some(Disappearing::AfterSent(after)), .. } if after.as_secs() == 3600
    ));
    let (own, foreign) = (
        text(&polled.events[3]).expect("ours"),
        text(&polled.events[4]).expect("theirs"),
    );
    assert_eq!(own.sent_to.map(|id| id.to_string()), Some(other));
    assert_eq!(foreign.sent_to, None, "nobody else can name a recipient");
}

#[tokio::test]
async fn a_full_mailbox_comes_in_several_answers() {
    let swarm = FakeSwarm::start(3);
    let network: Network = network(&swarm, Mode::Direct);
    let mut mailbox = network.mailbox(account(9));
    let long = "x".repeat(40_000);
    for n in 0..26 {
        put(
            &swarm,
            3,
            9,
            &DirectContent {
                data_message: Some(DataMessage {
                    body: Some(format!("{n} {long}")),
                    ..DataMessage::default()
                }),
                sig_timestamp: Some(recent(100 + n)),
                ..DirectContent::default()
            },
        );
    }
    let mut found = 0;
    loop {
        let polled = mailbox.poll().await.expect("an answer");
        found += polled.events.len();
        if !polled.more {
            break;
        }
    }
    assert_eq!(found, 26);
    assert!(swarm.count("retrieve") >= 2);
}

#[tokio::test]
async fn keys_of_version_2_are_seen_and_a_swarm_can_be_pinged() {
    for mode in [Mode::Direct, Mode::Onion] {
        let swarm = FakeSwarm::with_swarms(&[4, 4]);
        let network = network(&swarm, mode);
        let id = account(9).session_id();
        assert_eq!(network.publishes_v2_keys(&id).await, Ok(false));
        swarm.put(&id.to_string(), -21, b"keys");
        assert_eq!(network.publishes_v2_keys(&id).await, Ok(true));
        assert!(network.ping(&id).await.expect("an answer") < Duration::from_secs(20));
        swarm.add_fault(fault(SwarmFault::WrongKey).method("info"));
        assert_eq!(
            network.ping(&id).await.expect_err("nobody").cause(),
            &Cause::WrongKey
        );
    }
}

#[tokio::test]
async fn one_node_alone_does_not_make_an_account_publish_keys() {
    let swarm = FakeSwarm::start(5);
    let network = network(&swarm, Mode::Direct);
    let id = account(9).session_id();
    swarm.put(&id.to_string(), -21, b"keys that one node made up");
    for node in 1..5 {
        swarm.add_fault(fault(SwarmFault::Forgetful).on(node));
    }
    let asked = |swarm: &FakeSwarm| {
        let calls = swarm.calls();
        calls
            .iter()
            .any(|call| call.method == "retrieve" && call.node == 0)
    };
    let mut looks = 0;
    while !asked(&swarm) {
        assert_eq!(network.publishes_v2_keys(&id).await, Ok(false));
        looks += 1;
        assert!(looks < 500, "the node is never asked");
    }
    // A node that cannot be asked is not a second witness.
    swarm.clear_faults();
    for node in 1..5 {
        swarm.add_fault(fault(SwarmFault::NodeBusy).on(node).method("retrieve"));
    }
    for _ in 0..10 {
        assert_ne!(network.publishes_v2_keys(&id).await, Ok(true));
    }
}

#[tokio::test]
async fn two_readers_of_one_name_neither_lose_nor_repeat_a_message() {
    let swarm = FakeSwarm::start(5);
    let folder = tempfile::tempdir().expect("a folder");
    // Each as in a process of its own.
    let run = || {
        builder(&swarm)
            .mode(Mode::Direct)
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built")
    };
    let send = async |text: &str| {
        let _ = run()
            .send_text(&bot(), &account(9).session_id(), text)
            .await
            .expect("stored");
    };
    send("one").await;
    send("two").await;
    let (mut first, mut second) = (run().mailbox(account(9)), run().mailbox(account(9)));
    assert_eq!(texts(&mut first).await, ["one", "two"]);
    let error = second.poll().await.expect_err("the first one reads");
    assert_eq!(error.cause(), &Cause::MailboxInUse);
    assert!(!error.is_permanent());
    let error = second.handled(1).await.expect_err("the first one reads");
    assert_eq!(error.cause(), &Cause::MailboxInUse);
    // Other names, and a look at everything, are apart.
    let mut other = run().mailbox_of_reader(account(9), "other");
    assert_eq!(texts(&mut other).await.len(), 2);
    let mut look = run().mailbox_from_start(account(9));
    assert_eq!(texts(&mut look).await.len(), 2);
    first.handled(1).await.expect("kept");
    send("three").await;
    drop(first);
    assert_eq!(texts(&mut second).await, ["two", "three"]);
    let mut first = run().mailbox(account(9));
    let error = first.poll().await.expect_err("the second one reads");
    assert_eq!(error.cause(), &Cause::MailboxInUse);
}

#[tokio::test]
async fn a_poll_that_is_dropped_loses_nothing() {
    let swarm = FakeSwarm::start(1);
    let folder = tempfile::tempdir().expect("a folder");
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .storage(FolderStorage::new(folder.path()))
        .build()
        .expect("built");
    let long = "x".repeat(40_000);
    for n in 0..26 {
        let content = DirectContent {
            data_message: Some(DataMessage {
                body: Some(format!("{n} {long}")),
                ..DataMessage::default()
            }),
            sig_timestamp: Some(recent(100 + n)),
            ..DirectContent::default()
        };
        put(&swarm, 3, 9, &content);
    }
    let mut mailbox = network.mailbox(account(9));
    network.list().await.expect("a list");
    // The second answer never comes, and the caller gives up then. The client goes on when this test lets it.
    let before = swarm.exchanges();
    let mut poll = Box::pin(mailbox.poll());
    let mut go_until = async |has_come: &dyn Fn() -> bool| {
        while !has_come() {
            let ended = std::future::poll_fn(|cx| Poll::Ready(poll.as_mut().poll(cx).is_ready()));
            assert!(!ended.await, "the second answer came");
            tokio::task::yield_now().await;
        }
    };
    go_until(&|| swarm.count("retrieve") == 1).await;
    swarm.add_fault(fault(SwarmFault::Silent).method("retrieve"));
    go_until(&|| swarm.exchanges() == before + 2).await;
    drop(poll);
    swarm.clear_faults();
    let mut found = Vec::new();
    loop {
        let polled = mailbox.poll().await.expect("an answer");
        found.extend(polled.events.iter().filter_map(|event| text(event)?.text.clone()));
        mailbox.handled(polled.events.len()).await.expect("kept");
        if !polled.more {
            break;
        }
    }
    let numbers: Vec<_> = found.iter().filter_map(|text| text.split(' ').next()).collect();
    assert_eq!(numbers, (0..26).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_of_version_2_are_looked_for_once_a_day_over_all_runs() {
    let swarm = FakeSwarm::start(5);
    let (folder, hands) = (tempfile::tempdir().expect("a folder"), Hands::default());
    let run = || {
        builder(&swarm)
            .clock(hands.clock())
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built")
    };
    let passed = std::cell::Cell::new(0);
    let forward = |minutes: u32| {
        hands.forward(Duration::from_secs(60) * minutes);
        passed.set(passed.get() + i64::from(minutes) * 60_000);
        swarm.set_clock_offset_ms(passed.get());
    };
    let (id, other) = (account(9).session_id(), account(8).session_id());
    assert_eq!(run().look_for_v2_keys(&id).await, Some(false));
    assert_eq!(run().look_for_v2_keys(&id).await, None, "not again");
    assert_eq!(run().look_for_v2_keys(&other).await, Some(false));
    forward(24 * 60 + 1);
    swarm.put(&id.to_string(), -21, b"keys");
    assert_eq!(run().look_for_v2_keys(&id).await, Some(true));
    assert_eq!(run().look_for_v2_keys(&id).await, None);
    assert_eq!(swarm.count("retrieve"), 4, "two nodes must have the keys");
    // A failure is not an answer: an hour later it is tried again.
    forward(24 * 60 + 1);
    swarm.put(&id.to_string(), -21, b"newer keys");
    swarm.add_fault(fault(SwarmFault::NodeBusy).method("retrieve"));
    assert_eq!(run().look_for_v2_keys(&id).await, None);
    swarm.clear_faults();
    forward(59);
    assert_eq!(run().look_for_v2_keys(&id).await, None);
    forward(2);
    assert_eq!(run().look_for_v2_keys(&id).await, Some(true));
    // It costs at most five seconds.
    forward(24 * 60 + 1);
    run().list().await.expect("a new list");
    swarm.add_fault(fault(SwarmFault::Silent));
    let started = std::time::Instant::now();
    assert_eq!(run().look_for_v2_keys(&id).await, None);
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_message_to_oneself_proves_the_network_and_leaves_nothing_behind() {
    for mode in [Mode::Direct, Mode::Onion] {
        let swarm = FakeSwarm::with_swarms(&[5, 5]);
        let network = network(&swarm, mode);
        let (me, id) = (account(9), account(9).session_id().to_string());
        let nothing = DirectContent {
            sig_timestamp: Some(recent(5)),
            ..DirectContent::default()
        };
        put(&swarm, 3, 9, &nothing);
        let test = network.self_test(&me).await.expect("proven");
        assert_eq!(
            (test.delivery.signed, test.delivery.swarm, test.deleted),
            (5, 5, true)
        );
        for node in swarm.swarm_of(&id) {
            assert_eq!(swarm.stored_at(node, &id, 0).len(), 1, "what was there before");
        }
        // Nobody deletes it: it is not shown, and disappears after a minute.
        swarm.add_fault(fault(SwarmFault::NodeBusy).method("delete"));
        assert!(!network.self_test(&me).await.expect("proven").deleted);
        let left = swarm.stored_at(swarm.swarm_of(&id)[0], &id, 0);
        assert!(left[1].expiry_ms <= left[1].timestamp_ms + 60_000);
        let mut mailbox = network.mailbox(me.clone());
        let polled = mailbox.poll().await.expect("an answer");
        assert!(
            polled.events.iter().all(|event| text(event).is_none()),
            "{polled:?}"
        );
        // Nodes that sign and hide are named.
        swarm.add_fault(fault(SwarmFault::Forgetful));
        let error = network.self_test(&me).await.expect_err("hidden");
        assert_eq!(error.cause(), &Cause::NotFound);
    }
}

#[tokio::test]
async fn every_seed_can_be_checked() {
    let swarm = FakeSwarm::start(4);
    let seeds = [swarm.node_seed(0), swarm.tls_seed(), swarm.node_seed(1)];
    let network = builder(&swarm)
        .seeds(seeds.iter().map(|seed| seed.parse().expect("a seed")))
        .build()
        .expect("built");
    swarm.add_fault(fault(SwarmFault::EmptyList).on(1));
    let answers = network.check_seeds().await;
    let nodes: Vec<_> = answers.iter().map(|answer| answer.nodes.clone().ok()).collect();
    assert_eq!(nodes, [Some(4), Some(4), None]);
    assert!(answers[1].address.starts_with("127.0.0.1:"));
}
