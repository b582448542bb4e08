//! Errors: their cause, whether a retry helps, and what a person can do about them.

use std::fmt;
use std::time::Duration;

use session_protocol::content::ContentError;
use session_protocol::dm::DmError;

use crate::types::Withheld;

/// Longest piece of a server's text that an error carries, in characters.
const MAX_TEXT_CHARS: usize = 200;
/// Delay before a retry after a 429 that names none: the reference server counts posts over 16 seconds.
pub const RATE_LIMIT_WINDOW: Duration = Duration::from_secs(16);

/// End of the advice, after the server's name, for a server without onion requests.
const UNSEALED: &str =
    "and you accept that everybody on the way can read and change what is sent, write encrypt=no";

/// The cause of a failure. One variant for each thing a person would do differently.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// 400: the server finds the request malformed.
    BadRequest,
    /// 400: an unblinded id where the server insists on blinded ones.
    BlindingRequired,
    /// 401: the call needs an account and the request had none.
    AuthenticationRequired,
    /// 401 on a signed request, or a sealed request the server cannot open: it has another key than we were told.
    WrongServerKey,
    /// 403 `Banned`: the account is banned on the whole server.
    Banned,
    /// 403: no permission for this.
    Forbidden,
    /// 404: no such room, message, file or user, or not visible to this account.
    NotFound,
    /// 406: the file is not usable as the room's image.
    NotAcceptable,
    /// 409: moderators decided about the post or the report before. The server says what and by whom.
    AlreadyDecided,
    /// 412: the server lacks capabilities that were asked for.
    MissingCapabilities,
    /// 413: too large for the server.
    TooLarge,
    /// 425: our clock is more than 24 hours off.
    ClockSkew {
        /// Seconds to add to our clock to get the server's, if its `Date` header is known.
        offset_secs: Option<i64>,
    },
    /// 425: the server has seen the request's nonce before.
    NonceReused,
    /// 429: too many posts.
    RateLimited,
    /// 429 without a rate limit: a filter of the server rejects the message.
    Rejected,
    /// 5xx: the server failed.
    ServerError,
    /// Another status that this call cannot have.
    UnexpectedStatus,
    /// The answer is not that of a community server.
    NotASogs,
    /// The answer to a sealed request is not sealed. Its sender, a server without onion requests or a login page
    /// on the way, has not shown that it holds the server's key.
    NotSealed,
    /// The server accepted the message, but its answer does not show our message.
    Unproven {
        /// The number that the answer names, if it is one.
        id: Option<u64>,
        /// The missing part, as a lower-case fragment after "its answer".
        detail: String,
        /// Set when the server says that it shows the message to nobody.
        withheld: Option<Withheld>,
    },
    /// The server redirects to another origin, or too often.
    Redirected {
        /// Target of the redirect.
        to: String,
    },
    /// The answer is longer than we are ready to read.
    AnswerTooLong {
        /// Maximum length of the answer, bytes.
        limit: usize,
    },
    /// TLS: the certificate or the handshake.
    Tls {
        /// Message of the TLS library.
        detail: String,
    },
    /// TLS was spoken to a port that does not speak it.
    NotTls,
    /// The host name does not resolve.
    Dns,
    /// Every address of the host is forbidden by [`crate::ServerBuilder::address_rule`].
    AddressNotAllowed,
    /// Nobody listens on the port.
    Refused,
    /// No answer in time.
    Timeout {
        /// The step that timed out: `connect` or `answer`.
        phase: &'static str,
    },
    /// The connection failed in another way, or broke.
    Network {
        /// Message of the system.
        detail: String,
    },
    /// The proxy of the environment failed.
    Proxy {
        /// Message about the proxy's failure.
        detail: String,
    },
    /// An onion hop did not pass the request on, or changed the answer.
    Hop {
        /// Answer of the hop.
        detail: String,
    },
    /// The call needs an identity and none was given.
    NoIdentity,
    /// The caller's input cannot be sent.
    InvalidInput {
        /// The fault in the input.
        detail: String,
    },
    /// A direct message cannot be sealed or opened.
    DirectMessage(DmError),
    /// Content cannot be decoded.
    Content(ContentError),
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SogsError {
    /// Boxed, so that results stay small.
    inner: Box<Inner>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    cause: Cause,
    /// Host (and port) of the server, if one was involved.
    host: String,
    /// Method and path, without secrets: SOGS paths hold none.
    call: String,
    status: Option<u16>,
    retry_after: Option<Duration>,
    /// Text of the server's answer, without control characters and shortened.
    text: Option<String>,
    ban: Option<Ban>,
    /// The error was read from an answer of the server, and not from something on the way to it.
    is_answer: bool,
}

/// A ban that a server names as the cause of its refusal, in the headers `X-SOGS-Banned` and `X-SOGS-Banned-Until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ban {
    /// The account is banned from the room of the call; false for the whole server.
    pub from_room: bool,
    /// Time at which the ban ends by itself, in Unix seconds; `None` for a ban without an end.
    pub until: Option<i64>,
}

impl Ban {
    pub(crate) fn new(from_room: bool, until: Option<i64>) -> Self {
        Self { from_room, until }
    }
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.from_room {
            "this account is banned from the room"
        } else {
            "this account is banned on the server"
        })?;
        match self.until.map(jiff::Timestamp::from_second) {
            Some(Ok(until)) => write!(f, " until {}", until.strftime("%Y-%m-%d %H:%M UTC")),
            _ => Ok(()),
        }
    }
}

impl SogsError {
    pub(crate) fn new(cause: Cause) -> Self {
        let inner = Inner {
            cause,
            host: String::new(),
            call: String::new(),
            status: None,
            retry_after: None,
            text: None,
            ban: None,
            is_answer: false,
        };
        Self {
            inner: Box::new(inner),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Cause::InvalidInput {
            detail: detail.into(),
        })
    }

    pub(crate) fn at(mut self, host: &str, call: &str) -> Self {
        if self.inner.host.is_empty() {
            host.clone_into(&mut self.inner.host);
        }
        if self.inner.call.is_empty() {
            call.clone_into(&mut self.inner.call);
        }
        self
    }

    pub(crate) fn with_text(mut self, text: &str) -> Self {
        let clean: String = text
            .chars()
            // Nor what ends a line or turns the direction of the text around it.
            .filter(|c| !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            .take(MAX_TEXT_CHARS)
            .collect::<String>()
            .trim()
            .to_owned();
        self.inner.text = (!clean.is_empty()).then_some(clean);
        self
    }

    pub(crate) fn with_ban(mut self, ban: Option<Ban>) -> Self {
        self.inner.ban = ban;
        self
    }

    /// Returns the ban that the server names as the cause. Servers other than Ackpost's do not name it.
    pub fn ban(&self) -> Option<Ban> {
        self.inner.ban
    }

    /// Notes that the error was read from an answer of the server.
    pub(crate) fn of_answer(mut self) -> Self {
        self.inner.is_answer = true;
        self
    }

    /// Returns true if the server itself answered that it failed.
    pub(crate) fn is_failed_answer(&self) -> bool {
        self.inner.is_answer && self.inner.cause == Cause::ServerError
    }

    /// Takes out what the other side wrote.
    pub(crate) fn without_answer(mut self) -> Self {
        self.inner.text = None;
        if let Cause::Redirected { to } = &mut self.inner.cause {
            "another address".clone_into(to);
        }
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.inner.status = Some(status);
        self
    }

    pub(crate) fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.inner.retry_after = after;
        self
    }

    /// Returns the cause.
    pub fn cause(&self) -> &Cause {
        &self.inner.cause
    }

    /// The call that failed: method and path.
    pub fn call(&self) -> &str {
        &self.inner.call
    }

    /// Returns true if this is the cause.
    pub(crate) fn is(&self, cause: &Cause) -> bool {
        self.inner.cause == *cause
    }

    /// Returns the cause alone, without the other details.
    pub(crate) fn into_cause(self) -> Cause {
        self.inner.cause
    }

    /// The HTTP status, if the server answered (inside the onion, the inner one).
    pub fn status(&self) -> Option<u16> {
        self.inner.status
    }

    /// Text of the server's refusal, without control characters and cut at 200 characters.
    pub fn server_text(&self) -> Option<&str> {
        self.inner.text.as_deref()
    }

    /// Returns true if the same call fails again until somebody changes something.
    pub fn is_permanent(&self) -> bool {
        !matches!(
            self.inner.cause,
            Cause::ClockSkew { .. }
                | Cause::NonceReused
                | Cause::RateLimited
                | Cause::ServerError
                | Cause::Dns
                | Cause::Refused
                | Cause::Timeout { .. }
                | Cause::Network { .. }
                | Cause::Proxy { .. }
                | Cause::Hop { .. }
                | Cause::NotSealed
        )
    }

    /// Returns true if the server may have carried the call out although no answer confirms it.
    ///
    /// Before a post is sent again, look for it (see `Room::find_own`).
    pub fn is_ambiguous(&self) -> bool {
        matches!(
            self.inner.cause,
            Cause::Timeout { phase: "answer" }
                | Cause::Network { .. }
                | Cause::Proxy { .. }
                | Cause::Hop { .. }
                | Cause::AnswerTooLong { .. }
                | Cause::ServerError
                | Cause::Unproven { .. }
        )
    }

    /// Delay before a retry: the one that the server named, or [`RATE_LIMIT_WINDOW`] after a rate limit without one.
    pub fn retry_after(&self) -> Option<Duration> {
        let guess = self.is(&Cause::RateLimited).then_some(RATE_LIMIT_WINDOW);
        self.inner.retry_after.or(guess)
    }

    /// Returns true if a message was sent and no answer of the server tells whether it was stored.
    fn leaves_post_open(&self) -> bool {
        let posts = self.inner.call.starts_with("POST /inbox/")
            || self.inner.call.starts_with("POST /room/") && self.inner.call.ends_with("/message");
        // An answer without proof has advice of its own; 500 and 503 say that the server did not take it.
        posts
            && self.is_ambiguous()
            && !matches!(self.inner.cause, Cause::Unproven { .. })
            && !matches!(self.inner.status, Some(500 | 503))
    }

    /// Returns one sentence of advice on how to fix the problem.
    pub fn remedy(&self) -> String {
        if self.leaves_post_open() {
            let look = if self.inner.call.starts_with("POST /inbox/") {
                "it may have arrived; ask the recipient before you send it again"
            } else {
                "it may have arrived; look into the room before you send it again"
            };
            return match self.inner.cause {
                Cause::Timeout { .. } => format!("{look}, or allow more time with rto=SECONDS"),
                _ => look.to_owned(),
            };
        }
        self.advice()
    }

    /// Remedy for a call about held posts or reports.
    fn moderation(&self) -> Option<&'static str> {
        let call = &self.inner.call;
        match self.inner.cause {
            Cause::Forbidden if call.contains("/report/") => {
                Some("write to a moderator of the community instead")
            }
            Cause::NotFound if call.contains("/held/") || call.contains("/reports/") => {
                Some("the list of the room shows the numbers of what waits")
            }
            _ => None,
        }
    }

    fn advice(&self) -> String {
        let host = Some(self.inner.host.as_str()).filter(|host| !host.is_empty());
        let host = host.unwrap_or("the server");
        match self.inner.ban {
            Some(Ban { until: Some(_), .. }) => {
                return "wait until the ban ends, or ask a moderator of the community to lift it".into();
            }
            Some(_) => return "ask a moderator of the community to lift the ban".into(),
            None => {}
        }
        match &self.inner.cause {
            Cause::BadRequest => "check the parameters of the call; the server's text above names the problem".into(),
            Cause::BlindingRequired => "use a blinded id: blind=auto or blind=yes".into(),
            Cause::AuthenticationRequired => "check the seed and the server key; without an identity, give one: this is not open to anonymous requests".into(),
            // A server that cannot open a sealed request may be one that knows of none.
            Cause::WrongServerKey if self.inner.status == Some(400) => format!(
                "compare public_key with the join link that the operators of {host} publish; if {host} accepts no sealed \
                 requests, {UNSEALED}"
            ),
            Cause::WrongServerKey => format!(
                "compare public_key with the join link that the operators of {host} publish; a proxy that rewrites \
                 paths breaks signatures too"
            ),
            Cause::NotSealed => format!(
                "check host, port and scheme, and whether the network asks for a login; if {host} accepts no sealed \
                 requests, {UNSEALED}"
            ),
            Cause::Unproven { .. } => {
                format!("look into the room; if the message is not there, tell the operators of {host}")
            }
            _ if self.moderation().is_some() => self.moderation().unwrap_or_default().into(),
            Cause::Banned | Cause::Forbidden => {
                "ask a moderator of the community for the permission, and check that the right identity is used \
                 (a blinded id has other rights than the 05 id)"
                    .into()
            }
            Cause::NotFound if self.inner.call.ends_with("/message") => {
                "check the room token; the server hides things that this account may not see".into()
            }
            Cause::NotFound => {
                "check the room token and the number; the server hides things that this account may not see"
                    .into()
            }
            Cause::NotAcceptable => "upload a picture to this room first and use its file number".into(),
            Cause::MissingCapabilities => "use another server, or do not use them".into(),
            Cause::TooLarge => "send less: a smaller file, or a shorter message".into(),
            Cause::ClockSkew { .. } => "set this machine's clock (it must be within 24 hours of the server's)".into(),
            Cause::NonceReused => "try again: every request gets a new nonce".into(),
            Cause::RateLimited => match self.inner.retry_after {
                Some(after) => format!("wait {}", counted(after.as_secs().max(1), "second")),
                None => "wait a while".into(),
            },
            Cause::Rejected => "change the message: a filter of the community rejects it".into(),
            Cause::AlreadyDecided => "list what waits again; an operator can undo a decision".into(),
            Cause::ServerError => format!("try again later; if it happens again, tell the operators of {host}"),
            Cause::UnexpectedStatus | Cause::NotASogs => {
                format!("check host, port and scheme: {host} does not answer like a community server")
            }
            Cause::Redirected { to } => format!("use the address the server points to, if you trust it: {to}"),
            Cause::AnswerTooLong { .. } => "ask for less at once, or raise the limit".into(),
            Cause::Tls { .. } => {
                "check the host name and the server's certificate; ca_file= names your own authority, verify=no accepts any".into()
            }
            Cause::NotTls => "use http (session://) for this port, or the port that speaks TLS".into(),
            Cause::Dns => "check the spelling of the host name and this machine's name resolution".into(),
            Cause::AddressNotAllowed => "use a host on the public internet".into(),
            Cause::Refused => "check host and port, and whether the server runs".into(),
            Cause::Timeout { phase: "connect" } => {
                "check host and port, and firewalls on the way; cto= sets the limit for connecting".into()
            }
            Cause::Timeout { .. } => "try again later; rto= sets the limit for an answer".into(),
            Cause::Network { .. } => "try again".into(),
            Cause::Proxy { .. } => "check the proxy settings of the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)".into(),
            Cause::Hop { .. } => "choose another path of hops".into(),
            Cause::NoIdentity => "give an identity: a seed or a recovery phrase".into(),
            Cause::InvalidInput { .. } => "change the input".into(),
            Cause::DirectMessage(_) => {
                "check the recipient's id: it must be the blinded id of this very server".into()
            }
            Cause::Content(_) => "ask the sender: their program wrote an unreadable message".into(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest => f.write_str("the server rejects the request as malformed"),
            Self::BlindingRequired => f.write_str("the server accepts blinded ids only"),
            Self::AuthenticationRequired => f.write_str("the server does not accept this account"),
            Self::WrongServerKey => {
                f.write_str("the server does not have the public key that was given for it")
            }
            Self::Banned => f.write_str("this account is banned on the server"),
            Self::Forbidden => f.write_str("this account has no permission for that"),
            Self::NotFound => f.write_str("it does not exist, or is not visible to this account"),
            Self::NotAcceptable => f.write_str("the file cannot be the room's image"),
            Self::MissingCapabilities => f.write_str("the server lacks capabilities that are needed"),
            Self::TooLarge => f.write_str("too large for the server"),
            Self::ClockSkew {
                offset_secs: Some(offset),
            } => {
                let (much, way) = (
                    offset.unsigned_abs(),
                    if *offset > 0 { "behind" } else { "ahead of" },
                );
                write!(
                    f,
                    "this machine's clock is {} {way} the server's",
                    human_seconds(much)
                )
            }
            Self::ClockSkew { offset_secs: None } => {
                f.write_str("this machine's clock and the server's are more than 24 hours apart")
            }
            Self::NonceReused => f.write_str("the server has seen this nonce before"),
            Self::RateLimited => f.write_str("too many messages in a short time"),
            Self::Rejected => f.write_str("the community's filter rejects the message"),
            Self::AlreadyDecided => f.write_str("moderators decided already"),
            Self::ServerError => f.write_str("the server failed"),
            Self::UnexpectedStatus => f.write_str("the server's answer does not match the call"),
            Self::NotASogs => f.write_str("this is not a community server"),
            Self::NotSealed => f.write_str(
                "the answer to a sealed request is not sealed, so it does not come from the community server",
            ),
            Self::Unproven { detail, .. } => {
                write!(f, "the server accepted the message, but its answer {detail}")
            }
            Self::Redirected { to } => write!(f, "the server redirects elsewhere ({to})"),
            Self::AnswerTooLong { limit } => write!(f, "the answer is longer than {limit} bytes"),
            Self::Tls { detail } => write!(f, "no secure connection: {detail}"),
            Self::NotTls => f.write_str("the port does not speak TLS"),
            Self::Dns => f.write_str("the host name does not resolve"),
            Self::AddressNotAllowed => f.write_str("the host has no allowed address"),
            Self::Refused => f.write_str("nobody listens on that port"),
            Self::Timeout { phase: "connect" } => f.write_str("no connection in time"),
            Self::Timeout { .. } => f.write_str("no answer in time"),
            Self::Network { detail } => write!(f, "the connection failed: {detail}"),
            Self::Proxy { detail } => write!(f, "the proxy failed: {detail}"),
            Self::Hop { detail } => write!(f, "an onion hop failed: {detail}"),
            Self::NoIdentity => f.write_str("this needs an identity"),
            Self::InvalidInput { detail } => f.write_str(detail),
            Self::DirectMessage(error) => error.fmt(f),
            Self::Content(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for SogsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.inner.host.is_empty() {
            write!(f, "{}: ", self.inner.host)?;
        }
        match (self.inner.ban, &self.inner.cause, missing(&self.inner.call)) {
            (Some(ban), ..) => ban.fmt(f)?,
            (_, Cause::NotFound, Some(what)) => f.write_str(&what)?,
            (_, cause, _) => cause.fmt(f)?,
        }
        // The text of the reference says less, or something else.
        if self.inner.ban.is_some() {
            return Ok(());
        }
        match (self.inner.status, &self.inner.text) {
            (Some(status), Some(text)) => write!(f, " ({status} \u{201c}{text}\u{201d})"),
            (Some(status), None) => write!(f, " ({status})"),
            (None, Some(text)) => write!(f, " (\u{201c}{text}\u{201d})"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for SogsError {}

impl From<DmError> for SogsError {
    fn from(error: DmError) -> Self {
        Self::new(Cause::DirectMessage(error))
    }
}

impl From<ContentError> for SogsError {
    fn from(error: ContentError) -> Self {
        Self::new(Cause::Content(error))
    }
}

/// Explains a 404 to this call: names the thing that does not exist, if the call names one.
fn missing(call: &str) -> Option<String> {
    let (_, path) = call.split_once(' ')?;
    let path = path.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let one_of = |what: &str| format!("there is {what}, or it is not visible to this account");
    Some(match segments[..] {
        ["room", room]
        | ["room", room, "message" | "file"]
        | [
            "room",
            room,
            "pollInfo" | "messages" | "permissions" | "futurePermissions",
            ..,
        ] => one_of(&format!("no room \u{201c}{room}\u{201d}")),
        [
            "room",
            room,
            "message" | "pin" | "unpin" | "reaction" | "reactions" | "reactors",
            id,
            ..,
        ] => one_of(&format!("no message #{id} in room \u{201c}{room}\u{201d}")),
        ["room", room, "file", id, ..] => one_of(&format!("no file {id} in room \u{201c}{room}\u{201d}")),
        ["room", room, "all", user] => {
            format!("there are no messages of {user} in room \u{201c}{room}\u{201d}")
        }
        ["ackpost", "room", room, "held", id] => {
            format!("#{id} does not wait for approval in room \u{201c}{room}\u{201d}")
        }
        ["ackpost", "room", room, "reports", id] => {
            format!("nobody reported #{id} in room \u{201c}{room}\u{201d}, or it is decided")
        }
        ["ackpost", "room", room, "report", id] => {
            one_of(&format!("no message #{id} in room \u{201c}{room}\u{201d}"))
        }
        ["inbox", user] => format!("nobody on this server has the id {user}"),
        _ => return None,
    })
}

/// `1 second`, `2 seconds`.
fn counted(number: u64, unit: &str) -> String {
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn human_seconds(seconds: u64) -> String {
    match seconds {
        0..120 => counted(seconds, "second"),
        120..7_200 => counted(seconds / 60, "minute"),
        7_200..172_800 => counted(seconds / 3_600, "hour"),
        _ => counted(seconds / 86_400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_things_are_named() {
        let shown = |call: &str| {
            let error = SogsError::new(Cause::NotFound).with_status(404).at("host", call);
            error.to_string()
        };
        for (call, part) in [
            (
                "GET /room/lobbby/messages/recent?limit=5",
                "no room \u{201c}lobbby\u{201d}",
            ),
            ("GET /room/lobbby", "no room \u{201c}lobbby\u{201d}"),
            ("POST /room/lobbby/message", "no room \u{201c}lobbby\u{201d}"),
            (
                "DELETE /room/lobby/message/5",
                "no message #5 in room \u{201c}lobby\u{201d}",
            ),
            ("PUT /room/lobby/reaction/5/\u{1f44d}", "no message #5 in room"),
            (
                "GET /room/lobby/file/7",
                "no file 7 in room \u{201c}lobby\u{201d}",
            ),
            ("DELETE /room/lobby/all/05ab", "no messages of 05ab in room"),
            ("POST /inbox/15ab", "nobody on this server has the id 15ab"),
            (
                "POST /ackpost/room/lobby/held/2",
                "#2 does not wait for approval in room \u{201c}lobby\u{201d}",
            ),
            ("POST /ackpost/room/lobby/report/9", "no message #9 in room"),
            ("GET /elsewhere", "it does not exist"),
        ] {
            assert!(shown(call).contains(part), "{call}: {}", shown(call));
        }
        let remedy = |call: &str| SogsError::new(Cause::NotFound).at("host", call).remedy();
        assert!(
            !remedy("POST /room/lobby/message").contains("number"),
            "a post names none"
        );
        assert!(remedy("GET /room/lobby/file/7").contains("the number"));
        assert!(remedy("POST /ackpost/room/lobby/held/2").contains("the list of the room"));
    }
}
