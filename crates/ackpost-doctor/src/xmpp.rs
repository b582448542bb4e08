//! The way of a message to XMPP.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use ackpost_xmpp::probe::{Candidate, Offered, Probe};
use ackpost_xmpp::{Account, Jid, Mode, RoomTarget, Step as Doing, Target, Verify, XmppError, probe};

use super::certificate::Certificate;
use super::net::{self, Shaken};
use super::omemo;
use super::step::Walk;
use super::suggest;

/// Options of the client that follow from the URL.
pub(super) struct Way {
    pub(super) account: Account,
    pub(super) rooms: Vec<RoomTarget>,
    pub(super) people: Vec<Jid>,
    /// True if certificates are checked.
    pub(super) verify: bool,
    pub(super) connect_limit: std::time::Duration,
}

/// Returns the step to which an error belongs.
fn step_of(error: &XmppError) -> &'static str {
    match error {
        XmppError::NoSuchHost { .. } | XmppError::DnsFailed { .. } | XmppError::ServiceNotOffered { .. } => {
            "dns"
        }
        XmppError::ConnectionRefused { .. }
        | XmppError::Unreachable { .. }
        | XmppError::ConnectTimeout { .. } => "tcp",
        XmppError::PortExpectsTls
        | XmppError::PortExpectsClearText
        | XmppError::StartTlsNotOffered { .. }
        | XmppError::StartTlsRefused
        | XmppError::DataBeforeTls
        | XmppError::TlsRequired { .. }
        | XmppError::CertificateUntrusted { .. }
        | XmppError::CertificateExpired { .. }
        | XmppError::CertificateNotYetValid { .. }
        | XmppError::CertificateWrongName { .. }
        | XmppError::CertificateOnlyXmppNames { .. }
        | XmppError::CertificateInvalid { .. }
        | XmppError::BadAuthority { .. }
        | XmppError::TlsFailed { .. }
        | XmppError::AnswerTimeout {
            step: Doing::Tls | Doing::StartTls,
            ..
        } => "tls",
        XmppError::OnlyPlain { .. }
        | XmppError::NoMechanism { .. }
        | XmppError::OnlyIqAuth { .. }
        | XmppError::ChannelBindingUnavailable { .. } => "mechanism",
        XmppError::NotXmpp { .. }
        | XmppError::HostUnknown { .. }
        | XmppError::StreamError { .. }
        | XmppError::SeeOtherHost { .. }
        | XmppError::OldStream { .. }
        | XmppError::ShuttingDown { .. }
        | XmppError::ConnectionLost { step: Doing::Opening }
        | XmppError::AnswerTimeout {
            step: Doing::Opening, ..
        } => "stream",
        _ => "login",
    }
}

const AFTER_DNS: [&str; 5] = ["tcp", "tls", "stream", "mechanism", "login"];

/// Runs the checks in their order.
pub(super) async fn walk(walk: &mut Walk, way: &Way) {
    let Some(candidates) = servers(walk, way).await else {
        walk.skip_all(&AFTER_DNS, "there is no server to ask");
        return targets_skipped(walk, way);
    };
    let addresses = addresses(walk, &candidates, way).await;
    if addresses.is_empty() {
        walk.skip_all(&AFTER_DNS, "there is no address to connect to");
        return targets_skipped(walk, way);
    }
    if net::tcp(walk, &addresses, way.connect_limit).await.is_none() {
        walk.skip_all(&AFTER_DNS[1..], "there is no connection");
        return targets_skipped(walk, way);
    }
    if !stream(walk, way, &candidates[0]).await {
        walk.skip(
            "login",
            "the password is sent only to a server that passed the earlier steps",
        );
        return targets_skipped(walk, way);
    }
    walk.begin();
    let mut visit = match Probe::open(&way.account).await {
        Ok(visit) => visit,
        Err(error) => {
            // A step that passed earlier can only fail here by chance; the error is still reported at that step.
            walk.fail(step_of(&error), error.to_string(), error.remedy());
            return targets_skipped(walk, way);
        }
    };
    let mut seen = format!("logged in as {}", visit.jid());
    if visit.without_binding() {
        seen.push_str("; the server rejected the channel binding it offers");
    }
    if let Some(program) = visit.server_program() {
        let _ = write!(seen, "; the server is {program}");
    }
    if visit.answers_before_it_stores() {
        seen.push_str(
            ", which answers before it stores: a crash can lose messages it has just confirmed, only confirm=receipt proves more",
        );
    }
    if visit.without_binding() {
        walk.warn(
            "login",
            seen,
            "add scramplus=no to save a try, and tell the operator",
        );
    } else {
        walk.ok("login", seen);
    }
    targets(walk, way, &mut visit).await;
    upload(walk, &mut visit).await;
    visit.close().await;
    let people = way.people.iter().cloned().map(Target::User);
    let rooms = way.rooms.iter().cloned().map(Target::Room);
    omemo::check(walk, &way.account, rooms.chain(people).collect()).await;
}

async fn servers(walk: &mut Walk, way: &Way) -> Option<Vec<Candidate>> {
    walk.begin();
    match probe::resolve_srv(&way.account).await {
        Ok(candidates) => Some(candidates),
        Err(error) => {
            walk.fail("dns", error.to_string(), error.remedy());
            None
        }
    }
}

/// The addresses of all candidates, in the order they would be tried.
async fn addresses(walk: &mut Walk, candidates: &[Candidate], way: &Way) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let mut shown = Vec::new();
    let limit = way.connect_limit.max(std::time::Duration::from_secs(5));
    for one in candidates.iter().take(8) {
        let kind = match one.mode {
            Mode::None => "no encryption",
            Mode::StartTls => "STARTTLS",
            Mode::Tls => "direct TLS",
        };
        let host = one.host.as_str();
        let looked = tokio::time::timeout(limit, probe::resolve_addresses(&way.account, one)).await;
        let before = found.len();
        if let Ok(Ok(addresses)) = looked {
            found.extend(addresses);
        }
        let count = ackpost_platform::text::count((found.len() - before) as u64, "address");
        shown.push(format!("{host}:{} ({kind}, {count})", one.port));
    }
    found.dedup();
    let shown = shown.join(", ");
    if found.is_empty() {
        walk.fail(
            "dns",
            format!("{shown}: no address"),
            "check the spelling of the host, and this machine's name resolution",
        );
    } else {
        walk.ok("dns", shown);
    }
    found
}

/// TLS, the stream and its mechanisms. True when a login may be tried.
async fn stream(walk: &mut Walk, way: &Way, first: &Candidate) -> bool {
    walk.begin();
    match probe::features(&way.account).await {
        Ok(offered) => {
            let good = tls_seen(walk, way, &offered);
            good & mechanism(walk, way, &offered)
        }
        Err(error) => {
            // On such a port, servers hang up on clients that do not begin with TLS.
            let hung_up = matches!(
                error,
                XmppError::NotXmpp { .. }
                    | XmppError::ConnectionLost { .. }
                    | XmppError::AnswerTimeout { .. }
            );
            let error = match step_of(&error) {
                "stream" if hung_up && expects_tls(way, first).await => XmppError::PortExpectsTls,
                _ => error,
            };
            let step = step_of(&error);
            if step == "tls" {
                tls_failed(walk, way, first, &error).await;
            } else {
                if step == "stream" {
                    walk.skip("tls", "seen as part of the stream, which did not open");
                }
                walk.fail(step, error.to_string(), error.remedy());
            }
            if step == "stream" {
                walk.skip("mechanism", "the stream did not open");
            }
            false
        }
    }
}

fn tls_seen(walk: &mut Walk, way: &Way, offered: &Offered) -> bool {
    if !offered.encrypted {
        let remedy = "use xmpps:// where the server offers encryption";
        if offered.starttls {
            let better = suggest::with_parameter(
                &suggest::with_schema(walk.url(), "xmpps"),
                "mode",
                Some("starttls"),
            );
            walk.warn(
                "tls",
                "the connection is not encrypted, although the server offers STARTTLS",
                remedy,
            );
            walk.suggest(better, "use xmpps:// with mode=starttls");
        } else {
            walk.warn("tls", "the connection is not encrypted", remedy);
        }
        return true;
    }
    let certificate = offered
        .certificates
        .first()
        .map(|der| Certificate::read(der))
        .unwrap_or_default();
    let version = offered.tls_version.clone().unwrap_or_default().replace('v', " ");
    let shaken = Shaken {
        version,
        certificate,
        distrust: None,
    };
    net::tls_step(walk, &shaken, way.verify)
}

/// Reports the TLS failure, checks the steps after it without showing a password, and tries possible remedies.
async fn tls_failed(walk: &mut Walk, way: &Way, first: &Candidate, error: &XmppError) {
    let mut seen = error.to_string();
    let trusting = way.account.clone().verify(Verify::No);
    let behind = match error {
        XmppError::PortExpectsTls
        | XmppError::PortExpectsClearText
        | XmppError::StartTlsNotOffered { .. } => None,
        _ => probe::features(&trusting).await.ok(),
    };
    if let Some(der) = behind.as_ref().and_then(|offered| offered.certificates.first()) {
        let _ = write!(seen, " (certificate {})", Certificate::read(der).show());
    }
    walk.fail("tls", seen, error.remedy());
    if let Some((mode, word)) = other_mode(way, first, error).await {
        let schema = if mode == Mode::None { "xmpp" } else { "xmpps" };
        let url = suggest::with_parameter(&suggest::with_schema(walk.url(), schema), "mode", Some(word));
        walk.suggest(
            url,
            format!("use {schema}:// with mode={word}: that works on this port"),
        );
    }
    match behind {
        Some(offered) => {
            walk.skip("stream", "checked without verifying the certificate");
            walk.skip("mechanism", format!("offered: {}", offered.mechanisms.join(" ")));
        }
        None => walk.skip_all(&["stream", "mechanism"], "there is no encrypted stream"),
    }
}

/// Returns true if the port answers to TLS from the first byte.
async fn expects_tls(way: &Way, first: &Candidate) -> bool {
    probe::features(&there(way, first).mode(Mode::Tls).verify(Verify::No))
        .await
        .is_ok()
}

/// The account at exactly this server: another mode would ask for other service records.
fn there(way: &Way, server: &Candidate) -> Account {
    way.account.clone().host(&server.host).port(server.port)
}

/// Another mode that the same port answers to.
async fn other_mode(way: &Way, first: &Candidate, error: &XmppError) -> Option<(Mode, &'static str)> {
    let candidates: &[(Mode, &str)] = match error {
        XmppError::PortExpectsTls => &[(Mode::Tls, "tls")],
        XmppError::PortExpectsClearText => &[(Mode::StartTls, "starttls"), (Mode::None, "none")],
        XmppError::TlsRequired { .. } => &[(Mode::StartTls, "starttls")],
        _ => return None,
    };
    for (mode, word) in candidates {
        if probe::features(&there(way, first).mode(*mode)).await.is_ok() {
            return Some((*mode, word));
        }
    }
    None
}

fn mechanism(walk: &mut Walk, way: &Way, offered: &Offered) -> bool {
    let kind = if offered.sasl2 {
        "SASL 2 with Bind 2"
    } else {
        "SASL"
    };
    let tls_missing = matches!(offered.choice, Err(XmppError::TlsRequired { .. }));
    if !tls_missing {
        walk.ok(
            "stream",
            format!(
                "the server answers for {}, login by {kind}",
                way.account.jid().domain()
            ),
        );
    }
    let list = offered.mechanisms.join(" ");
    match &offered.choice {
        Ok(chosen) => {
            let binding = chosen
                .binding
                .map_or(String::new(), |kind| format!(", bound by {kind}"));
            walk.ok(
                "mechanism",
                format!("{}{binding}: {}; offered: {list}", chosen.name, chosen.why),
            );
            true
        }
        Err(error @ XmppError::TlsRequired { .. }) => {
            walk.fail("tls", error.to_string(), error.remedy());
            let url = suggest::with_parameter(
                &suggest::with_schema(walk.url(), "xmpps"),
                "mode",
                Some("starttls"),
            );
            walk.suggest(url, "use xmpps:// with mode=starttls");
            walk.skip_all(&["stream", "mechanism"], "the server wants encryption first");
            false
        }
        Err(error) => {
            walk.fail("mechanism", format!("{error}; offered: {list}"), error.remedy());
            if matches!(error, XmppError::ChannelBindingUnavailable { .. }) {
                let url = suggest::with_parameter(walk.url(), "scramplus", Some("yes"));
                walk.suggest(url, "use scramplus=yes instead of require");
            }
            false
        }
    }
}

fn targets_skipped(walk: &mut Walk, way: &Way) {
    for room in &way.rooms {
        walk.skip("room", "there is no login")
            .of(format!("#{}", room.room));
    }
    for person in &way.people {
        walk.skip("recipient", "there is no login").of(person.to_string());
    }
    walk.skip("upload", "there is no login");
    omemo::skip(walk, &way.account);
}

async fn targets(walk: &mut Walk, way: &Way, visit: &mut Probe) {
    let mut foreign: BTreeSet<String> = BTreeSet::new();
    for target in &way.rooms {
        walk.begin();
        room(walk, visit, target).await;
    }
    for person in &way.people {
        walk.begin();
        recipient(walk, visit, person, &mut foreign, way).await;
    }
}

async fn room(walk: &mut Walk, visit: &mut Probe, target: &RoomTarget) {
    let name = format!("#{}", target.room);
    let facts = match visit.room(&target.room).await {
        Ok(facts) => facts,
        Err(XmppError::NoSuchRoom { .. }) if target.create => {
            walk.ok("room", "does not exist yet; the first message makes it")
                .of(name);
            return;
        }
        Err(error) => {
            walk.fail("room", error.to_string(), error.remedy()).of(name);
            return;
        }
    };
    let mut words = vec!["exists"];
    for (set, word) in [
        (facts.members_only, "members only"),
        (facts.password, "with a password"),
        (facts.moderated, "moderated"),
    ] {
        if set {
            words.push(word);
        }
    }
    let about = words.join(", ");
    match visit.join(target).await {
        Err(error) => {
            let error_text = format!("{error} (it {about})");
            walk.fail("room", error_text, error.remedy()).of(name);
        }
        Ok(joined) if facts.moderated && !joined.has_voice() => {
            let error = XmppError::NoVoice {
                room: target.room.to_bare(),
            };
            walk.fail("room", format!("{error} (it {about})"), error.remedy())
                .of(name);
        }
        Ok(joined) => {
            let seen = format!(
                "{about}; entered as {}, {}, {}",
                joined.nick, joined.affiliation, joined.role
            );
            walk.ok("room", seen).of(name);
        }
    }
}

async fn recipient(
    walk: &mut Walk,
    visit: &mut Probe,
    person: &Jid,
    foreign: &mut BTreeSet<String>,
    way: &Way,
) {
    let name = person.to_string();
    if matches!(visit.is_room(person).await, Ok(true)) {
        let old = name.clone();
        walk.fail(
            "recipient",
            "this address is a room, not a person",
            format!("write #{old} to enter it"),
        )
        .of(name);
        let url = walk.url().to_owned();
        let encoded = old.replace('@', "%40");
        let better = [old.as_str(), encoded.as_str()]
            .iter()
            .map(|form| suggest::with_target(&url, form, &format!("%23{form}")))
            .find(|better| *better != url);
        if let Some(better) = better {
            walk.suggest(better, format!("write #{old}"));
        }
        return;
    }
    let domain = person.domain().to_owned();
    if domain == way.account.jid().domain() {
        walk.ok(
            "recipient",
            "on the account's server; only a message shows whether the account exists",
        )
        .of(name);
        return;
    }
    if !foreign.insert(domain.clone()) {
        walk.ok("recipient", format!("{domain} was reached before"))
            .of(name);
        return;
    }
    match visit.reach(&domain).await {
        Ok(_) => walk
            .ok("recipient", format!("{domain} answers the account's server"))
            .of(name),
        Err(error @ (XmppError::RemoteServerNotFound { .. } | XmppError::RemoteServerTimeout { .. })) => {
            walk.fail("recipient", error.to_string(), error.remedy()).of(name);
        }
        Err(error) => walk
            .warn(
                "recipient",
                format!("{domain} did not answer: {error}"),
                "send a test with --send",
            )
            .of(name),
    }
}

async fn upload(walk: &mut Walk, visit: &mut Probe) {
    walk.begin();
    match visit.upload_service().await {
        Ok((address, Some(limit))) => {
            walk.ok(
                "upload",
                format!("{address} takes files up to {} MiB", limit >> 20),
            );
        }
        Ok((address, None)) => {
            walk.ok("upload", format!("{address} takes files"));
        }
        Err(error @ XmppError::NoUploadService { .. }) => {
            walk.warn(
                "upload",
                error.to_string(),
                "messages get through; attachments (-a) do not",
            );
        }
        Err(error) => {
            walk.warn("upload", error.to_string(), error.remedy());
        }
    }
}
