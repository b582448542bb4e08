//! The account of a URL, for commands that read its mailbox or prove the network.

use std::path::Path;

use ackpost_notify::dispatch::ConnectionOptions;
use ackpost_notify::{Diagnostic, ServiceUrl};
use session_network::{Identity, Network, NetworkBuilder, Sender};

use crate::network_options::NetworkOptions;
use crate::networks::{self, Networks};
use crate::proof::LiveProof;
use crate::session_dm::{SessionDm, diagnostic};

/// The account that a `sessiondm://` URL sends with, and the network of the URL.
#[derive(Clone)]
#[non_exhaustive]
pub struct Account {
    /// Identity of the account.
    pub identity: Identity,
    /// The account with the name that recipients see.
    pub sender: Sender,
    /// The network with the mode and the seeds of the URL. It keeps nothing until it gets a storage.
    pub network: NetworkBuilder,
    network_options: NetworkOptions,
}

impl Account {
    /// Returns the account of a loaded URL; `None` for a URL of another service.
    ///
    /// # Errors
    /// A [`Diagnostic`] if the URL has no account, and the one of the state folder cannot be read or made.
    pub fn of(url: &ServiceUrl, options: &ConnectionOptions) -> Option<Result<Self, Diagnostic>> {
        let service = url.downcast::<SessionDm>()?;
        Some(Self::open(service, options))
    }

    fn open(service: &SessionDm, options: &ConnectionOptions) -> Result<Self, Diagnostic> {
        let identity = service.account(&Networks::new(options))?;
        Ok(Self {
            sender: service.sender(&identity)?,
            identity,
            network: service.network.builder(),
            network_options: service.network.clone(),
        })
    }

    /// Returns the name of the network: its seeds, or nothing for the public one. The same account has a mailbox in each.
    pub fn network_name(&self) -> String {
        self.network_options.name()
    }

    /// Opens the network of the URL, with its state in the state folder.
    ///
    /// # Errors
    /// A [`Diagnostic`] if the network cannot be set up.
    pub fn open_network(&self, options: &ConnectionOptions) -> Result<Network, Diagnostic> {
        Networks::new(options)
            .get(&self.network_options)
            .map_err(|error| diagnostic(&error))
    }

    /// Stores a message to the account itself, reads it again, deletes it, and keeps in the state folder that the network
    /// worked on this day (`2026-11-30`).
    ///
    /// # Errors
    /// A [`Diagnostic`] with the step that failed.
    pub async fn prove_live(&self, options: &ConnectionOptions, day: &str) -> Result<LiveProof, Diagnostic> {
        let network = self.open_network(options)?;
        let test = network.self_test(&self.identity).await;
        let proof = LiveProof::new(day, &test.map_err(|error| diagnostic(&error))?);
        proof.save(&networks::folder(options)?, &self.network_options)?;
        Ok(proof)
    }
}

/// Returns the account that URLs without a seed send with, if the program has no other. It is made at the first call and kept
/// in the state folder.
///
/// # Errors
/// A [`Diagnostic`] if its file cannot be read or made.
pub fn default_account(state_folder: &Path) -> Result<Identity, Diagnostic> {
    networks::default_account(&state_folder.join(networks::FOLDER))
}
