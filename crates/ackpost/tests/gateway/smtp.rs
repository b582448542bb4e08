//! Mail by SMTP: what is accepted is stored, and hostile clients are refused within bounds.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ackpost_testkit::FakeSogs;

use crate::process::{Gateway, dead_url};
use crate::support::{Program, SEED, SERVER_KEY};

/// A client that says exactly what it is told to.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", gateway.smtp)).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(180)))
            .expect("a timeout");
        Self(BufReader::new(stream))
    }

    /// After the greeting and EHLO.
    pub(crate) fn open(gateway: &Gateway) -> Self {
        let mut client = Self::connect(gateway);
        assert!(client.answer().starts_with("220 "));
        assert!(client.say("EHLO test\r\n").contains("PIPELINING"));
        client
    }

    pub(crate) fn send(&mut self, text: &[u8]) {
        self.0.get_mut().write_all(text).expect("sent");
    }

    /// All lines of one answer; empty at the end of the connection.
    pub(crate) fn answer(&mut self) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return all;
            }
            all.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return all;
            }
        }
    }

    pub(crate) fn say(&mut self, text: &str) -> String {
        self.send(text.as_bytes());
        self.answer()
    }

    /// A whole mail; the answer to its data.
    pub(crate) fn mail(&mut self, to: &str, data: &[u8]) -> String {
        assert!(self.say("MAIL FROM:<nas@example.org>\r\n").starts_with("250 "));
        let answer = self.say(&format!("RCPT TO:<{to}>\r\n"));
        if !answer.starts_with("250 ") {
            return answer;
        }
        assert!(self.say("DATA\r\n").starts_with("354 "));
        self.send(data);
        self.answer()
    }
}

pub(crate) const SMTP: &str = "[smtp]\nlisten = \"127.0.0.1:0\"\n";

pub(crate) fn fake_gateway(fake: &FakeSogs, config: &str) -> Gateway {
    let url = format!(
        "session://{SERVER_KEY}:{SEED}@127.0.0.1:{}/lobby?encrypt=no",
        fake.port()
    );
    let program = Program::new().file("ops.conf", &format!("alerts={url}\n"));
    Gateway::with(program, &format!("[keys]\nops = \"ops.conf\"\n{SMTP}{config}"))
}

fn texts(fake: &FakeSogs) -> Vec<String> {
    fake.posts().iter().filter_map(|post| post.text.clone()).collect()
}

/// Waits for so many posts.
pub(crate) fn wait_for(fake: &FakeSogs, count: usize) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(30);
    while texts(fake).len() < count && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    texts(fake)
}

#[test]
fn a_mail_is_accepted_once_it_is_stored() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "default_key = \"ops\"\n");
    let mut client = Client::open(&gateway);
    let answer = client.mail(
        "alerts+ops@nas.local",
        b"Subject: Disk error\r\n\r\n..dots\r\nplain\r\n.\r\n",
    );
    let id = answer.strip_prefix("250 2.0.0 stored as ").expect(&answer).trim();
    let entry = gateway.get(&format!("/outbox/{id}"));
    assert_eq!(entry.status, 200, "{entry:?}");
    // Mail of cron goes to the default key; one connection takes several mails.
    let answer = client.mail(
        "root@nas.local",
        b"Subject: Cron <root@nas> backup\r\n\r\ndone\r\n.\r\n",
    );
    assert!(answer.starts_with("250 "), "{answer}");
    assert!(
        client.mail("nobody+ops@nas.local", b"").starts_with("550 5.1."),
        "no service has this tag"
    );
    assert!(client.say("RSET\r\n").starts_with("250 "));
    let big = "MAIL FROM:<x> SIZE=99999999\r\n";
    assert!(client.say(big).starts_with("552 5.3.4"));
    assert!(client.say("QUIT\r\n").starts_with("221 "));
    let got = wait_for(&fake, 2);
    assert_eq!(
        got,
        ["🔴 Disk error\r\n.dots\nplain", "Cron <root@nas> backup\r\ndone"]
    );
}

#[test]
fn a_token_is_needed_once_there_is_one_and_is_never_logged() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let token = gateway.token(&["nas", "--key", "ops", "--allow", "notify"]);
    let other = gateway.token(&["other", "--key", "else", "--allow", "notify"]);
    let mut client = Client::open(&gateway);
    assert!(client.say("MAIL FROM:<x>\r\n").starts_with("530 5.7.0"));
    let plain = |token: &str| {
        use base64::Engine as _;
        let text = format!("\0nas\0{token}");
        format!(
            "AUTH PLAIN {}\r\n",
            base64::engine::general_purpose::STANDARD.encode(text)
        )
    };
    assert!(client.say(&plain("wrong")).starts_with("535 5.7.8"));
    assert!(client.say("AUTH CRAM-MD5\r\n").starts_with("504 "));
    assert!(client.say(&plain(&other)).starts_with("235 "));
    assert!(
        client.mail("ops@x", b"").starts_with("550 5.7.1"),
        "a token of another key"
    );
    drop(client);
    let mut client = Client::open(&gateway);
    assert!(client.say(&plain(&token)).starts_with("235 "));
    let answer = client.mail("ops@x", b"Subject: s\r\n\r\nwith a token\r\n.\r\n");
    assert!(answer.starts_with("250 "), "{answer}");
    assert!(!gateway.log().contains(&token));
    assert_eq!(wait_for(&fake, 1).len(), 1);
}

/// Line ends that end a mail on some servers only never end one here, and the connection closes.
#[test]
fn smuggled_mails_are_refused() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "");
    let second = "MAIL FROM:<evil@x>\r\nRCPT TO:<ops@x>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n";
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r\n.\r",
        "\r.\r\n",
        "\n\n.\r\n\0",
    ] {
        let mut client = Client::open(&gateway);
        let answer = client.mail(
            "ops@x",
            format!("Subject: a\r\n\r\nfirst{end}{second}").as_bytes(),
        );
        assert!(answer.starts_with("550 5.6.11"), "{end:?}: {answer}");
        assert_eq!(client.answer(), "", "{end:?}: the connection is closed");
    }
    let mut client = Client::open(&gateway);
    assert!(client.say("NOOP\n").starts_with("500 5.5.2"));
    assert_eq!(client.answer(), "");
    let mut client = Client::open(&gateway);
    client.send(b"RSET\r\nNOOP\r\nNOOP\r\n");
    for _ in 0..3 {
        assert!(client.answer().starts_with("250 "), "honest pipelining works");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(texts(&fake).is_empty(), "{:?}", texts(&fake));
}

#[test]
fn hostile_clients_and_mails_are_refused_within_bounds() {
    let gateway = Gateway::limited(
        Program::new().file("ops.conf", &format!("{}\n", dead_url())),
        &format!("[keys]\nops = \"ops.conf\"\n{SMTP}"),
        "ulimit -v 400000",
    );
    // A web browser, a long line, mistakes.
    let mut client = Client::open(&gateway);
    assert!(client.say("POST / HTTP/1.1\r\n").starts_with("421 "));
    let mut client = Client::open(&gateway);
    assert!(
        client
            .say(&format!("EHLO {}", "x".repeat(10_000)))
            .starts_with("500 ")
    );
    let mut client = Client::open(&gateway);
    let answers: Vec<String> = (0..11).map(|_| client.say("WHAT\r\n")).collect();
    assert!(answers[10].starts_with("421 4.7.0"), "{answers:?}");
    // Bombs: many parts, many headers, deep nesting, and a mail over the limit.
    let parts = format!(
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n{}",
        "--x\r\n\r\n".repeat(1 << 20)
    );
    let headers = "a: b\r\n".repeat(1 << 20);
    let mut nested = String::new();
    for level in 0..50_000 {
        let _ = write!(
            nested,
            "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"
        );
    }
    for bomb in [parts, headers, nested] {
        let mut client = Client::open(&gateway);
        let answer = client.mail("ops@x", format!("{bomb}\r\n.\r\n").as_bytes());
        assert!(answer.starts_with("554 5.6.0"), "{answer}");
    }
    let mut client = Client::open(&gateway);
    let answer = client.mail(
        "ops@x",
        format!("Subject: x\r\n\r\n{}\r\n.\r\n", "y".repeat(13 << 20)).as_bytes(),
    );
    assert!(answer.starts_with("552 5.3.4"), "{answer}");
    assert!(
        client
            .mail("ops@x", b"Subject: s\r\n\r\nstill here\r\n.\r\n")
            .starts_with("250 ")
    );
}

/// Memory of a thousand idle sessions, and an honest client beside them.
#[test]
fn a_thousand_idle_sessions_keep_nobody_out() {
    let fake = FakeSogs::start(SERVER_KEY);
    let gateway = fake_gateway(&fake, "connections = 2000\n");
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a process");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("a line");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("a number")
    };
    drop(Client::open(&gateway));
    let before = memory();
    let idle: Vec<Client> = (0..900).map(|_| Client::open(&gateway)).collect();
    let each = (memory() - before) * 1024 / idle.len() as u64;
    eprintln!(
        "{} idle sessions: {} KiB before, {} KiB now, {each} bytes each",
        idle.len(),
        before,
        memory()
    );
    assert!(each < 40_000, "{each} bytes for an idle session");
    let answer = Client::open(&gateway).mail("ops@x", b"Subject: s\r\n\r\nbeside them\r\n.\r\n");
    assert!(answer.starts_with("250 "), "{answer}");
    drop(idle);
    // With a lower limit the longest idle ones make room.
    let gateway = fake_gateway(&fake, "connections = 20\n");
    let mut idle: Vec<Client> = (0..60).map(|_| Client::open(&gateway)).collect();
    let began = Instant::now();
    let answer = Client::open(&gateway).mail("ops@x", b"Subject: s\r\n\r\nin spite of them\r\n.\r\n");
    assert!(
        answer.starts_with("250 ") && began.elapsed() < Duration::from_secs(20),
        "{answer}"
    );
    let mut rest = Vec::new();
    assert_eq!(
        idle[0].0.read_to_end(&mut rest).unwrap_or(0),
        0,
        "the first one was closed"
    );
}

/// A certificate that its own file makes valid for 127.0.0.1 and localhost.
pub(crate) fn certificate(program: &Program) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .expect("a certificate");
    std::fs::write(program.home().join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(program.home().join("key.pem"), made.signing_key.serialize_pem()).expect("written");
}
