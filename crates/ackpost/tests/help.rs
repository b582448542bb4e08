//! Output of `--help`, `--version` and wrong command lines, word for word.

mod support;

use std::fmt::Write as _;

use support::Program;
use support::{Ran, SEED, VECTOR_KEY, steady};

fn said(ran: &Ran) -> String {
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        ran.code, ran.stdout, ran.stderr
    )
}

#[test]
fn help_under_both_names() {
    let own = Program::new();
    insta::assert_snapshot!("send_help", said(&own.run(&["send", "-h"])));
    insta::assert_snapshot!("preview_help", said(&own.run(&["preview", "--help"])));
    let apprise = Program::called("apprise");
    insta::assert_snapshot!("apprise_help", said(&apprise.run(&["--help"])));
    // Help wins over values that are not accepted.
    assert_eq!(
        apprise.run(&["-h"]).stdout,
        apprise.run(&["-n", "loud", "-V", "--help", "-R", "x"]).stdout
    );
    assert_eq!(own.run(&["--help"]).code, 0);
}

/// `-h` fits a small terminal, and says how to see the rest; `--help` has every command and every option.
#[test]
fn short_help_has_at_most_thirty_lines() {
    let own = Program::new();
    let reference = own.run(&["generate", "reference"]).stdout;
    let commands: Vec<Vec<&str>> = (reference.lines())
        .filter_map(|line| line.strip_prefix("## `ackpost")?.strip_suffix('`'))
        .map(|words| words.split_whitespace().collect())
        .collect();
    assert!(commands.len() > 150, "{}", commands.len());
    let mut long = Vec::new();
    for command in &commands {
        let ran = own.run(&[command, &["-h"][..]].concat());
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.all());
        let lines = ran.stdout.lines().count();
        if lines > 30 {
            long.push(format!("{lines} {}", command.join(" ")));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
    let (short, full) = (
        own.run(&["server", "-h"]).stdout,
        own.run(&["server", "--help"]).stdout,
    );
    assert!(
        short.contains("More commands: ") && short.contains("filter"),
        "{short}"
    );
    assert!(
        !short.contains("\n  filter") && full.contains("\n  filter"),
        "{full}"
    );
    let (short, full) = (
        own.run(&["send", "-h"]).stdout,
        own.run(&["send", "--help"]).stdout,
    );
    assert!(
        !short.contains("--foreign") && full.contains("--foreign"),
        "{short}"
    );
    // The first sentence is enough for the short help.
    assert!(
        short.contains("exit code 0 means stored") && !short.contains("queue=yes"),
        "{short}"
    );
    assert!(full.contains("queue=yes"), "{full}");
}

#[test]
fn the_reference_of_parameters_is_current_and_details_say_the_same() {
    let own = Program::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/parameters.md");
    let page = std::fs::read_to_string(file).expect("the page");
    assert_eq!(own.run(&["generate", "parameters"]).stdout, page);
    for service in ["xmpp", "sogs"] {
        let ran = own.run(&["--json", "details", service]);
        let all: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let text = own.run(&["details", service]).stdout;
        for one in all.as_array().expect("a list") {
            let name = one["name"].as_str().expect("a name");
            assert!(page.contains(&format!("| `{name}`")), "{name}");
            assert!(text.contains(&format!("\n  {name}")), "{name}");
        }
    }
    let ran = own.run(&["details", "telegram"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("xmpp"), "{}", ran.stderr);
}

/// Each command that reads a URL names every unusable value for the outbox, each once, and ends as for other problems
/// of a URL, such as a port that does not exist.
#[test]
fn unusable_values_for_the_outbox_are_reported_everywhere() {
    let own = Program::new();
    let configs = tempfile::tempdir().expect("a folder");
    let names = ["ttl", "quiet", "budget"];
    let all = "?ttl=banana&quiet=xx&budget=zz";
    for (number, (query, bad)) in [
        (all, &names[..]),
        ("?ttl=banana", &["ttl"]),
        ("?quiet=xx", &["quiet"]),
        ("?budget=zz", &["budget"]),
    ]
    .into_iter()
    .enumerate()
    {
        for service in [
            "xmpps://a:p@h.org/b".to_owned(),
            format!("session://{VECTOR_KEY}:{SEED}@h.org/lobby"),
        ] {
            let url = format!("{service}{query}");
            let other = service.replace("h.org", "h.org:99999");
            let file = |name: &str, url: &str| {
                let path = configs.path().join(format!("{name}-{number}.conf"));
                std::fs::write(&path, format!("{url}\n")).expect("a file");
                path.to_str().expect("a path").to_owned()
            };
            let (bad_file, other_file) = (file("bad", &url), file("other", &other));
            for words in [
                &["config", "check"][..],
                &["preview", "-b", "x"],
                &["doctor"],
                &["send", "-b", "x"],
                &["send", "--queue", "-b", "x"],
            ] {
                let run = |url: &str, file: &str| {
                    let last = if words[0] == "config" { file } else { url };
                    own.run(&[words, &[last]].concat())
                };
                let (ran, usual) = (run(&url, &bad_file), run(&other, &other_file));
                assert_eq!(ran.code, usual.code, "{words:?}: {}", ran.all());
                assert_ne!(ran.code, 0, "{words:?}: {}", ran.all());
                for name in names {
                    assert_eq!(
                        ran.all().matches(&format!("`{name}=` is not understood")).count(),
                        usize::from(bad.contains(&name)),
                        "{words:?} {name}: {}",
                        ran.all()
                    );
                }
            }
        }
    }
}

#[test]
fn version_under_both_names() {
    let own = Program::new();
    for flag in ["--version", "-V"] {
        let ran = own.run(&[flag]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (
                0,
                concat!(
                    "ackpost ",
                    env!("CARGO_PKG_VERSION"),
                    "\nApprise 2.3.0 (URLs, flags, configuration)\n"
                )
            )
        );
    }
    let ran = Program::called("apprise").run(&["-vV"]);
    assert_eq!((ran.code, ran.stdout.lines().next()), (0, Some("Apprise v2.3.0")));
    assert_eq!(ran.stdout.lines().count(), 3);
}

#[test]
fn wrong_command_lines() {
    let mut all = String::new();
    for name in ["ackpost", "apprise"] {
        let program = Program::called(name);
        for args in [
            &["-b"][..],
            &["--bod", "x"],
            &["--bogus"],
            &["-vZ"],
            &["--dry-run=yes"],
            &["-b", "x", ""],
            &["s"],
            &["-n", "loud", "-b", "x", "xmpps://u:p@h.org"],
            &["-i", "rtf", "-b", "x", "xmpps://u:p@h.org"],
            &["-L", "-1", "-b", "x", "xmpps://u:p@h.org"],
            &["-SL", "nan", "-b", "x", "xmpps://u:p@h.org"],
            &["-L", "soon", "xmpps://u:p@h.org"],
            &["-R", "x"],
            &["-tv", "x", "-b", "y", "xmpps://u:p@h.org"],
            &["-tv", "a=1", "-tv", "A=2", "-b", "y", "xmpps://u:p@h.org"],
            &["-SM", "disk", "-d"],
            &["-SUL", "1", "-d"],
            &["storage", "-SPD", "-1"],
            &["storage", "polish"],
        ] {
            let ran = program.run(args);
            assert_eq!(ran.code, 2, "{name} {args:?}: {}", ran.all());
            let words = args.join(" ");
            let _ = writeln!(all, "$ {name} {words}\n{}{}", ran.stdout, ran.stderr);
        }
    }
    insta::assert_snapshot!("wrong_command_lines", steady(&all, &[]));
}

#[test]
fn storage_is_accepted_and_says_nothing() {
    for (name, args) in [
        ("apprise", &["storage"][..]),
        ("apprise", &["-v", "storage", "list"]),
        ("apprise", &["storage", "prune", "-SPD", "3"]),
        ("apprise", &["storage", "clear", "deadbeef"]),
        ("ackpost", &["storage", "clean"]),
    ] {
        let ran = Program::called(name).run(args);
        assert_eq!((ran.code, ran.all().trim()), (0, ""), "{args:?}");
    }
    let list = Program::called("apprise").run(&["storage", "xmpps://u:p@x.org/j", "-SUL", "4"]);
    let want = "   1. 587e                                                 0.00B    unused\n      \
                - xmpps://u%40x.org:****@x.org/j%40x.org?mode=starttls&roster=no&subjec...\n";
    assert_eq!((list.code, list.stdout.as_str()), (0, want));
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    use std::process::Stdio;
    let program = Program::new();
    let mut child = program
        .command(&["details"])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").success());
}
