//! Services and their definitions.
//!
//! A definition makes services, and a service names its definition: the two know each other, so they are one file.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::dispatch::delivery::{Attempt, BoxFuture, Delivery, MessageId};
use crate::dispatch::pool::ConnectionPool;
use crate::message::Format;
use crate::problem::Diagnostic;
use crate::render::{Chunk, Limits};
use crate::url::pairs::Mark;
use crate::url::raw::RawUrl;

use super::common::{CommonParams, ParamValue};
use super::encoded::{Encoded, Shown};
use super::foreign::ForeignUrl;
use super::param::Param;
use super::reader::ParamReader;
use super::target::Target;

/// One loaded URL of a service: where messages go, how they are encoded, and how they are delivered.
///
/// Everything that is the same for all services is outside of it: the URL grammar, common parameters, masking, rendering,
/// retries, limits, reports, the outbox. `examples/third-service` in the repository is a complete service.
pub trait Service: Any + fmt::Debug + Send + Sync {
    /// Returns the definition.
    fn kind(&self) -> &'static ServiceKind;

    /// Returns `schema://credentials@host:port/targets` of the canonical URL. Credentials are percent-encoded
    /// ([`percent::encode`](crate::url::percent::encode)); without `secrets`, each secret is `****`. With `only`, the URL
    /// names that target alone.
    fn url_base(&self, secrets: bool, only: Option<&Target>) -> String;

    /// Returns the same as Apprise masks it.
    fn apprise_base(&self) -> String {
        self.url_base(false, None)
    }

    /// Returns the effective value of one of its own parameters; a secret one as `****` unless `secrets`.
    fn value(&self, name: &str, secrets: bool) -> ParamValue;

    /// Returns true if one of its own parameters has its default, where the declared default does not tell.
    fn is_default(&self, _name: &str) -> Option<bool> {
        None
    }

    /// Returns what the URL adds to requests ([`RawUrl::pairs`](crate::url::RawUrl::pairs)), for the canonical URL. The
    /// values may be secrets and are masked.
    fn pairs(&self) -> Vec<(Mark, String, String)> {
        Vec::new()
    }

    /// Returns the text that tells this account from others. Its SHA-256 is the uid; the outbox keeps the order of
    /// messages with the same uid and target.
    fn id_text(&self) -> String;

    /// Returns the host as written.
    fn host(&self) -> &str;

    /// Returns the port as written.
    fn port(&self) -> Option<u16>;

    /// Returns true if the connection is encrypted.
    fn secure(&self) -> bool;

    /// Returns the targets in the order of delivery, no target twice.
    fn targets(&self) -> Vec<Target>;

    /// Returns a target as reports show it: in full, without secrets.
    fn target_label(&self, target: &Target) -> String;

    /// Returns the longest title and body of one message.
    fn limits(&self) -> Limits;

    /// Returns the number of messages that one target takes within a time, if the server has such a limit.
    fn pace(&self) -> Option<(u32, Duration)> {
        None
    }

    /// Converts rendered chunks, for example into a second form of the text.
    fn convert(&self, _common: &CommonParams, chunks: Vec<Chunk>) -> Vec<Chunk> {
        chunks
    }

    /// Returns true if a reader sees nothing of a chunk.
    fn is_blank(&self, _common: &CommonParams, _chunk: &Chunk) -> bool {
        false
    }

    /// Encodes one chunk for a target. This fixes what identifies the piece: the same arguments give the same bytes, and
    /// the other side recognises a repeat by them. It uses no network and no clock; `id` is fresh for each piece.
    fn encode(&self, common: &CommonParams, target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded;

    /// Returns the texts of a piece as a recipient sees them, for previews. By default they are the bytes.
    fn shown(&self, piece: &Encoded) -> Shown {
        Shown {
            body: String::from_utf8_lossy(piece.bytes()).into_owned(),
            ..Shown::default()
        }
    }

    /// Looks whether the other side would accept a message, without sending one, and returns one finding for each step in
    /// the order of a send. `ackpost doctor` prints them.
    fn check<'a>(
        &'a self,
        _common: &'a CommonParams,
        _pool: &'a ConnectionPool,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Sends the pieces of a delivery in order and returns one [`Attempt`] for each. One attempt: no retry and no pause,
    /// which are the caller's. An outcome is [`Outcome::Delivered`](crate::Outcome::Delivered) only if the other side
    /// confirmed the piece. Dropping the future must be safe at any point.
    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        pool: &'a ConnectionPool,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Vec<Attempt>>;
}

/// One step of [`Service::check`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The step, in one lower-case word such as `dns`, `connect` or `login`.
    pub step: &'static str,
    /// The observation or the fault, as a lower-case fragment. A fault that is a warning does not keep a message from being
    /// delivered.
    pub result: Result<String, Diagnostic>,
}

impl Finding {
    /// Makes a finding.
    pub fn new(step: &'static str, result: Result<String, Diagnostic>) -> Self {
        Self { step, result }
    }
}

/// Makes a service of the parts of a URL. It reads parameters with the [`ParamReader`], which notes their origins and
/// collects warnings.
pub type ParseService = fn(&RawUrl, &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic>;

/// Definition of a service: its name, its URL schemas, its parameters, and how a URL becomes a [`Service`].
///
/// ```
/// use ackpost_notify::service::{Param, ServiceKind, Values, Written};
/// # use ackpost_notify::service::{ParamReader, Service};
/// # use ackpost_notify::{Diagnostic, url::RawUrl};
/// # fn parse(_: &RawUrl, _: &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic> { unimplemented!() }
///
/// static PAGER: ServiceKind = ServiceKind::new("pager", "Pager", parse)
///     .with_schemas(&["pager"], &["pagers"])
///     .with_parameters(&[Param::new("urgent", Values::YesNo, "no", "Ring until somebody answers.", "urgent=yes")])
///     .with_setup_url("https://example.org/pager");
/// assert!(PAGER.schemas().eq(["pager", "pagers"]));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ServiceKind {
    /// Short name used in `--json` and in the outbox: `sogs`, `xmpp`.
    pub name: &'static str,
    /// Name that people read.
    pub title: &'static str,
    /// Schemas whose connection is not encrypted, in lower case.
    pub plain_schemas: &'static [&'static str],
    /// Schemas whose connection is encrypted, in lower case.
    pub secure_schemas: &'static [&'static str],
    /// Address of the description of its set-up.
    pub setup_url: &'static str,
    /// Its own parameters, in the order of the canonical URL.
    pub parameters: &'static [Param],
    /// Forms of its URLs, as `ackpost details` prints them: `{schema}://{user}:{password}@{host}/{targets}`.
    pub url_forms: &'static [&'static str],
    /// Remark about the whole service, such as what was not proven about it; empty if there is none.
    pub notice: &'static str,
    /// URLs of guests ([`Guest`](crate::Guest)) may name it.
    pub accepts_guests: bool,
    /// It is handed the message as it was written, as one chunk.
    pub takes_source: bool,
    /// Formats that it can send as they are, the default first. Empty: `?format=` alone decides.
    pub formats: &'static [Format],
    /// A URL may have no host, or a name there that no host can have.
    pub loose_host: bool,
    /// Parameters of this service in Apprise that it does not have. A URL with one does not load.
    pub lacking: &'static [&'static str],
    pub(super) parse: ParseService,
}

impl ServiceKind {
    /// Defines a service without schemas and parameters.
    pub const fn new(name: &'static str, title: &'static str, parse: ParseService) -> Self {
        Self {
            name,
            title,
            plain_schemas: &[],
            secure_schemas: &[],
            setup_url: "",
            parameters: &[],
            url_forms: &[],
            notice: "",
            accepts_guests: false,
            takes_source: false,
            formats: &[],
            loose_host: false,
            lacking: &[],
            parse,
        }
    }

    /// Sets the schemas, in lower case: those without encryption and those with it.
    #[must_use]
    pub const fn with_schemas(
        mut self,
        plain: &'static [&'static str],
        secure: &'static [&'static str],
    ) -> Self {
        self.plain_schemas = plain;
        self.secure_schemas = secure;
        self
    }

    /// Declares the service's own parameters, in the order of the canonical URL.
    #[must_use]
    pub const fn with_parameters(mut self, parameters: &'static [Param]) -> Self {
        self.parameters = parameters;
        self
    }

    /// Sets the forms of its URLs.
    #[must_use]
    pub const fn with_url_forms(mut self, forms: &'static [&'static str]) -> Self {
        self.url_forms = forms;
        self
    }

    /// Sets the remark that `ackpost details` prints with the service.
    #[must_use]
    pub const fn with_notice(mut self, notice: &'static str) -> Self {
        self.notice = notice;
        self
    }

    /// Sets the address of the description of its set-up.
    #[must_use]
    pub const fn with_setup_url(mut self, url: &'static str) -> Self {
        self.setup_url = url;
        self
    }

    /// Allows URLs that a guest handed over, such as those sent to a gateway. Such a service must obey
    /// [`CommonParams::guest`](super::CommonParams::guest): it connects to no private address unless the rules allow it,
    /// repeats no answer of a server, and reads no file. Without this call such URLs do not load.
    #[must_use]
    pub const fn with_guests(mut self) -> Self {
        self.accepts_guests = true;
        self
    }

    /// Hands it messages as they were written: it converts, cuts and splits them itself.
    #[must_use]
    pub const fn with_source(mut self) -> Self {
        self.takes_source = true;
        self
    }

    /// Sets the formats that it can send as they are. A message goes out in the format of `?format=`, else in its own, if
    /// the service has it, else in the first one. Without this call, the default is plain text.
    #[must_use]
    pub const fn with_formats(mut self, formats: &'static [Format]) -> Self {
        self.formats = formats;
        self
    }

    /// Accepts URLs whose host is missing or not valid, for services that read something else there.
    #[must_use]
    pub const fn with_loose_host(mut self) -> Self {
        self.loose_host = true;
        self
    }

    /// Names parameters of this service in Apprise that it does not have, in lower case. A URL with one of them does not
    /// load; the problem is an [`UnsupportedParameter`](crate::ProblemKind::UnsupportedParameter), so that the program can
    /// hand the URL to Apprise. One that is set to `no` is as good as not written.
    #[must_use]
    pub const fn with_lacking(mut self, names: &'static [&'static str]) -> Self {
        self.lacking = names;
        self
    }

    /// Returns all its schemas, those without encryption first.
    pub fn schemas(&self) -> impl Iterator<Item = &'static str> {
        self.plain_schemas.iter().chain(self.secure_schemas).copied()
    }
}

/// Makes a service of a URL of another program.
pub type LoadForeign = fn(ForeignUrl, &mut ParamReader<'_>) -> Result<Box<dyn Service>, Diagnostic>;

/// Definition of the services that another program delivers: which URLs are theirs, and how one becomes a [`Service`].
///
/// [`Services::with_foreign`](crate::Services::with_foreign) adds it to the services of a program.
#[derive(Debug)]
#[non_exhaustive]
pub struct ForeignKind {
    /// Their common definition. It has no schemas, and it takes messages as they were written
    /// ([`ServiceKind::with_source`]).
    pub kind: &'static ServiceKind,
    /// Schemas that the other program knows, in lower case.
    pub schemas: &'static [&'static str],
    /// Hosts of `https://` addresses that the other program knows as services; a leading `.` stands for subdomains.
    pub hosts: &'static [&'static str],
    /// Schemas of services that act on this machine. Guests may not name them.
    pub local: &'static [&'static str],
    /// Parameters that name a file of this machine, each with the schemas that have it; none means all. Guests may not use them.
    pub file_params: &'static [(&'static str, &'static [&'static str])],
    pub(super) load: LoadForeign,
}

impl ForeignKind {
    /// Defines the services behind these schemas.
    pub const fn new(
        kind: &'static ServiceKind,
        schemas: &'static [&'static str],
        load: LoadForeign,
    ) -> Self {
        Self {
            kind,
            schemas,
            hosts: &[],
            local: &[],
            file_params: &[],
            load,
        }
    }

    /// Adds parameters that name a file of this machine, each with the schemas that have it; none means all.
    #[must_use]
    pub const fn with_file_params(
        self,
        file_params: &'static [(&'static str, &'static [&'static str])],
    ) -> Self {
        Self { file_params, ..self }
    }

    /// Returns true if a parameter of a service names a file of this machine.
    pub(super) fn names_file(&self, schema: &str, param: &str) -> bool {
        self.file_params
            .iter()
            .any(|(name, schemas)| *name == param && (schemas.is_empty() || schemas.contains(&schema)))
    }

    /// Adds hosts of `https://` addresses that the other program knows as services.
    #[must_use]
    pub const fn with_hosts(mut self, hosts: &'static [&'static str]) -> Self {
        self.hosts = hosts;
        self
    }

    /// Names the schemas that act on this machine.
    #[must_use]
    pub const fn with_local(mut self, schemas: &'static [&'static str]) -> Self {
        self.local = schemas;
        self
    }

    pub(super) fn knows(&self, schema: &str, rest: &str) -> bool {
        if !matches!(schema, "http" | "https") {
            return self.schemas.contains(&schema);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = rest[..end].to_ascii_lowercase();
        self.hosts.iter().any(|known| match known.strip_prefix('.') {
            Some(domain) => host
                .strip_suffix(domain)
                .is_some_and(|front| front.ends_with('.')),
            None => host == *known,
        })
    }
}
