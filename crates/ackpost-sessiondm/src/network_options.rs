//! Options that identify a network.

use session_network::{FileServer, Mode, Network, NetworkBuilder, Seed};

/// Options that identify a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkOptions {
    pub(crate) mode: Mode,
    /// The seeds, none for the public network.
    pub(crate) seeds: Vec<Seed>,
    /// The server for files, none for the public one.
    pub(crate) file_server: Option<FileServer>,
}

impl NetworkOptions {
    /// The seeds as text, in an order that does not depend on the URL. Empty for the public network.
    pub(crate) fn name(&self) -> String {
        let mut seeds: Vec<_> = self.seeds.iter().map(ToString::to_string).collect();
        seeds.sort_unstable();
        seeds.join(",")
    }

    /// The options of the network.
    pub(crate) fn builder(&self) -> NetworkBuilder {
        let mut builder = Network::builder().mode(self.mode);
        if let Some(server) = &self.file_server {
            builder = builder.file_server(server.clone());
        }
        if self.seeds.is_empty() {
            return builder;
        }
        builder.seeds(self.seeds.iter().cloned())
    }
}
