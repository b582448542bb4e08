//! Community servers that are kept between deliveries, so that each is asked for its capabilities once.

use std::sync::{Mutex, PoisonError};

use sogs_client::Server;

use crate::dispatch::delivery::BoxFuture;
use crate::dispatch::pool::{ConnectionOptions, Party, ServicePool, fingerprint};
use crate::dispatch::recent::Recent;
use crate::problem::Diagnostic;

/// Community servers in use.
pub(super) struct SogsPool {
    /// Ours, and those of guests.
    servers: [Mutex<Recent<String, Server>>; 2],
}

impl SogsPool {
    /// Returns an empty pool.
    pub(super) fn new(options: &ConnectionOptions) -> Self {
        let servers = |party: Party| Mutex::new(Recent::new(party.share(options.kept_sessions)));
        Self {
            servers: [servers(Party::Own), servers(Party::Guest)],
        }
    }

    /// Returns the community server for a key. It is made once and kept until others were used more recently.
    pub(super) fn server(
        &self,
        party: Party,
        key: &str,
        secret: &str,
        make: impl FnOnce() -> Result<Server, Diagnostic>,
    ) -> Result<Server, Diagnostic> {
        let key = format!("{key}|{}", fingerprint(secret));
        let mut servers = self.servers[party as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(&key) {
            return Ok(server.clone());
        }
        let server = make()?;
        servers.insert(key, server.clone());
        Ok(server)
    }
}

impl ServicePool for SogsPool {
    fn forget_guests(&self) -> BoxFuture<'_, ()> {
        let mut servers = self.servers[Party::Guest as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        servers.retain(|_| false);
        Box::pin(std::future::ready(()))
    }
}
