//! The URL as it should be.

/// The masked URL with one parameter set (or, with `None`, taken out).
pub(super) fn with_parameter(url: &str, name: &str, value: Option<&str>) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name))
        .map(str::to_owned)
        .collect();
    if let Some(value) = value {
        let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        pairs.push(format!("{name}={value}"));
    }
    if pairs.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", pairs.join("&"))
    }
}

/// The masked URL with another schema.
pub(super) fn with_schema(url: &str, schema: &str) -> String {
    url.split_once("://")
        .map_or_else(|| url.to_owned(), |(_, rest)| format!("{schema}://{rest}"))
}

/// The masked URL with another host and port.
pub(super) fn with_host(url: &str, host: &str) -> String {
    let Some((schema, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let user = authority
        .rsplit_once('@')
        .map_or(String::new(), |(user, _)| format!("{user}@"));
    format!("{schema}://{user}{host}{tail}")
}

/// The masked URL with one path segment replaced.
pub(super) fn with_target(url: &str, old: &str, new: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, None), |(base, query)| (base, Some(query)));
    let parts: Vec<&str> = base
        .split('/')
        .enumerate()
        .map(|(n, part)| if n > 2 && part == old { new } else { part })
        .collect();
    let base = parts.join("/");
    query.map_or(base.clone(), |query| format!("{base}?{query}"))
}

/// The candidate that is nearest to what was typed, if one is near.
pub(super) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|one| (distance(typed, one), one))
        .filter(|(distance, one)| *distance > 0 && *distance <= 2.max(one.len() / 4))
        .min()
        .map(|(_, one)| one)
}

/// Returns the number of letters that must be inserted, removed or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_replaced() {
        let url = "xmpps://u:****@h.org/jane?mode=starttls&roster=no";
        assert_eq!(
            with_parameter(url, "mode", Some("tls")),
            "xmpps://u:****@h.org/jane?roster=no&mode=tls"
        );
        assert_eq!(with_parameter("a://b?x=1", "x", None), "a://b");
        assert_eq!(
            with_schema(url, "xmpp"),
            "xmpp://u:****@h.org/jane?mode=starttls&roster=no"
        );
        assert_eq!(
            with_host(url, "x.org:99"),
            "xmpps://u:****@x.org:99/jane?mode=starttls&roster=no"
        );
        assert_eq!(
            with_target("session://k:s@h/loby/x?a=loby", "loby", "lobby"),
            "session://k:s@h/lobby/x?a=loby"
        );
        assert_eq!(nearest("loby", ["lobby", "other", "x"]), Some("lobby"));
        assert_eq!(nearest("lobby", ["entirely", "different"]), None);
    }
}
