//! Plugins: programs beside the server that receive events and may decide about posts.
//!
//! A plugin is a child process named in the configuration or any program that connects to the plugin
//! socket of the server's folder; both speak the lines of [`protocol`]. A plugin can never stop the server:
//! its queue is bounded, its answer has a deadline with a default, and a child that ends is started again
//! after a growing pause.

mod hub;
mod link;
pub mod protocol;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use hub::{Hub, PluginStatus};
pub use link::{PluginConfig, SOCKET, serve_socket, spawn_children};
pub use protocol::{Decision, PluginEvent, Question, Verdict};

/// Starts the configured children, and listens on the plugin socket of the server's folder.
#[expect(
    clippy::unused_async,
    reason = "binding a socket and spawning need the runtime around them"
)]
pub(crate) async fn start(
    hub: &Arc<Hub>,
    children: &[PluginConfig],
    folder: &Path,
    stop: watch::Receiver<bool>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let mut tasks = spawn_children(hub, children, folder, &stop);
    let listener = crate::admin::bind_private(&folder.join(SOCKET))?;
    tasks.push(tokio::spawn(serve_socket(Arc::clone(hub), listener, stop)));
    Ok(tasks)
}
