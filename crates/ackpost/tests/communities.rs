//! Messages that communities withhold, and hostile texts of others, as the commands show them.

mod support;

use serde_json::json;
use support::community::Community;
use support::{Program, Ran, SEED};

/// Runs it and wants success.
fn ok(program: &Program, args: &[&str]) -> Ran {
    let ran = program.run(args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    ran
}

/// Runs `server …` on the community.
fn server(community: &Community, args: &[&str]) -> Ran {
    let mut all = vec!["--json", "server"];
    all.extend(args);
    all.extend(["--dir", "community"]);
    ok(&community.program, &all)
}

fn link(community: &Community) -> String {
    format!("{}/lobby?public_key={}", community.url, community.key)
}

/// The texts that everybody sees.
fn seen(community: &Community) -> Vec<String> {
    let read = ok(
        &Program::new(),
        &["--json", "room", "read", &link(community), "-n", "50"],
    );
    read.json()
        .iter()
        .map(|message| message["body"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn held_posts_are_withheld_and_never_sent_again() {
    let community = Community::start("lobby");
    server(&community, &["settings", "set", "approve_first", "1"]);
    let target = format!("{}/lobby", community.server_url());
    let program = Program::new();
    let sent = program.run(&["--json", "send", "-b", "first", &target]);
    assert_ne!(sent.code, 0, "{}", sent.all());
    let report = &sent.json()[0];
    assert!(
        report["outcome"] == "withheld" && report["id"].is_string(),
        "{report:#}"
    );
    let words = report["reason"].as_str().expect("text");
    assert!(words.contains("moderator's approval"), "{words}");

    let post = ["room", "post", &link(&community), "-I", SEED, "-b", "second"];
    let posted = program.run(&post);
    assert_ne!(posted.code, 0, "{}", posted.all());
    assert!(
        posted.stdout.contains("withheld") && posted.stderr.contains("moderator's approval"),
        "{}",
        posted.all()
    );

    let queued = program.run(&["send", "--queue", "--no-drain", "-b", "third", &target]);
    assert_eq!(queued.code, 0, "{}", queued.all());
    let flushed = program.run(&["outbox", "flush"]);
    assert!(flushed.all().contains("1 partial"), "{}", flushed.all());
    assert_ne!(flushed.code, 0, "{}", flushed.all());
    let kept = program.run(&["--json", "outbox", "list"]).json();
    assert_eq!(
        (kept.len(), &kept[0]["state"], &kept[0]["outcome"]["outcome"]),
        (1, &json!("partial"), &json!("withheld")),
        "{kept:#?}"
    );
    // Nothing is left to do, so nothing is posted again.
    let again = program.run(&["outbox", "flush"]);
    assert_eq!(again.code, 0, "{}", again.all());

    assert!(seen(&community).is_empty());
    let held = server(&community, &["message", "held"]).json();
    assert_eq!(held.len(), 3, "{held:#?}");
    for message in held {
        let id = message["id"].to_string();
        server(&community, &["message", "approve", &id]);
    }
    let mut texts = seen(&community);
    texts.sort();
    assert_eq!(texts, ["first", "second", "third"]);
}

#[test]
fn a_refusal_by_a_filter_is_final_and_its_words_are_shown() {
    let community = Community::start("lobby");
    server(
        &community,
        &[
            "filter",
            "add",
            "words",
            "casino",
            "--reply",
            "No such words here",
        ],
    );
    let target = format!("{}/lobby", community.server_url());
    let program = Program::new();
    let sent = program.run(&["--json", "send", "-b", "a casino", &target]);
    assert_eq!(sent.code, 1, "{}", sent.all());
    let report = &sent.json()[0];
    assert_eq!(report["outcome"], "refused", "{report:#}");
    assert!(
        report["reason"].to_string().contains("No such words here"),
        "{report:#}"
    );
    let said = program.run(&["send", "-b", "a casino", &target]);
    assert!(
        said.code == 1 && said.all().contains("No such words here") && !said.all().contains("wait"),
        "{}",
        said.all()
    );

    // The outbox gives it up at once, and does not keep it for later.
    ok(
        &program,
        &["send", "--queue", "--no-drain", "-b", "another casino", &target],
    );
    let flushed = program.run(&["outbox", "flush"]);
    assert_ne!(flushed.code, 0, "{}", flushed.all());
    assert!(flushed.all().contains("No such words here"), "{}", flushed.all());
    let kept = program.run(&["--json", "outbox", "list"]).json();
    let states: Vec<_> = kept
        .iter()
        .map(|entry| (&entry["state"], &entry["outcome"]["outcome"]))
        .collect();
    assert_eq!(states, [(&json!("dead"), &json!("refused"))], "{kept:#?}");
    assert!(
        kept[0]["outcome"]["reason"]
            .to_string()
            .contains("No such words here"),
        "{kept:#?}"
    );
    let again = program.run(&["outbox", "flush"]);
    assert_eq!(again.code, 0, "nothing waits: {}", again.all());
    assert!(seen(&community).is_empty());
}

#[test]
fn an_edit_that_a_filter_hides_is_withheld() {
    let community = Community::start("lobby");
    server(&community, &["filter", "add", "words", "casino", "--hide"]);
    let user = Program::new();
    let link = link(&community);
    let posted = ok(
        &user,
        &["--json", "room", "post", &link, "-I", SEED, "-b", "good"],
    );
    let id = posted.json()[0]["id"].to_string();
    let edit = |json: &'static [&'static str], text: &'static str| {
        let mut args = json.to_vec();
        args.extend(["room", "edit", &link, &id, "-I", SEED, "-b", text]);
        user.run(&args)
    };
    let better = edit(&["--json"], "better");
    assert_eq!((better.code, &better.json()[0]["done"]), (0, &json!("edited")));
    assert_eq!(seen(&community), ["better"]);
    let hidden = edit(&["--json"], "a casino");
    assert_eq!(hidden.code, 1, "{}", hidden.all());
    let words = hidden.json()[0]["withheld"].to_string();
    assert!(
        words.contains("filter hides it") && hidden.stderr.contains("filter hides it"),
        "{}",
        hidden.all()
    );
    assert!(seen(&community).is_empty());
    let hidden = edit(&[], "casinos, a casino");
    assert!(
        hidden.code == 1 && hidden.stdout.contains("edited, withheld"),
        "{}",
        hidden.all()
    );
}

#[test]
fn words_of_others_steer_no_terminal() {
    let community = Community::start("lobby");
    let hostile = "a\u{1b}[2J\u{9b}31m\u{202e}txt\u{2066}\u{2028}\u{2029}b";
    let name = "n\u{9b}\u{202e}\u{2028}";
    server(&community, &["room", "edit", "lobby", "--description", hostile]);
    let program = Program::new();
    let link = link(&community);
    ok(
        &program,
        &["room", "post", &link, "-I", SEED, "-b", hostile, "--name", name],
    );
    let misleads = |c: char| {
        c.is_control() && c != '\n' || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let listing = [
        "server",
        "message",
        "list",
        "--dir",
        "community",
        "--room",
        "lobby",
    ];
    for (who, args) in [
        (&program, &["room", "read", &link][..]),
        (&program, &["--json", "room", "read", &link]),
        (&program, &["room", "info", &link]),
        (&program, &["room", "list", &link]),
        (&program, &["watch", &link, "--backlog", "1", "--count", "1"]),
        (&program, &["-vvvv", "room", "read", &link]),
        (&community.program, &listing),
    ] {
        let ran = ok(who, args);
        assert!(!ran.all().chars().any(misleads), "{args:?}: {:?}", ran.all());
    }
    let text = ok(&program, &["room", "read", &link]).stdout;
    assert!(
        text.contains("a\u{fffd}[2J\u{fffd}31m\u{fffd}txt\u{fffd}\u{fffd}\u{fffd}b"),
        "{text}"
    );
}
