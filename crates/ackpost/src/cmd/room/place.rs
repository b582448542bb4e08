//! Meaning of LINK in the commands for communities: a join link or the name of a saved one with an identity, or a
//! `session://` URL that has both.

use std::path::PathBuf;

use ackpost_notify::{ConnectionOptions, ServiceUrl};
use ackpost_xmpp::Account;
use clap::Args;
use session_protocol::{JoinLink, RoomToken};
use sogs_client::{Blinding, Encrypt, Room, Server, ServerBuilder, SogsError, Verify};

use super::saved;
use crate::cmd::identity::{self, IdentityChoice};
use crate::exit::Failure;
use crate::output;

/// Options to reach a community.
#[derive(Debug, Clone, Args)]
pub(crate) struct Way {
    #[command(flatten)]
    pub(crate) identity: IdentityChoice,
    /// Id to use: auto (the default) asks the server
    #[arg(long, value_name = "WHEN", value_parser = ["auto", "yes", "no"], help_heading = "Connection")]
    blind: Option<String>,
    /// Seal requests to the server's key: auto (the default) does so over plain http
    #[arg(long, value_name = "WHEN", value_parser = ["auto", "yes", "no"], help_heading = "Connection")]
    encrypt: Option<String>,
    /// Trust the certificate authorities in this PEM file, and no others
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "no_verify",
        help_heading = "Connection"
    )]
    ca_file: Option<PathBuf>,
    /// Accept any TLS certificate
    #[arg(long, help_heading = "Connection")]
    no_verify: bool,
}

/// Largest file of certificate authorities, bytes.
const CA_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Need of a command for an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Reading may be anonymous.
    Nothing,
    /// Writing may not.
    Identity,
}

/// A room, and the name to write there under.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) room: Room,
    pub(crate) name: Option<String>,
    /// The room as it may be shown: no seed in it.
    pub(crate) shown: String,
}

impl Place {
    /// Names the ways in which the server was seen to differ from the reference, on standard error.
    pub(crate) fn tell_differences(&self) {
        for difference in self.room.server().differences() {
            output::remark(&format!(
                "{} differs from the reference server: {difference}",
                self.room.server().base_url()
            ));
        }
    }
}

impl Way {
    /// The rooms of one LINK: one for a join link or a saved name, all that it names for a `session://` URL.
    pub(crate) fn places(&self, link: &str, needs: Needs) -> Result<Vec<Place>, Failure> {
        let link = saved::resolve(link)?;
        let scheme = link
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        if matches!(scheme.as_deref(), Some("session" | "sessions" | "sogs")) {
            return self.places_of_url(&link);
        }
        let parsed: JoinLink = link.parse().map_err(saved::unusable_place)?;
        let server = self.server(&parsed, needs)?;
        let room = server.room(parsed.room());
        let shown = format!("{}/{}", parsed.base_url(), parsed.room());
        Ok(vec![Place {
            room,
            name: None,
            shown,
        }])
    }

    /// The one room of a LINK.
    pub(crate) fn place(&self, link: &str, needs: Needs) -> Result<Place, Failure> {
        let mut places = self.places(link, needs)?;
        match places.len() {
            1 => Ok(places.remove(0)),
            n => Err(Failure::usage(
                format!("the URL names {n} rooms"),
                "name one room",
            )),
        }
    }

    fn server(&self, link: &JoinLink, needs: Needs) -> Result<Server, Failure> {
        let builder = Server::builder(link.base_url(), link.public_key())
            .user_agent(concat!("ackpost/", env!("CARGO_PKG_VERSION")));
        let mut builder = self.apply(builder)?;
        let identity = match needs {
            Needs::Identity => Some(self.identity.require()?),
            Needs::Nothing => self.identity.load()?,
        };
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        builder.build().map_err(failed)
    }

    /// Applies the options; everything else stays.
    fn apply(&self, mut builder: ServerBuilder) -> Result<ServerBuilder, Failure> {
        if let Some(blind) = &self.blind {
            builder = builder.blinding(match blind.as_str() {
                "yes" => Blinding::Yes,
                "no" => Blinding::No,
                _ => Blinding::Auto,
            });
        }
        if let Some(encrypt) = &self.encrypt {
            builder = builder.encrypt(match encrypt.as_str() {
                "yes" => Encrypt::Yes,
                "no" => Encrypt::No,
                _ => Encrypt::Auto,
            });
        }
        if let Some(authorities) = self.authorities()? {
            builder = builder.verify(Verify::Authorities(authorities.into()));
        } else if self.no_verify {
            builder = builder.verify(Verify::No);
        }
        Ok(builder)
    }

    fn authorities(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(path) = &self.ca_file else {
            return Ok(None);
        };
        ackpost_platform::read_limited(path, CA_FILE_BYTES)
            .map(Some)
            .map_err(|error| {
                Failure::new(
                    format!(
                        "cannot read the certificate authorities in {}: {error}",
                        path.display()
                    ),
                    "name a PEM file that this user may read",
                )
            })
    }

    /// Applies the options about certificates to an XMPP account.
    pub(crate) fn trust(&self, account: Account) -> Result<Account, Failure> {
        Ok(match self.authorities()? {
            Some(authorities) => account.verify(Verify::Authorities(authorities.into())),
            None if self.no_verify => account.verify(Verify::No),
            None => account,
        })
    }

    fn places_of_url(&self, url: &str) -> Result<Vec<Place>, Failure> {
        let refused = |problem: ackpost_notify::Diagnostic| {
            Failure::usage(problem.to_string(), "see `ackpost details` for the forms")
        };
        let context = ackpost_notify::Context::default()
            .with_identity(identity::default_seed())
            .with_communities(Some(saved::communities()));
        let service = ServiceUrl::parse(url, &context).map_err(refused)?;
        let has_seed = url.contains('@') || url.contains("seed=");
        if has_seed && !url.contains("{env:") && !url.contains("{file:") && !url.contains("seed_file=") {
            output::warning(
                "everybody on this machine can see the seed in the URL; write {env:NAME} or {file:PATH} in its place",
            );
        }
        let mut parts = service
            .sogs_parts(&ConnectionOptions::default())
            .ok_or_else(|| {
                Failure::usage(
                    "this is not a Session community",
                    "give a sessions:// URL or a join link",
                )
            })?
            .map_err(refused)?;
        parts.builder = self.apply(parts.builder)?;
        let access = parts.connect().map_err(refused)?;
        let base = access.server.base_url().to_owned();
        Ok(access
            .rooms
            .iter()
            .map(|token: &RoomToken| Place {
                room: access.server.room(token),
                name: access.name.clone(),
                shown: format!("{base}/{token}"),
            })
            .collect())
    }
}

/// A failed call, as a command ends with it.
#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
pub(crate) fn failed(error: SogsError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}
