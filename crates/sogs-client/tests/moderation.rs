//! Moderation from the app and over the API: the moderators' room, decisions and reports, against the real server on
//! both databases.

mod community;

use std::time::Duration;

use community::{Community, Database, Way, admin, token};
use sogs_client::moderation::Verdict;
use sogs_client::{Identity, ListOptions, Message, Post, Room, Server, SessionId, Upload};
use sogs_server::admin::{Operation, Place};
use sogs_server::model::filter::{FilterAction, FilterKind};

const DATABASES: [Database; 2] = [Database::Sqlite, Database::Postgresql];

fn somebody(n: u8) -> Identity {
    Identity::from_seed([n; 32])
}

/// A community with the rooms `main` and `other`, each with a moderator, and the moderators' room.
struct Stage {
    community: Community,
}

const OF_MAIN: u8 = 0x51;
const OF_OTHER: u8 = 0x52;

impl Stage {
    async fn new(database: Database) -> Self {
        let community = Community::start_on(database).await;
        community.room_add("other").await;
        for (n, room) in [(OF_MAIN, "main"), (OF_OTHER, "other")] {
            let user = somebody(n).session_id().to_string();
            let place = Place::Rooms(vec![room.to_owned()]);
            let (admin, visible) = (false, None);
            let add = Operation::ModAdd {
                user,
                place,
                admin,
                visible,
            };
            community.act(add).await;
        }
        let stage = Self { community };
        stage
            .community
            .act(Operation::ModerationOn {
                room: "moderators".to_owned(),
            })
            .await;
        stage.rule(None, "rate_posts", "1000").await;
        stage
    }

    async fn rule(&self, room: Option<&str>, name: &str, value: &str) {
        self.community
            .act(Operation::SettingSet {
                room: room.map(str::to_owned),
                name: name.to_owned(),
                value: Some(value.to_owned()),
            })
            .await;
    }

    async fn hold_first_posts(&self) {
        self.rule(Some("main"), "approve_first", "1").await;
    }

    fn room(&self, name: &str, who: &Identity) -> Room {
        self.community.server(Way::Direct, who).room(&token(name))
    }

    fn server(&self, who: &Identity) -> Server {
        self.community.server(Way::Direct, who)
    }

    fn moderators(&self, n: u8) -> Room {
        self.room("moderators", &somebody(n))
    }

    /// Posts in `main`; the number of the held post.
    async fn held(&self, n: u8, text: &str) -> u64 {
        let posted = self.room("main", &somebody(n)).post(text).await.expect("posted");
        assert!(posted.withheld.is_some(), "it is held");
        posted.id
    }

    /// The notice about a message, as somebody sees it; waits until there is one that says so.
    async fn notice(&self, room: &Room, words: &[&str]) -> Message {
        for _ in 0..300 {
            for message in recent(room).await {
                let text = text(&message);
                if words.iter().all(|word| text.contains(word)) {
                    assert_eq!(message.problem(), None, "apps verify it");
                    assert_eq!(message.display_name(), Some("Moderation"));
                    return message;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seen: Vec<String> = recent(room).await.iter().map(text).collect();
        panic!("no notice with {words:?} among {seen:#?}");
    }

    async fn texts(&self, room: &Room) -> Vec<String> {
        recent(room).await.iter().map(text).collect()
    }

    /// Actions of the log, newest first, with who did them.
    async fn log(&self) -> Vec<(String, String)> {
        let log = self
            .community
            .ask(Operation::LogList {
                limit: 100,
                room: None,
                actor: None,
                target: None,
                since: None,
                until: None,
            })
            .await;
        let entries = log.data["log"].as_array().expect("entries").clone();
        entries
            .iter()
            .map(|entry| {
                let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                (word("action"), word("actor"))
            })
            .collect()
    }

    async fn id_of(&self, n: u8) -> SessionId {
        self.server(&somebody(n)).my_id().await.expect("an id")
    }
}

async fn recent(room: &Room) -> Vec<Message> {
    room.recent(ListOptions::limit(256)).await.expect("messages")
}

fn text(message: &Message) -> String {
    message.body().unwrap_or_default().to_owned()
}

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
        // Talk is no decision.
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
        let two = stage.held(2, "two").await;
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
        assert!(!reopened.reactions.contains_key("🚫") || reopened.reactions["🚫"].count == 1);
        stage.room("main", &somebody(2)).info().await.expect("not banned");
        let room = stage.room("main", &somebody(OF_MAIN));
        room.decide_held(two, Verdict::Approve)
            .await
            .expect("decided after all");
    }
}

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
        let place = Place::Rooms(vec!["main".into()]);
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
async fn what_was_held_before_the_room_was_opened_and_over_a_restart_gets_its_notice() {
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
