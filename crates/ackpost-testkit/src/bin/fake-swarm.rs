//! A fake storage network for tests in other languages.
//!
//! `fake-swarm [NODES [SWARMS]]` starts SWARMS swarms with NODES nodes each and prints one line of JSON with its seeds and its file
//! server. It then reads commands from the standard input, one a line, and answers each with one line of JSON. It ends at the end
//! of the input.
//!
//! | command | effect |
//! |---|---|
//! | `fault NAME [node=N] [times=N] [peers=N] [method=M] [pause_ms=N]` | makes nodes misbehave |
//! | `clear` | ends all faults |
//! | `clock MS` | moves the clock of the nodes |
//! | `mailbox ID [NAMESPACE]` | prints the messages of a mailbox, node by node, in base64 |
//! | `stats` | prints the number of exchanges, connections and calls of each method |

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use ackpost_testkit::{FakeSwarm, FaultPlan, SwarmFault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let nodes = numbers.first().copied().unwrap_or(5).clamp(1, 200);
    let swarms = numbers
        .get(1)
        .copied()
        .unwrap_or(1)
        .clamp(1, 200 / nodes.min(200));
    let swarm = FakeSwarm::with_swarms(&vec![nodes; swarms]);
    let seeds: Vec<_> = (0..swarm.len().min(5)).map(|n| swarm.node_seed(n)).collect();
    let (host, key) = swarm.file_server();
    print(&json!({
        "nodes": swarm.len(), "seeds": seeds, "tls_seed": swarm.tls_seed(), "plain_seed": swarm.plain_seed(),
        "file_server": format!("{}@{host}:80", hex::encode(key)),
    }))?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        let answer = run(&swarm, &words).unwrap_or_else(|| json!({"error": "no such command"}));
        print(&answer)?;
    }
    Ok(())
}

fn print(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

fn run(swarm: &FakeSwarm, words: &[&str]) -> Option<Value> {
    match words {
        ["fault", name, options @ ..] => {
            let mut plan = FaultPlan::new(SwarmFault::from_name(name)?);
            for option in options {
                let (key, value) = option.split_once('=')?;
                plan = match key {
                    "node" => plan.on(value.parse().ok()?),
                    "times" => plan.times(value.parse().ok()?),
                    "peers" => plan.peers(value.parse().ok()?),
                    "method" => plan.method(value),
                    "pause_ms" => plan.pause(Duration::from_millis(value.parse().ok()?)),
                    _ => return None,
                };
            }
            swarm.add_fault(plan);
            Some(json!({"ok": true}))
        }
        ["clear"] => {
            swarm.clear_faults();
            Some(json!({"ok": true}))
        }
        ["clock", offset] => {
            swarm.set_clock_offset_ms(offset.parse().ok()?);
            Some(json!({"ok": true}))
        }
        ["mailbox", id, rest @ ..] => {
            let namespace = rest.first().map_or(Some(0), |text| text.parse().ok())?;
            let nodes: Vec<_> = swarm
                .swarm_of(id)
                .into_iter()
                .map(|node| {
                    let rows = swarm.stored_at(node, id, namespace);
                    rows.iter()
                        .map(|row| BASE64.encode(&row.data))
                        .collect::<Vec<_>>()
                })
                .collect();
            Some(json!({ "nodes": nodes }))
        }
        ["stats"] => {
            let mut calls: BTreeMap<String, usize> = BTreeMap::new();
            for call in swarm.calls() {
                *calls.entry(call.method).or_default() += 1;
            }
            Some(json!({"exchanges": swarm.exchanges(), "connections": swarm.connections(), "calls": calls}))
        }
        _ => None,
    }
}
