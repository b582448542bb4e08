//! Builder methods of option structs.

pub(crate) use ackpost_notify::setters;
