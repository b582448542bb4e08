//! The whole server over real sockets, on real databases.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the client of the tests has more than every test uses"
)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::too_many_lines,
    reason = "a protocol walk-through reads best in one piece"
)]

mod accounts;
mod arriving;
mod auth;
mod bounds;
mod bucket;
mod bucket_crash;
mod bucket_memory;
mod bucket_moves;
mod bucket_tls;
mod clock;
mod commit;
mod common;
mod crash;
mod disk;
mod examined;
mod flood;
mod hostile;
mod imported;
mod pages;
mod protocol;
mod readonly;
mod retention;
mod shared;
mod store;
mod store_operation;
mod store_people;
mod transcript;
