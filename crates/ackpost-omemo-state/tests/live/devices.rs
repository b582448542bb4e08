//! People with several devices, and devices that come and go.

use std::path::Path;

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};
use ackpost_xmpp::omemo::LeftOutReason;
use ackpost_xmpp::{Account, Event};
use serde_json::json;

use crate::on_both_servers;
use crate::support::{OLD, TWO, account, block_on, device, event, jid, listen, report, send, text, user};

on_both_servers!(
    one_stanza_serves_devices_of_both_versions_and_each_shows_it_once
    own_devices_get_copies
);

fn one_stanza_serves_devices_of_both_versions_and_each_shows_it_once(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let ours = account(server, "keys7", &state);
    let to = user(server, "keys8").to_string();
    let mut older = Peer::start(server, "dr", "keys8", &folder.path().join("older"));
    let mut newer = Peer::start(server, "two", "keys8", &folder.path().join("newer"));
    let sent = report(&send(&ours, text(&to, "for both")));
    let mut devices: Vec<(u32, &str)> = sent
        .devices
        .iter()
        .map(|device| (device.device, device.namespace))
        .collect();
    devices.sort_unstable_by_key(|(_, namespace)| namespace.len());
    assert_eq!(devices, [(newer.device, TWO), (older.device, OLD)]);
    for peer in [&mut older, &mut newer] {
        let (body, about) = peer.text();
        assert_eq!((body.as_str(), &about["both"]), ("for both", &true.into()));
        peer.nothing_more();
    }

    // A third device with both versions: it is addressed in one of them, and its key is reported.
    let mut third = Peer::start(server, "omemo", "keys8", &folder.path().join("third"));
    forget_lists(&state, &ours);
    let sent = report(&send(&ours, text(&to, "for three")));
    assert_eq!(sent.devices.len(), 3);
    let new: Vec<(u32, bool)> = sent
        .new_keys
        .iter()
        .map(|key| (key.device, key.changed))
        .collect();
    assert_eq!(new, [(third.device, true)]);
    assert!(
        sent.to_string()
            .starts_with("encrypted for 3 of 3 devices; changed key of device"),
        "{sent}"
    );
    for peer in [&mut older, &mut newer, &mut third] {
        assert_eq!(peer.text().0, "for three");
        peer.nothing_more();
    }

    // Junk and a dead device in the list stop nothing; a removed device gets nothing more.
    let older_device = older.device;
    older.quit();
    let list = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{OLD}.devicelist'><item id='current'>\
         <list xmlns='{OLD}'><device id='4711'/><device id='0'/><device id='x'/><device id='{id}'/><device id='{id}'/></list>\
         </item></publish></pubsub>",
        id = third.device
    );
    third.tell(&json!({"do": "raw", "xml": list}));
    assert!(
        third.expect("answered")["xml"]
            .as_str()
            .unwrap()
            .contains("result")
    );
    forget_lists(&state, &ours);
    let sent = report(&send(&ours, text(&to, "for the rest")));
    assert!(
        sent.devices.iter().all(|device| device.device != older_device),
        "{sent}"
    );
    let left: Vec<_> = sent
        .left_out
        .iter()
        .map(|left| (left.device, left.reason))
        .collect();
    assert_eq!(left, [(Some(4711), LeftOutReason::NoBundle)]);
    for peer in [&mut newer, &mut third] {
        assert_eq!(peer.text().0, "for the rest");
        peer.nothing_more();
    }
}

/// Lists are believed for an hour; sessions and keys stay.
fn forget_lists(state: &Path, ours: &Account) {
    device(state).forget_lists(ours.jid()).unwrap();
}

fn own_devices_get_copies(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, "keys9", &folder.path().join("ours"));
    let own = ours.jid().to_bare().to_string();
    let mut other = Peer::start(server, "omemo", "keys9", &folder.path().join("other"));
    let mut bob = Peer::start(server, "dr", "keys10", &folder.path().join("bob"));
    let sent = report(&send(&ours, text(&bob.jid, "hello bob")));
    assert_eq!(
        sent.devices.iter().filter(|device| device.own).count(),
        1,
        "{sent:?}"
    );
    assert_eq!(bob.text().0, "hello bob");
    let (body, about) = other.text();
    assert_eq!(
        (body.as_str(), about["sender"].as_str()),
        ("hello bob", Some(&*own))
    );

    // The other device writes: our session sees the copy, as our own.
    block_on(async {
        let (session, mut events) = listen(&ours).await;
        other.tell(&json!({"do": "send", "to": bob.jid, "also": [own], "text": "from the other", "ns": OLD}));
        other.expect("sent");
        let copy = event(&mut events, |event| match event {
            Event::Chat(received) => Some(received),
            Event::Undecryptable { reason, .. } => panic!("{reason}"),
            _ => None,
        })
        .await;
        assert_eq!((copy.body.as_str(), copy.own), ("from the other", true));
        assert_eq!(copy.from.map(|from| from.to_bare()), Some(jid(&own)));
        assert_eq!(copy.encryption.unwrap().device, other.device);
        session.close().await;
    });
    assert_eq!(bob.text().0, "from the other");
    bob.nothing_more();
}
