//! Last steps of an import, after the tables: filters and rules of the other configuration, and missing pictures.

use super::bulk::{Conn, Value};
use super::foreign_tables::{self as theirs, RATE_LIMITS};
use super::ini::ForeignFilter;
use super::options::Origin;
use super::source::{Source, UploadImport};
use super::tables::{FILTERS, SETTINGS};
use super::{ImportError, file_error};
use crate::model::filter::{CompiledFilter, Filter, FilterAction, FilterKind};

/// Writes them into the target; returns remarks.
pub(super) async fn apply(conn: &mut Conn, source: &mut Source) -> Result<Vec<String>, ImportError> {
    let mut notes = Vec::new();
    let gone = conn
        .run("UPDATE rooms SET image_id = NULL WHERE image_id IS NOT NULL AND image_id NOT IN (SELECT id FROM files)")
        .await?;
    if gone > 0 {
        notes.push(lost_pictures(gone));
    }
    let mut settings = Vec::new();
    let mut set = |room: i64, name: &str, value: String| {
        settings.push(vec![
            Value::Int(room),
            Value::Text(name.to_owned()),
            Value::Text(value),
        ]);
    };
    if source.config.filter_moderators == Some(true) {
        set(0, "filter_moderators", "yes".to_owned());
    }
    if source.config.show_recent == Some(false) {
        set(0, "web", "info".to_owned());
    }
    if source.origin == Origin::Bunsogs
        && !source
            .conn
            .columns("rooms")
            .await?
            .iter()
            .all(|name| name != "rate_limit_size")
    {
        for row in source.conn.read_all(&RATE_LIMITS, "").await? {
            let Some(room) = row[0].int() else { continue };
            if let Some(posts) = row[1].int().filter(|posts| (1..=1_000_000).contains(posts)) {
                set(room, "rate_posts", posts.to_string());
            }
            // The command line of the other program stores seconds; its own default is in milliseconds.
            if let Some(span) = row[2].real().filter(|span| *span > 0.0 && *span < 1e9) {
                set(
                    room,
                    "rate_seconds",
                    (if span >= 1000.0 { span / 1000.0 } else { span }).to_string(),
                );
            }
        }
    }
    conn.write(&SETTINGS, &settings).await?;
    let rooms = room_ids(conn).await?;
    let filters = filters(source, &rooms, &mut notes)?;
    conn.write(&FILTERS, &filters).await?;
    conn.follow_keys(&FILTERS).await?;
    if !filters.is_empty() {
        notes.push(format!(
            "{} filters of the configuration are in force; `ackpost server filter list` shows them",
            filters.len()
        ));
    }
    Ok(notes)
}

/// Finds the remarks of [`apply`] and writes nothing.
pub(super) async fn rehearse(source: &mut Source, files: &UploadImport) -> Result<Vec<String>, ImportError> {
    let mut notes = Vec::new();
    let gone = files.lost_pictures(&mut source.conn).await?;
    if gone > 0 {
        notes.push(lost_pictures(gone));
    }
    let rows = source.conn.read_all(&theirs::ROOMS, "ORDER BY id").await?;
    let rooms: Vec<(i64, String)> = rows
        .into_iter()
        .filter_map(|row| {
            let token = row[theirs::ROOMS.at("token")].text()?.to_ascii_lowercase();
            Some((row[0].int()?, token))
        })
        .collect();
    filters(source, &rooms, &mut notes)?;
    Ok(notes)
}

fn lost_pictures(gone: u64) -> String {
    format!(
        "{} without its file: the picture is left out",
        super::count(gone, "room picture")
    )
}

async fn room_ids(conn: &mut Conn) -> Result<Vec<(i64, String)>, ImportError> {
    let rows = conn.read_all(&super::tables::ROOMS, "ORDER BY id").await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row[0].int()?, row[2].text()?.to_owned())))
        .collect())
}

/// The rows of the filters. There a room with an own setting ignores the general one, here filters add up; so a
/// general filter becomes one for each room without an own setting when there is any room with one.
fn filters(
    source: &Source,
    rooms: &[(i64, String)],
    notes: &mut Vec<String>,
) -> Result<Vec<Vec<Value>>, ImportError> {
    let mut rows = Vec::new();
    for filter in &source.config.filters {
        let Some((kind, pattern)) = pattern(source, filter, notes)? else {
            continue;
        };
        let same_kind = |other: &&ForeignFilter| other.alphabets.is_some() == filter.alphabets.is_some();
        let own: Vec<String> = source
            .config
            .filters
            .iter()
            .filter(same_kind)
            .filter_map(|other| other.room.as_ref().map(|token| token.to_ascii_lowercase()))
            .collect();
        let targets: Vec<Option<i64>> = match &filter.room {
            Some(token) => {
                let found = rooms
                    .iter()
                    .find(|(_, known)| *known == token.to_ascii_lowercase());
                if found.is_none() {
                    notes.push(format!(
                        "the configuration has a filter for the room {token}, which does not exist"
                    ));
                }
                found.map(|(id, _)| Some(*id)).into_iter().collect()
            }
            None if own.is_empty() => vec![None],
            None => rooms
                .iter()
                .filter(|(_, token)| !own.contains(token))
                .map(|(id, _)| Some(*id))
                .collect(),
        };
        let action = if filter.silent {
            FilterAction::Hide
        } else {
            FilterAction::Reject
        };
        for room in targets {
            let checked = Filter {
                id: 0,
                room,
                kind,
                pattern: pattern.clone(),
                action,
                reply: filter.reply.clone(),
            };
            if let Err(error) = CompiledFilter::compile(&checked) {
                notes.push(format!("a filter is left out: {error}"));
                break;
            }
            rows.push(vec![
                Value::Int(i64::try_from(rows.len()).unwrap_or(0) + 1),
                room.map_or(Value::Null, Value::Int),
                Value::Text(kind.as_str().to_owned()),
                Value::Text(pattern.clone()),
                Value::Text(action.as_str().to_owned()),
                filter.reply.clone().map_or(Value::Null, Value::Text),
            ]);
        }
    }
    Ok(rows)
}

fn pattern(
    source: &Source,
    filter: &ForeignFilter,
    notes: &mut Vec<String>,
) -> Result<Option<(FilterKind, String)>, ImportError> {
    if let Some(alphabets) = &filter.alphabets {
        return Ok(Some((FilterKind::Alphabet, alphabets.clone())));
    }
    let Some(file) = &filter.words_file else {
        notes.push("the word list of the library better_profanity is not part of the community; add a list with `ackpost server filter add words`".to_owned());
        return Ok(None);
    };
    let path = source.folder.join(file);
    if !path.is_file() {
        notes.push(format!("the word list {} is missing", path.display()));
        return Ok(None);
    }
    Ok(Some((
        FilterKind::Words,
        std::fs::read_to_string(&path).map_err(file_error(&path))?,
    )))
}
