//! Calls to a node: straight, or over a path that is replaced when it fails.

use getrandom::SysRng;
use rand_core::UnwrapErr;
use session_protocol::network::faults::PathFault;
use session_protocol::network::nodes::Node;
use session_protocol::network::rpc::{Call, Reply};

use crate::error::{Cause, NetworkError};
use crate::network::Network;

/// Paths that one call may take.
const MAX_PATHS: usize = 2;

impl Network {
    /// Calls a node as the mode says. `limit` is the longest answer as it comes, bytes.
    pub(crate) async fn call(&self, call: &Call, node: &Node, limit: usize) -> Result<Reply, NetworkError> {
        if !self.inner.options.is_onion() {
            let result = self.call_directly(call, node, limit).await;
            if let Err(error) = &result {
                let _ = self.after_failure(error.cause(), node).await;
            }
            return result;
        }
        let (mut failure, mut failed) = (None, None);
        for _ in 0..MAX_PATHS {
            let list = self.list().await?;
            let now = self.local_ms();
            let path = self
                .lock_routes()
                .path_to(Some(node), failed.as_ref(), &list, now, &mut UnwrapErr(SysRng))
                .map_err(|error| NetworkError::new(Cause::NoPath(error)))?;
            match self.exchange(call, node, Some(&path), limit).await {
                Ok(reply) => {
                    self.lock_routes().worked(&path);
                    self.keep_guard().await;
                    return Ok(reply);
                }
                Err(cause) => {
                    let again = self.note_path_failure(&cause, &path, Some(node));
                    let wait = self.after_failure(&cause, path.guard().unwrap_or(node)).await;
                    // A limited rate is nothing that another path would mend.
                    failed = (cause != Cause::Path(PathFault::TooFast)).then_some(path);
                    failure = Some(NetworkError::new(cause));
                    if !again {
                        break;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Err(failure.unwrap_or_else(|| NetworkError::new(Cause::NotSealed)))
    }
}
