//! A disk without room, and requests for the health that write nothing.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{Gateway, dead_url};
use crate::support::Program;

/// Runs the gateway where its state is on a disk of a few megabytes that only it sees.
const SMALL_DISK: &str = "mkdir -p .local/state && exec unshare --map-root-user --mount /bin/sh -c \
    'mount -t tmpfs -o size=4m,mode=700 tmpfs .local/state && exec \"$0\" \"$@\"' \"$0\" \"$@\"";

/// The state folder of a gateway, through the eyes of its process.
fn state(gateway: &Gateway) -> PathBuf {
    let home = gateway.program.home();
    let inside = home.strip_prefix("/").expect("an absolute path");
    Path::new(&format!("/proc/{}/root", gateway.pid()))
        .join(inside)
        .join(".local/state")
}

fn fill(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("filler")).expect("a file");
    for bytes in [4096, 256, 1] {
        while file.write(&vec![0; bytes]).is_ok_and(|written| written > 0) {}
    }
}

fn until(gateway: &Gateway, what: &str, done: &dyn Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < limit, "{what}: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_full_disk_is_unhealthy_until_there_is_room() {
    let gateway = Gateway::limited(Program::new(), "", SMALL_DISK);
    let state = state(&gateway);
    let health = || ["/healthz", "/status", "/compat/gotify/health"].map(|path| gateway.get(path).status);
    let large = "x".repeat(600_000);
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    assert_eq!(gateway.json("/notify/k", &json!({"body": "x"})).status, 200);
    assert_eq!(health(), [200, 200, 200]);

    // Nobody sends anything: the disk itself shows it.
    fill(&state);
    until(&gateway, "the full disk is seen", &|| health() == [503, 417, 503]);
    let status = gateway.request("GET", "/status", &[("Accept", "application/json")], b"");
    assert!(status.body.contains("STORE_PERMISSION_ISSUE"), "{status:?}");
    assert!(
        gateway
            .get("/healthz")
            .body
            .contains("the outbox accepts no messages"),
        "{}",
        gateway.get("/healthz").body
    );
    std::fs::remove_file(state.join("filler")).expect("removed");
    until(&gateway, "there is room again", &|| health() == [200, 200, 200]);

    // A message that finds no room shows it at once, and as long as there is none.
    fill(&state);
    let sent = gateway.json("/notify/k", &json!({"body": large}));
    assert_eq!(sent.status, 507, "{sent:?}");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        assert_eq!(health(), [503, 417, 503], "after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(
        gateway.get("/outbox").json().as_array().map(Vec::len),
        Some(1),
        "nothing of it is stored"
    );
    std::fs::remove_file(state.join("filler")).expect("removed");
    until(&gateway, "there is room again", &|| health() == [200, 200, 200]);
    let sent = gateway.json("/notify/k", &json!({"body": large}));
    assert_eq!(sent.status, 200, "{sent:?}");
}

/// The times and sizes of every file and folder below this one, and of the folder.
fn written(folder: &Path) -> BTreeMap<PathBuf, (i64, i64, u64)> {
    let meta = std::fs::metadata(folder).expect("there");
    let mut all = BTreeMap::from([(folder.to_owned(), (meta.mtime(), meta.mtime_nsec(), meta.len()))]);
    if meta.is_dir() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            all.extend(written(&entry.expect("an entry").path()));
        }
    }
    all
}

/// Anybody may ask for the health. Not even the first who asks makes the gateway write.
#[test]
fn health_is_looked_at_without_writing() {
    let gateway = Gateway::with(Program::new(), "access = \"tokens\"\n");
    let folder = gateway.program.home().join(".local/state/ackpost");
    let before = written(&folder);
    assert!(before.len() > 4, "{before:?}");
    for path in ["/status", "/healthz", "/compat/gotify/health", "/details"] {
        for _ in 0..20 {
            assert_eq!(gateway.get(path).status, 200, "{path}");
        }
    }
    assert_eq!(written(&folder), before);
}
