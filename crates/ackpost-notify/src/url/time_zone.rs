//! Names of time zones: any case, and without their region.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The IANA name for what was written: a full name in any case, or one without its region (`toronto`).
pub fn find(text: &str) -> Option<String> {
    static NAMES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let wanted = text.trim().to_lowercase();
    if matches!(
        wanted.as_str(),
        "utc" | "z" | "gmt" | "etc/utc" | "etc/gmt" | "gmt0" | "utc0"
    ) {
        return Some("UTC".to_owned());
    }
    let names = NAMES.get_or_init(|| {
        let mut all: Vec<String> = jiff::tz::db()
            .available()
            .map(|name| name.as_str().to_owned())
            .collect();
        all.sort();
        let mut map = BTreeMap::new();
        for name in &all {
            if let Some((_, short)) = name.split_once('/') {
                map.insert(short.to_lowercase(), name.clone());
            }
        }
        for name in all {
            map.insert(name.to_lowercase(), name);
        }
        map
    });
    names.get(&wanted).cloned()
}
