//! The account: options, else the configuration file of the program.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};

use super::flags::{Flags, Program};
use crate::exit::Failure;

/// Largest configuration file.
const MAX_FILE: u64 = 64 << 10;
/// Time for the command of `eval_password`, which may ask a person.
const EVAL_TIME: Duration = Duration::from_secs(120);

/// An account, and the server to connect to.
#[derive(Debug, Default)]
pub(super) struct Account {
    user: String,
    domain: String,
    password: SecretString,
    /// Host to connect to, if it is not the domain.
    host: Option<String>,
    port: Option<u16>,
    alias: Option<String>,
}

/// Settings of a configuration file.
#[derive(Debug, Default)]
struct Settings {
    username: Option<String>,
    jserver: Option<String>,
    port: Option<String>,
    password: Option<SecretString>,
    eval_password: Option<String>,
    component: Option<String>,
    alias: Option<String>,
}

impl Account {
    /// The account of the options and the configuration file. The file is read only for what the options lack.
    pub(super) fn find(program: Program, flags: &Flags) -> Result<Self, Failure> {
        let complete = flags.user.is_some() && flags.password.is_some();
        let mut settings = match &flags.file {
            Some(path) => Settings::read(Path::new(path))?,
            None if complete => Settings::default(),
            None => Settings::read(&default_file(program)?)?,
        };
        if let Some(user) = &flags.user {
            settings.username = Some(user.clone());
        }
        if let Some(server) = &flags.server {
            settings.jserver = Some(server.clone());
            settings.port = None;
        }
        settings.component = flags.component.clone().or(settings.component);
        if let Some(password) = &flags.password {
            settings.password = Some(password.clone());
        } else if settings.password.is_none()
            && let Some(command) = &settings.eval_password
        {
            settings.password = Some(evaluated(command)?);
        }
        settings.account()
    }

    /// The URL of the recipients for the notifier.
    pub(super) fn url(&self, flags: &Flags) -> SecretString {
        let mut url = format!(
            "xmpps://{}:{}@{}",
            encoded(&self.user),
            encoded(self.password.expose_secret()),
            self.domain
        );
        if let Some(port) = self.port {
            url.push_str(&format!(":{port}"));
        }
        let targets: Vec<String> = flags
            .recipients
            .iter()
            .map(|one| {
                encoded(&if flags.chatroom {
                    format!("#{one}")
                } else {
                    one.clone()
                })
            })
            .collect();
        url.push_str(&format!("/?to={}&subject=yes", targets.join(",")));
        let mode = if flags.tls { "tls" } else { "starttls" };
        url.push_str(&format!("&mode={mode}"));
        if flags.interactive {
            url.push_str("&keepalive=yes");
        }
        if flags.no_verify {
            url.push_str("&verify=no");
        }
        if let Some(host) = &self.host {
            url.push_str(&format!("&xmpp={}", encoded(host)));
        }
        if let Some(file) = &flags.ca_file {
            url.push_str(&format!("&ca_file={}", encoded(file)));
        }
        if let Some(seconds) = flags.timeout {
            url.push_str(&format!("&cto={seconds}"));
        }
        if let Some(alias) = flags.alias.as_ref().or(self.alias.as_ref()) {
            url.push_str(&format!("&name={}", nick(alias)));
        }
        if let Some(password) = &flags.room_password {
            url.push_str(&format!("&room_password={}", encoded(password.expose_secret())));
        }
        url.into()
    }
}

impl Settings {
    /// Reads a file that only its owner can read, as both programs demand.
    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |cause: &dyn std::fmt::Display| {
            Failure::new(
                format!("cannot read {shown}: {cause}"),
                "name the configuration file with -f, or give -u and -p",
            )
        };
        let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
        private(&file, path)?;
        let mut text = String::new();
        file.take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .map_err(|error| failed(&error))?;
        if text.len() as u64 > MAX_FILE {
            return Err(failed(&"it is larger than 64 KiB"));
        }
        Self::parse(&text).map_err(|line| {
            Failure::new(
                format!("line {line} of {shown} is neither `key: value` nor `user@server password`"),
                "correct it",
            )
        })
    }

    /// Reads the text of a file; the error is the number of the line.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut settings = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = line.split_once(':').filter(|(key, _)| {
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            if let Some((key, value)) = pair {
                settings.set(key, value.trim());
                continue;
            }
            // The form of version 1.23: user@server[;host][:port] password [component]
            let mut words = line.split_whitespace();
            let (Some(address), Some(password)) = (words.next(), words.next()) else {
                return Err(at + 1);
            };
            let (user, server) = address.rsplit_once('@').ok_or(at + 1)?;
            settings = Self {
                username: Some(user.to_owned()),
                jserver: Some(server.to_owned()),
                password: Some(password.into()),
                component: words.next().map(ToOwned::to_owned),
                ..Self::default()
            };
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) {
        let text = Some(value.to_owned()).filter(|value| !value.is_empty());
        match key {
            "username" => self.username = text,
            "jserver" => self.jserver = text,
            "port" => self.port = text,
            "password" => self.password = text.map(Into::into),
            "eval_password" => self.eval_password = text,
            "component" => self.component = text,
            "alias" => self.alias = text,
            // Keys of other versions are ignored, as they do.
            _ => {}
        }
    }

    fn account(self) -> Result<Account, Failure> {
        let missing = |what: &str, option: &str| {
            Failure::new(
                format!("the account has no {what}"),
                format!("give it with {option} or in the configuration file"),
            )
        };
        let username = self.username.ok_or_else(|| missing("name", "-u"))?;
        let password = self.password.ok_or_else(|| missing("password", "-p"))?;
        let (server, mut port) = self.jserver.map_or((None, None), |server| {
            let (host, port) = split_port(&server);
            (Some(host.to_owned()), port)
        });
        if port.is_none() {
            port = self.port.as_deref().and_then(|port| port.parse().ok());
        }
        // `domain;host` names both; a component is the domain, and the server is the host then.
        let (mut domain, mut host) = match server.as_deref().map(|server| server.split_once(';')) {
            Some(Some((domain, host))) => (Some(domain.to_owned()), Some(host.to_owned())),
            _ => (server, None),
        };
        if let Some(component) = self.component {
            host = host.or(domain.take());
            domain = Some(component);
        }
        let (user, domain) = match username.split_once('@') {
            Some((user, own)) => {
                let own = own.split('/').next().unwrap_or(own).to_owned();
                host = host.or(domain.filter(|server| *server != own));
                (user.to_owned(), own)
            }
            None => (username, domain.ok_or_else(|| missing("server", "-j"))?),
        };
        Ok(Account {
            user,
            domain,
            password,
            host,
            port: port.filter(|port| *port != 0),
            alias: self.alias,
        })
    }
}

/// `host:port`; an address of IPv6 is in brackets.
fn split_port(server: &str) -> (&str, Option<u16>) {
    match server.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (server, None),
        },
        _ => (server, None),
    }
}

fn default_file(program: Program) -> Result<PathBuf, Failure> {
    let home = std::env::home_dir()
        .ok_or_else(|| Failure::new("HOME is not set", "name the configuration file with -f"))?;
    let old = home.join(".sendxmpprc");
    if program == Program::Perl {
        return Ok(old);
    }
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| home.join(".config"), PathBuf::from)
        .join("go-sendxmpp");
    let all = [folder.join("config"), folder.join("sendxmpprc"), old];
    let [first, ..] = &all;
    Ok(all.iter().find(|path| path.exists()).unwrap_or(first).clone())
}

#[cfg(unix)]
fn private(file: &std::fs::File, path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let open = file.metadata().is_ok_and(|data| data.mode() & 0o077 != 0);
    if open {
        return Err(Failure::new(
            format!("{} can be read by others, and holds a password", path.display()),
            format!("run `chmod 600 {}`", path.display()),
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the other platforms can fail")]
fn private(_file: &std::fs::File, _path: &Path) -> Result<(), Failure> {
    Ok(())
}

/// The first line that the command of `eval_password` prints.
fn evaluated(command: &str) -> Result<SecretString, Failure> {
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::new(
            format!("the command of eval_password failed: {cause}"),
            "run it in a shell to see why",
        )
    };
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let read = output.map(|output| output.take(MAX_FILE).read_to_string(&mut text));
        read.transpose().map(|_| text)
    });
    let until = Instant::now() + EVAL_TIME;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            break status;
        }
        if Instant::now() > until {
            // It may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(&"it does not end"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        return Err(failed(&status));
    }
    let text = reader.join().map_err(|_| failed(&"its output cannot be read"))?;
    let text = text.map_err(|error| failed(&error))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(failed(&"it prints nothing"));
    }
    Ok(line.into())
}

/// A nick as `name=` takes it.
fn nick(alias: &str) -> String {
    alias
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Account {
        Settings::parse(text)
            .expect("a file")
            .account()
            .expect("an account")
    }

    #[test]
    fn both_forms_of_the_file_are_read() {
        let keys = account(
            "# mine\nusername: bot\njserver: example.org\nport: 5233\npassword: a:b c\nalias: cook\n",
        );
        assert_eq!(
            (keys.user.as_str(), keys.domain.as_str(), keys.port),
            ("bot", "example.org", Some(5233))
        );
        assert_eq!(keys.password.expose_secret(), "a:b c");
        let jid = account("username: bot@example.org\njserver: xmpp.example.net:5222\npassword: x\n");
        assert_eq!(jid.host.as_deref(), Some("xmpp.example.net"));
        assert_eq!((jid.domain.as_str(), jid.port), ("example.org", Some(5222)));
        let line = account("alice@example.com;foo.com:1234 secret\n");
        assert_eq!(
            (line.domain.as_str(), line.host.as_deref()),
            ("example.com", Some("foo.com"))
        );
        assert_eq!(line.port, Some(1234));
        let google =
            account("username: l.h\njserver: talk.example.com\npassword: x\ncomponent: example.com\n");
        assert_eq!(
            (google.domain.as_str(), google.host.as_deref()),
            ("example.com", Some("talk.example.com"))
        );
        assert_eq!(Settings::parse("username: a\nnonsense\n").expect_err("bad"), 2);
        assert!(!format!("{line:?}").contains("secret"), "secrets do not print");
    }

    #[test]
    fn a_url_keeps_odd_characters_apart() {
        let mut odd = account("alice@example.com p@ss/w:rd?\n");
        odd.alias = Some("the cook".to_owned());
        let words: Vec<String> = ["-c", "-ncr", "a b", "r@rooms.example.com"]
            .map(ToOwned::to_owned)
            .into();
        let flags = Flags::read(Program::Perl, &words).expect("flags");
        let url = odd.url(&flags);
        assert_eq!(
            url.expose_secret(),
            "xmpps://alice:p%40ss%2Fw%3Ard%3F@example.com/?to=%23r%40rooms.example.com&subject=yes&mode=starttls&verify=no&name=a_b"
        );
    }

    #[test]
    fn a_password_may_come_from_a_command() {
        assert_eq!(
            evaluated("printf 'one\\ntwo\\n'")
                .expect("a line")
                .expose_secret(),
            "one"
        );
        assert!(evaluated("exit 3").is_err() && evaluated("true").is_err());
    }
}
