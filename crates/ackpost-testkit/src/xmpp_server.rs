//! Prosody and ejabberd, from their Debian packages.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::guard::{Guard, parse_env, signal};

/// The program of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// Prosody.
    Prosody,
    /// ejabberd.
    Ejabberd,
}

/// Options of a server; the default is what the Debian package would do.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Allow only this TLS version: `tlsv1_2` or `tlsv1_3`.
    pub tls_protocol: Option<String>,
    /// Form in which passwords are stored. Prosody: `SHA-1`, `SHA-256`; ejabberd: `sha`, `sha256`, `sha512`, `plain`.
    pub scram: Option<String>,
    /// Run inside this Debian tree (needs root), for other versions than the installed one.
    pub chroot: Option<PathBuf>,
    /// Talk to another server.
    pub federation: Option<Federation>,
    /// Reject or drop messages of senders who are not contacts of the recipient.
    pub strangers: Option<Strangers>,
    /// Keep no archive of messages, of accounts and of rooms.
    pub without_archive: bool,
    /// Offer no acknowledgement and no resumption of sessions (XEP-0198).
    pub without_resumption: bool,
}

/// Treatment of messages from senders who are not contacts of the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// They are sent back. ejabberd: its own `mod_block_strangers`, in the process of the recipient.
    Rejected,
    /// They vanish: `mod_block_strangers` of prosody-modules. Prosody only.
    Dropped,
}

/// Settings by which a server finds another one on this machine.
#[derive(Debug, Clone)]
pub struct Federation {
    /// A further domain it serves, with alice, bob and carol; rooms at `conference.` before it.
    pub host: String,
    /// The port other servers reach it on.
    pub port: u16,
    /// The domain of the other server.
    pub peer: String,
    /// The port the other server is reached on.
    pub peer_port: u16,
    /// The port of a name server on 127.0.0.1 that has the same in service records: ejabberd asks it.
    pub dns_port: u16,
}

/// Prosody, by its package.
#[derive(Debug)]
pub struct Prosody;

impl Prosody {
    /// Starts one for this test alone.
    pub fn start(options: ServerOptions) -> XmppServer {
        XmppServer::start(ServerKind::Prosody, options)
    }

    /// The one of the whole run (`ACKPOST_TEST_PROSODY`, the folder it runs in), or of this process.
    pub fn shared() -> &'static XmppServer {
        static SHARED: OnceLock<XmppServer> = OnceLock::new();
        SHARED.get_or_init(|| XmppServer::from_run("ACKPOST_TEST_PROSODY", ServerKind::Prosody))
    }
}

/// ejabberd, by its package.
#[derive(Debug)]
pub struct Ejabberd;

impl Ejabberd {
    /// Starts one for this test alone (about four seconds).
    pub fn start(options: ServerOptions) -> XmppServer {
        XmppServer::start(ServerKind::Ejabberd, options)
    }

    /// The one of the whole run (`ACKPOST_TEST_EJABBERD`, the folder it runs in), or of this process.
    pub fn shared() -> &'static XmppServer {
        static SHARED: OnceLock<XmppServer> = OnceLock::new();
        SHARED.get_or_init(|| XmppServer::from_run("ACKPOST_TEST_EJABBERD", ServerKind::Ejabberd))
    }
}

/// A running XMPP server on 127.0.0.1.
///
/// Hosts `localhost`, `xmpp.test` and `im.plä.net`; accounts alice, bob and carol with the password
/// `<name>pass` on all, `dave@localhost` with `pä ss,=1`; rooms `open`, `members` (bob only),
/// `secret` (password `roompass`), `moderated` and `private` at `conference.localhost`.
#[derive(Debug)]
pub struct XmppServer {
    /// The program of the server.
    pub kind: ServerKind,
    /// Name and version of the package, for example `prosody-0.12.3-1+deb12u1`.
    pub version: String,
    /// The address it listens on: `127.0.0.1`.
    pub host: String,
    /// The domain of the accounts: `localhost`.
    pub domain: String,
    /// A second domain, where encryption is required (Prosody: on the same ports).
    pub strict_domain: String,
    /// The room service: `conference.localhost`.
    pub muc: String,
    /// Clear text and STARTTLS.
    pub port: u16,
    /// STARTTLS required (with Prosody the same as `port`; there `strict_domain` requires it).
    pub strict_port: u16,
    /// Direct TLS.
    pub tls_port: u16,
    /// Plain HTTP (uploads).
    pub http_port: u16,
    /// HTTPS (uploads).
    pub https_port: u16,
    /// The CA of its certificate, PEM. The certificate names localhost, xmpp.test and 127.0.0.1.
    pub ca: PathBuf,
    /// Its debug log, with everything that went over the streams.
    pub log: PathBuf,
    pid: AtomicU32,
    guard: Option<Guard>,
}

impl XmppServer {
    fn start(kind: ServerKind, options: ServerOptions) -> Self {
        let mut env = Vec::new();
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                env.push((key.to_owned(), value));
            }
        };
        set("TLS_PROTOCOL", options.tls_protocol);
        set("SCRAM", options.scram);
        if let Some(federation) = options.federation {
            set("S2S_HOST", Some(federation.host));
            set("S2S_PORT", Some(federation.port.to_string()));
            set("S2S_PEER", Some(federation.peer));
            set("S2S_DNS", Some(federation.dns_port.to_string()));
            set("S2S_PEER_PORT", Some(federation.peer_port.to_string()));
        }
        set(
            "STRANGERS",
            options.strangers.map(|treatment| match treatment {
                Strangers::Rejected => "reject".to_owned(),
                Strangers::Dropped => "drop".to_owned(),
            }),
        );
        set("ARCHIVE", options.without_archive.then(|| "no".to_owned()));
        set("RESUMPTION", options.without_resumption.then(|| "no".to_owned()));
        set("CHROOT", options.chroot.as_ref().map(|c| c.display().to_string()));
        let script = match kind {
            ServerKind::Prosody => "start-prosody.sh",
            ServerKind::Ejabberd => "start-ejabberd.sh",
        };
        let (mut guard, answers) = Guard::start(script, env, options.chroot.as_deref());
        for (key, answer) in [
            ("PORT_C2S", "XMPP_PORT"),
            ("PORT_TLS", "XMPP_TLS_PORT"),
            ("PORT_STRICT", "XMPP_STRICT_PORT"),
            ("PORT_HTTP", "XMPP_HTTP_PORT"),
            ("PORT_HTTPS", "XMPP_HTTPS_PORT"),
        ] {
            if let Some(port) = answers.get(answer) {
                guard.set_env(key, port.clone());
            }
        }
        Self::from_answers(kind, &answers, Some(guard))
    }

    fn from_run(variable: &str, kind: ServerKind) -> Self {
        let Some(dir) = std::env::var_os(variable) else {
            return Self::start(kind, ServerOptions::default());
        };
        let file = PathBuf::from(&dir).join("env");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| {
            panic!(
                "{variable} does not name a running server: {}: {e}",
                file.display()
            )
        });
        Self::from_answers(kind, &parse_env(&text), None)
    }

    fn from_answers(kind: ServerKind, answers: &HashMap<String, String>, guard: Option<Guard>) -> Self {
        let text = |key: &str| {
            answers
                .get(key)
                .unwrap_or_else(|| panic!("the start script did not print {key}"))
                .clone()
        };
        let port = |key: &str| {
            text(key)
                .parse()
                .unwrap_or_else(|_| panic!("{key} is not a port"))
        };
        Self {
            kind,
            version: text("XMPP_SERVER"),
            host: text("XMPP_HOST"),
            domain: text("XMPP_DOMAIN"),
            strict_domain: text("XMPP_STRICT_DOMAIN"),
            muc: text("XMPP_MUC"),
            port: port("XMPP_PORT"),
            strict_port: port(if answers.contains_key("XMPP_STRICT_PORT") {
                "XMPP_STRICT_PORT"
            } else {
                "XMPP_PORT"
            }),
            tls_port: port("XMPP_TLS_PORT"),
            http_port: port("XMPP_HTTP_PORT"),
            https_port: port("XMPP_HTTPS_PORT"),
            ca: text("XMPP_CA").into(),
            log: text("XMPP_LOG").into(),
            pid: AtomicU32::new(text("XMPP_PID").parse().expect("XMPP_PID is a number")),
            guard,
        }
    }

    /// The name of one of the ready-made rooms: `room("open")` is `open@conference.localhost`.
    pub fn room(&self, name: &str) -> String {
        format!("{name}@{}", self.muc)
    }

    /// Returns its log so far.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned())
    }

    fn own(&self) -> &Guard {
        self.guard
            .as_ref()
            .expect("a shared server is everybody's: start one of your own to disturb it")
    }

    /// Ends it at once, as a power cut would. [`restart`](Self::restart) brings it back.
    pub fn kill(&self) {
        self.own();
        signal("KILL", self.pid());
    }

    /// Ends it as an operator would.
    pub fn stop(&self) {
        self.own().stop();
    }

    /// Stops it if it runs, and starts it again with the same ports, accounts and data.
    pub fn restart(&mut self) {
        self.bring_back();
    }

    /// The same as [`restart`](Self::restart), for a server that others hold too.
    pub fn bring_back(&self) {
        let answers = self.own().run();
        let pid = answers
            .get("XMPP_PID")
            .and_then(|p| p.parse().ok())
            .expect("the start script prints the process id");
        self.pid.store(pid, Ordering::Relaxed);
    }

    fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Stops it from doing anything while its connections stay open (a silent server).
    pub fn freeze(&self) {
        self.own();
        signal("STOP", self.pid());
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.own();
        signal("CONT", self.pid());
    }
}

impl Drop for XmppServer {
    fn drop(&mut self) {
        if self.guard.is_some() {
            // A frozen process would not see the stop.
            let _ = std::process::Command::new("kill")
                .args(["-CONT", &self.pid().to_string()])
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}
