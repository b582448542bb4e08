//! Mail against a real server (aiosmtpd), and against servers that misbehave in one way each.

mod common;

use ackpost_notify::{Attachment, ConnectionPool, Format, Lack, Message, Outcome, ServiceUrl};
use ackpost_testkit::{FakeSmtp, SmtpFault, SmtpOptions, SmtpServer};
use serde_json::Value;

use common::{attempt_of, attempt_with, connections, context, guest, line, parse};

fn text() -> Message {
    Message::new("91 % full").title("disk").input_format(Format::Text)
}

/// A URL for a server on this machine.
fn url(schema: &str, port: u16, login: &str, more: &str) -> String {
    format!("{schema}://{login}localhost:{port}/ops@example.org?smtp=127.0.0.1&from=backup@example.org{more}")
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let all = mail["headers"].as_array().expect("headers").iter();
    all.filter(|pair| {
        pair[0]
            .as_str()
            .is_some_and(|known| known.eq_ignore_ascii_case(name))
    })
    .map(|pair| pair[1].as_str().expect("a text"))
    .collect()
}

/// A certificate for 127.0.0.1 with its key, in files.
struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("a file");
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
        Self { folder }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self, kind: &'static str) -> SmtpServer {
        SmtpServer::start(&SmtpOptions {
            tls: Some((kind, self.file("ca.pem"), self.file("key.pem"))),
            login: Some("bot:geheim".to_owned()),
            size: None,
        })
    }
}

#[tokio::test]
async fn the_server_that_takes_a_mail_names_its_queue_id() {
    let server = SmtpServer::start(&SmtpOptions::default());
    let attempt = attempt_of(&parse(&url("mailto", server.port, "", "")), text()).await;
    assert_eq!(line(&attempt), "delivered by handed-over, id 4F1E2D3C4B5A");
    assert_eq!(attempt.outcome.word(), "handed-over");
    assert_eq!(
        attempt.notes,
        ["127.0.0.1 answered: 250 2.0.0 Ok: queued as 4F1E2D3C4B5A"]
    );
    let mail = server.next();
    assert_eq!(
        (&mail["from"], &mail["encrypted"]),
        (&"backup@example.org".into(), &false.into())
    );
    assert_eq!(
        header(&mail, "message-id"),
        ["<00112233445566778899aabbccddeeff@example.org>"]
    );
    assert_eq!(header(&mail, "auto-submitted"), ["auto-generated"]);
    assert_eq!(header(&mail, "date").len(), 1);
}

#[tokio::test]
async fn encryption_and_login_work_in_every_mode() {
    let certificate = Certificate::new("127.0.0.1");
    let trust = format!("&ca_file={}", certificate.file("ca.pem").display());
    for (kind, schema, mode) in [
        ("starttls", "mailtos", ""),
        ("starttls", "mailto", "&mode=starttls"),
        ("ssl", "mailtos", "&mode=ssl"),
    ] {
        let server = certificate.server(kind);
        let more = format!("{mode}{trust}");
        let attempt = attempt_of(&parse(&url(schema, server.port, "bot:geheim@", &more)), text()).await;
        assert!(
            attempt.outcome.is_delivered(),
            "{kind} {schema}: {}",
            line(&attempt)
        );
        let mail = server.next();
        assert_eq!(
            (&mail["encrypted"], &mail["login"]),
            (&true.into(), &"bot".into()),
            "{kind}"
        );
        // The wrong password.
        let attempt = attempt_of(&parse(&url(schema, server.port, "bot:falsch@", &more)), text()).await;
        let shown = line(&attempt);
        assert!(
            shown.starts_with("refused: the mail server refuses the login (535 "),
            "{shown}"
        );
        assert!(!shown.contains("falsch"), "{shown}");
        // A certificate that nobody trusts, and nobody asks for.
        let service = parse(&url(schema, server.port, "bot:geheim@", mode));
        let shown = line(&attempt_of(&service, text()).await);
        assert!(
            shown.contains("signed by an authority that is not trusted here"),
            "{shown}"
        );
        let service = parse(&url(
            schema,
            server.port,
            "bot:geheim@",
            &format!("{mode}&verify=no"),
        ));
        let attempt = attempt_of(&service, text()).await;
        assert!(attempt.outcome.is_delivered(), "{}", line(&attempt));
    }
    // A certificate for another name.
    let other = Certificate::new("mail.example.org");
    let server = other.server("ssl");
    let more = format!("&mode=ssl&ca_file={}", other.file("ca.pem").display());
    let shown = line(&attempt_of(&parse(&url("mailtos", server.port, "bot:geheim@", &more)), text()).await);
    assert!(shown.contains("the certificate is for another name"), "{shown}");
}

#[tokio::test]
async fn a_server_that_wants_encryption_or_a_login_is_told_apart() {
    let certificate = Certificate::new("127.0.0.1");
    let server = certificate.server("starttls");
    let shown = line(&attempt_of(&parse(&url("mailto", server.port, "", "")), text()).await);
    assert!(
        shown.starts_with("refused: the mail server refuses the sender (530 "),
        "{shown}"
    );
    let server = SmtpServer::start(&SmtpOptions::default());
    let shown = line(&attempt_of(&parse(&url("mailtos", server.port, "", "")), text()).await);
    assert_eq!(
        shown,
        "refused: the mail server offers no STARTTLS; use mode=ssl, or mailto:// if the connection need not be encrypted"
    );
    let shown = line(&attempt_of(&parse(&url("mailtos", server.port, "", "&mode=ssl")), text()).await);
    assert!(shown.contains("does not speak TLS"), "{shown}");
}

#[tokio::test]
async fn copies_go_to_everybody_once_and_hidden_ones_stay_hidden() {
    let server = SmtpServer::start(&SmtpOptions::default());
    let more = "&cc=Anna%20%3Ca@x.org%3E,ops@example.org,b@x.org&bcc=b@x.org,c@x.org&reply=d@x.org";
    let attempt = attempt_of(&parse(&url("mailto", server.port, "", more)), text()).await;
    assert!(attempt.outcome.is_delivered(), "{}", line(&attempt));
    let mail = server.next();
    assert_eq!(
        mail["to"],
        serde_json::json!(["ops@example.org", "a@x.org", "b@x.org", "c@x.org"])
    );
    assert_eq!(header(&mail, "cc"), ["Anna <a@x.org>"]);
    assert_eq!(header(&mail, "reply-to"), ["d@x.org"]);
    assert!(header(&mail, "bcc").is_empty());
    assert!(
        !mail["headers"].to_string().contains("c@x.org"),
        "{}",
        mail["headers"]
    );
}

#[tokio::test]
async fn no_text_of_a_message_or_a_url_becomes_a_header_or_a_command() {
    let server = SmtpServer::start(&SmtpOptions::default());
    let evil = "disk\r\nBcc: victim@example.net\r\n\r\n.\r\nMAIL FROM:<x@y.org>\r\n";
    let message = Message::new(evil)
        .title(evil)
        .input_format(Format::Text)
        .attach(Attachment::bytes(
            "a\"\r\nX-Evil: 1\r\n.txt",
            "\r\n.\r\nRCPT TO:<victim@example.net>\r\n",
        ));
    let more = "&name=Bot%0D%0ABcc%3A%20victim@example.net&+X-Team=a";
    let attempt = attempt_of(&parse(&url("mailto", server.port, "", more)), message).await;
    assert!(attempt.outcome.is_delivered(), "{}", line(&attempt));
    let mail = server.next();
    assert_eq!(mail["to"], serde_json::json!(["ops@example.org"]));
    assert_eq!(mail["defects"], serde_json::json!([]));
    for name in ["bcc", "x-evil"] {
        assert!(header(&mail, name).is_empty(), "{}", mail["headers"]);
    }
    assert_eq!(
        header(&mail, "subject"),
        ["disk Bcc: victim@example.net . MAIL FROM:<x@y.org>"]
    );
    assert!(
        mail["parts"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains("\r\n.\r\nMAIL FROM")),
        "{mail}"
    );
    assert!(server.rest().is_empty(), "one mail, no second one");
    // A URL with a forbidden part does not load.
    for wrong in [
        "mailto://h.org/a@x.org%0D%0AX?from=b@x.org",
        "mailto://h.org/a@x.org?from=b@x.org&+Bcc=v@x.org",
        "mailto://h.org/a@x.org?from=b@x.org&+X-A=a%250D%250Ab",
        "mailto://h.org/a@x.org?from=b@x.org&+X%20A=a",
        "mailto://h.org/a@x.org?from=b@x.org&smtp=h.org%0D%0AX",
    ] {
        assert!(ServiceUrl::parse(wrong, &context()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn html_has_a_plain_form_and_files_are_whole() {
    let server = SmtpServer::start(&SmtpOptions::default());
    let bytes: Vec<u8> = (0..=255).collect();
    let message = Message::new("<p>a <b>b</b></p>")
        .input_format(Format::Html)
        .attach(Attachment::bytes("größe.bin", bytes.clone()))
        .attach(Attachment::bytes("lines.txt", "one\ntwo\r\nthree\n"));
    let attempt = attempt_of(&parse(&url("mailto", server.port, "", "")), message).await;
    assert!(attempt.outcome.is_delivered(), "{}", line(&attempt));
    let mail = server.next();
    assert_eq!(
        mail["structure"],
        serde_json::json!([
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "application/octet-stream",
            "text/plain"
        ])
    );
    let parts = &mail["parts"];
    assert_eq!(
        (&parts[0]["text"], &parts[1]["text"]),
        (&"a b".into(), &"<p>a <b>b</b></p>".into())
    );
    let encode = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    assert_eq!(
        (&parts[2]["file"], &parts[2]["base64"]),
        (&"größe.bin".into(), &encode(&bytes).into())
    );
    assert_eq!(parts[3]["base64"], encode(b"one\ntwo\r\nthree\n"));
}

#[tokio::test]
async fn files_that_are_too_large_do_not_take_the_text_with_them() {
    let server = SmtpServer::start(&SmtpOptions {
        size: Some(20_000),
        ..SmtpOptions::default()
    });
    let message = text().attach(Attachment::bytes("big.bin", vec![7; 60_000]));
    let attempt = attempt_of(&parse(&url("mailto", server.port, "", "")), message).await;
    let Outcome::Partial { lack, reason, .. } = &attempt.outcome else {
        panic!("{attempt:?}");
    };
    assert_eq!(*lack, Lack::Files);
    assert!(
        reason.contains("`big.bin`") && reason.contains("the server takes 20000"),
        "{reason}"
    );
    assert_eq!(server.next()["structure"], serde_json::json!(["text/plain"]));
    // A server that says so only behind the message.
    let server = FakeSmtp::start(SmtpFault::Answer(".", "552 5.3.4 too big\r\n"));
    let shown = line(&attempt_of(&parse(&url("mailto", server.port, "", "")), text()).await);
    assert!(
        shown.starts_with("refused: the mail server refuses the message (552 5.3.4 too big)"),
        "{shown}"
    );
}

/// A fault, and the outcome: from the greeting to the login.
fn faults() -> Vec<(SmtpFault, &'static str)> {
    vec![
        (SmtpFault::None, "delivered by handed-over, id FAKE123456"),
        (
            SmtpFault::Answer("", "554 5.7.1 go away\r\n"),
            "refused: the mail server does not take connections from here (554 5.7.1 go away); ask its operator",
        ),
        (
            SmtpFault::Answer("", "421 4.3.2 busy\r\n"),
            "deferred: the mail server does not take connections from here (421 4.3.2 busy); ask its operator",
        ),
        (
            SmtpFault::Answer("", "HTTP/1.1 400 Bad Request\r\n\r\n"),
            "refused: the answer is not that of a mail server; check host, port and mode in the URL",
        ),
        (
            SmtpFault::Endless,
            "refused: the answer is not that of a mail server; check host, port and mode in the URL",
        ),
        (
            SmtpFault::Answer("EHLO", "250-a\r\n250-a\r\n2x\r\n"),
            "refused: the answer is not that of a mail server; check host, port and mode in the URL",
        ),
        (
            SmtpFault::Close("EHLO"),
            "deferred: the mail server closed the connection before its answer; look at the mail server and the network",
        ),
        (
            SmtpFault::Silent("EHLO"),
            "deferred: the mail server did not answer in time; look at the mail server, or raise `rto=`",
        ),
        (
            SmtpFault::Answer("AUTH", "535 5.7.8 wrong\r\n"),
            "refused: the mail server refuses the login (535 5.7.8 wrong); check user and password in the URL; some providers need a \
             password for programs",
        ),
        (
            SmtpFault::Answer("AUTH", "454 4.7.0 later\r\n"),
            "deferred: the mail server refuses the login (454 4.7.0 later); check user and password in the URL; some providers need a \
             password for programs",
        ),
        (
            SmtpFault::Offers(&["AUTH CRAM-MD5 XOAUTH2"]),
            "refused: the mail server offers only logins that are not supported here: CRAM-MD5, XOAUTH2; allow PLAIN or LOGIN on the \
             mail server",
        ),
        (
            SmtpFault::Offers(&[]),
            "refused: the mail server offers no login on this connection; use mailtos:// or mode=ssl, or remove user and password \
             from the URL",
        ),
    ]
}

/// The same, from the sender of a mail to its end.
fn faults_of_a_mail() -> Vec<(SmtpFault, &'static str)> {
    vec![
        (
            SmtpFault::Answer("MAIL", "550 5.7.1 not yours\r\n"),
            "refused: the mail server refuses the sender (550 5.7.1 not yours); check the sender (`from=`), and that the login may \
             use it",
        ),
        (
            SmtpFault::RefusesRecipient("ops@example.org"),
            "refused: the mail server refuses the recipient (550 5.1.1 no such user); check the recipient, and that the server sends \
             mail to other hosts after a login",
        ),
        (
            SmtpFault::Answer("RCPT", "450 4.7.1 greylisted\r\n"),
            "deferred: the mail server refuses the recipient (450 4.7.1 greylisted); check the recipient, and that the server sends \
             mail to other hosts after a login",
        ),
        (
            SmtpFault::Answer("DATA", "451 4.3.0 disk full\r\n"),
            "deferred: the mail server accepts no message now (451 4.3.0 disk full); look at the mail server",
        ),
        (
            SmtpFault::Answer(".", "554 5.7.1 spam\r\n"),
            "refused: the mail server refuses the message (554 5.7.1 spam); read its words; look at text, sender and files",
        ),
        (
            SmtpFault::Answer(".", "451 4.7.1 try later\r\n"),
            "deferred: the mail server refuses the message (451 4.7.1 try later); read its words; look at text, sender and files",
        ),
        (
            SmtpFault::Close("."),
            "deferred: the mail server closed the connection before its answer; look at the mail server and the network [may have \
             arrived]",
        ),
        (
            SmtpFault::Silent("."),
            "deferred: the mail server did not answer in time; look at the mail server, or raise `rto=` [may have arrived]",
        ),
    ]
}

#[tokio::test]
async fn every_fault_has_a_cause_and_a_remedy() {
    for (fault, expected) in faults().into_iter().chain(faults_of_a_mail()) {
        let server = FakeSmtp::start(fault.clone());
        let attempt = attempt_of(
            &parse(&url("mailto", server.port, "bot:geheim@", "&rto=1")),
            text(),
        )
        .await;
        assert_eq!(line(&attempt), expected, "{fault:?}");
        assert!(!format!("{attempt:?}").contains("geheim"), "{attempt:?}");
    }
    let server = FakeSmtp::start(SmtpFault::Injects);
    let shown = line(&attempt_of(&parse(&url("mailtos", server.port, "", "")), text()).await);
    assert!(
        shown.starts_with("refused: the server wrote more before the encryption began"),
        "{shown}"
    );
    assert!(
        !server
            .commands()
            .iter()
            .any(|command| command.starts_with("MAIL"))
    );
}

#[tokio::test]
async fn a_login_by_the_older_way_works() {
    let server = FakeSmtp::start(SmtpFault::Offers(&["AUTH=LOGIN"]));
    let attempt = attempt_of(&parse(&url("mailto", server.port, "bot:geheim@", "")), text()).await;
    // The fake takes AUTH LOGIN at once; a real server asks first (aiosmtpd, above, offers PLAIN too).
    assert!(attempt.outcome.is_delivered(), "{}", line(&attempt));
    assert!(server.commands().iter().any(|command| command == "AUTH LOGIN"));
}

#[tokio::test]
async fn a_copy_that_is_refused_is_named_and_the_mail_goes_out() {
    let server = FakeSmtp::start(SmtpFault::RefusesRecipient("boss@x.org"));
    let attempt = attempt_of(&parse(&url("mailto", server.port, "", "&cc=boss@x.org")), text()).await;
    assert!(attempt.outcome.is_delivered(), "{}", line(&attempt));
    assert_eq!(
        attempt.notes[0],
        "no copy: the mail server refuses the recipient boss@x.org (550 5.1.1 no such user)"
    );
}

#[tokio::test]
async fn a_lost_answer_is_repeated_with_the_same_id_and_announced() {
    let server = FakeSmtp::start(SmtpFault::LosesFirstAnswer);
    let service = parse(&url("mailto", server.port, "", ""));
    let first = attempt_of(&service, text()).await;
    assert!(first.may_have_arrived, "{first:?}");
    let second = attempt_with(&service, text(), true).await;
    assert!(second.outcome.is_delivered() && second.repeated, "{second:?}");
    let messages = server.messages();
    // The same bytes, so that a server or a reader can recognise the repeat.
    assert_eq!((messages.len(), &messages[0]), (2, &messages[1]));
}

#[tokio::test]
async fn a_guest_reaches_no_private_address_and_reads_no_words_of_a_server() {
    let server = FakeSmtp::start(SmtpFault::Answer("MAIL", "550 inner secret\r\n"));
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let url = format!("mailto://{host}:{}/a@x.org?from=b@x.org", server.port);
        let service = ServiceUrl::parse(&url, &guest(false)).expect("loads");
        let shown = line(&attempt_of(&service, text()).await);
        assert!(
            shown.starts_with("refused: the host has no allowed address"),
            "{shown}"
        );
    }
    assert!(server.commands().is_empty());
    let url = format!("mailto://127.0.0.1:{}/a@x.org?from=b@x.org", server.port);
    let service = ServiceUrl::parse(&url, &guest(true)).expect("loads");
    let shown = line(&attempt_of(&service, text()).await);
    assert!(shown.contains("(550)") && !shown.contains("inner"), "{shown}");
}

#[test]
fn parameters_that_only_apprise_has_are_recognised() {
    for (url, key) in [
        ("mailto://u:p@h.org?pgp=sign", "pgp"),
        ("mailto://u:p@h.org?wkd=yes", "wkd"),
        ("mailto://u:p@h.org?inline=yes", "inline"),
    ] {
        let problem = ServiceUrl::parse(url, &context()).expect_err(url);
        assert!(problem.is_unsupported_parameter(), "{problem}");
        assert_eq!(problem.key.as_deref(), Some(key));
    }
    assert!(ServiceUrl::parse("mailto://u:p@h.org?pgp=no&inline=no", &context()).is_ok());
}

#[test]
fn secrets_are_masked_and_urls_stay_the_same() {
    let written = "mailtos://bot:ge%20heim@example.org:2525/a@x.org/Anna%20%3Cb@x.org%3E?from=Backup&cc=c@x.org&+X-Key=heikel";
    let service = parse(written);
    let masked = service.masked_url();
    let shown = format!("{service:?} {masked} {:?}", service.parameters());
    assert!(!shown.contains("heim") && !shown.contains("heikel"), "{shown}");
    let canonical = service.expose_url();
    assert!(
        canonical.contains("ge%20heim") && canonical.contains("heikel"),
        "{canonical}"
    );
    assert_eq!(parse(&canonical).expose_url(), canonical);
    assert_eq!(service.targets().len(), 2);
    let one = service.expose_url_of(&service.targets()[1]);
    assert!(one.contains("b%40x.org") && !one.contains("a%40x.org"), "{one}");
}

#[tokio::test]
async fn the_check_names_each_step_and_sends_nothing() {
    let certificate = Certificate::new("127.0.0.1");
    let server = certificate.server("starttls");
    let more = format!("&ca_file={}", certificate.file("ca.pem").display());
    let service = parse(&url("mailtos", server.port, "bot:geheim@", &more));
    let pool = ConnectionPool::new(connections(), ackpost_notify::Asset::default());
    let findings = service.check(&pool).await;
    let steps: Vec<_> = findings.iter().map(|finding| finding.step).collect();
    assert_eq!(steps, ["connect", "tls", "login", "recipient"], "{findings:?}");
    assert!(
        findings.iter().all(|finding| finding.result.is_ok()),
        "{findings:?}"
    );
    assert!(server.rest().is_empty());
    let server = FakeSmtp::start(SmtpFault::RefusesRecipient("ops@example.org"));
    let findings = parse(&url("mailto", server.port, "", "")).check(&pool).await;
    assert!(
        findings.last().is_some_and(|finding| finding.result.is_err()),
        "{findings:?}"
    );
    assert!(server.messages().is_empty());
}

#[tokio::test]
async fn many_recipients_share_a_few_connections() {
    let server = FakeSmtp::start(SmtpFault::None);
    let to: Vec<String> = (0..40).map(|n| format!("n{n}@example.org")).collect();
    let more = format!("&to={}", to.join(","));
    let report = common::notify(&url("mailto", server.port, "", &more), text()).await;
    assert_eq!(report.targets.len(), 41);
    assert!(
        report.targets.iter().all(|target| target.outcome.is_delivered()),
        "{report:?}"
    );
    assert_eq!(server.messages().len(), 41);
    // The server counts a connection a moment longer than the client.
    assert!(server.most_at_once() <= 8, "{}", server.most_at_once());
}
