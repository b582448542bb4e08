//! What LINK means in the commands for communities: a join link with an identity, or a `session://` URL that has both.

use clap::Args;
use notify::Service;
use session_core::{JoinLink, RoomToken};
use sogs_client::{Blinding, Encrypt, Room, Server, SogsError, Verify};

use crate::cmd::identity::IdentityChoice;
use crate::exit::Failure;
use crate::output;

/// How to get to a community.
#[derive(Debug, Clone, Args)]
pub(crate) struct Way {
    #[command(flatten)]
    pub(crate) identity: IdentityChoice,
    /// Which id to use: auto asks the server
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "yes", "no"], help_heading = "Connection")]
    blind: String,
    /// Seal requests to the server's key: auto does so over plain http
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "yes", "no"], help_heading = "Connection")]
    encrypt: String,
    /// Accept any TLS certificate
    #[arg(long, help_heading = "Connection")]
    no_verify: bool,
}

/// Whether a command can do without an identity.
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

impl Way {
    /// The rooms of one LINK: one for a join link, all that it names for a `session://` URL.
    pub(crate) fn places(&self, link: &str, needs: Needs) -> Result<Vec<Place>, Failure> {
        let scheme = link
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        if matches!(scheme.as_deref(), Some("session" | "sessions" | "sogs")) {
            return from_url(link);
        }
        let parsed: JoinLink = link.parse().map_err(|e: session_core::link::LinkError| {
            Failure::usage(
                e.to_string(),
                "give a join link (https://host/room?public_key=…) or a sessions:// URL",
            )
        })?;
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
        let mut builder = Server::builder(link.base_url(), link.public_key())
            .blinding(match self.blind.as_str() {
                "yes" => Blinding::Yes,
                "no" => Blinding::No,
                _ => Blinding::Auto,
            })
            .encrypt(match self.encrypt.as_str() {
                "yes" => Encrypt::Yes,
                "no" => Encrypt::No,
                _ => Encrypt::Auto,
            })
            .user_agent(concat!("ackpost/", env!("CARGO_PKG_VERSION")));
        if self.no_verify {
            builder = builder.verify(Verify::No);
        }
        let identity = match needs {
            Needs::Identity => Some(self.identity.require()?),
            Needs::Nothing => self.identity.load()?,
        };
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        builder.build().map_err(failed)
    }
}

fn from_url(url: &str) -> Result<Vec<Place>, Failure> {
    let refused =
        |problem: notify::Problem| Failure::usage(problem.to_string(), "see `ackpost details` for the forms");
    let service = Service::parse(url, &notify::Context::default()).map_err(refused)?;
    if !url.contains("{env:") && !url.contains("{file:") && !url.contains("seed_file=") {
        output::warning(
            "the seed in the URL can be seen by everybody on this machine; write {env:NAME} or {file:PATH} in its place",
        );
    }
    let access = service
        .sogs()
        .ok_or_else(|| {
            Failure::usage(
                "this is no Session community",
                "give a sessions:// URL or a join link",
            )
        })?
        .map_err(refused)?;
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

/// A failed call, as a command ends with it.
#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
pub(crate) fn failed(error: SogsError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}
