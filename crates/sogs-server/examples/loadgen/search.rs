//! The search of the pages: how long its index takes, how large it is, and how fast it answers.

use std::path::Path;
use std::time::{Duration, Instant};

use session_protocol::content::Content;

use crate::child::{self, Child};
use crate::drive::{Report, drive_paced};

/// Pause between two searches: the server takes ten a second.
const PAUSE: Duration = Duration::from_millis(120);

/// Words of the messages. Word `n` is in every `n`th message or so.
fn text(n: i64) -> String {
    format!(
        "message number{n} about topic{} and subject{} from the garden of tomatoes {}",
        n % 1000,
        n % 17,
        if n % 100_000 == 0 { "needle" } else { "hay" }
    )
}

fn content(n: i64) -> Vec<u8> {
    let sent = 1_764_000_000_000 + n.unsigned_abs();
    Content::text(text(n), Some("Gardener"), sent).to_bytes()
}

/// Bytes of the database of a folder.
fn size_mb(dir: &Path) -> f64 {
    let bytes: u64 = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("community.db"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    bytes as f64 / 1e6
}

/// Fills a database with this number of messages, lets a server index them, and searches.
pub(crate) fn run(messages: i64) {
    let dir = tempfile::tempdir().unwrap();
    child::fill_with(dir.path(), None, (1, messages, 1000), &content);
    let before = size_mb(dir.path());
    let server = Child::start(dir.path(), None);
    let began = Instant::now();
    let request =
        |query: &str| format!("GET /r/room0/?q={query} HTTP/1.1\r\nhost: loadgen\r\n\r\n").into_bytes();
    let cpu = server.cpu();
    while child::page(&server, "/r/room0/?q=needle").contains("is being built") {
        std::thread::sleep(Duration::from_millis(500));
    }
    println!(
        "{messages} messages: index built in {:.0} s with {:.0} s of processor time; database {before:.0} MB before, {:.0} MB after",
        began.elapsed().as_secs_f64(),
        server.cpu() - cpu,
        size_mb(dir.path())
    );
    println!("{}", Report::header());
    for (name, query) in [
        ("a rare word", "needle"),
        ("1 in 1,000", "topic7"),
        ("every message", "garden"),
        ("two words", "topic7+subject3"),
        ("no message", "absent"),
    ] {
        let list: Vec<Vec<u8>> = (0..30).map(|_| request(query)).collect();
        println!("{}", drive_paced(&server, &list, 1, 20.0, PAUSE).line(name, 1));
    }
    println!("memory at most {:.1} MB", server.peak_mb());
}
