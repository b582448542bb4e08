//! From given files to attachments: addresses are fetched here, at once, under the gateway's rules.
//!
//! A message is accepted with its bytes in it, so nothing is fetched later; and nobody can use the gateway to look
//! into its own network: the name is resolved once, every address must be public, and the connection goes to
//! exactly the address that was checked. Redirects are refused unless the operator allows them.

use std::net::SocketAddr;
use std::time::Duration;

use ackpost_notify::{Attachment, is_public};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::config::Attach;
use super::memory::Share;
use super::payload::{Given, GivenFile, is_media_type, safe_name};
use super::reply::Reply;
use super::units;

/// Most redirects that are followed when they are allowed.
const MAX_REDIRECTS: usize = 3;

/// Turns given files into attachments.
pub(crate) async fn resolve(
    files: Vec<GivenFile>,
    rules: &Attach,
    share: &mut Share,
) -> Result<Vec<Attachment>, Reply> {
    if files.len() > rules.count {
        return Err(Reply::bad_request(format!(
            "more than {} attachments",
            rules.count
        )));
    }
    let mut attachments = Vec::with_capacity(files.len());
    let mut total = 0;
    for file in files {
        let attachment = match file.given {
            Given::Bytes(bytes) => Attachment {
                media_type: file.media_type,
                ..Attachment::bytes(file.name.unwrap_or_else(unnamed), bytes)
            },
            Given::Url(url) => {
                let fetched = fetch(&url, rules, total, share).await?;
                let name = file.name.or(fetched.name).unwrap_or_else(unnamed);
                Attachment {
                    media_type: file.media_type.or(fetched.media_type),
                    ..Attachment::bytes(name, fetched.bytes)
                }
            }
        };
        if let ackpost_notify::AttachmentSource::Bytes(bytes) = &attachment.source {
            total += bytes.len();
            if total > rules.bytes {
                return Err(too_large(rules.bytes));
            }
        }
        attachments.push(attachment);
    }
    Ok(attachments)
}

fn unnamed() -> String {
    "file".to_owned()
}

fn too_large(limit: usize) -> Reply {
    Reply::bad_request(format!("the attachments are larger than {limit} bytes"))
        .remedy("send less, or raise attach.max_size in gateway.toml")
}

struct Fetched {
    bytes: Bytes,
    name: Option<String>,
    media_type: Option<String>,
}

async fn fetch(text: &str, rules: &Attach, so_far: usize, share: &mut Share) -> Result<Fetched, Reply> {
    if !rules.urls {
        return Err(
            Reply::bad_request("attachments by address are switched off").remedy("send the file itself")
        );
    }
    match tokio::time::timeout(rules.time, follow(text, rules, so_far, share)).await {
        Ok(result) => result,
        Err(_) => Err(failed(&format!("no answer within {}", units::show(rules.time)))),
    }
}

fn failed(cause: &str) -> Reply {
    Reply::bad_request(format!("an attachment could not be fetched: {cause}"))
        .remedy("check the address, or send the file itself")
}

async fn follow(text: &str, rules: &Attach, so_far: usize, share: &mut Share) -> Result<Fetched, Reply> {
    let mut url = url::Url::parse(text).map_err(|_| failed("this is no address"))?;
    for _ in 0..=MAX_REDIRECTS {
        let response = request(&url, rules).await?;
        let status = response.status();
        if status.is_redirection() {
            if !rules.redirects {
                return Err(failed("the server redirects, and redirects are not followed"));
            }
            let to = response
                .headers()
                .get("location")
                .and_then(|value| value.to_str().ok());
            url = to
                .and_then(|to| url.join(to).ok())
                .ok_or_else(|| failed("a redirect leads nowhere"))?;
            continue;
        }
        if !status.is_success() {
            return Err(failed(&format!("the server answered {}", status.as_u16())));
        }
        let media_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .map(|kind| kind.split(';').next().unwrap_or(kind).trim().to_owned())
            .filter(|kind| is_media_type(kind));
        let name = url
            .path_segments()
            .and_then(Iterator::last)
            .filter(|name| !name.is_empty())
            .map(|name| safe_name(&percent_encoding::percent_decode_str(name).decode_utf8_lossy()));
        return Ok(Fetched {
            bytes: read(response, rules.bytes, so_far, share).await?,
            name,
            media_type,
        });
    }
    Err(failed("too many redirects"))
}

async fn request(url: &url::Url, rules: &Attach) -> Result<reqwest::Response, Reply> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(failed("only http and https addresses are fetched"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(failed("an address with a user name in it is not fetched"));
    }
    let host = url.host_str().ok_or_else(|| failed("the address has no host"))?;
    let port = url
        .port_or_known_default()
        .ok_or_else(|| failed("the address has no port"))?;
    let addresses = checked_addresses(host, port, rules).await?;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // A proxy of the environment would resolve the name again, and differently.
        .no_proxy()
        .resolve_to_addrs(host.trim_start_matches('[').trim_end_matches(']'), &addresses)
        .connect_timeout(Duration::from_secs(5))
        .pool_max_idle_per_host(0)
        .user_agent("Ackpost")
        .build()
        .map_err(|error| Reply::internal(&error))?;
    client.get(url.clone()).send().await.map_err(|error| {
        failed(if error.is_connect() {
            "the server cannot be reached"
        } else {
            "the connection broke"
        })
    })
}

async fn checked_addresses(host: &str, port: u16, rules: &Attach) -> Result<Vec<SocketAddr>, Reply> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<SocketAddr> = match plain.parse() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => tokio::net::lookup_host((plain, port))
            .await
            .map_err(|_| failed("the host name is not known"))?
            .collect(),
    };
    if found.is_empty() {
        return Err(failed("the host name has no address"));
    }
    if !rules.private_addresses && !found.iter().all(|address| is_public(address.ip())) {
        return Err(failed("the address is not on the public internet"));
    }
    Ok(found)
}

/// Reads a file; with the `so_far` bytes of the others it is no longer than `limit`.
async fn read(
    response: reqwest::Response,
    limit: usize,
    so_far: usize,
    share: &mut Share,
) -> Result<Bytes, Reply> {
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large(limit));
    }
    let mut bytes = BytesMut::new();
    let mut stream = response.bytes_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| failed("the connection broke"))?;
        let length = so_far + bytes.len() + part.len();
        if length > limit {
            return Err(too_large(limit));
        }
        share.cover(length).await?;
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.freeze())
}
