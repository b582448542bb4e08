//! Database URLs in outputs.

/// A database URL that can be shown: without its password, and without parameters, which may hold one too.
pub fn without_password(url: &str) -> String {
    let Some((scheme @ ("postgres" | "postgresql"), rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    match rest.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default()),
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreOptions;

    #[test]
    fn a_database_is_shown_without_its_password() {
        for (url, shown) in [
            ("sqlite:community.db", "sqlite:community.db"),
            ("postgres://host/name", "postgres://host/name"),
            ("postgres://me:s3cr@t@host:5/name", "postgres://me@host:5/name"),
            (
                "postgresql://me@host/name?password=s3cret",
                "postgresql://me@host/name",
            ),
        ] {
            assert_eq!(without_password(url), shown);
            let options = StoreOptions {
                url: url.to_owned(),
                readers: 1,
                migrate: false,
            };
            let printed = format!("{options:?}");
            assert!(!printed.contains("s3cr") && printed.contains(shown), "{printed}");
        }
    }
}
