//! Rooms.

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};
use ackpost_xmpp::omemo::{EncryptionMode, LeftOutReason, OmemoError};
use ackpost_xmpp::{Note, RoomTarget, XmppError};
use serde_json::json;

use crate::on_both_servers;
use crate::support::{
    OLD, TWO, account, block_on, device, jid, listen_in, nothing_more, outcome, plain, received, report,
    room_text, send, user,
};

on_both_servers!(
    a_room_with_three_members_reads_everything_once
    a_room_with_three_members_in_the_newer_version
    open_and_anonymous_rooms_are_refused
);

fn a_room_with_three_members_reads_everything_once(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let ours = account(server, "keys25", &state);
    let own = ours.jid().to_bare().to_string();
    let room = format!("keys-{}@{}", std::process::id(), server.muc);
    let mut owner = Peer::start(server, "omemo", "keys26", &folder.path().join("owner"));
    let mut member = Peer::start(server, "dr", "keys27", &folder.path().join("member"));
    let without = user(server, "keys28");
    owner.tell(&json!({"do": "make", "room": room, "members": [own, member.jid, without.to_string()]}));
    owner.expect("synced");
    owner.expect("synced");
    member.tell(&json!({"do": "room", "room": room, "people": []}));
    member.expect("synced");

    // A member without OMEMO is named and left out; the others read it once.
    let sent = report(&send(&ours, room_text(&room, "one for all")));
    let mut devices: Vec<u32> = sent.devices.iter().map(|device| device.device).collect();
    devices.sort_unstable();
    let mut expected = [owner.device, member.device];
    expected.sort_unstable();
    assert_eq!(devices, expected);
    let left: Vec<_> = sent
        .left_out
        .iter()
        .map(|left| (left.jid.clone(), left.device, left.reason))
        .collect();
    assert_eq!(left, [(without.clone(), None, LeftOutReason::NoKeys)]);
    for peer in [&mut owner, &mut member] {
        let (body, about) = peer.text();
        assert_eq!(
            (body.as_str(), about["sender"].as_str()),
            ("one for all", Some(&*own))
        );
        peer.nothing_more();
    }
    let all = plain(server, "keys25").omemo(device(&state).mode(EncryptionMode::RequireAll));
    let refused = outcome(&all, room_text(&room, "not sent"));
    match refused.error() {
        Some(XmppError::Encryption(cause)) => {
            assert!(
                matches!(&**cause, OmemoError::MembersLeftOut { people, .. } if people[0].jid == without),
                "{cause}"
            );
        }
        other => panic!("{other:?}"),
    }

    // We listen, and answer in the session; our own reflections are not failures.
    block_on(async {
        let (session, mut events) = listen_in(&ours, vec![RoomTarget::new(jid(&room))]).await;
        let outcome = session
            .send(vec![room_text(&room, "from the session")])
            .await
            .remove(0);
        report(&outcome.into_result().unwrap());
        owner.tell(
            &json!({"do": "room", "room": room, "people": [own, member.jid], "text": "older", "ns": OLD}),
        );
        let message = received(&mut events).await;
        assert_eq!(message.body, "older");
        assert_eq!(message.encryption.unwrap().device, owner.device);
        // The one who has the older version alone is left out by the newer one.
        owner.tell(&json!({"do": "room", "room": room, "people": [own], "text": "newer", "ns": TWO}));
        let message = received(&mut events).await;
        assert_eq!((message.body.as_str(), message.room), ("newer", true));
        assert_eq!(message.encryption.unwrap().namespace, TWO);
        nothing_more(&mut events).await;
        session.close().await;
    });
    for peer in [&mut owner, &mut member] {
        assert_eq!(peer.text().0, "from the session");
    }
    assert_eq!(member.text().0, "older");
    member.nothing_more();
}

fn a_room_with_three_members_in_the_newer_version(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, "keys70", &folder.path().join("ours"));
    let own = ours.jid().to_bare().to_string();
    block_on(ours.publish_omemo()).unwrap();
    let room = format!("newer-{}@{}", std::process::id(), server.muc);
    let mut owner = Peer::start(server, "two", "keys71", &folder.path().join("owner"));
    let mut member = Peer::start(server, "two", "keys72", &folder.path().join("member"));
    owner.tell(&json!({"do": "make", "room": room, "members": [own, member.jid]}));
    owner.expect("synced");
    owner.expect("synced");
    member.tell(&json!({"do": "room", "room": room, "people": []}));
    member.expect("synced");
    let sent = report(&send(&ours, room_text(&room, "one for all")));
    assert!(sent.left_out.is_empty(), "{sent}");
    assert!(
        sent.devices.iter().all(|device| device.namespace == TWO),
        "{sent:?}"
    );
    for peer in [&mut owner, &mut member] {
        let (body, about) = peer.text();
        assert_eq!(
            (body.as_str(), about["room"].as_str()),
            ("one for all", Some(&*room))
        );
        peer.nothing_more();
    }
    block_on(async {
        let (session, mut events) = listen_in(&ours, vec![RoomTarget::new(jid(&room))]).await;
        let everybody = [own.clone(), owner.jid.clone(), member.jid.clone()];
        let mut pairs = [(&mut owner, "by the owner"), (&mut member, "by the member")];
        for speaker in 0..2 {
            let (peer, text) = &mut pairs[speaker];
            let mut people = everybody.to_vec();
            people.retain(|jid| *jid != peer.jid);
            peer.tell(&json!({"do": "room", "room": room, "people": people, "text": text, "ns": TWO}));
            let message = received(&mut events).await;
            assert_eq!((message.body.as_str(), message.room), (*text, true));
            // The peers are of one library, which cannot read a session that both sides start at once.
            let text = *text;
            assert_eq!(pairs[1 - speaker].0.text().0, text);
        }
        nothing_more(&mut events).await;
        session.close().await;
    });
}

fn open_and_anonymous_rooms_are_refused(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let room = server.room("open");
    let refused = outcome(&account(server, "keys29", &state), room_text(&room, "not sent"));
    let hides = OmemoError::RoomHidesAddresses { room: jid(&room) };
    assert_eq!(
        refused.error(),
        Some(&XmppError::Encryption(Box::new(hides.clone())))
    );
    let auto = plain(server, "keys29").omemo(device(&state).mode(EncryptionMode::Auto));
    let sent = send(&auto, room_text(&room, "in clear text"));
    assert!(
        sent.notes.contains(&Note::NotEncrypted(Box::new(hides))),
        "{sent:?}"
    );
}
