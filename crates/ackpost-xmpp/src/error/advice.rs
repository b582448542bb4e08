//! Consequences of an error: whether and when to try again, and what a person can do.

use std::borrow::Cow;
use std::time::Duration;

use super::{Step, XmppError};

impl XmppError {
    /// Removes the text that the other side wrote, so that people who must not read it can see the error.
    #[must_use]
    pub fn without_answer(mut self) -> Self {
        match &mut self {
            Self::WrongPassword { text, .. }
            | Self::AccountDisabled { text, .. }
            | Self::CredentialsExpired { text, .. }
            | Self::LoginUnavailable { text, .. }
            | Self::LoginRefused { text, .. }
            | Self::ChannelBindingRejected { text, .. }
            | Self::BindRefused { text, .. }
            | Self::HostUnknown { text, .. }
            | Self::ShuttingDown { text, .. }
            | Self::Replaced { text, .. }
            | Self::StreamError { text, .. }
            | Self::StanzaTooBig { text }
            | Self::NoSuchUser { text, .. }
            | Self::RemoteServerNotFound { text, .. }
            | Self::RemoteServerTimeout { text, .. }
            | Self::RemoteNotAllowed { text, .. }
            | Self::Bounced { text, .. }
            | Self::RemovedFromRoom { text, .. }
            | Self::JoinRefused { text, .. }
            | Self::UploadRefused { text, .. } => *text = None,
            Self::Unconfirmed { cause }
            | Self::PartFailed { cause, .. }
            | Self::GaveUp { last: cause, .. } => {
                **cause = cause.as_ref().clone().without_answer();
            }
            Self::NotXmpp { reason } => "it cannot be read".clone_into(reason),
            #[cfg(feature = "omemo")]
            Self::Encryption(cause) => cause.hide_answer(),
            _ => {}
        }
        self
    }

    /// Returns true if the same attempt would end the same way until somebody changes something.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::DnsFailed { .. }
            | Self::ConnectionRefused { .. }
            | Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::AnswerTimeout { .. }
            | Self::TooSlow { .. }
            | Self::TlsFailed { .. }
            | Self::StartTlsRefused
            | Self::LoginUnavailable { .. }
            | Self::ShuttingDown { .. }
            | Self::Replaced { .. }
            | Self::ConnectionLost { .. }
            | Self::CutUnconfirmed
            | Self::JoinUnanswered { .. }
            | Self::SeeOtherHost { .. }
            | Self::NotXmpp { .. }
            | Self::RemoteServerTimeout { .. }
            | Self::RemoteServerNotFound { .. }
            | Self::RoomFull { .. }
            | Self::NoEcho { .. }
            | Self::UploadFailed { .. }
            | Self::GaveUp { .. }
            | Self::SessionClosed => false,
            Self::Unconfirmed { cause } | Self::PartFailed { cause, .. } => cause.is_permanent(),
            #[cfg(feature = "omemo")]
            Self::Encryption(cause) => cause.is_permanent(),
            Self::StreamError { condition, .. } => !matches!(
                condition.as_str(),
                "connection-timeout"
                    | "internal-server-error"
                    | "remote-connection-failed"
                    | "reset"
                    | "resource-constraint"
                    | "system-shutdown"
                    | "undefined-condition"
            ),
            Self::LoginRefused { condition, .. } => condition == "aborted",
            Self::BindRefused { condition, .. } => !matches!(
                condition.as_str(),
                "resource-constraint" | "conflict" | "internal-server-error"
            ),
            Self::NoSuchUser { temporary, .. }
            | Self::Bounced { temporary, .. }
            | Self::JoinRefused { temporary, .. }
            | Self::UploadRefused { temporary, .. } => !temporary,
            _ => true,
        }
    }

    /// Returns true if a session that was online once gives up.
    ///
    /// Waiting does not help against a refused account or login. A server that cannot be found, shows a wrong
    /// certificate or does not know its domain is usually being repaired.
    pub(crate) fn ends_session(&self) -> bool {
        match self {
            Self::WrongPassword { .. }
            | Self::AccountDisabled { .. }
            | Self::CredentialsExpired { .. }
            | Self::OnlyPlain { .. }
            | Self::NoMechanism { .. }
            | Self::ChannelBindingUnavailable { .. }
            | Self::ChannelBindingRejected { .. }
            | Self::ServerNotProven { .. }
            | Self::Downgraded
            | Self::Iterations { .. }
            | Self::LoginProtocol { .. }
            | Self::PasswordCharacters
            | Self::BadAuthority { .. } => true,
            Self::LoginRefused { .. } => self.is_permanent(),
            Self::Unconfirmed { cause } => cause.ends_session(),
            _ => false,
        }
    }

    /// Returns the time to wait before trying again; `None` when that is pointless.
    pub fn retry_after(&self) -> Option<Duration> {
        if self.is_permanent() {
            return None;
        }
        Some(Duration::from_secs(match self {
            Self::CutUnconfirmed | Self::ConnectionLost { .. } => 1,
            Self::ShuttingDown { .. } | Self::ConnectionRefused { .. } => 5,
            Self::RemoteServerNotFound { .. } | Self::RemoteServerTimeout { .. } => 60,
            Self::NoSuchUser { .. } => 300,
            Self::Unconfirmed { cause } | Self::PartFailed { cause, .. } => return cause.retry_after(),
            Self::StreamError { .. } | Self::Bounced { .. } | Self::UploadRefused { .. } => 30,
            _ => 10,
        }))
    }

    /// Returns true if the message may have arrived although it was not confirmed.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::CutUnconfirmed
            | Self::Unconfirmed { .. }
            | Self::PartFailed { .. }
            | Self::JoinUnanswered { .. }
            | Self::NoEcho { .. }
            | Self::NoReceipt { .. }
            | Self::InDoubt { .. }
            | Self::AnswerTimeout {
                step: Step::Confirming,
                ..
            } => true,
            Self::GaveUp { last, written, .. } => *written || last.may_have_arrived(),
            _ => false,
        }
    }

    /// Returns true if a message to a person was sent back, or its domain could not be reached: no copy of it
    /// arrived, although the sender's archive holds one.
    pub fn came_back(&self) -> bool {
        matches!(
            self,
            Self::NoSuchUser { .. }
                | Self::RemoteServerNotFound { .. }
                | Self::RemoteServerTimeout { .. }
                | Self::RemoteNotAllowed { .. }
                | Self::NoSuchService { .. }
                | Self::IsRoom { .. }
                | Self::Blocked { .. }
                | Self::Bounced { .. }
        )
    }

    /// Returns the failure for a message of which bytes had been written before.
    pub(crate) fn after_writing(self) -> Self {
        match self {
            Self::ConnectionLost { .. } => Self::CutUnconfirmed,
            Self::AnswerTimeout { after, .. } | Self::TooSlow { after, .. } => Self::AnswerTimeout {
                step: Step::Confirming,
                after,
            },
            known if known.may_have_arrived() => known,
            other => Self::Unconfirmed {
                cause: Box::new(other),
            },
        }
    }

    /// Returns the remedy: a sentence that tells a person what to do.
    #[expect(clippy::too_many_lines, reason = "one table: each cause beside its remedy")]
    pub fn remedy(&self) -> Cow<'static, str> {
        let text = match self {
            Self::NoSuchHost { .. } => "check the spelling of the host, or name the server with xmpp=HOST",
            Self::DnsFailed { .. } => {
                "check the name servers of this machine, or name the server with xmpp=ADDRESS"
            }
            Self::ServiceNotOffered { .. } => {
                "check the domain of the address, or name the server and port yourself"
            }
            Self::ConnectionRefused { .. } => {
                "check host and port, and that the server runs and is not behind a firewall"
            }
            Self::AddressNotAllowed { .. } => "use a host on the public internet",
            Self::Unreachable { .. } => "check the network of this machine and the address of the server",
            Self::ConnectTimeout { .. } => {
                "check host, port and firewall, or allow more time with cto=SECONDS"
            }
            Self::AnswerTimeout {
                step: Step::Opening | Step::StartTls,
                ..
            } => {
                "check that the port is an XMPP port and that mode= fits it, or allow more time with rto=SECONDS"
            }
            Self::AnswerTimeout {
                step: Step::Features, ..
            } => {
                "the server stopped while opening the stream: look into its log, or allow more time with rto=SECONDS"
            }
            Self::TooSlow { .. } => {
                "the server or the line is extremely slow; allow more time with rto=SECONDS"
            }
            Self::AnswerTimeout { step: Step::Tls, .. } => {
                "check that the port fits mode=: 5223 is mostly tls, 5222 starttls"
            }
            Self::AnswerTimeout {
                step: Step::Confirming,
                ..
            } => {
                "the message may have arrived; look before you send it again, or allow more time with rto=SECONDS"
            }
            Self::AnswerTimeout { .. } => "the server is slow; allow more time with rto=SECONDS",
            Self::PortExpectsTls => {
                "use mode=tls for this port, or the STARTTLS port of the server (mostly 5222)"
            }
            Self::PortExpectsClearText => {
                "use mode=starttls for this port, or the TLS port of the server (mostly 5223)"
            }
            Self::StartTlsNotOffered { .. } => {
                "use mode=tls with the TLS port; mode=none only if you accept that everybody on the way can read along"
            }
            Self::StartTlsRefused => "look into the server's log: its certificate is probably missing",
            Self::DataBeforeTls => {
                "somebody between you and the server tampers with the connection; use mode=tls"
            }
            Self::TlsRequired { .. } => "use mode=starttls or mode=tls",
            Self::CertificateUntrusted { .. } => {
                "give the authority's certificate with ca_file=PATH; verify=no only where nobody can stand between"
            }
            Self::CertificateExpired { .. } => {
                "renew the certificate on the server, and check the clock of this machine"
            }
            Self::CertificateNotYetValid { .. } => "check the clock of this machine and of the server",
            Self::CertificateOnlyXmppNames { .. } => {
                "have the certificate reissued with the domain as DNS name (subjectAltName DNS:)"
            }
            Self::CertificateWrongName { .. } => {
                "the certificate must name the domain of the address; check the domain, and xmpp= if you set it"
            }
            Self::CertificateInvalid { .. } => "have the server's certificate reissued",
            Self::BadAuthority { .. } => "ca_file= must be a PEM file with at least one certificate",
            Self::TlsFailed { .. } => {
                "check that the server speaks TLS 1.2 or 1.3 and that the port fits mode="
            }
            Self::WrongPassword { bound: true, .. } => {
                "check user, domain and password by logging in with another client; if they are right, a relay ends TLS before the server: use scramplus=no"
            }
            Self::WrongPassword { .. } => "check user, domain and password by logging in with another client",
            Self::AccountDisabled { .. } => "ask the administrator of the server",
            Self::CredentialsExpired { .. } => "set a new password with another client",
            Self::LoginUnavailable { .. } => "try again later; the server's user database is not available",
            Self::LoginRefused { .. } => "log in with another client to see whether the account works",
            Self::OnlyPlain { .. } => {
                "use TLS with a certificate that can be verified, or allow it with plain=yes if you trust the connection"
            }
            Self::OnlyIqAuth { .. } => {
                "enable SASL with SCRAM-SHA-256 or SCRAM-SHA-1 on the server; iq-auth is not supported"
            }
            Self::NoMechanism { .. } => {
                "have a SCRAM mechanism enabled on the server; without encryption many servers offer none, so use mode=starttls"
            }
            Self::ChannelBindingUnavailable { .. } => {
                "drop scramplus=require, or use a server with tls-exporter or tls-server-end-point"
            }
            Self::ChannelBindingRejected { .. } => {
                "somebody may stand between you and the server; if the server is just old or behind a TLS relay of your own, use scramplus=no"
            }
            Self::ServerNotProven { .. } => {
                "do not log in there: it is not the server of this account, or it has a fault"
            }
            Self::Downgraded => {
                "somebody between you and the server tampers with the login; check the certificate, and do not use verify=no"
            }
            Self::Iterations { .. } => "set the password anew on the server, with a usual iteration count",
            Self::LoginProtocol { .. } => "the server has a fault or is not genuine; try another client",
            Self::PasswordCharacters => "choose a password without control and private characters",
            Self::BindRefused { .. } => {
                "leave out the resource of the address, and end sessions that are not needed"
            }
            Self::HostUnknown { .. } => "check the domain of the address, and xmpp= if you set it",
            Self::ShuttingDown { .. } => "try again when the server is back",
            Self::Replaced { .. } => "leave out the resource of the address, so that each login gets its own",
            Self::SeeOtherHost { .. } => {
                "try again later; if it stays so, name that server with xmpp=HOST and its port in the address"
            }
            Self::OldStream { .. } => {
                "update the server to one that speaks XMPP 1.0 (RFC 6120), or name its XMPP 1.0 host and port with xmpp=HOST and the port in the address"
            }
            Self::StreamError { condition, .. } if condition == "policy-violation" => {
                "read the server's words: it forbids something about this connection; look into its log"
            }
            Self::StreamError { .. } => "look into the server's log",
            Self::ConnectionLost {
                step: Step::Opening, ..
            } => "check that the port is an XMPP port and that mode= fits it",
            Self::ConnectionLost { .. } => "nothing was sent; try again",
            Self::CutUnconfirmed => "it may have arrived; sent again with the same id, clients show it once",
            Self::NotXmpp { .. } => "check host and port: something else than an XMPP server answers there",
            Self::NoSuchUser { temporary: true, .. } => {
                "check the address of the recipient; if it is right, its server cannot store the message now or the recipient blocks this account"
            }
            Self::NoSuchUser { .. } => "check the address of the recipient",
            Self::NoSuchService { .. } => "check the domain of the room: mostly it is conference.DOMAIN",
            Self::RemoteServerNotFound { .. } => "check the domain of the recipient",
            Self::RemoteServerTimeout { .. } => "try again later; the recipient's server does not answer",
            Self::RemoteNotAllowed { .. } => {
                "this server does not talk to other servers; use an account on the recipient's server"
            }
            Self::IsRoom { .. } => "write the target with a # before it",
            Self::Blocked { .. } => {
                "remove the recipient from the block list of this account, or ask the recipient to remove this account from theirs"
            }
            Self::Bounced { temporary: true, .. } => "try again later",
            Self::Bounced { .. } => "check the recipient, and whether it accepts messages from this account",
            Self::NoReceipt { .. } => {
                "the message is not sent again; allow more time with rto=SECONDS, or use confirm=server if the recipient's client sends no receipts"
            }
            Self::InDoubt { .. } => {
                "ask the recipient; if the message is missing, send it again as a new one"
            }
            Self::TooLarge { .. } | Self::StanzaTooBig { .. } => {
                "shorten the message, send it as a file, or split it with overflow=split"
            }
            Self::Empty => "give the message a text or a file",
            Self::NoSuchRoom { removed: false, .. } => {
                "check the spelling; remove the empty room by hand, or allow it with create=yes"
            }
            Self::NoSuchRoom { .. } => "check the spelling of the room, or have it made with create=yes",
            Self::RoomNotKept { .. } => {
                "ask the administrator to create the room, or to allow permanent rooms for this account"
            }
            Self::RoomCreationForbidden { .. } => {
                "check the spelling of the room, or ask the administrator to create it"
            }
            Self::MembersOnly { .. } => "ask a room admin to make this account a member",
            Self::RoomPassword { given: true, .. } => "check the room password",
            Self::RoomPassword { .. } => "give it as #room:PASSWORD or with room_password=",
            Self::Banned { .. } => "ask a room admin to lift the ban",
            Self::NoVoice { .. } => "ask a moderator to give this account voice",
            Self::NickTaken { .. } | Self::BadNick { .. } => "choose another nick with name=",
            Self::RoomFull { .. } => "try again later, or ask a room admin to raise the limit",
            Self::RemovedFromRoom { .. } => "ask a room admin why",
            Self::JoinRefused { .. } => "check the room with another client",
            Self::JoinUnanswered { .. } | Self::NoEcho { .. } => {
                "it may have arrived; look into the room before you send it again, or allow more time with rto=SECONDS"
            }
            Self::NoUploadService { .. } => {
                "send without the file, or use a server with HTTP upload (XEP-0363)"
            }
            Self::FileTooLarge { .. } => "make the file smaller, or send a link to it",
            Self::UploadRefused { .. } => {
                "try later or with a smaller file; the account may be over its quota"
            }
            Self::UploadFailed { .. } => "check that this machine reaches the server's HTTP port",
            Self::GaveUp { last, written, .. } if *written && !last.may_have_arrived() => {
                return Cow::Owned(format!("it may have arrived; {}", last.remedy()));
            }
            Self::GaveUp { last, .. } => return last.remedy(),
            Self::Unconfirmed { cause } => {
                return Cow::Owned(format!("it may have arrived; {}", cause.remedy()));
            }
            Self::PartFailed { cause, .. } => {
                return Cow::Owned(format!(
                    "other parts arrived or may have; look at the recipient before you send it again; {}",
                    cause.remedy()
                ));
            }
            #[cfg(feature = "omemo")]
            Self::Encryption(cause) => return cause.remedy(),
            Self::SessionClosed => "send it again in a new session",
        };
        Cow::Borrowed(text)
    }
}
