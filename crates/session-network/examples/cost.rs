//! Measures one send on loopback: exchanges, time and memory.
//!
//! `cost direct|onion SEED FOLDER` sends one text with what the folder has of earlier runs, and prints what it took.
//! Without arguments it starts a network of fake nodes, runs itself several times, and prints a table:
//!
//!     cargo run --release -p session-network --example cost

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ackpost_testkit::FakeSwarm;
use session_network::{FolderStorage, Identity, Mode, Network, Sender};

type Failure = Box<dyn std::error::Error>;

/// Runs of one row.
const RUNS: u32 = 20;

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [mode, seed, folder] => send(mode, seed, folder),
        _ => table(),
    }
}

fn send(mode: &str, seed: &str, folder: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let network = Network::builder()
            .mode(if mode == "onion" {
                Mode::Onion
            } else {
                Mode::Direct
            })
            .seeds([seed.parse()?])
            .storage(FolderStorage::new(folder))
            .use_proxies(false)
            .build()?;
        let bot = Sender::new(Identity::from_seed([1; 32]), "Backup")?;
        let reader = Identity::from_seed([9; 32]).session_id();
        let _ = network.send_text(&bot, &reader, "disk is full").await?;
        Ok(())
    })
}

/// Time in milliseconds and most memory in KiB of one send in its own process.
fn run(program: &Path, mode: &str, seed: &str, folder: &Path) -> Result<(f64, u32), Failure> {
    let started = Instant::now();
    let mut child = Command::new(program).arg(mode).arg(seed).arg(folder).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let end = loop {
        if let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let found = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
            peak = found.unwrap_or(peak);
        }
        if let Some(end) = child.try_wait()? {
            break end;
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    };
    let elapsed = started.elapsed().as_secs_f64() * 1000.0;
    if !end.success() {
        return Err("the send failed".into());
    }
    Ok((elapsed, peak))
}

fn table() -> Result<(), Failure> {
    let swarm = FakeSwarm::with_swarms(&[5, 5, 5]);
    let program = std::env::current_exe()?;
    let folder = tempfile::tempdir()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "mode    list   exchanges  median ms  peak MiB")?;
    for mode in ["direct", "onion"] {
        let kept = folder.path().join(mode);
        for (list, clears) in [("new", true), ("kept", false)] {
            let (mut times, mut peak) = (Vec::new(), 0);
            let before = swarm.exchanges();
            for _ in 0..RUNS {
                if clears {
                    let _ = std::fs::remove_dir_all(&kept);
                }
                let (time, memory) = run(&program, mode, &swarm.node_seed(0), &kept)?;
                times.push(time);
                peak = peak.max(memory);
            }
            times.sort_by(f64::total_cmp);
            writeln!(
                out,
                "{mode:<7} {list:<6} {:>9} {:>10.1} {:>9.1}",
                f64::from(u32::try_from(swarm.exchanges() - before)?) / f64::from(RUNS),
                times[times.len() / 2],
                f64::from(peak) / 1024.0
            )?;
        }
    }
    Ok(())
}
