//! Scripts written for sendxmpp and go-sendxmpp, run by Ackpost under these names against a real server.

mod support;

use std::time::Duration;

use ackpost_testkit::{Prosody, Receiver, ServerOptions};
use support::Program;

const WAIT: Duration = Duration::from_secs(20);
const ROOM: &str = "open@conference.localhost";

fn rc(port: u16) -> String {
    format!(
        "# the account of scripts\nusername: alice@localhost\njserver: 127.0.0.1\nport: {port}\npassword: alicepass\nalias: cook\n"
    )
}

fn texts(bob: &mut Receiver, bodies: &[&str]) -> Vec<ackpost_testkit::Element> {
    bodies
        .iter()
        .map(|body| {
            let fits = |stanza: &ackpost_testkit::Element| stanza.child_text("body") == Some(*body);
            bob.wait(WAIT, fits).unwrap_or_else(|| panic!("{body:?} arrives"))
        })
        .collect()
}

#[test]
fn scripts_of_both_programs_deliver_to_people_and_rooms() {
    let server = Prosody::start(ServerOptions::default());
    let mut bob = Receiver::join(server.port, "localhost", "bob", "bobpass", &[ROOM]);
    let ca = server.ca.to_str().expect("a path").to_owned();
    for name in ["sendxmpp", "go-sendxmpp"] {
        let program = Program::called(name).secret_file(".sendxmpprc", &rc(server.port));
        let trust: &[&str] = if name == "sendxmpp" { &["-a", &ca] } else { &["-n"] };
        let run = |words: &[&str], text: &str| {
            let ran = program.run_with(&[trust, words].concat(), text.as_bytes());
            assert_eq!(
                (ran.code, ran.all().trim()),
                (0, ""),
                "{name} {words:?}: success is silent"
            );
        };
        let body = format!("from {name}");
        run(&["bob@localhost"], &body);
        let shown = texts(&mut bob, &[&body]);
        assert_eq!(shown[0].attr("type"), "chat");
        // `-c` and a nick; the file has the message.
        std::fs::write(program.home().join("text"), format!("dinner by {name}\n")).expect("a file");
        let nick: &[&str] = if name == "sendxmpp" { &["-r", "chef"] } else { &[] };
        run(&[&["-c", "-m", "text"], nick, &[ROOM]].concat(), "");
        let shown = texts(&mut bob, &[&format!("dinner by {name}")]);
        let from = shown[0].attr("from");
        let expected = if nick.is_empty() { "cook" } else { "chef" };
        assert_eq!(from, format!("{ROOM}/{expected}"));
        // Each line is a message.
        run(&["-i", "bob@localhost"], &format!("{name} one\n\n{name} two\n"));
        let one = format!("{name} one");
        texts(&mut bob, &[&one, &format!("{name} two")]);
    }
    let program = Program::called("sendxmpp").secret_file(
        "rc",
        &format!("alice@localhost;127.0.0.1:{} alicepass\n", server.port),
    );
    let ran = program.run_with(
        &["-a", &ca, "-f", "rc", "--subject=Disk", "bob@localhost"],
        b"full",
    );
    assert_eq!(ran.code, 0, "{}", ran.all());
    let shown = texts(&mut bob, &["full"]);
    assert_eq!(shown[0].child_text("subject"), Some("Disk"));
}

#[test]
fn a_message_that_does_not_arrive_ends_with_one_and_a_cause() {
    let server = Prosody::start(ServerOptions::default());
    let program = Program::called("go-sendxmpp").secret_file("rc", &rc(server.port));
    let ran = program.run_with(&["-n", "-f", "rc", "bob@localhost", "nobody@localhost"], b"hello");
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("nobody@localhost"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("alicepass"), "{}", ran.stderr);
    let ran = program.run_with(
        &[
            "-n",
            "-u",
            "alice@localhost",
            "-p",
            "wrong",
            "-f",
            "rc",
            "bob@localhost",
        ],
        b"hello",
    );
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("password"), "{}", ran.stderr);
    // The password of the file belongs to its owner alone.
    std::fs::set_permissions(
        program.home().join("rc"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .expect("set");
    let ran = program.run_with(&["-f", "rc", "bob@localhost"], b"hello");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("chmod 600 rc"), "{}", ran.stderr);
    for words in [
        &["-l"][..],
        &["--ox", "bob@localhost"],
        &["-n"],
        &["--nonsense", "bob@localhost"],
    ] {
        let ran = program.run_with(words, b"hello");
        assert_eq!(ran.code, 1, "{words:?}");
        assert!(ran.stderr.contains(';'), "a cause and a remedy: {}", ran.stderr);
    }
}
