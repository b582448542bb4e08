//! A database that commits and whose answer is lost on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sogs_server::store::{NewRoom, RoomDefaults, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::store::open_url;

/// Between a client and PostgreSQL: cuts the connection after a COMMIT went through, before its answer comes back.
struct Cutter {
    url: String,
    cut: Arc<AtomicBool>,
    refuse: Arc<AtomicBool>,
}

impl Cutter {
    /// `url` has the form `postgres://USER@HOST:PORT/NAME`.
    async fn start(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (user, rest) = rest.split_once('@').unwrap();
        let (target, name) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, refuse) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let all = Self {
            url: format!("{scheme}://{user}@{address}/{name}"),
            cut: Arc::clone(&cut),
            refuse: Arc::clone(&refuse),
        };
        let target = target.to_owned();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if refuse.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&cut)));
            }
        });
        all
    }
}

async fn pass(client: TcpStream, server: TcpStream, cut: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let is_cut = Arc::new(AtomicBool::new(false));
    let answers = {
        let is_cut = Arc::clone(&is_cut);
        tokio::spawn(async move {
            let mut bytes = vec![0; 65_536];
            while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                // The answer to the COMMIT has arrived here, so that it is carried out.
                if is_cut.load(Ordering::SeqCst) || to_client.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        })
    };
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
        let commits = bytes[..count].windows(7).any(|part| part == b"COMMIT\0");
        if commits && cut.swap(false, Ordering::SeqCst) {
            is_cut.store(true, Ordering::SeqCst);
        }
        if to_server.write_all(&bytes[..count]).await.is_err() {
            break;
        }
        if is_cut.load(Ordering::SeqCst) {
            let _ = answers.await;
            return;
        }
    }
}

fn new_room(number: usize) -> NewRoom {
    NewRoom {
        token: format!("room{number}"),
        name: "Room".into(),
        description: None,
        defaults: RoomDefaults {
            read: true,
            accessible: true,
            write: true,
            upload: true,
        },
        now: 1.0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_done_once_and_answered() {
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .unwrap();
    let cutter = Cutter::start(database.url()).await;
    let store = Arc::new(open_url(&cutter.url).await.unwrap());
    for round in 0..5 {
        cutter.cut.store(true, Ordering::SeqCst);
        // Several in one transaction: each alone again would be done twice.
        let waiting: Vec<_> = (0..8)
            .map(|number| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.create_room(new_room(round * 8 + number)).await })
            })
            .collect();
        for made in waiting {
            let made = made.await.unwrap();
            assert!(
                matches!(made, Ok(Some(_))),
                "made once, and its maker hears of it: {made:?}"
            );
        }
        assert!(!cutter.cut.load(Ordering::SeqCst), "one was cut");
    }
    assert_eq!(store.rooms().await.unwrap().len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_outcome_cannot_be_asked_for_is_reported_as_uncertain() {
    let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database())
        .await
        .unwrap();
    let cutter = Cutter::start(database.url()).await;
    let store = open_url(&cutter.url).await.unwrap();
    cutter.refuse.store(true, Ordering::SeqCst);
    cutter.cut.store(true, Ordering::SeqCst);
    let error = store.create_room(new_room(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Uncertain(_)), "{error:?}");
    cutter.refuse.store(false, Ordering::SeqCst);
    // It was kept, and the writer works again.
    assert_eq!(
        store.create_room(new_room(0)).await.unwrap(),
        None,
        "the token is taken"
    );
    assert!(store.create_room(new_room(1)).await.unwrap().is_some());
}
