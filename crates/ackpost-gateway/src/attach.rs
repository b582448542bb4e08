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
use tokio::time::Instant;

use super::config::Attach;
use super::memory::Share;
use super::payload::{Given, GivenFile, safe_name, unusable};
use super::reply::Reply;
use super::units;

/// Maximum number of redirects that are followed when they are allowed.
const MAX_REDIRECTS: usize = 3;

/// Rule for files that cannot be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The text goes without them and names them.
    Name,
    /// Refuse the request: the client wants all or nothing.
    Refuse,
}

/// Turns given files into attachments; a file that cannot be had is named with its cause, and the others go. Files that
/// were not fetched by `until` are missing, so that the text is stored within the time of its request.
pub(crate) async fn resolve_all(
    files: Vec<GivenFile>,
    rules: &Attach,
    share: &mut Share,
    about: Missing,
    until: Instant,
) -> Result<(Vec<Attachment>, Vec<String>), Reply> {
    let (mut attachments, mut missing) = (Vec::new(), Vec::new());
    let mut total = 0;
    for file in files {
        let shown = match (&file.name, &file.given) {
            (Some(name), _) => name.clone(),
            (None, Given::Url(url)) => ackpost_platform::text::one_line(url),
            (None, Given::Bytes(_) | Given::Unusable(_)) => unnamed(),
        };
        let before = share.covered();
        let resolved = if attachments.len() == rules.count {
            Err(Reply::bad_request(format!(
                "more than {} attachments",
                rules.count
            )))
        } else {
            resolve(file, rules, total, share, until).await
        };
        match resolved {
            Ok((attachment, bytes)) => {
                total += bytes;
                attachments.push(attachment);
            }
            // It may work later.
            Err(reply) if reply.status().is_server_error() => return Err(reply),
            Err(reply) if about == Missing::Refuse => return Err(reply),
            Err(reply) => {
                // The bytes that came are dropped.
                share.uncover(before);
                missing.push(format!("{shown}: {}", reply.cause()));
            }
        }
    }
    Ok((attachments, missing))
}

/// Turns a given file into an attachment, and returns its size. There are `so_far` bytes of other files.
async fn resolve(
    file: GivenFile,
    rules: &Attach,
    so_far: usize,
    share: &mut Share,
    until: Instant,
) -> Result<(Attachment, usize), Reply> {
    let (bytes, fetched) = match file.given {
        Given::Bytes(bytes) => (bytes, (None, None)),
        Given::Url(url) => {
            let fetched = fetch(&url, rules, so_far, share, until).await?;
            (fetched.bytes, (fetched.name, fetched.media_type))
        }
        Given::Unusable(cause) => return Err(unusable(cause)),
    };
    let size = bytes.len();
    if so_far + size > rules.bytes {
        return Err(too_large(rules.bytes));
    }
    let name = file.name.or(fetched.0).unwrap_or_else(unnamed);
    let attachment = Attachment {
        media_type: file.media_type.or(fetched.1),
        ..Attachment::bytes(name, bytes)
    };
    Ok((attachment, size))
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

async fn fetch(
    text: &str,
    rules: &Attach,
    so_far: usize,
    share: &mut Share,
    until: Instant,
) -> Result<Fetched, Reply> {
    if !rules.urls {
        return Err(
            Reply::bad_request("attachments by address are switched off").remedy("send the file itself")
        );
    }
    let own = Instant::now() + rules.time;
    match tokio::time::timeout_at(own.min(until), follow(text, rules, so_far, share)).await {
        Ok(result) => result,
        Err(_) if until < own => Err(failed("the time to fetch all attachments is over")),
        Err(_) => Err(failed(&format!("no answer within {}", units::show(rules.time)))),
    }
}

fn failed(cause: &str) -> Reply {
    Reply::bad_request(format!("an attachment could not be fetched: {cause}"))
        .remedy("check the address, or send the file itself")
}

async fn follow(text: &str, rules: &Attach, so_far: usize, share: &mut Share) -> Result<Fetched, Reply> {
    let mut url = url::Url::parse(text).map_err(|_| failed("this is not an address"))?;
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
            .filter(|kind| ackpost_platform::text::is_media_type(kind));
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
        share.cover_more(part.len()).await?;
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Config;
    use crate::memory::Memory;

    const MIB: usize = 1 << 20;

    fn rules() -> Attach {
        Attach {
            private_addresses: true,
            ..Config::with_folder("/x".into()).attach
        }
    }

    fn file(url: String) -> GivenFile {
        GivenFile {
            name: None,
            media_type: None,
            given: Given::Url(url),
        }
    }

    /// Serves a file of 1 MiB at any path, and nothing at `/never`.
    async fn server() -> String {
        // The program does this when it starts; the tests share one process.
        let provider = ackpost_tls::provider().expect("a provider");
        let _ = (*provider).clone().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = [0; 1024];
                    let read = stream.read(&mut head).await.expect("a request");
                    if head[..read].starts_with(b"GET /never") {
                        return std::future::pending().await;
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {MIB}\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.expect("sent");
                    stream.write_all(&vec![7; MIB]).await.expect("sent");
                });
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn the_share_covers_all_files_and_the_body() {
        let server = server().await;
        let memory = Memory::new(64 * MIB, 0);
        let mut share = memory.share();
        share.cover(2 * MIB).await.expect("the body");
        let files = (0..3).map(|number| file(format!("{server}/{number}"))).collect();
        let until = Instant::now() + Duration::from_secs(60);
        let (found, missing) = resolve_all(files, &rules(), &mut share, Missing::Name, until)
            .await
            .expect("all");
        assert_eq!((found.len(), missing.len()), (3, 0), "{missing:?}");
        // Each byte counts twice; the first ones are free.
        assert!(share.covered() >= 2 * 5 * MIB, "{}", share.covered());
        assert!(
            memory.available() <= 64 * MIB - 2 * 5 * MIB + MIB,
            "{}",
            memory.available()
        );
    }

    #[tokio::test]
    async fn all_files_have_one_deadline() {
        let server = server().await;
        let memory = Memory::new(64 * MIB, 0);
        let mut share = memory.share();
        let mut files = vec![file(format!("{server}/a"))];
        files.extend((0..9).map(|_| file(format!("{server}/never"))));
        let began = Instant::now();
        let until = began + Duration::from_secs(3);
        let (found, missing) = resolve_all(files, &rules(), &mut share, Missing::Name, until)
            .await
            .expect("the text goes");
        assert_eq!((found.len(), missing.len()), (1, 9));
        assert!(
            missing[0].contains("the time to fetch all attachments is over"),
            "{missing:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
}
