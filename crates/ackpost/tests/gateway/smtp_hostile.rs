//! SMTP clients that hold places, begin TLS with a trick, or send mails that would grow.

use std::time::{Duration, Instant};

use ackpost_testkit::FakeSogs;
use base64::Engine as _;

use crate::process::{Gateway, dead_url};
use crate::smtp::{Client, SMTP, certificate, fake_gateway, wait_for};
use crate::support::{Program, SERVER_KEY};

/// Longest wait for something that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn base64(text: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The value of a metric, with its labels.
fn metric(gateway: &Gateway, name: &str) -> u64 {
    let page = gateway.get("/metrics").body;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("{name}: {page}"));
    value.parse().expect("a number")
}

fn until(what: &str, done: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn both_forms_of_a_login_work_and_a_login_that_stops_changes_nothing() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let token = gateway.token(&["nas", "--key", "ops", "--allow", "notify"]);
    let (user, password) = (base64("any"), base64(&token));
    let mut client = Client::open(&gateway);
    // Given up, damaged, wrong.
    assert!(client.say("AUTH LOGIN\r\n").starts_with("334 VXNlcm5hbWU6"));
    assert!(client.say("*\r\n").starts_with("501 "));
    assert!(
        client
            .say(&format!("AUTH LOGIN {user}\r\n"))
            .starts_with("334 UGFzc3dvcmQ6")
    );
    assert!(client.say("%%%\r\n").starts_with("501 "));
    assert!(client.say("AUTH PLAIN\r\n").starts_with("334 "));
    assert!(
        client
            .say(&format!("{}\r\n", base64("\0any\0wrong")))
            .starts_with("535 ")
    );
    assert!(client.say("MAIL FROM:<a@b>\r\n").starts_with("530 "));
    // With the user asked for, and with the user in the command.
    assert!(client.say("AUTH LOGIN\r\n").starts_with("334 VXNlcm5hbWU6"));
    assert!(client.say(&format!("{user}\r\n")).starts_with("334 UGFzc3dvcmQ6"));
    assert!(client.say(&format!("{password}\r\n")).starts_with("235 "));
    assert!(client.say("AUTH LOGIN\r\n").starts_with("503 "), "once is enough");
    let answer = client.mail("ops@x", b"Subject: s\r\n\r\nby LOGIN\r\n.\r\n");
    assert!(answer.starts_with("250 "), "{answer}");
    let mut client = Client::open(&gateway);
    assert!(client.say(&format!("AUTH LOGIN {user}\r\n")).starts_with("334 "));
    assert!(client.say(&format!("{password}\r\n")).starts_with("235 "));
    assert_eq!(wait_for(&fake, 1).len(), 1);
    assert!(!gateway.log().contains(&token));
}

#[test]
fn metrics_count_what_became_of_mails_and_logins() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let mut client = Client::open(&gateway);
    for (to, data, answer) in [
        ("ops@x", &b"Subject: s\r\n\r\none\r\n.\r\n"[..], "250 "),
        ("nokey@x", b"", "550 "),
    ] {
        assert!(client.mail(to, data).starts_with(answer));
    }
    assert!(client.say("RSET\r\n").starts_with("250 "));
    assert!(
        client
            .say("MAIL FROM:<a@b> BODY=BINARYMIME\r\n")
            .starts_with("555 5.5.4")
    );
    assert!(
        client
            .mail("ops@x", b"Subject:\r\n\r\n\r\n.\r\n")
            .starts_with("554 5.6.0"),
        "empty"
    );
    let loops = "Received: by a; Mon, 30 Nov 2026 10:00:00 +0000\r\n".repeat(101);
    let answer = client.mail(
        "ops@x",
        format!("{loops}Subject: s\r\n\r\nround\r\n.\r\n").as_bytes(),
    );
    assert!(answer.starts_with("554 5.4.6"), "{answer}");
    assert!(client.say("AUTH PLAIN AHgAeA==\r\n").starts_with("535 "));
    for (name, expected) in [
        ("ackpost_smtp_mails_total{result=\"stored\"}", 1),
        ("ackpost_smtp_mails_total{result=\"refused\"}", 2),
        ("ackpost_smtp_mails_total{result=\"deferred\"}", 0),
        ("ackpost_smtp_recipients_refused_total", 1),
        ("ackpost_smtp_logins_refused_total", 1),
        ("ackpost_smtp_connections", 1),
    ] {
        assert_eq!(metric(&gateway, name), expected, "{name}");
    }
    drop(client);
    until("the connection is counted out", || {
        metric(&gateway, "ackpost_smtp_connections") == 0
    });
}

/// Commands that come together with STARTTLS could be somebody else's: they are never answered after TLS began.
#[test]
fn commands_in_the_packet_of_starttls_end_the_connection() {
    let program = Program::new().file("ops.conf", &format!("{}\n", dead_url()));
    certificate(&program);
    let home = program.home().display().to_string();
    let config = format!(
        "[keys]\nops = \"ops.conf\"\n{SMTP}certificate = \"{home}/cert.pem\"\nprivate_key = \"{home}/key.pem\"\n"
    );
    let gateway = Gateway::with(program, &config);
    for injected in ["NOOP\r\n", "MAIL FROM:<evil@x>\r\nRCPT TO:<ops@x>\r\n", "x"] {
        let mut client = Client::open(&gateway);
        let answer = client.say(&format!("STARTTLS\r\n{injected}"));
        assert!(answer.starts_with("554 "), "{injected:?}: {answer}");
        assert_eq!(client.answer(), "", "the connection is closed");
    }
    // Bytes that come later are not TLS, and end the connection too.
    let mut client = Client::open(&gateway);
    assert!(client.say("STARTTLS\r\n").starts_with("220 "));
    client.send(b"MAIL FROM:<evil@x>\r\nRCPT TO:<ops@x>\r\nDATA\r\n");
    assert!(!client.answer().starts_with("250"), "no command is answered");
}

/// Places that are held in the middle of a login or of a mail make room for an honest client.
#[test]
fn clients_that_stop_in_the_middle_keep_nobody_out() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "connections = 20\n");
    let mut held: Vec<Client> = Vec::new();
    for number in 0..60 {
        let mut client = Client::open(&gateway);
        if number % 2 == 0 {
            assert!(client.say("AUTH LOGIN\r\n").starts_with("334 "));
        } else {
            assert!(client.say("MAIL FROM:<x@y>\r\n").starts_with("250 "));
            assert!(client.say("RCPT TO:<ops@x>\r\n").starts_with("250 "));
            assert!(client.say("DATA\r\n").starts_with("354 "));
            client.send(b"Subject: never");
        }
        held.push(client);
    }
    let began = Instant::now();
    let answer = Client::open(&gateway).mail("ops@x", b"Subject: s\r\n\r\nin spite of them\r\n.\r\n");
    assert!(answer.starts_with("250 "), "{answer}");
    // The pauses of a login and of a mail are a minute.
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    assert!(metric(&gateway, "ackpost_smtp_connections_made_room_total") >= 30);
    assert_eq!(wait_for(&fake, 1), ["s\r\nin spite of them"]);
    drop(held);
}

/// Mails that a lenient parser would take apart for ever, in time and memory of an honest one.
#[test]
fn mails_that_would_grow_cost_no_more_than_others() {
    let gateway = Gateway::limited(
        Program::new().file("ops.conf", &format!("{}\n", dead_url())),
        &format!("[keys]\nops = \"ops.conf\"\n{SMTP}"),
        "ulimit -v 400000",
    );
    let deep = "Content-Type:\r\n message/rfc822\r\n\r\n".repeat(200_000);
    let coded = base64(&deep)
        .as_bytes()
        .chunks(76)
        .fold(String::new(), |mut text, line| {
            text.push_str(std::str::from_utf8(line).expect("letters"));
            text.push_str("\r\n");
            text
        });
    let parts = "y--x\r\n\r\n".repeat(1 << 20);
    let parameters = (0..500_000)
        .map(|n| format!(" a{n}*1=x;\r\n"))
        .collect::<Vec<_>>()
        .concat();
    let words = "=?utf-8?q?=?utf-8?b?".repeat(50_000);
    for (name, mail, answer) in [
        ("mails in mails", format!("Subject: s\r\n{deep}"), "250 "),
        (
            "encoded mails",
            format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}"),
            "250 ",
        ),
        (
            "a digest",
            format!("Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\n{deep}\r\n--x--\r\n"),
            "250 ",
        ),
        (
            "boundaries inside of lines",
            format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n{parts}"),
            "5",
        ),
        (
            "parameters",
            format!("Content-Type: text/plain;\r\n{parameters}\r\n\r\nx\r\n"),
            "554 5.6.0",
        ),
        (
            "encoded words",
            format!("Subject: {words}\r\n\r\nx\r\n"),
            "554 5.6.0",
        ),
    ] {
        let mut client = Client::open(&gateway);
        let began = Instant::now();
        let got = client.mail("ops@x", format!("{mail}\r\n.\r\n").as_bytes());
        eprintln!("{name}: {} bytes, {:?}, {got:?}", mail.len(), began.elapsed());
        assert!(got.starts_with(answer), "{name}: {got}");
    }
    let answer = Client::open(&gateway).mail("ops@x", b"Subject: s\r\n\r\nstill here\r\n.\r\n");
    assert!(answer.starts_with("250 "), "{answer}");
}
