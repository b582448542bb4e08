//! SIGHUP, SIGTERM, the service manager.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{Gateway, dead_url, read};
use crate::support::Program;

#[test]
fn a_stop_answers_what_is_running_and_loses_nothing() {
    let mut gateway = Gateway::start();
    assert_eq!(gateway.json("/add/k", &json!({"urls": dead_url()})).status, 200);
    let id = gateway.json("/notify/k", &json!({"body": "x"})).json()["outbox"][0]["id"].clone();
    let mut running = gateway.connect();
    write!(
        running,
        "POST /notify/k?wait=3 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nbody=y"
    )
    .expect("sent");
    std::thread::sleep(Duration::from_millis(500));
    gateway.signal("TERM");
    let answer = read(&mut running).expect("the running request is answered");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        gateway.wait(Duration::from_secs(40)),
        Some(0),
        "{}",
        gateway.log()
    );
    // Both messages are there for the next start.
    let ran = gateway.program.run(&["outbox", "list", "--json"]);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.all());
    assert!(ran.stdout.contains(id.as_str().expect("an id")));
}

#[test]
fn a_reload_takes_the_new_configuration_and_keeps_the_old_one_when_it_is_bad() {
    let gateway = Gateway::with(Program::new(), "config_lock = true\n");
    let url = dead_url();
    let add = || gateway.json("/add/k", &json!({"urls": url})).status;
    assert_eq!(add(), 403);
    let write =
        |text: &str| std::fs::write(gateway.program.home().join("gateway.toml"), text).expect("written");
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let limit = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < limit, "{what}: {}", gateway.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    write("config_lock = maybe\n");
    gateway.signal("HUP");
    until("the mistake is logged", &|| {
        gateway.log().contains("the old one stays")
    });
    assert_eq!(add(), 403);
    write("config_lock = false\n");
    gateway.signal("HUP");
    until("the new one is used", &|| add() == 200);
}

#[test]
fn the_service_manager_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let program = Program::new()
        .env("NOTIFY_SOCKET", path.display().to_string())
        .env("WATCHDOG_USEC", "1000000");
    let mut gateway = Gateway::with(program, "");
    let mut said = String::new();
    let mut wait_for = |word: &str| {
        let limit = Instant::now() + Duration::from_secs(30);
        while !said.contains(word) {
            assert!(Instant::now() < limit, "{word} in {said}");
            let mut bytes = [0; 1024];
            if let Ok(count) = socket.recv(&mut bytes) {
                said.push_str(&String::from_utf8_lossy(&bytes[..count]));
                said.push('\n');
            }
        }
    };
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    gateway.signal("TERM");
    wait_for("STOPPING=1");
    assert_eq!(gateway.wait(Duration::from_secs(40)), Some(0));
}
