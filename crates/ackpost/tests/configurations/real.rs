//! Other services go to the real Apprise of PyPI. It reaches their hosts through a proxy that answers in their place, so every
//! request arrives on this machine although most URLs have a fixed host.
//!
//! Two entries cannot arrive here: `dbus://` needs a desktop, and `mqtt://` needs a package that Apprise does not install.

use std::sync::{Arc, Mutex};

use ackpost_testkit::{FakeProxy, HttpAnswer, HttpSeen};
use serde_json::json;

use crate::support::apprise::installed;
use crate::support::{Program, SEED};
use crate::{Case, Fakes, is_secret, leaks, results, wanted};

const HANDED: (&str, &str) = ("apprise", "handed-over");
const REFUSED: (&str, &str) = ("apprise", "refused");

/// Each case, and where its messages arrive through Apprise: the host and the beginning of the path.
const CASES: [(Case, &[&str]); 20] = [
    (
        ("01-trading-bot.yml", &[], 0, &[HANDED]),
        &["api.telegram.org/bot1000000001:SECRETtelegram-one/sendMessage"],
    ),
    (
        ("02-two-chats.yml", &[], 0, &[HANDED, HANDED]),
        &[
            "api.telegram.org/bot1000000001:SECRETtelegram-two/sendMessage",
            "discord.com/api/webhooks/200000000000000001/SECRETdiscord-two_abc-def",
        ],
    ),
    (("03-one-gotify.yml", &[], 0, &[("gotify", "delivered")]), &[]),
    (("04-one-topic.yml", &[], 0, &[("ntfy", "delivered")]), &[]),
    // There is no desktop.
    (("05-desktop.yml", &[], 1, &[REFUSED]), &[]),
    (
        ("06-family.conf", &["family"], 0, &[HANDED, HANDED]),
        &[
            "api.telegram.org/bot1000000001:SECRETtelegram-six/sendMessage",
            "discord.com/api/webhooks/200000000000000001/SECRETdiscord-six",
        ],
    ),
    (
        (
            "06-family.conf",
            &["parents"],
            0,
            &[HANDED, ("mail", "handed-over")],
        ),
        &["api.telegram.org/bot1000000001:SECRETtelegram-six/sendMessage"],
    ),
    (
        (
            "07-backups.conf",
            &[],
            4,
            &[("mail", "handed-over"), ("json", "delivered")],
        ),
        &[],
    ),
    (
        ("08-media.yml", &["admins"], 0, &[HANDED, HANDED]),
        &[
            "discord.com/api/webhooks/200000000000000001/SECRETdiscord-eight",
            "api.pushover.net/1/messages.json",
        ],
    ),
    (
        ("08-media.yml", &["viewers"], 0, &[HANDED]),
        &["discord.com/api/webhooks/200000000000000001/SECRETdiscord-eight"],
    ),
    (
        (
            "09-mail-keys.yml",
            &["disks"],
            0,
            &[("mail", "handed-over"), ("mail", "handed-over")],
        ),
        &[],
    ),
    (
        ("10-groups.yml", &["chat"], 0, &[HANDED, HANDED]),
        &[
            "chat.example.org/_matrix/client/v3/rooms/",
            "hooks.slack.com/services/SECRETslackA/SECRETslackB/SECRETslackC",
        ],
    ),
    (
        ("10-groups.yml", &["oncall"], 0, &[HANDED]),
        &["api.twilio.com/2010-04-01/Accounts/AC5ec4e75ec4e75ec4e75ec4e75ec4e75ec4/Messages.json"],
    ),
    (
        (
            "11-include.yml",
            &["all"],
            0,
            &[("json", "delivered"), ("sogs", "delivered"), HANDED],
        ),
        &["chat.example.org/api/v1/chat.postMessage"],
    ),
    (
        ("12-parameters.conf", &[], 0, &[HANDED; 5]),
        &[
            "example.webhook.office.com/webhookb2/00000000-0000-4000-8000-SECRETteams@",
            "api.ciscospark.com/v1/webhooks/incoming//SECRETwebex",
            "chat.example.org/hooks/SECRETmatter",
            "discord.com/api/webhooks/200000000000000001/SECRETdiscord-twelve",
            "hooks.slack.com/services/T0000/B0000/SECRETslackTwelve",
        ],
    ),
    (
        ("13-escalation.yml", &["page"], 0, &[("ntfy", "deferred"), HANDED]),
        &["api.telegram.org/bot1000000001:SECRETtelegram-thirteen/sendMessage"],
    ),
    // Both arrive, and their hosts refuse them: one for good, one for now.
    (
        (
            "14-one-fails.conf",
            &["ops"],
            4,
            &[REFUSED, ("apprise", "deferred"), ("gotify", "delivered")],
        ),
        &[
            "discord.com/api/webhooks/200000000000000001/SECRET-refused",
            "api.telegram.org/bot1000000001:SECRET-later/sendMessage",
        ],
    ),
    // A broken URL, and MQTT without its package.
    (
        (
            "15-homelab.conf",
            &["lab"],
            4,
            &[
                HANDED,
                HANDED,
                HANDED,
                HANDED,
                REFUSED,
                REFUSED,
                ("ntfy", "delivered"),
            ],
        ),
        &[
            "api.pushbullet.com/v2/pushes",
            "api.pushover.net/1/messages.json",
            "127.0.0.1/v2/send",
            "ha.example.org/api/services/persistent_notification/create",
        ],
    ),
    (
        (
            "16-community.yml",
            &["community"],
            0,
            &[("sogs", "delivered"), HANDED],
        ),
        &["api.telegram.org/bot1000000001:SECRETroom/sendMessage"],
    ),
    (("16-community.yml", &["nobody"], 3, &[]), &[]),
];

/// Apprise 2 has no Microsoft Teams connectors any more.
const WITHOUT_TEAMS: Case = (
    "12-parameters.conf",
    &[],
    4,
    &[HANDED, HANDED, HANDED, HANDED, REFUSED],
);

/// Answers as the hosts of the services do.
fn answer(seen: &HttpSeen) -> HttpAnswer {
    let target = seen.target.as_str();
    let (status, body) = match target {
        _ if target.contains("-refused") => (401, json!({"message": "401: Unauthorized", "code": 0})),
        _ if target.contains("-later") => (503, json!({"ok": false})),
        _ if target.contains("/.well-known/") => (404, json!({})),
        // Slack answers with a word.
        _ if target.contains("/services/SECRETslack") || target.contains("/services/T0000") => {
            return HttpAnswer::Status(200, "ok".to_owned());
        }
        _ if target.contains("/_matrix/client/versions") => (200, json!({"versions": ["v1.11"]})),
        _ if target.contains("/_matrix/") => (
            200,
            json!({"access_token": "t", "user_id": "@bot:chat.example.org", "home_server": "chat.example.org",
                   "device_id": "d", "room_id": "!ops:chat.example.org", "event_id": "$e", "joined_rooms": []}),
        ),
        _ if target.contains("/api/v1/") => (
            200,
            json!({"status": "success", "success": true, "data": {"authToken": "t", "userId": "u"}}),
        ),
        _ => (200, json!({"ok": true, "status": 1, "result": {}})),
    };
    HttpAnswer::Status(status, body.to_string())
}

/// Host and path of a request that carries the text; other requests log in or look up a room.
fn arrival(seen: &HttpSeen) -> Option<String> {
    let body = String::from_utf8_lossy(&seen.body);
    let path = seen
        .target
        .split_once("://")
        .map_or(seen.target.as_str(), |(_, rest)| {
            rest.find('/').map_or("", |at| &rest[at..])
        });
    let host = seen.header("host")?.split(':').next()?;
    body.contains("SECRETBODY").then(|| format!("{host}{path}"))
}

/// Returns the file of a process of this interpreter that shows a secret to others.
fn shown_to_others(python: &str) -> Option<String> {
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        if !command.starts_with(python.as_bytes()) {
            continue;
        }
        for name in ["cmdline", "environ"] {
            let text = std::fs::read(entry.path().join(name)).unwrap_or_default();
            if is_secret(&String::from_utf8_lossy(&text)) {
                return Some(name.to_owned());
            }
        }
    }
    None
}

/// Every entry has a true result, and every message that is reported as handed over arrived once.
fn every_entry_arrives(version: &str) {
    let fakes = Fakes::start();
    let python = installed(version).with_file_name("python3").display().to_string();
    let shown: Arc<Mutex<Vec<String>>> = Arc::default();
    let (all_shown, path) = (Arc::clone(&shown), python.clone());
    let proxy = FakeProxy::start(move |seen| {
        let found = shown_to_others(&path);
        all_shown.lock().expect("no panic").extend(found);
        answer(seen)
    });
    let temporary = tempfile::tempdir().expect("a folder");
    let program = Program::new()
        .env("ACKPOST_APPRISE", &python)
        .env("http_proxy", proxy.url())
        .env("https_proxy", proxy.url())
        .env("no_proxy", "127.0.0.1")
        .env("TMPDIR", temporary.path().display().to_string())
        .file("authority.pem", &proxy.ca_pem);
    let authority = program.home().join("authority.pem");
    let program = program.env("REQUESTS_CA_BUNDLE", authority.display().to_string());
    fakes.configure(&program);
    for ((file, tags, code, expected), arrivals) in CASES {
        let teams = !version.starts_with("1.") && file.starts_with("12");
        let (_, _, code, expected) = if teams {
            WITHOUT_TEAMS
        } else {
            (file, tags, code, expected)
        };
        let config = format!("configurations/{file}");
        let mut args = vec![
            "--json",
            "-v",
            "-t",
            "title",
            "-b",
            "text of SECRETBODY",
            "-c",
            &config,
        ];
        args.extend(tags.iter().flat_map(|tag| ["-g", *tag]));
        let ran = program.run(&args);
        let told = format!("Apprise {version}, {file} {tags:?}: {}", ran.all());
        assert_eq!(ran.code, code, "{told}");
        assert_eq!(results(&ran), wanted(expected), "{told}");
        assert!(!is_secret(&ran.all()) && !ran.all().contains(SEED), "{told}");
        let mut seen = proxy.take();
        seen.extend(
            fakes
                .http
                .take()
                .into_iter()
                .filter(|one| one.target == "/v2/send"),
        );
        let mut found: Vec<String> = seen.iter().filter_map(arrival).collect();
        for place in arrivals
            .iter()
            .filter(|place| !teams || !place.starts_with("example.webhook."))
        {
            let at = found.iter().position(|one| one.starts_with(place));
            let at = at.unwrap_or_else(|| panic!("nothing arrived at {place}: {found:?}\n{told}"));
            found.remove(at);
        }
        assert_eq!(found, Vec::<String>::new(), "these are too many: {told}");
    }
    assert_eq!(*shown.lock().expect("no panic"), Vec::<String>::new());
    assert_eq!(leaks(&program.home()), None);
    let left = std::fs::read_dir(temporary.path()).expect("a folder").count();
    assert_eq!(left, 0);
}

#[test]
fn every_entry_arrives_with_apprise_1_9_7() {
    every_entry_arrives("1.9.7");
}

#[test]
fn every_entry_arrives_with_apprise_2_2_0() {
    every_entry_arrives("2.2.0");
}

#[test]
fn every_entry_arrives_with_apprise_2_3_0() {
    every_entry_arrives("2.3.0");
}
