//! Regular users while new identities raid: what do they notice?

use std::sync::atomic::{AtomicBool, Ordering};

use crate::child::{self, Child};
use crate::drive::{Report, drive};
use crate::requests::Workshop;

/// Identities that raid.
const RAIDERS: u64 = 5000;

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
    let calm = regulars.polls(4000);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let raid = scope.spawn(|| {
            let report = drive(&server, &attack, 64, 12.0);
            over.store(true, Ordering::SeqCst);
            report
        });
        let during = drive(&server, &calm, 4, 8.0);
        println!("{}", during.line("regular poll, under raid", 4));
        let raid = raid.join().unwrap();
        println!("{}", raid.line("raid (429 from the 6th post)", 64));
        assert!(over.load(Ordering::SeqCst));
    });
    println!("memory at most {:.1} MB", server.peak_mb());
}
