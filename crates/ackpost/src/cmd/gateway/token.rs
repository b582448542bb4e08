//! `ackpost gateway token`: who may use the gateway, and for what.

use std::time::{Duration, SystemTime};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::FileArgs;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use ackpost_gateway::{Key, NewToken, Rate, Scope, TokenError, Tokens, duration};

/// `gateway token`.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token and print it once
    Add(AddArgs),
    /// List the tokens, without their secrets
    List,
    /// Revoke a token
    Remove {
        /// Name of the token
        name: String,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Name of the token
    name: String,
    /// Key that the token may use: `*` is every key, `ops-*` every key that starts with `ops-`; may be repeated
    #[arg(long = "key", value_name = "KEY", default_value = "*")]
    keys: Vec<String>,
    /// Reach only services with one of these tags; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Permission of the token; may be repeated
    #[arg(long, value_name = "WHAT", value_parser = permission(), default_value = "notify")]
    allow: Vec<Scope>,
    /// Rate limit of the token, such as 60/1m
    #[arg(long, value_name = "RATE", value_parser = str::parse::<Rate>)]
    rate: Option<Rate>,
    /// Lifetime of the token, such as 90d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
}

/// Parser of a permission, which knows all of them for the help.
fn permission() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(|scope| PossibleValue::new(scope.as_str()).help(scope.help())))
        .map(|word| {
            let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
            found.expect("one of the possible values")
        })
}

pub(super) fn run(args: &TokenArgs, file: &FileArgs, context: Context) -> Done {
    let (config, _) = file.load()?;
    let path = config.folder.join("tokens.toml");
    let tokens = Tokens::open(&path).map_err(|error| failure(&error))?;
    match &args.command {
        TokenCommand::Add(args) => add(&tokens, &path, args, context),
        TokenCommand::List => {
            list(&tokens, context);
            Ok(Exit::Success)
        }
        TokenCommand::Remove { name } => {
            tokens.remove(name).map_err(|error| failure(&error))?;
            output::note(&format!(
                "removed {name}; a running gateway refuses it from now on"
            ));
            if context.json {
                output::json(&json!({ "name": name }));
            }
            Ok(Exit::Success)
        }
    }
}

fn failure(error: &TokenError) -> Failure {
    Failure::new(error.to_string(), "nothing was changed")
}

fn add(tokens: &Tokens, file: &std::path::Path, args: &AddArgs, context: Context) -> Done {
    for key in &args.keys {
        let plain = key.strip_suffix('*').unwrap_or(key);
        if !plain.is_empty() && !Key::is_key(plain) {
            return Err(Failure::usage(
                format!("`{key}` is not a valid key"),
                "a key has letters, digits, - and _",
            ));
        }
    }
    let name = args.name.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Failure::usage(
            "the name of a token cannot be empty",
            "name it after its user, such as `grafana`",
        ));
    }
    let mut allow = args.allow.clone();
    allow.sort_unstable();
    allow.dedup();
    let new = NewToken {
        name: name.to_owned(),
        keys: args.keys.clone(),
        tags: args.tags.iter().map(|tag| tag.to_lowercase()).collect(),
        allow,
        rate: args.rate,
        lifetime: args.expires,
    };
    let token = tokens
        .add(new, SystemTime::now())
        .map_err(|error| failure(&error))?;
    if context.json {
        output::json(&json!({"name": name, "token": token.expose_secret()}));
    } else {
        output::line(token.expose_secret());
        output::note("the token is shown only once; only its hash is stored");
        output::note(&format!(
            "stored in {}; the gateway of this folder accepts it at once",
            file.display()
        ));
    }
    Ok(Exit::Success)
}

fn list(tokens: &Tokens, context: Context) {
    let now = SystemTime::now();
    let grants = tokens.list();
    if grants.is_empty() {
        output::none("tokens", context);
        return;
    }
    let mut rows = Vec::with_capacity(grants.len());
    for grant in grants {
        let expired = grant.expired(now);
        let allow: Vec<&str> = grant.allow.iter().map(|scope| scope.as_str()).collect();
        if context.json {
            output::json(&json!({
                "name": grant.name, "id": grant.id, "keys": grant.keys, "tags": grant.tags, "allow": allow,
                "rate": grant.rate, "expires": grant.expires.and_then(moment).map(rfc3339), "expired": expired,
            }));
            continue;
        }
        let limits = [
            Some(format!("keys {}", grant.keys.join(","))),
            (!grant.tags.is_empty()).then(|| format!("tags {}", grant.tags.join(","))),
            grant.rate.as_ref().map(|rate| format!("rate {rate}")),
            grant.expires.map(|at| {
                let word = if expired { "expired" } else { "until" };
                format!("{word} {}", until(at))
            }),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        rows.push(vec![grant.name.clone(), allow.join("+"), limits.join("  ")]);
    }
    if !context.json {
        output::table(&["NAME", "PERMISSIONS", "LIMITS"], &rows, context);
    }
}

/// Returns a moment in Unix seconds; `None` for a time out of range.
fn moment(seconds: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

fn rfc3339(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn until(seconds: u64) -> String {
    moment(seconds).map_or_else(|| "never".to_owned(), output::local)
}
