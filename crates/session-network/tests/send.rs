//! Sending over a network on loopback: what arrives, how many exchanges it takes, and what is kept.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use ackpost_testkit::{FakeSwarm, SwarmFault};
use session_network::{
    Cause, Cipher, Disappearing, Draft, FolderStorage, Mode, Network, PreparedMessage, Seed, Sender,
};
use session_protocol::network::message;
use support::{account, account_at, bot, builder, fault, network};

#[tokio::test]
async fn a_text_is_stored_by_every_node_of_the_swarm_in_both_modes_and_ciphers() {
    let swarm = FakeSwarm::with_swarms(&[5, 4, 3]);
    for (n, (mode, cipher)) in [
        (Mode::Direct, Cipher::AesGcm),
        (Mode::Onion, Cipher::AesGcm),
        (Mode::Onion, Cipher::XChaCha20),
    ]
    .into_iter()
    .enumerate()
    {
        let network = builder(&swarm).mode(mode).cipher(cipher).build().expect("built");
        for node in [0, 5, 9] {
            let reader = account_at(&swarm, node);
            let (id, members) = (
                reader.session_id(),
                swarm.swarm_of(&reader.session_id().to_string()),
            );
            let deliveries = network
                .send_text(&bot(), &id, "disk is full")
                .await
                .expect("stored");
            assert_eq!(deliveries.len(), 1);
            assert_eq!(
                (deliveries[0].signed, deliveries[0].swarm),
                (members.len(), members.len())
            );
            assert_eq!(
                deliveries[0].to_string(),
                format!("stored, signed by {0} of {0} nodes", members.len())
            );
            for member in members {
                let rows = swarm.stored_at(member, &id.to_string(), 0);
                assert_eq!(rows.len(), n + 1);
                let opened = message::open(&rows[n].data, &reader).expect("ours");
                assert_eq!(opened.sender, bot().id());
                assert_eq!(opened.content.body(), Some("disk is full"));
                assert_eq!(opened.content.display_name(), Some("Backup"));
                assert_eq!(rows[n].timestamp_ms, opened.timestamp_ms);
            }
        }
    }
    for call in swarm.calls() {
        assert!(call.sealed);
        assert!(call.hops == 0 || call.hops == 3, "three hops or none");
    }
}

#[tokio::test]
async fn a_send_takes_one_exchange_once_the_list_is_known() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let folder = tempfile::tempdir().expect("a folder");
    let reader = account(9).session_id();
    for mode in [Mode::Direct, Mode::Onion] {
        let folder = folder.path().join(format!("{mode:?}"));
        let run = || {
            builder(&swarm)
                .mode(mode)
                .storage(FolderStorage::new(&folder))
                .build()
                .expect("built")
        };
        let before = swarm.exchanges();
        let first = run().send_text(&bot(), &reader, "one").await.expect("stored");
        assert_eq!(swarm.exchanges() - before, 2, "{mode:?}: the list, the message");
        assert_eq!(first[0].calls, 1);
        // Another run, as of another process.
        let before = swarm.exchanges();
        let network = run();
        let _ = network.send_text(&bot(), &reader, "two").await.expect("stored");
        assert_eq!(swarm.exchanges() - before, 1, "{mode:?}: the message");
        let _ = network.send_text(&bot(), &reader, "three").await.expect("stored");
        assert_eq!(swarm.exchanges() - before, 2);
    }
    assert_eq!(swarm.count("info"), 0, "the time comes with other answers");
}

#[tokio::test]
async fn the_bytes_of_a_message_are_stored_once_however_often_they_are_sent() {
    let swarm = FakeSwarm::start(5);
    let network = network(&swarm, Mode::Direct);
    let reader = account(9);
    let id = reader.session_id();
    let prepared = network
        .prepare(&bot(), &id, &Draft::text("once"))
        .await
        .expect("made");
    let kept = prepared[0].to_bytes();
    for _ in 0..4 {
        let mut message = PreparedMessage::from_bytes(&kept).expect("kept");
        let delivery = network.send(&mut message).await.expect("stored");
        assert_eq!((delivery.hash, delivery.signed), (prepared[0].hash(), 5));
        // With its receipts it needs no call any more.
        let mut again = PreparedMessage::from_bytes(&message.to_bytes()).expect("kept");
        assert_eq!((again.hash(), again.receipts().len()), (message.hash(), 5));
        let delivery = network.send(&mut again).await.expect("known");
        assert_eq!((delivery.signed, delivery.calls), (5, 0));
    }
    for node in 0..5 {
        assert_eq!(swarm.stored_at(node, &id.to_string(), 0).len(), 1);
    }
}

#[tokio::test]
async fn receipts_of_several_attempts_add_up() {
    let swarm = FakeSwarm::start(7);
    let network = network(&swarm, Mode::Direct);
    let id = account(9).session_id();
    let mut message = network
        .prepare(&bot(), &id, &Draft::text("bit by bit"))
        .await
        .expect("made")
        .remove(0);
    // Each answer has the receipt of the answering node alone; three nodes are asked, four are a majority.
    swarm.add_fault(fault(SwarmFault::MissingPeers));
    let error = network.send(&mut message).await.expect_err("too few");
    assert_eq!(error.stored(), Some((3, 7)));
    assert!(matches!(error.cause(), Cause::TooFewReceipts { .. }) && !error.is_permanent());
    assert!(error.to_string().ends_with("(signed by 3 of 7 nodes)"), "{error}");
    let mut resumed = PreparedMessage::from_bytes(&message.to_bytes()).expect("kept");
    let delivery = network.send(&mut resumed).await.expect("a fourth node signs");
    assert_eq!((delivery.signed, delivery.swarm, delivery.calls), (4, 7, 1));
}

#[tokio::test]
async fn kept_receipts_are_verified_anew_and_strangers_do_not_count() {
    let swarm = FakeSwarm::start(3);
    let network = network(&swarm, Mode::Direct);
    let id = account(9).session_id();
    let mut message = network
        .prepare(&bot(), &id, &Draft::text("proof"))
        .await
        .expect("made")
        .remove(0);
    let unsigned = message.to_bytes();
    let _ = network.send(&mut message).await.expect("stored");
    let signed = message.to_bytes();
    let first = 4 + 33 + 8 + 8 + 2;
    // One bit of each receipt: none is left, so that the next send has to earn them.
    let mut forged = signed.clone();
    for receipt in 0..3 {
        forged[first + receipt * 96 + 40] ^= 1;
    }
    let mut message = PreparedMessage::from_bytes(&forged).expect("readable");
    assert!(message.receipts().is_empty());
    assert_eq!(network.send(&mut message).await.expect("stored").calls, 1);
    // Valid receipts of nodes of another network are worth nothing here.
    let other = FakeSwarm::with_swarms(&[3, 1]);
    let mut foreign = PreparedMessage::from_bytes(&signed).expect("readable");
    let seeds = [other.node_seed(3).parse::<Seed>().expect("a seed")];
    let elsewhere = Network::builder()
        .seeds(seeds)
        .use_proxies(false)
        .mode(Mode::Direct)
        .build()
        .expect("built");
    let members = other.swarm_of(&id.to_string());
    assert!((0..3).all(|node| (0..other.len()).all(|theirs| swarm.node_key(node) != other.node_key(theirs))));
    let delivery = elsewhere.send(&mut foreign).await.expect("stored there");
    assert_eq!(
        (delivery.signed, delivery.swarm, delivery.calls),
        (members.len(), members.len(), 1),
        "the receipts are earned there"
    );
    for member in members {
        assert_eq!(other.stored_at(member, &id.to_string(), 0).len(), 1);
    }
    for cut in 0..unsigned.len() - message_len(&unsigned) {
        assert!(PreparedMessage::from_bytes(&unsigned[..cut]).is_err(), "{cut}");
    }
}

/// The length of the sealed bytes behind the head of a kept message without receipts.
fn message_len(kept: &[u8]) -> usize {
    kept.len() - (4 + 33 + 8 + 8 + 2)
}

#[tokio::test]
async fn long_texts_become_messages_with_times_of_their_own() {
    let swarm = FakeSwarm::start(3);
    let network = network(&swarm, Mode::Direct);
    let reader = account(9);
    let text = "A line of the report, with 40 letters..\n".repeat(210);
    let sent = network
        .send_text(&bot(), &reader.session_id(), &text)
        .await
        .expect("stored");
    assert_eq!(sent.len(), 5);
    let rows = swarm.stored_at(0, &reader.session_id().to_string(), 0);
    let opened: Vec<_> = rows
        .iter()
        .map(|row| message::open(&row.data, &reader).expect("ours"))
        .collect();
    let times: HashSet<_> = opened.iter().map(|message| message.timestamp_ms).collect();
    assert_eq!(times.len(), 5);
    assert!(opened.is_sorted_by_key(|message| message.timestamp_ms));
    let joined: Vec<_> = opened
        .iter()
        .filter_map(|message| message.content.body())
        .collect();
    assert!(joined.join("\n") == text, "the pieces are not the text");
}

#[tokio::test]
async fn expiry_and_time_to_live_reach_the_node_and_the_reader() {
    let swarm = FakeSwarm::start(3);
    let network = network(&swarm, Mode::Direct);
    let reader = account(9);
    let id = reader.session_id();
    let draft = Draft::text("soon gone").disappearing(Disappearing::AfterSent(Duration::from_secs(3600)));
    for mut message in network.prepare(&bot(), &id, &draft).await.expect("made") {
        let _ = network.send(&mut message).await.expect("stored");
    }
    let row = swarm.stored_at(1, &id.to_string(), 0).remove(0);
    assert_eq!(row.expiry_ms - row.timestamp_ms, 3_600_000);
    let content = message::open(&row.data, &reader).expect("ours").content;
    assert_eq!(
        (content.expiration_type, content.expiration_timer_secs),
        (Some(2), Some(3600))
    );
    for bad in [
        Draft::text("x").ttl(Duration::from_secs(9)),
        Draft::text("x").ttl(Duration::from_hours(15 * 24)),
        Draft::text("x").disappearing(Disappearing::AfterRead(Duration::ZERO)),
    ] {
        let error = network
            .prepare(&bot(), &id, &bad)
            .await
            .expect_err("outside the limits");
        assert!(error.is_permanent());
    }
    assert!(Sender::new(account(1), "").is_err() && Sender::new(account(1), &"é".repeat(51)).is_err());
    let blinded = format!("15{}", &id.to_string()[2..]).parse().expect("an id");
    let error = network
        .send_text(&bot(), &blinded, "x")
        .await
        .expect_err("no mailbox");
    assert!(
        error.is_permanent() && error.remedy().contains("starts with 05")
            || error.remedy().contains("start with 05")
    );
}

#[test]
fn nothing_secret_is_printed() {
    let swarm = FakeSwarm::start(1);
    let network = network(&swarm, Mode::Direct);
    let draft = Draft::text("a secret text");
    let mailbox = network.mailbox(account(1));
    let shown = format!("{network:?} {:?} {draft:?} {mailbox:?}", bot());
    let seed = "01".repeat(32);
    assert!(
        !shown.contains(&seed) && !shown.contains("1, 1, 1") && !shown.contains("secret"),
        "{shown}"
    );
}
