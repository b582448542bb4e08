//! `ackpost omemo`, and what `doctor` says about encryption, with clients of others.
#![allow(unused_crate_dependencies, reason = "the binary uses them")]

#[path = "support/schemas.rs"]
mod schemas;
mod support;

use ackpost_testkit::{Ejabberd, OmemoPeer, Prosody, XmppServer};
use serde_json::{Value, json};

use crate::support::{Program, Ran};

const OLD: &str = "eu.siacs.conversations.axolotl";
const TWO: &str = "urn:xmpp:omemo:2";

fn url(server: &XmppServer, from: &str, to: &str, parameters: &str) -> String {
    format!(
        "xmpps://{from}:keyspass@localhost:{}/{to}?mode=starttls&rto=20&cto=20&ca_file={}{parameters}",
        server.port,
        server.ca.display()
    )
}

/// Runs a command with `--json` and checks its objects against the schema.
#[track_caller]
fn objects(program: &Program, args: &[&str]) -> (i32, Vec<Value>) {
    let mut all = vec!["--json"];
    all.extend(args);
    let ran = program.run(&all);
    if ran.code != 0 {
        eprintln!("{args:?}: {}", ran.all());
    }
    let objects = ran.json();
    schemas::check(args, &objects);
    (ran.code, objects)
}

#[track_caller]
fn ok(program: &Program, args: &[&str]) -> Ran {
    let ran = program.run(args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    ran
}

fn is_encrypted(program: &Program, url: &str, text: &str) -> bool {
    let ran = ok(program, &["send", "--json", "-b", text, url]);
    ran.stdout.contains("encrypted for")
}

/// The devices that are listed of an account.
fn devices_of(program: &Program, url: &str, account: &str) -> Vec<Value> {
    let (_, found) = objects(program, &["omemo", "devices", url]);
    found
        .into_iter()
        .filter(|device| device["account"] == account)
        .collect()
}

fn grouped(fingerprint: &str) -> String {
    ackpost_xmpp::omemo::grouped(fingerprint)
}

/// An account that sends, one that reads, and the client of the reader.
struct Pair {
    program: Program,
    peer: OmemoPeer,
    server: &'static XmppServer,
    us: String,
    ours: String,
    own_address: String,
    address: String,
}

fn from_init_to_reset(server: &'static XmppServer, us: &str, them: &str) {
    let program = Program::new();
    let folder = program.home().join("their-state");
    let mut pair = Pair {
        peer: OmemoPeer::start(server, "omemo", them, &folder),
        program,
        server,
        us: us.to_owned(),
        ours: url(server, us, them, ""),
        own_address: format!("{us}@localhost"),
        address: format!("{them}@localhost"),
    };
    pair.without_keys();
    let own = pair.makes_keys();
    pair.decides_about_keys();
    pair.removes_devices(&own);
    pair.forgets(&own);
}

impl Pair {
    fn without_keys(&mut self) {
        // Without keys, the commands say how to make some, and change nothing.
        for args in [
            vec!["omemo", "fingerprint", &self.ours],
            vec![
                "omemo",
                "trust",
                &self.ours,
                &self.address,
                &self.peer.fingerprint,
            ],
            vec!["omemo", "reset", &self.ours, &self.address],
        ] {
            let ran = self.program.run(&args);
            assert_eq!(ran.code, 1, "{args:?}: {}", ran.all());
            assert!(ran.stderr.contains("ackpost omemo init URL"), "{}", ran.all());
        }
        let (code, found) = objects(&self.program, &["omemo", "devices", &self.ours]);
        assert_eq!(code, 0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["fingerprint"], self.peer.fingerprint.as_str());
        assert!(!is_encrypted(&self.program, &self.ours, "in clear text"));
        assert_eq!(self.peer.expect("plain")["text"], "in clear text");
    }

    fn makes_keys(&mut self) -> Value {
        // From the first command on, the account encrypts.
        let (code, made) = objects(&self.program, &["omemo", "init", &self.ours]);
        assert_eq!(code, 0);
        let own = made[0].clone();
        assert_eq!(
            (&own["account"], &own["versions"]),
            (&json!(self.own_address), &json!([OLD, TWO]))
        );
        let (_, again) = objects(&self.program, &["omemo", "init", &self.ours]);
        assert_eq!(again[0], own, "the same device");
        let (_, shown) = objects(&self.program, &["omemo", "fingerprint", &self.ours]);
        assert_eq!(shown[0], own);
        assert!(is_encrypted(&self.program, &self.ours, "encrypted"));
        assert_eq!(self.peer.text().0, "encrypted");
        let fingerprint = own["fingerprint"].as_str().expect("a text");
        let ran = ok(&self.program, &["omemo", "fingerprint", "--qr", &self.ours]);
        assert!(ran.stdout.contains(&grouped(fingerprint)), "{}", ran.stdout);
        let uri = own["uri"].as_str().expect("a text");
        assert!(
            ran.stdout.contains(uri) && ran.stdout.contains("█▀▀▀▀▀█"),
            "{}",
            ran.stdout
        );
        assert!(
            !ok(&self.program, &["omemo", "fingerprint", &self.ours])
                .stdout
                .contains('█')
        );

        own
    }

    fn decides_about_keys(&mut self) {
        // The list names both devices, and the fingerprint of theirs is known from now on.
        let (_, found) = objects(&self.program, &["omemo", "devices", &self.ours]);
        let of = |account: &str| {
            let mut found = found.iter().filter(|device| device["account"] == account);
            found.next().expect("a device").clone()
        };
        assert_eq!(of(&self.own_address)["this"], true);
        let theirs = of(&self.address);
        assert_eq!(
            (&theirs["device"], &theirs["trust"]),
            (&json!(self.peer.device), &json!("trusted at first sight"))
        );
        let (_, known) = objects(
            &self.program,
            &["omemo", "fingerprint", &self.ours, &self.address],
        );
        assert_eq!(known[0]["fingerprint"], self.peer.fingerprint.as_str());

        // A distrusted key reads nothing more, a verified one does; groups and addresses of QR codes are understood.
        let groups = grouped(&self.peer.fingerprint);
        let (_, done) = objects(
            &self.program,
            &["omemo", "untrust", &self.ours, &self.address, &groups],
        );
        assert_eq!(
            (&done[0]["trust"], &done[0]["known"], &done[0]["fingerprint"]),
            (&json!("distrusted"), &json!(true), &json!(self.peer.fingerprint))
        );
        let ran = self.program.run(&["-b", "not for you", &self.ours]);
        assert_ne!(ran.code, 0, "{}", ran.all());
        assert!(ran.stderr.contains("key distrusted"), "{}", ran.all());
        let scanned = theirs["uri"].as_str().expect("a text");
        let (_, done) = objects(&self.program, &["omemo", "trust", &self.ours, scanned]);
        assert_eq!(done[0]["trust"], "verified");
        assert!(is_encrypted(&self.program, &self.ours, "for you again"));
        assert_eq!(self.peer.text().0, "for you again");
        let mut words = vec!["omemo", "trust", &self.ours, &self.address];
        words.extend(groups.split(' '));
        assert!(ok(&self.program, &words).stdout.contains("verified"));
    }

    fn removes_devices(&mut self, own: &Value) {
        // A lost device leaves the list, the own one stays.
        let other = OmemoPeer::start(
            self.server,
            "omemo",
            &self.us,
            &self.program.home().join("other-state"),
        );
        assert_eq!(devices_of(&self.program, &self.ours, &self.own_address).len(), 2);
        let id = other.device.to_string();
        other.quit();
        let (_, done) = objects(&self.program, &["omemo", "reset", &self.ours, "--device", &id]);
        assert_eq!(done[0]["devices"], json!([id.parse::<u32>().expect("a number")]));
        assert_eq!(devices_of(&self.program, &self.ours, &self.own_address).len(), 1);
        let own_id = own["device"].to_string();
        let ran = self
            .program
            .run(&["omemo", "reset", &self.ours, "--device", &own_id]);
        assert_eq!(ran.code, 2, "{}", ran.all());
    }

    fn forgets(&mut self, own: &Value) {
        // A forgotten contact is learned anew; the whole reset ends encryption.
        let (_, done) = objects(&self.program, &["omemo", "reset", &self.ours, &self.address]);
        assert_eq!(done[0]["address"], self.address.as_str());
        let ran = self
            .program
            .run(&["omemo", "fingerprint", &self.ours, &self.address]);
        assert!(ran.code == 1 && ran.stderr.contains("no key of"), "{}", ran.all());
        assert!(is_encrypted(&self.program, &self.ours, "in a new session"));
        assert_eq!(self.peer.text().0, "in a new session");
        let (_, done) = objects(&self.program, &["omemo", "reset", &self.ours]);
        assert_eq!(done[0]["devices"], json!([own["device"]]));
        assert!(devices_of(&self.program, &self.ours, &self.own_address).is_empty());
        assert!(!is_encrypted(&self.program, &self.ours, "in clear text again"));
        assert_eq!(self.peer.expect("plain")["text"], "in clear text again");
        let again = ok(&self.program, &["omemo", "reset", &self.ours]);
        assert!(
            again.stdout.contains("this machine has no device"),
            "{}",
            again.all()
        );
    }
}

#[test]
fn keys_are_made_shown_decided_about_and_removed_on_prosody() {
    from_init_to_reset(Prosody::shared(), "keys41", "keys42");
}

#[test]
fn keys_are_made_shown_decided_about_and_removed_on_ejabberd() {
    from_init_to_reset(Ejabberd::shared(), "keys41", "keys42");
}

#[test]
fn a_state_that_cannot_be_read_can_be_reset() {
    let server = Prosody::shared();
    let program = Program::new();
    let ours = url(server, "keys43", "keys44", "");
    ok(&program, &["omemo", "init", &ours]);
    let folder = program.home().join(".local/state/ackpost/omemo");
    let state = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_none())
        .expect("the state");
    std::fs::write(&state, "damage").expect("written");
    let ran = program.run(&["-b", "x", &ours]);
    assert!(
        ran.code != 0 && ran.stderr.contains("cannot read the OMEMO state"),
        "{}",
        ran.all()
    );
    ok(&program, &["omemo", "reset", &ours]);
    assert!(!state.exists());
    ok(&program, &["omemo", "init", &ours]);
}

#[test]
fn wrong_words_are_refused_with_the_right_ones() {
    let program = Program::new();
    let xmpp = "xmpps://bot:pass@localhost/jane";
    let community = format!(
        "sessions://{}:{}@localhost/room",
        support::SERVER_KEY,
        support::SEED
    );
    for (args, expected) in [
        (vec!["omemo", "init", &community], "xmpps://"),
        (vec!["omemo", "init", "nonsense"], "error:"),
        (vec!["omemo", "reset", xmpp, "example.org"], "user@example.org"),
        (vec!["omemo", "reset", xmpp, "--device", "0"], "1..=2147483647"),
        (
            vec!["omemo", "reset", xmpp, "jane@example.org", "--device", "1"],
            "cannot be used with",
        ),
    ] {
        let ran = program.run(&args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.all());
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.all());
    }
}

/// The step of this name.
fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().expect("steps");
    steps
        .iter()
        .find(|step| step["name"] == name)
        .unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

fn doctor_says_who_could_read(server: &XmppServer, us: &str, them: &str, without: &str) {
    let program = Program::new();
    let mut peer = OmemoPeer::start(server, "dr", them, &program.home().join("their-state"));
    let examine = |to: &str, parameters: &str| {
        let ran = program.run(&["doctor", "--json", &url(server, us, to, parameters)]);
        (ran.code, ran.json().remove(0))
    };
    // Without OMEMO, there is nothing to say about it.
    let (code, report) = examine(them, "");
    assert_eq!(code, 0, "{report:#}");
    assert!(!report["steps"].to_string().contains("omemo"), "{report:#}");
    // Before the first message: nothing is made by looking.
    let (code, report) = examine(them, "&omemo=require");
    assert_eq!(code, 0, "{report:#}");
    assert!(
        step(&report, "omemo")["seen"]
            .as_str()
            .expect("a text")
            .contains("no OMEMO device yet"),
        "{report:#}"
    );
    let seen = step(&report, "encryption")["seen"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(
        seen.contains("a message would be encrypted for 1 of 1 device"),
        "{seen}"
    );
    assert!(seen.contains(&format!("device {}", peer.device)), "{seen}");
    assert!(devices_of(&program, &url(server, us, them, ""), &format!("{us}@localhost")).is_empty());
    // With keys: the own device, its nodes, and whom a message would reach.
    ok(&program, &["omemo", "init", &url(server, us, them, "")]);
    let (code, report) = examine(them, "");
    assert_eq!(code, 0, "{report:#}");
    let own = step(&report, "omemo");
    assert_eq!(own["status"], "ok", "{report:#}");
    assert!(
        own["seen"].as_str().expect("a text").contains("both versions"),
        "{report:#}"
    );
    assert_eq!(step(&report, "encryption")["status"], "ok", "{report:#}");
    // Nothing was sent, and looking did not use up anything: the message is read.
    peer.nothing_more();
    assert!(is_encrypted(&program, &url(server, us, them, ""), "read"));
    assert_eq!(peer.text().0, "read");
    // A node that strangers cannot read is named, and the command that repairs it repairs it.
    let closed = OmemoPeer::start(server, "omemo", us, &program.home().join("other-state"));
    close_list(closed);
    let (code, report) = examine(them, "");
    assert_eq!(code, 0, "{report:#}");
    let own = step(&report, "omemo");
    assert_eq!(own["status"], "warn", "{report:#}");
    assert!(
        own["seen"]
            .as_str()
            .expect("a text")
            .contains("eu.siacs.conversations.axolotl.devicelist is not readable for everybody"),
        "{report:#}"
    );
    ok(&program, &["omemo", "init", &url(server, us, them, "")]);
    let (_, report) = examine(them, "");
    assert_eq!(step(&report, "omemo")["status"], "ok", "{report:#}");
    // A recipient without keys is a failure or a warning, by the word of the URL.
    let (code, report) = examine(without, "&omemo=require");
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(step(&report, "encryption")["status"], "fail", "{report:#}");
    let (code, report) = examine(without, "");
    assert_eq!(code, 0, "{report:#}");
    let clear = step(&report, "encryption");
    assert_eq!(clear["status"], "warn", "{report:#}");
    assert!(
        clear["seen"].as_str().expect("a text").contains("in clear text"),
        "{report:#}"
    );
}

/// Another client of the account closes its device list.
fn close_list(mut client: OmemoPeer) {
    let xml = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='{OLD}.devicelist'>\
         <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>\
         <value>http://jabber.org/protocol/pubsub#node_config</value></field>\
         <field var='pubsub#access_model'><value>presence</value></field></x></configure></pubsub>"
    );
    client.tell(&json!({"do": "raw", "xml": xml}));
    let answer = client.expect("answered");
    assert!(
        answer["xml"].as_str().expect("a text").contains("result"),
        "{answer}"
    );
    client.quit();
}

#[test]
fn doctor_says_who_could_read_a_message_on_prosody() {
    doctor_says_who_could_read(Prosody::shared(), "keys45", "keys46", "keys47");
}

#[test]
fn doctor_says_who_could_read_a_message_on_ejabberd() {
    doctor_says_who_could_read(Ejabberd::shared(), "keys45", "keys46", "keys47");
}

/// The commands of the guide, with the servers of the test in place of the ones it names.
#[test]
fn the_examples_of_the_guide_run() {
    let server = Prosody::shared();
    let program = Program::new();
    let mut peer = OmemoPeer::start(server, "omemo", "keys49", &program.home().join("their-state"));
    let guide = std::fs::read_to_string(support::root().join("docs/guide/encrypted-notifications.md"))
        .expect("the guide");
    let parameters = format!("mode=starttls&rto=20&cto=20&ca_file={}", server.ca.display());
    let account = format!("keys48:keyspass@localhost:{}", server.port);
    let here = |script: &str| {
        script
            .replace(
                "bot:password@example.org/jane?",
                &format!("{account}/keys49?{parameters}&"),
            )
            .replace(
                "bot:password@example.org/jane'",
                &format!("{account}/keys49?{parameters}'"),
            )
            .replace("bot:password@example.org'", &format!("{account}?{parameters}'"))
            .replace("jane@example.org", "keys49@localhost")
            .replace("FINGERPRINT", &peer.fingerprint)
    };
    let examples: Vec<String> = guide
        .split("```sh\n")
        .skip(1)
        .map(|rest| here(rest.split("```").next().expect("the block ends")))
        .collect();
    assert_eq!(examples.len(), 3);
    for example in &examples {
        assert!(!example.contains("example.org"), "no server stands in: {example}");
        let ran = program.shell(example);
        assert_eq!(ran.code, 0, "{example}\n{}", ran.all());
    }
    assert_eq!(
        [peer.text().0, peer.text().0],
        ["disk is full", "the key of the safe is 4711"]
    );
    peer.nothing_more();
}
