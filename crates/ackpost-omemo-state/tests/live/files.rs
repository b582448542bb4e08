//! Encrypted files.

use std::sync::Arc;

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};
use ackpost_xmpp::{Attachment, Content, Outgoing, Target};

use crate::on_both_servers;
use crate::support::{account, jid, report, send};

on_both_servers!(
    a_file_for_python_omemo_in_the_older_version
    a_file_for_python_omemo_in_the_newer_version
    a_file_for_gajims_library
);

fn a_file_for_python_omemo_in_the_older_version(server: &XmppServer) {
    a_file_is_uploaded_encrypted_and_linked_with_its_key(server, "omemo", ("keys30", "keys31"));
}

fn a_file_for_python_omemo_in_the_newer_version(server: &XmppServer) {
    a_file_is_uploaded_encrypted_and_linked_with_its_key(server, "two", ("keys64", "keys65"));
}

fn a_file_for_gajims_library(server: &XmppServer) {
    a_file_is_uploaded_encrypted_and_linked_with_its_key(server, "dr", ("keys66", "keys67"));
}

fn a_file_is_uploaded_encrypted_and_linked_with_its_key(
    server: &XmppServer,
    library: &str,
    (us, them): (&str, &str),
) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, us, &folder.path().join("ours"));
    let mut peer = Peer::start(server, library, them, &folder.path().join("theirs"));
    let content = Content {
        subject: Some("A title".to_owned()),
        body: "and a text".to_owned(),
        attachments: vec![Arc::new(Attachment::new(
            "Secret Plan.TXT",
            "text/plain",
            "the whole plan",
        ))],
        ..Content::default()
    };
    let sent = send(&ours, Outgoing::new(Target::User(jid(&peer.jid)), content));
    report(&sent);
    // The subject is encrypted with the text; the link is its own message.
    assert_eq!(peer.text().0, "A title\nand a text");
    let link = peer.text().0;
    assert!(
        link.starts_with("aesgcm://") && !link.contains("Secret") && link.contains(".txt#"),
        "{link}"
    );
    peer.nothing_more();
    // The server stores other bytes than the file; with the key of the link they are the file.
    let (address, key) = omemo::Attachment::from_link(&link).unwrap();
    let mut stored = fetch(server, &address);
    assert_eq!(stored.len(), "the whole plan".len() + 16);
    key.decrypt(&mut stored).unwrap();
    assert_eq!(stored, b"the whole plan");
    // The log of the server has neither the text nor the link.
    let log = server.log_text();
    assert!(!log.contains("and a text") && !log.contains("A title") && !log.contains("aesgcm:"));
}

/// The stored bytes, by HTTP with the certificate authority of the server.
fn fetch(server: &XmppServer, address: &str) -> Vec<u8> {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--fail", "--cacert"])
        .arg(&server.ca)
        .arg(address)
        .output()
        .unwrap();
    assert!(output.status.success(), "{address}");
    output.stdout
}
