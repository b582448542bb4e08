//! Real servers and misbehaving fakes for the tests.
//!
//! The real ones ([`Prosody`], [`Ejabberd`], [`Postgres`], [`SmtpServer`] from Debian packages, [`ObjectStore`] from
//! crates.io) are started by the scripts in `tests/servers/`; a test that cannot find its package fails
//! and says what to install. `shared()` uses the server that `scripts/test` started for the whole run, or starts one
//! for this process. Everything that a process starts ends with it, also when it panics or is killed.
//!
//! The fakes ([`FakeSogs`], [`DifferingSogs`], [`FakeXmpp`], [`FakeS3`], [`FakeSwarm`], [`FakeHttp`], [`FakeSmtp`], [`Relay`]) misbehave in exactly one way each,
//! which a real server cannot be made to do. They are written with plain threads and their own small
//! parsers, so that they share no mistake with the code they test.

mod alertmanager;
mod authority;
mod differing_sogs;
mod fake_http;
mod fake_proxy;
mod fake_s3;
mod fake_smtp;
mod fake_sogs;
mod fake_swarm;
mod fake_xmpp;
mod guard;
mod object_store;
mod omemo_peer;
mod ports;
mod postgres;
mod receiver;
mod relay;
mod smtp_server;
mod tls;
mod xml;
mod xmpp_server;

pub use alertmanager::Alertmanager;
pub use differing_sogs::DifferingSogs;
pub use fake_http::{FakeHttp, HttpAnswer, HttpSeen};
pub use fake_proxy::FakeProxy;
pub use fake_s3::{FakeS3, FakeS3Mode};
pub use fake_smtp::{FakeSmtp, SmtpFault};
pub use fake_sogs::{FakeSogs, PublicKeyHex, SOGS_KEY, SogsRequest};
pub use fake_swarm::{FakeSwarm, FaultPlan, StoredRow, SwarmCall, SwarmFault};
pub use fake_xmpp::{FakeXmpp, FakeXmppMode, XmppEvent};
pub use object_store::ObjectStore;
pub use omemo_peer::OmemoPeer;
pub use ports::reserve_port;
pub use postgres::{Database, Postgres};
pub use receiver::Receiver;
pub use relay::{Relay, RelayOptions};
pub use smtp_server::{SmtpOptions, SmtpServer};
pub use tls::{SelfSigned, server_config};
pub use xml::{Element, StreamEvent, StreamReader, escape};
pub use xmpp_server::{Ejabberd, Federation, Prosody, ServerKind, ServerOptions, Strangers, XmppServer};
