//! A delivery never claims more than the nodes hold.

mod support;

use ackpost_testkit::{FakeSwarm, SwarmFault};
use proptest::prelude::*;
use session_network::{Delivery, Draft, Mode, NetworkError, PreparedMessage};
use support::{account, bot, builder, fault};

const NODES: usize = 6;

/// A plan: which fault, on which node, for how many of the nodes in the answer, how often.
fn plans() -> impl Strategy<Value = Vec<(SwarmFault, Option<usize>, usize, usize)>> {
    // The slow ones are tested elsewhere.
    let kinds: Vec<_> = SwarmFault::ALL
        .into_iter()
        .filter(|kind| {
            !matches!(
                kind,
                SwarmFault::Silent | SwarmFault::HugeAnswer | SwarmFault::HangingPeers
            )
        })
        .collect();
    let plan = (
        prop::sample::select(kinds),
        prop::option::of(0..NODES),
        0..=NODES,
        1usize..4,
    );
    prop::collection::vec(plan, 0..6)
}

/// Sends one text three times at most, as an outbox would, and keeps its bytes in between.
async fn send(
    swarm: &FakeSwarm,
    mode: Mode,
    plans: &[(SwarmFault, Option<usize>, usize, usize)],
) -> (PreparedMessage, Result<Delivery, NetworkError>) {
    let network = builder(swarm).mode(mode).build().expect("good options");
    network.list().await.expect("a list");
    let reader = account(9).session_id();
    let mut message = network
        .prepare(&bot(), &reader, &Draft::text("claim"))
        .await
        .expect("made")
        .remove(0);
    for (kind, node, peers, times) in plans {
        let mut plan = fault(*kind).peers(*peers).times(*times);
        if let Some(node) = node {
            plan = plan.on(*node);
        }
        swarm.add_fault(plan);
    }
    let mut result = network.send(&mut message).await;
    for _ in 0..2 {
        if result.as_ref().is_err_and(|error| !error.is_permanent()) {
            message = PreparedMessage::from_bytes(&message.to_bytes()).expect("kept");
            result = network.send(&mut message).await;
        }
    }
    (message, result)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_delivery_claims_no_more_than_the_nodes_hold(plans in plans(), onion: bool) {
        let swarm = FakeSwarm::start(NODES);
        let mode = if onion { Mode::Onion } else { Mode::Direct };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (message, result) = runtime.block_on(send(&swarm, mode, &plans));
        let id = account(9).session_id().to_string();
        let holders = (0..NODES).filter(|node| {
            let rows = swarm.stored_at(*node, &id, 0);
            assert!(rows.len() <= 1, "stored twice");
            rows.len() == 1
        }).count();
        let signed = match &result {
            Ok(delivery) => {
                prop_assert!(delivery.signed > NODES / 2 && delivery.swarm == NODES);
                delivery.signed
            }
            Err(error) => error.stored().map_or(0, |(signed, _)| signed),
        };
        prop_assert!(signed <= holders, "{} signed, {} hold it: {:?}", signed, holders, result);
        prop_assert!(message.receipts().len() <= holders);
        if plans.is_empty() {
            prop_assert!(result.is_ok());
        }
    }
}
