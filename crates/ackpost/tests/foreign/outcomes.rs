//! The outcome of one message that Apprise sends: handed over, deferred, refused, or in doubt.

use serde_json::json;

use crate::support::apprise::Sink;
use crate::{NEWEST, VERSIONS, outcomes, program};

#[test]
fn each_entry_has_its_own_true_outcome_with_every_version() {
    for version in VERSIONS {
        let sink = Sink::start();
        let port = sink.port;
        let config = format!(
            "urls:\n  - json://127.0.0.1:{port}/one?+X-Token=SECRETHDR&format=markdown:\n      tag: ops\n  \
             - json://127.0.0.1:{port}/two:\n      - user: me\n        method: put\n        \"+X-More\": \"a b\"\n        \
             tag: ops\n  - json://127.0.0.1:{port}/e500/SECRETPATH:\n      tag: ops\n  \
             - json://127.0.0.1:{port}/e404/SECRETPATH:\n      tag: ops\n  - discord://SECRETTOKEN:\n      tag: ops\n  \
             - json://127.0.0.1:{port}/e500/optional?optional=yes:\n      tag: ops\n  \
             - json://127.0.0.1:{port}/other:\n      tag: home\n"
        );
        let program = program(version).file("c.yml", &config);
        let ran = program.run(&[
            "--json",
            "-t",
            "Tïtle",
            "-b",
            "- \"hé\" 🙂\r\n# two",
            "-n",
            "failure",
            "-c",
            "c.yml",
            "-g",
            "ops",
        ]);
        assert_eq!(ran.code, 4, "{version}: {}", ran.all());
        let word = |outcome: &str, by: &str| (outcome.to_owned(), by.to_owned());
        assert_eq!(
            outcomes(&ran),
            [
                word("handed-over", "apprise"),
                word("handed-over", "apprise"),
                word("deferred", ""),
                word("refused", ""),
                word("refused", ""),
                word("deferred", ""),
            ],
            "{version}: {}",
            ran.all()
        );
        assert!(
            ran.stderr.contains("0 delivered, 2 handed to Apprise"),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains(&format!("[through Apprise {version}]")),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("error=500") && ran.stderr.contains("error=404"),
            "{}",
            ran.stderr
        );
        for secret in ["SECRET", "a b"] {
            assert!(!ran.all().contains(secret), "{version}: {}", ran.all());
        }
        assert_eq!(sink.count("/other"), 0);
        let posted = sink.posted();
        let of = |path: &str| {
            posted
                .iter()
                .find(|one| one.path == path)
                .unwrap_or_else(|| panic!("{path}"))
        };
        let (one, two) = (of("/one"), of("/two"));
        assert!(one.head.contains("X-Token: SECRETHDR"), "{}", one.head);
        assert!(
            two.head.starts_with("PUT ") && two.head.contains("X-More: a b"),
            "{}",
            two.head
        );
        assert_eq!(
            (&two.json["title"], &two.json["type"]),
            (&json!("Tïtle"), &json!("failure"))
        );
        assert_eq!(two.json["message"], "- \"hé\" 🙂\r\n# two");
    }
}

#[test]
fn retries_are_ours_and_apprise_makes_none() {
    let sink = Sink::start();
    let program = program(NEWEST);
    let ran = program.run(&["--json", "-b", "x", &sink.url("e500?retry=2&wait=0")]);
    assert_eq!((ran.code, sink.count("/e500")), (1, 3), "{}", ran.all());
    assert_eq!(ran.json()[0]["attempts"], 3);
    let ran = program.run(&["-b", "x", &sink.url("e500/a?optional=yes")]);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[test]
fn a_message_that_may_have_arrived_is_sent_again_only_if_the_entry_says_so() {
    let sink = Sink::start();
    let program = program(NEWEST);
    let ran = program.run(&["--json", "-b", "x", &sink.url("never/a?retry=2&wait=0&rto=1")]);
    assert_eq!((ran.code, sink.count("/never/a")), (1, 1), "{}", ran.all());
    let last = &ran.json()[0];
    assert!(
        last["reason"]
            .as_str()
            .is_some_and(|text| text.contains("may have arrived")),
        "{last}"
    );
    let ran = program.run(&["-b", "x", &sink.url("never/b?retry=2&wait=0&rto=1&repeat=yes")]);
    assert_eq!((ran.code, sink.count("/never/b")), (1, 3), "{}", ran.all());
}

#[test]
fn a_file_goes_with_the_text_and_nothing_stays_behind() {
    let sink = Sink::start();
    let program = program(NEWEST).file("note.txt", "attached");
    let temporary = program.home().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let program = program.env("TMPDIR", temporary.display().to_string());
    let ran = program.run(&["-b", "x", "-a", "note.txt", &sink.url("file")]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let posted = sink.posted();
    let file = &posted[0].json["attachments"][0];
    assert_eq!(
        (&file["filename"], &file["base64"]),
        (&json!("note.txt"), &json!("YXR0YWNoZWQ=")),
        "{file}"
    );
    assert_eq!(std::fs::read_dir(temporary).expect("a folder").count(), 0);
}

/// Debian 12 has Apprise 1.2, which delivers. An older one is refused with a reason.
#[test]
fn an_old_apprise_delivers_or_says_why_not() {
    let sink = Sink::start();
    let ran = program("1.2.0").run(&[
        "--json",
        "-t",
        "T",
        "-b",
        "x",
        &sink.url("old"),
        &sink.url("e500/old"),
    ]);
    assert_eq!(
        outcomes(&ran),
        [
            ("handed-over".to_owned(), "apprise".to_owned()),
            ("deferred".to_owned(), String::new())
        ],
        "{}",
        ran.all()
    );
    assert!(ran.stderr.contains("[through Apprise 1.2.0]"), "{}", ran.all());
    let ran = program("0.9.0").run(&["-b", "x", &sink.url("older")]);
    assert_eq!((ran.code, sink.count("/older")), (1, 0), "{}", ran.all());
    assert!(
        ran.stderr.contains("Apprise 0.9.0 (")
            && ran.stderr.contains("is too old; install Apprise 1.2 or later"),
        "{}",
        ran.all()
    );
}
