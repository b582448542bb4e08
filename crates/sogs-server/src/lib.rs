//! The community server as a library.
pub mod store;
