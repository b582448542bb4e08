//! The community server as a library.
pub mod admin;
pub mod guard;
pub mod import;
pub mod model;
pub mod plugin;
pub mod store;
pub mod web;
