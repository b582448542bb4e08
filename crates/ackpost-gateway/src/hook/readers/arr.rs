//! Sonarr, Radarr, Lidarr and their relatives.

use ackpost_notify::Kind;
use serde_json::Value;

use super::value::{at, first, joined, list, sentence, size, text};
use crate::hook::{IncomingMessage, generic};
use crate::reply::Reply;

/// Maximum number of episodes or tracks that are named.
const MAX_NAMED: usize = 10;

/// Reads a webhook of the *arr programs.
pub(super) fn read(value: &Value) -> Result<IncomingMessage, Reply> {
    let event = text(value, "eventType");
    if event.is_empty() {
        return Err(Reply::bad_request(
            "this is not a webhook of Sonarr, Radarr or Lidarr: `eventType` is missing",
        )
        .remedy("add a connection of the type Webhook in the program"));
    }
    let program = program(value);
    let what = subject(value);
    let (done, kind) = match event {
        "Test" => ("test message", Kind::Info),
        "Grab" => ("grabbed", Kind::Info),
        "Download" | "AlbumDownload" | "TrackRetag" | "ImportComplete" if is_upgrade(value) => {
            ("upgraded", Kind::Success)
        }
        "Download" | "AlbumDownload" | "ImportComplete" => ("imported", Kind::Success),
        "TrackRetag" | "Retag" => ("tags written", Kind::Info),
        "Rename" => ("files renamed", Kind::Info),
        "SeriesAdd" | "MovieAdded" | "ArtistAdd" | "AuthorAdded" => ("added", Kind::Info),
        "SeriesDelete" | "MovieDelete" | "ArtistDelete" | "AuthorDelete" | "AlbumDelete" | "BookDelete" => {
            ("deleted", Kind::Warning)
        }
        "EpisodeFileDelete" | "MovieFileDelete" | "BookFileDelete" => ("file deleted", Kind::Info),
        "Health" => ("health problem", level(value)),
        "HealthRestored" => ("health restored", Kind::Success),
        "ApplicationUpdate" => ("updated", Kind::Info),
        "ManualInteractionRequired" => ("manual interaction required", Kind::Warning),
        "DownloadFailure" | "ImportFailure" | "AlbumDownloadFailed" => ("download failed", Kind::Failure),
        _ => ("", Kind::Info),
    };
    let about_program = matches!(event, "Test" | "Health" | "HealthRestored" | "ApplicationUpdate");
    let subject = if about_program || what.is_empty() {
        &program
    } else {
        &what
    };
    let done = if done.is_empty() {
        sentence(event).to_lowercase()
    } else {
        done.to_owned()
    };
    let mut incoming = IncomingMessage::new(format!("{subject}: {done}"), "", kind);
    if about_program {
        incoming.line(text(value, "message"));
        incoming.line(&joined(
            [text(value, "previousVersion"), text(value, "newVersion")],
            " → ",
        ));
        incoming.line(text(value, "wikiUrl"));
    } else {
        incoming.line(&details(value));
        incoming.line(&release(value));
        incoming.line(&sentence(text(value, "deleteReason")));
        if value.get("deletedFiles").and_then(Value::as_bool) == Some(true) {
            incoming.line("Its files were deleted, too");
        }
        for message in list(value, "downloadStatusMessages") {
            incoming.line(&joined(
                list(message, "messages").iter().filter_map(Value::as_str),
                "; ",
            ));
        }
        incoming.line(text(value, "message"));
    }
    if incoming.body.is_empty() {
        incoming.body = match event {
            "Test" => "The connection works".to_owned(),
            // An event of a later version: everything it says.
            _ if done == sentence(event).to_lowercase() => {
                generic(value).map(|incoming| incoming.body).unwrap_or_default()
            }
            _ => joined([program.as_str(), text(value, "downloadClient")], ", "),
        };
    }
    Ok(incoming)
}

fn program(value: &Value) -> String {
    let by_shape = [
        ("series", "Sonarr"),
        ("movie", "Radarr"),
        ("artist", "Lidarr"),
        ("author", "Readarr"),
    ];
    let found = by_shape.into_iter().find(|(name, _)| value.get(name).is_some());
    first([
        text(value, "instanceName"),
        found.map_or("Sonarr", |(_, name)| name),
    ])
    .to_owned()
}

/// `NCIS S18E10`, `Dune (2021)`, `Artist – Album`.
fn subject(value: &Value) -> String {
    if let Some(movie) = value.get("movie").or_else(|| value.get("remoteMovie")) {
        let year = movie.get("year").and_then(Value::as_u64).filter(|year| *year > 0);
        let year = year.map(|year| format!("({year})")).unwrap_or_default();
        return joined([text(movie, "title"), &year], " ");
    }
    let album = first([at(value, "/album/title"), at(value, "/albums/0/title")]);
    if let Some(artist) = value.get("artist") {
        return joined(
            [first([text(artist, "name"), text(artist, "artistName")]), album],
            " – ",
        );
    }
    if let Some(author) = value.get("author") {
        let book = first([at(value, "/book/title"), at(value, "/books/0/title")]);
        return joined(
            [first([text(author, "name"), text(author, "authorName")]), book],
            " – ",
        );
    }
    let number = |episode: &Value, name: &str| episode.get(name).and_then(Value::as_u64).unwrap_or_default();
    let episodes: Vec<String> = list(value, "episodes")
        .iter()
        .take(MAX_NAMED)
        .map(|episode| {
            format!(
                "S{:02}E{:02}",
                number(episode, "seasonNumber"),
                number(episode, "episodeNumber")
            )
        })
        .collect();
    let more = list(value, "episodes").len().saturating_sub(MAX_NAMED);
    let more = if more > 0 {
        format!("and {more} more")
    } else {
        String::new()
    };
    joined(
        [
            at(value, "/series/title"),
            &joined(episodes.iter().map(String::as_str), ", "),
            &more,
        ],
        " ",
    )
}

fn is_upgrade(value: &Value) -> bool {
    value
        .get("isUpgrade")
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

fn level(value: &Value) -> Kind {
    match text(value, "level").to_ascii_lowercase().as_str() {
        "error" => Kind::Failure,
        "ok" | "notice" => Kind::Info,
        _ => Kind::Warning,
    }
}

/// The titles, the quality and the size.
fn details(value: &Value) -> String {
    let titles: Vec<String> = list(value, "episodes")
        .iter()
        .map(|episode| text(episode, "title"))
        .filter(|title| !title.is_empty())
        .take(MAX_NAMED)
        .map(|title| format!("“{title}”"))
        .collect();
    let titles = joined(titles.iter().map(String::as_str), ", ");
    let file = ["episodeFile", "movieFile", "bookFile"]
        .iter()
        .find_map(|name| value.get(*name));
    let files = ["episodeFiles", "movieFiles", "trackFiles", "bookFiles"]
        .iter()
        .find_map(|name| value.get(*name)?.as_array());
    let all: Vec<&Value> = file.into_iter().chain(files.into_iter().flatten()).collect();
    let bytes = all
        .iter()
        .filter_map(|file| file.get("size").and_then(Value::as_u64))
        .fold(0, u64::saturating_add);
    let new = all.first().map(|file| quality(file)).unwrap_or_default();
    let count = match files.map(Vec::len) {
        Some(count) if count > 1 => format!("{count} files"),
        _ => String::new(),
    };
    let old = list(value, "deletedFiles")
        .first()
        .map(quality)
        .unwrap_or_default();
    let new = if old.is_empty() || new.is_empty() {
        new
    } else {
        format!("{new} (was {old})")
    };
    let start = match (is_upgrade(value) && !new.is_empty(), titles.is_empty()) {
        (true, true) => format!("now {new}"),
        (true, false) => format!("{titles} is now {new}"),
        (false, _) => joined([titles.as_str(), &new], ", "),
    };
    joined([start.as_str(), &count, &size(bytes)], ", ")
}

/// The quality of a file: a text, or an object of Radarr's API.
fn quality(file: &Value) -> String {
    first([text(file, "quality"), at(file, "/quality/quality/name")]).to_owned()
}

/// The release that was grabbed.
fn release(value: &Value) -> String {
    let Some(release) = value
        .get("release")
        .filter(|_| text(value, "eventType") != "Download")
    else {
        return String::new();
    };
    let bytes = release.get("size").and_then(Value::as_u64).unwrap_or_default();
    let indexer = text(release, "indexer");
    let from = if indexer.is_empty() {
        String::new()
    } else {
        format!("from {indexer}")
    };
    let line = joined([text(release, "quality"), &size(bytes), &from], ", ");
    joined([line.as_str(), text(release, "releaseTitle")], "\n")
}
