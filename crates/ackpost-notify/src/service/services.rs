//! The list of services that a program knows.

use std::fmt;

use crate::problem::Diagnostic;

use super::kind::{ForeignKind, ServiceKind};
use super::near::near_miss;

/// The services that a program knows. The default are communities and XMPP; a program adds its own:
///
/// ```
/// use ackpost_notify::service::{SOGS, ServiceKind, Services, XMPP};
/// # use ackpost_notify::service::{ParamReader, Service};
/// # use ackpost_notify::{Diagnostic, url::RawUrl};
/// # fn parse(_: &RawUrl, _: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> { unimplemented!() }
///
/// static PAGER: ServiceKind = ServiceKind::new("pager", "Pager", parse).with_schemas(&["pager"], &[]);
/// static SERVICES: Services = Services::new(&[&SOGS, &XMPP, &PAGER]);
/// assert_eq!(SERVICES.find("pager").unwrap().title, "Pager");
/// ```
///
/// The list is a slice of statics, so that neither a start of the program nor a copy of the list allocates anything. The
/// first service with a schema gets its URLs.
#[derive(Clone, Copy)]
pub struct Services {
    known: &'static [&'static ServiceKind],
    foreign: Option<&'static ForeignKind>,
}

impl Services {
    /// Makes a list of these services alone.
    pub const fn new(kinds: &'static [&'static ServiceKind]) -> Self {
        Self {
            known: kinds,
            foreign: None,
        }
    }

    /// Lets another program deliver the URLs of services that are not in the list.
    #[must_use]
    pub const fn with_foreign(mut self, foreign: &'static ForeignKind) -> Self {
        self.foreign = Some(foreign);
        self
    }

    /// Returns the definition of the services that another program delivers.
    pub fn foreign(self) -> Option<&'static ForeignKind> {
        self.foreign
    }

    /// Returns the services, in order.
    pub fn iter(self) -> impl Iterator<Item = &'static ServiceKind> {
        self.known.iter().copied()
    }

    /// Returns the service with a schema (lower case).
    pub fn find(self, schema: &str) -> Option<&'static ServiceKind> {
        self.iter().find(|kind| kind.schemas().any(|one| one == schema))
    }

    /// Returns the service with a name.
    pub fn named(self, name: &str) -> Option<&'static ServiceKind> {
        self.iter().find(|kind| kind.name == name)
    }

    /// Refuses a schema that belongs to none of them and begins no join link; else returns true if URLs with it may have a
    /// host that is not valid.
    ///
    /// # Errors
    /// No service has the schema; the remedy names those that exist.
    pub fn accept(self, schema: &str) -> Result<bool, Diagnostic> {
        match self.find(schema) {
            Some(kind) => Ok(kind.loose_host),
            None if matches!(schema, "http" | "https") => Ok(false),
            // Another service's URL has other rules: its schema is the cause, whatever else is odd.
            None => Err(self.unsupported(schema, "")),
        }
    }

    /// Returns true if a schema belongs to the service with this name.
    pub fn belongs(self, schema: &str, name: &str) -> bool {
        self.find(schema).is_some_and(|kind| kind.name == name)
    }

    /// Returns the error for a schema that belongs to none of them. `path` is the text behind the host.
    pub fn unsupported(self, schema: &str, path: &str) -> Diagnostic {
        let all = self.all_schemas();
        let link = self.named("sogs").map_or("", |_| ", or a Session join link");
        if matches!(schema, "http" | "https") && !link.is_empty() && is_room(path) {
            return Diagnostic::error(
                format!("this {schema}:// address is not a Session join link: it has no ?public_key="),
                format!(
                    "copy the whole link, {schema}://host/room?public_key=KEY, or write sessions:// or xmpps://"
                ),
            );
        }
        if matches!(schema, "http" | "https") {
            return Diagnostic::error(
                format!("no supported service uses this {schema}:// address"),
                format!("use {all}{link}"),
            );
        }
        let known = self.iter().flat_map(ServiceKind::schemas);
        // A schema of another service is not a slip.
        let meant = near_miss(schema, known).filter(|_| !OTHERS.contains(&schema));
        let meant = meant.map_or_else(String::new, |meant| format!("did you mean {meant}://? "));
        Diagnostic::error(
            format!("the schema {schema}:// is not supported"),
            format!("{meant}use {all}"),
        )
    }

    /// `a://, b:// or c://`.
    fn all_schemas(self) -> String {
        let mut all: Vec<String> = self
            .iter()
            .flat_map(ServiceKind::schemas)
            .map(|schema| format!("{schema}://"))
            .collect();
        match all.pop() {
            Some(last) if all.is_empty() => last,
            Some(last) => format!("{} or {last}", all.join(", ")),
            None => "a program that knows a service".to_owned(),
        }
    }
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

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|kind| kind.name)).finish()
    }
}
