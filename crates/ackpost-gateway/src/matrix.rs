//! Test of access: every path of the router, with every method it takes, for every kind of caller.

mod table;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ackpost_notify::{Asset, ConnectionOptions, ConnectionPool, Message, ServiceUrl, Services};
use ackpost_outbox::{AcceptOptions, Location, Outbox, OutboxConfig, OutboxId, ServiceTransport};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use secrecy::ExposeSecret as _;
use tower::ServiceExt as _;

use super::auth::COOKIE_NAME;
use super::catalog::Catalog;
use super::compat::CompatService;
use super::config::{Access, Config, Hook};
use super::key::{HEADER, Key};
use super::rate::Rate;
use super::router::{router, routes};
use super::state::Gateway;
use super::store::{ConfigFormat, Store};
use super::token::{Grant, NewToken, Scope, Tokens};
use table::{CALLERS, TABLE};

const COMPAT_SERVICES: [CompatService; 4] = [
    CompatService::Ntfy,
    CompatService::Gotify,
    CompatService::Slack,
    CompatService::Discord,
];

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_answers_every_caller_as_the_table_says() {
    let test = TestGateway::open(Access::Tokens).await;
    let callers = test.callers();
    assert_eq!(callers.len(), CALLERS);
    let mut rows: BTreeSet<(&str, &str)> = TABLE.iter().map(|(method, path, ..)| (*method, *path)).collect();
    let mut wrong = Vec::new();
    for (path, _) in routes(&COMPAT_SERVICES) {
        for method in METHODS {
            test.furnish();
            let probed = test.ask(&method, &path, &callers[13]).await;
            if probed.status() == StatusCode::METHOD_NOT_ALLOWED {
                continue;
            }
            let name = if path == "/" {
                "/"
            } else {
                path.trim_end_matches('/')
            };
            let Some((_, row, cells, free)) = TABLE
                .iter()
                .find(|(one, row, ..)| *one == method.as_str() && *row == name)
            else {
                wrong.push(format!("{method} {path} has no row"));
                continue;
            };
            rows.remove(&(
                METHOD_NAMES[METHODS.iter().position(|one| *one == method).expect("listed")],
                row,
            ));
            let mut seen = String::new();
            for (number, caller) in callers.iter().enumerate() {
                test.furnish();
                let answer = test.ask(&method, &path, caller).await;
                let cell = cell(&answer);
                if cell == '.' && answer.status() != *free {
                    wrong.push(format!("{method} {path}, caller {number}: {}", answer.status()));
                }
                seen.push(cell);
            }
            let expected = cells.replace(' ', "");
            if seen != expected {
                wrong.push(format!("{method} {path}: expected {expected}, found {seen}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.is_empty(), "rows without a path: {rows:?}");
}

/// A token for another key sees nothing of the key `ops`, on any page and in any list that it may open; nor does a token for
/// `ops` see the other key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_pages_show_the_keys_of_their_caller_alone() {
    let test = TestGateway::open(Access::Tokens).await;
    let callers = test.callers();
    let entries = [
        ("ops", test.entry("a").await),
        ("other", test.entry_of("other", "b").await),
    ];
    // Through its tag, one token reaches only one service of `ops`.
    for (caller, own) in [(11, "other"), (12, "ops"), (13, "ops"), (14, "ops")] {
        for (path, lists) in [
            ("/cfg", "keys"),
            ("/outbox", "entries"),
            ("/ui", "keys"),
            ("/ui/outbox", "entries"),
        ] {
            let response = test.ask(&Method::GET, path, &callers[caller]).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}, caller {caller}");
            let body = axum::body::to_bytes(response.into_body(), 1 << 20)
                .await
                .expect("a body");
            let text = String::from_utf8_lossy(&body);
            for (key, id) in &entries {
                let marks = match (lists, path) {
                    ("keys", "/cfg") => vec![format!("\"{key}\"")],
                    ("keys", _) => vec![format!("/ui/keys/{key}\"")],
                    _ => vec![id.to_string()],
                };
                for mark in marks {
                    assert_eq!(
                        text.contains(&mark),
                        *key == own,
                        "{path}, caller {caller}: {mark} in {text}"
                    );
                }
            }
        }
        // Each item of the other key is hidden, too.
        let (foreign_key, foreign) = entries.iter().find(|(key, _)| *key != own).expect("two keys");
        for (method, path, expected) in [
            (Method::GET, format!("/outbox/{foreign}"), StatusCode::NOT_FOUND),
            (
                Method::POST,
                format!("/outbox/{foreign}/drop"),
                StatusCode::NOT_FOUND,
            ),
            (
                Method::GET,
                format!("/ui/outbox/{foreign}"),
                StatusCode::NOT_FOUND,
            ),
            (
                Method::POST,
                format!("/ui/outbox/{foreign}/drop"),
                StatusCode::NOT_FOUND,
            ),
            (Method::GET, format!("/cfg/{foreign_key}"), StatusCode::FORBIDDEN),
            (
                Method::GET,
                format!("/ui/keys/{foreign_key}"),
                StatusCode::FORBIDDEN,
            ),
            (
                Method::POST,
                format!("/ui/keys/{foreign_key}/send"),
                StatusCode::FORBIDDEN,
            ),
        ] {
            let response = test.ask(&method, &path, &callers[caller]).await;
            assert_eq!(response.status(), expected, "{path}, caller {caller}");
        }
        let still = test
            .gateway
            .outbox
            .get(foreign)
            .await
            .expect("readable")
            .expect("there");
        assert_eq!(still.state, ackpost_outbox::State::Waiting, "nothing was dropped");
    }
}

const METHOD_NAMES: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn cell(response: &Response) -> char {
    match response.status() {
        StatusCode::UNAUTHORIZED => '1',
        StatusCode::FORBIDDEN => '3',
        StatusCode::NOT_FOUND => 'h',
        StatusCode::SEE_OTHER
            if response
                .headers()
                .get("location")
                .is_some_and(|to| to == "/ui/login") =>
        {
            '>'
        }
        _ => '.',
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_a_tag_reaches_only_entries_of_that_tag() {
    let test = TestGateway::open(Access::Tokens).await;
    let tagged = &test.callers()[12];
    let (own, other) = (test.entry("a").await, test.entry("b").await);
    for (id, expected) in [(&own, StatusCode::OK), (&other, StatusCode::NOT_FOUND)] {
        for (method, path) in [
            (Method::GET, format!("/outbox/{id}")),
            (Method::POST, format!("/outbox/{id}/retry")),
            (Method::GET, format!("/ui/outbox/{id}")),
        ] {
            let response = test.ask(&method, &path, tagged).await;
            assert_eq!(response.status(), expected, "{path}");
        }
    }
    let listed = test.ask(&Method::GET, "/outbox", tagged).await;
    let body = axum::body::to_bytes(listed.into_body(), 1 << 20)
        .await
        .expect("a body");
    let text = String::from_utf8_lossy(&body);
    assert!(
        text.contains(own.as_str()) && !text.contains(other.as_str()),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_of_an_address_do_not_refuse_its_right_one() {
    let test = TestGateway::open(Access::Tokens).await;
    test.set(|config| {
        config.limits.guess_rate = Rate {
            count: 3,
            per: Duration::from_secs(600),
        };
        config.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    });
    let from = |address: &'static str, caller: &TestCaller| TestCaller {
        headers: [
            caller.headers.clone(),
            vec![("x-forwarded-for", address.to_owned())],
        ]
        .concat(),
        ..caller.clone()
    };
    let callers = test.callers();
    let (wrong, right) = (&callers[1], &callers[13]);
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(
            test.ask(&Method::GET, "/cfg", &from("192.0.2.1", wrong))
                .await
                .status()
                .as_u16(),
        );
    }
    assert_eq!(seen, [401, 401, 401, 429, 429]);
    let ok = test.ask(&Method::GET, "/cfg", &from("192.0.2.1", right)).await;
    assert_eq!(ok.status(), StatusCode::OK);
    let elsewhere = test.ask(&Method::GET, "/cfg", &from("192.0.2.2", wrong)).await;
    assert_eq!(elsewhere.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_ends_the_session() {
    let test = TestGateway::open(Access::Tokens).await;
    let session = test.callers().swap_remove(14);
    let session = TestCaller {
        headers: test.headers(&session),
        session: None,
    };
    assert_eq!(cell(&test.ask(&Method::GET, "/ui", &session).await), '.');
    assert_eq!(cell(&test.ask(&Method::POST, "/ui/logout", &session).await), '>');
    assert_eq!(cell(&test.ask(&Method::GET, "/ui", &session).await), '>');
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_there_was_a_token_only_the_word_open_opens() {
    let test = TestGateway::open(Access::Auto).await;
    let nobody = TestCaller::default();
    let status = async || test.ask(&Method::GET, "/cfg", &nobody).await.status().as_u16();
    assert_eq!(status().await, 200, "no token was ever made");
    let forwarded = TestCaller::of(&[("x-forwarded-for", "192.0.2.1")]);
    let answer = test.ask(&Method::GET, "/cfg", &forwarded).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "a proxy forwards it");
    // Another process makes and removes it, like `gateway token`.
    let file = test.folder.path().join("tokens.toml");
    let command = || Tokens::open(&file).expect("opened");
    let now = SystemTime::now();
    command().add(everything("only", "*", None), now).expect("added");
    assert_eq!(status().await, 401);
    command().remove("only").expect("removed");
    assert_eq!(status().await, 401, "the last token was removed");
    std::fs::write(&file, "").expect("truncated");
    assert_eq!(status().await, 401, "truncated");
    std::fs::write(&file, "garbled = [").expect("garbled");
    assert_eq!(status().await, 401, "garbled");
    std::fs::remove_file(&file).expect("deleted");
    assert_eq!(status().await, 401, "deleted");
    let again = TestGateway::in_folder(test.folder, Access::Auto).await;
    let answer = again.ask(&Method::GET, "/cfg", &nobody).await;
    assert_eq!(
        answer.status(),
        StatusCode::UNAUTHORIZED,
        "deleted, and started again"
    );
    again.set(|config| config.access = Access::Open);
    let answer = again.ask(&Method::GET, "/cfg", &nobody).await;
    assert_eq!(answer.status(), StatusCode::OK, "the word is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_token_file_makes_every_token_invalid() {
    let test = TestGateway::open(Access::Tokens).await;
    let caller = test.callers().swap_remove(13);
    assert_eq!(cell(&test.ask(&Method::GET, "/cfg", &caller).await), '.');
    std::fs::write(test.folder.path().join("tokens.toml"), "garbled = [").expect("garbled");
    assert_eq!(cell(&test.ask(&Method::GET, "/cfg", &caller).await), '1');
}

/// Caller of a test request.
#[derive(Clone, Debug, Default)]
struct TestCaller {
    headers: Vec<(&'static str, String)>,
    /// A session is opened for each request, with this grant, used last at this time.
    session: Option<(Arc<Grant>, Instant)>,
}

impl TestCaller {
    fn of(headers: &[(&'static str, &str)]) -> Self {
        Self {
            headers: headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            session: None,
        }
    }

    fn bearer(token: &str) -> Self {
        Self::of(&[("authorization", &format!("Bearer {token}"))])
    }

    fn foreign(mut self) -> Self {
        self.headers.push(("origin", "https://evil.example".to_owned()));
        self
    }
}

fn everything(name: &str, key: &str, tag: Option<&str>) -> NewToken {
    NewToken {
        name: name.to_owned(),
        keys: vec![key.to_owned()],
        tags: tag.into_iter().map(str::to_owned).collect(),
        allow: Scope::ALL.to_vec(),
        rate: None,
        lifetime: None,
    }
}

/// A gateway without a listener.
struct TestGateway {
    folder: tempfile::TempDir,
    gateway: Arc<Gateway>,
    router: Router,
    settings: Config,
}

const CONFIG: &str = "a=xmpp://u:p@127.0.0.1:9/one@example.org\nb=xmpp://u:p@127.0.0.1:9/two@example.org\n";

impl TestGateway {
    async fn open(access: Access) -> Self {
        Self::in_folder(tempfile::tempdir().expect("a folder"), access).await
    }

    async fn in_folder(folder: tempfile::TempDir, access: Access) -> Self {
        let at = folder.path().to_owned();
        let mut settings = Config::with_folder(at.clone());
        settings.access = access;
        settings.private_addresses = true;
        settings.compat_root = COMPAT_SERVICES.to_vec();
        let often = Rate {
            count: 1_000_000,
            per: Duration::from_secs(1),
        };
        (settings.limits.guess_rate, settings.limits.token_rate) = (often, often);
        let hook = Hook {
            key: "ops".into(),
            tag: None,
            title: None,
            body: None,
            kind: None,
        };
        settings.hooks.insert("named".into(), hook);
        let pool = ConnectionPool::new(ConnectionOptions::default(), Asset::default());
        let outbox = Outbox::open(
            OutboxConfig::new(Location::Sqlite(at.join("outbox.db")), at.join("outbox.key")),
            Arc::new(ServiceTransport::new(pool, Services::default())),
        )
        .await
        .expect("an outbox");
        let store = Store::open(&at.join("keys"), &at.join("gateway.key")).expect("a store");
        let tokens = Tokens::open(&at.join("tokens.toml")).expect("tokens");
        let gateway = Arc::new(Gateway::new(
            settings.clone(),
            None,
            tokens,
            Catalog::new(store, Default::default, Services::default()),
            outbox,
        ));
        gateway.set_worker_alive(true);
        let test = Self {
            folder,
            router: router(Arc::clone(&gateway)),
            gateway,
            settings,
        };
        test.furnish();
        test
    }

    fn set(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.settings.clone();
        change(&mut config);
        self.gateway.configure(config);
    }

    /// Puts back what a request may have deleted.
    fn furnish(&self) {
        let store = self.gateway.catalog.store();
        for key in ["ops", "other"] {
            let key = Key::parse(key).expect("a key");
            if store
                .load(&key)
                .expect("readable")
                .is_none_or(|stored| stored.text != CONFIG)
            {
                store.save(&key, ConfigFormat::Text, CONFIG).expect("saved");
            }
        }
    }

    fn add(&self, new: NewToken) -> (String, Arc<Grant>) {
        let name = new.name.clone();
        let token = self.gateway.tokens.add(new, SystemTime::now()).expect("added");
        let grants = self.gateway.tokens.list();
        let grant = grants
            .into_iter()
            .find(|grant| grant.name == name)
            .expect("listed");
        (token.expose_secret().to_owned(), grant)
    }

    fn callers(&self) -> Vec<TestCaller> {
        let tokens = &self.gateway.tokens;
        let past = SystemTime::now() - Duration::from_secs(3600);
        let short = NewToken {
            lifetime: Some(Duration::from_secs(1)),
            ..everything("expired", "*", None)
        };
        let expired = tokens.add(short, past).expect("added");
        let expired_grant = tokens
            .list()
            .into_iter()
            .find(|grant| grant.name == "expired")
            .expect("listed");
        let (removed, removed_grant) = self.add(everything("removed", "*", None));
        tokens.remove("removed").expect("removed");
        let mut all = vec![
            TestCaller::default(),
            TestCaller::bearer(&format!("{removed}x")),
            TestCaller::bearer(expired.expose_secret()),
            TestCaller::bearer(&removed),
        ];
        for scope in Scope::ALL {
            let one = NewToken {
                allow: vec![scope],
                ..everything(scope.as_str(), "ops", None)
            };
            all.push(TestCaller::bearer(&self.add(one).0));
        }
        all.push(TestCaller::bearer(
            &self.add(everything("other", "other", None)).0,
        ));
        all.push(TestCaller::bearer(
            &self.add(everything("tagged", "ops", Some("a"))).0,
        ));
        let (token, grant) = self.add(everything("all", "ops", None));
        all.push(TestCaller::bearer(&token));
        let now = Instant::now();
        let session = |grant: &Arc<Grant>, used: Instant| TestCaller {
            session: Some((Arc::clone(grant), used)),
            ..TestCaller::default()
        };
        let long_ago = now
            .checked_sub(Duration::from_secs(9 * 3600))
            .expect("the machine runs for long");
        all.extend([
            session(&grant, now),
            session(&grant, long_ago),
            session(&expired_grant, now),
            session(&removed_grant, now),
            session(&grant, now).foreign(),
            TestCaller::bearer(&token).foreign(),
        ]);
        all
    }

    fn headers(&self, caller: &TestCaller) -> Vec<(&'static str, String)> {
        let mut headers = caller.headers.clone();
        if let Some((grant, used)) = &caller.session {
            let session = self
                .gateway
                .logins
                .open(Arc::clone(grant), *used)
                .expect("opened");
            headers.push(("cookie", format!("{COOKIE_NAME}={session}")));
        }
        headers
    }

    /// A new entry of the key `ops` for its service with this tag.
    async fn entry(&self, tag: &str) -> OutboxId {
        self.entry_of("ops", tag).await
    }

    async fn entry_of(&self, key: &str, tag: &str) -> OutboxId {
        let url = CONFIG
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{tag}=")))
            .expect("a line");
        let service = ServiceUrl::parse(url, &ackpost_notify::Context::default()).expect("a service");
        let options = AcceptOptions::default().with_origin(Some(key.into()));
        let accepted = self
            .gateway
            .outbox
            .accept(&Message::new("x"), &[&service], &options)
            .await;
        accepted.expect("accepted").remove(0).id
    }

    async fn ask(&self, method: &Method, path: &str, caller: &TestCaller) -> Response {
        let is_compat = super::compat::service::of_path(&COMPAT_SERVICES, path).is_some()
            && (path != "/" || *method != Method::GET);
        let mut uri = path
            .replace("{key}", if is_compat { "none+ops" } else { "ops" })
            .replace("{secret}", "wrong")
            .replace("{tag}", "none")
            .replace("{version}", "v10")
            .replace("{action}", "retry")
            .replace("{name}", "named")
            .replace("{kind}", "json");
        if uri.contains("{id}") {
            uri = uri.replace("{id}", self.entry("a").await.as_str());
        }
        assert!(!uri.contains('{'), "the test does not know a parameter of {path}");
        let mut request = Request::builder().method(method).header("host", "localhost:8000");
        for (name, value) in self.headers(caller) {
            request = request.header(name, value);
        }
        if ["/add", "/del", "/get", "/json/urls"].contains(&uri.trim_end_matches('/')) {
            request = request.header(HEADER, "ops");
        }
        // No service carries this tag: nothing is sent, and nobody waits for outcomes.
        let (kind, body) = if is_compat {
            let all = "{\"topic\":\"none+ops\",\"message\":\"x\",\"text\":\"x\",\"content\":\"x\"}";
            ("application/json", all)
        } else if uri.starts_with("/hook") {
            uri.push_str("?tag=none");
            ("application/json", "{\"message\":\"x\"}")
        } else {
            (
                "application/x-www-form-urlencoded",
                "body=x&tag=none&urls=xmpp://u:p@127.0.0.1:9/c@example.org",
            )
        };
        request = request.uri(uri).header("content-type", kind);
        let body = if *method == Method::GET {
            Body::empty()
        } else {
            Body::from(body)
        };
        let request = request.body(body).expect("a request");
        self.router.clone().oneshot(request).await.expect("infallible")
    }
}
