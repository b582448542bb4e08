//! `ackpost sendmail` and `mailq` beside a running gateway, on the same outbox.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ackpost_testkit::FakeSogs;

use crate::process::{Gateway, dead_url};
use crate::smtp::wait_for;
use crate::support::{Program, SEED, SERVER_KEY};

/// Runs the program under another name; its exit code and what it says.
fn called(gateway: &Gateway, name: &str, words: &[&str], input: &str) -> (i32, String) {
    let link = gateway.program.home().join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ackpost"), &link).expect("a link");
    }
    let mut child = Command::new(&link)
        .args(words)
        .env_clear()
        .env("HOME", gateway.program.home())
        .current_dir(gateway.program.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let ran = child.wait_with_output().expect("it ends");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    (ran.status.code().unwrap_or(-1), said)
}

#[test]
fn mail_of_cron_goes_into_the_outbox_of_a_gateway_which_delivers_it() {
    let fake = FakeSogs::start(SERVER_KEY);
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let program = Program::new()
        .file("mail.conf", &format!("disks={url}\n"))
        .file("dead.conf", &format!("{}\n", dead_url()));
    let outbox = program.home().join("gateway.db").display().to_string();
    let gateway = Gateway::with(program, &format!("outbox = \"{outbox}\"\n"));
    let place = format!("-Ooutbox={outbox}");
    let (code, said) = called(&gateway, "mailq", &[&place], "");
    assert_eq!((code, said.as_str()), (0, "Mail queue is empty\n"));
    // Only stored, as with `-odq` of a mail server: the gateway does the rest.
    let cron = "From: root\nTo: root\nSubject: Cron <root@nas> backup\n\ndone\n";
    let (code, said) = called(
        &gateway,
        "sendmail",
        &["-i", "-odq", &place, "-C", "mail.conf", "root"],
        cron,
    );
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("stored"), "{said}");
    assert_eq!(wait_for(&fake, 1), ["Cron <root@nas> backup\r\ndone"]);
    // Waiting messages are listed, also by the gateway.
    let (code, said) = called(
        &gateway,
        "sendmail",
        &["-i", "-odq", &place, "-C", "dead.conf", "root"],
        cron,
    );
    assert_eq!(code, 0, "{said}");
    for (name, words) in [
        ("mailq", vec![place.as_str()]),
        ("sendmail", vec!["-bp", place.as_str()]),
    ] {
        let (code, said) = called(&gateway, name, &words, "");
        assert_eq!((code, said.lines().count()), (0, 1), "{said}");
        assert!(said.contains("/lobby") && !said.contains(SEED), "{said}");
    }
    let listed = gateway.get("/outbox?state=waiting");
    assert_eq!(listed.status, 200, "{listed:?}");
    // An outbox that is not there, and one that cannot be opened.
    let (code, said) = called(&gateway, "mailq", &["-Ooutbox=nothing.db"], "");
    assert_eq!((code, said.as_str()), (0, "Mail queue is empty\n"));
    let (code, said) = called(&gateway, "mailq", &["-Ooutbox=mail.conf"], "");
    assert_eq!(code, 69, "{said}");
    assert_eq!(called(&gateway, "newaliases", &[], "").0, 0);
}
