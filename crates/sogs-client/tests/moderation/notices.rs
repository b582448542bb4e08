//! Notices in the moderators' room: their life, and what they show.

use super::community::{Database, token};
use sogs_client::moderation::Verdict;
use sogs_client::{Post, Server, Upload};
use sogs_server::admin::{Operation, RoomScope};
use std::time::Duration;

use super::{DATABASES, OF_MAIN, OF_OTHER, Stage, somebody};

#[tokio::test(flavor = "multi_thread")]
async fn the_notices_of_a_deleted_moderators_room_decide_again_after_its_undo() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let mine = stage.moderators(OF_MAIN);
        stage.held(1, "one").await;
        let notice = stage.notice(&mine, &["one", "React"]).await;
        let room = "moderators".to_owned();
        let gone = stage.community.ask(Operation::RoomDelete { room }).await;
        assert_eq!(mine.info().await.unwrap_err().status(), Some(404));
        // Longer than the job that posts notices waits between two rounds.
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.community.act(Operation::Undo { id: gone.undo }).await;
        let back = stage.notice(&mine, &["one", "React"]).await;
        assert_eq!(back.id, notice.id);
        mine.react(notice.id, "👍").await.expect("a reaction");
        stage.notice(&mine, &["one", "Decided: approved"]).await;
        let about = stage.texts(&mine).await;
        let about = about.iter().filter(|text| text.starts_with("Held post "));
        assert_eq!(about.count(), 1, "no second notice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_from_before_another_key_shows_the_decision_too() {
    for database in DATABASES {
        let mut stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let id = stage.held(1, "one").await;
        let notice = stage.notice(&stage.moderators(OF_MAIN), &["one", "React"]).await;
        stage.community.restart_with_another_key().await;
        // The new key makes new ids of everybody, so the moderator is appointed again.
        let user = somebody(OF_MAIN).session_id().to_string();
        let add = Operation::ModAdd {
            user,
            place: RoomScope::Rooms(vec!["main".to_owned()]),
            admin: false,
            visible: None,
        };
        stage.community.act(add).await;
        let id = i64::try_from(id).unwrap();
        stage.community.act(Operation::HeldApprove { id }).await;
        let mine = stage.moderators(OF_MAIN);
        let decided = stage
            .notice(&mine, &["one", "Decided: approved by operator"])
            .await;
        assert_eq!(decided.id, notice.id);
        assert!(decided.reactions.contains_key("✅"));
        let account = stage
            .server(&somebody(1))
            .moderation()
            .await
            .expect("an account")
            .account;
        assert_eq!(decided.author, account, "the present account signs it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_deletes_all_posts_of_the_account_without_seeing_them() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let user = somebody(0x53).session_id().to_string();
        let place = RoomScope::Rooms(vec!["moderators".to_owned()]);
        let (admin, visible) = (false, None);
        let add = Operation::ModAdd {
            user,
            place,
            admin,
            visible,
        };
        stage.community.act(add).await;
        stage.held(1, "one").await;
        let mine = stage.moderators(OF_MAIN);
        let notice = stage.notice(&mine, &["one", "React"]).await;
        // Moderator of the moderators' room, and of no room of members.
        let clerk = stage.moderators(0x53);
        assert_eq!(stage.texts(&clerk).await, Vec::<String>::new());
        let account = stage
            .server(&somebody(0x53))
            .moderation()
            .await
            .expect("an account")
            .account;
        assert_eq!(clerk.delete_all(&account).await.unwrap_err().status(), Some(403));
        let everywhere = stage.server(&somebody(0x53)).delete_everywhere(&account).await;
        assert_eq!(everywhere.unwrap_err().status(), Some(403));
        assert_eq!(stage.notice(&mine, &["one", "React"]).await.id, notice.id);
        let boss = stage.room("moderators", &super::community::admin());
        boss.delete_all(&account)
            .await
            .expect("an admin sees and deletes them");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_post_stays_as_moderators_see_it_and_its_notice_outlives_the_room() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let id = stage.held(1, "tomatoes").await;
        let mine = stage.moderators(OF_MAIN);
        stage
            .notice(&mine, &[&format!("Held post {id}"), "> tomatoes"])
            .await;
        let edited = stage
            .room("main", &somebody(1))
            .edit(id, Post::text("spam"))
            .await;
        assert_eq!(edited.unwrap_err().status(), Some(403));
        stage
            .community
            .act(Operation::RoomDelete {
                room: "moderators".to_owned(),
            })
            .await;
        stage
            .community
            .act(Operation::ModerationOn {
                room: "again".to_owned(),
            })
            .await;
        let again = stage.room("again", &somebody(OF_MAIN));
        stage
            .notice(&again, &[&format!("Held post {id}"), "> tomatoes"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_see_the_files_of_held_posts() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let author = stage.room("main", &somebody(1));
        let file = author.upload(
            Upload::new(&b"picture"[..])
                .name("cat.png")
                .content_type("image/png"),
        );
        let file = file.await.expect("uploaded");
        let id = file.id;
        author.post(Post::text("look").file(file)).await.expect("posted");
        let mine = stage.moderators(OF_MAIN);
        let notice = stage.notice(&mine, &["look", "Files: 1 (image/png)"]).await;
        let content = notice.content().expect("content").clone();
        assert_eq!(content.attachments()[0].id, id);
        assert_eq!(content.attachments()[0].file_name.as_deref(), Some("cat.png"));
        assert_eq!(&mine.download(id).await.expect("a file").bytes[..], b"picture");
        assert_eq!(
            stage
                .moderators(OF_OTHER)
                .download(id)
                .await
                .unwrap_err()
                .status(),
            Some(404)
        );
        assert!(stage.room("moderators", &somebody(1)).download(id).await.is_err());
        mine.react(notice.id, "❌").await.expect("a reaction");
        stage.notice(&mine, &["look", "Decided: rejected"]).await;
        assert_eq!(mine.download(id).await.unwrap_err().status(), Some(404));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raid_does_not_flood_the_moderators_room() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        stage.rule(None, "notices_per_minute", "5").await;
        let mut ids = Vec::new();
        for n in 0..60_u8 {
            ids.push(stage.held(100 + n % 6, &format!("spam {n}")).await);
        }
        let mine = stage.moderators(OF_MAIN);
        stage.notice(&mine, &["more wait in main"]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let texts = stage.texts(&mine).await;
        assert_eq!(texts.len(), 6, "five notices and one that counts: {texts:#?}");
        // Posts without a notice are decided over the API all the same.
        let room = stage.room("main", &somebody(OF_MAIN));
        assert_eq!(room.held().await.expect("a list").len(), 60);
        let banned = room.decide_held(ids[59], Verdict::Ban(None)).await.expect("done");
        assert_eq!(banned.state, "banned");
        assert_eq!(room.held().await.expect("a list").len(), 50);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_decide_once_and_post_one_notice() {
    let stage = Stage::new(Database::Postgresql).await;
    stage.hold_first_posts().await;
    stage.rule(None, "notices_per_minute", "1000").await;
    let second = stage.community.another().await;
    let there = Server::builder(second.url(), stage.community.key())
        .proxies_from_environment(false)
        .encrypt(sogs_client::Encrypt::No)
        .identity(somebody(OF_MAIN))
        .build()
        .expect("a client");
    let (here, there) = (stage.room("main", &somebody(OF_MAIN)), there.room(&token("main")));
    for n in 0..8 {
        let id = stage.held(1, &format!("post {n}")).await;
        let (one, two) = tokio::join!(
            here.decide_held(id, Verdict::Approve),
            there.decide_held(id, Verdict::Reject)
        );
        assert_eq!(
            usize::from(one.is_ok()) + usize::from(two.is_ok()),
            1,
            "{one:?} {two:?}"
        );
        let lost = one.err().or(two.err()).expect("one was second");
        assert_eq!(lost.status(), Some(409), "{lost}");
        if n == 0 {
            // An approved author is known; the next posts are held all the same.
            stage.rule(Some("main"), "approve_first", "1000").await;
        }
    }
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(stage.held(2, &format!("waiting {n}")).await);
    }
    let mine = stage.moderators(OF_MAIN);
    for id in &ids {
        stage.notice(&mine, &[&format!("Held post {id} ")]).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let texts = stage.texts(&mine).await;
    assert!(!texts.iter().any(|text| text.contains("more wait")), "{texts:#?}");
    for id in ids {
        let about = texts
            .iter()
            .filter(|text| text.starts_with(&format!("Held post {id} ")));
        assert_eq!(about.count(), 1, "{id}");
    }
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_held_before_the_room_opened_and_over_a_restart_get_a_notice() {
    for database in DATABASES {
        let mut stage = Stage::new(database).await;
        stage.community.act(Operation::ModerationOff).await;
        stage.hold_first_posts().await;
        let id = stage.held(1, "early").await;
        stage.community.restart().await;
        let on = stage
            .community
            .ask(Operation::ModerationOn {
                room: "moderators".into(),
            })
            .await;
        let mine = stage.moderators(OF_MAIN);
        let notice = stage.notice(&mine, &[&format!("Held post {id} "), "early"]).await;
        stage.community.restart().await;
        mine.react(notice.id, "👍").await.expect("a reaction");
        stage.notice(&mine, &["early", "Decided: approved"]).await;
        stage.community.act(Operation::Undo { id: on.undo }).await;
        assert_eq!(mine.info().await.unwrap_err().status(), Some(404));
        // The room of members is not made the moderators' room by mistake.
        let status = stage.community.ask(Operation::ModerationStatus).await;
        assert_eq!(status.data["room"], serde_json::Value::Null);
    }
}
