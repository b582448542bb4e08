//! First message, answers, restarts of both sides.

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};

use crate::on_both_servers;
use crate::support::{OLD, TWO, account, block_on, listen, nothing_more, received, report, send, text};

on_both_servers!(python_omemo_in_the_older_version python_omemo_in_the_newer_version gajims_library);

fn python_omemo_in_the_older_version(server: &XmppServer) {
    converse(server, "omemo", OLD, ("keys1", "keys2"));
}

fn python_omemo_in_the_newer_version(server: &XmppServer) {
    converse(server, "two", TWO, ("keys3", "keys4"));
}

fn gajims_library(server: &XmppServer) {
    converse(server, "dr", OLD, ("keys5", "keys6"));
}

fn converse(server: &XmppServer, library: &str, ns: &str, (us, them): (&str, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, us, &folder.path().join("ours"));
    let theirs = folder.path().join("theirs");
    let own = ours.jid().to_string();

    // The first message starts a session; the client reads it and answers with an empty message.
    let mut peer = Peer::start(server, library, them, &theirs);
    let first = report(&send(&ours, text(&peer.jid, "first grüße ☃")));
    assert_eq!(
        (
            first.devices.len(),
            first.devices[0].device,
            first.devices[0].namespace
        ),
        (1, peer.device, ns)
    );
    assert_eq!(first.new_keys[0].fingerprint, peer.fingerprint);
    assert_eq!(first.to_string(), "encrypted for 1 of 1 device");
    let (body, about) = peer.text();
    assert_eq!(
        (body.as_str(), &about["exchange"]),
        ("first grüße ☃", &true.into())
    );
    peer.nothing_more();

    // The empty answer waits in the archive: the second run reads it, and sends without key exchange.
    send(&ours, text(&peer.jid, "second"));
    let (body, about) = peer.text();
    assert_eq!((body.as_str(), &about["exchange"]), ("second", &false.into()));

    // Both sides talk at once.
    block_on(async {
        let (session, mut events) = listen(&ours).await;
        for number in 0..5 {
            peer.send(&own, &format!("theirs {number}"), ns);
            let outcomes = session
                .send(vec![
                    text(&peer.jid, &format!("ours {number}a")),
                    text(&peer.jid, &format!("ours {number}b")),
                ])
                .await;
            for outcome in outcomes {
                report(&outcome.into_result().unwrap());
            }
        }
        for number in 0..5 {
            let message = received(&mut events).await;
            assert_eq!(message.body, format!("theirs {number}"));
            let encryption = message.encryption.unwrap();
            assert_eq!(
                (encryption.device, encryption.namespace, &encryption.fingerprint),
                (peer.device, ns, &peer.fingerprint)
            );
        }
        nothing_more(&mut events).await;
        session.close().await;
    });
    let expected: Vec<String> = (0..5)
        .flat_map(|number| [format!("ours {number}a"), format!("ours {number}b")])
        .collect();
    assert_eq!(peer.texts(10), expected);
    peer.nothing_more();

    // Their client starts anew, and so does ours: what was sent meanwhile arrives, once.
    peer.quit();
    send(&ours, text(&format!("{them}@{}", server.domain), "while away 1"));
    send(&ours, text(&format!("{them}@{}", server.domain), "while away 2"));
    let mut peer = Peer::start(server, library, them, &theirs);
    assert_eq!(peer.texts(2), ["while away 1", "while away 2"]);
    peer.send(&own, "offline 1", ns);
    peer.send(&own, "offline 2", ns);
    block_on(async {
        let (session, mut events) = listen(&ours).await;
        let mut bodies = vec![received(&mut events).await.body, received(&mut events).await.body];
        bodies.sort();
        assert_eq!(bodies, ["offline 1", "offline 2"]);
        nothing_more(&mut events).await;
        session.close().await;
    });
    send(&ours, text(&peer.jid, "last"));
    assert_eq!(peer.text().0, "last");
    peer.nothing_more();
}
