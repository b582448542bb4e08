//! The desk with a real outbox and a real Alertmanager.

use std::sync::Arc;

use ackpost_notify::dispatch::BoxFuture;
use ackpost_notify::{Confirmation, Encoded, Message, MessageId, Outcome};
use ackpost_outbox::{
    AcceptOptions, DeliveryRequest, Destination, FlushSettings, OutboxConfig, Rules, SecretText, Submission,
    Transport, WorkerSettings,
};
use ackpost_testkit::Alertmanager;
use serde_json::json;

use super::*;
use crate::calls::Source;
use crate::model::alert::SourceKind;
use crate::model::people::Affiliation;

const ROOM: &str = "xmpp:ops@rooms.example.org";

/// Takes everything; the id of each message is `sent`.
struct Taker;

impl Transport for Taker {
    fn encode(&self, _: &Destination, message: &Message, _: &MessageId) -> Result<Vec<Encoded>, Outcome> {
        Ok(vec![Encoded::from_value(
            "test",
            &json!({ "text": message.body }),
        )])
    }

    fn deliver<'a>(&'a self, _: DeliveryRequest<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async {
            Outcome::Delivered {
                confirmed_by: Confirmation::Room,
                id: Some("sent".to_owned()),
            }
        })
    }
}

struct Bench {
    folder: tempfile::TempDir,
    server: Alertmanager,
    outbox: Outbox,
    place: TargetKey,
    /// The list of the source alone.
    only: Option<&'static str>,
}

impl Bench {
    /// An alert that fires and was sent to a room.
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Alertmanager::start("http://127.0.0.1:9/");
        let labels = [("alertname", "DiskFull"), ("instance", "db1")];
        server.raise(&labels);
        let outbox = open(&folder).await;
        let destination = Destination {
            service: "test".to_owned(),
            url: SecretText::new("test://host"),
            masked: "test://host".to_owned(),
            url_id: "0badcafe".to_owned(),
            address: "ops".to_owned(),
            target: "test://host/ops".to_owned(),
            sender: None,
            guest: None,
        };
        let value = json!({"status": "firing", "groupLabels": {"alertname": "DiskFull"},
                           "commonLabels": {"alertname": "DiskFull", "instance": "db1"},
                           "alerts": [{"labels": {"alertname": "DiskFull", "instance": "db1"}}]});
        let alert =
            Alert::from_webhook(SourceKind::Alertmanager, "ops", &value, "disk full").expect("an alert");
        let context = SecretText::new(serde_json::to_string(&alert).expect("JSON"));
        let submission = Submission {
            destination: destination.clone(),
            rules: Rules::default(),
        };
        let options = AcceptOptions::default().with_context(Some(context));
        outbox
            .submit(&Message::new("disk full"), &[], vec![submission], &options)
            .await
            .expect("accepted");
        outbox
            .flush(WorkerSettings::default(), FlushSettings::default())
            .await
            .expect("delivered");
        let place = outbox.target_key_at(&destination);
        Self {
            folder,
            server,
            outbox,
            place,
            only: None,
        }
    }

    async fn desk(&self, change: impl FnOnce(&mut Settings)) -> Desk {
        let mut settings = Settings {
            allow: AllowList::parse(&["xmpp:jane@example.org", "xmpp:bob@example.org"]).expect("a list"),
            ..Settings::default()
        };
        change(&mut settings);
        let keys = vec!["ops".to_owned()];
        let source =
            Source::new("main", SourceKind::Alertmanager, self.server.url(), keys).expect("a source");
        let allow = self.only.map(|line| AllowList::parse(&[line]).expect("a list"));
        let sources = vec![Alerting::new(source.with_allow(allow)).expect("a client")];
        Desk::open(self.outbox.clone(), sources, settings)
            .await
            .expect("a desk")
    }

    fn incoming(&self, who: &str, body: &str, id: &str) -> Incoming {
        Incoming {
            person: Person::Xmpp {
                jid: Some(format!("{who}@example.org")),
                room: Some(("ops@rooms.example.org".to_owned(), Affiliation::None)),
            },
            shown: who.to_owned(),
            places: vec![self.place.clone()],
            at: ROOM.to_owned(),
            words: Words::Text {
                body: body.to_owned(),
                direct: false,
            },
            about: Some("sent".to_owned()),
            id: id.to_owned(),
            own: false,
            edited: false,
            private: false,
            verified: true,
            carried: false,
            age: None,
        }
    }

    fn active(&self) -> usize {
        let silences: Vec<serde_json::Value> =
            serde_json::from_str(&self.server.get("/api/v2/silences")).expect("JSON");
        silences
            .iter()
            .filter(|one| one["status"]["state"] == "active")
            .count()
    }

    async fn results(&self) -> Vec<String> {
        let acts = self.outbox.acts(None, 100).await.expect("the log");
        acts.iter()
            .rev()
            .map(|act| format!("{} {}", act.kind, act.result))
            .collect()
    }
}

async fn open(folder: &tempfile::TempDir) -> Outbox {
    let config = OutboxConfig::in_folder(folder.path());
    Outbox::open(config, Arc::new(Taker)).await.expect("an outbox")
}

fn text(answer: &Answer) -> &str {
    match answer {
        Answer::Openly { text, .. } | Answer::Privately(text) => text,
        Answer::Nothing => "",
    }
}

#[tokio::test]
async fn a_line_tells_that_a_silence_ended_while_the_alert_still_fires() {
    let bench = Bench::start().await;
    let desk = bench
        .desk(|settings| settings.default_silence = Duration::from_secs(2))
        .await;
    let (voice, mut lines) = mpsc::channel(4);
    desk.listen(ROOM, voice.clone());
    let answer = desk.hear(&bench.incoming("jane", "silence", "m1")).await;
    assert!(text(&answer).starts_with("🔕 silenced until"), "{answer:?}");
    let line = tokio::time::timeout(Duration::from_secs(30), lines.recv())
        .await
        .expect("in time");
    assert_eq!(
        line.as_deref(),
        Some("xmpp:ops@rooms.example.org\n🔔 the silence of DiskFull ended, and 1 alert is still firing")
    );
    // A desk that starts afterwards does not say it again.
    drop(desk);
    let desk = bench.desk(|_| ()).await;
    desk.listen(ROOM, voice);
    assert!(
        tokio::time::timeout(Duration::from_secs(4), lines.recv())
            .await
            .is_err()
    );
    assert_eq!(bench.results().await, ["silence done", "end done"]);
}

#[tokio::test]
async fn the_end_of_a_silence_is_told_after_a_restart() {
    let bench = Bench::start().await;
    let desk = bench
        .desk(|settings| settings.default_silence = Duration::from_secs(2))
        .await;
    let answer = desk.hear(&bench.incoming("jane", "silence", "m1")).await;
    assert!(text(&answer).starts_with("🔕 silenced until"), "{answer:?}");
    drop(desk);
    bench.outbox.close().await;
    let bench = Bench {
        outbox: open(&bench.folder).await,
        ..bench
    };
    let desk = bench.desk(|_| ()).await;
    let (voice, mut lines) = mpsc::channel(4);
    desk.listen(ROOM, voice);
    let line = tokio::time::timeout(Duration::from_secs(30), lines.recv())
        .await
        .expect("in time");
    assert!(line.is_some_and(|line| line.contains("the silence of DiskFull ended")));
    // The same gesture comes again out of a history.
    let again = Incoming {
        age: Some(Duration::from_secs(5)),
        ..bench.incoming("jane", "silence", "m1")
    };
    assert_eq!(desk.hear(&again).await, Answer::Nothing);
    assert_eq!(bench.active(), 0);
}

#[tokio::test]
async fn two_people_at_once_get_one_silence() {
    let bench = Bench::start().await;
    let (one, other) = (
        bench.desk(|_| ()).await,
        bench.incoming("bob", "silence 2h", "m2"),
    );
    let first = bench.incoming("jane", "silence 2h", "m1");
    let (first, second) = tokio::join!(one.hear(&first), one.hear(&other));
    let mut texts = [text(&first), text(&second)].map(|text| text.split(" until").next().unwrap_or_default());
    texts.sort_unstable();
    assert_eq!(texts, ["🔕 already silenced", "🔕 silenced"]);
    assert_eq!(bench.active(), 1);
    let longer = one.hear(&bench.incoming("bob", "silence 8h", "m3")).await;
    assert!(text(&longer).starts_with("🔕 silenced until"), "{longer:?}");
    assert_eq!(bench.active(), 1, "the longer one replaces the shorter one");
}

#[tokio::test]
async fn a_program_that_cannot_be_reached_is_told_with_a_remedy() {
    let bench = Bench::start().await;
    let desk = bench.desk(|_| ()).await;
    let Bench {
        server,
        outbox,
        place,
        folder,
        only,
    } = bench;
    let url = server.url().to_owned();
    drop(server);
    let bench = Bench {
        server: Alertmanager::start("http://127.0.0.1:9/"),
        outbox,
        place,
        folder,
        only,
    };
    let answer = desk.hear(&bench.incoming("jane", "silence 2h", "m1")).await;
    let expected = "⚠️ main cannot be reached";
    assert!(text(&answer).starts_with(expected), "{url}: {answer:?}");
    assert!(text(&answer).ends_with("check that the alerting program runs, and its address in [operate]"));
    assert_eq!(bench.results().await, ["silence failed"]);
}

#[tokio::test]
async fn reactions_count_once_also_after_a_restart() {
    let bench = Bench::start().await;
    let desk = bench.desk(|_| ()).await;
    let reacts = |now: &[&str], before: Option<&[&str]>, id: &str| {
        let all = |emoji: &[&str]| emoji.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        Incoming {
            words: Words::Reactions {
                now: all(now),
                before: before.map(all),
            },
            ..bench.incoming("jane", "", id)
        }
    };
    let answer = desk.hear(&reacts(&["🔕"], None, "r1")).await;
    assert!(text(&answer).starts_with("🔕 silenced until"), "{answer:?}");
    // Another emoji is added; nothing is known of the earlier ones.
    assert_eq!(
        desk.hear(&reacts(&["🔕", "👍"], None, "r2")).await,
        Answer::Nothing
    );
    let desk = bench.desk(|_| ()).await;
    assert_eq!(
        desk.hear(&reacts(&["🔕", "🎉"], None, "r3")).await,
        Answer::Nothing
    );
    assert_eq!(bench.active(), 1);
    let answer = desk.hear(&reacts(&["🎉"], None, "r4")).await;
    assert_eq!(text(&answer), "🔔 the silence was ended by jane");
    assert_eq!(bench.active(), 0);
    // A stranger takes nothing back that another person did.
    assert_eq!(desk.hear(&reacts(&[], None, "r5")).await, Answer::Nothing);
    assert_eq!(bench.results().await, ["silence done", "unsilence done"]);
}

#[tokio::test]
async fn a_source_with_a_list_of_its_own_is_answered_by_these_people_alone() {
    let mut bench = Bench::start().await;
    bench.only = Some("xmpp:dana@example.org");
    let desk = bench.desk(|_| ()).await;
    // Jane is on the list for all sources.
    let answer = desk.hear(&bench.incoming("jane", "silence 2h", "m1")).await;
    assert!(matches!(answer, Answer::Privately(_)), "{answer:?}");
    assert_eq!(bench.active(), 0);
    let answer = desk.hear(&bench.incoming("dana", "silence 2h", "m2")).await;
    assert!(text(&answer).starts_with("🔕 silenced until"), "{answer:?}");
    assert_eq!(bench.active(), 1);
    assert_eq!(bench.results().await, ["silence refused", "silence done"]);
}

/// Names cost nothing: strangers under many of them do not fill the log, and get no flood of private lines.
#[tokio::test]
async fn many_strangers_are_counted_and_few_of_them_are_told() {
    let bench = Bench::start().await;
    let desk = bench.desk(|_| ()).await;
    let mut told = 0;
    for number in 0..2 * REFUSALS {
        let who = format!("stranger{number}");
        let answer = desk.hear(&bench.incoming(&who, "silence 2h", &who)).await;
        told += usize::from(matches!(answer, Answer::Privately(_)));
    }
    assert_eq!(told, REFUSALS);
    assert_eq!(bench.active(), 0);
    let counts = desk.counts();
    let refused = counts.iter().find(|one| one.result == ActResult::Refused);
    let all = u64::try_from(2 * REFUSALS).expect("small");
    assert_eq!(refused.map(|one| one.count), Some(all));
    assert_eq!(
        bench.outbox.acts(None, 1_000).await.expect("the log").len(),
        REFUSALS
    );
}

/// A stranger who guesses numbers of alerts makes nobody look them up.
#[tokio::test]
async fn a_stranger_finds_no_alert_by_its_number() {
    let bench = Bench::start().await;
    let desk = bench.desk(|_| ()).await;
    let guess = |who: &str, id: &str| Incoming {
        about: None,
        ..bench.incoming(who, "!silence 2h #sent", id)
    };
    let answer = desk.hear(&guess("mallory", "m1")).await;
    assert_eq!(answer, Answer::Privately(words::refused()));
    let acts = bench.outbox.acts(None, 10).await.expect("the log");
    assert!(!acts[0].detail.contains_key("alert"), "{acts:?}");
    let answer = desk.hear(&guess("jane", "m2")).await;
    assert!(text(&answer).starts_with("🔕 silenced until"), "{answer:?}");
}

/// Strangers cost nothing. Their refused gestures must not hide the silence that holds.
#[tokio::test]
async fn strangers_do_not_hide_the_acts_about_an_alert() {
    let bench = Bench::start().await;
    let desk = bench.desk(|_| ()).await;
    let answer = desk.hear(&bench.incoming("jane", "silence 2h", "m1")).await;
    assert!(text(&answer).starts_with("🔕 silenced until"), "{answer:?}");
    for number in 0..REFUSALS {
        let who = format!("stranger{number}");
        desk.hear(&bench.incoming(&who, "ack", &who)).await;
    }
    let answer = desk.hear(&bench.incoming("jane", "unsilence", "m2")).await;
    assert_eq!(text(&answer), "🔔 the silence was ended by jane");
    assert_eq!(bench.active(), 0);
}

/// A listener that stops in the middle of an act, as for a changed configuration, leaves no silence that nobody knows.
#[tokio::test]
async fn a_listener_that_stops_does_not_cut_an_act_in_two() {
    let bench = Bench::start().await;
    let desk = bench.desk(|_| ()).await;
    let incoming = bench.incoming("jane", "silence 2h", "m1");
    {
        let mut hearing = std::pin::pin!(desk.hear(&incoming));
        // Until the act is begun, and no longer.
        while bench.results().await.is_empty() {
            let waited = tokio::time::timeout(Duration::from_millis(1), &mut hearing).await;
            assert!(waited.is_err(), "it ended before it was stopped");
        }
    }
    tokio::time::timeout(Duration::from_secs(20), async {
        while bench.results().await != ["silence done"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the act ends");
    let answer = desk.hear(&bench.incoming("jane", "unsilence", "m2")).await;
    assert_eq!(text(&answer), "🔔 the silence was ended by jane");
    assert_eq!(bench.active(), 0);
}
