//! Small helpers to look into JSON.

use serde_json::Value;

pub(super) use crate::json_value::list;

/// Returns a text without the blanks around it, or an empty one.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    crate::json_value::text(value, name).trim()
}

/// Returns the text at a pointer such as `/repository/full_name`, or an empty one.
pub(super) fn at<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
}

/// Returns the first text that is not empty.
pub(super) fn first<'v>(texts: impl IntoIterator<Item = &'v str>) -> &'v str {
    texts
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// Returns the parts that are not empty, with this between them.
pub(super) fn joined<'v>(parts: impl IntoIterator<Item = &'v str>, between: &str) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(between)
}

/// Returns the first line, with a sign if there are more.
pub(super) fn first_line(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or_default().trim_end();
    if lines.any(|line| !line.trim().is_empty()) {
        return format!("{first} …");
    }
    first.to_owned()
}

/// Turns `MEDIA_AUTO_APPROVED`, `Media Auto Approved` or `MediaAutoApproved` into `Media auto approved`.
pub(super) fn sentence(words: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for letter in words.trim().chars() {
        if letter == '_' || letter == '-' || letter == ' ' {
            out.push(' ');
        } else if letter.is_uppercase() && before.is_lowercase() {
            out.push(' ');
            out.extend(letter.to_lowercase());
        } else if out.is_empty() {
            out.extend(letter.to_uppercase());
        } else {
            out.extend(letter.to_lowercase());
        }
        before = letter;
    }
    out
}

/// Returns a size in MiB or GiB.
pub(super) fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    let tenths = |unit: u64| bytes.saturating_mul(10).saturating_add(unit / 2) / unit;
    match bytes {
        0 => String::new(),
        1..MIB => "under 1 MiB".to_owned(),
        _ if bytes >= 1 << 30 => format!("{}.{} GiB", tenths(1 << 30) / 10, tenths(1 << 30) % 10),
        _ => format!("{} MiB", (bytes + MIB / 2) / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_sizes() {
        for text in ["MEDIA_AUTO_APPROVED", "Media Auto Approved", "MediaAutoApproved"] {
            assert_eq!(sentence(text), "Media auto approved");
        }
        assert_eq!(size(406_824_797), "388 MiB");
        assert_eq!(size(1_610_612_736), "1.5 GiB");
        assert_eq!((size(0).as_str(), size(5).as_str()), ("", "under 1 MiB"));
        assert_eq!(first_line("a\n\nb"), "a …");
        assert_eq!(first_line(" a \n"), "a");
    }
}
