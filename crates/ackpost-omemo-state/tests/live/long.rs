//! Long conversations and losses, with each client in each version on both servers: everything is read exactly once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ackpost_testkit::{OmemoPeer as Peer, XmppServer};
use ackpost_xmpp::Account;
use ackpost_xmpp::{Event, Events};
use serde_json::json;

use crate::on_both_servers_at_once;
use crate::support::{
    OLD, TWO, account, block_on, device, event, listen, nothing_more, plain, received, report, send, text,
    user,
};

on_both_servers_at_once!(
    two_hundred_messages_with_python_omemo_in_the_older_version
    two_hundred_messages_with_python_omemo_in_the_newer_version
    two_hundred_messages_with_gajims_library
    losses_with_python_omemo_in_the_older_version
    losses_with_python_omemo_in_the_newer_version
    losses_with_gajims_library
    a_list_that_is_overwritten_again_and_again_is_repaired_five_times
    more_key_exchanges_than_prekeys_are_read
    more_key_exchanges_than_the_other_side_has_prekeys
);

/// Rounds of a conversation, and messages of each side in one round.
const ROUNDS: usize = 10;
const EACH: usize = 10;

fn two_hundred_messages_with_python_omemo_in_the_older_version(server: &XmppServer) {
    two_hundred(server, "omemo", OLD, ("keys51", "keys52"));
}

fn two_hundred_messages_with_python_omemo_in_the_newer_version(server: &XmppServer) {
    two_hundred(server, "two", TWO, ("keys53", "keys54"));
}

fn two_hundred_messages_with_gajims_library(server: &XmppServer) {
    two_hundred(server, "dr", OLD, ("keys55", "keys56"));
}

/// Messages of both sides cross each other. After each round one side starts anew, and half of the messages of the next
/// round are sent while it is away. A message that comes twice is a wrong one of a later round; after the last round nothing
/// more may come.
fn two_hundred(server: &XmppServer, library: &str, ns: &str, (us, them): (&str, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let (state, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let ours = account(server, us, &state);
    let own = ours.jid().to_bare().to_string();
    let address = user(server, them).to_string();
    block_on(ours.publish_omemo()).unwrap();
    let mut peer = Some(Peer::start(server, library, them, &theirs));
    for round in 0..ROUNDS {
        let name = |who: &str, number: usize| format!("{who} {round:02} {number:02}");
        let (half, rest) = (0..EACH / 2, EACH / 2..EACH);
        if round % 2 == 1 {
            // Theirs is away: each message is its own process here.
            peer.take().unwrap().quit();
            for number in half.clone() {
                send(&ours, text(&address, &name("ours", number)));
            }
            peer = Some(Peer::start(server, library, them, &theirs));
        } else {
            // Ours is away.
            for number in half.clone() {
                peer.as_mut().unwrap().send(&own, &name("theirs", number), ns);
            }
        }
        let peer = peer.as_mut().unwrap();
        block_on(async {
            let (session, mut events) = listen(&ours).await;
            for number in if round % 2 == 1 { rest } else { 0..EACH } {
                let outcome = session.send(vec![text(&address, &name("ours", number))]).await;
                report(&outcome.into_iter().next().unwrap().into_result().unwrap());
                if round % 2 == 1 || number >= EACH / 2 {
                    peer.send(&own, &name("theirs", number), ns);
                }
            }
            if round % 2 == 1 {
                for number in half {
                    peer.send(&own, &name("theirs", number), ns);
                }
            }
            let mut read: Vec<String> = Vec::new();
            for _ in 0..EACH {
                read.push(received(&mut events).await.body);
            }
            if round + 1 == ROUNDS {
                nothing_more(&mut events).await;
            }
            read.sort();
            let expected: Vec<String> = (0..EACH).map(|number| name("theirs", number)).collect();
            assert_eq!(read, expected, "{library} round {round}");
            session.close().await;
        });
        let expected: Vec<String> = (0..EACH).map(|number| name("ours", number)).collect();
        assert_eq!(peer.texts(EACH), expected, "{library} round {round}");
    }
    peer.unwrap().nothing_more();
}

fn losses_with_python_omemo_in_the_older_version(server: &XmppServer) {
    losses(server, "omemo", OLD, ("keys57", "keys58"));
}

fn losses_with_python_omemo_in_the_newer_version(server: &XmppServer) {
    losses(server, "two", TWO, ("keys59", "keys60"));
}

fn losses_with_gajims_library(server: &XmppServer) {
    losses(server, "dr", OLD, ("keys61", "keys62"));
}

/// One side of a conversation that loses things.
struct Pair {
    ours: Account,
    own: String,
    state: PathBuf,
    ns: &'static str,
}

impl Pair {
    /// One text in each direction. One that comes twice is a wrong one of a later step.
    fn talk(&self, peer: &mut Peer, about: &str) {
        send(&self.ours, text(&peer.jid, &format!("ours {about}")));
        assert_eq!(peer.text().0, format!("ours {about}"));
        peer.send(&self.own, &format!("theirs {about}"), self.ns);
        block_on(async {
            let (session, mut events) = listen(&self.ours).await;
            assert_eq!(received(&mut events).await.body, format!("theirs {about}"));
            session.close().await;
        });
    }

    /// Nothing comes to either side any more.
    fn end(&self, peer: &mut Peer) {
        block_on(async {
            let (session, mut events) = listen(&self.ours).await;
            nothing_more(&mut events).await;
            session.close().await;
        });
        peer.nothing_more();
    }
}

/// A new device, a removed one, lost sessions and a lost state on our side, a lost state on theirs.
fn losses(server: &XmppServer, library: &str, ns: &'static str, (us, them): (&str, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let state = path("ours");
    let ours = account(server, us, &state);
    let pair = Pair {
        own: ours.jid().to_bare().to_string(),
        ours,
        state,
        ns,
    };
    let mut first = Peer::start(server, library, them, &path("first"));
    pair.talk(&mut first, "at first");

    // A second device reads, too; the first one is then taken out of the list and gets nothing more.
    let mut second = Peer::start(server, library, them, &path("second"));
    device(&pair.state).forget_lists(pair.ours.jid()).unwrap();
    let sent = report(&send(&pair.ours, text(&first.jid, "for two")));
    assert_eq!(ids(&sent), HashSet::from([first.device, second.device]));
    for peer in [&mut first, &mut second] {
        assert_eq!(peer.text().0, "for two");
        peer.nothing_more();
    }
    first.quit();
    remove_others(&mut second, ns);
    device(&pair.state).forget_lists(pair.ours.jid()).unwrap();
    let sent = report(&send(&pair.ours, text(&second.jid, "for one")));
    assert_eq!(ids(&sent), HashSet::from([second.device]));
    assert_eq!(second.text().0, "for one");
    pair.talk(&mut second, "after a removal");

    second.nothing_more();

    // Our sessions are lost: what they send cannot be read once, and starts a new session.
    let them_jid = user(server, them);
    device(&pair.state)
        .forget(pair.ours.jid(), &them_jid, false)
        .unwrap();
    block_on(async {
        let (session, mut events) = listen(&pair.ours).await;
        second.send(&pair.own, "unreadable", ns);
        assert!(unreadable(&mut events).await);
        second.expect("empty");
        session.close().await;
    });
    pair.talk(&mut second, "after a repair");

    // Our whole state is lost: a new device of ours.
    std::fs::remove_file(&pair.state).unwrap();
    pair.talk(&mut second, "from a new device");

    // Their whole state is lost: a new device of theirs.
    second.nothing_more();
    second.quit();
    let mut third = Peer::start(server, library, them, &path("third"));
    remove_others(&mut third, ns);
    device(&pair.state).forget_lists(pair.ours.jid()).unwrap();
    pair.talk(&mut third, "to a new device");
    pair.end(&mut third);
}

/// Key exchanges: more than the hundred prekeys of a bundle.
const EXCHANGES: usize = 120;

/// Half of them wait while we are away, and use one and the same bundle. A client with each library takes its turn, so that one
/// works while the other waits for an answer.
fn more_key_exchanges_than_prekeys_are_read(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, "keys73", &folder.path().join("ours"));
    let own = ours.jid().to_bare().to_string();
    block_on(ours.publish_omemo()).unwrap();
    let mut peers = [("dr", "keys74"), ("omemo", "keys75")]
        .map(|(library, name)| Peer::start(server, library, name, &folder.path().join(name)));
    let forget = json!({"do": "forget", "jid": own});
    let exchange = |peer: &mut Peer, number: usize| {
        peer.expect("synced");
        peer.send(&own, &format!("exchange {number:03}"), OLD);
    };
    for number in (0..EXCHANGES / 2).step_by(2) {
        for peer in &mut peers {
            peer.tell(&forget);
        }
        for (at, peer) in peers.iter_mut().enumerate() {
            exchange(peer, number + at);
        }
    }
    let mut read: Vec<String> = Vec::new();
    block_on(async {
        let (session, mut events) = listen(&ours).await;
        for _ in 0..EXCHANGES / 2 {
            read.push(received(&mut events).await.body);
        }
        // Answers to sessions that are forgotten meanwhile.
        for peer in &mut peers {
            peer.settle();
        }
        for number in (EXCHANGES / 2..EXCHANGES).step_by(2) {
            for peer in &mut peers {
                peer.tell(&forget);
            }
            for (at, peer) in peers.iter_mut().enumerate() {
                exchange(peer, number + at);
            }
            for _ in 0..peers.len() {
                read.push(received(&mut events).await.body);
            }
            for peer in &mut peers {
                peer.expect("empty");
            }
        }
        nothing_more(&mut events).await;
        session.close().await;
    });
    read.sort();
    let expected: Vec<String> = (0..EXCHANGES)
        .map(|number| format!("exchange {number:03}"))
        .collect();
    assert_eq!(read, expected);
    // The sessions of the last exchanges go on in both directions.
    for peer in &mut peers {
        send(&ours, text(&peer.jid, "after all of them"));
        assert_eq!(peer.text().0, "after all of them");
    }
}

/// We forget the session each time, and take one of the prekeys that are left.
fn more_key_exchanges_than_the_other_side_has_prekeys(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("ours");
    let ours = account(server, "keys76", &state);
    let them = user(server, "keys77");
    block_on(ours.publish_omemo()).unwrap();
    let mut peer = Peer::start(server, "omemo", "keys77", &folder.path().join("theirs"));
    for number in 0..EXCHANGES - 10 {
        device(&state).forget(ours.jid(), &them, false).unwrap();
        let body = format!("exchange {number:03}");
        send(&ours, text(&peer.jid, &body));
        let (read, report) = peer.text();
        assert_eq!((read, &report["exchange"]), (body, &json!(true)));
        if number % 50 == 49 {
            // A server keeps a hundred answers for an account that is never online, and returns the next ones.
            block_on(async {
                let (session, _events) = listen(&plain(server, "keys76")).await;
                tokio::time::sleep(std::time::Duration::from_millis(400)).await;
                session.close().await;
            });
        }
    }
    peer.nothing_more();
}

fn ids(sent: &ackpost_xmpp::omemo::EncryptionReport) -> HashSet<u32> {
    let theirs = sent.devices.iter().filter(|device| !device.own);
    theirs.map(|device| device.device).collect()
}

/// Returns true if the session is repaired after a message that cannot be read.
async fn unreadable(events: &mut Events) -> bool {
    event(events, |event| match event {
        Event::Undecryptable { repaired, .. } => Some(repaired),
        Event::Chat(received) => panic!("{received:?}"),
        _ => None,
    })
    .await
}

/// Writes device lists with this one device.
fn remove_others(peer: &mut Peer, ns: &str) {
    let id = peer.device;
    // A client of both versions is in both lists.
    for version in [OLD, TWO] {
        let (node, inside) = if version == OLD {
            (format!("{OLD}.devicelist"), "list")
        } else {
            (format!("{TWO}:devices"), "devices")
        };
        let device = if version == ns || peer_has_both(peer, &node) {
            format!("<device id='{id}'/>")
        } else {
            String::new()
        };
        overwrite(
            peer,
            &node,
            &format!("<{inside} xmlns='{version}'>{device}</{inside}>"),
        );
    }
}

/// Returns true if the list on a node has this device.
fn peer_has_both(peer: &mut Peer, node: &str) -> bool {
    let xml = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>");
    peer.tell(&json!({"do": "ask", "xml": xml}));
    let answer = peer.expect("answered");
    answer["xml"]
        .as_str()
        .unwrap()
        .contains(&format!("\"{}\"", peer.device))
}

fn overwrite(peer: &mut Peer, node: &str, list: &str) {
    let xml = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='current'>{list}</item>\
         </publish></pubsub>"
    );
    peer.tell(&json!({"do": "raw", "xml": xml}));
    let answer = peer.expect("answered");
    assert!(
        answer["xml"].as_str().unwrap().contains("type=\"result\""),
        "{answer}"
    );
}

/// Another client of the account removes our device each time. After five repairs in one session we give way until the
/// daily check, so that the two do not go on for ever.
fn a_list_that_is_overwritten_again_and_again_is_repaired_five_times(server: &XmppServer) {
    let folder = tempfile::tempdir().unwrap();
    let ours = account(server, "keys63", Path::new(&folder.path().join("ours")));
    let own = block_on(ours.publish_omemo()).unwrap();
    block_on(async {
        let (session, _events) = listen(&ours).await;
        let mut other = Peer::start(server, "dr", "keys63", &folder.path().join("other"));
        let node = format!("{OLD}.devicelist");
        let list = format!("<list xmlns='{OLD}'><device id='{}'/></list>", other.device);
        let mut repairs = 0;
        for number in 0..8 {
            overwrite(&mut other, &node, &list);
            if number == 6 {
                // The last two are waited for together: neither may be repaired.
                continue;
            }
            // Twice as long as answers may be delayed.
            for _ in 0..100 {
                if list_of(&mut other, &node).contains(&format!("\"{}\"", own.device)) {
                    repairs += 1;
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        assert_eq!(repairs, 5);
        session.close().await;
    });
}

fn list_of(peer: &mut Peer, node: &str) -> String {
    let xml = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>");
    peer.tell(&json!({"do": "ask", "xml": xml}));
    peer.expect("answered")["xml"].as_str().unwrap().to_owned()
}
