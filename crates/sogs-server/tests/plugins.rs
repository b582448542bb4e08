//! Plugins over the socket and as child processes: events, decisions, deadlines.

mod support;

use std::time::Duration;

use sogs_server::plugin::{Decision, PluginConfig};
use support::{Community, person, shown};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

fn child(name: &str, script: &str, decide: bool, default: Decision) -> PluginConfig {
    PluginConfig {
        name: name.into(),
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        decide,
        events: vec!["posted".into()],
        deadline_ms: 10_000,
        default,
    }
}

/// Waits until the plugin is connected.
async fn connected(all: &Community, name: &str) {
    for _ in 0..1500 {
        let status = all.running.as_ref().expect("running").app().guard.hub().status();
        if status.iter().any(|plugin| plugin.name == name) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{name} did not connect");
}

#[tokio::test]
async fn a_child_decides_about_posts_by_their_text() {
    // Answers each question: refuses what has `spam` in it, hides what has `quiet`, lets the rest go.
    let script = r#"while read -r line; do
        case "$line" in *'"ask"'*) ;; *) continue ;; esac
        id=${line#*'"ask":'}; id=${id%%,*}
        case "$line" in
            *spam*) echo "{\"answer\":$id,\"decision\":\"reject\",\"text\":\"No advertising\"}" ;;
            *quiet*) echo "{\"answer\":$id,\"decision\":\"hide\"}" ;;
            *think*) echo "{\"answer\":$id,\"decision\":\"hold\"}" ;;
            *) echo "{\"answer\":$id,\"decision\":\"accept\"}" ;;
        esac
    done"#;
    let mut all =
        Community::with(|config| config.plugins = vec![child("words", script, true, Decision::Accept)]).await;
    connected(&all, "words").await;
    let alice = person(1);
    let refused = all.post("test", &alice, "spam spam").await;
    assert_eq!(
        (refused.status.as_u16(), refused.text().as_str()),
        (429, "No advertising")
    );
    let hidden = all.post("test", &alice, "quiet now").await;
    assert_eq!(
        (hidden.status.as_u16(), &hidden.json()["filtered"]),
        (201, &true.into())
    );
    let held = all.post("test", &alice, "let me think").await;
    assert_eq!(held.status, 201);
    assert_eq!(all.post("test", &alice, "hello").await.status, 201);
    assert_eq!(all.texts("test", None).await, ["hello"]);
    let waiting = all
        .act(sogs_server::admin::Operation::HeldList { room: None })
        .await;
    assert_eq!(waiting.data["held"][0]["reason"], "held by words");
    all.stop().await;
}

#[tokio::test]
async fn a_child_that_is_silent_costs_its_deadline_and_the_default_holds() {
    let mut silent = child("silent", "cat >/dev/null", true, Decision::Hide);
    silent.deadline_ms = 100;
    let mut all = Community::with(|config| config.plugins = vec![silent]).await;
    connected(&all, "silent").await;
    let began = std::time::Instant::now();
    let posted = all.post("test", &person(1), "hello?").await;
    assert_eq!(
        (posted.status.as_u16(), &posted.json()["filtered"]),
        (201, &true.into())
    );
    assert!(began.elapsed() >= Duration::from_millis(100));
    let status = all.running.as_ref().expect("running").app().guard.hub().status();
    assert_eq!((status[0].asked, status[0].late), (1, 1));
    all.stop().await;
}

#[tokio::test]
async fn a_program_at_the_socket_hears_what_happens() {
    let mut all = Community::new().await;
    let stream = UnixStream::connect(all.dir().join("plugin.sock"))
        .await
        .expect("connect");
    let (read, mut write) = stream.into_split();
    write
        .write_all(b"{\"hello\":\"ears\",\"events\":[\"posted\",\"deleted\",\"moderated\"]}\n")
        .await
        .expect("hello");
    connected(&all, "ears").await;
    let alice = person(1);
    let id = all.post("test", &alice, "can you hear me").await.json()["id"]
        .as_i64()
        .expect("id");
    all.act(sogs_server::admin::Operation::MessageDelete {
        room: "test".into(),
        ids: vec![id],
        ranges: vec![],
    })
    .await;
    let mut lines = BufReader::new(read).lines();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line())
            .await
            .expect("in time")
            .expect("io")
            .expect("a line");
        heard.push(serde_json::from_str::<serde_json::Value>(&line).expect("json"));
    }
    assert_eq!(heard[0]["event"], "posted");
    assert_eq!(heard[0]["text"], "can you hear me");
    assert_eq!(heard[0]["session_id"], shown(&all.key, &alice).as_str());
    assert!(
        heard.iter().any(|event| event["action"] == "message_delete"),
        "{heard:?}"
    );
    drop(write);
    drop(lines);
    all.stop().await;
}

#[tokio::test]
async fn programs_that_are_not_a_plugin_are_disconnected() {
    let mut all = Community::new().await;
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"{\"decide\":true}\n"] {
        let mut stream = UnixStream::connect(all.dir().join("plugin.sock"))
            .await
            .expect("connect");
        stream.write_all(first).await.expect("write");
        let mut rest = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
        tokio::time::timeout(Duration::from_secs(30), ended)
            .await
            .expect("closed")
            .ok();
        assert!(rest.is_empty());
    }
    assert_eq!(all.post("test", &person(1), "all the same").await.status, 201);
    all.stop().await;
}

/// Code of the example, so that its handling of a line is tested without a process.
#[expect(dead_code, reason = "its `main` is for the server")]
#[path = "../examples/word_filter.rs"]
mod word_filter;

#[tokio::test]
async fn the_example_word_filter_speaks_the_protocol() {
    let mut all = Community::new().await;
    let stream = UnixStream::connect(all.dir().join("plugin.sock"))
        .await
        .expect("connect");
    let (read, mut write) = stream.into_split();
    write
        .write_all(b"{\"hello\":\"words\",\"decide\":true,\"deadline_ms\":10000}\n")
        .await
        .expect("hello");
    connected(&all, "words").await;
    let filter = tokio::spawn(async move {
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(answer) = word_filter::answer(&["casino".to_owned()], &line) {
                write
                    .write_all(format!("{answer}\n").as_bytes())
                    .await
                    .expect("written");
            }
        }
    });
    let refused = all.post("test", &person(1), "Best CASINO in town!").await;
    assert_eq!(
        (refused.status.as_u16(), refused.text().as_str()),
        (429, "'casino' is not a word for this room")
    );
    assert_eq!(
        all.post("test", &person(1), "casinos are something else")
            .await
            .status,
        201
    );
    all.stop().await;
    filter.await.expect("filter");
}

/// The example as the program that it is; the whole test suite builds it.
fn example(name: &str) -> String {
    let tests = std::env::current_exe().expect("the path of this program");
    let path = tests
        .ancestors()
        .nth(2)
        .expect("the folder of the profile")
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is not there: cargo build -p sogs-server --example {name}",
        path.display()
    );
    path.display().to_string()
}

#[tokio::test]
async fn the_example_word_filter_decides_as_a_child_of_the_server() {
    let plugin = PluginConfig {
        name: "words".into(),
        command: vec![example("word_filter"), "casino".into()],
        decide: true,
        events: vec!["none".into()],
        deadline_ms: 10_000,
        default: Decision::Reject,
    };
    let mut all = Community::with(|config| config.plugins = vec![plugin]).await;
    connected(&all, "words").await;
    let refused = all.post("test", &person(1), "the casino is open").await;
    assert_eq!(
        (refused.status.as_u16(), refused.text().as_str()),
        (429, "'casino' is not a word for this room")
    );
    assert_eq!(
        all.post("test", &person(1), "the library is open").await.status,
        201
    );
    all.stop().await;
}

#[tokio::test]
async fn a_child_that_ends_is_started_again_and_its_default_holds_meanwhile() {
    // Answers one question, then ends.
    let script = r#"read -r line; id=${line#*'"ask":'}; id=${id%%,*}; echo "{\"answer\":$id,\"decision\":\"accept\"}""#;
    let mut once = child("once", script, true, Decision::Reject);
    once.events = vec!["none".into()];
    let mut all = Community::with(|config| config.plugins = vec![once]).await;
    let alice = person(1);
    for _ in 0..2 {
        connected(&all, "once").await;
        assert_eq!(all.post("test", &alice, "asked and accepted").await.status, 201);
        // The plugin is gone now, or about to go; nobody may use the gap.
        let refused = all.post("test", &alice, "in the gap").await;
        assert_eq!(refused.status, 429, "{}", refused.text());
    }
    assert_eq!(all.texts("test", None).await.len(), 2);
    all.stop().await;
}
