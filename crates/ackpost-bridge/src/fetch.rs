//! Files of the XMPP side: fetched from public addresses over https, and no more of them than the limit.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Time for the connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Reason why a file was not fetched, as a lower-case fragment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// The address may not be fetched.
    #[error("its address is not allowed")]
    NotAllowed,
    /// It is larger than the limit.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The server does not give it.
    #[error("the server answers {0}")]
    Status(u16),
    /// It came too slowly.
    #[error("it does not come in time")]
    Slow,
    /// It does not come now.
    #[error("it cannot be fetched: {0}")]
    Failed(String),
}

impl FetchError {
    /// Returns true if a later attempt may succeed.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Failed(_) => true,
            Self::Status(status) => *status >= 500 || *status == 429,
            Self::NotAllowed | Self::TooLarge(_) | Self::Slow => false,
        }
    }
}

/// A file and its media type.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: Option<String>,
}

/// Resolves names to addresses of the public internet alone.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found
                .filter(|found| is_public(found.ip().to_canonical()))
                .collect();
            if found.is_empty() {
                return Err("the host has no public address".into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns true if an address is one of the public internet.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || a == 100 && (64..128).contains(&b)
                || a == 192 && b == 0 && ip.octets()[2] == 0
                || a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            // Global unicast, without the ranges that lead elsewhere (documentation, 6to4, Teredo).
            segments[0] & 0xe000 == 0x2000
                && !(segments[0] == 0x2001 && (segments[1] == 0xdb8 || segments[1] == 0))
                && segments[0] != 0x2002
        }
    }
}

/// Fetches a file of at most `limit` bytes in at most this time. In a closed network, `private` allows plain http and every address, and says which
/// certificates are trusted.
pub(crate) async fn fetch(
    url: &str,
    limit: u64,
    within: Duration,
    private: Option<&ackpost_tls::Verify>,
) -> Result<Fetched, FetchError> {
    let parsed = url::Url::parse(url).map_err(|_| FetchError::NotAllowed)?;
    let allowed = match parsed.host() {
        None => false,
        Some(_) if private.is_some() => matches!(parsed.scheme(), "http" | "https"),
        Some(url::Host::Domain(_)) => parsed.scheme() == "https",
        Some(url::Host::Ipv4(ip)) => parsed.scheme() == "https" && is_public(ip.into()),
        Some(url::Host::Ipv6(ip)) => parsed.scheme() == "https" && is_public(IpAddr::from(ip).to_canonical()),
    };
    if !allowed {
        return Err(FetchError::NotAllowed);
    }
    let tls = private
        .unwrap_or(&ackpost_tls::Verify::Platform)
        .client_config()
        .map_err(|error| FetchError::Failed(error.to_string()))?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(within);
    if private.is_none() {
        builder = builder.dns_resolver(std::sync::Arc::new(Public));
    }
    let failed = |error: reqwest::Error| {
        if error.is_timeout() && !error.is_connect() {
            FetchError::Slow
        } else {
            FetchError::Failed(error.without_url().to_string())
        }
    };
    let answer = builder
        .build()
        .map_err(failed)?
        .get(parsed)
        .send()
        .await
        .map_err(failed)?;
    if !answer.status().is_success() {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    if answer.content_length().is_some_and(|length| length > limit) {
        return Err(FetchError::TooLarge(limit));
    }
    let media_type = answer
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim().to_owned())
        .filter(|value| value.len() <= 100);
    let mut bytes = BytesMut::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(failed)?;
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(FetchError::TooLarge(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        bytes: bytes.freeze(),
        media_type,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    /// A server that never ends its answer holds nothing up for longer than the time.
    #[tokio::test]
    async fn a_file_that_comes_too_slowly_is_given_up() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}/a", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(read > 0);
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("written");
            loop {
                if stream.write_all(b"x").await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let anywhere = ackpost_tls::Verify::Platform;
        let within = Duration::from_secs(1);
        let error = fetch(&url, 10_000, within, Some(&anywhere))
            .await
            .expect_err("slow");
        assert_eq!(error, FetchError::Slow);
        assert!(!error.may_pass());
        server.abort();
    }

    #[test]
    fn addresses_of_closed_networks_are_not_public() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "fe80::1",
            "fc00::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(ip.parse().expect("an address")), "{ip}");
        }
        for ip in ["1.1.1.1", "192.0.9.1", "2606:4700::1111"] {
            assert!(is_public(ip.parse().expect("an address")), "{ip}");
        }
    }

    #[tokio::test]
    async fn forbidden_addresses_are_not_requested() {
        for url in [
            "http://example.org/a",
            "file:///etc/passwd",
            "https://127.0.0.1/a",
            "https://[::ffff:10.0.0.1]/a",
            "nonsense",
        ] {
            assert_eq!(
                fetch(url, 10, WITHIN, None).await.expect_err(url),
                FetchError::NotAllowed,
                "{url}"
            );
        }
        let local = fetch("https://localhost:1/a", 10, WITHIN, None)
            .await
            .expect_err("a private name");
        assert!(matches!(local, FetchError::Failed(_)), "{local}");
    }
}
