//! The first example of the crate, and `examples/send.rs`, against a real server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::Command;

use ackpost_testkit::{Ejabberd, Prosody};
use ackpost_xmpp::{ConfirmedBy, Mode, XmppError};
use common::*;

#[test]
fn an_account_sends_one_text_and_returns_the_proof() {
    for server in [Prosody::shared(), Ejabberd::shared()] {
        let account = account(server, "alice", Mode::StartTls);
        let bob = jid(&format!("bob@{}", server.domain));
        let proof = block_on(account.send(bob, unique("front page"))).unwrap();
        assert_eq!(proof.confirmed_by, ConfirmedBy::Server, "{:?}", server.kind);
        let nobody = jid(&format!("nobody-at-all@{}", server.domain));
        let error = block_on(account.send(nobody, "hello")).unwrap_err();
        assert!(
            error.to_string().contains("nobody-at-all@"),
            "{:?}: {error}",
            server.kind
        );
        assert!(!matches!(error, XmppError::Empty), "{:?}", server.kind);
    }
}

#[test]
fn the_example_program_sends() {
    let server = Prosody::shared();
    let folder = std::env::current_exe().unwrap();
    let program = folder.parent().unwrap().parent().unwrap().join("examples/send");
    let from = format!("alice@{}", server.domain);
    let to = format!("bob@{}", server.domain);
    let output = Command::new(&program)
        .args([&from, &to, &unique("example")])
        .env("XMPP_PASSWORD", password("alice"))
        .env("XMPP_SERVER", format!("{}:{}", server.host, server.port))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.starts_with("delivered, confirmed by server, id "), "{text}");
}
