//! The address of a bucket, made from the options of `[files]` and checked before anything is sent.

use rusty_s3::UrlStyle;
use url::{Host, Url};

use crate::config::{ConfigError, Files};

/// Largest upload in bytes; S3 takes larger objects in several parts only.
const MAX_OBJECT: u64 = 5_000_000_000;

/// Refuses options of `[files]` that name no usable bucket.
pub(crate) fn check(files: &Files) -> Result<(), ConfigError> {
    address(files).map(drop)
}

/// The address of the bucket that the options name.
pub(super) fn address(files: &Files) -> Result<rusty_s3::Bucket, ConfigError> {
    let plain = |text: &str, more: &[u8]| {
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c) || more.contains(&c))
    };
    let name = &files.s3_bucket;
    if !(3..=63).contains(&name.len()) || !plain(name, b"") || name.starts_with('.') {
        return Err(wrong(
            "files.s3_bucket",
            "is the name of a bucket: 3 to 63 letters, digits, dots and hyphens",
        ));
    }
    if files.s3_region.is_empty() || files.s3_region.len() > 63 || !plain(&files.s3_region, b"") {
        return Err(wrong(
            "files.s3_region",
            "is the name of a region such as us-east-1",
        ));
    }
    let prefix = &files.s3_prefix;
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let whole = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.len() > 200 || !plain(prefix, b"/") || (!prefix.is_empty() && whole.split('/').any(odd)) {
        return Err(wrong(
            "files.s3_prefix",
            "is empty or like community/: at most 200 letters, digits, dots, hyphens, and single slashes inside",
        ));
    }
    if files.max_size > MAX_OBJECT {
        return Err(wrong(
            "files.max_size",
            "is at most 5000000000 with files.storage = \"s3\"",
        ));
    }
    if files.s3_timeout_seconds < 0.1 {
        return Err(wrong("files.s3_timeout_seconds", "is at least 0.1"));
    }
    let style = if files.s3_path_style {
        UrlStyle::Path
    } else {
        UrlStyle::VirtualHost
    };
    rusty_s3::Bucket::new(endpoint(files)?, style, name.clone(), files.s3_region.clone()).map_err(|_| {
        wrong(
            "files.s3_path_style",
            "is true for this address: the bucket cannot be part of its host name",
        )
    })
}

fn wrong(option: &'static str, message: &str) -> ConfigError {
    ConfigError::Value {
        option,
        message: message.to_owned(),
    }
}

fn endpoint(files: &Files) -> Result<Url, ConfigError> {
    let option = "files.s3_endpoint";
    let text = if files.s3_endpoint.is_empty() {
        format!("https://s3.{}.amazonaws.com", files.s3_region)
    } else {
        files.s3_endpoint.clone()
    };
    let url = Url::parse(&text).map_err(|_| wrong(option, "is a URL such as https://s3.example.org"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong(option, "starts with https:// or http:// and has a host"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong(
            option,
            "holds no user, password or query; keys belong in files.s3_credentials_file",
        ));
    }
    if url.scheme() == "http" && !is_loopback(&url) && !files.s3_allow_http {
        return Err(wrong(
            option,
            "starts with https:// for another machine; set files.s3_allow_http = true on a network that you trust",
        ));
    }
    Ok(url)
}

/// Returns true for an address of this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(change: impl FnOnce(&mut Files)) -> Files {
        let mut files = Files {
            s3_bucket: "my-files".to_owned(),
            ..Files::default()
        };
        change(&mut files);
        files
    }

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        let shown = |files: &Files| address(files).map(|bucket| bucket.base_url().to_string());
        assert_eq!(
            shown(&files(|_| ())).expect("Amazon S3"),
            "https://s3.us-east-1.amazonaws.com/my-files/"
        );
        let hosted = files(|files| files.s3_path_style = false);
        assert_eq!(
            shown(&hosted).expect("Amazon S3"),
            "https://my-files.s3.us-east-1.amazonaws.com/"
        );
        for good in [
            "http://127.0.0.1:9000",
            "http://localhost",
            "http://[::1]:1",
            "https://s3.example.org/x",
        ] {
            check(&files(|files| files.s3_endpoint = good.to_owned())).expect(good);
        }
        for bad in [
            "http://s3.example.org",
            "http://localhost.example.org",
            "https://key:secret@s3.example.org",
            "https://s3.example.org/?x=1",
            "ftp://s3.example.org",
            "s3.example.org",
        ] {
            let error = check(&files(|files| files.s3_endpoint = bad.to_owned())).expect_err(bad);
            assert!(error.to_string().starts_with("files.s3_endpoint: "), "{error}");
        }
        check(&files(|files| {
            files.s3_endpoint = "http://s3.example.org".to_owned();
            files.s3_allow_http = true;
        }))
        .expect("allowed by the operator");
        for prefix in [
            "/",
            "a//b",
            "../x/",
            "a/./b",
            "a/..",
            "a b",
            "ä/",
            &"x".repeat(201),
        ] {
            check(&files(|files| files.s3_prefix = prefix.to_owned())).expect_err(prefix);
        }
        for prefix in ["", "community/", "a/b", "a."] {
            check(&files(|files| files.s3_prefix = prefix.to_owned())).expect(prefix);
        }
        for bucket in ["", "ab", "a/b", "a?b", ".ab", &"x".repeat(64)] {
            check(&files(|files| files.s3_bucket = bucket.to_owned())).expect_err(bucket);
        }
        check(&files(|files| files.max_size = MAX_OBJECT + 1)).expect_err("too large for one request");
    }
}
