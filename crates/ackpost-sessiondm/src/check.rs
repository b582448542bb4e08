//! The steps of `ackpost doctor`.

use std::time::Duration;

use ackpost_notify::service::Finding;
use ackpost_notify::{ConnectionPool, Diagnostic};
use session_network::{Identity, Network, SeedAnswer, SelfTest, SessionId};

use crate::networks::Networks;
use crate::proof::{EXPERIMENTAL, RECIPIENT_HAS_VERSION_2, UPDATE_SOON};
use crate::session_dm::{SessionDm, diagnostic};

/// Largest difference between the local clock and the network's before the doctor warns.
const MAX_OFFSET: Duration = Duration::from_secs(10);

/// The findings so far.
#[derive(Default)]
struct Steps(Vec<Finding>);

impl Steps {
    /// Adds a step. Returns true if it does not keep a message from being delivered.
    fn add(&mut self, step: &'static str, result: Result<String, Diagnostic>) -> bool {
        let passed = result.as_ref().err().is_none_or(|problem| !problem.is_error());
        self.0.push(Finding::new(step, result));
        passed
    }
}

impl SessionDm {
    /// Looks at every step of a send, and stores a message to the account itself. Nothing is sent to the recipients.
    pub(crate) async fn findings(&self, pool: &ConnectionPool) -> Vec<Finding> {
        let networks = pool.of_service(Networks::new);
        let mut steps = Steps::default();
        let account = self.account(&networks);
        let shown = account
            .as_ref()
            .map(|account| format!("sends as {}", account.session_id()));
        steps.add("account", shown.map_err(Clone::clone));
        let network = match networks.get(&self.network) {
            Ok(network) => network,
            Err(error) => {
                steps.add("options", Err(diagnostic(&error)));
                return steps.0;
            }
        };
        steps.add("seeds", seeds(&network.check_seeds().await));
        let nodes = network.list().await;
        let nodes = nodes.map(|list| format!("the list has {} nodes", list.nodes().len()));
        if !steps.add("nodes", nodes.map_err(|error| diagnostic(&error))) {
            return steps.0;
        }
        for id in &self.recipients {
            recipient(&network, id, &mut steps).await;
        }
        steps.add("clock", clock(&network).await);
        if let Ok(account) = &account {
            steps.add("self", to_oneself(&network, account).await);
        }
        let proof = networks.live_proof(&self.network);
        steps.add(
            "proof",
            match proof {
                Some(proof) => Ok(format!(
                    "experimental; a message to oneself was stored on {}, signed by {} of {} nodes, and read again",
                    proof.day, proof.signed, proof.nodes
                )),
                None => Err(Diagnostic::warning(
                    format!("e{}", EXPERIMENTAL.trim_start_matches('E')),
                    "run `ackpost doctor --live URL` once, and ask the recipient whether the message arrived",
                )),
            },
        );
        steps.0
    }
}

/// The seeds that gave a list.
fn seeds(answers: &[SeedAnswer]) -> Result<String, Diagnostic> {
    let failed: Vec<_> = answers
        .iter()
        .filter_map(|answer| Some((&answer.address, answer.nodes.as_ref().err()?)))
        .collect();
    let good = answers.len() - failed.len();
    let text = format!("{good} of {} seeds give a list of nodes", answers.len());
    match failed.first() {
        None => Ok(text),
        Some((address, error)) => {
            // A kept list serves without seeds, and one seed is enough.
            let cause = format!("{text}; {address}: {error}");
            Err(Diagnostic::warning(cause, error.remedy()))
        }
    }
}

/// The swarm of a recipient, the path to it, and the version of the protocol.
async fn recipient(network: &Network, id: &SessionId, steps: &mut Steps) {
    let swarm = network.swarm(id).await;
    let text = |count: usize| format!("{count} nodes keep the mailbox of {}", id.short());
    let swarm = swarm.map(|nodes| text(nodes.len()));
    if !steps.add("swarm", swarm.map_err(|error| diagnostic(&error))) {
        return;
    }
    let way = network.ping(id).await;
    let way = way.map(|took| format!("a node of them answers after {} ms", took.as_millis()));
    if !steps.add("path", way.map_err(|error| diagnostic(&error))) {
        return;
    }
    let version = match network.publishes_v2_keys(id).await {
        Ok(false) => Ok("the recipient reads version 1 of the protocol".to_owned()),
        Ok(true) => Err(Diagnostic::warning(RECIPIENT_HAS_VERSION_2, UPDATE_SOON)),
        Err(error) => Err(Diagnostic::warning(error.to_string(), error.remedy())),
    };
    steps.add("version", version);
}

async fn clock(network: &Network) -> Result<String, Diagnostic> {
    let offset = network.measure_clock_offset_ms().await;
    network.network_ms().map_err(|error| diagnostic(&error))?;
    let Some(offset) = offset else {
        return Ok("the nodes reported no time that they agree about".to_owned());
    };
    let text = format!(
        "this clock is {} ms {} the network's",
        offset.unsigned_abs(),
        if offset < 0 { "ahead of" } else { "behind" }
    );
    if Duration::from_millis(offset.unsigned_abs()) <= MAX_OFFSET {
        return Ok(text);
    }
    Err(Diagnostic::warning(
        text,
        "set the clock of this system; until then messages carry the network's time",
    ))
}

async fn to_oneself(network: &Network, account: &Identity) -> Result<String, Diagnostic> {
    let test = network
        .self_test(account)
        .await
        .map_err(|error| diagnostic(&error))?;
    Ok(shown(&test))
}

/// A message to oneself in words.
fn shown(test: &SelfTest) -> String {
    let end = if test.deleted {
        "deleted"
    } else {
        "not deleted; it disappears after a minute"
    };
    format!(
        "a message to this account was {} in {} ms, read again in {} ms, and {end}",
        test.delivery,
        test.stored_in.as_millis(),
        test.read_in.as_millis()
    )
}
