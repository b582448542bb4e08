//! One file per resource.

pub(crate) mod deletion;
pub(crate) mod files;
pub(crate) mod general;
pub(crate) mod inbox;
pub(crate) mod legacy;
pub(crate) mod messages;
pub(crate) mod moderation;
pub(crate) mod page;
pub(crate) mod permissions;
pub(crate) mod pins;
pub(crate) mod reactions;
pub(crate) mod rooms;
pub(crate) mod users;

use serde_json::Value;

/// Python's idea of truth, which the reference applies to flags in bodies.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
