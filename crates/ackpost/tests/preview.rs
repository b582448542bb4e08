//! `preview`, `config check`, `details`, `generate`: exactly the fields and lines they promise.

mod support;

use ackpost_testkit::{FakeSogs, FakeXmpp, FakeXmppMode, XmppEvent};
use serde_json::{Value, json};
use support::{Program, SEED, SERVER_KEY};

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn preview_shows_what_would_be_sent_where() {
    let url = format!("sessions://{SERVER_KEY}:{SEED}@open.example.org:8443/lobby/News?retry=2&verify=no");
    let program = Program::new();
    let ran = program.run(&[
        "preview",
        "--json",
        "-t",
        "T",
        "-b",
        "hello",
        &url,
        "xmpps://u:secretpass@x.org/j/#r@c.x.org",
    ]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(!ran.stdout.contains(SEED) && !ran.stdout.contains("secretpass"));
    let document = &ran.json()[0];
    assert_eq!(keys(document), ["valid", "errors", "services"]);
    assert_eq!(
        (&document["valid"], &document["errors"]),
        (&json!(true), &json!([]))
    );
    let sogs = &document["services"][0];
    assert_eq!(
        keys(sogs),
        [
            "service", "url", "privacy", "url_id", "host", "port", "secure", "targets", "tags", "params",
            "chunks"
        ]
    );
    assert_eq!(sogs["service"], "sogs");
    assert_eq!(sogs["url"], sogs["privacy"]);
    assert_eq!(
        (&sogs["host"], &sogs["port"], &sogs["secure"]),
        (&json!("open.example.org"), &json!(8443), &json!(true))
    );
    assert_eq!(sogs["targets"], json!(["lobby", "news"]));
    assert_eq!(
        (&sogs["params"]["retry"], &sogs["params"]["verify"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(sogs["chunks"], json!([{ "title": "", "body": "T\r\nhello" }]));
    let xmpp = &document["services"][1];
    assert_eq!(
        (&xmpp["service"], &xmpp["port"], &xmpp["targets"]),
        (&json!("xmpp"), &Value::Null, &json!(["#r@c.x.org", "j@x.org"]))
    );

    let open = program.run(&["preview", "--json", "--show-secrets", "-b", "x", &url]);
    let open = &open.json()[0]["services"][0];
    assert!(open["url"].as_str().expect("text").contains(SEED));
    assert!(!open["privacy"].as_str().expect("text").contains(SEED));

    // For people: every parameter with its origin, targets, parts with their length.
    let ran = program.run(&["preview", "-b", "hello", &url]);
    assert_eq!(ran.code, 0);
    for part in [
        "retry",
        "url",
        "default",
        "lobby",
        "part 1/1, 5 characters",
        "| hello",
    ] {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
    assert!(!ran.all().contains(SEED));
}

#[test]
fn preview_of_what_does_not_load() {
    let program = Program::new();
    for url in [
        "bogus://x",
        "xmpps://u:secretpass@h.org:0",
        "session:/x",
        "xmpps://u:secretpass@h.org/@bad",
        "",
    ] {
        let ran = program.run(&["preview", "--json", "-b", "x", "xmpps://u:p@good.org/j", url]);
        assert_eq!(ran.code, 1, "{url}");
        let document = &ran.json()[0];
        assert_eq!(document["valid"], false, "{url}");
        assert_eq!(document["errors"].as_array().map(Vec::len), Some(1), "{url}");
        assert_eq!(document["services"].as_array().map(Vec::len), Some(1), "{url}");
        assert!(!ran.all().contains("secretpass"), "{url}");
    }
    let ran = program.run(&["preview", "--json"]);
    assert_eq!((ran.code, &ran.json()[0]["valid"]), (1, &json!(false)));
}

#[test]
fn preview_looks_at_attachments() {
    let program = Program::new().file("report.txt", "12345");
    let url = "xmpps://u:p@good.org/j";
    let ran = program.run(&["preview", "-b", "x", "-a", "report.txt", url]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stdout.contains("report.txt, 5 bytes"), "{}", ran.stdout);
    let ran = program.run(&["preview", "--json", "-b", "x", "-a", "nowhere.txt", url]);
    let document = &ran.json()[0];
    assert_eq!((ran.code, &document["valid"]), (1, &json!(false)));
    assert_eq!(document["errors"].as_array().map(Vec::len), Some(1));
    let error = document["errors"][0].as_str().expect("text");
    assert!(error.contains("nowhere.txt` cannot be read"), "{error}");
    assert_eq!(keys(document), ["valid", "errors", "services"]);
}

#[test]
fn preview_reads_configurations_and_tags() {
    let program = Program::new().file(
        "c.conf",
        "a=xmpps://u:p@h.org/one\nb=xmpps://u:p@h.org/two\nxmpps://u:p@h.org/three\n",
    );
    let targets = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["preview", "--json", "-b", "x", "-c", "c.conf"];
        all.extend(args);
        let ran = program.run(&all);
        assert_eq!(ran.code, 0, "{}", ran.all());
        let services = ran.json()[0]["services"].clone();
        services
            .as_array()
            .expect("a list")
            .iter()
            .map(|s| s["targets"][0].as_str().expect("text").to_owned())
            .collect()
    };
    assert_eq!(targets(&[]), ["three@h.org"]);
    assert_eq!(targets(&["-g", "a", "-g", "b"]), ["one@h.org", "two@h.org"]);
    assert_eq!(targets(&["-g", "all"]).len(), 3);
}

#[test]
fn config_check_names_every_entry_and_problem() {
    let program = Program::new().secret_file(
        "c.conf",
        &format!(
            "ops=session://{SERVER_KEY}:{SEED}@h.org/room\n\nnot a line {SEED}\nxmpps://u:p@h.org/jane\n"
        ),
    );
    let ran = program.run(&["config", "check", "--json", "c.conf"]);
    assert_eq!(ran.code, 1);
    assert!(!ran.all().contains(SEED));
    let document = &ran.json()[0];
    assert_eq!(keys(document), ["services", "problems"]);
    let services = document["services"].as_array().expect("a list");
    assert_eq!(services.len(), 2);
    assert_eq!(keys(&services[0]), ["url", "privacy", "tags", "file", "line"]);
    assert_eq!(
        (&services[0]["tags"], &services[0]["line"], &services[1]["line"]),
        (&json!(["ops"]), &json!(1), &json!(4))
    );
    let problems = document["problems"].as_array().expect("a list");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(
        keys(&problems[0]),
        ["file", "line", "column", "key", "cause", "remedy"]
    );
    assert_eq!(problems[0]["line"], 3);
    let open = program.run(&["config", "check", "--json", "--show-secrets", "c.conf"]);
    assert!(
        open.json()[0]["services"][0]["url"]
            .as_str()
            .expect("text")
            .contains(SEED)
    );

    let text = program.run(&["config", "check", "c.conf"]);
    assert_eq!(text.code, 1);
    assert!(
        text.stdout.contains("2 services, 1 problem") && text.stderr.contains("c.conf:3"),
        "{}",
        text.all()
    );
    assert!(!text.all().contains(SEED));

    let clean = Program::new().secret_file("c.yml", "urls:\n  - xmpps://u:p@h.org/jane:\n      tag: ops\n");
    let ran = clean.run(&["config", "check", "c.yml"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    // The URL as it was written: no parameter that has its default.
    assert!(
        ran.stdout.contains("xmpps://u%40h.org:****@h.org/jane%40h.org\n"),
        "{}",
        ran.all()
    );

    let open = Program::new().file("c.yml", "urls:\n  - xmpps://u:p@h.org/jane\n");
    let ran = open.run(&["config", "check", "c.yml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stdout.contains("1 service, 1 problem") && ran.stderr.contains("chmod 600"),
        "{}",
        ran.all()
    );
}

#[test]
fn config_check_reports_an_unknown_parameter_once() {
    let program = Program::new()
        .secret_file("c.conf", "xmpps://u:p@h.org/jane?overlow=split\n")
        .secret_file(
            "c.yml",
            "urls:\n  - xmpps://u:p@h.org/jane?overlow=split\n  - xmpps://u:p@h.org:\n      - to: bob\n        overlow: split\n",
        );
    for (file, wanted) in [("c.conf", 1), ("c.yml", 2)] {
        let ran = program.run(&["config", "check", "--json", file]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        let problems = ran.json()[0]["problems"].as_array().expect("a list").clone();
        assert_eq!(problems.len(), wanted, "{problems:?}");
    }
    let ran = program.run(&["doctor", "xmpps://u:p@127.0.0.1:9/jane?overlow=split"]);
    assert_eq!(
        ran.stdout.matches("`overlow` is not a parameter here").count(),
        1,
        "{}",
        ran.all()
    );
}

/// As in Apprise, a number of retries that is not whole is not used in a URL; the warning comes once. In YAML it is a
/// number, which is rounded down.
#[test]
fn a_retry_that_is_not_whole_is_reported_once() {
    let url = "xmpps://u:p@h.org/a?retry=3.7";
    let program = Program::new()
        .secret_file("retry.yml", "urls:\n  - xmpps://u:p@h.org/a:\n      retry: 3.7\n")
        .secret_file("retry.conf", &format!("{url}\n"));
    for (words, times) in [
        (&["config", "check", "retry.yml"][..], 0),
        (&["preview", "-v", "-b", "x", "-c", "retry.yml"], 0),
        (&["config", "check", "retry.conf"], 1),
        (&["preview", "-v", "-b", "x", "-c", "retry.conf"], 1),
        (&["preview", "-v", "-b", "x", url], 1),
    ] {
        let ran = program.run(words);
        assert_eq!(
            ran.all().matches("`3.7` is not a number of retries").count(),
            times,
            "{words:?}: {}",
            ran.all()
        );
    }
    let ran = program.run(&["config", "check", "retry.yml"]);
    assert!(ran.code == 0 && ran.stdout.contains("retry=3"), "{}", ran.all());
}

#[test]
fn generated_texts_are_whole() {
    let program = Program::new();
    assert!(program.run(&["generate", "man"]).stdout.contains(".TH ackpost 1"));
    assert_eq!(program.run(&["generate", "man", "--dir", "man"]).code, 0);
    let page = std::fs::read_to_string(program.home().join("man/ackpost-config-check.1"))
        .expect("a page for every command");
    assert!(page.contains("show\\-secrets"));
    let reference = program.run(&["generate", "reference"]).stdout;
    let kept =
        std::fs::read_to_string(support::root().join("docs/reference/commands.md")).unwrap_or_default();
    assert!(
        reference == kept,
        "run: cargo run -- generate reference > docs/reference/commands.md"
    );
}

#[test]
fn details_in_both_forms() {
    let program = Program::called("apprise");
    let ran = program.run(&["--details"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout
            .starts_with("+ Session Open Group Server      | Schema(s): session, sessions, sogs\n   - ")
    );
    assert!(
        ran.stdout
            .contains("\n+ XMPP                           | Schema(s): xmpp, xmpps\n")
    );
    assert_eq!(program.run(&["-l"]).stdout, ran.stdout);
    let list = &Program::new().run(&["details", "--json"]).json()[0];
    assert_eq!(
        (&list[0]["service"], &list[1]["service"]),
        (&json!("sogs"), &json!("xmpp"))
    );
}

#[test]
fn results_that_cannot_be_written_are_a_failure_and_a_closed_pipe_is_none() {
    let program = Program::new();
    let full = program.shell("ackpost generate completions bash > /dev/full");
    assert_eq!(full.code, 1);
    assert!(
        full.stderr.contains("cannot write to standard output"),
        "{}",
        full.stderr
    );
    let closed = program.shell("{ ackpost generate completions bash; echo $? > code; } | true; cat code");
    assert_eq!((closed.stdout.as_str(), closed.stderr.as_str()), ("0\n", ""));
}

#[test]
fn a_machine_without_descriptors_is_told_so() {
    let program = Program::new();
    let ran = program.shell("ulimit -n 4; ackpost outbox list");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("ulimit -n"), "{}", ran.stderr);
}

/// The text of the first part that `preview --json` shows.
fn previewed(program: &Program, args: &[&str], stdin: &[u8]) -> Value {
    let mut all = vec!["preview", "--json"];
    all.extend_from_slice(args);
    let ran = program.run_with(&all, stdin);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    ran.json()[0]["services"][0]["chunks"][0].clone()
}

#[test]
fn preview_is_what_the_server_gets_byte_for_byte() {
    let server = FakeXmpp::start(FakeXmppMode::StartTls);
    let program = Program::new();
    let html = "<p>see <a href='https://e.org/x'>log</a></p>";
    for (query, args, stdin) in [
        (
            "format=markdown",
            &["-i", "markdown", "-t", "T", "-b", "**disk** _full_"][..],
            "",
        ),
        ("format=html", &["-i", "html", "-b", html], ""),
        ("format=text", &["-i", "html", "-t", "T", "-b", html], ""),
        ("subject=yes", &["-t", "T\nU", "-b", "a\r\nb\u{1}c"], ""),
        ("format=text", &["-t", "T"], "from standard input\r\n"),
        ("format=text", &["-e", "-b", "a\\tb\\u2713 "], ""),
    ] {
        let url = format!(
            "xmpps://user:pass@localhost:{}/jane?verify=no&{query}",
            server.port()
        );
        let mut args = args.to_vec();
        args.push(&url);
        let shown = previewed(&program, &args, stdin.as_bytes());
        let before = server.events().len();
        let sent = program.run_with(&args, stdin.as_bytes());
        assert_eq!(sent.code, 0, "{args:?}: {}", sent.all());
        let events = server.events();
        let (body, subject) = events[before..]
            .iter()
            .find_map(|event| match event {
                XmppEvent::Message { body, subject, .. } => Some((body, subject.clone().unwrap_or_default())),
                _ => None,
            })
            .expect("a message");
        assert_eq!(shown["body"], json!(body), "{args:?}");
        assert_eq!(shown["title"], json!(subject), "{args:?}");
    }
    let community = FakeSogs::start(SERVER_KEY);
    let url = format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/ok", community.port());
    let args = ["-i", "html", "-t", "T", "-b", html, &url];
    let shown = previewed(&program, &args, b"");
    assert_eq!(program.run(&args).code, 0);
    let posts = community.posts();
    assert_eq!(shown["body"], json!(posts.first().expect("a post").text));
}

#[test]
fn a_body_that_a_conversion_swallows_is_a_failure_and_nothing_is_sent() {
    let community = FakeSogs::start(SERVER_KEY);
    let url = format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/ok", community.port());
    for command in ["preview", "send"] {
        let ran = Program::new().run(&[command, "-i", "html", "-t", "T", "-b", "<img src=x>", &url]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(
            ran.stderr.contains("nothing is left of the body"),
            "{}",
            ran.stderr
        );
    }
    assert!(community.posts().is_empty());
}

#[test]
fn the_format_of_a_configuration_counts_unless_a_flag_names_one() {
    let url = format!("session://{SERVER_KEY}:{SEED}@h.org/a");
    let program = Program::new()
        .file(
            "a.yml",
            &format!("asset:\n  body_format: html\nurls:\n  - {url}\n"),
        )
        .file("b.yml", "asset:\n  body_format: markdown\nurls: []\n");
    let configs = ["-c", "a.yml", "-c", "b.yml", "-b", "<b>disk</b> full"];
    assert_eq!(previewed(&program, &configs, b"")["body"], "disk full");
    let mut declared = configs.to_vec();
    declared.extend(["-i", "text"]);
    assert_eq!(previewed(&program, &declared, b"")["body"], "<b>disk</b> full");
    let ran = program
        .file("c.yml", "asset:\n  body_format: bogus\nurls: []\n")
        .run(&["preview", "-c", "a.yml", "-c", "c.yml", "-b", "x"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("asset.body_format: the format is not known"),
        "{}",
        ran.all()
    );
}

#[test]
fn a_problem_of_a_configuration_is_told_once() {
    let url = "xmpps://u:p@h.org/a";
    let program = Program::new()
        .file(
            "a.yml",
            &format!("urls:\n  - {url}:\n      retry: x\n      verify: ture\n"),
        )
        .file("a.conf", &format!("{url}?retry=x\n"));
    for (config, count) in [("a.yml", 2), ("a.conf", 1)] {
        let ran = program.run(&["preview", "-c", config, "-b", "x"]);
        let odd = ran.stderr.lines().filter(|line| line.contains("is used; write"));
        assert_eq!(odd.count(), count, "{}", ran.stderr);
        assert_eq!(
            ran.stderr.lines().filter(|line| line.contains("retry")).count(),
            1,
            "{}",
            ran.stderr
        );
    }
    let ran = program.run(&["preview", "-b", "x", &format!("{url}?retry=x")]);
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.stderr);
}
