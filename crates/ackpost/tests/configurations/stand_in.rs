//! Other services go to a stand-in for Apprise: a Python package that passes each URL on to the test and does as it is told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Program, SEED};
use crate::{Case, Fakes, is_secret, leaks, results, wanted};

/// The stand-in: the functions of Apprise that the process of Ackpost calls.
const PACKAGE: &str = r#"
import json
import logging
import os
import socket

__version__ = "2.3.0"


class AppriseAsset:
    def __init__(self, **settings):
        self.settings = settings


class Service:
    service_name = "stand-in"

    def __init__(self, url):
        self.url = url

    def __len__(self):
        return 1


class Apprise:
    def __init__(self, asset=None):
        self.services = []

    @staticmethod
    def instantiate(url, asset=None, suppress_exceptions=True):
        if "-broken" in url:
            logging.getLogger("apprise").error("Unparseable URL %s", url)
            return None
        return Service(url)

    def add(self, service):
        self.services.append(service)

    def notify(self, body, title, notify_type, body_format, attach, interpret_escapes):
        seen = [open("/proc/self/cmdline", "rb").read(), open("/proc/self/environ", "rb").read()]
        order = {"url": self.services[0].url, "title": title, "body": body,
                 "seen": any(word in text for text in seen for word in (b"SECRET", b"5ec4e7"))}
        with socket.create_connection(("127.0.0.1", PORT)) as stream:
            stream.sendall(json.dumps(order).encode() + b"\n")
            answer = stream.makefile().readline().strip()
        if answer != "ok":
            logging.getLogger("apprise").warning("Failed to send: Denied for %s, error=%s.", self.services[0].url, answer)
        return answer == "ok"
"#;
const CONFIG: &str = "from apprise import Service\n\n\nclass ConfigBase:\n    @staticmethod\n    def \
                      config_parse_yaml(text, asset=None):\n        return [Service(text)], None\n";

/// Reads the one form of YAML that the worker writes.
const YAML: &str = r#"import json
import re

TEXT = r'"(?:[^"\\]|\\.)*"'


class YAMLError(Exception):
    pass


def safe_load(text):
    found = re.fullmatch(r"urls:\n- \? (%s)\n  : \{(.*)\}\n" % TEXT, text, re.S)
    if not found:
        raise YAMLError(text)
    keys = re.findall(r"\? (%s) :" % TEXT, found.group(2))
    return {"urls": [{json.loads(found.group(1)): {json.loads(key): None for key in keys}}]}
"#;

/// The other side of the stand-in.
struct Elsewhere {
    python: PathBuf,
    orders: Arc<Mutex<Vec<Value>>>,
}

impl Elsewhere {
    fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let orders: Arc<Mutex<Vec<Value>>> = Arc::default();
        let all = Arc::clone(&orders);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut line = String::new();
                let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
                let _ = reader.read_line(&mut line);
                let order: Value = serde_json::from_str(&line).expect("an order");
                let url = order["url"].as_str().expect("a URL").to_owned();
                all.lock().expect("no panic").push(order);
                let answer = match url.as_str() {
                    url if url.contains("-refused") => "401",
                    url if url.contains("-later") => "503",
                    _ => "ok",
                };
                let _ = writeln!(&stream, "{answer}");
            }
        });
        let made = Command::new("python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(folder)
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "python3 with venv is needed (Debian: python3-venv)"
        );
        let version = std::fs::read_dir(folder.join("lib"))
            .expect("a folder")
            .flatten()
            .next()
            .expect("the version of Python");
        let package = version.path().join("site-packages/apprise");
        std::fs::create_dir_all(package.join("config")).expect("a folder");
        let text = PACKAGE.replace("PORT", &port.to_string());
        for (name, text) in [
            ("__init__.py", text.as_str()),
            ("config/__init__.py", ""),
            ("config/base.py", CONFIG),
            ("../yaml.py", YAML),
        ] {
            std::fs::write(package.join(name), text).expect("written");
        }
        Self {
            python: folder.join("bin/python3"),
            orders,
        }
    }

    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.orders.lock().expect("no panic"))
    }
}

const CASES: [Case; 20] = [
    ("01-trading-bot.yml", &[], 0, &[("apprise", "handed-over")]),
    (
        "02-two-chats.yml",
        &[],
        0,
        &[("apprise", "handed-over"), ("apprise", "handed-over")],
    ),
    ("03-one-gotify.yml", &[], 0, &[("gotify", "delivered")]),
    ("04-one-topic.yml", &[], 0, &[("ntfy", "delivered")]),
    ("05-desktop.yml", &[], 0, &[("apprise", "handed-over")]),
    (
        "06-family.conf",
        &["family"],
        0,
        &[("apprise", "handed-over"), ("apprise", "handed-over")],
    ),
    (
        "06-family.conf",
        &["parents"],
        0,
        &[("apprise", "handed-over"), ("mail", "handed-over")],
    ),
    // A schema that nobody knows is told, and the others are sent.
    (
        "07-backups.conf",
        &[],
        4,
        &[("mail", "handed-over"), ("json", "delivered")],
    ),
    (
        "08-media.yml",
        &["admins"],
        0,
        &[("apprise", "handed-over"), ("apprise", "handed-over")],
    ),
    ("08-media.yml", &["viewers"], 0, &[("apprise", "handed-over")]),
    (
        "09-mail-keys.yml",
        &["disks"],
        0,
        &[("mail", "handed-over"), ("mail", "handed-over")],
    ),
    (
        "10-groups.yml",
        &["chat"],
        0,
        &[("apprise", "handed-over"), ("apprise", "handed-over")],
    ),
    ("10-groups.yml", &["oncall"], 0, &[("apprise", "handed-over")]),
    (
        "11-include.yml",
        &["all"],
        0,
        &[
            ("json", "delivered"),
            ("sogs", "delivered"),
            ("apprise", "handed-over"),
        ],
    ),
    ("12-parameters.conf", &[], 0, &[("apprise", "handed-over"); 5]),
    (
        "13-escalation.yml",
        &["page"],
        0,
        &[("ntfy", "deferred"), ("apprise", "handed-over")],
    ),
    (
        "14-one-fails.conf",
        &["ops"],
        4,
        &[
            ("apprise", "refused"),
            ("apprise", "deferred"),
            ("gotify", "delivered"),
        ],
    ),
    (
        "15-homelab.conf",
        &["lab"],
        4,
        &[
            ("apprise", "handed-over"),
            ("apprise", "handed-over"),
            ("apprise", "handed-over"),
            ("apprise", "handed-over"),
            ("apprise", "refused"),
            ("apprise", "handed-over"),
            ("ntfy", "delivered"),
        ],
    ),
    (
        "16-community.yml",
        &["community"],
        0,
        &[("sogs", "delivered"), ("apprise", "handed-over")],
    ),
    ("16-community.yml", &["nobody"], 3, &[]),
];

#[test]
fn sixteen_configurations_run_unchanged_and_every_entry_has_a_true_result() {
    let fakes = Fakes::start();
    let venv = tempfile::tempdir().expect("a folder");
    let elsewhere = Elsewhere::start(&venv.path().join("venv"));
    let program = Program::new()
        .env("ACKPOST_APPRISE", elsewhere.python.display().to_string())
        .env("TMPDIR", venv.path().display().to_string());
    fakes.configure(&program);
    let mut files: Vec<&str> = CASES.iter().map(|case| case.0).collect();
    files.dedup();
    assert_eq!(files.len(), 16);
    for (file, tags, code, expected) in CASES {
        let config = format!("configurations/{file}");
        let mut args = vec![
            "--json",
            "-v",
            "-t",
            "title",
            "-b",
            "text of SECRETBODY",
            "-c",
            &config,
        ];
        args.extend(tags.iter().flat_map(|tag| ["-g", *tag]));
        let ran = program.run(&args);
        assert_eq!(ran.code, code, "{file} {tags:?}: {}", ran.all());
        assert_eq!(results(&ran), wanted(expected), "{file} {tags:?}: {}", ran.all());
        // The messages that are reported as handed over were handed over, and no others.
        let orders = elsewhere.take();
        let tried = expected
            .iter()
            .filter(|(service, _)| *service == "apprise")
            .count();
        let broken = usize::from(file.starts_with("15"));
        assert_eq!(orders.len() + broken, tried, "{file} {tags:?}: {orders:?}");
        for order in &orders {
            assert_eq!(
                (&order["title"], &order["body"]),
                (&json!("title"), &json!("text of SECRETBODY"))
            );
            assert_eq!(
                order["seen"], false,
                "a secret stands in the command line or the environment: {file}"
            );
        }
        assert!(!is_secret(&ran.all()), "{file} {tags:?}: {}", ran.all());
        assert!(!ran.all().contains(SEED), "{file} {tags:?}: {}", ran.all());
        // A check and a rehearsal send nothing and show nothing.
        for args in [
            vec!["config", "check", &config],
            vec!["--dry-run", "-b", "x", "-c", &config, "-g", "all"],
        ] {
            let ran = program.run(&args);
            assert!(!is_secret(&ran.all()), "{file}: {}", ran.all());
        }
        assert!(elsewhere.take().is_empty(), "{file}");
    }
    assert_eq!(leaks(&program.home()), None);
    let left: Vec<PathBuf> = std::fs::read_dir(venv.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !path.ends_with("venv"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
