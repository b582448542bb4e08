//! A deleted room that comes back with its files.

use sogs_server::admin::Operation;

use super::later::on_both;
use super::support::person;
use super::{Full, setting};

/// An archive is written back while the cleanup of the server removes rows: the two take turns.
#[tokio::test]
async fn a_room_comes_back_while_its_files_are_cleaned_up() {
    use sqlx::{Connection as _, Executor as _, Row as _};
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    let full = Full::new(Some(database.url())).await;
    let removed = full.all.act(Operation::RoomDelete { room: "test".into() }).await;
    let mut cleanup = sqlx::PgConnection::connect(database.url())
        .await
        .expect("connects");
    cleanup.execute("BEGIN").await.expect("begins");
    let lock = format!(
        "SELECT pg_advisory_xact_lock({})",
        sogs_store::postgres::WRITE_LOCK
    );
    let statements = [lock, format!("DELETE FROM files WHERE id = {}", full.file)];
    for statement in statements {
        cleanup
            .execute(sqlx::AssertSqlSafe(statement))
            .await
            .expect("runs");
    }
    let contents = || files_below(&full.all.dir().join("uploads"));
    let before = contents();
    let undo = full.all.try_act(Operation::Undo { id: removed.undo }, false);
    let commit = async {
        let mut watcher = sqlx::PgConnection::connect(database.url())
            .await
            .expect("connects");
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        for _ in 0..400 {
            let count: i64 = watcher.fetch_one(waiting).await.expect("a row").get(0);
            if count > 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        // Its files were brought back before it waited for the lock: nobody else waits while they are copied.
        assert_eq!(contents(), before + 1);
        cleanup.execute("COMMIT").await.expect("commits");
    };
    let (undone, ()) = tokio::join!(undo, commit);
    undone.expect("the room comes back");
    let file = full
        .all
        .get(&format!("/room/test/file/{}", full.file), None)
        .await;
    assert_eq!(file.text(), "some bytes");
}

/// Returns the number of files in a folder and those below it.
pub(super) fn files_below(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => files_below(&path),
            _ => 1,
        })
        .sum()
}

/// A room that cannot come back leaves nothing behind, and comes back once the cause is gone.
#[tokio::test]
async fn a_room_that_cannot_come_back_leaves_no_files_behind() {
    let postgres = ackpost_testkit::Postgres::shared();
    let database = postgres.database();
    for url in [None, Some(database.url())] {
        let full = Full::new(url).await;
        let removed = full.all.act(Operation::RoomDelete { room: "test".into() }).await;
        let archives = std::fs::read_dir(full.all.dir().join("undo")).expect("a folder");
        let archive = archives
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
            .expect("an archive");
        let whole = std::fs::read(&archive).expect("read");
        let damaged = [&whole[..], b"[\"rooms\", [1]]\n"].concat();
        std::fs::write(&archive, damaged).expect("written");
        let contents = || files_below(&full.all.dir().join("uploads"));
        let before = contents();
        assert!(before > 0, "the content is there until the next cleanup");
        let undo = || full.all.try_act(Operation::Undo { id: removed.undo }, false);
        undo().await.expect_err("the archive is damaged");
        assert_eq!(contents(), before);
        std::fs::write(&archive, whole).expect("written");
        undo().await.expect("the room comes back");
        let path = format!("/room/test/file/{}", full.file);
        assert_eq!(full.all.get(&path, None).await.text(), "some bytes");
    }
}

fn archive_of(full: &Full) -> std::path::PathBuf {
    std::fs::read_dir(full.all.dir().join("undo"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .expect("an archive")
}

/// The archive of a room from before some columns existed.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_an_older_version_comes_back() {
    on_both(async |full| {
        let removed = full.all.act(Operation::RoomDelete { room: "test".into() }).await;
        let vector = super::support::vectors().join("room-archive-v2.jsonl");
        std::fs::copy(vector, archive_of(&full)).expect("copied");
        full.all.act(Operation::Undo { id: removed.undo }).await;
        assert_eq!(full.all.texts("test", None).await, ["from an old archive"]);
    })
    .await;
}

/// People write until the room is gone. Each post that was confirmed is in the archive.
#[tokio::test(flavor = "multi_thread")]
async fn no_confirmed_post_is_lost_when_a_room_is_deleted() {
    Box::pin(on_both(async |full| {
        let all = &full.all;
        all.act(setting("slow_seconds", None)).await;
        all.act(setting("rate_posts", Some("100000"))).await;
        let confirmed = std::sync::atomic::AtomicUsize::new(0);
        let write = async |number: u8| {
            let (who, mut texts) = (person(number), Vec::new());
            for turn in 0..5000 {
                let text = format!("{number}: {turn}");
                let got = all.post("test", &who, &text).await;
                if got.status != 201 {
                    return (got.status.as_u16(), texts);
                }
                texts.push(text);
                confirmed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            panic!("the room was never deleted");
        };
        let delete = async {
            while confirmed.load(std::sync::atomic::Ordering::Relaxed) < 40 {
                tokio::task::yield_now().await;
            }
            all.act(Operation::RoomDelete { room: "test".into() }).await.undo
        };
        let (id, one, two, three, four) = tokio::join!(delete, write(21), write(22), write(23), write(24));
        all.act(Operation::Undo { id }).await;
        let store = &all.running.as_ref().expect("running").app().store;
        let room = store
            .room_by_token("test".into())
            .await
            .expect("read")
            .expect("a room");
        let query = sogs_server::store::operation::MessageQuery {
            room_id: Some(room.id),
            limit: 100_000,
            ..Default::default()
        };
        let kept: std::collections::HashSet<String> = store
            .plain_messages(query)
            .await
            .expect("read")
            .iter()
            .filter_map(|message| {
                let content = session_protocol::message::open(message.data.as_deref()?).ok()?;
                content.body().map(str::to_owned)
            })
            .collect();
        for (status, texts) in [one, two, three, four] {
            assert_eq!(status, 404, "the room is gone");
            for text in texts {
                assert!(kept.contains(&text), "{text} was confirmed and is lost");
            }
        }
    }))
    .await;
}
