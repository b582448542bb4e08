//! `ackpost --json server …`: every command has a schema, and what it prints fits. Lists have headings on a terminal.

#[path = "support/schemas.rs"]
mod schemas;
mod support;

use serde_json::Value;
use support::Program;
use support::community::Community;

/// Runs a command of the server with `--json`, in the folder `community`; its objects, which fit the schema.
fn checked(program: &Program, words: &[&str]) -> Vec<Value> {
    let mut args = vec!["--json", "server"];
    args.extend(words);
    let ran = program.run(&args);
    assert_eq!(ran.code, 0, "{words:?}: {}", ran.all());
    let objects = ran.json();
    let command = &args[1..];
    assert!(schemas::has(command), "{words:?} has no schema");
    schemas::check(command, &objects);
    objects
}

/// A community with a room, three messages and a file of two people; the program of one of them, whose home it has.
fn with_messages() -> (Community, String) {
    let community = Community::start("lobby");
    let program = &community.program;
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    std::fs::write(program.home().join("f.txt"), "hi").expect("a file");
    for args in [
        &["identity", "new"][..],
        &[
            "room", "post", &link, "-b", "one", "--name", "Jane", "-a", "f.txt",
        ],
        &["room", "post", &link, "-b", "two spam", "--name", "Jane"],
        &["-q", "-b", "three", &format!("{}/lobby", community.server_url())],
    ] {
        let ran = program.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    }
    (community, link)
}

#[test]
fn commands_that_look_fit_their_schemas() {
    let (community, _) = with_messages();
    let program = &community.program;
    let at = ["--dir", "community"];
    let look = |words: &[&str]| checked(program, &[words, &at].concat());

    let status = look(&["status"]);
    assert_eq!(status[0]["totals"]["messages"], 3);
    assert_eq!(look(&["reload"])[0]["changed"], serde_json::json!([]));
    assert_eq!(look(&["room", "list"])[0]["token"], "lobby");
    look(&["room", "show", "lobby"]);
    let people = look(&["user", "list"]);
    assert_eq!(people.len(), 2, "one person a line: {people:?}");
    assert!(people.iter().any(|person| person["name"] == "Jane"), "{people:?}");
    look(&["user", "show", "Jane"]);
    let messages = look(&["message", "list", "--room", "lobby"]);
    assert_eq!((messages.len(), &messages[0]["room"]), (3, &"lobby".into()));
    look(&["file", "list", "--room", "lobby"]);
    look(&["filter", "test", "buy spam"]);
    look(&["moderation", "status"]);
    look(&["raid", "sweep", "--since", "1h", "--dry-run"]);
    look(&["log"]);
    look(&["config", "check"]);
    checked(program, &["settings", "names"]);
    for empty in [
        &["mod", "list"][..],
        &["ban", "list"],
        &["message", "held"],
        &["filter", "list"],
        &["settings", "list"],
        &["raid", "status"],
    ] {
        assert!(look(empty).is_empty(), "{empty:?}");
        let ran = program.run(&[&["server"], empty, &at].concat());
        assert!(
            ran.stdout.is_empty() && ran.stderr.starts_with("no "),
            "{empty:?}: {}",
            ran.all()
        );
    }
}

#[test]
fn commands_that_change_fit_their_schemas() {
    let (community, _) = with_messages();
    let program = &community.program;
    let at = ["--dir", "community"];
    let change = |words: &[&str]| checked(program, &[words, &at].concat());

    let tried = change(&["room", "add", "hall", "--name", "Hall", "--dry-run"]);
    assert_eq!(tried[0]["dry_run"], true);
    change(&["room", "add", "hall", "--name", "Hall"]);
    change(&["room", "edit", "hall", "--name", "The hall"]);
    change(&["room", "delete", "hall"]);
    change(&["user", "permissions", "Jane", "--room", "lobby", "--write", "yes"]);
    assert!(
        change(&["user", "show", "Jane"])[0]["rooms"]
            .as_array()
            .is_some_and(|rooms| rooms.len() == 1)
    );
    change(&["mod", "add", "Jane", "--room", "lobby"]);
    assert_eq!(change(&["mod", "list"])[0]["name"], "Jane");
    change(&["mod", "remove", "Jane", "--room", "lobby"]);
    change(&["ban", "add", "Jane", "--room", "lobby", "--for", "7d"]);
    assert_eq!(change(&["ban", "list"])[0]["name"], "Jane");
    change(&["ban", "remove", "Jane", "--room", "lobby"]);
    change(&["message", "pin", "--room", "lobby", "1"]);
    change(&["message", "unpin", "--room", "lobby", "1"]);
    change(&["file", "keep", "--all-rooms"]);
    change(&["message", "delete", "--room", "lobby", "2"]);
    change(&["message", "delete-all", "Jane", "--room", "lobby", "--dry-run"]);
    change(&["message", "delete-containing", "three", "--room", "lobby"]);
    let filter = change(&["filter", "add", "words", "spam", "--hide"])[0]["id"].to_string();
    change(&["filter", "list"]);
    assert_eq!(change(&["filter", "test", "spam"])[0]["hits"][0]["kind"], "words");
    change(&["filter", "remove", &filter]);
    change(&["settings", "set", "slow_seconds", "5", "--room", "lobby"]);
    change(&["settings", "list"]);
    change(&["settings", "clear", "slow_seconds", "--room", "lobby"]);
    change(&["moderation", "on"]);
    change(&["moderation", "status"]);
    change(&["moderation", "off"]);
    change(&["raid", "on", "--for", "1h"]);
    assert_eq!(change(&["raid", "status"])[0]["room"], Value::Null);
    change(&["raid", "off"]);
    change(&["raid", "sweep", "--since", "1h"]);
    change(&["file", "delete", "1"]);
    let log = change(&["log"]);
    assert_eq!(log[0]["undoable"], true, "{log:?}");
    change(&["undo"]);
    change(&["undo", "1-3", "--dry-run"]);
}

#[test]
fn held_posts_fit_their_schemas() {
    let (community, link) = with_messages();
    let program = &community.program;
    let at = ["--dir", "community"];
    let change = |words: &[&str]| checked(program, &[words, &at].concat());
    change(&["settings", "set", "approve_first", "9", "--room", "lobby"]);
    for text in ["first", "second"] {
        program.run(&["room", "post", &link, "-b", text, "--name", "Jane"]);
    }
    let held = change(&["message", "held"]);
    assert_eq!(held.len(), 2, "{held:?}");
    change(&["message", "approve", &held[0]["id"].to_string()]);
    change(&["message", "reject", &held[1]["id"].to_string()]);
}

#[test]
fn commands_about_whole_servers_fit_their_schemas() {
    let program = Program::new();
    checked(&program, &["init", "one"]);
    checked(&program, &["backup", "--dir", "one", "copy", "--dry-run"]);
    checked(&program, &["backup", "--dir", "one", "copy"]);
    checked(&program, &["restore", "copy", "two", "--dry-run"]);
    checked(&program, &["restore", "copy", "two"]);
    checked(&program, &["verify", "--dir", "two"]);
    checked(&program, &["migrate", "--dir", "two", "--to", "sqlite:other.db"]);
    checked(&program, &["new-key", "--dir", "two", "--dry-run"]);
    checked(&program, &["new-key", "--dir", "two"]);
}

/// The page of all commands lists the whole command line, so a new command cannot be forgotten here.
#[test]
fn every_command_has_a_schema() {
    let page = std::fs::read_to_string(support::root().join("docs/reference/commands.md")).expect("the page");
    let commands: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## `ackpost ")?.strip_suffix('`'))
        .collect();
    // They print a program's text, a key, a file or a configuration: there is nothing to make an object of.
    let texts = ["server config show", "server config reference"];
    let leaves = commands.iter().filter(|one| {
        let deeper = format!("{one} ");
        one.starts_with("server")
            && !commands.iter().any(|other| other.starts_with(&deeper))
            && !texts.contains(one)
    });
    let mut count = 0;
    for leaf in leaves {
        let words: Vec<&str> = leaf.split(' ').collect();
        assert!(schemas::has(&words), "`ackpost {leaf}` has no schema");
        count += 1;
    }
    assert!(count > 50, "{count}");
}

#[test]
fn lists_have_headings_on_a_terminal_and_aligned_columns() {
    let (community, _) = with_messages();
    let program = &community.program;
    let at = ["--dir", "community"];
    for (words, heading) in [
        (&["room", "list"][..], "TOKEN"),
        (&["user", "list"], "SESSION ID"),
        (&["message", "list", "--room", "lobby"], "ID"),
        (&["file", "list", "--room", "lobby"], "ID"),
        (&["log"], "ID"),
    ] {
        let args = [&["server"], words, &at].concat();
        let piped = program.run(&args).stdout;
        assert!(!piped.contains(heading), "{piped}");
        let command = format!(
            "'{}' --color never {}",
            env!("CARGO_BIN_EXE_ackpost"),
            args.join(" ")
        );
        let shown = program.shell(&format!("script -qec \"{command}\" /dev/null </dev/null"));
        assert_eq!(shown.code, 0, "{}", shown.all());
        let text = shown.stdout.replace('\r', "");
        let (head, rest) = text.split_once('\n').expect("lines");
        assert!(head.trim_start().starts_with(heading), "{text}");
        assert_eq!(rest.lines().count(), piped.lines().count(), "{text}");
        // A column begins where its heading begins, or ends where it ends.
        let second = head.rfind("  ").expect("columns") + 2;
        for line in rest.lines().filter(|line| line.is_ascii() && line.len() > second) {
            assert_eq!(&line[second - 2..second], "  ", "{text}");
        }
    }
}
