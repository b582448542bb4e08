//! Everything that can go wrong, each with its cause and with what to do about it.

mod advice;

use std::time::Duration;

use thiserror::Error;

use crate::Jid;

/// Why a connection, a login or a message did not succeed.
///
/// `Display` is the cause, [`remedy`](Self::remedy) what a person can do about it,
/// [`is_permanent`](Self::is_permanent) whether trying again unchanged is pointless.
/// No variant holds a password or anything derived from one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum XmppError {
    // --- finding and reaching the server ---
    /// DNS knows no such name.
    #[error("no such host: {host}")]
    NoSuchHost {
        /// The name asked for.
        host: String,
    },
    /// DNS gave no answer.
    #[error("the name {host} could not be resolved: {reason}")]
    DnsFailed {
        /// The name asked for.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The domain says, with the target `.`, that it has no XMPP service (RFC 2782).
    #[error("{domain} says in DNS that it offers no XMPP service for clients")]
    ServiceNotOffered {
        /// The domain of the account.
        domain: String,
    },
    /// Nothing listens on the port.
    #[error("{address} refused the connection")]
    ConnectionRefused {
        /// Host or IP address, and port.
        address: String,
    },
    /// Every address of the host is forbidden by [`crate::Account::address_rule`].
    #[error("{host} has no address that this connection may go to")]
    AddressNotAllowed {
        /// The host.
        host: String,
    },
    /// No route, network down, and the like.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Host or IP address, and port.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// The connect limit passed.
    #[error("{address} did not accept a connection within {}", seconds(.after))]
    ConnectTimeout {
        /// Host or IP address, and port.
        address: String,
        /// The limit that passed.
        after: Duration,
    },
    /// The connection stands, but what was asked was not answered in time.
    #[error("no answer within {} while {step}", seconds(.after))]
    Silent {
        /// What was being waited for.
        step: Step,
        /// The limit that passed.
        after: Duration,
    },

    /// Something came, but the answer was not whole in time: an extremely slow server or line.
    #[error("the answer was too slow while {step}: {bytes} bytes came within {}, and not the whole of it", seconds(.after))]
    TooSlow {
        /// What was being waited for.
        step: Step,
        /// How many bytes came.
        bytes: u64,
        /// The limit that passed.
        after: Duration,
    },

    // --- encryption ---
    /// The port speaks TLS from the first byte, but `mode` is `none` or `starttls`.
    #[error("the port expects TLS from the first byte, but the connection began in clear text")]
    PortExpectsTls,
    /// The port speaks clear text, but `mode` is `tls`.
    #[error("the port does not answer with TLS, but the connection began with it")]
    PortExpectsClearText,
    /// No `<starttls/>` among the features: not offered, or stripped on the way.
    #[error("{domain} does not offer STARTTLS, or somebody on the way removed the offer")]
    StartTlsNotOffered {
        /// The domain of the account.
        domain: String,
    },
    /// `<failure/>` instead of `<proceed/>`.
    #[error("the server offers STARTTLS but refused to begin it")]
    StartTlsRefused,
    /// More bytes than `<proceed/>` came before the handshake: somebody injects text (CVE-2011-0411).
    #[error("unencrypted data was slipped in before the TLS handshake")]
    DataBeforeTls,
    /// `mode=none`, and the server insists on encryption.
    #[error("{domain} requires encryption before the login")]
    TlsRequired {
        /// The domain of the account.
        domain: String,
    },
    /// Signed by an authority that is not trusted here.
    #[error("the certificate of {domain} is signed by an authority that is not trusted here")]
    CertificateUntrusted {
        /// The domain of the account.
        domain: String,
    },
    /// Its time is over.
    #[error("the certificate of {domain} has expired")]
    CertificateExpired {
        /// The domain of the account.
        domain: String,
    },
    /// Its time has not begun, or our clock is wrong.
    #[error("the certificate of {domain} is not valid yet")]
    CertificateNotYetValid {
        /// The domain of the account.
        domain: String,
    },
    /// The certificate names XMPP services (SRV-ID or xmppAddr) and no host that fits.
    #[error("the certificate names {domain} at most as SRV-ID or xmppAddr, and not as DNS name")]
    CertificateOnlyXmppNames {
        /// The domain of the account.
        domain: String,
    },
    /// It belongs to another name.
    #[error("the certificate is not for {domain}")]
    CertificateWrongName {
        /// The domain of the account.
        domain: String,
    },
    /// Anything else that is wrong with it.
    #[error("the certificate of {domain} is not valid: {reason}")]
    CertificateInvalid {
        /// The domain of the account.
        domain: String,
        /// What the verifier said.
        reason: String,
    },
    /// The text given as `ca_file` is not a certificate.
    #[error("the certificate authority given is not usable: {reason}")]
    BadAuthority {
        /// What is wrong with it.
        reason: String,
    },
    /// The handshake failed for another reason.
    #[error("the TLS handshake with {domain} failed: {reason}")]
    TlsFailed {
        /// The domain of the account.
        domain: String,
        /// What the TLS library said.
        reason: String,
    },

    // --- login ---
    /// The server says not-authorized.
    #[error("{jid} was not let in: wrong password or no such account{}", server_text(.text))]
    WrongPassword {
        /// The account.
        jid: Jid,
        /// The login was bound to the TLS connection, which also fails if a relay ends TLS.
        bound: bool,
        /// The server's words.
        text: Option<String>,
    },
    /// account-disabled.
    #[error("the account {jid} is disabled{}", server_text(.text))]
    AccountDisabled {
        /// The account.
        jid: Jid,
        /// The server's words.
        text: Option<String>,
    },
    /// credentials-expired.
    #[error("the password of {jid} has expired{}", server_text(.text))]
    CredentialsExpired {
        /// The account.
        jid: Jid,
        /// The server's words.
        text: Option<String>,
    },
    /// temporary-auth-failure.
    #[error("the server cannot check passwords at the moment{}", server_text(.text))]
    LoginUnavailable {
        /// The server's words.
        text: Option<String>,
    },
    /// Any other SASL failure.
    #[error("the login was refused: {condition}{}", server_text(.text))]
    LoginRefused {
        /// The defined condition (RFC 6120 section 6.5).
        condition: String,
        /// The server's words.
        text: Option<String>,
    },
    /// Only PLAIN is offered, where policy forbids it.
    #[error("the server offers only PLAIN, which would show it the password, over {link}")]
    OnlyPlain {
        /// What the connection is, in words.
        link: &'static str,
    },
    /// The server offers the login from before RFC 3920 (XEP-0078) and no other.
    #[error("{domain} offers only the obsolete login of XEP-0078 (iq-auth)")]
    OnlyIqAuth {
        /// The domain of the account.
        domain: String,
    },
    /// Nothing both sides can do.
    #[error("no common login mechanism; the server offers {offered}")]
    NoMechanism {
        /// The names offered, or `none`.
        offered: String,
    },
    /// Binding is required, and the server lists none that we can do.
    #[error("the login must be bound to the TLS connection, but {domain} offers no binding that fits")]
    ChannelBindingUnavailable {
        /// The domain of the account.
        domain: String,
    },
    /// The server rejected the binding: it is broken, or somebody stands between.
    #[error("the server rejected the binding of the login to the TLS connection{}", server_text(.text))]
    ChannelBindingRejected {
        /// The server's words.
        text: Option<String>,
    },
    /// The server could not prove that it knows the password.
    #[error("the server could not prove that it knows the password of {jid}")]
    ServerNotProven {
        /// The account.
        jid: Jid,
    },
    /// What the server offered is not what it says it offered (XEP-0474).
    #[error("the offered login mechanisms were changed on the way")]
    Downgraded,
    /// An iteration count that is too weak or meant to keep us busy.
    #[error("the server asks for {count} rounds of password hashing; between {min} and {max} are accepted")]
    Iterations {
        /// What the server asked for.
        count: u64,
        /// The smallest accepted count.
        min: u32,
        /// The largest accepted count.
        max: u32,
    },
    /// The SASL exchange broke its rules.
    #[error("the server broke the rules of the login: {reason}")]
    LoginProtocol {
        /// Which rule.
        reason: &'static str,
    },
    /// The password holds characters SASLprep forbids.
    #[error("the password holds characters that no server accepts")]
    PasswordCharacters,
    /// The session could not be bound to a resource.
    #[error("the session was refused after the login: {condition}{}", server_text(.text))]
    BindRefused {
        /// The defined condition.
        condition: String,
        /// The server's words.
        text: Option<String>,
    },

    // --- the stream ---
    /// The server does not serve this domain.
    #[error("the server does not serve {domain}{}", server_text(.text))]
    HostUnknown {
        /// The domain of the account.
        domain: String,
        /// The server's words.
        text: Option<String>,
    },
    /// The server is going down.
    #[error("the server is shutting down{}", server_text(.text))]
    ShuttingDown {
        /// The server's words.
        text: Option<String>,
    },
    /// Another session took our resource.
    #[error("another session replaced this one{}", server_text(.text))]
    Replaced {
        /// The server's words.
        text: Option<String>,
    },
    /// The server sends its clients to another host (RFC 6120 section 4.9.3.19).
    #[error("the server of {domain} sends its clients to {to}")]
    SeeOtherHost {
        /// The domain of the account.
        domain: String,
        /// Host and port, as the server wrote them.
        to: String,
    },
    /// The stream header has no `version`, and no features followed (RFC 6120 section 4.7.5).
    #[error("the server of {domain} speaks the protocol from before XMPP 1.0: its stream has no version")]
    OldStream {
        /// The domain of the account.
        domain: String,
    },
    /// The server ended the stream because of the size of what was sent.
    #[error("the server ended the session, because the message is larger than it takes{}", server_text(.text))]
    StanzaTooBig {
        /// The server's words.
        text: Option<String>,
    },
    /// The server ended the stream with another error.
    #[error("the server ended the session: {condition}{}", server_text(.text))]
    StreamError {
        /// The defined condition (RFC 6120 section 4.9.3).
        condition: String,
        /// The server's words.
        text: Option<String>,
    },
    /// The connection ended before anything was said.
    #[error("the connection was closed while {step}")]
    ConnectionLost {
        /// What was being done.
        step: Step,
    },
    /// The connection ended after the message was written and before it was confirmed.
    #[error("the connection was cut after the message was written and before it was confirmed")]
    CutUnconfirmed,
    /// Something else went wrong after the message was written and before it was confirmed.
    #[error("{cause}, after the message was written")]
    Unconfirmed {
        /// What went wrong.
        cause: Box<XmppError>,
    },
    /// What came is not XMPP.
    #[error("the server sent something that is not XMPP: {reason}")]
    NotXmpp {
        /// What is wrong with it.
        reason: String,
    },

    // --- one message ---
    /// The target has no such account, or does not take messages while offline.
    #[error("{to} does not exist, or takes no messages now{}", server_text(.text))]
    NoSuchUser {
        /// The target.
        to: Jid,
        /// The server's words.
        text: Option<String>,
        /// The server may say the same while it cannot store the message.
        temporary: bool,
    },
    /// The other domain cannot be found.
    #[error("the domain {domain} cannot be reached from the server{}", server_text(.text))]
    RemoteServerNotFound {
        /// The target's domain.
        domain: String,
        /// The server's words.
        text: Option<String>,
    },
    /// The other domain did not answer the server.
    #[error("the domain {domain} did not answer the server{}", server_text(.text))]
    RemoteServerTimeout {
        /// The target's domain.
        domain: String,
        /// The server's words.
        text: Option<String>,
    },
    /// The server does not talk to other domains.
    #[error("the server is not allowed to talk to {domain}{}", server_text(.text))]
    RemoteNotAllowed {
        /// The target's domain.
        domain: String,
        /// The server's words.
        text: Option<String>,
    },
    /// The server has no such service below its own domain.
    #[error("there is no service {domain}{}", server_text(.text))]
    NoSuchService {
        /// The domain of the room.
        domain: String,
        /// The server's words.
        text: Option<String>,
    },
    /// A message to a person went to a room.
    #[error("{to} is a room, not a person: did you mean #{to}?")]
    IsRoom {
        /// The target.
        to: Jid,
    },
    /// A block list stops the message, and the server says so (XEP-0191): mostly that of this account.
    #[error("messages to {to} are blocked")]
    Blocked {
        /// The target.
        to: Jid,
    },
    /// Bounced for another reason.
    #[error("the message to {to} came back: {condition}{}", server_text(.text))]
    Bounced {
        /// The target.
        to: Jid,
        /// The defined condition (RFC 6120 section 8.3.3).
        condition: String,
        /// The server's words.
        text: Option<String>,
        /// The server says that it may work later (error type `wait`).
        temporary: bool,
    },
    /// The server took the message, and no client of the recipient acknowledged it.
    #[error("the server took the message, but no receipt came from {to} within {}", seconds(.after))]
    NoReceipt {
        /// The target.
        to: Jid,
        /// The limit that passed.
        after: Duration,
    },
    /// The connection broke before the message was confirmed, and nothing shows whether it arrived. It is
    /// not sent again.
    #[error("whether the message to {to} arrived is not known: {why}")]
    InDoubt {
        /// The target.
        to: Jid,
        /// Why it is not known.
        why: Doubt,
    },
    /// The message is too long for one stanza.
    #[error("the message has {bytes} bytes on the wire; the server takes at most {limit}")]
    TooLarge {
        /// Its size, escaped.
        bytes: usize,
        /// The limit that applies.
        limit: usize,
    },
    /// There is nothing to send.
    #[error("the message is empty")]
    Empty,

    // --- rooms ---
    /// The room did not exist; our join made it, so it was removed again.
    #[error("the room {room} does not exist{}", if *.removed { "" } else { " (joining made an empty one, which could not be removed)" })]
    NoSuchRoom {
        /// The room.
        room: Jid,
        /// Whether the room made by our join is gone again, or none was made.
        removed: bool,
    },
    /// The room made for this message would end with our session.
    #[error(
        "the room {room} was created, but the server does not let it be permanent, so the message would vanish with it"
    )]
    RoomNotKept {
        /// The room.
        room: Jid,
    },
    /// The room does not exist and may not be made.
    #[error("the room {room} does not exist, and this account may not create it")]
    RoomCreationForbidden {
        /// The room.
        room: Jid,
    },
    /// registration-required.
    #[error("the room {room} is for members only")]
    MembersOnly {
        /// The room.
        room: Jid,
    },
    /// not-authorized.
    #[error("the room {room} {}", if *.given { "did not accept the password" } else { "asks for a password" })]
    RoomPassword {
        /// The room.
        room: Jid,
        /// Whether one was sent.
        given: bool,
    },
    /// forbidden at the door.
    #[error("this account is banned from the room {room}")]
    Banned {
        /// The room.
        room: Jid,
    },
    /// forbidden inside.
    #[error("this account has no voice in the moderated room {room}")]
    NoVoice {
        /// The room.
        room: Jid,
    },
    /// Every nick tried is taken.
    #[error("the nick {nick} and its variants are taken in the room {room}")]
    NickTaken {
        /// The room.
        room: Jid,
        /// The nick asked for.
        nick: String,
    },
    /// The nick is not acceptable as an address part.
    #[error("the nick is not usable in the room {room}")]
    BadNick {
        /// The room.
        room: Jid,
    },
    /// service-unavailable at the door.
    #[error("the room {room} is full")]
    RoomFull {
        /// The room.
        room: Jid,
    },
    /// We were removed while the message was on its way.
    #[error("this account was removed from the room {room}{}", server_text(.text))]
    RemovedFromRoom {
        /// The room.
        room: Jid,
        /// The server's words.
        text: Option<String>,
    },
    /// Another refusal at the door.
    #[error("the room {room} refused the join: {condition}{}", server_text(.text))]
    JoinRefused {
        /// The room.
        room: Jid,
        /// The defined condition.
        condition: String,
        /// The server's words.
        text: Option<String>,
        /// The server says that it may work later (error type `wait`).
        temporary: bool,
    },
    /// The room did not answer the join that the message was written behind.
    #[error("the room {room} did not answer the join within {}; the message was written behind it", seconds(.after))]
    JoinUnanswered {
        /// The room.
        room: Jid,
        /// The limit that passed.
        after: Duration,
    },
    /// The room did not send our message back.
    #[error("the room {room} did not show the message within {}", seconds(.after))]
    NoEcho {
        /// The room.
        room: Jid,
        /// The limit that passed.
        after: Duration,
    },

    // --- files ---
    /// No HTTP upload service (XEP-0363).
    #[error("{domain} has no service for uploading files")]
    NoUploadService {
        /// The domain of the account.
        domain: String,
    },
    /// The server says how large a file may be.
    #[error("the file {name} has {size} bytes; the server takes at most {limit}")]
    FileTooLarge {
        /// The file's name.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The server's limit in bytes.
        limit: u64,
    },
    /// The service gave no slot.
    #[error("the server does not take the file {name}: {condition}{}", server_text(.text))]
    UploadRefused {
        /// The file's name.
        name: String,
        /// The defined condition.
        condition: String,
        /// The server's words.
        text: Option<String>,
        /// The server says that it may work later.
        temporary: bool,
    },
    /// The PUT failed.
    #[error("uploading {name} failed: {reason}")]
    UploadFailed {
        /// The file's name.
        name: String,
        /// HTTP status or connection trouble; never a URL.
        reason: String,
    },

    // --- kept sessions ---
    /// The message was not confirmed before its time was over, across reconnects.
    #[error("not confirmed within {}: {last}", seconds(.after))]
    GaveUp {
        /// How long it was tried.
        after: Duration,
        /// What stood in the way last.
        last: Box<XmppError>,
        /// Whether it was written at least once, so that it may have arrived.
        written: bool,
    },
    /// The session was closed by its owner.
    #[error("the session was closed before the message was confirmed")]
    SessionClosed,
}

/// Why nobody knows whether a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Doubt {
    /// The message is in the account's archive, but the server restarted before it surely passed it on.
    Restarted,
    /// The server took the message, then crashed and lost the end of its archive.
    Forgotten,
    /// The connection broke a second time, and there is no archive that tells.
    NoArchive,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Restarted => "the server archived it and restarted before it surely passed it on",
            Self::Forgotten => "the server took it, then crashed, and its archive does not have it",
            Self::NoArchive => "the connection broke twice, and no archive shows whether it arrived",
        })
    }
}

/// What was going on when time ran out or the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Waiting for the server's first words.
    Opening,
    /// Waiting for the features of a stream that the server has opened.
    Features,
    /// Asking for STARTTLS.
    StartTls,
    /// The TLS handshake.
    Tls,
    /// Logging in.
    Login,
    /// Binding a resource.
    Binding,
    /// Writing messages.
    Writing,
    /// Waiting for the confirmation.
    Confirming,
    /// Joining a room.
    Joining,
    /// Looking for the upload service and a slot.
    Upload,
    /// Asking for something else (archive, contact list).
    Query,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Opening => "opening the stream",
            Self::Features => "waiting for the features of the opened stream",
            Self::StartTls => "asking for STARTTLS",
            Self::Tls => "negotiating TLS",
            Self::Login => "logging in",
            Self::Binding => "starting the session",
            Self::Writing => "writing the message",
            Self::Confirming => "waiting for the confirmation",
            Self::Joining => "joining the room",
            Self::Upload => "preparing the upload",
            Self::Query => "waiting for an answer",
        })
    }
}

#[expect(clippy::ref_option, reason = "thiserror hands over the field as it is")]
fn server_text(text: &Option<String>) -> String {
    text.as_ref()
        .map(|words| format!(" (the server says: {words})"))
        .unwrap_or_default()
}

/// `4 s`, `1.5 s`, `200 ms`.
fn seconds(limit: &Duration) -> String {
    if limit.as_millis() < 1000 {
        format!("{} ms", limit.as_millis())
    } else if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{:.1} s", limit.as_secs_f64())
    }
}
