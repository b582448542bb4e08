//! Answers to alerts: a person on call acknowledges, silences or unsilences an alert by answering its message.
//!
//! ```
//! use ackpost_operate::model::decide::{Heard, Said, Verdict, decide};
//! use ackpost_operate::model::gesture::{Form, Gesture};
//! use ackpost_operate::model::people::{AllowList, Person};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let allowed = AllowList::parse(&["xmpp:jane@example.org"])?;
//! let heard = Heard {
//!     person: Person::Xmpp { jid: Some("jane@example.org".to_owned()), room: None },
//!     content: Said::Text { body: "silence 2h the disk is being replaced", form: Form::Reply },
//!     own: false,
//!     edited: false,
//!     private: false,
//!     verified: true,
//!     carried: false,
//!     age: None,
//! };
//! let Verdict::Act(command) = decide(&heard, &allowed) else { panic!("jane may do it") };
//! assert!(matches!(command.gesture, Gesture::Silence { .. }));
//! # Ok(())
//! # }
//! ```
//!
//! [`model`] decides, without network, clock and store. [`calls`] speaks to Alertmanager and Grafana. [`Desk`] joins both with the
//! log of the outbox.

pub mod calls;
mod desk;
mod ears;
pub mod model;
mod settings;

pub use desk::{Count, Desk};
pub use ears::listen;
pub use settings::{LONGEST_SILENCE, Settings};

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
