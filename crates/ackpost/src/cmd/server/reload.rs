//! Reading the configuration of a running server again.

use sogs_server::{Running, admin};

/// Reads the configuration again. One that cannot be used changes nothing.
pub(super) async fn reload(running: &Running) {
    match admin::reload(running.app()).await {
        Ok(lines) => tracing::info!(changes = lines.len(), "the configuration was read again"),
        Err(error) => tracing::error!(cause = %error, "the configuration is unchanged"),
    }
}
