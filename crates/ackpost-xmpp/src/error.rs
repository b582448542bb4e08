//! All errors, each with its cause and remedy.

mod advice;
mod step;

pub use step::{Doubt, Step};

use std::time::Duration;

use thiserror::Error;

use crate::jid::Jid;

/// Reason why a connection, a login or a message did not succeed.
///
/// `Display` is the cause, [`remedy`](Self::remedy) what a person can do about it,
/// [`is_permanent`](Self::is_permanent) whether trying again unchanged is pointless.
/// No variant holds a password or anything derived from one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum XmppError {
    // --- finding and reaching the server ---
    /// DNS does not know the name.
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
        /// Answer of the resolver.
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
    #[error("{host} has no allowed address")]
    AddressNotAllowed {
        /// The host.
        host: String,
    },
    /// No route, network down, and the like.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Host or IP address, and port.
        address: String,
        /// Message of the operating system.
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
    /// The connection is open, but a question was not answered in time.
    #[error("no answer within {} while {step}", seconds(.after))]
    AnswerTimeout {
        /// The step that was waited for.
        step: Step,
        /// The limit that passed.
        after: Duration,
    },

    /// A part of the answer came, but not all of it in time: the server or the line is extremely slow.
    #[error("the answer was too slow while {step}: {bytes} bytes came within {}, and not the whole of it", seconds(.after))]
    TooSlow {
        /// The step that was waited for.
        step: Step,
        /// Number of bytes that came.
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
    #[error("somebody inserted unencrypted data before the TLS handshake")]
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
    /// The certificate has expired.
    #[error("the certificate of {domain} has expired")]
    CertificateExpired {
        /// The domain of the account.
        domain: String,
    },
    /// The certificate is not valid yet, or our clock is wrong.
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
    /// The certificate is invalid for another reason.
    #[error("the certificate of {domain} is not valid: {reason}")]
    CertificateInvalid {
        /// The domain of the account.
        domain: String,
        /// Message of the verifier.
        reason: String,
    },
    /// The text given as `ca_file` is not a certificate.
    #[error("the certificate authority given is not usable: {reason}")]
    BadAuthority {
        /// The fault in it.
        reason: String,
    },
    /// The handshake failed for another reason.
    #[error("the TLS handshake with {domain} failed: {reason}")]
    TlsFailed {
        /// The domain of the account.
        domain: String,
        /// Message of the TLS library.
        reason: String,
    },

    // --- login ---
    /// The server says not-authorized.
    #[error("{jid} was refused: wrong password or unknown account{}", server_text(.text))]
    WrongPassword {
        /// Address of the account.
        jid: Jid,
        /// The login was bound to the TLS connection, which also fails if a relay ends TLS.
        bound: bool,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// account-disabled.
    #[error("the account {jid} is disabled{}", server_text(.text))]
    AccountDisabled {
        /// Address of the account.
        jid: Jid,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// credentials-expired.
    #[error("the password of {jid} has expired{}", server_text(.text))]
    CredentialsExpired {
        /// Address of the account.
        jid: Jid,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// temporary-auth-failure.
    #[error("the server cannot check passwords at the moment{}", server_text(.text))]
    LoginUnavailable {
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// Any other SASL failure.
    #[error("the login was refused: {condition}{}", server_text(.text))]
    LoginRefused {
        /// The defined condition (RFC 6120 section 6.5).
        condition: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// Only PLAIN is offered, where policy forbids it.
    #[error("the server offers only PLAIN, which would show it the password, over {link}")]
    OnlyPlain {
        /// Kind of the connection, in words.
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
    /// The server rejected the binding: it is broken, or somebody is between.
    #[error("the server rejected the binding of the login to the TLS connection{}", server_text(.text))]
    ChannelBindingRejected {
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The server could not prove that it knows the password.
    #[error("the server could not prove that it knows the password of {jid}")]
    ServerNotProven {
        /// Address of the account.
        jid: Jid,
    },
    /// The offer of the server differs from the one that it signed (XEP-0474).
    #[error("the offered login mechanisms were changed on the way")]
    Downgraded,
    /// An iteration count that is too weak or meant to keep us busy.
    #[error("the server asks for {count} rounds of password hashing; between {min} and {max} are accepted")]
    Iterations {
        /// Number that the server asked for.
        count: u64,
        /// The smallest accepted count.
        min: u32,
        /// The largest accepted count.
        max: u32,
    },
    /// The SASL exchange broke its rules.
    #[error("the server broke the rules of the login: {reason}")]
    LoginProtocol {
        /// The rule.
        reason: &'static str,
    },
    /// The password holds characters SASLprep forbids.
    #[error("the password holds characters that no server accepts")]
    PasswordCharacters,
    /// The session could not be bound to a resource.
    #[error("the session was refused after the login: {condition}{}", server_text(.text))]
    BindRefused {
        /// Defined condition of the stanza error.
        condition: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },

    // --- the stream ---
    /// The server does not serve this domain.
    #[error("the server does not serve {domain}{}", server_text(.text))]
    HostUnknown {
        /// The domain of the account.
        domain: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The server is going down.
    #[error("the server is shutting down{}", server_text(.text))]
    ShuttingDown {
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// Another session took our resource.
    #[error("another session replaced this one{}", server_text(.text))]
    Replaced {
        /// Text of the server's error, if it gave one.
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
    /// The server ended the stream because of the size of a stanza.
    #[error("the server ended the session, because the message is larger than it takes{}", server_text(.text))]
    StanzaTooBig {
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The server ended the stream with another error.
    #[error("the server ended the session: {condition}{}", server_text(.text))]
    StreamError {
        /// The defined condition (RFC 6120 section 4.9.3).
        condition: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The connection ended before anything was said.
    #[error("the connection was closed while {step}")]
    ConnectionLost {
        /// The step.
        step: Step,
    },
    /// The connection ended after the message was written and before it was confirmed.
    #[error("the connection was cut after the message was written and before it was confirmed")]
    CutUnconfirmed,
    /// Something else went wrong after the message was written and before it was confirmed.
    #[error("{cause}, after the message was written")]
    Unconfirmed {
        /// The cause.
        cause: Box<XmppError>,
    },
    /// The answer is not XMPP.
    #[error("the server sent something that is not XMPP: {reason}")]
    NotXmpp {
        /// The fault in it.
        reason: String,
    },

    // --- one message ---
    /// The target has no such account, or does not take messages while offline.
    #[error("{to} does not exist, or accepts no messages now{}", server_text(.text))]
    NoSuchUser {
        /// Address of the target.
        to: Jid,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
        /// The server may say the same while it cannot store the message.
        temporary: bool,
    },
    /// The other domain cannot be found.
    #[error("the domain {domain} cannot be reached from the server{}", server_text(.text))]
    RemoteServerNotFound {
        /// Domain of the target.
        domain: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The other domain did not answer the server.
    #[error("the domain {domain} did not answer the server{}", server_text(.text))]
    RemoteServerTimeout {
        /// Domain of the target.
        domain: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The server does not talk to other domains.
    #[error("the server is not allowed to talk to {domain}{}", server_text(.text))]
    RemoteNotAllowed {
        /// Domain of the target.
        domain: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// The server has no such service below its own domain.
    #[error("the service {domain} does not exist{}", server_text(.text))]
    NoSuchService {
        /// The domain of the room.
        domain: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// A message to a person went to a room.
    #[error("{to} is a room, not a person: did you mean #{to}?")]
    IsRoom {
        /// Address of the target.
        to: Jid,
    },
    /// A block list stops the message, and the server says so (XEP-0191): mostly that of this account.
    #[error("messages to {to} are blocked")]
    Blocked {
        /// Address of the target.
        to: Jid,
    },
    /// Bounced for another reason.
    #[error("the message to {to} came back: {condition}{}", server_text(.text))]
    Bounced {
        /// Address of the target.
        to: Jid,
        /// The defined condition (RFC 6120 section 8.3.3).
        condition: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
        /// The server says that it may work later (error type `wait`).
        temporary: bool,
    },
    /// The server took the message, and no client of the recipient acknowledged it.
    #[error("the server accepted the message, but {to} sent no receipt within {}", seconds(.after))]
    NoReceipt {
        /// Address of the target.
        to: Jid,
        /// The limit that passed.
        after: Duration,
    },
    /// The connection broke before the message was confirmed, and nothing shows whether it arrived. It is
    /// not sent again.
    #[error("it is unknown whether the message to {to} arrived: {why}")]
    InDoubt {
        /// Address of the target.
        to: Jid,
        /// Reason why it is not known.
        why: Doubt,
    },
    /// One part of the message, its text or a file, failed, and other parts arrived or may have: sent again as a whole, it
    /// would be doubled.
    #[error("part {part} of {parts} of the message failed: {cause}")]
    PartFailed {
        /// Number of the first part that failed, from 1.
        part: usize,
        /// Number of parts: the text and each file.
        parts: usize,
        /// The cause.
        cause: Box<XmppError>,
    },
    /// The message is too long for one stanza.
    #[error("the message has {bytes} bytes on the wire; the server takes at most {limit}")]
    TooLarge {
        /// Size of the stanza, escaped.
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
        /// Address of the room.
        room: Jid,
        /// True if the room made by our join is gone again, or none was made.
        removed: bool,
    },
    /// The room made for this message would end with our session.
    #[error(
        "the room {room} was created, but the server does not let it be permanent, so the message would vanish with it"
    )]
    RoomNotKept {
        /// Address of the room.
        room: Jid,
    },
    /// The room does not exist and may not be made.
    #[error("the room {room} does not exist, and this account may not create it")]
    RoomCreationForbidden {
        /// Address of the room.
        room: Jid,
    },
    /// registration-required.
    #[error("the room {room} is for members only")]
    MembersOnly {
        /// Address of the room.
        room: Jid,
    },
    /// not-authorized.
    #[error("the room {room} {}", if *.given { "did not accept the password" } else { "asks for a password" })]
    RoomPassword {
        /// Address of the room.
        room: Jid,
        /// True if one was sent.
        given: bool,
    },
    /// forbidden at the door.
    #[error("this account is banned from the room {room}")]
    Banned {
        /// Address of the room.
        room: Jid,
    },
    /// forbidden inside.
    #[error("this account has no voice in the moderated room {room}")]
    NoVoice {
        /// Address of the room.
        room: Jid,
    },
    /// Every nick tried is taken.
    #[error("the nick {nick} and its variants are taken in the room {room}")]
    NickTaken {
        /// Address of the room.
        room: Jid,
        /// The nick asked for.
        nick: String,
    },
    /// The nick is not acceptable as an address part.
    #[error("the nick is not usable in the room {room}")]
    BadNick {
        /// Address of the room.
        room: Jid,
    },
    /// service-unavailable at the door.
    #[error("the room {room} is full")]
    RoomFull {
        /// Address of the room.
        room: Jid,
    },
    /// We were removed while the message was on its way.
    #[error("this account was removed from the room {room}{}", server_text(.text))]
    RemovedFromRoom {
        /// Address of the room.
        room: Jid,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
    },
    /// Another refusal at the door.
    #[error("the room {room} refused the join: {condition}{}", server_text(.text))]
    JoinRefused {
        /// Address of the room.
        room: Jid,
        /// Defined condition of the stanza error.
        condition: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
        /// The server says that it may work later (error type `wait`).
        temporary: bool,
    },
    /// The room did not answer the join that the message was written behind.
    #[error("the room {room} did not answer the join within {}; the message was written behind it", seconds(.after))]
    JoinUnanswered {
        /// Address of the room.
        room: Jid,
        /// The limit that passed.
        after: Duration,
    },
    /// The room did not send our message back.
    #[error("the room {room} did not show the message within {}", seconds(.after))]
    NoEcho {
        /// Address of the room.
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
        /// Name of the file.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The server's limit in bytes.
        limit: u64,
    },
    /// The service gave no slot.
    #[error("the server does not take the file {name}: {condition}{}", server_text(.text))]
    UploadRefused {
        /// Name of the file.
        name: String,
        /// Defined condition of the stanza error.
        condition: String,
        /// Text of the server's error, if it gave one.
        text: Option<String>,
        /// The server says that it may work later.
        temporary: bool,
    },
    /// The upload itself (HTTP PUT) failed.
    #[error("uploading {name} failed: {reason}")]
    UploadFailed {
        /// Name of the file.
        name: String,
        /// HTTP status or connection trouble; never a URL.
        reason: String,
    },

    // --- encryption of messages ---
    /// The message could not be encrypted (OMEMO, XEP-0384).
    #[cfg(feature = "omemo")]
    #[error("{0}")]
    Encryption(Box<crate::omemo::OmemoError>),

    // --- kept sessions ---
    /// The message was not confirmed before its time was over, across reconnects.
    #[error("not confirmed within {}: {last}", seconds(.after))]
    GaveUp {
        /// Time for which it was tried.
        after: Duration,
        /// The last failure.
        last: Box<XmppError>,
        /// True if it was written at least once, so that it may have arrived.
        written: bool,
    },
    /// The session was closed by its owner.
    #[error("the session was closed before the message was confirmed")]
    SessionClosed,
}

#[cfg(feature = "omemo")]
impl From<crate::omemo::OmemoError> for XmppError {
    fn from(error: crate::omemo::OmemoError) -> Self {
        Self::Encryption(Box::new(error))
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
