//! `ackpost gateway`: messages over HTTP.

mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackpost_notify::outbox::{Outbox, ServiceTransport};
use ackpost_notify::{Asset, ConnectionOptions, ConnectionPool, Options};
use ackpost_platform::{private_file, service};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cmd::outbox::place::{self, PlaceArgs};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use ackpost_gateway::{Access, Config, DEFAULT_TEXT, GatewayError};

/// Most XMPP sessions that are kept, as long as the limit of file descriptors allows as many.
const KEPT_SESSIONS: usize = 64;

/// `gateway`.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(subcommand)]
    command: GatewayCommand,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// Take messages over HTTP, store them and deliver them, until SIGTERM (SIGHUP reads everything again)
    Run(RunArgs),
    /// Print a configuration file that explains every option
    Config,
    /// Check the configuration and list its problems
    Check,
    /// Make, list and remove access tokens
    Token(token::TokenArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The configuration file [default: ~/.config/ackpost/gateway.toml, /etc/ackpost/gateway.toml, or none]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Folder of keys and tokens; overrides the configuration file
    #[arg(long, value_name = "DIR", global = true)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Address to listen on; overrides the configuration file; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs the command.
pub(crate) fn run(args: &GatewayArgs, context: Context) -> Done {
    match &args.command {
        GatewayCommand::Run(run) => {
            service::with_few_heaps();
            start(run, &args.file, context)
        }
        GatewayCommand::Config => {
            output::raw(DEFAULT_TEXT.as_bytes());
            Ok(Exit::Success)
        }
        GatewayCommand::Check => {
            let (config, file) = args.file.load()?;
            let place = file.map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
            for (key, file) in &config.keys {
                if !file.is_file() {
                    return Err(Failure::new(
                        format!("the file of key {key} is missing: {}", file.display()),
                        "write it, or take the key out",
                    ));
                }
            }
            output::line(&format!("{place}: good; listens on {}", list(&config.listen)));
            Ok(Exit::Success)
        }
        GatewayCommand::Token(token) => token::run(token, &args.file, context),
    }
}

impl FileArgs {
    /// The configuration, and the file it came from.
    fn load(&self) -> Result<(Config, Option<PathBuf>), Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let file = self.config.clone().or_else(default_file);
        let mut config = match &file {
            Some(path) => Config::load(path, &env).map_err(|error| failure(&GatewayError::Config(error)))?,
            None => Config::with_folder(Config::default_folder(&env)),
        };
        if let Some(folder) = &self.folder {
            config.folder.clone_from(folder);
        }
        Ok((config, file))
    }
}

fn default_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".config/ackpost/gateway.toml"));
    home.into_iter()
        .chain([PathBuf::from("/etc/ackpost/gateway.toml")])
        .find(|path| path.is_file())
}

fn failure(error: &GatewayError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn start(args: &RunArgs, named: &FileArgs, context: Context) -> Done {
    let (mut config, file) = named.load()?;
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    let shows_secrets = config.access == Access::Open;
    let announce = |addresses: &[SocketAddr], open: bool| {
        if context.json {
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            output::json(&json!({"listening": texts, "open": open}));
        } else {
            let access = if shows_secrets {
                "open: whoever can connect may do everything, reading secrets too"
            } else if open {
                "open to this machine, no token needed; secrets are not shown without one"
            } else {
                "tokens needed"
            };
            output::note(&format!("listening on {} ({access})", list(addresses)));
        }
    };
    context.server_runtime().block_on(async {
        make_folder(&config.folder)?;
        let settings = args.place.clone().or(config.outbox.as_deref()).config(true)?;
        // A resident process: XMPP sessions and connections are kept between messages.
        let options = ConnectionOptions {
            resident: true,
            kept_sessions: bounded_http::descriptors::kept(KEPT_SESSIONS),
            state_folder: Some(config.folder.clone()),
            ..ConnectionOptions::default()
        };
        let courier = ConnectionPool::new(options, Asset::default());
        let carrier = Arc::new(ServiceTransport::new(courier.clone()));
        let outbox = place::opening(&settings.clone(), Outbox::open(settings, carrier))
            .await
            .map_err(|error| place::failure(&error))?;
        let ended =
            ackpost_gateway::run(config, file.as_deref(), outbox.clone(), of_the_operator, announce).await;
        courier.close().await;
        outbox.close().await;
        ended.map_err(|error| failure(&error))
    })?;
    Ok(Exit::Success)
}

/// Options of configuration files that the operator names: join links in them mean the stored identity.
fn of_the_operator() -> Options {
    let mut options = Options::default();
    options.context.identity = super::identity::default_seed();
    options.context.communities = Some(super::room::saved::communities());
    options
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    private_file::create_folder(folder).map_err(|error| {
        Failure::new(
            format!("{}: {error}", folder.display()),
            "make it writable for this user, or name another folder",
        )
    })
}
