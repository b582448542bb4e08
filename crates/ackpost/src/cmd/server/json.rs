//! Answers of the server as the JSON that every command prints: times are RFC 3339 texts.

use serde_json::Value;

/// Fields that hold a time in Unix seconds.
const TIMES: [&str; 10] = [
    "at",
    "created",
    "expiry",
    "files_expire",
    "last_active",
    "posted",
    "since",
    "undone_at",
    "until",
    "uploaded",
];

/// Writes every time in a value as RFC 3339 in UTC with milliseconds.
pub(super) fn with_times(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(with_times),
        Value::Object(fields) => {
            for (name, field) in fields {
                match time(name, field) {
                    Some(text) => *field = text.into(),
                    None => with_times(field),
                }
            }
        }
        _ => {}
    }
}

/// Returns the time in a field: Unix seconds, or RFC 3339 with another number of digits.
fn time(name: &str, field: &Value) -> Option<String> {
    if !TIMES.contains(&name) {
        return None;
    }
    let at = match field {
        Value::Number(_) => moment(field)?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    Some(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// Returns a moment in Unix seconds; `None` for another value and for a time out of range.
pub(super) fn moment(value: &Value) -> Option<jiff::Timestamp> {
    let since = jiff::SignedDuration::try_from_secs_f64(value.as_f64()?).ok()?;
    jiff::Timestamp::from_duration(since).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn times_are_texts() {
        let mut value = json!({"at": 1_795_975_200.25, "until": null, "rooms": [{"created": 0}], "id": 5,
            "rules": {"since": "x"}});
        super::with_times(&mut value);
        assert_eq!(
            value,
            json!({"at": "2026-11-29T18:00:00.250Z", "until": null, "rooms": [{"created": "1970-01-01T00:00:00.000Z"}],
                "id": 5, "rules": {"since": "x"}})
        );
        let mut value = json!({"created": "2026-11-30T12:53:11.054447352Z"});
        super::with_times(&mut value);
        assert_eq!(value["created"], "2026-11-30T12:53:11.054Z");
    }
}
