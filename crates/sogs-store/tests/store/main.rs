//! The store by its public interface alone.

mod open;
mod retry;
