//! Things that belong to the operator: files of keys, the stored identity, the folder, the list of tokens.

use serde_json::json;

use crate::process::{Gateway, dead_url};
use crate::support::Program;
use crate::support::community::Community;

#[test]
fn join_links_of_the_operator_mean_the_stored_identity() {
    let community = Community::start("lobby");
    let link = format!("{}/lobby?public_key={}", community.url, community.key);
    let program = Program::new().file("ops.yml", &format!("urls:\n  - {link}\n"));
    let check = || program.run(&["config", "check", "ops.yml"]);
    let without = check();
    assert!(
        without.code == 1 && without.all().contains("seed is missing"),
        "{}",
        without.all()
    );
    assert_eq!(program.run(&["identity", "new"]).code, 0);
    let with = check();
    assert_eq!(with.code, 0, "{}", with.all());

    let gateway = Gateway::with(program, "[keys]\nops = \"ops.yml\"\n");
    let answer = gateway.form("/notify/ops?wait=20", "body=hello");
    assert_eq!(answer.status, 200, "{answer:?} {}", gateway.log());
    assert_eq!(crate::api::room_texts(&community).len(), 1);
    // Nobody else speaks in the operator's name.
    let answer = gateway.json("/notify", &json!({"urls": link, "body": "x"}));
    assert_eq!(answer.status, 204, "{answer:?}");
    let reason = answer.header("x-ackpost-problem").unwrap_or_default();
    assert!(reason.contains("seed is missing"), "{answer:?}");
    let saved = gateway.json("/add/mine", &json!({"urls": link}));
    assert_eq!(saved.status, 400, "{saved:?}");
}

#[test]
fn files_that_do_not_load_are_reported_without_the_folder() {
    let community = Community::start("lobby");
    let good = format!("{}/lobby", community.server_url());
    let program = Program::new().file("ops.yml", &format!("urls:\n  - {good}\n  - bogus://h.org\n"));
    let folder = program.home();
    let folder = folder.to_str().expect("text");
    let gateway = Gateway::with(
        program.file("all.yml", "urls:\n  - bogus://h.org\n"),
        &format!("[keys]\nops = \"{folder}/ops.yml\"\nall = \"{folder}/all.yml\"\n"),
    );
    for path in ["/notify/ops?wait=20", "/notify/ops", "/notify/all"] {
        for accept in ["text/plain", "application/json"] {
            let headers = [
                ("Accept", accept),
                ("Content-Type", "application/x-www-form-urlencoded"),
            ];
            let answer = gateway.request("POST", path, &headers, b"body=x");
            assert_eq!(answer.status, 424, "{path}: {answer:?}");
            let name = if path.ends_with("all") {
                "all.yml:2:"
            } else {
                "ops.yml:3:"
            };
            assert!(answer.body.contains(name), "{path}: {}", answer.body);
            assert!(!answer.body.contains(folder), "{path}: {}", answer.body);
            assert!(
                !answer.body.contains("could not be sent"),
                "{path}: {}",
                answer.body
            );
        }
    }
    let answer = gateway.form("/notify/ops?wait=20", "body=x");
    assert!(
        answer.body.starts_with(
            "some of the services could not be used; delivered to 1 of 1 targets of the others\n"
        ),
        "{}",
        answer.body
    );
}

#[test]
fn the_folder_may_be_said_anywhere_and_expired_tokens_are_marked() {
    let program = Program::new();
    for args in [
        &[
            "gateway",
            "token",
            "add",
            "old",
            "--expires",
            "1d",
            "--folder",
            "gw",
        ][..],
        &[
            "gateway",
            "token",
            "--folder",
            "gw",
            "add",
            "new",
            "--expires",
            "1d",
        ],
        &["gateway", "--folder", "gw", "token", "add", "ever"],
    ] {
        let ran = program.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    }
    let path = program.home().join("gw/tokens.toml");
    let text = std::fs::read_to_string(&path).expect("written");
    let end = text
        .lines()
        .find(|line| line.starts_with("expires = "))
        .expect("the first one expires");
    std::fs::write(&path, text.replacen(end, "expires = 1000000000", 1)).expect("written");
    let ran = program.run(&["gateway", "token", "list", "--folder", "gw"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let line = |name: &str| {
        let found = ran.stdout.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("{name}: {}", ran.stdout))
    };
    assert!(
        // The time is local, with the name of the zone.
        line("old ").contains("  expired 2001-09-0") && !line("old ").ends_with('Z'),
        "{}",
        ran.stdout
    );
    assert!(line("new ").contains("  until "), "{}", ran.stdout);
    assert!(!line("ever ").contains("until"), "{}", ran.stdout);
    let listed = program
        .run(&["--json", "gateway", "--folder", "gw", "token", "list"])
        .json();
    let expired: Vec<_> = listed
        .iter()
        .map(|one| (one["name"].as_str(), one["expired"].as_bool()))
        .collect();
    assert_eq!(
        expired,
        [
            (Some("ever"), Some(false)),
            (Some("new"), Some(false)),
            (Some("old"), Some(true))
        ]
    );
}

#[test]
fn the_commands_of_the_guide_keep_urls_whole() {
    let guide = crate::support::root().join("docs/guide/gateway.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let gateway = Gateway::start();
    // A form would damage these characters: %40, & and +.
    let url = format!("{}?format=markdown&name=a%2Bb%40c&ttl=2h", dead_url());
    let mut ran = 0;
    for line in guide.lines().filter(|line| line.starts_with("curl ")) {
        // The last waits for somebody who never answers.
        let line = line
            .replace(
                "http://127.0.0.1:8000",
                &format!("http://127.0.0.1:{}", gateway.port),
            )
            .replace("wait=10", "wait=1")
            .replacen("curl ", "curl --silent --max-time 30 --fail-with-body ", 1);
        let done = std::process::Command::new("/bin/sh")
            .args(["-euc", &line])
            .env("URL", &url)
            .output()
            .expect("a shell");
        assert!(done.status.success(), "{line}: {done:?}");
        ran += 1;
    }
    assert_eq!(ran, 7);
    let token = gateway.token(&["all", "--allow", "configure"]);
    let bearer = format!("Bearer {token}");
    let saved = gateway.request("POST", "/get/ops", &[("Authorization", &bearer)], b"");
    assert!(saved.body.contains(&url), "{url}: {saved:?}");
}
