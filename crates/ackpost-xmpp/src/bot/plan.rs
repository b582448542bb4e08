//! Parts of a bot.

use std::collections::HashSet;

use ackpost_bot::{Commands, StateStore};

use super::context::Context;
use super::outcome::Outcome;
use crate::account::Account;
use crate::jid::Jid;
use crate::message::RoomTarget;

/// A command of a bot.
pub type Command = ackpost_bot::Command<Context, Outcome>;
pub(super) type Handler = ackpost_bot::Handler<Context, Outcome>;
pub(super) type Scheduled = ackpost_bot::Scheduled<Context, Outcome>;

/// The complete configuration of a bot.
pub(super) struct Plan {
    pub(super) account: Account,
    pub(super) rooms: Vec<RoomTarget>,
    pub(super) store: Box<dyn StateStore>,
    pub(super) scheduled: Vec<Scheduled>,
    pub(super) on_ready: Option<Box<dyn FnOnce() + Send>>,
    pub(super) parts: Parts,
}

/// Parts of the bot that handlers and the help need.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) commands: Commands<Context, Outcome>,
    pub(super) operators: HashSet<Jid>,
    pub(super) on_message: Vec<Handler>,
    pub(super) on_edit: Vec<Handler>,
    pub(super) on_delete: Vec<Handler>,
    pub(super) on_reaction: Vec<Handler>,
    pub(super) on_join: Vec<Handler>,
    pub(super) on_direct: Vec<Handler>,
}
