//! Starting a server script, and making sure that what it started ends with this process.

use std::collections::HashMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The folder of the server scripts.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/servers")
        .join(name)
}

/// One started server: its script, its folder, and a small process that stops it.
///
/// The stopper waits on a pipe that only this process holds, so it also runs after a panic, an
/// abort or a `kill -9`, and for servers kept in a `static`, which are never dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    script: PathBuf,
    dir: PathBuf,
    env: Vec<(String, String)>,
    stopper: Child,
}

impl Guard {
    /// Runs `script` on a fresh folder (inside `root` if that is given) and returns its answers.
    pub(crate) fn start(
        name: &str,
        env: Vec<(String, String)>,
        root: Option<&Path>,
    ) -> (Self, HashMap<String, String>) {
        let script = script(name);
        let parent = match root {
            Some(root) => root.join("tmp"),
            None => std::env::temp_dir(),
        };
        let full = tempfile::Builder::new()
            .prefix("ackpost-test-")
            .tempdir_in(&parent)
            .unwrap_or_else(|e| panic!("no temporary folder in {}: {e}", parent.display()))
            .keep();
        // The scripts take the folder as the tree they start the server in sees it.
        let dir = match root {
            Some(root) => Path::new("/").join(full.strip_prefix(root).expect("made inside the root")),
            None => full.clone(),
        };
        let stopper = Command::new("bash")
            .args(["-c", STOPPER, "stopper"])
            .arg(&script)
            .arg(&dir)
            .arg(&full)
            .envs(env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("bash runs");
        let guard = Self {
            script,
            dir,
            env,
            stopper,
        };
        let answers = guard.run();
        (guard, answers)
    }

    /// Runs the script again on the same folder (a restart keeps accounts, data and ports).
    pub(crate) fn run(&self) -> HashMap<String, String> {
        let out = Command::new(&self.script)
            .arg(&self.dir)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("{} does not run: {e}", self.script.display()));
        assert!(
            out.status.success(),
            "{} failed: {}",
            self.script.display(),
            String::from_utf8_lossy(&out.stderr).trim()
        );
        parse_env(&String::from_utf8_lossy(&out.stdout))
    }

    /// Adds to the environment of the next run.
    pub(crate) fn set_env(&mut self, key: &str, value: String) {
        self.env.retain(|(k, _)| k != key);
        self.env.push((key.to_owned(), value));
    }

    /// Ends the server as an operator would.
    pub(crate) fn stop(&self) {
        let status = Command::new(&self.script)
            .arg("--stop")
            .arg(&self.dir)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .status();
        assert!(
            status.is_ok_and(|s| s.success()),
            "{} --stop failed",
            self.script.display()
        );
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stopper.stdin.take());
        let _ = self.stopper.wait();
    }
}

/// `ACKPOST_TEST_KEEP` leaves the folder (logs, data) for a look afterwards.
const STOPPER: &str = r#"
trap "" INT HUP TERM
read -r _
"$1" --stop "$2"
[ -n "${ACKPOST_TEST_KEEP:-}" ] || rm -rf -- "$3"
"#;

/// `KEY=VALUE` lines.
pub(crate) fn parse_env(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Sends `signal` (a name such as `KILL`) to one process.
pub(crate) fn signal(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "kill -{signal} {pid} failed");
}
