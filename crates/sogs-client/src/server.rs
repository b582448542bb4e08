//! A community server and the account that talks to it.

use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use session_protocol::auth::{NONCE_LEN_BYTES, Request, Signer};
use session_protocol::onion::Cipher;
use session_protocol::{Identity, JoinLink, ServerKey, SessionId};
use url::Url;

use ackpost_tls::Verify;

use crate::call::{AuthNeed, Call, CallParts};
use crate::calls;
use crate::differences::{Difference, Differences};
use crate::error::{Cause, SogsError};
use crate::transport::http::{AddressRule, Http, Limits};
use crate::transport::{Answer, Encrypt, OnionPath, Outgoing, Route, Transport, host, now_secs};
use crate::types::{Capabilities, DeletedEverywhere, ModeratorsChanged, RoleChange, RoomInfo, Scope};

/// The kind of id to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Blinding {
    /// The kind that the server's capabilities require.
    #[default]
    Auto,
    /// The blinded id (`15`), which every server takes.
    Yes,
    /// The account's own id (`05`).
    No,
}

/// Clock that returns unix time. Tests pass their own; the default is the system's clock.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Builder of a [`Server`]: the settings of a connection that have a default.
pub struct ServerBuilder {
    base_url: String,
    key: ServerKey,
    identity: Option<Identity>,
    blinding: Blinding,
    encrypt: Encrypt,
    cipher: Cipher,
    path: Option<OnionPath>,
    verify: Verify,
    limits: Limits,
    user_agent: String,
    use_proxies: bool,
    address_rule: Option<AddressRule>,
    quote_answers: bool,
    redirects: bool,
    clock: Clock,
}

impl ServerBuilder {
    /// Sets the account. Without an identity, only data that is open to everybody can be read.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the kind of id to use; the default asks the server.
    pub fn blinding(mut self, blinding: Blinding) -> Self {
        self.blinding = blinding;
        self
    }

    /// Sets whether to seal requests to the server's key; the default does so over plain http.
    pub fn encrypt(mut self, encrypt: Encrypt) -> Self {
        self.encrypt = encrypt;
        self
    }

    /// The cipher of sealed requests; the default is AES-256-GCM, which every server has.
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// Sends everything through a path of onion hops.
    pub fn path(mut self, path: OnionPath) -> Self {
        self.path = Some(path);
        self
    }

    /// Sets the certificates to accept.
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Sets the timeout for a connection to be established (default 10 s).
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limits.connect = limit;
        self
    }

    /// Longest silence of the server while an answer is awaited or read (default 20 s; a minute more where a large
    /// file goes out, because it arrives later than the system takes it).
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.limits.read = limit;
        self
    }

    /// Longest time for a call that moves a file or a large message (default 5 minutes, enough for 10 MB over a slow
    /// line).
    pub fn total_timeout(mut self, limit: Duration) -> Self {
        self.limits.total = limit;
        self
    }

    /// Longest time for any other call, from the first byte to the last, with redirects and a second attempt (default
    /// 45 s). The limits for connecting and for silence extend it: a call gets at least as much as both together.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.limits.call = limit;
        self
    }

    /// Longest answer that is read, bytes (default 32 MiB).
    pub fn max_answer_bytes(mut self, limit: usize) -> Self {
        self.limits.answer_bytes = limit;
        self
    }

    /// The `User-Agent` header.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets whether to use `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment (the default does).
    pub fn proxies_from_environment(mut self, yes: bool) -> Self {
        self.use_proxies = yes;
        self
    }

    /// Sets whether to follow redirects within the same origin (the default does). Others are never followed.
    pub fn redirects(mut self, yes: bool) -> Self {
        self.redirects = yes;
        self
    }

    /// Connects only to addresses that fit this rule. It is applied to the resolved address, not to the name; proxies
    /// are then not used.
    pub fn address_rule(mut self, rule: AddressRule) -> Self {
        self.address_rule = Some(rule);
        self.use_proxies = false;
        self
    }

    /// Sets whether errors quote the server's text (the default does).
    pub fn quote_answers(mut self, yes: bool) -> Self {
        self.quote_answers = yes;
        self
    }

    /// Another clock than the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Puts it together. Nothing is sent yet.
    pub fn build(self) -> Result<Server, SogsError> {
        let base = Url::parse(&self.base_url)
            .map_err(|error| SogsError::invalid(format!("the server's address is not a URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(SogsError::invalid(
                "the server's address must be http://host or https://host",
            ));
        }
        let needs_tls = base.scheme() == "https";
        let limits = self.limits.clone();
        let http = Http::new(
            &self.verify,
            needs_tls,
            limits.clone(),
            &self.user_agent,
            self.use_proxies,
            self.address_rule,
        )?;
        let hop_http = match &self.path {
            None => None,
            Some(path) if path.hops.is_empty() => {
                return Err(SogsError::invalid("an onion path needs a hop"));
            }
            // Hops have certificates of their own making; the layer is sealed to the key we know.
            Some(_) => Some(Http::new(
                &Verify::No,
                true,
                limits.clone(),
                &self.user_agent,
                self.use_proxies,
                self.address_rule,
            )?),
        };
        let call_time = limits.call.max(limits.connect + limits.read);
        let long_time = limits.total;
        let signer = match (&self.identity, self.blinding) {
            (None, _) | (_, Blinding::Auto) => None,
            (Some(identity), Blinding::Yes) => Some(Signer::blind15(identity, &self.key)),
            (Some(identity), Blinding::No) => Some(Signer::account(identity)),
        };
        let host = host(&base);
        let base_url = base.as_str().trim_end_matches('/').to_owned();
        let route = Route {
            encrypt: self.encrypt,
            cipher: self.cipher,
            path: self.path,
            redirects: self.redirects,
        };
        let transport = Arc::new(Transport::new(base, self.key, route, http, hop_http));
        Ok(Server {
            inner: Arc::new(Inner {
                base_url,
                host,
                key: self.key,
                identity: self.identity,
                blinding: self.blinding,
                transport,
                signer: RwLock::new(signer),
                clock: self.clock,
                quote_answers: self.quote_answers,
                call_time: call_time.min(long_time),
                long_time,
                differences: Differences::default(),
            }),
        })
    }
}

struct Inner {
    base_url: String,
    host: String,
    key: ServerKey,
    identity: Option<Identity>,
    blinding: Blinding,
    transport: Arc<Transport>,
    /// Chosen once; changed when an `Auto` server turns out to want blinded ids.
    signer: RwLock<Option<Signer>>,
    clock: Clock,
    quote_answers: bool,
    /// Longest time for a call.
    call_time: Duration,
    /// Longest time for a call that moves a file.
    long_time: Duration,
    differences: Differences,
}

/// A community server. Cheap to clone; clones share connections and what is known of the server.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

impl Server {
    /// Settings for the server at `base_url` (`http[s]://host[:port]`) with the given key.
    pub fn builder(base_url: impl Into<String>, key: ServerKey) -> ServerBuilder {
        ServerBuilder {
            base_url: base_url.into(),
            key,
            identity: None,
            blinding: Blinding::Auto,
            encrypt: Encrypt::Auto,
            cipher: Cipher::AesGcm,
            path: None,
            verify: Verify::Platform,
            limits: Limits {
                connect: Duration::from_secs(10),
                read: Duration::from_secs(20),
                total: Duration::from_mins(5),
                call: Duration::from_secs(45),
                answer_bytes: 32 * 1024 * 1024,
            },
            user_agent: concat!("sogs-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            use_proxies: true,
            address_rule: None,
            quote_answers: true,
            redirects: true,
            clock: Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }

    /// The server of a join link, with all defaults. Nothing is sent yet.
    pub fn connect(link: &JoinLink, identity: Identity) -> Result<Self, SogsError> {
        Self::builder(link.base_url(), link.public_key())
            .identity(identity)
            .build()
    }

    /// The server's address, without a final slash.
    pub fn base_url(&self) -> &str {
        &self.inner.base_url
    }

    /// The server's key.
    pub fn key(&self) -> ServerKey {
        self.inner.key
    }

    /// The account, if one was given.
    pub fn identity(&self) -> Option<&Identity> {
        self.inner.identity.as_ref()
    }

    /// Returns the same server for another account. It shares connections and settings; what is known of the server is learned
    /// anew.
    #[must_use]
    pub fn as_identity(&self, identity: Identity) -> Self {
        let inner = &self.inner;
        let signer = match inner.blinding {
            Blinding::Auto => None,
            Blinding::Yes => Some(Signer::blind15(&identity, &inner.key)),
            Blinding::No => Some(Signer::account(&identity)),
        };
        Self {
            inner: Arc::new(Inner {
                base_url: inner.base_url.clone(),
                host: inner.host.clone(),
                key: inner.key,
                identity: Some(identity),
                blinding: inner.blinding,
                transport: inner.transport.clone(),
                signer: RwLock::new(signer),
                clock: inner.clock.clone(),
                quote_answers: inner.quote_answers,
                call_time: inner.call_time,
                long_time: inner.long_time,
                differences: Differences::default(),
            }),
        }
    }

    /// Returns true if the next request is sealed to the server's key.
    pub fn is_sealed(&self) -> bool {
        self.inner.transport.is_sealed()
    }

    /// Returns the capabilities of the server.
    pub async fn capabilities(&self) -> Result<Capabilities, SogsError> {
        self.run(calls::capabilities()).await
    }

    /// The rooms this account may see.
    pub async fn rooms(&self) -> Result<Vec<RoomInfo>, SogsError> {
        self.run(calls::rooms()).await
    }

    /// Bans a user; `timeout` lifts the ban again.
    pub async fn ban(
        &self,
        user: &SessionId,
        scope: &Scope,
        timeout: Option<Duration>,
    ) -> Result<(), SogsError> {
        self.run(calls::ban(user, scope, timeout.map(|t| t.as_secs_f64())))
            .await
    }

    /// Lifts a ban.
    pub async fn unban(&self, user: &SessionId, scope: &Scope) -> Result<(), SogsError> {
        self.run(calls::unban(user, scope)).await
    }

    /// Makes a user moderator or admin, or no longer.
    pub async fn set_role(
        &self,
        user: &SessionId,
        scope: &Scope,
        change: RoleChange,
    ) -> Result<ModeratorsChanged, SogsError> {
        self.run(calls::set_role(user, scope, change)).await
    }

    /// Deletes all messages of a user in all rooms where we have the permission.
    pub async fn delete_everywhere(&self, user: &SessionId) -> Result<DeletedEverywhere, SogsError> {
        self.run(calls::delete_everywhere(user)).await
    }

    /// The key that signs here, and so the id under which we are shown. With [`Blinding::Auto`] the first call asks
    /// the server.
    pub async fn signer(&self) -> Result<Signer, SogsError> {
        let identity = self
            .inner
            .identity
            .as_ref()
            .ok_or_else(|| SogsError::new(Cause::NoIdentity))?;
        if let Some(signer) = self.known_signer() {
            return Ok(signer);
        }
        let capabilities = self.capabilities().await?;
        let signer = if capabilities.requires_blinding() {
            Signer::blind15(identity, &self.inner.key)
        } else {
            Signer::account(identity)
        };
        self.set_signer(&signer);
        Ok(signer)
    }

    /// Our id on this server: what [`Server::signer`] is shown under.
    pub async fn my_id(&self) -> Result<SessionId, SogsError> {
        Ok(self.signer().await?.shown_id())
    }

    fn known_signer(&self) -> Option<Signer> {
        self.inner
            .signer
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn set_signer(&self, signer: &Signer) {
        *self
            .inner
            .signer
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(signer.clone());
    }

    /// Ways in which this server was seen to differ from the reference. The client works around them.
    pub fn differences(&self) -> Vec<Difference> {
        self.inner.differences.all()
    }

    pub(crate) fn differs(&self, difference: Difference) -> bool {
        self.inner.differences.has(difference)
    }

    /// Notes a difference, and logs it the first time.
    pub(crate) fn note(&self, difference: Difference) {
        if self.inner.differences.note(difference) {
            tracing::warn!(server = %self.inner.host, "the server differs from the reference: {difference}");
        }
    }

    /// Milliseconds since 1970 by this server's clock setting.
    pub fn now_ms(&self) -> u64 {
        u64::try_from((self.inner.clock)().as_millis()).unwrap_or(u64::MAX)
    }

    /// Makes a call and returns its typed answer.
    pub async fn run<T>(&self, call: Call<T>) -> Result<T, SogsError> {
        let label = format!("{} {}", call.parts.method, call.parts.path);
        let limit = if call.parts.long {
            self.inner.long_time
        } else {
            self.inner.call_time
        };
        let result = match tokio::time::timeout(limit, self.execute(&call.parts)).await {
            Ok(Ok(answer)) => (call.decode)(&answer).map_err(SogsError::of_answer),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(SogsError::new(Cause::Timeout { phase: "answer" })),
        };
        result.map_err(|error| {
            let error = error.at(&self.inner.host, &label);
            if self.inner.quote_answers {
                error
            } else {
                error.without_answer()
            }
        })
    }

    /// Any request, for what has no typed call: the status must be 2xx, the body comes back as it is.
    ///
    /// `path` is decoded text and starts with `/`; a query may follow it.
    pub async fn raw(
        &self,
        method: &'static str,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<RawAnswer, SogsError> {
        if !path.starts_with('/') {
            return Err(SogsError::invalid("the path must start with a slash"));
        }
        let mut call = Call::new(method, path, AuthNeed::Optional, |answer| {
            crate::call::check(answer)?;
            Ok(RawAnswer {
                status: answer.status,
                headers: answer.headers.clone(),
                body: answer.body.to_vec(),
            })
        });
        if let Some(body) = body {
            call = call.json(body);
        }
        self.run(call).await
    }

    /// Sends the request, choosing the signer, and repeats it once where the first refusal makes that safe: an
    /// unblinded id that must be blinded, a nonce that was taken.
    pub(crate) async fn execute(&self, parts: &CallParts) -> Result<Answer, SogsError> {
        let mut signer = match (parts.auth, &self.inner.identity) {
            (AuthNeed::Anonymous, _) | (AuthNeed::Optional, None) => None,
            (AuthNeed::Required, None) => return Err(SogsError::new(Cause::NoIdentity)),
            // Only this call itself is asked for in `signer`, and it is anonymous: no recursion.
            (_, Some(_)) => Some(Box::pin(self.signer()).await?),
        };
        if let (Some(author), Some(chosen)) = (&parts.author, &signer)
            && chosen.shown_id() != *author
        {
            return Err(SogsError::invalid(
                "the message is signed by another id than the request",
            ));
        }
        let answer = self.attempt(parts, signer.as_ref()).await?;
        match crate::call::check(&answer).map_err(SogsError::into_cause) {
            Err(Cause::BlindingRequired)
                if self.inner.blinding == Blinding::Auto && matches!(signer, Some(Signer::Account(_))) =>
            {
                let identity = self.inner.identity.as_ref().expect("there is a signer");
                let blinded = Signer::blind15(identity, &self.inner.key);
                self.set_signer(&blinded);
                if parts.author.is_some() {
                    return Ok(answer);
                }
                signer = Some(blinded);
                self.attempt(parts, signer.as_ref()).await
            }
            Err(Cause::NonceReused) => self.attempt(parts, signer.as_ref()).await,
            _ => Ok(answer),
        }
    }

    async fn attempt(&self, parts: &CallParts, signer: Option<&Signer>) -> Result<Answer, SogsError> {
        let (body, content_type) = parts.body();
        let mut headers = parts.headers.clone();
        if let Some(content_type) = content_type
            && !headers.iter().any(|(name, _)| name == "content-type")
        {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        let signed_body = body.clone().unwrap_or_default();
        let sign = |path: &str| -> Vec<(String, String)> {
            let Some(signer) = signer else { return Vec::new() };
            let mut nonce = [0; NONCE_LEN_BYTES];
            getrandom::fill(&mut nonce).expect("the system has randomness");
            Request {
                method: parts.method,
                path,
                body: &signed_body,
            }
            .sign(signer, &self.inner.key, &nonce, (self.inner.clock)().as_secs())
            .pairs()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
        };
        let outgoing = Outgoing {
            method: parts.method,
            path: &parts.path,
            headers: &headers,
            body,
            upload: parts.upload.clone(),
            download: parts.download.clone(),
            answer_bytes: parts.answer_bytes,
        };
        let mut answer = self.inner.transport.send(&outgoing, &sign).await?;
        // Measured against the system's clock; what is wrong is the one that signs.
        answer.clock_offset = answer
            .clock_offset
            .map(|offset| offset + now_secs() - i64::try_from((self.inner.clock)().as_secs()).unwrap_or(0));
        Ok(answer)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.inner.base_url)
    }
}

/// The answer to a raw request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAnswer {
    /// HTTP status, 2xx.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body of the answer.
    pub body: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_ends_within_a_minute_by_default() {
        let key = ServerKey::from_bytes([9; 32]);
        let server = Server::builder("http://127.0.0.1:1", key)
            .build()
            .expect("a server");
        assert!(
            server.inner.call_time < Duration::from_mins(1),
            "{:?}",
            server.inner.call_time
        );
        let patient = Server::builder("http://127.0.0.1:1", key)
            .read_timeout(Duration::from_mins(2))
            .build()
            .expect("a server");
        assert!(
            patient.inner.call_time > Duration::from_mins(2),
            "a longer silence is allowed for"
        );
    }
}
