//! Every line of `vectors/apprise/cli.jsonl` runs the real binary under the name `apprise`.
//!
//! The reference seals nothing, so its vectors name a server key whose secret nobody has. Those that post run with the key of
//! the fake server instead, which opens what is sealed to it (D33); everything else of a line stays as it is.
//!
//! A line that falls under a deviation (`docs/reference/differences-from-apprise.md`) is in
//! [`DIFFERENCES`] with the behaviour that is asserted instead. No line is skipped.

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ackpost_testkit::{FakeSogs, FakeXmpp, FakeXmppMode, SogsRequest, XmppEvent};
use serde_json::Value;
use support::{Program, Ran, SEED, SERVER_KEY, VECTOR_KEY};

/// A difference from Apprise, and its row in the list of differences.
#[derive(Clone, Copy)]
struct Difference {
    /// The vector.
    id: &'static str,
    /// The row of the list, `D3`.
    why: &'static str,
    code: Option<i32>,
    /// `METHOD path: text`, in any order.
    requests: Option<&'static [&'static str]>,
    /// Standard output without log lines.
    stdout: Option<&'static [&'static str]>,
    /// Events at the XMPP server.
    xmpp: Option<&'static [&'static str]>,
}

const fn of(id: &'static str, why: &'static str) -> Difference {
    Difference {
        id,
        why,
        code: None,
        requests: None,
        stdout: None,
        xmpp: None,
    }
}

const NOTHING_LOADED: &[&str] = &[
    "You must specify at least one service URL or populated configuration file.",
    "Try 'apprise --help' for more information.",
];

/// The known differences. D3 and D12 also mean that the order of rooms is not compared.
const DIFFERENCES: &[Difference] = &[
    Difference {
        code: Some(0),
        requests: Some(&["POST /room/ok/message: only title"]),
        ..of("cli-0020", "D22")
    },
    Difference {
        code: Some(4),
        ..of("cli-0038", "D6")
    },
    Difference {
        code: Some(2),
        ..of("cli-0040", "D8")
    },
    Difference {
        requests: Some(&["POST /room/x/message: hello"]),
        ..of("cli-0047", "D3")
    },
    Difference {
        code: Some(0),
        ..of("cli-0066", "D10")
    },
    Difference {
        requests: Some(&[
            "POST /room/landed/message: hello",
            "POST /room/redir302/message: hello",
        ]),
        ..of("cli-0069", "D9")
    },
    Difference {
        requests: Some(&[
            "POST /room/landed/message: hello",
            "POST /room/redir303/message: hello",
        ]),
        ..of("cli-0070", "D9")
    },
    Difference {
        code: Some(0),
        requests: Some(&["POST /room/ok/message: hello"]),
        stdout: Some(&[]),
        ..of("cli-0084", "D45")
    },
    Difference {
        code: Some(4),
        ..of("cli-0139", "D21")
    },
    Difference {
        code: Some(4),
        ..of("cli-0167", "D6")
    },
    Difference {
        code: Some(4),
        stdout: Some(&[
            "   1. session://a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238:0...f@127.0.0.1:{PORT}/a?overflow=upstream&format=text&retry=0&wait=0.5&optional=no",
            "       uid: {UID}",
            "   2. session://a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238:0...f@127.0.0.1:{PORT}/b?overflow=upstream&format=text&retry=0&wait=0.5&optional=no",
            "       uid: {UID}",
        ]),
        ..of("cli-0218", "D25")
    },
    Difference {
        code: Some(2),
        stdout: Some(&[
            "The storage action 'bogus' is not one of list, prune, clear, clean.",
            "Try 'apprise --help' for more information.",
        ]),
        ..of("cli-0273", "D28")
    },
    Difference {
        xmpp: Some(&["auth SCRAM-SHA-1", "ok user", "chat jane@localhost: hello"]),
        ..of("cli-0287", "D15")
    },
    Difference {
        code: Some(1),
        ..of("cli-0290", "D14")
    },
    Difference {
        code: Some(1),
        requests: Some(&[]),
        stdout: Some(NOTHING_LOADED),
        ..of("cli-0318", "D25")
    },
];

#[test]
fn every_vector_behaves_as_apprise_or_as_the_list_of_differences_says() {
    let text =
        std::fs::read_to_string(support::root().join("vectors/apprise/cli.jsonl")).expect("the vectors");
    let vectors: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert!(vectors.len() >= 176);
    for difference in DIFFERENCES {
        assert!(
            vectors.iter().any(|v| v["id"] == difference.id),
            "{} is not a vector",
            difference.id
        );
    }
    let only = std::env::var("ACKPOST_TEST_VECTOR").ok();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    // Most vectors wait for something; the machine is not busy with eight of them.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(vector) = vectors.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let id = vector["id"].as_str().expect("an id");
                    if only.as_deref().is_some_and(|only| only != id) {
                        continue;
                    }
                    let difference = DIFFERENCES
                        .iter()
                        .find(|d| d.id == id)
                        .copied()
                        .unwrap_or(of("", ""));
                    if let Err(why) = check(vector, difference) {
                        failures
                            .lock()
                            .expect("no panic inside")
                            .push(format!("{id} {}\n{why}", vector["input"]["argv"]));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no panic inside");
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {} vectors:\n\n{}",
        failures.len(),
        vectors.len(),
        failures.join("\n\n")
    );
}

fn check(vector: &Value, difference: Difference) -> Result<(), String> {
    let (input, expected) = (&vector["input"], &vector["expected"]);
    let sogs = FakeSogs::start(SERVER_KEY);
    let xmpp = match input["xmpp_server"].as_str() {
        Some("plain") => Some(FakeXmppMode::Plain),
        Some("starttls") => Some(FakeXmppMode::StartTls),
        Some("tls") => Some(FakeXmppMode::Tls),
        _ => None,
    }
    .map(FakeXmpp::start);
    let mut program = Program::called("apprise");
    let posts = match difference.requests {
        Some(requests) => !requests.is_empty(),
        None => expected["requests"].as_array().is_some_and(|all| !all.is_empty()),
    };
    let key = if posts { SERVER_KEY } else { VECTOR_KEY };
    let fill = |text: &str, dir: &str| {
        text.replace(VECTOR_KEY, key)
            .replace("{PORT}", &sogs.port().to_string())
            .replace("{XPORT}", &xmpp.as_ref().map_or(1, FakeXmpp::port).to_string())
            .replace("{DIR}", dir)
    };
    let dir = program.home().display().to_string();
    for (name, text) in input["files"].as_object().into_iter().flatten() {
        program = program.file(name, &fill(text.as_str().expect("text"), &dir));
    }
    for (name, value) in input["env"].as_object().into_iter().flatten() {
        program = program.env(name, fill(value.as_str().expect("text"), &dir));
    }
    let argv: Vec<String> = input["argv"]
        .as_array()
        .expect("words")
        .iter()
        .map(|w| fill(w.as_str().expect("a word"), &dir))
        .collect();
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let ran = program.run_with(&argv, input["stdin"].as_str().unwrap_or_default().as_bytes());

    let mut wrong = Vec::new();
    check_code(&ran, expected, difference, &mut wrong);
    check_output(
        &ran,
        expected,
        difference,
        &|text| fill(text, &dir),
        &argv,
        &mut wrong,
    );
    check_requests(&sogs.posts(), expected, difference, &mut wrong);
    check_xmpp(xmpp.as_ref(), expected, difference, &mut wrong);
    if wrong.is_empty() {
        return Ok(());
    }
    if !difference.why.is_empty() {
        wrong.push(format!("(known difference {})", difference.why));
    }
    Err(format!(
        "  {}\n  stdout: {}\n  stderr: {}",
        wrong.join("\n  "),
        ran.stdout.trim(),
        ran.stderr.trim()
    ))
}

/// `YYYY-MM-DD HH:MM:SS,mmm - LEVEL - text`
fn is_log(line: &str) -> bool {
    let mut parts = line.splitn(3, " - ");
    let time = parts.next().unwrap_or_default();
    time.len() == 23
        && time.as_bytes()[19] == b','
        && parts
            .next()
            .is_some_and(|level| level.bytes().all(|b| b.is_ascii_uppercase()))
}

fn check_code(ran: &Ran, expected: &Value, difference: Difference, wrong: &mut Vec<String>) {
    let code = difference
        .code
        .unwrap_or_else(|| i32::try_from(expected["rc"].as_i64().expect("a number")).expect("small"));
    if ran.code != code {
        wrong.push(format!("exit code {} instead of {code}", ran.code));
    }
}

/// Printed lines that are not logs are compared; log lines of deliveries too, the others are ours (D23).
fn check_output(
    ran: &Ran,
    expected: &Value,
    difference: Difference,
    fill: &dyn Fn(&str) -> String,
    argv: &[&str],
    wrong: &mut Vec<String>,
) {
    if ran.all().contains(SEED) {
        wrong.push("the seed is shown (D24)".to_owned());
    }
    if let Some(lines) = expected["stdout"].as_array() {
        let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
        let uid_varies = lines
            .iter()
            .chain(difference.stdout.into_iter().flatten())
            .any(|l| l.contains("{UID}"));
        let mut want: Vec<String> = lines
            .iter()
            .filter(|l| !l.starts_with("TS - "))
            .map(|l| fill(l))
            .collect();
        if let Some(own) = difference.stdout {
            want = own.iter().map(|l| fill(l)).collect();
        }
        let (logs, printed): (Vec<&str>, Vec<&str>) = ran.stdout.lines().partition(|l| is_log(l));
        // Apprise's log lines about deliveries appear word for word if `-v` asks for them.
        for line in lines.iter().filter_map(|l| l.strip_prefix("TS - INFO - ")) {
            if !logs.iter().any(|l| l.ends_with(&format!(" - INFO - {line}"))) {
                wrong.push(format!("no log line {line:?} on standard output"));
            }
        }
        let got: Vec<String> = printed
            .into_iter()
            .map(|l| if uid_varies { hide_uid(l) } else { l.to_owned() })
            .collect();
        if got != want && difference.code != Some(2) {
            wrong.push(format!("standard output {got:?} instead of {want:?}"));
        }
        // Without a log line of Apprise there is none of ours either, unless asked; but every failure is reported
        // (D23).
        let quiet = lines.iter().all(|l| !l.starts_with("TS - "));
        let asked = argv.iter().any(|a| a.starts_with("-v") || *a == "-D");
        let failures = logs.iter().filter(|l| l.contains(" - ERROR - ")).count();
        if quiet && ran.code == 0 && difference.why.is_empty() && !asked && logs.len() > failures {
            wrong.push("a log line that nobody asked for".to_owned());
        }
        if ran.code == 0 && !ran.stderr.is_empty() {
            wrong.push("something on standard error".to_owned());
        }
    }
    for line in expected["stderr"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !ran.stderr.lines().any(|l| l == fill(line)) {
            wrong.push(format!("no line {line:?} on standard error"));
        }
    }
    // Every failure says why at default verbosity (D23).
    if matches!(ran.code, 1 | 4 | 5)
        && ran.all().trim().is_empty()
        && !ran.stdout.contains("You must specify")
    {
        wrong.push("a failure without a word".to_owned());
    }
}

/// `uid: 12345678` → `uid: {UID}`; any number of digits.
fn hide_uid(line: &str) -> String {
    match line.split_once("uid: ") {
        Some((before, uid)) if uid.bytes().all(|b| b.is_ascii_hexdigit()) => format!("{before}uid: {{UID}}"),
        _ => line.to_owned(),
    }
}

/// Checks the requests that arrived, and that they are signed as the server and Session's apps want it (D13).
///
/// Rooms are served in parallel (D12), so the order counts only inside a room.
fn check_requests(posts: &[SogsRequest], expected: &Value, difference: Difference, wrong: &mut Vec<String>) {
    let mut got: Vec<String> = posts
        .iter()
        .map(|p| format!("{} {}: {}", p.method, p.path, p.text.as_deref().unwrap_or("-")))
        .collect();
    let mut want: Vec<String> = match difference.requests {
        Some(lines) => lines.iter().map(|&l| l.to_owned()).collect(),
        None => expected["requests"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|r| {
                let word = |key: &str| r[key].as_str().unwrap_or("-");
                format!("{} {}: {}", word("method"), word("path"), word("body"))
            })
            .collect(),
    };
    got.sort();
    want.sort();
    if got != want {
        wrong.push(format!("requests {got:?} instead of {want:?}"));
    }
    for post in posts {
        if !(post.authenticated && post.signature_valid && post.message_signature_valid) {
            wrong.push(format!(
                "{}: authenticated {}, request signature {}, message signature {}",
                post.path, post.authenticated, post.signature_valid, post.message_signature_valid
            ));
        }
    }
}

fn check_xmpp(server: Option<&FakeXmpp>, expected: &Value, difference: Difference, wrong: &mut Vec<String>) {
    let Some(server) = server else { return };
    let mut got: Vec<String> = server.events().iter().filter_map(event_text).collect();
    let mut want: Vec<String> = match difference.xmpp {
        Some(lines) => lines.iter().map(|&l| l.to_owned()).collect(),
        None => expected["xmpp"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(expected_event)
            .collect(),
    };
    got.sort();
    want.sort();
    if got != want {
        wrong.push(format!("XMPP events {got:?} instead of {want:?}"));
    }
}

fn event_text(event: &XmppEvent) -> Option<String> {
    Some(match event {
        XmppEvent::StartTls => "starttls".to_owned(),
        XmppEvent::DirectTls => "tls".to_owned(),
        XmppEvent::Auth(mechanism) => format!("auth {mechanism}"),
        XmppEvent::AuthOk(user) => format!("ok {user}"),
        XmppEvent::AuthFail(user) => format!("refused {user}"),
        XmppEvent::Message {
            to,
            kind,
            body,
            subject,
        } => {
            assert_ne!(subject.as_deref(), Some(""), "an empty subject (D19)");
            format!("{kind} {to}: {}", body.replace('\r', ""))
        }
        XmppEvent::ConnectionFailed => "connection failed".to_owned(),
        // We need none to send (Apprise sends one).
        XmppEvent::Presence(_) => return None,
    })
}

fn expected_event(event: &Value) -> Option<String> {
    let text = |key: &str| event[key].as_str();
    Some(if event["starttls"] == true {
        "starttls".to_owned()
    } else if event["tls-direct"] == true {
        "tls".to_owned()
    } else if let Some(mechanism) = text("auth") {
        format!("auth {mechanism}")
    } else if let Some(user) = text("auth-ok") {
        format!("ok {user}")
    } else if let Some(user) = text("auth-fail") {
        format!("refused {user}")
    } else if let Some(to) = text("message") {
        format!(
            "{} {to}: {}",
            text("type").unwrap_or_default(),
            text("body").unwrap_or_default()
        )
    } else if event["conn-exception"] == true {
        "connection failed".to_owned()
    } else {
        return None;
    })
}
