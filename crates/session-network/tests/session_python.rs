//! A client that nobody here wrote: `session-python` of PyPI, unchanged but for the address of its seed.

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ackpost_testkit::FakeSwarm;
use serde_json::{Value, json};
use session_network::{AttachmentPointer, Disappearing, Draft, Event, FileServer, Identity, Mailbox, Mode};
use support::{account, bot, builder};

const VERSION: &str = "1.0.5";
/// Messages in each direction.
const MESSAGES: usize = 200;
/// The file that it sends.
const THEIRS: &[u8] = b"a file of session-python";

/// The Python of a virtual environment that is made once and kept beside the build (`ACKPOST_TEST_SESSION_PYTHON` names
/// a ready one).
fn python() -> PathBuf {
    if let Some(ready) = std::env::var_os("ACKPOST_TEST_SESSION_PYTHON") {
        return ready.into();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("session-python-{VERSION}"));
    let (program, ready) = (folder.join("bin/python"), folder.join("ready"));
    if !ready.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "python3 with venv is needed (Debian: python3-venv)"
        );
        let package = format!("session-python=={VERSION}");
        let installed = Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", &package])
            .status();
        assert!(
            installed.is_ok_and(|status| status.success()),
            "session-python {VERSION} could not be installed from PyPI"
        );
        std::fs::write(ready, VERSION).expect("written");
    }
    program
}

/// Reads a JSON order from its input: texts to send, and how many to expect. Prints what it received.
const PROGRAM: &str = r#"
import json, sys, time
import session_python.network as network
import session_python.polling as polling
from session_python.client import Session
from session_python.polling import Poller

# Its messages lack the sender's name and the time to disappear: both are read from what it parsed.
class Watched:
    opened = []
    parse = staticmethod(polling.Content.FromString)
    @staticmethod
    def FromString(data):
        content = Watched.parse(data)
        message = content.dataMessage if content.HasField("dataMessage") else content.messageRequestResponse
        text = message.body if content.HasField("dataMessage") else None
        # Not the copies that it leaves for its own other devices.
        if not content.dataMessage.syncTarget:
            Watched.opened.append([text, message.profile.displayName, content.expirationType, content.expirationTimer])
        return content
polling.Content = Watched

order = json.load(sys.stdin)
network.SEEDS = [{"url": order["seed"]}]
me = Session()
me.set_mnemonic(order["phrase"], "Python")
for text in order["texts"]:
    me.send_message(order["to"], text)
if order["file"]:
    data = bytes.fromhex(order["file"])
    me.send_message(order["to"], "a file", [{"data": data, "name": "theirs.bin", "content_type": "image/png"}])
if order["accept"]:
    me.accept_conversation_request(order["to"])
received, poller, end = [], Poller(me, [0]), time.time() + 60
while len(received) < order["expect"] and time.time() < end:
    received += [m for m in poller.poll() if m["from"] != me.get_session_id()]
for message in received:
    message["files"] = [[file["name"], me.get_file(file).hex()] for file in message["attachments"]]
    del message["attachments"]
print(json.dumps({"id": me.get_session_id(), "received": received, "opened": Watched.opened}))
"#;

/// Runs the program. Its file server is reached through a proxy, because its address is a constant.
fn run(order: &Value, file_server: &str) -> Value {
    let mut child = Command::new(python())
        .args(["-c", PROGRAM])
        .env("http_proxy", format!("http://{file_server}"))
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a Python");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(order.to_string().as_bytes()).expect("read");
    drop(input);
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Texts of many shapes and lengths, among them those at the edges of the padding.
fn text(n: usize) -> String {
    let shapes = [
        "plain",
        "Grüße, 你好, שלום",
        "👩🏽‍🚀 👨‍👩‍👧‍👦 🇩🇪",
        "line\nline\n",
        "\u{202e}turned",
        "{\"json\": [1, 2]}",
    ];
    format!("{n} {} {}", shapes[n % shapes.len()], "x".repeat(n * 9 % 1500))
}

#[tokio::test(flavor = "multi_thread")]
async fn session_python_opens_what_we_send_and_we_open_what_it_sends() {
    let swarm = FakeSwarm::with_swarms(&[4, 4]);
    let (host, x25519) = swarm.file_server();
    let server = FileServer {
        host: host.to_owned(),
        port: 80,
        x25519,
    };
    let network = builder(&swarm).mode(Mode::Onion).file_server(server);
    let network = network.build().expect("built");
    let theirs = Identity::from_entropy(&[0x5a; 16]);
    let phrase = theirs.to_mnemonic().expect("made of entropy").to_string();
    let mut mailbox = network.mailbox(account(1));
    // We send first, so that it finds everything at once: texts, one that disappears, and an accepted request.
    for n in 0..MESSAGES {
        let mut draft = Draft::text(text(n));
        if n % 10 == 9 {
            draft = draft.disappearing(Disappearing::AfterSent(Duration::from_hours(1)));
        }
        for mut message in network
            .prepare(&bot(), &theirs.session_id(), &draft)
            .await
            .expect("made")
        {
            let _ = network.send(&mut message).await.expect("stored");
        }
    }
    let ours: Vec<u8> = (0..=250).cycle().take(70_000).collect();
    let file = network
        .upload("ours.bin", "image/png", &ours)
        .await
        .expect("taken");
    for draft in [Draft::accept_request(), Draft::text("a file").files([file])] {
        for mut message in network
            .prepare(&bot(), &theirs.session_id(), &draft)
            .await
            .expect("made")
        {
            let _ = network.send(&mut message).await.expect("stored");
        }
    }
    let order = json!({
        "seed": swarm.plain_seed(), "phrase": phrase, "to": bot().id().to_string(), "accept": true,
        "texts": (0..MESSAGES).map(text).collect::<Vec<_>>(), "expect": MESSAGES + 2,
        "file": hex::encode(THEIRS),
    });
    let file_server = swarm.plain_file_server();
    let answer = tokio::task::spawn_blocking(move || run(&order, &file_server))
        .await
        .expect("no panic");
    assert_eq!(answer["id"], theirs.session_id().to_string());
    let received = answer["received"].as_array().expect("a list");
    let mut bodies: BTreeMap<&str, usize> = BTreeMap::new();
    for message in received {
        assert_eq!(message["from"], bot().id().to_string());
        if message["body"] == "a file" {
            assert_eq!(message["files"], json!([["ours.bin", hex::encode(&ours)]]));
        } else if message["type"] == "data" {
            *bodies
                .entry(message["body"].as_str().expect("a text"))
                .or_default() += 1;
        } else {
            assert_eq!(
                (&message["type"], &message["isApproved"]),
                (&json!("request_response"), &json!(true))
            );
        }
    }
    assert_eq!(received.len(), MESSAGES + 2);
    check_names_and_times(&answer);
    for n in 0..MESSAGES {
        assert_eq!(bodies.get(text(n).as_str()), Some(&1), "{n}");
    }
    let (mut texts, accepted, pointers) = read(&mut mailbox, &theirs).await;
    assert_eq!((texts.remove("a file"), pointers.len()), (Some(1), 1));
    assert_eq!(pointers[0].file_name.as_deref(), Some("theirs.bin"));
    assert_eq!(network.download(&pointers[0]).await.as_deref(), Ok(THEIRS));
    // It takes its times from the clock alone: two messages of one millisecond would be one to every app.
    assert_eq!((texts.len(), accepted), (MESSAGES, 1));
    for n in 0..MESSAGES {
        assert_eq!(texts.get(&text(n)), Some(&1), "{n}");
    }
}

/// Checks that it read our name in every message, and the time after which one in ten disappears.
fn check_names_and_times(answer: &Value) {
    let mut opened = answer["opened"].as_array().expect("a list").clone();
    let mut expected: Vec<_> = (0..MESSAGES)
        .map(|n| {
            let (kind, secs) = if n % 10 == 9 { (2, 3600) } else { (0, 0) };
            json!([text(n), "Backup", kind, secs])
        })
        .collect();
    expected.extend([json!([null, "Backup", 0, 0]), json!(["a file", "Backup", 0, 0])]);
    for list in [&mut opened, &mut expected] {
        list.sort_by_key(Value::to_string);
    }
    assert!(
        opened == expected,
        "{:?}",
        opened.iter().find(|entry| !expected.contains(entry))
    );
}

/// Everything in the mailbox: how often each text came, how many requests were accepted, and the files.
async fn read(
    mailbox: &mut Mailbox,
    theirs: &Identity,
) -> (BTreeMap<String, usize>, usize, Vec<AttachmentPointer>) {
    let (mut texts, mut accepted, mut files) = (BTreeMap::<String, usize>::new(), 0, Vec::new());
    loop {
        let polled = mailbox.poll().await.expect("an answer");
        assert_eq!((polled.known, polled.dropped), (0, 0));
        for event in polled.events {
            match event {
                Event::Message(message) => {
                    assert_eq!(
                        (message.from, message.name.as_deref()),
                        (theirs.session_id(), Some("Python"))
                    );
                    files.extend_from_slice(message.files());
                    *texts.entry(message.text.clone().expect("a text")).or_default() += 1;
                }
                Event::RequestAccepted { from, name, .. } => {
                    assert_eq!((from, name.as_deref()), (theirs.session_id(), Some("Python")));
                    accepted += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        if !polled.more {
            return (texts, accepted, files);
        }
    }
}
