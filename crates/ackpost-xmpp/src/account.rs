//! Everything that decides how one account connects and logs in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::{Content, Delivered, Jid, Outcome, Outgoing, Target, TokenStore, XmppError};

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// No encryption at all. SCRAM still protects the password; the messages are readable on the way.
    None,
    /// Clear text first, TLS before anything is said (RFC 6120 section 5). Never goes on without it.
    StartTls,
    /// TLS from the first byte (XEP-0368).
    Tls,
}

impl Mode {
    /// The port when neither SRV records nor the caller name one.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::None | Self::StartTls => 5222,
            Self::Tls => 5223,
        }
    }
}

/// Which certificates are believed. The name in the certificate must always be the domain of the
/// address, never the host that was connected to (RFC 6120 section 13.7.2).
#[derive(Clone)]
pub enum Verify {
    /// The trust store of the platform.
    Platform,
    /// Only these authorities: the text of a PEM file with one or more certificates.
    Authorities(Arc<[u8]>),
    /// Anything, even an expired certificate for another name. The server is then unproven.
    No,
}

impl std::fmt::Debug for Verify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Platform => "Platform",
            Self::Authorities(_) => "Authorities",
            Self::No => "No",
        })
    }
}

/// Whether the login is bound to the TLS connection (SCRAM-…-PLUS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// Bound when the server lists a kind we can do (XEP-0440); one retry without it when a server
    /// still rejects the binding.
    #[default]
    Auto,
    /// Never bound.
    Never,
    /// Bound or not at all.
    Require,
}

/// When PLAIN, which shows the password to the server, may be used. It is never used where the
/// server offers SCRAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Plain {
    /// Inside TLS with a verified certificate, or on a connection to this machine itself.
    #[default]
    Protected,
    /// Inside TLS with a verified certificate, and nowhere else.
    Verified,
    /// On any connection.
    Anywhere,
}

/// Whether an empty connection address is resolved by DNS service records, and who is asked.
#[derive(Clone, Debug, Default)]
pub enum Dns {
    /// The name servers of the system.
    #[default]
    System,
    /// These name servers only, for service records and addresses.
    Servers(Vec<SocketAddr>),
}

/// Says which addresses a connection may go to.
pub type AddressRule = fn(std::net::IpAddr) -> bool;

/// One login: who, where and by which rules.
///
/// ```
/// use ackpost_xmpp::{Account, Mode};
///
/// let account = Account::new("alice@example.org".parse()?, "secret".to_owned().into()).mode(Mode::StartTls);
/// # Ok::<(), ackpost_xmpp::JidError>(())
/// ```
#[derive(Clone)]
pub struct Account {
    pub(crate) jid: Jid,
    pub(crate) password: SecretString,
    pub(crate) mode: Option<Mode>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) verify: Verify,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) plain: Plain,
    pub(crate) roster: bool,
    pub(crate) nick: Option<String>,
    pub(crate) dns: Dns,
    pub(crate) address_rule: Option<AddressRule>,
    pub(crate) memory: Option<Arc<dyn TokenStore>>,
    pub(crate) software: String,
}

impl Account {
    /// An account with the safe defaults: service records or STARTTLS on port 5222, certificates
    /// verified by the platform, 4 seconds to connect and 4 seconds for each answer.
    ///
    /// A resource in `jid` is asked for; without one the server picks a fresh one at each login, so
    /// that two senders on one account do not disconnect each other.
    pub fn new(jid: Jid, password: SecretString) -> Self {
        Self {
            jid,
            password,
            mode: None,
            host: None,
            port: None,
            verify: Verify::Platform,
            connect_timeout: Duration::from_secs(4),
            answer_timeout: Duration::from_secs(4),
            channel_binding: ChannelBinding::Auto,
            plain: Plain::Protected,
            roster: false,
            nick: None,
            dns: Dns::System,
            address_rule: None,
            memory: None,
            software: "Ackpost".to_owned(),
        }
    }

    /// Fixes the kind of encryption. Left out, the service records decide, and STARTTLS without any.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Connects to this host name or IP address instead of what DNS says about the domain.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Connects to this port. Zero counts as left out.
    pub fn port(mut self, port: u16) -> Self {
        self.port = (port != 0).then_some(port);
        self
    }

    /// Which certificates are believed.
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// The limit for DNS, TCP and TLS together, for each address tried.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The limit for each single answer: each step of the login, and the confirmation.
    pub fn answer_timeout(mut self, limit: Duration) -> Self {
        self.answer_timeout = limit;
        self
    }

    /// Whether the login is bound to the TLS connection.
    pub fn channel_binding(mut self, policy: ChannelBinding) -> Self {
        self.channel_binding = policy;
        self
    }

    /// When the password may be shown to the server.
    pub fn plain(mut self, policy: Plain) -> Self {
        self.plain = policy;
        self
    }

    /// Also asks for the contact list after the login, as a check that the account is a whole one.
    pub fn roster(mut self, ask: bool) -> Self {
        self.roster = ask;
        self
    }

    /// The nick in rooms; the local part of the address when left out.
    pub fn nick(mut self, nick: impl Into<String>) -> Self {
        self.nick = Some(nick.into());
        self
    }

    /// Who resolves names.
    pub fn dns(mut self, dns: Dns) -> Self {
        self.dns = dns;
        self
    }

    /// Connects only to addresses that fit this rule. It is applied to the resolved address of the server and of its
    /// upload service, not to their names; proxies are then not used.
    pub fn address_rule(mut self, rule: AddressRule) -> Self {
        self.address_rule = Some(rule);
        self
    }

    /// Keeps what makes the next login quicker: the FAST token (XEP-0484) and the server's features.
    /// Without a memory neither is asked for.
    pub fn memory(mut self, memory: Arc<dyn TokenStore>) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The name this client gives itself (XEP-0388 user agent, XEP-0386 tag).
    pub fn software(mut self, name: impl Into<String>) -> Self {
        self.software = name.into();
        self
    }

    /// Logs in, sends one text to a person, and logs out. The text counts as delivered when the server responsible for
    /// the person took it ([`crate::Confirm::Server`]).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use ackpost_xmpp::Account;
    ///
    /// let account = Account::new("bot@example.org".parse()?, "secret".to_owned().into());
    /// account.send("jane@example.org".parse()?, "hello").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`XmppError`], which has the cause, the remedy and whether a later attempt may succeed.
    pub async fn send(&self, to: Jid, text: impl Into<String>) -> Result<Delivered, XmppError> {
        let message = Outgoing::new(Target::User(to), Content::text(text));
        let mut outcomes = crate::send(self, vec![message]).await;
        outcomes.pop().map_or(Err(XmppError::Empty), Outcome::into_result)
    }

    /// The address that logs in.
    pub fn jid(&self) -> &Jid {
        &self.jid
    }

    /// The nick used in rooms that name none.
    pub(crate) fn default_nick(&self) -> &str {
        self.nick.as_deref().or(self.jid.local()).unwrap_or("ackpost")
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("jid", &self.jid)
            .field("mode", &self.mode)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}
