//! Sources of a run: one for each mailbox, XMPP account, and account on a community server.
//!
//! Two URLs of one account share a source. Two sources would overwrite each other's position, and both would print the
//! messages to the account itself.

use std::time::Duration;

use ackpost_notify::service::XmppParts;
use ackpost_notify::{ConnectionOptions, ServiceUrl};
use session_network::SessionId;
use sogs_client::{Identity, Server};

use super::{WatchArgs, mailbox};
use crate::cmd::dm;
use crate::cmd::identity;
use crate::cmd::outbox::place::own_state_folder;
use crate::cmd::room::place::{Needs, Place};
use crate::context::Context;
use crate::exit::Failure;

/// The sources that the URLs of a run name.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) mailboxes: Vec<mailbox::Source>,
    pub(super) accounts: Vec<XmppParts>,
    /// Rooms of one account on one server.
    pub(super) communities: Vec<Vec<Place>>,
}

impl Plan {
    pub(super) fn of(args: &WatchArgs, context: Context) -> Result<Self, Failure> {
        let mut plan = Self::default();
        for url in &args.urls {
            plan.add(url, args, context)?;
        }
        Ok(plan)
    }

    fn add(&mut self, url: &str, args: &WatchArgs, context: Context) -> Result<(), Failure> {
        let scheme = url
            .split_once("://")
            .map_or("", |(scheme, _)| scheme)
            .to_ascii_lowercase();
        if self.add_mailbox(url, &scheme, args, context)? {
            Ok(())
        } else if matches!(scheme.as_str(), "xmpp" | "xmpps") {
            // OMEMO keys are in the state folder.
            let connections = connections();
            let mut access = ServiceUrl::parse(url, &ackpost_notify::Context::default())
                .map_err(unusable)?
                .xmpp_parts(&connections)
                .ok_or_else(|| Failure::usage("this is not an XMPP account", "give an xmpps:// URL"))?
                .map_err(unusable)?;
            access.account = args.way.trust(access.account)?;
            self.add_account(access);
            Ok(())
        } else {
            self.add_rooms(args.way.places(url, Needs::Nothing)?);
            Ok(())
        }
    }

    /// Adds the mailbox that a URL or a Session ID names; returns false if it names something else.
    fn add_mailbox(
        &mut self,
        url: &str,
        scheme: &str,
        args: &WatchArgs,
        context: Context,
    ) -> Result<bool, Failure> {
        let place = mailbox::Place {
            interval: Duration::from_secs(args.interval),
            cursor: args.cursor.as_deref(),
            save: args.save.as_deref(),
        };
        if scheme == "sessiondm" {
            let options = ackpost_notify::Context::default()
                .with_services(context.services)
                .with_identity(identity::default_seed());
            let url = ServiceUrl::parse(url, &options).map_err(unusable)?;
            let Some(account) = ackpost_sessiondm::Account::of(&url, &connections()) else {
                return Ok(false);
            };
            let account = account.map_err(unusable)?;
            if !self.reads(account.identity.session_id(), None) {
                self.mailboxes.push(mailbox::Source::of_url(account, place)?);
            }
            return Ok(true);
        }
        let Some(id) = dm::account(url) else {
            return Ok(false);
        };
        let identity = args.way.identity.require()?;
        let owner = identity.session_id();
        if !self.reads(owner, Some(id).filter(|id| *id != owner)) {
            let network = args.network.builder();
            self.mailboxes
                .push(mailbox::Source::of_account(id, identity, network, place)?);
        }
        Ok(true)
    }

    /// Returns true if a source reads this mailbox for the messages of this person: it has one reader at a time.
    fn reads(&self, owner: SessionId, only: Option<SessionId>) -> bool {
        self.mailboxes.iter().any(|source| source.reads(owner, only))
    }

    fn add_account(&mut self, access: XmppParts) {
        let jid = access.account.jid().to_bare();
        let mut accounts = self.accounts.iter_mut();
        match accounts.find(|known| known.account.jid().to_bare() == jid) {
            None => self.accounts.push(access),
            Some(known) => {
                for room in access.rooms {
                    if known
                        .rooms
                        .iter()
                        .all(|other| other.room.to_bare() != room.room.to_bare())
                    {
                        known.rooms.push(room);
                    }
                }
            }
        }
    }

    fn add_rooms(&mut self, rooms: Vec<Place>) {
        for place in rooms {
            let server = place.room.server();
            let mut communities = self.communities.iter_mut();
            match communities.find(|known| is_same(known[0].room.server(), server)) {
                None => self.communities.push(vec![place]),
                Some(known) => {
                    if known.iter().all(|other| other.room.token() != place.room.token()) {
                        known.push(place);
                    }
                }
            }
        }
    }
}

/// Returns true for the same account on the same server.
fn is_same(one: &Server, other: &Server) -> bool {
    let id = |server: &Server| server.identity().map(Identity::session_id);
    one.base_url() == other.base_url() && one.key() == other.key() && id(one) == id(other)
}

/// Options of connections that keep their state in the state folder.
fn connections() -> ConnectionOptions {
    ConnectionOptions::default().with_state_folder(Some(own_state_folder()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn unusable(problem: ackpost_notify::Diagnostic) -> Failure {
    Failure::usage(problem.to_string(), "see `ackpost details` for the forms")
}
