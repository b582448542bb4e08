//! A running gateway, and a small HTTP client that shares no code with it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Program;

/// A running gateway; it ends with the value.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) program: Program,
    child: Child,
    pub(crate) port: u16,
    /// Ports of SMTP: with STARTTLS, and with TLS at once; 0 if there is none.
    pub(crate) smtp: u16,
    pub(crate) smtps: u16,
}

/// The arguments of a gateway on a free port.
const RUN: [&str; 8] = [
    "--json",
    "-vv",
    "gateway",
    "run",
    "--config",
    "gateway.toml",
    "--listen",
    "127.0.0.1:0",
];

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Gateway {
    pub(crate) fn start() -> Self {
        Self::with(Program::new(), "")
    }

    /// With this text in gateway.toml, in the home of this program.
    pub(crate) fn with(program: Program, config: &str) -> Self {
        let command = program.command(&RUN);
        Self::spawn(program, config, command)
    }

    /// The same, under limits that a shell sets (`ulimit -v 400000`).
    pub(crate) fn limited(program: Program, config: &str, limits: &str) -> Self {
        let command = program.limited(limits, &RUN);
        Self::spawn(program, config, command)
    }

    fn spawn(program: Program, config: &str, mut command: std::process::Command) -> Self {
        // The targets of these tests are on loopback; the tests of the rule itself say what it is.
        let allow = if config.contains("private_addresses") {
            ""
        } else {
            "private_addresses = true\n"
        };
        std::fs::write(program.home().join("gateway.toml"), format!("{allow}{config}")).expect("written");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(program.home().join("log")).expect("a file"))
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("a first line");
        let log = || std::fs::read_to_string(program.home().join("log")).unwrap_or_default();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?} {}", log()));
        let address = said["listening"][0].as_str().expect("an address");
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let mail = |at: usize| {
            let address = said["smtp"][at].as_str().and_then(|text| text.rsplit(':').next());
            address.and_then(|port| port.parse().ok()).unwrap_or(0)
        };
        let (smtp, smtps) = (mail(0), mail(1));
        Self {
            program,
            child,
            port,
            smtp,
            smtps,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.program.home().join("log")).unwrap_or_default()
    }

    pub(crate) fn signal(&self, name: &str) {
        crate::support::process::signal(self.pid(), &format!("-{name}"));
    }

    /// Stops it in order.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let code = self.wait(Duration::from_secs(40));
        assert_eq!(code, Some(0), "{}", self.log());
    }

    /// Waits for the end; the exit code.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<i32> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(180)))
            .expect("a timeout");
        stream
    }

    /// Any request; a body adds its length.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            let _ = write!(head, "Host: 127.0.0.1:{}\r\n", self.port);
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        // A refusal may come before the body is sent.
        let _ = stream.write_all(body);
        read(&mut stream).unwrap_or_else(|| panic!("no answer to {method} {path}; {}", self.log()))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn form(&self, path: &str, body: &str) -> Answer {
        self.request(
            "POST",
            path,
            &[("Content-Type", "application/x-www-form-urlencoded")],
            body.as_bytes(),
        )
    }

    pub(crate) fn json(&self, path: &str, body: &Value) -> Answer {
        self.request(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// Makes a token with `ackpost gateway token add` and lets the gateway see it.
    pub(crate) fn token(&self, args: &[&str]) -> String {
        let mut all = vec!["--json", "gateway", "token", "--config", "gateway.toml", "add"];
        all.extend(args);
        let ran = self.program.run(&all);
        assert_eq!(ran.code, 0, "{}", ran.all());
        self.signal("HUP");
        let said: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let token = said["token"].as_str().expect("a token").to_owned();
        let until = Instant::now() + Duration::from_secs(10);
        let bearer = format!("Bearer {token}");
        let status = |headers: &[(&str, &str)]| {
            self.request("GET", "/outbox/0000000000000000", headers, b"")
                .status
        };
        // It asks for tokens once it has read them; then this one is among them.
        while status(&[]) != 401 || status(&[("Authorization", &bearer)]) == 401 {
            assert!(Instant::now() < until, "the token is not taken; {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        token
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One answer up to the end of the connection.
pub(crate) fn read(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A reset after the answer (a body that was not read) does not take the answer away.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer {
        status,
        headers,
        body: body.to_owned(),
    })
}

/// A target that nobody answers for: deliveries to it wait.
pub(crate) fn dead_url() -> String {
    let port = ackpost_testkit::reserve_port();
    format!(
        "session://{}:{}@127.0.0.1:{port}/lobby",
        crate::support::SERVER_KEY,
        crate::support::SEED
    )
}
