//! One file per resource.

pub(crate) mod files;
pub(crate) mod general;
pub(crate) mod inbox;
pub(crate) mod legacy;
pub(crate) mod messages;
pub(crate) mod page;
pub(crate) mod permissions;
pub(crate) mod pins;
pub(crate) mod reactions;
pub(crate) mod rooms;
pub(crate) mod users;
