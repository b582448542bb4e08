//! Mail, ntfy, Gotify and webhooks from the command line: the guide's escalation, the queue, and secrets.

mod support;

use std::path::PathBuf;

use ackpost_testkit::{
    FakeHttp, FakeSmtp, HttpAnswer, Prosody, ServerOptions, SmtpFault, SmtpOptions, SmtpServer, XmppServer,
};
use serde_json::Value;

use support::{Program, Ran, root};

/// The first block of this language behind a heading of the guide.
fn block(heading: &str, language: &str) -> String {
    let guide = std::fs::read_to_string(root().join("docs/guide/fallback-channels.md")).expect("the guide");
    let (_, section) = guide.split_once(heading).expect("the heading");
    let (_, block) = section
        .split_once(&format!("```{language}\n"))
        .expect("the block");
    block.split("```").next().expect("its text").to_owned()
}

/// A certificate with its key, in the program's home.
fn certificate(program: &Program) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let (pem, key) = (program.home().join("ca.pem"), program.home().join("key.pem"));
    std::fs::write(&pem, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    (pem, key)
}

/// The guide's configuration with these servers in it.
fn configuration(xmpp: &XmppServer, mail: &SmtpServer) -> String {
    let there = format!(
        "xmpps://alice:alicepass@{}:{}/bob?xmpp={}&verify=no",
        xmpp.domain, xmpp.port, xmpp.host
    );
    let mailto = format!(
        "mailtos://backup:secret@example.org:{}/ops@example.org?smtp=127.0.0.1&verify=no",
        mail.port
    );
    let text = block("## XMPP, else mail", "yaml");
    for url in [
        "xmpps://bot:secret@chat.example.org/ops:",
        "mailtos://backup:secret@example.org/ops@example.org:",
    ] {
        assert!(text.contains(url), "{text}");
    }
    text.replace("xmpps://bot:secret@chat.example.org/ops", &there)
        .replace("mailtos://backup:secret@example.org/ops@example.org", &mailto)
}

/// Runs the guide's command.
fn command(program: &Program) -> Ran {
    let command = block("## XMPP, else mail", "sh");
    let words: Vec<&str> = command.trim().split(' ').collect();
    let [
        "ackpost",
        "--config",
        "alert.yml",
        "--tag",
        "alert",
        "-t",
        title,
        "-b",
        body @ ..,
    ] = &words[..]
    else {
        panic!("{command}");
    };
    let body = body.join(" ");
    program.run(&[
        "--config",
        "alert.yml",
        "--tag",
        "alert",
        "-t",
        title,
        "-b",
        body.trim_matches('"'),
    ])
}

#[test]
fn the_guides_escalation_sends_a_mail_only_if_xmpp_fails() {
    let xmpp = Prosody::start(ServerOptions::default());
    let program = Program::new();
    let (pem, key) = certificate(&program);
    let mail = SmtpServer::start(&SmtpOptions {
        tls: Some(("starttls", pem, key)),
        login: Some("backup:secret".to_owned()),
        size: None,
    });
    let program = program.file("alert.yml", &configuration(&xmpp, &mail));
    let ran = command(&program);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(mail.rest().is_empty(), "no mail while XMPP works");
    xmpp.stop();
    let ran = command(&program);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for secret in [":secret@", "alicepass"] {
        assert!(!ran.all().contains(secret), "{}", ran.all());
    }
    let sent = mail.next();
    assert_eq!(
        (&sent["to"][0], &sent["encrypted"]),
        (&"ops@example.org".into(), &true.into())
    );
    let subject = sent["headers"].as_array().and_then(|headers| {
        headers
            .iter()
            .find(|pair| pair[0] == "Subject")
            .map(|pair| pair[1].clone())
    });
    assert_eq!(subject, Some("backup".into()));
    assert_eq!(sent["parts"][0]["text"], "disk full\r\n");
}

#[test]
fn the_queue_sends_what_a_dead_server_did_not_take() {
    let program = Program::new();
    let server = FakeSmtp::start(SmtpFault::LosesFirstAnswer);
    let url = format!(
        "mailto://127.0.0.1:{}/ops@example.org?from=backup@example.org",
        server.port
    );
    let ran = program.run(&["send", "--queue", "-b", "disk full", &url]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let ran = program.run(&["outbox", "flush", "--retries", "--deadline", "60s"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let messages = server.messages();
    assert_eq!(messages.len(), 2, "sent again, because the first answer was lost");
    assert_eq!(messages[0], messages[1]);
    let ran = program.run(&["--json", "outbox", "list", "--state", "delivered"]);
    assert!(
        ran.stdout.contains("FAKE123456") || ran.stdout.contains("handed-over"),
        "{}",
        ran.all()
    );
}

#[test]
fn every_command_knows_the_services_and_prints_none_of_their_secrets() {
    let server = FakeHttp::start(|_| HttpAnswer::Status(401, String::new()));
    let place = server.place();
    let urls = [
        format!(
            "mailto://bot:geheim1@127.0.0.1:{}/ops@example.org?from=b@example.org&+X-Key=geheim2",
            server.port
        ),
        format!("ntfy://tk_geheim3@{place}/ops"),
        format!("ntfy://bot:geheim4@{place}/ops?token=geheim5"),
        format!("gotify://{place}/geheim6"),
        format!("json://bot:geheim7@{place}/hook?+Authorization=geheim8&-key=geheim9&:field=geheim10"),
        format!("form://bot:geheim11@{place}/hook?:field=geheim12"),
    ];
    let program = Program::new().secret_file("all.conf", &urls.join("\n"));
    for args in [
        &["preview", "--config", "all.conf", "-b", "disk full"][..],
        &["--json", "preview", "--config", "all.conf", "-b", "disk full"],
        &["config", "check", "all.conf"],
        &["send", "-vvv", "--config", "all.conf", "-b", "disk full"],
        &[
            "--json",
            "send",
            "-vvv",
            "--config",
            "all.conf",
            "-b",
            "disk full",
        ],
        &["doctor", "-vvv", "--config", "all.conf"],
    ] {
        let ran = program.run(args);
        assert!(!ran.all().contains("geheim"), "{args:?}: {}", ran.all());
        assert!(!ran.all().contains("panicked"), "{args:?}: {}", ran.all());
    }
    assert!(!server.seen().is_empty());
    let ran = program.run(&["config", "check", "all.conf"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for name in ["mail", "mailtos", "ntfy", "gotifys", "json", "forms"] {
        let ran = program.run(&["details", name]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.all());
        assert!(ran.stdout.contains("ca_file"), "{name}: {}", ran.all());
    }
}

#[test]
fn the_report_has_the_proof() {
    let program = Program::new();
    let server = FakeSmtp::start(SmtpFault::None);
    let url = format!(
        "mailto://127.0.0.1:{}/ops@example.org?from=backup@example.org",
        server.port
    );
    let ran = program.run(&["--json", "send", "-b", "disk full", &url]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let line: Value = (ran.json().into_iter())
        .find(|line| line.get("outcome").is_some())
        .expect("a line with the outcome");
    assert_eq!(
        (&line["outcome"], &line["id"]),
        (&"handed-over".into(), &"FAKE123456".into()),
        "{line}"
    );
    // A parameter of Apprise that is missing here.
    let ran = program.run(&["send", "-b", "disk full", &format!("{url}&pgp=sign")]);
    assert_ne!(ran.code, 0);
    assert!(server.messages().len() == 1, "{}", ran.all());
}
