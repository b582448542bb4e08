//! Configurations and attachments behind http addresses: what is asked, what is followed, and what is refused.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackpost_apprise::{Notifier, Options};
use ackpost_notify::{Attachment, ConnectionOptions, Diagnostic};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::notifier;

/// A web server with a few pages; each behaves in one way.
struct Web {
    port: u16,
    /// First lines of the requests, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, port, Arc::clone(&seen)));
            }
        });
        Self { port, asked }
    }

    fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/{page}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

const TEXT: &str = "ops=xmpps://bot:secret@example.org/jane\n";

async fn answer(mut stream: TcpStream, port: u16, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    asked.lock().expect("not poisoned").push(line.clone());
    let target = line.split(' ').nth(1).unwrap_or_default();
    let page = target.split('?').next().unwrap_or_default();
    let redirect =
        |place: String| format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
    let page_of = |kind: &str, text: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    let here = |page: &str| format!("http://127.0.0.1:{port}/{page}");
    let reply = match page {
        "/text" => page_of("text/plain", TEXT),
        "/plain-yaml" => page_of(
            "application/octet-stream",
            "urls:\n  - xmpps://u:p@example.org/a\n",
        ),
        "/yaml" => page_of(
            "application/yaml",
            "tag: web\nurls:\n  - xmpps://u:p@example.org/a\n",
        ),
        "/includes" => page_of("text/plain", &format!("include {}\n{TEXT}", here("text"))),
        "/includes-file" => page_of("text/plain", &format!("include /etc/hostname\n{TEXT}")),
        "/loop" => page_of("text/plain", &format!("include {}\n{TEXT}", here("loop"))),
        "/moved" => redirect(here("text")),
        "/round" => redirect(here("round")),
        // Another name is another origin.
        "/away" => redirect(format!("http://localhost:{port}/text")),
        "/big" => page_of("text/plain", &"# filler\n".repeat(40_000)),
        "/latin" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n".to_owned(),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(20)).await;
            return;
        }
        "/halting" => {
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 400\r\n\r\nops=".to_owned()
        }
        "/picture.png" => page_of("image/png", "PNG"),
        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    let _ = stream.write_all(reply.as_bytes()).await;
    match page {
        "/latin" => drop(stream.write_all(&[0xe9, 0xff]).await),
        "/halting" => tokio::time::sleep(Duration::from_secs(20)).await,
        _ => {}
    }
}

async fn load(location: &str, recursion: u32) -> (Notifier, Vec<Diagnostic>) {
    let mut list = notifier(Options::default().with_recursion(recursion));
    let report = list.add_config(location).await;
    (list, report.problems)
}

/// The one thing that is wrong, as it is shown.
async fn refusal(location: &str) -> String {
    let (list, problems) = load(location, 1).await;
    assert!(list.is_empty(), "{location}");
    assert_eq!(problems.len(), 1, "{location}: {problems:?}");
    assert!(!problems[0].remedy.is_empty(), "{location}");
    problems[0].to_string()
}

#[tokio::test]
async fn a_configuration_is_fetched_with_get_unless_post_is_asked_for() {
    let web = Web::start().await;
    let (list, problems) = load(&web.url("text?token=abc&format=text"), 1).await;
    assert_eq!((list.len(), problems.len()), (1, 0), "{problems:?}");
    let entry = list.iter().next().expect("an entry");
    assert_eq!(entry.tags[0].name, "ops");
    assert_eq!(entry.file.as_deref(), Some(web.url("text").as_str()));
    let (list, _) = load(&web.url("text?method=post"), 1).await;
    assert_eq!(list.len(), 1);
    // Our own parameters are not passed on; those of the server are.
    assert_eq!(web.asked(), ["GET /text?token=abc", "POST /text"]);
}

#[tokio::test]
async fn the_grammar_comes_from_the_address_the_type_or_the_text() {
    let web = Web::start().await;
    for page in ["yaml", "plain-yaml", "plain-yaml?format=yaml"] {
        let (list, problems) = load(&web.url(page), 1).await;
        assert_eq!((list.len(), problems.len()), (1, 0), "{page}: {problems:?}");
    }
    let (list, _) = load(&web.url("yaml"), 1).await;
    assert_eq!(list.iter().next().expect("an entry").tags[0].name, "web");
    let (list, problems) = load(&web.url("yaml?format=text"), 1).await;
    assert!(list.is_empty() && !problems.is_empty());
}

#[tokio::test]
async fn a_web_page_may_include_web_pages_but_no_files() {
    let web = Web::start().await;
    let (list, problems) = load(&web.url("includes"), 1).await;
    assert_eq!((list.len(), problems.len()), (2, 0), "{problems:?}");
    let (list, problems) = load(&web.url("includes"), 0).await;
    assert_eq!(list.len(), 1);
    assert!(problems[0].to_string().contains("depth"), "{problems:?}");
    let (list, problems) = load(&web.url("includes-file"), 3).await;
    assert_eq!(list.len(), 1);
    assert!(
        problems[0]
            .to_string()
            .contains("only a configuration file may include a file"),
        "{problems:?}"
    );
    // A page that includes itself ends with the depth, and the number of files is limited too.
    let before = web.asked().len();
    let (list, problems) = load(&web.url("loop"), 4).await;
    assert_eq!((list.len(), web.asked().len() - before), (5, 5));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[tokio::test]
async fn a_file_may_include_a_web_page() {
    let web = Web::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("main.conf");
    std::fs::write(&path, format!("include {}\n", web.url("text"))).expect("a file");
    let (list, problems) = load(&path.to_string_lossy(), 1).await;
    assert_eq!((list.len(), problems.len()), (1, 0), "{problems:?}");
    std::fs::write(&path, format!("\ninclude {}\n", web.url("missing"))).expect("a file");
    let (_, problems) = load(&path.to_string_lossy(), 1).await;
    assert!(problems[0].to_string().contains("404"), "{problems:?}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_fetched_says_why() {
    let web = Web::start().await;
    assert!(refusal(&web.url("missing")).await.contains("404"));
    assert!(refusal(&web.url("big")).await.contains("larger than 128 KiB"));
    assert!(refusal(&web.url("latin")).await.contains("not UTF-8"));
    assert!(refusal(&web.url("round")).await.contains("too many redirects"));
    assert!(
        refusal(&web.url("away"))
            .await
            .contains("redirected to another server")
    );
    assert_eq!(load(&web.url("moved"), 1).await.0.len(), 1);
    let start = Instant::now();
    assert!(
        refusal(&web.url("slow?rto=0.2"))
            .await
            .contains("no answer in time")
    );
    assert!(
        refusal(&web.url("halting?rto=0.2"))
            .await
            .contains("no answer in time")
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    let port = ackpost_testkit::reserve_port();
    let text = refusal(&format!("http://user:geheim@127.0.0.1:{port}/x?key=verborgen")).await;
    assert!(
        text.contains("refused") && !text.contains("geheim") && !text.contains("verborgen"),
        "{text}"
    );
}

#[tokio::test]
async fn attachments_are_fetched_within_limits() {
    let web = Web::start().await;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = ConnectionOptions::default()
        .with_proxies(false)
        .with_attachment_bytes(1000)
        .with_attachment_silence(Duration::from_millis(200));
    let fetch = async |page: &str| Attachment::parse(&web.url(page)).load(&options).await;
    let file = fetch("picture.png?size=big").await.expect("a picture");
    assert_eq!(
        (file.name.as_str(), file.media_type.as_str(), &file.bytes[..]),
        ("picture.png", "image/png", &b"PNG"[..])
    );
    assert!(fetch("moved").await.is_ok());
    for (page, why) in [
        ("missing?key=verborgen", "404"),
        ("big", "larger than 1000 bytes"),
        ("away", "redirected to another server"),
        ("slow", "no answer in time"),
        ("halting", "no answer in time"),
    ] {
        let problem = fetch(page).await.expect_err(page);
        let text = problem.to_string();
        assert!(text.contains(why) && text.contains("127.0.0.1"), "{page}: {text}");
        assert!(
            !text.contains("verborgen") && !problem.remedy.is_empty(),
            "{text}"
        );
    }
}
