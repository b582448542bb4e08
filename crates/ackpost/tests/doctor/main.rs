//! The doctor against servers that fail at exactly one step each: the report names that step and no other, and the
//! remedy, when applied, makes the way free.

mod accounts;
mod canned;
mod community;
mod ejabberd;
mod examined;
mod front;
mod names;
#[path = "../support/mod.rs"]
mod support;
mod xmpp;
