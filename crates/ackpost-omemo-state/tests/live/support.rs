//! Our side of the conversations.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ackpost_omemo_state::FileStore;
use ackpost_testkit::{Ejabberd, Prosody, XmppServer};
use ackpost_xmpp::omemo::{EncryptionMode, EncryptionReport, Omemo};
use ackpost_xmpp::{
    Account, Content, Delivered, Event, Events, Jid, Mode, Note, Outcome, Outgoing, Received, RoomTarget,
    Session, SessionOptions, Target, Verify,
};
use zeroize::Zeroizing;

pub(crate) const OLD: &str = "eu.siacs.conversations.axolotl";
pub(crate) const TWO: &str = "urn:xmpp:omemo:2";

/// Runs a test on both servers at the same time, each to its end.
pub(crate) fn on_both(test: fn(&XmppServer)) {
    let run = |name: &str, server: &'static XmppServer| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || test(server)).unwrap()
    };
    let both = [
        run("on Prosody", Prosody::shared()),
        run("on ejabberd", Ejabberd::shared()),
    ];
    let ended = both.map(std::thread::JoinHandle::join);
    if let Some(failed) = ended.into_iter().find_map(Result::err) {
        std::panic::resume_unwind(failed);
    }
}

/// Runs a future to its end. Sessions go on meanwhile on other threads, also while a test waits for a client.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn jid(text: &str) -> Jid {
    text.parse().unwrap()
}

pub(crate) fn user(server: &XmppServer, name: &str) -> Jid {
    jid(&format!("{name}@{}", server.domain))
}

/// A device whose state is in a file.
pub(crate) fn device(state: &Path) -> Omemo {
    let key = Zeroizing::new([7; 32]);
    Omemo::new(Arc::new(FileStore::new(state, key))).mode(EncryptionMode::Require)
}

/// An account without encryption.
pub(crate) fn plain(server: &XmppServer, name: &str) -> Account {
    Account::new(user(server, name), "keyspass".to_owned().into())
        .host(&server.host)
        .port(server.port)
        .mode(Mode::StartTls)
        .verify(Verify::Authorities(std::fs::read(&server.ca).unwrap().into()))
        .answer_timeout(Duration::from_secs(20))
        .connect_timeout(Duration::from_secs(20))
}

pub(crate) fn account(server: &XmppServer, name: &str, state: &Path) -> Account {
    plain(server, name).omemo(device(state))
}

pub(crate) fn text(to: &str, body: &str) -> Outgoing {
    Outgoing::new(Target::User(jid(to)), Content::text(body))
}

pub(crate) fn room_text(room: &str, body: &str) -> Outgoing {
    Outgoing::new(RoomTarget::new(jid(room)), Content::text(body))
}

/// Sends one message on its own connection.
pub(crate) fn outcome(account: &Account, message: Outgoing) -> Outcome {
    block_on(ackpost_xmpp::send(account, vec![message])).remove(0)
}

#[track_caller]
pub(crate) fn send(account: &Account, message: Outgoing) -> Delivered {
    outcome(account, message).into_result().unwrap()
}

#[track_caller]
pub(crate) fn report(delivered: &Delivered) -> EncryptionReport {
    let found = delivered.notes.iter().find_map(|note| match note {
        Note::Encrypted(report) => Some((**report).clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("not encrypted: {delivered:?}"))
}

/// Opens a session that receives.
pub(crate) async fn listen(account: &Account) -> (Session, Events) {
    listen_in(account, Vec::new()).await
}

pub(crate) async fn listen_in(account: &Account, rooms: Vec<RoomTarget>) -> (Session, Events) {
    Session::open(account, SessionOptions::receiving(rooms))
        .await
        .unwrap()
}

/// Waits for the next event that `wanted` takes.
pub(crate) async fn event<T>(events: &mut Events, wanted: impl Fn(Event) -> Option<T>) -> T {
    let mut others = Vec::new();
    let search = async {
        while let Some(event) = events.next().await {
            let shown = format!("{event:?}");
            if let Some(found) = wanted(event) {
                return found;
            }
            others.push(shown);
        }
        panic!("the session has ended");
    };
    let found = tokio::time::timeout(Duration::from_secs(60), search).await;
    found.unwrap_or_else(|_| panic!("the event does not come, but {others:#?}"))
}

/// Waits for the next encrypted text of another person; one that cannot be read fails.
pub(crate) async fn received(events: &mut Events) -> Received {
    event(events, |event| match event {
        Event::Chat(received) | Event::Room(received) if !received.own => Some(received),
        Event::Undecryptable { reason, .. } => panic!("{reason}"),
        _ => None,
    })
    .await
}

/// Checks that no text and no failure comes any more.
pub(crate) async fn nothing_more(events: &mut Events) {
    let end = tokio::time::Instant::now() + Duration::from_millis(400);
    while let Ok(Some(event)) = tokio::time::timeout_at(end, events.next()).await {
        match event {
            Event::Chat(received) | Event::Room(received) if received.own => {}
            Event::Chat(_) | Event::Room(_) | Event::Undecryptable { .. } => panic!("{event:?}"),
            _ => {}
        }
    }
}
