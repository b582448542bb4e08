//! Publishing keys on nodes that others left in a bad state.

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};

use crate::on_both_servers;
use crate::support::{OLD, TWO, account, block_on, device, jid, report, send, text};
use serde_json::json;

on_both_servers!(
    nodes_are_opened_and_hold_the_bundles_of_all_devices
    the_own_entry_comes_back_into_an_overwritten_list
);

fn config(node: &str, fields: &[(&str, &str)]) -> String {
    let mut form =
        "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#node_config</value>\
                    </field>"
            .to_owned();
    for (name, value) in fields {
        form.push_str(&format!(
            "<field var='pubsub#{name}'><value>{value}</value></field>"
        ));
    }
    format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='{node}'>\
         <x xmlns='jabber:x:data' type='submit'>{form}</x></configure></pubsub>"
    )
}

fn publish(node: &str, id: &str, payload: &str) -> String {
    format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='{id}'>{payload}</item>\
         </publish></pubsub>"
    )
}

#[track_caller]
fn raw(peer: &mut Peer, xml: &str) {
    peer.tell(&json!({"do": "raw", "xml": xml}));
    let answer = peer.expect("answered");
    assert!(
        answer["xml"].as_str().unwrap().contains("type=\"result\""),
        "{answer}"
    );
}

/// Nodes with the wrong access model, that keep one item, or many. Then two devices on one account.
fn nodes_are_opened_and_hold_the_bundles_of_all_devices(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    // Another client of our account has left its mark.
    let mut other = Peer::start(server, "omemo", "keys21", &folder.path().join("other"));
    let list = format!("{OLD}.devicelist");
    let bundles = format!("{TWO}:bundles");
    raw(&mut other, &config(&bundles, &[("access_model", "presence")]));
    raw(
        &mut other,
        &config(&list, &[("access_model", "whitelist"), ("max_items", "20")]),
    );
    for number in 0..12 {
        let old = format!("<list xmlns='{OLD}'><device id='{}'/></list>", 1000 + number);
        raw(&mut other, &publish(&list, &format!("old-{number}"), &old));
    }
    let ours = account(server, "keys21", &folder.path().join("ours"));
    let own = block_on(ours.publish_omemo()).unwrap();
    assert_eq!(
        device(&folder.path().join("ours")).own_device(ours.jid()),
        Ok(Some(own.clone()))
    );
    // A stranger sees all devices, and the bundles of both that speak the newer version.
    let mut stranger = Peer::start(server, "two", "keys22", &folder.path().join("stranger"));
    stranger.send(&ours.jid().to_string(), "for both devices", TWO);
    assert_eq!(other.text().0, "for both devices");
    let seen = block_on(
        account(server, "keys22", &folder.path().join("seen"))
            .omemo_devices(&[ackpost_xmpp::Target::User(jid(&ours.jid().to_string()))]),
    )
    .unwrap();
    let devices = seen
        .into_iter()
        .find(|(jid, _)| jid == ours.jid())
        .unwrap()
        .1
        .unwrap();
    for id in [own.device, other.device] {
        let info = devices.iter().find(|info| info.device == id).unwrap();
        assert!(info.versions.contains(&TWO), "{info:?}");
        assert_eq!(info.left_out, None);
        assert!(info.fingerprint.is_some());
    }
    assert_eq!(
        devices
            .iter()
            .find(|info| info.device == own.device)
            .unwrap()
            .fingerprint,
        Some(own.fingerprint)
    );
}

fn the_own_entry_comes_back_into_an_overwritten_list(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, "keys23", &folder.path().join("ours"));
    let own = block_on(ours.publish_omemo()).unwrap();
    block_on(async {
        let (session, _events) = crate::support::listen(&ours).await;
        // Another client of the account writes the list without having read it.
        let mut other = Peer::start(server, "dr", "keys23", &folder.path().join("other"));
        let list = format!("<list xmlns='{OLD}'><device id='{}'/></list>", other.device);
        raw(
            &mut other,
            &publish(&format!("{OLD}.devicelist"), "current", &list),
        );
        let listed = || {
            let answer = other_list(&mut other);
            answer.contains(&format!("\"{}\"", own.device))
        };
        let mut listed = listed;
        for _ in 0..50 {
            if listed() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(listed(), "the entry is back");
        session.close().await;
    });
    // And the other device stays.
    let mut bob = Peer::start(server, "dr", "keys24", &folder.path().join("bob"));
    let sent = report(&send(&ours, text(&bob.jid, "hello")));
    assert_eq!(sent.devices.iter().filter(|device| device.own).count(), 1);
    assert_eq!(bob.text().0, "hello");
    let removed = block_on(ours.remove_omemo_devices(&[sent.devices[1].device, 12])).unwrap();
    assert_eq!(removed, [sent.devices[1].device]);
    let sent = report(&send(&ours, text(&bob.jid, "alone")));
    assert_eq!(sent.devices.len(), 1);
}

fn other_list(other: &mut Peer) -> String {
    other.tell(&json!({"do": "ask", "xml":
        format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{OLD}.devicelist'/></pubsub>")}));
    other.expect("answered")["xml"].as_str().unwrap().to_owned()
}
