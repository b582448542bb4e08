//! The values that go into and come out of the store: plain records, no SQL, no HTTP.

mod moderation;
mod pages;
mod posts;
mod rooms;
mod traffic;
mod users;

pub use moderation::*;
pub use pages::*;
pub use posts::*;
pub use rooms::*;
pub use traffic::*;
pub use users::*;

/// Database id of a row.
pub type Id = i64;
