//! What an operator does: typed operations, done by the running server or directly on its database.

pub mod operation;
mod socket;

pub use operation::{AdminError, AdminErrorKind, AdminRequest, Answer, Operation, PermissionChange, Place};
pub(crate) use socket::stopped;
pub use socket::{Asked, SOCKET, ask, bind_private};
