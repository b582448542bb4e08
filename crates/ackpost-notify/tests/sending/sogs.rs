//! Tests of sending to communities (SOGS).

mod lost_answers;
mod outcomes;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackpost_notify::{Attachment, Confirmation, ConnectionOptions, Message, Outcome, Report, Status};
use ackpost_testkit::FakeSogs;
use sogs_client::ListOptions;

use super::{list_over, new_list, send, unique};

const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const KEY: &str = ackpost_testkit::SOGS_KEY;

fn fake_url(fake: &FakeSogs, rest: &str) -> String {
    format!(
        "session://{KEY}:{SEED}@127.0.0.1:{}/{rest}{}encrypt=no",
        fake.port(),
        if rest.contains('?') { '&' } else { '?' }
    )
}

/// A community server with the rooms `lobby` and `ops`, in its own folder.
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
    use sogs_server::admin::{
        AdminRequest, InitOptions, Operation, PermissionChange, RoomScope, init, perform,
    };

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
        place: RoomScope::Global,
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

/// The room `lobby` as a person sees it.
fn lobby(running: &sogs_server::Running, person: sogs_client::Identity) -> sogs_client::Room {
    let server = sogs_client::Server::builder(running.url(), running.public_key());
    let server = server.identity(person).build().expect("a client");
    server.room(&"lobby".parse().expect("a token"))
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
        ackpost_notify::ServiceUrl::parse(url, &ackpost_notify::Context::default()).expect("a service");
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
        let mut list = new_list();
        list.add(&url);
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
    let mut list = new_list();
    list.add(&url);
    let text = unique("with a file");
    let file = Attachment::bytes("log.txt", "it went well\n");
    let report = list.notify(Message::new(&text).attach(file)).await;
    assert_eq!(report.status, Status::Success, "{report:?}");

    // The same wire delivered again is found, not posted again.
    let service = list.services[0].clone();
    let target = service.targets().remove(0);
    let again = unique("twice");
    let chunk = ackpost_notify::Chunk {
        body: again.as_str().into(),
        ..ackpost_notify::Chunk::default()
    };
    let wire = service.encode(
        &target,
        &chunk,
        &ackpost_notify::MessageId::new(std::time::SystemTime::now()),
    );
    let stored = serde_json::to_string(&wire).expect("a wire can be stored");
    let pool =
        ackpost_notify::ConnectionPool::new(list.connections.clone(), ackpost_notify::Asset::default());
    for repeat in [false, true] {
        let pieces = vec![serde_json::from_str(&stored).expect("and read")];
        let mut delivery = ackpost_notify::Delivery::new(target.clone(), pieces);
        delivery.repeat = vec![repeat];
        let attempts = service.deliver(&pool, &delivery).await;
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
        ackpost_notify::ServiceUrl::parse(&url, &ackpost_notify::Context::default()).expect("a service");
    let target = service.targets().remove(0);
    let chunk = ackpost_notify::Chunk {
        body: "once".into(),
        ..ackpost_notify::Chunk::default()
    };
    let pool =
        ackpost_notify::ConnectionPool::new(ConnectionOptions::default(), ackpost_notify::Asset::default());
    for (repeat, word) in [(false, "delivered"), (true, "unconfirmed")] {
        let pieces = vec![service.encode(
            &target,
            &chunk,
            &ackpost_notify::MessageId::new(std::time::SystemTime::now()),
        )];
        let mut delivery = ackpost_notify::Delivery::new(target.clone(), pieces);
        delivery.repeat = vec![repeat];
        let attempts = service.deliver(&pool, &delivery).await;
        assert_eq!(attempts[0].outcome.word(), word, "{attempts:?}");
    }
    running.shutdown().await;
}

/// An edit brings its attachments along; if the message is gone, the report says that a new one was posted.
#[tokio::test]
async fn an_edit_changes_the_message_and_says_so_when_it_is_gone() {
    let me = session_protocol::Identity::from_seed_hex(SEED).expect("a seed");
    let (_folder, running) = community_of(&me).await;
    let room = lobby(&running, me);
    let firing = room.post("the disk is full").await.expect("posted").id;
    let base = running
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let key = running.public_key();
    let send = async |file: bool| {
        let mut list = new_list();
        list.add(&format!("session://{key}:{SEED}@{base}/lobby?edit={firing}"));
        let mut message = Message::new("resolved");
        if file {
            message = message.attach(Attachment::bytes("graph.txt", "1 2 3\n"));
        }
        let report = list.notify(message).await.targets.remove(0);
        match &report.outcome {
            Outcome::Delivered { id: Some(id), .. } => (id.parse::<u64>().expect("a number"), report.notes),
            other => panic!("{other:?}"),
        }
    };
    for file in [false, true] {
        let (id, notes) = send(file).await;
        assert_eq!((id, notes.as_slice()), (firing, &[][..]));
        let edited = room.message(firing).await.expect("the message");
        assert_eq!(edited.body(), Some("resolved"));
        let files = edited.content().expect("authentic").attachments().len();
        assert_eq!(files, usize::from(file));
    }
    room.delete(firing).await.expect("deleted");
    for file in [false, true] {
        let (id, notes) = send(file).await;
        assert_ne!(id, firing);
        assert_eq!(
            notes,
            [format!(
                "message {firing} is gone, so it was posted as a new message"
            )]
        );
    }
    running.shutdown().await;
}

#[tokio::test]
async fn answers_whispers_and_several_files_of_a_real_community() {
    let me = session_protocol::Identity::from_seed_hex(SEED).expect("a seed");
    let (_folder, running) = community_of(&me).await;
    let room = lobby(&running, me);
    let asked = room.post("who is on call?").await.expect("posted").id;
    let asked = room.message(asked).await.expect("the message");
    let (other_room, other_id) = somebody(&running, room.token()).await;

    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = told.clone();
    let progress = ackpost_notify::Progress(Arc::new(move |name, done, total| {
        seen.lock()
            .expect("not poisoned")
            .push((name.to_owned(), done, total));
    }));
    let options = ConnectionOptions::default().with_progress(Some(progress));
    let base = running
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let key = running.public_key();
    let send = async |parameters: String, message: Message| {
        let mut list = list_over(options.clone());
        list.add(&format!(
            "session://{key}:{SEED}@{base}/lobby?name=Bot&{parameters}"
        ));
        let report = list.notify(message).await;
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
    let answer = send(format!("reply_to={}", asked.id), answer).await;
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

    let whisper = send(format!("whisper={other_id}"), Message::new("only for you")).await;
    assert!(whisper.whisper && whisper.whisper_to == Some(other_id));
    let theirs = other_room.message(whisper.id).await.expect("they see it");
    assert_eq!(theirs.body(), Some("only for you"));
    let nobody = sogs_client::Server::builder(running.url(), running.public_key());
    let nobody = nobody.build().expect("a client").room(room.token());
    assert!(nobody.message(whisper.id).await.is_err(), "nobody else sees it");
    running.shutdown().await;
}
