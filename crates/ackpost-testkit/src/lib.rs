//! Real servers and misbehaving fakes for the tests.
//!
//! The real ones ([`Prosody`], [`Ejabberd`], [`Postgres`] from Debian packages, [`ObjectStore`] from
//! crates.io) are started by the scripts in `tests/servers/`; a test that cannot find its package fails
//! and says what to install. `shared()` uses the server that `scripts/test` started for the whole run, or starts one
//! for this process. Whatever a process starts ends with it, also when it panics or is killed.
//!
//! The fakes ([`FakeSogs`], [`DifferingSogs`], [`FakeXmpp`], [`FakeS3`], [`Relay`]) misbehave in exactly one way each,
//! which a real server cannot be made to do. They are written with plain threads and their own small
//! parsers, so that they share no mistake with the code they test.

mod differing_sogs;
mod fake_s3;
mod fake_sogs;
mod fake_xmpp;
mod guard;
mod object_store;
mod ports;
mod postgres;
mod receiver;
mod relay;
mod tls;
mod xml;
mod xmpp_server;

pub use differing_sogs::DifferingSogs;
pub use fake_s3::{FakeS3, FakeS3Mode};
pub use fake_sogs::{FakeSogs, PublicKeyHex, SOGS_KEY, SogsRequest};
pub use fake_xmpp::{FakeXmpp, FakeXmppMode, XmppEvent};
pub use object_store::ObjectStore;
pub use ports::reserve_port;
pub use postgres::{Database, Postgres};
pub use receiver::Receiver;
pub use relay::{Relay, RelayOptions};
pub use tls::{SelfSigned, server_config};
pub use xml::{Element, StreamEvent, StreamReader, escape};
pub use xmpp_server::{Ejabberd, Federation, Prosody, ServerKind, ServerOptions, XmppServer};
