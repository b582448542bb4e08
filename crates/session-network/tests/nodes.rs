//! Source, age and trust of the list of nodes.

mod support;

use std::time::{Duration, Instant};

use ackpost_testkit::{FakeSwarm, SwarmFault};
use session_network::{Cause, FolderStorage, HttpFault, Mode, Network, Seed, Storage as _};
use support::{Hands, account, bot, builder, fault, network};

fn seed(text: &str) -> Seed {
    text.parse().expect("a seed")
}

#[tokio::test]
async fn both_roots_of_trust_give_the_list() {
    let swarm = FakeSwarm::with_swarms(&[4, 4]);
    for text in [swarm.node_seed(3), swarm.tls_seed()] {
        let network = builder(&swarm).seeds([seed(&text)]).build().expect("built");
        assert_eq!(network.list().await.expect("a list").nodes().len(), 8, "{text}");
        assert_eq!(network.clock_offset_ms().is_some(), !text.starts_with("https"));
    }
}

#[tokio::test]
async fn a_seed_that_cannot_prove_itself_is_not_believed() {
    let swarm = FakeSwarm::start(4);
    let other = FakeSwarm::start(1);
    let pin = swarm
        .tls_seed()
        .replace(&swarm.tls_seed()[swarm.tls_seed().len() - 64..], &"ab".repeat(32));
    let (_, address) = swarm
        .node_seed(0)
        .split_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a seed");
    let (key, _) = swarm
        .node_seed(1)
        .split_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a seed");
    let wrong_key = format!("{key}@{address}");
    for (text, expected) in [(pin, "another certificate"), (wrong_key, "cannot open its layer")] {
        let network = builder(&swarm).seeds([seed(&text)]).build().expect("built");
        let error = network.list().await.expect_err("not believed");
        let Cause::NoSeed { tried: 1, why, .. } = error.cause() else {
            panic!("{error:?}");
        };
        assert!(why.to_string().contains(expected), "{why}");
        // A good seed behind it is enough.
        let network = builder(&swarm)
            .seeds([seed(&text), seed(&swarm.node_seed(2)), seed(&swarm.tls_seed())])
            .build()
            .expect("built");
        assert_eq!(network.list().await.expect("a list").nodes().len(), 4);
    }
    let gone = other.tls_seed();
    drop(other);
    let network = builder(&swarm).seeds([seed(&gone)]).build().expect("built");
    let error = network.list().await.expect_err("gone");
    let Cause::NoSeed { why, .. } = error.cause() else {
        panic!("{error:?}");
    };
    let refused = Cause::Http {
        address: String::new(),
        fault: HttpFault::Refused,
    };
    assert_eq!(core::mem::discriminant(&**why), core::mem::discriminant(&refused));
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn lists_without_swarms_or_nodes_are_named() {
    let swarm = FakeSwarm::start(4);
    for (kind, expected) in [
        (SwarmFault::ListWithoutSwarms, Cause::NoSwarm),
        (SwarmFault::EmptyList, Cause::EmptyList),
    ] {
        swarm.add_fault(fault(kind));
        let error = network(&swarm, Mode::Direct).list().await.expect_err("useless");
        let Cause::NoSeed { why, .. } = error.cause() else {
            panic!("{error:?}");
        };
        assert_eq!(**why, expected);
        swarm.clear_faults();
    }
}

#[tokio::test]
async fn the_list_is_fetched_once_in_two_hours_and_then_from_three_nodes() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let folder = tempfile::tempdir().expect("a folder");
    let hands = Hands::default();
    let reader = account(9).session_id();
    let run = || {
        builder(&swarm)
            .mode(Mode::Direct)
            .clock(hands.clock())
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built")
    };
    let lists = || swarm.count("oxend_request") + swarm.count("get_n_service_nodes");
    for _ in 0..20 {
        // A new process each time, over 110 minutes. The nodes' clock moves along.
        let _ = run().send_text(&bot(), &reader, "x").await.expect("stored");
        hands.forward(Duration::from_secs(330));
        swarm.set_clock_offset_ms(swarm_offset(&hands));
    }
    assert_eq!(lists(), 1, "one seed");
    hands.forward(Duration::from_mins(15));
    swarm.set_clock_offset_ms(swarm_offset(&hands));
    for _ in 0..5 {
        let _ = run().send_text(&bot(), &reader, "x").await.expect("stored");
    }
    assert_eq!(lists(), 4, "and three nodes");
}

/// Returns the time by which the hands are ahead, milliseconds.
fn swarm_offset(hands: &Hands) -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from((hands.clock())().saturating_sub(now).as_millis()).expect("short")
}

#[tokio::test]
async fn invented_nodes_are_not_believed_and_the_old_list_serves_on() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let hands = Hands::default();
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(hands.clock())
        .build()
        .expect("built");
    let first = network.list().await.expect("a list");
    hands.forward(Duration::from_hours(3));
    // Each node has its own invented nodes, so that no two lists agree. A seed would be believed: none answers.
    for node in 3..10 {
        swarm.add_fault(fault(SwarmFault::InventedList).on(node));
    }
    for node in 0..3 {
        swarm.add_fault(fault(SwarmFault::Dropped).on(node).method("oxend_request"));
    }
    let second = network.list().await.expect("the old one");
    assert_eq!(first, second);
    // It tries again after a while, not at every call.
    let asked = swarm.exchanges();
    let _ = network.list().await.expect("the old one");
    assert_eq!(swarm.exchanges(), asked);
}

#[tokio::test]
async fn one_node_alone_cannot_leave_out_others() {
    let swarm = FakeSwarm::with_swarms(&[6, 6]);
    let hands = Hands::default();
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(hands.clock())
        .build()
        .expect("built");
    network.list().await.expect("a list");
    for round in 1..=3 {
        hands.forward(Duration::from_hours(3));
        swarm.set_clock_offset_ms(swarm_offset(&hands));
        swarm.clear_faults();
        // Of the three nodes, one does not answer, and one leaves out others. A fourth node is asked.
        let before = swarm.count("oxend_request");
        swarm.add_fault(fault(SwarmFault::Dropped).method("oxend_request").times(1));
        swarm.add_fault(fault(SwarmFault::ShortList).times(1));
        let list = network.list().await.expect("a list");
        assert_eq!(list.nodes().len(), 12, "round {round}");
        assert_eq!(swarm.count("oxend_request"), before + 3);
    }
    // Too few nodes answer: the seeds are asked, and one of them is enough.
    hands.forward(Duration::from_hours(3));
    swarm.set_clock_offset_ms(swarm_offset(&hands));
    swarm.add_fault(fault(SwarmFault::Dropped).method("oxend_request").times(4));
    swarm.add_fault(fault(SwarmFault::ShortList).times(2));
    let list = network.list().await.expect("the list of a seed");
    assert_eq!(list.nodes().len(), 12);
}

#[tokio::test]
async fn a_list_of_which_no_node_answers_is_replaced_after_ten_minutes() {
    let swarm = FakeSwarm::start(5);
    let hands = Hands::default();
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(hands.clock())
        .build()
        .expect("built");
    let reader = account(9).session_id();
    let send = async || network.send_text(&bot(), &reader, "x").await;
    let lists = || swarm.count("oxend_request");
    let forward = |minutes| {
        hands.forward(Duration::from_mins(minutes));
        swarm.set_clock_offset_ms(swarm_offset(&hands));
    };
    let _ = send().await.expect("stored");
    assert_eq!(lists(), 1);
    // A young list is not given up, however often its nodes fail.
    swarm.add_fault(fault(SwarmFault::Dropped).method("store"));
    forward(9);
    for _ in 0..3 {
        assert!(send().await.is_err());
    }
    assert_eq!(lists(), 1);
    // An older one is, at the next send after the one that failed.
    forward(2);
    assert!(send().await.is_err());
    assert_eq!(lists(), 1);
    assert!(send().await.is_err());
    assert_eq!(lists(), 4, "three nodes are asked");
    // Not again for ten minutes.
    for _ in 0..3 {
        assert!(send().await.is_err());
    }
    assert_eq!(lists(), 4);
    swarm.clear_faults();
    let _ = send().await.expect("stored");
    // A fetch that fails is not repeated for ten minutes either, and the old list serves meanwhile.
    forward(130);
    swarm.add_fault(fault(SwarmFault::Dropped).method("oxend_request"));
    let asked = || swarm.exchanges();
    let _ = send().await.expect("stored by the old list");
    let before = asked();
    let _ = send().await.expect("stored by the old list");
    assert_eq!(asked(), before + 1, "the store call alone");
    forward(11);
    swarm.clear_faults();
    let before = lists();
    let _ = send().await.expect("stored");
    assert_eq!(lists(), before + 3);
}

#[tokio::test]
async fn the_guard_is_kept_over_runs_and_replaced_when_it_fails() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let folder = tempfile::tempdir().expect("a folder");
    let try_to_send = async |mode| {
        let network = builder(&swarm)
            .mode(mode)
            .call_timeout(Duration::from_secs(1))
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built");
        network.send_text(&bot(), &account(9).session_id(), "x").await
    };
    let send = async |mode| {
        let sent = try_to_send(mode).await;
        assert_eq!(sent.expect("stored")[0].signed, 5);
    };
    let kept = || {
        let entries = std::fs::read_dir(folder.path()).expect("a folder");
        let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let name = names.find(|name| name.starts_with("guard-"))?;
        FolderStorage::new(folder.path()).load(&name).expect("read")
    };
    let guard = || {
        let bytes = kept()?;
        (0..swarm.len()).find(|node| bytes[4..36] == swarm.node_key(*node))
    };
    let strikes = || kept().expect("a guard")[44];
    send(Mode::Direct).await;
    assert_eq!(guard(), None, "nobody stands in between");
    send(Mode::Onion).await;
    let first = guard().expect("a guard");
    for _ in 0..10 {
        send(Mode::Onion).await;
        assert_eq!(guard(), Some(first));
    }
    // Without a network every path fails, and the guard is not the cause.
    for (kind, runs) in [
        (SwarmFault::Dropped, 4),
        (SwarmFault::HopNotReady, 4),
        (SwarmFault::Silent, 1),
    ] {
        swarm.add_fault(fault(kind));
        for _ in 0..runs {
            assert!(try_to_send(Mode::Onion).await.is_err());
        }
        swarm.clear_faults();
        send(Mode::Onion).await;
        assert_eq!(guard(), Some(first), "{kind:?}");
    }
    // Two failures are not enough, and one that works begins a new count.
    for _ in 0..2 {
        swarm.add_fault(fault(SwarmFault::HopNotReady).on(first).times(2));
        send(Mode::Onion).await;
        send(Mode::Onion).await;
        swarm.clear_faults();
        assert!(strikes() <= 2);
        // A run whose destination is the guard itself goes another way, and counts nothing.
        for _ in 0..40 {
            send(Mode::Onion).await;
            if strikes() == 0 {
                break;
            }
        }
        assert_eq!((guard(), strikes()), (Some(first), 0));
    }
    for kind in [SwarmFault::HopNotReady, SwarmFault::Silent] {
        let first = guard().expect("a guard");
        swarm.add_fault(fault(kind).on(first));
        for _ in 0..40 {
            send(Mode::Onion).await;
            if guard() != Some(first) {
                break;
            }
        }
        assert!(guard().is_some_and(|other| other != first), "{kind:?}");
        swarm.clear_faults();
    }
}

#[tokio::test]
async fn a_damaged_or_foreign_cache_is_not_used() {
    let swarm = FakeSwarm::start(4);
    let folder = tempfile::tempdir().expect("a folder");
    let run = |seeds: Vec<Seed>| -> Network {
        builder(&swarm)
            .seeds(seeds)
            .storage(FolderStorage::new(folder.path()))
            .build()
            .expect("built")
    };
    let seeds = || vec![seed(&swarm.node_seed(0))];
    run(seeds()).list().await.expect("a list");
    let file = std::fs::read_dir(folder.path())
        .expect("a folder")
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with("nodes-"))
        .expect("a kept list");
    let name = file.file_name().to_string_lossy().into_owned();
    let storage = FolderStorage::new(folder.path());
    let mut bytes = storage.load(&name).expect("read").expect("there");
    bytes[40] ^= 1;
    storage.save(&name, &bytes).expect("written");
    let before = swarm.count("oxend_request");
    assert_eq!(run(seeds()).list().await.expect("a list").nodes().len(), 4);
    assert_eq!(swarm.count("oxend_request"), before + 1, "fetched anew");
    // A network with other seeds has its own list.
    run(vec![seed(&swarm.node_seed(1))]).list().await.expect("a list");
    assert_eq!(swarm.count("oxend_request"), before + 2);
    run(seeds()).list().await.expect("a list");
    assert_eq!(swarm.count("oxend_request"), before + 2, "kept");
}

#[tokio::test]
async fn hops_are_in_different_networks_or_the_path_fails() {
    let swarm = FakeSwarm::start(3);
    let error = network(&swarm, Mode::Onion)
        .send_text(&bot(), &account(9).session_id(), "x")
        .await
        .expect_err("two hops and a destination are too few");
    assert!(
        matches!(error.cause(), Cause::NoPath(path) if (path.needed, path.found) == (3, 2)),
        "{error:?}"
    );
    let swarm = FakeSwarm::start(4);
    assert_eq!(
        network(&swarm, Mode::Onion)
            .send_text(&bot(), &account(9).session_id(), "x")
            .await
            .expect("just enough")[0]
            .signed,
        4
    );
}

#[test]
fn options_have_limits() {
    for bad in [
        Network::builder().seeds([]),
        Network::builder().call_timeout(Duration::from_millis(10)),
        Network::builder().seeds(Seed::public().into_iter().cycle().take(33)),
    ] {
        assert!(bad.build().expect_err("outside the limits").is_permanent());
    }
}

#[tokio::test]
async fn nodes_of_a_list_of_two_weeks_are_not_asked_for_another() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let hands = Hands::default();
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(hands.clock())
        .build()
        .expect("built");
    let first = network.list().await.expect("a list");
    // The present owners of the old addresses give lists of their own. The seeds, which are known by their keys, do not.
    for node in 3..10 {
        swarm.add_fault(fault(SwarmFault::InventedList).on(node));
    }
    let before = swarm.count("oxend_request");
    hands.forward(Duration::from_hours(14 * 24 + 1));
    assert_eq!(network.list().await.expect("a list"), first);
    assert_eq!(swarm.count("oxend_request"), before + 1, "one seed alone");
}

#[tokio::test]
async fn the_old_list_serves_while_another_one_is_fetched() {
    let swarm = FakeSwarm::with_swarms(&[5, 5]);
    let hands = Hands::default();
    let network = builder(&swarm)
        .mode(Mode::Direct)
        .clock(hands.clock())
        .build()
        .expect("built");
    let first = network.list().await.expect("a list");
    hands.forward(Duration::from_hours(3));
    let before = swarm.exchanges();
    swarm.add_fault(fault(SwarmFault::Silent).method("oxend_request"));
    let fetching = tokio::spawn({
        let network = network.clone();
        async move { network.list().await }
    });
    let end = Instant::now() + Duration::from_secs(20);
    while swarm.exchanges() == before {
        assert!(Instant::now() < end, "no node is asked");
        tokio::task::yield_now().await;
    }
    let second = tokio::time::timeout(Duration::from_secs(1), network.list()).await;
    assert_eq!(second.expect("at once").expect("the old list"), first);
    fetching.abort();
}
