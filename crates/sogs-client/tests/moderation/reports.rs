//! Reports of members.

use sogs_client::moderation::Verdict;
use sogs_client::{ListOptions, Post};
use sogs_server::admin::{Operation, RoomScope};
use sogs_server::model::filter::{FilterAction, FilterKind};
use std::time::Duration;

use super::{DATABASES, OF_MAIN, Stage, recent, somebody, text};

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_merged_limited_and_decided() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        let main = |n| stage.room("main", &somebody(n));
        let bad = main(1).post("an insult").await.expect("posted").id;
        let mine = stage.moderators(OF_MAIN);
        let filed = main(2).report(bad, "this is rude").await.expect("reported");
        assert_eq!(filed.reports, 1);
        let notice = stage
            .notice(&mine, &[&format!("Message {bad} in main"), "this is rude"])
            .await;
        assert_eq!(main(3).report(bad, "").await.expect("reported").reports, 2);
        assert_eq!(
            main(3).report(bad, "again").await.expect("told").reports,
            2,
            "counted once"
        );
        let merged = stage
            .notice(&mine, &["reported by 2 members", "no reason given"])
            .await;
        assert_eq!(merged.id, notice.id, "one notice for one message");
        assert_eq!(main(1).report(bad, "me").await.unwrap_err().status(), Some(403));
        assert_eq!(
            main(2).report(424_242, "x").await.unwrap_err().status(),
            Some(404)
        );
        let room = stage.room("main", &somebody(OF_MAIN));
        let listed = room.reports().await.expect("a list");
        assert_eq!(
            (listed.len(), listed[0].count, listed[0].reports.len()),
            (1, 2, 2)
        );
        assert_eq!(main(2).reports().await.unwrap_err().status(), Some(403));
        mine.react(notice.id, "👎").await.expect("a reaction");
        stage.notice(&mine, &["Decided: the message is deleted by"]).await;
        assert_eq!(stage.texts(&main(9)).await, Vec::<String>::new());
        // One that stays is not reported again.
        let good = main(1).post("a fair word").await.expect("posted").id;
        main(2).report(good, "I disagree").await.expect("reported");
        assert_eq!(
            room.decide_report(good, Verdict::Approve)
                .await
                .expect("done")
                .state,
            "approved"
        );
        let refused = main(4).report(good, "me too").await.unwrap_err();
        assert_eq!(refused.status(), Some(409));
        // Ten messages an hour, counted for the member.
        let mut last = Ok(());
        for n in 0..12 {
            let id = main(1).post(format!("message {n}")).await.expect("posted").id;
            last = main(5).report(id, &"x".repeat(5000)).await.map(drop);
            if last.is_err() {
                assert_eq!(n, 10);
                break;
            }
        }
        let limited = last.expect_err("limited");
        assert_eq!(limited.status(), Some(429));
        assert!(
            limited
                .retry_after()
                .is_some_and(|wait| wait > Duration::from_secs(3000))
        );
        let cut = room.reports().await.expect("a list");
        assert!(cut.iter().all(|report| report.reports[0].reason.len() <= 300));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_members_and_newcomers_in_a_raid_do_not_report() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        let main = |n| stage.room("main", &somebody(n));
        // Known to the server before the raid.
        main(2).post("hello").await.expect("posted");
        // A member who is banned from the room reports nothing there.
        let user = somebody(6).session_id().to_string();
        let place = RoomScope::Rooms(vec!["main".into()]);
        let ban = Operation::BanAdd {
            user,
            place,
            seconds: None,
            delete_posts: false,
        };
        stage.community.act(ban).await;
        let id = main(1).post("once more").await.expect("posted").id;
        assert_eq!(main(6).report(id, "x").await.unwrap_err().status(), Some(403));
        // In raid mode newcomers do not report.
        stage
            .community
            .act(Operation::RaidOn {
                room: Some("main".into()),
                seconds: None,
                reach_back: 0.0,
            })
            .await;
        assert_eq!(main(7).report(id, "x").await.unwrap_err().status(), Some(403));
        assert_eq!(main(2).report(id, "x").await.expect("known before").reports, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_report_commands_blanks_no_room() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        let main = |n| stage.room("main", &somebody(n));
        main(1).post("hello").await.expect("posted");
        stage.rule(None, "rate_posts", "5").await;
        let mut refused = 0;
        for _ in 0..12 {
            refused += usize::from(main(2).post("/report").await.is_err());
        }
        assert_eq!(refused, 7);
        stage.rule(None, "rate_posts", "1000").await;
        let answers = stage.texts(&main(2)).await;
        let answers = answers
            .iter()
            .filter(|text| text.starts_with("Reply to the message"));
        assert_eq!(answers.count(), 5, "the rate limit bounds the answers");
        // More whispers to others than one reading has.
        for _ in 0..40 {
            main(2).post("/report").await.expect("posted");
        }
        let page = main(3).recent(ListOptions::limit(2)).await.expect("a page");
        assert_eq!(page.iter().map(text).collect::<Vec<_>>(), ["hello"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_report_by_reply_and_a_report_may_quote_what_filters_refuse() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        let bad = stage
            .room("main", &somebody(1))
            .post("an insult")
            .await
            .expect("posted");
        stage.hold_first_posts().await;
        let add = Operation::FilterAdd {
            room: None,
            kind: FilterKind::Words,
            pattern: "insult".to_owned(),
            action: FilterAction::Reject,
            reply: None,
        };
        stage.community.act(add).await;
        let newcomer = stage.room("main", &somebody(9));
        let shown = recent(&newcomer).await[0].clone();
        newcomer
            .post(Post::text("/report this insult").reply_to(&shown))
            .await
            .expect("a report");
        let mine = stage.moderators(OF_MAIN);
        stage
            .notice(&mine, &[&format!("Message {}", bad.id), "this insult"])
            .await;
        assert_eq!(
            stage.texts(&stage.room("main", &somebody(3))).await,
            ["an insult"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_report_from_their_apps() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        let main = |n| stage.room("main", &somebody(n));
        let mine = stage.moderators(OF_MAIN);
        let bad = main(1).post("an insult").await.expect("posted");
        let shown = recent(&main(2)).await[0].clone();
        // By a reply in the room: nobody sees it, and the answer is a whisper.
        main(2)
            .post(Post::text("/report that is rude").reply_to(&shown))
            .await
            .expect("posted");
        stage
            .notice(&mine, &[&format!("Message {}", bad.id), "that is rude"])
            .await;
        stage
            .notice(&main(2), &["Thank you. Moderators see your report."])
            .await;
        assert_eq!(stage.texts(&main(3)).await, ["an insult"]);
        main(3).post("/report").await.expect("posted");
        stage
            .notice(&main(3), &["Reply to the message that you report"])
            .await;
        // By a direct message to the server's own account.
        let info = stage.server(&somebody(4)).moderation().await.expect("moderation");
        assert!(info.reports);
        let inbox = stage.server(&somebody(4)).inbox();
        let send = async |text: String| {
            let content = Post::text(text).content(0);
            inbox.send_content(&info.account, &content).await
        };
        recent(&main(4)).await;
        send(format!("report {} I saw it too", bad.id))
            .await
            .expect("sent");
        stage
            .notice(&mine, &["reported by 2 members", "I saw it too"])
            .await;
        stage.notice(&main(4), &["Thank you."]).await;
        assert_eq!(send("hello".into()).await.unwrap_err().status(), Some(400));
        assert_eq!(
            send("report 31337 x".into()).await.unwrap_err().status(),
            Some(404)
        );
        // By a reaction, where a rule says so; it is not shown.
        main(5).react(bad.id, "🚩").await.expect("a reaction");
        assert_eq!(recent(&main(1)).await[0].reactions["🚩"].count, 1);
        stage.rule(Some("main"), "report_reaction", "yes").await;
        main(6).react(bad.id, "🚩").await.expect("a report");
        stage.notice(&mine, &["reported by 3 members"]).await;
        assert_eq!(recent(&main(1)).await[0].reactions["🚩"].count, 1);
        // Switched off, nothing of it works, and `/report` is a post like others.
        stage.rule(Some("main"), "reports", "no").await;
        assert_eq!(main(7).report(bad.id, "x").await.unwrap_err().status(), Some(403));
        stage.community.act(Operation::ModerationOff).await;
        main(7).post("/report is a command").await.expect("posted");
        assert!(
            stage
                .texts(&main(1))
                .await
                .contains(&"/report is a command".to_owned())
        );
        assert_eq!(
            stage.moderators(OF_MAIN).info().await.unwrap_err().status(),
            Some(404)
        );
    }
}
