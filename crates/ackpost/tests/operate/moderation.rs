//! Moderators decide about held posts and reports with commands, without access to the server.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::process::PATIENCE;
use super::support::{self, Program, SEED};
use super::{commands, good, json, schemas};

/// The part of the guide for moderators who have no access to the server.
#[test]
fn moderators_decide_without_the_app() {
    let section: Vec<String> = commands("docs/guide/community-server.md")
        .into_iter()
        .filter(|(section, command)| {
            section == "Moderate from the app" && command.starts_with("ackpost room ")
        })
        .map(|(_, command)| command)
        .collect();
    assert_eq!(section.len(), 6, "{section:?}");
    let mut community = support::community::Community::start("lobby");
    let operator = |community: &support::community::Community, line: &str| {
        good(
            &community.program,
            &format!("ackpost server {line} --dir community"),
        )
    };
    let moderator = Program::new();
    let id = good(&moderator, "ackpost identity new").trim().to_owned();
    operator(&community, &format!("mod add {id} --room lobby"));
    operator(&community, "moderation on");
    operator(&community, "settings set approve_first 1");
    let url = |n: u8, community: &support::community::Community| {
        let seed = format!("{n:064x}");
        format!("{}/lobby", community.server_url().replace(SEED, &seed))
    };
    let post = |n: u8, text: &str, community: &support::community::Community| {
        let sent = community
            .program
            .shell(&format!("ackpost send -b '{text}' '{}'", url(n, community)));
        assert_eq!(sent.code, 1, "{}", sent.all());
        assert!(sent.all().contains("withheld"), "{}", sent.all());
    };
    post(1, "let me in", &community);
    // A message answered as held has its notice, even if the server is killed at once.
    community.kill_and_start(Duration::from_millis(100));
    post(2, "buy coins", &community);
    community.kill_and_start(Duration::from_millis(100));
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    good(&moderator, &format!("ackpost room save lobby '{link}'"));
    info_names_the_account(&moderator, &community);
    let desk = format!("{}/moderators?public_key={}", community.url, community.key);
    wait_for_notices(&moderator, &desk, &["let me in", "buy coins"]);
    let list = |words: &str| listed(&moderator, words);
    let held = list("held list lobby");
    assert_eq!(held.len(), 2);
    let number = |value: &Value| value["id"].as_i64().expect("a number").to_string();
    let (first, second) = (number(&held[0]), number(&held[1]));
    let mut said = Vec::new();
    for command in &section {
        let line = command
            .replace("lobby 3", &format!("lobby {first}"))
            .replace("lobby 17", &format!("lobby {first}"))
            .replace("lobby 18", &format!("lobby {second}"));
        let line = if line.contains("room report ") {
            line.replace("lobby", &url(9, &community))
        } else {
            line
        };
        said.push(good(&moderator, &line));
    }
    assert!(
        said[0].contains("let me in") && said[0].contains("buy coins"),
        "{said:?}"
    );
    assert!(
        said[4].contains("1 report") && said[4].contains("insults people"),
        "{said:?}"
    );
    assert_eq!(list("held list lobby"), Vec::<Value>::new());
    assert_eq!(good(&moderator, "ackpost room read lobby"), "");
    let late = moderator.shell(&format!("ackpost room held approve lobby {second}"));
    assert_eq!(late.code, 1);
    assert!(late.all().contains("decided already"), "{}", late.all());
    let log = operator(&community, "log");
    for word in ["approve", "ban", "report_delete", "moderation_on"] {
        assert!(log.contains(word), "{word}: {log}");
    }
}

/// `room info` names the account that takes reports.
fn info_names_the_account(moderator: &Program, community: &support::community::Community) {
    let status = json(&community.program, "server moderation status --dir community");
    let account = status["account"].as_str().expect("an account");
    assert!(account.starts_with("15"), "{account}");
    assert_eq!(listed(moderator, "info lobby")[0]["reports_to"], account);
    let shown = good(moderator, "ackpost room info lobby");
    assert!(shown.contains(account), "{shown}");
}

/// Waits until each of these texts is in one notice.
fn wait_for_notices(moderator: &Program, desk: &str, texts: &[&str]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let read = good(moderator, &format!("ackpost room read '{desk}'"));
        if texts.iter().all(|text| read.matches(text).count() == 1) {
            assert_eq!(read.matches("Held post").count(), texts.len(), "{read}");
            return;
        }
        assert!(Instant::now() < until, "no notices: {read}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The objects that a command of `room` prints, which fit their schema.
fn listed(program: &Program, words: &str) -> Vec<Value> {
    let text = good(program, &format!("ackpost --json room {words}"));
    let objects: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let line = format!("room {words}");
    let args: Vec<&str> = line.split_whitespace().collect();
    schemas::check(&args, &objects);
    objects
}
