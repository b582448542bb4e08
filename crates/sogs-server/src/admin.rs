//! Operations of an operator: typed, and carried out by the running server or directly on its database.

pub(crate) mod acts;
mod answer;
mod archive;
mod bans;
mod context;
pub(crate) mod decide;
mod exec;
mod gone;
mod keeper;
mod later;
mod log;
mod messages;
mod moderation;
mod names;
mod newkey;
pub mod operation;
mod people;
mod private;
mod reference;
mod removal;
mod restore;
mod rooms;
mod rules;
mod running;
mod socket;
mod stopped;
mod sweep;
mod undo;
mod undo_entry;
mod undo_many;
mod upkeep;
mod words;

pub(crate) use keeper::{Keeper, replaced_folder};
pub use newkey::{NewKey, new_key};
pub use operation::{
    AdminError, AdminErrorKind, AdminRequest, Answer, Operation, PermissionChange, RoomScope,
};
pub(crate) use private::{private_folder, write_private};
pub use reference::{commented_config, config_reference};
pub use running::reload;
pub(crate) use running::start;
pub use socket::{SOCKET, SocketReply, ask, bind_private};
pub(crate) use socket::{is_served, stopped};
pub use stopped::{InitOptions, Initialised, init, link_problem, perform};
