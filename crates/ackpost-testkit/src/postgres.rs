//! PostgreSQL, from its Debian package: one cluster for many tests, one database for each.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::guard::{Guard, parse_env, signal};

/// A running PostgreSQL cluster on 127.0.0.1.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    psql: PathBuf,
    pid: u32,
    guard: Option<Guard>,
}

impl Postgres {
    /// Starts a cluster for this test alone (about two seconds).
    pub fn start() -> Self {
        let (mut guard, answers) = Guard::start("start-postgres.sh", Vec::new(), None);
        guard.set_env("PORT_PG", answers["PG_PORT"].clone());
        Self::from_answers(&answers, Some(guard))
    }

    /// The cluster of the whole run (`ACKPOST_TEST_POSTGRES`, the folder it runs in), or of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            let Some(dir) = std::env::var_os("ACKPOST_TEST_POSTGRES") else {
                return Self::start();
            };
            let file = PathBuf::from(&dir).join("env");
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| {
                panic!(
                    "ACKPOST_TEST_POSTGRES does not name a running cluster: {}: {e}",
                    file.display()
                )
            });
            Self::from_answers(&parse_env(&text), None)
        })
    }

    fn from_answers(answers: &std::collections::HashMap<String, String>, guard: Option<Guard>) -> Self {
        Self {
            url: answers["PG_URL"].clone(),
            psql: PathBuf::from(&answers["PG_BIN"]).join("psql"),
            pid: answers["PG_PID"].parse().expect("PG_PID is a number"),
            guard,
        }
    }

    /// The URL of the maintenance database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A fresh, empty database, dropped with the value.
    pub fn database(&self) -> Database {
        self.create(None)
    }

    /// A fresh copy of another database (which nobody may be connected to).
    pub fn database_from(&self, template: &Database) -> Database {
        self.create(Some(&template.name))
    }

    fn create(&self, template: Option<&str>) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "t{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        // A run that was killed may have left a database of this name behind.
        self.sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        self.sql(&format!(
            "CREATE DATABASE {name} TEMPLATE {} STRATEGY file_copy",
            template.unwrap_or("template0")
        ));
        let base = self
            .url
            .rsplit_once('/')
            .map_or(self.url.as_str(), |(base, _)| base);
        Database {
            url: format!("{base}/{name}"),
            admin: self.url.clone(),
            psql: self.psql.clone(),
            name,
        }
    }

    /// Runs one statement in the maintenance database.
    pub fn sql(&self, statement: &str) -> String {
        psql(&self.psql, &self.url, statement)
    }

    /// Ends the cluster at once, as a power cut would.
    pub fn kill(&self) {
        assert!(
            self.guard.is_some(),
            "a shared cluster is everybody's: start one of your own to disturb it"
        );
        signal("QUIT", self.pid);
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&mut self) {
        let guard = self.guard.as_ref().expect("your own cluster");
        self.pid = guard.run()["PG_PID"].parse().expect("PG_PID is a number");
    }
}

/// One database of a cluster, dropped with this value.
#[derive(Debug)]
pub struct Database {
    url: String,
    admin: String,
    psql: PathBuf,
    name: String,
}

impl Database {
    /// Its `postgres://` URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements in it and returns what psql prints (unaligned, tuples only).
    pub fn sql(&self, statement: &str) -> String {
        psql(&self.psql, &self.url, statement)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = Command::new(&self.psql)
            .args(["-qAtX", "-d", &self.admin, "-c"])
            .arg(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn psql(psql: &PathBuf, url: &str, statement: &str) -> String {
    let out = Command::new(psql)
        .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement])
        .env("PGOPTIONS", "-c client_min_messages=warning")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{} does not run: {e}", psql.display()));
    assert!(
        out.status.success(),
        "{statement}: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
}
