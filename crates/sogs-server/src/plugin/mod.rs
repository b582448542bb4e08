//! Plugins: programs beside the server that hear what happens and may decide about posts.
//!
//! A plugin is a child process named in the configuration or any program that connects to the plugin
//! socket of the server's folder; both speak the lines of [`protocol`]. A plugin can never stop the server:
//! its queue is bounded, its answer has a deadline with a default, and a child that ends is started again
//! after a growing pause.

mod hub;
mod link;
pub mod protocol;

pub use hub::{Hub, PluginStatus};
pub use link::{PluginConfig, serve_socket, spawn_children};
pub use protocol::{Decision, PluginEvent, Question, Verdict};
