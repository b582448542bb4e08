//! A service in its own crate: `tcpline://TOKEN@host:port/channel`, a line protocol over TCP.
//!
//! ```
//! use ackpost_notify::{Context, ServiceUrl, Services};
//!
//! static SERVICES: Services = Services::new(&[&third_service::TCPLINE]);
//! let context = Context::default().with_services(SERVICES);
//! let service = ServiceUrl::parse("tcpline://secret@localhost:7000/ops", &context)?;
//! assert_eq!(service.targets()[0].address, "ops");
//! # Ok::<(), ackpost_notify::Diagnostic>(())
//! ```

mod connections;
mod tcpline;

pub use tcpline::TCPLINE;
