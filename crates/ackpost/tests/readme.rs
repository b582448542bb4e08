//! The examples of the README and of worked guides run, with the servers of the test in place of the ones they name.

mod support;

use ackpost_testkit::{Prosody, XmppServer};
use support::community::Community;
use support::{Program, SEED};

/// A script with the servers of the test in place of those that the documentation names.
fn here(script: &str, community: &Community, prosody: &XmppServer) -> String {
    script
        .replace(
            "sessions://SERVERKEY:SEED@open.example.org",
            &community.server_url(),
        )
        .replace(
            "bot:password@example.org/jane",
            &format!("alice:alicepass@localhost:{}/bob?verify=no", prosody.port),
        )
        .replace(
            "bot:{env:XMPP_PASSWORD}@example.org/jane",
            &format!(
                "alice:{{env:XMPP_PASSWORD}}@localhost:{}/bob?verify=no",
                prosody.port
            ),
        )
        .replace(
            "bot:password@example.org/#ops@rooms.example.org",
            &format!(
                "alice:alicepass@localhost:{}/#open@conference.localhost?verify=no",
                prosody.port
            ),
        )
        .replace("XMPP_PASSWORD=password", "XMPP_PASSWORD=alicepass")
}

#[test]
fn the_examples_of_the_readme_run() {
    let community = Community::start("lobby");
    let prosody = Prosody::shared();
    let examples = blocks("README.md", "sh");
    assert_eq!(examples.len(), 5);
    let program = Program::new();
    for example in &examples {
        let example = here(example, &community, prosody);
        assert!(
            !example.contains("example.org"),
            "nobody stands in for a server of {example}"
        );
        let ran = program.shell(&example);
        assert_eq!(ran.code, 0, "{example}\n{}", ran.all());
        assert!(!ran.all().contains(SEED), "{example}");
    }
}

/// The blocks of a language in a document.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(support::root().join(document)).expect("the document");
    let start = format!("```{language}\n");
    let rest = text.split(start.as_str()).skip(1);
    rest.map(|block| block.split("```").next().expect("the block ends").to_owned())
        .collect()
}

#[test]
fn the_commands_of_worked_guides_run() {
    let community = Community::start("lobby");
    let prosody = Prosody::shared();
    let [configuration] = &blocks("docs/guide/move-from-apprise.md", "yaml")[..] else {
        panic!("the guide has one configuration");
    };
    let configuration = here(configuration, &community, prosody);
    assert!(!configuration.contains("example.org"), "{configuration}");
    for (guide, count) in [
        ("docs/guide/move-from-apprise.md", 4),
        ("docs/guide/backups-and-cron.md", 4),
        ("docs/guide/getting-started.md", 3),
        ("docs/guide/outbox.md", 1),
        ("docs/guide/mail.md", 1),
        ("docs/guide/answer-alerts.md", 1),
    ] {
        let program = Program::new().file(".config/apprise.yml", &configuration);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(program.home().join(".config/apprise.yml"), mode).expect("set");
        let commands = blocks(guide, "sh");
        assert_eq!(commands.len(), count, "{guide}");
        for command in &commands {
            let command = &here(command, &community, prosody);
            assert!(!command.contains("example.org"), "{command}");
            let ran = program.shell(command);
            assert_eq!(ran.code, 0, "{command}\n{}", ran.all());
            assert!(!ran.all().contains(SEED), "{command}");
            let silent = command
                .lines()
                .all(|line| line.contains(" -q") || line.starts_with("mkdir") || line.starts_with("ln "));
            assert!(!silent || ran.all().trim().is_empty(), "{command}\n{}", ran.all());
        }
        let ran = program.run(&["--json", "outbox", "stats"]);
        assert!(
            ran.code == 0 && !ran.all().contains("\"waiting\":1"),
            "{}",
            ran.all()
        );
    }
}

/// The edits with `sed` in the guide of the gateway change one line each. A key of another section with the same name stays.
#[test]
fn the_edits_of_the_gateway_guide_change_one_line_each() {
    let page = "docs/guide/gateway-and-alertmanager.md";
    let text = std::fs::read_to_string(support::root().join(page)).expect("the guide");
    let program = Program::new();
    let mut before = program.run(&["gateway", "config"]).stdout;
    let mut edits = 0;
    for line in text.lines().filter(|line| line.starts_with("sed -i")) {
        std::fs::write(program.home().join("gateway.toml"), &before).expect("written");
        let ran = program.shell(&line.replace("/etc/ackpost/gateway.toml", "gateway.toml"));
        assert_eq!(ran.code, 0, "{line}: {}", ran.all());
        let after = std::fs::read_to_string(program.home().join("gateway.toml")).expect("the file");
        let changed = before.lines().zip(after.lines()).filter(|(old, new)| old != new);
        assert_eq!(changed.count(), 1, "{line}\n{after}");
        before = after;
        edits += 1;
    }
    assert_eq!(edits, 2);
    assert!(
        before.contains("[keys]\nops = \"/etc/ackpost/ops.yml\"\n"),
        "{before}"
    );
    assert!(before.contains("[signatures]\n#ops = "), "{before}");
}

/// Pages whose blocks `sh` and `console` run, and the file of the test that runs them.
const RUN: [(&str, &str); 18] = [
    ("README.md", "crates/ackpost/tests/readme.rs"),
    ("docs/guide/a-bot.md", "python/tests/test_docs.py"),
    ("docs/guide/answer-alerts.md", "crates/ackpost/tests/readme.rs"),
    ("docs/guide/backups-and-cron.md", "crates/ackpost/tests/readme.rs"),
    ("docs/guide/bridge.md", "crates/ackpost/tests/bridge/commands.rs"),
    (
        "docs/guide/community-server.md",
        "crates/ackpost/tests/operate.rs",
    ),
    (
        "docs/guide/encrypted-notifications.md",
        "crates/ackpost/tests/omemo_commands.rs",
    ),
    (
        "docs/guide/fallback-channels.md",
        "crates/ackpost/tests/fallback.rs",
    ),
    ("docs/guide/gateway-and-alertmanager.md", "packaging/check"),
    (
        "docs/guide/gateway.md",
        "crates/ackpost/tests/gateway/operator.rs",
    ),
    ("docs/guide/getting-started.md", "crates/ackpost/tests/readme.rs"),
    ("docs/guide/host-a-community.md", "packaging/check"),
    ("docs/guide/mail.md", "crates/ackpost/tests/readme.rs"),
    (
        "docs/guide/move-from-apprise.md",
        "crates/ackpost/tests/readme.rs",
    ),
    ("docs/guide/move-from-pysogs.md", "packaging/check"),
    ("docs/guide/outbox.md", "crates/ackpost/tests/readme.rs"),
    ("docs/guide/session-sdk.md", "scripts/outside-programs"),
    ("docs/guide/xmpp-bots.md", "crates/ackpost-xmpp/tests/bot.rs"),
];

/// Programs whose name at the start of a line makes a block `text` one of commands.
const PROGRAMS: [&str; 20] = [
    "ackpost",
    "amtool",
    "apprise",
    "apt",
    "cargo",
    "cp",
    "curl",
    "docker",
    "for",
    "ln",
    "mkdir",
    "packaging",
    "pip",
    "pipx",
    "printf",
    "python3",
    "scripts",
    "sh",
    "sudo",
    "systemctl",
];

/// The pages of the documentation that people read. The command reference is generated, and its blocks are usage lines.
fn pages() -> Vec<String> {
    let mut all = vec!["README.md".to_owned()];
    for folder in ["docs/guide", "docs/reference"] {
        for entry in std::fs::read_dir(support::root().join(folder)).expect("a folder") {
            let name = entry.expect("a page").file_name().to_string_lossy().into_owned();
            let is_page = std::path::Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "md");
            if is_page && name != "commands.md" {
                all.push(format!("{folder}/{name}"));
            }
        }
    }
    all
}

/// Every block of commands is run by a test, or a comment above it says why not.
#[test]
fn every_command_block_runs_or_says_why_not() {
    let read = |path: &str| std::fs::read_to_string(support::root().join(path)).expect("a file");
    let mut wrong = Vec::new();
    let mut used = std::collections::BTreeSet::new();
    for page in pages() {
        let text = read(&page);
        let (mut before, mut block) = ("", None::<(&str, bool, usize)>);
        for (number, line) in text.lines().map(str::trim_start).enumerate() {
            let Some(language) = line.strip_prefix("```") else {
                let first = line.split([' ', '/']).next().unwrap_or_default();
                if let Some(("text" | "", false, start)) = block
                    && (PROGRAMS.contains(&first) || line.starts_with("$ "))
                {
                    wrong.push(format!(
                        "{page}:{start}: commands that no test runs, without a reason"
                    ));
                    block = Some(("", true, start));
                }
                if block.is_none() {
                    before = line;
                }
                continue;
            };
            if block.take().is_some() {
                continue;
            }
            let is_marked = before.starts_with("<!-- not run: ");
            block = Some((language, is_marked, number + 1));
            if matches!(language, "sh" | "console") && !is_marked {
                if !RUN.iter().any(|(run, _)| *run == page) {
                    wrong.push(format!(
                        "{page}:{}: no test of this page is known, and no reason is given",
                        number + 1
                    ));
                }
                used.insert(page.clone());
            }
            if language == "sh" && is_marked {
                wrong.push(format!("{page}:{}: `sh` is what runs; use `text`", number + 1));
            }
            before = "";
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (page, test) in RUN {
        assert!(used.contains(page), "{page} has no block that runs");
        let name = page.rsplit('/').next().unwrap_or(page).trim_end_matches(".md");
        assert!(read(test).contains(name), "{test} does not mention {page}");
    }
}
