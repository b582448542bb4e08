//! The tracker against stanzas that are handed to it one by one, so that each fault happens at an exact moment.

mod limits;
mod looking;
mod resuming;

use super::*;
use crate::message::{Content, Outgoing, RoomTarget};

const ROOM: &str = "room@conference.localhost";

/// The tracker of a kept session with a server that is not known.
fn kept() -> DeliveryTracker {
    let mut tracker = one_shot();
    tracker.keep_ended();
    tracker
}

fn one_shot() -> DeliveryTracker {
    let own: Jid = "alice@localhost".parse().unwrap();
    let account = Account::new(own, "x".to_owned().into()).answer_timeout(LIMIT);
    let mut tracker = DeliveryTracker::new(&account);
    tracker.note_login(Line::default());
    tracker.logged_in();
    tracker
}

const LIMIT: Duration = Duration::from_secs(4);

fn outgoing(target: Target, id: &str, body: &str) -> Outgoing {
    let mut message = Outgoing::new(target, Content::text(body));
    message.id = Some(id.to_owned());
    message
}

fn person(jid: &str) -> Target {
    Target::User(jid.parse().unwrap())
}

fn room() -> Target {
    Target::Room(RoomTarget::new(ROOM.parse().unwrap()))
}

fn add(tracker: &mut DeliveryTracker, key: Key, message: &Outgoing) {
    for part in crate::parts::parts_of(message, &[]).unwrap() {
        tracker.add(key, part);
    }
    tracker.add_barrier();
}

/// Writes what waits, and returns it.
fn write(tracker: &mut DeliveryTracker) -> String {
    let written = tracker.take_out().concat();
    tracker.flushed();
    written
}

/// The value of an attribute of the last element that begins so.
fn attr(text: &str, element: &str, name: &str) -> String {
    let from = text
        .rfind(element)
        .unwrap_or_else(|| panic!("no {element} in {text}"));
    let tag = &text[from..from + text[from..].find('>').unwrap()];
    let at = tag.find(&format!(" {name}='")).unwrap() + name.len() + 3;
    tag[at..].split('\'').next().unwrap().to_owned()
}

/// The id of the last question that holds this text.
fn question(written: &str, holds: &str) -> String {
    let at = written
        .rfind(holds)
        .unwrap_or_else(|| panic!("no {holds} in {written}"));
    let from = written[..at].rfind("<iq ").unwrap();
    attr(&written[from..at], "<iq ", "id")
}

fn hear(tracker: &mut DeliveryTracker, stanza: &str) {
    let at = stanza.find(' ').unwrap();
    let stanza = format!("{} xmlns='jabber:client'{}", &stanza[..at], &stanza[at..]);
    tracker.handle(&crate::xml::parse(&stanza).unwrap());
}

/// Answers the last ping or other question that holds this text.
fn answer(tracker: &mut DeliveryTracker, written: &str, holds: &str, from: &str, inside: &str) {
    let id = question(written, holds);
    hear(
        tracker,
        &format!("<iq type='result' id='{id}' from='{from}'>{inside}</iq>"),
    );
}

fn pong(tracker: &mut DeliveryTracker, written: &str) {
    answer(tracker, written, "urn:xmpp:ping", "localhost", "");
}

/// The room lets us in under the nick `alice`.
fn enter(tracker: &mut DeliveryTracker) {
    hear(
        tracker,
        &format!(
            "<presence from='{ROOM}/alice'><x xmlns='{}'><item affiliation='member' role='participant'/>\
             <status code='110'/></x></presence>",
            ns::MUC_USER
        ),
    );
}

fn show(tracker: &mut DeliveryTracker, id: &str, body: &str) {
    hear(
        tracker,
        &format!("<message type='groupchat' from='{ROOM}/alice' id='{id}'><body>{body}</body></message>"),
    );
}

/// The only message that has ended.
fn ended(tracker: &mut DeliveryTracker) -> Outcome {
    let mut settled = tracker.take_settled();
    assert_eq!(settled.len(), 1, "{settled:?}");
    settled.remove(0).1
}

/// So much time passes: every time that the tracker remembers moves into the past.
fn pass(tracker: &mut DeliveryTracker, time: Duration) {
    for job in tracker.jobs.values_mut() {
        job.progress -= time;
    }
    for room in tracker.rooms.values_mut() {
        room.asked -= time;
    }
    for due in &mut tracker.due {
        due.at -= time;
        due.since -= time;
    }
}
