//! Running the real binary, and hiding what changes from run to run.
#![allow(dead_code, reason = "every test file uses its own part of it")]

pub(crate) mod apprise;
pub(crate) mod community;
pub(crate) mod process;

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The key of the fake community server, which opens sealed requests.
pub(crate) const SERVER_KEY: &str = ackpost_testkit::SOGS_KEY;
/// The server key of the reference vectors. Nobody has its secret, so nobody can open what is sealed to it.
pub(crate) const VECTOR_KEY: &str = "a03c383cf63c3c4efe67acc52112a6dd734b3a946b9545f488aaa93da7991238";
/// The seed of the reference vectors: a test secret that no output may hold.
pub(crate) const SEED: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The longest a command may take in a test.
const PATIENCE: Duration = Duration::from_secs(90);

/// Output and exit code of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, with its own home.
#[derive(Debug)]
pub(crate) struct Program {
    dir: tempfile::TempDir,
    name: &'static str,
    env: Vec<(String, String)>,
}

impl Program {
    /// As itself.
    pub(crate) fn new() -> Self {
        Self::called("ackpost")
    }

    /// Under another name.
    pub(crate) fn called(name: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("home")).expect("a folder");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ackpost"), dir.path().join(name)).expect("a link");
        Self {
            dir,
            name,
            env: Vec::new(),
        }
    }

    /// Its home, which is its working directory too.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Sets a variable for every run.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Puts a file into its home.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().expect("inside home")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self
    }

    /// Puts a file into its home that only its owner may read, as a file with secrets should be.
    pub(crate) fn secret_file(self, name: &str, text: &str) -> Self {
        let program = self.file(name, text);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(program.home().join(name), mode).expect("set");
        program
    }

    /// The command, ready to run, seeing nothing of the environment of the test.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dir.path().join(self.name));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .envs(self.env.iter().cloned())
            .current_dir(self.home())
            .process_group(0);
        command
    }

    /// The command, run by a shell that sets limits first.
    pub(crate) fn limited(&self, limits: &str, args: &[&str]) -> Command {
        let plain = self.command(args);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(self.home())
            .process_group(0);
        command
    }

    /// Runs a shell script in its home, in which the program is called by its name.
    pub(crate) fn shell(&self, script: &str) -> Ran {
        let mut command = Command::new("/bin/sh");
        let path = format!("{}:/usr/bin:/bin", self.dir.path().display());
        command
            .args(["-eu", "-c", script])
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", path);
        command
            .envs(self.env.iter().cloned())
            .current_dir(self.home())
            .process_group(0);
        Self::finish(command, b"", &script)
    }

    /// Runs it with nothing on standard input.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    /// Runs it with these bytes on standard input.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &[u8]) -> Ran {
        Self::finish(self.command(args), stdin, &args)
    }

    fn finish(mut command: Command, stdin: &[u8], what: &dyn std::fmt::Debug) -> Ran {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut pipe = child.stdin.take().expect("piped");
        let stdin = stdin.to_vec();
        // A program that does not read its input must not stop us.
        std::thread::spawn(move || {
            let _ = pipe.write_all(&stdin);
        });
        let collect = |mut from: Box<dyn std::io::Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = from.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = collect(Box::new(child.stdout.take().expect("piped")));
        let stderr = collect(Box::new(child.stderr.take().expect("piped")));
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().expect("our own child") {
                break status;
            }
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "{what:?} did not end within {PATIENCE:?}; it said: {}",
                    stderr.join().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: stdout.join().expect("no panic"),
            stderr: stderr.join().expect("no panic"),
        }
    }
}

impl Ran {
    /// Both streams.
    pub(crate) fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// The JSON document, or the objects one a line, on standard output.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        serde_json::Deserializer::from_str(&self.stdout)
            .into_iter()
            .map(|value| value.unwrap_or_else(|e| panic!("no JSON: {e}: {}", self.stdout)))
            .collect()
    }
}

/// Hides times, ports and folders, so that texts can be compared.
pub(crate) fn steady(text: &str, hide: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (what, name) in hide {
        text = text.replace(what, name);
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        let number: usize = rest[at..]
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len() - at);
        let (digits, after) = rest[at..].split_at(number);
        let time = [" ms", " s,", " s)"].iter().any(|unit| after.starts_with(unit));
        // A busy machine needs more than a second for what takes milliseconds elsewhere.
        let duration = out.ends_with('(') && (after.starts_with(" ms)") || after.starts_with(" s)"));
        if duration {
            out.push_str("N ms");
            rest = after.trim_start_matches(" ms").trim_start_matches(" s");
            continue;
        }
        out.push_str(if time { "N" } else { digits });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
