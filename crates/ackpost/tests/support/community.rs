//! A community server, run by the program itself.

use std::process::{Child, Stdio};

use super::{Program, SEED, process};

/// A running community server with one room.
#[derive(Debug)]
pub(crate) struct Community {
    child: Child,
    /// The program that made it; its home holds the server's folder `community`.
    pub(crate) program: Program,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    /// 64 hexadecimal digits.
    pub(crate) key: String,
}

impl Community {
    /// Starts it on a free port.
    pub(crate) fn start(room: &str) -> Self {
        let program = Program::new();
        for args in [
            &["server", "init", "community"][..],
            &["server", "room", "add", "--dir", "community", room],
        ] {
            let ran = program.run(args);
            assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
        }
        let (child, said) = run(&program, "127.0.0.1:0");
        let text = |key: &str| said[key].as_str().expect("text").trim_end_matches('/').to_owned();
        Self {
            child,
            program,
            url: text("url"),
            key: text("public_key"),
        }
    }

    /// Ends it as a power cut would, and starts it again on the same port.
    #[allow(dead_code, reason = "not every test disturbs its server")]
    pub(crate) fn kill_and_start(&mut self, away: std::time::Duration) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
        std::thread::sleep(away);
        let address = self.url.trim_start_matches("http://");
        self.child = run(&self.program, address).0;
    }

    /// The URL of a notification without the rooms: `session://KEY:SEED@HOST`.
    pub(crate) fn server_url(&self) -> String {
        format!(
            "session://{}:{SEED}@{}",
            self.key,
            self.url.trim_start_matches("http://")
        )
    }

    /// Returns the texts in a room, read by somebody else.
    pub(crate) fn texts(&self, room: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let server = sogs_client::Server::builder(&self.url, self.key.parse().expect("a key"))
                .identity(sogs_client::Identity::from_seed([7; 32]))
                .build()
                .expect("a server");
            let messages = server
                .room(&room.parse().expect("a token"))
                .recent(sogs_client::ListOptions::limit(100))
                .await
                .expect("readable");
            let texts = messages.iter().filter_map(|message| message.body());
            texts.map(str::to_owned).collect()
        })
    }
}

/// Runs the server; what it says when it listens.
fn run(program: &Program, listen: &str) -> (Child, serde_json::Value) {
    let mut command = program.command(&["--json", "server", "run", "community", "--listen", listen]);
    process::start(command.stderr(Stdio::null()))
}

impl Drop for Community {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
