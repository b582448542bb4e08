//! State that is lost, on our side or theirs.

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};
use ackpost_xmpp::Event;
use serde_json::json;

use crate::on_both_servers;
use crate::support::{OLD, account, block_on, event, listen, received, report, send, text};

on_both_servers!(lost_state_is_repaired_on_either_side a_repeated_attempt_is_the_same_stanza);

fn lost_state_is_repaired_on_either_side(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let ours = account(server, "keys11", &state);
    let own = ours.jid().to_bare().to_string();
    let mut peer = Peer::start(server, "dr", "keys12", &folder.path().join("theirs"));
    send(&ours, text(&peer.jid, "before"));
    assert_eq!(peer.text().0, "before");
    peer.nothing_more();

    // Their session is lost: their next message starts another one, and ours goes on in it.
    peer.tell(&json!({"do": "forget", "jid": own}));
    peer.expect("synced");
    peer.send(&own, "after their loss", OLD);
    block_on(async {
        let (session, mut events) = listen(&ours).await;
        assert_eq!(received(&mut events).await.body, "after their loss");
        let outcome = session.send(vec![text(&peer.jid, "understood")]).await.remove(0);
        report(&outcome.into_result().unwrap());
        session.close().await;
    });
    assert_eq!(peer.text().0, "understood");

    // Our sessions are lost, as if an old state had been restored: what they send cannot be read, and is answered with a new
    // session.
    crate::support::device(&state)
        .forget(ours.jid(), &peer.jid.parse().unwrap(), false)
        .unwrap();
    block_on(async {
        let (session, mut events) = listen(&ours).await;
        peer.send(&own, "unreadable", OLD);
        let (reason, repaired, device) = event(&mut events, |event| match event {
            Event::Undecryptable {
                reason,
                repaired,
                device,
                ..
            } => Some((reason, repaired, device)),
            Event::Chat(received) => panic!("{received:?}"),
            _ => None,
        })
        .await;
        assert_eq!(
            reason,
            "cannot decrypt the message: there is no session with the device"
        );
        assert_eq!((repaired, device), (true, peer.device));
        // The empty message with the new session.
        peer.expect("empty");
        peer.send(&own, "readable again", OLD);
        assert_eq!(received(&mut events).await.body, "readable again");
        session.close().await;
    });

    // The whole state is lost: a new device, which reads and is read.
    std::fs::remove_file(&state).unwrap();
    let sent = report(&send(&ours, text(&peer.jid, "from a new device")));
    assert_eq!(sent.devices.iter().filter(|device| !device.own).count(), 1);
    assert_eq!(peer.text().0, "from a new device");
    peer.send(&own, "to the new device", OLD);
    block_on(async {
        let (session, mut events) = listen(&ours).await;
        assert_eq!(received(&mut events).await.body, "to the new device");
        session.close().await;
    });
}

fn a_repeated_attempt_is_the_same_stanza(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, "keys13", &folder.path().join("ours"));
    let mut peer = Peer::start(server, "omemo", "keys14", &folder.path().join("theirs"));
    let message = || {
        let mut message = text(&peer.jid, "once");
        message.id = Some("attempt-1".to_owned());
        message
    };
    let (first, second) = (message(), message());
    assert!(!report(&send(&ours, first)).repeated);
    assert!(report(&send(&ours, second)).repeated);
    assert_eq!(peer.text().0, "once");
    // It is not shown a second time: the message key is used.
    let why = peer.expect_unreadable();
    assert!(why.contains("DecryptionFailed"), "{why}");
    // The counters go on behind it.
    send(&ours, text(&peer.jid, "next"));
    assert_eq!(peer.text().0, "next");
}
