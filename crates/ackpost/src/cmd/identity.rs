//! `ackpost identity …`: Session accounts, kept in the user's configuration folder.

pub(crate) mod store;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::json;
use session_protocol::{Identity, ServerKey};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Error for a secret among the arguments.
const ON_THE_COMMAND_LINE: &str = "everybody on this machine can see a seed or phrase on the command line; use \
                                   {env:NAME}, {file:PATH}, or - for standard input";

/// Session accounts to write and read with.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    #[command(subcommand)]
    command: IdentityCommand,
}

#[derive(Debug, Subcommand)]
enum IdentityCommand {
    /// Create an account and store it
    New(NameArgs),
    /// Show the Session ID of a stored account, and its id on a server
    Show(ShowArgs),
    /// List the stored accounts
    List,
    /// Store an account from a recovery phrase or seed on standard input
    Import(ImportArgs),
    /// Print the recovery phrase, which gives full control of the account
    Phrase(NameArgs),
}

#[derive(Debug, Args)]
struct NameArgs {
    /// Name of the stored account
    #[arg(default_value = store::DEFAULT)]
    name: String,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Name of the stored account
    #[arg(default_value = store::DEFAULT)]
    name: String,
    /// Also show the blinded ids on the server with this public key
    #[arg(long, value_name = "PUBLIC_KEY")]
    server: Option<String>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// Name to store it under
    #[arg(default_value = store::DEFAULT)]
    name: String,
    /// Further words: of a phrase that does not belong here
    #[arg(hide = true)]
    words: Vec<String>,
    /// Read the phrase or seed from {env:NAME} or {file:PATH} instead of standard input
    #[arg(long, value_name = "REFERENCE")]
    from: Option<String>,
}

/// Which identity a command uses.
#[derive(Debug, Clone, Args)]
pub(crate) struct IdentityChoice {
    /// Stored identity, {env:NAME}, {file:PATH}, or - for a recovery phrase on standard input
    #[arg(long, short = 'I', value_name = "IDENTITY", help_heading = "Identity")]
    identity: Option<String>,
}

pub(crate) fn run(args: &IdentityArgs, context: Context) -> Done {
    match &args.command {
        IdentityCommand::New(args) => {
            let mut entropy = Zeroizing::new([0; 16]);
            getrandom::fill(&mut *entropy).map_err(|e| {
                Failure::new(
                    format!("cannot get random numbers from the system: {e}"),
                    "try again later",
                )
            })?;
            stored(&args.name, &Identity::from_entropy(&entropy), context)
        }
        IdentityCommand::Show(args) => show(args, context),
        IdentityCommand::List => list(context),
        IdentityCommand::Import(args) => {
            if !args.words.is_empty() {
                return Err(store::secret_for_name());
            }
            // The name is looked at before a phrase is asked for.
            store::path_of(&args.name)?;
            let text = match &args.from {
                Some(reference) => resolve(reference)?.ok_or_else(|| {
                    if store::looks_secret(reference) {
                        output::warning(ON_THE_COMMAND_LINE);
                    }
                    Failure::usage(
                        "--from takes {env:NAME} or {file:PATH}",
                        "leave it out and give the phrase on standard input",
                    )
                })?,
                None => store::read_stdin()?,
            };
            stored(&args.name, &store::parse(&text, "the input")?, context)
        }
        IdentityCommand::Phrase(args) => {
            let identity = stored_or_failure(&args.name)?;
            let phrase = identity.to_mnemonic().ok_or_else(|| {
                Failure::new(
                    "this account comes from a seed of 32 bytes and has no recovery phrase",
                    format!("keep the file {} safe instead", shown_path(&args.name)),
                )
            })?;
            if context.json {
                output::json(&json!({ "name": args.name, "phrase": phrase.as_str() }));
            } else {
                output::line(&phrase);
            }
            Ok(Exit::Success)
        }
    }
}

fn stored(name: &str, identity: &Identity, context: Context) -> Done {
    let path = store::save(name, identity)?;
    let id = identity.session_id().to_string();
    if context.json {
        output::json(&json!({ "name": name, "session_id": id, "file": path }));
    } else {
        output::line(&id);
        output::note(&format!("stored as `{name}` in {}", path.display()));
        output::note(&format!(
            "write its recovery phrase down: `ackpost identity phrase {name}`"
        ));
    }
    Ok(Exit::Success)
}

fn show(args: &ShowArgs, context: Context) -> Done {
    let identity = stored_or_failure(&args.name)?;
    let server: Option<ServerKey> = match &args.server {
        None => None,
        Some(key) => Some(key.parse().map_err(|e: session_protocol::IdError| {
            Failure::usage(e.to_string(), "take public_key from the server's join link")
        })?),
    };
    let blinded = server.map(|key| (identity.blind15(&key).id(), identity.blind25(&key).id()));
    if context.json {
        output::json(&json!({
            "name": args.name,
            "session_id": identity.session_id(),
            "ed25519": hex::encode(identity.ed25519_public()),
            "blinded15": blinded.map(|(id, _)| id),
            "blinded25": blinded.map(|(_, id)| id),
            "file": shown_path(&args.name),
        }));
        return Ok(Exit::Success);
    }
    output::line(&identity.session_id().to_string());
    if let Some((id15, id25)) = blinded {
        output::line(&format!("{id15}  on that server"));
        output::line(&format!("{id25}  on that server, version 2"));
    }
    Ok(Exit::Success)
}

fn list(context: Context) -> Done {
    let names = store::names()?;
    if names.is_empty() {
        output::none("identities", context);
    } else {
        output::heading(&format!("{:<66}  NAME", "SESSION ID"), context);
    }
    for name in names {
        // One unreadable file does not hide the others.
        match store::load(&name) {
            Ok(Some(identity)) if context.json => {
                output::json(&json!({ "name": name, "session_id": identity.session_id() }));
            }
            Ok(Some(identity)) => output::line(&format!("{}  {name}", identity.session_id())),
            Ok(None) => {}
            Err(failure) => {
                failure.print();
            }
        }
    }
    Ok(Exit::Success)
}

fn shown_path(name: &str) -> String {
    store::path_of(name)
        .map(|path| path.display().to_string())
        .unwrap_or_default()
}

fn stored_or_failure(name: &str) -> Result<Identity, Failure> {
    store::load(name)?.ok_or_else(|| {
        Failure::new(
            format!("identity `{name}` is not stored"),
            "make one with `ackpost identity new`, or import one with `ackpost identity import`",
        )
    })
}

impl IdentityChoice {
    /// The identity to use; `None` when none is named and none is stored as the default.
    pub(crate) fn load(&self) -> Result<Option<Identity>, Failure> {
        let Some(text) = &self.identity else {
            return store::load(store::DEFAULT);
        };
        if text == "-" {
            return store::parse(&store::read_stdin()?, "standard input").map(Some);
        }
        if let Some(secret) = resolve(text)? {
            return store::parse(&secret, "the identity").map(Some);
        }
        if store::looks_secret(text) {
            output::warning(ON_THE_COMMAND_LINE);
            return store::parse(text, "the identity").map(Some);
        }
        stored_or_failure(text).map(Some)
    }

    /// The identity to use, for commands that cannot do without.
    pub(crate) fn require(&self) -> Result<Identity, Failure> {
        if let Some(identity) = self.load()? {
            return Ok(identity);
        }
        Err(match &store::names().unwrap_or_default()[..] {
            [] => Failure::new(
                "this needs an identity",
                "make one with `ackpost identity new`, or import one with `ackpost identity import`",
            ),
            names => Failure::new(
                format!("no identity is stored as `{}`, and none is named", store::DEFAULT),
                format!(
                    "name one with --identity ({}), or make the default one with `ackpost identity new`",
                    names.join(", ")
                ),
            ),
        })
    }
}

/// The seed of the stored default identity, for URLs and join links that name none; `None` if there is none.
pub(crate) fn default_seed() -> Option<SecretString> {
    let identity = store::load(store::DEFAULT).ok().flatten()?;
    Some(SecretString::from(identity.expose_seed_hex().as_str()))
}

/// Returns the text that `{env:NAME}` or `{file:PATH}` refers to; `None` for other text.
fn resolve(text: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    let inner = |kind: &str| text.strip_prefix(kind).and_then(|rest| rest.strip_suffix('}'));
    if let Some(name) = inner("{env:") {
        return match std::env::var(name) {
            Ok(value) => Ok(Some(Zeroizing::new(value))),
            Err(_) => Err(Failure::new(
                format!("the environment has no variable {name}"),
                "set it, or name another one",
            )),
        };
    }
    if let Some(path) = inner("{file:") {
        return store::read_secret(std::path::Path::new(path))
            .map(Some)
            .map_err(|e| store::unreadable(std::path::Path::new(path), &e));
    }
    Ok(None)
}
