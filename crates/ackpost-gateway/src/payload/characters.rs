//! Characters of a body. Each byte that is not UTF-8 becomes three, which no share of the memory counts: only short texts may
//! have any.

use bytes::Bytes;
use mail_parser::decoders::charsets::map::charset_decoder;

use super::MAX_TEXT_BYTES;
use crate::reply::Reply;

/// Returns a text. Each byte that is not UTF-8 becomes three, so only short texts may have any.
pub(super) fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Returns the `charset` parameter of a content type, unless it is UTF-8.
pub(super) fn charset(content_type: &str) -> Option<&str> {
    let parameters = content_type
        .split(';')
        .skip(1)
        .filter_map(|one| one.split_once('='));
    let mut values = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let value = values.next()?.1.trim().trim_matches('"');
    Some(value).filter(|value| {
        !["utf-8", "us-ascii"]
            .iter()
            .any(|same| value.eq_ignore_ascii_case(same))
    })
}

/// Returns the text of a field of a multipart body.
pub(super) fn decoded(charset: Option<&str>, bytes: Bytes) -> Result<String, Reply> {
    let decoder = charset.and_then(|name| charset_decoder(name.as_bytes()));
    match decoder {
        Some(_) if bytes.len() > MAX_TEXT_BYTES => Err(not_utf8()),
        Some(decode) => Ok(decode(&bytes)),
        None => {
            check_encoding(&bytes)?;
            Ok(text(bytes))
        }
    }
}

fn not_utf8() -> Reply {
    Reply::bad_request("a long text of the body is not UTF-8")
        .remedy("encode it as UTF-8, or send it as a file")
}

/// Refuses a long text that would take three times its memory as characters.
pub(super) fn check_encoding(bytes: &[u8]) -> Result<(), Reply> {
    if bytes.len() > MAX_TEXT_BYTES && std::str::from_utf8(bytes).is_err() {
        return Err(not_utf8());
    }
    Ok(())
}
