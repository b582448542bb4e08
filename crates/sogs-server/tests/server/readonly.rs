//! The file system under a community turns read-only while people write. `scripts/read-only-disk` runs these: they mount.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_protocol::ServerKey;
use session_protocol::auth::Signer;

use crate::common::{Api, Body, Door, identity, message, pairs, raw_http, room, sign, somebody, start};
use crate::crash;
use crate::disk::{assert_clear, becomes, writes};

/// Time for which an answer may still arrive that was on its way when the file system turned read-only.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// A folder on a file system in user space that turns read-only when a file appears, and back when it is gone.
struct Switchable {
    server: Child,
    folder: tempfile::TempDir,
}

impl Switchable {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["backing", "mount"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let at = |name: &str| folder.path().join(name);
        let mut server = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/switchable.py"))
            .args([at("backing"), at("mount"), at("switch")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !is_mounted(&at("mount")) {
            assert!(
                server.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(20),
                "nothing is mounted; this needs root and python3-fusepy"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { server, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn turn(&self, read_only: bool) {
        let switch = self.folder.path().join("switch");
        if read_only {
            std::fs::write(switch, b"").unwrap();
        } else {
            std::fs::remove_file(switch).unwrap();
        }
    }
}

impl Drop for Switchable {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn is_mounted(path: &Path) -> bool {
    Command::new("mountpoint")
        .arg("-q")
        .arg(path)
        .status()
        .unwrap()
        .success()
}

/// A small disk in a file: ext4, which turns read-only when it finds an error.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Self { folder };
        std::fs::File::create(disk.image())
            .unwrap()
            .set_len(128 << 20)
            .unwrap();
        std::fs::create_dir(disk.path()).unwrap();
        run(
            Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.image()),
            &[0],
        );
        disk
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn mount(&self, options: &str) {
        let options = format!("loop,errors=remount-ro{options}");
        run(
            Command::new("mount")
                .args(["-o", &options])
                .arg(self.image())
                .arg(self.path()),
            &[0],
        );
    }

    fn unmount(&self) {
        run(Command::new("umount").arg(self.path()), &[0]);
    }

    /// Triggers the reaction of the kernel to something on the disk that cannot be read.
    fn fail(&self) {
        let found = Command::new("findmnt")
            .args(["-n", "-o", "SOURCE"])
            .arg(self.path())
            .output()
            .unwrap();
        let device = String::from_utf8(found.stdout).unwrap();
        let device = device.trim().rsplit('/').next().unwrap().to_owned();
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .stderr(Stdio::null())
            .status();
    }
}

fn run(command: &mut Command, good: &[i32]) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(
        status.code().is_some_and(|code| good.contains(&code)),
        "{command:?}: {status}; this needs root"
    );
}

/// Answers that the load got.
#[derive(Default)]
struct Seen {
    /// Id, sequence number, content and moment of each 201.
    answered: Vec<(i64, i64, String, Instant)>,
    refused: usize,
    read: usize,
}

/// Posts repeatedly, every fifth time as another person, so that no rate limit is met.
async fn post(api: Api, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut who = Signer::blind15(&somebody(), &api.key);
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        if number % 5 == 0 {
            who = Signer::blind15(&somebody(), &api.key);
        }
        let body = message(&format!("{} {number}", who.shown_id()));
        let got = api.post(Some(&who), "/room/r/message", &body).await;
        if got.status == 503 {
            assert_clear(&got);
            seen.refused += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let value = got.expect(201).json();
        let field = |name: &str| value[name].as_i64().unwrap();
        let data = body["data"].as_str().unwrap().to_owned();
        seen.answered
            .push((field("id"), field("seqno"), data, Instant::now()));
    }
    seen
}

/// Reads repeatedly, as a member and without authentication: every request succeeds.
async fn read(api: Api, file: Value, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let who = uploader(&api.key);
    while !stop.load(Ordering::SeqCst) {
        for (who, path) in [
            (Some(&who), "/room/r/messages/recent".to_owned()),
            (None, "/room/r/messages/recent".to_owned()),
            (None, "/room/r/messages/since/0".to_owned()),
            (Some(&who), "/rooms".to_owned()),
            (Some(&who), format!("/room/r/file/{file}")),
        ] {
            let got = api.get(who, &path).await;
            assert_eq!(got.status, 200, "{path}: {}", got.text());
            seen.read += 1;
        }
    }
    seen
}

/// Person whose file is read: the file is attached to no message, so nobody else may fetch it.
fn uploader(key: &ServerKey) -> Signer {
    Signer::blind15(&identity(71), key)
}

/// A community in this folder with a file in it, in its own process.
async fn community(dir: &Path) -> (Child, Api, Vec<u8>, i64) {
    let running = start(crate::common::config(dir)).await;
    room(&running, "r").await;
    running.shutdown().await;
    let (child, addr, key) = crash::spawn(dir);
    let api = Api {
        addr,
        key,
        door: Door::Http,
    };
    let content = vec![9; 20_000];
    let who = uploader(&key);
    let headers = pairs(&sign(&key, &who, "POST", "/room/r/file", &content));
    let got = raw_http(addr, "POST", "/room/r/file", &headers, &content)
        .await
        .unwrap()
        .expect(201);
    let id = got.json()["id"].as_i64().unwrap();
    (child, api, content, id)
}

/// Returns a person and the id of one of their messages.
async fn author(api: &Api) -> (Signer, Value) {
    let who = Signer::blind15(&identity(72), &api.key);
    let posted = api
        .post(Some(&who), "/room/r/message", &message("before"))
        .await
        .expect(201)
        .json();
    (who, posted["id"].clone())
}

async fn nothing_is_stored(api: &Api, who: &Signer, own: &Value) {
    for refused in writes(api, who, own).await {
        assert_clear(&refused);
    }
    // The server would have to note a person who comes for the first time.
    assert_clear(&api.get(Some(&somebody_new(api)), "/rooms").await);
}

struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Seen>>,
}

impl Load {
    fn start(api: Api, file: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks: Vec<_> = (0..6)
            .map(|_| tokio::spawn(post(api, Arc::clone(&stop))))
            .collect();
        tasks.push(tokio::spawn(read(api, json!(file), Arc::clone(&stop))));
        Self { stop, tasks }
    }

    async fn end(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Seen::default();
        for task in self.tasks {
            let one = task.await.unwrap();
            all.answered.extend(one.answered);
            all.refused += one.refused;
            all.read += one.read;
        }
        all
    }
}

fn without_moments(answered: &[(i64, i64, String, Instant)]) -> Vec<(i64, i64, String)> {
    answered
        .iter()
        .map(|(id, seqno, data, _)| (*id, *seqno, data.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts; scripts/read-only-disk runs it"]
async fn a_file_system_that_turns_read_only_gives_503_and_recovers() {
    let disk = Switchable::mount();
    let (mut child, api, content, file) = community(&disk.path()).await;
    let (who, own) = author(&api).await;
    let load = Load::start(api, file);
    let mut turned = Vec::new();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        disk.turn(true);
        let from = Instant::now() + ON_ITS_WAY;
        becomes(&api, &who, 503).await;
        nothing_is_stored(&api, &who, &own).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        turned.push((from, Instant::now()));
        disk.turn(false);
        let again = Instant::now();
        becomes(&api, &somebody_new(&api), 201).await;
        println!(
            "round {round}: the first post after it was writable again took {} ms",
            again.elapsed().as_millis()
        );
        assert!(child.try_wait().unwrap().is_none(), "the same process goes on");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = load.end().await;
    let between = |at: &Instant| turned.iter().any(|(from, to)| from < at && at < to);
    let wrong = seen.answered.iter().filter(|(_, _, _, at)| between(at)).count();
    assert_eq!(wrong, 0, "nothing is answered 201 that could not be written");
    assert!(seen.answered.len() > 100 && seen.refused > 100 && seen.read > 100);
    child.kill().unwrap();
    child.wait().unwrap();
    let running = start(crate::common::config(&disk.path())).await;
    let answered = without_moments(&seen.answered);
    crash::all_there(
        &Api::of(&running),
        &answered,
        &[(file, content, uploader(&api.key))],
    )
    .await;
    running.shutdown().await;
    println!(
        "{} posts answered 201 and all there, {} answered 503, {} reads answered 200 throughout",
        seen.answered.len(),
        seen.refused,
        seen.read
    );
}

fn somebody_new(api: &Api) -> Signer {
    Signer::blind15(&somebody(), &api.key)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts; scripts/read-only-disk runs it"]
async fn a_disk_with_an_error_turns_read_only_and_nothing_is_lost() {
    let disk = Disk::new();
    disk.mount("");
    let (mut child, api, content, file) = community(&disk.path().join("community")).await;
    let (who, own) = author(&api).await;
    let load = Load::start(api, file);
    tokio::time::sleep(Duration::from_secs(3)).await;
    disk.fail();
    becomes(&api, &who, 503).await;
    nothing_is_stored(&api, &who, &own).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(child.try_wait().unwrap().is_none(), "it still serves");
    let seen = load.end().await;
    assert!(seen.answered.len() > 100 && seen.refused > 100 && seen.read > 100);
    // The kernel gives such a file system back only after it was unmounted and checked.
    child.kill().unwrap();
    child.wait().unwrap();
    disk.unmount();
    run(Command::new("fsck.ext4").arg("-y").arg(disk.image()), &[0, 1]);
    disk.mount(",ro");
    let refused =
        match sogs_server::Server::start(crate::common::config(&disk.path().join("community"))).await {
            Ok(_) => panic!("it started where nothing can be written"),
            Err(error) => error.to_string(),
        };
    println!("a start on a read-only disk: {refused}");
    disk.unmount();
    disk.mount("");
    let running = start(crate::common::config(&disk.path().join("community"))).await;
    let api = Api::of(&running);
    crash::all_there(
        &api,
        &without_moments(&seen.answered),
        &[(file, content, uploader(&api.key))],
    )
    .await;
    api.call(
        Some(&somebody_new(&api)),
        "POST",
        "/room/r/message",
        Body::json(&message("after all")),
    )
    .await
    .expect(201);
    running.shutdown().await;
    disk.unmount();
    println!(
        "{} posts answered 201 and all there, {} answered 503, {} reads answered 200 throughout",
        seen.answered.len(),
        seen.refused,
        seen.read
    );
}
