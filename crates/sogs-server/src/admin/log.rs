//! Listing of the audit log.
//!
//! An entry keeps the ids that were shown when it was written. A person may be shown under another id by now, so entries
//! are searched by all ids of the person.

use session_protocol::SessionId;
use session_protocol::blind::Blinder;
use session_protocol::person::PersonRef;

use super::context::{Done, OperationContext};
use super::names;
use super::operation::{AdminError, Answer};
use super::words::time;
use crate::account;
use crate::store::Id;
use crate::store::operation::LogQuery;

/// Lists the entries that match the query, of one actor and about one person or object.
pub(super) async fn list(
    act: &OperationContext<'_>,
    mut query: LogQuery,
    actor: Option<&str>,
    target: Option<&str>,
) -> Done {
    if let Some(actor) = actor {
        query.actors = Some(ids_of_actor(act, actor).await?);
    }
    if let Some(target) = target {
        query.about = Some(ids_of_target(act, target).await?);
    }
    let rows = act.admin.store.log(query).await?;
    let mut people = Vec::new();
    for row in &rows {
        people.push(row.actor.clone());
        people.extend(row.target.clone());
    }
    people.retain(|text| text.len() == 66);
    let known = names::by_id(&act.admin.store, &act.admin.key, people).await?;
    let named = |id: &str| match known.get(id) {
        Some(name) => format!("{id} ({name})"),
        None => id.to_owned(),
    };
    let mut lines = Vec::with_capacity(rows.len());
    let mut data = Vec::with_capacity(rows.len());
    for row in &rows {
        let note = match (row.undone_at, &row.undo) {
            (Some(at), _) => format!("  [undone {}]", time(at)),
            (None, Some(_)) => "  [can be undone]".to_owned(),
            (None, None) => String::new(),
        };
        lines.push(format!(
            "{:>6}  {}  {}  {}  {}  {}  {}{note}",
            row.id,
            time(row.at),
            named(&row.actor),
            row.action,
            row.room.as_deref().unwrap_or("-"),
            named(row.target.as_deref().unwrap_or("-")),
            row.detail
        ));
        let mut value = serde_json::to_value(row).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.insert("actor_name".to_owned(), known.get(&row.actor).cloned().into());
            let target = row.target.as_ref().and_then(|target| known.get(target));
            object.insert("target_name".to_owned(), target.cloned().into());
            let undoable = row.undo.is_some() && row.undone_at.is_none();
            object.insert("undoable".to_owned(), undoable.into());
        }
        data.push(value);
    }
    Ok(Answer::show(serde_json::json!({ "log": data }), lines))
}

/// Returns the texts by which the log may name an actor: `operator:NAME` and `server` as they are, a person by all ids.
pub(super) async fn ids_of_actor(act: &OperationContext<'_>, actor: &str) -> Result<Vec<String>, AdminError> {
    if actor == "server" || actor == "operator" || actor.starts_with("operator:") {
        return Ok(vec![actor.to_owned()]);
    }
    let person = act.known(actor).await?;
    ids_of_person(act, person.user.id).await
}

/// Returns the texts by which the log may name a target. A number is that of an object, never the author of a message.
async fn ids_of_target(act: &OperationContext<'_>, target: &str) -> Result<Vec<String>, AdminError> {
    let whole = match target.parse() {
        Ok(PersonRef::Id(id)) => Some(id),
        Ok(PersonRef::Short(_)) => None,
        Ok(PersonRef::Name(_)) if target.trim().starts_with("name:") => None,
        _ => return Ok(vec![target.to_owned()]),
    };
    let mut all = match act.person(target, false).await? {
        Some(person) => ids_of_person(act, person.user.id).await?,
        None => Vec::new(),
    };
    // A person who was never seen, or an id that no app makes: entries may name it all the same.
    if let Some(id) = whole {
        all.push(id.to_string());
    }
    Ok(all)
}

async fn ids_of_person(act: &OperationContext<'_>, user_id: Id) -> Result<Vec<String>, AdminError> {
    let blinder = Blinder::new(&act.admin.key);
    let mut all = act.admin.store.noted_ids(user_id).await?;
    let noted: Vec<SessionId> = all.iter().filter_map(|text| text.parse().ok()).collect();
    for id in &noted {
        all.extend(account::all_ids(&blinder, id).iter().map(ToString::to_string));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}
