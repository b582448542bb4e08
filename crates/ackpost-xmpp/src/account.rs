//! Options for the connection and the login of one account.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ackpost_tls::Verify;
use secrecy::SecretString;

use crate::jid::Jid;
use crate::token_store::TokenStore;

/// Encryption of the connection.
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

/// Rule for binding the login to the TLS connection (SCRAM-…-PLUS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// Bound when the server lists a kind we can do (XEP-0440); one retry without it when a server
    /// still rejects the binding.
    #[default]
    Auto,
    /// The login is never bound.
    Never,
    /// Bound or not at all.
    Require,
}

/// Rule for PLAIN, which shows the password to the server. PLAIN is never used if the server offers SCRAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Plain {
    /// Inside TLS with a verified certificate, or on a connection to this machine itself.
    #[default]
    Protected,
    /// Inside TLS with a verified certificate, and nowhere else.
    Verified,
    /// On any connection, encrypted or not.
    Anywhere,
}

/// Name servers that are asked for service records and addresses.
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
    pub(crate) token_store: Option<Arc<dyn TokenStore>>,
    pub(crate) software: String,
    #[cfg(feature = "omemo")]
    pub(crate) omemo: Option<Arc<crate::omemo::Omemo>>,
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
            token_store: None,
            software: "Ackpost".to_owned(),
            #[cfg(feature = "omemo")]
            omemo: None,
        }
    }

    /// Fixes the kind of encryption. Left out, the service records decide, and STARTTLS without any.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Connects to this host name or IP address instead of the servers that DNS names for the domain.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Connects to this port. Zero counts as left out.
    pub fn port(mut self, port: u16) -> Self {
        self.port = (port != 0).then_some(port);
        self
    }

    /// Sets which certificates are accepted. The name in the certificate must be the domain of the address, never the host that
    /// was connected to (RFC 6120 section 13.7.2).
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

    /// Sets whether the login is bound to the TLS connection.
    pub fn channel_binding(mut self, policy: ChannelBinding) -> Self {
        self.channel_binding = policy;
        self
    }

    /// Sets when the password may be shown to the server.
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

    /// Sets who resolves names.
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
    /// Without a token store, neither is asked for.
    pub fn token_store(mut self, store: Arc<dyn TokenStore>) -> Self {
        self.token_store = Some(store);
        self
    }

    /// The name this client gives itself (XEP-0388 user agent, XEP-0386 tag).
    pub fn software(mut self, name: impl Into<String>) -> Self {
        self.software = name.into();
        self
    }

    /// Encrypts and decrypts messages with this device (OMEMO, XEP-0384).
    #[cfg(feature = "omemo")]
    pub fn omemo(mut self, device: crate::omemo::Omemo) -> Self {
        self.omemo = Some(Arc::new(device));
        self
    }

    /// Returns the OMEMO device that was given to the account.
    #[cfg(feature = "omemo")]
    pub fn omemo_device(&self) -> Option<&crate::omemo::Omemo> {
        self.omemo.as_deref()
    }

    /// The certificates that are accepted.
    pub fn trust(&self) -> &Verify {
        &self.verify
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
