//! `ackpost gateway token`: who may use the gateway, and for what.

use std::fmt::Write as _;
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
    /// Make a token and print it, this once
    Add(AddArgs),
    /// Show the tokens there are, without their secrets
    List,
    /// Make a token void
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Name of the token
    name: String,
    /// A key it may use, `*` for every key, `ops-*` for those that begin so; may be repeated
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
    /// How long it is valid, like 90d
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
    let tokens = Tokens::open(&config.folder.join("tokens.toml")).map_err(|error| failure(&error))?;
    match &args.command {
        TokenCommand::Add(args) => add(&tokens, args, context),
        TokenCommand::List => {
            list(&tokens, context);
            Ok(Exit::Success)
        }
        TokenCommand::Remove { name } => {
            tokens.remove(name).map_err(|error| failure(&error))?;
            output::note(&format!(
                "removed {name}; a running gateway refuses it from now on"
            ));
            Ok(Exit::Success)
        }
    }
}

fn failure(error: &TokenError) -> Failure {
    Failure::new(error.to_string(), "nothing was changed")
}

fn add(tokens: &Tokens, args: &AddArgs, context: Context) -> Done {
    for key in &args.keys {
        let plain = key.strip_suffix('*').unwrap_or(key);
        if !plain.is_empty() && !Key::is_key(plain) {
            return Err(Failure::usage(
                format!("`{key}` is no key"),
                "a key has letters, digits, - and _",
            ));
        }
    }
    let name = args.name.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Failure::usage(
            "the name of a token cannot be empty",
            "give it the name of who uses it",
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
        output::note("this is the only time it is shown; only its hash is kept");
    }
    Ok(Exit::Success)
}

fn list(tokens: &Tokens, context: Context) {
    let now = SystemTime::now();
    for grant in tokens.list() {
        let expired = grant.expired(now);
        let allow: Vec<&str> = grant.allow.iter().map(|scope| scope.as_str()).collect();
        if context.json {
            output::json(&json!({
                "name": grant.name, "id": grant.id, "keys": grant.keys, "tags": grant.tags, "allow": allow,
                "rate": grant.rate, "expires": grant.expires, "expired": expired,
            }));
            continue;
        }
        let mut line = format!(
            "{}  {}  keys {}",
            grant.name,
            allow.join("+"),
            grant.keys.join(",")
        );
        for (what, value) in [
            ("tags", (!grant.tags.is_empty()).then(|| grant.tags.join(","))),
            ("rate", grant.rate.clone()),
            (
                if expired { "expired" } else { "until" },
                grant.expires.map(until),
            ),
        ] {
            if let Some(value) = value {
                let _ = write!(line, "  {what} {value}");
            }
        }
        output::line(&line);
    }
}

fn until(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}
