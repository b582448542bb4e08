//! `gateway.toml`: every option, its default and its meaning.
//!
//! The documented default file (`ackpost gateway config`) is this page of documentation; a test reads it back and
//! compares it with `Config::default()`, so that neither can drift.

mod smtp;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ackpost_notify::Signs;
use serde::Deserialize;

use self::smtp::RawSmtp;
pub use self::value::ConfigError;
use self::value::{OneOrMore, bytes, rate, time};
use super::compat::CompatService;
use super::hook::Template;
use super::operate::{Operate, RawOperate};
use super::rate::Rate;
use super::smtp::Smtp;

/// The commented default configuration.
pub const DEFAULT_TEXT: &str = include_str!("gateway.toml");

/// Everything that can be configured.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "each is an option, under its name"
)]
pub struct Config {
    /// Addresses that it listens on.
    pub listen: Vec<SocketAddr>,
    /// Folder of the keys, the tokens and, without `outbox`, the stored messages.
    pub folder: PathBuf,
    /// Place of the outbox: a file or a URL of PostgreSQL.
    pub outbox: Option<String>,
    /// Access to the gateway.
    pub access: Access,
    pub(crate) hosts: Vec<String>,
    pub(crate) trusted_proxies: Vec<bounded_http::Network>,
    pub(crate) config_lock: bool,
    pub(crate) stateless: bool,
    pub(crate) stateless_urls: Option<PathBuf>,
    /// URLs and attachments that come over HTTP may name addresses that are not on the public internet.
    pub(crate) private_addresses: bool,
    /// URLs that come over HTTP may name services that Apprise delivers, if the token has the right `foreign`.
    pub(crate) foreign: bool,
    pub(crate) wait: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) max_recursion: u32,
    pub(crate) drain: Duration,
    pub(crate) alarm_after: Option<Duration>,
    pub(crate) alarm_tag: String,
    pub(crate) limits: Limits,
    pub(crate) attach: Attach,
    /// Configuration files of the operator by key.
    pub keys: BTreeMap<String, PathBuf>,
    pub(crate) hooks: BTreeMap<String, Hook>,
    /// Files with the secret of a key that takes signed webhooks only.
    pub(crate) signatures: BTreeMap<String, PathBuf>,
    /// Services whose own paths are at the root, too.
    pub(crate) compat_root: Vec<CompatService>,
    pub(crate) signs: Signs,
    pub(crate) smtp: Smtp,
    pub(crate) operate: Operate,
}

/// Access to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Tokens, except that a gateway which listens on loopback only and never had a token is open.
    Auto,
    /// Anybody who can connect.
    Open,
    /// Only with a token.
    Tokens,
}

/// Limits.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    pub(crate) header_bytes: usize,
    pub(crate) header_time: Duration,
    pub(crate) body_bytes: usize,
    pub(crate) body_time: Duration,
    pub(crate) memory: usize,
    pub(crate) request_time: Duration,
    pub(crate) token_rate: Rate,
    pub(crate) guess_rate: Rate,
}

/// Files that may be attached by address.
#[derive(Clone, Debug)]
pub(crate) struct Attach {
    pub(crate) urls: bool,
    pub(crate) private_addresses: bool,
    pub(crate) redirects: bool,
    pub(crate) bytes: usize,
    pub(crate) count: usize,
    pub(crate) time: Duration,
}

/// A named webhook for any JSON.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) key: String,
    pub(crate) tag: Option<String>,
    pub(crate) title: Option<Template>,
    pub(crate) body: Option<Template>,
    pub(crate) kind: Option<Template>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    listen: Option<OneOrMore>,
    folder: Option<PathBuf>,
    outbox: Option<String>,
    access: Option<Access>,
    hosts: Option<Vec<String>>,
    trusted_proxies: Option<Vec<bounded_http::Network>>,
    config_lock: Option<bool>,
    stateless: Option<bool>,
    stateless_urls: Option<PathBuf>,
    private_addresses: Option<bool>,
    wait: Option<String>,
    max_wait: Option<String>,
    max_recursion: Option<u32>,
    drain: Option<String>,
    alarm_after: Option<String>,
    alarm_tag: Option<String>,
    limits: RawLimits,
    attach: RawAttach,
    foreign: RawForeign,
    keys: BTreeMap<String, PathBuf>,
    hooks: BTreeMap<String, RawHook>,
    signatures: BTreeMap<String, PathBuf>,
    compat: RawCompat,
    signs: Signs,
    smtp: RawSmtp,
    operate: RawOperate,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawCompat {
    root: Vec<CompatService>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawForeign {
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLimits {
    connections: Option<usize>,
    requests: Option<usize>,
    max_header: Option<String>,
    header_time: Option<String>,
    max_body: Option<String>,
    body_time: Option<String>,
    memory: Option<String>,
    request_time: Option<String>,
    token_rate: Option<String>,
    guess_rate: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAttach {
    urls: Option<bool>,
    private_addresses: Option<bool>,
    redirects: Option<bool>,
    max_size: Option<String>,
    max_count: Option<usize>,
    time: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHook {
    key: String,
    tag: Option<String>,
    title: Option<String>,
    body: Option<String>,
    kind: Option<String>,
}

impl Config {
    /// Default folder: `$STATE_DIRECTORY` (systemd), else the state folder of the user.
    pub fn default_folder(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
        if let Some(folder) = env("STATE_DIRECTORY").filter(|folder| !folder.is_empty()) {
            // systemd separates several by colons; ours is the first.
            return PathBuf::from(folder.split(':').next().unwrap_or(&folder));
        }
        let base = env("XDG_STATE_HOME")
            .filter(|folder| folder.starts_with('/'))
            .map_or_else(
                || PathBuf::from(env("HOME").unwrap_or_else(|| "/var/lib".into())).join(".local/state"),
                PathBuf::from,
            );
        base.join("ackpost").join("gateway")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the option, or the file if it cannot be read.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new(path.display().to_string(), error))?;
        let mut config = Self::parse(&text, env).map_err(|error| error.in_file(path))?;
        // Paths are relative to the file they are in.
        let base = path.parent().unwrap_or(Path::new("."));
        let files = config.keys.values_mut().chain(config.signatures.values_mut());
        for file in files.chain(config.stateless_urls.as_mut()) {
            *file = base.join(&*file);
        }
        config.operate.in_folder(base);
        config.folder = base.join(&config.folder);
        Ok(config)
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            ConfigError::new(format!("line {line}"), error.message().replace('\n', "; "))
        })?;
        let defaults = Self::with_folder(Self::default_folder(env));
        let listen = match raw.listen {
            None => defaults.listen,
            Some(listen) => listen.addresses("listen")?,
        };
        if listen.is_empty() {
            return Err(ConfigError::new("listen", "has no address"));
        }
        for (table, names) in [("keys", &raw.keys), ("signatures", &raw.signatures)] {
            for name in names.keys() {
                super::key::Key::parse(name).map_err(|_| {
                    ConfigError::new(
                        format!("{table}.{name}"),
                        "a key has letters, digits, - and _ only",
                    )
                })?;
            }
        }
        let hooks = raw
            .hooks
            .into_iter()
            .map(|(name, hook)| hook.check(&name).map(|hook| (name, hook)))
            .collect::<Result<_, _>>()?;
        let private_addresses = raw.private_addresses.unwrap_or(defaults.private_addresses);
        Ok(Self {
            listen,
            folder: raw.folder.unwrap_or(defaults.folder),
            outbox: raw.outbox,
            access: raw.access.unwrap_or(defaults.access),
            hosts: raw.hosts.unwrap_or(defaults.hosts),
            trusted_proxies: raw.trusted_proxies.unwrap_or(defaults.trusted_proxies),
            config_lock: raw.config_lock.unwrap_or(defaults.config_lock),
            stateless: raw.stateless.unwrap_or(defaults.stateless),
            stateless_urls: raw.stateless_urls,
            private_addresses,
            foreign: raw.foreign.enabled.unwrap_or(defaults.foreign),
            wait: time("wait", raw.wait, defaults.wait)?,
            max_wait: time("max_wait", raw.max_wait, defaults.max_wait)?,
            max_recursion: raw.max_recursion.unwrap_or(defaults.max_recursion),
            drain: time("drain", raw.drain, defaults.drain)?,
            alarm_after: match raw.alarm_after.as_deref() {
                None | Some("off") => None,
                Some(text) => {
                    Some(crate::units::duration(text).map_err(|e| ConfigError::new("alarm_after", e))?)
                }
            },
            alarm_tag: raw.alarm_tag.unwrap_or(defaults.alarm_tag),
            limits: raw.limits.check(&defaults.limits)?,
            attach: raw.attach.check(&Attach {
                private_addresses,
                ..defaults.attach
            })?,
            keys: raw.keys,
            hooks,
            signatures: raw.signatures,
            compat_root: raw.compat.root,
            signs: match raw.signs.problem() {
                Some(problem) => return Err(ConfigError::new("signs", problem)),
                None => raw.signs,
            },
            smtp: raw.smtp.check()?,
            operate: (raw.operate.check()).map_err(|(place, reason)| ConfigError::new(place, reason))?,
        })
    }

    /// The defaults, with everything in this folder.
    pub fn with_folder(folder: PathBuf) -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8000))],
            folder,
            outbox: None,
            access: Access::Auto,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            config_lock: false,
            stateless: true,
            stateless_urls: None,
            private_addresses: false,
            foreign: false,
            wait: Duration::ZERO,
            max_wait: Duration::from_secs(60),
            max_recursion: 1,
            drain: Duration::from_secs(20),
            alarm_after: None,
            alarm_tag: "alarm".to_owned(),
            limits: Limits {
                connections: 512,
                requests: 256,
                header_bytes: 32 << 10,
                header_time: Duration::from_secs(10),
                body_bytes: 16 << 20,
                body_time: Duration::from_secs(30),
                memory: 96 << 20,
                request_time: Duration::from_secs(90),
                token_rate: Rate {
                    count: 600,
                    per: Duration::from_secs(60),
                },
                guess_rate: Rate {
                    count: 10,
                    per: Duration::from_secs(60),
                },
            },
            attach: Attach {
                urls: true,
                private_addresses: false,
                redirects: false,
                bytes: 10 << 20,
                count: 10,
                time: Duration::from_secs(20),
            },
            keys: BTreeMap::new(),
            hooks: BTreeMap::new(),
            signatures: BTreeMap::new(),
            compat_root: Vec::new(),
            signs: Signs::default(),
            smtp: Smtp::default(),
            operate: Operate::default(),
        }
    }

    /// The rules for URLs that come over HTTP.
    pub(crate) fn guest(&self) -> ackpost_notify::Guest {
        ackpost_notify::Guest {
            foreign: self.foreign,
            private_addresses: self.private_addresses,
        }
    }

    /// Longest time to fetch all attachments of a message. The rest of the request's time is for storing it.
    pub(crate) fn fetch_time(&self) -> Duration {
        self.limits.request_time / 2
    }

    /// True when only this machine can connect.
    pub(crate) fn loopback_only(&self) -> bool {
        self.listen.iter().all(|address| address.ip().is_loopback())
    }
}

impl RawLimits {
    fn check(self, defaults: &Limits) -> Result<Limits, ConfigError> {
        let limits = Limits {
            connections: self.connections.unwrap_or(defaults.connections),
            requests: self.requests.unwrap_or(defaults.requests),
            header_bytes: bytes("limits.max_header", self.max_header, defaults.header_bytes)?,
            header_time: time("limits.header_time", self.header_time, defaults.header_time)?,
            body_bytes: bytes("limits.max_body", self.max_body, defaults.body_bytes)?,
            body_time: time("limits.body_time", self.body_time, defaults.body_time)?,
            memory: bytes("limits.memory", self.memory, defaults.memory)?,
            request_time: time("limits.request_time", self.request_time, defaults.request_time)?,
            token_rate: rate("limits.token_rate", self.token_rate, defaults.token_rate)?,
            guess_rate: rate("limits.guess_rate", self.guess_rate, defaults.guess_rate)?,
        };
        if limits.connections == 0 || limits.requests == 0 {
            return Err(ConfigError::new(
                "limits",
                "connections and requests must be at least 1",
            ));
        }
        // Below this the HTTP parser refuses its own buffer.
        if limits.header_bytes < 8 << 10 {
            return Err(ConfigError::new("limits.max_header", "must be at least 8KiB"));
        }
        Ok(limits)
    }
}

impl RawAttach {
    fn check(self, defaults: &Attach) -> Result<Attach, ConfigError> {
        Ok(Attach {
            urls: self.urls.unwrap_or(defaults.urls),
            private_addresses: self.private_addresses.unwrap_or(defaults.private_addresses),
            redirects: self.redirects.unwrap_or(defaults.redirects),
            bytes: bytes("attach.max_size", self.max_size, defaults.bytes)?,
            count: self.max_count.unwrap_or(defaults.count),
            time: time("attach.time", self.time, defaults.time)?,
        })
    }
}

impl RawHook {
    fn check(self, name: &str) -> Result<Hook, ConfigError> {
        super::key::Key::parse(name).map_err(|_| {
            ConfigError::new(
                format!("hooks.{name}"),
                "a name has letters, digits, - and _ only",
            )
        })?;
        super::key::Key::parse(&self.key)
            .map_err(|_| ConfigError::new(format!("hooks.{name}.key"), "is not a valid key"))?;
        let template = |option: &str, text: Option<String>| {
            text.map(|text| {
                Template::parse(&text)
                    .map_err(|error| ConfigError::new(format!("hooks.{name}.{option}"), error))
            })
            .transpose()
        };
        Ok(Hook {
            title: template("title", self.title)?,
            body: template("body", self.body)?,
            kind: template("kind", self.kind)?,
            key: self.key,
            tag: self.tag,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_documented_file_states_the_defaults() {
        // Every option is in the file behind one `#`; explanations are behind `# `.
        let live: String = DEFAULT_TEXT
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with([' ', '#']) && !rest.is_empty() => rest,
                Some(_) => "",
                None => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let written = Config::parse(&live, &nothing).expect("legal");
        let mut defaults = Config::with_folder(PathBuf::from("/var/lib/ackpost/gateway"));
        // An option without a default has an example.
        defaults.outbox = written.outbox.clone();
        defaults.stateless_urls = written.stateless_urls.clone();
        defaults.keys = written.keys.clone();
        defaults.hooks = written.hooks.clone();
        defaults.signatures = written.signatures.clone();
        defaults.hosts = written.hosts.clone();
        defaults.trusted_proxies = written.trusted_proxies.clone();
        defaults.alarm_after = written.alarm_after;
        defaults.operate = written.operate.clone();
        assert!(defaults.operate.is_on());
        let (smtp, default) = (&written.smtp, &mut defaults.smtp);
        default.listen.clone_from(&smtp.listen);
        default.tls_listen.clone_from(&smtp.tls_listen);
        default.certificate.clone_from(&smtp.certificate);
        default.private_key.clone_from(&smtp.private_key);
        default.default_key.clone_from(&smtp.default_key);
        assert!(defaults.outbox.is_some() && defaults.stateless_urls.is_some() && !defaults.keys.is_empty());
        assert!(!defaults.hooks.is_empty() && !defaults.hosts.is_empty() && defaults.alarm_after.is_some());
        assert_eq!(format!("{written:#?}"), format!("{defaults:#?}"));
        Config::parse(DEFAULT_TEXT, &nothing).expect("usable as it is");
    }

    #[test]
    fn mistakes_name_the_place() {
        for (text, place) in [
            ("listen = \"example\"", "listen"),
            ("listn = \"127.0.0.1:1\"", "line 1"),
            ("[limits]\nmax_body = \"lots\"", "limits.max_body"),
            ("[limits]\ntoken_rate = \"often\"", "limits.token_rate"),
            ("[limits]\nrequests = 0", "limits"),
            ("[smtp]\nlisten = \"x\"", "smtp.listen"),
            ("[smtp]\ntls_listen = \"127.0.0.1:465\"", "smtp.tls_listen"),
            ("[smtp]\ncertificate = \"/x\"", "smtp"),
            ("[smtp]\ndefault_key = \"../x\"", "smtp.default_key"),
            ("[smtp]\nconnections = 0", "smtp.connections"),
            ("[compat]\nroot = [\"matrix\"]", "line 2"),
            ("[signs]\ninfo = \"a\\nb\"", "signs"),
            ("[keys]\n\"../x\" = \"/etc/passwd\"", "keys.../x"),
            ("[signatures]\n\"../x\" = \"/etc/passwd\"", "signatures.../x"),
            ("[hooks.x]\nkey = \"k\"\nbody = \"{{#each a}}\"", "hooks.x.body"),
        ] {
            let error = Config::parse(text, &nothing).expect_err(text).to_string();
            assert!(error.starts_with(place), "{error}");
        }
    }
}
