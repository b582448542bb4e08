//! Identity and permissions of the caller.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ackpost_apprise::{Entry, TagFilter, Values};
use ackpost_notify::Environment;
use ackpost_outbox::{Entry as Queued, target_labels};
use axum::http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Version};
use base64::Engine as _;

use super::config::{Access, Config};
use super::key::Key;
use super::reply::Reply;
use super::state::Gateway;
use super::token::{Grant, Scope};

/// The address a request came from, put on every request by the listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The caller of a request.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// The gateway is open.
    Anyone,
    /// Somebody with a token.
    Token(Arc<Grant>),
}

impl Caller {
    /// Identifies the caller by a token, a page's session, or neither on an open gateway.
    pub(crate) fn identify(gateway: &Gateway, parts: &Parts) -> Result<Self, Reply> {
        let config = gateway.config();
        let peer = client(&config, parts);
        let now = Instant::now();
        gateway.reload_tokens();
        if is_open_to(gateway, parts.version, &parts.headers) {
            own_host(&config, &parts.headers)?;
            gateway
                .rates
                .callers
                .take(&format!("{peer}"), config.limits.token_rate, now)
                .map_err(too_often)?;
            return Ok(Self::Anyone);
        }
        let grant = match cookie(&parts.headers) {
            Some(session) if presented(&parts.headers).is_none() => of_session(gateway, &session, now),
            _ => match presented(&parts.headers) {
                Some(token) => Some(of_token(gateway, &token, peer)?),
                None => None,
            },
        };
        let grant = grant.ok_or_else(Reply::unauthorized)?;
        let rate = grant.rate().unwrap_or(config.limits.token_rate);
        gateway
            .rates
            .callers
            .take(&grant.id, rate, now)
            .map_err(too_often)?;
        Ok(Self::Token(grant))
    }

    /// Refuses requests that the token does not permit. A key outside of it looks as if it did not exist.
    pub(crate) fn may(&self, scope: Scope, key: Option<&Key>) -> Result<(), Reply> {
        let Self::Token(grant) = self else { return Ok(()) };
        if !grant.allows(scope) {
            return Err(
                Reply::forbidden(format!("this token does not allow `{}`", scope.as_str()))
                    .remedy("make one with `ackpost gateway token add --allow …`"),
            );
        }
        match key {
            Some(key) if !grant.covers(key) => {
                Err(Reply::forbidden("this token is not for this key").remedy("use the token of this key"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a token that is bound to tags: a configuration as a whole holds services with other tags, too.
    pub(crate) fn may_whole(&self, scope: Scope, key: &Key) -> Result<(), Reply> {
        self.may(scope, Some(key))?;
        match self {
            Self::Token(grant) if !grant.tags.is_empty() => Err(Reply::forbidden(
                "this token is bound to tags, and this request is about the whole configuration",
            )
            .remedy("use a token without --tag")),
            _ => Ok(()),
        }
    }

    /// Refuses to show secrets to somebody who showed none, unless the operator wrote that this gateway is open.
    pub(crate) fn may_see_secrets(&self, gateway: &Gateway) -> Result<(), Reply> {
        match self {
            Self::Token(_) => Ok(()),
            Self::Anyone if gateway.config().access == Access::Open => Ok(()),
            Self::Anyone => Err(Reply::forbidden("secrets are shown only with a token").remedy(
                "make one with `ackpost gateway token add NAME --allow configure`, or write access = \"open\" in \
                 gateway.toml",
            )),
        }
    }

    /// The entries of the outbox that the caller may see and change.
    pub(crate) async fn reach(&self, gateway: &Gateway) -> Result<Reach, Reply> {
        let Self::Token(grant) = self else {
            return Ok(Reach::Everything);
        };
        if grant.is_unbound() {
            return Ok(Reach::Everything);
        }
        if grant.tags.is_empty() {
            return Ok(Reach::Keys(Arc::clone(grant)));
        }
        let values = Values::new::<&str, String>([], &Environment::empty());
        let mut targets = HashSet::new();
        for key in gateway.keys()?.into_iter().filter(|key| grant.covers(key)) {
            let Some(found) = super::routes::notify::key_services(gateway, &key).await? else {
                continue;
            };
            for entry in found.iter().filter(|entry| self.reaches(entry)) {
                if let Ok(service) = entry.resolve(&values) {
                    for target in target_labels(&service) {
                        targets.insert((key.to_string(), service.url_id(8), target));
                    }
                }
            }
        }
        Ok(Reach::Targets(targets))
    }

    /// True when the token reaches this service: it has no tags, or shares one.
    pub(crate) fn reaches(&self, entry: &Entry) -> bool {
        match self {
            Self::Token(grant) if !grant.tags.is_empty() => {
                entry.tags.iter().any(|tag| grant.tags.contains(&tag.name))
            }
            _ => true,
        }
    }

    /// True if the caller may name services that Apprise delivers. That needs a token.
    pub(crate) fn may_foreign(&self) -> bool {
        matches!(self, Self::Token(grant) if grant.allows(Scope::Foreign))
    }

    /// The services of a key that are meant and may be reached.
    pub(crate) fn choose<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
        filter: &TagFilter,
    ) -> Vec<&'a Entry> {
        entries
            .filter(|entry| filter.matches(&entry.tags) && self.reaches(entry))
            .collect()
    }
}

/// The grant of a presented token. Only wrong tokens count against an address: a right one is never refused for them.
pub(crate) fn of_token(gateway: &Gateway, token: &str, peer: IpAddr) -> Result<Arc<Grant>, Reply> {
    if let Some(grant) = gateway.tokens.check(token, SystemTime::now()) {
        return Ok(grant);
    }
    tracing::warn!(%peer, "a request had a wrong token");
    let rate = gateway.config().limits.guess_rate;
    match gateway.rates.guesses.take(&peer, rate, Instant::now()) {
        Ok(()) => Err(Reply::unauthorized()),
        Err(wait) => Err(Reply::too_many(
            "too many wrong tokens came from this address",
            wait,
        )),
    }
}

/// The grant of a page's session, as its token is now. The session ends with its token.
fn of_session(gateway: &Gateway, session: &str, now: Instant) -> Option<Arc<Grant>> {
    let opened_with = gateway.logins.grant(session, now)?;
    let grant = gateway.tokens.current(&opened_with, SystemTime::now());
    if grant.is_none() {
        gateway.logins.close(session);
    }
    grant
}

/// The part of the outbox that belongs to the keys and tags of a token.
#[derive(Debug)]
pub(crate) enum Reach {
    Everything,
    /// Entries that came in through the keys of this token.
    Keys(Arc<Grant>),
    /// Entries that came in through these keys for these services (by [`ackpost_notify::ServiceUrl::url_id`]) and targets.
    Targets(HashSet<(String, String, String)>),
}

impl Reach {
    pub(crate) fn includes(&self, entry: &Queued) -> bool {
        match (self, &entry.origin) {
            (Self::Everything, _) => true,
            (_, None) => false,
            (Self::Keys(grant), Some(origin)) => Key::parse(origin).is_ok_and(|key| grant.covers(&key)),
            (Self::Targets(targets), Some(origin)) => {
                targets.contains(&(origin.clone(), entry.url_id.clone(), entry.target.clone()))
            }
        }
    }
}

fn too_often(wait: std::time::Duration) -> Reply {
    Reply::too_many("too many requests", wait)
}

/// The address of the caller: the peer, or the address that a trusted proxy forwards for.
pub(crate) fn client(config: &Config, parts: &Parts) -> IpAddr {
    let peer = parts
        .extensions
        .get::<Peer>()
        .map_or(IpAddr::from([127, 0, 0, 1]), |peer| peer.0);
    bounded_http::client_address(&config.trusted_proxies, peer, &parts.headers)
}

/// Returns true when this request needs no token. A proxy makes a loopback gateway reachable from elsewhere: only the
/// word "open" opens it for forwarded requests.
pub(crate) fn is_open_to(gateway: &Gateway, version: Version, headers: &HeaderMap) -> bool {
    gateway.is_open() && (gateway.config().access == Access::Open || !is_forwarded(version, headers))
}

/// Headers that proxies, load balancers and content delivery networks add, and programs that call directly do not send.
const PROXY_HEADERS: [&str; 16] = [
    "forwarded",
    "via",
    "cdn-loop",
    "client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
    "x-remote-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "true-client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "proxy-client-ip",
    "wl-proxy-client-ip",
    "x-amzn-trace-id",
];
/// Beginnings of such headers.
const PROXY_PREFIXES: [&str; 6] = [
    "x-forwarded",
    "cf-",
    "x-envoy-",
    "x-azure-",
    "x-arr-",
    "tailscale-",
];

/// Returns true if a request shows that a proxy forwarded it: by a header, or by being written as nginx forwards it
/// without further settings, as HTTP/1.0 with `Connection: close`. Programs that speak HTTP/1.0 themselves, such as
/// `curl --http1.0`, leave that header out, because the connection closes anyway.
fn is_forwarded(version: Version, headers: &HeaderMap) -> bool {
    let names = || headers.keys().map(HeaderName::as_str);
    let by_header = names().any(|name| {
        PROXY_HEADERS.contains(&name) || PROXY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    let closes = headers
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    by_header || (version == Version::HTTP_10 && closes)
}

/// `Bearer TOKEN`, or HTTP Basic with the token as password (or as user, without a password).
fn presented(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (kind, rest) = text.split_once(' ')?;
    if kind.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !kind.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(rest.trim())
        .ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    Some(if password.is_empty() { user } else { password }.to_owned())
}

/// The name of the cookie of the pages.
pub(crate) const COOKIE_NAME: &str = "ackpost";

/// The session in the cookie of the pages.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE_NAME).then(|| value.to_owned())
        })
}

/// An open gateway answers only under its own names: a page elsewhere that lets its name point here gets nothing.
fn own_host(config: &Config, headers: &HeaderMap) -> Result<(), Reply> {
    let host = headers
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let name = host_name(host);
    let own = matches!(name.as_str(), "localhost" | "")
        || name.parse::<IpAddr>().is_ok()
        || config.hosts.iter().any(|known| known.eq_ignore_ascii_case(&name));
    if own && config.access != Access::Tokens {
        return same_origin(config, headers);
    }
    Err(Reply::new(
        axum::http::StatusCode::MISDIRECTED_REQUEST,
        "this gateway does not go by that name",
    )
    .remedy("add the name to `hosts` in gateway.toml, or use tokens"))
}

fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.to_ascii_lowercase()
}

/// Refuses a request that a browser makes for a page of another site. Other clients send neither header.
pub(crate) fn same_origin(config: &Config, headers: &HeaderMap) -> Result<(), Reply> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let foreign = || {
        Reply::forbidden("the request was made by a page of another site")
            .remedy("open the gateway's own page")
    };
    if matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")) {
        return Err(foreign());
    }
    if let Some(origin) = text(ORIGIN.as_str()) {
        let from = origin.split_once("://").map_or("", |(_, host)| host);
        // A proxy may pass on its own name for `Host`, but not one of the names in gateway.toml.
        let own = text(HOST.as_str()) == Some(from)
            || config
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&host_name(from)));
        if from.is_empty() || !own {
            return Err(foreign());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn tokens_come_as_bearer_or_basic() {
        let basic = |text: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
        for (value, expected) in [
            ("Bearer abc".to_owned(), Some("abc")),
            ("bearer  abc ".to_owned(), Some("abc")),
            (basic("user:abc"), Some("abc")),
            (basic("abc"), Some("abc")),
            (basic("abc:"), Some("abc")),
            ("Digest abc".to_owned(), None),
            ("Basic %%%".to_owned(), None),
        ] {
            assert_eq!(
                presented(&headers(&[("authorization", &value)])).as_deref(),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn a_forwarded_request_is_recognised() {
        let direct = [
            ("host", "127.0.0.1:8000"),
            ("user-agent", "curl/8.0"),
            ("accept", "*/*"),
        ];
        assert!(
            !is_forwarded(Version::HTTP_10, &headers(&direct)),
            "curl --http1.0"
        );
        assert!(!is_forwarded(
            Version::HTTP_10,
            &headers(&[("connection", "keep-alive")])
        ));
        assert!(!is_forwarded(
            Version::HTTP_11,
            &headers(&[("connection", "close")])
        ));
        assert!(
            is_forwarded(Version::HTTP_10, &headers(&[("connection", "Close")])),
            "nginx"
        );
        for name in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-server",
            "x-forwarded-port",
            "x-real-ip",
            "cf-connecting-ip",
            "cf-ray",
            "true-client-ip",
            "x-envoy-external-address",
            "x-client-ip",
        ] {
            assert!(is_forwarded(Version::HTTP_11, &headers(&[(name, "x")])), "{name}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let mut config = Config::with_folder("/x".into());
        config.hosts = vec!["notify.example.org".into()];
        assert!(same_origin(&config, &headers(&[("host", "localhost:8000")])).is_ok());
        let proxied = [
            ("host", "127.0.0.1:8000"),
            ("origin", "https://notify.example.org"),
        ];
        assert!(same_origin(&config, &headers(&proxied)).is_ok());
        assert!(
            same_origin(
                &config,
                &headers(&[
                    ("host", "h:1"),
                    ("origin", "http://h:1"),
                    ("sec-fetch-site", "same-origin")
                ])
            )
            .is_ok()
        );
        for bad in [
            [("host", "h:1"), ("origin", "http://evil.example")],
            [("host", "h:1"), ("origin", "null")],
            [("host", "h:1"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(same_origin(&config, &headers(&bad)).is_err());
        }
        for good in ["localhost:8000", "127.0.0.1", "[::1]:8000"] {
            assert!(own_host(&config, &headers(&[("host", good)])).is_ok(), "{good}");
        }
        assert!(own_host(&config, &headers(&[("host", "evil.example:8000")])).is_err());
    }
}
