//! For operators of a community: does the link that people get lead there?

use std::time::Duration;

use session_protocol::{Identity, JoinLink};
use sogs_client::types::Capabilities;
use sogs_client::{Cause, Encrypt, Server};

use super::net;
use super::step::{Diagnosis, Walk};
use super::suggest;

const LIMIT: Duration = Duration::from_secs(10);

/// Runs the checks of a person who joins by a link.
pub async fn link(text: &str, authorities: Option<Vec<u8>>) -> Diagnosis {
    let mut walk = Walk::new(text.trim());
    walk.begin();
    let link: JoinLink = match text.parse() {
        Ok(link) => link,
        Err(error) => {
            walk.fail(
                "link",
                format!("{error}"),
                "copy the whole link, as in https://host/room?public_key=…",
            );
            return walk.end();
        }
    };
    let base = link.base_url().to_owned();
    walk.ok("link", format!("room {} at {base}", link.room()));
    if network(&mut walk, &base, authorities.as_deref()).await {
        questions(&mut walk, &link, &base, authorities).await;
    }
    walk.end()
}

async fn network(walk: &mut Walk, base: &str, authorities: Option<&[u8]>) -> bool {
    let Ok(url) = url::Url::parse(base) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let addresses = net::dns(walk, &host, port, LIMIT).await;
    let Some(address) = (if addresses.is_empty() {
        None
    } else {
        net::tcp(walk, &addresses, LIMIT).await
    }) else {
        walk.skip_all(
            &["tls", "http", "clock", "capabilities", "onion", "room", "page"],
            "the server cannot be reached",
        );
        return false;
    };
    walk.begin();
    if url.scheme() != "https" {
        walk.warn(
            "tls",
            "the link uses http: posts are sealed to the server's key, but others can see who connects",
            "put TLS in front of the server and give out https links",
        );
        return true;
    }
    let good = match net::tls(address, &host, authorities, true, LIMIT).await {
        Ok(shaken) => net::tls_step(walk, &shaken, true),
        Err((cause, remedy)) => {
            walk.fail("tls", cause, remedy);
            false
        }
    };
    if !good {
        walk.skip_all(
            &["http", "clock", "capabilities", "onion", "room", "page"],
            "the server is not proven",
        );
    }
    good
}

async fn questions(walk: &mut Walk, link: &JoinLink, base: &str, authorities: Option<Vec<u8>>) {
    let Some(http) = client(authorities.as_deref()) else {
        return;
    };
    let Some(plain) = super::sogs::plain_answer(walk, &http, base).await else {
        walk.skip_all(&["onion", "room", "page"], "there is no community server");
        return;
    };
    super::sogs::clock(walk, plain.date_secs);
    listed(walk, &plain.capabilities);
    walk.begin();
    // A throw-away identity: a person who joins has no identity there yet.
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    let verify = match authorities {
        Some(pem) => sogs_client::Verify::Authorities(pem.into()),
        None => sogs_client::Verify::Platform,
    };
    let server = getrandom::fill(seed.as_mut_slice()).ok().and_then(|()| {
        Server::builder(base, link.public_key())
            .identity(Identity::from_seed(*seed))
            .encrypt(Encrypt::Yes)
            .verify(verify)
            .build()
            .ok()
    });
    let Some(server) = server else {
        walk.fail("onion", "the server's address cannot be used", "check the link");
        return;
    };
    match server.rooms().await {
        Ok(rooms) => {
            walk.ok(
                "onion",
                "the sealed route answers, and the key of the link is the server's",
            );
            room(walk, link, &server, &rooms).await;
        }
        Err(error) => {
            let remedy = if *error.cause() == Cause::WrongServerKey {
                "give out a link with the server's own key (`ackpost server link` prints it)".to_owned()
            } else {
                error.remedy()
            };
            walk.fail("onion", error.to_string(), remedy);
            walk.skip("room", "the sealed route does not answer");
        }
    }
    page(walk, link, &http).await;
}

fn client(authorities: Option<&[u8]>) -> Option<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(LIMIT)
        .timeout(LIMIT * 2)
        .user_agent("Ackpost doctor");
    if let Some(pem) = authorities {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).ok()?);
    }
    builder.build().ok()
}

fn listed(walk: &mut Walk, capabilities: &Capabilities) {
    let list = capabilities.capabilities.join(", ");
    if capabilities.requires_blinding() {
        walk.ok("capabilities", list);
    } else {
        walk.warn(
            "capabilities",
            format!("{list}; without blind the real ids of people are shown"),
            "switch blinded ids on",
        );
    }
}

async fn room(walk: &mut Walk, link: &JoinLink, server: &Server, rooms: &[sogs_client::RoomInfo]) {
    let name = link.room().to_string();
    walk.begin();
    match server.room(link.room()).info().await {
        Ok(info) if info.read => {
            let writes = if info.write { "read and post" } else { "read" };
            walk.ok(
                "room",
                format!("\u{201c}{}\u{201d}: newcomers may {writes}", info.name),
            )
            .of(name);
        }
        Ok(info) => {
            walk.warn(
                "room",
                format!(
                    "\u{201c}{}\u{201d} is there, but newcomers may not read it",
                    info.name
                ),
                "give newcomers the permission to read, if the room is meant to be open",
            )
            .of(name);
        }
        Err(error) => {
            let tokens: Vec<String> = rooms.iter().map(|room| room.token.to_string()).collect();
            let near = suggest::nearest(&name, tokens.iter().map(String::as_str));
            let remedy = near.map_or_else(|| error.remedy(), |near| format!("the room may be called {near}"));
            let better = near.map(|near| walk.url().replacen(&format!("/{name}"), &format!("/{near}"), 1));
            walk.fail("room", error.to_string(), remedy).of(name);
            if let Some(better) = better {
                walk.suggest(better, "name the room that is there");
            }
        }
    }
}

/// The page of the room shows the link that its operators configured: is it this one?
async fn page(walk: &mut Walk, link: &JoinLink, http: &reqwest::Client) {
    walk.begin();
    let address = format!("{}/r/{}/", link.base_url(), link.room());
    let body = match http.get(&address).send().await {
        Ok(response) if response.status().is_success() => super::sogs::limited(response, 1 << 20).await,
        _ => None,
    };
    let Some(body) = body.map(|body| String::from_utf8_lossy(&body).into_owned()) else {
        walk.skip("page", "the server shows no page for this room");
        return;
    };
    let key = link.public_key().to_string();
    if body.contains(&key) && body.contains(link.base_url()) {
        walk.ok("page", "the room's page shows this link");
    } else if body.contains("public_key=") {
        walk.warn(
            "page",
            "the room's page shows a different link",
            "set the server's base URL (or its name) to the one people should use",
        );
    } else {
        walk.skip("page", "the room's page shows no link");
    }
}
