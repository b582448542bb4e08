//! Many large batches at once, in little memory.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use session_protocol::auth::{Request, Signer};
use session_protocol::{Identity, ServerKey};

use super::support::process::{self, PATIENCE};
use super::{Server, address, get};

impl Server {
    /// Starts it under limits that a shell sets (`ulimit -v 300000`).
    fn start_limited(&mut self, limits: &str) -> Value {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_ackpost"))
            .args(["server", "run", self.dir(), "--listen", "127.0.0.1:0", "--json"])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("MALLOC_ARENA_MAX");
        let (child, started) = process::start(command.stderr(Stdio::null()));
        self.child = Some(child);
        started
    }

    /// A variable in the environment of the running process.
    fn variable(&self, name: &str) -> Option<String> {
        let pid = self.child.as_ref().expect("running").id();
        let all = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
        let all = String::from_utf8_lossy(&all).into_owned();
        all.split('\0')
            .find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
            .map(str::to_owned)
    }
}

/// Longest time for a signed poll beside the batches, in a debug build on a busy machine. `loadgen batches` fails above
/// 100 ms in a release build.
const SLOWEST_POLL: Duration = Duration::from_secs(5);

/// Polls as the apps do: a signed batch. Returns the status of each part.
fn poll(address: SocketAddr, key: &ServerKey, number: u64) -> Vec<u64> {
    let body = br#"[{"method":"GET","path":"/capabilities"},{"method":"GET","path":"/rooms"},{"method":"GET","path":"/inbox"}]"#;
    let signer = Signer::blind15(&Identity::from_seed([0x77; 32]), key);
    let mut nonce = [0x11; 16];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let request = Request {
        method: "POST",
        path: "/batch",
        body,
    };
    let headers = request.sign(&signer, key, &nonce, now.expect("after 1970").as_secs());
    let mut signed = String::new();
    for (name, value) in headers.pairs() {
        write!(signed, "{name}: {value}\r\n").expect("text");
    }
    let answer = send(address, "/batch", &signed, body);
    let (_, json) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer}"));
    let parts: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let parts = parts.as_array().expect("a part for each request");
    parts
        .iter()
        .map(|part| part["code"].as_u64().expect("a status"))
        .collect()
}

/// Sends a body; the status of the answer, and the time until then.
fn post(address: SocketAddr, path: &str, body: &[u8]) -> (Option<u16>, Duration) {
    let began = Instant::now();
    let answer = send(address, path, "", body);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status, began.elapsed())
}

/// Sends a body; the whole answer.
fn send(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{headers}\r\n",
        body.len()
    );
    // A refusal may come before the body is sent.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// 300 MB of addresses in all; each sender gets an answer, and others are served meanwhile.
#[test]
fn many_large_batches_do_not_exhaust_the_memory() {
    let mut server = Server::new();
    let started = server.start_limited("ulimit -v 300000");
    let address = address(&started);
    assert_eq!(server.variable("MALLOC_ARENA_MAX").as_deref(), Some("2"));
    let key: ServerKey = started["public_key"]
        .as_str()
        .expect("a key")
        .parse()
        .expect("a key");
    let mut slowest = Duration::ZERO;
    let one = "{\"method\":\"GET\",\"path\":\"/\"},";
    let mut body = "[".to_owned();
    while body.len() + 2 * one.len() < 14_900_000 {
        body.push_str(one);
    }
    body.push_str(&one.replace("},", "}]"));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| post(address, "/batch", body.as_bytes())))
            .collect();
        let mut polls = 0;
        while polls == 0 || senders.iter().any(|sender| !sender.is_finished()) {
            let began = Instant::now();
            assert_eq!(poll(address, &key, polls), [200, 200, 200]);
            slowest = slowest.max(began.elapsed());
            polls += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        let answers = senders.into_iter().map(|sender| sender.join().expect("an end"));
        answers.collect()
    });
    assert!(slowest < SLOWEST_POLL, "the slowest poll took {slowest:?}");
    let known = |status: &Option<u16>| status.is_some_and(|status| [400, 413, 503].contains(&status));
    assert!(answers.iter().all(|(status, _)| known(status)), "{answers:?}");
    assert!(answers.iter().all(|(_, time)| *time < PATIENCE), "{answers:?}");
    assert_eq!(
        server.processes(),
        [server.child.as_ref().expect("running").id()],
        "it runs on as the same process"
    );
}

/// Somebody who sets the number of heaps keeps it.
#[test]
fn a_number_of_heaps_that_is_set_stays() {
    let mut server = Server::new();
    server.start_limited("export MALLOC_ARENA_MAX=7");
    assert_eq!(server.variable("MALLOC_ARENA_MAX").as_deref(), Some("7"));
}

/// More silent connections than the soft limit of descriptors allows.
#[test]
fn the_limit_of_descriptors_is_raised_and_connections_fit_it() {
    for limits in ["ulimit -Sn 100", "ulimit -n 200"] {
        let mut server = Server::new();
        let started = server.start_limited(limits);
        let address = address(&started);
        let silent: Vec<_> = (0..300)
            .map(|_| TcpStream::connect_timeout(&address, PATIENCE).expect("it listens"))
            .collect();
        let began = Instant::now();
        let answer = get(address, "/capabilities").expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{limits}: {answer}");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{limits}: {:?}",
            began.elapsed()
        );
        drop(silent);
    }
}
