//! The services of this crate.

use super::kind::ServiceKind;
use super::services::Services;
use super::{sogs, xmpp};

impl Default for Services {
    fn default() -> Self {
        static BUILT_IN: [&ServiceKind; 2] = [&sogs::KIND, &xmpp::KIND];
        Self::new(&BUILT_IN)
    }
}
