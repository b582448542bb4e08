//! SOGS.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackpost_notify::{Attachment, Confirmation, Message, Options, Outcome, Report, Status, TagFilter};
use ackpost_testkit::FakeSogs;
use sogs_client::ListOptions;

use super::{notifier, unique};

const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const KEY: &str = ackpost_testkit::SOGS_KEY;

fn fake_url(fake: &FakeSogs, rest: &str) -> String {
    format!(
        "session://{KEY}:{SEED}@127.0.0.1:{}/{rest}{}encrypt=no",
        fake.port(),
        if rest.contains('?') { '&' } else { '?' }
    )
}

/// A community server with the rooms `lobby` and `ops`, in a folder of its own.
async fn community() -> (tempfile::TempDir, sogs_server::Running) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = sogs_server::Config::for_dir(folder.path());
    config.net.listen = "127.0.0.1:0".parse().expect("an address");
    let running = sogs_server::Server::start(config).await.expect("a server");
    for token in ["lobby", "ops"] {
        running
            .app()
            .store
            .create_room(sogs_server::store::NewRoom {
                token: token.to_owned(),
                name: token.to_owned(),
                description: None,
                defaults: sogs_server::store::RoomDefaults {
                    read: true,
                    accessible: true,
                    write: true,
                    upload: true,
                },
                now: sogs_server::unix_now(),
            })
            .await
            .expect("a store")
            .expect("a room");
    }
    (folder, running)
}

/// A community server with the room `lobby`, and its global admin.
async fn community_of(admin: &session_protocol::Identity) -> (tempfile::TempDir, sogs_server::Running) {
    use sogs_server::admin::{AdminRequest, InitOptions, Operation, PermissionChange, Place, init, perform};

    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("server");
    init(&dir, &InitOptions::default()).await.expect("made");
    let mut config = sogs_server::Config::load(&dir).expect("a configuration");
    config.net.listen = "127.0.0.1:0".parse().expect("an address");
    let running = sogs_server::Server::start(config).await.expect("a server");
    let room = Operation::RoomAdd {
        room: "lobby".to_owned(),
        name: None,
        description: None,
        permissions: PermissionChange::default(),
    };
    let admin = Operation::ModAdd {
        user: admin.session_id().to_string(),
        place: Place::Global,
        admin: true,
        visible: None,
    };
    for operation in [room, admin] {
        let request = AdminRequest {
            actor: "test".to_owned(),
            dry_run: false,
            operation,
        };
        perform(&dir, request).await.expect("done");
    }
    (folder, running)
}

/// Somebody whom the server has met.
async fn somebody(
    running: &sogs_server::Running,
    room: &sogs_client::RoomToken,
) -> (sogs_client::Room, sogs_client::SessionId) {
    let reader = sogs_client::Identity::from_seed([9; 32]);
    let server = sogs_client::Server::builder(running.url(), running.public_key());
    let server = server.identity(reader).build().expect("a client");
    let room = server.room(room);
    room.recent(ListOptions::default()).await.expect("messages");
    let id = server.my_id().await.expect("an id");
    (room, id)
}

async fn texts(url: &str, room: &str) -> Vec<(String, Option<String>)> {
    let service =
        ackpost_notify::Service::parse(url, &ackpost_notify::Context::default()).expect("a service");
    let access = service.sogs().expect("a SOGS service").expect("usable");
    let room = access.server.room(&room.parse().expect("a token"));
    let options = ListOptions {
        limit: Some(50),
        reactors: None,
        with_reaction_rows: false,
    };
    let mut messages = room.recent(options).await.expect("messages");
    messages.reverse();
    messages
        .into_iter()
        .map(|message| {
            assert!(
                message.problem().is_none(),
                "the signature verifies: {:?}",
                message.problem()
            );
            let data = message
                .content()
                .expect("content")
                .data_message
                .clone()
                .expect("a message");
            let name = data.profile.and_then(|profile| profile.display_name);
            (data.body.unwrap_or_default(), name)
        })
        .collect()
}

#[tokio::test]
async fn a_message_stands_in_both_rooms_of_a_real_community() {
    let (_folder, running) = community().await;
    let key = running.public_key().to_string();
    let base = running
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    for blind in ["auto", "yes"] {
        let url = format!("session://{key}:{SEED}@{base}/ops/lobby?name=CI&blind={blind}&encrypt=no");
        let mut list = notifier(Options::default());
        list.add(&url).expect("a URL");
        let text = unique(blind);
        let report = list.notify(Message::new(&text).title("Build")).await;
        assert_eq!(report.status, Status::Success, "{report:?}");
        let rooms: Vec<&str> = report
            .targets
            .iter()
            .map(|target| target.address.as_str())
            .collect();
        assert_eq!(rooms, ["ops", "lobby"], "delivered in the order written");
        for target in &report.targets {
            let Outcome::Delivered {
                confirmed_by: Confirmation::Server,
                id: Some(id),
            } = &target.outcome
            else {
                panic!("{target:?}");
            };
            assert!(id.parse::<u64>().is_ok());
            assert!(!target.target.contains(SEED) && !target.url.contains(SEED));
        }
        for room in ["lobby", "ops"] {
            let found = texts(&url, room).await;
            assert!(
                found.contains(&(format!("Build\r\n{text}"), Some("CI".to_owned()))),
                "{found:?}"
            );
        }
    }
    running.shutdown().await;
}

#[tokio::test]
async fn a_sealed_message_with_a_file_and_a_wire_sent_twice() {
    let (_folder, running) = community().await;
    let key = running.public_key().to_string();
    let base = running
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let url = format!("session://{key}:{SEED}@{base}/lobby");
    let mut list = notifier(Options::default());
    list.add(&url).expect("a URL");
    let text = unique("with a file");
    let file = Attachment::bytes("log.txt", "it went well\n");
    let report = list.notify(Message::new(&text).attach(file)).await;
    assert_eq!(report.status, Status::Success, "{report:?}");

    // The same wire delivered again is found, not posted again.
    let service = list
        .iter()
        .next()
        .and_then(|entry| entry.service())
        .expect("a service")
        .clone();
    let target = service.targets().remove(0);
    let again = unique("twice");
    let chunk = ackpost_notify::Chunk {
        body: again.as_str().into(),
        ..ackpost_notify::Chunk::default()
    };
    let wire = service.fix(
        &target,
        &chunk,
        &ackpost_notify::MessageId::new(std::time::SystemTime::now()),
    );
    let stored = serde_json::to_string(&wire).expect("a wire can be stored");
    let courier = ackpost_notify::ConnectionPool::new(list.options().courier.clone(), list.asset().clone());
    for repeat in [false, true] {
        let parcel = ackpost_notify::Parcel {
            target: target.clone(),
            wires: vec![serde_json::from_str(&stored).expect("and read")],
            files: Arc::new([]),
            repeat: vec![repeat],
            fixed: None,
        };
        let attempts = courier.deliver(&service, &parcel).await;
        assert!(attempts[0].outcome.is_delivered(), "{attempts:?}");
    }
    let found = texts(&url, "lobby").await;
    assert_eq!(found.iter().filter(|(body, _)| *body == again).count(), 1);
    assert_eq!(found.iter().filter(|(body, _)| *body == text).count(), 1);
    running.shutdown().await;
}

/// Members may write into the room and not read it.
#[tokio::test]
async fn a_repeat_that_cannot_be_looked_for_is_not_posted() {
    use sogs_server::admin::{AdminRequest, Operation, PermissionChange, perform};

    let (folder, running) = community_of(&session_protocol::Identity::from_seed([9; 32])).await;
    let request = AdminRequest {
        actor: "test".to_owned(),
        dry_run: false,
        operation: Operation::RoomAdd {
            room: "dropbox".to_owned(),
            name: None,
            description: None,
            permissions: PermissionChange {
                read: Some(false),
                ..PermissionChange::default()
            },
        },
    };
    perform(&folder.path().join("server"), request)
        .await
        .expect("done");
    let base = running
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let writer = "cd".repeat(32);
    let url = format!("session://{}:{writer}@{base}/dropbox", running.public_key());
    let service =
        ackpost_notify::Service::parse(&url, &ackpost_notify::Context::default()).expect("a service");
    let target = service.targets().remove(0);
    let chunk = ackpost_notify::Chunk {
        body: "once".into(),
        ..ackpost_notify::Chunk::default()
    };
    let courier = ackpost_notify::ConnectionPool::new(
        ackpost_notify::ConnectionOptions::default(),
        ackpost_notify::Asset::default(),
    );
    for (repeat, word) in [(false, "delivered"), (true, "unconfirmed")] {
        let parcel = ackpost_notify::Parcel {
            target: target.clone(),
            wires: vec![service.fix(
                &target,
                &chunk,
                &ackpost_notify::MessageId::new(std::time::SystemTime::now()),
            )],
            files: Arc::new([]),
            repeat: vec![repeat],
            fixed: None,
        };
        let attempts = courier.deliver(&service, &parcel).await;
        assert_eq!(attempts[0].outcome.word(), word, "{attempts:?}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn answers_whispers_and_several_files_of_a_real_community() {
    let me = session_protocol::Identity::from_seed_hex(SEED).expect("a seed");
    let (_folder, running) = community_of(&me).await;
    let server = sogs_client::Server::builder(running.url(), running.public_key());
    let server = server.identity(me).build().expect("a client");
    let room = server.room(&"lobby".parse().expect("a token"));
    let asked = room.post("who is on call?").await.expect("posted").id;
    let asked = room.message(asked).await.expect("the message");
    let (other_room, other_id) = somebody(&running, room.token()).await;

    let told = Arc::new(Mutex::new(Vec::new()));
    let mut options = Options::default();
    let seen = told.clone();
    options.courier.progress = Some(ackpost_notify::Progress(Arc::new(move |name, done, total| {
        seen.lock()
            .expect("not poisoned")
            .push((name.to_owned(), done, total));
    })));
    let base = running
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let key = running.public_key();
    let mut list = notifier(options);
    for parameters in [format!("reply_to={}", asked.id), format!("whisper={other_id}")] {
        let url = format!("session://{key}:{SEED}@{base}/lobby?name=Bot&{parameters}");
        list.add_tagged(&url, parameters.split('=').next().expect("a name"))
            .expect("a URL");
    }
    let send = async |tag: &str, message: Message| {
        let report = list.notify_to(message, &TagFilter::from_values([tag])).await;
        let Outcome::Delivered { id: Some(id), .. } = &report.targets[0].outcome else {
            panic!("{report:?}");
        };
        room.message(id.parse().expect("a number"))
            .await
            .expect("the message")
    };

    let answer = Message::new("I am")
        .attach(Attachment::bytes("one.txt", "1\n"))
        .attach(Attachment::bytes("two.bin", vec![7; 100_000]));
    let answer = send("reply_to", answer).await;
    let content = answer.content().expect("authentic").clone();
    assert_eq!(answer.display_name(), Some("Bot"));
    let names: Vec<_> = content
        .attachments()
        .iter()
        .map(|file| file.file_name.as_deref())
        .collect();
    assert_eq!(names, [Some("one.txt"), Some("two.bin")]);
    let quote = content.data_message.expect("a message").quote.expect("an answer");
    assert_eq!(
        (quote.id, quote.author),
        (Some(asked.quote_id()), Some(asked.author.to_string()))
    );
    {
        let told = told.lock().expect("not poisoned");
        let last = told.last().expect("progress");
        assert!(
            told.iter().any(|(name, ..)| name == "one.txt to lobby"),
            "{told:?}"
        );
        assert!(
            last.0 == "two.bin to lobby" && last.1 == last.2 && last.2 >= 100_000,
            "{last:?}"
        );
    }

    let whisper = send("whisper", Message::new("only for you")).await;
    assert!(whisper.whisper && whisper.whisper_to == Some(other_id));
    let theirs = other_room.message(whisper.id).await.expect("they see it");
    assert_eq!(theirs.body(), Some("only for you"));
    let nobody = sogs_client::Server::builder(running.url(), running.public_key());
    let nobody = nobody.build().expect("a client").room(room.token());
    assert!(nobody.message(whisper.id).await.is_err(), "nobody else sees it");
    running.shutdown().await;
}

#[tokio::test]
async fn a_post_whose_answer_was_lost_is_found_and_not_made_twice() {
    let (_folder, running) = community().await;
    let key = running.public_key().to_string();
    let relay = ackpost_testkit::Relay::start(running.local_addr(), ackpost_testkit::RelayOptions::default());
    let url = format!(
        "session://{key}:{SEED}@127.0.0.1:{}/lobby?blind=yes&rto=1&retry=3&wait=1",
        relay.port()
    );
    let mut list = notifier(Options::default());
    list.add(&url).expect("a URL");
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
    // Nothing comes back for good; the look before the repeat meets nobody.
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
        let mut list = notifier(Options::default());
        list.add(&url).expect("a URL");
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

/// The second attempt found the post of the first, which stands there once.
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
    let mut options = Options::default();
    options.courier.progress = Some(ackpost_notify::Progress(Arc::new(move |_, done, total| {
        if done == total {
            let _ = uploading.send(seen.bytes_down());
        }
    })));
    let mut list = notifier(options);
    list.add(&url).expect("a URL");
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

#[tokio::test]
async fn permanent_refusals_are_final_and_passing_ones_are_tried_again() {
    let fake = FakeSogs::start(KEY);
    let mut list = notifier(Options::default());
    list.add_tagged(&fake_url(&fake, "e403?retry=3&wait=0"), "refused")
        .expect("a URL");
    list.add_tagged(&fake_url(&fake, "flaky2?retry=3&wait=0"), "flaky")
        .expect("a URL");
    list.add_tagged(&fake_url(&fake, "e500?retry=2&wait=0"), "dead")
        .expect("a URL");
    list.add_tagged(&fake_url(&fake, "e500?optional=yes&wait=0"), "optional")
        .expect("a URL");
    let send = async |tag: &str| {
        list.notify_to(Message::new("x"), &TagFilter::from_values([tag]))
            .await
    };

    let refused = send("refused").await;
    assert_eq!(
        (refused.status, refused.targets[0].attempts),
        (Status::Failure, 1),
        "D11: {refused:?}"
    );
    assert_eq!(refused.targets[0].outcome.word(), "refused");
    assert!(!refused.targets[0].outcome.remedy().expect("a remedy").is_empty());

    let flaky = send("flaky").await;
    assert_eq!(
        (flaky.status, flaky.targets[0].attempts),
        (Status::Success, 3),
        "{flaky:?}"
    );

    let dead = send("dead").await;
    assert_eq!((dead.status, dead.targets[0].attempts), (Status::Failure, 3));
    assert_eq!(dead.targets[0].outcome.word(), "deferred");

    assert_eq!(
        send("optional").await.status,
        Status::Success,
        "an optional failure does not count"
    );
    assert_eq!(
        send("dead:0").await.targets[0].attempts,
        1,
        "the filter overrides the retries"
    );
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
async fn a_time_limit_names_what_it_cut_off() {
    let fake = FakeSogs::start(KEY);
    let mut list = notifier(Options {
        service_limit: Some(Duration::from_millis(700)),
        ..Options::default()
    });
    list.add(&fake_url(&fake, "quick/slow5?rto=20")).expect("a URL");
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
    assert!(
        by("slow5").elapsed >= Duration::from_millis(600),
        "{:?}",
        by("slow5").elapsed
    );
}

#[tokio::test]
async fn pieces_arrive_in_order_within_the_limit_of_the_server() {
    let fake = FakeSogs::start(KEY);
    let mut list = notifier(Options::default());
    list.add(&fake_url(&fake, "long/short?overflow=split"))
        .expect("a URL");
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
async fn what_did_not_load_or_was_dropped_keeps_a_run_from_success() {
    let fake = FakeSogs::start(KEY);
    let mut list = notifier(Options::default());
    assert!(
        list.add(&format!("{}, bogus://x", fake_url(&fake, "ok")))
            .is_err()
    );
    let report = list.notify(Message::new("x")).await;
    assert_eq!(report.status, Status::Partial, "D7");
    assert!(report.problems[0].cause.contains("bogus"));

    let mut list = notifier(Options::default());
    list.add(&fake_url(&fake, "good/bad!"))
        .expect("the good room loads");
    let report = list.notify(Message::new("x")).await;
    assert_eq!(report.status, Status::Partial, "D6: a dropped room shows");
    assert!(report.problems[0].cause.contains("bad!"));

    let empty = notifier(Options::default());
    assert_eq!(empty.notify(Message::new("x")).await.status, Status::Failure);
    let mut list = notifier(Options::default());
    list.add(&fake_url(&fake, "ok")).expect("a URL");
    let missing = Message::new("x").attach(Attachment::file("/nowhere/at/all"));
    let before = fake.posts().len();
    let report = list.notify(missing).await;
    assert_eq!(
        (report.status, fake.posts().len()),
        (Status::Partial, before + 1),
        "D21: the text goes without the file"
    );
    assert_eq!(report.targets[0].outcome.word(), "incomplete");
}

#[tokio::test]
async fn what_the_community_hides_is_not_delivered_and_not_sent_again() {
    let fake = FakeSogs::start(KEY);
    for (room, part) in [
        ("held", "waits for a moderator's approval"),
        ("hidden", "its filter hides it"),
        ("filtered", "approval or a filter hides it"),
    ] {
        let mut list = notifier(Options::default());
        list.add(&fake_url(&fake, &format!("{room}?retry=3&wait=0")))
            .expect("a URL");
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
        ("junk", false, "names no message number"),
        ("big", true, "does not show the message"),
        ("bare", true, "does not show the message"),
        ("s200", true, "has status 200 instead of 201"),
    ] {
        let mut list = notifier(Options::default());
        list.add(&fake_url(&fake, &format!("{room}?retry=2&wait=0")))
            .expect("a URL");
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
        let mut list = notifier(Options::default());
        list.add(&url).expect("a URL");
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
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").port()
    };
    let send = async |base: String, wait: f64| {
        let mut list = notifier(Options::default());
        list.add(&format!("{base}retry=1&wait={wait}")).expect("a URL");
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
