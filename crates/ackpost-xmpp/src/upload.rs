//! Files: HTTP File Upload (XEP-0363).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;

use crate::account::Account;
use crate::addressee::Addressee;
use crate::connect::Connector;
use crate::dns;
use crate::error::{Step, XmppError};
use crate::id;
use crate::login::Online;
use crate::message::Attachment;
use crate::ns;
use crate::stanza_error::{ErrorOrigin, StanzaError};
use crate::xml::Element;

/// Bytes of a file that are handed to the connection at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// The slowest upload that is waited for, in bytes a second, above the answer limit.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;
/// Request headers a slot may ask for (XEP-0363 section 5).
const HEADERS: [&str; 3] = ["authorization", "cookie", "expires"];

/// An upload service and its limit.
#[derive(Clone, Debug)]
struct Service {
    address: String,
    limit: Option<u64>,
}

/// Address at which to put a file, and the one at which others get it.
struct Slot {
    put: String,
    get: String,
    headers: Vec<(String, String)>,
}

/// Something that can put a question to the server and wait for the answer.
pub(crate) trait Ask {
    /// Sends an `<iq type='get'/>` with this payload; the answer may be an error stanza.
    fn ask(&mut self, to: &str, payload: Element) -> impl Future<Output = Result<Element, XmppError>> + Send;
}

/// A session nobody else uses.
pub(crate) struct Alone<'a> {
    pub(crate) online: &'a mut Online,
    pub(crate) account: &'a Account,
}

impl Ask for Alone<'_> {
    async fn ask(&mut self, to: &str, payload: Element) -> Result<Element, XmppError> {
        let id = format!("q-{}", id::short());
        let iq = Element::new("iq", ns::CLIENT)
            .attr("type", "get")
            .attr("to", to)
            .attr("id", id.clone())
            .child(payload);
        self.online.stream.queue(&iq.to_xml());
        let (limit, domain) = (self.account.answer_timeout, self.account.jid.domain());
        let asked = Addressee::new(to, &self.online.jid);
        self.online
            .stream
            .expect(limit, Step::Upload, domain, |answer| {
                answer.is("iq", ns::CLIENT) && answer.get("id") == Some(&id) && asked.is_answered_by(answer)
            })
            .await
    }
}

/// Uploads every file and returns the addresses.
pub(crate) async fn all(
    server: &mut impl Ask,
    connector: &Connector,
    files: &[Arc<Attachment>],
) -> Result<Vec<(Arc<Attachment>, String)>, XmppError> {
    let service = find(server, connector).await?;
    // Files that are too large are refused before anything is sent.
    for file in files {
        check_size(&service, file)?;
    }
    let mut done = Vec::new();
    for file in files {
        let slot = slot(server, &service, file).await?;
        put(connector, file, &slot).await?;
        done.push((file.clone(), slot.get));
    }
    Ok(done)
}

fn check_size(service: &Service, file: &Attachment) -> Result<(), XmppError> {
    let size = file.data.len() as u64;
    match service.limit {
        Some(limit) if size > limit => Err(XmppError::FileTooLarge {
            name: file.name.clone(),
            size,
            limit,
        }),
        _ => Ok(()),
    }
}

/// The upload service's address and its limit in bytes.
pub(crate) async fn service(
    server: &mut impl Ask,
    connector: &Connector,
) -> Result<(String, Option<u64>), XmppError> {
    find(server, connector)
        .await
        .map(|service| (service.address, service.limit))
}

/// The server itself, or one of the services it lists.
async fn find(server: &mut impl Ask, connector: &Connector) -> Result<Service, XmppError> {
    let domain = connector.account.jid.domain().to_owned();
    let items = server
        .ask(&domain, Element::new("query", ns::DISCO_ITEMS))
        .await?;
    let mut candidates: Vec<String> = items
        .find("query", ns::DISCO_ITEMS)
        .map(|query| {
            query
                .find_all("item", ns::DISCO_ITEMS)
                .filter_map(|item| item.get("jid"))
                .map(ToOwned::to_owned)
                .collect()
        })
        .unwrap_or_default();
    // The likely one first: each question costs a round trip.
    candidates
        .sort_by_key(|name| !(name.contains("upload") || name.contains("share") || name.contains("file")));
    candidates.truncate(20);
    candidates.push(domain.clone());
    for address in candidates {
        let info = server
            .ask(&address, Element::new("query", ns::DISCO_INFO))
            .await?;
        let Some(query) = info.find("query", ns::DISCO_INFO) else {
            continue;
        };
        if query
            .find_all("feature", ns::DISCO_INFO)
            .any(|feature| feature.get("var") == Some(ns::UPLOAD))
        {
            return Ok(Service {
                address,
                limit: size_limit(query),
            });
        }
    }
    Err(XmppError::NoUploadService { domain })
}

fn size_limit(query: &Element) -> Option<u64> {
    query
        .find_all("x", ns::DATA_FORMS)
        .flat_map(|form| form.find_all("field", ns::DATA_FORMS))
        .find(|field| field.get("var") == Some("max-file-size"))
        .and_then(|field| field.content_of("value", ns::DATA_FORMS))
        .and_then(|bytes| bytes.trim().parse().ok())
}

async fn slot(server: &mut impl Ask, service: &Service, file: &Attachment) -> Result<Slot, XmppError> {
    let request = Element::new("request", ns::UPLOAD)
        .attr("filename", file.name.clone())
        .attr("size", file.data.len().to_string())
        .attr("content-type", file.media_type.clone());
    let answer = server.ask(&service.address, request).await?;
    let name = file.name.clone();
    if answer.get("type") == Some("error") {
        let problem = StanzaError::of(&answer);
        return Err(XmppError::UploadRefused {
            name,
            temporary: problem.may_pass(ErrorOrigin::Room),
            condition: problem.condition,
            text: problem.text,
        });
    }
    read_slot(&answer).ok_or_else(|| XmppError::UploadFailed {
        name,
        reason: "the slot is not usable".to_owned(),
    })
}

fn read_slot(answer: &Element) -> Option<Slot> {
    let slot = answer.find("slot", ns::UPLOAD)?;
    let put = slot.find("put", ns::UPLOAD)?;
    let headers = put
        .find_all("header", ns::UPLOAD)
        .filter_map(|header| {
            let name = header.get("name")?.to_ascii_lowercase();
            let value = header.content().replace(['\r', '\n'], "");
            HEADERS.contains(&name.as_str()).then_some((name, value))
        })
        .collect();
    Some(Slot {
        put: put.get("url")?.to_owned(),
        get: slot.find("get", ns::UPLOAD)?.get("url")?.to_owned(),
        headers,
    })
}

async fn put(connector: &Connector, file: &Arc<Attachment>, slot: &Slot) -> Result<(), XmppError> {
    let failed = |reason: String| XmppError::UploadFailed {
        name: file.name.clone(),
        reason,
    };
    let url = url::Url::parse(&slot.put).map_err(|_| failed("the slot is not a URL".to_owned()))?;
    let encrypted_session = connector.account.mode != Some(crate::Mode::None);
    if !matches!(url.scheme(), "https" | "http")
        || (url.scheme() == "http" && encrypted_session && !is_loopback(&url))
    {
        return Err(failed("the slot is not an https address".to_owned()));
    }
    let account = &connector.account;
    let size = file.data.len() as u64;
    let not_allowed = || failed("the address of the slot is not allowed".to_owned());
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(connector.http_tls()?)
        .connect_timeout(account.connect_timeout)
        .timeout(account.answer_timeout + Duration::from_secs(size / SLOWEST_BYTES_PER_SECOND))
        .redirect(reqwest::redirect::Policy::none());
    if let Some(rule) = account.address_rule {
        let host = url.host_str().ok_or_else(not_allowed)?;
        let port = url.port_or_known_default().ok_or_else(not_allowed)?;
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let found = dns::addresses(&account.dns, plain, port).await?;
        let found = dns::allowed(found, Some(rule)).ok_or_else(not_allowed)?;
        // The connection goes to exactly the addresses that were checked.
        builder = builder.no_proxy().resolve_to_addrs(plain, &found);
        if plain
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| !rule(ip.to_canonical()))
        {
            return Err(not_allowed());
        }
    }
    let client = builder.build().map_err(|error| failed(plain(&error)))?;
    let mut request = client
        .put(url)
        .header("content-type", file.media_type.clone())
        .header("content-length", size)
        .body(reqwest::Body::wrap_stream(chunks(file.clone())));
    for (name, value) in &slot.headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(|error| failed(plain(&error)))?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        413 => Err(XmppError::FileTooLarge {
            name: file.name.clone(),
            size,
            limit: size.saturating_sub(1),
        }),
        status => Err(failed(format!("the server answered {status}"))),
    }
}

fn chunks(file: Arc<Attachment>) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    let total = file.data.len();
    stream::unfold((file, 0), move |(file, sent)| async move {
        if sent >= total {
            return None;
        }
        let end = (sent + CHUNK_BYTES).min(total);
        let chunk = file.data.slice(sent..end);
        if let Some(progress) = &file.progress {
            progress(end as u64, total as u64);
        }
        Some((Ok(chunk), (file, end)))
    })
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The cause without the URL, which is a secret while the slot is open.
fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "the server's HTTP port cannot be reached".to_owned()
    } else {
        "the connection broke".to_owned()
    }
}
