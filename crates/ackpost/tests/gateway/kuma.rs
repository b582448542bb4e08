//! What Uptime Kuma does when a monitor goes down, by each of its ways: the requests in the shapes of its providers, and its call of
//! the program `apprise`. Everything arrives in a community and at an XMPP account of real servers.

use std::process::Command;

use ackpost_testkit::{Prosody, ServerOptions};

use crate::api::room_texts;
use crate::process::Gateway;
use crate::support::Program;
use crate::support::community::Community;

/// The heartbeat and the monitor are those that Kuma gives to every provider.
const NODE: &str = r##"
const { spawnSync } = require("node:child_process");
const [base, apprise, url, down] = process.argv.slice(-4);
const monitor = { name: "Shop", url: "https://shop.example.org", hostname: null, type: "http", tags: [] };
const heartbeat = { status: 0, time: "2026-11-30 10:00:00", msg: "timeout of 48000ms exceeded",
                    timezone: "Europe/Berlin", timezoneOffset: "+01:00", localDateTime: "2026-11-30 11:00:00" };
const msg = (by) => `[Shop] [🔴 Down] ${by} timeout of 48000ms exceeded`;

async function post(path, body, headers = { "Content-Type": "application/json" }) {
  const text = body instanceof FormData ? body : JSON.stringify(body);
  const answer = await fetch(base + path, { method: "POST", body: text, headers: body instanceof FormData ? {} : headers });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
}

// The provider looks for ERROR in what the program prints, and for nothing else.
function run(body, to) {
  const ran = spawnSync(apprise, ["-vv", "-b", body, to], { encoding: "utf8" });
  return ran.stdout ? ran.stdout : "ERROR: maybe apprise not found";
}

(async () => {
  await post("/hook/uptimekuma/ops", { heartbeat: { ...heartbeat, msg: "by webhook" }, monitor, msg: msg("by webhook") });
  const form = new FormData();
  form.append("data", JSON.stringify({ heartbeat: { ...heartbeat, msg: "by form" }, monitor, msg: msg("by form") }));
  await post("/hook/auto/ops", form);
  await post("/compat/gotify/ops/message?token=none", { message: msg("by gotify"), priority: 8, title: "Uptime-Kuma" });
  await post("/compat/ntfy", { topic: "ops", message: msg("by ntfy"), priority: 5, title: "Shop 🔴 Down [Uptime-Kuma]", tags: ["red_circle"] });
  await post("/compat/slack/ops", { text: msg("by slack"), channel: "#ops", username: "Uptime Kuma", icon_emoji: ":warning:",
    attachments: [{ color: "#e01e5a", blocks: [
      { type: "header", text: { type: "plain_text", text: "Uptime Kuma Alert" } },
      { type: "section", fields: [{ type: "mrkdwn", text: "*Message*\n" + msg("by slack") },
                                  { type: "mrkdwn", text: "*Time (Europe/Berlin)*\n2026-11-30 11:00:00" }] }] }] });
  await post("/compat/discord/api/webhooks/ops/none", { username: "Uptime Kuma", embeds: [{
    title: "❌ Your service Shop went down. ❌", color: 16711680, timestamp: "2026-11-30T10:00:00.000Z",
    fields: [{ name: "Service Name", value: "Shop" }, { name: "Error", value: "by discord" }] }] });
  const sent = run(msg("by apprise"), url);
  if (sent.includes("ERROR")) throw new Error(sent);
  const failed = run("lost", down);
  if (!failed.includes("ERROR")) throw new Error("a failure is not seen: " + failed);
})().catch((error) => { console.error(error); process.exit(1); });
"##;

#[test]
fn every_way_of_uptime_kuma_delivers() {
    let community = Community::start("lobby");
    let server = Prosody::start(ServerOptions::default());
    let xmpp = format!(
        "xmpps://alice:alicepass@localhost:{}/bob?xmpp=127.0.0.1&mode=starttls&ca_file={}",
        server.port,
        server.ca.display()
    );
    let lobby = format!("{}/lobby", community.server_url());
    let program = Program::new().secret_file("ops.conf", &format!("{lobby}\n{xmpp}\n"));
    let apprise = program.home().join("apprise");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ackpost"), &apprise).expect("a link");
    // An answer of 200 after the wait means that both services delivered.
    let gateway = Gateway::with(program, "wait = \"40s\"\n[keys]\nops = \"ops.conf\"\n");
    let ran = Command::new("node")
        .args(["-e", NODE, "--"])
        .arg(format!("http://127.0.0.1:{}", gateway.port))
        .arg(&apprise)
        // The community takes five messages in a while.
        .arg(format!("{lobby}?retry=8&wait=4"))
        .arg("xmpp://u:p@127.0.0.1:1/jane?cto=1")
        .env("HOME", gateway.program.home())
        .output()
        .expect("node is needed (scripts/packages)");
    assert!(
        ran.status.success(),
        "{}{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
        gateway.log()
    );
    let all = room_texts(&community).join("\n");
    for by in ["webhook", "form", "gotify", "ntfy", "slack", "discord", "apprise"] {
        assert!(all.contains(&format!("by {by}")), "{by}: {all}");
    }
    assert!(!all.contains("lost"), "{all}");
    let listed = gateway.get("/outbox?limit=50").json();
    let states: Vec<String> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| format!("{} {}", entry["service"], entry["state"]))
        .collect();
    assert_eq!(states.len(), 12, "{states:?}");
    assert!(
        states.iter().all(|state| state.ends_with("\"delivered\"")),
        "{states:?}"
    );
}
