//! The services: one row in [`SERVICES`] and one module each.

mod access;
mod common;
mod near;
#[cfg(test)]
mod pager;
mod param;
mod parse;
pub(crate) mod sogs;
mod sogs_deliver;
mod wire;
pub(crate) mod xmpp;
mod xmpp_deliver;
mod xmpp_memory;
mod xmpp_params;
mod xmpp_smaller;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

pub use crate::render::{Chunk, Limits, Measure};
pub use access::{SogsAccess, SogsParts, XmppAccess, XmppParts};
pub use common::{CommonParams, Origin, ParamValue, Parameter};
pub(crate) use common::{Origins, PARAMETERS, Query, Taken, boolean_word};
pub(crate) use near::near_miss;
pub use param::{ADDRESS_PARAMETERS, COMMON_PARAMETERS, Param, QUEUE_PARAMETERS, Values};
pub(crate) use param::{Written, declares};
pub use parse::{Context, LoadedUrls, SavedCommunities};
pub(crate) use parse::{assemble, taken_apart, unsupported, with_overrides};
pub use wire::{FixedPost, Shown, SogsWire, Wire, XmppWire};

use crate::dispatch::{AttemptResult, ConnectionOptions, ConnectionPool, MessageId, Parcel};
use crate::problem::Diagnostic;
use crate::url::{RawUrl, percent};

/// Makes an endpoint of a URL.
type Parse = fn(&RawUrl, &mut Taken<'_>) -> Result<Box<dyn Endpoint>, Diagnostic>;

/// One service: what it is called, the schemas it answers to, and how a URL becomes an endpoint.
#[derive(Debug)]
pub struct Row {
    /// The short name used in `--json`: `sogs`, `xmpp`.
    pub name: &'static str,
    /// The name Apprise prints.
    pub title: &'static str,
    /// Schemas without encryption of the connection.
    pub plain_schemas: &'static [&'static str],
    /// Schemas with it.
    pub secure_schemas: &'static [&'static str],
    /// Where its set-up is described.
    pub setup_url: &'static str,
    /// Its own parameters, in the order of the canonical URL.
    pub parameters: &'static [Param],
    parse: Parse,
}

impl Row {
    /// All its schemas, plain first.
    pub fn schemas(&self) -> impl Iterator<Item = &'static str> {
        self.plain_schemas.iter().chain(self.secure_schemas).copied()
    }
}

/// Every service there is. A new one is one row here and one module beside this file.
pub static SERVICES: &[&Row] = &[
    &sogs::ROW,
    &xmpp::ROW,
    #[cfg(test)]
    &pager::ROW,
];

/// The row that answers to this schema (lower case).
pub fn row_of(schema: &str) -> Option<&'static Row> {
    SERVICES
        .iter()
        .copied()
        .find(|row| row.schemas().any(|one| one == schema))
}

/// What a service module provides; everything else (parameters, rendering, lanes, retries) is shared.
pub(crate) trait Endpoint: Send + Sync + fmt::Debug + 'static {
    /// Its row.
    fn row(&self) -> &'static Row;
    /// `schema://credentials@host:port/targets`, with or without secrets; with `only`, that target alone.
    fn base(&self, secrets: bool, only: Option<&Target>) -> String;

    /// The same as Apprise masks it.
    fn apprise_base(&self) -> String {
        self.base(false, None)
    }
    /// The effective value of one of its own parameters; a secret one as `****` unless `secrets`.
    fn value(&self, name: &str, secrets: bool) -> ParamValue;
    /// Whether one of its own parameters has its default, where the declared default does not tell.
    fn is_default(&self, _name: &str) -> Option<bool> {
        None
    }
    /// The text whose SHA-256 is the uid.
    fn id_text(&self) -> String;
    /// Host as written.
    fn host(&self) -> &str;
    /// Port as written.
    fn port(&self) -> Option<u16>;
    /// True when the connection is encrypted.
    fn secure(&self) -> bool;
    /// Where messages go, in delivery order.
    fn targets(&self) -> Vec<Target>;
    /// A target as it is shown in reports: in full, without secrets.
    fn target_label(&self, target: &Target) -> String;
    /// How much fits into one message.
    fn limits(&self) -> Limits;
    /// How many pieces one lane may send per how many seconds (a server rule), if there is one.
    fn pace(&self) -> Option<(u32, std::time::Duration)> {
        None
    }
    /// Turns rendered chunks into what the wire carries (an XMPP `format=html` gets its two forms here).
    fn finish(
        &self,
        _common: &CommonParams,
        chunks: Vec<Chunk>,
        _input: Option<crate::Format>,
    ) -> Vec<Chunk> {
        chunks
    }
    /// True for a chunk of which a reader sees nothing.
    fn is_blank(&self, _common: &CommonParams, _chunk: &Chunk) -> bool {
        false
    }
    /// Fixes what a chunk is on the wire. Pure.
    fn fix(&self, common: &CommonParams, target: &Target, chunk: &Chunk, stamp: &MessageId) -> Wire;
    /// Itself, when it is the service that a caller wants to look at more closely.
    fn as_any(&self) -> &dyn std::any::Any;
    /// Sends the pieces of one parcel, in order, and says what became of each. One attempt, no waiting between tries.
    fn deliver<'a>(
        &'a self,
        common: &'a CommonParams,
        courier: &'a ConnectionPool,
        parcel: &'a Parcel,
    ) -> BoxFuture<'a, Vec<AttemptResult>>;
}

/// A loaded URL: where a message goes and how. Cheap to clone. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    common: CommonParams,
    endpoint: Box<dyn Endpoint>,
    origins: Origins,
    warnings: Vec<Diagnostic>,
    /// Targets by address, made when first needed.
    by_address: OnceLock<HashMap<String, Target>>,
}

impl Service {
    /// Loads exactly one URL (the rule of configuration lines: no splitting).
    ///
    /// ```
    /// use ackpost_notify::{Context, Service};
    ///
    /// let service = Service::parse("xmpps://user:secret@example.org/jane", &Context::default())?;
    /// assert_eq!(service.name(), "xmpp");
    /// assert!(!service.masked_url().contains("secret"));
    /// # Ok::<(), ackpost_notify::Diagnostic>(())
    /// ```
    pub fn parse(url: &str, context: &Context) -> Result<Self, Diagnostic> {
        parse::one(url, context)
    }

    pub(crate) fn assemble(
        common: CommonParams,
        endpoint: Box<dyn Endpoint>,
        origins: Origins,
        warnings: Vec<Diagnostic>,
    ) -> Self {
        Self(Arc::new(Inner {
            common,
            endpoint,
            origins,
            warnings,
            by_address: OnceLock::new(),
        }))
    }

    /// `sogs` or `xmpp`.
    pub fn name(&self) -> &'static str {
        self.row().name
    }

    /// Its row in the table.
    pub fn row(&self) -> &'static Row {
        self.0.endpoint.row()
    }

    /// The canonical URL **with its secrets**; parsing it again gives the same service.
    pub fn expose_url(&self) -> String {
        self.canonical(true, None)
    }

    /// The canonical URL with seed and password masked.
    pub fn masked_url(&self) -> String {
        self.canonical(false, None)
    }

    /// Returns the canonical URL **with its secrets**, naming one of the targets alone.
    pub fn expose_url_of(&self, target: &Target) -> String {
        self.canonical(true, Some(target))
    }

    /// Returns the canonical URL with seed and password masked, naming one of the targets alone.
    pub fn masked_url_of(&self, target: &Target) -> String {
        self.canonical(false, Some(target))
    }

    /// Returns the canonical URL as Apprise prints it with `privacy=True`. It shows the first and the last digit of a seed:
    /// only for output that must be the same as Apprise's.
    pub fn apprise_masked_url(&self) -> String {
        self.with_parameters(self.0.endpoint.apprise_base(), false)
    }

    fn canonical(&self, secrets: bool, only: Option<&Target>) -> String {
        self.with_parameters(self.0.endpoint.base(secrets, only), secrets)
    }

    fn with_parameters(&self, mut url: String, secrets: bool) -> String {
        let mut glue = '?';
        let common = &self.0.common;
        let endpoint = self.endpoint();
        let own = (self.row().parameters.iter()).map(|param| {
            let value = || endpoint.value(param.name, secrets);
            in_url(param, endpoint.is_default(param.name), value)
        });
        let shared = (COMMON_PARAMETERS.iter().chain(QUEUE_PARAMETERS))
            .map(|param| in_url(param, common.is_default(param.name), || common.value(param.name)));
        for (param, value) in own.chain(shared).flatten() {
            url.push(glue);
            url.push_str(param.name);
            url.push('=');
            if param.secret && !secrets {
                url.push_str("****");
            } else if param.written == Written::Guarded {
                url.push_str(&percent::encode(&percent::guarded(&value)));
            } else {
                url.push_str(&percent::encode(&value));
            }
            glue = '&';
        }
        url
    }

    /// The uid: the first `digits` (at most 64) hex digits of a SHA-256 over what makes the service the same one.
    pub fn url_id(&self, digits: usize) -> String {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(self.0.endpoint.id_text().as_bytes());
        let mut text = hex::encode(digest);
        text.truncate(digits);
        text
    }

    /// Host as written (an IPv6 address in brackets).
    pub fn host(&self) -> &str {
        self.0.endpoint.host()
    }

    /// Port as written; `None` is the scheme's default.
    pub fn port(&self) -> Option<u16> {
        self.0.endpoint.port()
    }

    /// True when the connection is encrypted.
    pub fn secure(&self) -> bool {
        self.0.endpoint.secure()
    }

    /// Where a message goes, in delivery order, no target twice.
    pub fn targets(&self) -> Vec<Target> {
        self.0.endpoint.targets()
    }

    /// Returns the target with this address.
    pub fn target(&self, address: &str) -> Option<&Target> {
        let by_address = self.0.by_address.get_or_init(|| {
            let pair = |target: Target| (target.address.clone(), target);
            self.targets().into_iter().map(pair).collect()
        });
        by_address.get(address)
    }

    /// The parameters every service has.
    pub fn common(&self) -> &CommonParams {
        &self.0.common
    }

    /// Every effective parameter with its origin, global ones first; secrets are masked.
    pub fn parameters(&self) -> Vec<Parameter> {
        let common = &self.0.common;
        let one = |param: &Param, value| Parameter {
            name: param.name,
            value,
            origin: self.0.origins.get(param.name),
        };
        let shared = COMMON_PARAMETERS
            .iter()
            .map(|param| one(param, common.value(param.name)));
        let queue = (QUEUE_PARAMETERS.iter())
            .filter(|param| common.queue.contains_key(param.name))
            .map(|param| one(param, common.value(param.name)));
        let own = (self.row().parameters.iter())
            .filter(|param| param.written != Written::Address)
            .map(|param| one(param, self.endpoint().value(param.name, false)));
        shared.chain(queue).chain(own).collect()
    }

    /// What was odd about the URL but did not keep it from loading. Errors among them (dropped targets, D6)
    /// keep a run from being a full success.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.0.warnings
    }

    /// How much fits into one message.
    pub fn limits(&self) -> Limits {
        self.0.endpoint.limits()
    }

    /// Returns the service with `overflow=split` where its URL leaves long texts as they are.
    ///
    /// # Errors
    /// The URL cannot be parsed again.
    pub fn splitting(&self) -> Result<Self, Diagnostic> {
        if self.0.common.overflow != crate::Overflow::Upstream {
            return Ok(self.clone());
        }
        let mut context = Context::default();
        if let Some(guest) = self.0.common.guest {
            context.env = crate::Environment::for_guest(guest);
        }
        let split = [("overflow".to_owned(), "split".to_owned())];
        with_overrides(&self.expose_url(), &split, &context)
    }

    /// Fixes what a chunk is on the wire: bytes, signatures, ids. Pure; the same wire sent again is recognised.
    pub fn fix(&self, target: &Target, chunk: &Chunk, stamp: &MessageId) -> Wire {
        self.0.endpoint.fix(&self.0.common, target, chunk, stamp)
    }

    /// Shows what a recipient's program is handed for a chunk, made by the same code that sends it.
    pub fn shown(&self, target: &Target, chunk: &Chunk) -> Shown {
        self.fix(target, chunk, &MessageId::new(std::time::SystemTime::now()))
            .shown()
    }

    /// How many messages one target takes in how long, by the server's own rule.
    pub fn pace(&self) -> Option<(u32, std::time::Duration)> {
        self.0.endpoint.pace()
    }

    /// A SOGS service's server and rooms, built as a delivery builds them.
    pub fn sogs(&self) -> Option<Result<SogsAccess, Diagnostic>> {
        Some(
            self.sogs_parts(&ConnectionOptions::default())?
                .and_then(SogsParts::connect),
        )
    }

    /// A SOGS service's settings as the client takes them.
    pub fn sogs_parts(&self, options: &ConnectionOptions) -> Option<Result<SogsParts, Diagnostic>> {
        let sogs = self.0.endpoint.as_any().downcast_ref::<sogs::Sogs>()?;
        Some(sogs.parts(&self.0.common, options, "Ackpost"))
    }

    /// An XMPP service's account and rooms, built as a delivery builds them.
    pub fn xmpp(&self) -> Option<Result<XmppAccess, Diagnostic>> {
        Some(
            self.xmpp_parts(&ConnectionOptions::default())?
                .map(|parts| XmppAccess {
                    account: parts.account,
                    rooms: parts.rooms,
                }),
        )
    }

    /// An XMPP service's settings as the client takes them.
    pub fn xmpp_parts(&self, options: &ConnectionOptions) -> Option<Result<XmppParts, Diagnostic>> {
        let xmpp = self.0.endpoint.as_any().downcast_ref::<xmpp::Xmpp>()?;
        Some(xmpp.parts(&self.0.common, options, "Ackpost"))
    }

    pub(crate) fn endpoint(&self) -> &dyn Endpoint {
        self.0.endpoint.as_ref()
    }
}

/// The parameter and its text if the canonical URL holds it.
fn in_url(
    param: &'static Param,
    is_default: Option<bool>,
    value: impl FnOnce() -> ParamValue,
) -> Option<(&'static Param, String)> {
    if is_default == Some(true) || matches!(param.written, Written::Listed | Written::Address) {
        return None;
    }
    let value = value();
    let text = value.to_string();
    let left_out = value == ParamValue::None
        || (param.written != Written::Always && is_default.is_none() && text == param.default);
    (!left_out).then_some((param, text))
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.masked_url()).finish()
    }
}

/// One place a message goes to: a room token, a JID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// As it is addressed and shown: `lobby`, `jane@example.org`, `#room@conf.example.org`.
    pub address: String,
    /// True for rooms.
    pub room: bool,
}
