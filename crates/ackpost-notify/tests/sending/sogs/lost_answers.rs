//! Answers that are lost on the way: the next attempt looks for the post.

use super::*;

#[tokio::test]
async fn a_post_whose_answer_was_lost_is_found_and_not_made_twice() {
    let (_folder, running) = community().await;
    let key = running.public_key().to_string();
    let relay = ackpost_testkit::Relay::start(running.local_addr(), ackpost_testkit::RelayOptions::default());
    let url = format!(
        "session://{key}:{SEED}@127.0.0.1:{}/lobby?blind=yes&rto=1&retry=3&wait=1",
        relay.port()
    );
    let mut list = new_list();
    list.add(&url);
    let text = unique("once");
    // The request arrives, its answer does not; then the way is free again.
    relay.mute(true);
    let free = async {
        tokio::time::sleep(Duration::from_millis(1_400)).await;
        relay.cut();
        relay.mute(false);
    };
    let (report, ()) = tokio::join!(list.notify(Message::new(&text)), free);
    assert_found_not_repeated(&report, &url, &text).await;
    running.shutdown().await;
}

#[tokio::test]
async fn a_lost_answer_that_nothing_settles_may_have_arrived() {
    let (_folder, running) = community().await;
    let key = running.public_key().to_string();
    // Nothing ever comes back; the look before the repeat meets nobody.
    for (away, more) in [
        (false, "retry=0"),
        (false, "retry=1&wait=0"),
        (true, "retry=1&wait=1"),
    ] {
        let relay =
            ackpost_testkit::Relay::start(running.local_addr(), ackpost_testkit::RelayOptions::default());
        let url = format!(
            "session://{key}:{SEED}@127.0.0.1:{}/lobby?blind=yes&rto=1&{more}",
            relay.port()
        );
        let mut list = new_list();
        list.add(&url);
        let text = unique("open");
        relay.mute(true);
        let go = async {
            tokio::time::sleep(Duration::from_millis(1_400)).await;
            if away {
                drop(relay);
                None
            } else {
                Some(relay)
            }
        };
        let (report, _relay) = tokio::join!(list.notify(Message::new(&text)), go);
        let outcome = &report.targets[0].outcome;
        let Outcome::Deferred { remedy, .. } = outcome else {
            panic!("{more}: {report:?}");
        };
        assert!(
            remedy.contains("may have arrived") && remedy.contains("before you send it again"),
            "{more}: {outcome:?}"
        );
        let there = format!("session://{key}:{SEED}@{}/lobby?blind=yes", running.local_addr());
        let found = texts(&there, "lobby").await;
        assert_eq!(found.iter().filter(|(body, _)| *body == text).count(), 1);
    }
    running.shutdown().await;
}

/// The second attempt found the post of the first, which is there once.
async fn assert_found_not_repeated(report: &Report, url: &str, text: &str) {
    assert_eq!(report.status, Status::Success, "{report:?}");
    let target = &report.targets[0];
    assert!(target.attempts >= 2, "{target:?}");
    assert!(
        target.notes.iter().any(|note| note.contains("not posted again")),
        "{target:?}"
    );
    let found = texts(url, "lobby").await;
    assert_eq!(found.iter().filter(|(body, _)| body == text).count(), 1);
}

#[tokio::test]
async fn a_post_with_a_file_whose_answer_was_lost_is_found_and_not_made_twice() {
    let (_folder, running) = community().await;
    let key = running.public_key().to_string();
    let relay = Arc::new(ackpost_testkit::Relay::start(
        running.local_addr(),
        // Slow enough to tell the upload's answer from the post that follows it.
        ackpost_testkit::RelayOptions {
            delay: Duration::from_millis(150),
            ..ackpost_testkit::RelayOptions::default()
        },
    ));
    let url = format!(
        "session://{key}:{SEED}@127.0.0.1:{}/lobby?blind=yes&rto=1&retry=3&wait=1",
        relay.port()
    );
    let (uploading, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let seen = Arc::clone(&relay);
    let progress = ackpost_notify::Progress(Arc::new(move |_, done, total| {
        if done == total {
            let _ = uploading.send(seen.bytes_down());
        }
    }));
    let mut list = list_over(ConnectionOptions::default().with_progress(Some(progress)));
    list.add(&url);
    let text = unique("once, with a file");
    let lose_the_posts_answer = async {
        let before = sent.recv().await.expect("the file is on its way");
        while relay.bytes_down() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        relay.mute(true);
        tokio::time::sleep(Duration::from_millis(1_700)).await;
        relay.cut();
        relay.mute(false);
    };
    let message = Message::new(&text).attach(Attachment::bytes("one.txt", "1\n"));
    let (report, ()) = tokio::join!(list.notify(message), lose_the_posts_answer);
    assert_found_not_repeated(&report, &url, &text).await;
    running.shutdown().await;
}

/// A page that is not full is not the end of the room.
#[tokio::test]
async fn a_post_behind_a_short_page_is_found() {
    let fake = FakeSogs::start(KEY);
    let mut list = new_list();
    list.add(&fake_url(&fake, "parts?retry=1&wait=0"));
    let report = list.notify(Message::new("once")).await;
    assert_eq!(report.status, Status::Success, "{report:?}");
    assert_eq!(fake.posts().len(), 1, "it was not posted again");
}

#[tokio::test]
async fn a_post_behind_too_many_newer_ones_is_not_made_again() {
    let fake = FakeSogs::start(KEY);
    let mut list = new_list();
    list.add(&fake_url(&fake, "endless?retry=1&wait=0"));
    let report = list.notify(Message::new("once")).await;
    let outcome = &report.targets[0].outcome;
    assert_eq!(outcome.word(), "unconfirmed", "{report:?}");
    assert!(
        outcome
            .reason()
            .unwrap_or_default()
            .contains("too many newer messages"),
        "{outcome:?}"
    );
    assert_eq!(fake.posts().len(), 1);
}

/// The clock was ahead when the message was made, and is not any more.
#[tokio::test]
async fn a_post_with_a_time_of_the_future_is_found() {
    let fake = FakeSogs::start(KEY);
    let url = fake_url(&fake, "parts");
    let service =
        ackpost_notify::ServiceUrl::parse(&url, &ackpost_notify::Context::default()).expect("a service");
    let target = service.targets().remove(0);
    let chunk = ackpost_notify::Chunk {
        body: "once".into(),
        ..ackpost_notify::Chunk::default()
    };
    let now = std::time::SystemTime::now();
    let ahead = ackpost_notify::MessageId::new(now + Duration::from_hours(24 * 365 * 300));
    let pieces = vec![service.encode(&target, &chunk, &ahead)];
    let pool =
        ackpost_notify::ConnectionPool::new(ConnectionOptions::default(), ackpost_notify::Asset::default());
    let mut delivery = ackpost_notify::Delivery::new(target, pieces);
    delivery.since = Some(now);
    for (repeat, word) in [(false, "deferred"), (true, "delivered")] {
        delivery.repeat = vec![repeat];
        let attempts = service.deliver(&pool, &delivery).await;
        assert_eq!(attempts[0].outcome.word(), word, "{attempts:?}");
    }
    assert_eq!(fake.posts().len(), 1, "it was not posted again");
}
