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
use session_protocol::{Prefix, ServerKey, SessionId};

use crate::{DynStore, Id, Person, StoreResult, UserFull};

fn key_of(prefix: Prefix, key: &[u8; 32]) -> String {
    let mut key = *key;
    key[31] &= 0x7f;
    SessionId::new(prefix, key).to_string()
}

/// Makes a person of an id. An id whose key is not a key (a database may hold anything) is a person of that name alone.
pub fn person(blinder: &Blinder, id: &SessionId, blind: bool) -> Person {
    match id.prefix() {
        Prefix::Account | Prefix::Blind15 => of_account(blinder, id, blind),
        Prefix::Blind25 => Some(of_blind25(blinder, id, blind)),
        _ => None,
    }
    .unwrap_or_else(|| Person {
        blind,
        ..Person::named(id.to_string())
    })
}

/// The person of a `25` id. Its key may be that of a `15` id of a person who is known by the `25` id of the same account.
fn of_blind25(blinder: &Blinder, id: &SessionId, blind: bool) -> Person {
    let key = key_of(Prefix::Blind25, id.key());
    let mut forged = vec![key_of(Prefix::Blind15, id.key())];
    if let Ok([as_account, of_account]) = blinder.beyond(id.key()) {
        forged.extend([as_account.to_string(), key_of(Prefix::Blind25, of_account.key())]);
    }
    Person {
        session_id: id.to_string(),
        keys: vec![key.clone()],
        key,
        forged,
        visits: true,
        blind,
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

/// The person of a `05` or `15` id.
fn of_account(blinder: &Blinder, id: &SessionId, blind: bool) -> Option<Person> {
    let ids = blinder.ids(id).ok()?;
    let key = ids.blind15.to_string();
    Some(Person {
        session_id: id.to_string(),
        keys: vec![key.clone(), key_of(Prefix::Blind25, ids.blind25.key())],
        key,
        forged: vec![
            key_of(Prefix::Blind25, ids.blind15.key()),
            key_of(Prefix::Blind15, ids.blind25.key()),
            key_of(Prefix::Blind15, &ids.ed25519),
            key_of(Prefix::Blind25, &ids.ed25519),
            ids.beyond15.to_string(),
            ids.beyond25.to_string(),
        ],
        visits: true,
        blind,
    })
}

/// Returns every id under which apps may have shown the person of this id: the account id, both signs of `15`, and `25`.
///
/// Only the id itself follows from a `25` id.
pub fn all_ids(blinder: &Blinder, id: &SessionId) -> Vec<SessionId> {
    let both_signs = |prefix: Prefix, key: &[u8; 32]| {
        let (mut clear, mut set) = (*key, *key);
        clear[31] &= 0x7f;
        set[31] |= 0x80;
        [SessionId::new(prefix, clear), SessionId::new(prefix, set)]
    };
    match (id.prefix(), blinder.ids(id)) {
        (Prefix::Account | Prefix::Blind15, Ok(ids)) => {
            let mut all = vec![ids.account, ids.blind25];
            all.extend(both_signs(Prefix::Blind15, ids.blind15.key()));
            all
        }
        // Its key may have been noted without the sign.
        (Prefix::Blind25, _) => both_signs(Prefix::Blind25, id.key()).to_vec(),
        _ => vec![*id],
    }
}

/// Result of the lookup of an id.
#[derive(Debug, Clone)]
pub enum Found {
    /// The id belongs to this person.
    Known(UserFull),
    /// The id belongs to this person, but no app makes such an id.
    Forged(Id),
    /// The id belongs to nobody yet; the value has all ids that follow from it.
    Nobody(Box<Person>),
}

/// Looks for the person of an id at a time (Unix seconds): one lookup when the person is known.
pub async fn find(
    store: &DynStore,
    blinder: &Blinder,
    id: &SessionId,
    blind: bool,
    now: f64,
) -> StoreResult<Found> {
    if let Some(full) = store.user(key(blinder, id)).await? {
        return Ok(Found::Known(full));
    }
    let person = person(blinder, id, blind);
    let known = store.known_keys(person.all_keys()).await?;
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
    let (full, _) = store.ensure_user(person, now).await?;
    Ok(Found::Known(full))
}

/// Time between two lines of the log about the progress of [`settle`].
const TOLD: std::time::Duration = std::time::Duration::from_secs(5);
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
    let (mut done, mut told) = (0_usize, std::time::Instant::now());
    loop {
        let rows = store.users_after(after, ROUND).await?;
        let Some((last, _)) = rows.last() else { break };
        after = *last;
        done += rows.len();
        if told.elapsed() >= TOLD {
            told = std::time::Instant::now();
            tracing::info!(done, "finding the people with several ids, once after an update");
        }
        let people = rows
            .into_iter()
            .map(|(id, text)| (id, person_of_text(&blinder, &text, true)))
            .collect();
        store.settle_users(people).await?;
    }
    store.note_settled().await
}
