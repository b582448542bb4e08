//! `ackpost omemo …`: the OMEMO device of an XMPP account, and the keys of others.

mod qr;

use std::io::IsTerminal as _;

use ackpost_notify::{ConnectionOptions, ServiceUrl, XmppParts};
use ackpost_xmpp::omemo::{
    DeviceInfo, Inspection, Omemo, OmemoError, OwnDevice, Trust, grouped, read_verification_uri,
    verification_uri,
};
use ackpost_xmpp::{Account, Jid, Target, XmppError};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cmd::outbox::place::own_state_folder;
use crate::context::Context;
use crate::exit::{Done, Exit, Failure};
use crate::output;

/// Set up end-to-end encryption and decide which keys may read.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: `ackpost omemo init 'xmpps://bot:PASSWORD@example.org'`. From then on, messages of this account \
                        are encrypted. The keys are in `omemo` in the state folder."
)]
pub(crate) struct OmemoArgs {
    #[command(subcommand)]
    command: OmemoCommand,
}

#[derive(Debug, Subcommand)]
enum OmemoCommand {
    /// Make the device of an account and publish its keys; publish them again if there is one
    #[command(after_help = "Example: `ackpost omemo init 'xmpps://bot:PASSWORD@example.org'`")]
    Init(InitArgs),
    /// List the devices of an account and of the people and rooms of its URL
    #[command(
        after_help = "Example: `ackpost omemo devices 'xmpps://bot:PASSWORD@example.org/jane/#ops@rooms.example.org'`"
    )]
    Devices(UrlArgs),
    /// Show the fingerprint of the device, or the known fingerprints of another person
    #[command(
        after_help = "Examples:\n  ackpost omemo fingerprint 'xmpps://bot:PASSWORD@example.org'\n  \
                            ackpost omemo fingerprint 'xmpps://bot:PASSWORD@example.org' jane@example.org"
    )]
    Fingerprint(FingerprintArgs),
    /// Trust a key after comparing its fingerprint; other new keys of that person then wait for a decision
    #[command(
        after_help = "Examples:\n  ackpost omemo trust URL jane@example.org '0a1b2c3d 4e5f6071 …'\n  \
                            ackpost omemo trust URL 'xmpp:jane@example.org?omemo-sid-12345=0a1b2c3d…'"
    )]
    Trust(DecideArgs),
    /// Distrust a key: messages are no longer encrypted for it
    #[command(after_help = "Example: `ackpost omemo untrust URL jane@example.org '0a1b2c3d 4e5f6071 …'`")]
    Untrust(DecideArgs),
    /// Remove the device of the account, the keys of a person, or lost devices from the device list
    ///
    /// Without ADDRESS and --device, the keys and sessions of the account are removed. Its messages are no longer encrypted.
    #[command(
        after_help = "Examples:\n  ackpost omemo reset URL\n  ackpost omemo reset URL jane@example.org\n  \
                            ackpost omemo reset URL --device 12345"
    )]
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
struct UrlArgs {
    /// xmpps:// URL of the account
    #[arg(value_name = "URL")]
    url: String,
}

#[derive(Debug, Args)]
struct InitArgs {
    #[command(flatten)]
    url: UrlArgs,
    #[command(flatten)]
    qr: QrArgs,
}

#[derive(Debug, Args)]
struct QrArgs {
    /// Show the QR code even if standard output is not a terminal
    #[arg(long)]
    qr: bool,
}

#[derive(Debug, Args)]
struct FingerprintArgs {
    #[command(flatten)]
    url: UrlArgs,
    /// Address of the other person
    #[arg(value_name = "ADDRESS", value_parser = address)]
    of: Option<Jid>,
    #[command(flatten)]
    qr: QrArgs,
}

#[derive(Debug, Args)]
struct DecideArgs {
    #[command(flatten)]
    url: UrlArgs,
    /// Address of the other person, or the xmpp: address of a QR code with fingerprints
    #[arg(value_name = "ADDRESS")]
    of: String,
    /// Fingerprints: 64 hexadecimal digits each, in groups or not
    #[arg(value_name = "FINGERPRINT")]
    fingerprints: Vec<String>,
}

#[derive(Debug, Args)]
struct ResetArgs {
    #[command(flatten)]
    url: UrlArgs,
    /// Remove the sessions with this person and the decisions about the keys
    #[arg(value_name = "ADDRESS", value_parser = address)]
    of: Option<Jid>,
    /// Remove this device from the device list of the account; may be repeated
    #[arg(long = "device", value_name = "ID", conflicts_with = "of", value_parser = clap::value_parser!(u32).range(1..=2_147_483_647))]
    devices: Vec<u32>,
}

fn address(text: &str) -> Result<Jid, String> {
    let jid: Jid = text
        .parse()
        .map_err(|error: ackpost_xmpp::JidError| error.to_string())?;
    if jid.local().is_none() {
        return Err("this is the address of a server; write user@example.org".to_owned());
    }
    Ok(jid.to_bare())
}

pub(crate) fn run(args: &OmemoArgs, context: Context) -> Done {
    let runtime = context.runtime();
    match &args.command {
        OmemoCommand::Init(args) => {
            let open = Open::new(&args.url)?;
            let own = runtime
                .block_on(open.parts.account.publish_omemo())
                .map_err(|error| failed(&error))?;
            show_own(&open, &own, &args.qr, context);
            if !context.json {
                output::note("messages of this account are now encrypted; omemo=no in a URL turns it off");
            }
            Ok(Exit::Success)
        }
        OmemoCommand::Devices(args) => {
            let open = Open::new(args)?;
            let found = runtime
                .block_on(open.parts.account.inspect_omemo(&open.targets()))
                .map_err(|error| failed(&error))?;
            Ok(devices(&open, &found, context))
        }
        OmemoCommand::Fingerprint(args) => fingerprint(args, context),
        OmemoCommand::Trust(args) => decide(args, Trust::Verified, context),
        OmemoCommand::Untrust(args) => decide(args, Trust::Distrusted, context),
        OmemoCommand::Reset(args) => match &args.of {
            Some(of) => forget(&args.url, of, context),
            None if args.devices.is_empty() => runtime.block_on(reset(&args.url, context)),
            None => runtime.block_on(unlist(&args.url, &args.devices, context)),
        },
    }
}

/// The account of a URL with its keys.
struct Open {
    parts: XmppParts,
}

impl Open {
    fn new(args: &UrlArgs) -> Result<Self, Failure> {
        // The keys are in the state folder.
        let connections = ConnectionOptions::default().with_state_folder(Some(own_state_folder()));
        let unusable = |problem: ackpost_notify::Diagnostic| Failure::usage(problem.cause, problem.remedy);
        let parts = ServiceUrl::parse(&args.url, &ackpost_notify::Context::default())
            .map_err(unusable)?
            .omemo_parts(&connections)
            .ok_or_else(|| Failure::usage("OMEMO is for XMPP accounts", "give an xmpps:// URL"))?
            .map_err(unusable)?;
        Ok(Self { parts })
    }

    fn account(&self) -> &Account {
        &self.parts.account
    }

    fn keys(&self) -> Result<&Omemo, Failure> {
        self.account()
            .omemo_device()
            .ok_or_else(|| failed(&OmemoError::NoDevice.into()))
    }

    /// The device of the account, which has to be there.
    fn own(&self) -> Result<OwnDevice, Failure> {
        let own = self.keys()?.own_device(self.account().jid());
        own.map_err(|error| failed(&error.into()))?.ok_or_else(|| {
            Failure::new(
                format!("{} has no OMEMO device here", self.account().jid().to_bare()),
                "make one with `ackpost omemo init URL`",
            )
        })
    }

    fn targets(&self) -> Vec<Target> {
        let own = self.account().jid().to_bare();
        let people = self.parts.people.iter().filter(|jid| jid.to_bare() != own);
        people
            .cloned()
            .map(Target::User)
            .chain(self.parts.rooms.iter().cloned().map(Target::Room))
            .collect()
    }
}

fn failed(error: &XmppError) -> Failure {
    Failure::new(error.to_string(), error.remedy())
}

/// The object of a device; every command that shows devices prints it.
fn object(info: &DeviceInfo, own: bool) -> Value {
    json!({
        "account": info.jid.to_string(),
        "device": info.device,
        "own": own,
        "this": info.this,
        "versions": info.versions,
        "fingerprint": info.fingerprint,
        "trust": info.trust.map(Trust::as_str),
        "left_out": info.left_out.map(|reason| reason.to_string()),
        "confirmed": info.confirmed,
        "uri": info.fingerprint.as_ref().map(|text| verification_uri(&info.jid, &[(info.device, text.clone())])),
    })
}

fn show_device(info: &DeviceInfo, own: bool, context: Context) {
    if context.json {
        output::json(&object(info, own));
        return;
    }
    let state = if info.this {
        "this device".to_owned()
    } else if let Some(reason) = info.left_out {
        format!("left out: {reason}")
    } else {
        info.trust
            .map_or_else(|| "key not read yet".to_owned(), |trust| trust.to_string())
    };
    output::words(&format!("{}  device {}  {state}", info.jid, info.device));
    if let Some(fingerprint) = &info.fingerprint {
        output::line(&format!("  {}", grouped(fingerprint)));
    }
}

fn show_own(open: &Open, own: &OwnDevice, qr: &QrArgs, context: Context) {
    let account = open.account().jid().to_bare();
    let uri = verification_uri(&account, &[(own.device, own.fingerprint.clone())]);
    if context.json {
        output::json(&json!({
            "account": account.to_string(),
            "device": own.device,
            "own": true,
            "this": true,
            "versions": (own.published > 0).then_some(["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2"]).map_or_else(Vec::new, Vec::from),
            "fingerprint": own.fingerprint,
            "trust": null,
            "left_out": null,
            "confirmed": false,
            "uri": uri,
        }));
        return;
    }
    output::line(&format!("{account}  device {}", own.device));
    output::line(&format!("  {}", grouped(&own.fingerprint)));
    output::line(&uri);
    if qr.qr || std::io::stdout().is_terminal() {
        for line in qr::lines(&uri) {
            output::line(&line);
        }
    }
}

/// Prints all devices once, and why somebody has none.
fn devices(open: &Open, found: &Inspection, context: Context) -> Exit {
    let mut shown: Vec<(Jid, u32)> = Vec::new();
    for info in &found.own_devices {
        show_device(info, true, context);
    }
    if found.own.is_none() && !context.json {
        output::note(&format!(
            "{} has no device here; the first encrypted message or `ackpost omemo init URL` makes one",
            open.account().jid().to_bare()
        ));
    }
    let mut failures = 0;
    for target in &found.targets {
        for info in &target.devices {
            let name = (info.jid.clone(), info.device);
            if !shown.contains(&name) {
                show_device(info, false, context);
                shown.push(name);
            }
        }
        match &target.message {
            Ok(report) => {
                for left in report.left_out.iter().filter(|left| left.device.is_none()) {
                    output::warning(&left.to_string());
                }
            }
            Err(error) => {
                failures += 1;
                failed(&error.clone().into()).print();
            }
        }
    }
    if failures == 0 {
        Exit::Success
    } else if failures < found.targets.len() {
        Exit::Partial
    } else {
        Exit::Failure
    }
}

fn fingerprint(args: &FingerprintArgs, context: Context) -> Done {
    let open = Open::new(&args.url)?;
    let own = open.own()?;
    let Some(of) = &args.of else {
        show_own(&open, &own, &args.qr, context);
        return Ok(Exit::Success);
    };
    let known = open
        .keys()?
        .devices(open.account().jid(), of)
        .map_err(|error| failed(&error.into()))?;
    let known: Vec<&DeviceInfo> = known.iter().filter(|info| info.fingerprint.is_some()).collect();
    if known.is_empty() {
        return Err(Failure::new(
            format!("no key of {of} is known yet"),
            "send a message, or read the keys from the server with `ackpost omemo devices URL`",
        ));
    }
    for info in known {
        show_device(info, *of == open.account().jid().to_bare(), context);
    }
    Ok(Exit::Success)
}

/// The address and the fingerprints that were written, each checked before anything is saved.
fn written(args: &DecideArgs) -> Result<(Jid, Vec<String>), Failure> {
    if let Some((jid, devices)) = read_verification_uri(&args.of) {
        let fingerprints = devices.into_iter().map(|(_, fingerprint)| fingerprint);
        return Ok((
            jid,
            fingerprints.chain(args.fingerprints.iter().cloned()).collect(),
        ));
    }
    let jid = address(&args.of).map_err(|cause| {
        Failure::usage(
            format!("`{}` is not an address: {cause}", args.of),
            "write user@example.org, or the xmpp: address of a QR code",
        )
    })?;
    if args.fingerprints.is_empty() {
        return Err(Failure::usage(
            "a fingerprint is missing",
            "compare with the other person, and write the 64 digits; `ackpost omemo devices URL` lists them",
        ));
    }
    // In groups, but not quoted: the words belong together.
    let whole: String = args.fingerprints.concat();
    let is_one = args.fingerprints.len() > 1 && whole.chars().filter(char::is_ascii_hexdigit).count() == 64;
    Ok((
        jid,
        if is_one {
            vec![whole]
        } else {
            args.fingerprints.clone()
        },
    ))
}

fn decide(args: &DecideArgs, trust: Trust, context: Context) -> Done {
    let open = Open::new(&args.url)?;
    open.own()?;
    let (of, fingerprints) = written(args)?;
    let keys = open.keys()?;
    let account = open.account().jid();
    let known = keys
        .devices(account, &of)
        .map_err(|error| failed(&error.into()))?;
    for fingerprint in &fingerprints {
        keys.set_trust(account, &of, fingerprint, trust)
            .map_err(|error| failed(&error.into()))?;
    }
    for fingerprint in &fingerprints {
        let digits: String = fingerprint
            .chars()
            .filter(char::is_ascii_hexdigit)
            .map(|digit| digit.to_ascii_lowercase())
            .collect();
        // Some clients write the byte 05 of the key's form before it.
        let digits = if digits.len() == 66 { &digits[2..] } else { &digits };
        let seen = known
            .iter()
            .any(|info| info.fingerprint.as_deref() == Some(digits));
        if context.json {
            output::json(&json!({
                "account": account.to_bare().to_string(),
                "address": of.to_string(),
                "fingerprint": digits,
                "trust": trust.as_str(),
                "known": seen,
            }));
        } else {
            output::words(&format!("{of}  {}  {trust}", grouped(digits)));
            if !seen {
                output::remark(
                    "no session with a device of this key exists yet; the decision holds from the first message on",
                );
            }
        }
    }
    Ok(Exit::Success)
}

fn forget(url: &UrlArgs, of: &Jid, context: Context) -> Done {
    let open = Open::new(url)?;
    open.own()?;
    open.keys()?
        .forget(open.account().jid(), of, true)
        .map_err(|error| failed(&error.into()))?;
    tell_reset(
        &open,
        Some(of),
        &[],
        context,
        &format!("removed the sessions with {of} and its keys"),
    );
    Ok(Exit::Success)
}

async fn reset(url: &UrlArgs, context: Context) -> Done {
    let open = Open::new(url)?;
    let done = open
        .account()
        .reset_omemo()
        .await
        .map_err(|error| failed(&error))?;
    let Some(device) = done.device else {
        tell_reset(
            &open,
            None,
            &[],
            context,
            "this machine has no device; remove a lost one from the device list with `ackpost omemo reset URL --device ID`",
        );
        return Ok(Exit::Success);
    };
    if let Some(error) = done.still_listed {
        return Err(Failure::new(
            format!(
                "the keys of device {device} are removed here, but it is still in the device list: {error}"
            ),
            format!(
                "run `ackpost omemo reset URL --device {device}` later: until then, others encrypt for it"
            ),
        ));
    }
    tell_reset(
        &open,
        None,
        &[device],
        context,
        &format!("removed device {device}; messages of this account are not encrypted any more"),
    );
    Ok(Exit::Success)
}

async fn unlist(url: &UrlArgs, devices: &[u32], context: Context) -> Done {
    let open = Open::new(url)?;
    let own = open.own().ok().map(|own| own.device);
    if let Some(own) = own.filter(|own| devices.contains(own)) {
        return Err(Failure::usage(
            format!("{own} is the device of this account here"),
            "remove it with `ackpost omemo reset URL`",
        ));
    }
    let removed = open
        .account()
        .remove_omemo_devices(devices)
        .await
        .map_err(|error| failed(&error))?;
    if removed.is_empty() {
        return Err(Failure::new(
            "the device list has no such device",
            "list them with `ackpost omemo devices URL`",
        ));
    }
    let names: Vec<String> = removed.iter().map(ToString::to_string).collect();
    tell_reset(
        &open,
        None,
        &removed,
        context,
        &format!("removed from the device list: {}", names.join(", ")),
    );
    Ok(Exit::Success)
}

fn tell_reset(open: &Open, of: Option<&Jid>, devices: &[u32], context: Context, text: &str) {
    if context.json {
        output::json(&json!({
            "account": open.account().jid().to_bare().to_string(),
            "address": of.map(ToString::to_string),
            "devices": devices,
        }));
    } else {
        output::words(text);
    }
}
