//! End-to-end encryption: the keys of the account, those of the recipients, and the recipients of an encrypted message.

use std::fmt::Write as _;

use ackpost_xmpp::omemo::{Inspection, OwnDevice, TargetFacts, grouped};
use ackpost_xmpp::{Account, Target};

use super::step::Walk;

/// Maximum number of devices that are named in one step.
const NAMED_MAX: usize = 20;

/// Looks at the keys. Accounts that do not encrypt have no such step.
pub(super) async fn check(walk: &mut Walk, account: &Account, targets: Vec<Target>) {
    if account.omemo_device().is_none() {
        return;
    }
    walk.begin();
    match account.inspect_omemo(&targets).await {
        Ok(found) => {
            if let Some(own) = &found.own {
                own_device(walk, &found, own);
            } else {
                let seen = "no OMEMO device yet; the first message makes one and publishes its keys";
                walk.ok("omemo", seen);
            }
            for facts in &found.targets {
                target(walk, facts);
            }
        }
        Err(error) => {
            walk.fail("omemo", error.to_string(), error.remedy());
            for target in targets {
                walk.skip("encryption", "the keys could not be read")
                    .of(target.address().to_string());
            }
        }
    }
}

/// Skips the steps.
pub(super) fn skip(walk: &mut Walk, account: &Account) {
    if account.omemo_device().is_some() {
        walk.skip_all(&["omemo", "encryption"], "there is no login");
    }
}

fn own_device(walk: &mut Walk, found: &Inspection, own: &OwnDevice) {
    let mut seen = format!("device {} ({})", own.device, grouped(&own.fingerprint));
    let mut wrong = Vec::new();
    for version in ["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2"] {
        if !found.listed.contains(&version) {
            wrong.push(format!("not in the device list of {version}"));
        }
        if !found.bundles.contains(&version) {
            wrong.push(format!("no usable bundle in {version}"));
        }
    }
    for node in &found.nodes {
        if let Some(model) = node.access_model.as_deref().filter(|model| *model != "open") {
            wrong.push(format!("{} is not readable for everybody ({model})", node.node));
        }
        // One node holds the bundles of all devices in the newer version.
        let holds_all = node.node == "urn:xmpp:omemo:2:bundles";
        if holds_all && node.max_items.as_deref() == Some("1") {
            wrong.push(format!(
                "{} keeps one item, so that each device removes the keys of the others",
                node.node
            ));
        }
    }
    if wrong.is_empty() {
        seen.push_str(", listed and with bundles in both versions, readable for everybody");
    } else {
        let _ = write!(seen, ": {}", wrong.join("; "));
    }
    seen.push_str(if found.publish_options {
        "; the server supports publish options"
    } else {
        "; the server does not announce publish options, so that nodes are configured one by one"
    });
    if wrong.is_empty() {
        walk.ok("omemo", seen);
    } else {
        walk.warn(
            "omemo",
            seen,
            "publish the keys again with `ackpost omemo init URL`",
        );
    }
}

fn target(walk: &mut Walk, facts: &TargetFacts) {
    let name = facts.target.to_string();
    let report = match &facts.message {
        Ok(report) => report,
        Err(error) if facts.in_clear => {
            let seen = format!("a message would be sent in clear text: {error}");
            walk.warn("encryption", seen, error.remedy()).of(name);
            return;
        }
        Err(error) => {
            walk.fail("encryption", error.to_string(), error.remedy())
                .of(name);
            return;
        }
    };
    let mut seen = format!("a message would be {report}");
    let named: Vec<String> = facts
        .devices
        .iter()
        .filter(|info| info.left_out.is_none())
        .take(NAMED_MAX)
        .map(|info| {
            let trust = info
                .trust
                .map_or("trusted at first sight", ackpost_xmpp::omemo::Trust::as_str);
            format!("device {} of {} ({trust})", info.device, info.jid)
        })
        .collect();
    if !named.is_empty() {
        let _ = write!(seen, "; readers: {}", named.join(", "));
    }
    if report.left_out.is_empty() {
        walk.ok("encryption", seen).of(name);
    } else {
        let remedy =
            "ask the people to open their client on these devices, or compare fingerprints and trust them";
        walk.warn("encryption", seen, remedy).of(name);
    }
}
