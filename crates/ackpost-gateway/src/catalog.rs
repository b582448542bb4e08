//! The services behind each key, loaded once and kept while their text stays the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ackpost_apprise::{Notifier, Options, Source, Syntax};
use ackpost_notify::{Environment, Guest, Services};

use super::key::Key;
use super::reply::Reply;
use super::store::{ConfigFormat, Store, Stored};

/// Maximum number of keys that are kept loaded.
const MAX_KEPT: usize = 256;

/// Origin of a key's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file of the operator, named in gateway.toml.
    File(PathBuf),
    /// Saved over HTTP.
    Saved,
}

type Version = (Origin, Option<(SystemTime, u64)>);

/// Loads and keeps what keys stand for.
#[derive(Debug)]
pub(crate) struct Catalog {
    store: Store,
    operator: OperatorOptions,
    services: Services,
    loaded: Mutex<HashMap<Key, (Version, Arc<Notifier>)>>,
}

/// Makes the options with which files of the operator are loaded: the identity and the communities of the operator.
pub type OperatorOptions = fn() -> Options;

impl Catalog {
    pub(crate) fn new(store: Store, operator: OperatorOptions, services: Services) -> Self {
        Self {
            store,
            operator,
            services,
            loaded: Mutex::default(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Drops the loaded keys, so that files are read again.
    pub(crate) fn forget(&self) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets one key, whose secrets are wiped with its services.
    pub(crate) fn forget_key(&self, key: &Key) {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    /// The services of a key; `None` when there is no such key.
    pub(crate) async fn services(
        &self,
        key: &Key,
        file: Option<&Path>,
        guest: Guest,
    ) -> Result<Option<Arc<Notifier>>, Reply> {
        let version = match file {
            Some(path) => (Origin::File(path.to_owned()), version_of(path)),
            None => match self.store.version(key) {
                Some(version) => (Origin::Saved, Some(version)),
                None => return Ok(None),
            },
        };
        if let Some((kept, notifier)) = self
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            && *kept == version
        {
            return Ok(Some(Arc::clone(notifier)));
        }
        let notifier = match &version.0 {
            Origin::File(path) => self.load_file(path).await?,
            Origin::Saved => match self.stored(key)? {
                Some(stored) => load_text(&stored.text, stored.format, guest, self.services).await,
                None => return Ok(None),
            },
        };
        let notifier = Arc::new(notifier);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.len() >= MAX_KEPT {
            loaded.clear();
        }
        loaded.insert(key.clone(), (version.clone(), Arc::clone(&notifier)));
        // A key that was deleted or replaced meanwhile is not kept: its secrets are to be wiped.
        if version.0 == Origin::Saved && self.store.version(key) != version.1 {
            loaded.remove(key);
        }
        Ok(Some(notifier))
    }

    /// Loads a file of the operator.
    pub(crate) async fn load_file(&self, path: &Path) -> Result<Notifier, Reply> {
        let mut options = (self.operator)();
        options.context.services = self.services;
        load_file(path, options).await
    }

    /// Returns the services that URLs may name.
    pub(crate) fn known(&self) -> Services {
        self.services
    }

    /// The saved text of a key.
    pub(crate) fn stored(&self, key: &Key) -> Result<Option<Stored>, Reply> {
        self.store.load(key).map_err(|error| Reply::internal(&error))
    }
}

fn version_of(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// A file of the operator: it may refer to the environment and to other files, and its join links mean the identity
/// that is stored for the user of the gateway, as with `send`.
async fn load_file(path: &Path, options: Options) -> Result<Notifier, Reply> {
    if !path.is_file() {
        tracing::error!(file = %path.display(), "the configuration of a key is missing");
        return Err(Reply::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "the configuration file of this key is missing",
        )
        .remedy("the log names it"));
    }
    let mut notifier = Notifier::with_options(options);
    notifier
        .add_source(Source::from_location(&path.to_string_lossy()))
        .await;
    for problem in notifier.problems() {
        tracing::warn!(%problem, "configuration");
    }
    Ok(notifier)
}

/// Text that came over HTTP: it sees nothing of this machine, neither variables nor files, and includes nothing.
pub(crate) async fn load_text(
    text: &str,
    format: ConfigFormat,
    guest: Guest,
    services: Services,
) -> Notifier {
    let mut notifier = foreign(guest, services);
    let syntax = match format {
        ConfigFormat::Text => Syntax::Text,
        ConfigFormat::Yaml => Syntax::Yaml,
    };
    notifier.add_config_text(text, Some(syntax)).await;
    notifier
}

/// URLs that came with a request.
pub(crate) fn load_urls<'a>(
    urls: impl IntoIterator<Item = &'a String>,
    guest: Guest,
    services: Services,
) -> Notifier {
    let mut notifier = foreign(guest, services);
    for url in urls {
        // The notifier keeps the problems of the URL.
        let _ = notifier.add(url);
    }
    notifier
}

fn foreign(guest: Guest, services: Services) -> Notifier {
    let mut options = Options::default();
    options.context.env = Environment::for_guest(guest);
    options.context.services = services;
    options.recursion = 0;
    Notifier::with_options(options)
}

/// Guesses the language of a configuration that came without a format.
pub(crate) fn guess_format(text: &str) -> ConfigFormat {
    let yaml = text
        .lines()
        .map(str::trim_end)
        .find(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .is_some_and(|line| {
            let key = line.split(':').next().unwrap_or_default();
            line == "---"
                || (matches!(
                    key,
                    "version" | "urls" | "asset" | "tag" | "tags" | "groups" | "include" | "template"
                ) && line.len() > key.len()
                    && !line.contains("://"))
        });
    if yaml {
        ConfigFormat::Yaml
    } else {
        ConfigFormat::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_told_from_text() {
        assert_eq!(guess_format("# x\n\nurls:\n  - xmpp://a"), ConfigFormat::Yaml);
        assert_eq!(guess_format("version: 1\n"), ConfigFormat::Yaml);
        assert_eq!(guess_format("ops=xmpp://u:p@h"), ConfigFormat::Text);
        assert_eq!(guess_format("include http://x"), ConfigFormat::Text);
    }

    #[tokio::test]
    async fn foreign_text_sees_nothing_of_this_machine() {
        let secret = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(secret.path(), "hunter2").expect("written");
        let path = secret.path().display();
        for url in [
            format!("xmpps://u@localhost/jane?password_file={path}"),
            format!("xmpps://u@localhost/jane?password%5Ffile={path}"),
            format!("xmpps://u:{{file:{path}}}@localhost/jane"),
            "xmpps://u:{env:PATH}@localhost/jane".to_owned(),
            format!("xmpps://u:p@localhost/jane?ca_file={path}"),
        ] {
            let notifier = load_urls([&url], Guest::default(), Services::default());
            assert!(notifier.is_empty(), "{url}");
            let notifier = load_text(&url, ConfigFormat::Text, Guest::default(), Services::default()).await;
            assert!(notifier.is_empty(), "{url}");
        }
        let notifier = load_text(
            &format!("include {path}\n"),
            ConfigFormat::Text,
            Guest::default(),
            Services::default(),
        )
        .await;
        assert!(
            notifier
                .problems()
                .iter()
                .any(ackpost_notify::Diagnostic::is_error)
        );
        let yaml = format!("urls:\n  - xmpps://u@localhost/jane:\n      password_file: {path}\n");
        assert!(
            load_text(&yaml, ConfigFormat::Yaml, Guest::default(), Services::default())
                .await
                .is_empty()
        );
    }
}
