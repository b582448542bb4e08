//! A real S3-compatible server: s3s-fs from crates.io, which keeps objects as files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::guard::{Guard, parse_env, signal};

/// A running S3-compatible server on 127.0.0.1 with one bucket.
#[derive(Debug)]
pub struct ObjectStore {
    endpoint: String,
    bucket: String,
    keys: PathBuf,
    data: PathBuf,
    pid: u32,
    guard: Option<Guard>,
}

impl ObjectStore {
    /// Starts a server for this test alone (a few milliseconds; the first start on a machine builds it).
    pub fn start() -> Self {
        let (mut guard, answers) = Guard::start("start-s3.sh", Vec::new(), None);
        guard.set_env("PORT_S3", answers["S3_PORT"].clone());
        Self::from_answers(&answers, Some(guard))
    }

    /// The server of the whole run (`ACKPOST_TEST_S3`, the folder it runs in), or of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ObjectStore> = OnceLock::new();
        SHARED.get_or_init(|| {
            let Some(dir) = std::env::var_os("ACKPOST_TEST_S3") else {
                return Self::start();
            };
            let file = PathBuf::from(&dir).join("env");
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| {
                panic!(
                    "ACKPOST_TEST_S3 does not name a running server: {}: {e}",
                    file.display()
                )
            });
            Self::from_answers(&parse_env(&text), None)
        })
    }

    fn from_answers(answers: &HashMap<String, String>, guard: Option<Guard>) -> Self {
        Self {
            endpoint: answers["S3_ENDPOINT"].clone(),
            bucket: answers["S3_BUCKET"].clone(),
            keys: answers["S3_KEYS"].clone().into(),
            data: answers["S3_DATA"].clone().into(),
            pid: answers["S3_PID"].parse().expect("S3_PID is a number"),
            guard,
        }
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The bucket that exists.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The file with its keys, in the format of `~/.aws/credentials`.
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// A prefix that no other test uses.
    pub fn prefix(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!(
            "t{}-{}/",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// The folder with the objects below a prefix, for tests that damage or count them.
    pub fn folder(&self, prefix: &str) -> PathBuf {
        self.data.join(&self.bucket).join(prefix)
    }

    /// Ends the server with SIGKILL.
    pub fn kill(&self) {
        assert!(
            self.guard.is_some(),
            "a shared server is everybody's: start one of your own to disturb it"
        );
        signal("KILL", self.pid);
    }

    /// Starts it again on the same port with the same objects.
    pub fn restart(&mut self) {
        let guard = self.guard.as_ref().expect("your own server");
        self.pid = guard.run()["S3_PID"].parse().expect("S3_PID is a number");
    }
}
