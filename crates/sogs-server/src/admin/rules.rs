//! Filters, rules and raid mode.

use super::context::{Done, OperationContext};
use super::operation::{AdminError, Answer};
use super::undo_entry::{Undo, filter_words};
use super::words::time;
use crate::model::filter::{CompiledFilter, Filter, FilterAction, FilterKind, Inspected};
use crate::model::raid::Raid;
use crate::model::rules::{Rules, check_scope};
use crate::plugin::PluginEvent;
use crate::store::operation::LogEntry;
use crate::store::{Id, RoomRow};

fn token_of(rooms: &[RoomRow], room: Option<Id>) -> Option<String> {
    room.map(|id| {
        rooms
            .iter()
            .find(|room| room.id == id)
            .map_or_else(|| format!("#{id}"), |room| room.token.clone())
    })
}

pub(super) async fn filters(act: &OperationContext<'_>) -> Done {
    let rooms = act.admin.store.rooms().await?;
    let filters = act.admin.store.filters().await?;
    let mut lines = Vec::with_capacity(filters.len());
    let mut data = Vec::with_capacity(filters.len());
    for filter in &filters {
        let token = token_of(&rooms, filter.room);
        lines.push(format!(
            "{:>4}  {:<20} {}",
            filter.id,
            token.as_deref().unwrap_or("every room"),
            filter_words(filter.kind, filter.action, &filter.pattern)
        ));
        data.push(serde_json::json!({
            "id": filter.id, "room": token, "kind": filter.kind, "pattern": filter.pattern, "action": filter.action, "reply": filter.reply,
        }));
    }
    Ok(Answer::show(serde_json::json!({ "filters": data }), lines))
}

pub(super) async fn filter_add(
    act: &OperationContext<'_>,
    room: Option<&str>,
    kind: FilterKind,
    pattern: String,
    action: FilterAction,
    reply: Option<String>,
) -> Done {
    let room = act.maybe_room(room).await?;
    let filter = Filter {
        id: 0,
        room: room.as_ref().map(|room| room.id),
        kind,
        pattern,
        action,
        reply,
    };
    CompiledFilter::compile(&filter).map_err(|error| {
        AdminError::usage(
            error.to_string(),
            "nothing was added; see `ackpost server filter add --help`",
        )
    })?;
    let words = filter_words(kind, action, &filter.pattern);
    let token = room.as_ref().map(|room| room.token.as_str());
    let (mut undo, mut id) = (None, None);
    if !act.dry_run {
        let entry = act.entry("filter_add", token, "", words.clone(), None);
        let added = act.logged(act.admin.store.add_filter(filter), move |number: &Id| {
            let undo = serde_json::to_value(Undo::FilterAdd { id: *number }).ok();
            Some(LogEntry {
                undo,
                ..entry.clone().target(number.to_string())
            })
        });
        let (number, entry) = added.await?;
        act.rules_changed().await?;
        (undo, id) = (entry, Some(number));
    }
    let place = token.unwrap_or("every room");
    let data = serde_json::json!({ "id": id, "room": token, "kind": kind, "action": action });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(
            data,
            vec![format!(
                "filter {} in {place}: {words}",
                id.map_or_else(|| "-".to_owned(), |id| id.to_string())
            )],
        )
    })
}

pub(super) async fn filter_remove(act: &OperationContext<'_>, id: i64) -> Done {
    let filter = act
        .admin
        .store
        .filters()
        .await?
        .into_iter()
        .find(|filter| filter.id == id)
        .ok_or_else(|| {
            AdminError::not_found(
                format!("filter {id} does not exist"),
                "`ackpost server filter list` shows the numbers",
            )
        })?;
    let words = filter_words(filter.kind, filter.action, &filter.pattern);
    let mut undo = None;
    if !act.dry_run {
        let plan = Undo::FilterRemove { filter };
        let entry = act.entry("filter_remove", None, &id.to_string(), words.clone(), Some(&plan));
        let removed = act.admin.store.remove_filter(id);
        undo = act
            .logged(removed, move |is_gone| is_gone.then(|| entry.clone()))
            .await?
            .1;
        act.rules_changed().await?;
    }
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(
            serde_json::json!({ "id": id }),
            vec![format!("filter {id} is removed: {words}")],
        )
    })
}

pub(super) async fn filter_test(act: &OperationContext<'_>, room: Option<&str>, text: String) -> Done {
    let room = act.maybe_room(room).await?;
    let message = Inspected {
        body: text,
        ..Inspected::default()
    };
    let mut lines = Vec::new();
    let mut hits = Vec::new();
    for filter in act.admin.store.filters().await? {
        if filter.room.is_some() && filter.room != room.as_ref().map(|room| room.id) {
            continue;
        }
        if CompiledFilter::compile(&filter).is_ok_and(|compiled| compiled.matches(&message)) {
            lines.push(format!(
                "filter {}: {}",
                filter.id,
                filter_words(filter.kind, filter.action, &filter.pattern)
            ));
            hits.push(serde_json::json!({ "id": filter.id, "kind": filter.kind, "action": filter.action }));
        }
    }
    if lines.is_empty() {
        lines.push("no filter matches".to_owned());
    }
    Ok(Answer::show(serde_json::json!({ "hits": hits }), lines))
}

pub(super) async fn settings(act: &OperationContext<'_>, room: Option<&str>) -> Done {
    let only = act.maybe_room(room).await?;
    let rooms = act.admin.store.rooms().await?;
    let mut lines = Vec::new();
    let mut data = Vec::new();
    for (room_id, name, value) in act.admin.store.settings().await? {
        if only.as_ref().is_some_and(|only| only.id != room_id) {
            continue;
        }
        let token = token_of(&rooms, (room_id != 0).then_some(room_id));
        lines.push(format!(
            "{:<20} {name} = {value}",
            token.as_deref().unwrap_or("the whole server")
        ));
        data.push(serde_json::json!({ "room": token, "name": name, "value": value }));
    }
    Ok(Answer::show(serde_json::json!({ "settings": data }), lines))
}

/// Says how many messages a new age limit removes within minutes, and how to keep them.
async fn losses(
    act: &OperationContext<'_>,
    room: Option<&RoomRow>,
    name: &str,
    value: Option<&str>,
) -> Result<Option<String>, AdminError> {
    let days = value.and_then(|days| days.trim().parse::<f64>().ok());
    let Some(days) = days.filter(|days| name == "retention_days" && *days > 0.0) else {
        return Ok(None);
    };
    let store = &act.admin.store;
    let own: Vec<Id> = store
        .settings()
        .await?
        .into_iter()
        .filter(|(of, known, _)| *of != 0 && known == name)
        .map(|(of, ..)| of)
        .collect();
    let rooms = match room {
        Some(room) => vec![room.id],
        None => store
            .rooms()
            .await?
            .into_iter()
            .map(|room| room.id)
            .filter(|id| !own.contains(id))
            .collect(),
    };
    let mut older = 0;
    for room_id in rooms {
        older += store.count_older(room_id, act.now - days * 86_400.0).await?;
    }
    let older = u64::try_from(older).unwrap_or(0);
    Ok((older > 0).then(|| {
        format!(
            "{} will be permanently removed within minutes, with all files; pinned messages stay, and \
             `ackpost server settings clear retention_days` stops it",
            super::words::count(older, "message")
        )
    }))
}

pub(super) async fn setting_set(
    act: &OperationContext<'_>,
    room: Option<&str>,
    name: &str,
    value: Option<String>,
) -> Done {
    let room = act.maybe_room(room).await?;
    let usage = |error: crate::model::rules::RuleError| {
        AdminError::usage(
            error.to_string(),
            "`ackpost server settings names` explains all settings",
        )
    };
    let doc = check_scope(name, room.is_some()).map_err(usage)?;
    Rules::default().set(name, value.as_deref()).map_err(usage)?;
    let room_id = room.as_ref().map_or(0, |room| room.id);
    let before = act
        .admin
        .store
        .settings()
        .await?
        .into_iter()
        .find(|(of, known, _)| *of == room_id && known == name)
        .map(|(_, _, value)| value);
    let token = room.as_ref().map(|room| room.token.as_str());
    let detail = match &value {
        Some(value) => format!("{name} = {value}"),
        None => format!("{name} as by default ({})", doc.default),
    };
    let losses = losses(act, room.as_ref(), name, value.as_deref()).await?;
    let mut undo = None;
    if !act.dry_run {
        let plan = Undo::Setting {
            room_id,
            name: name.to_owned(),
            value: before,
        };
        let entry = act.entry("setting", token, name, detail.clone(), Some(&plan));
        let set = act
            .admin
            .store
            .set_setting(room_id, name.to_owned(), value.clone());
        undo = act.logged(set, move |()| Some(entry.clone())).await?.1;
        act.rules_changed().await?;
    }
    let data = serde_json::json!({ "room": token, "name": name, "value": value });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(
            data,
            std::iter::once(format!("{}: {detail}", token.unwrap_or("the whole server")))
                .chain(losses)
                .collect(),
        )
    })
}

pub(super) async fn raids(act: &OperationContext<'_>) -> Done {
    let rooms = act.admin.store.rooms().await?;
    let mut lines = Vec::new();
    let mut data = Vec::new();
    for row in act.admin.store.raids().await? {
        if !row.raid.is_on(act.now) {
            continue;
        }
        let token = token_of(&rooms, (row.room_id != 0).then_some(row.room_id));
        let until = row.raid.until.map_or_else(
            || "until `raid off`".to_owned(),
            |at| format!("until {}", time(at)),
        );
        lines.push(format!(
            "{}: new since {}, {until} ({})",
            token.as_deref().unwrap_or("the whole server"),
            time(row.raid.since),
            row.raid.reason
        ));
        data.push(serde_json::json!({ "room": token, "since": row.raid.since, "until": row.raid.until, "reason": row.raid.reason }));
    }
    if lines.is_empty() {
        lines.push("raid mode is off".to_owned());
    }
    Ok(Answer::show(serde_json::json!({ "raids": data }), lines))
}

pub(super) async fn raid_on(
    act: &OperationContext<'_>,
    room: Option<&str>,
    seconds: Option<f64>,
    reach_back: f64,
) -> Done {
    let valid = |span: f64| (0.0..=1e9).contains(&span);
    if seconds.is_some_and(|seconds| !valid(seconds) || seconds == 0.0) || !valid(reach_back) {
        return Err(AdminError::usage(
            "a time must be from one second to thirty years",
            "give another one",
        ));
    }
    let room = act.maybe_room(room).await?;
    let token = room.as_ref().map(|room| room.token.as_str());
    let room_id = room.as_ref().map_or(0, |room| room.id);
    let before = act
        .admin
        .store
        .raids()
        .await?
        .into_iter()
        .find(|row| row.room_id == room_id)
        .map(|row| row.raid);
    let raid = Raid {
        since: act.now - reach_back,
        until: seconds.map(|seconds| act.now + seconds),
        reason: format!("by {}", act.actor),
    };
    let place = token.unwrap_or("the whole server");
    let line = format!(
        "raid mode is on in {place}: identities first seen since {} may only read",
        time(raid.since)
    );
    let mut undo = None;
    if !act.dry_run {
        let plan = match before {
            Some(raid) => Undo::RaidOff { room_id, raid },
            None => Undo::RaidOn { room_id },
        };
        let entry = act.entry("raid_on", token, place, String::new(), Some(&plan));
        let set = act.admin.store.set_raid(room_id, Some(raid.clone()));
        undo = act.logged(set, move |()| Some(entry.clone())).await?.1;
        act.rules_changed().await?;
        tell(act, token, true);
    }
    let data = serde_json::json!({ "room": token, "since": raid.since, "until": raid.until });
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(data, vec![line])
    })
}

pub(super) async fn raid_off(act: &OperationContext<'_>, room: Option<&str>) -> Done {
    let room = act.maybe_room(room).await?;
    let token = room.as_ref().map(|room| room.token.as_str());
    let room_id = room.as_ref().map_or(0, |room| room.id);
    let place = token.unwrap_or("the whole server");
    let Some(row) = act
        .admin
        .store
        .raids()
        .await?
        .into_iter()
        .find(|row| row.room_id == room_id)
    else {
        return Err(AdminError::not_found(
            format!("raid mode is not on in {place}"),
            "`ackpost server raid status` lists the rooms",
        ));
    };
    let mut undo = None;
    if !act.dry_run {
        let plan = Undo::RaidOff {
            room_id,
            raid: row.raid,
        };
        let entry = act.entry("raid_off", token, place, String::new(), Some(&plan));
        let set = act.admin.store.set_raid(room_id, None);
        undo = act.logged(set, move |()| Some(entry.clone())).await?.1;
        act.rules_changed().await?;
        tell(act, token, false);
    }
    let line = format!("raid mode is off in {place}: everybody may write again");
    Ok(Answer {
        changed: 1,
        undo,
        ..Answer::show(serde_json::json!({ "room": token }), vec![line])
    })
}

fn tell(act: &OperationContext<'_>, room: Option<&str>, on: bool) {
    if let Some(guard) = &act.admin.guard {
        guard.tell(&PluginEvent::Raid {
            room: room.map(str::to_owned),
            on,
            reason: format!("by {}", act.actor),
        });
    }
}
