//! Accounts: all ids that follow from one key are one person.
//!
//! A Session account has an id `05`, and on a server a blinded id of version 1 (`15`, whose sign only its owner knows) and
//! one of version 2 (`25`). The factor of version 1 is the server's alone, so `05` and both signs of `15` lead to each
//! other. The factor of version 2 holds the `05` id: from that the `25` id follows, but nothing follows from a `25` id
//! alone. So a person is looked up by the `15` id without its sign, and the `25` id is noted as soon as one of the others
//! is known. Whoever was seen under `25` alone has a row of that; it is joined with the other when that appears.
//!
//! One secret can answer for more ids than these: a `15` key under the prefix `25`, an account key under `15`, and so on. No
//! app makes them. They are refused when the account is known, and name that account in commands.

use session_protocol::blind::Blinder;
use session_protocol::keys::{ed25519_from_x25519, x25519_from_ed25519};
use session_protocol::{Prefix, ServerKey, SessionId};

use crate::store::{DynStore, Id, Person, StoreResult, UserFull};

fn key_of(prefix: Prefix, key: &[u8; 32]) -> String {
    let mut key = *key;
    key[31] &= 0x7f;
    SessionId::new(prefix, key).to_string()
}

/// Makes a person of an id. An id that is no key (a database may hold anything) is somebody of that name.
pub fn person(blinder: &Blinder, id: &SessionId, blind: bool) -> Person {
    let named = || Person {
        blind,
        ..Person::named(id.to_string())
    };
    match id.prefix() {
        Prefix::Account => of_account(blinder, id, id, blind).unwrap_or_else(named),
        Prefix::Blind15 => blinder
            .account15(id)
            .ok()
            .and_then(|account| of_account(blinder, id, &account, blind))
            .unwrap_or_else(named),
        Prefix::Blind25 => {
            let key = key_of(Prefix::Blind25, id.key());
            let mut forged = vec![key_of(Prefix::Blind15, id.key())];
            forged.extend(as_account_key(blinder, id.key()));
            // The key may be that of a 15 id of somebody who is known by the 25 id of the same account.
            let as_blind15 = SessionId::new(Prefix::Blind15, *id.key());
            let other = blinder
                .account15(&as_blind15)
                .and_then(|account| blinder.id25(&account));
            forged.extend(other.ok().map(|id| key_of(Prefix::Blind25, id.key())));
            Person {
                session_id: id.to_string(),
                keys: vec![key.clone()],
                key,
                forged,
                visits: true,
                blind,
            }
        }
        _ => named(),
    }
}

/// Makes a person of a text from a database.
pub fn person_of_text(blinder: &Blinder, text: &str, blind: bool) -> Person {
    match text.parse::<SessionId>() {
        Ok(id) if id.to_string() == text => person(blinder, &id, blind),
        _ => Person::named(text),
    }
}

/// The key under which an id is looked up; see [`Person::key`].
pub fn key(blinder: &Blinder, id: &SessionId) -> String {
    match id.prefix() {
        Prefix::Account => match blinder.candidates15(id) {
            Ok([positive, _]) => positive.to_string(),
            Err(_) => id.to_string(),
        },
        prefix @ (Prefix::Blind15 | Prefix::Blind25) => key_of(prefix, id.key()),
        _ => id.to_string(),
    }
}

/// The person of an account id, shown under `id`.
fn of_account(blinder: &Blinder, id: &SessionId, account: &SessionId, blind: bool) -> Option<Person> {
    let [blind15, _] = blinder.candidates15(account).ok()?;
    let blind25 = blinder.id25(account).ok()?;
    let own = ed25519_from_x25519(account.key()).ok()?;
    let mut forged = vec![
        key_of(Prefix::Blind25, blind15.key()),
        key_of(Prefix::Blind15, blind25.key()),
        key_of(Prefix::Blind15, &own),
        key_of(Prefix::Blind25, &own),
    ];
    forged.extend(as_account_key(blinder, blind15.key()));
    forged.extend(as_account_key(blinder, blind25.key()));
    let key = blind15.to_string();
    Some(Person {
        session_id: id.to_string(),
        keys: vec![key.clone(), key_of(Prefix::Blind25, blind25.key())],
        key,
        forged,
        visits: true,
        blind,
    })
}

/// The key of the account that this Ed25519 key would be.
fn as_account_key(blinder: &Blinder, ed25519: &[u8; 32]) -> Option<String> {
    let account = SessionId::new(Prefix::Account, x25519_from_ed25519(ed25519).ok()?);
    let [blind15, _] = blinder.candidates15(&account).ok()?;
    Some(blind15.to_string())
}

/// Whose an id is.
#[derive(Debug, Clone)]
pub enum Found {
    /// This person's.
    Known(UserFull),
    /// This person's, but no app makes such an id.
    Forged(Id),
    /// Nobody's yet; with all ids that follow from it.
    Nobody(Box<Person>),
}

/// Looks for the person of an id: one lookup when the person is known.
pub async fn find(store: &DynStore, blinder: &Blinder, id: &SessionId, blind: bool) -> StoreResult<Found> {
    if let Some(full) = store.user(key(blinder, id)).await? {
        return Ok(Found::Known(full));
    }
    let person = person(blinder, id, blind);
    let keys = person.keys.iter().chain(&person.forged).cloned().collect();
    let known = store.known_keys(keys).await?;
    let forged = known
        .iter()
        .find(|known| known.has_account && person.forged.contains(&known.key));
    if let Some(forged) = forged {
        return Ok(Found::Forged(forged.user_id));
    }
    if known.is_empty() {
        return Ok(Found::Nobody(Box::new(person)));
    }
    // Somebody who was known by another id alone: from now on all of them are noted.
    let person = Person {
        visits: false,
        ..person
    };
    let (full, _) = store.ensure_user(person, crate::app::unix_now()).await?;
    Ok(Found::Known(full))
}

/// Rows of one round of [`settle`].
const ROUND: i64 = 256;

/// Gives every row of a database that knew no accounts the keys of its person, and joins the rows of one person. Does
/// nothing when that was done. For a database of `server`, before anything is looked up in it.
pub async fn settle(store: &DynStore, server: &ServerKey) -> StoreResult<()> {
    if store.is_settled().await? {
        return Ok(());
    }
    let blinder = Blinder::new(server);
    // An imported row may have the number 0.
    let mut after = Id::MIN;
    loop {
        let rows = store.users_after(after, ROUND).await?;
        let Some((last, _)) = rows.last() else { break };
        after = *last;
        let people = rows
            .into_iter()
            .map(|(id, text)| (id, person_of_text(&blinder, &text, true)))
            .collect();
        store.settle_users(people).await?;
    }
    store.note_settled().await
}
