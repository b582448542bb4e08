//! Decisions about held posts: by reaction, by reply, over the API, by a command at the server.

use super::community::admin;
use sogs_client::Post;
use sogs_client::moderation::Verdict;
use sogs_server::admin::Operation;

use super::{DATABASES, OF_MAIN, OF_OTHER, Stage, somebody, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_in_the_moderators_room_approves_a_held_post() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let id = stage.held(1, "may I come in").await;
        let mine = stage.moderators(OF_MAIN);
        let number = format!("Held post {id} in main");
        let notice = stage.notice(&mine, &[&number, "may I come in", "React 👍"]).await;
        assert!(text(&notice).contains("Why: first posts are approved by a moderator"));
        // Nobody sees it but those who moderate that room.
        let others = stage.moderators(OF_OTHER);
        assert_eq!(stage.texts(&others).await, Vec::<String>::new());
        assert_eq!(others.message(notice.id).await.unwrap_err().status(), Some(404));
        assert_eq!(
            others.react(notice.id, "👍").await.unwrap_err().status(),
            Some(404)
        );
        assert_eq!(
            others.reactors(notice.id, "👍", None).await.unwrap_err().status(),
            Some(404)
        );
        let member = stage.room("moderators", &somebody(2));
        assert_eq!(member.info().await.unwrap_err().status(), Some(404));
        let listed = stage.server(&somebody(2)).rooms().await.expect("rooms");
        assert!(listed.iter().all(|room| room.token.as_str() != "moderators"));
        let main = stage.room("main", &somebody(2));
        assert_eq!(stage.texts(&main).await, Vec::<String>::new());
        // A reaction that means nothing decides nothing; a thumb does.
        mine.react(notice.id, "😂").await.expect("a reaction");
        assert_eq!(stage.texts(&main).await, Vec::<String>::new());
        mine.react(notice.id, "👍🏽").await.expect("a reaction");
        assert_eq!(stage.texts(&main).await, ["may I come in"]);
        let decided = stage.notice(&mine, &[&number, "Decided: approved by"]).await;
        assert_eq!(decided.id, notice.id, "the same post");
        assert!(
            decided.reactions.contains_key("✅"),
            "apps show the reaction of the account"
        );
        // The second one is told, and decides nothing.
        let boss = stage.room("moderators", &admin());
        boss.react(notice.id, "👎").await.expect("a reaction");
        stage.notice(&boss, &["is decided already: approved by"]).await;
        assert_eq!(stage.texts(&main).await, ["may I come in"]);
        assert!(
            !stage
                .texts(&mine)
                .await
                .iter()
                .any(|text| text.contains("already"))
        );
        let who = stage.id_of(OF_MAIN).await.to_string();
        assert_eq!(stage.log().await[0], ("approve".to_owned(), who));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_reject_trust_and_ban() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        stage.rule(Some("main"), "tell_rejected", "yes").await;
        let mine = stage.moderators(OF_MAIN);
        let answer = async |words: &[&str], reply: &str| {
            let notice = stage.notice(&mine, words).await;
            let post = Post::text(reply).reply_to(&notice);
            mine.post(post).await.expect("a reply");
        };
        stage.held(1, "buy coins").await;
        // Talk is not a decision.
        answer(&["buy coins"], "what do you think?").await;
        answer(&["buy coins"], "reject").await;
        stage.notice(&mine, &["buy coins", "Decided: rejected by"]).await;
        let author = stage.room("main", &somebody(1));
        assert_eq!(
            stage.texts(&author).await,
            ["Moderators did not approve your post."]
        );
        stage.held(2, "hello from a friend").await;
        answer(&["hello from a friend"], "trust").await;
        stage
            .notice(&mine, &["hello from a friend", "Decided: approved;"])
            .await;
        assert!(
            stage
                .room("main", &somebody(2))
                .post("again")
                .await
                .expect("posted")
                .withheld
                .is_none()
        );
        // A ban takes everything along that the author has waiting.
        stage.held(3, "first spam").await;
        stage.held(3, "second spam").await;
        stage.notice(&mine, &["second spam"]).await;
        answer(&["first spam"], "ban 2d").await;
        stage.notice(&mine, &["first spam", "the author is banned"]).await;
        stage
            .notice(&mine, &["second spam", "the author is banned"])
            .await;
        let refused = stage.room("main", &somebody(3)).post("third").await.unwrap_err();
        assert_eq!(refused.status(), Some(403));
        let listed = stage.community.ask(Operation::BanList).await;
        let until = listed.data["bans"][0]["until"].as_f64().expect("an end");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        assert!((until - now.as_secs_f64() - 172_800.0).abs() < 60.0);
        // Replies to a notice are seen by whom the notice is seen by; other talk is seen by all moderators.
        mine.post("good morning").await.expect("posted");
        assert_eq!(stage.texts(&stage.moderators(OF_OTHER)).await, ["good morning"]);
        assert!(
            stage
                .texts(&mine)
                .await
                .contains(&"what do you think?".to_owned())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_decide_over_the_api_with_the_same_rights() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let (mine, others) = (
            stage.room("main", &somebody(OF_MAIN)),
            stage.room("main", &somebody(OF_OTHER)),
        );
        let (one, two) = (stage.held(1, "one").await, stage.held(2, "two").await);
        assert_eq!(others.held().await.unwrap_err().status(), Some(403));
        assert_eq!(
            others
                .decide_held(one, Verdict::Approve)
                .await
                .unwrap_err()
                .status(),
            Some(403)
        );
        let elsewhere = stage.room("other", &somebody(OF_OTHER));
        assert_eq!(
            elsewhere
                .decide_held(one, Verdict::Approve)
                .await
                .unwrap_err()
                .status(),
            Some(404)
        );
        let held = mine.held().await.expect("a list");
        assert_eq!(
            held.iter().map(|post| post.text.as_str()).collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(held[0].session_id, stage.id_of(1).await);
        stage
            .notice(&stage.moderators(OF_MAIN), &[&format!("Held post {one} ")])
            .await;
        assert_eq!(
            mine.decide_held(one, Verdict::Approve).await.expect("done").state,
            "approved"
        );
        assert_eq!(
            mine.decide_held(two, Verdict::Reject).await.expect("done").state,
            "rejected"
        );
        let again = mine.decide_held(one, Verdict::Reject).await.unwrap_err();
        assert_eq!(again.status(), Some(409));
        assert!(
            again.to_string().contains("decided already: approved by"),
            "{again}"
        );
        assert_eq!(
            mine.decide_held(987_654, Verdict::Approve)
                .await
                .unwrap_err()
                .status(),
            Some(404)
        );
        assert_eq!(stage.texts(&stage.room("main", &somebody(9))).await, ["one"]);
        // In the room a reply of the account says who decided, because nobody reacted there.
        let moderators = stage.moderators(OF_MAIN);
        stage.notice(&moderators, &[&format!("{one}: approved by")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_does_not_ban_a_moderator() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        let mine = stage.room("main", &somebody(OF_MAIN));
        let posted = stage
            .room("main", &admin())
            .post("from above")
            .await
            .expect("posted");
        stage
            .room("main", &somebody(1))
            .report(posted.id, "rude")
            .await
            .expect("reported");
        let refused = mine
            .decide_report(posted.id, Verdict::Ban(None))
            .await
            .unwrap_err();
        assert_eq!(refused.status(), Some(403));
        assert_eq!(
            mine.decide_report(posted.id, Verdict::Approve)
                .await
                .expect("done")
                .state,
            "approved"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_at_the_server_decides_too_and_everything_is_undone_by_actor() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let mine = stage.moderators(OF_MAIN);
        let one = stage.held(1, "one").await;
        stage.notice(&mine, &["one", "React"]).await;
        stage
            .community
            .act(Operation::HeldApprove {
                id: i64::try_from(one).unwrap(),
            })
            .await;
        stage
            .notice(&mine, &["one", "Decided: approved by operator test"])
            .await;
        stage
            .notice(&mine, &[&format!("{one}: approved by operator test")])
            .await;
        let _ = stage.held(2, "two").await;
        let notice = stage.notice(&mine, &["two", "React"]).await;
        mine.react(notice.id, "🚫").await.expect("a reaction");
        stage.notice(&mine, &["two", "the author is banned"]).await;
        assert_eq!(stage.log().await[0].0, "ban");
        assert!(stage.room("main", &somebody(2)).info().await.is_err());
        let who = stage.id_of(OF_MAIN).await.to_string();
        let undone = stage
            .community
            .ask(Operation::UndoMany {
                ranges: Vec::new(),
                actor: Some(who),
                room: None,
                since: None,
                until: None,
            })
            .await;
        assert_eq!(undone.changed, 1);
        // It waits again, and the author is no longer banned.
        let reopened = stage.notice(&mine, &["two", "React 👍"]).await;
        assert_eq!(reopened.id, notice.id);
        assert!(reopened.reactions.is_empty(), "the next reaction decides again");
        stage.room("main", &somebody(2)).info().await.expect("not banned");
        mine.react(notice.id, "🚫").await.expect("the same reaction");
        stage.notice(&mine, &["two", "the author is banned"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_undo_of_an_approval_the_same_thumb_approves_again() {
    for database in DATABASES {
        let stage = Stage::new(database).await;
        stage.hold_first_posts().await;
        let mine = stage.moderators(OF_MAIN);
        stage.held(1, "one").await;
        let notice = stage.notice(&mine, &["one", "React"]).await;
        mine.react(notice.id, "👍").await.expect("a reaction");
        stage.notice(&mine, &["one", "Decided: approved"]).await;
        stage
            .community
            .act(Operation::UndoMany {
                ranges: Vec::new(),
                actor: Some(stage.id_of(OF_MAIN).await.to_string()),
                room: None,
                since: None,
                until: None,
            })
            .await;
        let reopened = stage.notice(&mine, &["one", "React 👍"]).await;
        assert!(reopened.reactions.is_empty(), "{:?}", reopened.reactions);
        mine.react(notice.id, "👍").await.expect("a reaction");
        stage.notice(&mine, &["one", "Decided: approved"]).await;
        assert_eq!(stage.texts(&stage.room("main", &somebody(3))).await, ["one"]);
    }
}
