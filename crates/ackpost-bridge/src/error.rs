//! Reason why a bridge does not run.

use ackpost_xmpp::XmppError;
use sogs_client::{Cause, SogsError};

use crate::store::StoreError;

/// Reason why a bridge does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// The XMPP account or room failed.
    #[error("XMPP: {0}")]
    Xmpp(XmppError),
    /// The community failed.
    #[error("community: {0}")]
    Session(SogsError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Events were not taken in, or a message may have arrived: a new start reads the archive.
    #[error("the archive of the XMPP room must be read again")]
    Behind,
    /// The archive of the XMPP room cannot be read now.
    #[error("the archive of the XMPP room cannot be read now")]
    Archive,
}

impl BridgeError {
    /// Remedy, as an imperative.
    pub fn remedy(&self) -> String {
        match self {
            Self::Xmpp(error) => error.remedy().to_string(),
            Self::Session(error) => error.remedy(),
            Self::Store(error) => error.remedy().to_owned(),
            Self::Behind | Self::Archive => "wait: the bridge starts again by itself".to_owned(),
        }
    }

    /// Returns true if a bridge that has carried before must end for this. Other errors that look permanent pass by themselves:
    /// a certificate is renewed, a proxy is repaired.
    pub(crate) fn ends_a_running_bridge(&self) -> bool {
        match self {
            Self::Session(error) => matches!(
                error.cause(),
                Cause::NoIdentity | Cause::InvalidInput { .. } | Cause::MissingCapabilities
            ),
            Self::Xmpp(_) | Self::Store(_) | Self::Behind | Self::Archive => self.is_permanent(),
        }
    }

    /// Returns true if a new start would end in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Xmpp(error) => error.is_permanent(),
            Self::Session(error) => error.is_permanent(),
            Self::Store(StoreError::Newer(_) | StoreError::Held(_) | StoreError::Unreadable(_)) => true,
            Self::Store(_) | Self::Behind | Self::Archive => false,
        }
    }
}
