//! `[operate]` of gateway.toml: who may answer alerts, and the context that messages about them carry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ackpost_operate::calls::{Source, SourceError};
use ackpost_operate::model::alert::{Alert, SourceKind};
use ackpost_operate::model::people::AllowList;
use ackpost_operate::{LONGEST_SILENCE, Settings};
use ackpost_outbox::{MAX_CONTEXT_BYTES, SecretText};
use serde::Deserialize;

use crate::key::Key;
use crate::units;

/// Maximum size of a token file, bytes.
const TOKEN_BYTES: u64 = 64 << 10;
/// Minimum duration of a silence, and lower limit of the longest silence.
const MINUTE: Duration = Duration::from_secs(60);

/// The people who may answer alerts, and the programs that raised them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operate {
    pub(crate) settings: Settings,
    /// The message of an alert is edited when the alert is over.
    replace: bool,
    sources: BTreeMap<String, Spec>,
}

/// One alerting program.
#[derive(Clone, Debug)]
struct Spec {
    kind: SourceKind,
    url: String,
    keys: Vec<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    /// The people who may answer its alerts; `None`: those of the settings.
    allow: Option<AllowList>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawOperate {
    allow: Vec<String>,
    default_silence: Option<String>,
    longest: Option<String>,
    acknowledge: Option<String>,
    edit: Option<bool>,
    resolved: Option<Resolved>,
    interval: Option<String>,
    source: BTreeMap<String, RawSource>,
}

/// The use of a message that an alert is over.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Resolved {
    /// It is a message of its own.
    New,
    /// It takes the place of the message that the alert fires.
    Replace,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    kind: SourceKind,
    url: String,
    keys: Vec<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    allow: Option<Vec<String>>,
}

/// An option and its error.
type Wrong = (String, String);

impl RawOperate {
    pub(crate) fn check(self) -> Result<Operate, Wrong> {
        let defaults = Settings::default();
        let time = |name: &str, text: Option<String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => units::duration(&text).map_err(|error| (format!("operate.{name}"), error)),
        };
        let wrong = |name: &str, reason: &str| Err((format!("operate.{name}"), reason.to_owned()));
        let mut settings = Settings::default();
        settings.allow =
            AllowList::parse(&self.allow).map_err(|error| ("operate.allow".to_owned(), error.to_string()))?;
        settings.longest = time("longest", self.longest, defaults.longest)?;
        if !(MINUTE..=LONGEST_SILENCE).contains(&settings.longest) {
            return wrong("longest", "must be from 1m to 7d");
        }
        settings.default_silence = time("default_silence", self.default_silence, defaults.default_silence)?;
        if !(MINUTE..=settings.longest).contains(&settings.default_silence) {
            return wrong("default_silence", "must be at least 1m, and at most `longest`");
        }
        settings.acknowledge = match self.acknowledge.as_deref() {
            None | Some("off") => None,
            Some(_) => Some(time("acknowledge", self.acknowledge, MINUTE)?),
        };
        if settings
            .acknowledge
            .is_some_and(|span| !(MINUTE..=settings.longest).contains(&span))
        {
            return wrong("acknowledge", "must be off, or at least 1m and at most `longest`");
        }
        settings.edit = self.edit.unwrap_or(defaults.edit);
        settings.interval = time("interval", self.interval, defaults.interval)?;
        if settings.interval < Duration::from_secs(1) {
            return wrong("interval", "must be at least 1s");
        }
        let mut sources = BTreeMap::new();
        for (name, source) in self.source {
            let spec = source.check(&name)?;
            sources.insert(name, spec);
        }
        let replace = self.resolved == Some(Resolved::Replace);
        if replace && sources.is_empty() {
            return wrong("resolved", "needs a source, whose keys it is for");
        }
        Ok(Operate {
            settings,
            replace,
            sources,
        })
    }
}

impl RawSource {
    fn check(self, name: &str) -> Result<Spec, Wrong> {
        let place = |option: &str| format!("operate.source.{name}.{option}");
        Source::new(name, self.kind, &self.url, Vec::new())
            .map_err(|error| (place("url"), error.to_string()))?;
        if self.keys.is_empty() {
            return Err((place("keys"), "has no key".to_owned()));
        }
        for key in &self.keys {
            Key::parse(key).map_err(|_| {
                (
                    place("keys"),
                    "a key has letters, digits, - and _ only".to_owned(),
                )
            })?;
        }
        let allow = self.allow.as_deref().map(AllowList::parse).transpose();
        let allow = allow.map_err(|error| (place("allow"), error.to_string()))?;
        Ok(Spec {
            allow,
            kind: self.kind,
            url: self.url,
            keys: self.keys,
            token_file: self.token_file,
            ca_file: self.ca_file,
        })
    }
}

impl Operate {
    /// True if somebody may answer, and there is a program to call.
    pub(crate) fn is_on(&self) -> bool {
        self.answered().next().is_some()
    }

    /// The programs whose alerts somebody may answer.
    fn answered(&self) -> impl Iterator<Item = &Spec> {
        let allow = move |source: &&Spec| !source.allow.as_ref().unwrap_or(&self.settings.allow).is_empty();
        self.sources.values().filter(allow)
    }

    /// True if alerts that come through this key can be answered.
    pub(crate) fn answers(&self, key: &str) -> bool {
        self.answered()
            .any(|source| source.keys.iter().any(|one| one == key))
    }

    /// True if the end of an alert that came through this key edits the message of the alert.
    pub(crate) fn replaces(&self, key: &str) -> bool {
        self.replace && self.has_source(key)
    }

    fn has_source(&self, key: &str) -> bool {
        let mut sources = self.sources.values();
        sources.any(|source| source.keys.iter().any(|one| one == key))
    }

    /// The context of a message about an alert that came through this key. `None`: nobody can answer it, and its end does not
    /// edit it.
    pub(crate) fn context(&self, key: &Key, alert: Option<Box<Alert>>, text: &str) -> Option<SecretText> {
        let is_kept = self.answers(key.as_str()) || self.replaces(key.as_str());
        let mut alert = alert.filter(|_| is_kept)?.with_text(text);
        key.as_str().clone_into(&mut alert.key);
        let mut context = serde_json::to_string(&alert).ok()?;
        if context.len() > MAX_CONTEXT_BYTES {
            // The labels that all alerts share are enough for a silence of the group.
            alert.members.clear();
            context = serde_json::to_string(&alert).ok()?;
        }
        (context.len() <= MAX_CONTEXT_BYTES).then(|| SecretText::new(context))
    }

    /// Makes the paths of files relative to the folder of the configuration.
    pub(crate) fn in_folder(&mut self, base: &Path) {
        for source in self.sources.values_mut() {
            for file in source.token_file.iter_mut().chain(source.ca_file.as_mut()) {
                *file = base.join(&*file);
            }
        }
    }

    /// The keys whose alerts some source raises.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.sources
            .values()
            .flat_map(|source| &source.keys)
            .map(String::as_str)
    }

    /// The alerting programs, with their tokens read from the files.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Result<Source, SourceError>> {
        self.named_sources().map(|(_, source)| source)
    }

    /// The same, with their names.
    pub(crate) fn named_sources(&self) -> impl Iterator<Item = (&str, Result<Source, SourceError>)> {
        self.sources
            .iter()
            .map(|(name, spec)| (name.as_str(), spec.source(name)))
    }
}

impl Spec {
    fn source(&self, name: &str) -> Result<Source, SourceError> {
        let source = Source::new(name, self.kind, &self.url, self.keys.clone())?;
        let token = match &self.token_file {
            None => None,
            Some(path) => Some(token(path)?),
        };
        let source = source.with_token(token).with_allow(self.allow.clone());
        let Some(path) = &self.ca_file else {
            return Ok(source);
        };
        let authorities = ackpost_notify::service::authorities(&path.display().to_string());
        let authorities = authorities.map_err(|problem| unreadable(path, problem.cause))?;
        Ok(source.with_verify(ackpost_tls::Verify::Authorities(authorities.into())))
    }
}

fn token(path: &Path) -> Result<secrecy::SecretString, SourceError> {
    let bytes = ackpost_platform::read_limited(path, TOKEN_BYTES);
    let bytes = zeroize::Zeroizing::new(bytes.map_err(|error| unreadable(path, error.to_string()))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable(path, "it is not text".to_owned()))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(unreadable(path, "it holds no token, or more than one".to_owned()));
    }
    Ok(token.to_owned().into())
}

fn unreadable(path: &Path, cause: String) -> SourceError {
    SourceError::File {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Operate, String> {
        let raw: RawOperate = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        raw.check()
            .map_err(|(place, reason)| format!("{place}: {reason}"))
    }

    const SOURCE: &str =
        "[source.main]\nkind = \"alertmanager\"\nurl = \"http://127.0.0.1:9093\"\nkeys = [\"ops\"]\n";

    #[test]
    fn it_is_off_until_somebody_is_allowed_and_a_source_is_there() {
        assert!(!read("").expect("good").is_on());
        assert!(!read(SOURCE).expect("good").is_on());
        assert!(!read("allow = [\"xmpp:jane@example.org\"]").expect("good").is_on());
        let on = read(&format!("allow = [\"xmpp:jane@example.org\"]\n{SOURCE}")).expect("good");
        assert!(on.is_on() && on.answers("ops") && !on.answers("other"));
        let own = format!("{SOURCE}allow = [\"xmpp:dana@example.org\"]\n");
        let own = read(&own).expect("good");
        assert!(
            own.is_on() && own.answers("ops"),
            "a list of the source is enough"
        );
        let nobody = format!("allow = [\"xmpp:jane@example.org\"]\n{SOURCE}allow = []\n");
        assert!(!read(&nobody).expect("good").is_on());
    }

    #[test]
    fn mistakes_name_the_option() {
        for (text, place) in [
            ("allow = [\"jane\"]", "operate.allow: `jane` is not a person"),
            ("longest = \"30d\"", "operate.longest: must be from 1m to 7d"),
            (
                "longest = \"1h\"\ndefault_silence = \"2h\"",
                "operate.default_silence",
            ),
            ("acknowledge = \"5s\"", "operate.acknowledge"),
            ("interval = \"10ms\"", "operate.interval"),
            (
                "[source.x]\nkind = \"alertmanager\"\nurl = \"ftp://x\"\nkeys = [\"a\"]",
                "operate.source.x.url",
            ),
            ("resolved = \"replace\"", "operate.resolved: needs a source"),
            ("resolved = \"edit\"", "unknown variant"),
            (
                "[source.x]\nkind = \"alertmanager\"\nurl = \"http://x\"\nkeys = []",
                "operate.source.x.keys",
            ),
            (
                "[source.x]\nkind = \"alertmanager\"\nurl = \"http://x\"\nkeys = [\"a\"]\nallow = [\"x\"]",
                "operate.source.x.allow: `x` is not a person",
            ),
            (
                "[source.x]\nkind = \"zabbix\"\nurl = \"http://x\"\nkeys = [\"a\"]",
                "unknown variant",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn a_token_comes_from_its_file_and_is_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "glsa_topsecret\n").expect("written");
        let text = format!("allow = [\"xmpp:jane@example.org\"]\n{SOURCE}token_file = \"token\"\n");
        let mut operate = read(&text).expect("good");
        operate.in_folder(folder.path());
        let source = operate.sources().next().expect("one").expect("readable");
        assert!(source.token.is_some());
        assert!(!format!("{source:?} {operate:?}").contains("topsecret"));
        std::fs::write(&path, "two tokens").expect("written");
        let error = operate
            .sources()
            .next()
            .expect("one")
            .expect_err("no token")
            .to_string();
        assert!(error.ends_with("it holds no token, or more than one"), "{error}");
    }
}
