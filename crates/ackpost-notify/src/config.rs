//! Configuration files: TEXT and YAML, includes, groups, templates, and where they are looked for.

mod asset;
mod fetch;
mod groups;
mod load;
mod search;
mod text;
mod tree;
mod yaml;
mod yaml_head;
mod yaml_settings;

pub(crate) use fetch::fetch_failure;
pub(crate) use load::holds_secret_of;
pub use load::{ConfigReport, Loaded, Loader, Source, Syntax};
pub use search::default_paths;

/// Largest configuration file or answer, in bytes.
pub const FILE_BYTES: usize = 128 * 1024;
/// Largest configuration handed over in memory, in bytes.
pub const TEXT_BYTES: usize = 16 * 1024 * 1024;
