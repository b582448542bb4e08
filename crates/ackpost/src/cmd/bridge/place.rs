//! Choice of configuration and database, and meaning of the URLs of a bridge.

use std::path::{Path, PathBuf};

use ackpost_bridge::{Bridge, Config, ConfigError, Limits, Parts, Store, StoreError};
use ackpost_notify::{ConnectionOptions, Diagnostic, ServiceUrl};

use crate::cmd::outbox::place::{own_state_folder, private_folder};
use crate::cmd::{identity, room::saved};
use crate::exit::Failure;

/// A configuration and its database.
pub(super) struct Place {
    pub(super) config: Config,
    pub(super) file: PathBuf,
    database: String,
    /// Made when it is missing.
    folder: Option<PathBuf>,
}

impl Place {
    pub(super) fn load(file: Option<&Path>, database: Option<&str>) -> Result<Self, Failure> {
        let file = match file {
            Some(file) => file.to_owned(),
            None => default_file().ok_or_else(|| {
                Failure::new(
                    "no configuration of bridges was found",
                    "write one with `ackpost bridge config > bridge.toml`, and name it with --config",
                )
            })?,
        };
        let config = Config::load(&file).map_err(|error| config_failure(&error))?;
        let named = database.map(str::to_owned).or_else(|| config.database.clone());
        let folder = named.is_none().then(own_state_folder);
        let database = named.unwrap_or_else(|| own_state_folder().join("bridge.db").display().to_string());
        Ok(Self {
            config,
            file,
            database,
            folder,
        })
    }

    pub(super) async fn open(&self) -> Result<Store, Failure> {
        if let Some(folder) = &self.folder {
            private_folder(folder).map_err(|error| {
                Failure::new(
                    format!("the folder {} cannot be made: {error}", folder.display()),
                    "make it yourself, or name another database with --database",
                )
            })?;
        }
        Store::open(&self.database)
            .await
            .map_err(|error| store_failure(&error))
    }

    /// The bridges of these names, or all.
    pub(super) fn chosen(&self, names: &[String]) -> Result<Vec<&Bridge>, Failure> {
        if names.is_empty() {
            return Ok(self.config.bridges.iter().collect());
        }
        names
            .iter()
            .map(|name| {
                self.config
                    .bridges
                    .iter()
                    .find(|bridge| bridge.name == *name)
                    .ok_or_else(|| {
                        Failure::usage(
                            format!("{} has no bridge `{}`", self.file.display(), name.escape_debug()),
                            "name one of the configuration",
                        )
                    })
            })
            .collect()
    }
}

fn default_file() -> Option<PathBuf> {
    let home = std::env::home_dir().map(|home| home.join(".config/ackpost/bridge.toml"));
    [home, Some(PathBuf::from("/etc/ackpost/bridge.toml"))]
        .into_iter()
        .flatten()
        .find(|file| file.is_file())
}

/// Reads the URLs of a bridge. Sends nothing.
pub(super) fn parts(bridge: &Bridge) -> Result<Parts, Failure> {
    let options = bridge.options().map_err(|error| config_failure(&error))?;
    let at = |key: &'static str| {
        let name = bridge.name.clone();
        move |problem: Diagnostic| {
            Failure::new(
                format!("{name}.{key}: {problem}"),
                "write it as `ackpost bridge config` shows",
            )
        }
    };
    let wrong = |key: &str, cause: &str, remedy: &str| {
        Failure::new(format!("{}.{key}: {cause}", bridge.name), remedy)
    };
    let connections = ConnectionOptions::default();
    let xmpp = ServiceUrl::parse(&bridge.xmpp, &ackpost_notify::Context::default())
        .map_err(at("xmpp"))?
        .xmpp_parts(&connections)
        .ok_or_else(|| wrong("xmpp", "this is not an XMPP account", "write an xmpps:// URL"))?
        .map_err(at("xmpp"))?;
    let Ok([place]) = <[_; 1]>::try_from(xmpp.rooms) else {
        return Err(wrong(
            "xmpp",
            "it does not name one room",
            "write the room behind #, as in xmpps://…/#lobby@rooms.example.org",
        ));
    };
    if xmpp.account.omemo_device().is_some() {
        return Err(wrong(
            "xmpp",
            "the room of a bridge cannot be encrypted end to end: the bridge must read both sides",
            "remove `omemo` from the URL",
        ));
    }
    let context = ackpost_notify::Context::default()
        .with_identity(identity::default_seed())
        .with_communities(Some(saved::communities()));
    let access = ServiceUrl::parse(&bridge.session, &context)
        .map_err(at("session"))?
        .sogs_parts(&connections)
        .ok_or_else(|| {
            wrong(
                "session",
                "this is not a community",
                "write a sessions:// URL or a join link",
            )
        })?
        .map_err(at("session"))?
        .connect()
        .map_err(at("session"))?;
    let [token] = &access.rooms[..] else {
        return Err(wrong(
            "session",
            "it does not name one room",
            "write one room in the URL",
        ));
    };
    Ok(Parts {
        name: bridge.name.clone(),
        account: xmpp.account,
        place,
        room: access.server.room(token),
        options,
        limits: Limits::default(),
    })
}

/// Checks for two bridges on one room: they would carry to each other without end.
pub(super) fn refuse_doubles(all: &[Parts]) -> Result<(), Failure> {
    for (at, parts) in all.iter().enumerate() {
        for other in &all[..at] {
            let same_place = other.place.room.same_bare(&parts.place.room);
            let same_room = other.room.server().key() == parts.room.server().key()
                && other.room.token() == parts.room.token();
            if same_place || same_room {
                return Err(Failure::new(
                    format!("{} and {} bridge the same room", other.name, parts.name),
                    "remove one of them",
                ));
            }
        }
    }
    Ok(())
}

/// Writes a file that everybody may read, in one step.
pub(super) fn replace_public(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, file)
}

pub(super) fn config_failure(error: &ConfigError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}

pub(super) fn store_failure(error: &StoreError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}
