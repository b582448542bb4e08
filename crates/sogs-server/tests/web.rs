//! The pages, by plain requests and in a real browser (Debian's chromium) at desktop and phone width.

mod support;

use std::path::Path;
use std::process::Command;

use http::Method;
use session_protocol::content::{AttachmentPointer, DataMessage, Quote};
use sogs_server::admin::{Operation, PermissionChange};
use support::{Community, Got, person, shown};

/// A community with something to look at.
async fn lively() -> Community {
    let all = Community::with(|config| config.metrics.listen = Some(([127, 0, 0, 1], 0).into())).await;
    all.act(Operation::SettingSet {
        room: None,
        name: "rate_posts".into(),
        value: Some("100".into()),
    })
    .await;
    all.act(Operation::RoomEdit {
        room: "test".into(),
        name: Some("Garden & <Balcony>".into()),
        description: Some("Everything that grows.\nBe kind; ask anything.".into()),
        permissions: PermissionChange::default(),
        image: Some(PICTURE.into()),
    })
    .await;
    // The number of messages is more than a page.
    for number in 0..60 {
        all.post("test", &person(2), &format!("Note {number} about tomatoes"))
            .await;
    }
    let mut last = 0;
    for (number, text) in [
        (
            1,
            "The tomatoes are in. https://example.org/seeds?sort=early is where I got them.",
        ),
        (2, "<script>alert('no')</script> <b>not bold</b>"),
        (
            3,
            "A long word: Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft, twice: Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
        ),
        (1, "Line one\nLine two\n\n🍅🌱"),
    ] {
        let posted = all.post("test", &person(number), text).await;
        assert_eq!(posted.status, 201, "{}", posted.text());
        last = posted.json()["id"].as_i64().expect("id");
    }
    let mention = format!("@{} look at this", shown(&all.key, &person(3)));
    assert_eq!(all.post("test", &person(2), &mention).await.status, 201);
    for number in 1..4 {
        let path = format!("/room/test/reaction/{last}/👍");
        let got = all.request_raw(Method::PUT, &path, &person(number)).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
    with_files_and_replies(&all, last).await;
    all.act(Operation::RoomAdd {
        room: "empty".into(),
        name: Some("Nothing yet".into()),
        description: None,
        permissions: PermissionChange::default(),
    })
    .await;
    all.act(Operation::RoomAdd {
        room: "closed".into(),
        name: Some("Members only".into()),
        description: None,
        permissions: PermissionChange {
            read: Some(false),
            ..PermissionChange::default()
        },
    })
    .await;
    all.act(Operation::RoomAdd {
        room: "secret".into(),
        name: Some("Secret room".into()),
        description: None,
        permissions: PermissionChange {
            read: Some(false),
            accessible: Some(false),
            ..PermissionChange::default()
        },
    })
    .await;
    all
}

/// Adds a picture, a file, replies in two directions of writing, and a pin.
async fn with_files_and_replies(all: &Community, pinned: i64) {
    let who = person(1);
    let mut files = Vec::new();
    for (name, bytes) in [
        ("bed.png", chequered()),
        (
            "a very long name of a list of seeds for the next three years.txt",
            vec![7; 40_000],
        ),
    ] {
        let got = all.upload("test", &who, name, bytes).await;
        assert_eq!(got.status, 201, "{}", got.text());
        files.push(got.json()["id"].as_i64().expect("a number"));
    }
    let author = shown(&all.key, &who);
    let message = |text: &str, quote, attached: &[i64]| answer(text, quote, &author, attached);
    let time = support::now_ms();
    for (number, later, message) in [
        (1, 0, message("The bed, and the list", None, &files)),
        (2, 1, message("How large is it?", Some(time), &[])),
        (3, 2, message("גודל הערוגה?", Some(time), &[404])),
        (3, 3, message("More of that", Some(77), &[])),
        (1, 4, message("Once more, with picture", None, &[])),
    ] {
        let attached = if later == 0 { files.as_slice() } else { &[] };
        let got = all
            .post_message("test", &person(number), time + later, message, attached)
            .await;
        assert_eq!(got.status, 201, "{}", got.text());
    }
    all.act(Operation::MessagePin {
        room: "test".into(),
        id: pinned,
    })
    .await;
    // The small version and the index are made in the background.
    for _ in 0..200 {
        let is_small = all.get(&format!("/r/test/thumb/{}", files[0]), None).await.status == 200;
        let found = all.get("/r/test/?q=list", None).await.text();
        if is_small && found.contains("The bed, and") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("no small version, or no index");
}

/// A message, perhaps a reply to what `author` wrote at that time.
fn answer(text: &str, quote: Option<u64>, author: &str, attached: &[i64]) -> DataMessage {
    DataMessage {
        body: Some(text.into()),
        quote: quote.map(|id| Quote {
            id: Some(id),
            author: Some(author.to_owned()),
            ..Quote::default()
        }),
        attachments: attached
            .iter()
            .map(|id| AttachmentPointer {
                id: id.unsigned_abs(),
                ..AttachmentPointer::default()
            })
            .collect(),
        ..DataMessage::default()
    }
}

/// A PNG of 900×600 pixels.
fn chequered() -> Vec<u8> {
    let picture: image::DynamicImage = image::RgbImage::from_fn(900, 600, |x, y| {
        let shade = u8::try_from((x / 60 + y / 60) % 2 * 60).expect("small");
        image::Rgb([200 - shade, 90 + shade, 60])
    })
    .into();
    let mut png = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut png, image::ImageFormat::Png)
        .expect("encoded");
    png.into_inner()
}

/// A picture of 4×4 pixels.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR42mNgaDgARwzEcQBukw/x0F8jngAAAABJRU5ErkJggg==";

fn ids(all: &Community) -> Vec<String> {
    (1..4).map(|number| shown(&all.key, &person(number))).collect()
}

fn header<'a>(got: &'a Got, name: &str) -> &'a str {
    got.headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The tags by which other sites show a link to the page of a room, and to the list of rooms.
fn open_graph(all: &Community, index: &str, page: &str) {
    let base = all.running.as_ref().expect("running").url();
    let base = base.trim_end_matches('/');
    let tag = |text: &str, name: &str| {
        let start = format!("<meta property=\"og:{name}\" content=\"");
        let rest = text.split_once(&start).map(|(_, rest)| rest.to_owned());
        rest.and_then(|rest| Some(rest.split_once('"')?.0.to_owned()))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(tag(page, "type"), some("website"));
    assert_eq!(tag(page, "title"), some("Garden &amp; &lt;Balcony&gt;"));
    assert_eq!(tag(page, "url"), Some(format!("{base}/r/test/")));
    assert_eq!(tag(page, "image"), Some(format!("{base}/r/test/image")));
    let description = tag(page, "description").expect("a description");
    let shown = format!("<meta name=\"description\" content=\"{description}\">");
    assert!(!description.is_empty() && page.contains(&shown), "{description}");
    assert!(page.contains("<meta name=\"twitter:card\" content=\"summary\">"));
    assert_eq!(tag(index, "url"), Some(format!("{base}/")));
    assert_eq!(tag(index, "image"), None);
}

#[tokio::test]
async fn pages_show_what_everybody_may_see_and_no_more() {
    let mut all = lively().await;
    let index = all.get("/", None).await;
    assert_eq!(index.status, 200);
    let text = index.text();
    assert!(
        text.contains("Garden &amp; &lt;Balcony&gt;")
            && text.contains("Members only")
            && !text.contains("Secret room")
    );
    assert!(header(&index, "content-security-policy").contains("default-src 'none'"));
    let page = all.get("/r/test/", None).await;
    let text = page.text();
    assert!(
        text.contains("The tomatoes are in.") && text.contains("👍 3"),
        "{text}"
    );
    assert!(text.contains("&lt;script&gt;"));
    let scripts: Vec<&str> = text.split("<script").skip(1).collect();
    assert!(
        matches!(scripts.as_slice(), [only] if only.starts_with(" defer src=\"/static/copy.js\" integrity=\"sha256-")),
        "the one script of the page is our own: {scripts:?}"
    );
    assert!(!index.text().contains("<script"));
    let link = format!("/test?public_key={}", all.key);
    assert!(text.contains(&link));
    open_graph(&all, &index.text(), &text);
    for id in ids(&all) {
        assert!(
            !text.contains(&id) && !text.contains(&id[2..]),
            "an id is shown in full"
        );
    }
    let closed = all.get("/r/closed/", None).await;
    assert_eq!(closed.status, 200);
    assert!(closed.text().contains("can be read in the Session app"));
    for hidden in ["/r/secret/", "/r/secret/invite.png", "/r/nowhere/", "/secret"] {
        let got = all.get(hidden, None).await;
        assert_eq!(got.status, 404, "{hidden}");
        assert_eq!(
            header(&got, "content-security-policy").is_empty(),
            !hidden.starts_with("/r/"),
            "{hidden}"
        );
    }
    // A join link in a browser leads to the page.
    let link = all.get(&link, None).await;
    assert_eq!(
        (link.status.as_u16(), header(&link, "location")),
        (303, "/r/test/")
    );
    let png = all.get("/r/test/invite.png", None).await;
    assert_eq!(
        (header(&png, "content-type"), &png.body[..4]),
        ("image/png", &b"\x89PNG"[..])
    );
    let picture = all.get("/r/test/image", None).await;
    assert_eq!(
        (picture.status.as_u16(), header(&picture, "content-type")),
        (200, "image/png")
    );

    let set = |value: &str| Operation::SettingSet {
        room: Some("test".into()),
        name: "web".into(),
        value: Some(value.into()),
    };
    all.act(set("info")).await;
    assert!(!all.get("/r/test/", None).await.text().contains("tomatoes"));
    all.act(set("off")).await;
    assert_eq!(all.get("/r/test/", None).await.status, 404);
    assert!(!all.get("/", None).await.text().contains("Garden"));
    assert_eq!(
        all.get("/room/test", None).await.status,
        200,
        "the protocol does not mind"
    );
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_pages_at_every_width_light_and_dark_without_complaint() {
    let mut all = lively().await;
    // A folder of the operator's choice keeps the pictures for looking at them.
    let kept = std::env::var_os("ACKPOST_SCREENSHOTS").map(std::path::PathBuf::from);
    let folder = kept.unwrap_or_else(|| all.folder.path().to_path_buf());
    let base = format!("http://{}", all.address);
    let mut command = Command::new("node");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pages.mjs"))
        .args([base.as_str(), &folder.display().to_string(), &axe_core()]);
    let ran = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("a thread")
        .expect("node and chromium are installed (scripts/packages)");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for (name, width) in [
        ("index-desktop-light", 1280),
        ("room-phone-dark", 390),
        ("room-small-light", 320),
    ] {
        assert_eq!(width_of(&folder.join(format!("{name}.png"))), width, "{name}");
    }
    all.stop().await;
}

/// The file of axe-core, fetched where it is missing.
fn axe_core() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers/install-axe.sh");
    let ran = Command::new(script).output().expect("a shell");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// Width of a PNG in pixels.
fn width_of(picture: &Path) -> u32 {
    let bytes = std::fs::read(picture).expect("a screenshot");
    u32::from_be_bytes(bytes[16..20].try_into().expect("four bytes"))
}

#[tokio::test]
async fn health_and_metrics_have_a_listener_of_their_own() {
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], ackpost_testkit::reserve_port()));
    let mut all = Community::with(|config| config.metrics.listen = Some(free)).await;
    all.post("test", &person(1), "counted").await;
    let get = |path: &'static str| support::request(free, &all.key, Method::GET, path, None, None);
    let health = get("/healthz").await;
    assert_eq!((health.status.as_u16(), health.text().as_str()), (200, "ok\n"));
    let metrics = get("/metrics").await.text();
    for line in [
        "ackpost_posts_total 1",
        "ackpost_rooms 1",
        "ackpost_messages 1",
        "# TYPE ackpost_requests_total counter",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    assert_eq!(
        all.get("/metrics", None).await.status,
        404,
        "not on the public listener"
    );
    all.stop().await;
}

#[tokio::test]
async fn characters_that_turn_text_are_not_on_the_pages() {
    let all = Community::new().await;
    let text = "turned \u{202e}txt.exe\u{2066}\u{2028} and \u{5e9}\u{5dc}\u{5d5}\u{5dd}";
    assert_eq!(all.post("test", &person(1), text).await.status, 201);
    all.act(Operation::RoomEdit {
        room: "test".into(),
        name: Some("Room \u{202e}moor".into()),
        description: Some("about \u{2067}this".into()),
        permissions: PermissionChange::default(),
        image: None,
    })
    .await;
    for path in ["/", "/r/test/"] {
        let page = all.get(path, None).await.text();
        let turns = |c: char| matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(page.contains("Room ") && !page.contains(turns), "{path}: {page}");
    }
    let page = all.get("/r/test/", None).await.text();
    assert!(
        page.contains("txt.exe") && page.contains("\u{5e9}\u{5dc}\u{5d5}\u{5dd}"),
        "{page}"
    );
}
