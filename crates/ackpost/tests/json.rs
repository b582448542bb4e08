//! The JSON of the commands that send, store, check and explain messages fits its schema files.

#[path = "support/schemas.rs"]
mod schemas;
mod support;

use serde_json::Value;
use support::Program;

/// A recipient that nobody listens for.
const NOBODY: &str = "xmpps://a:b@127.0.0.1:1/c?cto=1";

/// Runs a command with `--json` and validates what it prints: one object a line, one object, or a list.
fn checked(program: &Program, args: &[&str]) -> Vec<Value> {
    let mut words = vec!["--json"];
    words.extend(args);
    let ran = program.run(&words);
    let objects: Vec<Value> = ran
        .json()
        .into_iter()
        .flat_map(|value| match value {
            Value::Array(list) => list,
            one => vec![one],
        })
        .collect();
    assert!(!objects.is_empty(), "{args:?} printed nothing: {}", ran.all());
    assert!(schemas::has(args), "{args:?} has no schema");
    schemas::check(args, &objects);
    objects
}

#[test]
fn printed_messages_fit_the_schemas() {
    let program = Program::new().file(
        "c.yml",
        "urls:\n  - xmpps://a:b@h.org/c?overlow=x:\n      tag: ops\n  - nonsense\n",
    );
    checked(&program, &["send", "-b", "x", NOBODY]);
    checked(
        &program,
        &[
            "send",
            "-b",
            "x",
            "xmpps://a:b@h.org/c?rto=never",
            "nonsense://a@b",
        ],
    );
    checked(&program, &["send", "--dry-run", "-b", "x", NOBODY]);
    checked(&program, &["preview", "-b", "x", NOBODY]);
    checked(&program, &["config", "check", "c.yml"]);
    checked(&program, &["doctor", NOBODY]);
    checked(&program, &["details"]);
    checked(&program, &["details", "xmpp"]);

    let queued = checked(&program, &["send", "--queue", "--no-drain", "-b", "x", NOBODY]);
    let id = queued[0]["id"].as_str().expect("an id").to_owned();
    checked(&program, &["outbox", "list"]);
    checked(&program, &["outbox", "flush"]);
    let shown = checked(&program, &["outbox", "show", &id]);
    assert!(
        shown[0]["events"]
            .as_array()
            .is_some_and(|events| events.len() > 1),
        "{shown:?}"
    );
    checked(&program, &["outbox", "stats"]);
    checked(&program, &["outbox", "log"]);
    checked(&program, &["outbox", "retry", "--waiting"]);
    checked(&program, &["outbox", "drop", "--waiting"]);
    let dropped = checked(&program, &["outbox", "list"]);
    assert_eq!(dropped[0]["state"], "dropped");

    checked(
        &program,
        &[
            "gateway",
            "token",
            "add",
            "ci",
            "--rate",
            "60/1m",
            "--expires",
            "1h",
        ],
    );
    checked(&program, &["gateway", "token", "list"]);
    let removed = checked(&program, &["gateway", "token", "remove", "ci"]);
    assert_eq!(removed[0]["name"], "ci");
    let checks = checked(&program, &["gateway", "check"]);
    assert_eq!(checks[0]["file"], Value::Null);
    assert_eq!(checks[0]["listen"][0], "127.0.0.1:8000");
}

/// `-vv` logs one line when a message is stored and one when it is finished, in the format of every other command.
#[test]
fn the_log_has_a_line_for_each_accepted_and_each_finished_message() {
    let community = support::community::Community::start("lobby");
    let program = Program::new();
    let url = format!("{}/lobby", community.server_url());
    let ran = program.run(&[
        "-vv",
        "--log-format",
        "json",
        "send",
        "--queue",
        "-b",
        "one",
        &url,
    ]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let lines: Vec<Value> = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let with = |text: &str| {
        let fields = lines
            .iter()
            .map(|line| &line["fields"])
            .filter(|fields| fields["message"] == text);
        fields.map(|fields| fields["id"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(with("accepted").len(), 1, "{lines:?}");
    assert_eq!(with("accepted"), with("delivered"), "{lines:?}");

    let ran = program.run(&["-vv", "send", "--queue", "-b", "two", &url]);
    let line = ran
        .stderr
        .lines()
        .find(|line| line.contains(" INFO accepted id="))
        .expect("a line");
    let (time, _) = line.split_once(' ').expect("a time");
    assert!(
        time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(),
        "{line}"
    );
}
