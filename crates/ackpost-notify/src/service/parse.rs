//! From text to a loaded service.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::asset::Asset;
use crate::env::Environment;
use crate::problem::{Problem, Severity};
use crate::url::{RawUrl, percent, split_urls};

use super::common::{Origin, PARAMETERS, boolean_word, shown_word};
use super::near::near_miss;
use super::param::{Param, declares};
use super::{Common, Row, SERVICES, Service, Taken, row_of};

/// Finds the join link of a community that the user saved under a name.
type FindCommunity = dyn Fn(&str) -> Result<Option<String>, Problem> + Send + Sync;

/// Communities that the user saved under names, so that `sessions://NAME` means one of them. The caller says where
/// they are kept.
#[derive(Clone)]
pub struct SavedCommunities(Arc<FindCommunity>);

impl SavedCommunities {
    /// Looks names up with `find`, which returns the join link, or `None` if there is no such name.
    pub fn new(find: impl Fn(&str) -> Result<Option<String>, Problem> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }
}

impl std::fmt::Debug for SavedCommunities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedCommunities").finish_non_exhaustive()
    }
}

/// What loading a URL may look at besides the URL.
#[derive(Clone, Debug)]
pub struct Context {
    /// Environment variables and home folder.
    pub env: Environment,
    /// Defaults of the run.
    pub asset: Asset,
    /// The seed used for a Session join link that carries none (D30).
    pub identity: Option<SecretString>,
    /// The communities that `sessions://NAME` may mean.
    pub communities: Option<SavedCommunities>,
    /// Warn about configuration files that hold secrets and may be read by others (D32).
    pub check_permissions: bool,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            env: Environment::default(),
            asset: Asset::default(),
            identity: None,
            communities: None,
            check_permissions: true,
        }
    }
}

/// What became of the pieces of one string.
#[derive(Clone, Debug, Default)]
pub struct LoadedUrls {
    /// The services that loaded, in order.
    pub services: Vec<Service>,
    /// What is wrong with the other pieces.
    pub problems: Vec<Problem>,
}

/// Keys a configuration entry puts over its URL.
pub(crate) type Overrides<'a> = &'a [(String, String)];

pub(super) fn one(url: &str, context: &Context) -> Result<Service, Problem> {
    with_overrides(url, &[], context)
}

impl LoadedUrls {
    /// Loads every URL of a string ([`split_urls`]); an empty string loads nothing and says so.
    pub fn from_text(text: &str, context: &Context) -> Self {
        let mut loaded = Self::default();
        let pieces = split_urls(text);
        if pieces.is_empty() {
            loaded.problems.push(Problem::error(
                "the URL is empty",
                "write a URL such as xmpps://user:password@host",
            ));
        }
        for piece in pieces {
            match one(piece, context) {
                Ok(service) => loaded.services.push(service),
                Err(problem) => loaded.problems.push(problem),
            }
        }
        loaded
    }
}

/// Loads one URL with keys put over it (a configuration entry).
pub(crate) fn with_overrides(
    url: &str,
    overrides: Overrides<'_>,
    context: &Context,
) -> Result<Service, Problem> {
    assemble(taken_apart(url, overrides, context)?, context)
}

/// The parts of a URL with keys put over it.
pub(crate) fn taken_apart(url: &str, overrides: Overrides<'_>, context: &Context) -> Result<RawUrl, Problem> {
    let saved = saved_link(url, context)?;
    let url = saved.as_deref().unwrap_or(url);
    let link = join_link(url, context);
    let url = link.as_ref().map_or(url, |link| link.as_str());
    let host = overrides
        .iter()
        .rev()
        .find(|(key, _)| key == "host")
        .map(|(_, value)| value.as_str());
    let mut raw = RawUrl::parse(url, &context.env, host)?;
    apply(&mut raw, overrides, context)?;
    Ok(raw)
}

/// The service that the parts of a URL stand for.
pub(crate) fn assemble(mut raw: RawUrl, context: &Context) -> Result<Service, Problem> {
    let row = row_of(&raw.schema).ok_or_else(|| unsupported(&raw.schema, &raw.path.join("/")))?;
    secret_files(&mut raw, context)?;
    let mut taken = Taken::new(&raw.query, context, row.parameters);
    let common = Common::read(&mut taken)?;
    let endpoint = (row.parse)(&raw, &mut taken)?;
    if raw.many_ats {
        taken.warn(
            Problem::warning(
                "more than one @ stands in front of the path; the host is what follows the first one",
                "write @ inside a user or password as %40",
            )
            .key("host"),
        );
    }
    unknown_names(row, &mut taken);
    for name in raw.query.repeated() {
        let name = shown_word(name);
        taken.warn(
            Problem::warning(
                format!("`{name}` is written more than once; the last value counts"),
                "write it once",
            )
            .key(name),
        );
    }
    let (mut warnings, origins) = (taken.warnings, taken.origins);
    for warning in &warnings {
        if warning.severity == Severity::Warning {
            tracing::debug!(cause = %warning.cause, "odd URL");
        }
    }
    warnings.sort_by_key(|warning| std::cmp::Reverse(warning.severity));
    Ok(Service::assemble(common, endpoint, origins, warnings))
}

/// Warns about every parameter that is not declared, and names the declared one that it resembles.
fn unknown_names(row: &Row, taken: &mut Taken<'_>) {
    let tables = taken.tables();
    let query = taken.query;
    for (name, _) in query.iter() {
        if tables.iter().any(|table| declares(table, name)) {
            continue;
        }
        let from_config = query.origin(name) == Some(Origin::Config);
        let words = (tables.iter().copied().flatten())
            .flat_map(Param::names)
            .chain(from_config.then_some(["tag", "tags"]).into_iter().flatten());
        let meant = near_miss(name, words);
        let remedy = match meant {
            Some(meant) => format!("perhaps {meant} is meant"),
            None => format!("remove it; `ackpost details {}` lists the parameters", row.name),
        };
        let problem = match meant {
            // These decide who gets a message.
            Some("tag" | "tags" | "to" | "targets") => Problem::error,
            _ => Problem::warning,
        };
        let cause = format!("`{}` is not a parameter here and is not used", shown_word(name));
        taken.warn(problem(cause, remedy).key(shown_word(name)));
    }
}

/// The schema of a URL belongs to no service. `path` is what stands behind its host.
pub(crate) fn unsupported(schema: &str, path: &str) -> Problem {
    if matches!(schema, "http" | "https") && is_room(path) {
        return Problem::error(
            format!("this {schema}:// address is no Session join link: it has no ?public_key="),
            format!(
                "copy the whole link, {schema}://host/room?public_key=KEY, or write sessions:// or xmpps://"
            ),
        );
    }
    if matches!(schema, "http" | "https") {
        return Problem::error(
            format!("this {schema}:// address belongs to no service that is supported here"),
            "use session://, sessions://, sogs://, xmpp:// or xmpps://, or a Session join link",
        );
    }
    let known = SERVICES.iter().flat_map(|row| row.schemas());
    // A schema of another service is no slip.
    let meant = near_miss(schema, known).filter(|_| !OTHERS.contains(&schema));
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean {meant}://? "));
    Problem::error(
        format!("the schema {schema}:// is not supported"),
        format!("{meant}use session://, sessions://, sogs://, xmpp:// or xmpps://"),
    )
}

/// Schemas of other services in Apprise that are one letter away from one of ours.
const OTHERS: [&str; 2] = ["smpp", "smpps"];

/// True for the path of a room in a join link: its token, perhaps behind `r/`.
fn is_room(path: &str) -> bool {
    let path = path
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .trim_matches('/');
    let room = path.strip_prefix("r/").unwrap_or(path);
    !room.is_empty() && !room.contains('/')
}

/// The join link that `sessions://NAME` stands for, with the parameters of the URL; nothing for anything else.
fn saved_link(url: &str, context: &Context) -> Result<Option<String>, Problem> {
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
    let is_community = row_of(&schema.to_ascii_lowercase()).is_some_and(|row| row.name == "sogs");
    if !is_name || has_key || !is_community {
        return Ok(None);
    }
    let link = (communities.0)(name)?.map(|link| {
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

fn apply(raw: &mut RawUrl, overrides: Overrides<'_>, context: &Context) -> Result<(), Problem> {
    if overrides.len() > PARAMETERS {
        return Err(Problem::error(
            "the entry has more than 1,000 keys",
            "write only those that are needed",
        ));
    }
    for (key, value) in overrides {
        let (value, references) = crate::url::References::extract(value, &context.env)?;
        let value = references.expand(value.into_owned());
        match key.as_str() {
            "host" | "schema" => {}
            "secure" => match boolean_word(&value) {
                Some(secure) => set_secure(raw, secure),
                None => {
                    return Err(
                        Problem::error("the value is neither yes nor no", "write yes or no").key("secure"),
                    );
                }
            },
            "port" => {
                raw.port = match value.trim().parse::<i64>() {
                    Ok(number) => Some(u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(
                        || {
                            Problem::error(
                                format!("port {number} does not exist"),
                                "write a number from 1 to 65535",
                            )
                            .key("port")
                        },
                    )?),
                    Err(_) => {
                        return Err(Problem::error(
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
            _ => raw.query.set(key.clone(), value, true),
        }
    }
    Ok(())
}

/// Changes the schema to the one with or without encryption.
fn set_secure(raw: &mut RawUrl, secure: bool) {
    let Some(row) = row_of(&raw.schema) else { return };
    let schemas = if secure {
        row.secure_schemas
    } else {
        row.plain_schemas
    };
    if !schemas.contains(&raw.schema.as_str())
        && let Some(schema) = schemas.first()
    {
        (*schema).clone_into(&mut raw.schema);
    }
}

/// `seed_file=` and `password_file=` stand above a secret written out (D32).
fn secret_files(raw: &mut RawUrl, context: &Context) -> Result<(), Problem> {
    for key in ["seed_file", "password_file"] {
        if let Some((path, config)) = raw.query.remove(key) {
            let secret = crate::url::read_secret_file(path.trim(), &context.env)
                .map_err(|problem| problem.key(key))?;
            raw.password = Some(secret);
            raw.query.remove("seed");
            raw.query.set(key.to_owned(), path, config);
        }
    }
    Ok(())
}
