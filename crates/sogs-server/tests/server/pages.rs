//! What browsers see of replies, pins, files and older messages, and what they find; on both databases.

use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use session_protocol::auth::Signer;
use session_protocol::content::{AttachmentPointer, Content, DataMessage, Profile, Quote};
use session_protocol::encoding::b64;
use session_protocol::message::SignedPost;
use session_protocol::padding::Padding;
use sogs_server::admin::{Operation, PermissionChange};
use sogs_server::{Config, Running};

use crate::common::{Api, Body, Resp, in_bucket, make_admin, operate, room, shared_store, somebody, start};

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $( #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(crate::common::config(dir.path())).await;
            } )+
        }
        mod postgresql {
            $( #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let database = tokio::task::spawn_blocking(|| ackpost_testkit::Postgres::shared().database()).await.unwrap();
                let mut config = crate::common::config(dir.path());
                config.database.url = database.url().to_owned();
                super::$name(config).await;
            } )+
        }
    };
}
on_both!(
    replies_name_what_they_answer_and_never_repeat_what_is_gone,
    older_messages_are_on_pages_that_stay_where_they_are,
    a_search_finds_what_everybody_may_see_and_no_more,
    pictures_have_small_versions_that_go_with_them,
    an_index_of_an_older_database_is_built_while_the_server_runs,
);

/// A room `r` without rate limits, and somebody who writes there.
struct Place {
    running: Running,
    api: Api,
    who: Signer,
}

impl Place {
    async fn of(config: Config) -> Self {
        let running = start(config).await;
        room(&running, "r").await;
        let place = Self::again(running);
        place.set("rate_posts", "100000").await;
        place
    }

    fn again(running: Running) -> Self {
        let api = Api::of(&running);
        let who = Signer::blind15(&somebody(), &api.key);
        Self { running, api, who }
    }

    async fn set(&self, name: &str, value: &str) {
        operate(
            &self.running,
            Operation::SettingSet {
                room: Some("r".into()),
                name: name.into(),
                value: Some(value.into()),
            },
        )
        .await;
    }

    async fn page(&self, rest: &str) -> String {
        let got = self.api.get(None, &format!("/r/r/{rest}")).await;
        assert_eq!(got.status, 200, "{rest}: {}", got.text());
        got.text()
    }

    /// Posts a message; its number and the author's time.
    async fn say(&self, who: &Signer, message: DataMessage, extra: Value) -> (i64, u64) {
        let time = now_ms();
        let mut body = signed(who, message, time);
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let got = self
            .api
            .post(Some(who), "/room/r/message", &body)
            .await
            .expect(201);
        (got.json()["id"].as_i64().unwrap(), time)
    }

    async fn text(&self, text: &str) -> (i64, u64) {
        self.say(&self.who, body(text), json!({})).await
    }

    async fn upload(&self, bytes: &[u8], name: &str) -> i64 {
        let disposition = format!("attachment; filename*=UTF-8''{name}");
        let body = Body::raw(bytes, &[("content-disposition", &disposition)]);
        let got = self
            .api
            .call(Some(&self.who), "POST", "/room/r/file", body)
            .await
            .expect(201);
        got.json()["id"].as_i64().unwrap()
    }

    async fn with_file(&self, text: &str, file: i64) -> i64 {
        let pointer = AttachmentPointer {
            id: file.unsigned_abs(),
            file_name: Some("as-posted.bin".into()),
            ..AttachmentPointer::default()
        };
        let message = DataMessage {
            attachments: vec![pointer],
            ..body(text)
        };
        self.say(&self.who, message, json!({ "files": [file] })).await.0
    }

    async fn get(&self, path: &str) -> Resp {
        self.api.get(None, path).await
    }

    /// Waits until a page has a text.
    async fn until(&self, rest: &str, text: &str, is_there: bool) -> String {
        let began = Instant::now();
        loop {
            let page = self.page(rest).await;
            if page.contains(text) == is_there {
                return page;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{text} on {rest}: {page}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until this file is indexed: everything before it is then, too.
    async fn indexed(&self, mark: &str) {
        self.text(mark).await;
        self.until(&format!("?q={mark}"), &format!(">{mark}</p>"), true)
            .await;
        // A page before: what was queued earlier may be in the next round.
        let began = Instant::now();
        while self
            .api
            .get(None, "/r/r/?q=zzz")
            .await
            .text()
            .contains("is being built")
        {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn body(text: &str) -> DataMessage {
    DataMessage {
        body: Some(text.into()),
        profile: Some(Profile {
            display_name: Some("Gardener".into()),
            ..Profile::default()
        }),
        ..DataMessage::default()
    }
}

fn signed(who: &Signer, message: DataMessage, time: u64) -> Value {
    let content = Content {
        data_message: Some(message),
        sig_timestamp: Some(time),
    };
    let post = SignedPost::new(&content, who, Padding::Block);
    json!({ "data": b64(&post.data), "signature": b64(post.signature) })
}

fn answering(text: &str, time: u64, author: &str, claimed: &str) -> DataMessage {
    DataMessage {
        quote: Some(Quote {
            id: Some(time),
            author: Some(author.into()),
            text: Some(claimed.into()),
            ..Quote::default()
        }),
        ..body(text)
    }
}

async fn replies_name_what_they_answer_and_never_repeat_what_is_gone(config: Config) {
    let place = Place::of(config).await;
    let author = place.who.shown_id().to_string();
    let (first, time) = place.text("The first tomatoes are ripe").await;
    let forged = "words that were never said";
    place
        .say(
            &place.who,
            answering("Which kind?", time, &author, forged),
            json!({}),
        )
        .await;
    let page = place.page("").await;
    assert!(!page.contains(forged), "{page}");
    assert!(
        page.contains("<span class=\"unseen\">Reply to </span><b dir=\"auto\">Gardener</b>"),
        "{page}"
    );
    assert!(page.contains(&format!("href=\"#m{first}\"")), "{page}");
    assert_eq!(page.matches("The first tomatoes are ripe").count(), 2);

    // By the server's time, as apps do that do not know the author's.
    let posted = place
        .api
        .get(None, &format!("/room/r/message/{first}"))
        .await
        .json()["posted"]
        .as_f64()
        .unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time in milliseconds"
    )]
    let by_server = (posted * 1000.0) as u64;
    place
        .say(
            &place.who,
            answering("By the other clock", by_server, &author, ""),
            json!({}),
        )
        .await;
    assert_eq!(
        place
            .page("")
            .await
            .matches("The first tomatoes are ripe")
            .count(),
        3
    );

    // On another page the link leads to the page that begins with it.
    for number in 0..50 {
        place.text(&format!("filler {number}")).await;
    }
    place
        .say(
            &place.who,
            answering("Much later", time, &author, forged),
            json!({}),
        )
        .await;
    let page = place.page("").await;
    let link = format!("/r/r/?before={}#m{first}", first + 1);
    assert!(page.contains(&link), "{page}");
    let there = place.page(&format!("?before={}", first + 1)).await;
    assert!(there.contains(&format!("id=\"m{first}\"")));

    // Pins stand on the first page.
    operate(
        &place.running,
        Operation::MessagePin {
            room: "r".into(),
            id: first,
        },
    )
    .await;
    let page = place.page("").await;
    let (before, after) = page.split_once("Pinned messages").expect("a section");
    assert!(!before.contains("ripe") && after.contains(&link), "{page}");
    assert!(!place.page("?before=20").await.contains("Pinned messages"));

    // Somebody else's time, no such message, and a message that is gone.
    let stranger = Signer::blind15(&somebody(), &place.api.key)
        .shown_id()
        .to_string();
    place
        .say(
            &place.who,
            answering("To nobody", time, &stranger, forged),
            json!({}),
        )
        .await;
    place
        .say(
            &place.who,
            answering("To nothing", time - 5_000_000, &author, forged),
            json!({}),
        )
        .await;
    place
        .say(&place.who, answering("To no id", time, "15zz", forged), json!({}))
        .await;
    let page = place.page("").await;
    assert_eq!(
        page.matches("Reply to a message that is no longer here").count(),
        3,
        "{page}"
    );
    operate(
        &place.running,
        Operation::MessageDelete {
            room: "r".into(),
            ids: vec![first],
            ranges: Vec::new(),
        },
    )
    .await;
    let page = place.page("").await;
    assert!(
        page.contains("Reply to a message that was deleted") && !page.contains("ripe"),
        "{page}"
    );
    assert!(!page.contains("Pinned messages") && !page.contains(forged));

    // Whispers: the one they are for is told of; the page is not.
    let admin = somebody();
    make_admin(&place.running, &admin).await;
    let admin = Signer::blind15(&admin, &place.api.key);
    let (_, whispered) = place
        .say(
            &admin,
            body("for moderators only"),
            json!({ "whisper_mods": true }),
        )
        .await;
    let admin_id = admin.shown_id().to_string();
    place
        .say(
            &place.who,
            answering("I heard", whispered, &admin_id, "for moderators only"),
            json!({}),
        )
        .await;
    let page = place.page("").await;
    assert!(
        page.contains("Reply to a message that is not shown") && !page.contains("for moderators"),
        "{page}"
    );
    place.running.shutdown().await;
}

async fn older_messages_are_on_pages_that_stay_where_they_are(config: Config) {
    let place = Place::of(config).await;
    assert!(place.page("").await.contains("Nobody has written here yet."));
    assert!(
        place
            .page("?before=1")
            .await
            .contains("There are no messages here.")
    );
    let mut ids = Vec::new();
    for number in 0..120 {
        ids.push(place.text(&format!("message number {number}.")).await.0);
    }
    let admin = somebody();
    make_admin(&place.running, &admin).await;
    let admin = Signer::blind15(&admin, &place.api.key);
    place
        .say(&admin, body("a whisper"), json!({ "whisper_mods": true }))
        .await;
    let on = |page: &str| -> Vec<i64> {
        page.split("<li id=\"m")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect()
    };
    let newest = place.page("").await;
    let expected: Vec<i64> = ids.iter().rev().take(50).copied().collect();
    assert_eq!(on(&newest), expected);
    let older = format!("?before={}", expected[49]);
    assert!(
        newest.contains(&format!("rel=\"next\" href=\"/r/r/{older}\"")),
        "{newest}"
    );
    assert!(!newest.contains("rel=\"prev\""));
    let middle = place.page(&older).await;
    let expected: Vec<i64> = ids.iter().rev().skip(50).take(50).copied().collect();
    assert_eq!(on(&middle), expected);
    // The newer page from there is the one it came from, also when something new was said meanwhile.
    place.text("something new").await;
    assert_eq!(place.page(&older).await, middle);
    assert!(middle.contains(&format!("rel=\"prev\" href=\"/r/r/?after={}\"", expected[0])));
    let back = place.page(&format!("?after={}", expected[0])).await;
    assert_eq!(on(&back), ids.iter().rev().take(50).copied().collect::<Vec<_>>());
    assert!(back.contains("rel=\"prev\"") && back.contains("rel=\"next\""));
    let last = place.page(&format!("?before={}", expected[49])).await;
    assert_eq!(on(&last).len(), 20);
    assert!(!last.contains("rel=\"next\"") && last.contains("noindex"));
    // Numbers that are none, or out of range, change nothing or show nothing.
    for odd in [
        "?before=x",
        "?before=-3",
        "?before=99999999999999999999",
        "?after=",
    ] {
        assert_eq!(on(&place.page(odd).await).len(), 50, "{odd}");
    }
    for empty in ["?before=0", "?after=9223372036854775807"] {
        assert_eq!(on(&place.page(empty).await).len(), 0, "{empty}");
    }
    place.running.shutdown().await;
}

async fn a_search_finds_what_everybody_may_see_and_no_more(config: Config) {
    let place = Place::of(config).await;
    place.text("Fresh Café au lait & tomatoes").await;
    place.text("tomatoes without milk").await;
    place.text("green house of glass").await;
    place.text("a house that is green").await;
    place.text("東京タワー is tall").await;
    let (edited, _) = place.text("before the editing").await;
    let (deleted, _) = place.text("to be deleted").await;
    let admin = somebody();
    make_admin(&place.running, &admin).await;
    let admin = Signer::blind15(&admin, &place.api.key);
    place
        .say(
            &admin,
            body("a whispered secret"),
            json!({ "whisper_mods": true }),
        )
        .await;
    place
        .say(
            &admin,
            body("a whispered word"),
            json!({ "whisper_to": place.who.shown_id().to_string() }),
        )
        .await;
    place.indexed("markone").await;
    let found = async |query: &str| -> Vec<String> {
        let page = place.page(&format!("?q={query}")).await;
        page.split("<p class=\"body\" dir=\"auto\">")
            .skip(1)
            .map(|rest| rest.split("</p>").next().unwrap().to_owned())
            .collect()
    };
    let milk = ["tomatoes without milk", "Fresh Café au lait &amp; tomatoes"];
    for (query, expected) in [
        ("TOMATOES", &milk[..]),
        ("cafe", &milk[1..]),
        ("caf%C3%A9+tomatoes", &milk[1..]),
        ("tomatoes+-milk", &milk[1..]),
        ("%22green+house%22", &["green house of glass"]),
        ("green+house", &["a house that is green", "green house of glass"]),
        ("green-house", &["green house of glass"]),
        ("%E3%82%BF%E3%83%AF%E3%83%BC", &["東京タワー is tall"]),
        ("toma", &[]),
        ("whispered", &[]),
        ("nosuchword", &[]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
    // Nothing of a search is syntax of a database.
    for odd in [
        "%22",
        "%27",
        "*",
        "-",
        "a+OR+b",
        "NEAR(a+b)",
        "text%3Ax",
        "%00",
        "%25",
        "%3Cscript%3E",
        "a%22b%27c%3B--",
    ] {
        let page = place.page(&format!("?q={odd}")).await;
        assert!(!page.contains("<script>"), "{odd}");
    }
    assert!(place.page("?q=").await.contains("Name a word"));
    let long = "long ".repeat(1000).replace(' ', "+");
    assert!(
        place
            .page(&format!("?q={long}"))
            .await
            .contains("No message has these words.")
    );

    // Edited, deleted and held messages are gone from the results at once, and what is shown again comes back.
    let body_of = signed(&place.who, body("after the editing"), now_ms());
    place
        .api
        .put(Some(&place.who), &format!("/room/r/message/{edited}"), &body_of)
        .await
        .expect(200);
    place
        .api
        .delete(Some(&place.who), &format!("/room/r/message/{deleted}"))
        .await
        .expect(200);
    assert_eq!(found("before").await, Vec::<String>::new());
    assert_eq!(found("deleted").await, Vec::<String>::new());
    place.until("?q=after", "after the editing", true).await;
    place.set("approve_first", "100000").await;
    let newcomer = Signer::blind15(&somebody(), &place.api.key);
    let (held, _) = place.say(&newcomer, body("kept waiting"), json!({})).await;
    place.set("approve_first", "0").await;
    place.indexed("marktwo").await;
    assert_eq!(found("waiting").await, Vec::<String>::new());
    let approved = operate(&place.running, Operation::HeldApprove { id: held }).await;
    place.until("?q=waiting", "kept waiting", true).await;
    operate(&place.running, Operation::Undo { id: approved.undo }).await;
    assert_eq!(found("waiting").await, Vec::<String>::new());

    // Only in this room, and only where it is allowed.
    room(&place.running, "other").await;
    let elsewhere = place.get("/r/other/?q=tomatoes").await.expect(200).text();
    assert!(elsewhere.contains("No message has these words."));
    place.set("search", "no").await;
    let page = place.page("?q=tomatoes").await;
    assert!(
        !page.contains("role=\"search\"") && !page.contains("<h2>Results"),
        "{page}"
    );
    place.set("search", "yes").await;
    let closed = PermissionChange {
        read: Some(false),
        ..PermissionChange::default()
    };
    operate(
        &place.running,
        Operation::RoomEdit {
            room: "r".into(),
            name: None,
            description: None,
            permissions: closed,
            image: None,
        },
    )
    .await;
    let page = place.page("?q=tomatoes").await;
    assert!(
        !page.contains("tomatoes") && !page.contains("role=\"search\""),
        "{page}"
    );
    place.running.shutdown().await;
}

fn shade(at: u32) -> u8 {
    u8::try_from(at).unwrap()
}

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let picture: DynamicImage =
        RgbImage::from_fn(width, height, |x, y| Rgb([shade(x % 251), shade(y % 241), 77])).into();
    let mut out = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A PNG that says it is as large as this.
fn claimed(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = picture(1, 1, ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&checksum);
    bytes
}

/// Names of contents in the folder of files.
fn contents(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(config.files_dir()).into_iter().flatten() {
        let folder = folder.unwrap().path();
        if folder.is_dir() && !folder.ends_with("tmp") {
            names.extend(
                std::fs::read_dir(folder)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap()),
            );
        }
    }
    names
}

async fn pictures_have_small_versions_that_go_with_them(config: Config) {
    let place = Place::of(config.clone()).await;
    let original = picture(1600, 800, ImageFormat::Png);
    let file = place.upload(&original, "tomatoes.png").await;
    let text = place.upload(b"just text", "..%2Fnotes%E2%80%AEgpj.txt").await;
    let bomb = place.upload(&claimed(30_000, 30_000), "bomb.png").await;
    assert_eq!(
        place.get(&format!("/r/r/file/{file}")).await.status,
        404,
        "an upload that waits"
    );
    let message = place.with_file("Look", file).await;
    place.with_file("Read", text).await;
    place.with_file("Too large for a small version", bomb).await;
    let thumb = format!("/r/r/thumb/{file}");
    let page = place.until("", &thumb, true).await;
    assert!(
        page.contains("alt=\"Picture: tomatoes.png\" width=\"240\" height=\"120\""),
        "{page}"
    );
    assert!(
        page.contains("notesgpj.txt") && page.contains("9 bytes"),
        "{page}"
    );
    assert!(page.contains("rel=\"noopener nofollow\" download"), "{page}");
    let small = place.get(&thumb).await.expect(200);
    assert_eq!(small.header("content-type"), Some("image/jpeg"));
    assert_eq!(small.header("x-content-type-options"), Some("nosniff"));
    assert!(
        small
            .header("content-security-policy")
            .unwrap()
            .contains("sandbox")
    );
    assert!(small.header("cache-control").is_some());
    let decoded = image::load_from_memory(&small.body).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (480, 240));
    let whole = place
        .get(&format!("/r/r/file/{file}/tomatoes.png"))
        .await
        .expect(200);
    assert_eq!(whole.body, original);
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    assert_eq!(
        whole.header("content-disposition"),
        Some("attachment; filename*=UTF-8''tomatoes.png")
    );
    assert_eq!(place.get(&format!("/r/r/thumb/{text}")).await.status, 404);
    assert_eq!(place.get(&format!("/r/r/thumb/{bomb}")).await.status, 404);
    assert!(place.page("").await.contains("bomb.png"));
    assert_eq!(place.get(&format!("/r/other/thumb/{file}")).await.status, 404);

    // A small version that is lost is made again.
    if config.files.storage == sogs_server::config::Storage::Folder {
        let before = contents(&config);
        let name = sogs_server::content_name(&small.body);
        let stored = before.iter().find(|one| one.starts_with(&name)).expect("stored");
        std::fs::remove_file(config.files_dir().join(&stored[..2]).join(stored)).unwrap();
        assert_eq!(place.get(&thumb).await.status, 404);
        place.until("", &thumb, true).await;
        assert_eq!(place.get(&thumb).await.expect(200).body, small.body);
    }

    // It is as visible as the message, goes with the file, and comes back with it.
    let delete = Operation::MessageDelete {
        room: "r".into(),
        ids: vec![message],
        ranges: Vec::new(),
    };
    let done = operate(&place.running, delete.clone()).await;
    assert_eq!(place.get(&thumb).await.status, 404);
    assert_eq!(place.get(&format!("/r/r/file/{file}")).await.status, 404);
    let count = || contents(&config).len();
    let began = Instant::now();
    while config.files.storage == sogs_server::config::Storage::Folder && count() > 2 {
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{:?}",
            contents(&config)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    operate(&place.running, Operation::Undo { id: done.undo }).await;
    place.until("", &thumb, true).await;
    assert_eq!(place.get(&thumb).await.expect(200).body, small.body);

    // Not on the page of a room that shows no messages.
    place.set("web", "info").await;
    assert_eq!(place.get(&thumb).await.status, 404);
    assert_eq!(place.get(&format!("/r/r/file/{file}")).await.status, 404);
    place.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_versions_are_in_the_bucket_too() {
    let store = shared_store().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::common::config(dir.path());
    let prefix = in_bucket(&mut config, store);
    let objects = || crate::bucket::objects(&store.folder(&prefix)).len();
    let place = Place::of(config.clone()).await;
    let file = place.upload(&picture(900, 300, ImageFormat::Jpeg), "a.jpg").await;
    let message = place.with_file("Look", file).await;
    let thumb = format!("/r/r/thumb/{file}");
    place.until("", &thumb, true).await;
    place.get(&thumb).await.expect(200);
    assert_eq!(objects(), 2);
    let delete = Operation::MessageDelete {
        room: "r".into(),
        ids: vec![message],
        ranges: Vec::new(),
    };
    operate(&place.running, delete).await;
    let began = Instant::now();
    while objects() > 0 {
        assert!(began.elapsed() < Duration::from_secs(40), "{} objects", objects());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    place.running.shutdown().await;
}

async fn an_index_of_an_older_database_is_built_while_the_server_runs(config: Config) {
    let place = Place::of(config.clone()).await;
    for number in 0..30 {
        place.text(&format!("common number{number}")).await;
    }
    place.indexed("markone").await;
    place.running.shutdown().await;
    // As the migration leaves a database of an older version: nothing indexed, everything queued.
    testing_reset(&config).await;
    let place = Place::again(start(config).await);
    let page = place.until("?q=common", "number0<", true).await;
    assert_eq!(page.matches("<p class=\"body\"").count(), 30, "{page}");
    place.running.shutdown().await;
}

async fn testing_reset(config: &Config) {
    let text = "DELETE FROM search_index; INSERT INTO search_queue (message_id) SELECT id FROM messages;";
    let url = config.database_url();
    if url.starts_with("postgres") {
        let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
            .await
            .unwrap();
        sqlx::raw_sql(text).execute(&mut conn).await.unwrap();
    } else {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(url.trim_start_matches("sqlite:"));
        let mut conn = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::raw_sql(text).execute(&mut conn).await.unwrap();
        sqlx::Connection::close(conn).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_versions_are_made_again_after_a_restore() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::of(crate::common::config(&dir.path().join("first"))).await;
    crate::common::write_config(&place.running.app().config());
    let file = place
        .upload(&picture(600, 500, ImageFormat::WebP), "a.webp")
        .await;
    place.with_file("Look", file).await;
    let thumb = format!("/r/r/thumb/{file}");
    place.until("", &thumb, true).await;
    let small = place.get(&thumb).await.expect(200).body;
    let to = dir.path().join("backup");
    operate(&place.running, Operation::Backup { to: to.clone() }).await;
    place.running.shutdown().await;
    let backed_up = Config {
        dir: to.clone(),
        ..Config::load(&to).unwrap()
    };
    assert_eq!(contents(&backed_up).len(), 1, "the file alone");
    let second = dir.path().join("second");
    sogs_server::import::backup::restore(&to, &second, None)
        .await
        .unwrap();
    let mut config = Config::load(&second).unwrap();
    config.net.listen = ([127, 0, 0, 1], 0).into();
    let place = Place::again(start(config).await);
    place.until("", &thumb, true).await;
    assert_eq!(place.get(&thumb).await.expect(200).body, small);
    place.running.shutdown().await;
}

/// A server in a process whose address space is bounded survives the largest pictures that it decodes, many at once.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_do_not_exhaust_the_memory_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(crate::common::config(dir.path())).await;
    room(&running, "r").await;
    operate(
        &running,
        Operation::SettingSet {
            room: None,
            name: "rate_posts".into(),
            value: Some("1000".into()),
        },
    )
    .await;
    running.shutdown().await;
    // The number of heaps is the one that the program sets.
    let (mut child, addr, key) =
        crate::crash::spawn_limited(dir.path(), "export MALLOC_ARENA_MAX=2 && ulimit -v 300000");
    let api = Api {
        addr,
        key,
        door: crate::common::Door::Http,
    };
    let who = Signer::blind15(&somebody(), &key);
    let plain = |width, height, color: image::ColorType, format| {
        let mut out = std::io::Cursor::new(Vec::new());
        DynamicImage::new(width, height, color)
            .write_to(&mut out, format)
            .unwrap();
        out.into_inner()
    };
    let pictures = [
        plain(3500, 3500, image::ColorType::Rgba8, ImageFormat::Png),
        plain(2500, 2500, image::ColorType::Rgba16, ImageFormat::Png),
        plain(4000, 4000, image::ColorType::Rgb8, ImageFormat::Jpeg),
        plain(2500, 2500, image::ColorType::Rgba8, ImageFormat::WebP),
    ];
    let send = |bytes: Vec<u8>| {
        let who = who.clone();
        async move {
            let got = api
                .call(Some(&who), "POST", "/room/r/file", Body::raw(&bytes, &[]))
                .await;
            let file = got.expect(201).json()["id"].as_i64().unwrap();
            let mut message = signed(&who, body("Look"), now_ms());
            message["files"] = json!([file]);
            api.post(Some(&who), "/room/r/message", &message)
                .await
                .expect(201);
            file
        }
    };
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..16 {
        posts.spawn(send(pictures[number % pictures.len()].clone()));
    }
    let files = posts.join_all().await;
    let last = send(picture(40, 30, ImageFormat::Png)).await;
    let began = Instant::now();
    while api.get(None, &format!("/r/r/thumb/{last}")).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The newest come first; the oldest of the others comes last.
    for file in files.iter().rev() {
        while api.get(None, &format!("/r/r/thumb/{file}")).await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(90), "{file} of {files:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(child.try_wait().unwrap(), None, "the server lives");
    child.kill().unwrap();
    child.wait().unwrap();
}
