//! Encrypted messages with real clients on real servers.
#![allow(unused_crate_dependencies, reason = "the library uses them")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod conversation;
mod devices;
mod files;
mod long;
mod loss;
mod many;
mod policy;
mod publishing;
mod rooms;
mod support;

/// Runs a test on both servers.
macro_rules! on_both_servers {
    ($($name:ident)*) => {
        mod on_prosody {
            $(#[test]
            fn $name() {
                super::$name(ackpost_testkit::Prosody::shared());
            })*
        }
        mod on_ejabberd {
            $(#[test]
            fn $name() {
                super::$name(ackpost_testkit::Ejabberd::shared());
            })*
        }
    };
}
pub(crate) use on_both_servers;

/// Runs a test on both servers at the same time: it waits more than it computes.
macro_rules! on_both_servers_at_once {
    ($($name:ident)*) => {
        mod on_both {
            $(#[test]
            fn $name() {
                crate::support::on_both(super::$name);
            })*
        }
    };
}
pub(crate) use on_both_servers_at_once;
