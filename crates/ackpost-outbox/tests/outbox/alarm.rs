//! The watchdog tells somebody else.

use std::time::Duration;

use ackpost_notify::{Context, Outcome, ServiceUrl};
use ackpost_outbox::{AcceptOptions, Alarm, State};

use crate::support::{Place, Reaction, Sink, accept, flush, later, stamped, submission};

stamped!(
    trouble_is_told_once_through_another_target,
    an_alarm_is_nothing_to_raise_an_alarm_about
);

fn alarm() -> Alarm {
    let service = |url: &str| ServiceUrl::parse(url, &Context::default()).unwrap();
    Alarm {
        after: Duration::from_secs(600),
        services: vec![
            service("xmpp://user:pass@first.example/jane"),
            service("xmpp://user:pass@second.example/joe"),
        ]
        .into(),
    }
}

async fn trouble_is_told_once_through_another_target(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let alarm = alarm();
    sink.next("dead", std::iter::repeat_n(later(None), 100));
    sink.next("refusing", [Reaction::Answer(Outcome::refused("banned", "ask"))]);
    accept(&outbox, "dead", &[], "text").await;
    accept(&outbox, "slow", &[("alarm_after", "2h")], "text").await;
    sink.next("slow", std::iter::repeat_n(later(None), 100));
    flush(&outbox).await;
    assert!(outbox.watch(&alarm).await.unwrap().is_none(), "no problems yet");
    place.advance(599);
    assert!(outbox.watch(&alarm).await.unwrap().is_none());
    place.advance(1);
    let told = outbox
        .watch(&alarm)
        .await
        .unwrap()
        .expect("the target has been dead for ten minutes");
    assert!(told.target.contains("jane@first.example"), "{}", told.target);
    assert!(outbox.watch(&alarm).await.unwrap().is_none(), "once is enough");

    accept(&outbox, "refusing", &[], "text").await;
    flush(&outbox).await;
    let told = outbox
        .watch(&alarm)
        .await
        .unwrap()
        .expect("the dead-letter box has grown");
    flush(&outbox).await;
    let arrived = sink.texts("jane@first.example");
    assert_eq!(arrived.len(), 2);
    assert!(
        arrived[0].starts_with(
            "1 target does not answer: test://host/dead has accepted nothing for 10m (1 waiting): busy"
        ),
        "{}",
        arrived[0]
    );
    assert!(
        arrived[1].starts_with("1 message was given up: "),
        "{}",
        arrived[1]
    );
    assert!(
        arrived[1].ends_with("was given up for test://host/refusing: banned"),
        "{}",
        arrived[1]
    );
    assert_eq!(
        outbox.get(&told.id).await.unwrap().unwrap().state,
        State::Delivered
    );
    let alarms = outbox
        .log(None, 100)
        .await
        .unwrap()
        .into_iter()
        .filter(|event| event.kind == "alarm")
        .count();
    assert_eq!(alarms, 2);

    // The one with the longer patience, and not through a target that is in trouble itself.
    let destination = submission("x", &[]);
    assert_eq!(destination.rules.alarm_after, None);
    sink.next("jane@first.example", std::iter::repeat_n(later(None), 100));
    let message = ackpost_notify::Message::new("text");
    let services = &alarm.services;
    outbox
        .accept(&message, &[&services.get()[0]], &AcceptOptions::default())
        .await
        .unwrap();
    place.advance(1);
    flush(&outbox).await;
    place.advance(2 * 3600 - 602);
    assert!(
        outbox.watch(&alarm).await.unwrap().is_some(),
        "the alarm target itself has been silent for long"
    );
    place.advance(2);
    let told = outbox.watch(&alarm).await.unwrap().expect("two hours are over");
    assert!(told.target.contains("joe@second.example"), "{}", told.target);
}

async fn an_alarm_is_nothing_to_raise_an_alarm_about(place: Place) {
    let sink = Sink::new();
    let outbox = place.open(&sink).await;
    let refused = || Reaction::Answer(Outcome::refused("no", "none"));
    sink.next("a", [refused()]);
    sink.next("jane@first.example", [refused()]);
    accept(&outbox, "a", &[], "text").await;
    flush(&outbox).await;
    assert!(outbox.watch(&alarm()).await.unwrap().is_some());
    flush(&outbox).await;
    assert_eq!(outbox.stats().await.unwrap().dead, 2);
    assert!(outbox.watch(&alarm()).await.unwrap().is_none());
}
