//! The rules that a URL and a language above it, such as Apprise's configurations, have in common.
//!
//! A program that loads URLs does not need them: [`ServiceUrl::parse`](crate::ServiceUrl::parse) applies them.

pub use crate::service::foreign::json_text;
pub use crate::service::near::near_miss;
pub use crate::service::param::declares;
pub use crate::service::parse::{FoundForeign, assemble, find_foreign, instead, take_apart};
pub use crate::url::is_host;
pub use crate::url::number::{float_text, is_space, python_int, trim};
pub use crate::url::query::PARAMETERS;
pub use crate::url::time_zone::find as find_time_zone;
pub use crate::words::boolean_word;
