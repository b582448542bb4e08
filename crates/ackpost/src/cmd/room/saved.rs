//! Communities that the user saved under names: one file each in the configuration folder, readable by its owner alone.
//! A file holds a join link, which is not a secret: the server's key in it is public.

use std::borrow::Cow;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde_json::json;
use session_protocol::JoinLink;
use session_protocol::link::LinkError;

use super::{ForgetArgs, SaveArgs, all_of};
use crate::cmd::identity::store::{in_configuration, looks_secret};
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;
use crate::similar::similar;
use ackpost_platform::private_file;

/// Longest file that is read for a link, bytes.
const MAX_LINK_BYTES: u64 = 4096;
/// Longest name.
const MAX_NAME_CHARS: usize = 64;

pub(super) fn save(args: &SaveArgs, context: Context) -> Done {
    let path = path_of(&args.name)?;
    let scheme = scheme(&args.link);
    if matches!(scheme.as_deref(), Some("session" | "sessions" | "sogs")) {
        return Err(Failure::usage(
            "only a join link can be saved, not a URL with a seed",
            "give the join link (https://host/room?public_key=…) and keep the identity with `ackpost identity`",
        ));
    }
    let link: JoinLink = args.link.parse().map_err(unusable_link)?;
    let text = format!("{link}\n");
    let written = if args.replace {
        private_file::replace(&path, text.as_bytes())
    } else {
        private_file::create(&path, text.as_bytes())
    };
    let name = args.name.to_ascii_lowercase();
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if load(&name)?.as_ref() != Some(&link) {
                return Err(Failure::new(
                    format!("a community is already saved as `{name}`"),
                    "choose another name, or replace it with --replace",
                ));
            }
        }
        Err(error) => return Err(trouble(&path, &error)),
    }
    if context.json {
        output::json(&json!({ "name": name, "link": link, "file": path }));
    } else {
        output::line(&format!("{name}  {link}"));
    }
    Ok(Exit::Success)
}

pub(super) fn list(context: Context) -> Done {
    let names = names()?;
    if names.is_empty() {
        output::none("communities", context);
    } else {
        output::heading(&format!("{:<20}  JOIN LINK", "NAME"), context);
    }
    for name in names {
        let Some(link) = load(&name)? else { continue };
        if context.json {
            output::json(&json!({ "name": name, "link": link }));
        } else {
            output::line(&format!("{name:<20}  {link}"));
        }
    }
    Ok(Exit::Success)
}

pub(super) fn forget(args: &ForgetArgs, context: Context) -> Done {
    let (mut worked, mut lost) = (0, 0);
    for name in &args.names {
        let path = path_of(name)?;
        match fs::remove_file(&path) {
            Ok(()) => {
                worked += 1;
                if context.json {
                    output::json(&json!({ "name": name.to_ascii_lowercase(), "done": "forgotten" }));
                } else {
                    output::line(&format!("{name}  forgotten"));
                }
            }
            Err(error) => {
                lost += 1;
                let failure = match error.kind() {
                    ErrorKind::NotFound => unknown(name),
                    _ => trouble(&path, &error),
                };
                failure.print();
            }
        }
    }
    Ok(all_of(worked, lost))
}

/// The link that an argument means: the saved one for `lobby` and `sessions://lobby`, otherwise the argument itself.
pub(crate) fn resolve(link: &str) -> Result<Cow<'_, str>, Failure> {
    let text = link.trim();
    let name = match scheme(text).as_deref() {
        None => text,
        Some("session" | "sessions" | "sogs") => {
            let rest = text
                .split_once("://")
                .map_or("", |(_, rest)| rest)
                .trim_end_matches('/');
            if !is_name(rest) {
                return Ok(Cow::Borrowed(link));
            }
            rest
        }
        Some(_) => return Ok(Cow::Borrowed(link)),
    };
    if !is_name(name) {
        return Ok(Cow::Borrowed(link));
    }
    match load(name)? {
        Some(saved) => Ok(Cow::Owned(saved.to_string())),
        None => Err(unknown(name)),
    }
}

/// Lets URLs of messages name saved communities.
pub(crate) fn communities() -> ackpost_notify::SavedCommunities {
    ackpost_notify::SavedCommunities::new(|name| match load(name) {
        Ok(link) => Ok(link.map(|link| link.to_string())),
        Err(failure) => Err(ackpost_notify::Diagnostic::error(
            failure.cause(),
            failure.remedy(),
        )),
    })
}

fn scheme(text: &str) -> Option<String> {
    text.split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase())
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&text.len())
        && !looks_secret(text)
        && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn path_of(name: &str) -> Result<PathBuf, Failure> {
    if !is_name(name) {
        return Err(Failure::usage(
            format!("`{}` is not a valid name for a community", output::masked(name)),
            "use up to 64 letters, digits, `-` and `_`",
        ));
    }
    Ok(in_configuration("communities")?.join(name.to_ascii_lowercase()))
}

/// Names of the saved communities, sorted.
pub(crate) fn names() -> Result<Vec<String>, Failure> {
    let folder = in_configuration("communities")?;
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(trouble(&folder, &error)),
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect();
    names.sort();
    Ok(names)
}

/// A saved link; `None` if there is none of that name.
fn load(name: &str) -> Result<Option<JoinLink>, Failure> {
    let path = path_of(name)?;
    let bytes = match ackpost_platform::read_limited(&path, MAX_LINK_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(trouble(&path, &error)),
    };
    String::from_utf8_lossy(&bytes)
        .trim()
        .parse()
        .map(Some)
        .map_err(|error| {
            Failure::new(
                format!("{}: {error}", path.display()),
                format!("save it again with `ackpost room save --replace {name} LINK`"),
            )
        })
}

fn unknown(name: &str) -> Failure {
    let known = names().unwrap_or_default();
    let close = similar(name, known.iter().map(String::as_str));
    let remedy = match close.first() {
        Some(close) => format!("did you mean `{close}`? `ackpost room saved` lists the names"),
        None => format!("save it with `ackpost room save {name} LINK`, or give the join link itself"),
    };
    Failure::usage(format!("no community is saved as `{name}`"), remedy)
}

fn trouble(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{}: {error}", path.display()),
        "check the permissions of the configuration folder",
    )
}

/// An argument that names no room, as a command ends with it. Its text may hold a secret and is not repeated.
pub(crate) fn unusable_place(error: LinkError) -> Failure {
    match error {
        LinkError::NotALink => Failure::usage(
            "an argument is neither a join link nor the name of a saved community",
            "a join link looks like https://host/room?public_key=…; `ackpost room saved` lists the names; the text of a \
             message goes after -b",
        ),
        other => unusable_link(other),
    }
}

/// Text that is not a join link, as a command ends with it.
pub(crate) fn unusable_link(error: LinkError) -> Failure {
    let remedy = match error {
        LinkError::Login => {
            "remove the part before the @: the identity comes from `ackpost identity` or --identity"
        }
        _ => {
            "give a join link (https://host/room?public_key=…), the name of a saved community, or a sessions:// URL"
        }
    };
    Failure::usage(error.to_string(), remedy)
}
