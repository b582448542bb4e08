//! Entries that a run uses: tags, escalation, `--foreign`, templates.

use ackpost_testkit::FakeSogs;

use crate::support::apprise::{Sink, installed};
use crate::support::{Program, SEED, SERVER_KEY, root};
use crate::{NEWEST, outcomes, program};

#[test]
fn xmpp_is_tried_first_and_another_service_only_if_it_fails() {
    let sink = Sink::start();
    let port = sink.port;
    let fake = FakeSogs::start(SERVER_KEY);
    let config = |first: &str| {
        format!(
            "urls:\n  - {first}:\n      tag: 1:ops\n  - json://127.0.0.1:{port}/mail:\n      tag: 2:ops\n"
        )
    };
    let up = format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/ok", fake.port());
    let program = program(NEWEST)
        .file("up.yml", &config(&up))
        .file("down.yml", &config("xmpp://u:p@127.0.0.1:1/jane?cto=1"));
    let ran = program.run(&["-b", "x", "-c", "up.yml", "-g", "ops"]);
    assert_eq!((ran.code, sink.count("/mail")), (0, 0), "{}", ran.all());
    let ran = program.run(&["-b", "x", "-c", "down.yml", "-g", "ops"]);
    assert_eq!((ran.code, sink.count("/mail")), (0, 1), "{}", ran.all());
    assert!(ran.stderr.contains("handed-over json://"), "{}", ran.stderr);
    let ran = program.run(&["-b", "x", "-c", "down.yml", "-g", "ops", "--require-proof"]);
    assert_eq!((ran.code, sink.count("/mail")), (1, 2), "{}", ran.all());
}

#[test]
fn the_escalation_of_the_guide_works() {
    let guide = std::fs::read_to_string(root().join("docs/guide/other-services.md")).expect("the guide");
    let example = guide
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    let sink = Sink::start();
    // Its servers are replaced; what is tested is the order.
    let config = example
        .replace(
            "xmpps://bot:secret@example.org/jane",
            "xmpp://bot:secret@127.0.0.1:1/jane?cto=1",
        )
        .replace(
            "mailtos://bot:secret@example.org?to=jane@example.org&",
            &format!("{}?", sink.url("mail")),
        );
    assert!(
        config.contains("127.0.0.1:1/") && config.contains("/mail?via=apprise"),
        "{config}"
    );
    let ran = program(NEWEST)
        .file("c.yml", &config)
        .run(&["-b", "x", "-c", "c.yml", "-g", "ops"]);
    assert_eq!((ran.code, sink.count("/mail")), (0, 1), "{}", ran.all());
}

#[test]
fn entries_outside_the_tags_change_nothing_and_a_rule_decides_about_the_others() {
    let fake = FakeSogs::start(SERVER_KEY);
    let own = format!("session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/ok", fake.port());
    let lines = format!(
        "ours={own}\nours,theirs=discord://a/b\ntheirs=tgram://123456:abc/1\ntheirs=discord://c/d\nlone={own}\n"
    );
    let program = Program::new()
        .env("ACKPOST_APPRISE", "off")
        .file("c.conf", &lines)
        .file(
            "skip.yml",
            &format!("foreign: skip\nurls:\n  - {own}\n  - discord://a/b\n"),
        );
    let run = |args: &[&str]| program.run(&[&["-b", "x", "-c", "c.conf"], args].concat());
    let ran = run(&["-g", "lone"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (0, 2), "{}", ran.all());
    assert!(
        !ran.all().contains("discord") && !ran.all().contains("other service"),
        "{}",
        ran.all()
    );
    let ran = run(&["-g", "ours", "--foreign", "skip"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("note: 1 entry of another service: discord 1 (skipped)"),
        "{}",
        ran.stderr
    );
    let ran = run(&["-g", "theirs", "-g", "ours", "--foreign", "fail"]);
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("3 entries of other services: discord 2, tgram 1"),
        "{}",
        ran.stderr
    );
    let ran = run(&["-g", "theirs", "--foreign", "skip"]);
    assert_eq!(ran.code, 3, "{}", ran.all());
    let ran = run(&["-g", "ours"]);
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("discord:// is not a service of Ackpost, and Apprise is switched off"),
        "{}",
        ran.stderr
    );
    assert_eq!(program.run(&["-b", "x", "-c", "skip.yml"]).code, 0);
    assert_eq!(
        program
            .run(&["-b", "x", "-c", "skip.yml", "--foreign", "fail"])
            .code,
        4
    );
    assert_eq!(
        program
            .run(&["-b", "x", "-c", "c.conf", "--foreign", "perhaps"])
            .code,
        2
    );
}

/// A service that Ackpost has is not called unknown: the parameter that it lacks is named.
#[test]
fn without_apprise_the_parameter_that_needs_it_is_named() {
    let program = Program::new().env("ACKPOST_APPRISE", "off");
    let mail = "mailto://127.0.0.1:1?from=a@example.org&to=b@example.org";
    for (parameter, cause, remedy) in [
        (
            "pgp=yes",
            "Ackpost cannot use `pgp` of mailto:// itself, and Apprise is switched off",
            "remove `pgp`, or ",
        ),
        (
            "via=apprise",
            "mailto:// is to go through Apprise (via=apprise or ACKPOST_NATIVE), and Apprise is switched off",
            "",
        ),
    ] {
        let ran = program.run(&["-b", "x", &format!("{mail}&{parameter}")]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        assert!(ran.all().contains(cause), "{}", ran.all());
        assert!(ran.all().contains(remedy), "{}", ran.all());
        assert!(!ran.all().contains("not a service of Ackpost"), "{}", ran.all());
    }
}

/// A rehearsal says how many entries go elsewhere.
#[test]
fn a_rehearsal_counts_the_entries_of_other_services() {
    let program = Program::new().env("ACKPOST_APPRISE", "off").file(
        "c.conf",
        "ops=discord://a/b\nops=discord://c/d\nops=tgram://123456:abc/1\nhome=xmpps://u:p@example.org/jane\n",
    );
    for (rule, tag, said) in [
        (
            "apprise",
            "ops",
            "3 entries of other services: discord 2, tgram 1 (through Apprise)",
        ),
        (
            "skip",
            "ops",
            "3 entries of other services: discord 2, tgram 1 (skipped)",
        ),
        ("apprise", "home", ""),
    ] {
        let ran = program.run(&[
            "--dry-run",
            "--foreign",
            rule,
            "-b",
            "x",
            "-c",
            "c.conf",
            "-g",
            tag,
        ]);
        if said.is_empty() {
            assert!(!ran.all().contains("other service"), "{}", ran.all());
        } else {
            assert!(ran.stderr.contains(said), "{rule}: {}", ran.all());
        }
    }
}

/// A template whose native service lacks a parameter is handed over, as a URL without variables is.
#[test]
fn a_template_with_a_parameter_that_is_lacking_here_is_handed_over() {
    let mail = ackpost_testkit::FakeSmtp::start(ackpost_testkit::SmtpFault::None);
    let config = format!(
        "template: [who]\nurls:\n  - mailto://127.0.0.1:{port}?from=bot@example.org&to=${{WHO}}@example.org&inline=yes\n  \
         - mailto://127.0.0.1:{port}?from=bot@example.org&to=${{WHO}}@example.org\n",
        port = mail.port
    );
    let program = Program::new()
        .env("ACKPOST_APPRISE", installed(NEWEST).display().to_string())
        .file("c.yml", &config);
    let ran = program.run(&["--json", "-b", "x", "-t", "T", "-c", "c.yml", "-tv", "who=jane"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(
        outcomes(&ran),
        [
            ("handed-over".to_owned(), "apprise".to_owned()),
            ("handed-over".to_owned(), "handed-over".to_owned())
        ],
        "{}",
        ran.all()
    );
    let recipients = mail
        .commands()
        .iter()
        .filter(|line| line.to_lowercase().contains("<jane@example.org>"))
        .count();
    assert_eq!(recipients, 2, "{:?}", mail.commands());
}

/// Only the filled-in URL shows that the service here lacks a parameter. The rule holds for it all the same.
#[test]
fn the_rule_holds_for_a_template_that_is_of_another_service_once_it_is_filled_in() {
    let mail = ackpost_testkit::FakeSmtp::start(ackpost_testkit::SmtpFault::None);
    let fake = FakeSogs::start(SERVER_KEY);
    let config = format!(
        "template: [who]\nurls:\n  - session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/ok\n  \
         - mailto://127.0.0.1:{}?from=bot@example.org&to=${{WHO}}@example.org&inline=yes\n",
        fake.port(),
        mail.port
    );
    let program = Program::new()
        .env("ACKPOST_APPRISE", installed(NEWEST).display().to_string())
        .file("c.yml", &config)
        .file("skip.yml", &format!("foreign: skip\n{config}"));
    let run = |file: &str, more: &[&str]| {
        program.run(&[&["-b", "x", "-t", "T", "-c", file, "-tv", "who=jane"], more].concat())
    };
    let rules: [(&str, &[&str], i32, &str); 5] = [
        (
            "c.yml",
            &["--foreign", "skip"],
            0,
            "1 entry of another service: mailto 1 (skipped)",
        ),
        (
            "skip.yml",
            &[],
            0,
            "1 entry of another service: mailto 1 (skipped)",
        ),
        (
            "c.yml",
            &["--foreign", "fail"],
            4,
            "1 entry of another service: mailto 1 cannot be delivered here",
        ),
        (
            "c.yml",
            &["--foreign", "skip", "--queue"],
            0,
            "mailto 1 (skipped)",
        ),
        (
            "skip.yml",
            &["--foreign", "skip", "--dry-run"],
            0,
            "mailto 1 (skipped)",
        ),
    ];
    for (file, more, code, said) in rules {
        let ran = run(file, more);
        assert_eq!(
            (ran.code, mail.commands().len()),
            (code, 0),
            "{more:?}: {}",
            ran.all()
        );
        assert!(ran.stderr.contains(said), "{more:?}: {}", ran.all());
    }
    let ran = run("c.yml", &[]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(!mail.commands().is_empty(), "{}", ran.all());
}
