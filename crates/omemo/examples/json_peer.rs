//! A device that is driven by lines of JSON on standard input: for tests against implementations in other languages.
//!
//! `scripts/omemo-interop` runs it. It keeps no state on disk; `reload` saves and loads in memory.
//!
//! | request | answer |
//! |---|---|
//! | `{"do":"new","jid":J}` | `{"device":N,"fingerprint":F}` |
//! | `{"do":"bundle","version":NS}` | `{"xml":X}` |
//! | `{"do":"start","jid":J,"device":N,"xml":X}` | `{"fingerprint":F}`: a session from a bundle |
//! | `{"do":"send","version":NS,"jid":J,"device":N,"text":T}` | `{"xml":X}`; without `text`, an empty message |
//! | `{"do":"receive","jid":J,"xml":X}` | `{"text":T,"new_session":B,"answer_due":B}` |
//! | `{"do":"reload"}` | `{}` |
//!
//! A failure is `{"error":E}`.
#![expect(clippy::print_stdout, reason = "this is its output")]

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead as _;

use omemo::xml::{Element, Envelope};
use omemo::{Account, Bundle, DeviceId, Encrypted, Identity, MessageBuilder, Session, Version};
use serde_json::{Value, json};

type Answer = Result<Value, Box<dyn Error>>;

struct Peer {
    jid: String,
    account: Account,
    sessions: HashMap<(Version, String, DeviceId), Session>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut peer = None;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = match &mut peer {
            Some(peer) => answer(peer, &request),
            None => create(&mut peer, &request),
        };
        println!(
            "{}",
            answer.unwrap_or_else(|error| json!({ "error": error.to_string() }))
        );
    }
    Ok(())
}

fn create(slot: &mut Option<Peer>, request: &Value) -> Answer {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let identity = Identity::generate(&mut rng);
    let fingerprint = identity.public().fingerprint();
    let account = Account::new(identity, DeviceId::random(&mut rng), 0, &mut rng);
    let device = account.device_id().get();
    *slot = Some(Peer {
        jid: text(request, "jid")?.to_owned(),
        account,
        sessions: HashMap::new(),
    });
    Ok(json!({ "device": device, "fingerprint": fingerprint }))
}

fn text<'a>(request: &'a Value, name: &str) -> Result<&'a str, String> {
    request[name].as_str().ok_or_else(|| format!("{name} is missing"))
}

fn version(request: &Value) -> Result<Version, Box<dyn Error>> {
    Ok(Version::from_namespace(text(request, "version")?).ok_or("unknown version")?)
}

fn device(request: &Value) -> Result<DeviceId, Box<dyn Error>> {
    Ok(request["device"].to_string().parse()?)
}

fn answer(peer: &mut Peer, request: &Value) -> Answer {
    match text(request, "do")? {
        "bundle" => {
            let bundle = peer.account.bundle(version(request)?);
            Ok(json!({ "xml": bundle.to_element()?.to_xml() }))
        }
        "start" => {
            let bundle = Bundle::from_element(&Element::parse(text(request, "xml")?)?)?;
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            let session = Session::initiate(&peer.account, &bundle, &mut rng)?;
            let key = (bundle.version, text(request, "jid")?.to_owned(), device(request)?);
            peer.sessions.insert(key, session);
            Ok(json!({ "fingerprint": bundle.identity_key.fingerprint() }))
        }
        "send" => send(peer, request),
        "receive" => receive(peer, request),
        "reload" => {
            peer.account = Account::from_bytes(&peer.account.to_bytes())?;
            for session in peer.sessions.values_mut() {
                *session = Session::from_bytes(&session.to_bytes())?;
            }
            Ok(json!({}))
        }
        other => Err(format!("unknown request {other}").into()),
    }
}

fn send(peer: &mut Peer, request: &Value) -> Answer {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let (version, jid, device) = (version(request)?, text(request, "jid")?, device(request)?);
    let session = peer
        .sessions
        .get_mut(&(version, jid.to_owned(), device))
        .ok_or("no session")?;
    let own = peer.account.device_id();
    let mut message = match (request["text"].as_str(), version) {
        (None, _) => MessageBuilder::empty(version, own, &mut rng),
        (Some(text), Version::Axolotl) => MessageBuilder::new(version, own, text.as_bytes(), &mut rng)?,
        (Some(text), Version::Omemo2) => {
            let content = Envelope::text(&peer.jid, text).to_bytes(&mut rng);
            MessageBuilder::new(version, own, &content, &mut rng)?
        }
    };
    message.add(jid, device, session)?;
    Ok(json!({ "xml": message.finish().to_element().to_xml() }))
}

fn receive(peer: &mut Peer, request: &Value) -> Answer {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let jid = text(request, "jid")?;
    let message = Encrypted::from_element(&Element::parse(text(request, "xml")?)?)?;
    let key = (message.version, jid.to_owned(), message.sender);
    let mut slot = peer.sessions.remove(&key);
    let decrypted = peer.account.decrypt(&message, &peer.jid, &mut slot, &mut rng);
    if let Some(session) = slot {
        peer.sessions.insert(key, session);
    }
    let decrypted = decrypted?;
    let text = match (&decrypted.content, message.version) {
        (None, _) => None,
        (Some(content), Version::Axolotl) => Some(String::from_utf8(content.to_vec())?),
        (Some(content), Version::Omemo2) => {
            let envelope = Envelope::from_bytes(content)?;
            envelope.check(jid, None)?;
            envelope.body()
        }
    };
    Ok(json!({
        "text": text,
        "new_session": decrypted.new_session,
        "answer_due": decrypted.answer_due,
    }))
}
