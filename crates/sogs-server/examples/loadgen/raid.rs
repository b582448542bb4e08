//! Regular users while new identities raid: what do they notice?

use std::time::Duration;

use crate::child::{self, Child};
use crate::drive::{Report, drive, drive_paced};
use crate::requests::Workshop;

/// Identities that raid.
const RAIDERS: u64 = 5000;
/// Pause of a regular user between two polls.
const PAUSE: Duration = Duration::from_millis(5);

/// Prints the latency of 50 regular users before and during a raid of 5,000 new identities over 64 connections.
pub(crate) fn run() {
    let dir = tempfile::tempdir().unwrap();
    child::fill_dir(dir.path(), None, 1, 2000, 100);
    let server = Child::start(dir.path(), None);
    let regulars = Workshop::with_people(&server, 0, 50);
    let raiders = Workshop::with_people(&server, 1_000_000, RAIDERS);
    drive(&server, &regulars.capabilities(50), 4, 30.0);
    println!("{}", Report::header());
    println!(
        "{}",
        drive(&server, &regulars.polls(2000), 4, 5.0).line("regular poll, quiet", 4)
    );
    let attack = raiders.posts(usize::try_from(RAIDERS).unwrap() * 6, 1);
    let calm = regulars.polls(8000);
    std::thread::scope(|scope| {
        let raid = scope.spawn(|| drive(&server, &attack, 64, 12.0));
        // From the first to the last second of the raid.
        let mut during = Report::default();
        let mut left = calm.chunks(400);
        while !raid.is_finished() {
            let Some(polls) = left.next() else { break };
            during.add(drive_paced(&server, polls, 4, 5.0, PAUSE));
        }
        println!("{}", during.line("regular poll, under raid", 4));
        println!(
            "{}",
            raid.join().unwrap().line("raid (429 from the 6th post)", 64)
        );
    });
    println!("memory at most {:.1} MB", server.peak_mb());
}
