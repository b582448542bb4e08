//! A reload: each setting is applied everywhere, or said to need a restart.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use session_protocol::encoding::b64;
use sogs_server::admin::{Operation, config_reference};
use sogs_server::{Config, LogLevel};
use support::{Community, Got, person, shown};

/// Words of a reload after which everything is as before.
const NOTHING: [&str; 1] = ["the configuration was read again; nothing changed"];

/// A value other than the one in force, for every setting: section, name, value.
const OTHERS: [(&str, &str, &str); 44] = [
    ("net", "listen", "\"127.0.0.1:1\""),
    ("net", "base_url", "\"https://changed.example\""),
    ("net", "trusted_proxies", "[\"127.0.0.0/8\"]"),
    ("net", "reuse_port", "true"),
    ("net", "legacy_routes", "false"),
    ("database", "url", "\"sqlite:other.db\""),
    ("database", "readers", "2"),
    ("files", "storage", "\"s3\""),
    ("files", "directory", "\"elsewhere\""),
    ("files", "s3_endpoint", "\"http://127.0.0.1:3\""),
    ("files", "s3_region", "\"elsewhere\""),
    ("files", "s3_bucket", "\"files\""),
    ("files", "s3_prefix", "\"ours/\""),
    ("files", "s3_path_style", "false"),
    ("files", "s3_allow_http", "true"),
    ("files", "s3_credentials_file", "\"keys\""),
    ("files", "s3_ca_file", "\"ca.pem\""),
    ("files", "s3_timeout_seconds", "5.0"),
    ("files", "max_size", "100"),
    ("files", "expiry_days", "2.0"),
    ("files", "unattached_seconds", "60.0"),
    ("users", "require_blind_keys", "false"),
    ("users", "allow_anonymous", "false"),
    ("rooms", "active_days", "1.0"),
    ("rooms", "active_prune_days", "0.0"),
    ("messages", "history_days", "0.0"),
    ("direct_messages", "expiry_days", "1.0"),
    ("direct_messages", "max_bytes", "10"),
    ("limits", "connections", "100"),
    ("limits", "body_bytes", "1000000"),
    ("limits", "bodies_bytes", "32000000"),
    ("limits", "header_seconds", "5.0"),
    ("limits", "body_seconds", "5.0"),
    ("limits", "batch_requests", "10"),
    ("limits", "batch_depth", "1"),
    ("limits", "answer_cache_bytes", "1000"),
    ("limits", "cached_users", "10"),
    ("limits", "nonces", "1000"),
    ("web", "enabled", "false"),
    ("web", "index", "false"),
    ("web", "title", "\"Changed title\""),
    ("metrics", "listen", "\"127.0.0.1:2\""),
    ("log", "level", "\"debug\""),
    ("log", "json", "true"),
];

fn others() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    OTHERS.into_iter()
}

/// Settings of the reference page, and whether it says that they follow a reload.
fn documented() -> Vec<(String, String, bool)> {
    let mut section = String::new();
    let mut all = Vec::new();
    for line in config_reference().lines() {
        if let Some(name) = line.strip_prefix("## [") {
            name.trim_end_matches(']').clone_into(&mut section);
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, _, mark, ..] = cells[..]
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))
            && !section.starts_with('[')
            && cells.len() == 6
        {
            all.push((section.clone(), name.to_owned(), mark == "✓"));
        }
        if line.starts_with("# Rules") {
            break;
        }
    }
    all
}

fn write(all: &Community, settings: &[(&str, &str, &str)]) {
    let mut table = toml::Table::new();
    for (section, name, value) in settings {
        let value: toml::Table = format!("x = {value}").parse().expect("TOML");
        table
            .entry(*section)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .expect("a section")
            .insert((*name).to_owned(), value["x"].clone());
    }
    std::fs::write(all.dir().join("server.toml"), table.to_string()).expect("written");
}

async fn reload(all: &Community) -> Vec<String> {
    all.act(Operation::Reload).await.lines
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn upload(all: &Community, size: usize) -> Got {
    let file = ("application/octet-stream", vec![7; size]);
    all.request(Method::POST, "/room/test/file", Some(&person(1)), Some(file))
        .await
}

/// Posts a message with a small file; seconds until the file expires, and its number.
async fn attached(all: &Community) -> (f64, i64) {
    let file = upload(all, 10).await.json()["id"].as_i64().expect("a number");
    let mut body: Value =
        serde_json::from_slice(&support::post_body(&all.key, &person(1), "file")).expect("JSON");
    body["files"] = json!([file]);
    let body = ("application/json", serde_json::to_vec(&body).expect("JSON"));
    let got = all
        .request(Method::POST, "/room/test/message", Some(&person(1)), Some(body))
        .await;
    assert_eq!(got.status, 201, "{}", got.text());
    (expires(all, file).await, file)
}

async fn expires(all: &Community, file: i64) -> f64 {
    let store = all.running.as_ref().expect("running").app().store.clone();
    let room = store
        .room_by_token("test".into())
        .await
        .expect("store")
        .expect("room");
    let row = store.file(room.id, file).await.expect("store").expect("the file");
    row.expiry.map_or(f64::INFINITY, |expiry| expiry - row.uploaded)
}

async fn direct_message(all: &Community, size: usize) -> Got {
    let path = format!("/inbox/{}", shown(&all.key, &person(1)));
    let body = json!({ "message": b64(vec![7; size]) }).to_string().into_bytes();
    all.request(
        Method::POST,
        &path,
        Some(&person(2)),
        Some(("application/json", body)),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_is_in_the_table() {
    let documented: BTreeSet<(String, String)> = documented()
        .into_iter()
        .map(|(section, name, _)| (section, name))
        .collect();
    let known: BTreeSet<(String, String)> = others()
        .map(|(section, name, _)| (section.to_owned(), name.to_owned()))
        .collect();
    assert_eq!(known, documented);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_need_a_restart_are_reported_each_time_and_not_applied() {
    // The server listens elsewhere than its file says, as with `--listen`; that is not a change.
    let all = Community::new().await;
    let app = all.running.as_ref().expect("running").app().clone();
    app.on_log_level(|_, _| LogLevel::Follows);
    assert_eq!(reload(&all).await, NOTHING);
    let before: Config = (*app.config()).clone();
    for (section, name, follows) in documented() {
        if follows {
            continue;
        }
        let other = others()
            .find(|other| (other.0, other.1) == (&section, &name))
            .expect("it is in the table");
        // A bucket needs its name and address.
        let company = ["s3_endpoint", "s3_bucket"];
        let mut settings = vec![other];
        if name == "storage" {
            settings.extend(others().filter(|other| company.contains(&other.1)));
        }
        write(&all, &settings);
        let expected: Vec<String> = settings
            .iter()
            .map(|(section, name, _)| format!("[{section}] {name} changes at the next start"))
            .collect();
        assert_eq!(reload(&all).await, expected);
        assert_eq!(reload(&all).await, expected, "it still waits");
        assert_eq!(*app.config(), before, "[{section}] {name}");
    }
    write(&all, &[]);
    assert_eq!(reload(&all).await, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one probe for each setting")]
async fn options_reported_as_applied_apply_everywhere() {
    let log = Lines::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let all = Community::new().await;
    let app = all.running.as_ref().expect("running").app().clone();
    let levels = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&levels);
    app.on_log_level(move |level, dry_run| {
        if !dry_run {
            heard.lock().expect("levels").push(level.to_owned());
        }
        LogLevel::Follows
    });
    // Something for the cleanup to forget.
    all.post("test", &person(3), "to delete").await;
    all.get("/room/test/messages/recent", Some(&person(3))).await;
    let deleted = all
        .act(Operation::MessageDelete {
            room: "test".into(),
            ids: vec![1],
            ranges: Vec::new(),
        })
        .await;
    active(&all, true).await;
    let (long, kept) = attached(&all).await;
    assert!((long - 15.0 * 86_400.0).abs() < 60.0);
    assert_eq!(direct_message(&all, 100).await.status, 201);

    // A dry run says the same and changes nothing.
    let followed: Vec<_> = documented()
        .into_iter()
        .filter(|(.., follows)| *follows)
        .map(|(section, name, _)| {
            others()
                .find(|other| (other.0, other.1) == (&section, &name))
                .expect("in the table")
        })
        .collect();
    write(&all, &followed);
    let before: Config = (*app.config()).clone();
    let tried = all
        .try_act(Operation::Reload, true)
        .await
        .expect("a dry run")
        .lines;
    assert_eq!(*app.config(), before);
    let lines = reload(&all).await;
    assert_eq!(tried, lines);
    for (section, name, _) in &followed {
        let said = lines
            .iter()
            .find(|line| line.starts_with(&format!("[{section}] {name} = ")));
        assert!(said.is_some(), "[{section}] {name}: {lines:?}");
    }
    assert_eq!(reload(&all).await, NOTHING, "it is all in force");

    // [net] base_url: pages, lists, additions, status.
    let changed = "https://changed.example";
    let show = all.act(Operation::RoomShow { room: "test".into() }).await;
    let list = all.act(Operation::RoomList).await;
    let added = all
        .act(Operation::RoomAdd {
            room: "more".into(),
            name: None,
            description: None,
            permissions: sogs_server::admin::PermissionChange::default(),
        })
        .await;
    let status = all.act(Operation::Status).await;
    let page = all.get("/r/test/", None).await.text();
    // [web] title
    assert!(page.contains("Changed title"), "{page}");
    for text in [
        show.data.to_string(),
        list.data.to_string(),
        added.data.to_string(),
        status.lines.join("\n"),
        page,
    ] {
        assert!(
            text.contains(changed) && !text.contains("http://127.0.0.1"),
            "{text}"
        );
    }
    // [web] index
    assert_eq!(all.get("/", None).await.status, 404);
    // [net] trusted_proxies and [log] level
    assert_eq!(*levels.lock().expect("levels"), ["debug"]);
    forwarded(&all, "203.0.113.9").await;
    let text = String::from_utf8_lossy(&log.0.lock().expect("lines")).into_owned();
    assert!(text.contains("203.0.113.9"), "{text}");
    // [net] legacy_routes
    assert_eq!(all.get("/legacy/rooms", Some(&person(1))).await.status, 404);
    // [users] allow_anonymous
    assert_eq!(all.get("/rooms", None).await.status, 401);
    // [files] max_size, unattached_seconds, expiry_days
    assert_eq!(upload(&all, 101).await.status, 413);
    let waiting = upload(&all, 10).await.json()["id"].as_i64().expect("a number");
    assert!((expires(&all, waiting).await - 60.0).abs() < 2.0);
    let (short, _) = attached(&all).await;
    assert!((short - 2.0 * 86_400.0).abs() < 60.0);
    // [rooms] active_days
    let room = all.get("/room/test", Some(&person(1))).await.json();
    assert_eq!(room["active_users_cutoff"], json!(86_400));
    // [direct_messages] max_bytes, expiry_days
    assert_ne!(direct_message(&all, 11).await.status, 201);
    let sent = direct_message(&all, 10).await.json();
    let lifetime = sent["expires_at"].as_f64().expect("a time") - sent["posted_at"].as_f64().expect("a time");
    assert!((lifetime - 86_400.0).abs() < 1.0);
    // [messages] history_days and [rooms] active_prune_days, with the next cleanup.
    active(&all, false).await;
    let undone = all.act(Operation::Undo { id: deleted.undo }).await;
    assert!(
        undone.lines.join("\n").contains("0 of 1 message"),
        "{:?}",
        undone.lines
    );

    // A longer lifetime says which files it leaves out.
    assert!((expires(&all, kept).await - 15.0 * 86_400.0).abs() < 60.0);
    let mut forever = followed.clone();
    forever.retain(|(section, name, _)| (*section, *name) != ("files", "expiry_days"));
    forever.push(("files", "expiry_days", "0.0"));
    write(&all, &forever);
    let lines = reload(&all).await.join("\n");
    assert!(
        lines.contains("2 older ones expire as before") && lines.contains("file keep"),
        "{lines}"
    );
}

/// Waits until the periodic cleanup has counted somebody as active, or nobody.
async fn active(all: &Community, somebody: bool) {
    let began = Instant::now();
    loop {
        let room = all.get("/room/test", Some(&person(9))).await.json();
        if (room["active_users"] != 0) == somebody {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{room}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A request that a proxy on this machine forwards.
async fn forwarded(all: &Community, client: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(all.address)
        .await
        .expect("connected");
    let request = format!(
        "GET /capabilities HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_cannot_be_used_changes_nothing() {
    let all = Community::new().await;
    let app = all.running.as_ref().expect("running").app().clone();
    write(&all, &[("log", "level", "\"debug\"")]);
    let lines = reload(&all).await;
    assert_eq!(
        lines,
        ["[log] level changes at the next start: this program sets the level of its log itself"]
    );
    assert_eq!(app.config().log.level, "info");
    app.on_log_level(|level, _| LogLevel::Unusable(format!("unknown level `{level}`")));
    write(
        &all,
        &[("log", "level", "\"purple\""), ("files", "max_size", "5")],
    );
    let error = all.try_act(Operation::Reload, false).await.expect_err("refused");
    assert!(error.cause.contains("unknown level `purple`"), "{error}");
    assert_eq!(app.config().files.max_size, 10_000_000);
}

/// Commands and other processes have the rules read again at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_were_read_earlier_do_not_replace_later_ones() {
    let all = Community::new().await;
    let app = all.running.as_ref().expect("a server").app();
    let room = app.store.room_by_token("test".into()).await.expect("a database");
    let room = room.expect("a room").id;
    let others: Vec<_> = (0..4)
        .map(|_| {
            let app = Arc::clone(app);
            tokio::spawn(async move {
                loop {
                    app.guard.reload().await.expect("rules");
                }
            })
        })
        .collect();
    for bytes in 2000..2200 {
        app.store
            .set_setting(room, "message_bytes".into(), Some(bytes.to_string()))
            .await
            .expect("stored");
        app.guard.reload().await.expect("rules");
        for _ in 0..20 {
            assert_eq!(app.guard.limits(room).message_bytes, Some(bytes));
            tokio::task::yield_now().await;
        }
    }
    others.iter().for_each(tokio::task::JoinHandle::abort);
}
