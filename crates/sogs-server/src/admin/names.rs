//! People by what is shown of them: display names, short ids, and the numbers of their messages.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use session_protocol::blind::Blinder;
use session_protocol::person::{self, PersonRef, ShortId};
use session_protocol::{ServerKey, SessionId};

use super::operation::AdminError;
use crate::account;
use crate::guard::inspect;
use crate::store::operation::PeopleQuery;
use crate::store::{DynStore, Id, UserFull};

/// People read at a time while searching for a name.
const PAGE: i64 = 1_000;
/// Maximum number of people searched, the most recently active first.
const MAX_SEARCHED: i64 = 100_000;
/// People whose earlier posts are read at a time.
const NAMELESS: usize = 64;
/// Candidates named when a text fits several people.
const MAX_NAMED: usize = 10;
/// Most people that one command takes.
const MAX_PEOPLE: usize = 10_000;

/// The display name in a post, on one line; empty when there is none.
pub(super) fn name_in(data: &[u8]) -> String {
    let name = inspect(data).name;
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    name.trim().to_owned()
}

/// Display names of people by database id, from the latest post of each that has a name.
pub(super) async fn by_number(store: &DynStore, users: Vec<Id>) -> Result<HashMap<Id, String>, AdminError> {
    let posts = store.latest_posts(users).await?;
    let mut names = HashMap::new();
    let mut nameless = Vec::new();
    for (id, data) in posts {
        let name = name_in(&data);
        if name.is_empty() {
            nameless.push(id);
        } else {
            names.insert(id, name);
        }
    }
    // A person of that name stays one although the latest post, such as one from a script, has none.
    for part in nameless.chunks(NAMELESS) {
        for (id, data) in store.earlier_posts(part.to_vec()).await? {
            if let Entry::Vacant(unknown) = names.entry(id) {
                let name = name_in(&data);
                if !name.is_empty() {
                    unknown.insert(name);
                }
            }
        }
    }
    Ok(names)
}

/// Display names of people by the ids under which they are or were shown.
pub(super) async fn by_id(
    store: &DynStore,
    server: &ServerKey,
    mut wanted: Vec<String>,
) -> Result<HashMap<String, String>, AdminError> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut known = store.ids_of(wanted.clone()).await?;
    let shown: HashSet<&str> = known.iter().map(|(_, session_id)| session_id.as_str()).collect();
    wanted.retain(|id| !shown.contains(id.as_str()));
    known.extend(by_former_id(store, server, wanted).await?);
    let names = by_number(store, known.iter().map(|(id, _)| *id).collect()).await?;
    Ok(known
        .into_iter()
        .filter_map(|(id, session_id)| Some((session_id, names.get(&id)?.clone())))
        .collect())
}

/// Returns the people who were shown under these ids before.
async fn by_former_id(
    store: &DynStore,
    server: &ServerKey,
    wanted: Vec<String>,
) -> Result<Vec<(Id, String)>, AdminError> {
    let blinder = Blinder::new(server);
    let keys: Vec<(String, String)> = wanted
        .into_iter()
        .filter_map(|text| Some((account::key(&blinder, &text.parse::<SessionId>().ok()?), text)))
        .collect();
    let known = store
        .known_keys(keys.iter().map(|(key, _)| key.clone()).collect())
        .await?;
    let people: HashMap<String, Id> = known.into_iter().map(|row| (row.key, row.user_id)).collect();
    Ok(keys
        .into_iter()
        .filter_map(|(key, text)| Some((*people.get(&key)?, text)))
        .collect())
}

/// Finds the one person meant by a text that is not a whole id.
pub(super) async fn find(store: &DynStore, text: &str, person: PersonRef) -> Result<UserFull, AdminError> {
    let found = match person {
        PersonRef::Id(id) => store.ids_of(vec![id.to_string()]).await?,
        PersonRef::Short(ShortId { head, tail }) => store.users_like(head, tail, 1_000).await?,
        PersonRef::Message(id) => {
            let author = match Id::try_from(id) {
                Ok(id) => store.author_of(id).await?,
                Err(_) => None,
            };
            let Some(author) = author else {
                return Err(AdminError::not_found(
                    format!("message {id} does not exist"),
                    "`ackpost server message list` shows the numbers; `name:TEXT` means somebody of that name",
                ));
            };
            vec![(author, String::new())]
        }
        PersonRef::Name(name) => named(store, &name).await?,
    };
    let [(id, _)] = found[..] else {
        return Err(several(store, text, found).await);
    };
    store
        .user_by_id(id)
        .await?
        .ok_or_else(|| AdminError::not_found(format!("`{text}` no longer exists"), "list the people again"))
}

/// Returns everybody whose latest post with a name shows this one, without regard to case.
async fn named(store: &DynStore, name: &str) -> Result<Vec<(Id, String)>, AdminError> {
    let wanted = name.trim().to_lowercase();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let found = search(
        store,
        PeopleQuery::all(),
        |known| known.to_lowercase() == wanted,
        MAX_NAMED + 1,
    )
    .await?;
    Ok(found
        .into_iter()
        .map(|(row, _)| (row.id, row.session_id))
        .collect())
}

/// People whose name fits, the most recently active first, with their names.
pub(super) async fn search(
    store: &DynStore,
    mut query: PeopleQuery,
    fits: impl Fn(&str) -> bool,
    limit: usize,
) -> Result<Vec<(crate::store::operation::PersonRow, String)>, AdminError> {
    let mut found = Vec::new();
    query.limit = PAGE;
    while query.skip < MAX_SEARCHED && found.len() < limit {
        let page = store.people(query.clone()).await?;
        let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        query.skip += PAGE;
        let mut names = by_number(store, page.iter().map(|row| row.id).collect()).await?;
        for row in page {
            if let Some(name) = names.remove(&row.id).filter(|name| fits(name)) {
                found.push((row, name));
            }
        }
        if last {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Returns the error for a text that fits nobody, or several people, whom it names.
async fn several(store: &DynStore, text: &str, found: Vec<(Id, String)>) -> AdminError {
    if found.is_empty() {
        return AdminError::not_found(
            format!("nobody is known as `{text}`"),
            "give a session id (05…, 15…, 25…), a short id (15e5…b6fe), a display name or the number of a message; \
             `ackpost server user list` shows people",
        );
    }
    let names = by_number(store, found.iter().map(|(id, _)| *id).take(MAX_NAMED).collect())
        .await
        .unwrap_or_default();
    let list: Vec<String> = found
        .iter()
        .take(MAX_NAMED)
        .map(|(id, session_id)| match names.get(id) {
            Some(name) => format!("{session_id} ({name})"),
            None => session_id.clone(),
        })
        .collect();
    let more = if found.len() > MAX_NAMED { ", …" } else { "" };
    AdminError::usage(
        format!("`{text}` fits several people: {}{more}", list.join(", ")),
        "give the whole id of one of them",
    )
}

/// The texts for people in an operation: one, or several on their own lines, with comments.
pub(super) fn texts(user: &str) -> Result<Vec<&str>, AdminError> {
    let all: Vec<&str> = person::lines(user).collect();
    if all.is_empty() {
        return Err(AdminError::usage(
            "no person is given",
            "give an id, a short id, a display name or the number of a message",
        ));
    }
    if all.len() > MAX_PEOPLE {
        return Err(AdminError::usage(
            format!("{} people are given", all.len()),
            format!("one command takes at most {MAX_PEOPLE}"),
        ));
    }
    Ok(all)
}
