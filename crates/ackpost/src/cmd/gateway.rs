//! `ackpost gateway`: messages over HTTP.

mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackpost_apprise::Options;
use ackpost_doctor::{CheckStatus, Diagnosis, Walk};
use ackpost_notify::{Asset, ConnectionOptions, ConnectionPool, Environment};
use ackpost_outbox::{Outbox, ServiceTransport};
use ackpost_platform::{private_file, service};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cmd::outbox::place::{self, PlaceArgs};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use ackpost_gateway::{Access, Config, DEFAULT_TEXT, GatewayError, Listening};

/// Maximum number of XMPP sessions that are kept, as long as the limit of file descriptors allows as many.
const KEPT_SESSIONS: usize = 64;

/// Subject of a diagnosis, in place of a URL.
pub(crate) const ANSWERS: &str = "answers to alerts";

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
    /// Accept messages over HTTP, store and deliver them, until SIGTERM (SIGHUP reloads the configuration)
    Run(RunArgs),
    /// Print a configuration file that explains every option
    Config,
    /// Check the configuration and list its problems
    Check,
    /// Create, list and revoke access tokens
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
            let file = file.map(|file| file.display().to_string());
            for (key, file) in &config.keys {
                if !file.is_file() {
                    return Err(Failure::new(
                        format!("the file of key {key} is missing: {}", file.display()),
                        "write the file, or remove the key from the configuration",
                    ));
                }
            }
            if context.json {
                let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
                let keys: Vec<&String> = config.keys.keys().collect();
                output::json(&json!({ "file": file, "listen": listen, "keys": keys }));
            } else {
                output::line(&format!(
                    "{}: no problems; listens on {}",
                    file.as_deref().unwrap_or("the defaults"),
                    list(&config.listen)
                ));
            }
            Ok(Exit::Success)
        }
        GatewayCommand::Token(token) => token::run(token, &args.file, context),
    }
}

/// The findings of the doctor about answers to alerts.
pub(crate) async fn diagnosis(config: &Path) -> Result<Diagnosis, Failure> {
    let file = FileArgs {
        config: Some(config.to_owned()),
        folder: None,
    };
    let (config, _) = file.load()?;
    let mut walk = Walk::new(ANSWERS);
    for fact in ackpost_gateway::answers(&config).await {
        let status = if fact.remedy.is_none() {
            CheckStatus::Ok
        } else {
            CheckStatus::Fail
        };
        let step = walk.add(fact.step, status, fact.seen, fact.remedy);
        step.target = fact.name;
        step.elapsed = fact.elapsed;
    }
    Ok(walk.end())
}

impl FileArgs {
    /// The configuration, and the file it came from.
    fn load(&self) -> Result<(Config, Option<PathBuf>), Failure> {
        let system = Environment::system();
        let env = |name: &str| system.var(name);
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

/// Names of the tokens, for completion.
pub(crate) fn token_names() -> Vec<String> {
    let file = FileArgs {
        config: None,
        folder: None,
    };
    let tokens = file
        .load()
        .ok()
        .and_then(|(config, _)| ackpost_gateway::Tokens::open(&config.folder.join("tokens.toml")).ok());
    tokens
        .map(|tokens| {
            tokens
                .list()
                .into_iter()
                .map(|grant| grant.name.clone())
                .collect()
        })
        .unwrap_or_default()
}

fn default_file() -> Option<PathBuf> {
    let home = std::env::home_dir().map(|home| home.join(".config/ackpost/gateway.toml"));
    if let Some(file) = home.filter(|path| path.is_file()) {
        return Some(file);
    }
    let service = PathBuf::from("/etc/ackpost/gateway.toml");
    match std::fs::File::open(&service) {
        Ok(_) => Some(service),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            output::remark(&format!(
                "{} belongs to the service and was not used; run the command as root to administer the service",
                service.display()
            ));
            None
        }
        Err(_) => None,
    }
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
    let announce = |addresses: &Listening, open: bool| {
        if context.json {
            let texts = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
            let mut said = json!({"listening": texts(&addresses.http), "open": open});
            if !addresses.smtp.is_empty() {
                said["smtp"] = json!(texts(&addresses.smtp));
            }
            output::json(&said);
        } else {
            let access = if shows_secrets {
                "open: everybody who can connect may do everything, including reading secrets"
            } else if open {
                "open to this machine, no token needed; secrets are not shown without one"
            } else {
                "tokens needed"
            };
            output::note(&format!("listening on {} ({access})", list(&addresses.http)));
            if !addresses.smtp.is_empty() {
                let mail: Vec<String> = addresses.smtp.iter().map(ToString::to_string).collect();
                output::note(&format!("mail by SMTP on {}", mail.join(", ")));
            }
        }
    };
    context.server_runtime().block_on(async {
        make_folder(&config.folder)?;
        let settings = args.place.clone().or(config.outbox.as_deref()).config(true)?;
        // A resident process: XMPP sessions and connections are kept between messages.
        let options = ConnectionOptions::default()
            .with_resident(true)
            .with_kept_sessions(bounded_http::descriptors::kept(KEPT_SESSIONS))
            .with_state_folder(Some(config.folder.clone()));
        let pool = ConnectionPool::new(options, Asset::default());
        let transport = Arc::new(ServiceTransport::new(pool.clone(), context.services));
        let outbox = place::opening(&settings.clone(), Outbox::open(settings, transport))
            .await
            .map_err(|error| place::failure(&error))?;
        let ended = ackpost_gateway::run(
            config,
            file.as_deref(),
            outbox.clone(),
            of_the_operator,
            context.services,
            announce,
        )
        .await;
        pool.close().await;
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
