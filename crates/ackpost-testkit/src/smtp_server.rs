//! A real mail server (aiosmtpd, from its Debian package), and the mails that it accepted.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Encryption and login of the server.
#[derive(Clone, Debug, Default)]
pub struct SmtpOptions {
    /// `starttls` or `ssl`, with a certificate and its key in PEM files.
    pub tls: Option<(&'static str, PathBuf, PathBuf)>,
    /// `user:password` that must log in.
    pub login: Option<String>,
    /// Largest message in bytes.
    pub size: Option<usize>,
}

/// The server, on 127.0.0.1. It ends with the value, and with this process.
#[derive(Debug)]
pub struct SmtpServer {
    /// Its port.
    pub port: u16,
    child: Child,
    mails: Receiver<Value>,
}

impl SmtpServer {
    /// Starts the server.
    ///
    /// # Panics
    /// When Debian's `python3-aiosmtpd` is missing (`scripts/packages` installs it).
    pub fn start(options: &SmtpOptions) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/smtp-server.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script);
        if let Some((kind, certificate, key)) = &options.tls {
            command.args(["--tls", kind, "--certificate"]).arg(certificate);
            command.arg("--key").arg(key);
        }
        if let Some(login) = &options.login {
            command.args(["--login", login]);
        }
        if let Some(size) = options.size {
            command.args(["--size", &size.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = lines
            .next()
            .and_then(Result::ok)
            .and_then(|line| line.parse().ok());
        let port = port.expect("a port: is python3-aiosmtpd installed? scripts/packages installs it");
        let (send, mails) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mail = serde_json::from_str(&line).expect("a line of JSON");
                if send.send(mail).is_err() {
                    break;
                }
            }
        });
        Self { port, child, mails }
    }

    /// Waits for the next mail.
    ///
    /// # Panics
    /// When none comes within 20 s.
    pub fn next(&self) -> Value {
        self.mails
            .recv_timeout(Duration::from_secs(20))
            .expect("a mail within 20 s")
    }

    /// Returns the mails that came so far, without waiting longer than for the one that is just coming.
    pub fn rest(&self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Ok(mail) = self.mails.recv_timeout(Duration::from_millis(200)) {
            all.push(mail);
        }
        all
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        // It ends when its input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
