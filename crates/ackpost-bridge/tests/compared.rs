//! Forty events in each direction at the same time, compared by their ids as people on both sides have them in the end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackpost_bridge::Store;
use ackpost_testkit::{Ejabberd, Prosody, XmppServer};
use ackpost_xmpp::{About, Content, Event, Events, Outgoing, Session};
use common::*;
use sogs_client::{Post, Room};

/// A message as it is to be in the end.
#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    /// `None`: it is gone.
    text: Option<String>,
    reactions: BTreeSet<String>,
    /// It answers the message with this number.
    answers: Option<usize>,
}

/// An event of the script, about messages by their number.
#[derive(Clone, Copy, Debug)]
enum Step {
    Say,
    Answer(usize),
    Edit(usize),
    Delete(usize),
    React(usize, &'static [&'static str]),
}

/// The script: 40 events.
fn script() -> Vec<Step> {
    use Step::{Answer, Delete, Edit, React, Say};
    let mut steps = vec![
        Say,
        Say,
        React(0, &["👍"]),
        Edit(1),
        Say,
        Answer(0),
        React(2, &["🎉", "👀"]),
        Delete(1),
        Say,
        Edit(2),
        React(0, &["👍", "❤"]),
        Say,
        Edit(2),
        Answer(4),
        React(2, &["👀"]),
        Delete(3),
        Say,
        React(0, &[]),
        Answer(5),
        Edit(8),
        Say,
        React(8, &["🚀"]),
        Say,
        Delete(9),
        Edit(10),
    ];
    while steps.len() < 40 {
        steps.push(Say);
    }
    steps
}

/// Returns the expected lines of the script.
fn outcome(side: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for step in script() {
        match step {
            Step::Say | Step::Answer(_) => lines.push(Line {
                text: Some(first(side, lines.len())),
                answers: match step {
                    Step::Answer(to) => Some(to),
                    _ => None,
                },
                ..Line::default()
            }),
            Step::Edit(at) => lines[at].text = lines[at].text.take().map(|text| edited(&text)),
            Step::Delete(at) => lines[at].text = None,
            Step::React(at, emoji) => {
                lines[at].reactions = emoji.iter().map(|&one| one.to_owned()).collect();
            }
        }
    }
    for line in &mut lines {
        if line.text.is_none() {
            *line = Line::default();
        }
    }
    lines
}

fn first(side: &str, number: usize) -> String {
    format!("{side} {number}")
}

fn edited(text: &str) -> String {
    format!("{text}+")
}

/// Runs the script as Alice in the XMPP room. Returns the ids that the room gave to her messages.
async fn in_xmpp(stage: &Stage, alice: &Session, events: &mut Events) -> Vec<String> {
    let (mut ids, mut places, mut texts) = (Vec::new(), Vec::<String>::new(), Vec::new());
    for step in script() {
        let plain = |body: String| Outgoing::new(stage.target(), Content::text(body));
        let about = |about: About| {
            let mut message = Outgoing::new(stage.target(), Content::text(""));
            message.about = Some(about);
            message
        };
        match step {
            Step::Say | Step::Answer(_) => {
                let text = first("word", ids.len());
                let mut message = plain(text.clone());
                if let Step::Answer(to) = step {
                    message.about = Some(About::Reply {
                        id: places[to].clone(),
                        to: None,
                        quoted: 0,
                    });
                }
                ids.push(send(alice, message).await);
                let own = hear(events, "the own text", |body| body == text).await;
                places.push(own.archive.unwrap().id);
                texts.push(text);
            }
            Step::Edit(at) => {
                texts[at] = edited(&texts[at]);
                let mut message = plain(texts[at].clone());
                message.replaces = Some(ids[at].clone());
                send(alice, message).await;
            }
            Step::Delete(at) => {
                let mut message = about(About::Retraction {
                    id: places[at].clone(),
                });
                message.content = Arc::new(Content::text("gone"));
                send(alice, message).await;
            }
            Step::React(at, emoji) => {
                let id = places[at].clone();
                let emoji = emoji.iter().map(|&one| one.to_owned()).collect();
                send(alice, about(About::Reactions { id, emoji })).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    places
}

/// Runs the script as Dora in the community. Returns the numbers of her messages.
async fn in_session(dora: &Room) -> Vec<u64> {
    let mut ids = Vec::<u64>::new();
    let mut texts = Vec::new();
    let mut reactions: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for step in script() {
        match step {
            Step::Say | Step::Answer(_) => {
                let text = first("note", ids.len());
                let mut post = Post::text(text.clone()).name("dora");
                if let Step::Answer(to) = step {
                    post = post.reply_to(&dora.message(ids[to]).await.unwrap());
                }
                ids.push(dora.post(post).await.unwrap().id);
                texts.push(text);
            }
            Step::Edit(at) => {
                texts[at] = edited(&texts[at]);
                dora.edit(ids[at], Post::text(texts[at].clone())).await.unwrap();
            }
            Step::Delete(at) => dora.delete(ids[at]).await.unwrap(),
            Step::React(at, emoji) => {
                let held = reactions.entry(at).or_default();
                for gone in held.iter().filter(|one| !emoji.contains(one)) {
                    dora.unreact(ids[at], gone).await.unwrap();
                }
                for new in emoji.iter().filter(|one| !held.contains(one)) {
                    dora.react(ids[at], new).await.unwrap();
                }
                *held = emoji.to_vec();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ids
}

/// A message of the bridge in the XMPP room, as a member has it.
#[derive(Clone, Debug, Default)]
struct Shown {
    text: Option<String>,
    reactions: BTreeSet<String>,
    answers: Option<String>,
}

/// The XMPP room as a member has it: by the ids of the room, and in order.
#[derive(Default)]
struct View {
    lines: BTreeMap<String, Shown>,
    order: Vec<String>,
    by_origin: BTreeMap<String, String>,
}

fn watch(mut events: Events) -> Arc<Mutex<View>> {
    let view = Arc::new(Mutex::new(View::default()));
    let into = view.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let mut view = into.lock().unwrap();
            match event {
                Event::Room(received) if received.stamp.is_none() => {
                    let id = received.archive.clone().unwrap().id;
                    let shown = Shown {
                        text: Some(received.own_words()),
                        answers: received.reply.clone().map(|reply| reply.id),
                        ..Shown::default()
                    };
                    if received.body.starts_with("Messages to ") {
                        // The bridge itself: this machine was slow.
                    } else if received.bridge.is_some() {
                        assert!(view.lines.insert(id.clone(), shown).is_none(), "an id twice");
                        view.order.push(id.clone());
                        view.by_origin.insert(received.id.unwrap(), id);
                    }
                }
                Event::Correction(received) => {
                    let id = view.by_origin.get(received.replaces.as_deref().unwrap()).cloned();
                    if let Some(line) = id.and_then(|id| view.lines.get_mut(&id)) {
                        line.text = Some(received.body);
                    }
                }
                Event::Reaction { from, to, emoji, .. } if from.resource() == Some("Session") => {
                    if let Some(line) = view.lines.get_mut(&to) {
                        line.reactions = emoji.into_iter().collect();
                    }
                }
                Event::Retracted(retraction) => {
                    if let Some(line) = view.lines.get_mut(&retraction.id) {
                        line.text = None;
                    }
                }
                _ => {}
            }
        }
    });
    view
}

/// Returns the state of Dora's messages in the XMPP room, by the ids of both sides.
async fn seen_in_xmpp(store: &Store, view: &Mutex<View>, ids: &[u64]) -> Vec<Line> {
    let mut places = Vec::new();
    for id in ids {
        let mapped = store.mapped("lobby", &id.to_string()).await.unwrap();
        places.push(mapped.first().map(|one| one.xmpp.clone()).unwrap_or_default());
    }
    let view = view.lock().unwrap();
    places
        .iter()
        .map(|place| {
            let shown = view.lines.get(place).cloned().unwrap_or_default();
            let Some(text) = shown.text else {
                return Line::default();
            };
            Line {
                text: Some(text.strip_prefix("dora: ").unwrap_or(&text).to_owned()),
                reactions: shown.reactions,
                answers: shown
                    .answers
                    .and_then(|id| places.iter().position(|place| *place == id)),
            }
        })
        .collect()
}

/// Returns the state of Alice's messages in the community, by the ids of both sides.
async fn seen_in_session(store: &Store, dora: &Room, places: &[String]) -> Vec<Line> {
    let mut found = Vec::new();
    let mut times = Vec::new();
    for place in places {
        let mapped = store.mapped("lobby", place).await.unwrap();
        let number = mapped.first().map_or(0, |one| one.session);
        let message = dora.message(u64::try_from(number).unwrap()).await.ok();
        times.push(message.as_ref().map(sogs_client::Message::quote_id));
        found.push(message);
    }
    found
        .into_iter()
        .map(|message| {
            let Some(body) = message.as_ref().and_then(|message| message.body()) else {
                return Line::default();
            };
            let message = message.as_ref().unwrap();
            let quote = message
                .content()
                .ok()
                .and_then(|content| content.data_message.as_ref()?.quote.as_ref()?.id);
            Line {
                text: Some(body.strip_prefix("alice: ").unwrap_or(body).to_owned()),
                reactions: message.reactions.keys().cloned().collect(),
                answers: quote.and_then(|id| times.iter().position(|time| *time == Some(id))),
            }
        })
        .collect()
}

async fn forty_events_in_each_direction(server: &'static XmppServer) {
    assert_eq!(script().len(), 40);
    let stage = Stage::new(server).await;
    stage.make_admin(0xd0).await;
    let (alice, mut events) = stage.join("alice", "alice").await;
    let dora = stage.main(0xd0);
    let bridge = stage.bridge("").await;
    warm(&stage, &alice, &mut events).await;
    let (_carol, watched) = stage.join("carol", "carol").await;
    let view = watch(watched);

    let (places, ids) = tokio::join!(in_xmpp(&stage, &alice, &mut events), in_session(&dora));
    let (words, notes) = (outcome("word"), outcome("note"));
    let until = tokio::time::Instant::now() + Duration::from_secs(240);
    let (in_session, in_xmpp) = loop {
        let seen = (
            seen_in_session(&bridge.store, &dora, &places).await,
            seen_in_xmpp(&bridge.store, &view, &ids).await,
        );
        if seen == (words.clone(), notes.clone()) || tokio::time::Instant::now() > until {
            break seen;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(in_session, words, "{:?}: in the community", server.kind);
    assert_eq!(in_xmpp, notes, "{:?}: in the XMPP room", server.kind);

    // Each once, and in order.
    let order = view.lock().unwrap().order.clone();
    let mut expected = Vec::new();
    for id in &ids {
        // A message that was deleted before the bridge looked never crossed.
        let mapped = bridge.store.mapped("lobby", &id.to_string()).await.unwrap();
        expected.extend(mapped.first().map(|one| one.xmpp.clone()));
    }
    assert_eq!(order, expected);
    let mut numbers = Vec::new();
    for place in &places {
        let mapped = bridge.store.mapped("lobby", place).await.unwrap();
        assert!(mapped.len() <= 1, "{mapped:?}");
        numbers.extend(mapped.first().map(|one| one.session));
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let from_alice = texts(&dora)
        .await
        .into_iter()
        .filter(|text| text.starts_with("alice: word"))
        .count();
    assert_eq!(
        from_alice,
        words.iter().filter(|line| line.text.is_some()).count()
    );
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_events_in_each_direction_arrive_once_and_in_order_on_prosody() {
    forty_events_in_each_direction(Prosody::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_events_in_each_direction_arrive_once_and_in_order_on_ejabberd() {
    forty_events_in_each_direction(Ejabberd::shared()).await;
}
