//! People by what is shown of them: display names, short ids, and the numbers of their messages.

use std::collections::HashMap;

use super::exec::OperationContext;
use super::operation::AdminError;
use crate::guard::inspect;
use crate::store::operation::PeopleQuery;
use crate::store::{Id, UserFull};

/// People looked at in one go while searching for a name.
const PAGE: i64 = 1_000;
/// The most people looked at, the most recently active first.
const MAX_SEARCHED: i64 = 100_000;
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

/// Display names of people by database id, from the latest post of each.
pub(super) async fn by_number(
    act: &OperationContext<'_>,
    users: Vec<Id>,
) -> Result<HashMap<Id, String>, AdminError> {
    let posts = act.admin.store.latest_posts(users).await?;
    Ok(posts
        .into_iter()
        .map(|(id, data)| (id, name_in(&data)))
        .filter(|(_, name)| !name.is_empty())
        .collect())
}

/// Display names of people by shown id.
pub(super) async fn by_id(
    act: &OperationContext<'_>,
    mut wanted: Vec<String>,
) -> Result<HashMap<String, String>, AdminError> {
    wanted.sort_unstable();
    wanted.dedup();
    let known = act.admin.store.ids_of(wanted).await?;
    let mut names = by_number(act, known.iter().map(|(id, _)| *id).collect()).await?;
    Ok(known
        .into_iter()
        .filter_map(|(id, session_id)| Some((session_id, names.remove(&id)?)))
        .collect())
}

/// Head and tail of a short id such as `15e5…b6fe`, as apps and pages show it; `...` and `..` mean the same.
fn short(text: &str) -> Option<(String, String)> {
    let (head, tail) = text
        .split_once('…')
        .or_else(|| text.split_once("..."))
        .or_else(|| text.split_once(".."))?;
    let hex = |part: &str| part.len() <= 66 && part.chars().all(|c| c.is_ascii_hexdigit());
    let fits = head.len() >= 2 && hex(head) && hex(tail) && head.len() + tail.len() >= 4;
    fits.then(|| (head.to_ascii_lowercase(), tail.to_ascii_lowercase()))
}

/// The number of a message: `123` or `#123`.
fn number(text: &str) -> Option<Id> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The one person that a text other than a whole id means.
pub(super) async fn find(act: &OperationContext<'_>, text: &str) -> Result<UserFull, AdminError> {
    let store = &act.admin.store;
    let found = if let Some((head, tail)) = short(text) {
        store.users_like(head, tail, 1_000).await?
    } else if let Some(id) = number(text) {
        let Some(author) = store.author_of(id).await? else {
            return Err(AdminError::not_found(
                format!("there is no message {id}"),
                "`ackpost server message list` shows the numbers; `name:TEXT` means somebody of that name",
            ));
        };
        vec![(author, String::new())]
    } else {
        named(act, text.strip_prefix("name:").unwrap_or(text)).await?
    };
    let [(id, _)] = found[..] else {
        return Err(several(act, text, found).await);
    };
    store
        .user_by_id(id)
        .await?
        .ok_or_else(|| AdminError::not_found(format!("`{text}` is gone"), "list the people again"))
}

/// Everybody whose latest post shows this name, without regard to case.
async fn named(act: &OperationContext<'_>, name: &str) -> Result<Vec<(Id, String)>, AdminError> {
    let wanted = name.trim().to_lowercase();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let found = search(
        act,
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
    act: &OperationContext<'_>,
    mut query: PeopleQuery,
    fits: impl Fn(&str) -> bool,
    limit: usize,
) -> Result<Vec<(crate::store::operation::PersonRow, String)>, AdminError> {
    let mut found = Vec::new();
    query.limit = PAGE;
    while query.skip < MAX_SEARCHED && found.len() < limit {
        let page = act.admin.store.people(query.clone()).await?;
        let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        query.skip += PAGE;
        let mut names = by_number(act, page.iter().map(|row| row.id).collect()).await?;
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

/// The error for a text that fits nobody, or several people, whom it names.
async fn several(act: &OperationContext<'_>, text: &str, found: Vec<(Id, String)>) -> AdminError {
    if found.is_empty() {
        return AdminError::not_found(
            format!("nobody is known as `{text}`"),
            "give a session id (05…, 15…, 25…), a short id (15e5…b6fe), a display name or the number of a message; \
             `ackpost server user list` shows people",
        );
    }
    let names = by_number(act, found.iter().map(|(id, _)| *id).take(MAX_NAMED).collect())
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

/// The texts for people in an operation: one, or several on lines of their own; empty lines and `#` comments are left out.
pub(super) fn texts(user: &str) -> Result<Vec<&str>, AdminError> {
    let comment = |line: &str| line.starts_with('#') && number(line).is_none();
    let all: Vec<&str> = user
        .lines()
        .map(|line| line.split_once("  #").map_or(line, |(id, _)| id).trim())
        .filter(|line| !line.is_empty() && !comment(line))
        .collect();
    if all.is_empty() {
        return Err(AdminError::usage(
            "nobody is named",
            "give an id, a short id, a display name or the number of a message",
        ));
    }
    if all.len() > MAX_PEOPLE {
        return Err(AdminError::usage(
            format!("{} people are named", all.len()),
            format!("one command takes at most {MAX_PEOPLE}"),
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_and_numbers_are_told_from_names() {
        let parts = |head: &str, tail: &str| Some((head.to_owned(), tail.to_owned()));
        assert_eq!(short("15e5…b6fe"), parts("15e5", "b6fe"));
        assert_eq!(short("15E5...B6FE"), parts("15e5", "b6fe"));
        assert_eq!(short("15e5..b6fe"), parts("15e5", "b6fe"));
        assert_eq!(short("15e5ab…"), parts("15e5ab", ""));
        for name in ["Bob…", "…", "15…", "15%…b6fe", "Bob", "a..z"] {
            assert_eq!(short(name), None, "{name}");
        }
        assert_eq!(
            (number("12"), number("#12"), number("12a"), number("#")),
            (Some(12), Some(12), None, None)
        );
        assert_eq!(number("99999999999999999999999"), None);
    }

    #[test]
    fn files_of_ids_have_comments() {
        let list = texts("15aa…bbbb\n# raiders\n\n  Bob  # seen on Monday\n#12\n").expect("texts");
        assert_eq!(list, ["15aa…bbbb", "Bob", "#12"]);
        assert!(texts("\n# nobody\n").is_err());
    }
}
