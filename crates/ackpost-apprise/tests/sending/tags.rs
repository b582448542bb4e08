//! Tags choose and escalate, against a community server that misbehaves by the name of the room.

use ackpost_apprise::{Options, TagFilter};
use ackpost_notify::{Message, Status};
use ackpost_testkit::FakeSogs;

use super::notifier;

const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const KEY: &str = ackpost_testkit::SOGS_KEY;

fn fake_url(fake: &FakeSogs, rest: &str) -> String {
    format!(
        "session://{KEY}:{SEED}@127.0.0.1:{}/{rest}{}encrypt=no",
        fake.port(),
        if rest.contains('?') { '&' } else { '?' }
    )
}

#[tokio::test]
async fn a_filter_chooses_and_overrides_the_retries() {
    let fake = FakeSogs::start(KEY);
    let mut list = notifier(Options::default());
    list.add_tagged(&fake_url(&fake, "ok"), "good").expect("a URL");
    list.add_tagged(&fake_url(&fake, "e500?retry=2&wait=0"), "dead")
        .expect("a URL");
    let send = async |tag: &str| {
        list.notify_to(Message::new("x"), &TagFilter::from_values([tag]))
            .await
    };
    assert_eq!(send("good").await.status, Status::Success);
    let dead = send("dead").await;
    assert_eq!((dead.status, dead.targets[0].attempts), (Status::Failure, 3));
    assert_eq!(dead.targets[0].tags, ["dead"]);
    assert_eq!(send("dead:0").await.targets[0].attempts, 1);
    assert_eq!(send("nobody").await.status, Status::NoMatch);
}

#[tokio::test]
async fn escalation_stops_at_the_first_group_that_succeeds() {
    let fake = FakeSogs::start(KEY);
    let mut list = notifier(Options::default());
    for (tags, room) in [
        ("1:f", "e500"),
        ("2:f", "f2"),
        ("3:f", "f3"),
        ("always", "ralways"),
        ("p", "p1"),
    ] {
        list.add_tagged(&fake_url(&fake, room), tags).expect("a URL");
    }
    let report = list
        .notify_to(Message::new("x"), &TagFilter::from_values(["f"]))
        .await;
    assert_eq!(report.status, Status::Success, "{report:?}");
    let mut rooms: Vec<String> = fake.posts().iter().map(|post| post.path.clone()).collect();
    rooms.sort();
    assert_eq!(
        rooms,
        ["/room/e500/message", "/room/f2/message", "/room/ralways/message"]
    );
    let flat = list
        .notify_to(Message::new("x"), &TagFilter::from_values(["1:f"]))
        .await;
    assert_eq!(
        flat.status,
        Status::Partial,
        "the priority alone does not escalate, `always` was delivered"
    );
}

#[tokio::test]
async fn what_did_not_load_keeps_a_run_from_success() {
    let fake = FakeSogs::start(KEY);
    let mut list = notifier(Options::default());
    assert!(
        list.add(&format!("{}, bogus://x", fake_url(&fake, "ok")))
            .is_err()
    );
    let report = list.notify(Message::new("x")).await;
    assert_eq!(report.status, Status::Partial, "D7");
    assert!(report.problems[0].cause.contains("bogus"));

    let empty = notifier(Options::default());
    assert_eq!(empty.notify(Message::new("x")).await.status, Status::Failure);
}
