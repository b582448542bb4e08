//! PostgreSQL commits, and its answer is lost on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ackpost_outbox::{AcceptOptions, Location, Outbox, OutboxError, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Place, Reaction, Sink, accept, flush, later, state, submission};

/// Between the outbox and PostgreSQL: cuts the connection after a COMMIT was carried out, before its answer comes back.
#[derive(Clone)]
struct Cutter {
    url: String,
    cut: Arc<AtomicBool>,
}

impl Cutter {
    /// `url` has the form `postgres://USER@HOST:PORT/NAME`.
    async fn start(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (user, rest) = rest.split_once('@').unwrap();
        let (target, name) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let cutter = Self {
            url: format!("{scheme}://{user}@{address}/{name}"),
            cut: Arc::clone(&cut),
        };
        let target = target.to_owned();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&cut)));
            }
        });
        cutter
    }

    /// Cuts at the next COMMIT.
    fn arm(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    fn is_armed(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Cuts at the COMMIT that follows an attempt.
    fn reaction(&self) -> Reaction {
        let cutter = self.clone();
        Reaction::Do(Arc::new(move || cutter.arm()))
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

async fn open(place: &Place, sink: &Sink) -> (Outbox, Cutter) {
    let cutter = Cutter::start(place.database.as_ref().unwrap().url()).await;
    let mut config = place.config();
    config.location = Location::Postgres(cutter.url.clone().into());
    let outbox = Outbox::open(config, Arc::new(sink.clone())).await.unwrap();
    (outbox, cutter)
}

/// From now on new connections cannot ask for the outcome of a transaction.
fn forbid_questions(place: &Place) {
    let database = place.database.as_ref().unwrap();
    database.sql(
        "CREATE FUNCTION txid_status(bigint) RETURNS text LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'not now'; END $$",
    );
    database.sql(&format!(
        "ALTER DATABASE {} SET search_path = public, pg_catalog",
        database.name()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_whose_confirmation_is_lost_is_counted_once() {
    let place = Place::postgres();
    let sink = Sink::new();
    let (outbox, cutter) = open(&place, &sink).await;
    let id = accept(&outbox, "a", &[], "one|two|three").await.id;
    sink.next("a", [cutter.reaction(), cutter.reaction(), cutter.reaction()]);
    let summary = flush(&outbox).await;
    assert!(!cutter.is_armed(), "every COMMIT behind an attempt was cut");
    assert_eq!(sink.texts("a"), ["one", "two", "three"]);
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    assert_eq!(summary.delivered, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_attempt_whose_confirmation_is_lost_is_counted_once() {
    let place = Place::postgres();
    let sink = Sink::new();
    let (outbox, cutter) = open(&place, &sink).await;
    accept(&outbox, "a", &[], "text").await;
    let Reaction::Answer(busy) = later(None) else {
        unreachable!()
    };
    sink.next(
        "a",
        [Reaction::DoAnd(
            Arc::new({
                let cutter = cutter.clone();
                move || cutter.arm()
            }),
            busy,
        )],
    );
    flush(&outbox).await;
    assert!(!cutter.is_armed());
    let lanes = outbox.lanes().await.unwrap();
    assert_eq!(lanes[0].failures, 1);
    assert_eq!(outbox.stats().await.unwrap().services[0].deferred, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_unknown_outcome_is_not_written_twice() {
    let place = Place::postgres();
    forbid_questions(&place);
    let sink = Sink::new();
    let (outbox, cutter) = open(&place, &sink).await;
    let id = accept(&outbox, "a", &[], "one|two|three").await.id;
    sink.next("a", [cutter.reaction()]);
    flush(&outbox).await;
    assert!(!cutter.is_armed());
    assert_eq!(sink.texts("a"), ["one", "two", "three"]);
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    // The last step: the lane is given back with it.
    let id = accept(&outbox, "b", &[], "alone").await.id;
    sink.next("b", [cutter.reaction()]);
    let summary = flush(&outbox).await;
    assert!(!cutter.is_armed());
    assert_eq!(state(&outbox, &id).await, State::Delivered);
    assert_eq!(summary.delivered, 1);
    assert_eq!(outbox.stats().await.unwrap().services[0].delivered, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_whose_confirmation_is_lost_is_merged_once() {
    let place = Place::postgres();
    let sink = Sink::new();
    let (outbox, cutter) = open(&place, &sink).await;
    let dedup = [("dedup", "disk/10m")];
    let digest = [("digest", "10m")];
    accept(&outbox, "a", &dedup, "full").await;
    flush(&outbox).await;
    accept(&outbox, "b", &digest, "first").await;
    for _ in 0..2 {
        cutter.arm();
        accept(&outbox, "a", &dedup, "full").await;
        assert!(!cutter.is_armed());
    }
    cutter.arm();
    accept(&outbox, "b", &digest, "second").await;
    place.advance(601);
    flush(&outbox).await;
    assert_eq!(sink.texts("a")[1], "full\n(repeated 2 more times within 10m)");
    let digest = &sink.texts("b")[0];
    assert_eq!(digest.matches("second").count(), 1, "{digest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_unknown_outcome_is_reported_as_such() {
    let place = Place::postgres();
    forbid_questions(&place);
    let sink = Sink::new();
    let (outbox, cutter) = open(&place, &sink).await;
    let dedup = [("dedup", "disk/10m")];
    accept(&outbox, "a", &dedup, "full").await;
    accept(&outbox, "a", &dedup, "full").await;
    cutter.arm();
    let message = ackpost_notify::Message::new("full");
    let error = outbox
        .submit(
            &message,
            &[],
            vec![submission("a", &dedup)],
            &AcceptOptions::default(),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, OutboxError::Uncertain { .. }), "{error}");
    assert!(error.remedy().starts_with("look with"), "{}", error.remedy());
    // A message with an entry of its own is recognised by its id.
    cutter.arm();
    let id = accept(&outbox, "b", &[], "text").await.id;
    assert!(!cutter.is_armed());
    flush(&outbox).await;
    assert_eq!(sink.texts("b"), ["text"]);
    assert_eq!(state(&outbox, &id).await, State::Delivered);
}
