//! Messages fetched and verified a second, from the real server in this process, on one thread for the client:
//! `cargo bench -p sogs-client --bench fetch`.
//!
//! The floor to report against is 10,000 a second on one core. Fetching includes the server's work, which runs on
//! another thread; "read alone" is what the client does with an answer that is there.
#![expect(clippy::print_stdout, reason = "this is its output")]
#![expect(clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/community/mod.rs"]
mod community;

use std::time::{Duration, Instant};

use community::{Community, Way, admin, token};
use sogs_client::types::RawRow;
use sogs_client::{ListOptions, calls};

const MESSAGES: usize = 512;
const TOTAL: usize = 10_240;

fn main() {
    // The server on its own threads, the client on this one.
    let server_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let community = server_runtime.block_on(Community::start());
    let client_runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    client_runtime.block_on(async {
        let room = community.room(Way::Direct, &admin());
        for n in 0..MESSAGES {
            room.post(format!("message number {n}, of the length that people write"))
                .await
                .unwrap();
        }
        for way in [Way::Direct, Way::Sealed] {
            let room = community.room(way, &admin());
            let start = Instant::now();
            let (mut count, mut before) = (0, u64::MAX >> 1);
            while count < TOTAL {
                let page = room
                    .before(
                        before,
                        ListOptions {
                            limit: Some(256),
                            ..ListOptions::default()
                        },
                    )
                    .await
                    .unwrap();
                assert!(page.iter().all(sogs_client::Message::is_authentic));
                before = page.last().map_or(u64::MAX >> 1, |message| message.id);
                count += page.len();
            }
            report(&format!("fetched and verified, {way:?}"), count, start.elapsed());
        }
        let page = room.recent(ListOptions::limit(256)).await.unwrap();
        let rows: Vec<RawRow> = page.into_iter().map(RawRow::from).collect();
        let json = serde_json::to_vec(&rows).unwrap();
        let start = Instant::now();
        let mut count = 0;
        while count < TOTAL {
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            let call = calls::recent(&token("main"), ListOptions::default());
            count += call.read(200, headers, json.clone()).unwrap().len();
        }
        report("read alone: decoded and verified", count, start.elapsed());
    });
}

fn report(what: &str, count: usize, time: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let rate = count as f64 / time.as_secs_f64();
    println!(
        "{what:40} {rate:10.0} messages a second ({:.2} of the floor)",
        rate / 10_000.0
    );
}
