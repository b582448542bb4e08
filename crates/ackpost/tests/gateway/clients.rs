//! Programs and libraries of others deliver through the gateway: to a community server, and to a person and a room of Prosody.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ackpost_testkit::{Prosody, Receiver, ServerOptions};

use crate::api::room_texts;
use crate::process::Gateway;
use crate::smtp::{SMTP, certificate};
use crate::support::Program;
use crate::support::community::Community;

/// The folder with the clients of the package indexes.
fn clients() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/clients");
    let output = Command::new(script).output().expect("the script runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().into()
}

const HTTP_OF_PYTHON: &str = r#"
import sys
from discord_webhook import DiscordWebhook, DiscordEmbed
from gotify import Gotify
from python_ntfy import NtfyClient
from slack_sdk.webhook import WebhookClient
base, token = sys.argv[1:]
answer = WebhookClient(f"{base}/services/ops/-/{token}").send(text="slack of python")
assert (answer.status_code, answer.body) == (200, "ok"), answer.body
answer = WebhookClient(f"{base}/services/nokey/-/{token}").send(text="lost")
assert answer.status_code == 403 and answer.body.startswith("action_prohibited"), answer.body
hook = DiscordWebhook(url=f"{base}/api/webhooks/ops/{token}", content="discord of python")
hook.add_embed(DiscordEmbed(title="Job", description="done", color="03b2f8"))
hook.add_file(file=b"attached", filename="log.txt")
assert hook.execute().status_code == 200
client = NtfyClient(topic="ops", server=base, auth=token)
print(client.send("ntfy of python", title="From ntfy"))
made = Gotify(base_url=base, app_token=token).create_message("gotify of python", title="From gotify", priority=5)
assert made["message"] == "gotify of python", made
"#;

const HTTP_OF_NODE: &str = r#"
const { IncomingWebhook } = require("@slack/webhook");
const { WebhookClient } = require("discord.js");
const [base, token] = process.argv.slice(-2);
(async () => {
  const sent = await new IncomingWebhook(`${base}/services/ops/-/${token}`).send({ text: "slack of node" });
  if (sent.text !== "ok") throw new Error(JSON.stringify(sent));
  const hook = new WebhookClient({ id: "ops", token }, { rest: { api: `${base}/api` } });
  const message = await hook.send({ content: "discord of node", embeds: [{ title: "Job", description: "done" }] });
  if (message.content !== "discord of node") throw new Error(JSON.stringify(message));
  try {
    await new WebhookClient({ id: "nokey", token }, { rest: { api: `${base}/api` } }).send("lost");
    throw new Error("it was not refused");
  } catch (error) {
    if (error.code !== 50013) throw error;
  }
})().catch((error) => { console.error(error); process.exit(1); });
"#;

/// Texts that the libraries send.
const HTTP_TEXTS: [&str; 6] = [
    "slack of python",
    "discord of python\nJob\ndone",
    "ntfy of python",
    "gotify of python",
    "slack of node",
    "discord of node\nJob\ndone",
];

const MAIL_OF_PYTHON: &str = r#"
import smtplib, ssl, sys
from email.message import EmailMessage
port, tls_port, token, ca = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl.create_default_context(cafile=ca)
mail = EmailMessage()
mail["From"], mail["To"], mail["Subject"] = "nas@example.org", "ops@example.org", "Grüße vom NAS"
mail.set_content("Text mit Ümläuten\n.\n..zwei Punkte\n" + "lang " * 300)
mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="bild.png")
with smtplib.SMTP("localhost", port) as smtp:
    smtp.starttls(context=context)
    smtp.login("any", token)
    smtp.send_message(mail)
with smtplib.SMTP_SSL("localhost", tls_port, context=context) as smtp:
    smtp.login("any", token)
    smtp.sendmail("a@b", ["ops@example.org"], "Subject: implicit\r\n\r\nover TLS at once")
    try:
        smtp.sendmail("a@b", ["nokey@example.org"], "Subject: lost\r\n\r\nlost")
        raise SystemExit("it was not refused")
    except smtplib.SMTPRecipientsRefused as error:
        assert list(error.recipients.values())[0][0] == 550, error
"#;

/// Texts that the mail programs send.
const MAIL_TEXTS: [&str; 5] = [
    "Grüße vom NAS",
    ".\n..zwei Punkte",
    "over TLS at once",
    "by swaks",
    "by msmtp",
];

/// Runs a program of others; it must succeed.
fn run(gateway: &Gateway, name: &str, command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} is needed (scripts/packages): {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("sent");
    drop(stdin);
    let ran = child.wait_with_output().expect("it runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(ran.status.success(), "{name}: {said}\n{}", gateway.log());
}

/// Libraries of ntfy, gotify, Slack and Discord from PyPI and npm send their texts.
fn send_by_http(program: Program) -> Gateway {
    let clients = clients();
    let gateway = Gateway::with(
        program,
        "wait = \"20s\"\n[compat]\nroot = [\"ntfy\", \"gotify\", \"slack\", \"discord\"]\n[keys]\nops = \"ops.conf\"\n",
    );
    let token = gateway.token(&["clients", "--key", "ops", "--allow", "notify"]);
    let base = format!("http://127.0.0.1:{}", gateway.port);
    let mut python = Command::new(clients.join("bin/python"));
    let python = python.args(["-c", HTTP_OF_PYTHON, &base, &token]);
    run(&gateway, "python", python.current_dir(&clients), "");
    let mut node = Command::new("node");
    let node = node
        .env("NODE_PATH", clients.join("node_modules"))
        .args(["-e", HTTP_OF_NODE, &base, &token]);
    run(&gateway, "node", node.current_dir(&clients), "");
    gateway
}

/// Python's smtplib, swaks and msmtp send their texts over STARTTLS and TLS.
fn send_by_mail(program: Program) -> Gateway {
    certificate(&program);
    let home = program.home().clone();
    let config = format!(
        "[keys]\nops = \"ops.conf\"\n{SMTP}tls_listen = \"127.0.0.1:0\"\ncertificate = \"{0}/cert.pem\"\nprivate_key = \"{0}/key.pem\"\n",
        home.display()
    );
    let gateway = Gateway::with(program, &config);
    let token = gateway.token(&["nas", "--key", "ops", "--allow", "notify"]);
    let (port, tls) = (gateway.smtp.to_string(), gateway.smtps.to_string());
    let cert = home.join("cert.pem").display().to_string();
    let mut python = Command::new("python3");
    python.args(["-c", MAIL_OF_PYTHON, &port, &tls, &token, &cert]);
    run(&gateway, "python3", &mut python, "");
    let mut swaks = Command::new("swaks");
    swaks
        .args(["--server", "127.0.0.1", "--port", &port, "--tls"])
        .args(["--auth", "PLAIN", "--auth-user", "any", "--auth-password", &token])
        .args([
            "--to",
            "ops@example.org",
            "--header",
            "Subject: swaks",
            "--body",
            "by swaks",
        ]);
    run(&gateway, "swaks", &mut swaks, "");
    let msmtprc = format!(
        "account default\nhost localhost\nport {port}\ntls on\ntls_starttls on\ntls_trust_file {cert}\nauth on\nuser any\n\
         password {token}\nfrom cron@example.org\n"
    );
    let file = home.join("msmtprc");
    std::fs::write(&file, msmtprc).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("set");
    let mut msmtp = Command::new("msmtp");
    msmtp
        .args(["-C", "msmtprc", "ops@example.org"])
        .current_dir(&home);
    let mail = "Subject: msmtp\nTo: ops@example.org\n\nby msmtp\n";
    run(&gateway, "msmtp", &mut msmtp, mail);
    assert!(!gateway.log().contains(&token));
    gateway
}

/// Waits until the community has every text, and nothing that was refused.
fn arrive_in(community: &Community, texts: &[&str]) {
    let until = Instant::now() + Duration::from_secs(30);
    let mut all = String::new();
    while Instant::now() < until && !texts.iter().all(|text| all.contains(text)) {
        std::thread::sleep(Duration::from_millis(200));
        all = room_texts(community).join("\n").replace("\r\n", "\n");
    }
    for text in texts {
        assert!(all.contains(text), "{text}: {all}");
    }
    assert!(!all.contains("lost"), "{all}");
}

#[test]
fn clients_of_the_package_indexes_deliver_to_a_community() {
    let community = Community::start("lobby");
    let program = Program::new().file("ops.conf", &format!("{}/lobby\n", community.server_url()));
    let _gateway = send_by_http(program);
    arrive_in(&community, &HTTP_TEXTS);
}

#[test]
fn mail_programs_deliver_to_a_community() {
    let community = Community::start("lobby");
    let program = Program::new().file("ops.conf", &format!("{}/lobby\n", community.server_url()));
    let _gateway = send_by_mail(program);
    arrive_in(&community, &MAIL_TEXTS);
}

/// Sends to a person and a room. Each text and the file must come by both, and nothing twice: the file is a message of its own.
fn arrive_at_a_person_and_a_room(send: fn(Program) -> Gateway, texts: &[&str], file: &str, messages: usize) {
    let server = Prosody::start(ServerOptions::default());
    let room = server.room("open");
    let url = |to: &str| {
        format!(
            "xmpps://alice:alicepass@localhost:{}/{to}?xmpp=127.0.0.1&mode=starttls&budget=off&ca_file={}\n",
            server.port,
            server.ca.display()
        )
    };
    let both = format!(
        "{}{}",
        url("bob"),
        url(&format!("%23{}", room.replace('@', "%40")))
    );
    let mut bob = Receiver::join(server.port, &server.domain, "bob", "bobpass", &[&room]);
    let gateway = send(Program::new().secret_file("ops.conf", &both));
    for kind in ["chat", "groupchat"] {
        let mut bodies = Vec::new();
        for _ in 0..messages {
            let came = bob.wait(Duration::from_secs(30), |stanza| {
                stanza.name == "message" && stanza.attr("type") == kind && stanza.child_text("body").is_some()
            });
            let came = came.unwrap_or_else(|| panic!("{kind}: only {bodies:?}\n{}", gateway.log()));
            bodies.extend(came.child_text("body").map(str::to_owned));
        }
        let all = bodies.join("\n").replace("\r\n", "\n");
        for text in texts.iter().chain([&file]) {
            assert!(all.contains(text), "{kind}: {text}: {all}");
        }
        assert!(!all.contains("lost"), "{kind}: {all}");
    }
    let mut more = Vec::new();
    bob.drain(Duration::from_secs(1), |stanza| {
        more.extend(stanza.child_text("body").map(str::to_owned));
    });
    assert_eq!(more, Vec::<String>::new(), "these are too many");
}

#[test]
fn clients_of_the_package_indexes_deliver_to_a_person_and_a_room() {
    arrive_at_a_person_and_a_room(send_by_http, &HTTP_TEXTS, "/log.txt", 7);
}

#[test]
fn mail_programs_deliver_to_a_person_and_a_room() {
    arrive_at_a_person_and_a_room(send_by_mail, &MAIL_TEXTS, "/bild.png", 5);
}
