//! Many processes with one state.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ackpost_testkit::{OmemoPeer as Peer, Prosody, XmppServer};

use crate::support::{account, report, send, text, user};

/// Number of processes at once.
const PROCESSES: usize = 50;
/// Number of processes that are killed, each a little later in its life.
const KILLED: usize = 12;

/// One of the processes: it sends when it is started by the test below.
#[test]
fn one_process() {
    let Ok(number) = std::env::var("ACKPOST_TEST_ONE_OF_MANY") else {
        return;
    };
    let state = std::env::var_os("ACKPOST_TEST_STATE").unwrap();
    let server: &XmppServer = Prosody::shared();
    let ours = account(server, "keys15", state.as_ref());
    let to = user(server, "keys16").to_string();
    report(&send(&ours, text(&to, &number)));
}

fn start(state: &Path, server: &XmppServer, text: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "many::one_process", "--nocapture"])
        .env("ACKPOST_TEST_ONE_OF_MANY", text)
        .env("ACKPOST_TEST_STATE", state)
        // The server that this process uses, whether it is that of the run or its own.
        .env("ACKPOST_TEST_PROSODY", server.log.parent().unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn fifty_processes_with_one_state_file_send_fifty_readable_messages() {
    let server = Prosody::shared();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let mut peer = Peer::start(server, "omemo", "keys16", &folder.path().join("theirs"));
    let name = |number: usize| format!("process {number:02}");
    let processes: Vec<_> = (0..PROCESSES)
        .map(|number| start(&state, server, &name(number)))
        .collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let expected: Vec<String> = (0..PROCESSES).map(name).collect();
    assert_eq!(peer.texts(PROCESSES), expected);
    peer.nothing_more();
    // No session is broken, and there is one device.
    let ours = account(server, "keys15", &state);
    let sent = report(&send(&ours, text(&peer.jid, "afterwards")));
    assert_eq!((sent.devices.len(), sent.left_out.len()), (1, 0), "{sent}");
    assert_eq!(peer.text().0, "afterwards");

    // Processes that are killed at any moment lose their own message at most.
    for number in 0..KILLED {
        let mut process = start(&state, server, &format!("killed {number}"));
        std::thread::sleep(Duration::from_millis(25 * u64::try_from(number).unwrap()));
        let _ = process.kill();
        let _ = process.wait();
    }
    send(&ours, text(&peer.jid, "after the killed ones"));
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|body| body != "after the killed ones") {
        bodies.push(peer.text().0);
    }
    assert!(bodies.len() <= KILLED + 1, "{bodies:?}");
    peer.nothing_more();
}
