//! What an operator does: typed operations, done by the running server or directly on its database.

pub(crate) mod acts;
mod archive;
pub(crate) mod decide;
mod exec;
mod gone;
mod messages;
mod moderation;
mod names;
mod newkey;
pub mod operation;
mod people;
mod reference;
mod rooms;
mod rules;
mod running;
mod socket;
mod stopped;
mod sweep;
mod undo;
mod undo_many;
mod upkeep;

pub(crate) use archive::{Keeper, replaced_folder};
pub use newkey::{NewKey, new_key};
pub use operation::{AdminError, AdminErrorKind, AdminRequest, Answer, Operation, PermissionChange, Place};
pub use reference::{commented_config, config_reference};
pub use running::reload;
pub(crate) use running::start;
pub(crate) use socket::stopped;
pub use socket::{Asked, SOCKET, ask, bind_private};
pub use stopped::{InitOptions, Initialised, init, link_problem, perform};
pub(crate) use stopped::{private_folder, write_private};
