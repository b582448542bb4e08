//! The way of a message to a Session community.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use session_protocol::RoomToken;
use sogs_client::types::Capabilities;
use sogs_client::{Cause, ListOptions, Server, ServerBuilder, SogsError};

use super::net;
use super::step::Walk;
use super::suggest;

/// Options of the client that follow from the URL.
pub(super) struct Way {
    /// Ready to build: identity, blinding, encryption, trust, limits.
    pub(super) builder: ServerBuilder,
    pub(super) base_url: String,
    pub(super) rooms: Vec<RoomToken>,
    /// PEM of `ca_file=`.
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) verify: bool,
    /// `blind=no` was written.
    pub(super) never_blind: bool,
    /// `encrypt=no` was written.
    pub(super) never_seal: bool,
    pub(super) connect_limit: Duration,
}

/// Clients hide a message whose time differs by more than this from the server's.
const HIDDEN_AFTER_SECS: u64 = 6 * 3_600;
/// A server refuses a request whose time differs by more than this.
const REFUSED_AFTER_SECS: u64 = 24 * 3_600;
/// A difference that a person would want to know of.
const ODD_AFTER_SECS: u64 = 120;

const AFTER_DNS: [&str; 6] = ["tcp", "tls", "http", "clock", "capabilities", "signature"];

/// Runs the checks in their order.
pub(super) async fn walk(walk: &mut Walk, way: Way) {
    let rooms = way.rooms.clone();
    if let Some(server) = server_steps(walk, way).await {
        for room in &rooms {
            walk.begin();
            room_step(walk, &server, room).await;
        }
        return;
    }
    for room in &rooms {
        walk.skip("room", "the server did not pass the earlier steps")
            .of(room.to_string());
    }
}

/// Everything before the rooms; the server, when they can be asked for.
async fn server_steps(walk: &mut Walk, way: Way) -> Option<Server> {
    let base = url::Url::parse(&way.base_url).ok()?;
    let host = base.host_str().unwrap_or_default().to_owned();
    let port = base.port_or_known_default().unwrap_or(443);
    let secure = base.scheme() == "https";
    if let Some(proxy) = net::proxy_for(secure, &host) {
        walk.skip_all(
            &["dns", "tcp", "tls"],
            &format!("requests go through the proxy {proxy}"),
        );
    } else if !network(walk, &way, &host, port, secure).await {
        return None;
    }
    let http = client(&way)?;
    let plain = plain_answer(walk, &http, &way.base_url).await?;
    clock(walk, plain.date_secs);
    capabilities(walk, &way, &plain.capabilities);
    walk.begin();
    let server = match way.builder.build() {
        Ok(server) => server,
        Err(error) => {
            walk.fail("signature", error.to_string(), error.remedy());
            return None;
        }
    };
    signature(walk, &server).await.then_some(server)
}

async fn network(walk: &mut Walk, way: &Way, host: &str, port: u16, secure: bool) -> bool {
    let addresses = net::dns(walk, host, port, way.connect_limit).await;
    if addresses.is_empty() {
        walk.skip_all(&AFTER_DNS, "there is no address");
        return false;
    }
    let Some(address) = net::tcp(walk, &addresses, way.connect_limit).await else {
        walk.skip_all(&AFTER_DNS[1..], "there is no connection");
        return false;
    };
    walk.begin();
    if !secure {
        let instead = if way.never_seal {
            "not used, and encrypt=no seals nothing: everybody on the way can read and change what is sent"
        } else {
            "not used: requests are sealed to the server's key instead"
        };
        walk.skip("tls", instead);
        return true;
    }
    match net::tls(
        address,
        host,
        way.authorities.as_deref(),
        way.verify,
        way.connect_limit,
    )
    .await
    {
        Ok(shaken) => {
            let good = net::tls_step(walk, &shaken, way.verify);
            if !good {
                walk.skip_all(&AFTER_DNS[2..], "the server is not proven");
            }
            good
        }
        Err((cause, remedy)) => {
            walk.fail("tls", cause, remedy);
            if speaks_plain_http(address).await {
                let url = suggest::with_schema(walk.url(), "session");
                walk.suggest(url, "use session:// : the port speaks http without TLS");
            }
            walk.skip_all(&AFTER_DNS[2..], "there is no encrypted connection");
            false
        }
    }
}

async fn speaks_plain_http(address: std::net::SocketAddr) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let look = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream
            .write_all(b"GET /capabilities HTTP/1.0\r\n\r\n")
            .await
            .ok()?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await.ok()?;
        Some(&start == b"HTTP/")
    };
    tokio::time::timeout(Duration::from_secs(4), look)
        .await
        .ok()
        .flatten()
        .unwrap_or(false)
}

/// A client for the unsigned questions. Redirects are looked at, not followed.
fn client(way: &Way) -> Option<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(way.connect_limit)
        .timeout(way.connect_limit.max(Duration::from_secs(5)) + Duration::from_secs(5))
        .user_agent("Ackpost doctor");
    if !way.verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else if let Some(pem) = &way.authorities {
        let authorities = reqwest::Certificate::from_pem_bundle(pem).ok()?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().ok()
}

pub(super) struct PlainAnswer {
    pub(super) date_secs: Option<i64>,
    pub(super) capabilities: Capabilities,
}

/// `GET /capabilities` without a signature: is this a community server at all?
pub(super) async fn plain_answer(walk: &mut Walk, http: &reqwest::Client, base: &str) -> Option<PlainAnswer> {
    walk.begin();
    let rest = &AFTER_DNS[3..];
    let response = match http.get(format!("{base}/capabilities")).send().await {
        Ok(response) => response,
        Err(error) => {
            let (seen, remedy) = if error.is_timeout() {
                (
                    "the server does not answer",
                    "try again later; if it happens again, tell the operators",
                )
            } else if is_no_http(&error) {
                (
                    "the program on this port does not speak HTTP",
                    "check the port, and copy it from the join link of the community",
                )
            } else {
                (
                    "the connection broke before an answer",
                    "try again later; if it happens again, tell the operators",
                )
            };
            walk.fail("http", seen, remedy);
            walk.skip_all(rest, "the server did not answer");
            return None;
        }
    };
    let status = response.status().as_u16();
    let date_secs = response
        .headers()
        .get("date")
        .and_then(|date| http_date(date.to_str().ok()?));
    if response.status().is_redirection() {
        let to = response
            .headers()
            .get("location")
            .and_then(|to| to.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        redirected(walk, base, &to);
        walk.skip_all(rest, "the server is elsewhere");
        return None;
    }
    // Capabilities are a few words; more than this is something else.
    let body = tokio::time::timeout(Duration::from_secs(10), limited(response, 64 << 10))
        .await
        .ok()
        .flatten();
    match body.and_then(|body| serde_json::from_slice::<Capabilities>(&body).ok()) {
        Some(capabilities) if status == 200 && capabilities.has("sogs") => {
            walk.ok("http", "a community server answers");
            Some(PlainAnswer {
                date_secs,
                capabilities,
            })
        }
        _ if status >= 500 => {
            walk.fail(
                "http",
                format!("the server fails with status {status}"),
                "try again later; if it happens again, tell the operators",
            );
            walk.skip_all(rest, "the server failed");
            None
        }
        _ => {
            walk.fail(
                "http",
                format!("this is not a community server (status {status})"),
                "check host, port and path: copy them from the join link of the community",
            );
            walk.skip_all(rest, "there is no community server");
            None
        }
    }
}

/// Returns true if another protocol answered. Only the innermost text of the HTTP library's error says so.
fn is_no_http(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string().starts_with("invalid HTTP ") {
            return true;
        }
        source = cause.source();
    }
    false
}

fn redirected(walk: &mut Walk, base: &str, to: &str) {
    walk.fail(
        "http",
        format!(
            "the server redirects to {}",
            if to.is_empty() { "nowhere" } else { to }
        ),
        "use the address it points to, if you trust it; signed posts are not forwarded",
    );
    let target = url::Url::parse(base).ok().and_then(|base| base.join(to).ok());
    let Some(target) = target.filter(|target| matches!(target.scheme(), "http" | "https")) else {
        return;
    };
    let Some(host) = target.host_str() else { return };
    let host = target
        .port()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let schema = if target.scheme() == "https" {
        "sessions"
    } else {
        "session"
    };
    let url = suggest::with_host(&suggest::with_schema(walk.url(), schema), &host);
    walk.suggest(url, format!("use {schema}://…@{host}"));
}

pub(super) async fn limited(mut response: reqwest::Response, limit: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.ok()? {
        if body.len() + part.len() > limit {
            return None;
        }
        body.extend_from_slice(&part);
    }
    Some(body)
}

/// `Sat, 21 Nov 2026 22:00:00 GMT` as Unix seconds.
fn http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|at| at.timestamp().as_second())
}

pub(super) fn clock(walk: &mut Walk, date_secs: Option<i64>) {
    walk.begin();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
        .cast_signed();
    let Some(date) = date_secs else {
        walk.skip("clock", "the server does not report its time");
        return;
    };
    let offset = date - now;
    let much = offset.unsigned_abs();
    let way = if offset > 0 { "behind" } else { "ahead of" };
    let seen = format!("this machine's clock is {much} s {way} the server's");
    let remedy = "set this machine's clock, for example with timedatectl set-ntp true";
    match much {
        0..=ODD_AFTER_SECS => {
            walk.ok("clock", format!("{much} s apart"));
        }
        _ if much > REFUSED_AFTER_SECS => {
            walk.fail(
                "clock",
                format!("{seen}; it refuses requests beyond 24 hours"),
                remedy,
            );
        }
        _ if much > HIDDEN_AFTER_SECS => {
            walk.fail(
                "clock",
                format!("{seen}; Session's apps hide messages beyond 6 hours"),
                remedy,
            );
        }
        _ => {
            walk.warn("clock", seen, remedy);
        }
    }
}

fn capabilities(walk: &mut Walk, way: &Way, capabilities: &Capabilities) {
    let list = capabilities.capabilities.join(", ");
    if capabilities.requires_blinding() && way.never_blind {
        walk.fail(
            "capabilities",
            format!("{list}; blind=no does not fit, the server accepts blinded ids only"),
            "remove blind=no",
        );
        let url = suggest::with_parameter(walk.url(), "blind", None);
        walk.suggest(url, "remove blind=no");
        return;
    }
    walk.ok("capabilities", list);
}

/// A signed question: is the key the server's, is the time right, is the account welcome?
async fn signature(walk: &mut Walk, server: &Server) -> bool {
    let signer = match server.signer().await {
        Ok(signer) => signer,
        Err(error) => {
            walk.fail("signature", error.to_string(), error.remedy());
            return false;
        }
    };
    match server.rooms().await {
        Ok(_) => {
            let sealed = if server.is_sealed() {
                ", sealed to the server's key"
            } else {
                ""
            };
            walk.ok(
                "signature",
                format!(
                    "accepted{sealed}; the server shows this account as {}",
                    signer.shown_id()
                ),
            );
            true
        }
        Err(error) => {
            if walk.is_ok() || !already_said(error.cause()) {
                walk.fail(step_of(&error), error.to_string(), error.remedy());
            } else {
                walk.skip("signature", "an earlier step says why it cannot be accepted");
            }
            false
        }
    }
}

/// Causes that the steps before have told already.
fn already_said(cause: &Cause) -> bool {
    matches!(cause, Cause::ClockSkew { .. } | Cause::BlindingRequired)
}

fn step_of(error: &SogsError) -> &'static str {
    match error.cause() {
        Cause::Banned => "account",
        Cause::ClockSkew { .. } => "clock",
        _ => "signature",
    }
}

async fn room_step(walk: &mut Walk, server: &Server, token: &RoomToken) {
    let name = token.to_string();
    let info = match server.room(token).info().await {
        Ok(info) => info,
        Err(error) if error.ban().is_some() => {
            walk.fail("room", error.to_string(), error.remedy()).of(name);
            return;
        }
        Err(error) if *error.cause() == Cause::NotFound => {
            match closed(server, token).await {
                Some(error) => walk
                    .fail(
                        "room",
                        format!("the room is closed to this account: {error}"),
                        error.remedy(),
                    )
                    .of(name),
                None => no_room(walk, server, token).await,
            }
            return;
        }
        Err(error) => {
            walk.fail("room", error.to_string(), error.remedy()).of(name);
            return;
        }
    };
    let role = match (info.admin, info.moderator) {
        (true, _) => ", as admin",
        (_, true) => ", as moderator",
        _ => "",
    };
    if !info.write {
        let cause = if info.read {
            "may read but not post"
        } else {
            "may neither read nor post"
        };
        walk.fail(
            "room",
            format!("\u{201c}{}\u{201d} exists, but this account {cause}", info.name),
            "ask a moderator of the community for the permission to post",
        )
        .of(name);
        return;
    }
    let pace = if info.admin {
        "posts are not limited"
    } else {
        "at most 5 posts in 16 s"
    };
    let seen = format!("\u{201c}{}\u{201d}: may post{role}; {pace}", info.name);
    if info.upload {
        walk.ok("room", format!("{seen}; files are allowed")).of(name);
    } else {
        walk.warn(
            "room",
            format!("{seen}; files are not allowed"),
            "messages get through; attachments (-a) do not",
        )
        .of(name);
    }
}

/// Returns the error of a server that hides a room from us, for example after a ban there.
///
/// Its description looks missing, but its messages are forbidden. Returns `None` if there is no such room.
async fn closed(server: &Server, token: &RoomToken) -> Option<SogsError> {
    let error = server.room(token).recent(ListOptions::limit(1)).await.err()?;
    matches!(error.cause(), Cause::Forbidden | Cause::Banned).then_some(error)
}

async fn no_room(walk: &mut Walk, server: &Server, token: &RoomToken) {
    let name = token.to_string();
    let rooms = server.rooms().await.unwrap_or_default();
    let tokens: Vec<String> = rooms.iter().map(|room| room.token.to_string()).collect();
    let near = suggest::nearest(&name, tokens.iter().map(String::as_str)).map(str::to_owned);
    let remedy = match &near {
        Some(near) => format!("write {near} instead, if that is the room you mean"),
        None if tokens.is_empty() => "copy the token from the join link of the room".to_owned(),
        None => format!(
            "choose one of its rooms: {}",
            tokens.iter().take(10).cloned().collect::<Vec<_>>().join(", ")
        ),
    };
    walk.fail(
        "room",
        "the room does not exist, or is not visible to this account",
        remedy,
    )
    .of(name.clone());
    if let Some(near) = near {
        let url = suggest::with_target(walk.url(), &name, &near);
        walk.suggest(url, format!("write {near} instead of {name}"));
    }
}
