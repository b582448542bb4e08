//! Mails for several recipients, and what changes while a mail arrives.

use std::process::Command;
use std::time::{Duration, Instant};

use ackpost_testkit::FakeSogs;
use base64::Engine as _;
use serde_json::json;

use crate::process::Gateway;
use crate::smtp::{Client, SMTP, certificate, fake_gateway, wait_for};
use crate::support::{Program, SEED, SERVER_KEY};

fn room(fake: &FakeSogs, name: &str) -> String {
    format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/{name}?encrypt=no",
        fake.port()
    )
}

/// Says the commands up to the data for these recipients.
fn begin(client: &mut Client, recipients: &[&str]) {
    assert!(client.say("MAIL FROM:<nas@example.org>\r\n").starts_with("250 "));
    for recipient in recipients {
        let answer = client.say(&format!("RCPT TO:<{recipient}@x>\r\n"));
        assert!(answer.starts_with("250 "), "{recipient}: {answer}");
    }
    assert!(client.say("DATA\r\n").starts_with("354 "));
}

fn end(client: &mut Client, mail: &str) -> String {
    client.send(format!("{mail}\r\n.\r\n").as_bytes());
    client.answer()
}

fn entries(gateway: &Gateway) -> usize {
    let list = gateway.get("/outbox?state=all").json();
    list.as_array().unwrap_or_else(|| panic!("a list: {list}")).len()
}

/// The key of the second recipient is deleted after the recipient was accepted.
#[test]
fn a_mail_is_stored_for_all_of_its_recipients_or_for_none() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let save = || {
        let saved = gateway.json("/add/two", &json!({"urls": room(&fake, "lobby")}));
        assert_eq!(saved.status, 200, "{saved:?}");
    };
    save();
    let mut client = Client::open(&gateway);
    begin(&mut client, &["ops", "two", "alerts+ops"]);
    assert_eq!(gateway.form("/del/two", "").status, 200);
    let answer = end(&mut client, "Subject: s\r\n\r\nonce");
    assert!(answer.starts_with("550 5.1.1 nothing is stored"), "{answer}");
    assert!(answer.contains("two"), "{answer}");
    assert_eq!(entries(&gateway), 0, "{}", gateway.log());
    save();
    begin(&mut client, &["ops", "two"]);
    let answer = end(&mut client, "Subject: s\r\n\r\nonce");
    let ids = answer.strip_prefix("250 2.0.0 stored as ").expect(&answer);
    assert_eq!(ids.trim().split(", ").count(), 2, "{answer}");
    assert_eq!(wait_for(&fake, 2), ["s\r\nonce", "s\r\nonce"]);
    assert_eq!(entries(&gateway), 2);
    // The same mail a second time is a second mail.
    begin(&mut client, &["ops", "two"]);
    let answer = end(&mut client, "Subject: s\r\n\r\nonce");
    assert!(answer.starts_with("250 2.0.0 stored as "), "{answer}");
    assert_eq!(entries(&gateway), 4);
}

#[test]
fn a_file_reaches_every_recipient() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let saved = gateway.json("/add/two", &json!({"urls": room(&fake, "lobby")}));
    assert_eq!(saved.status, 200, "{saved:?}");
    let mut client = Client::open(&gateway);
    begin(&mut client, &["ops", "two"]);
    let file = base64::engine::general_purpose::STANDARD.encode(vec![7_u8; 200_000]);
    let mail = format!(
        "Subject: s\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nwith a file\r\n--x\r\n\
         Content-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n{file}\r\n--x--"
    );
    let answer = end(&mut client, &mail);
    assert!(answer.starts_with("250 "), "{answer}");
    wait_for(&fake, 2);
    let uploads = fake.requests();
    let uploads = uploads
        .iter()
        .filter(|one| one.path.ends_with("/file") && one.body.len() >= 200_000);
    assert_eq!(uploads.count(), 2);
}

/// The answer and the message say that a service of the key cannot be used.
#[test]
fn a_service_that_cannot_be_used_is_named() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let config = format!("{}\nsession://not-a-key@x/y\n", room(&fake, "lobby"));
    let saved = gateway.json("/add/two", &json!({"config": config, "format": "text"}));
    assert_eq!(saved.status, 200, "{saved:?}");
    let mut client = Client::open(&gateway);
    begin(&mut client, &["two"]);
    let answer = end(&mut client, "Subject: s\r\n\r\ntext");
    assert!(answer.starts_with("250 2.0.0 stored as "), "{answer}");
    assert!(
        answer.contains("some of the services could not be used"),
        "{answer}"
    );
    assert_eq!(
        wait_for(&fake, 1),
        ["s\r\ntext\n(not sent to 1 service that cannot be used; the log of the gateway names the cause)"]
    );
}

/// A token that is removed while a mail arrives delivers nothing.
#[test]
fn a_removed_token_ends_the_mail_that_arrives() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let token = gateway.token(&["nas", "--key", "ops", "--allow", "notify"]);
    let other = gateway.token(&["other", "--allow", "notify"]);
    let mut client = Client::open(&gateway);
    let login = base64::engine::general_purpose::STANDARD.encode(format!("\0nas\0{token}"));
    assert!(client.say(&format!("AUTH PLAIN {login}\r\n")).starts_with("235 "));
    begin(&mut client, &["ops"]);
    let args = ["gateway", "token", "--config", "gateway.toml", "remove", "nas"];
    let ran = gateway.program.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let answer = end(&mut client, "Subject: s\r\n\r\ntoo late");
    assert!(answer.starts_with("530 5.7.0"), "{answer}");
    let bearer = format!("Bearer {other}");
    let sent = gateway.request(
        "POST",
        "/notify/ops",
        &[("Authorization", &bearer), ("Content-Type", "application/json")],
        br#"{"body": "in time"}"#,
    );
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(wait_for(&fake, 1), ["in time"]);
}

/// A client that ends its mail with bare line ends and waits is told the reason, and the mail is counted.
#[test]
fn a_mail_that_ends_with_bare_newlines_is_answered() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    for (mail, expected) in [
        ("Subject: s\n\nbare\n.\n", "550 5.6.11"),
        ("Subject: s\r\n\r\nno end\r\n", "421 4.4.2"),
    ] {
        let mut client = Client::open(&gateway);
        begin(&mut client, &["ops"]);
        let began = Instant::now();
        client.send(mail.as_bytes());
        let answer = client.answer();
        assert!(answer.starts_with(expected), "{mail:?}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
    let page = gateway.get("/metrics").body;
    for counted in ["{result=\"refused\"} 1", "{result=\"deferred\"} 1"] {
        let line = format!("ackpost_smtp_mails_total{counted}");
        assert!(page.contains(&line), "{line}: {page}");
    }
}

/// RFC 5321 asks for 100 recipients; a further one is refused for this mail only, and is not a mistake.
#[test]
fn a_hundred_recipients_are_accepted_and_the_next_ones_wait() {
    let fake = FakeSogs::start(SERVER_KEY);
    let keys: Vec<String> = (0..120)
        .map(|number| format!("k{number} = \"ops.conf\"\n"))
        .collect();
    let keys = keys.concat();
    let program = Program::new().file("ops.conf", &format!("{}\n", room(&fake, "lobby")));
    let gateway = Gateway::with(program, &format!("[keys]\n{keys}{SMTP}"));
    let mut client = Client::open(&gateway);
    assert!(client.say("MAIL FROM:<nas@example.org>\r\n").starts_with("250 "));
    for number in 0..120 {
        let answer = client.say(&format!("RCPT TO:<k{number}@x>\r\n"));
        let expected = if number < 100 { "250 " } else { "452 4.5.3" };
        assert!(answer.starts_with(expected), "{number}: {answer}");
    }
    assert!(client.say("DATA\r\n").starts_with("354 "));
    let answer = end(&mut client, "Subject: s\r\n\r\nto many");
    assert!(answer.trim().ends_with(" and 92 more"), "{answer}");
    let list = gateway.get("/outbox?state=all&limit=200").json();
    assert_eq!(list.as_array().map(Vec::len), Some(100), "one for each recipient");
    // The texts of all recipients are in memory together.
    begin(&mut client, &["k1", "k2", "k3", "k4", "k5", "k6"]);
    let answer = end(&mut client, &format!("Subject: s\r\n\r\n{}", "x".repeat(900_000)));
    assert!(answer.starts_with("552 5.3.4"), "{answer}");
}

/// A renewed certificate is used without a restart; a damaged one is not.
#[test]
fn a_renewed_certificate_is_used() {
    let fake = FakeSogs::start(SERVER_KEY);
    let program = Program::new().file("ops.conf", &format!("{}\n", room(&fake, "lobby")));
    certificate(&program);
    let home = program.home().clone();
    let config = format!(
        "[keys]\nops = \"ops.conf\"\n{SMTP}certificate = \"{0}/cert.pem\"\nprivate_key = \"{0}/key.pem\"\n",
        home.display()
    );
    let gateway = Gateway::with(program, &config);
    let accepted = |trusted: &str| {
        let script = "import smtplib, ssl, sys\n\
            smtp = smtplib.SMTP('localhost', int(sys.argv[1]), timeout=60)\n\
            smtp.starttls(context=ssl.create_default_context(cafile=sys.argv[2]))\n";
        let port = gateway.smtp.to_string();
        let mut command = Command::new("python3");
        let ran = command
            .args(["-c", script, &port, trusted])
            .current_dir(&home)
            .output();
        ran.expect("python3 is needed (scripts/packages)")
            .status
            .success()
    };
    std::fs::copy(home.join("cert.pem"), home.join("old.pem")).expect("copied");
    assert!(accepted("old.pem"), "{}", gateway.log());
    certificate(&gateway.program);
    assert!(accepted("cert.pem"), "{}", gateway.log());
    assert!(!accepted("old.pem"));
    std::fs::copy(home.join("cert.pem"), home.join("old.pem")).expect("copied");
    std::fs::write(home.join("cert.pem"), "damaged").expect("written");
    assert!(accepted("old.pem"), "{}", gateway.log());
    assert!(
        gateway.log().contains("cannot read the new certificate"),
        "{}",
        gateway.log()
    );
}
