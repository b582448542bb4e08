//! OMEMO clients of others.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::XmppServer;
use serde_json::{Value, json};

/// Maximum time for one report on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A real OMEMO client that nobody here wrote: slixmpp with python-omemo or omemo-dr (Gajim's library), run by
/// `tests/omemo-peer.py`.
#[derive(Debug)]
pub struct OmemoPeer {
    child: Child,
    input: ChildStdin,
    reports: Receiver<Value>,
    /// Messages that came while something else was waited for.
    early: VecDeque<Value>,
    /// Its bare address.
    pub jid: String,
    /// Its device id.
    pub device: u32,
    /// Its fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn python() -> PathBuf {
    let output = Command::new(root().join("scripts/omemo-peers"))
        .stderr(Stdio::inherit())
        .output()
        .expect("scripts/omemo-peers runs");
    assert!(output.status.success(), "the clients could not be installed");
    String::from_utf8(output.stdout)
        .expect("as written")
        .trim()
        .into()
}

impl OmemoPeer {
    /// Starts a client and waits until its keys are published. The file `state` keeps them for the next start.
    pub fn start(server: &XmppServer, library: &str, user: &str, state: &Path) -> Self {
        let jid = format!("{user}@{}", server.domain);
        let mut child = Command::new(python())
            .arg(root().join("tests/omemo-peer.py"))
            .args([library, &jid, "keyspass", &server.port.to_string()])
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, reports) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Ok(report) = serde_json::from_str(&line) {
                    let _ = sender.send(report);
                }
            }
        });
        let mut peer = Self {
            input: child.stdin.take().expect("piped"),
            child,
            reports,
            early: VecDeque::new(),
            jid,
            device: 0,
            fingerprint: String::new(),
        };
        let ready = peer.expect("ready");
        peer.device = u32::try_from(ready["device"].as_u64().expect("a number")).expect("as written");
        ready["fingerprint"]
            .as_str()
            .expect("a text")
            .clone_into(&mut peer.fingerprint);
        peer
    }

    /// Sends it a command (see the script).
    pub fn tell(&mut self, command: &Value) {
        writeln!(self.input, "{command}").expect("the client reads");
        self.input.flush().expect("the client reads");
    }

    /// Sends an encrypted text.
    pub fn send(&mut self, to: &str, text: &str, ns: &str) {
        self.tell(&json!({"do": "send", "to": to, "text": text, "ns": ns}));
        self.expect("sent");
    }

    fn next(&mut self, until: Instant) -> Option<Value> {
        let left = until.saturating_duration_since(Instant::now());
        match self.reports.recv_timeout(left) {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("{} has ended", self.jid),
        }
    }

    /// Waits for a report of this kind. Messages that come before it are kept.
    #[track_caller]
    pub fn expect(&mut self, event: &str) -> Value {
        if event == "message"
            && let Some(message) = self.early.pop_front()
        {
            return message;
        }
        let until = Instant::now() + PATIENCE;
        while let Some(report) = self.next(until) {
            if report["event"] == event {
                return report;
            }
            if report["event"] == "message" {
                self.early.push_back(report);
                continue;
            }
            assert!(
                matches!(report["event"].as_str(), Some("empty" | "plain" | "sent")),
                "{} reports {report} instead of {event}",
                self.jid
            );
        }
        panic!("{}: no {event}", self.jid);
    }

    /// Waits for the next text.
    #[track_caller]
    pub fn text(&mut self) -> (String, Value) {
        let report = self.expect("message");
        (report["text"].as_str().expect("a text").to_owned(), report)
    }

    /// Waits for a message that the client cannot read, and returns why.
    #[track_caller]
    pub fn expect_unreadable(&mut self) -> String {
        self.expect("unreadable")["why"]
            .as_str()
            .expect("a text")
            .to_owned()
    }

    /// Deletes the device lists of the account.
    pub fn unpublish(&mut self) {
        for node in [
            "eu.siacs.conversations.axolotl.devicelist",
            "urn:xmpp:omemo:2:devices",
        ] {
            let xml = format!(
                "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><delete node='{node}'/></pubsub>"
            );
            self.tell(&json!({"do": "raw", "xml": xml}));
            self.expect("answered");
        }
    }

    /// Waits for this number of texts and returns them sorted.
    #[track_caller]
    pub fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts: Vec<String> = (0..count).map(|_| self.text().0).collect();
        texts.sort();
        texts
    }

    /// Checks that nothing comes but empty messages.
    #[track_caller]
    pub fn nothing_more(&mut self) {
        assert!(self.early.is_empty(), "{} got {:?}", self.jid, self.early);
        let until = Instant::now() + Duration::from_millis(400);
        while let Some(report) = self.next(until) {
            assert!(
                matches!(report["event"].as_str(), Some("empty" | "sent")),
                "{} got {report}",
                self.jid
            );
        }
    }

    /// Waits until nothing has come for a second. Empty messages, also those of sessions that it has forgotten, are passed
    /// over; texts are not expected.
    #[track_caller]
    pub fn settle(&mut self) {
        while let Some(report) = self.next(Instant::now() + Duration::from_secs(1)) {
            assert!(
                matches!(report["event"].as_str(), Some("empty" | "unreadable")),
                "{} got {report}",
                self.jid
            );
        }
    }

    /// Ends it in order.
    pub fn quit(mut self) {
        self.tell(&json!({"do": "quit"}));
        let _ = self.child.wait();
    }
}

impl Drop for OmemoPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
