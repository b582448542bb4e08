//! Refusals, limits and answers that do not prove a delivery.

use super::*;

#[tokio::test]
async fn permanent_refusals_are_final_and_passing_ones_are_tried_again() {
    let fake = FakeSogs::start(KEY);
    let send = async |rest: &str| {
        let mut list = new_list();
        list.add(&fake_url(&fake, rest));
        list.notify(Message::new("x")).await
    };

    let refused = send("e403?retry=3&wait=0").await;
    assert_eq!(
        (refused.status, refused.targets[0].attempts),
        (Status::Failure, 1),
        "D11: {refused:?}"
    );
    assert_eq!(refused.targets[0].outcome.word(), "refused");
    assert!(!refused.targets[0].outcome.remedy().expect("a remedy").is_empty());

    let flaky = send("flaky2?retry=3&wait=0").await;
    assert_eq!(
        (flaky.status, flaky.targets[0].attempts),
        (Status::Success, 3),
        "{flaky:?}"
    );

    let dead = send("e500?retry=2&wait=0").await;
    assert_eq!((dead.status, dead.targets[0].attempts), (Status::Failure, 3));
    assert_eq!(dead.targets[0].outcome.word(), "deferred");

    assert_eq!(
        send("e500?optional=yes&wait=0").await.status,
        Status::Success,
        "an optional failure does not count"
    );
}

#[tokio::test]
async fn a_chain_ends_with_the_first_group_that_succeeds() {
    let fake = FakeSogs::start(KEY);
    let mut list = new_list();
    for room in ["e500", "f2", "f3"] {
        list.add(&fake_url(&fake, &format!("{room}?wait=0")));
    }
    let message = Message::new("x");
    // An index of no service is a service that failed.
    let chain = vec![vec![9], vec![0], vec![1], vec![2]];
    let run = list.run(&message).with_chains(vec![chain]);
    let pool =
        ackpost_notify::ConnectionPool::new(list.connections.clone(), ackpost_notify::Asset::default());
    let report = run.send(&list.rules, &pool, &message).await;
    pool.close().await;
    assert_eq!(report.status, Status::Success, "{report:?}");
    let tried: Vec<&str> = report.targets.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(tried, ["e500", "f2"]);
}

#[tokio::test]
async fn a_time_limit_names_what_it_cut_off() {
    let fake = FakeSogs::start(KEY);
    let mut list = new_list();
    list.rules.service_limit = Some(Duration::from_millis(700));
    list.add(&fake_url(&fake, "quick/slow5?rto=20"));
    let started = Instant::now();
    let report = list.notify(Message::new("x")).await;
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(report.status, Status::Timeout, "{report:?}");
    let by = |address: &str| {
        report
            .targets
            .iter()
            .find(|target| target.address == address)
            .expect("the room")
    };
    assert!(by("quick").outcome.is_delivered() && !by("quick").timed_out);
    assert!(
        by("slow5").timed_out
            && by("slow5")
                .outcome
                .reason()
                .expect("a reason")
                .contains("time limit")
    );
    let remedy = by("slow5").outcome.remedy().expect("a remedy");
    assert!(
        remedy.contains("it may have arrived") && remedy.contains("before you send it again"),
        "{remedy}"
    );
    assert!(
        by("slow5").elapsed >= Duration::from_millis(600),
        "{:?}",
        by("slow5").elapsed
    );
}

#[tokio::test]
async fn pieces_arrive_in_order_within_the_limit_of_the_server() {
    let fake = FakeSogs::start(KEY);
    let mut list = new_list();
    list.add(&fake_url(&fake, "long/short?overflow=split"));
    let lines: Vec<String> = (0..4).map(|n| n.to_string() + &"x".repeat(1990)).collect();
    let body = lines.join(
        "
",
    );
    let report = list.notify(Message::new(body)).await;
    assert_eq!(report.status, Status::Success, "{report:?}");
    assert_eq!(
        (report.targets[0].pieces.total, report.targets[0].pieces.accepted),
        (4, 4)
    );
    let texts: Vec<String> = fake
        .posts()
        .iter()
        .filter(|post| post.path.contains("/long/"))
        .filter_map(|post| post.text.clone())
        .collect();
    let order: String = texts.iter().filter_map(|text| text.chars().next()).collect();
    assert_eq!(order, "0123");
    assert!(
        fake.posts()
            .iter()
            .all(|post| post.authenticated && post.signature_valid && post.message_signature_valid)
    );
}

#[tokio::test]
async fn what_was_dropped_or_cannot_be_read_keeps_a_run_from_success() {
    let fake = FakeSogs::start(KEY);
    let report = send(&fake_url(&fake, "good/bad!"), "x").await;
    assert_eq!(report.status, Status::Partial, "D6: a dropped room shows");
    assert!(report.problems[0].cause.contains("bad!"));

    let missing = Message::new("x").attach(Attachment::file("/nowhere/at/all"));
    let before = fake.posts().len();
    let report = send(&fake_url(&fake, "ok"), missing).await;
    assert_eq!(
        (report.status, fake.posts().len()),
        (Status::Partial, before + 1),
        "D21: the text goes without the file"
    );
    assert_eq!(report.targets[0].outcome.word(), "incomplete");
    let report = send(&fake_url(&fake, "ok"), "").await;
    assert_eq!((report.status, report.targets.len()), (Status::Failure, 0));
    assert!(report.problems[0].cause.contains("nothing to send"));
}

#[tokio::test]
async fn hidden_posts_are_not_delivered_and_not_sent_again() {
    let fake = FakeSogs::start(KEY);
    for (room, part) in [
        ("held", "waits for a moderator's approval"),
        ("hidden", "its filter hides it"),
        ("filtered", "approval or a filter hides it"),
    ] {
        let mut list = new_list();
        list.add(&fake_url(&fake, &format!("{room}?retry=3&wait=0")));
        let report = list.notify(Message::new("x")).await;
        assert_eq!(report.status, Status::Failure, "{report:?}");
        let Outcome::Partial {
            lack: ackpost_notify::Lack::Withheld,
            id: Some(_),
            reason,
            remedy,
        } = &report.targets[0].outcome
        else {
            panic!("{report:?}");
        };
        assert!(reason.contains(part) && !remedy.is_empty(), "{reason}");
        assert_eq!(report.targets[0].attempts, 1);
    }
    assert_eq!(fake.posts().len(), 3);
}

#[tokio::test]
async fn an_answer_that_does_not_show_our_message_is_handed_over() {
    let fake = FakeSogs::start(KEY);
    for (room, id, part) in [
        ("junk", false, "has no message number"),
        ("big", true, "does not show the message"),
        ("bare", true, "does not show the message"),
        ("s200", true, "has status 200 instead of 201"),
    ] {
        let mut list = new_list();
        list.add(&fake_url(&fake, &format!("{room}?retry=2&wait=0")));
        let report = list.notify(Message::new("x")).await;
        let target = &report.targets[0];
        let Outcome::Delivered {
            confirmed_by: Confirmation::HandedOver,
            id: found,
        } = &target.outcome
        else {
            panic!("{room}: {report:?}");
        };
        assert_eq!((target.outcome.word(), found.is_some()), ("handed-over", id));
        assert!(target.notes.iter().any(|note| note.contains(part)), "{target:?}");
    }
    assert_eq!(fake.posts().len(), 4, "nothing is sent twice");
}

#[tokio::test]
async fn a_server_without_sealed_requests_needs_the_word_of_the_user() {
    let other = "a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238";
    let fake = FakeSogs::start(other);
    let url = format!("session://{other}:{SEED}@127.0.0.1:{}/lobby", fake.port());
    for (url, status) in [
        (url.clone(), Status::Failure),
        (format!("{url}?encrypt=no"), Status::Success),
    ] {
        let mut list = new_list();
        list.add(&url);
        let report = list.notify(Message::new("x")).await;
        assert_eq!(report.status, status, "{report:?}");
        if status == Status::Failure {
            let remedy = report.targets[0].outcome.remedy().expect("a remedy");
            assert!(remedy.contains("encrypt=no"), "{remedy}");
            assert!(fake.posts().is_empty(), "nothing goes out in clear");
        }
    }
}

#[tokio::test]
async fn the_pause_between_attempts_is_the_one_that_was_asked_for() {
    let port = ackpost_testkit::reserve_port();
    let send = async |base: String, wait: f64| {
        let mut list = new_list();
        list.add(&format!("{base}retry=1&wait={wait}"));
        let started = Instant::now();
        let report = list.notify(Message::new("x")).await;
        assert_eq!(report.targets[0].attempts, 2, "{report:?}");
        let pause = started.elapsed().as_secs_f64();
        assert!(pause >= wait && pause < wait + 1.5, "{base} wait={wait}: {pause}");
    };
    let community = || format!("session://{KEY}:{SEED}@127.0.0.1:{port}/ok?");
    let person = || format!("xmpps://u:p@127.0.0.1:{port}/jane@localhost?");
    tokio::join!(
        send(community(), 0.0),
        send(community(), 0.5),
        send(community(), 2.0),
        send(person(), 0.0),
        send(person(), 0.5),
        send(person(), 2.0),
    );
}
