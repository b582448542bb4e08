//! From text to a loaded service.

use std::borrow::Cow;

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::problem::{Diagnostic, Severity};
use crate::url::number::trim;
use crate::url::pairs::Mark;
use crate::url::percent;
use crate::url::query::{Origin, PARAMETERS, Query};
use crate::url::raw::RawUrl;
use crate::url::secret_ref::{References, read_secret_file};
use crate::words::{boolean_word, shown_word};

use super::common::CommonParams;
use super::context::Context;
use super::foreign::{ForeignUrl, KEYS, Way, asked_way, is_ours, json_text, masked, plain_of, stored_keys};
use super::kind::{ForeignKind, ServiceKind};
use super::loaded::ServiceUrl;
use super::near::near_miss;
use super::param::{Param, declares};
use super::reader::{OPERATOR_FILE, ParamReader};
use super::services::Services;

/// Keys that stand above the parts of a URL, with their values (a configuration entry).
type Overrides<'a> = &'a [(String, String)];

impl ServiceUrl {
    /// Loads exactly one URL (the rule of configuration lines: no splitting).
    ///
    /// # Errors
    /// No service has the schema, or a part of the URL is missing or not valid.
    ///
    /// ```
    /// use ackpost_notify::{Context, ServiceUrl};
    ///
    /// let service = ServiceUrl::parse("xmpps://user:secret@example.org/jane", &Context::default())?;
    /// assert_eq!(service.name(), "xmpp");
    /// assert!(!service.masked_url().contains("secret"));
    /// # Ok::<(), ackpost_notify::Diagnostic>(())
    /// ```
    pub fn parse(url: &str, context: &Context) -> Result<Self, Diagnostic> {
        Self::parse_with(url, &[], context)
    }

    /// Loads one URL with keys put over it, as an entry of a YAML configuration writes them. For a URL that another
    /// program delivers, the values are YAML.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    ///
    /// ```
    /// use ackpost_notify::{Context, ServiceUrl};
    ///
    /// let keys = [("to".to_owned(), "joe".to_owned())];
    /// let service = ServiceUrl::parse_with("xmpps://user:secret@example.org/jane", &keys, &Context::default())?;
    /// assert_eq!(service.targets()[0].address, "joe@example.org");
    /// # Ok::<(), ackpost_notify::Diagnostic>(())
    /// ```
    pub fn parse_with(url: &str, keys: &[(String, String)], context: &Context) -> Result<Self, Diagnostic> {
        with_overrides(url, keys, context)
    }
}

fn with_overrides(url: &str, overrides: Overrides<'_>, context: &Context) -> Result<ServiceUrl, Diagnostic> {
    if let Some(found) = find_foreign(url, overrides, context) {
        return load_foreign(found, overrides, context);
    }
    match assemble(take_apart(url, overrides, context)?, context) {
        Err(problem) if problem.is_unsupported_parameter() => {
            instead(url, overrides, context).unwrap_or(Err(problem))
        }
        loaded => loaded,
    }
}

/// Loads a URL as one of another program, because its service here lacks a parameter
/// ([`Diagnostic::is_unsupported_parameter`]). `None`: there is no other program.
pub fn instead(
    url: &str,
    overrides: Overrides<'_>,
    context: &Context,
) -> Option<Result<ServiceUrl, Diagnostic>> {
    let text = Cow::Borrowed(trim(url));
    let found = FoundForeign {
        foreign: context.services.foreign()?,
        schema: text.split_once("://")?.0.to_ascii_lowercase(),
        text,
    };
    let keys = overrides.iter();
    let keys: Vec<(String, String)> = keys
        .map(|(key, value)| (key.clone(), format!("\"{}\"", json_text(value))))
        .collect();
    Some(load_foreign(found, &keys, context))
}

/// Takes a URL apart and puts keys over its parts.
///
/// # Errors
/// No service has the schema, or a part of the URL or a value is not valid.
pub fn take_apart(
    url: &str,
    overrides: &[(String, String)],
    context: &Context,
) -> Result<RawUrl, Diagnostic> {
    let saved = saved_link(url, context)?;
    let url = saved.as_deref().unwrap_or(url);
    let link = join_link(url, context);
    let url = link.as_ref().map_or(url, |link| link.as_str());
    let host = overrides
        .iter()
        .rev()
        .find(|(key, _)| key == "host")
        .map(|(_, value)| value.as_str());
    let mut raw = RawUrl::parse(url, &context.env, |schema| context.services.accept(schema), host)?;
    apply(&mut raw, overrides, context)?;
    Ok(raw)
}

/// Loads the service that the parts of a URL stand for.
///
/// # Errors
/// As [`ServiceUrl::parse`].
pub fn assemble(mut raw: RawUrl, context: &Context) -> Result<ServiceUrl, Diagnostic> {
    let services = context.services;
    let kind =
        (services.find(&raw.schema)).ok_or_else(|| services.unsupported(&raw.schema, &raw.path.join("/")))?;
    if context.env.is_foreign() && !kind.accepts_guests {
        return Err(Diagnostic::error(
            format!(
                "{}:// is not allowed here, because this text comes from outside",
                raw.schema
            ),
            OPERATOR_FILE,
        ));
    }
    let is_set = |name: &&&str| {
        let value = raw.query.get(name).map(str::trim).unwrap_or_default();
        !value.is_empty() && boolean_word(value) != Some(false)
    };
    if let Some(name) = kind.lacking.iter().find(is_set) {
        return Err(Diagnostic::unsupported_parameter(kind.title, name));
    }
    secret_files(&mut raw, context)?;
    let mut reader = context.reader(&raw.query, kind.parameters);
    let common = CommonParams::read(&mut reader, kind.formats);
    let (common, service) = both(common, (kind.parse)(&raw, &mut reader))?;
    if raw.many_ats {
        reader.warn(
            Diagnostic::warning(
                "the URL has more than one @ in front of the path; the host begins after the first one",
                "write @ inside a user or password as %40",
            )
            .key("host"),
        );
    }
    unknown_names(kind, &mut reader);
    for name in raw.query.repeated() {
        let name = shown_word(name);
        reader.warn(
            Diagnostic::warning(
                format!("`{name}` is written more than once; the last value counts"),
                "write it once",
            )
            .key(name),
        );
    }
    let (mut warnings, origins) = (reader.warnings, reader.origins);
    for warning in &warnings {
        if warning.severity == Severity::Warning {
            tracing::debug!(cause = %warning.cause, "odd URL");
        }
    }
    warnings.sort_by_key(|warning| std::cmp::Reverse(warning.severity));
    Ok(ServiceUrl::assemble(common, service, origins, warnings))
}

/// Returns the parameters and the service, or the problems of both.
fn both<T>(
    common: Result<CommonParams, Vec<Diagnostic>>,
    service: Result<T, Diagnostic>,
) -> Result<(CommonParams, T), Diagnostic> {
    match (common, service) {
        (Ok(common), Ok(service)) => Ok((common, service)),
        (Ok(_), Err(problem)) => Err(problem),
        (Err(mut problems), service) => {
            problems.extend(service.err());
            Err(Diagnostic::joined(problems))
        }
    }
}

/// Warns about every parameter that is not declared, and names the declared one that it resembles.
fn unknown_names(kind: &ServiceKind, reader: &mut ParamReader<'_>) {
    let tables = reader.tables();
    let query = reader.query;
    for (name, _) in query.iter() {
        if tables.iter().any(|table| declares(table, name)) || kind.lacking.contains(&name) {
            continue;
        }
        let from_config = query.origin(name) == Some(Origin::Config);
        let words = (tables.iter().copied().flatten())
            .flat_map(Param::names)
            .chain(from_config.then_some(["tag", "tags"]).into_iter().flatten());
        let meant = near_miss(name, words);
        let remedy = match meant {
            Some(meant) => format!("perhaps {meant} is meant"),
            None => format!("remove it; `ackpost details {}` lists the parameters", kind.name),
        };
        let problem = match meant {
            // These decide who gets a message.
            Some("tag" | "tags" | "to" | "targets") => Diagnostic::error,
            _ => Diagnostic::warning,
        };
        let cause = format!("`{}` is not a parameter here and is not used", shown_word(name));
        reader.warn(problem(cause, remedy).key(shown_word(name)));
    }
}

/// The join link that `sessions://NAME` stands for, with the parameters of the URL; nothing for anything else.
fn saved_link(url: &str, context: &Context) -> Result<Option<String>, Diagnostic> {
    let Some(communities) = &context.communities else {
        return Ok(None);
    };
    let Some((schema, rest)) = url.trim().split_once("://") else {
        return Ok(None);
    };
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let name = name.trim_end_matches('/');
    let is_name = !name.is_empty()
        && (name.bytes()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let has_key = query.split(['&', ';']).any(|pair| {
        let key = pair.split('=').next().unwrap_or_default();
        key.eq_ignore_ascii_case("public_key") || key.eq_ignore_ascii_case("key")
    });
    let is_community = (context.services).belongs(&schema.to_ascii_lowercase(), "sogs");
    if !is_name || crate::url::is_session_id(name) || has_key || !is_community {
        return Ok(None);
    }
    let link = communities.find(name)?.map(|link| {
        if query.is_empty() {
            link
        } else {
            format!("{link}&{query}")
        }
    });
    Ok(link)
}

/// The `session(s)://` URL that a Session join link stands for (D30); nothing for anything else.
fn join_link(url: &str, context: &Context) -> Option<Zeroizing<String>> {
    let text = url.trim();
    let behind = |schema: &str| {
        let start = text.get(..schema.len())?;
        start.eq_ignore_ascii_case(schema).then(|| &text[schema.len()..])
    };
    let (schema, rest) = match (behind("https://"), behind("http://")) {
        (Some(rest), _) => ("sessions", rest),
        (None, Some(rest)) => ("session", rest),
        (None, None) => return None,
    };
    let has = |name: &str| {
        rest.split_once('?').is_some_and(|(_, query)| {
            query.split(['&', ';']).any(|pair| {
                pair.split('=')
                    .next()
                    .is_some_and(|key| key.eq_ignore_ascii_case(name))
            })
        })
    };
    if !has("public_key") {
        return None;
    }
    // `https://host/r/room?public_key=…` is the address of the web viewer; the room is what follows `/r/`.
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.replacen("/r/", "/", 1);
    let mut link = Zeroizing::new(format!("{schema}://{place}?{query}"));
    if !has("seed")
        && !has("seed_file")
        && let Some(identity) = &context.identity
    {
        link.push_str("&seed=");
        link.push_str(&percent::encode(identity.expose_secret()));
    }
    Some(link)
}

fn apply(raw: &mut RawUrl, overrides: Overrides<'_>, context: &Context) -> Result<(), Diagnostic> {
    if overrides.len() > PARAMETERS {
        return Err(Diagnostic::error(
            "the entry has more than 1,000 keys",
            "write only those that are needed",
        ));
    }
    for (key, value) in overrides {
        let (value, references) = References::extract(value, &context.env)?;
        let value = references.expand(value.into_owned());
        match key.as_str() {
            "host" | "schema" => {}
            "secure" => match boolean_word(&value) {
                Some(secure) => set_secure(raw, secure, context.services),
                None => {
                    return Err(
                        Diagnostic::error("the value is neither yes nor no", "write yes or no").key("secure"),
                    );
                }
            },
            "port" => {
                raw.port = match value.trim().parse::<i64>() {
                    Ok(number) => Some(u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(
                        || {
                            Diagnostic::error(
                                format!("port {number} does not exist"),
                                "write a number from 1 to 65535",
                            )
                            .key("port")
                        },
                    )?),
                    Err(_) => {
                        return Err(Diagnostic::error(
                            "the port is not a number",
                            "write a number from 1 to 65535",
                        )
                        .key("port"));
                    }
                };
            }
            "user" => raw.user = Some(value).filter(|user| !user.is_empty()),
            "password" | "pass" => raw.password = Some(Zeroizing::new(value)),
            "to" | "targets" => {
                raw.path.clear();
                raw.query.set("to".to_owned(), value, true);
            }
            _ if Mark::of(key).is_some() => raw.add_pair(key, &value)?,
            _ => raw.query.set(key.clone(), value, true),
        }
    }
    Ok(())
}

/// Changes the schema to the one with or without encryption.
fn set_secure(raw: &mut RawUrl, secure: bool, services: Services) {
    let Some(kind) = services.find(&raw.schema) else {
        return;
    };
    let schemas = if secure {
        kind.secure_schemas
    } else {
        kind.plain_schemas
    };
    if !schemas.contains(&raw.schema.as_str())
        && let Some(schema) = schemas.first()
    {
        (*schema).clone_into(&mut raw.schema);
    }
}

/// `seed_file=` and `password_file=` stand above a secret written out (D32).
fn secret_files(raw: &mut RawUrl, context: &Context) -> Result<(), Diagnostic> {
    for key in ["seed_file", "password_file"] {
        if let Some((path, config)) = raw.query.remove(key) {
            let secret = read_secret_file(path.trim(), &context.env).map_err(|problem| problem.key(key))?;
            raw.password = Some(secret);
            raw.query.remove("seed");
            raw.query.set(key.to_owned(), path, config);
        }
    }
    Ok(())
}

/// Longest URL of another program.
const FOREIGN_URL_BYTES: usize = 256 * 1024;

/// A URL that another program delivers, before it is loaded.
pub struct FoundForeign<'t> {
    foreign: &'static ForeignKind,
    schema: String,
    text: Cow<'t, str>,
}

impl FoundForeign<'_> {
    /// Returns the schema in lower case.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns the masked URL.
    pub fn masked(&self) -> String {
        masked(&self.schema, &self.text, true)
    }
}

/// Returns the URL if another program delivers it: because no service here has its schema, because `via=apprise` asks
/// for it, or because `ACKPOST_NATIVE` does not list the service.
pub fn find_foreign<'t>(
    url: &'t str,
    overrides: &[(String, String)],
    context: &Context,
) -> Option<FoundForeign<'t>> {
    let foreign = context.services.foreign()?;
    let mut text = Cow::Borrowed(trim(url));
    if !text.contains("://") && text.starts_with('{') && text.ends_with('}') {
        // Nothing but a reference: the URL is what it stands for.
        let (marked, references) = References::extract(&text, &context.env).ok()?;
        let whole = Zeroizing::new(references.expand(marked.into_owned()));
        text = Cow::Owned(trim(&whole).to_owned());
    }
    let (schema, rest) = text.split_once("://")?;
    let word = !schema.is_empty() && schema.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !word || schema.len() > 64 {
        return None;
    }
    let schema = schema.to_ascii_lowercase();
    let asked = asked_way(rest, overrides);
    let native = context.services.find(&schema);
    let is_foreign = match (asked.as_deref(), native) {
        (Some("apprise"), _) => true,
        (_, Some(kind)) => !is_native(kind, &schema, context),
        // A join link of a community.
        (_, None) if rest.contains("public_key=") => false,
        (_, None) => foreign.knows(&schema, rest),
    };
    is_foreign.then_some(FoundForeign {
        foreign,
        schema,
        text,
    })
}

/// True unless `ACKPOST_NATIVE` is set and names neither the service nor one of its schemas.
fn is_native(kind: &ServiceKind, schema: &str, context: &Context) -> bool {
    let Some(list) = context.env.var("ACKPOST_NATIVE") else {
        return true;
    };
    let mut words = list
        .split([',', ' '])
        .map(|word| word.trim().to_ascii_lowercase());
    words.any(|word| word == kind.name || word == schema || kind.schemas().any(|one| one == word))
}

/// Loads a URL that another program delivers. The values of `overrides` are YAML.
fn load_foreign(
    found: FoundForeign<'_>,
    overrides: Overrides<'_>,
    context: &Context,
) -> Result<ServiceUrl, Diagnostic> {
    let FoundForeign {
        foreign,
        schema,
        text,
    } = found;
    if text.len() > FOREIGN_URL_BYTES {
        return Err(Diagnostic::error(
            "the URL is longer than 256 KiB",
            "split it into several",
        ));
    }
    guests(foreign, &schema, context)?;
    let (marked, references) = References::extract(&text, &context.env)?;
    let (front, query) = marked
        .split_once('?')
        .map_or((marked.as_ref(), None), |(front, query)| (front, Some(query)));
    let mut ours = Query::default();
    let mut url = Zeroizing::new(references.expand_with(front, percent::encode));
    let mut keys: Vec<(String, Zeroizing<String>)> = Vec::new();
    let mut glue = '?';
    let mut names: Vec<String> = Vec::new();
    for pair in query.unwrap_or_default().split(['&', ';']) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent::decode(name).trim().to_ascii_lowercase();
        guest_files(foreign, &schema, &name, context)?;
        names.push(name.clone());
        if name == KEYS {
            keys = stored_keys(&percent::decode(value))?;
            for (key, _) in &keys {
                guest_files(foreign, &schema, key, context)?;
            }
        } else if is_ours(&schema, &name) {
            ours.read(name, references.expand(percent::decode(value)));
        } else if !pair.is_empty() {
            url.push(glue);
            url.push_str(&references.expand_with(pair, percent::encode));
            glue = '&';
        }
    }
    for (key, value) in overrides {
        guest_files(foreign, &schema, key, context)?;
        let (value, references) = References::extract(value, &context.env)?;
        if is_ours(&schema, key) {
            ours.set(
                key.clone(),
                references.expand(plain_of(&value).into_owned()),
                true,
            );
        } else {
            keys.retain(|(known, _)| known != key);
            let value = references.expand_with(&value, json_text);
            keys.push((key.clone(), Zeroizing::new(value)));
        }
    }
    let kind = context.services.find(&schema);
    let names = (names.iter()).chain(keys.iter().map(|(key, _)| key));
    let way = Way::find(kind.map(|kind| kind.lacking), names.map(String::as_str));
    if kind.is_some() {
        // The stored form of the URL says it too: a worker of the outbox may see another environment.
        ours.set("via".to_owned(), "apprise".to_owned(), true);
    }
    let mut reader = context.reader(&ours, foreign.kind.parameters);
    let common = CommonParams::read(&mut reader, foreign.kind.formats);
    let url = ForeignUrl {
        schema,
        url,
        keys,
        way,
    };
    let (common, service) = both(common, (foreign.load)(url, &mut reader))?;
    let (origins, warnings) = (reader.origins, reader.warnings);
    Ok(ServiceUrl::assemble(common, service, origins, warnings))
}

/// Refuses a parameter of a guest that names a file of this machine: the service would send it to the guest.
fn guest_files(foreign: &ForeignKind, schema: &str, name: &str, context: &Context) -> Result<(), Diagnostic> {
    let name = name.trim().to_ascii_lowercase();
    if !foreign.names_file(schema, &name) {
        return Ok(());
    }
    context
        .env
        .refuse_foreign_file("a path on this machine", OPERATOR_FILE)
        .map_err(|problem| problem.key(name))
}

/// Refuses what a guest may not name.
fn guests(foreign: &ForeignKind, schema: &str, context: &Context) -> Result<(), Diagnostic> {
    let Some(guest) = context.env.guest() else {
        return Ok(());
    };
    if foreign.local.contains(&schema) {
        return Err(Diagnostic::error(
            format!("{schema}:// acts on this machine, and this text comes from outside"),
            OPERATOR_FILE,
        ));
    }
    if guest.foreign {
        return Ok(());
    }
    Err(Diagnostic::error(
        format!("{schema}:// is not allowed here, because this text comes from outside"),
        format!(
            "{OPERATOR_FILE}, or set `enabled = true` under `[foreign]` and give the token the right `foreign`"
        ),
    ))
}
