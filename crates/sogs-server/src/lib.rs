//! The community server as a library.
