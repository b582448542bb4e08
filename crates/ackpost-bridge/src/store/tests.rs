//! The database on SQLite and on PostgreSQL.

use ackpost_testkit::{Database, Postgres};

use super::{Most, NewEntry, Peer, Reacted, Side, State, Store, StoreError, Taken, entry};
use crate::job::{Job, Post};

/// Maximum number of entries that may wait.
const MOST: Most = Most { all: 100, each: 100 };

struct Place {
    store: Store,
    url: String,
    _folder: tempfile::TempDir,
    _database: Option<Database>,
}

async fn both() -> [Place; 2] {
    let folder = || tempfile::tempdir().expect("a folder");
    let (first, second) = (folder(), folder());
    let file = first.path().join("bridge ü.db").display().to_string();
    let database = tokio::task::spawn_blocking(|| Postgres::shared().database())
        .await
        .expect("a database");
    let url = database.url().to_owned();
    [
        Place {
            store: Store::open(&file).await.expect("a file"),
            url: file,
            _folder: first,
            _database: None,
        },
        Place {
            store: Store::open(&url).await.expect("a database"),
            url,
            _folder: second,
            _database: Some(database),
        },
    ]
}

fn message(native: &str, text: &str) -> NewEntry {
    NewEntry {
        side: Side::Session,
        source: format!("m:{native}"),
        native: native.to_owned(),
        reference: format!("ref-{native}"),
        author: "nick:alice".to_owned(),
        job: Job::Post(Post {
            name: "alice".to_owned(),
            text: text.to_owned(),
            ..Post::default()
        }),
        reacted: None,
        made: 1_000,
    }
}

#[tokio::test]
async fn an_event_makes_one_entry_and_entries_keep_their_order() {
    for place in both().await {
        let store = &place.store;
        let events = [message("a", "one"), message("b", "two")];
        let places = [("xmpp.after", "b".to_owned())];
        assert_eq!(
            store.take("lobby", &events, &places, MOST).await.expect("taken"),
            2
        );
        assert_eq!(
            store.take("lobby", &events, &[], MOST).await.expect("taken"),
            0,
            "read twice"
        );
        assert_eq!(
            store.meta("lobby", "xmpp.after").await.expect("read").as_deref(),
            Some("b")
        );
        let first = store
            .next("lobby", Side::Session)
            .await
            .expect("read")
            .expect("an entry");
        assert_eq!(first.native, "a");
        assert!(store.next("lobby", Side::Xmpp).await.expect("read").is_none());
        store.prepare(first.id, "bytes").await.expect("written");
        let again = store
            .next("lobby", Side::Session)
            .await
            .expect("read")
            .expect("an entry");
        assert_eq!((again.id, again.prepared.as_str()), (first.id, "bytes"));
        assert!(
            !store
                .drop_waiting("lobby", Side::Session, "a")
                .await
                .expect("asked"),
            "it may have been sent"
        );
        assert!(
            store
                .drop_waiting("lobby", Side::Session, "b")
                .await
                .expect("asked")
        );
        // It was taken in hand before it was retracted, and must not be sent now.
        let dropped = first.id + 1;
        assert!(!store.prepare(dropped, "bytes").await.expect("asked"));
        let peers = [Peer::default()];
        let prepared = store.prepare_with("lobby", dropped, "bytes", &peers).await;
        assert!(!prepared.expect("asked"));
        store.end(first.id, State::Done, "").await.expect("written");
        assert!(store.next("lobby", Side::Session).await.expect("read").is_none());
        let counts = store.counts("lobby", true).await.expect("read");
        assert_eq!((counts.carried, counts.waiting, counts.refused), (1, 0, 0));
        let found = store
            .by_reference("lobby", Side::Session, "ref-a", "nick:alice")
            .await
            .expect("read");
        assert_eq!(found, Some(("a".to_owned(), 1_000)));
        let other = store
            .by_reference("lobby", Side::Session, "ref-a", "nick:eve")
            .await
            .expect("read");
        assert_eq!(other, None, "somebody else's");
        store.close().await;
    }
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_new_and_says_so() {
    for place in both().await {
        let store = &place.store;
        let events = [message("a", "one"), message("b", "two"), message("c", "three")];
        let two = Most { all: 2, each: 2 };
        assert_eq!(store.take("lobby", &events, &[], two).await.expect("taken"), 2);
        let counts = store.counts("lobby", true).await.expect("read");
        assert_eq!((counts.waiting, counts.refused), (2, 1));
        assert_eq!(counts.error.as_deref(), Some("the queue was full"));
        // The other direction and other bridges have their own bounds.
        let mut other = message("d", "four");
        other.side = Side::Xmpp;
        assert_eq!(store.take("lobby", &[other], &[], two).await.expect("taken"), 1);
        let entry = store
            .next("lobby", Side::Session)
            .await
            .expect("read")
            .expect("an entry");
        store.end(entry.id, State::Done, "").await.expect("written");
        assert_eq!(
            store
                .take("lobby", &[message("e", "five")], &[], two)
                .await
                .expect("taken"),
            1
        );
        store.close().await;
    }
}

#[tokio::test]
async fn both_sides_of_a_message_are_found() {
    for place in both().await {
        let store = &place.store;
        store
            .take("lobby", &[message("a", "one")], &[], MOST)
            .await
            .expect("taken");
        let entry = store
            .next("lobby", Side::Session)
            .await
            .expect("read")
            .expect("an entry");
        let ours = Peer {
            origin: "ab-1".into(),
            session: 7,
            quote_at: 55,
            quote_author: "05ab".into(),
            ..Peer::default()
        };
        store
            .prepare_with("lobby", entry.id, "p", std::slice::from_ref(&ours))
            .await
            .expect("written");
        assert!(store.shown("lobby", "ab-1", "s1").await.expect("written"));
        assert!(
            !store.shown("lobby", "ab-2", "s2").await.expect("written"),
            "never sent"
        );
        let theirs = Peer {
            xmpp: "s2".into(),
            session: 8,
            from_xmpp: true,
            ..Peer::default()
        };
        store
            .arrived("lobby", entry.id, "p", &theirs, true)
            .await
            .expect("written");
        for at in [66, 66, 77] {
            store.set_quote("lobby", 7, at).await.expect("written");
        }
        for (message, session) in [
            (Taken::Xmpp("s1"), 7),
            (Taken::Quote(55, "05ab"), 7),
            (Taken::Quote(66, "05ab"), 7),
            (Taken::Quote(77, "05ab"), 7),
            (Taken::Origin("ab-1"), 7),
            (Taken::Session(8), 8),
        ] {
            let found = store.peers("lobby", message).await.expect("read");
            assert_eq!(found.len(), 1, "{message:?}");
            assert_eq!(found[0].session, session, "{message:?}");
        }
        assert!(
            store
                .peers("other", Taken::Xmpp("s1"))
                .await
                .expect("read")
                .is_empty()
        );
        assert!(
            store
                .peers("lobby", Taken::Xmpp(""))
                .await
                .expect("read")
                .is_empty()
        );
        store.tidy(i64::MAX).await.expect("written");
        assert!(
            store
                .peers("lobby", Taken::Xmpp("s1"))
                .await
                .expect("read")
                .is_empty()
        );
        store.close().await;
    }
}

fn reaction(place: &str, person: &str, emoji: &[&str]) -> NewEntry {
    NewEntry {
        source: format!("r:{place}"),
        job: Job::React {
            target: "s1".to_owned(),
        },
        reacted: Some(Reacted {
            side: "xmpp",
            target: "s1".to_owned(),
            person: person.to_owned(),
            emoji: emoji.iter().map(|&one| one.to_owned()).collect(),
        }),
        ..message(place, "")
    }
}

/// A person who writes without end holds nobody else up: the others still find room in the queue.
#[tokio::test]
async fn what_a_banned_person_wrote_is_dropped_unless_it_is_on_its_way() {
    for place in both().await {
        let store = &place.store;
        let mut other = message("d", "of somebody else");
        other.author = "nick:bob".to_owned();
        let mut before = message("e", "of the owner of the nick before");
        before.made = 500;
        let mut deletion = message("", "");
        deletion.source = "d:x".to_owned();
        deletion.job = Job::Delete {
            target: "x".to_owned(),
        };
        let events = [
            message("a", "first"),
            message("b", "second"),
            other,
            before,
            deletion,
        ];
        store.take("lobby", &events, &[], MOST).await.expect("taken");
        let first = store
            .next("lobby", Side::Session)
            .await
            .expect("read")
            .expect("one");
        assert!(store.prepare(first.id, "bytes").await.expect("written"));
        let dropped = store
            .drop_waiting_of("lobby", Side::Session, "nick:alice", 1_000)
            .await;
        assert_eq!(dropped.expect("written"), 1);
        let mut left = Vec::new();
        while let Some(entry) = store.next("lobby", Side::Session).await.expect("read") {
            left.push(entry.native);
            store.end(entry.id, State::Done, "").await.expect("written");
        }
        assert_eq!(left, ["a", "d", "e", ""]);
        store.close().await;
    }
}

#[tokio::test]
async fn nobody_fills_the_queue_alone() {
    for place in both().await {
        let store = &place.store;
        let most = Most { all: 10, each: 3 };
        let flood: Vec<NewEntry> = (0..20)
            .map(|number| message(&format!("f{number}"), "spam"))
            .collect();
        assert_eq!(store.take("lobby", &flood, &[], most).await.expect("taken"), 3);
        let other = NewEntry {
            author: "nick:bob".to_owned(),
            ..message("b", "hello")
        };
        assert_eq!(store.take("lobby", &[other], &[], most).await.expect("taken"), 1);
        // A person who changes a reaction again and again makes two entries: the one in hand, and one behind it.
        let emoji = ["👍", "🎉"];
        let before = store.waiting("lobby", Side::Session).await.expect("read").0;
        for number in 0..20 {
            let event = NewEntry {
                native: "s1".to_owned(),
                author: "nick:eve".to_owned(),
                ..reaction(&format!("e{number}"), "nick:eve", &[emoji[number % 2]])
            };
            store.take("lobby", &[event], &[], most).await.expect("taken");
        }
        let after = store.waiting("lobby", Side::Session).await.expect("read").0;
        assert_eq!(after - before, 1);
        let held = store.reactions("lobby", "xmpp", "s1", None).await.expect("read");
        assert!(held.contains("🎉"), "the last state crosses: {held:?}");
        store.close().await;
    }
}

/// Reactions and their entry are one commit: a kill between both would lose the reactions for good.
#[tokio::test]
async fn reactions_of_all_people_count_together() {
    for place in both().await {
        let store = &place.store;
        let mut events = Vec::new();
        for (number, (person, set, change)) in [
            ("a", vec!["👍"], true),
            ("b", vec!["👍", "🎉"], true),
            ("b", vec!["👍", "🎉"], false),
            ("b", vec![], true),
        ]
        .into_iter()
        .enumerate()
        {
            let event = reaction(&format!("e{number}"), person, &set);
            let new = store.take("lobby", std::slice::from_ref(&event), &[], MOST).await;
            assert_eq!(new.expect("written"), u64::from(change), "{person} {set:?}");
            events.push(event);
        }
        let shown = async |person| -> Vec<String> {
            let all = store.reactions("lobby", "xmpp", "s1", person).await;
            all.expect("read").into_iter().collect()
        };
        assert_eq!(shown(None).await, ["👍"]);
        // Events that are read a second time do not bring an earlier state back.
        assert_eq!(
            store.take("lobby", &events[..2], &[], MOST).await.expect("taken"),
            0
        );
        assert_eq!(shown(None).await, ["👍"]);
        assert_eq!(shown(Some("a")).await, ["👍"]);
        assert_eq!(shown(Some("b")).await, Vec::<String>::new());
        store.close().await;
    }
}

/// Reactions that found the queue full are not stored: said again, they cross.
#[tokio::test]
async fn reactions_that_found_the_queue_full_cross_when_they_come_again() {
    for place in both().await {
        let store = &place.store;
        let one = Most { all: 1, each: 1 };
        let take = async |event: NewEntry| store.take("lobby", &[event], &[], one).await.expect("taken");
        let held = async || store.reactions("lobby", "xmpp", "s1", None).await.expect("read");
        assert_eq!(take(message("a", "one")).await, 1);
        assert_eq!(take(reaction("e1", "bob", &["👍"])).await, 0);
        assert!(held().await.is_empty(), "they did not cross");
        let entry = store.next("lobby", Side::Session).await.expect("read");
        let id = entry.expect("an entry").id;
        store.end(id, State::Done, "").await.expect("written");
        assert_eq!(take(reaction("e2", "bob", &["👍"])).await, 1);
        assert!(held().await.contains("👍"));
        store.close().await;
    }
}

/// A change of reactions that joins an entry which waits is carried by it, also if the entry is taken in hand in the same moment.
#[tokio::test]
async fn a_change_of_reactions_joins_no_entry_that_was_read_already() {
    for place in both().await {
        let store = &place.store;
        let event = |number: usize, emoji: &str| NewEntry {
            native: "s1".to_owned(),
            ..reaction(&format!("e{number}"), "nick:alice", &[emoji])
        };
        let take = async |event: NewEntry| store.take("lobby", &[event], &[], MOST).await.expect("taken");
        assert_eq!(take(event(1, "👍")).await, 1);
        let entry = store.next("lobby", Side::Session).await.expect("read");
        let id = entry.expect("an entry").id;
        let mut joining = store.begin().await.expect("begun");
        let joined = entry::insert(&mut joining, "lobby", &event(2, "🎉"), MOST).await;
        assert_eq!(joined.expect("written"), 0, "the entry carries it");
        let carrier = {
            let store = store.clone();
            tokio::spawn(async move {
                assert!(store.take_in_hand(id).await.expect("written"));
                store.reactions("lobby", "xmpp", "s1", None).await.expect("read")
            })
        };
        if place.url.starts_with("postgres") {
            // The carrier waits for the transaction; a file has one connection, which the transaction holds.
            let wait = async {
                let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND wait_event_type = 'Lock'";
                loop {
                    let count: i64 = sqlx::query_scalar(waiting)
                        .fetch_one(&store.pool)
                        .await
                        .expect("read");
                    if count > 0 {
                        return;
                    }
                    assert!(
                        !carrier.is_finished(),
                        "it read reactions that were not written yet"
                    );
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(20), wait)
                .await
                .expect("it waits");
        }
        joining.commit().await.expect("written");
        let carried = carrier.await.expect("carried");
        assert_eq!(carried.into_iter().collect::<Vec<_>>(), ["🎉"]);
        // From now on the entry is in hand.
        assert_eq!(take(event(3, "👍")).await, 1, "an entry of its own");
        store.close().await;
    }
}

/// A process that found a pause over must not end one that began in the meantime.
#[tokio::test]
async fn the_end_of_a_pause_ends_no_later_pause() {
    for place in both().await {
        let store = &place.store;
        let pause = async |until| {
            let paused = store.pause_until("lobby", "a loop", until).await;
            paused.expect("written");
        };
        pause(1_000).await;
        pause(2_000).await;
        store.end_pause("lobby", "1000").await.expect("written");
        assert!(store.is_paused_at("lobby", 1_999).await.expect("read"));
        store.set_paused("lobby", true).await.expect("written");
        store.end_pause("lobby", "2000").await.expect("written");
        assert!(store.is_paused_at("lobby", i64::MAX).await.expect("read"));
        store.close().await;
    }
}

#[tokio::test]
async fn a_pause_with_an_end_ends_by_itself_and_one_by_command_does_not() {
    for place in both().await {
        let store = &place.store;
        store
            .pause_until("lobby", "a loop", 1_000)
            .await
            .expect("written");
        assert!(store.is_paused_at("lobby", 999).await.expect("read"));
        assert_eq!(
            store.paused("lobby").await.expect("read").as_deref(),
            Some("a loop")
        );
        assert!(!store.is_paused_at("lobby", 1_000).await.expect("read"));
        assert_eq!(store.paused("lobby").await.expect("read"), None);
        store
            .pause_until("lobby", "a loop", 1_000)
            .await
            .expect("written");
        store.set_paused("lobby", true).await.expect("written");
        assert!(store.is_paused_at("lobby", i64::MAX).await.expect("read"));
        store.close().await;
    }
}

#[tokio::test]
async fn an_id_of_our_message_stays_with_the_first_message_that_had_it() {
    for place in both().await {
        let store = &place.store;
        store
            .take("lobby", &[message("a", "one")], &[], MOST)
            .await
            .expect("taken");
        let entry = store.next("lobby", Side::Session).await.expect("read");
        let ours = Peer {
            origin: "ab-1".into(),
            session: 7,
            ..Peer::default()
        };
        store
            .prepare_with("lobby", entry.expect("an entry").id, "p", &[ours])
            .await
            .expect("written");
        assert_eq!(
            store.waiting("lobby", Side::Session).await.expect("read"),
            (1, Some(1_000))
        );
        assert_eq!(store.waiting("lobby", Side::Xmpp).await.expect("read"), (0, None));
        for (xmpp, is_ours) in [("s1", true), ("s1", true), ("forged", false)] {
            assert_eq!(
                store.shown("lobby", "ab-1", xmpp).await.expect("written"),
                is_ours
            );
        }
        let found = store.peers("lobby", Taken::Session(7)).await.expect("read");
        assert_eq!(found[0].xmpp, "s1");
        store.close().await;
    }
}

#[tokio::test]
async fn one_process_carries_for_a_bridge() {
    for place in both().await {
        let other = Store::open(&place.url).await.expect("opened twice");
        let held = place.store.hold("lobby").await.expect("free");
        assert!(matches!(other.hold("lobby").await, Err(StoreError::Held(_))));
        other.hold("second").await.expect("another bridge");
        drop(held);
        other.close().await;
        place.store.close().await;
    }
}

#[tokio::test]
async fn a_database_of_a_later_version_is_left_alone() {
    for place in both().await {
        place.store.set_meta("", "version", "2").await.expect("written");
        place.store.close().await;
        assert!(matches!(Store::open(&place.url).await, Err(StoreError::Newer(2))));
    }
}

/// Thirty days at work, with the hourly tidying: after a week the tables grow no more, and the file neither.
#[tokio::test]
async fn a_month_at_work_leaves_a_week_in_the_database() {
    const HOUR: i64 = 60 * 60 * 1000;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bridge.db");
    let store = Store::open(&file.display().to_string()).await.expect("a file");
    let pages = async || -> i64 {
        let pages = sqlx::query_scalar("PRAGMA page_count");
        pages.fetch_one(&store.pool).await.expect("read")
    };
    let rows = async || {
        let mut rows = Vec::new();
        for table in [
            "bridge_entry",
            "bridge_map",
            "bridge_reaction",
            "bridge_earlier_quote",
        ] {
            let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            let count: i64 = sqlx::query_scalar(sql)
                .fetch_one(&store.pool)
                .await
                .expect("read");
            rows.push(count);
        }
        rows
    };
    let mut after_ten_days = None;
    for day in 0..30_i64 {
        for part in 0..4 {
            let now = (day * 24 + part * 6) * HOUR;
            let native = format!("{day}-{part}");
            let said = NewEntry {
                made: now,
                ..message(&native, &"word ".repeat(50))
            };
            let reacted = NewEntry {
                made: now,
                ..reaction(&format!("{native}-r"), &native, &["👍"])
            };
            store
                .take("lobby", &[said, reacted], &[], MOST)
                .await
                .expect("taken");
            let number = day * 4 + part;
            while let Some(entry) = store.next("lobby", Side::Session).await.expect("read") {
                let peer = Peer {
                    xmpp: entry.native.clone(),
                    session: number,
                    quote_at: now,
                    from_xmpp: true,
                    made: now,
                    ..Peer::default()
                };
                store.prepare(entry.id, "bytes").await.expect("written");
                store
                    .arrived("lobby", entry.id, "bytes", &peer, true)
                    .await
                    .expect("written");
            }
            let quote = u64::try_from(now + 1).expect("positive");
            store.set_quote("lobby", number, quote).await.expect("written");
            store.tidy(now - 7 * 24 * HOUR).await.expect("written");
        }
        if day == 10 {
            after_ten_days = Some((rows().await, pages().await));
        }
    }
    let (rows_then, pages_then) = after_ten_days.expect("ten days");
    assert_eq!(rows().await, rows_then, "rows after 10 days and after 30");
    let pages_now = pages().await;
    assert!(
        pages_now <= pages_then + 16,
        "{pages_then} pages became {pages_now}"
    );
    store.close().await;
}

/// A moderator's deletion must not be lost because others filled the queue.
#[tokio::test]
async fn a_full_queue_still_takes_deletions_and_the_lines_of_the_bridge() {
    for place in both().await {
        let store = &place.store;
        let one = Most { all: 1, each: 1 };
        let first = [message("a", "one"), message("b", "two")];
        assert_eq!(store.take("lobby", &first, &[], one).await.expect("taken"), 1);
        let target = "x".to_owned();
        let deletion = NewEntry {
            source: "d:x".to_owned(),
            job: Job::Delete { target },
            ..message("", "")
        };
        let text = "a line".to_owned();
        let line = NewEntry {
            source: "notice:x".to_owned(),
            job: Job::Notice { text },
            ..message("", "")
        };
        let taken = store.take("lobby", &[deletion, line], &[], one).await;
        assert_eq!(taken.expect("taken"), 2);
        store.close().await;
    }
}

/// A message that is retracted in time does not leave the note about its edit behind.
#[tokio::test]
async fn a_retraction_drops_the_edits_that_wait_too() {
    for place in both().await {
        let store = &place.store;
        let note = NewEntry {
            source: "n:1".to_owned(),
            ..message("a", "an edit")
        };
        let edit = NewEntry {
            source: "e:1".to_owned(),
            ..message("a", "an edit")
        };
        let other = NewEntry {
            source: "n:2".to_owned(),
            ..message("b", "of another message")
        };
        let events = [message("a", "one"), edit, note, other];
        store.take("lobby", &events, &[], MOST).await.expect("taken");
        assert!(
            store
                .drop_waiting("lobby", Side::Session, "a")
                .await
                .expect("asked")
        );
        let next = store.next("lobby", Side::Session).await.expect("read");
        assert_eq!(next.map(|entry| entry.native).as_deref(), Some("b"));
        store.close().await;
    }
}

/// During a pause, only the lines of the bridge itself cross; its time does not count against what waits.
#[tokio::test]
async fn a_pause_lets_notices_through_and_stops_the_clock() {
    for place in both().await {
        let store = &place.store;
        let text = "the bridge is paused".to_owned();
        let line = NewEntry {
            source: "notice:asked".to_owned(),
            job: Job::Notice { text },
            ..message("", "")
        };
        store
            .take("lobby", &[message("a", "one"), line], &[], MOST)
            .await
            .expect("taken");
        let next = store.next_notice("lobby", Side::Session).await.expect("read");
        assert!(matches!(next.map(|entry| entry.job), Some(Job::Notice { .. })));
        assert_eq!(store.pause_ended("lobby").await.expect("read"), 0);
        store.set_paused("lobby", true).await.expect("written");
        assert_eq!(store.pause_ended("lobby").await.expect("read"), 0);
        let before = crate::clock::now_ms();
        store.set_paused("lobby", false).await.expect("written");
        assert!(store.pause_ended("lobby").await.expect("read") >= before);
        store.close().await;
    }
}

/// The lock of a bridge in PostgreSQL ends with its connection, as in a restart of the database: that is noticed.
#[tokio::test]
async fn a_lock_that_another_process_took_is_noticed() {
    let [file, postgres] = both().await;
    let mut held = file.store.hold("lobby").await.expect("the lock");
    file.store.keep("lobby", &mut held).await.expect("kept");

    let store = &postgres.store;
    let mut held = store.hold("lobby").await.expect("the lock");
    store.keep("lobby", &mut held).await.expect("kept");
    let end = async || {
        sqlx::query(
            "SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_locks WHERE locktype = 'advisory' \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .execute(&store.pool)
        .await
        .expect("ended");
    };
    // Nobody else took it: it is taken again, once the server has ended the old connection.
    end().await;
    while let Err(error) = store.keep("lobby", &mut held).await {
        assert!(matches!(error, StoreError::Held(_)), "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    end().await;
    let other = Store::open(&postgres.url).await.expect("a database");
    let _theirs = loop {
        // The server ends the connection in its own time.
        match other.hold("lobby").await {
            Err(StoreError::Held(_)) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            theirs => break theirs.expect("the lock"),
        }
    };
    assert!(matches!(
        store.keep("lobby", &mut held).await,
        Err(StoreError::Held(_))
    ));
    store.close().await;
}
