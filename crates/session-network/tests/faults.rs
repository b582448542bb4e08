//! Nodes that misbehave in one exact way: what a sender makes of it, and that no wrong receipt ever counts.

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSwarm, FaultPlan, SwarmFault};
use session_network::{
    Cause, Delivery, Draft, HttpFault, Mode, Network, NetworkError, PathFault, ReceiptFault,
};
use support::{account, account_at, bot, builder, fault, network};

/// Sends one text to the mailbox of account 9, and tells how it ended.
async fn send(network: &Network) -> Result<Delivery, NetworkError> {
    let id = account(9).session_id();
    let mut messages = network.prepare(&bot(), &id, &Draft::text("hello")).await?;
    network.send(&mut messages[0]).await
}

/// A network of two swarms that knows its list already.
async fn ready(mode: Mode) -> (FakeSwarm, Network) {
    ready_within(mode, Duration::from_secs(20)).await
}

/// The same, with a limit for each call.
async fn ready_within(mode: Mode, limit: Duration) -> (FakeSwarm, Network) {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let network = builder(&swarm)
        .mode(mode)
        .call_timeout(limit)
        .build()
        .expect("built");
    network.list().await.expect("a list");
    (swarm, network)
}

fn why(error: &NetworkError) -> Option<ReceiptFault> {
    match error.cause() {
        Cause::TooFewReceipts { why } => *why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn peers_that_hang_or_fail_cost_nothing_below_a_majority() {
    for (kind, expected) in [
        (SwarmFault::HangingPeers, ReceiptFault::TimedOut),
        (SwarmFault::FailedPeers, ReceiptFault::Failed),
        (SwarmFault::MissingPeers, ReceiptFault::Missing),
    ] {
        let (swarm, network) = ready(Mode::Direct).await;
        swarm.add_fault(fault(kind).peers(2));
        let delivery = send(&network).await.expect("three of five are a majority");
        assert_eq!(
            (delivery.signed, delivery.swarm, delivery.calls),
            (3, 5, 1),
            "{kind:?}"
        );
        assert_eq!(delivery.faults.len(), 2);
        assert!(
            delivery.faults.iter().all(|(_, fault)| *fault == expected),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn peers_that_all_fail_leave_one_receipt_for_each_node_that_is_asked() {
    for (kind, expected) in [
        (SwarmFault::HangingPeers, ReceiptFault::TimedOut),
        (SwarmFault::FailedPeers, ReceiptFault::Failed),
        (SwarmFault::MissingPeers, ReceiptFault::Missing),
    ] {
        let swarm = FakeSwarm::start(9);
        let network = network(&swarm, Mode::Direct);
        swarm.add_fault(fault(kind));
        let error = send(&network).await.expect_err("three of nine");
        assert_eq!(error.stored(), Some((3, 9)), "{kind:?}");
        assert_eq!(why(&error), Some(expected));
        assert!(!error.is_permanent() && error.retry_after().is_some());
    }
}

#[tokio::test]
async fn a_swarm_that_hangs_for_five_seconds_is_waited_for() {
    let swarm = FakeSwarm::start(5);
    let network = network(&swarm, Mode::Onion);
    swarm.add_fault(FaultPlan::new(SwarmFault::HangingPeers).peers(2));
    let started = Instant::now();
    let delivery = send(&network).await.expect("three of five");
    assert!(started.elapsed() >= Duration::from_secs(5));
    assert_eq!((delivery.signed, delivery.swarm), (3, 5));
}

#[tokio::test]
async fn no_wrong_receipt_ever_counts() {
    for (kind, expected) in [
        (SwarmFault::WrongHash, ReceiptFault::OtherHash),
        (SwarmFault::ForgedSignature, ReceiptFault::BadSignature),
        (SwarmFault::ForeignSigner, ReceiptFault::Stranger),
    ] {
        for mode in [Mode::Direct, Mode::Onion] {
            let (swarm, network) = ready(mode).await;
            swarm.add_fault(fault(kind));
            let error = send(&network).await.expect_err("not one true receipt");
            assert_eq!(error.stored(), Some((0, 5)), "{kind:?}");
            assert_eq!(why(&error), Some(expected));
            // Two true ones among five are not a majority either.
            swarm.clear_faults();
            swarm.add_fault(fault(kind).peers(4).times(1));
            swarm.add_fault(fault(kind));
            let error = send(&network).await.expect_err("one of five");
            assert_eq!(error.stored(), Some((1, 5)), "{kind:?}");
            // A node that answers truly mends it.
            swarm.clear_faults();
            swarm.add_fault(fault(kind).times(1));
            let delivery = send(&network).await.expect("another node");
            assert_eq!((delivery.signed, delivery.calls), (5, 2), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_receipt_that_is_repeated_in_other_spellings_counts_once() {
    let swarm = FakeSwarm::start(7);
    let network = network(&swarm, Mode::Direct);
    swarm.add_fault(fault(SwarmFault::RepeatedReceipt));
    let error = send(&network).await.expect_err("three of seven");
    assert_eq!(error.stored(), Some((3, 7)), "one for each node that was asked");
}

#[tokio::test]
async fn a_swarm_of_unknown_nodes_is_believed_if_two_other_nodes_name_it_too() {
    // The list lacks the swarm of the mailbox, so that the wrong one is asked first.
    for mode in [Mode::Direct, Mode::Onion] {
        let swarm = FakeSwarm::with_swarms(&[5, 5, 5]);
        let reader = account_at(&swarm, 0).session_id();
        swarm.hide_swarm_of(&reader.to_string());
        let seeds = [swarm.node_seed(7).parse().expect("a seed")];
        let network = builder(&swarm).seeds(seeds).mode(mode).build().expect("built");
        let sent = network.send_text(&bot(), &reader, "moved").await.expect("stored");
        assert_eq!((sent[0].signed, sent[0].swarm), (5, 5));
        assert_eq!(
            sent[0].calls, 4,
            "the wrong swarm, two other opinions, the right swarm"
        );
        // The correction is remembered.
        let sent = network.send_text(&bot(), &reader, "again").await.expect("stored");
        assert_eq!(sent[0].calls, 1);
    }
}

#[tokio::test]
async fn nodes_that_send_us_in_circles_end_the_attempt() {
    for kind in [SwarmFault::OtherSwarm, SwarmFault::InventedSwarm] {
        let (swarm, network) = ready(Mode::Direct).await;
        swarm.add_fault(fault(kind));
        let error = send(&network).await.expect_err("a loop");
        assert_eq!(error.cause(), &Cause::SwarmUnsettled, "{kind:?}");
        assert_eq!(error.stored(), Some((0, 5)));
        assert!(swarm.count("store") <= 4, "{} store calls", swarm.count("store"));
        assert!(!error.is_permanent());
        // One such node alone is passed over.
        swarm.clear_faults();
        swarm.add_fault(fault(kind).times(1));
        assert_eq!(send(&network).await.expect("another node").signed, 5);
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_here_is_corrected_once() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    // A server with a certificate tells no time.
    let network = builder(&swarm)
        .seeds([swarm.tls_seed().parse().expect("a seed")])
        .mode(Mode::Direct)
        .build()
        .expect("built");
    network.list().await.expect("a list");
    assert_eq!(network.clock_offset_ms(), None);
    // The nodes are an hour behind: what we send is in their future.
    swarm.set_clock_offset_ms(-3_600_000);
    let delivery = send(&network).await.expect("after asking for the time");
    assert_eq!((delivery.signed, delivery.calls), (5, 2));
    assert_eq!(swarm.count("info"), 3);
    let offset = network.clock_offset_ms().expect("known");
    assert!((offset + 3_600_000).abs() < 2000, "{offset}");
    assert_eq!(send(&network).await.expect("known now").calls, 1);
}

#[tokio::test]
async fn nodes_that_always_refuse_the_time_are_named() {
    let (swarm, network) = ready(Mode::Direct).await;
    swarm.add_fault(fault(SwarmFault::WrongClock));
    let error = send(&network).await.expect_err("refused");
    assert_eq!(error.cause(), &Cause::WrongClock);
    assert_eq!(swarm.count("info"), 3, "the time is asked for once");
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn a_known_time_is_kept_while_no_node_tells_it() {
    for mode in [Mode::Direct, Mode::Onion] {
        let (swarm, network) = ready(mode).await;
        let before = network.clock_offset_ms().expect("the seed told it");
        // A node that refuses every time could otherwise make this program forget what others told.
        swarm.add_fault(fault(SwarmFault::WrongClock).method("store"));
        swarm.add_fault(fault(SwarmFault::Dropped).method("info"));
        let error = send(&network).await.expect_err("refused");
        assert_eq!(error.cause(), &Cause::WrongClock);
        assert_eq!(network.clock_offset_ms(), Some(before));
    }
}

/// Other calls go on while the time is asked for, also on a machine whose own clock cannot be right.
#[tokio::test]
async fn a_known_time_holds_while_the_nodes_are_asked_for_it() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(std::sync::Arc::new(|| Duration::from_secs(5)))
        .call_timeout(Duration::from_secs(2))
        .build()
        .expect("built");
    network.list().await.expect("a list");
    network.network_ms().expect("the seed told it");
    swarm.add_fault(fault(SwarmFault::WrongClock).method("store"));
    swarm.add_fault(fault(SwarmFault::Silent).method("info"));
    let before = swarm.exchanges();
    let sending = tokio::spawn({
        let network = network.clone();
        async move { send(&network).await }
    });
    while !sending.is_finished() {
        network.network_ms().expect("known");
        tokio::task::yield_now().await;
    }
    // A node counts no call that it does not answer.
    let asked = swarm.exchanges() - before - swarm.count("store") as u64;
    assert_eq!(asked, 3, "the time was asked for");
    let error = sending.await.expect("no panic").expect_err("refused");
    assert_eq!(error.cause(), &Cause::WrongClock);
}

#[tokio::test]
async fn a_hop_that_does_not_find_the_next_node_is_left_out() {
    let (swarm, network) = ready(Mode::Onion).await;
    swarm.add_fault(fault(SwarmFault::UnknownNextNode).times(1));
    assert_eq!(send(&network).await.expect("another path").signed, 5);
    swarm.add_fault(fault(SwarmFault::UnknownNextNode));
    let error = send(&network).await.expect_err("no path works");
    assert!(
        matches!(error.cause(), Cause::Path(PathFault::NextNodeUnknown(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn paths_that_fail_are_replaced_and_told_apart() {
    for (kind, expected) in [
        (SwarmFault::InvalidCiphertext, PathFault::StaleKey),
        (SwarmFault::HopTimeout, PathFault::Failed(504)),
        (SwarmFault::HopNotReady, PathFault::Failed(503)),
        (SwarmFault::TooFast, PathFault::TooFast),
    ] {
        for mode in [Mode::Direct, Mode::Onion] {
            let (swarm, network) = ready(mode).await;
            swarm.add_fault(fault(kind).times(1));
            let delivery = send(&network)
                .await
                .unwrap_or_else(|error| panic!("{kind:?} {mode:?}: {error}"));
            assert_eq!(delivery.signed, 5);
            swarm.add_fault(fault(kind));
            let error = send(&network).await.expect_err("all fail");
            assert_eq!(error.cause(), &Cause::Path(expected), "{mode:?}");
            assert_eq!(error.stored(), Some((0, 5)));
            assert!(!error.is_permanent());
        }
    }
}

#[tokio::test]
async fn a_limited_rate_is_waited_for_and_blamed_on_nobody() {
    for mode in [Mode::Direct, Mode::Onion] {
        let (swarm, network) = ready(mode).await;
        let _ = send(&network).await.expect("the path works");
        let (before, started) = (swarm.exchanges(), Instant::now());
        swarm.add_fault(fault(SwarmFault::TooFast).times(1));
        let delivery = send(&network).await.expect("after a pause");
        assert!(started.elapsed() >= Duration::from_secs(1));
        assert_eq!(
            (delivery.signed, delivery.calls),
            (5, 1),
            "the same node is asked"
        );
        assert_eq!(swarm.exchanges(), before + 2, "{mode:?}");
    }
}

#[tokio::test]
async fn stale_keys_at_two_addresses_make_an_older_list_be_replaced() {
    for mode in [Mode::Direct, Mode::Onion] {
        let swarm = FakeSwarm::with_swarms(&[5, 5]);
        let hands = support::Hands::default();
        let network = builder(&swarm)
            .mode(mode)
            .clock(hands.clock())
            .build()
            .expect("built");
        network.list().await.expect("a list");
        let lists = || swarm.count("oxend_request");
        let stale = || swarm.add_fault(fault(SwarmFault::InvalidCiphertext).times(1));
        stale();
        assert_eq!(send(&network).await.expect("another way").signed, 5);
        assert_eq!(lists(), 1, "a young list is not given up");
        hands.forward(Duration::from_mins(11));
        swarm.set_clock_offset_ms(11 * 60_000);
        // The clock was set: nodes are asked for the time before anything is sent.
        let draft = Draft::text("later");
        let prepared = network.prepare(&bot(), &account(9).session_id(), &draft).await;
        assert_eq!((prepared.expect("made").len(), swarm.count("info")), (1, 3));
        // In onion mode the guard is asked each time, unless it is the destination. Anybody at its address can say so,
        // unsealed, and costs no list. At the second address, three nodes give another list.
        for _ in 0..if mode == Mode::Onion { 3 } else { 1 } {
            stale();
            assert_eq!(send(&network).await.expect("another way").signed, 5);
            network.list().await.expect("a list");
            let addresses: HashSet<usize> = swarm.faulty_nodes().into_iter().collect();
            assert_eq!(lists(), if addresses.len() == 1 { 1 } else { 4 }, "{addresses:?}");
            if addresses.len() > 1 {
                break;
            }
        }
        assert!(
            mode == Mode::Onion || lists() == 4,
            "without hops, another node is asked each time"
        );
    }
}

#[tokio::test]
async fn answers_that_are_not_the_nodes_are_told_apart() {
    type Expected = fn(&Cause) -> bool;
    let cases: [(SwarmFault, Expected); 6] = [
        (SwarmFault::GarbageBase64, |cause| *cause == Cause::NotSealed),
        (SwarmFault::WrongKey, |cause| *cause == Cause::WrongKey),
        (SwarmFault::NoJson, |cause| {
            matches!(cause, Cause::Unreadable { .. })
        }),
        (SwarmFault::HugeAnswer, |cause| {
            matches!(
                cause,
                Cause::Http {
                    fault: HttpFault::TooLong { .. },
                    ..
                }
            )
        }),
        (SwarmFault::Dropped, |cause| {
            matches!(
                cause,
                Cause::Http {
                    fault: HttpFault::Failed { .. },
                    ..
                }
            )
        }),
        (SwarmFault::Silent, |cause| {
            matches!(
                cause,
                Cause::Http {
                    fault: HttpFault::AnswerTimeout,
                    ..
                }
            )
        }),
    ];
    for (kind, expected) in cases {
        // Only one that stays silent has to be waited for.
        let limit = Duration::from_secs(if kind == SwarmFault::Silent { 2 } else { 20 });
        for mode in [Mode::Direct, Mode::Onion] {
            let (swarm, network) = ready_within(mode, limit).await;
            swarm.add_fault(fault(kind).method("store").times(1));
            let delivery = send(&network)
                .await
                .unwrap_or_else(|error| panic!("{kind:?} {mode:?}: {error}"));
            assert_eq!(delivery.signed, 5);
            swarm.clear_faults();
            swarm.add_fault(fault(kind).method("store"));
            let error = send(&network).await.expect_err("all fail");
            assert!(expected(error.cause()), "{kind:?} {mode:?}: {error:?}");
            assert_eq!(error.stored(), Some((0, 5)), "{kind:?}");
            assert!(!error.is_permanent());
        }
    }
}

#[tokio::test]
async fn a_refusal_counts_as_final_when_two_nodes_agree() {
    for (kind, status) in [
        (SwarmFault::RefusedTtl, 403),
        (SwarmFault::RefusedSignature, 401),
        (SwarmFault::InvalidRequest, 400),
    ] {
        let (swarm, network) = ready(Mode::Direct).await;
        swarm.add_fault(fault(kind).times(1));
        assert_eq!(send(&network).await.expect("one node alone").signed, 5);
        swarm.add_fault(fault(kind));
        let error = send(&network).await.expect_err("two nodes");
        assert!(
            matches!(error.cause(), Cause::Refused { status: refused, .. } if *refused == status),
            "{error:?}"
        );
        assert!(error.is_permanent() && error.retry_after().is_none());
        assert_eq!(error.stored(), Some((0, 5)));
    }
}

#[tokio::test]
async fn nodes_in_trouble_are_passed_over() {
    for (kind, expected) in [
        (SwarmFault::NodeBusy, Cause::NodeFailed { status: 503 }),
        (SwarmFault::SwarmFailed, Cause::SwarmFailed),
    ] {
        let (swarm, network) = ready(Mode::Direct).await;
        swarm.add_fault(fault(kind).times(1));
        assert_eq!(send(&network).await.expect("another node").signed, 5);
        swarm.add_fault(fault(kind));
        let error = send(&network).await.expect_err("all");
        assert_eq!(error.cause(), &expected);
        assert!(!error.is_permanent());
    }
}

#[tokio::test]
async fn a_message_whose_time_is_over_is_not_sent() {
    let swarm = FakeSwarm::start(3);
    let hands = support::Hands::default();
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(hands.clock())
        .build()
        .expect("built");
    // Nodes alone cannot make a message fail for ever: by the clock of this system it has not disappeared.
    let draft = Draft::text("early").ttl(Duration::from_mins(10));
    let id = account(9).session_id();
    let mut early = network.prepare(&bot(), &id, &draft).await.expect("made");
    swarm.set_clock_offset_ms(3_600_000);
    let _ = network.measure_clock_offset_ms().await.expect("the nodes agree");
    let error = network
        .send(&mut early[0])
        .await
        .expect_err("too late for the nodes");
    assert_eq!(error.cause(), &Cause::ClocksDiffer);
    assert!(!error.is_permanent() && !error.may_have_arrived());
    assert_eq!(swarm.count("store"), 0);
    let swarm = FakeSwarm::start(3);
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(hands.clock())
        .build()
        .expect("built");
    let draft = Draft::text("late").ttl(Duration::from_secs(60));
    let id = account(9).session_id();
    let mut messages = network.prepare(&bot(), &id, &draft).await.expect("made");
    hands.forward(Duration::from_secs(61));
    let error = network.send(&mut messages[0]).await.expect_err("over");
    assert_eq!(error.cause(), &Cause::Expired);
    assert!(error.is_permanent());
    assert_eq!(swarm.count("store"), 0);
}

/// The faults of the description of the network, and how each shows itself.
const DESCRIBED: [(&str, SwarmFault); 14] = [
    ("peers that hang for five seconds", SwarmFault::HangingPeers),
    ("peers that fail", SwarmFault::FailedPeers),
    ("peers left out of the answer", SwarmFault::MissingPeers),
    ("receipts for another message", SwarmFault::WrongHash),
    ("forged signatures", SwarmFault::ForgedSignature),
    ("signatures by keys outside the swarm", SwarmFault::ForeignSigner),
    ("a loop of other swarms (421)", SwarmFault::OtherSwarm),
    ("a refused time (406)", SwarmFault::WrongClock),
    ("a next node that is not found (502)", SwarmFault::UnknownNextNode),
    ("a list without swarms", SwarmFault::ListWithoutSwarms),
    ("an empty list", SwarmFault::EmptyList),
    ("an answer that is not base64", SwarmFault::GarbageBase64),
    ("an answer under a wrong key", SwarmFault::WrongKey),
    ("nodes that sign and hide", SwarmFault::Forgetful),
];

#[tokio::test]
async fn each_described_fault_has_its_own_cause_and_remedy() {
    let (mut lines, mut causes, mut remedies) = (String::new(), HashSet::new(), HashSet::new());
    for (name, kind) in DESCRIBED {
        let swarm = FakeSwarm::start(9);
        let mode = match kind {
            SwarmFault::UnknownNextNode => Mode::Onion,
            _ => Mode::Direct,
        };
        let network = network(&swarm, mode);
        let is_list = matches!(kind, SwarmFault::ListWithoutSwarms | SwarmFault::EmptyList);
        if !is_list {
            network.list().await.expect("a list");
        }
        swarm.add_fault(fault(kind));
        let error = if kind == SwarmFault::Forgetful {
            network.self_test(&account(9)).await.map(drop)
        } else {
            send(&network).await.map(drop)
        };
        let error = error.expect_err(name);
        // The address of a seed differs from run to run.
        let mut text = error.to_string();
        for node in 0..swarm.len() {
            let seed = swarm.node_seed(node);
            let (_, address) = seed.split_once('@').expect("a seed");
            text = text.replace(address, "ADDRESS");
        }
        lines += &format!("{name}\n  {text}\n  {}\n", error.remedy());
        assert!(causes.insert(text), "{name} has the cause of another fault");
        assert!(
            remedies.insert(error.remedy()),
            "{name} has the remedy of another fault"
        );
        assert!(!error.is_permanent(), "{name}");
    }
    insta::assert_snapshot!(lines);
}

#[tokio::test]
async fn a_send_takes_one_round_trip_in_both_modes() {
    let (folder, swarm) = (
        tempfile::tempdir().expect("a folder"),
        FakeSwarm::with_swarms(&[5, 5]),
    );
    for mode in [Mode::Direct, Mode::Onion] {
        for run in 0..4 {
            let network = builder(&swarm)
                .mode(mode)
                .storage(session_network::FolderStorage::new(folder.path()))
                .build()
                .expect("built");
            assert_eq!(send(&network).await.expect("stored").calls, 1);
            // The first run of all asks a seed for the list.
            let list = u64::from(mode == Mode::Direct && run == 0);
            assert_eq!(network.round_trips(), 1 + list, "{mode:?}, run {run}");
            let _ = send(&network).await.expect("stored");
            assert_eq!(network.round_trips(), 2 + list);
        }
    }
    assert_eq!(swarm.exchanges(), 8 * 2 + 1);
}
