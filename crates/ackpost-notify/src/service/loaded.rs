//! Loaded URLs.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::dispatch::delivery::{Attempt, Delivery, MessageId};
use crate::dispatch::pool::ConnectionPool;
use crate::message::Overflow;
use crate::problem::Diagnostic;
use crate::render::{Chunk, Limits};
use crate::url::percent;
use crate::url::query::{Origin, Origins};

use super::common::{CommonParams, ParamValue, Parameter};
use super::encoded::{Encoded, Shown};
use super::foreign::is_kept;
use super::kind::{Finding, Service, ServiceKind};
use super::param::{COMMON_PARAMETERS, Param, QUEUE_PARAMETERS, Written};
use super::target::Target;

/// A loaded URL: where a message goes and how. Cheap to clone. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct ServiceUrl(Arc<Loaded>);

struct Loaded {
    common: CommonParams,
    service: Arc<dyn Service>,
    origins: Origins,
    warnings: Vec<Diagnostic>,
    /// Targets by address, made when first needed.
    by_address: OnceLock<HashMap<String, Target>>,
}

impl ServiceUrl {
    pub(crate) fn assemble(
        common: CommonParams,
        service: Box<dyn Service>,
        origins: Origins,
        warnings: Vec<Diagnostic>,
    ) -> Self {
        Self(Arc::new(Loaded {
            common,
            service: Arc::from(service),
            origins,
            warnings,
            by_address: OnceLock::new(),
        }))
    }

    /// `sogs` or `xmpp`.
    pub fn name(&self) -> &'static str {
        self.kind().name
    }

    /// Returns the definition of its service.
    pub fn kind(&self) -> &'static ServiceKind {
        self.0.service.kind()
    }

    /// The canonical URL **with its secrets**; parsing it again gives the same service.
    pub fn expose_url(&self) -> String {
        self.canonical(true, None)
    }

    /// The canonical URL with seed and password masked.
    pub fn masked_url(&self) -> String {
        self.canonical(false, None)
    }

    /// Returns the URL with seed and password masked, and without parameters that have their default: what a person wrote.
    pub fn short_url(&self) -> String {
        self.with_parameters(self.0.service.url_base(false, None), false, true)
    }

    /// Returns [`Self::short_url`], naming one of the targets alone.
    pub fn short_url_of(&self, target: &Target) -> String {
        self.with_parameters(self.0.service.url_base(false, Some(target)), false, true)
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
        self.with_parameters(self.0.service.apprise_base(), false, false)
    }

    fn canonical(&self, secrets: bool, only: Option<&Target>) -> String {
        self.with_parameters(self.0.service.url_base(secrets, only), secrets, false)
    }

    fn with_parameters(&self, mut url: String, secrets: bool, short: bool) -> String {
        // Of another program's service the base holds the parameters of that program.
        let mut glue = if url.contains('?') { '&' } else { '?' };
        let common = &self.0.common;
        let service = self.service();
        let own = (self.kind().parameters.iter()).map(|param| {
            let value = || service.value(param.name, secrets);
            in_url(param, service.is_default(param.name), value)
        });
        let foreign = self.is_foreign();
        let shared = (COMMON_PARAMETERS.iter().chain(QUEUE_PARAMETERS))
            .filter(|param| {
                // The others belong to the other program, and are in the base.
                !foreign || is_kept(param.name) && self.0.origins.get(param.name) != Origin::Default
            })
            .map(|param| in_url(param, common.is_default(param.name), || common.value(param.name)));
        let wanted = own.chain(shared).flatten();
        for (param, value) in wanted.filter(|(param, value)| !short || value != param.default) {
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
        for (mark, name, value) in service.pairs() {
            url.push(glue);
            url.push(mark.sign());
            url.push_str(&percent::encode(&percent::guarded(&name)));
            url.push('=');
            if secrets {
                url.push_str(&percent::encode(&percent::guarded(&value)));
            } else {
                url.push_str("****");
            }
            glue = '&';
        }
        url
    }

    /// Returns the schema of a service that another program delivers.
    pub fn foreign_schema(&self) -> Option<String> {
        let first = || self.targets().into_iter().next().map(|target| target.address);
        self.is_foreign().then(first)?
    }

    fn is_foreign(&self) -> bool {
        self.kind().takes_source && self.kind().schemas().next().is_none()
    }

    /// The uid: the first `digits` (at most 64) hex digits of a SHA-256 over what makes the service the same one.
    pub fn url_id(&self, digits: usize) -> String {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(self.0.service.id_text().as_bytes());
        let mut text = hex::encode(digest);
        text.truncate(digits);
        text
    }

    /// Host as written (an IPv6 address in brackets).
    pub fn host(&self) -> &str {
        self.0.service.host()
    }

    /// Port as written; `None` is the scheme's default.
    pub fn port(&self) -> Option<u16> {
        self.0.service.port()
    }

    /// True when the connection is encrypted.
    pub fn secure(&self) -> bool {
        self.0.service.secure()
    }

    /// The targets of a message, in delivery order, none twice.
    pub fn targets(&self) -> Vec<Target> {
        self.0.service.targets()
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
        let foreign = self.is_foreign();
        let shared = COMMON_PARAMETERS
            .iter()
            .filter(|param| !foreign || is_kept(param.name))
            .map(|param| one(param, common.value(param.name)));
        let queue = (QUEUE_PARAMETERS.iter())
            .filter(|param| common.queue.contains_key(param.name))
            .map(|param| one(param, common.value(param.name)));
        let own = (self.kind().parameters.iter())
            .filter(|param| param.written != Written::Address)
            .map(|param| one(param, self.service().value(param.name, false)));
        shared.chain(queue).chain(own).collect()
    }

    /// Oddities of the URL that did not keep it from loading. Errors among them (dropped targets, D6)
    /// keep a run from being a full success.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.0.warnings
    }

    /// Returns the limits of one message.
    pub fn limits(&self) -> Limits {
        self.0.service.limits()
    }

    /// Returns the service with `overflow=split` where its URL leaves long texts as they are.
    pub fn splitting(&self) -> Self {
        if self.0.common.overflow != Overflow::Upstream {
            return self.clone();
        }
        let mut common = self.0.common.clone();
        common.overflow = Overflow::Split;
        let mut origins = self.0.origins.clone();
        origins.set("overflow", Origin::Config);
        Self(Arc::new(Loaded {
            common,
            service: Arc::clone(&self.0.service),
            origins,
            warnings: self.0.warnings.clone(),
            by_address: OnceLock::new(),
        }))
    }

    /// Encodes a chunk for a target; see [`Service::encode`].
    pub fn encode(&self, target: &Target, chunk: &Chunk, id: &MessageId) -> Encoded {
        let encoded = self.0.service.encode(&self.0.common, target, chunk, id);
        encoded.title_cut(chunk.title_cut)
    }

    /// Looks whether the other side would accept a message; see [`Service::check`].
    pub async fn check(&self, pool: &ConnectionPool) -> Vec<Finding> {
        self.0.service.check(&self.0.common, pool).await
    }

    /// Sends the pieces of one delivery in order, once, and returns one attempt for each: no retry, no pause, no pacing;
    /// see [`Service::deliver`].
    pub async fn deliver(&self, pool: &ConnectionPool, delivery: &Delivery) -> Vec<Attempt> {
        self.0.service.deliver(&self.0.common, pool, delivery).await
    }

    /// Returns a target as reports show it: in full, without secrets.
    pub fn target_label(&self, target: &Target) -> String {
        self.0.service.target_label(target)
    }

    /// Shows what a recipient's program is handed for a chunk, made by the same code that sends it.
    pub fn shown(&self, target: &Target, chunk: &Chunk) -> Shown {
        let id = MessageId::new(std::time::SystemTime::now());
        self.0.service.shown(&self.encode(target, chunk, &id))
    }

    /// The number of messages that one target takes in a span of time, by the server's own rule.
    pub fn pace(&self) -> Option<(u32, std::time::Duration)> {
        self.0.service.pace()
    }

    /// Returns the service as the type that implements it. Commands that do more than send, such as watching a room, need
    /// the account of one service; nothing that sends or stores messages may ask for a type.
    pub fn downcast<T: Service>(&self) -> Option<&T> {
        let service: &dyn std::any::Any = self.0.service.as_ref();
        service.downcast_ref()
    }

    pub(crate) fn service(&self) -> &dyn Service {
        self.0.service.as_ref()
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

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceUrl").field(&self.masked_url()).finish()
    }
}
