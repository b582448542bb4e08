//! The account that sends, and its recipients, as a URL names them.

use std::fmt;
use std::time::Duration;

use ackpost_notify::Diagnostic;
use session_network::{Identity, NetworkError, Sender, SessionId};

use crate::network_options::NetworkOptions;
use crate::networks::Networks;

/// Name of the service.
pub(crate) const NAME: &str = "sessiondm";
/// The name that recipients see when none is given.
pub(crate) const DEFAULT_NAME: &str = "Ackpost";

/// One account that sends, and its recipients.
pub(crate) struct SessionDm {
    /// The account that sends; `None` for the one of the state folder.
    pub(crate) identity: Option<Identity>,
    /// The name that recipients see; `None` for the default.
    pub(crate) name: Option<String>,
    /// The first recipient, which stands where other services have a host.
    pub(crate) host: String,
    pub(crate) recipients: Vec<SessionId>,
    pub(crate) network: NetworkOptions,
    pub(crate) ttl: Option<Duration>,
    pub(crate) expire: Option<Duration>,
}

impl fmt::Debug for SessionDm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionDm")
            .field("recipients", &self.recipients)
            .finish_non_exhaustive()
    }
}

impl SessionDm {
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_NAME)
    }

    /// The account that sends.
    pub(crate) fn account(&self, networks: &Networks) -> Result<Identity, Diagnostic> {
        match &self.identity {
            Some(identity) => Ok(identity.clone()),
            None => networks.default_account(),
        }
    }

    /// The account with the name that recipients see.
    pub(crate) fn sender(&self, account: &Identity) -> Result<Sender, Diagnostic> {
        Sender::new(account.clone(), self.name()).map_err(|error| diagnostic(&error).key("name"))
    }
}

/// A failure of the network as a finding.
pub(crate) fn diagnostic(error: &NetworkError) -> Diagnostic {
    Diagnostic::error(error.to_string(), error.remedy())
}
