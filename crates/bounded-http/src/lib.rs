//! An HTTP/1 listener with limits on connections, heads, memory and writes.
//!
//! - [`ConnectionLimiter`]: a bounded number of connections; at the limit, a silent one is closed for the next one.
//! - [`start`]: accepts connections, calls a handler for each request, and stops in order.
//! - [`WriteTimeoutStream`]: ends a connection whose peer does not read the answer.
//! - [`MemoryBudget`]: one number of bytes for the bodies of all requests together.
//! - [`Network`], [`client_address`]: addresses of clients behind trusted proxies.
//! - [`descriptors`]: as many connections as the system's limit of file descriptors allows.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bounded_http::{ConnectionLimiter, Counters, HeadLimits};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let running = bounded_http::start(
//!     vec![listener],
//!     ConnectionLimiter::new(512),
//!     Arc::new(Counters::default()),
//!     HeadLimits::default,
//!     |_request, _peer| async { http::Response::new(http_body_util::Full::new(bytes::Bytes::from("hello\n"))) },
//! );
//! running.stop(Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```

pub mod descriptors;
mod limiter;
mod memory;
mod network;
mod serve;
mod write_timeout;

pub use limiter::{ActiveRequest, ConnectionLimiter, Permit, ReceivingBody, SendingBody};
pub use memory::{MemoryBudget, MemoryPermit, OutOfMemory};
pub use network::{Network, client_address};
pub use serve::{Counters, HeadLimits, Running, start};
pub use write_timeout::WriteTimeoutStream;

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
