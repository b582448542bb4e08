//! Configuration files: TEXT and YAML, includes, groups, templates, and where they are looked for.

mod asset;
mod fetch;
mod groups;
mod load;
mod parsed;
mod search;
mod secrets;
mod slips;
mod text;
mod tree;
mod yaml;
mod yaml_entries;
mod yaml_head;
mod yaml_settings;

pub use load::{ConfigReport, Loaded, Loader, Source};
pub use parsed::Syntax;
pub use search::default_paths;

/// Largest configuration file or answer, in bytes.
pub const FILE_BYTES: usize = 128 * 1024;
/// Largest configuration handed over in memory, in bytes.
pub const TEXT_BYTES: usize = 16 * 1024 * 1024;
