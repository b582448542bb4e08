//! Signed polls beside anonymous batches that are as large as a body may be, in little memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::child::{self, Child};
use crate::drive::{Report, drive, drive_paced};
use crate::requests::Workshop;

/// Batches at once.
const SENDERS: usize = 20;
/// Bytes of a batch.
const BYTES: usize = 14_900_000;
/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(5);

/// Longest time for a signed poll, milliseconds.
const SLOWEST: f64 = 100.0;

/// Prints the latency of signed polls before and while 20 anonymous batches of 14.9 MB arrive, twice.
///
/// # Panics
/// A poll takes longer than 100 ms.
pub(crate) fn run(database: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    child::fill_dir(dir.path(), database, 1, 2000, 100);
    let server = Child::start_limited(
        dir.path(),
        database,
        "export MALLOC_ARENA_MAX=2 && ulimit -v 300000",
    );
    let people = Workshop::with_people(&server, 0, 50);
    drive(&server, &people.capabilities(50), 4, 30.0);
    println!("{}", Report::header());
    let quiet = drive_paced(&server, &people.polls(400), 1, 10.0, PAUSE);
    println!("{}", quiet.line("signed poll, quiet", 1));
    let one = "{\"method\":\"GET\",\"path\":\"/\"},";
    let mut body = "[".to_owned();
    while body.len() + 2 * one.len() < BYTES {
        body.push_str(one);
    }
    body.push_str(&one.replace("},", "}]"));
    for _ in 0..2 {
        let polls = people.polls(8000);
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|_| scope.spawn(|| send(&server, &body)))
                .collect();
            let mut during = Report::default();
            let mut left = polls.chunks(10);
            while senders.iter().any(|sender| !sender.is_finished()) {
                let Some(polls) = left.next() else { break };
                during.add(drive_paced(&server, polls, 1, 60.0, PAUSE));
            }
            println!("{}", during.line("signed poll, beside batches", 1));
            let slowest = during.quantile(1.0);
            let statuses: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
            println!(
                "slowest poll {slowest:.0} ms; answers to the batches: {}",
                statuses.join(" ")
            );
            assert!(
                slowest <= SLOWEST,
                "a poll took {slowest:.0} ms; the bound is {SLOWEST:.0} ms"
            );
        });
    }
    println!("memory at most {:.1} MB", server.peak_mb());
}

/// Sends a batch; the status of the answer.
fn send(server: &Child, body: &str) -> String {
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let head = format!(
        "POST /batch HTTP/1.1\r\nhost: loadgen\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A refusal may come before the body is sent.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap_or("none").to_owned()
}
