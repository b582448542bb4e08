//! Kept sessions with servers, rooms and people that are busy, silent or hostile.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ackpost_xmpp::{Event, Events, Mode, RoomTarget, Session, SessionOptions};
use common::fake::*;
use common::*;

const LONGEST: Duration = Duration::from_secs(60);

/// Waits until the fake heard something on its first connection, and returns everything that it heard there.
async fn heard(fake: &Fake, wanted: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + LONGEST;
    loop {
        let heard = fake.heard().into_iter().next().unwrap_or_default();
        if wanted(&heard) {
            return heard;
        }
        assert!(Instant::now() < until, "it is not heard: {heard}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn event(events: &mut Events, fits: impl Fn(&Event) -> bool) -> Event {
    let next = async {
        loop {
            let event = events.next().await.expect("the session goes on");
            if fits(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(LONGEST, next)
        .await
        .expect("it happens in time")
}

fn inside(room: &str) -> String {
    format!(
        "<presence from='{room}/alice'><x xmlns='http://jabber.org/protocol/muc#user'>\
         <item affiliation='member' role='participant'/><status code='110'/></x></presence>"
    )
}

/// A room that talks all the time says nothing about another one.
#[test]
fn a_silent_room_is_asked_although_another_one_talks() {
    let (busy, quiet) = ("b@c", "q@c");
    let fake = after_login(vec![
        reply("q@c/alice", move |_| inside(busy) + &inside(quiet)),
        // The names are short so that each byte may take its time.
        Step::Slowly(
            "<message type='groupchat' from='b@c/x'/>".repeat(14),
            Duration::from_millis(10),
        ),
    ]);
    block_on(async {
        let mut options = SessionOptions::default();
        options.resume = false;
        options.rooms = [busy, quiet].map(|room| RoomTarget::new(jid(room))).to_vec();
        options.ping_after = Duration::from_secs(2);
        let (_alice, _events) = Session::open(&to_fake(&fake, Mode::None), options).await.unwrap();
        let heard = heard(&fake, |heard| heard.contains("to='q@c/alice' id='self-")).await;
        assert!(!heard.contains("to='b@c/alice' id='self-"), "{heard}");
        assert!(!heard.contains("id='alive-"), "the line is not silent: {heard}");
    });
}

/// The id of a stanza is unique in one stream of its author only. Some programs count from 1 with each message that they send.
#[test]
fn messages_with_the_same_id_are_told_apart() {
    let message = |body: &str, place: &str, origin: &str| {
        let place = match place {
            "" => String::new(),
            place => format!("<stanza-id xmlns='urn:xmpp:sid:0' by='alice@localhost' id='{place}'/>"),
        };
        let origin = match origin {
            "" => String::new(),
            origin => format!("<origin-id xmlns='urn:xmpp:sid:0' id='{origin}'/>"),
        };
        format!(
            "<message type='chat' from='script@localhost/x' to='alice@localhost' id='1'><body>{body}</body>{place}{origin}</message>"
        )
    };
    let stream = [
        message("disk full", "a1", ""),
        message("disk full", "a2", ""),
        message("mail down", "", ""),
        message("net down", "", ""),
        // Sent twice by a program that repeats what was not confirmed.
        message("repeated", "a3", "o1"),
        message("repeated", "a4", "o1"),
        message("end", "a5", ""),
    ];
    let fake = after_login(vec![on("<presence", stream.concat())]);
    let bodies = block_on(async {
        let mut options = SessionOptions::receiving(Vec::new());
        options.resume = false;
        let (_alice, mut events) = Session::open(&to_fake(&fake, Mode::None), options).await.unwrap();
        let mut bodies = Vec::new();
        loop {
            let Event::Chat(received) = event(&mut events, |event| matches!(event, Event::Chat(_))).await
            else {
                continue;
            };
            if received.body == "end" {
                return bodies;
            }
            bodies.push(received.body);
        }
    });
    assert_eq!(
        bodies,
        ["disk full", "disk full", "mail down", "net down", "repeated"]
    );
}

/// Nobody takes the events, and their place is limited: what found none is not acknowledged.
#[test]
fn a_message_that_finds_no_place_is_not_acknowledged() {
    const FLOOD: usize = 9_000;
    let mut flood = String::new();
    for number in 0..FLOOD {
        let _ = write!(
            flood,
            "<message type='chat' from='bob@localhost/x' id='m{number}'><body>{number}</body>\
             <request xmlns='urn:xmpp:receipts'/></message>"
        );
    }
    flood.push_str("<iq type='get' id='behind' from='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
    let fake = after_login(vec![on("<presence", flood)]);
    block_on(async {
        let mut options = SessionOptions::receiving(Vec::new());
        options.resume = false;
        let (_alice, events) = Session::open(&to_fake(&fake, Mode::None), options).await.unwrap();
        let heard = heard(&fake, |heard| heard.contains("id='behind'")).await;
        let receipts = heard.matches("<received ").count();
        assert!(
            (8_000..=8_192).contains(&receipts),
            "{receipts} of {FLOOD} were acknowledged"
        );
        drop(events);
    });
}

/// A server that asks and asks, and never says that it has taken the answers.
#[test]
fn answers_are_not_kept_without_end_for_a_server_that_acknowledges_none() {
    let mut script = logged_in();
    script.pop();
    script.push(on(
        "<stream:stream",
        features("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>"),
    ));
    script.push(reply("</iq>", |heard| {
        let bind = attr(heard, "<iq ", "id").unwrap();
        format!(
            "<iq type='result' id='{bind}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>alice@localhost/x</jid></bind></iq>"
        )
    }));
    let mut questions = String::from("<enabled xmlns='urn:xmpp:sm:3' id='s1' resume='true'/>");
    for number in 0..11_000 {
        let _ = write!(
            questions,
            "<iq type='get' id='p{number}' from='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"
        );
    }
    script.push(on("<enable ", questions));
    let fake = one(script);
    block_on(async {
        let account = to_fake(&fake, Mode::None);
        let (_alice, mut events) = Session::open(&account, SessionOptions::default()).await.unwrap();
        event(&mut events, |event| matches!(event, Event::Offline { .. })).await;
    });
}
